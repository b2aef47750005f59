//! The way to the backend: pooled connections, several servers, servers that are gone or talk nonsense.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Backend, Then, read_head, read_request, reply, say};
use crate::gateway::{Setup, token};
use crate::wire::{get, request};

/// An address that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn sequential_requests_share_one_upstream_connection() {
    let backend = Backend::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let token = token("olga");
    let mut client = gateway.connect();
    for number in 0..50 {
        let target = format!("/things/{number}");
        let asked = match number % 3 {
            0 => request("PUT", &target, &token, "", "body"),
            1 => request("PUT", &target, &token, "Transfer-Encoding: chunked\r\n", "")
                .replace("\r\n\r\n", "\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
            _ => get(&target, &token),
        };
        assert_eq!(client.ask(asked).status, 200, "{number}");
        // A refusal in between disturbs nothing.
        assert_eq!(client.ask(get("/secrets/1", &token)).status, 403, "{number}");
    }
    // Another client, the same connection.
    assert_eq!(gateway.ask(get("/things/last", &token)).status, 200);
    assert_eq!((backend.connections(), backend.heads()), (1, 51));
}

#[test]
fn two_servers_take_turns() {
    let backends = [Backend::hello(), Backend::hello()];
    let setup = Setup::to(&backends.each_ref().map(Backend::url)).upstream("balance: round_robin");
    let gateway = Setup { workers: 1, ..setup }.start();
    let mut client = gateway.connect();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    }
    assert_eq!(backends.each_ref().map(Backend::heads), [5, 5]);
    assert_eq!(backends.each_ref().map(Backend::connections), [1, 1]);
}

#[test]
fn a_server_that_is_gone_is_passed_over() {
    let backend = Backend::hello();
    let gateway = Setup { workers: 1, ..Setup::to(&[nobody(), backend.url(), nobody()]) }.start();
    let mut client = gateway.connect();
    for number in 0..9 {
        assert_eq!(client.ask(request("PUT", "/things/1", &token("olga"), "", "body")).status, 200, "{number}");
    }
    assert_eq!((backend.heads(), backend.connections()), (9, 1));
    assert!(backend.seen().iter().all(|seen| seen.body == b"body"));
}

#[test]
fn an_upstream_that_nobody_answers_for_is_a_502_and_the_log_names_the_server() {
    let url = nobody();
    let gateway = Setup { decisions: true, ..Setup::to(std::slice::from_ref(&url)) }.spawn();
    let answer = gateway.ask(get("/things/1", &token("olga")));
    assert_eq!(answer.verdict(), (502, "upstream_unreachable".into()));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(!answer.text().contains("127.0.0.1"), "clients do not learn where the backend is");
    gateway.logs(&url);
    let line = gateway.decision();
    assert_eq!(
        (&line["upstream"], &line["reason"], &line["status"]),
        (&url.as_str().into(), &"upstream_unreachable".into(), &502.into())
    );
}

#[test]
fn an_answer_that_is_no_http_is_a_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a",
        &format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(300_000)),
        "",
    ] {
        let said = nonsense.to_owned();
        let backend = Backend::start(move |_, stream| {
            say(stream, said.as_bytes());
            Then::Close
        });
        let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
        let answer = gateway.ask(get("/things/1", &token("olga")));
        assert_eq!(answer.verdict(), (502, "upstream_invalid".into()), "{nonsense:.60?}");
        assert_eq!(backend.connections(), 1, "{nonsense:.60?}: what may have been done is not done again");
    }
}

#[test]
fn a_change_of_protocol_that_nobody_asked_for_is_a_502() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes");
        Then::Keep
    });
    let gateway = Setup::before(&backend).start();
    for lines in ["", "Connection: upgrade\r\nUpgrade: h2c\r\n"] {
        let mut client = gateway.connect();
        let answer = client.ask(request("GET", "/things/1", &token("olga"), lines, ""));
        assert_eq!(answer.verdict(), (502, "upstream_invalid".into()));
        assert!(!answer.text().contains("raw bytes"));
    }
    assert_eq!(backend.connections(), 2, "such a connection is not used again");
    assert!(backend.seen().iter().all(|seen| seen.all("upgrade").is_empty()));
}

#[test]
fn a_pooled_connection_that_the_backend_closed_in_the_meantime_costs_nobody_an_answer() {
    let backend = Backend::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let mut client = gateway.connect();
    for number in 0..20 {
        assert_eq!(client.ask(request("PUT", "/things/1", &token("olga"), "", "body")).status, 200, "{number}");
        backend.hang_up();
    }
    assert_eq!(backend.heads(), 20, "no request was sent twice");
}

#[test]
fn a_request_that_may_have_been_received_is_not_sent_again() {
    let served = AtomicUsize::new(0);
    let backend = Backend::start(move |_, stream| match served.fetch_add(1, Ordering::SeqCst) {
        // The first answer keeps the connection; the second request is read and then left without an answer.
        0 => reply(stream, "200 OK", b"hello"),
        _ => Then::Close,
    });
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let mut client = gateway.connect();
    assert_eq!(client.ask(request("POST", "/things/1", &token("olga"), "", "body")).status, 200);
    let answer = client.ask(request("POST", "/things/2", &token("olga"), "", "body"));
    assert_eq!(answer.verdict(), (502, "upstream_invalid".into()));
    assert_eq!((backend.heads(), backend.connections()), (2, 1));
}

#[test]
fn an_answer_that_comes_before_the_body_was_read_is_relayed() {
    let backend = Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        record.head();
        record.seen(seen);
        say(&mut stream, b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much");
        // Reads on, so that no reset overtakes the answer.
        while crate::backend::fill(&mut stream, &mut buffer) > 0 {
            buffer.clear();
        }
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 1000000\r\n", ""));
    client.send([0; 1000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-portcullis")), (413, "too much", None));
    // The rest of the body is never read as a request.
    if client.try_send(get("/things/2", &token("olga"))).is_ok() {
        assert!(client.answer_if_any().is_none_or(|answer| answer.status != 200));
    }
    assert_eq!(backend.heads(), 1);
}

#[test]
fn an_early_answer_leaves_the_connection_in_step_or_unused() {
    // Answers at the head, keeps the connection, and reads the body afterwards.
    let backend = Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(mut seen) = read_head(number, &mut stream, &mut buffer) {
            record.head();
            reply(&mut stream, "200 OK", seen.target().as_bytes());
            crate::backend::read_body(&mut seen, &mut stream, &mut buffer);
            let whole = seen.whole;
            record.seen(seen);
            if !whole {
                return;
            }
        }
    });
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let token = token("olga");
    let ask = |target: &str| gateway.ask(get(target, &token)).text();
    // The client sends the rest of its body late.
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/late", &token, "Content-Length: 8\r\n", "")).send("half");
    assert_eq!(client.answer().text(), "/things/late");
    assert_eq!(ask("/things/1"), "/things/1");
    let _ = client.try_send("half");
    assert_eq!(ask("/things/2"), "/things/2");
    // The client goes away in the middle.
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/gone", &token, "Content-Length: 8\r\n", "")).send("half");
    assert_eq!(client.answer().text(), "/things/gone");
    client.reset();
    for number in 3..6 {
        let target = format!("/things/{number}");
        assert_eq!(ask(&target), target);
    }
    let seen = backend.wait_for(7);
    assert!(seen.iter().all(|seen| seen.whole || seen.line().starts_with("PUT")), "{seen:#?}");
    assert!(seen.iter().any(|seen| seen.target() == "/things/gone" && !seen.whole), "{seen:#?}");
}

#[test]
fn an_https_upstream_is_believed_only_with_its_authority() {
    let backend = Backend::hello();
    let mut inner = Setup::before(&backend);
    inner.routes = inner.routes.replace("    upstream: app\n", "    upstream: app\n    forward_authorization: true\n");
    let inner = inner.start();
    let url = format!("https://localhost:{}", inner.tls.port());
    let outer = |authority: &std::path::Path| {
        let mut setup = Setup::to(std::slice::from_ref(&url));
        let with_authority = format!("\"], ca: \"{}\"}}\n", authority.display());
        setup.routes = setup.routes.replacen("\"]}\n", &with_authority, 1);
        setup.routes =
            setup.routes.replace("    upstream: app\n", "    upstream: app\n    forward_authorization: true\n");
        setup.start()
    };
    let right = outer(&inner.file("tls.crt"));
    let answer = right.ask(get("/things/1", &token("olga")));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let seen = backend.only();
    assert_eq!(seen.all("via"), ["1.1 portcullis", "1.1 portcullis"]);
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    // Another gateway's certificate is no authority for this one.
    let wrong = outer(&right.file("tls.crt"));
    assert_eq!(wrong.ask(get("/things/1", &token("olga"))).verdict(), (502, "upstream_unreachable".into()));
    assert_eq!(backend.heads(), 1);
}

#[test]
fn what_a_backend_sends_after_its_answer_is_never_another_answer() {
    let backend = Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(number, &mut stream, &mut buffer, record) {
            let own = seen.target().to_owned();
            record.seen(seen);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", own.len());
            say(&mut stream, format!("{head}{own}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled").as_bytes());
        }
    });
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let mut client = gateway.connect();
    for number in 0..10 {
        let target = format!("/things/{number}");
        let answer = client.ask(get(&target, &token("olga")));
        assert!(answer.status == 502 || answer.text() == target, "{target}: {answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn idle_connections_are_given_up_in_time() {
    let (closed, told) = std::sync::mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let backend = Backend::raw(move |number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(number, &mut stream, &mut buffer, record) {
            record.seen(seen);
            reply(&mut stream, "200 OK", b"hello");
        }
        let _ = closed.lock().unwrap().send(());
    });
    let gateway = Setup::before(&backend).timeouts("upstream_idle: 200ms").start();
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
    told.recv_timeout(crate::backend::SOON).expect("the idle connection is closed");
}
