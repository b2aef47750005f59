//! TLS towards upstream servers: whom the gateway believes, what it shows of itself, and what it asks to speak inside.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::route::upstream::{Protocol, Transport};

/// The most set-ups that are remembered; a route map has one for each distinct `tls` of its upstreams.
const MOST_REMEMBERED: usize = 64;

/// The file of an upstream's `tls` that a fault is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFile {
    /// `ca`.
    Authorities,
    /// `client_certificate`.
    Certificate,
    /// `client_key`.
    Key,
}

/// Why the content of a file cannot be used for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFault {
    /// Which file it is.
    pub file: CertificateFile,
    /// A clause.
    pub cause: String,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.file {
            CertificateFile::Authorities => "ca",
            CertificateFile::Certificate => "client_certificate",
            CertificateFile::Key => "client_key",
        };
        write!(out, "the upstream's `{file}`: {}", self.cause)
    }
}

/// Makes the fault of a file.
fn of<E: fmt::Display>(file: CertificateFile) -> impl Fn(E) -> CertificateFault {
    move |cause| CertificateFault { file, cause: cause.to_string() }
}

/// Whether authorities (PEM) can be believed.
///
/// # Errors
/// What is wrong with them.
pub fn check_authorities(pem: &[u8]) -> Result<(), CertificateFault> {
    authorities(Some(pem)).map(drop)
}

/// Whether a certificate chain (PEM, leaf first) can be shown with a private key (PEM).
///
/// # Errors
/// What is wrong with either, or that they do not belong together.
pub fn check_identity(chain: &[u8], key: &[u8]) -> Result<(), CertificateFault> {
    identity(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).map(drop)
}

fn authorities(ca: Option<&[u8]>) -> Result<RootCertStore, CertificateFault> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(of(CertificateFile::Authorities))?;
        roots.add(certificate).map_err(of(CertificateFile::Authorities))?;
    }
    if roots.is_empty() {
        return Err(of(CertificateFile::Authorities)("the file has no certificate"));
    }
    Ok(roots)
}

fn identity(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, CertificateFault> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(of(CertificateFile::Certificate))?;
    if chain.is_empty() {
        return Err(of(CertificateFile::Certificate)("the file has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(of(CertificateFile::Key))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|cause| match cause {
        rustls::Error::InconsistentKeys(_) => {
            of(CertificateFile::Key)("the key is not the one of `client_certificate`")
        }
        other => of(CertificateFile::Certificate)(other),
    })
}

/// What handshakes with the servers of a transport are made with. Sessions are resumed within one set-up, never across.
fn client_config(transport: &Transport) -> io::Result<ClientConfig> {
    let invalid = |fault: CertificateFault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = authorities(transport.ca.as_deref()).map_err(invalid)?;
    let believing = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &transport.client {
        None => believing.with_no_client_auth(),
        Some(client) => {
            let shown = identity(&client.chain, client.key.expose(), &provider).map_err(invalid)?;
            believing.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)))
        }
    };
    config.alpn_protocols = vec![alpn(transport.protocol).to_vec()];
    Ok(config)
}

/// The name of a protocol in TLS (RFC 7301, RFC 9113 section 3.2).
pub(super) const fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    }
}

/// The set-ups of one thread, each made once.
#[derive(Default)]
pub(super) struct SetUps(RefCell<Vec<(Arc<Transport>, TlsConnector)>>);

impl SetUps {
    /// The set-up for a transport.
    pub(super) fn of(&self, transport: &Arc<Transport>) -> io::Result<TlsConnector> {
        let mut remembered = self.0.borrow_mut();
        let same = |known: &Transport| {
            (&known.ca, &known.client, known.protocol) == (&transport.ca, &transport.client, transport.protocol)
        };
        if let Some((_, tls)) = remembered.iter().find(|(known, _)| Arc::ptr_eq(known, transport) || same(known)) {
            return Ok(tls.clone());
        }
        let tls = TlsConnector::from(Arc::new(client_config(transport)?));
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.push((Arc::clone(transport), tls.clone()));
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::upstream::{ClientIdentity, Secret};

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn believing(ca: Option<&[u8]>) -> Arc<Transport> {
        Arc::new(Transport { ca: ca.map(Arc::from), ..Transport::default() })
    }

    #[test]
    fn authorities_come_from_the_public_list_or_from_the_file_and_never_from_nowhere() {
        assert!(client_config(&believing(None)).is_ok());
        assert!(client_config(&believing(Some(pair().0.as_bytes()))).is_ok());
        assert!(client_config(&believing(Some(b""))).unwrap_err().to_string().contains("no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(client_config(&believing(Some(broken))).is_err());
        assert_eq!(check_authorities(broken).unwrap_err().file, CertificateFile::Authorities);
    }

    #[test]
    fn a_certificate_is_shown_only_with_its_own_key() {
        let ((chain, key), (_, other)) = (pair(), pair());
        assert_eq!(check_identity(chain.as_bytes(), key.as_bytes()), Ok(()));
        for (chain, key, file) in [
            (chain.as_str(), other.as_str(), CertificateFile::Key),
            (&chain, "", CertificateFile::Key),
            (&chain, "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", CertificateFile::Key),
            ("", &key, CertificateFile::Certificate),
            ("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", &key, CertificateFile::Certificate),
        ] {
            assert_eq!(check_identity(chain.as_bytes(), key.as_bytes()).unwrap_err().file, file, "{chain} {key}");
        }
    }

    #[test]
    fn a_set_up_is_made_once_for_each_way_and_never_shared_between_two() {
        let set_ups = SetUps::default();
        let (chain, key) = pair();
        let client = || {
            let key = Secret::new(key.clone().into_bytes());
            Some(ClientIdentity { chain: chain.as_bytes().into(), key })
        };
        let ways = || {
            [
                Transport::default(),
                Transport { ca: Some(chain.as_bytes().into()), ..Transport::default() },
                Transport { client: client(), ..Transport::default() },
                Transport { protocol: Protocol::Http2, ..Transport::default() },
            ]
        };
        for way in ways().into_iter().chain(ways()) {
            let offered = alpn(way.protocol).to_vec();
            let tls = set_ups.of(&Arc::new(way)).unwrap();
            assert_eq!(tls.config().alpn_protocols, [offered]);
        }
        assert_eq!(set_ups.0.borrow().len(), 4);
    }
}
