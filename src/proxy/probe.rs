//! Whether a server of an upstream can be reached, asked the way requests are sent to it but with a request that means
//! nothing to any application. For people; requests of clients never come here.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::upload::RequestBody;
use super::upstream::{Dialer, Http2, Stream};
use crate::route::Server;
use crate::route::upstream::{Protocol, Transport};

pub use super::upstream::{DialFault as ProbeFault, Stage};

/// The bytes of an answer's head that are read.
const HEAD_BYTES: usize = 64 * 1024;

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

/// Asks a server `OPTIONS *` (RFC 9110 section 9.3.7) on a connection made as `transport` says, within this time. Must
/// be called inside a `LocalSet`; the caller bounds the whole of it.
///
/// # Errors
/// The first stage that fails.
pub async fn probe(server: &Server, transport: &Arc<Transport>, within: Duration) -> Result<Reached, ProbeFault> {
    let began = Instant::now();
    let (stream, address) = Dialer::of_system().dial(server, transport, within).await?;
    let request = Request::options("*").header(HOST, server.authority()).body(RequestBody::none());
    let request = request.map_err(ProbeFault::at(Stage::Answer, ""))?;
    let response = match transport.protocol {
        Protocol::Http1 => ask_http1(stream, request).await?,
        Protocol::Http2 => ask_http2(stream, request, server.tls, began + within).await?,
    };
    Ok(Reached { address, status: response.status().as_u16(), took: began.elapsed() })
}

async fn ask_http1(stream: Stream, request: Request<RequestBody>) -> Result<Response<Incoming>, ProbeFault> {
    let fault = ProbeFault::at::<hyper::Error>(Stage::Answer, "no answer in HTTP: ");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(&fault)?;
    let exchange = sender.send_request(request);
    tokio::pin!(exchange, connection);
    let response = tokio::select! {
        response = &mut exchange => response,
        // The connection may end first, when the server closes it after its answer.
        _ = &mut connection => exchange.await,
    };
    response.map_err(&fault)
}

async fn ask_http2(
    stream: Stream,
    request: Request<RequestBody>,
    tls: bool,
    until: Instant,
) -> Result<Response<Incoming>, ProbeFault> {
    let started = Http2::start(stream, HEAD_BYTES, tls, until, &std::rc::Rc::default()).await;
    let connection = started.map_err(ProbeFault::at(Stage::Answer, ""))?;
    let answer = connection.take().send(request).await;
    answer.map_err(|fault| {
        let cause = fault.fault.map_or_else(|| "no name to ask for".to_owned(), |fault| fault.to_string());
        ProbeFault { stage: Stage::Answer, cause: format!("no answer in HTTP: {cause}") }
    })
}
