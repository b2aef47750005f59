//! Accepts clients and speaks HTTP with them, on one thread: TLS or plain, HTTP/1.1 or HTTP/2, each within its bounds,
//! until a drain ends it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::caller::Connection;
use super::io::{ClientIo, Socket};
use super::tls::ServerTls;
use super::{Gateway, Settings, Worker, layers};

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
/// How long an HTTP/2 peer may take to answer a ping.
const PING_WITHIN: Duration = Duration::from_secs(20);
/// The header lines that hyper parses without an allocation; asking it for just as many would cost one a request.
const HYPER_HEADERS: usize = 100;

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

/// Runs one worker on the current thread's runtime, inside a `LocalSet`: accepts from `listeners` (each with its TLS side,
/// if it has one) until `drain` turns true, then lets running requests end, for `timeouts.drain` at most. Returns before
/// a drain only if a listener cannot be registered with the runtime, which the process log then says.
pub async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<(std::net::TcpListener, Option<Arc<ServerTls>>)>,
    mut drain: watch::Receiver<bool>,
) {
    let house = House::new(Worker::new(Arc::clone(&gateway)));
    let mut accepting = Vec::new();
    for (listener, tls) in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => accepting.push(spawn_local(Rc::clone(&house).accept(listener, tls))),
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
        http1.timer(TokioTimer::new()).header_read_timeout(timeouts.client_head);
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

    async fn accept(self: Rc<Self>, listener: TcpListener, tls: Option<Arc<ServerTls>>) {
        let places = Arc::clone(&self.worker.gateway.connections);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // With all places taken this one waits, and the others in the system's bounded queue.
                    let Some(place) = place(&places).await else { return };
                    let guest = Guest::enter(&self, place);
                    spawn_local(guest.serve(stream, peer, tls.clone()));
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

async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // The semaphore is never closed.
    Arc::clone(places).acquire_owned().await.ok()
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
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn enter(house: &Rc<House>, place: OwnedSemaphorePermit) -> Self {
        house.open.set(house.open.get() + 1);
        house.worker.gateway.telemetry.connection_opened();
        Self { house: Rc::clone(house), _place: place }
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerTls>>) {
        let house = &self.house;
        let Settings { timeouts, trusted_proxies, .. } = &house.worker.gateway.settings;
        // Without it answers would wait for acknowledgements; a socket that refuses it is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(peer, tls.is_some(), |address| {
            trusted_proxies.iter().any(|network| network.contains(address))
        });
        let Some(tls) = tls else {
            let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
            return self.http1(io, connection).await;
        };
        let handshake = timeout(timeouts.handshake, TlsAcceptor::from(tls.config()).accept(stream));
        let stream = tokio::select! {
            made = handshake => match made {
                Ok(Ok(stream)) => stream,
                _ => return house.worker.gateway.telemetry.handshake_failed(),
            },
            () = house.drained() => return,
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
        if http2 { self.http2(io, connection).await } else { self.http1(io, connection).await }
    }

    async fn http1<S: Socket + 'static>(&self, io: ClientIo<S>, connection: Rc<Connection>) {
        let house = &self.house;
        let service = layers::service(&house.worker, Rc::clone(&connection));
        let kept = Kept(&connection);
        let mut served = house.http1.serve_connection(TokioIo::new(io), service);
        let mut serving = Pin::new(&mut served);
        let mut severed = pin!(connection.severed());
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => ended,
            () = severed.as_mut() => return,
            () = house.drained() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = serving => ended,
                    () = severed => return,
                }
            }
        };
        match kept.0.take_tunnel().filter(|_| ended.is_ok()) {
            Some(tunnel) => {
                // hyper itself can only hand over streams that may change threads.
                let parts = served.into_parts();
                tunnel.run(parts.io.into_inner(), parts.read_buf).await;
            }
            None => self.count(ended),
        }
    }

    async fn http2<S: Socket + 'static>(&self, io: ClientIo<S>, connection: Rc<Connection>) {
        let house = &self.house;
        let patience = house.worker.gateway.settings.timeouts.client_head;
        let service = layers::service(&house.worker, Rc::clone(&connection));
        let mut served = pin!(house.http2.serve_connection(TokioIo::new(io), service));
        let asked_to_end = tokio::select! {
            biased;
            ended = served.as_mut() => return self.count(ended),
            () = house.drained() => false,
            // hyper pings idle HTTP/2 clients but never tires of them.
            () = quiet_for(&connection, patience) => true,
        };
        served.as_mut().graceful_shutdown();
        let ended = if asked_to_end { timeout(patience, served).await } else { Ok(served.await) };
        if let Ok(ended) = ended {
            self.count(ended);
        }
    }

    fn count(&self, ended: hyper::Result<()>) {
        let Err(fault) = ended else { return };
        if fault.is_parse() || fault.is_parse_too_large() {
            self.house.worker.gateway.telemetry.head_rejected();
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

/// Waits until no request has run on the connection for so long.
async fn quiet_for(connection: &Connection, patience: Duration) {
    loop {
        let due = connection.quiet_since().unwrap_or_else(Instant::now) + patience;
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
