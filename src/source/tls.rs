//! What the control plane believes of servers that it connects to.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client that believes the certificate authorities in `ca` (PEM), or the public ones, and checks names.
///
/// # Errors
/// `ca` holds no certificate, or a broken one.
pub(super) fn client(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
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
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
