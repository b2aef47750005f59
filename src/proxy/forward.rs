//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::error::Error;
use std::io::ErrorKind;
use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until};

use super::body::{Body, RequestBody, UploadFault};
use super::bound::{self, Owner};
use super::cors::Readers;
use super::headers;
use super::identity::Identity;
use super::ledger::Ledger;
use super::tunnel::Tunnel;
use super::upgrade::{self, Handshake};
use super::upstream::{ConnectFault, Lease};
use super::{Caller, Worker};
use crate::model::Reason;
use crate::pep::{Environment, Permitted, Refusal, Standing};

/// An exchange that failed before its answer began.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the client is told.
    pub(super) refusal: Refusal,
    /// Which web page may read that.
    pub(super) readers: Readers,
    /// Its account, still open.
    pub(super) ledger: Ledger,
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

/// Forwards a permitted request and returns the answer as the client is to see it, its body still streaming.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    permitted: Permitted,
    incoming: Incoming,
    caller: &Caller,
    environment: Environment,
    mut ledger: Ledger,
) -> Result<Response<Body>, Failed> {
    let place = worker.running.enter(Standing::of(&permitted, environment));
    let (mut head, grounds) = permitted.into_parts();
    let multiplexed = head.version >= Version::HTTP_2;
    ledger.grounds(&grounds, true);
    let readers = Readers::of(&grounds);
    let Some(application) = grounds.application.clone() else {
        // A permission without an application has no way to go; pep never makes one.
        return Err(Failed { refusal: Refusal::of(Reason::Internal), readers, ledger });
    };
    let identity = Identity { key: &worker.gateway.assertions, now: environment.now };
    headers::to_backend(&mut head, &grounds, &application, caller, identity);
    let owner = bound::owner(head.version, &grounds, &application, caller);
    let handshake = match grounds.websocket {
        false => None,
        true => match Handshake::begin(&mut head) {
            Some(handshake) => Some(handshake),
            None => return Err(Failed { refusal: Refusal::of(Reason::Internal), readers, ledger }),
        },
    };
    // A long exchange must not keep a whole old snapshot alive.
    drop(grounds);
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let timeouts = &worker.gateway.settings.timeouts;
    let (body, upload) = RequestBody::new(incoming, timeouts.client_body);
    if upload.is_some() && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper would take a GET without either field for one without a body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    ledger.uploads(upload);
    let request = Request::from_parts(head, body);
    let exchanged = tokio::select! {
        biased;
        refusal = place.cut() => Err(refusal),
        exchanged = exchange(worker, (&application.upstream, owner.as_ref()), request, &mut ledger) => {
            exchanged.map_err(Refusal::of)
        }
    };
    match exchanged {
        Ok((response, lease)) => {
            let (mut head, incoming) = response.into_parts();
            let is_handshake = handshake.is_some();
            let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
            // Another protocol than the one that was judged, or one that nobody asked for.
            if switches && !handshake.as_ref().is_some_and(|handshake| handshake.is_accepted(&head)) {
                ledger.answered(None);
                return Err(Failed { refusal: Refusal::of(Reason::UpstreamInvalid), readers, ledger });
            }
            if switches || is_event_stream(&head.headers) {
                place.lasts();
            }
            let upstream = head.extensions.remove::<OnUpgrade>();
            headers::to_client(&mut head.headers, caller);
            readers.tell(&mut head.headers);
            // The gateway's own version (RFC 9112 section 2.3): an HTTP/1.0 backend sets no terms for the client's side.
            head.version = Version::HTTP_11;
            head.extensions.clear();
            if let (true, Some(handshake), Some(upstream)) = (switches, handshake, upstream) {
                head.status = upgrade::tell_client(multiplexed, &mut head.headers);
                ledger.answered(Some(head.status));
                let shared = (&caller.connection, &worker.gateway.telemetry);
                let tunnel =
                    Tunnel::new(upstream, (lease, ledger, place), shared, (timeouts.tunnel_idle, timeouts.client_body));
                let body = Body::tunnel(tunnel.seat());
                tunnel.begin(handshake.into_stream());
                return Ok(Response::from_parts(head, body));
            }
            if is_handshake && !multiplexed && owner.is_none() {
                // What may follow a handshake is no request. Only an authentication in steps needs the connection again.
                head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            ledger.answered(Some(head.status));
            let body = Body::relayed(incoming, (lease, ledger, place), &caller.connection, timeouts.response_body);
            if let Some(held) = body.held().filter(|_| multiplexed) {
                worker.streams.borrow_mut().push(Rc::downgrade(held));
            }
            Ok(Response::from_parts(head, body))
        }
        Err(refusal) => {
            ledger.answered(None);
            Err(Failed { refusal, readers, ledger })
        }
    }
}

/// Tries the upstream's servers in turn until one can be connected to, then sends the request there.
async fn exchange(
    worker: &Worker,
    (upstream, owner): (&crate::route::Upstream, Option<&Owner>),
    mut request: Request<RequestBody>,
    ledger: &mut Ledger,
) -> Result<(Response<Incoming>, Lease), Reason> {
    let upstreams = &worker.upstreams;
    let mut reason = Reason::UpstreamUnreachable;
    if let Some(owner) = owner
        && let Some(lease) = owner.take(upstreams, upstream).await
    {
        let copy = repeatable(&request);
        match (attempt(worker, (lease, Some(owner)), request, ledger).await, copy) {
            (Ok(answer), _) => return Ok(answer),
            // The server closed it in the meantime, so whoever it knew must authenticate once more.
            (Err(Attempt::Unsent(back)), _) => request = *back,
            (Err(Attempt::Lost), Some(copy)) => request = copy,
            (Err(Attempt::Lost), None) => return Err(Reason::UpstreamInvalid),
            (Err(Attempt::Failed(reason)), _) => return Err(reason),
        }
    }
    for server in upstreams.in_turn(upstream) {
        ledger.tries(&server.name);
        let pool = upstreams.pool(server, upstream.ca.as_ref());
        if let Some(lease) = pool.check_out() {
            let copy = repeatable(&request);
            match (attempt(worker, (lease, owner), request, ledger).await, copy) {
                (Ok(answer), _) => return Ok(answer),
                // The server closed the pooled connection in the meantime: once more, on a new one.
                (Err(Attempt::Unsent(back)), _) => request = *back,
                (Err(Attempt::Lost), Some(copy)) => request = copy,
                (Err(Attempt::Lost), None) => return Err(Reason::UpstreamInvalid),
                (Err(Attempt::Failed(reason)), _) => return Err(reason),
            }
        }
        let lease = match upstreams.connector.open(server, upstream.ca.as_ref(), &pool).await {
            Ok(lease) => lease,
            Err(fault) => {
                worker.complain(&server.name, &fault);
                reason = match fault {
                    ConnectFault::TimedOut => Reason::UpstreamTimeout,
                    ConnectFault::Failed(_) => Reason::UpstreamUnreachable,
                };
                continue;
            }
        };
        return match attempt(worker, (lease, owner), request, ledger).await {
            Ok(answer) => Ok(answer),
            Err(Attempt::Failed(reason)) => Err(reason),
            Err(Attempt::Lost) => Err(Reason::UpstreamInvalid),
            Err(Attempt::Unsent(_)) => Err(Reason::UpstreamUnreachable),
        };
    }
    Err(reason)
}

/// A copy of a request that may be sent twice without harm: safe by its method (RFC 9110 section 9.2.1) and without a body.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let (method, body) = (request.method(), request.body());
    if !method.is_safe() || !body.is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::none());
    copy.method_mut().clone_from(method);
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    Some(copy)
}

/// One request on one connection, up to the head of its answer.
async fn attempt(
    worker: &Worker,
    (mut lease, owner): (Lease, Option<&Owner>),
    request: Request<RequestBody>,
    ledger: &Ledger,
) -> Result<(Response<Incoming>, Lease), Attempt> {
    let limit = worker.gateway.settings.timeouts.response;
    if bound::authenticates(request.headers()) && owner.is_some() {
        lease.bind(owner);
    }
    let sent = Instant::now();
    let answer = lease.sender().try_send_request(request);
    tokio::pin!(answer);
    let mut deadline = sent + limit;
    let received = loop {
        tokio::select! {
            biased;
            received = &mut answer => break received,
            () = sleep_until(deadline) => {
                // While the client still uploads, its own timer runs; the upstream's begins with the last piece.
                let due = ledger.upstream_waits_since(sent).unwrap_or_else(Instant::now) + limit;
                if due <= Instant::now() {
                    return Err(Attempt::Failed(Reason::UpstreamTimeout));
                }
                deadline = due;
            }
        }
    };
    match received {
        Ok(response) => {
            if bound::is_bound_by(response.headers()) {
                lease.bind(owner);
            }
            Ok((response, lease))
        }
        Err(fault) => Err(failed(fault, ledger)),
    }
}

fn failed(mut fault: TrySendError<Request<RequestBody>>, ledger: &Ledger) -> Attempt {
    if let Some(request) = fault.take_message() {
        return Attempt::Unsent(Box::new(request));
    }
    let fault = fault.into_error();
    tracing::debug!("upstream exchange: {fault}");
    match ledger.upload_fault() {
        Some(UploadFault::Slow) => Attempt::Failed(Reason::BodyTimeout),
        Some(UploadFault::Broken) => Attempt::Failed(Reason::BadBody),
        None if ended_early(&fault) => Attempt::Lost,
        None => Attempt::Failed(Reason::UpstreamInvalid),
    }
}

/// Whether the connection ended before any of an answer came, as a server's closing of an idle one does.
fn ended_early(fault: &hyper::Error) -> bool {
    let socket = fault.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let reset = socket.is_some_and(|fault| {
        matches!(fault.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
    });
    reset || fault.is_incomplete_message() || fault.is_closed() || fault.is_canceled()
}

/// Whether an answer is a stream of events (the HTML standard's server-sent events), which may last for ever.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kinds =
        headers.get_all(CONTENT_TYPE).iter().filter_map(|value| value.as_bytes().split(|byte| *byte == b';').next());
    kinds.into_iter().any(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

/// The target as an origin server wants it (RFC 9112 section 3.2.1): path and query as they came.
fn origin_form(target: &Uri) -> Uri {
    match target.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_out_in_origin_form_with_path_and_query_as_they_came() {
        for (came, goes) in [
            ("/a%2Db?x=%20&y", "/a%2Db?x=%20&y"),
            ("http://oms.example.org/a?b", "/a?b"),
            ("https://oms.example.org", "/"),
            ("/", "/"),
        ] {
            assert_eq!(origin_form(&came.parse().unwrap()).to_string(), goes);
        }
    }
}
