//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, sleep_until};

use super::body::{Body, Within};
use super::cors::Readers;
use super::exchange::{Ended, exchange};
use super::identity::Identity;
use super::ledger::Ledger;
use super::running::cut;
use super::trailers::{self, Announced};
use super::upload::RequestBody;
use super::{Caller, Worker, destination, grpc, headers};
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

/// Forwards a permitted request and returns the answer as the client is to see it, its body still streaming. `now` is in
/// Unix seconds.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    mut permitted: Permitted,
    incoming: Incoming,
    caller: &Caller,
    now: u64,
    mut ledger: Ledger,
) -> Result<Response<Body>, Failed> {
    let form = permitted.take_form();
    let (mut head, grounds) = permitted.into_parts();
    let multiplexed = head.version >= Version::HTTP_2;
    ledger.grounds(&grounds, true);
    let readers = Readers::of(&grounds);
    caller.connection.becomes_known();
    if let Some(token) = &grounds.token
        && let Err(seconds) = worker.gateway.limiters.principal(&token.principal)
    {
        let refusal = Refusal::about(Reason::RateLimited, "principal").retrying_after(seconds);
        return Err(Failed { refusal, readers, ledger });
    }
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
    head.uri = destination::origin_form(&head.uri, &application.upstream);
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
    let call_ends = call.and_then(|call| call.deadline);
    let unread = form.is_none();
    let (body, upload) = match form {
        Some(form) => {
            // What was judged is what is sent, in one piece; the client was told to go on when it was read.
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(form.len()));
            head.headers.remove(EXPECT);
            (RequestBody::whole(form), None)
        }
        None => RequestBody::new(incoming, timeouts.client_body, announced.passing.clone()),
    };
    if upload.is_some() && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper would take a GET without either field for one without a body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        announced.announce(&mut head.headers);
    }
    if unread && upload.is_none() && head.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        // A length that no body follows: the backend would take the next request on its connection for it.
        return Err(Failed { refusal: Refusal::of(Reason::BadBody), readers, ledger });
    }
    ledger.uploads(upload.clone());
    let deadline = timeouts.request.map(|limit| caller.started + limit);
    let request = Request::from_parts(head, body);
    let exchanged = tokio::select! {
        biased;
        refusal = cut(place.as_ref()) => Err(refusal),
        () = until(call_ends) => Err(Refusal::of(Reason::UpstreamTimeout)),
        exchanged = exchange(worker, &application.upstream, request, &mut ledger) => {
            exchanged.map_err(|ended| match ended {
                Ended::Overloaded => Refusal::about(Reason::UpstreamOverloaded, &application.upstream.name),
                Ended::Failed(reason) => Refusal::of(reason),
            })
        }
        () = until(deadline) => Err(match upload {
            // Nobody waits for the upstream yet.
            Some(upload) if upload.upstream_waits_since().is_none() => Refusal::about(Reason::BodyTimeout, "request"),
            _ => Refusal::of(Reason::RequestTimeout),
        }),
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
            // The gateway's own version (RFC 9112 section 2.3): an HTTP/1.0 backend sets no terms for the client's side.
            head.version = Version::HTTP_11;
            head.extensions.clear();
            // A stream has no end to wait for.
            let whole = deadline.filter(|_| !is_stream(&head.headers));
            let piece = application.upstream.patience.response_body.unwrap_or(timeouts.response_body);
            let within = Within { piece, call: call_ends, whole };
            let (body, client) = ((incoming, announced.passing), (&caller.connection, multiplexed));
            let body = Body::relayed(body, (lease, ledger, place), client, within);
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

/// Waits until a moment; without one, for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether an answer is a stream of events, which lasts as long as somebody listens (HTML standard, section 9.2).
fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}
