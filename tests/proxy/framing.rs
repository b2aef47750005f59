//! Raw HTTP: where one request ends and the next begins, and heads that two readers could read differently.

use crate::backend::Backend;
use crate::gateway::{Setup, token};
use crate::wire::{get, request};

#[test]
fn pipelined_requests_are_judged_one_by_one_and_answered_in_order() {
    let backend = Backend::start(|seen, stream| crate::backend::reply(stream, "200 OK", seen.target().as_bytes()));
    let gateway = Setup::before(&backend).start();
    let (olga, vera) = (token("olga"), token("vera"));
    let mut client = gateway.connect();
    client.send(
        [
            get("/things/1", &olga),
            get("/secrets/1", &olga),
            request("PUT", "/things/2", &olga, "", "GET /secrets/2 HTTP/1.1\r\nHost: app.test\r\n\r\n"),
            request("PUT", "/things/3", &vera, "", ""),
            get("/things/4", ""),
            get("/things/5", &vera),
        ]
        .concat(),
    );
    let answers: Vec<_> = (0..6).map(|_| client.answer()).map(|answer| (answer.verdict(), answer.text())).collect();
    let got: Vec<_> = answers.iter().map(|((status, reason), _)| (*status, reason.as_str())).collect();
    let expected = [(200, ""), (403, "right_missing"), (200, ""), (403, "right_level"), (401, "no_token"), (200, "")];
    assert_eq!(got, expected);
    assert_eq!(
        (answers[0].1.as_str(), answers[2].1.as_str(), answers[5].1.as_str()),
        ("/things/1", "/things/2", "/things/5")
    );
    let lines: Vec<_> = backend.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["GET /things/1 HTTP/1.1", "PUT /things/2 HTTP/1.1", "GET /things/5 HTTP/1.1"]);
}

#[test]
fn the_body_of_a_refused_request_is_never_taken_for_a_request() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let (olga, vera) = (token("olga"), token("vera"));
    let hidden = get("/things/hidden", &olga);
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (lines, body) in [
        (format!("Content-Length: {}\r\n", hidden.len()), hidden.clone()),
        ("Transfer-Encoding: chunked\r\n".into(), chunked),
        // It says that there is more than it sends at first.
        (format!("Content-Length: {}\r\n", 10 * hidden.len()), hidden.repeat(10)),
    ] {
        for whole in [true, false] {
            let mut client = gateway.connect();
            let head = request("PUT", "/things/1", &vera, &lines, "");
            // The body together with the head, or after the refusal has come.
            let answer = if whole { client.ask(format!("{head}{body}")) } else { client.ask(&head) };
            assert_eq!(answer.verdict(), (403, "right_level".into()));
            if !whole && client.try_send(&body).is_err() {
                continue;
            }
            // Either the connection is closed, or it is in step: the next answer belongs to the next request.
            if client.try_send(get("/kinds/none", &olga)).is_ok()
                && let Some(next) = client.answer_if_any()
            {
                assert_eq!(next.verdict(), (403, "value_not_allowed".into()), "{lines} {whole}");
            }
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_target_that_two_readers_could_read_differently_never_reaches_the_backend() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    for path in [
        "/things/../secrets/1",
        "/things/..",
        "/things/.",
        "/things/./1",
        "/things/%2e%2e/secrets/1",
        "/things/%2E%2e",
        "/things/.%2e/1",
        "/things/a%2fb",
        "/things/a%2Fb",
        "/things/a%5cb",
        "/things/a\\b",
        "/things//1",
        "//things/1",
        "/things/a;b=c",
        "/things/..;/secrets",
        "/things/a%3bb",
        "/things/%00",
        "/things/%0a",
        "/things/%0d%0aX:%20y",
        "/things/%7f",
        "/things/%252e%252e/1",
        "/things/%",
        "/things/%2",
        "/things/%zz",
        "/things/%c0%af",
        "/things/%ff",
        "/things/a b",
        "/things/a\"b",
        "/things/<a>",
        "/things/{a}",
        "/things/a|b",
        "/things/a^b",
        "/things/`a`",
        "/things/\u{e4}",
        "things/1",
        "*",
        "app.test/things/1",
        "@app.test/things/1",
    ] {
        let mut client = gateway.connect();
        client.send(get(path, &token));
        // Some of these are no HTTP at all, which hyper says itself: 400 and the end of the connection.
        let answer = client.answer();
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_fragment_reaches_neither_the_judge_nor_the_backend() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let answer = gateway.ask(get("/things/1#/../secrets", &token("olga")));
    let seen = backend.seen();
    assert!(answer.status == 400 || seen.iter().all(|seen| seen.line() == "GET /things/1 HTTP/1.1"), "{seen:?}");
}

#[test]
fn a_host_is_there_once_is_well_formed_and_agrees_with_the_target() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let ask = |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        gateway.ask(format!("GET {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {}\r\n\r\n", token("olga")))
    };
    for (target, hosts) in [
        ("/things/1", &[][..]),
        ("/things/1", &["app.test", "app.test"]),
        ("/things/1", &["app.test", "other.test"]),
        ("/things/1", &[""]),
        ("/things/1", &["user@app.test"]),
        ("/things/1", &["app.test/things"]),
        ("/things/1", &["app.test, other.test"]),
        ("/things/1", &["app.test other.test"]),
        ("/things/1", &["app.test:0"]),
        ("/things/1", &["app.test:99999"]),
        ("/things/1", &["app.test:"]),
        ("/things/1", &["app..test"]),
        ("http://other.test/things/1", &["app.test"]),
        ("http://app.test/things/1", &["other.test"]),
        ("http://app.test:81/things/1", &["app.test"]),
        ("http://user@app.test/things/1", &["app.test"]),
        ("ftp://app.test/things/1", &["app.test"]),
        // the connection is a plain one
        ("https://app.test/things/1", &["app.test"]),
    ] {
        let answer = ask(target, hosts);
        assert_eq!(answer.status, 400, "{target} {hosts:?}: {answer:?}");
    }
    assert_eq!(backend.connections(), 0);
    for (target, hosts) in [
        ("/things/1", &["APP.test."][..]),
        ("/things/1", &["app.test:80"]),
        ("http://app.test/things/1", &["app.test"]),
        ("http://APP.test:80/things/1", &["app.test"]),
    ] {
        assert_eq!(ask(target, hosts).status, 200, "{target} {hosts:?}");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.line(), "GET /things/1 HTTP/1.1");
        let host = seen.header("host").unwrap().to_ascii_lowercase();
        assert_eq!(host.trim_end_matches(":80").trim_end_matches('.'), "app.test", "{target} {hosts:?}");
    }
}

#[test]
fn connect_and_trace_are_never_forwarded() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    for line in
        ["TRACE /things/1", "TRACE /health", "CONNECT app.test:80", "CONNECT backend.test:22", "CONNECT /things/1"]
    {
        let mut client = gateway.connect();
        client.send(format!("{line} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.verdict(), (405, "method_forbidden".into()), "{line}: {answer:?}");
        assert!(answer.header("allow").unwrap().contains("GET"), "{line}");
        // What follows is no tunnel.
        if client.try_send(get("/things/hidden", "")).is_ok()
            && let Some(next) = client.answer_if_any()
        {
            assert_ne!(next.status, 200, "{line}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn http_1_0_works_and_needs_a_host_too() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    let mut client = gateway.connect();
    client.send(format!("GET /things/1 HTTP/1.0\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "hello", true));
    assert!(answer.header("transfer-encoding").is_none());
    assert!(client.is_ended(), "without keep-alive the connection ends");
    assert_eq!(backend.only().line(), "GET /things/1 HTTP/1.1");
    assert_eq!(gateway.ask("GET /things/1 HTTP/1.0\r\n\r\n").verdict(), (400, "bad_header".into()));
    assert_eq!(gateway.ask("GET /things/1\r\n\r\n").status, 400, "HTTP/0.9");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn framing_that_two_readers_could_read_differently_is_refused_or_framed_anew() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    let hidden = "GET /things/hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for (lines, body) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length: 5, 6\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length:\r\n", "hello"),
        ("Transfer-Encoding: chunked, identity\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5;\nx\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n"),
        ("X: a\r\n b\r\n", ""),
        ("X : a\r\n", ""),
        (": a\r\n", ""),
        ("X: a\0b\r\n", ""),
    ] {
        let mut client = gateway.connect();
        client.send(format!("{}{body}{hidden}", request("PUT", "/things/1", &token, lines, "")));
        let first = client.answer();
        assert!(matches!(first.status, 200 | 400 | 501), "{lines:?}: {first:?}");
        while let Some(next) = client.answer_if_any() {
            // Without a token the hidden request gets nowhere; a second 200 would be one that was smuggled.
            assert!(matches!(next.status, 400 | 401), "{lines:?}: {next:?}");
        }
    }
    for seen in backend.seen() {
        assert_eq!(seen.line(), "PUT /things/1 HTTP/1.1");
        assert!(seen.all("transfer-encoding").is_empty() || seen.all("content-length").is_empty(), "{}", seen.head);
        assert!(!seen.body.windows(6).any(|window| window == b"hidden"), "{seen:?}");
    }
}

#[test]
fn an_endless_body_of_a_refused_request_is_not_read_for_ever() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for lines in ["Content-Length: 1000000000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token("vera"), lines, ""));
        let piece = [b"10000\r\n", [b'x'; 0x10000].as_slice(), b"\r\n"].concat();
        let mut sent = 0;
        while client.try_send(&piece).is_ok() {
            sent += piece.len();
            assert!(sent < 200 << 20, "still read after {sent} bytes");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_answer_with_two_framings_is_relayed_with_one() {
    let backend = Backend::start(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n";
        crate::backend::say(stream, &[head.as_slice(), b"2\r\nok\r\n0\r\n\r\n"].concat());
        crate::backend::Then::Close
    });
    let gateway = Setup::before(&backend).start();
    let answer = gateway.ask(get("/things/1", &token("olga")));
    if answer.status == 200 {
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
        assert!(answer.header("content-length").is_none() || answer.header("transfer-encoding").is_none());
    } else {
        assert_eq!(answer.verdict(), (502, "upstream_invalid".into()));
    }
}

#[test]
fn trailers_end_at_the_gateway_in_both_directions() {
    let backend = Backend::start(|_, stream| {
        crate::backend::say(
            stream,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nX-Request-Id: x\r\n\r\n",
        )
    });
    let gateway = Setup::before(&backend).start();
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Auth-Request-User\r\nTE: trailers\r\n";
    let head = request("PUT", "/things/1", &token("olga"), lines, "");
    // Both readers of these tests panic at a trailer.
    let answer = gateway.ask(format!("{head}4\r\nbody\r\n0\r\nX-Auth-Request-User: admin\r\n\r\n"));
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "ok", true));
    let seen = backend.only();
    assert_eq!((seen.body.as_slice(), seen.whole), (&b"body"[..], true));
    assert_eq!(seen.header("x-auth-request-user"), Some("olga"));
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    let backend = Backend::hello();
    let gateway = Setup { limits: "head_bytes: 16KiB, headers: 20".into(), ..Setup::before(&backend) }.start();
    let token = token("olga");
    let ask = |target: &str, lines: &str| {
        let mut client = gateway.connect();
        // The gateway may answer and close before all is written.
        let _ = client.try_send(request("GET", target, &token, lines, ""));
        client.answer_if_any().map_or(0, |answer| answer.status)
    };
    assert_eq!(ask("/things/1", &"X: y\r\n".repeat(18)), 200);
    assert_eq!(ask("/things/1", &"X: y\r\n".repeat(19)), 431);
    assert_eq!(ask("/things/1", &format!("X: {}\r\n", "y".repeat(20_000))), 431);
    let status = ask(&format!("/things/{}", "a".repeat(20_000)), "");
    assert!(matches!(status, 414 | 431), "{status}");
    assert_eq!(ask(&format!("/things/{}", "a/".repeat(70)), ""), 400);
    assert_eq!(backend.heads(), 1);
}
