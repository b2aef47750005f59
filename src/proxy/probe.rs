//! Whether a server of an upstream can be reached, asked the way requests are sent to it but with a request that means
//! nothing to any application. For people; requests of clients never come here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::HOST;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::upstream::client_config;
use crate::route::Server;
use crate::route::upstream::{Endpoint, Transport};

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where it is: an address and port, or the path of a socket.
    pub address: String,
    /// The status of its answer, whatever it is.
    pub status: u16,
    /// From the name's resolution to the head of the answer.
    pub took: Duration,
}

/// What a probe came to before it failed.
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
pub struct ProbeFault {
    /// Where it failed.
    pub stage: Stage,
    /// A clause.
    pub cause: String,
}

/// Makes the fault of a stage.
fn at<E: fmt::Display>(stage: Stage, what: &'static str) -> impl Fn(E) -> ProbeFault {
    move |error| ProbeFault { stage, cause: format!("{what}{error}") }
}

/// Asks a server `OPTIONS *` (RFC 9110 section 9.3.7) on a connection made as `transport` says. Takes as long as the
/// server does; the caller bounds it.
///
/// # Errors
/// The first stage that fails.
pub async fn probe(server: &Server, transport: &Transport) -> Result<Reached, ProbeFault> {
    let began = Instant::now();
    let (host, port) = match &server.endpoint {
        Endpoint::Tcp { host, port } => (host, *port),
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(at(Stage::Connection, ""))?;
            let status = ask(server, stream).await?;
            return Ok(Reached { address: path.display().to_string(), status, took: began.elapsed() });
        }
    };
    let (address, tcp) = connect(host, port).await?;
    let status = if server.tls {
        let name = ServerName::try_from(transport.server_name.as_ref().unwrap_or(host).to_string());
        let name = name.map_err(at(Stage::Tls, "the host is no name that a certificate could have: "))?;
        let config = client_config(transport.ca.as_deref()).map_err(at(Stage::Tls, ""))?;
        let tls = TlsConnector::from(Arc::new(config));
        ask(server, tls.connect(name, tcp).await.map_err(at(Stage::Tls, ""))?).await?
    } else {
        ask(server, tcp).await?
    };
    Ok(Reached { address: address.to_string(), status, took: began.elapsed() })
}

async fn connect(host: &str, port: u16) -> Result<(SocketAddr, TcpStream), ProbeFault> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(at(Stage::Name, "the name does not resolve: "))?.collect();
    let mut last = String::from("the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((address, stream)),
            Err(error) => last = format!("no connection to {address}: {error}"),
        }
    }
    Err(ProbeFault { stage: Stage::Connection, cause: last })
}

async fn ask<S>(server: &Server, stream: S) -> Result<u16, ProbeFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let fault = at::<hyper::Error>(Stage::Answer, "no answer in HTTP: ");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(&fault)?;
    let request = Request::options("*")
        .header(HOST, server.authority())
        .body(Empty::<Bytes>::new())
        .map_err(at(Stage::Answer, ""))?;
    let exchange = sender.send_request(request);
    tokio::pin!(exchange, connection);
    let response = tokio::select! {
        response = &mut exchange => response,
        // The connection may end first, when the server closes it after its answer.
        _ = &mut connection => exchange.await,
    };
    Ok(response.map_err(&fault)?.status().as_u16())
}
