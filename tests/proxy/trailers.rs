//! Fields behind the body: those that the route names pass, in both directions; all others end at the gateway.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;

use crate::backend::Backend;
use crate::gateway::{Setup, token};
use crate::recorder::Recorder;
use crate::wire::{Repeated, block_on, h2_request, http2, request};

/// A gateway whose route `/things/...` permits the trailers `x-checksum` and `x-other`.
fn permitting(backend: &Backend) -> Setup {
    let setup = Setup::before(backend);
    let routes = setup.routes.replace(
        "require: [\"things:by_method\"]}",
        "require: [\"things:by_method\"], trailers: [x-checksum, x-other]}",
    );
    assert_ne!(routes, setup.routes);
    Setup { routes, ..setup }
}

/// What is behind the head, byte by byte, and the values of a field of the head.
fn parts<'a>(heard: &'a str, name: &str) -> (Vec<&'a str>, &'a str) {
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    (lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect(), body)
}

#[test]
fn named_trailers_of_a_request_reach_the_backend_and_no_others_do() {
    let spoofs = "X-Auth-Request-User: root\r\nX_Forwarded_User: root\r\nX-Unnamed: 1\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: evil.test\r\nAuthorization: Basic eA==\r\n";
    for (lines, trailers, announced, body) in [
        ("", "X-Checksum: 1\r\n", "x-checksum, x-other", "4\r\nbody\r\n0\r\nx-checksum: 1\r\n\r\n"),
        (
            "Trailer: X-Checksum\r\n",
            "X-Checksum: 1\r\nX-Other: 2\r\n",
            "x-checksum",
            "4\r\nbody\r\n0\r\nx-checksum: 1\r\n\r\n",
        ),
        ("", "", "x-checksum, x-other", "4\r\nbody\r\n0\r\n\r\n"),
        // What Connection names ends at this hop, behind the body too.
        (
            "Connection: X-Checksum\r\n",
            "X-Checksum: 1\r\nX-Other: 2\r\n",
            "x-other",
            "4\r\nbody\r\n0\r\nx-other: 2\r\n\r\n",
        ),
    ] {
        for spoofs in ["", spoofs] {
            let backend = Recorder::hello();
            let gateway = permitting(&backend.backend).start();
            let lines = format!("Transfer-Encoding: chunked\r\n{lines}");
            let head = request("PUT", "/things/1", &token("olga"), &lines, "");
            let answer = gateway.ask(format!("{head}4\r\nbody\r\n0\r\n{spoofs}{trailers}\r\n"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let heard = backend.only();
            assert_eq!(parts(&heard, "trailer"), (vec![announced], body), "{lines} {trailers}");
            assert_eq!(parts(&heard, "te").0, [""; 0], "nobody said that trailers are welcome");
        }
    }
}

#[test]
fn a_route_without_trailers_announces_and_accepts_none() {
    let backend = Recorder::hello();
    let gateway = Setup::before(&backend.backend).start();
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\nTE: trailers\r\nConnection: TE\r\n";
    let head = request("PUT", "/things/1", &token("olga"), lines, "");
    assert_eq!(gateway.ask(format!("{head}4\r\nbody\r\n0\r\nX-Checksum: 1\r\n\r\n")).status, 200);
    let heard = backend.only();
    assert_eq!(parts(&heard, "trailer"), (vec![], "4\r\nbody\r\n0\r\n\r\n"));
    assert_eq!((parts(&heard, "te").0, parts(&heard, "connection").0), (vec![], vec![]));
}

const TRAILED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
    X-Checksum: 1\r\nX-Request-Id: x\r\nSet-Cookie: a=b\r\nX-Auth-Request-User: root\r\nX-Unnamed: 1\r\n\r\n";

#[test]
fn named_trailers_of_an_answer_reach_a_client_that_takes_them() {
    let backend = Recorder::answering(TRAILED);
    let gateway = Setup { workers: 1, ..permitting(&backend.backend) }.start();
    for (lines, announced, accepted, body) in [
        ("TE: trailers\r\n", vec!["x-checksum, x-other"], vec!["trailers"], "2\r\nok\r\n0\r\nx-checksum: 1\r\n\r\n"),
        (
            "TE: gzip, Trailers\r\nConnection: TE\r\n",
            vec!["x-checksum, x-other"],
            vec!["trailers"],
            "2\r\nok\r\n0\r\nx-checksum: 1\r\n\r\n",
        ),
        ("", vec![], vec![], "2\r\nok\r\n0\r\n\r\n"),
        ("TE: gzip\r\n", vec![], vec![], "2\r\nok\r\n0\r\n\r\n"),
    ] {
        let mut client = gateway.connect();
        client.send(request("GET", "/things/1", &token("olga"), &format!("{lines}Connection: close\r\n"), ""));
        let got: String = client.rest().into_iter().map(char::from).collect();
        assert_eq!(parts(&got, "trailer"), (announced, body), "{lines}");
        let heard = backend.heard().pop().unwrap();
        let (_, last) = heard.rsplit_once("GET ").unwrap();
        assert_eq!(parts(last, "te").0, accepted, "{lines}");
    }
}

#[test]
fn an_answer_with_trailers_leaves_its_connection_to_the_next_request() {
    let backend = Recorder::answering(TRAILED);
    let gateway = Setup { workers: 1, ..permitting(&backend.backend) }.start();
    for lines in ["TE: trailers\r\n", "", "TE: trailers\r\n"] {
        let mut client = gateway.connect();
        client.send(request("GET", "/things/1", &token("olga"), &format!("{lines}Connection: close\r\n"), ""));
        assert!(client.rest().ends_with(b"\r\n\r\n"), "a complete answer");
    }
    assert_eq!(backend.only().matches("GET ").count(), 3, "on one connection");
}

#[test]
fn an_answer_without_a_body_that_could_have_trailers_announces_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTrailer: X-Checksum\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\nTrailer: X-Checksum\r\n\r\n",
    ] {
        let backend = Recorder::answering(answer.as_bytes());
        let gateway = permitting(&backend.backend).start();
        let answer = gateway.ask(request("GET", "/things/1", &token("olga"), "TE: trailers\r\n", ""));
        assert_eq!(answer.header("trailer"), None, "{answer:?}");
    }
}

#[test]
fn trailers_pass_between_http_2_and_http_1_1() {
    let backend = Recorder::answering(TRAILED);
    let gateway = permitting(&backend.backend).start();
    block_on(async {
        let mut fields = HeaderMap::new();
        for (name, value) in [("x-checksum", "7"), ("x-auth-request-user", "root"), ("x-unnamed", "1")] {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        // Without a length, as a body with trailers is sent.
        let body = Repeated::unsized_of(&Bytes::from_static(b"body"), 4);
        let body = body.with_trailers(std::future::ready(Some(Ok(fields))));
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer = client.send_request(h2_request("PUT", "/things/1", &token("olga"), body)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let got = answer.into_body().collect().await.unwrap();
        let expected: HeaderMap =
            [(HeaderName::from_static("x-checksum"), HeaderValue::from_static("1"))].into_iter().collect();
        assert_eq!(got.trailers(), Some(&expected));
        assert_eq!(got.to_bytes(), "ok");
    });
    let heard = backend.only();
    let expected = "4\r\nbody\r\n0\r\nx-checksum: 7\r\n\r\n";
    assert_eq!(parts(&heard, "trailer"), (vec!["x-checksum, x-other"], expected), "{heard}");
}

#[test]
fn too_many_trailers_break_the_message_on_both_sides() {
    let many = "X-Checksum: 1\r\n".repeat(65);
    let backend = Backend::hello();
    let gateway = permitting(&backend).start();
    let head = request("PUT", "/things/1", &token("olga"), "Transfer-Encoding: chunked\r\n", "");
    let answer = gateway.ask(format!("{head}4\r\nbody\r\n0\r\n{many}\r\n"));
    assert_eq!(answer.verdict(), (400, "bad_body".into()), "{answer:?}");
    assert!(!backend.wait_for(1)[0].whole);

    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{many}\r\n");
    let backend = Recorder::answering(answer.as_bytes());
    let gateway = permitting(&backend.backend).start();
    let answer = gateway.ask(request("GET", "/things/1", &token("olga"), "TE: trailers\r\n", ""));
    assert_eq!((answer.status, answer.whole), (200, false), "{answer:?}");
}
