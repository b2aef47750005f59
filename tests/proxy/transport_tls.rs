//! TLS towards servers: whom the gateway believes, what it shows of itself, and what the process log says when it does not
//! come about.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use crate::backend::until;
use crate::gateway::{Setup, token};
use crate::h2::{Exchange, H2Backend};
use crate::transport::speaking_http2;
use crate::wire::get;

/// An authority of one's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::default();
        // Authorities of one name would be taken for one another.
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, PEM, changed before it is signed.
    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// The TLS side of a server, which asks for certificates of an authority if one is given.
fn server((chain, key): &(String, String), alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let mut config = config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn hello(mut exchange: Exchange) {
    exchange.say(exchange.head.uri.scheme_str().unwrap().to_owned());
}

fn with_files(setup: Setup, files: &[(&'static str, &str)]) -> Setup {
    let files = files.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    Setup { files, ..setup }
}

#[test]
fn http_2_over_tls_is_spoken_with_servers_of_the_authority_by_name_and_by_address() {
    let authority = Authority::new();
    let named = authority.issue(&["localhost"], |_| ());
    let numbered = authority.issue(&[], |params| {
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    });
    let other = authority.issue(&["other.internal"], |_| ());
    for (pair, host, keys) in [
        (named, "localhost", ""),
        (numbered, "127.0.0.1", ""),
        // Asked for and verified under another name.
        (other, "localhost", ", server_name: other.internal"),
    ] {
        let backend = H2Backend::tls(server(&pair, &["h2", "http/1.1"], None), hello);
        let url = format!("https://{host}:{}", backend.address.port());
        let gateway =
            with_files(speaking_http2(&url, &format!(", tls: {{ca: ca.pem{keys}}}")), &[("ca.pem", &authority.pem())]);
        let gateway = gateway.start();
        for _ in 0..3 {
            assert_eq!(gateway.ask(get("/things/1", &token("olga"))).text(), "https", "{host} {keys}");
        }
        assert_eq!(backend.connections(), 1);
    }
}

#[test]
fn a_server_that_cannot_be_believed_is_unreachable_and_the_log_says_why() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = |names: &[&str]| authority.issue(names, |_| ());
    let expired = authority.issue(&["localhost"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    for (pair, alpn, host, why) in [
        (good(&["other.internal"]), "h2", "localhost", "certificate not valid for name \"localhost\""),
        // A name is no address and an address is no name.
        (good(&["localhost"]), "h2", "127.0.0.1", "certificate not valid for name"),
        (expired, "h2", "localhost", "certificate expired"),
        (stranger.issue(&["localhost"], |_| ()), "h2", "localhost", "UnknownIssuer"),
        (good(&["localhost"]), "http/1.1", "localhost", "NoApplicationProtocol"),
        (good(&["localhost"]), "", "localhost", "the server did not agree to speak HTTP/2"),
    ] {
        let alpn: Vec<&str> = Some(alpn).into_iter().filter(|alpn| !alpn.is_empty()).collect();
        let backend = H2Backend::tls(server(&pair, &alpn, None), hello);
        let url = format!("https://{host}:{}", backend.address.port());
        let setup = with_files(speaking_http2(&url, ", ca: ca.pem"), &[("ca.pem", &authority.pem())]);
        let gateway = setup.spawn();
        let answer = gateway.ask(get("/things/1", &token("olga")));
        assert_eq!(answer.verdict(), (502, "upstream_unreachable".into()), "{why}");
        gateway.logs(&format!("upstream server {url} cannot be reached: TLS: "));
        gateway.logs(why);
        assert_eq!(backend.heads(), 0);
    }
}

#[test]
fn the_gateway_shows_its_certificate_and_a_new_one_as_soon_as_the_files_are_replaced() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["gateway"], |_| ()), authority.issue(&["gateway"], |_| ()));
    let der = |pair: &(String, String)| Some(CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap().to_vec());
    let pair = authority.issue(&["localhost"], |_| ());
    let backend = H2Backend::tls(server(&pair, &["h2"], Some(&authority)), hello);
    let files = [("ca.pem", authority.pem()), ("gw.crt", one.0.clone()), ("gw.key", one.1.clone())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let keys = ", tls: {ca: ca.pem, client_certificate: gw.crt, client_key: gw.key}";
    let gateway = with_files(speaking_http2(&backend.url(), keys), &files).start();
    let ask = || gateway.ask(get("/things/1", &token("olga"))).status;
    assert_eq!((ask(), ask()), (200, 200));
    assert_eq!(backend.certificates(), [der(&one)]);
    gateway.replace("gw.crt", &two.0);
    gateway.replace("gw.key", &two.1);
    until(|| ask() == 200 && backend.certificates().len() == 2, "a connection with the new certificate");
    assert_eq!(backend.certificates()[1], der(&two));
    // One that shows nothing is not let in.
    let gateway = with_files(speaking_http2(&backend.url(), ", ca: ca.pem"), &files).spawn();
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).verdict(), (502, "upstream_unreachable".into()));
    // Mostly with the server's alert; it is lost where the server resets the connection behind it.
    gateway.logs(&format!("upstream server {} cannot be reached: ", backend.url()));
}

#[test]
fn upstreams_with_different_certificates_never_share_a_connection() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["one"], |_| ()), authority.issue(&["two"], |_| ()));
    let pair = authority.issue(&["localhost"], |_| ());
    let backend = H2Backend::tls(server(&pair, &["h2"], Some(&authority)), hello);
    let mut setup = speaking_http2(&backend.url(), ", tls: {ca: ca.pem, client_certificate: a.crt, client_key: a.key}");
    let servers = format!(
        "{{servers: [\"{}\"], protocol: http2, tls: {{ca: ca.pem, client_certificate: b.crt, client_key: b.key}}}}",
        backend.url()
    );
    setup.routes = setup.routes.replacen("applications:\n", &format!("  other: {servers}\napplications:\n"), 1);
    setup.routes.push_str(
        "  - name: other\n    hosts: [other.test]\n    domain: app\n    upstream: other\n    \
         gate: {tenants: [home], audiences: [\"api://app\"], app_roles: [Access]}\n    routes:\n      \
         - {id: all, match: {methods: [GET], path: \"/things/{thing...}\"}, gate_only: true}\n",
    );
    let files =
        [("ca.pem", &authority.pem()), ("a.crt", &one.0), ("a.key", &one.1), ("b.crt", &two.0), ("b.key", &two.1)];
    let gateway = with_files(setup, &files.map(|(name, text)| (name, text.as_str()))).start();
    let other = get("/things/1", &token("olga")).replace("Host: app.test", "Host: other.test");
    for _ in 0..5 {
        assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
        assert_eq!(gateway.ask(&other).status, 200);
    }
    assert_eq!((backend.connections(), backend.heads()), (2, 10));
    let shown = backend.certificates();
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn certificates_that_cannot_be_used_are_faults_of_the_route_map() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["one"], |_| ()), authority.issue(&["two"], |_| ()));
    let broken = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    let ca = authority.pem();
    for (ca, certificate, key, place, what) in [
        (broken, one.0.as_str(), one.1.as_str(), "ca.pem", "the certificates in `ca.pem` cannot be used"),
        (&ca, &one.0, &two.1, "gw.key", "the key is not the one of `client_certificate`"),
        (&ca, broken, &one.1, "gw.crt", "the certificates in `gw.crt` cannot be used"),
    ] {
        let keys = ", tls: {ca: ca.pem, client_certificate: gw.crt, client_key: gw.key}";
        let setup = speaking_http2("https://localhost:1", keys);
        let setup = with_files(setup, &[("ca.pem", ca), ("gw.crt", certificate), ("gw.key", key)]);
        let fault = setup.try_start().map(drop).unwrap_err().to_string();
        let line = fault.lines().find(|line| line.contains("routes.yaml:3:")).unwrap_or_default();
        assert!(fault.contains("error[bad_certificate]") && fault.contains(what), "{place}: {fault}");
        assert!(!line.is_empty(), "{place}: {fault}");
    }
}

struct Nginx {
    child: Child,
    _folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_speaks_http_2_with_a_gateway_whose_certificate_it_verifies() {
    let program = "/usr/sbin/nginx";
    if !Path::new(program).exists() {
        assert!(std::env::var_os("CI").is_none(), "nginx is not installed, and CI is set");
        eprintln!("skipped: nginx is not installed");
        return;
    }
    let authority = Authority::new();
    let (pair, own) = (authority.issue(&["localhost"], |_| ()), authority.issue(&["gateway"], |_| ()));
    let folder = tempfile::tempdir().unwrap();
    let outer = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let root = folder.path().display().to_string();
    let conf = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n  \
         fastcgi_temp_path {root}/fcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n  \
         server {{\n    listen {outer} ssl http2; ssl_certificate {root}/s.crt; ssl_certificate_key {root}/s.key;\n    \
         ssl_client_certificate {root}/ca.pem; ssl_verify_client on;\n    \
         location /things/large {{ alias {root}/large; }}\n    \
         location / {{ return 200 \"$server_protocol $ssl_client_verify $connection $http_x_auth_request_user\"; }}\n  }}\n}}\n"
    );
    let large = 20 * 1024 * 1024;
    for (name, text) in [
        ("nginx.conf", &conf),
        ("s.crt", &pair.0),
        ("s.key", &pair.1),
        ("ca.pem", &authority.pem()),
        ("large", &"x".repeat(large)),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let child = Command::new(program).args(["-p", &root, "-c", "nginx.conf"]).stdin(Stdio::null()).spawn().unwrap();
    let _nginx = Nginx { child, _folder: folder };
    until(|| std::net::TcpStream::connect(outer).is_ok(), "nginx");
    let url = format!("https://localhost:{}", outer.port());
    let keys = ", tls: {ca: ca.pem, client_certificate: gw.crt, client_key: gw.key}";
    let files = [("ca.pem", authority.pem()), ("gw.crt", own.0), ("gw.key", own.1)];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let gateway = with_files(speaking_http2(&url, keys), &files).start();
    let answers: Vec<String> = (0..3).map(|_| gateway.ask(get("/things/1", &token("olga"))).text()).collect();
    assert!(answers[0].starts_with("HTTP/2.0 SUCCESS ") && answers[0].ends_with(" olga"), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one connection: {answers:?}");
    let answer = gateway.ask(get("/things/large", &token("olga")));
    assert_eq!((answer.status, answer.length, answer.whole), (200, large as u64, true));
    // Without a certificate nginx answers 400, which is its own affair.
    let gateway = with_files(speaking_http2(&url, ", ca: ca.pem"), &files).start();
    let answer = gateway.ask(get("/things/1", &token("olga")));
    assert_eq!((answer.status, answer.header("x-portcullis")), (400, None));
}
