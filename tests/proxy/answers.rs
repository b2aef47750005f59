//! What backends answer: relayed as one plain message, or refused as none.

use std::time::Duration;

use crate::backend::{Backend, Then, read_head, say};
use crate::gateway::{Setup, token};
use crate::recorder::Recorder;
use crate::wire::{get, request};

#[test]
fn an_answer_that_is_no_plain_http_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(600_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X-Many: 1\r\n".repeat(2_000));
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-Space : a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "ok",
        &long,
        &many,
    ] {
        let answer = answer.to_owned();
        let shown = format!("{answer:.80?}");
        let backend = Backend::start(move |_, stream| {
            say(stream, answer.as_bytes());
            Then::Close
        });
        let gateway = Setup::before(&backend).start();
        let answer = gateway.ask(get("/things/1", &token("olga")));
        assert_eq!(answer.verdict(), (502, "upstream_invalid".into()), "{shown}: {answer:?}");
    }
}

#[test]
fn an_answer_keeps_what_is_the_backend_s_to_say_and_loses_what_is_of_its_connection() {
    let answer = "HTTP/1.1 200 Fine\r\nConnection: X-Hop, keep-alive\r\nConnection: X-Hop-Two\r\nX-Hop: 1\r\nx-hop-two: 2\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n\
        TE: trailers\r\nTrailer: X-Late\r\nServer: backend/1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        X-Auth-Request-User: root\r\nX-Portcullis: answered\r\nWWW-Authenticate: Basic realm=\"theirs\"\r\n\
        Content-Length: 2\r\n\r\nok";
    let backend = Recorder::answering(answer.as_bytes());
    let gateway = Setup::before(&backend.backend).start();
    let answer = gateway.ask(get("/things/1", &token("olga")));
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for gone in [
        "x-hop",
        "x-hop-two",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "x-auth-request-user",
        "x-portcullis",
        "transfer-encoding",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}: {}", answer.head);
    }
    for (stays, value) in [
        ("server", "backend/1"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("www-authenticate", "Basic realm=\"theirs\""),
        ("content-length", "2"),
    ] {
        assert_eq!(answer.header(stays), Some(value), "{}", answer.head);
    }
}

#[test]
fn every_answer_has_one_date_and_the_gateway_s_own_name_no_server() {
    for dates in ["", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "Date: a\r\nDate: b\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{dates}Content-Length: 2\r\n\r\nok");
        let backend = Recorder::answering(answer.as_bytes());
        let gateway = Setup::before(&backend.backend).start();
        for target in ["/things/1", "/nowhere"] {
            let answer = gateway.ask(get(target, &token("olga")));
            // A header that came twice would be a panic here.
            assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{}", answer.head);
            assert_eq!(answer.header("server"), None);
        }
    }
}

#[test]
fn interim_answers_are_taken_in_and_the_final_one_is_relayed() {
    let interim =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let backend = Recorder::answering(answer.as_bytes());
    let gateway = Setup::before(&backend.backend).start();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let mut client = gateway.connect();
        client.send(get("/things/1", &token("olga")).replace("HTTP/1.1", version));
        assert_eq!(client.interim(), 200, "{version}");
    }
}

#[test]
fn a_body_where_none_may_be_is_not_relayed_and_never_taken_for_the_next_answer() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No Content\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"),
        // More than its length.
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    ] {
        let answer = format!("{head}\r\n{smuggled}");
        let backend = Backend::start(move |seen, stream| match seen.target() {
            "/things/next" => crate::backend::reply(stream, "200 OK", b"next"),
            _ => say(stream, answer.as_bytes()),
        });
        let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
        let mut client = gateway.connect();
        client.send(request(method, "/things/1", &token("olga"), "", ""));
        let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
        assert_eq!(answer.text(), "", "{head}");
        for _ in 0..3 {
            let next = client.ask(get("/things/next", &token("olga")));
            assert_eq!((next.status, next.text().as_str()), (200, "next"), "{head}: {next:?}");
        }
    }
}

#[test]
fn an_answer_before_the_body_was_read_is_relayed() {
    for then in ["stays open", "closes"] {
        let backend = Backend::raw(move |number, mut stream, record| {
            let mut buffer = Vec::new();
            let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
            record.head();
            record.seen(seen);
            say(&mut stream, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge");
            if then == "stays open" {
                while crate::backend::fill(&mut stream, &mut buffer) > 0 {}
            } else {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let gateway = Setup::before(&backend).start();
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 1000000\r\n", "")).send("only a part");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "large"), "{then}");
    }
}
