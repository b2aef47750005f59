//! The two bodies of an exchange, streamed piece by piece in both directions: never gathered, never boxed.
//!
//! hyper asks for a piece only when it can send one, so a slow receiver slows the sender down and memory stays bounded.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Connection;
use super::idle::Idle;
use super::layers::Permit;
use super::ledger::Ledger;
use super::running::Place;
use super::upstream::Lease;
use crate::model::Reason;
use crate::pep::Refusal;

/// What the two sides of an upload tell each other; they run in different tasks of one thread.
#[derive(Debug)]
pub(super) struct Upload {
    bytes: Cell<u64>,
    /// Whether the client is to send the next piece; otherwise the upstream is to take one, or all is sent.
    awaits_client: Cell<bool>,
    moved: Cell<Instant>,
    fault: Cell<Option<UploadFault>>,
}

impl Upload {
    /// Bytes forwarded so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// What ended the upload early, if anything did.
    pub(super) fn fault(&self) -> Option<UploadFault> {
        self.fault.get()
    }

    /// Since when the upstream could have answered; `None` while the client is to send more.
    pub(super) fn upstream_waits_since(&self) -> Option<Instant> {
        (!self.awaits_client.get()).then(|| self.moved.get())
    }
}

/// Why a request body ended early. The backend never sees a complete message then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFault {
    /// The client sent nothing for too long.
    Slow,
    /// The client broke its framing or went away.
    Broken,
}

impl fmt::Display for UploadFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Slow => "the client sent its body too slowly",
            Self::Broken => "the client's body is broken",
        })
    }
}

impl std::error::Error for UploadFault {}

/// The request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody(Option<Streaming>);

#[derive(Debug)]
struct Streaming {
    incoming: Incoming,
    idle: Idle,
    upload: Rc<Upload>,
}

impl RequestBody {
    /// The body of a request that has none.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Wraps a client's body whose pieces may each take `limit`. Without a body there is nothing to watch.
    pub(super) fn new(incoming: Incoming, limit: Duration) -> (Self, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (Self(None), None);
        }
        let upload = Rc::new(Upload {
            bytes: Cell::new(0),
            awaits_client: Cell::new(true),
            moved: Cell::new(Instant::now()),
            fault: Cell::new(None),
        });
        let streaming = Streaming { incoming, idle: Idle::new(limit), upload: Rc::clone(&upload) };
        (Self(Some(streaming)), Some(upload))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let Some(Streaming { incoming, idle, upload }) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        loop {
            let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(context) else {
                upload.awaits_client.set(true);
                ready!(idle.poll_expired(context));
                upload.fault.set(Some(UploadFault::Slow));
                return Poll::Ready(Some(Err(UploadFault::Slow)));
            };
            idle.progressed();
            upload.awaits_client.set(false);
            upload.moved.set(Instant::now());
            return Poll::Ready(match polled {
                None => None,
                Some(Err(_)) => {
                    upload.fault.set(Some(UploadFault::Broken));
                    Some(Err(UploadFault::Broken))
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        upload.bytes.set(upload.bytes.get() + data.len() as u64);
                        Some(Ok(Frame::data(data)))
                    }
                    // Trailers were not part of what was judged; they end here.
                    Err(_) => continue,
                },
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|streaming| streaming.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |streaming| streaming.incoming.size_hint())
    }
}

/// Why a response body ended early. hyper then breaks the message: the client sees no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBody {
    /// The upstream sent nothing for too long.
    Slow,
    /// The upstream broke its framing or went away.
    Broken,
    /// The caller's token was revoked.
    Revoked,
}

impl fmt::Display for BrokenBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Slow => "the upstream sent its body too slowly",
            Self::Broken => "the upstream's body is broken",
            Self::Revoked => "the caller's token was revoked",
        })
    }
}

impl std::error::Error for BrokenBody {}

/// The body of every answer: bytes of our own, or what the upstream sends, as it comes.
#[derive(Debug)]
pub struct Body(Source);

#[derive(Debug)]
enum Source {
    Fixed(Option<Bytes>),
    Relayed(Relay),
}

impl Body {
    /// Bytes of our own.
    pub(super) fn fixed(bytes: Bytes) -> Self {
        let bytes = if bytes.is_empty() { None } else { Some(bytes) };
        Self(Source::Fixed(bytes))
    }

    /// What the upstream sends. At its end the connection goes back to its pool, the ledger is closed and `place` given
    /// up; dropped before that, the connection is closed.
    pub(super) fn relayed(
        incoming: Incoming,
        (lease, mut ledger, place): (Lease, Ledger, Option<Place>),
        client: &Rc<Connection>,
        limit: Duration,
    ) -> Self {
        if incoming.is_end_stream() {
            // hyper never asks for the pieces of an empty body.
            lease.give_back();
            ledger.close();
            return Self::fixed(Bytes::new());
        }
        let held = Rc::new(Held {
            exchange: RefCell::new(Some((lease, ledger))),
            permit: RefCell::new(None),
            place: RefCell::new(None),
            client: Rc::clone(client),
            // The client's side has not asked for anything yet.
            waits_since: Cell::new(Some(Instant::now())),
            cut: Cell::new(None),
        });
        if let Some(place) = place {
            place.answers(&held);
            held.place.replace(Some(place));
        }
        Self(Source::Relayed(Relay { incoming, idle: Idle::new(limit), held }))
    }

    /// What a relayed answer holds while it is sent.
    pub(super) fn held(&self) -> Option<&Rc<Held>> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Relayed(relay) => Some(&relay.held),
        }
    }

    /// Keeps a place among the requests in flight until a relayed answer is gone. One of our own is done with: a client
    /// that never reads it must not hold a place.
    pub(super) fn hold(&self, permit: Permit) {
        if let Some(held) = self.held() {
            held.permit.replace(Some(permit));
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match &mut self.get_mut().0 {
            Source::Fixed(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Relayed(relay) => relay.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Fixed(bytes) => bytes.is_none(),
            Source::Relayed(relay) => relay.held.is_complete(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Relayed(relay) => relay.incoming.size_hint(),
        }
    }
}

#[derive(Debug)]
struct Relay {
    incoming: Incoming,
    idle: Idle,
    held: Rc<Held>,
}

/// What an answer holds while it is sent: its upstream connection, its account, its places among the requests in flight
/// and among those that are judged again. A client that does not read would hold them for ever, and HTTP/2 never asks for
/// the next piece then; so the worker looks after them too.
#[derive(Debug)]
pub(super) struct Held {
    /// Taken at the end, so that it is also the mark of being at the end.
    exchange: RefCell<Option<(Lease, Ledger)>>,
    permit: RefCell<Option<Permit>>,
    place: RefCell<Option<Place>>,
    client: Rc<Connection>,
    /// Since when a piece waits for the client; `None` while the upstream is to send one.
    waits_since: Cell<Option<Instant>>,
    /// Why the answer was ended from outside, if it was.
    cut: Cell<Option<BrokenBody>>,
}

impl Held {
    /// Lets go of everything if the client has taken nothing for longer than `limit`. Whether there is still something
    /// to look after.
    pub(super) fn look_after(&self, limit: Duration) -> bool {
        if self.waits_since.get().is_some_and(|since| since.elapsed() > limit) {
            self.cut.set(Some(BrokenBody::Slow));
            self.let_go(|ledger| ledger.broken(Reason::BodyTimeout));
        }
        self.exchange.borrow().is_some()
    }

    /// Ends the answer because its caller's token was revoked. What the client has not read of it by now is thrown away
    /// with an HTTP/1 connection; of an HTTP/2 stream, up to its buffer of 64 KiB may still be read.
    pub(super) fn revoked(&self, refusal: &Refusal) {
        self.cut.set(Some(BrokenBody::Revoked));
        // The upstream's connection ends with its lease, which wakes whoever waits for its next piece.
        self.let_go(|ledger| ledger.cut(refusal));
        self.client.sever();
    }

    fn let_go(&self, note: impl FnOnce(&mut Ledger)) {
        self.permit.take();
        self.place.take();
        if let Some((_, mut ledger)) = self.exchange.take() {
            note(&mut ledger);
        }
    }

    fn is_complete(&self) -> bool {
        self.cut.get().is_none() && self.exchange.borrow().is_none()
    }

    /// The answer came to its end: the connection may serve another.
    fn complete(&self) {
        self.place.take();
        if let Some((lease, mut ledger)) = self.exchange.take() {
            lease.give_back();
            ledger.close();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The client's connection is gone with the answer, and the record is to say why.
        if self.client.has_stalled() {
            self.let_go(|ledger| ledger.broken(Reason::BodyTimeout));
        }
    }
}

impl Relay {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let held = &self.held;
        held.waits_since.set(None);
        if let Some(cut) = held.cut.get() {
            held.client.must_not_look_complete();
            return Poll::Ready(Some(Err(cut)));
        }
        loop {
            let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(context) else {
                ready!(self.idle.poll_expired(context));
                return Poll::Ready(Some(Err(self.fail(BrokenBody::Slow, Reason::UpstreamTimeout))));
            };
            self.idle.progressed();
            match polled {
                None => {
                    held.complete();
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(self.fail(BrokenBody::Broken, Reason::UpstreamInvalid)))),
                Some(Ok(frame)) => {
                    // Trailers of the upstream could carry any name past the header rules; they end here.
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some((_, ledger)) = held.exchange.borrow_mut().as_mut() {
                        ledger.sent(data.len());
                    }
                    held.waits_since.set(Some(Instant::now()));
                    // hyper does not ask again after the last piece, so the end must be noticed with it.
                    if self.incoming.is_end_stream() {
                        held.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn fail(&mut self, fault: BrokenBody, reason: Reason) -> BrokenBody {
        self.held.client.must_not_look_complete();
        self.held.place.take();
        // Dropping the lease closes the upstream connection, dropping the ledger writes the record.
        if let Some((lease, mut ledger)) = self.held.exchange.take() {
            lease.broke_off();
            ledger.broken(reason);
        }
        fault
    }
}
