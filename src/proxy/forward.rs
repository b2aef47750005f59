//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until};

use super::body::{Body, Within};
use super::bound;
use super::cors::Readers;
use super::exchange::{Ended, exchange};
use super::identity::Identity;
use super::ledger::Ledger;
use super::trailers::{self, Announced};
use super::tunnel::Tunnel;
use super::upgrade::{self, Handshake};
use super::upload::RequestBody;
use super::{Caller, Worker, destination, grpc, headers};
use crate::model::Reason;
use crate::pep::{Environment, Permitted, Refusal, Standing};
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

/// Forwards a permitted request and returns the answer as the client is to see it, its body still streaming.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    mut permitted: Permitted,
    incoming: Incoming,
    caller: &Caller,
    environment: Environment<'_>,
    mut ledger: Ledger,
) -> Result<Response<Body>, Failed> {
    let place = worker.running.enter(Standing::of(&permitted, environment));
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
    let Some(application) = grounds.application.clone() else {
        // A permission without an application has no way to go; pep never makes one.
        return Err(Failed { refusal: Refusal::of(Reason::Internal), readers, ledger });
    };
    let trailers = grounds.trailers.clone();
    let announced = Announced::of(&head.headers, &trailers);
    let call = (application.upstream.transport.protocol == Protocol::Http2
        && grpc::is_call(head.version, &head.headers))
    .then(|| Call::of(&head.headers));
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
    head.uri = destination::origin_form(&head.uri, &application.upstream);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let timeouts = &worker.gateway.settings.timeouts;
    if handshake.is_none() {
        announced.accept(&mut head.headers);
    }
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
    let is_call = call.is_some();
    let call_ends = call.and_then(|call| call.deadline);
    let unread = form.is_none();
    let (body, upload) = match form {
        Some(form) => {
            // What was judged is what is sent, in one piece; the client was told to go on when it was read.
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(form.len()));
            head.headers.remove(EXPECT);
            (RequestBody::whole(form), None)
        }
        None => RequestBody::new((incoming, multiplexed), timeouts.client_body, announced.passing.clone()),
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
    let talks = upload.clone().filter(|_| is_call);
    let deadline = timeouts.request.map(|limit| caller.started + limit);
    let request = Request::from_parts(head, body);
    let exchanged = tokio::select! {
        biased;
        refusal = place.cut() => Err(refusal),
        () = until(call_ends) => Err(Refusal::of(Reason::UpstreamTimeout)),
        exchanged = exchange(worker, (&application.upstream, owner.as_ref()), request, &mut ledger) => {
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
            if let Some(upload) = talks {
                upload.may_pause();
            }
            let (mut head, incoming) = response.into_parts();
            let announced = Announced::of(&head.headers, &answer_trailers);
            let is_handshake = handshake.is_some();
            let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
            // Another protocol than the one that was judged, or one that nobody asked for.
            if switches && !handshake.as_ref().is_some_and(|handshake| handshake.is_accepted(&head)) {
                ledger.answered(None);
                return Err(Failed { refusal: Refusal::of(Reason::UpstreamInvalid), readers, ledger });
            }
            if switches || is_stream(&head.headers) {
                place.lasts();
            }
            let upstream = head.extensions.remove::<OnUpgrade>();
            headers::to_client(&mut head.headers, caller);
            destination::hide_credentials(&mut head.headers, &application.upstream);
            if !incoming.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
                announced.announce(&mut head.headers);
            }
            readers.tell(&mut head.headers);
            let streamed = head.version == Version::HTTP_2;
            // The gateway's own version (RFC 9112 section 2.3): an HTTP/1.0 backend sets no terms for the client's side.
            head.version = Version::HTTP_11;
            head.extensions.clear();
            if let (true, Some(handshake), Some(upstream)) = (switches, handshake, upstream) {
                head.status = upgrade::tell_client(multiplexed, &mut head.headers);
                ledger.answered(Some(head.status));
                let shared = (&caller.connection, &worker.gateway.telemetry);
                let times = (timeouts.tunnel_idle, timeouts.client_body);
                let tunnel = Tunnel::new(upstream, (lease, ledger, place), shared, times);
                let body = Body::tunnel(tunnel.seat());
                tunnel.begin(handshake.into_stream());
                return Ok(Response::from_parts(head, body));
            }
            if is_handshake && !multiplexed && owner.is_none() {
                // What may follow a handshake is no request. Only an authentication in steps needs the connection again.
                head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            ledger.answered(Some(head.status));
            // A stream has no end to wait for.
            let whole = deadline.filter(|_| !is_stream(&head.headers));
            let piece = application.upstream.patience.response_body.unwrap_or(timeouts.response_body);
            let within = Within { piece, call: call_ends, whole };
            let (body, client) = ((incoming, streamed, announced.passing), (&caller.connection, multiplexed));
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

/// Whether an answer is a stream of events (the HTML standard's server-sent events), which may last for ever.
fn is_stream(headers: &HeaderMap) -> bool {
    let kinds =
        headers.get_all(CONTENT_TYPE).iter().filter_map(|value| value.as_bytes().split(|byte| *byte == b';').next());
    kinds.into_iter().any(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}
