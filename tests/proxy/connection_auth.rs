//! Authentication that a backend ties to a connection (NTLM, Negotiate): whoever authenticated a connection is the only one
//! who ever uses it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Seen, Then, fill, read_head, say};
use crate::gateway::{Gateway, Setup, token};
use crate::places;
use crate::wire::{Client, Repeated, block_on, h2_request, http2, request};

/// A server like IIS: a connection is whoever authenticated it, from then on and without a further word.
fn windows() -> Backend {
    let known: Mutex<HashMap<usize, String>> = Mutex::default();
    Backend::start(move |seen: &Seen, stream| {
        let mut known = known.lock().unwrap();
        if let Some((scheme, name)) = seen.header("authorization").and_then(|value| value.split_once(' '))
            && scheme != "Bearer"
        {
            known.insert(seen.connection, name.to_owned());
        }
        let (status, who) = match known.get(&seen.connection) {
            _ if seen.target() == "/health" => ("200 OK", "nobody in particular".to_owned()),
            Some(name) => ("200 OK", name.clone()),
            None => (
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\", Negotiate\r\nWWW-Authenticate: NTLM",
                String::new(),
            ),
        };
        say(stream, format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{who}", who.len()).as_bytes());
        Then::Keep
    })
}

fn gateway(backend: &Backend, lines: &str) -> Gateway {
    // One worker, so that the clients share one pool.
    Setup { workers: 1, ..places::with(backend, lines, false) }.start()
}

const ON: &str = "    token: [bearer, {cookie: erp_token}]\n    connection_auth: true\n";
const OFF: &str = "    token: [bearer, {cookie: erp_token}]\n    forward_authorization: true\n";

/// Asks as somebody, and whom the backend took the caller for.
fn ask(client: &mut Client, who: &str, authorization: &str) -> (u16, String) {
    let lines = format!("Cookie: erp_token={}\r\n{authorization}", token(who));
    let answer = client.ask(request("GET", "/things/1", "", &lines, ""));
    (answer.status, answer.text())
}

fn yes(name: &str) -> (u16, String) {
    (200, name.to_owned())
}

const NO: (u16, String) = (401, String::new());

#[test]
fn a_connection_that_a_client_authenticated_is_its_own_and_nobody_elses() {
    for scheme in ["NTLM", "Negotiate", "nTLM"] {
        let backend = windows();
        let gateway = gateway(&backend, ON);
        let (mut olga, mut vera) = (gateway.connect(), gateway.connect());
        assert_eq!(ask(&mut olga, "olga", ""), NO, "{scheme}");
        assert_eq!(ask(&mut olga, "olga", &format!("Authorization: {scheme} OLGA\r\n")), yes("OLGA"));
        for _ in 0..3 {
            assert_eq!(ask(&mut olga, "olga", ""), yes("OLGA"), "the connection is still hers");
            assert_eq!(ask(&mut vera, "vera", ""), NO, "{scheme}: another client got her connection");
        }
        assert_eq!(ask(&mut vera, "vera", &format!("Authorization: {scheme} VERA\r\n")), yes("VERA"));
        assert_eq!(ask(&mut olga, "olga", ""), yes("OLGA"));
        assert_eq!(ask(&mut vera, "vera", ""), yes("VERA"));
        // Nor is it left for whoever comes after she is gone.
        drop(olga);
        for _ in 0..5 {
            assert_eq!(ask(&mut gateway.connect(), "olga", ""), NO);
        }
    }
}

#[test]
fn the_steps_of_one_authentication_stay_on_one_connection() {
    let backend = windows();
    let gateway = gateway(&backend, ON);
    let mut olga = gateway.connect();
    for step in ["", "Authorization: NTLM one\r\n", "Authorization: NTLM two\r\n", ""] {
        ask(&mut olga, "olga", step);
    }
    let connections: Vec<usize> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 0, 0]);
}

#[test]
fn another_principal_on_the_same_client_connection_does_not_get_it() {
    let backend = windows();
    let gateway = gateway(&backend, ON);
    let mut proxy = gateway.connect();
    assert_eq!(ask(&mut proxy, "olga", "Authorization: NTLM OLGA\r\n"), yes("OLGA"));
    assert_eq!(ask(&mut proxy, "vera", ""), NO);
    // Nor does a request of a public page, which comes from nobody known.
    let before = backend.seen()[0].connection;
    assert_eq!(proxy.ask(request("GET", "/health", "", "Authorization: NTLM X\r\n", "")).status, 200);
    let seen = backend.seen().pop().unwrap();
    assert_ne!(seen.connection, before);
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn without_the_key_such_authorization_is_removed_and_such_connections_are_closed_after_use() {
    let backend = windows();
    let gateway = gateway(&backend, OFF);
    let (mut olga, mut vera) = (gateway.connect(), gateway.connect());
    for _ in 0..2 {
        assert_eq!(ask(&mut olga, "olga", "Authorization: NTLM OLGA\r\n"), NO);
        assert_eq!(ask(&mut vera, "vera", ""), NO);
    }
    let seen = backend.seen();
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
    let connections: Vec<usize> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3], "one was used again");
}

#[test]
fn a_connection_of_http2_authenticates_nobody() {
    let backend = windows();
    let gateway = gateway(&backend, ON);
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for _ in 0..2 {
            let mut request = h2_request("GET", "/things/1", "", Repeated::none());
            let cookie = format!("erp_token={}", token("olga"));
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            request.headers_mut().insert("authorization", "Negotiate OLGA".parse().unwrap());
            assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), 401);
        }
    });
    let connections: Vec<usize> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1]);
    assert!(backend.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[test]
fn a_connection_that_the_backend_closed_is_not_missed() {
    let backend = windows();
    let gateway = gateway(&backend, ON);
    let mut olga = gateway.connect();
    assert_eq!(ask(&mut olga, "olga", "Authorization: NTLM OLGA\r\n"), yes("OLGA"));
    backend.hang_up();
    assert_eq!(ask(&mut olga, "olga", ""), NO);
    assert_eq!(ask(&mut olga, "olga", "Authorization: NTLM AGAIN\r\n"), yes("AGAIN"));
}

#[test]
fn an_upload_that_an_early_answer_did_not_wait_for_ends_soon() {
    for authorization in ["", "Authorization: NTLM OLGA\r\n"] {
        let backend = Backend::raw(|number, mut stream, record| {
            let mut buffer = Vec::new();
            let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            while fill(&mut stream, &mut buffer) > 0 {}
            record.seen(seen);
        });
        let gateway = gateway(&backend, ON);
        let mut client = gateway.connect();
        let olga = token("olga");
        let lines = format!(
            "Cookie: erp_token={olga}\r\nSec-Fetch-Site: same-origin\r\n{authorization}Transfer-Encoding: chunked\r\n"
        );
        client.send(request("PUT", "/things/1", "", &lines, ""));
        assert_eq!(client.answer().status, 200);
        let begun = Instant::now();
        // Nobody judges it any more, so it must not go on as long as its client likes.
        while backend.seen().is_empty() && begun.elapsed() < Duration::from_secs(8) {
            let _ = client.try_send("1\r\nx\r\n");
            sleep(Duration::from_millis(50));
        }
        assert_eq!(backend.seen().len(), 1, "{authorization}: the backend still gets it");
    }
}
