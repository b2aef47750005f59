//! TLS towards clients: TLS 1.2 and 1.3 by rustls with aws-lc-rs, HTTP/2 by ALPN, and a certificate that can be replaced
//! while connections run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The TLS side of one listener.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads a PEM certificate chain (leaf first) and the leaf's private key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key is not the certificate's; the text names the file.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pair = read_pair(certificate, key, &provider)?;
        let current = Arc::new(Current(RwLock::new(pair)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|fault| format!("TLS cannot be set up: {fault}"))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current,
            config: Arc::new(config),
        }))
    }

    /// Reads both files again; new handshakes use what they hold now. Running connections are not touched.
    ///
    /// # Errors
    /// As with [`load`](Self::load); the old pair then stays in use.
    pub fn reload(&self) -> Result<(), String> {
        let pair = read_pair(&self.certificate, &self.key, self.config.crypto_provider())?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(())
    }

    /// The two files, for whoever watches them: certificate, key.
    pub fn files(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }

    /// What handshakes are made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// The pair in use. A lock of the standard library will do: it is read once a handshake, whose signature costs a
/// thousand times as much, and `arc_swap` has its one home in `snapshot`.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read_pair(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let fault = |path: &Path, what: &dyn std::fmt::Display| format!("`{}`: {what}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| fault(certificate, &cause))?;
    if chain.is_empty() {
        return Err(fault(certificate, &"the file has no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| fault(key, &cause))?;
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(|cause| match cause {
        rustls::Error::InconsistentKeys(_) => {
            fault(key, &format!("the key is not the one of the certificate in `{}`", certificate.display()))
        }
        other => fault(certificate, &other),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write_pair(directory: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    fn leaf(tls: &ServerTls) -> Vec<u8> {
        tls.current.0.read().unwrap().cert[0].to_vec()
    }

    #[test]
    fn new_files_take_effect_and_bad_ones_leave_the_old_pair() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(directory.path());
        let tls = ServerTls::load(&certificate, &key).unwrap();
        let first = leaf(&tls);

        write_pair(directory.path());
        tls.reload().unwrap();
        let second = leaf(&tls);
        assert_ne!(first, second);

        let old_key = fs::read(&key).unwrap();
        write_pair(directory.path());
        fs::write(&key, old_key).unwrap();
        let fault = tls.reload().unwrap_err();
        assert!(fault.contains("tls.key") && fault.contains("not the one of the certificate"), "{fault}");
        assert_eq!(leaf(&tls), second);

        fs::write(&certificate, "").unwrap();
        let fault = tls.reload().unwrap_err();
        assert!(fault.contains("tls.crt"), "{fault}");
        fs::remove_file(&key).unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(leaf(&tls), second);
    }

    #[test]
    fn http_2_is_offered_before_http_1_1() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(directory.path());
        let tls = ServerTls::load(&certificate, &key).unwrap();
        assert_eq!(tls.config().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let fault = ServerTls::load(Path::new("/nowhere/a.crt"), Path::new("/nowhere/a.key")).unwrap_err();
        assert!(fault.contains("`/nowhere/a.crt`"), "{fault}");
    }
}
