//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, sleep_until};

use super::body::Body;
use super::cors::Readers;
use super::identity::Identity;
use super::ledger::Ledger;
use super::running::Place;
use super::trailers::{self, Announced};
use super::upload::{RequestBody, UploadFault};
use super::upstream::{ConnectFault, Lease, SendFault};
use super::{Caller, Worker, grpc, headers};
use crate::model::Reason;
use crate::pep::{Permitted, Refusal};
use crate::route::Trailers;
use crate::route::upstream::Protocol;

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

/// Forwards a permitted request and returns the answer as the client is to see it, its body still streaming. `now` is in
/// Unix seconds.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    permitted: Permitted,
    incoming: Incoming,
    caller: &Caller,
    now: u64,
    mut ledger: Ledger,
) -> Result<Response<Body>, Failed> {
    let (mut head, grounds) = permitted.into_parts();
    let multiplexed = head.version >= Version::HTTP_2;
    ledger.grounds(&grounds, true);
    let readers = Readers::of(&grounds);
    let place = grounds.token.as_ref().map(|token| worker.running.enter(token));
    let Some(application) = grounds.application.clone() else {
        // A permission without an application has no way to go; pep never makes one.
        return Err(Failed { refusal: Refusal::of(Reason::Internal), readers, ledger });
    };
    let trailers = grounds.trailers.clone();
    let announced = Announced::of(&head.headers, &trailers);
    let call = (application.upstream.transport.protocol == Protocol::Http2
        && grpc::is_call(head.version, &head.headers))
    .then(|| Call::of(&head.headers));
    let identity = Identity { key: &worker.gateway.assertions, now };
    headers::to_backend(&mut head, &grounds, &application, caller, identity);
    // A long exchange must not keep a whole old snapshot alive.
    drop(grounds);
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let timeouts = &worker.gateway.settings.timeouts;
    announced.accept(&mut head.headers);
    if call.as_ref().is_some_and(|call| call.takes_trailers) {
        // Servers of gRPC refuse a call without it.
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // RFC 9110 section 6.5.1: only whoever said so takes them; HTTP/2 has a place for them in any case.
    let answer_trailers = match &call {
        Some(_) => Trailers::all(),
        None if announced.accepted() || multiplexed => trailers,
        None => Trailers::default(),
    };
    let deadline = call.and_then(|call| call.deadline);
    let (body, upload) = RequestBody::new((incoming, multiplexed), timeouts.client_body, announced.passing.clone());
    if upload.is_some() && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper would take a GET without either field for one without a body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        announced.announce(&mut head.headers);
    }
    ledger.uploads(upload);
    let request = Request::from_parts(head, body);
    let exchanged = tokio::select! {
        biased;
        refusal = cut(place.as_ref()) => Err(refusal),
        () = expired(deadline) => Err(Refusal::of(Reason::UpstreamTimeout)),
        exchanged = exchange(worker, &application.upstream, request, &mut ledger) => exchanged.map_err(Refusal::of),
    };
    match exchanged {
        Ok((response, lease)) => {
            ledger.answered(Some(response.status()));
            let (mut head, incoming) = response.into_parts();
            let announced = Announced::of(&head.headers, &answer_trailers);
            headers::to_client(&mut head.headers, caller);
            if !incoming.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
                announced.announce(&mut head.headers);
            }
            readers.tell(&mut head.headers);
            let streamed = head.version == Version::HTTP_2;
            // The gateway's own version (RFC 9112 section 2.3): an HTTP/1.0 backend sets no terms for the client's side.
            head.version = Version::HTTP_11;
            head.extensions.clear();
            let body = Body::relayed(
                (incoming, streamed, announced.passing),
                (lease, ledger, place),
                &caller.connection,
                (timeouts.response_body, deadline),
            );
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

/// What a call of gRPC says of itself.
struct Call {
    takes_trailers: bool,
    /// When its answer must have come, which the client says (`grpc-timeout`).
    deadline: Option<Instant>,
}

impl Call {
    fn of(headers: &HeaderMap) -> Self {
        let deadline = grpc::timeout(headers).and_then(|within| Instant::now().checked_add(within));
        Self { takes_trailers: trailers::accepts(headers), deadline }
    }
}

/// Waits until a call has taken as long as its client lets it.
async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits until an exchange must end before it has an answer; one without a token never must.
async fn cut(place: Option<&Place>) -> Refusal {
    match place {
        Some(place) => place.cut().await,
        None => std::future::pending().await,
    }
}

/// Tries the upstream's servers in turn until one can be connected to, then sends the request there.
async fn exchange(
    worker: &Worker,
    upstream: &crate::route::Upstream,
    mut request: Request<RequestBody>,
    ledger: &mut Ledger,
) -> Result<(Response<Incoming>, Lease), Reason> {
    let upstreams = &worker.upstreams;
    let mut reason = Reason::UpstreamUnreachable;
    for server in upstreams.in_turn(upstream) {
        ledger.tries(&server.name);
        let pool = upstreams.pool(server, &upstream.transport);
        if let Some(lease) = pool.check_out() {
            let copy = repeatable(&request);
            match (attempt(worker, lease, request, ledger).await, copy) {
                (Ok(answer), _) => return Ok(answer),
                // The server closed the pooled connection in the meantime: once more, on a new one.
                (Err(Attempt::Unsent(back)), _) => request = *back,
                (Err(Attempt::Lost), Some(copy)) => request = copy,
                (Err(Attempt::Lost), None) => return Err(Reason::UpstreamInvalid),
                (Err(Attempt::Failed(reason)), _) => return Err(reason),
            }
        }
        let lease = match upstreams.connector.open(server, &upstream.transport, &pool).await {
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
        return match attempt(worker, lease, request, ledger).await {
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
    mut lease: Lease,
    request: Request<RequestBody>,
    ledger: &Ledger,
) -> Result<(Response<Incoming>, Lease), Attempt> {
    let limit = worker.gateway.settings.timeouts.response;
    let sent = Instant::now();
    let answer = lease.send(request);
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
        // Nobody asked for another protocol, and none was judged.
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Attempt::Failed(Reason::UpstreamInvalid))
        }
        Ok(response) => Ok((response, lease)),
        Err(fault) => Err(failed(fault, ledger)),
    }
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
