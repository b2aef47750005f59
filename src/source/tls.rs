//! What the control plane believes of servers that it connects to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A client that believes the certificate authorities in `ca` (PEM), or the public ones, and checks names.
///
/// # Errors
/// `ca` holds no certificate, or a broken one.
pub(super) fn client(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    client_showing(ca, None)
}

/// The same, which shows a certificate chain and has the key of it, both PEM.
fn client_showing(ca: Option<&[u8]>, shown: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("the `ca` file is not PEM: {error}"))?;
                roots.add(certificate).map_err(|error| format!("the `ca` file has a bad certificate: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the `ca` file has no certificate".into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let bad = |error: &dyn std::fmt::Display| format!("the certificate or its key cannot be used: {error}");
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let chain = chain.map_err(|error| bad(&error))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(&error))?;
            config.with_client_auth_cert(chain, key).map_err(|error| bad(&error))?
        }
    };
    Ok(Arc::new(config))
}

/// TLS over a connection to `host`, for those who wait for each other in turn. The handshake comes with the first byte.
///
/// # Errors
/// Those of `ca` and of what is shown, a certificate chain and its key, and a `host` that no certificate can name.
pub fn over_tls(
    stream: TcpStream,
    host: &str,
    ca: Option<&[u8]>,
    shown: Option<(&[u8], &[u8])>,
) -> Result<impl Read + Write + use<>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name of a server"))?;
    let connection = ClientConnection::new(client_showing(ca, shown)?, name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, stream))
}
