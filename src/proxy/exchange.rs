//! One exchange with an upstream: which server is asked, what becomes of a failure, and whether another try is safe.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Request, response};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::bound::{self, Owner};
use super::ledger::Ledger;
use super::upload::{RequestBody, UploadFault};
use super::upstream::{ConnectFault, Failure, Lease, SendFault, Visit};
use super::{Worker, destination};
use crate::model::Reason;
use crate::route::{Server, Upstream};

/// The head of an answer, its body still to come, and the connection that it comes on.
pub(super) struct Answer {
    pub(super) head: response::Parts,
    pub(super) body: Incoming,
    pub(super) lease: Lease,
}

/// What an exchange came to before its answer began.
#[derive(Debug)]
pub(super) enum Ended {
    /// The upstream has too many requests.
    Overloaded,
    /// It waited for the upstream for longer than what let it in is believed.
    Outdated,
    /// The last attempt ended so.
    Failed(Reason),
}

/// Why one attempt on one connection failed.
enum Attempt {
    /// Nothing was sent: the request comes back and may be tried again.
    Unsent(Box<Request<RequestBody>>),
    /// The request may have been sent, but the connection ended before any of an answer came.
    Lost,
    /// Anything else: a second attempt could do the thing twice.
    Failed(Reason),
}

/// Why one server did not answer.
struct Missed {
    /// What the client is told if this was the last attempt.
    reason: Reason,
    /// Whether and how the request may be tried again.
    again: Again,
}

/// Whether and how a request may be tried again.
enum Again {
    /// No more: the server may have begun with it.
    Never,
    /// Nothing reached the server: at another one, and it costs nobody anything.
    Elsewhere(Box<Request<RequestBody>>),
    /// The server may have seen it, but twice does no harm: within the budget, at another one if there is one.
    Repeat(Box<Request<RequestBody>>),
    /// The same, but it has to be written once more.
    Rewritten,
}

/// Gives a request once more, if it may be sent again.
type OnceMore<'o> = &'o dyn Fn() -> Option<Box<Request<RequestBody>>>;

/// Sends a request to a server of the upstream, and to the next one where the first cannot have begun with it, or where
/// that does no harm (RFC 9110 section 9.2.2; `is_repeatable`) and `once_more` gives it once more. Whoever had to wait for a
/// place goes on only if what let it in is still `believed`. Nothing is tried
/// again once an answer began, and none is when it did not come in time: the server may be at work.
pub(super) async fn exchange(
    worker: &Worker,
    (upstream, owner): (&Arc<Upstream>, Option<&Owner>),
    mut request: Box<Request<RequestBody>>,
    (once_more, believed): (OnceMore<'_>, &dyn Fn() -> bool),
    ledger: &mut Ledger,
) -> Result<Box<Answer>, Ended> {
    let repeatable = is_repeatable(&request);
    let cluster = worker.upstreams.cluster(upstream);
    let place = match cluster.enter_now() {
        Some(place) => place,
        // What seldom happens has memory of its own, here and below, so that a request without it is small.
        None => {
            let place = Box::pin(cluster.enter()).await.map_err(|_full| Ended::Overloaded)?;
            if !believed() {
                return Err(Ended::Outdated);
            }
            place
        }
    };
    if let Some(owner) = owner
        && let Some((index, lease)) = Box::pin(owner.take(&worker.upstreams, upstream)).await
        && let (Some(mut visit), Some(server)) = (cluster.at(index), upstream.servers.get(index))
    {
        ledger.tries(&server.name);
        destination::name_host(request.headers_mut(), upstream, server);
        match attempt((Instant::now(), patience(worker, upstream)), (lease, Some(owner)), request, ledger).await {
            Ok(mut answer) => {
                visit.answered();
                visit.keep(place);
                answer.lease.carry(visit);
                return Ok(answer);
            }
            // The server closed it in the meantime, so whoever it knew must authenticate once more.
            Err(Attempt::Unsent(back)) => request = back,
            Err(Attempt::Lost) => match if repeatable { once_more() } else { None } {
                Some(again) => request = again,
                None => return Err(Ended::Failed(Reason::UpstreamInvalid)),
            },
            Err(Attempt::Failed(reason)) => return Err(Ended::Failed(blame(&visit, reason))),
        }
    }
    let mut again = 0;
    // Neither allocates before something failed.
    let (mut unreachable, mut seen) = (Vec::new(), Vec::new());
    let mut reason = Reason::UpstreamUnreachable;
    loop {
        let fresh = !seen.is_empty();
        let next = cluster.pick(&worker.numbers, &[unreachable.as_slice(), &seen].concat());
        let Some(mut visit) = next.or_else(|| cluster.pick(&worker.numbers, &unreachable)) else {
            return Err(Ended::Failed(reason));
        };
        let Some(server) = upstream.servers.get(visit.index) else { return Err(Ended::Failed(reason)) };
        if again > 0 {
            cluster.repeats();
        }
        let left = upstream.retries.attempts.saturating_sub(again);
        again += 1;
        ledger.tries(&server.name);
        destination::name_host(request.headers_mut(), upstream, server);
        let missed = match at_server(worker, (upstream, server, owner), &visit, (request, fresh), ledger).await {
            Ok(mut answer) => {
                visit.keep(place);
                answer.lease.carry(visit);
                return Ok(answer);
            }
            Err(missed) => missed,
        };
        reason = missed.reason;
        request = match missed.again {
            Again::Elsewhere(request) if left > 0 => {
                unreachable.push(visit.index);
                request
            }
            Again::Repeat(request) if left > 0 && cluster.may_repeat() => {
                seen.push(visit.index);
                request
            }
            Again::Rewritten if left > 0 && repeatable && cluster.may_repeat() => {
                seen.push(visit.index);
                once_more().ok_or(Ended::Failed(reason))?
            }
            _ => return Err(Ended::Failed(reason)),
        };
    }
}

/// The request at one server: on a pooled connection if there is one and it need not be `fresh`, else on a new one.
async fn at_server(
    worker: &Worker,
    (upstream, server, owner): (&Upstream, &Server, Option<&Owner>),
    visit: &Visit,
    (mut request, fresh): (Box<Request<RequestBody>>, bool),
    ledger: &Ledger,
) -> Result<Box<Answer>, Missed> {
    let never = |reason| Missed { reason, again: Again::Never };
    let upstreams = &worker.upstreams;
    let limit = patience(worker, upstream);
    let pool = upstreams.pool_of(visit, server, upstream);
    let now = Instant::now();
    if !fresh && let Some(lease) = pool.check_out(now) {
        match attempt((now, limit), (lease, owner), request, ledger).await {
            Ok(answer) => {
                visit.answered();
                return Ok(answer);
            }
            // The server closed the pooled connection in the meantime: once more, on a new one.
            Err(Attempt::Unsent(back)) => request = back,
            Err(Attempt::Lost) => {
                // Servers may close a connection that idles, so this says nothing of the server.
                return Err(Missed { reason: Reason::UpstreamInvalid, again: Again::Rewritten });
            }
            Err(Attempt::Failed(reason)) => return Err(never(blame(visit, reason))),
        }
    }
    let lease = match Box::pin(upstreams.connector.open(server, upstream, &pool)).await {
        Ok(lease) => lease,
        Err(fault) => {
            worker.complain(&server.name, &fault);
            visit.failed(Failure::Unanswered);
            let reason = match fault {
                ConnectFault::TimedOut => Reason::UpstreamTimeout,
                ConnectFault::Failed(_) => Reason::UpstreamUnreachable,
            };
            return Err(Missed { reason, again: Again::Elsewhere(request) });
        }
    };
    match attempt((Instant::now(), limit), (lease, owner), request, ledger).await {
        Ok(answer) => {
            visit.answered();
            Ok(answer)
        }
        Err(Attempt::Unsent(back)) => {
            visit.failed(Failure::Unanswered);
            Err(Missed { reason: Reason::UpstreamUnreachable, again: Again::Repeat(back) })
        }
        Err(Attempt::Lost) => Err(never(blame(visit, Reason::UpstreamInvalid))),
        Err(Attempt::Failed(reason)) => Err(never(blame(visit, reason))),
    }
}

/// How long an upstream may take until its answer begins.
fn patience(worker: &Worker, upstream: &Upstream) -> Duration {
    upstream.patience.response.unwrap_or(worker.gateway.settings.timeouts.response)
}

/// Counts a failure as the server's, unless it is the client's.
fn blame(visit: &Visit, reason: Reason) -> Reason {
    if matches!(reason, Reason::UpstreamInvalid | Reason::UpstreamTimeout) {
        visit.failed(Failure::Unanswered);
    }
    reason
}

/// Whether a request may be sent twice without harm: safe by its method (RFC 9110 section 9.2.1) and without a body.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_safe() && request.body().is_end_stream()
}

/// One request on one connection, up to the head of its answer, which may take `limit` from the last piece that was
/// sent, and from now if there is but one.
async fn attempt(
    (sent, limit): (Instant, Duration),
    (mut lease, owner): (Lease, Option<&Owner>),
    request: Box<Request<RequestBody>>,
    ledger: &Ledger,
) -> Result<Box<Answer>, Attempt> {
    if owner.is_some() && bound::authenticates(request.headers()) {
        lease.bind(owner);
    }
    let mut answer = lease.send(*request);
    let mut due = sent + limit;
    let received = poll_fn(|context| {
        if let Poll::Ready(received) = answer.as_mut().poll(context) {
            return Poll::Ready(Some(received));
        }
        loop {
            ready!(lease.poll_due(context, due));
            // While the client still uploads, its own timer runs; the upstream's begins with the last piece.
            let later = ledger.upstream_waits_since(sent).unwrap_or_else(Instant::now) + limit;
            if later <= Instant::now() {
                return Poll::Ready(None);
            }
            due = later;
        }
    });
    let Some(received) = received.await else { return Err(Attempt::Failed(Reason::UpstreamTimeout)) };
    match received {
        Ok(response) if !is_plainly_framed(response.headers()) => Err(Attempt::Failed(Reason::UpstreamInvalid)),
        Ok(response) => {
            if bound::is_bound_by(response.headers()) {
                lease.bind(owner);
            }
            let (head, body) = response.into_parts();
            Ok(Box::new(Answer { head, body, lease }))
        }
        Err(fault) => Err(failed(fault, ledger)),
    }
}

/// Whether an answer has one length, of digits, and no coding but `chunked`: nobody asked for others, and the client
/// would get them undecoded (RFC 9112 sections 6.1 and 6.3). Both at once are read by the chunks, as they must be.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let (mut has_length, mut has_coding) = (false, false);
    headers.iter().all(|(name, value)| {
        let value = value.as_bytes();
        if *name == CONTENT_LENGTH {
            let is_first = !std::mem::replace(&mut has_length, true);
            is_first && !value.is_empty() && value.iter().all(u8::is_ascii_digit)
        } else if *name == TRANSFER_ENCODING {
            let is_first = !std::mem::replace(&mut has_coding, true);
            is_first && value.eq_ignore_ascii_case(b"chunked")
        } else {
            true
        }
    })
}

fn failed(fault: SendFault, ledger: &Ledger) -> Attempt {
    match (fault, ledger.upload_fault()) {
        (SendFault::Unsent(request), _) => Attempt::Unsent(request),
        (_, Some(UploadFault::Slow)) => Attempt::Failed(Reason::BodyTimeout),
        (_, Some(UploadFault::Broken)) => Attempt::Failed(Reason::BadBody),
        (SendFault::Lost, None) => Attempt::Lost,
        (SendFault::Failed, None) => Attempt::Failed(Reason::UpstreamInvalid),
        (SendFault::Unfit, None) => Attempt::Failed(Reason::Internal),
    }
}
