//! TLS towards clients: both versions, HTTP/2 by ALPN, and certificates that are replaced while the gateway runs.

use crate::backend::{Backend, until};
use crate::gateway::{Setup, certificate, token};
use crate::wire::{Client, get, trusting};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn both_versions_of_tls_work_and_nothing_older_is_there() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (offered, version) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let trust = trusting(&gateway.certificate(), &[offered], &[]);
        let (mut client, facts) = Client::tls(gateway.tls, &trust).unwrap();
        assert_eq!(facts.version, version);
        let answer = client.ask(get("/things/1", &token("olga")));
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!(backend.seen().last().unwrap().header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn the_protocol_is_agreed_on_in_the_handshake() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let trust = trusting(&gateway.certificate(), rustls::ALL_VERSIONS, offered);
        let (mut client, facts) = Client::tls(gateway.tls, &trust).unwrap();
        assert_eq!(facts.alpn.as_deref(), agreed.map(str::as_bytes), "{offered:?}");
        if agreed != Some("h2") {
            assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200, "{offered:?}");
        }
    }
    let trust = trusting(&gateway.certificate(), rustls::ALL_VERSIONS, &["spdy/3"]);
    assert!(Client::tls(gateway.tls, &trust).is_err(), "no common protocol");
}

#[test]
fn a_listener_speaks_the_one_it_is_configured_for() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let mut client = Client::plain(gateway.tls);
    client.send(get("/things/1", &token("olga")));
    let said = client.rest();
    assert!(!said.windows(4).any(|window| window == b"HTTP"), "at most a TLS alert: {said:?}");
    assert!(Client::tls(gateway.plain, &gateway.trust()).is_err());
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_certificate_that_was_replaced_is_served_to_new_handshakes() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let old = gateway.certificate();
    let (mut before, facts) = Client::tls(gateway.tls, &trusting(&old, rustls::ALL_VERSIONS, &[])).unwrap();
    assert_eq!(facts.certificate, der(&old));
    let (new, key) = certificate();
    gateway.replace("tls.key", &key);
    gateway.replace("tls.crt", &new);
    let trust = trusting(&new, rustls::ALL_VERSIONS, &[]);
    until(|| Client::tls(gateway.tls, &trust).is_ok_and(|(_, facts)| facts.certificate == der(&new)), "the new one");
    assert_eq!(before.ask(get("/things/1", &token("olga"))).status, 200, "connections that run go on");
    // One that does not fit its key is not used.
    gateway.replace("tls.crt", &old);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let (mut client, _) = Client::tls(gateway.tls, &trust).unwrap();
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
}

#[test]
fn the_certificate_is_the_one_for_the_name_that_the_client_asks_for() {
    let backend = Backend::hello();
    let made = |names: &[&str]| {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((exact, exact_key), (wild, wild_key)) = (made(&["b.test", "x.wild.test"]), made(&["*.wild.test"]));
    let mut setup = Setup::before(&backend);
    setup.tls = "certificates: [{certificate: b.crt, key: b.key}, {certificate: w.crt, key: w.key}]".to_owned();
    setup.files = vec![("b.crt", exact.clone()), ("b.key", exact_key), ("w.crt", wild.clone()), ("w.key", wild_key)];
    let gateway = setup.start();
    let default = gateway.certificate();
    let shown = |host: &'static str, trusted: &str| {
        let trust = trusting(trusted, rustls::ALL_VERSIONS, &[]);
        Client::tls_as(host, gateway.tls, &trust, b"").map(|(_, facts)| facts.certificate)
    };
    for (host, expected) in
        [("app.test", &default), ("b.test", &exact), ("x.wild.test", &exact), ("y.wild.test", &wild)]
    {
        assert_eq!(shown(host, expected).unwrap(), der(expected), "{host}");
    }
    for (host, expected) in [("z.y.wild.test", &wild), ("nobody.test", &default), ("127.0.0.1", &default)] {
        assert!(shown(host, expected).is_err(), "{host}: the default, which is not for it");
    }
    // One of several is renewed: all are read again.
    let (new, new_key) = made(&["b.test"]);
    gateway.replace("b.key", &new_key);
    gateway.replace("b.crt", &new);
    until(|| shown("b.test", &new).is_ok(), "the new one");
    assert_eq!(shown("app.test", &default).unwrap(), der(&default));
    assert!(shown("x.wild.test", &wild).is_ok(), "the new one is not for this name any more");
}

#[test]
fn nothing_older_than_the_oldest_version_is_spoken() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.tls = "min_version: \"1.3\"".to_owned();
    let gateway = setup.start();
    for (offered, spoken) in [(&rustls::version::TLS12, false), (&rustls::version::TLS13, true)] {
        let trust = trusting(&gateway.certificate(), &[offered], &[]);
        assert_eq!(Client::tls(gateway.tls, &trust).is_ok(), spoken, "{offered:?}");
    }
}

#[test]
fn a_session_is_resumed_until_the_certificates_are_read_again() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let trust = trusting(&gateway.certificate(), &[version], &[]);
        let again = || {
            let (mut client, facts) = Client::tls(gateway.tls, &trust).unwrap();
            assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
            facts.resumed
        };
        assert_eq!([again(), again(), again()], [false, true, true], "{version:?}");
        gateway.replace("tls.crt", &gateway.certificate());
        until(|| !again(), "a whole handshake again");
        assert!(again(), "{version:?}");
    }
}

#[test]
fn one_bad_file_keeps_all_that_was_in_use_and_the_log_says_which() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    let (more, more_key) = certificate();
    setup.tls = "certificates: [{certificate: b.crt, key: b.key}]".to_owned();
    setup.files = vec![("b.crt", more), ("b.key", more_key)];
    let process = setup.spawn();
    let old = process.certificate();
    process.replace("b.key", "no key");
    process.logs("all that was in use stays, rejected: `");
    process.logs("b.key`");
    let (new, key) = certificate();
    process.replace("tls.key", &key);
    process.replace("tls.crt", &new);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let (_, facts) = Client::tls(process.tls, &trusting(&old, rustls::ALL_VERSIONS, &[])).unwrap();
    assert_eq!(facts.certificate, der(&old), "while one file is bad, no other is taken either");
    process.replace("b.crt", &new);
    process.replace("b.key", &key);
    let trust = trusting(&new, rustls::ALL_VERSIONS, &[]);
    until(|| Client::tls(process.tls, &trust).is_ok(), "all of them");
}

#[test]
fn operators_see_when_certificates_end() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let page = gateway.admin("GET", "/metrics", "").text();
    let line = page.lines().find(|line| line.starts_with("portcullis_certificate_not_after_timestamp_seconds{"));
    let line = line.unwrap_or_else(|| panic!("{page}"));
    let (name, end) = line.rsplit_once(' ').unwrap();
    assert!(name.ends_with("tls.crt\"}") && end.parse::<u64>().unwrap() > 4_000_000_000, "made to last: {line}");
}
