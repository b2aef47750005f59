//! One client connection: who is at its other end, TLS where the listener has it, and HTTP until it ends or has to.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::{Connection, Peer, Session};
use super::io::{ClientIo, Socket};
use super::listener::{Accepted, House, Terms};
use super::proxy_protocol::{self, Source};
use super::seats::Seat;
use super::seldom::Seldom;
use super::settings::{ClientNetwork, Timeouts};
use super::shares::Counted;
use super::{client_certificate, layers, now_ms, sni};

/// How long a connection of HTTP/1 is idle until it rests: its buffers are given up until the client stirs.
const REST: Duration = Duration::from_secs(5);
/// How long an idle HTTP/2 client may take to leave once it is told to.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a drain waits for the first request, and for the handshake before it, of a client that was accepted already, and
/// for the rest of any head that has begun.
const ARRIVAL: Duration = Duration::from_millis(250);
/// How often it looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// One open connection's place in the counts; leaves them when dropped, however the connection ended.
pub(super) struct Guest {
    house: Rc<House>,
    seat: Seat,
    _counted: Counted<Accepted>,
}

impl Guest {
    /// Takes a place in the counts of its worker.
    pub(super) fn enter(house: &Rc<House>, seat: Seat, counted: Counted<Accepted>) -> Self {
        house.entered();
        house.worker.telemetry.connection_opened();
        Self { house: Rc::clone(house), seat, _counted: counted }
    }

    /// Serves the connection to its end. What is only needed to open it, or by one kind of connection, has memory of its
    /// own, so that an idle one holds little.
    pub(super) async fn serve(self, stream: TcpStream, address: SocketAddr, terms: Arc<Terms>) {
        let Some((opened, connection)) = Box::pin(self.open(stream, address, terms)).await else { return };
        match opened {
            Opened::Plain(io) => Box::pin(self.http1(io, connection)).await,
            Opened::Tls(io) => Box::pin(self.http1(io, connection)).await,
            Opened::Http2(io) => Box::pin(self.http2(io, connection)).await,
        }
    }

    /// Finds out who is at the other end and in which protocol they speak; `None` if nothing comes of it.
    async fn open(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        terms: Arc<Terms>,
    ) -> Option<(Opened, Rc<Connection>)> {
        let (house, timeouts) = (&self.house, &self.house.worker.gateway.settings.timeouts);
        let deadline = Instant::now() + timeouts.handshake;
        // Without it answers would wait for acknowledgements; a socket that refuses it is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let greeted = tokio::select! {
            greeted = timeout_at(deadline, self.greet(&mut stream, address, &terms)) => greeted.ok().flatten(),
            () = self.too_late() => return None,
            () = self.seat.occupant().must_leave() => return None,
        };
        let Some(peer) = greeted else {
            house.worker.gateway.telemetry.proxy_header_rejected();
            return None;
        };
        // A trusted proxy speaks for many.
        let client = (!peer.trusted).then(|| ClientNetwork::from(peer.address));
        if !self.seat.belongs_to(client) {
            house.worker.gateway.telemetry.connection_refused();
            return None;
        }
        let Some(tls) = &terms.tls else {
            let connection = Connection::new(&terms, peer, None);
            connection.takes(self.seat.occupant());
            let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
            return Some((Opened::Plain(io), connection));
        };
        let made = tokio::select! {
            made = timeout_at(deadline, TlsAcceptor::from(tls.config()).accept(stream)) => made,
            () = self.too_late() => return None,
            () = self.seat.occupant().must_leave() => return None,
        };
        let agreed = made.ok().and_then(Result::ok).and_then(|stream| Some((session(&stream)?, stream)));
        let Some((session, stream)) = agreed else {
            house.worker.gateway.telemetry.handshake_failed();
            return None;
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let connection = Connection::new(&terms, peer, Some(session));
        connection.takes(self.seat.occupant());
        let io = ClientIo::new(stream, timeouts.client_body, Rc::clone(&connection));
        Some((if http2 { Opened::Http2(io) } else { Opened::Tls(io) }, connection))
    }

    /// Waits until a drain has begun and clients that came before it have had their time.
    async fn too_late(&self) {
        self.house.drained().await;
        sleep(ARRIVAL).await;
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

    async fn http1<S: Socket + 'static>(&self, mut io: Box<ClientIo<S>>, connection: Rc<Connection>) {
        let house = &self.house;
        let kept = Kept(&connection);
        io.watch_http1();
        let mut dismissed = pin!(Seldom::new(self.dismissed(&connection)));
        let mut drained = pin!(Seldom::new(house.drained()));
        let (served, ended) = loop {
            let service = layers::service(&house.worker, Rc::clone(&connection));
            let mut served = Box::new(house.http1.serve_connection(TokioIo::new(io), service));
            let mut serving = Pin::new(&mut *served);
            let mut rests = pin!(Seldom::new(rests(&connection)));
            tokio::select! {
                biased;
                ended = serving.as_mut() => break (served, ended),
                () = dismissed.as_mut() => return,
                () = drained.as_mut() => {
                    // hyper would close at once, though a request may be on its way.
                    tokio::select! {
                        biased;
                        ended = serving.as_mut() => break (served, ended),
                        () = dismissed.as_mut() => return,
                        () = head_on_its_way(&connection) => {}
                    }
                    serving.as_mut().graceful_shutdown();
                    let ended = tokio::select! {
                        biased;
                        ended = serving => ended,
                        () = dismissed => return,
                    };
                    break (served, ended);
                }
                () = rests.as_mut() => {}
            }
            // hyper keeps its buffers for as long as its connection lives; at rest, there is nothing in them.
            let parts = served.into_parts();
            io = parts.io.into_inner();
            io.put_back(parts.read_buf);
            tokio::select! {
                biased;
                () = io.stirs() => {}
                () = dismissed.as_mut() => return,
                () = drained.as_mut() => return,
            }
        };
        match kept.0.take_tunnel().filter(|_| ended.is_ok()) {
            Some(tunnel) => {
                // hyper itself can only hand over streams that may change threads.
                let parts = served.into_parts();
                let mut io = parts.io.into_inner();
                io.watch_no_more();
                Box::pin(tunnel.run(io, parts.read_buf)).await;
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

    async fn http2<S: Socket + 'static>(&self, mut io: Box<ClientIo<S>>, connection: Rc<Connection>) {
        io.watch_http2();
        let house = &self.house;
        let timeouts = &house.worker.gateway.settings.timeouts;
        let service = layers::service(&house.worker, Rc::clone(&connection));
        let mut served = pin!(house.http2.serve_connection(TokioIo::new(io), service));
        let mut drained = pin!(Seldom::new(house.drained()));
        let mut must_leave = pin!(Seldom::new(self.seat.occupant().must_leave()));
        let mut overdue = pin!(Seldom::new(overdue(&connection, timeouts, true)));
        let asked_to_end = tokio::select! {
            biased;
            ended = served.as_mut() => return self.count(ended),
            () = drained.as_mut() => false,
            () = must_leave.as_mut() => return,
            // hyper pings idle HTTP/2 clients but never tires of them.
            () = overdue.as_mut() => true,
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

/// A connection that was opened, by what is spoken on it.
enum Opened {
    /// HTTP/1 without TLS.
    Plain(Box<ClientIo<TcpStream>>),
    /// HTTP/1 over TLS.
    Tls(Box<ClientIo<TlsStream<TcpStream>>>),
    /// HTTP/2, which is spoken over TLS only.
    Http2(Box<ClientIo<TlsStream<TcpStream>>>),
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
        house.worker.telemetry.connection_closed();
        house.left();
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

/// Waits until nothing has happened on a connection of HTTP/1 for a while.
async fn rests(connection: &Connection) {
    while let Some(left) = REST.checked_sub(connection.quiet_for()).filter(|left| !left.is_zero()) {
        sleep(left).await;
    }
}

/// Waits until the first request of a connection is there, or the rest of one that has begun, or has had its time.
async fn head_on_its_way(connection: &Connection) {
    let deadline = Instant::now() + ARRIVAL;
    while connection.awaits_head() && Instant::now() < deadline {
        sleep(LOOK).await;
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
