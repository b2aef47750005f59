//! Accepts clients and speaks HTTP with them, on one thread: TLS or plain, HTTP/1.1 or HTTP/2, each within its bounds,
//! until a drain ends it.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::{Connection, Peer, Session};
use super::io::{ClientIo, Socket};
use super::proxy_protocol::{self, Source};
use super::seats::Seat;
use super::settings::{ClientNetwork, Timeouts};
use super::tls::ServerTls;
use super::{Gateway, Settings, Worker, client_certificate, layers, now_ms, sni};

/// Connections that wait in the system to be accepted; the system may have a lower bound of its own.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when the system has no more descriptors or memory.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a worker looks after its idle things.
const TICK: Duration = Duration::from_secs(1);
/// How often a worker looks whether running exchanges must be judged again. A fifth of the second within which a revocation
/// is in force: the other parts are for noticing a changed file and reading it.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes that one HTTP/2 stream may buffer towards a client that reads slowly.
const STREAM_BUFFER: usize = 64 * 1024;
/// How many streams an HTTP/2 client may reset before anybody looked at them, and how many may end by its own errors. h2
/// ends the connection then; [`super::flood`] counts the rest.
const RESETS: usize = 32;
/// How long an HTTP/2 peer may take to answer a ping.
const PING_WITHIN: Duration = Duration::from_secs(20);
/// How long an idle HTTP/2 client may take to leave once it is told to.
const FAREWELL: Duration = Duration::from_secs(1);
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
    // The standard library sets SO_REUSEADDR and no SO_REUSEPORT, as wanted, but a backlog of 128 loses clients in a burst.
    let listener = std::net::TcpListener::bind(address)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Runs one worker on the current thread's runtime, inside a `LocalSet`: accepts from `listeners` until `drain` turns true, then lets running requests end, for `timeouts.drain` at most. Returns before
/// a drain only if a listener cannot be registered with the runtime, which the process log then says.
pub async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<(std::net::TcpListener, Terms)>,
    mut drain: watch::Receiver<bool>,
) {
    let house = House::new(Worker::new(Arc::clone(&gateway)));
    let mut accepting = Vec::new();
    for (listener, terms) in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => accepting.push(spawn_local(Rc::clone(&house).accept(listener, Rc::new(terms)))),
            Err(fault) => return tracing::error!("a listener cannot be used: {fault}"),
        }
    }
    let ticking = spawn_local(tick(Rc::clone(&house.worker)));
    let judging = spawn_local(judge_again(Rc::clone(&house.worker)));
    // A dropped sender means that nobody is left to ask for a drain, which is as good as asking.
    let _ = drain.wait_for(|drain| *drain).await;
    for task in accepting {
        task.abort();
    }
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

async fn judge_again(worker: Rc<Worker>) {
    loop {
        sleep(LOOK).await;
        worker.judge_again();
    }
}

/// One worker with its open client connections. The drain signal is the thread's own, so that waiting for it costs no
/// lock that threads share.
struct House {
    worker: Rc<Worker>,
    http1: http1::Builder,
    http2: http2::Builder<Local>,
    open: Cell<usize>,
    draining: Cell<bool>,
    changed: Notify,
}

impl House {
    fn new(worker: Rc<Worker>) -> Rc<Self> {
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
            .keep_alive_interval(timeouts.client_head)
            .keep_alive_timeout(PING_WITHIN);
        Rc::new(Self { worker, http1, http2, open: Cell::new(0), draining: Cell::new(false), changed: Notify::new() })
    }

    fn drain(&self) {
        self.draining.set(true);
        self.worker.running.drain();
        self.changed.notify_waiters();
    }

    /// Waits until a drain is asked for.
    async fn drained(&self) {
        let mut changed = pin!(self.changed.notified());
        while !self.draining.get() {
            changed.as_mut().await;
            changed.set(self.changed.notified());
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

    async fn accept(self: Rc<Self>, listener: TcpListener, terms: Rc<Terms>) {
        let seats = Arc::clone(&self.worker.gateway.seats);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // With all places taken and busy this one waits, and the others in the system's bounded queue.
                    let guest = Guest::enter(&self, seats.take().await);
                    spawn_local(guest.serve(stream, peer, Rc::clone(&terms)));
                    // Lets other threads have the next one: a burst would otherwise stay with whoever woke first.
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

/// One open connection's place in the counts; leaves them when dropped, however the connection ended.
struct Guest {
    house: Rc<House>,
    seat: Seat,
}

impl Guest {
    fn enter(house: &Rc<House>, seat: Seat) -> Self {
        house.open.set(house.open.get() + 1);
        house.worker.gateway.telemetry.connection_opened();
        Self { house: Rc::clone(house), seat }
    }

    async fn serve(self, mut stream: TcpStream, address: SocketAddr, terms: Rc<Terms>) {
        let (house, timeouts) = (&self.house, &self.house.worker.gateway.settings.timeouts);
        let deadline = Instant::now() + timeouts.handshake;
        // Without it answers would wait for acknowledgements; a socket that refuses it is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let greeted = tokio::select! {
            greeted = timeout_at(deadline, self.greet(&mut stream, address, &terms)) => greeted.ok().flatten(),
            () = house.drained() => return,
            () = self.seat.occupant().must_leave() => return,
        };
        let Some(peer) = greeted else { return house.worker.gateway.telemetry.proxy_header_rejected() };
        // A trusted proxy speaks for many.
        let client = (!peer.trusted).then(|| ClientNetwork::from(peer.address));
        if !self.seat.belongs_to(client) {
            return house.worker.gateway.telemetry.connection_refused();
        }
        let Some(tls) = &terms.tls else {
            let connection = Connection::new(&terms, peer, None);
            connection.takes(self.seat.occupant());
            let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
            return self.http1(io, connection).await;
        };
        let made = tokio::select! {
            made = timeout_at(deadline, TlsAcceptor::from(tls.config()).accept(stream)) => made,
            () = house.drained() => return,
            () = self.seat.occupant().must_leave() => return,
        };
        let agreed = made.ok().and_then(Result::ok).and_then(|stream| Some((session(&stream)?, stream)));
        let Some((session, stream)) = agreed else { return house.worker.gateway.telemetry.handshake_failed() };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let connection = Connection::new(&terms, peer, Some(session));
        connection.takes(self.seat.occupant());
        let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
        if http2 { self.http2(io, connection).await } else { self.http1(io, connection).await }
    }

    /// Finds out who is at the other end; `None` if somebody speaks for others who may not, or does not speak.
    async fn greet(&self, stream: &mut TcpStream, address: SocketAddr, terms: &Terms) -> Option<Peer> {
        let trusted_proxies = &self.house.worker.gateway.settings.trusted_proxies;
        let trusts = |address: IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
        let peer = Peer::at(address, trusts);
        if !terms.proxy_protocol {
            return Some(peer);
        }
        if !peer.trusted {
            return None;
        }
        Some(match proxy_protocol::read(stream).await.ok()? {
            // That the balancer is trusted says nothing about whoever speaks through it.
            Source::Client(client) => Peer::at(client, trusts),
            Source::Unnamed => Peer { trusted: false, ..peer },
        })
    }

    async fn http1<S: Socket + 'static>(&self, io: ClientIo<S>, connection: Rc<Connection>) {
        let house = &self.house;
        let service = layers::service(&house.worker, Rc::clone(&connection));
        let kept = Kept(&connection);
        let mut served = house.http1.serve_connection(TokioIo::new(io.watching_http1()), service);
        let mut serving = Pin::new(&mut served);
        let mut dismissed = pin!(self.dismissed(&connection));
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => ended,
            () = dismissed.as_mut() => return,
            () = house.drained() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = serving => ended,
                    () = dismissed => return,
                }
            }
        };
        match kept.0.take_tunnel().filter(|_| ended.is_ok()) {
            Some(tunnel) => {
                // hyper itself can only hand over streams that may change threads.
                let parts = served.into_parts();
                tunnel.run(parts.io.into_inner().unwatched(), parts.read_buf).await;
            }
            None => self.count(ended),
        }
    }

    /// Waits until an HTTP/1 connection is to be closed at once.
    async fn dismissed(&self, connection: &Connection) {
        let gateway = &self.house.worker.gateway;
        tokio::select! {
            () = connection.severed() => {}
            () = self.seat.occupant().must_leave() => {}
            () = overdue(connection, &gateway.settings.timeouts, false) => {
                if connection.awaits_head() {
                    gateway.telemetry.head_rejected("too_slow");
                }
            }
        }
    }

    async fn http2<S: Socket + 'static>(&self, io: ClientIo<S>, connection: Rc<Connection>) {
        let house = &self.house;
        let timeouts = &house.worker.gateway.settings.timeouts;
        let service = layers::service(&house.worker, Rc::clone(&connection));
        let mut served = pin!(house.http2.serve_connection(TokioIo::new(io.watching_http2()), service));
        let asked_to_end = tokio::select! {
            biased;
            ended = served.as_mut() => return self.count(ended),
            () = house.drained() => false,
            () = self.seat.occupant().must_leave() => return,
            // hyper pings idle HTTP/2 clients but never tires of them.
            () = overdue(&connection, timeouts, true) => true,
        };
        served.as_mut().graceful_shutdown();
        if !asked_to_end {
            return self.count(served.await);
        }
        // A stream that was begun before the client read of the end runs to its own.
        while let Err(_waiting) = timeout(FAREWELL, served.as_mut()).await.map(|ended| self.count(ended)) {
            if connection.is_quiet() {
                return;
            }
        }
    }

    fn count(&self, ended: hyper::Result<()>) {
        let Err(fault) = ended else { return };
        let telemetry = &self.house.worker.gateway.telemetry;
        if fault.is_parse_too_large() {
            telemetry.head_rejected("too_large");
        } else if fault.is_parse() {
            telemetry.head_rejected("malformed");
        }
        tracing::debug!("client connection: {fault}");
    }
}

/// Gives up what a connection keeps for itself, however its task ends.
struct Kept<'c>(&'c Connection);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let house = &self.house;
        house.open.set(house.open.get().saturating_sub(1));
        house.worker.gateway.telemetry.connection_closed();
        if house.draining.get() {
            house.changed.notify_waiters();
        }
    }
}

/// What a handshake said; `None` if the client's certificate cannot be read to its end, or has ended: a session that is
/// resumed brings the certificate of its first handshake along.
fn session(stream: &TlsStream<TcpStream>) -> Option<Session> {
    let tls = &stream.get_ref().1;
    let server_name = tls.server_name().map(|name| sni::canonical(name).into());
    let Some(shown) = tls.peer_certificates().and_then(<[_]>::first) else {
        return Some(Session { server_name, certificate: None });
    };
    match client_certificate::read(shown) {
        Ok(certificate) if certificate.is_valid_at(now_ms() / 1000) => {
            Some(Session { server_name, certificate: Some(Arc::new(certificate)) })
        }
        Ok(_) => None,
        Err(unreadable) => {
            tracing::warn!("a client's certificate is refused: {}", unreadable.0);
            None
        }
    }
}

/// Waits until the client has kept a connection without a request for too long.
async fn overdue(connection: &Connection, timeouts: &Timeouts, multiplexed: bool) {
    loop {
        let due = connection.due(timeouts, multiplexed);
        if due <= Instant::now() {
            return;
        }
        sleep_until(due).await;
    }
}

/// Runs HTTP/2 streams on the thread of their connection.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        spawn_local(stream);
    }
}
