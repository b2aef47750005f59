//! The way to a database: a socket that notices when nobody is there, and TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection};
use tokio_rustls::TlsConnector;

use super::{Address, Fault};

/// How long a connection is silent before the other side is asked whether it is there, and between two such questions.
const SILENCE: Duration = Duration::from_secs(10);
/// How many of them may stay unanswered.
const QUESTIONS: u32 = 3;
/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// A stream of bytes, of whatever kind.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

pub(super) type Socket = Box<dyn Bytes>;

/// A client, and what has to be polled for it to get answers.
pub(super) type Connected = (Client, Connection<Socket, Encrypted>);

/// Connects to the first of the hosts that answers.
pub(super) async fn connect(address: &Address, within: Duration) -> Result<Connected, Fault> {
    let mut first = None;
    for (number, host) in address.config.get_hosts().iter().enumerate() {
        match timeout(within, connect_to(address, host, number)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(fault)) => drop(first.get_or_insert(fault)),
            Err(_) => drop(first.get_or_insert(Fault::late("connecting", within))),
        }
    }
    Err(first.unwrap_or_else(|| Fault::new("no host is named")))
}

async fn connect_to(address: &Address, host: &Host, number: usize) -> Result<Connected, Fault> {
    let port = port(&address.config, number);
    let refused = |error: io::Error| Fault::new(format!("no connection: {error}"));
    let (socket, name): (Socket, &str) = match host {
        Host::Tcp(name) => {
            let socket = TcpStream::connect((name.as_str(), port)).await.map_err(refused)?;
            socket.set_nodelay(true).map_err(refused)?;
            let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE).with_retries(QUESTIONS);
            SockRef::from(&socket).set_tcp_keepalive(&alive).map_err(refused)?;
            (Box::new(socket), name)
        }
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            (Box::new(UnixStream::connect(path).await.map_err(refused)?), "localhost")
        }
    };
    let tls = Handshake { connector: address.tls.clone().map(TlsConnector::from), name: name.to_owned() };
    Ok(address.config.connect_raw(socket, tls).await?)
}

/// The port of a host by its number among all hosts.
pub(super) fn port(config: &Config, number: usize) -> u16 {
    let ports = config.get_ports();
    ports.get(number).or(ports.first()).copied().unwrap_or(PORT)
}

/// What is to be done once the server has agreed to TLS.
struct Handshake {
    connector: Option<TlsConnector>,
    name: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let connector = self.connector.ok_or_else(|| io::Error::other("TLS was not asked for"))?;
            let name = ServerName::try_from(self.name).map_err(io::Error::other)?;
            connector.connect(name, socket).await.map(Encrypted)
        })
    }
}

/// A stream inside TLS.
pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    /// The certificate was checked with its name, which leaves nobody in between.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
