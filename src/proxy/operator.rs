//! TLS towards operators: HTTP/1.1 only, and who they are by the certificates that they show.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::client_certificate;
use super::tls::ServerTls;
use crate::model::ClientCertificate;

/// Makes the handshake of a connection. Whoever shows no certificate is nobody; one that cannot be read ends it.
///
/// # Errors
/// Why it failed.
pub async fn accept(
    tls: &ServerTls,
    stream: TcpStream,
) -> Result<(impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Option<ClientCertificate>), String> {
    let mut config = ServerConfig::clone(&tls.config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(|error| error.to_string())?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(|shown| client_certificate::read(shown)).transpose();
    let certificate = certificate.map_err(|unreadable| format!("the certificate is refused: {}", unreadable.0))?;
    Ok((stream, certificate))
}
