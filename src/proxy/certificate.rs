//! What a certificate of a listener says of itself: how long it is valid, and for which hosts. Read by the same library
//! that reads it in handshakes, which says so when it is asked about moments and names that do not fit.

use std::path::Path;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// Later than any certificate lasts (the year 9999 is the last that one can name), in Unix seconds.
const AFTER_ALL: u64 = 1 << 40;
/// A name that no certificate has (RFC 6761 section 6.4).
const NOBODY: &str = "portcullis.invalid";

/// One certificate.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// When it begins to be valid, in Unix seconds.
    pub from: u64,
    /// When it ends, in Unix seconds.
    pub until: u64,
}

/// Reads a PEM chain, leaf first.
///
/// # Errors
/// A clause with the file's name: it cannot be read, has no certificate, or one that nobody can read.
pub fn read(path: &Path) -> Result<Vec<Certificate>, String> {
    let fault = |what: &dyn std::fmt::Display| format!("`{}`: {what}", path.display());
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|cause| fault(&cause))?;
    if chain.is_empty() {
        return Err(fault(&"the file has no certificate"));
    }
    chain.into_iter().map(|der| Certificate::new(der).map_err(|cause| fault(&cause))).collect()
}

/// When the first certificate of a chain ends that does, in Unix seconds; `None` if one cannot be read.
pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let ends = chain.iter().map(|der| Certificate::new(der.clone().into_owned()).ok().map(|one| one.until));
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The names that a certificate is for; empty if it has none, or none that can be read.
pub(super) fn names(der: &CertificateDer<'_>) -> Vec<String> {
    let (Ok(parsed), Ok(nobody)) = (ParsedCertificate::try_from(der), ServerName::try_from(NOBODY)) else {
        return Vec::new();
    };
    match verify_server_name(&parsed, &nobody) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            presented.iter().map(|name| bare(name)).collect()
        }
        _ => Vec::new(),
    }
}

impl Certificate {
    fn new(der: CertificateDer<'static>) -> Result<Self, Error> {
        let parsed = ParsedCertificate::try_from(&der)?;
        let until = match verify_at(&parsed, AFTER_ALL) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => not_after.as_secs(),
            Err(other) => return Err(other),
            Ok(()) => AFTER_ALL,
        };
        let from = match verify_at(&parsed, 0) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                not_before.as_secs()
            }
            // Valid since 1970, or not verifiable at all without its authority.
            Err(_) | Ok(()) => 0,
        };
        Ok(Self { from, until, der })
    }

    /// Whether clients that connect to this host believe it is the host's.
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare);
        let parsed = ParsedCertificate::try_from(&self.der);
        name.ok().zip(parsed.ok()).is_some_and(|(name, parsed)| verify_server_name(&parsed, &name).is_ok())
    }

    /// The names that it is for; empty if it has none.
    pub fn names(&self) -> Vec<String> {
        names(&self.der)
    }
}

/// Asks for the verdict at a moment. The time is checked before the way to an authority is looked for, so no
/// authority is needed to hear of it.
fn verify_at(parsed: &ParsedCertificate<'_>, seconds: u64) -> Result<(), Error> {
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(parsed, &RootCertStore::empty(), &[], moment, algorithms)
}

/// `DnsName("a.example")` is `a.example` to people.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(names: &[&str]) -> Vec<Certificate> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        let key = KeyPair::generate().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        read(file.path()).unwrap()
    }

    #[test]
    fn a_certificate_tells_when_it_is_valid() {
        let chain = made(&["localhost"]);
        assert_eq!((chain[0].from, chain[0].until), (1_767_225_600, 1_798_675_200));
    }

    #[test]
    fn a_certificate_tells_whom_it_is_for() {
        let chain = made(&["app.example.org", "*.example.net", "127.0.0.1"]);
        assert_eq!(chain[0].names(), ["app.example.org", "*.example.net", "127.0.0.1"]);
        for (host, covered) in [
            ("app.example.org", true),
            ("any.example.net", true),
            ("a.b.example.net", false),
            ("127.0.0.1", true),
            ("[::1]", false),
            ("example.org", false),
            ("no name", false),
        ] {
            assert_eq!(chain[0].covers(host), covered, "{host}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read(file.path()).unwrap_err().contains("no certificate"));
        assert!(read(Path::new("/nowhere/a.crt")).unwrap_err().contains("/nowhere/a.crt"));
    }
}
