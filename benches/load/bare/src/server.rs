//! Connections of clients.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::Pool;

type Fault = Box<dyn Error + Send + Sync>;

/// TLS 1.3 with both protocols.
pub fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let builder = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves whoever connects, for ever.
pub async fn serve(address: SocketAddr, tls: Option<TlsAcceptor>, pool: Rc<Pool>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(connection(stream, tls.clone(), Rc::clone(&pool)));
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, pool: Rc<Pool>) {
    // A socket that refuses it is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return http1(stream, pool).await };
    let Ok(stream) = tls.accept(stream).await else { return };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => {
            let service = service_fn(move |request| forward(Rc::clone(&pool), request));
            let _ended = http2::Builder::new(Local).serve_connection(TokioIo::new(stream), service).await;
        }
        _ => http1(stream, pool).await,
    }
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin, pool: Rc<Pool>) {
    let service = service_fn(move |request| forward(Rc::clone(&pool), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(3600)).writev(false);
    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Sends a request on as it is, but for what belongs to one connection.
async fn forward(pool: Rc<Pool>, mut request: Request<Incoming>) -> Result<Response<Kept>, Fault> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = request.uri().path_and_query().ok_or("no path")?.as_str().parse()?;
    }
    *request.version_mut() = Version::HTTP_11;
    strip(request.headers_mut());
    let mut sender = pool.take().await?;
    let mut response = sender.send_request(request).await?;
    strip(response.headers_mut());
    Ok(response.map(|body| Kept { body, kept: Some((sender, pool)) }))
}

fn strip(headers: &mut http::HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// The body of an answer, whose connection is kept once it ended.
struct Kept {
    body: Incoming,
    kept: Option<(SendRequest<Incoming>, Rc<Pool>)>,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((sender, pool)) = self.kept.take().filter(|_| self.body.is_end_stream()) {
            pool.give(sender);
        }
    }
}

/// Spawns on the one thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
