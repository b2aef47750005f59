//! TLS towards clients: TLS 1.2 and 1.3 by rustls with aws-lc-rs, HTTP/2 by ALPN, certificates chosen by SNI,
//! certificates of clients, resumption by tickets, and all of it replaced as a whole while connections run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate;
use super::sni::BySni;

/// The largest session that a ticket carries, in bytes. It holds the client's certificates; one that sent more has to
/// make whole handshakes.
const MAX_SESSION: usize = 16 * 1024;

/// The files of one listener, and what it asks of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that is shown where no other is for the name that the client asks for.
    pub default: PairFiles,
    /// Further ones, chosen by the names in them.
    pub more: Vec<PairFiles>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Which certificates clients show; `None`: none is asked for.
    pub clients: Option<ClientFiles>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// PEM certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key of the leaf: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Which certificates of clients are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM certificates of the authorities.
    pub ca: PathBuf,
    /// PEM revocation lists (RFC 5280 section 5) of all authorities in the chains; without it nothing is revoked.
    pub crl: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// A version of TLS to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246, with AEAD ciphers and forward secrecy only).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl MinVersion {
    const fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &NEWEST,
        }
    }
}

impl TlsFiles {
    /// One certificate, nothing asked of clients.
    pub fn of(default: PairFiles) -> Self {
        Self { default, more: Vec::new(), min_version: MinVersion::default(), clients: None }
    }

    /// All pairs, the default first.
    pub fn pairs(&self) -> impl Iterator<Item = &PairFiles> {
        std::iter::once(&self.default).chain(&self.more)
    }

    /// Every file, for whoever watches them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs().flat_map(|pair| [&pair.certificate, &pair.key]);
        let clients = self.clients.iter().flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crl));
        pairs.chain(clients).map(PathBuf::as_path)
    }
}

/// What is wrong with a file of [`TlsFiles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The file.
    pub path: PathBuf,
    /// A clause.
    pub why: String,
}

impl TlsFault {
    fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`: {}", self.path.display(), self.why)
    }
}

/// The TLS side of one listener.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    /// A lock of the standard library will do: it is read once a handshake, whose signature costs a thousand times as
    /// much, and `arc_swap` has its one home in `snapshot`.
    current: RwLock<Current>,
}

/// What the files held when they were read.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    ends: Vec<(PathBuf, u64)>,
}

impl ServerTls {
    /// Reads all files.
    ///
    /// # Errors
    /// All that is wrong: files that cannot be read or hold something else, keys that are not their certificate's.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, Vec<TlsFault>> {
        let current = RwLock::new(Current::read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads all files again; new handshakes use what they hold now. Running connections are not touched, but no
    /// session from before is resumed: its client would keep what an authority or a list takes back.
    ///
    /// # Errors
    /// As with [`load`](Self::load); all that was in use then stays in use.
    pub fn reload(&self) -> Result<(), Vec<TlsFault>> {
        let current = Current::read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Its files.
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// When the certificates end, in Unix seconds, each with its file: the first of a chain that does.
    pub fn ends(&self) -> Vec<(PathBuf, u64)> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).ends.clone()
    }

    /// What handshakes are made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Self, Vec<TlsFault>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut faults = Vec::new();
        let default = pair(&files.default, &provider).map_err(|fault| faults.push(fault)).ok();
        let more: Vec<_> = files
            .more
            .iter()
            .filter_map(|files| further_pair(files, &provider).map_err(|fault| faults.push(fault)).ok())
            .collect();
        let verifier = match &files.clients {
            Some(clients) => verifier(clients, &provider).map_err(|fault| faults.push(fault)).ok(),
            None => Some(Arc::new(NoClientAuth) as _),
        };
        let (Some(default), Some(verifier), true) = (default, verifier, faults.is_empty()) else { return Err(faults) };
        let ends = files.pairs().zip(std::iter::once(&default).chain(&more));
        let ends =
            ends.filter_map(|(files, pair)| Some((files.certificate.clone(), certificate::first_end(&pair.cert)?)));
        let ends = ends.collect();
        let setup = |fault: rustls::Error| vec![TlsFault::new(&files.default.certificate, format!("no TLS: {fault}"))];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(files.min_version.versions())
            .map_err(setup)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(BySni::new(default, &more)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Keys of its own for each reading of the files, which rotate: a ticket opens no other listener and no other
        // time.
        config.ticketer = Arc::new(Tickets(Ticketer::new().map_err(setup)?));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), ends })
    }
}

/// Tickets of a bounded size.
#[derive(Debug)]
struct Tickets(Arc<dyn ProducesTickets>);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_SESSION { None } else { self.0.encrypt(plain) }
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

fn pair(files: &PairFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsFault> {
    let PairFiles { certificate, key } = files;
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| TlsFault::new(key, cause))?;
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(|cause| match cause {
        rustls::Error::InconsistentKeys(_) => {
            TlsFault::new(key, format!("the key is not the one of the certificate in `{}`", certificate.display()))
        }
        other => TlsFault::new(certificate, other),
    })
}

/// One that is not the default must have a name to be chosen by.
fn further_pair(files: &PairFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsFault> {
    let pair = pair(files, provider)?;
    if pair.cert.first().is_some_and(|leaf| certificate::names(leaf).is_empty()) {
        return Err(TlsFault::new(&files.certificate, "the certificate names no host, so it would never be chosen"));
    }
    Ok(pair)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|cause| TlsFault::new(path, cause))?;
    if chain.is_empty() { Err(TlsFault::new(path, "the file has no certificate")) } else { Ok(chain) }
}

/// Believes certificates of these authorities whose whole chain is good: valid now, for clients, and not revoked where
/// there are lists. A list that is missing or past its next update vouches for nobody.
fn verifier(files: &ClientFiles, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|cause| TlsFault::new(&files.ca, cause))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(path) = &files.crl {
        let lists = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let lists = lists.map_err(|cause| TlsFault::new(path, cause))?;
        if lists.is_empty() {
            return Err(TlsFault::new(path, "the file has no revocation list"));
        }
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if !files.required {
        builder = builder.allow_unauthenticated();
    }
    let at = files.crl.as_ref().unwrap_or(&files.ca);
    builder.build().map_err(|cause| TlsFault::new(at, cause))
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

    fn files(directory: &Path) -> TlsFiles {
        let (certificate, key) = write_pair(directory);
        TlsFiles::of(PairFiles { certificate, key })
    }

    fn said(faults: &[TlsFault]) -> String {
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn new_files_take_effect_and_bad_ones_leave_all_that_was_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let PairFiles { certificate, key } = files.default.clone();
        let tls = ServerTls::load(files).unwrap();
        let first = tls.config();

        write_pair(directory.path());
        tls.reload().unwrap();
        let second = tls.config();
        assert!(!Arc::ptr_eq(&first, &second));

        let old_key = fs::read(&key).unwrap();
        write_pair(directory.path());
        fs::write(&key, old_key).unwrap();
        let faults = said(&tls.reload().unwrap_err());
        assert!(faults.contains("tls.key") && faults.contains("not the one of the certificate"), "{faults}");

        fs::write(&certificate, "").unwrap();
        assert!(said(&tls.reload().unwrap_err()).contains("tls.crt"));
        fs::remove_file(&key).unwrap();
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&tls.config(), &second));
    }

    #[test]
    fn all_bad_files_are_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut files = files(directory.path());
        fs::write(at("empty"), "").unwrap();
        files.more = vec![PairFiles { certificate: at("b.crt"), key: at("b.key") }];
        files.clients = Some(ClientFiles { ca: at("empty"), crl: None, required: true });
        let faults = ServerTls::load(files.clone()).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.path.clone()).collect::<Vec<_>>(), [at("b.crt"), at("empty")]);
        files.more.clear();
        files.clients = Some(ClientFiles { ca: at("tls.crt"), crl: Some(at("empty")), required: true });
        assert!(said(&ServerTls::load(files).unwrap_err()).contains("no revocation list"));
    }

    #[test]
    fn a_further_certificate_needs_a_name_to_be_chosen_by() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path());
        let nameless = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let (certificate, key) = (directory.path().join("b.crt"), directory.path().join("b.key"));
        fs::write(&certificate, nameless.cert.pem()).unwrap();
        fs::write(&key, nameless.signing_key.serialize_pem()).unwrap();
        let pair = PairFiles { certificate, key };
        assert!(ServerTls::load(TlsFiles::of(pair.clone())).is_ok(), "as the default it needs none");
        files.more = vec![pair];
        assert!(said(&ServerTls::load(files).unwrap_err()).contains("names no host"));
    }

    #[test]
    fn every_file_is_watched_and_every_certificate_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path());
        let authorities = files.default.certificate.clone();
        files.more = vec![files.default.clone()];
        files.clients = Some(ClientFiles { ca: authorities, crl: Some("lists".into()), required: false });
        let paths: Vec<_> = files.paths().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(paths, ["tls.crt", "tls.key", "tls.crt", "tls.key", "tls.crt", "lists"]);
        files.clients = None;
        let ends = ServerTls::load(files.clone()).unwrap().ends();
        assert_eq!(
            ends.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(),
            [files.default.certificate.clone(), files.default.certificate]
        );
        assert!(ends.iter().all(|(_, end)| *end > 4_000_000_000), "made to last: {ends:?}");
    }

    #[test]
    fn a_session_that_is_too_large_gets_no_ticket() {
        let tickets = Tickets(Ticketer::new().unwrap());
        let small = tickets.encrypt(&[7; MAX_SESSION]).unwrap();
        assert_eq!(tickets.decrypt(&small).unwrap(), [7; MAX_SESSION]);
        assert!(tickets.encrypt(&[7; MAX_SESSION + 1]).is_none());
    }

    #[test]
    fn http_2_is_offered_before_http_1_1() {
        let directory = tempfile::tempdir().unwrap();
        let tls = ServerTls::load(files(directory.path())).unwrap();
        assert_eq!(tls.config().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let pair = PairFiles { certificate: "/nowhere/a.crt".into(), key: "/nowhere/a.key".into() };
        let faults = said(&ServerTls::load(TlsFiles::of(pair)).unwrap_err());
        assert!(faults.contains("`/nowhere/a.crt`"), "{faults}");
    }
}
