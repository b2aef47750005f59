//! The body of an answer, streamed piece by piece: never gathered, never boxed. [`super::upload`] is the other
//! direction.
//!
//! hyper asks for a piece only when it can send one, so a slow receiver slows the sender down and memory stays bounded.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Connection;
use super::idle::Idle;
use super::layers::Permit;
use super::ledger::Ledger;
use super::running::Place;
use super::trailers;
use super::tunnel::Seat;
use super::upstream::Lease;
use crate::model::Reason;
use crate::pep::Refusal;
use crate::route::Trailers;

/// Why a response body ended early. hyper then breaks the message: the client sees no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBody {
    /// The upstream sent nothing for too long.
    Slow,
    /// The upstream broke its framing or went away.
    Broken,
    /// The caller may not have it any more.
    Revoked,
    /// The time for the whole request is over.
    Late,
}

impl fmt::Display for BrokenBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Slow => "the upstream sent its body too slowly",
            Self::Broken => "the upstream's body is broken",
            Self::Revoked => "the caller may not have it any more",
            Self::Late => "the time for the whole request is over",
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
    /// Nothing: a tunnel follows.
    Tunnel(Seat),
}

/// How long a relayed answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    /// Each of its pieces.
    pub(super) piece: Duration,
    /// When the client of a call of gRPC has waited long enough.
    pub(super) call: Option<Instant>,
    /// When the whole request must be over.
    pub(super) whole: Option<Instant>,
}

impl Body {
    /// Bytes of our own.
    pub(super) fn fixed(bytes: Bytes) -> Self {
        let bytes = if bytes.is_empty() { None } else { Some(bytes) };
        Self(Source::Fixed(bytes))
    }

    /// What the upstream sends (`streamed` over HTTP/2), and which `trailers` may come behind it; it takes no longer
    /// than `within`. At its end the connection goes back to its pool, the ledger is closed and `place` given up;
    /// dropped before that, the connection is closed or the stream reset.
    pub(super) fn relayed(
        (incoming, streamed, trailers): (Incoming, bool, Trailers),
        (lease, mut ledger, place): (Lease, Ledger, Place),
        (client, multiplexed): (&Rc<Connection>, bool),
        within: Within,
    ) -> Self {
        if incoming.is_end_stream() {
            // hyper never asks for the pieces of an empty body.
            let now = Instant::now();
            lease.give_back(now);
            ledger.close(now);
            return Self::fixed(Bytes::new());
        }
        let hint = incoming.size_hint();
        let held = Rc::new(Held {
            incoming: RefCell::new(Some(incoming)),
            reader: Cell::new(None),
            exchange: RefCell::new(Some((lease, ledger))),
            permit: RefCell::new(None),
            place: RefCell::new(None),
            client: Rc::clone(client),
            // The client's side has not asked for anything yet.
            waits_since: Cell::new(multiplexed.then(Instant::now)),
            cut: Cell::new(None),
            multiplexed,
            deadline: within.whole,
        });
        place.answers(&held);
        held.place.replace(Some(place));
        let deadline = within.call.map(|deadline| Box::pin(sleep_until(deadline)));
        let idle = Idle::new(within.piece);
        Self(Source::Relayed(Relay { hint, streamed, trailers, idle, deadline, held, looked_after: false }))
    }

    /// Nothing, because a tunnel follows whose place in flight is put there.
    pub(super) const fn tunnel(seat: Seat) -> Self {
        Self(Source::Tunnel(seat))
    }

    /// What a relayed answer holds while it is sent.
    pub(super) fn held(&self) -> Option<&Rc<Held>> {
        match &self.0 {
            Source::Fixed(_) | Source::Tunnel(_) => None,
            Source::Relayed(relay) => Some(&relay.held),
        }
    }

    /// Keeps a place among the requests in flight until a relayed answer is gone. One of our own is done with: a client
    /// that never reads it must not hold a place.
    pub(super) fn hold(&self, permit: Permit) {
        match &self.0 {
            Source::Fixed(_) => {}
            Source::Relayed(relay) => drop(relay.held.permit.replace(Some(permit))),
            Source::Tunnel(seat) => drop(seat.replace(Some(permit))),
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
            Source::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Fixed(bytes) => bytes.is_none(),
            Source::Relayed(relay) => relay.held.is_complete(),
            Source::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Relayed(relay) => {
                relay.held.incoming.borrow().as_ref().map_or_else(|| relay.hint, HttpBody::size_hint)
            }
            Source::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

#[derive(Debug)]
struct Relay {
    /// What the body said of its size before anything was read of it.
    hint: SizeHint,
    /// Whether it is of an HTTP/2 stream. hyper shows one that was reset without a fault (NO_ERROR) as if it had ended.
    streamed: bool,
    trailers: Trailers,
    idle: Idle,
    /// When the client of the call has waited long enough.
    deadline: Option<Pin<Box<Sleep>>>,
    held: Rc<Held>,
    /// Whether the worker was asked to look after it.
    looked_after: bool,
}

/// What an answer holds while it is sent: its upstream connection, its account, its places among the requests in flight
/// and among those that are judged again. A client that does not read would hold them for ever, and HTTP/2 never asks
/// for the next piece then; so the worker looks after them too.
pub(super) struct Held {
    /// What the upstream sends. An HTTP/2 stream ends with it, so it goes when everything is let go of.
    incoming: RefCell<Option<Incoming>>,
    /// Whoever waits for the next piece.
    reader: Cell<Option<Waker>>,
    /// Taken at the end, so that it is also the mark of being at the end.
    exchange: RefCell<Option<(Lease, Ledger)>>,
    permit: RefCell<Option<Permit>>,
    place: RefCell<Option<Place>>,
    client: Rc<Connection>,
    /// Since when a piece waits for the client, of HTTP/2; `None` while the upstream is to send one.
    waits_since: Cell<Option<Instant>>,
    /// Why the answer was ended from outside, if it was.
    cut: Cell<Option<BrokenBody>>,
    /// Whether the client's side asks for pieces of this answer only as the client takes them.
    multiplexed: bool,
    /// When it must have come to its end.
    deadline: Option<Instant>,
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Held").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

impl Held {
    /// Lets go of everything if the client has taken nothing for longer than `limit`, or the time for the whole request
    /// is over. Whether there is still something to look after.
    pub(super) fn look_after(&self, limit: Duration) -> bool {
        if self.exchange.borrow().is_some() && self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.cut.set(Some(BrokenBody::Late));
            self.let_go(|ledger| ledger.broken(Reason::RequestTimeout));
            self.client.sever();
        } else if self.waits_since.get().is_some_and(|since| since.elapsed() > limit) {
            self.cut.set(Some(BrokenBody::Slow));
            self.let_go(|ledger| ledger.broken(Reason::BodyTimeout));
        }
        self.exchange.borrow().is_some()
    }

    /// Ends the answer because its caller may not have it any more. What the client has not read of it by now is thrown
    /// away with an HTTP/1 connection; of an HTTP/2 stream, up to its buffer of 64 KiB may still be read.
    pub(super) fn revoked(&self, refusal: &Refusal) {
        self.cut.set(Some(BrokenBody::Revoked));
        self.let_go(|ledger| ledger.cut(refusal));
        self.client.sever();
    }

    fn let_go(&self, note: impl FnOnce(&mut Ledger)) {
        self.permit.take();
        self.place.take();
        if let Some((_, mut ledger)) = self.exchange.take() {
            note(&mut ledger);
        }
        self.incoming.take();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn is_complete(&self) -> bool {
        self.cut.get().is_none() && self.exchange.borrow().is_none()
    }

    /// The answer came to its end: the connection may serve another.
    fn complete(&self) {
        self.place.take();
        if let Some((lease, mut ledger)) = self.exchange.take() {
            let now = Instant::now();
            lease.give_back(now);
            ledger.close(now);
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
        let held = Rc::clone(&self.held);
        held.waits_since.set(None);
        if let Some(cut) = held.cut.get() {
            held.client.must_not_look_complete();
            return Poll::Ready(Some(Err(cut)));
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Some(Err(self.fail(BrokenBody::Slow, Reason::UpstreamTimeout))));
        }
        loop {
            let mut incoming = held.incoming.borrow_mut();
            let Some(source) = incoming.as_mut() else { return Poll::Ready(None) };
            let Poll::Ready(polled) = Pin::new(&mut *source).poll_frame(context) else {
                held.reader.set(Some(context.waker().clone()));
                ready!(self.idle.poll_expired(context));
                drop(incoming);
                return Poll::Ready(Some(Err(self.fail(BrokenBody::Slow, Reason::UpstreamTimeout))));
            };
            let ended = source.is_end_stream();
            drop(incoming);
            self.idle.progressed();
            match polled {
                None if !self.streamed || ended => {
                    held.complete();
                    return Poll::Ready(None);
                }
                None | Some(Err(_)) => {
                    return Poll::Ready(Some(Err(self.fail(BrokenBody::Broken, Reason::UpstreamInvalid))));
                }
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => match trailers::of_frame(frame, &self.trailers) {
                            Ok(None) => continue,
                            Ok(Some(fields)) => {
                                // Nothing comes behind them, and hyper does not ask.
                                held.complete();
                                return Poll::Ready(Some(Ok(fields)));
                            }
                            Err(trailers::TooMany) => {
                                let fault = self.fail(BrokenBody::Broken, Reason::UpstreamInvalid);
                                return Poll::Ready(Some(Err(fault)));
                            }
                        },
                    };
                    if let Some((_, ledger)) = held.exchange.borrow_mut().as_mut() {
                        ledger.sent(data.len());
                    }
                    held.waits_since.set(held.multiplexed.then(Instant::now));
                    // hyper does not ask again after the last piece, so the end must be noticed with it.
                    if ended {
                        held.complete();
                    } else if !(self.looked_after || held.multiplexed || held.deadline.is_none()) {
                        // It has more than one piece: nobody else notices that it takes too long while it moves.
                        self.looked_after = true;
                        if let Some((_, ledger)) = held.exchange.borrow().as_ref() {
                            ledger.look_after(&held);
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn fail(&mut self, fault: BrokenBody, reason: Reason) -> BrokenBody {
        self.held.client.must_not_look_complete();
        self.held.place.take();
        self.held.incoming.take();
        // Dropping the lease ends the upstream's side, dropping the ledger writes the record.
        if let Some((lease, mut ledger)) = self.held.exchange.take() {
            lease.broke_off();
            ledger.broken(reason);
        }
        fault
    }
}
