//! Certificates of clients: who is let in by them, what the backend is told, and what no resumption can keep.

use std::thread;
use std::time::Duration;

use rcgen::SanType;
use rcgen::string::Ia5String;
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};

use crate::authority::{Authority, Pair, client};
use crate::backend::{Backend, until};
use crate::gateway::{Door, Setup, now, token};
use crate::wire::{Client, get, request};

/// A gateway whose application asks for certificates of these names; clients may show one of the authority's.
fn setup(backend: &Backend, authority: &Authority, tls: &str, names: &str) -> Setup {
    let mut setup = Setup::before(backend);
    setup.tls = format!("client_ca: clients.pem, {tls}");
    setup.files.push(("clients.pem", authority.pem()));
    let gate =
        format!("app_roles: [Access], client_certificates: {names}}}\n    identity_headers: [client_certificate]");
    setup.routes = setup.routes.replace("app_roles: [Access]}", &gate);
    setup
}

/// The answer to a request on a connection of its own; nothing where TLS comes to nothing. A client of TLS 1.3 may believe
/// that the handshake is over before the server has looked at its certificate.
fn asked(door: &Door, shown: Option<&Pair>) -> Option<(u16, String)> {
    let config = client(&door.certificate(), shown, ALL_VERSIONS);
    let (mut client, _) = Client::tls(door.tls, &config).ok()?;
    client.try_send(get("/things/1", &token("olga"))).ok()?;
    client.answer_if_any().map(|answer| answer.verdict())
}

fn refused(reason: &str) -> Option<(u16, String)> {
    Some((403, reason.to_owned()))
}

const LET_IN: Option<(u16, String)> = Some((200, String::new()));

#[test]
fn one_of_the_names_of_the_certificate_must_be_one_of_the_gate_s() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let names = "[\"cn=billing,o=Example\", \"dns:Orders.Internal\", \"uri:spiffe://example.org/stock\"]";
    let gateway = setup(&backend, &authority, "client_certificate: optional", names).start();
    let text = |text: &str| Ia5String::try_from(text).unwrap();
    let with = |name: &str, more: &[SanType]| authority.client_with(name, more, 1, 4_000_000_000);
    for (pair, verdict) in [
        (with("billing", &[]), LET_IN),
        (with("x", &[SanType::DnsName(text("ORDERS.internal"))]), LET_IN),
        (with("x", &[SanType::DnsName(text("a")), SanType::URI(text("spiffe://example.org/stock"))]), LET_IN),
        (with("x", &[SanType::URI(text("spiffe://example.org/Stock"))]), refused("gate_certificate")),
        (with("x", &[SanType::DnsName(text("*.internal"))]), refused("gate_certificate")),
        (with("x", &[SanType::Rfc822Name(text("orders.internal"))]), refused("gate_certificate")),
        (with("Billing", &[]), refused("gate_certificate")),
        (with("billing,O=Example", &[]), refused("gate_certificate")),
        (with("dns:orders.internal", &[]), refused("gate_certificate")),
    ] {
        assert_eq!(asked(&gateway, Some(&pair)), verdict, "{}", pair.certificate);
    }
    assert_eq!(asked(&gateway, None), refused("gate_certificate"));
    // The plain listener shows none, and a certificate is no token.
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).verdict(), (403, "gate_certificate".to_owned()));
    let config = client(&gateway.certificate(), Some(&with("billing", &[])), ALL_VERSIONS);
    let (mut client, _) = Client::tls(gateway.tls, &config).unwrap();
    assert_eq!(client.ask(get("/things/1", "")).verdict(), (401, "no_token".to_owned()));
    assert_eq!(client.ask(get("/things/1", &token("nobody"))).verdict(), (403, "principal_unknown".to_owned()));
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn a_certificate_that_is_not_good_ends_the_handshake_and_none_does_where_one_is_required() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let namesake = Authority::new("Clients");
    for (words, none) in [("", None), ("client_certificate: optional", refused("gate_certificate"))] {
        let gateway = setup(&backend, &authority, words, "\"CN=billing,O=Example\"").start();
        assert_eq!(asked(&gateway, Some(&authority.client("billing", 1))), LET_IN);
        assert_eq!(asked(&gateway, None), none, "{words}");
        let before = gateway.metric("portcullis_tls_handshakes_failed_total");
        assert_eq!(asked(&gateway, Some(&namesake.client("billing", 1))), None, "of another authority");
        let ended = authority.client_with("billing", &[], 1, now() - 60);
        assert_eq!(asked(&gateway, Some(&ended)), None, "ended");
        assert_eq!(gateway.metric("portcullis_tls_handshakes_failed_total"), before + 2);
    }
}

#[test]
fn a_certificate_that_a_list_takes_back_is_refused_and_so_is_one_that_no_list_vouches_for() {
    let (backend, authority, other) = (Backend::hello(), Authority::new("Clients"), Authority::new("Others"));
    let mut setup = setup(&backend, &authority, "client_crl: crl.pem", "\"CN=billing,O=Example\"");
    setup.files.push(("crl.pem", authority.revokes(&[7], 4_000_000_000)));
    let gateway = setup.start();
    assert_eq!(asked(&gateway, Some(&authority.client("billing", 8))), LET_IN);
    assert_eq!(asked(&gateway, Some(&authority.client("billing", 7))), None);
    for (list, why) in [
        (authority.revokes(&[7, 8], 4_000_000_000), "taken back"),
        (authority.revokes(&[7], now() - 60), "the list is past its next update"),
        (other.revokes(&[7], 4_000_000_000), "no list of this authority"),
    ] {
        gateway.replace("crl.pem", &list);
        until(|| asked(&gateway, Some(&authority.client("billing", 8))).is_none(), why);
        gateway.replace("crl.pem", &authority.revokes(&[7], 4_000_000_000));
        until(|| asked(&gateway, Some(&authority.client("billing", 8))) == LET_IN, "back again");
    }
}

#[test]
fn the_backend_reads_the_certificate_where_the_application_asks_and_never_what_a_client_writes() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let names = "\"CN=billing,O=Example\"";
    let asking = setup(&backend, &authority, "client_certificate: optional", names);
    let mut silent = setup(&backend, &authority, "client_certificate: optional", names);
    silent.routes = silent.routes.replace("identity_headers: [client_certificate]", "identity_headers: [groups]");
    let pair = authority.client("billing", 1);
    let inner: String = pair.certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let spoofed = "Client-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\nClient_Cert: :AAAA:\r\n";
    for (setup, shown, told) in [(asking, Some(&pair), Some(format!(":{inner}:"))), (silent, Some(&pair), None)] {
        let gateway = setup.start();
        let config = client(&gateway.certificate(), shown, ALL_VERSIONS);
        let (mut client, _) = Client::tls(gateway.tls, &config).unwrap();
        for target in ["/things/1", "/health"] {
            assert_eq!(client.ask(request("GET", target, &token("olga"), spoofed, "")).status, 200);
            let seen = backend.seen().pop().unwrap();
            assert_eq!(seen.header("client-cert").map(str::to_owned), told, "{target}");
            assert!(seen.all("client-cert-chain").is_empty() && seen.all("client_cert").is_empty());
        }
        // Public routes ask for no certificate, and then there is nothing to tell.
        assert_eq!(gateway.ask(request("GET", "/health", "", spoofed, "")).status, 200);
        assert_eq!(backend.seen().pop().unwrap().header("client-cert"), None);
    }
}

#[test]
fn the_log_names_who_was_let_in_and_who_was_not() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let mut setup = setup(&backend, &authority, "client_certificate: optional", "\"CN=billing,O=Example\"");
    setup.decisions = true;
    let process = setup.spawn();
    for (shown, name, reason) in [
        (Some(authority.client("billing", 1)), Some("CN=billing,O=Example"), None),
        (
            Some(authority.client("a, b\n", 1)),
            Some("CN=a\\, b\\0a,O=Example"),
            Some("gate_certificate:CN=a\\, b\\0a,O=Example"),
        ),
        (None, None, Some("gate_certificate:none")),
    ] {
        asked(&process, shown.as_ref()).unwrap();
        let line = process.decision();
        assert_eq!((line["client_certificate"].as_str(), line["reason"].as_str()), (name, reason), "{line}");
    }
}

#[test]
fn a_session_that_is_resumed_still_says_whose_it_is() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let gateway = setup(&backend, &authority, "", "\"CN=billing,O=Example\"").start();
    let pair = authority.client("billing", 1);
    let inner: String = pair.certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    for version in [&TLS12, &TLS13] {
        let config = client(&gateway.certificate(), Some(&pair), &[version]);
        for resumed in [false, true, true] {
            let (mut client, facts) = Client::tls(gateway.tls, &config).unwrap();
            assert_eq!(facts.resumed, resumed, "{version:?}");
            assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
            assert_eq!(backend.seen().pop().unwrap().header("client-cert"), Some(&*format!(":{inner}:")));
        }
    }
}

#[test]
fn no_session_outlives_the_authorities_that_vouched_for_it() {
    let (backend, old, new) = (Backend::hello(), Authority::new("Clients"), Authority::new("Others"));
    for version in [&TLS12, &TLS13] {
        let gateway = setup(&backend, &old, "", "\"CN=billing,O=Example\"").start();
        let config = client(&gateway.certificate(), Some(&old.client("billing", 1)), &[version]);
        let again = || {
            let (mut client, facts) = Client::tls(gateway.tls, &config).ok()?;
            client.try_send(get("/things/1", &token("olga"))).ok()?;
            Some((facts.resumed, client.answer_if_any()?.status))
        };
        let (mut running, _) = Client::tls(gateway.tls, &config).unwrap();
        assert_eq!(running.ask(get("/things/1", &token("olga"))).status, 200);
        assert_eq!(again(), Some((true, 200)));
        // One more authority changes nothing for this client but that it has to show its certificate again.
        gateway.replace("clients.pem", &format!("{}{}", old.pem(), new.pem()));
        until(|| asked(&gateway, Some(&new.client("billing", 1))) == LET_IN, "the new authority");
        assert_eq!(again(), Some((false, 200)));
        assert_eq!(again(), Some((true, 200)));
        gateway.replace("clients.pem", &new.pem());
        until(|| asked(&gateway, Some(&old.client("billing", 2))).is_none(), "the old authority is gone");
        assert_eq!(again(), None, "{version:?}");
        assert_eq!(running.ask(get("/things/1", &token("olga"))).status, 200, "connections that run go on");
    }
}

#[test]
fn no_session_outlives_its_certificate() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let gateway = setup(&backend, &authority, "", "\"CN=billing,O=Example\"").start();
    let end = now() + 3;
    let pair = authority.client_with("billing", &[], 1, end);
    let config = client(&gateway.certificate(), Some(&pair), ALL_VERSIONS);
    let (mut running, _) = Client::tls(gateway.tls, &config).unwrap();
    assert_eq!(running.ask(get("/things/1", &token("olga"))).status, 200);
    while now() <= end {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.ask(get("/things/1", &token("olga"))).verdict(), (403, "gate_certificate".to_owned()));
    let (mut client, facts) = Client::tls(gateway.tls, &config).unwrap();
    assert!(facts.resumed, "as far as TLS is concerned");
    let _closed_by_now = client.try_send(get("/things/1", &token("olga")));
    assert!(client.answer_if_any().is_none());
}

#[test]
fn a_ticket_of_a_listener_that_asks_for_nothing_opens_no_other() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let mut setup = setup(&backend, &authority, "", "\"CN=billing,O=Example\"");
    setup.listeners = vec!["{address: \"127.0.0.1:0\", tls: {certificate: tls.crt, key: tls.key}}"];
    let gateway = setup.start();
    let config = client(&gateway.certificate(), None, ALL_VERSIONS);
    for resumed in [false, true] {
        let (mut client, facts) = Client::tls(gateway.more[0], &config).unwrap();
        assert_eq!(facts.resumed, resumed);
        assert_eq!(client.ask(get("/things/1", &token("olga"))).verdict(), (403, "gate_certificate".to_owned()));
    }
    let answer = Client::tls(gateway.tls, &config).ok().and_then(|(mut client, facts)| {
        assert!(!facts.resumed);
        client.try_send(get("/things/1", &token("olga"))).ok()?;
        client.answer_if_any()
    });
    assert!(answer.is_none());
}
