//! Opens connections to upstream servers: name resolution, TCP, TLS where the server asks for it, and hyper's client
//! connection, polled by a task of the same thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::pool::Connection;
use super::{Lease, ServerPool};
use crate::proxy::settings::Timeouts;
use crate::route::Server;
use crate::telemetry::Telemetry;

/// The most TLS set-ups that are remembered; a route map has one for each distinct `ca`.
const MOST_REMEMBERED: usize = 64;

/// Why a server could not be connected to.
#[derive(Debug)]
pub(in crate::proxy) enum ConnectFault {
    /// It took too long.
    TimedOut,
    /// The name, the connection or the TLS handshake failed.
    Failed(io::Error),
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => out.write_str("connecting took too long"),
            Self::Failed(fault) => fault.fmt(out),
        }
    }
}

/// A TLS set-up and the authorities (PEM) that it believes; none means the public ones.
type Remembered = (Option<Arc<[u8]>>, TlsConnector);

/// Opens connections for one worker thread.
pub(in crate::proxy) struct Connector {
    telemetry: Arc<Telemetry>,
    within: Duration,
    http: http1::Builder,
    remembered: RefCell<Vec<Remembered>>,
}

impl Connector {
    /// A connector that takes response heads of up to `head_bytes`.
    pub(in crate::proxy) fn new(telemetry: Arc<Telemetry>, timeouts: &Timeouts, head_bytes: usize) -> Self {
        let mut http = http1::Builder::new();
        // hyper panics below 8 KiB. The bound also keeps its adaptive read buffer, and so the memory of an exchange, small.
        http.max_buf_size(head_bytes.max(64 * 1024));
        Self { telemetry, within: timeouts.connect, http, remembered: RefCell::default() }
    }

    /// Opens a connection to `server`, believing the authorities of `ca` (PEM) in place of the public ones.
    pub(in crate::proxy) async fn open(
        &self,
        server: &Server,
        ca: Option<&Arc<[u8]>>,
        pool: &Rc<ServerPool>,
    ) -> Result<Lease, ConnectFault> {
        let opened = match timeout(self.within, self.dial(server, ca)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(fault)) => Err(ConnectFault::Failed(fault)),
            Err(_) => Err(ConnectFault::TimedOut),
        };
        match opened {
            Ok(connection) => {
                self.telemetry.upstream_opened(&server.name);
                Ok(pool.lease(connection))
            }
            Err(fault) => {
                self.telemetry.upstream_failed(&server.name);
                Err(fault)
            }
        }
    }

    async fn dial(&self, server: &Server, ca: Option<&Arc<[u8]>>) -> io::Result<Connection> {
        let tcp = match server.host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect(SocketAddr::new(address, server.port)).await?,
            Err(_) => TcpStream::connect((&*server.host, server.port)).await?,
        };
        tcp.set_nodelay(true)?;
        if !server.tls {
            return self.start(tcp).await;
        }
        let name = ServerName::try_from(server.host.to_string()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "the host is no name that a certificate could have")
        })?;
        let tls = self.tls(ca)?;
        self.start(tls.connect(name, tcp).await?).await
    }

    async fn start<S>(&self, stream: S) -> io::Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = self.http.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let task = tokio::task::spawn_local(async move {
            if let Err(fault) = connection.with_upgrades().await {
                // Whoever used the connection learns of the fault from its exchange.
                tracing::debug!("upstream connection: {fault}");
            }
        });
        Ok(Connection { sender, task })
    }

    fn tls(&self, ca: Option<&Arc<[u8]>>) -> io::Result<TlsConnector> {
        let mut remembered = self.remembered.borrow_mut();
        if let Some((_, tls)) = remembered.iter().find(|(known, _)| known.as_ref() == ca) {
            return Ok(tls.clone());
        }
        let tls = TlsConnector::from(Arc::new(client_config(ca.map(|pem| &**pem))?));
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.push((ca.cloned(), tls.clone()));
        Ok(tls)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector").field("within", &self.within).finish_non_exhaustive()
    }
}

/// How a server's certificate is checked: by the authorities of `ca` (PEM), or by the public ones.
pub(in crate::proxy) fn client_config(ca: Option<&[u8]>) -> io::Result<ClientConfig> {
    let invalid = |fault: String| io::Error::new(io::ErrorKind::InvalidData, fault);
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|fault| invalid(format!("the upstream's `ca`: {fault}")))?;
                roots.add(certificate).map_err(|fault| invalid(format!("the upstream's `ca`: {fault}")))?;
            }
            if roots.is_empty() {
                return Err(invalid("the upstream's `ca` has no certificate".into()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_come_from_the_public_list_or_from_the_file_and_never_from_nowhere() {
        assert!(client_config(None).is_ok());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        assert!(client_config(Some(made.cert.pem().as_bytes())).is_ok());
        assert!(client_config(Some(b"")).unwrap_err().to_string().contains("no certificate"));
        assert!(client_config(Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")).is_err());
    }

    #[test]
    fn a_tls_set_up_is_made_once_for_each_authority() {
        let connector = Connector::new(Telemetry::new("0", false), &Timeouts::default(), 65_536);
        connector.tls(None).unwrap();
        connector.tls(None).unwrap();
        let pem: Arc<[u8]> =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem().into_bytes().into();
        connector.tls(Some(&pem)).unwrap();
        assert_eq!(connector.remembered.borrow().len(), 2);
    }
}
