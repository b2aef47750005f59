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
