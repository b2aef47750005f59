//! Accepts clients on one thread, each within its bounds, until a drain ends it; `guest` speaks with them.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::guest::Guest;
use super::running::LOOK;
use super::seats::Seat;
use super::shares::{Counted, Member};
use super::tls::ServerTls;
use super::{Gateway, Settings, Worker};

/// Connections that wait in the system to be accepted; the system may have a lower bound of its own.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when the system has no more descriptors or memory.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a worker looks after its idle things.
const TICK: Duration = Duration::from_secs(1);
/// Bytes that one HTTP/2 stream may buffer towards a client that reads slowly.
const STREAM_BUFFER: usize = 64 * 1024;
/// What a stream of an HTTP/2 client may hold of an upload that its backend has not taken yet. Each may fill its own window,
/// so that one upload that waits never stops others of its connection, which may be those of other people behind a proxy.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The largest window that HTTP/2 has (RFC 9113 section 6.9.1).
const MOST_WINDOW: u32 = (1 << 31) - 1;
/// How many streams an HTTP/2 client may reset before anybody looked at them, and how many may end by its own errors.
/// h2 ends the connection then; [`super::flood`] counts the rest.
const RESETS: usize = 32;
/// How long an HTTP/2 peer may take to answer a ping.
const PING_WITHIN: Duration = Duration::from_secs(20);
/// The header lines that hyper parses without an allocation; asking it for just as many would cost one a request.
const HYPER_HEADERS: usize = 100;

/// What one listening address asks of its connections and gives to them.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Its TLS side; without it the address speaks plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// Whether each connection must begin with a header of the PROXY protocol, from a trusted proxy.
    pub proxy_protocol: bool,
    /// `Strict-Transport-Security` of all answers over TLS (RFC 6797).
    pub hsts: Option<HeaderValue>,
    /// The port of HTTPS that all requests are sent to; nothing else is answered then.
    pub redirect_to_https: Option<u16>,
}

/// Opens a listening socket for [`serve`]. An address in use is an error, never shared in silence.
///
/// # Errors
/// The address is taken, not this machine's, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // The standard library sets SO_REUSEADDR and no SO_REUSEPORT, as wanted, but a backlog of 128 loses clients in a
    // burst.
    adopt(std::net::TcpListener::bind(address)?)
}

/// Makes a socket that is bound already one for [`serve`].
///
/// # Errors
/// It cannot listen.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<std::net::TcpListener> {
    SockRef::from(&listener).listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Runs one worker on the current thread's runtime, inside a `LocalRuntime` or `LocalSet`: accepts from `listeners` until `drain` turns
/// true, then lets running requests end, for `timeouts.drain` at most. Returns before a drain only if a listener cannot
/// be registered with the runtime, which the process log then says.
pub async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<(std::net::TcpListener, Terms)>,
    mut drain: watch::Receiver<bool>,
) {
    let member = gateway.shares.join();
    let house = House::new(Worker::new(Arc::clone(&gateway)), member);
    let mut accepting = Vec::new();
    for (listener, terms) in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => accepting.push(spawn_local(Rc::clone(&house).accept(listener, Arc::new(terms)))),
            Err(fault) => return tracing::error!("a listener cannot be used: {fault}"),
        }
    }
    let ticking = spawn_local(tick(Rc::clone(&house.worker)));
    let judging = spawn_local(look(Rc::clone(&house)));
    {
        let mut asked = pin!(drain.wait_for(|drain| *drain));
        loop {
            tokio::select! {
                // A dropped sender means that nobody is left to ask for a drain, which is as good as asking.
                _ = asked.as_mut() => break,
                () = house.member.told() => house.take_all_over(house.member.take()),
            }
        }
    }
    for task in accepting {
        task.abort();
    }
    // What is on its way to this worker comes before the end; from then on, it goes back to whoever sends it.
    house.member.leave();
    house.take_all_over(house.member.take());
    house.drain();
    if timeout(gateway.settings.timeouts.drain, house.emptied()).await.is_err() {
        tracing::warn!("{} connections did not end in time and are closed", house.open.get());
    }
    ticking.abort();
    judging.abort();
}

async fn tick(worker: Rc<Worker>) {
    loop {
        sleep(TICK).await;
        worker.tick();
    }
}

async fn look(house: Rc<House>) {
    loop {
        sleep(LOOK).await;
        house.worker.judge_again();
        house.take_all_over(house.member.take_late().into_iter().map(|late| house.own(late)));
    }
}

/// A connection on its way to the worker that is to serve it.
pub(super) struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    terms: Arc<Terms>,
    seat: Seat,
    counted: Counted<Accepted>,
}

/// One worker with its open client connections. The drain signal is the thread's own, so that waiting for it costs no
/// lock that threads share.
pub(super) struct House {
    pub(super) worker: Rc<Worker>,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Local>,
    member: Member<Accepted>,
    open: Cell<usize>,
    draining: Cell<bool>,
    changed: Notify,
}

impl House {
    fn new(worker: Rc<Worker>, member: Member<Accepted>) -> Rc<Self> {
        let Settings { limits, timeouts, .. } = &worker.gateway.settings;
        let mut http1 = http1::Builder::new();
        // hyper has one timer for the head and for the silence before it; they are watched here (`overdue`).
        http1.header_read_timeout(None);
        // hyper panics below 8 KiB. The buffer alone is no exact bound, because it is filled before it is looked at.
        http1.max_buf_size(limits.head_bytes.max(8 * 1024)).max_header_size(limits.head_bytes);
        if limits.headers != HYPER_HEADERS {
            http1.max_headers(limits.headers);
        }
        let mut http2 = http2::Builder::new(Local);
        http2
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_send_buf_size(STREAM_BUFFER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(limits.streams).min(MOST_WINDOW))
            .keep_alive_interval(timeouts.client_head)
            .keep_alive_timeout(PING_WITHIN);
        Rc::new(Self {
            worker,
            http1,
            http2,
            member,
            open: Cell::new(0),
            draining: Cell::new(false),
            changed: Notify::new(),
        })
    }

    fn drain(&self) {
        self.draining.set(true);
        self.worker.running.drain();
        self.changed.notify_waiters();
    }

    /// Waits until a drain is asked for.
    pub(super) async fn drained(&self) {
        let mut changed = pin!(self.changed.notified());
        while !self.draining.get() {
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    /// One more connection is open.
    pub(super) fn entered(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// One connection less is open.
    pub(super) fn left(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.draining.get() {
            self.changed.notify_waiters();
        }
    }

    /// Waits until no connection is open.
    async fn emptied(&self) {
        let mut changed = pin!(self.changed.notified());
        while self.open.get() > 0 {
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    fn welcome(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        terms: Arc<Terms>,
        seat: Seat,
        counted: Counted<Accepted>,
    ) {
        spawn_local(Guest::enter(self, seat, counted).serve(stream, peer, terms));
    }

    /// Hands a connection to the worker for which it is counted, or serves it if that one does not take it.
    fn hand_over(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        terms: Arc<Terms>,
        seat: Seat,
        counted: Counted<Accepted>,
    ) {
        // Fails only where the system has forgotten the socket, which nobody can serve then.
        let Ok(stream) = stream.into_std() else { return };
        let handed = counted.hand_over(|counted| Accepted { stream, peer, terms, seat, counted });
        if let Err(accepted) = handed {
            self.take_over(self.own(accepted));
        }
    }

    /// Counts a connection for this worker.
    fn own(&self, accepted: Accepted) -> Accepted {
        Accepted { counted: self.member.count_own(), ..accepted }
    }

    fn take_all_over(self: &Rc<Self>, all: impl IntoIterator<Item = Accepted>) {
        all.into_iter().for_each(|accepted| self.take_over(accepted));
    }

    /// Serves a connection that another worker has accepted.
    fn take_over(self: &Rc<Self>, Accepted { stream, peer, terms, seat, counted }: Accepted) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.welcome(stream, peer, terms, seat, counted),
            Err(fault) => tracing::error!("a connection cannot be served: {fault}"),
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, terms: Arc<Terms>) {
        let seats = Arc::clone(&self.worker.gateway.seats);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // With all places taken and busy this one waits, and the others in the system's bounded queue.
                    let seat = seats.take().await;
                    let terms = Arc::clone(&terms);
                    match self.member.count() {
                        Ok(counted) => self.welcome(stream, peer, terms, seat, counted),
                        Err(other) => self.hand_over(stream, peer, terms, seat, other),
                    }
                    // Lets other threads have the next one, and this one serve those that it has.
                    tokio::task::yield_now().await;
                }
                Err(fault) if concerns_one_client(&fault) => {}
                Err(fault) => {
                    tracing::error!("clients cannot be accepted, trying again: {fault}");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The client gave up before it was accepted; nothing is wrong with the listener.
fn concerns_one_client(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Runs HTTP/2 streams on the thread of their connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        spawn_local(stream);
    }
}
