//! Bodies that break, and bodies that were framed oddly on purpose: what the backend sees is a message as it was judged,
//! framed anew, or one that is not complete.

use crate::backend::{Backend, until};
use crate::gateway::{Setup, token};
use crate::recorder::Recorder;
use crate::wire::{get, request};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn a_body_that_breaks_is_the_client_s_fault_and_never_looks_complete() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    let huge = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(20_000));
    let trailers = format!("0\r\n{}\r\n", "X-A: 1\r\n".repeat(101));
    let long = format!("0\r\nX-A: {}\r\n\r\n", "a".repeat(70_000));
    for (number, tail) in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a=b\nGET /things/hidden HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "0\r\nno field\r\n\r\n",
        "0\r\nX-A: 1\nX-B: 2\r\n\r\n",
        "0\r\nX A: 1\r\n\r\n",
        "0\r\nX-A: 1\r\n folded\r\n\r\n",
        &huge,
        &zeros,
        &trailers,
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token, CHUNKED, "")).send("4\r\ngood\r\n");
        until(|| backend.heads() > number, "the head at the backend");
        // The gateway may have had enough before all is written.
        let _ = client.try_send(tail);
        let answer = client.answer();
        assert_eq!(answer.verdict(), (400, "bad_body".into()), "{tail:.60?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{tail:.60?}");
        assert!(client.rest().is_empty(), "{tail:.60?}: nothing is answered behind it");
        let seen = backend.wait_for(number + 1);
        assert!(!seen[number].whole, "{tail:.60?}: {:?}", seen[number]);
    }
}

#[test]
fn a_chunk_size_with_endless_zeros_ends_the_connection_soon() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for who in ["olga", "vera"] {
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token(who), CHUNKED, ""));
        let mut sent = 0;
        while client.try_send([b'0'; 4096]).is_ok() {
            sent += 4096;
            assert!(sent < 16 << 20, "{who}: still read after {sent} bytes");
        }
    }
    assert!(backend.seen().iter().all(|seen| !seen.whole));
}

#[test]
fn an_answer_that_has_begun_is_not_ended_well_when_the_upload_breaks() {
    // The backend answers at once and would read the rest.
    let backend = Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        if let Some(seen) = crate::backend::read_head(number, &mut stream, &mut buffer) {
            record.head();
            record.seen(seen);
            crate::backend::say(&mut stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
            while crate::backend::fill(&mut stream, &mut buffer) > 0 {}
        }
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), CHUNKED, "")).send("4\r\ngood\r\n");
    let mut answer = client.head().unwrap();
    client.send("zz\r\n");
    client.body(&mut answer, &mut |_| ());
    assert_eq!((answer.status, answer.whole), (200, false));
}

#[test]
fn two_framings_equal_lengths_bare_line_ends_and_fragments_are_refused_though_hyper_reads_them() {
    let backend = Recorder::hello();
    let gateway = Setup::before(&backend.backend).start();
    let token = token("olga");
    let put = |lines: &str, body: &str| format!("{}{body}", request("PUT", "/things/1", &token, lines, ""));
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (what, sent) in [
        ("two framings", put("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("two framings", put("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks)),
        ("two framings", put("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("equal lengths", put("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        ("equal lengths", put("Content-Length: 5, 5\r\n", "hello")),
        ("codings", put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: identity, chunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: gzip, chunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: ,chunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: \x0bchunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("codings", put("Transfer-Encoding: \"chunked\"\r\n", chunks)),
        ("codings", put("Transfer-Encoding: chunked;a=b\r\n", chunks)),
        ("HTTP/1.0", put(CHUNKED, chunks).replace("HTTP/1.1", "HTTP/1.0")),
        (
            "HTTP/1.0",
            put("Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", chunks).replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("line ends", get("/things/1", &token).replacen("\r\n", "\n", 1)),
        ("line ends", get("/things/1", &token).replace("\r\n", "\n")),
        ("line ends", get("/things/1", &token).replace("\r\n\r\n", "\r\n\n")),
        ("line ends", put("X-A: 1\nX-B: 2\r\n", "")),
        ("fragment", get("/things/1#x", &token)),
        ("fragment", get("/things/1#/../secrets", &token)),
        ("fragment", get("/things/1?a=b#c", &token)),
        ("fragment", get("http://app.test/things/1#c", &token)),
    ] {
        for before in ["", "GET /health HTTP/1.1\r\nHost: app.test\r\n\r\n"] {
            let mut client = gateway.connect();
            client.send(format!("{before}{sent}{}", get("/things/hidden", &token)));
            if !before.is_empty() {
                assert_eq!(client.answer().status, 200);
            }
            let answer = client.answer();
            assert_eq!(answer.status, 400, "{what} {before:?} {sent:?}: {answer:?}");
            assert!(client.rest().is_empty(), "{what} {sent:?}: nothing is answered behind it");
        }
    }
    let heard = backend.all();
    assert!(!heard.contains("/things/"), "{heard}");
}

#[test]
fn what_is_framed_anew_is_byte_for_byte_what_was_judged() {
    let backend = Recorder::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend.backend) }.start();
    let token = token("olga");
    let lines = "X-A: 1\r\nx-a:  2 \r\nX-B:\r\nAccept: */*\r\nConnection: X-C, close\r\nX-C: gone\r\nKeep-Alive: 1\r\n";
    let chunked = format!("{lines}{CHUNKED}");
    let length = format!("{lines}Content-Length: 9\r\n");
    for (sent, body) in [
        // Extensions, upper case and zeros of chunk sizes are framing, not content.
        (
            format!(
                "{}5;a=\"b\";c\r\nhello\r\n0000004\r\n\r\n\r\n\r\n000\r\n\r\n",
                request("PUT", "/things/a%20b?x=%20&&y=1+2", &token, &chunked, "")
            ),
            "hello\r\n\r\n",
        ),
        (
            format!("{}hello\r\n\r\n", request("PUT", "/things/a%20b?x=%20&&y=1+2", &token, &length, "")),
            "hello\r\n\r\n",
        ),
    ] {
        for piece in [usize::MAX, 1000, 7] {
            let before = backend.all().len();
            let mut client = gateway.connect();
            for piece in sent.as_bytes().chunks(piece.min(sent.len())) {
                client.send(piece);
            }
            assert_eq!(client.answer().status, 200, "{sent}");
            let heard = backend.all().split_off(before);
            let (head, rest) = heard.split_once("\r\n\r\n").unwrap();
            let mut lines: Vec<&str> = head.split("\r\n").collect();
            assert_eq!(lines.remove(0), "PUT /things/a%20b?x=%20&&y=1+2 HTTP/1.1");
            let ours = ["x-auth-request-", "x-forwarded-", "x-request-id", "traceparent", "x-portcullis"];
            lines.retain(|line| !ours.iter().any(|name| line.starts_with(name)));
            lines.sort_unstable();
            let framing = if sent.contains("chunked") { "transfer-encoding: chunked" } else { "content-length: 9" };
            let mut expected =
                ["host: app.test", "x-a: 1", "x-a: 2", "x-b: ", "accept: */*", "via: 1.1 portcullis", framing];
            expected.sort_unstable();
            assert_eq!(lines, expected, "{piece}");
            let mut stream = rest.as_bytes();
            let mut got = Vec::new();
            if sent.contains("chunked") {
                assert!(crate::backend::read_chunks(&mut stream, &mut Vec::new(), &mut |piece| got
                    .extend_from_slice(piece)));
            } else {
                got.extend_from_slice(stream);
            }
            assert_eq!(String::from_utf8_lossy(&got), body, "{piece}");
        }
    }
}

#[test]
fn a_client_that_is_refused_in_the_middle_of_its_upload_gets_to_read_why() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let (vera, trust) = (token("vera"), gateway.trust());
    for tls in [false, true] {
        for _ in 0..10 {
            let mut client = match tls {
                true => crate::wire::Client::tls(gateway.tls, &trust).unwrap().0,
                false => gateway.connect(),
            };
            client.send(request("PUT", "/things/1", &vera, "Content-Length: 400000\r\n", ""));
            // By now the refusal is written, and the client does not look.
            std::thread::sleep(std::time::Duration::from_millis(20));
            for _ in 0..50 {
                client.try_send([b'x'; 8000]).expect("the upload is taken in");
            }
            assert_eq!(client.answer().verdict(), (403, "right_level".into()));
            assert!(client.is_ended());
        }
    }
    assert_eq!(backend.connections(), 0);
}
