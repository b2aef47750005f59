//! The operators' listener with TLS: who counts as an operator by a certificate, and who asks without any.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use rustls::ALL_VERSIONS;

use crate::authority::{Authority, Pair, client};
use crate::backend::{Backend, until};
use crate::gateway::{ADMIN_TOKEN, Door, Setup, certificate};
use crate::wire::{Answer, Client};

fn setup(backend: &Backend, authority: &Authority, operators: &str) -> Setup {
    let mut setup = Setup::before(backend);
    setup.admin = format!("tls: {{certificate: tls.crt, key: tls.key, client_ca: operators.pem}}, {operators}");
    setup.files.push(("operators.pem", authority.pem()));
    setup
}

/// The answer to a call on a connection of its own; nothing where TLS comes to nothing.
fn ask(door: &Door, shown: Option<&Pair>, line: &str, more: &str) -> Option<Answer> {
    let config = client(&door.certificate(), shown, ALL_VERSIONS);
    let (mut client, _) = Client::tls(door.admin, &config).ok()?;
    client.try_send(format!("{line} HTTP/1.1\r\nHost: admin\r\n{more}\r\n")).ok()?;
    client.answer_if_any()
}

/// Status and error of a reload.
fn reload(door: &Door, shown: Option<&Pair>, more: &str) -> Option<(u16, String)> {
    let answer = ask(door, shown, "POST /reload", more)?;
    Some((answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned()))
}

fn told(status: u16, error: &str) -> Option<(u16, String)> {
    Some((status, error.to_owned()))
}

const GOOD: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

#[test]
fn a_certificate_of_the_authority_counts_like_the_token_and_none_is_needed_to_ask_how_things_are() {
    assert!(GOOD.contains(ADMIN_TOKEN));
    let (backend, authority, other) = (Backend::hello(), Authority::new("Operators"), Authority::new("Operators"));
    let gateway = setup(&backend, &authority, "").start();
    let ann = authority.client("ann", 1);
    assert_eq!(reload(&gateway, Some(&ann), ""), told(200, ""));
    assert_eq!(reload(&gateway, None, GOOD), told(200, ""));
    assert_eq!(reload(&gateway, None, ""), told(401, "no_token"));
    assert_eq!(reload(&gateway, None, "Authorization: Bearer wrong\r\n"), told(401, "invalid_token"));
    assert_eq!(reload(&gateway, Some(&other.client("ann", 1)), GOOD), None, "of another authority");
    let ended = authority.client_with("ann", &[], 2, crate::gateway::now() - 60);
    assert_eq!(reload(&gateway, Some(&ended), GOOD), None, "ended");
    for page in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(ask(&gateway, None, &format!("GET {page}"), "").map(|answer| answer.status), Some(200), "{page}");
    }
    // In the clear, nothing but the alert of a broken handshake is told.
    let (mut plain, mut told) = (TcpStream::connect(gateway.admin).unwrap(), Vec::new());
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
    // The connection may be reset after it.
    let _reset = plain.read_to_end(&mut told);
    assert!(told.len() < 10, "{}", String::from_utf8_lossy(&told));
}

#[test]
fn where_operators_are_named_only_they_are_and_others_still_have_the_token() {
    let (backend, authority) = (Backend::hello(), Authority::new("Operators"));
    let gateway = setup(&backend, &authority, "operators: [\"cn=ann,o=Example\"]").spawn();
    let (ann, bob) = (authority.client("ann", 1), authority.client("bob", 2));
    assert_eq!(reload(&gateway, Some(&ann), ""), told(200, ""));
    assert_eq!(reload(&gateway, Some(&bob), ""), told(403, "not_an_operator"));
    assert_eq!(reload(&gateway, Some(&bob), "Authorization: Bearer wrong\r\n"), told(401, "invalid_token"));
    assert_eq!(reload(&gateway, Some(&bob), GOOD), told(200, ""));
    for (name, outcome) in [("ann", "unchanged"), ("bob", "not_an_operator"), ("bob", "invalid_token")] {
        until(
            || {
                let log = gateway.log();
                let mut calls = log.lines().filter(|line| line.contains("call of an operator by=127.0.0.1:"));
                calls.any(|line| line.contains(&format!("(CN={name},O=Example)")) && line.contains(outcome))
            },
            outcome,
        );
    }
}

#[test]
fn certificates_of_the_listener_and_its_authorities_are_taken_over_while_it_runs() {
    let (backend, authority, next) = (Backend::hello(), Authority::new("Operators"), Authority::new("Next"));
    let gateway = setup(&backend, &authority, "").start();
    let (old, new) = (authority.client("ann", 1), next.client("ann", 1));
    assert_eq!(reload(&gateway, Some(&old), ""), told(200, ""));
    assert_eq!(reload(&gateway, Some(&new), ""), None);
    gateway.replace("operators.pem", &next.pem());
    until(|| reload(&gateway, Some(&new), "") == told(200, ""), "the new authority");
    assert_eq!(reload(&gateway, Some(&old), ""), None);
}

#[test]
fn the_command_line_is_known_by_a_token_or_a_certificate_over_tls() {
    let (backend, authority) = (Backend::hello(), Authority::new("Operators"));
    let mut setup = setup(&backend, &authority, "");
    let (ann, (other, _)) = (authority.client("ann", 1), certificate());
    setup.files.extend([("ann.crt", ann.certificate), ("ann.key", ann.key), ("other.pem", other)]);
    let gateway = setup.start();
    let url = format!("https://localhost:{}", gateway.admin.port());
    let run = |arguments: &[&str]| -> Output {
        let mut line = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        line.current_dir(gateway.file(".")).args(arguments).args(["--admin", &url]).output().unwrap()
    };
    let trust = ["--ca", "tls.crt"];
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["status", "--ready"], 0),
        (&["reload", "--token-file", "admin.token"], 0),
        (&["reload", "--certificate", "ann.crt", "--key", "ann.key"], 0),
        (&["reload"], 3),
        (&["reload", "--certificate", "nowhere.crt", "--key", "ann.key"], 3),
        (&["reload", "--certificate", "ann.crt"], 2),
    ] {
        let done = run(&[arguments, &trust].concat());
        assert_eq!(done.status.code(), Some(code), "{arguments:?} {}", String::from_utf8_lossy(&done.stderr));
    }
    for trust in [&[][..], &["--ca", "other.pem"]] {
        let done = run(&[&["reload", "--token-file", "admin.token"], trust].concat());
        assert_eq!(done.status.code(), Some(5), "{trust:?} {}", String::from_utf8_lossy(&done.stderr));
    }
    let by_configuration = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(gateway.file("."))
        .args(["status", "--config", "gateway.yaml"])
        .output()
        .unwrap();
    assert_eq!(by_configuration.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&by_configuration.stderr).contains("--admin https://"));
}
