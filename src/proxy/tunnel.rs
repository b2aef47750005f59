//! A tunnel: the bytes of a WebSocket, both ways, from the backend's yes to the end of either side. Each direction has
//! one buffer and is read from only when that is empty, so a slow receiver slows its sender down and memory stays
//! bounded.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::Connection;
use super::layers::Permit;
use super::ledger::Ledger;
use super::running::{Ending, Place};
use super::upstream::Lease;
use crate::telemetry::Telemetry;

/// Bytes that wait in each direction.
const BUFFER: usize = 8 * 1024;

/// The place of a tunnel among the requests in flight: taken before there is a tunnel, kept as long as it runs.
pub(super) type Seat = Rc<RefCell<Option<Permit>>>;

/// What a tunnel holds from the yes on; all of it is given up when it is dropped, and its account closed.
pub(super) struct Tunnel {
    /// The backend's end, once its connection lets go of it.
    upstream: OnUpgrade,
    lease: Lease,
    ledger: Ledger,
    place: Place,
    seat: Seat,
    client: Rc<Connection>,
    telemetry: Arc<Telemetry>,
    idle: Duration,
    /// How long one side may go on when the other has ended.
    half_closed: Duration,
    carried: Carried,
}

/// How a tunnel ended other than by both sides closing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Client,
    Upstream,
    Idle,
}

impl Broken {
    /// The word in logs.
    const fn word(self) -> &'static str {
        match self {
            Self::Client => "client_lost",
            Self::Upstream => "upstream_lost",
            Self::Idle => "tunnel_idle",
        }
    }
}

impl Tunnel {
    /// A tunnel to a backend that said yes.
    pub(super) fn new(
        upstream: OnUpgrade,
        (lease, ledger, place): (Lease, Ledger, Place),
        (client, telemetry): (&Rc<Connection>, &Arc<Telemetry>),
        (idle, half_closed): (Duration, Duration),
    ) -> Self {
        telemetry.tunnel_opened();
        Self {
            upstream,
            lease,
            ledger,
            place,
            seat: Seat::default(),
            client: Rc::clone(client),
            telemetry: Arc::clone(telemetry),
            idle,
            half_closed: half_closed.min(idle),
            carried: Carried::new(),
        }
    }

    /// Where the request's place in flight is to be put.
    pub(super) fn seat(&self) -> Seat {
        Rc::clone(&self.seat)
    }

    /// Goes on over an HTTP/2 stream, or over the client's connection once that is done with HTTP/1.1.
    pub(super) fn begin(self, stream: Option<OnUpgrade>) {
        let Some(stream) = stream else {
            let client = Rc::clone(&self.client);
            return client.switches_to(self);
        };
        spawn_local(async move {
            // The stream may be gone before its answer was sent.
            match stream.await {
                Ok(client) => self.run(TokioIo::new(client), Bytes::new()).await,
                Err(_) => self.lost(),
            }
        });
    }

    fn lost(mut self) {
        self.ledger.ended(Broken::Client.word());
    }

    /// Carries bytes until it ends. `early` is what the client sent before its end was ours.
    pub(super) async fn run(mut self, client: impl AsyncRead + AsyncWrite, early: Bytes) {
        let ended = {
            let place = &self.place;
            let carried = async {
                let Ok(upstream) = (&mut self.upstream).await else { return Err(Broken::Upstream) };
                let upstream = pin!(TokioIo::new(upstream));
                let patience = (self.idle, self.half_closed);
                carry((pin!(client), early), upstream, (&self.carried, &self.telemetry), patience).await
            };
            tokio::select! {
                biased;
                ending = place.ends() => Err(ending),
                ended = carried => Ok(ended),
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => {
                self.client.must_not_look_complete();
                self.ledger.ended(broken.word());
            }
            Err(Ending::Drained) => self.ledger.ended("drained"),
            Err(Ending::Cut(refusal)) => {
                self.client.must_not_look_complete();
                self.ledger.cut(&refusal);
            }
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.telemetry.tunnel_closed();
        self.ledger.carried(self.carried.from_client.get(), self.carried.to_client.get());
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tunnel").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// What a tunnel has carried so far, and when it last moved.
#[derive(Debug)]
struct Carried {
    from_client: Cell<u64>,
    to_client: Cell<u64>,
    moved: Cell<Instant>,
}

impl Carried {
    fn new() -> Self {
        Self { from_client: Cell::new(0), to_client: Cell::new(0), moved: Cell::new(Instant::now()) }
    }
}

/// Carries both directions to their ends, or until one breaks or neither has moved for too long.
async fn carry<C, U>(
    (mut client, early): (Pin<&mut C>, Bytes),
    mut upstream: Pin<&mut U>,
    (carried, telemetry): (&Carried, &Telemetry),
    (idle, half_closed): (Duration, Duration),
) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut there, mut back) = (Half::new(early), Half::new(Bytes::new()));
    let mut watch = pin!(sleep_until(Instant::now() + idle));
    carried.moved.set(Instant::now());
    poll_fn(|context| {
        let going = there.poll(client.as_mut(), upstream.as_mut(), context).map_err(|side| match side {
            Side::Reader => Broken::Client,
            Side::Writer => Broken::Upstream,
        });
        let coming = back.poll(upstream.as_mut(), client.as_mut(), context).map_err(|side| match side {
            Side::Reader => Broken::Upstream,
            Side::Writer => Broken::Client,
        });
        let (sent, received) = (there.take_moved(), back.take_moved());
        if sent + received > 0 {
            carried.from_client.set(carried.from_client.get() + sent);
            carried.to_client.set(carried.to_client.get() + received);
            carried.moved.set(Instant::now());
            telemetry.tunnel_carried(sent, received);
        }
        match (going, coming) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => return Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        loop {
            let patience = if there.is_ended() || back.is_ended() { half_closed } else { idle };
            let due = carried.moved.get() + patience;
            if due <= Instant::now() {
                return Poll::Ready(Err(Broken::Idle));
            }
            if watch.deadline() != due {
                watch.as_mut().reset(due);
            }
            ready!(watch.as_mut().poll(context));
        }
    })
    .await
}

/// Which side of a direction broke.
enum Side {
    Reader,
    Writer,
}

/// One direction.
struct Half {
    /// What came before the direction began; goes first.
    early: Bytes,
    buffer: Box<[u8]>,
    /// What of the buffer waits to be written.
    waiting: std::ops::Range<usize>,
    unflushed: bool,
    ended: bool,
    closed: bool,
    moved: u64,
}

impl Half {
    fn new(early: Bytes) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { early, buffer, waiting: 0..0, unflushed: false, ended: false, closed: false, moved: 0 }
    }

    /// Whether its sender has ended it.
    const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes written since the last call.
    fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// Moves what can be moved; ready at the end of the direction, which the receiver was told.
    fn poll<R, W>(
        &mut self,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Side>>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.early.is_empty() {
                let written = ready!(writer.as_mut().poll_write(context, &self.early));
                let written = self.wrote(written)?;
                self.early.advance(written);
            }
            while !self.waiting.is_empty() {
                let bytes = self.buffer.get(self.waiting.clone()).unwrap_or_default();
                let written = ready!(writer.as_mut().poll_write(context, bytes));
                self.waiting.start += self.wrote(written)?;
            }
            if self.ended {
                // A receiver that is gone by now has nothing left to be told.
                let _ = ready!(writer.as_mut().poll_shutdown(context));
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match reader.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    self.waiting = 0..buffer.filled().len();
                    self.ended = self.waiting.is_empty();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::Reader)),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(writer.poll_flush(context)).map_err(|_| Side::Writer)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn wrote(&mut self, written: std::io::Result<usize>) -> Result<usize, Side> {
        match written {
            Ok(0) | Err(_) => Err(Side::Writer),
            Ok(written) => {
                self.unflushed = true;
                self.moved += written as u64;
                Ok(written)
            }
        }
    }
}
