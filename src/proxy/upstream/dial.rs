//! Connects to one server: its name, TCP or a socket of this machine, and TLS where the server asks for it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::resolve::Resolver;
use super::stream::Stream;
use super::tls::{SetUps, alpn};
use crate::route::Server;
use crate::route::upstream::{Endpoint, Protocol, Transport};

/// What connecting came to before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the address.
    Name,
    /// Connecting.
    Connection,
    /// The TLS handshake, with the certificate of the server.
    Tls,
    /// An answer in HTTP.
    Answer,
}

/// Why a server was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFault {
    /// Where it failed.
    pub stage: Stage,
    /// A clause.
    pub cause: String,
}

impl DialFault {
    /// Makes the fault of a stage.
    pub(in crate::proxy) fn at<E: fmt::Display>(stage: Stage, what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self { stage, cause: format!("{what}{error}") }
    }
}

impl fmt::Display for DialFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stage == Stage::Tls {
            out.write_str("TLS: ")?;
        }
        out.write_str(&self.cause)
    }
}

impl std::error::Error for DialFault {}

/// Connects for one thread.
pub(in crate::proxy) struct Dialer {
    resolver: Resolver,
    set_ups: SetUps,
}

impl Dialer {
    /// A dialer that finds names in this way.
    pub(super) fn new(resolver: Resolver) -> Self {
        Self { resolver, set_ups: SetUps::default() }
    }

    /// A dialer that asks the system for names.
    pub(in crate::proxy) fn of_system() -> Self {
        Self::new(Resolver::of_system())
    }

    /// Connects to a server as `transport` says, within this time, and says where that was: an address and port, or the
    /// path of a socket.
    pub(in crate::proxy) async fn dial(
        &self,
        server: &Server,
        transport: &Arc<Transport>,
        within: Duration,
    ) -> Result<(Stream, String), DialFault> {
        let (host, port) = match &server.endpoint {
            Endpoint::Tcp { host, port } => (host, *port),
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(DialFault::at(Stage::Connection, ""))?;
                return Ok((Stream::Unix(stream), path.display().to_string()));
            }
        };
        let (tcp, address) = self.connect(host, port, Instant::now() + within).await?;
        let address = address.to_string();
        if !server.tls {
            return Ok((Stream::Tcp(tcp), address));
        }
        // An IP address is verified as such: among the certificate's addresses, not its names (RFC 9110 section 4.3.5).
        let name = ServerName::try_from(transport.server_name.as_ref().unwrap_or(host).to_string());
        let name = name.map_err(DialFault::at(Stage::Tls, "the host is no name that a certificate could have: "))?;
        let tls = self.set_ups.of(transport).map_err(DialFault::at(Stage::Tls, ""))?;
        let stream = tls.connect(name, tcp).await.map_err(DialFault::at(Stage::Tls, ""))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        // HTTP/1.1 needs no agreement; HTTP/2 does (RFC 9113 section 3.2).
        if transport.protocol == Protocol::Http2 && agreed != Some(alpn(Protocol::Http2)) {
            return Err(DialFault::at(Stage::Tls, "")("the server did not agree to speak HTTP/2 (ALPN)"));
        }
        Ok((Stream::Tls(Box::new(stream)), address))
    }

    /// Tries all addresses in turn. Each gets its part of the time that is left, so that one that swallows packets does
    /// not cost the others theirs.
    async fn connect(&self, host: &Arc<str>, port: u16, until: Instant) -> Result<(TcpStream, SocketAddr), DialFault> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => Arc::from([address]),
            Err(_) => {
                let found = self.resolver.addresses(host).await;
                found.map_err(DialFault::at(Stage::Name, "the name does not resolve: "))?
            }
        };
        let mut last = None;
        for (tried, ip) in addresses.iter().enumerate() {
            let address = SocketAddr::new(*ip, port);
            let part = part(until.saturating_duration_since(Instant::now()), addresses.len() - tried);
            let fault = match timeout(part, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it requests would wait for acknowledgements; a socket that refuses it is about to fail.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Ok(Err(fault)) => fault,
                Err(_) => io::Error::from(io::ErrorKind::TimedOut),
            };
            last = Some(DialFault { stage: Stage::Connection, cause: format!("no connection to {address}: {fault}") });
        }
        Err(last.unwrap_or_else(|| DialFault::at(Stage::Name, "")("the name has no address")))
    }
}

/// The part of the time left that the first of so many addresses gets. The caller bounds the last one.
fn part(time: Duration, addresses: usize) -> Duration {
    match u32::try_from(addresses).unwrap_or(u32::MAX) {
        0 | 1 => Duration::MAX,
        several => time / several,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    /// A dialer for whom every name has the addresses that `answers` gives for the number of the look-up.
    fn dialer(answers: impl Fn(usize) -> Vec<IpAddr> + 'static) -> Dialer {
        let asked = AtomicUsize::new(0);
        Dialer::new(Resolver::new(Box::new(move |_| {
            let found = answers(asked.fetch_add(1, Ordering::SeqCst));
            Box::pin(async move { Ok(found) })
        })))
    }

    #[test]
    fn a_name_that_moves_is_followed_by_new_connections() {
        run(async {
            let one = TcpListener::bind((ip(1), 0)).await.unwrap();
            let port = one.local_addr().unwrap().port();
            let _other = TcpListener::bind((ip(2), port)).await.unwrap();
            let server = Server::parse(&format!("http://moves.test:{port}")).unwrap();
            let dialer = dialer(|number| vec![if number == 0 { ip(1) } else { ip(2) }]);
            let within = Duration::from_secs(5);
            let (_stream, address) = dialer.dial(&server, &Arc::default(), within).await.unwrap();
            assert_eq!(address, format!("127.0.0.1:{port}"));
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let (_stream, address) = dialer.dial(&server, &Arc::default(), within).await.unwrap();
            assert_eq!(address, format!("127.0.0.2:{port}"));
        });
    }

    #[test]
    fn all_addresses_of_a_name_are_tried_and_the_last_fault_is_told() {
        run(async {
            let listener = TcpListener::bind((ip(3), 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = Server::parse(&format!("http://many.test:{port}")).unwrap();
            let within = Duration::from_secs(5);
            let reached = dialer(|_| vec![ip(1), ip(2), ip(3)]).dial(&server, &Arc::default(), within).await;
            assert_eq!(reached.unwrap().1, format!("127.0.0.3:{port}"));
            let fault = dialer(|_| vec![ip(1), ip(2)]).dial(&server, &Arc::default(), within).await.unwrap_err();
            assert_eq!(fault.stage, Stage::Connection);
            assert!(fault.cause.starts_with(&format!("no connection to 127.0.0.2:{port}: ")), "{fault}");
            let fault = dialer(|_| vec![]).dial(&server, &Arc::default(), within).await.unwrap_err();
            assert_eq!((fault.stage, fault.to_string().contains("the name has no address")), (Stage::Name, true));
        });
    }

    #[test]
    fn each_address_gets_its_part_of_the_time_that_is_left_and_the_last_one_all() {
        for (time, addresses, expected) in [(1000, 2, 500), (500, 2, 250), (900, 3, 300), (0, 2, 0)] {
            assert_eq!(part(Duration::from_millis(time), addresses), Duration::from_millis(expected));
        }
        assert_eq!(part(Duration::from_millis(1000), 1), Duration::MAX);
    }

    #[test]
    fn an_address_that_swallows_packets_leaves_the_others_their_time() {
        run(async {
            let listener = TcpListener::bind((ip(1), 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            // A listener whose queue is full answers no more, like a firewall.
            let full = std::net::TcpListener::bind((ip(4), port)).unwrap();
            socket2::SockRef::from(&full).listen(0).unwrap();
            let mut fill = Vec::new();
            while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect((ip(4), port))).await {
                fill.push(stream);
            }
            let server = Server::parse(&format!("http://half.test:{port}")).unwrap();
            let began = Instant::now();
            let dialer = dialer(|_| vec![ip(4), ip(1)]);
            let transport = Arc::default();
            let dialed = dialer.dial(&server, &transport, Duration::from_secs(1));
            let (_, address) = timeout(Duration::from_secs(60), dialed).await.expect("not stuck").unwrap();
            assert_eq!(address, format!("127.0.0.1:{port}"));
            assert!(began.elapsed() >= Duration::from_millis(400), "it had its part");
        });
    }

    #[test]
    fn a_socket_that_is_missing_is_no_connection() {
        run(async {
            let server = Server::parse("unix:/nowhere/app.sock").unwrap();
            let fault = Dialer::of_system().dial(&server, &Arc::default(), Duration::from_secs(1)).await.unwrap_err();
            assert_eq!(fault.stage, Stage::Connection);
        });
    }
}
