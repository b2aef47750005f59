//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::body::{Body, Within};
use super::bound::{self, Owner};
use super::cors::Readers;
use super::exchange::{Answer, Ended, exchange};
use super::identity::Identity;
use super::idle::Alarm;
use super::kind::Kind;
use super::ledger::Ledger;
use super::running::Place;
use super::trailers::{self, Announced};
use super::tunnel::Tunnel;
use super::upgrade::{self, Handshake};
use super::upload::{RequestBody, Upload};
use super::{Caller, Worker, destination, grpc, headers, now_ms};
use crate::model::Reason;
use crate::pep::{Environment, Grounds, Onward, Permitted, Refusal, Standing};
use crate::route::upstream::Protocol;
use crate::route::{Trailers, Upstream};

/// An exchange that failed before its answer began.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the client is told.
    pub(super) refusal: Refusal,
    /// Which web page may read that.
    pub(super) readers: Readers,
    /// Its account, still open.
    pub(super) ledger: Ledger,
    /// Whether it ran and was cut, so that the rest of its body may still come.
    pub(super) was_cut: bool,
}

impl Failed {
    /// One that never began.
    pub(super) fn of(refusal: Refusal, grounds: &Grounds, ledger: Ledger) -> Self {
        Self { refusal, readers: Readers::of(grounds), ledger, was_cut: false }
    }
}

/// An exchange that is about to begin.
pub(super) struct Outbound {
    request: Box<Request<RequestBody>>,
    terms: Box<Terms>,
    readers: Readers,
    place: Place,
    ledger: Ledger,
    caller: Rc<Caller>,
}

/// Writes the request of a permission; from here on it is judged again while it runs.
pub(super) fn prepare(
    worker: &Rc<Worker>,
    permitted: Permitted,
    incoming: Incoming,
    (caller, environment): (&Rc<Caller>, Environment<'_>),
    mut ledger: Ledger,
) -> Result<Outbound, Box<Failed>> {
    let (standing, Onward { head, form, grounds }) = Standing::of(permitted, environment);
    let place = worker.running.enter(standing);
    ledger.grounds(&grounds, true);
    let readers = Readers::of(&grounds);
    caller.connection.becomes_known();
    // A long exchange must not keep a whole old snapshot alive: the grounds end here.
    let begun = within_rate(worker, &grounds)
        .and_then(|()| ledger.admit())
        .and_then(|()| begin(worker, head, (Some(incoming), form), &grounds, (caller, environment.now)));
    match begun {
        Ok((request, terms)) => {
            ledger.uploads(terms.upload.clone());
            if terms.is_call {
                place.lasts();
            } else if terms.deadline.is_none() {
                place.has_no_end();
            }
            Ok(Outbound { request, terms, readers, place, ledger, caller: Rc::clone(caller) })
        }
        Err(refusal) => Err(Box::new(Failed { refusal, readers, ledger, was_cut: false })),
    }
}

/// Sends a prepared request and returns the answer as the client is to see it, its body still streaming.
pub(super) async fn forward(worker: &Rc<Worker>, outbound: Outbound) -> Result<Response<Body>, Box<Failed>> {
    let Outbound { request, terms, readers, place, mut ledger, caller } = outbound;
    let asked = ask(worker, request, &terms, &place, (&caller, &mut ledger)).await;
    match asked.and_then(|answer| terms.admit(answer)) {
        Ok(answer) => Ok(relay(worker, &caller, &terms, answer, (ledger, place), &readers)),
        Err(refusal) => {
            ledger.answered(None);
            Err(Box::new(Failed { refusal, readers, ledger, was_cut: place.was_cut() }))
        }
    }
}

/// What an exchange goes by once its request is written: where it goes, how long it may take, what may come back.
struct Terms {
    upstream: Arc<Upstream>,
    /// Whose connection to the upstream it is, where that may not be anybody's.
    owner: Option<Owner>,
    /// Whether the client speaks HTTP/2.
    multiplexed: bool,
    /// The WebSocket handshake that was sent on last, if it is one.
    handshake: RefCell<Option<Handshake>>,
    /// Whether the client may speak WebSocket by now, taken for it or not.
    may_speak_websocket: bool,
    /// What may come behind the answer's body.
    trailers: Trailers,
    /// The request's body while it comes; `None` where there is nothing to wait for.
    upload: Option<Rc<Upload>>,
    /// Whether it is a call of gRPC, in which both sides may talk in turns.
    is_call: bool,
    /// When a call of gRPC must be over, as its client says.
    call_ends: Option<Instant>,
    /// When the whole of it must be over.
    deadline: Option<Instant>,
}

impl Terms {
    /// Takes an answer, unless it switches to another protocol than the one that was judged, or to one that nobody
    /// asked for; or seems to: to a client of HTTP/2 every success says that its WebSocket is open (RFC 8441 section 5).
    fn admit(&self, answer: Box<Answer>) -> Result<Box<Answer>, Refusal> {
        let head = &answer.head;
        let admitted = match (head.status, &*self.handshake.borrow()) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(handshake)) => handshake.is_accepted(head),
            (StatusCode::SWITCHING_PROTOCOLS, None) => false,
            (status, Some(_)) => !(self.multiplexed && status.is_success()),
            (_, None) => true,
        };
        if admitted { Ok(answer) } else { Err(Refusal::of(Reason::UpstreamInvalid)) }
    }
}

/// Counts the request against what its principal may ask.
fn within_rate(worker: &Worker, grounds: &Grounds) -> Result<(), Refusal> {
    let Some(token) = &grounds.token else { return Ok(()) };
    let counted = worker.gateway.limiters.principal(&token.principal);
    counted.map_err(|seconds| Refusal::about(Reason::RateLimited, "principal").retrying_after(seconds))
}

/// The request as the backend gets it, and the terms of the exchange.
fn begin(
    worker: &Worker,
    mut head: Parts,
    (incoming, form): (Option<Incoming>, Option<Bytes>),
    grounds: &Grounds,
    (caller, now): (&Caller, u64),
) -> Result<(Box<Request<RequestBody>>, Box<Terms>), Refusal> {
    // A permission without an application has no way to go; pep never makes one.
    let application = grounds.application.as_ref().ok_or_else(|| Refusal::of(Reason::Internal))?;
    let multiplexed = head.version >= Version::HTTP_2;
    let announced = Announced::of(&head.headers, &grounds.trailers);
    let call = (application.upstream.transport.protocol == Protocol::Http2
        && grpc::is_call(head.version, &head.headers))
    .then(|| Call::of(&head.headers));
    let identity = Identity { key: &worker.gateway.assertions, now };
    let owner = bound::owner(head.version, grounds, application, caller);
    headers::to_backend(&mut head, (grounds, application), (owner.is_some(), caller), identity);
    let handshake = match grounds.websocket {
        false => None,
        true => Some(Handshake::begin(&mut head).ok_or_else(|| Refusal::of(Reason::Internal))?),
    };
    head.uri = destination::origin_form(&head.uri, &application.upstream);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    if handshake.is_none() {
        announced.accept(&mut head.headers);
    }
    if call.as_ref().is_some_and(|call| call.takes_trailers) {
        // Servers of gRPC refuse a call without it.
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // RFC 9110 section 6.5.1: only whoever said so takes them; HTTP/2 has a place for them in any case.
    let trailers = match &call {
        Some(_) => Trailers::all(),
        None if announced.accepted() || multiplexed => grounds.trailers.clone(),
        None => Trailers::default(),
    };
    let timeouts = &worker.gateway.settings.timeouts;
    let body = incoming.map(|incoming| (incoming, multiplexed, timeouts.client_body));
    let (body, upload) = frame(&mut head.headers, body, form, &announced)?;
    let terms = Box::new(Terms {
        upstream: Arc::clone(&application.upstream),
        owner,
        multiplexed,
        handshake: RefCell::new(handshake),
        may_speak_websocket: grounds.asks_for_websocket,
        trailers,
        upload,
        is_call: call.is_some(),
        call_ends: call.and_then(|call| call.deadline),
        deadline: timeouts.request.map(|limit| caller.started + limit),
    });
    Ok((Box::new(Request::from_parts(head, body)), terms))
}

/// The body as it goes on, and in the head the fields that frame it. A `form` is one that was read to be judged.
fn frame(
    headers: &mut HeaderMap,
    incoming: Option<(Incoming, bool, Duration)>,
    form: Option<Bytes>,
    announced: &Announced,
) -> Result<(RequestBody, Option<Rc<Upload>>), Refusal> {
    if let Some(form) = form {
        // What was judged is what is sent, in one piece; the client was told to go on when it was read.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(form.len()));
        headers.remove(EXPECT);
        return Ok((RequestBody::whole(form), None));
    }
    let (body, upload) = match incoming {
        Some((incoming, multiplexed, limit)) => {
            RequestBody::new((incoming, multiplexed), limit, announced.passing.clone())
        }
        None => (RequestBody::none(), None),
    };
    let length = headers.get(CONTENT_LENGTH);
    if upload.is_some() && length.is_none() {
        // hyper would take a GET without either field for one without a body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        announced.announce(headers);
    } else if upload.is_none() && length.is_some_and(|length| length != "0") {
        // A length that no body follows: the backend would take the next request on its connection for it.
        return Err(Refusal::of(Reason::BadBody));
    }
    Ok((body, upload))
}

/// The same request once more, without a body, judged again and written by the policy of now; `None` if that would not
/// send it where it was sent.
fn once_more(worker: &Worker, place: &Place, caller: &Caller, terms: &Terms) -> Option<Box<Request<RequestBody>>> {
    if !place.standing().is_believed(Instant::now().into_std()) {
        return None;
    }
    let now = now_ms() / 1000;
    let onward = place.standing().once_more(worker.reader.borrow_mut().load(), worker.verifier.shared(), now);
    let Onward { head, form, grounds } = onward.ok()?;
    grounds.application.as_ref().filter(|application| application.upstream == terms.upstream)?;
    let (request, again) = begin(worker, head, (None, form), &grounds, (caller, now)).ok()?;
    // The rest of the exchange goes by the terms that it began with: by others, a connection could be left to anybody that
    // this request authenticates.
    if (again.owner.is_some(), &again.trailers) != (terms.owner.is_some(), &terms.trailers) {
        return None;
    }
    match (&mut *terms.handshake.borrow_mut(), again.handshake.into_inner()) {
        (Some(handshake), Some(again)) => handshake.asks_again(again),
        (None, None) => {}
        _ => return None,
    }
    tracing::debug!("request {} is sent once more, to {}", caller.id, terms.upstream.name);
    Some(request)
}

/// Sends the request and waits for the head of its answer, no longer than it may go on.
async fn ask(
    worker: &Worker,
    request: Box<Request<RequestBody>>,
    terms: &Terms,
    place: &Place,
    (caller, ledger): (&Caller, &mut Ledger),
) -> Result<Box<Answer>, Refusal> {
    let upstream = &terms.upstream;
    let mut call_ends = Alarm::default();
    // One for all requests of the connection; one that runs beside it has its own.
    let mut whole = caller.connection.alarm.take();
    let once_more = || once_more(worker, place, caller, terms);
    let believed = || place.standing().is_believed(Instant::now().into_std());
    let again = (&once_more as _, &believed as _);
    let mut exchanging = pin!(exchange(worker, (upstream, terms.owner.as_ref()), request, again, ledger));
    let asked = poll_fn(|context| {
        if let Poll::Ready(refusal) = place.poll_cut(context) {
            return Poll::Ready(Err(refusal));
        }
        if terms.call_ends.is_some_and(|due| call_ends.poll_due(context, due).is_ready()) {
            return Poll::Ready(Err(Refusal::of(Reason::UpstreamTimeout)));
        }
        if let Poll::Ready(exchanged) = exchanging.as_mut().poll(context) {
            return Poll::Ready(exchanged.map_err(|ended| match ended {
                Ended::Overloaded => Refusal::about(Reason::UpstreamOverloaded, &upstream.name),
                Ended::Outdated => Refusal::about(Reason::ObjectUnavailable, "late"),
                Ended::Failed(reason) => Refusal::of(reason),
            }));
        }
        if terms.deadline.is_none_or(|due| whole.poll_due(context, due).is_pending()) {
            return Poll::Pending;
        }
        Poll::Ready(Err(match &terms.upload {
            // Nobody waits for the upstream yet.
            Some(upload) if upload.upstream_waits_since().is_none() => Refusal::about(Reason::BodyTimeout, "request"),
            _ => Refusal::of(Reason::RequestTimeout),
        }))
    });
    let asked = asked.await;
    caller.connection.alarm.replace(whole);
    asked
}

/// The answer as the client is to see it. What it leaves to be done goes on with its body, or with its WebSocket.
fn relay(
    worker: &Worker,
    caller: &Caller,
    terms: &Terms,
    answer: Box<Answer>,
    (mut ledger, place): (Ledger, Place),
    readers: &Readers,
) -> Response<Body> {
    let timeouts = &worker.gateway.settings.timeouts;
    if let Some(upload) = terms.upload.as_ref().filter(|_| terms.is_call) {
        upload.may_pause();
    }
    let (multiplexed, handshake) = (terms.multiplexed, terms.handshake.take());
    let Answer { mut head, body: incoming, lease } = *answer;
    let announced = Announced::of(&head.headers, &terms.trailers);
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let kind = Kind::of(&head.headers);
    if switches || kind != Kind::Ordinary {
        place.lasts();
    }
    let upstream = head.extensions.remove::<OnUpgrade>();
    headers::to_client(&mut head.headers, caller);
    destination::hide_credentials(&mut head.headers, &terms.upstream);
    if announced.has_names() && !incoming.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
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
        return Response::from_parts(head, body);
    }
    if terms.may_speak_websocket && !multiplexed && terms.owner.is_none() {
        // What may follow a handshake is no request, taken for one or not. Only an authentication in steps needs the
        // connection again.
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    ledger.answered(Some(head.status));
    // These have no end to wait for.
    let whole = terms.deadline.filter(|_| kind != Kind::Events);
    let piece = terms.upstream.patience.response_body.unwrap_or(timeouts.response_body);
    let within = Within { piece, call: terms.call_ends, whole };
    let (body, client) = ((incoming, streamed, announced.passing), (&caller.connection, multiplexed));
    let body = Body::relayed(body, (lease, ledger, place), client, within);
    if let Some(held) = body.held().filter(|_| multiplexed) {
        worker.streams.add(held);
    }
    Response::from_parts(head, body)
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
