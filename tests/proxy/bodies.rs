//! Bodies: streamed in bounded memory, and never complete-looking when they broke off.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::backend::{Backend, Record, Seen, Then, read_exactly, read_head, reset, say};
use crate::gateway::{Door, Process, Setup, token};
use crate::wire::{Answer, Repeated, block_on, get, h2_request, http2, request};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// A mebibyte without an inner period that a lost or repeated piece could hide behind.
fn block() -> Bytes {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..MIB).map(|_| next()).collect()
}

/// Compares a stream, piece by piece, with a block repeated.
struct Compared {
    block: Bytes,
    at: usize,
    count: u64,
    same: bool,
}

impl Compared {
    fn new() -> Self {
        Self { block: block(), at: 0, count: 0, same: true }
    }

    fn take(&mut self, mut piece: &[u8]) {
        self.count += piece.len() as u64;
        while !piece.is_empty() {
            let now = piece.len().min(self.block.len() - self.at);
            self.same &= piece[..now] == self.block[self.at..self.at + now];
            self.at = (self.at + now) % self.block.len();
            piece = &piece[now..];
        }
    }

    fn assert(&self, length: u64) {
        assert_eq!((self.count, self.same), (length, true), "length, and whether every byte is right");
    }
}

/// Takes uploads of any length and checks them; answers GET with a gibibyte.
fn warehouse() -> Backend {
    Backend::raw(|number, mut stream, record: &Record| {
        let mut buffer = Vec::new();
        while let Some(mut seen) = read_head(number, &mut stream, &mut buffer) {
            record.head();
            if seen.line().starts_with("GET") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n");
                let block = block();
                // A client may go away before the end.
                if say(&mut stream, head.as_bytes()) == Then::Close
                    || (0..GIB / MIB).any(|_| say(&mut stream, &block) == Then::Close)
                {
                    return;
                }
            } else {
                let mut compared = Compared::new();
                let length = seen.header("content-length").unwrap().parse().unwrap();
                seen.whole = read_exactly(&mut stream, &mut buffer, length, &mut |piece| compared.take(piece));
                compared.assert(length);
                seen.length = length;
                say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
            record.seen(seen);
        }
    })
}

/// Lets a gateway grow to its ordinary size, does the work, and looks at how much more it took.
fn within_64_mib(gateway: &Process, work: impl FnOnce(&Door)) {
    assert_eq!(gateway.ask(request("PUT", "/things/1", &token("olga"), "Content-Length: 0\r\n", "")).status, 200);
    let before = gateway.peak_memory();
    work(gateway);
    let grown = gateway.peak_memory() - before;
    eprintln!("the gateway grew by {} KiB", grown / 1024);
    assert!(grown < 64 * MIB, "the gateway grew by {grown} bytes");
}

#[test]
fn a_gibibyte_in_each_direction_takes_no_memory_http1() {
    let backend = warehouse();
    let gateway = Setup::before(&backend).spawn();
    within_64_mib(&gateway, |gateway| {
        let (block, token) = (block(), token("olga"));
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token, &format!("Content-Length: {GIB}\r\n"), ""));
        (0..GIB / MIB).for_each(|_| client.try_send(&block).unwrap());
        assert_eq!(client.answer().status, 200);
        // The backend answers before it writes down what it saw.
        crate::backend::until(
            || backend.seen().last().is_some_and(|seen| seen.length == GIB),
            "the upload is recorded",
        );
        assert!(backend.seen().last().is_some_and(|seen| seen.whole));
        client.send(get("/things/1", &token));
        let (mut answer, mut compared) = (client.head().unwrap(), Compared::new());
        client.body(&mut answer, &mut |piece| compared.take(piece));
        assert!(answer.whole);
        compared.assert(GIB);
    });
}

#[test]
fn a_gibibyte_in_each_direction_takes_no_memory_http2() {
    let backend = warehouse();
    let gateway = Setup::before(&backend).spawn();
    within_64_mib(&gateway, |gateway| {
        block_on(async {
            let (block, token) = (block(), token("olga"));
            let mut client = http2(gateway.tls, &gateway.certificate()).await;
            let upload = h2_request("PUT", "/things/1", &token, Repeated::new(&block, GIB));
            assert_eq!(client.send_request(upload).await.unwrap().status().as_u16(), 200);
            let answer = client.send_request(h2_request("GET", "/things/1", &token, Repeated::none())).await.unwrap();
            let (mut body, mut compared) = (answer.into_body(), Compared::new());
            while let Some(frame) = body.frame().await {
                compared.take(frame.unwrap().data_ref().unwrap());
            }
            compared.assert(GIB);
        });
    });
    assert_eq!(backend.seen().iter().filter(|seen| seen.length == GIB && seen.whole).count(), 1);
}

#[test]
fn slow_readers_slow_the_sender_down_instead_of_filling_memory() {
    let backend = warehouse();
    let gateway = Setup::before(&backend).spawn();
    within_64_mib(&gateway, |gateway| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let mut client = gateway.connect();
                client.send(get("/things/1", &token("olga")));
                assert_eq!(client.head().unwrap().status, 200);
                client
            })
            .collect();
        // Nobody reads on.
        std::thread::sleep(Duration::from_millis(1500));
        drop(clients);
    });
}

#[test]
fn a_client_that_goes_away_leaves_no_complete_request_behind() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    for (number, (lines, part)) in [
        ("Content-Length: 1000\r\n", "only a part"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nzz\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        for reset in [false, true] {
            let mut client = gateway.connect();
            client.send(request("PUT", "/things/1", &token, lines, "")).send(part);
            crate::backend::until(|| backend.heads() > 2 * number + usize::from(reset), "the head at the backend");
            if reset {
                client.reset();
            } else {
                client.finish();
                let answer = client.answer_if_any();
                assert!(answer.is_none_or(|answer| answer.status == 400), "{lines} {part}");
            }
        }
    }
    let seen = backend.wait_for(8);
    assert!(seen.iter().all(|seen| !seen.whole), "{seen:#?}");
}

#[test]
fn an_http2_client_that_goes_away_leaves_no_complete_request_behind() {
    let backend = std::sync::Arc::new(Backend::hello());
    let heads = std::sync::Arc::clone(&backend);
    let gateway = Setup::before(&backend).start();
    let block = Bytes::from_static(&[7; 1000]);
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let broken =
            h2_request("PUT", "/things/1", &token("olga"), Repeated::broken(&block, 5000, move || heads.heads() == 1));
        // The stream is reset; the answer may be a 400 or nothing at all.
        let answer = client.send_request(broken).await;
        assert!(answer.is_err() || answer.unwrap().status().as_u16() == 400);
        let after = client.send_request(h2_request("GET", "/things/1", &token("olga"), Repeated::none())).await;
        assert_eq!(after.unwrap().status().as_u16(), 200, "the connection goes on");
    });
    let seen = backend.wait_for(2);
    let broken: Vec<_> = seen.iter().filter(|seen| seen.line().starts_with("PUT")).collect();
    assert!(broken.len() == 1 && !broken[0].whole, "{seen:#?}");
}

/// A backend that dies in the middle of its answer, in every framing and in order or not.
fn mortal() -> Backend {
    Backend::start(|seen: &Seen, stream| {
        let (framing, how) = seen.target().trim_start_matches("/things/").split_once('/').unwrap();
        let head = "HTTP/1.1 200 OK\r\n";
        match framing {
            "length" => say(stream, format!("{head}Content-Length: 1000\r\n\r\nonly a part").as_bytes()),
            "chunks" => say(stream, format!("{head}Transfer-Encoding: chunked\r\n\r\nb\r\nonly a part\r\n").as_bytes()),
            "chunk" => say(stream, format!("{head}Transfer-Encoding: chunked\r\n\r\nff\r\nonly a part").as_bytes()),
            "close" => say(stream, format!("{head}\r\nonly a part").as_bytes()),
            "garbage" => {
                say(stream, format!("{head}Transfer-Encoding: chunked\r\n\r\nb\r\nonly a part\r\nzz\r\n").as_bytes())
            }
            other => panic!("{other}"),
        };
        // What was written arrives before the end does.
        std::thread::sleep(Duration::from_millis(50));
        if how == "reset" {
            reset(stream);
        }
        Then::Close
    })
}

const DEATHS: [&str; 9] = [
    "length/close",
    "length/reset",
    "chunks/close",
    "chunks/reset",
    "chunk/close",
    "chunk/reset",
    "garbage/close",
    "garbage/reset",
    // Without a length an orderly close is the end, as it should be; a reset is not.
    "close/reset",
];

#[test]
fn an_answer_that_broke_off_looks_broken_http1() {
    let backend = mortal();
    let gateway = Setup::before(&backend).start();
    let trust = gateway.trust();
    for death in DEATHS {
        for tls in [false, true] {
            let mut client =
                if tls { crate::wire::Client::tls(gateway.tls, &trust).unwrap().0 } else { gateway.connect() };
            let answer = client.ask(get(&format!("/things/{death}"), &token("olga")));
            assert_eq!((answer.status, answer.whole), (200, false), "{death}: {answer:?}");
            assert_eq!(answer.text(), "only a part", "{death}");
            assert!(client.is_ended(), "{death}");
        }
    }
}

#[test]
fn an_answer_that_broke_off_looks_broken_http1_0() {
    let backend = mortal();
    let gateway = Setup::before(&backend).start();
    for death in DEATHS {
        // Without framing only the kind of ending tells: a reset instead of an orderly close.
        let request = get(&format!("/things/{death}"), &token("olga")).replace("HTTP/1.1", "HTTP/1.0");
        let answer: Answer = gateway.ask(request);
        assert_eq!((answer.status, answer.whole), (200, false), "{death}: {answer:?}");
    }
}

#[test]
fn an_answer_that_broke_off_looks_broken_http2() {
    let backend = mortal();
    let gateway = Setup::before(&backend).start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for death in DEATHS {
            let target = format!("/things/{death}");
            let answer =
                client.send_request(h2_request("GET", &target, &token("olga"), Repeated::none())).await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
            assert!(answer.into_body().collect().await.is_err(), "{death}");
        }
        // Only the streams were reset; the connection goes on.
        let answer = client.send_request(h2_request("GET", "/secrets/1", &token("olga"), Repeated::none())).await;
        assert_eq!(answer.unwrap().status().as_u16(), 403);
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_is_complete() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
        Then::Close
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    for _ in 0..2 {
        let answer = client.ask(get("/things/1", &token("olga")));
        assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "all of it", true));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    }
    let old = gateway.ask(get("/things/1", &token("olga")).replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!((old.text().as_str(), old.whole), ("all of it", true));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_ends_the_exchange() {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while say(stream, b"5\r\nhello\r\n") == Then::Keep {
            std::thread::sleep(Duration::from_millis(5));
        }
        gone.lock().unwrap().send(()).unwrap();
        Then::Close
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    client.head().unwrap();
    client.reset();
    told.recv_timeout(crate::backend::SOON).expect("the backend notices that nobody listens");
}
