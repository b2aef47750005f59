//! What a request expects on its way and how far it may go: `Expect`, `Max-Forwards`, `Via`.

use crate::backend::Backend;
use crate::gateway::{Setup, token};
use crate::recorder::Recorder;
use crate::wire::{get, request};

const EXPECTING: &str = "Content-Length: 4\r\nExpect: 100-continue\r\n";

#[test]
fn a_client_is_told_to_go_on_only_after_the_permission() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for word in ["100-continue", "100-Continue"] {
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token("olga"), &EXPECTING.replace("100-continue", word), ""));
        assert_eq!(client.interim(), 100);
        assert_eq!(client.ask("body").status, 200);
    }
    for seen in backend.seen() {
        assert_eq!((seen.header("expect"), seen.body.as_slice()), (None, &b"body"[..]), "{}", seen.head);
    }
}

#[test]
fn a_refused_upload_never_starts() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (who, status) in [("vera", 403), ("", 401)] {
        let token = if who.is_empty() { String::new() } else { token(who) };
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token, EXPECTING, ""));
        assert_eq!(client.interim(), status, "and no 100 before it");
        // The client gives up its body, as it may; what it sends next is no request of the same connection.
        let _ = client.try_send(get("/things/hidden", &crate::gateway::token("olga")));
        let rest = String::from_utf8(client.rest()).unwrap();
        assert!(!rest.contains("HTTP/1.1 200"), "{rest}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn other_expectations_are_not_met_and_http_1_0_has_none() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    for lines in [
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: x\r\nExpect: 100-continue\r\n",
        "Expect:\r\n",
    ] {
        let answer = gateway.ask(request("PUT", "/things/1", &token, lines, "body"));
        assert_eq!(answer.verdict(), (417, "expectation_failed".into()), "{lines}");
    }
    assert_eq!(backend.connections(), 0);
    let old = request("PUT", "/things/1", &token, "Expect: x\r\nExpect: 100-continue\r\n", "body");
    let mut client = gateway.connect();
    client.send(old.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.interim(), 200, "and no 100 before it");
    assert_eq!(backend.only().header("expect"), None);
}

#[test]
fn an_options_that_may_go_no_further_is_answered_here_to_whoever_may_ask() {
    let backend = Recorder::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend.backend) }.start();
    let olga = token("olga");
    let ask = |token: &str, value: &str| {
        gateway.ask(request("OPTIONS", "/things/1", token, &format!("Max-Forwards: {value}\r\n"), ""))
    };
    let answer = ask(&olga, "0");
    assert_eq!((answer.status, answer.header("x-portcullis")), (204, Some("answered")), "{answer:?}");
    assert!(answer.header("allow").unwrap().contains("PATCH"), "{answer:?}");
    assert_eq!(ask("", "0").verdict(), (401, "no_token".into()));
    for value in ["-1", "x", "", "1 2", "1\r\nMax-Forwards: 1", "99999999999999999999"] {
        assert_eq!(ask(&olga, value).verdict(), (400, "bad_header".into()), "{value:?}");
    }
    assert_eq!(backend.backend.connections(), 0);
    for (value, goes_on) in [("1", "0"), ("10", "9"), ("007", "6")] {
        let before = backend.all().len();
        assert_eq!(ask(&olga, value).status, 200);
        assert!(backend.all()[before..].contains(&format!("\r\nmax-forwards: {goes_on}\r\n")), "{value}");
    }
    // Elsewhere the field means nothing and stays as it is.
    let before = backend.all().len();
    assert_eq!(gateway.ask(request("GET", "/things/1", &olga, "Max-Forwards: 0\r\n", "")).status, 200);
    assert!(backend.all()[before..].contains("\r\nmax-forwards: 0\r\n"));
    let trace = gateway.ask(request("TRACE", "/things/1", &olga, "Max-Forwards: 0\r\n", ""));
    assert_eq!(trace.verdict(), (405, "method_forbidden".into()));
}

#[test]
fn a_request_that_goes_round_in_a_circle_ends() {
    let backend = Recorder::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend.backend) }.start();
    let olga = token("olga");
    let ask = |via: &str| gateway.ask(request("GET", "/things/1", &olga, via, ""));
    for (via, status) in [
        (format!("Via: {}1.1 x\r\n", "1.1 portcullis, ".repeat(7)), 200),
        (format!("Via: {}1.1 x\r\n", "1.1 portcullis, ".repeat(8)), 508),
        ("Via: HTTP/1.1 Portcullis (comment)\r\n".repeat(8), 508),
        (format!("Via: {}1.1 x\r\n", "1.1 portcullis.example.org, ".repeat(20)), 200),
    ] {
        let answer = ask(&via);
        assert_eq!(answer.status, status, "{via}");
        assert!(status == 200 || answer.verdict().1 == "loop_detected");
    }
    let before = backend.all().len();
    assert_eq!(gateway.ask(get("/things/1", &olga).replace("HTTP/1.1", "HTTP/1.0")).status, 200);
    assert!(backend.all()[before..].contains("\r\nvia: 1.0 portcullis\r\n"));
}

#[test]
fn a_gateway_that_is_its_own_upstream_answers_in_the_end() {
    // The port is not known before it starts, so it comes by a reload.
    let backend = Backend::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let own = format!("http://{}", gateway.plain);
    let serial = gateway.serial();
    gateway.replace("routes.yaml", &crate::gateway::routes(&[own]));
    crate::backend::until(|| gateway.serial() > serial, "the new routes");
    assert_eq!(gateway.ask("GET /health HTTP/1.1\r\nHost: app.test\r\n\r\n").status, 508);
}
