//! Everything that can go wrong with a backend or a client, at each stage: what the client is told, what the decision log
//! says, whether there was a second try, and that nothing is left behind.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::backend::{Backend, Record, fill, read_body, read_head, reset, say, until};
use crate::gateway::{Process, Setup, token};
use crate::wire::{Client, get, request};

/// Longer than any timeout of these tests.
const LONG: Duration = Duration::from_secs(3);
const TIMEOUTS: &str = "connect: 300ms, response: 300ms, response_body: 300ms, client_body: 300ms, client_head: 2s";

/// What a backend does with one connection.
type Act = fn(TcpStream);

/// A backend that does what it was told last, on every connection.
fn obedient() -> (Backend, Arc<Mutex<Act>>) {
    let act: Arc<Mutex<Act>> = Arc::new(Mutex::new(|_| ()));
    let told = Arc::clone(&act);
    let backend = Backend::raw(move |_, stream, _: &Record| {
        let act = *told.lock().unwrap();
        act(stream);
    });
    (backend, act)
}

/// Reads the head, says this, and closes.
fn says(mut stream: TcpStream, bytes: &[u8]) {
    hear(&mut stream);
    say(&mut stream, bytes);
}

fn hear(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = Vec::new();
    let seen = read_head(0, stream, &mut buffer);
    if let Some(mut seen) = seen {
        read_body(&mut seen, stream, &mut buffer);
    }
    buffer
}

/// Reads until the other side is gone.
fn drain(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while fill(&mut stream, &mut buffer) > 0 {
        buffer.clear();
    }
}

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";

/// How a request ends: the status, the reason, whether the answer is whole.
type End = (u16, &'static str, bool);
const INVALID: End = (502, "upstream_invalid", true);
const TIMEOUT: End = (504, "upstream_timeout", true);
const BROKEN: End = (200, "upstream_invalid", false);
const STALLED: End = (200, "upstream_timeout", false);
const FINE: End = (200, "", true);

/// What the backend does after it has accepted, what becomes of a GET, and what becomes of a server's good name.
const BACKEND: &[(&str, Act, End)] = &[
    ("is silent after accepting", |_stream| std::thread::sleep(LONG), TIMEOUT),
    ("is silent after the head", |mut stream| drop((hear(&mut stream), std::thread::sleep(LONG))), TIMEOUT),
    ("closes after the head", |mut stream| drop(hear(&mut stream)), INVALID),
    ("resets after the head", |mut stream| drop((hear(&mut stream), reset(&stream))), INVALID),
    (
        "half-closes after the head",
        |mut stream| {
            hear(&mut stream);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            drain(stream);
        },
        INVALID,
    ),
    ("sends half a status line and closes", |stream| says(stream, b"HTTP/1.1 20"), INVALID),
    ("sends half a head and closes", |stream| says(stream, b"HTTP/1.1 200 OK\r\nServer: x"), INVALID),
    (
        "sends half a head and no more",
        |mut stream| {
            hear(&mut stream);
            say(&mut stream, b"HTTP/1.1 200 OK\r\nServer: x");
            std::thread::sleep(LONG);
        },
        TIMEOUT,
    ),
    ("sends garbage", |stream| says(stream, &[0xff; 5000]), INVALID),
    ("sends another protocol", |stream| says(stream, b"220 mail.example ESMTP\r\n"), INVALID),
    (
        "sends a head that is too large",
        |stream| {
            says(
                stream,
                format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(20_000)).as_bytes(),
            );
        },
        INVALID,
    ),
    (
        "sends too many header lines",
        |stream| {
            says(stream, format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(200)).as_bytes());
        },
        INVALID,
    ),
    (
        "sends two lengths",
        |stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        INVALID,
    ),
    ("closes in the body", |stream| says(stream, HALF), BROKEN),
    (
        "resets in the body",
        |mut stream| {
            hear(&mut stream);
            say(&mut stream, HALF);
            std::thread::sleep(Duration::from_millis(100));
            reset(&stream);
        },
        BROKEN,
    ),
    (
        "is silent in the body",
        |mut stream| {
            hear(&mut stream);
            say(&mut stream, HALF);
            std::thread::sleep(LONG);
        },
        STALLED,
    ),
    (
        "sends a bad chunk",
        |stream| says(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n"),
        BROKEN,
    ),
    (
        "closes between chunks",
        |stream| says(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        BROKEN,
    ),
    (
        "sends more than it said",
        |stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world"),
        FINE,
    ),
    ("answers to the end of the connection", |stream| says(stream, b"HTTP/1.0 200 OK\r\n\r\nhello"), FINE),
    (
        "answers and resets",
        |mut stream| {
            hear(&mut stream);
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            std::thread::sleep(Duration::from_millis(100));
            reset(&stream);
        },
        FINE,
    ),
    (
        "answers and half-closes",
        |mut stream| {
            hear(&mut stream);
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            drain(stream);
        },
        FINE,
    ),
];

struct World {
    gateway: Process,
    token: String,
    descriptors: usize,
}

impl World {
    fn of(setup: Setup) -> Self {
        let limits = "upstream_idle: 0".to_owned();
        let gateway = Setup { decisions: true, limits, ..setup }.timeouts(TIMEOUTS).spawn();
        let token = token("olga");
        // The threads that watch files open theirs a little after the listeners.
        std::thread::sleep(Duration::from_secs(1));
        let descriptors = descriptors(&gateway);
        Self { gateway, token, descriptors }
    }

    /// Nothing is open any more, and nothing is counted as running.
    fn is_as_before(&self, what: &str) {
        until(|| descriptors(&self.gateway) <= self.descriptors, &format!("{what}: all descriptors are closed"));
        let metrics = || self.gateway.admin("GET", "/metrics", "").text();
        let zero = |line: &&str| {
            ["connections ", "requests_in_flight ", "upstream_requests{", "upstream_requests_waiting{"]
                .iter()
                .any(|name| line.strip_prefix("portcullis_").is_some_and(|line| line.starts_with(name)))
        };
        until(
            || metrics().lines().filter(zero).all(|line| line.ends_with(" 0")),
            &format!("{what}: all counts are zero"),
        );
        assert!(metrics().lines().filter(zero).count() >= 4);
        let status = self.gateway.admin("GET", "/status", "").json();
        assert_eq!((&status["upstreams"][0]["running"], &status["upstreams"][0]["waiting"]), (&0.into(), &0.into()));
    }

    fn decision(&self, what: &str, end: End) -> Value {
        let line = self.gateway.decision();
        let reason = if end.1.is_empty() { Value::Null } else { end.1.into() };
        assert_eq!((&line["status"], &line["reason"]), (&end.0.into(), &reason), "{what}: {line}");
        line
    }
}

fn descriptors(gateway: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count()
}

#[test]
fn each_fault_of_a_backend_has_its_end_and_leaves_nothing_behind() {
    let (backend, act) = obedient();
    let keys = "limits: {head_bytes: 16KiB}, ejection: {failures: 0}";
    let world = World::of(Setup::before(&backend).upstream(keys));
    for (what, does, end) in BACKEND {
        *act.lock().unwrap() = *does;
        let before = backend.connections();
        let mut client = world.gateway.connect();
        let answer = client.ask(get("/things/1", &world.token));
        let reason = if end.0 == 200 { "" } else { end.1 };
        assert_eq!((answer.verdict(), answer.whole), ((end.0, reason.to_owned()), end.2), "the backend {what}");
        if *end == FINE {
            assert_eq!(answer.text(), "hello", "the backend {what}");
        }
        assert_eq!(backend.connections(), before + 1, "the backend {what}: a second try");
        let line = world.decision(what, *end);
        assert_eq!(line["upstream"], backend.url(), "{what}");
    }
    world.is_as_before("after all of them");
}

#[test]
fn a_backend_that_closes_or_resets_at_once_is_a_502_however_far_the_request_came() {
    let (backend, act) = obedient();
    let world = World::of(Setup::before(&backend).upstream("ejection: {failures: 0}"));
    let at_once: [(&str, Act); 2] = [("closes", drop), ("resets", |stream| reset(&stream))];
    for (what, does) in at_once {
        *act.lock().unwrap() = does;
        for _ in 0..10 {
            let before = backend.connections();
            let answer = world.gateway.ask(request("POST", "/things/1", &world.token, "", "body"));
            let (status, reason) = answer.verdict();
            assert_eq!(status, 502, "{what}");
            // Which of these it is depends on whether the end came before the first byte was sent.
            let tries = match reason.as_str() {
                "upstream_unreachable" => 1..=3,
                "upstream_invalid" => 1..=3,
                other => panic!("{what}: {other}"),
            };
            assert!(tries.contains(&(backend.connections() - before)), "{what}");
            assert_eq!(world.gateway.decision()["reason"], reason);
        }
    }
    world.is_as_before("after all of them");
}

#[test]
fn a_backend_that_refuses_or_does_not_take_connections_is_told_apart() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::of(Setup::to(&[format!("http://{refusing}")]));
    assert_eq!(world.gateway.ask(get("/things/1", &world.token)).verdict(), (502, "upstream_unreachable".into()));
    world.decision("refuses", (502, "upstream_unreachable", true));
    world.is_as_before("a refusal");
    // A listener whose queue is full takes no more connections: what comes is dropped without an answer.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the queue never fills");
    }
    let world = World::of(Setup::to(&[format!("http://{address}")]));
    assert_eq!(world.gateway.ask(get("/things/1", &world.token)).verdict(), (504, "upstream_timeout".into()));
    world.decision("takes no connection", TIMEOUT);
    world.is_as_before("a connection that never came about");
}

#[test]
fn an_early_answer_to_an_upload_is_relayed_with_and_without_a_close() {
    let (backend, act) = obedient();
    let world = World::of(Setup::before(&backend).upstream("ejection: {failures: 0}"));
    let early: [(&str, Act); 3] = [
        ("keeps the connection", |mut stream| {
            read_head(0, &mut stream, &mut Vec::new());
            say(&mut stream, b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly");
            drain(stream);
        }),
        ("says close and reads on", |mut stream| {
            read_head(0, &mut stream, &mut Vec::new());
            say(&mut stream, b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            drain(stream);
        }),
        ("closes", |mut stream| {
            read_head(0, &mut stream, &mut Vec::new());
            say(&mut stream, b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly");
        }),
    ];
    for (what, does) in early {
        *act.lock().unwrap() = does;
        let mut client = world.gateway.connect();
        client.send(request("PUT", "/things/1", &world.token, "Content-Length: 1000000\r\n", "")).send([0; 1000]);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "early"), "{what}");
        drop(client);
        world.decision(what, (413, "", true));
    }
    world.is_as_before("after all of them");
}

#[test]
fn each_fault_of_a_client_has_its_end_and_leaves_nothing_behind() {
    let (backend, act) = obedient();
    // The one backend under two names: of two servers one could be left out.
    let names = [backend.url(), format!("http://localhost:{}", backend.address.port())];
    let world = World::of(Setup::to(&names).upstream("ejection: {failures: 1, time: 1h, most: 100}"));
    let upload = |client: &mut Client, lines: &str, body: &str| {
        client.send(request("PUT", "/things/1", &world.token, lines, "")).send(body);
    };
    let reads: Act = drain;
    let answers: Act = |stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let streams: Act = |mut stream| {
        hear(&mut stream);
        say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(&mut stream, &[0; 64 * 1024]) == crate::backend::Then::Keep {}
    };
    let is = |act_now: Act| *act.lock().unwrap() = act_now;

    is(reads);
    let mut client = world.gateway.connect();
    upload(&mut client, "Content-Length: 9\r\n", "half");
    assert_eq!(client.answer().verdict(), (408, "body_timeout".into()), "stalls in its body");
    world.decision("stalls in its body", (408, "body_timeout", true));

    let mut client = world.gateway.connect();
    upload(&mut client, "Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\nx\r\n");
    assert_eq!(client.answer().verdict(), (400, "bad_body".into()), "sends a bad chunk");
    world.decision("sends a bad chunk", (400, "bad_body", true));

    // What the client is told when it is gone is nobody's affair; the log says that it went.
    for reset_it in [true, false] {
        let what = format!("goes away in its body, with a reset: {reset_it}");
        let before = backend.connections();
        let mut client = world.gateway.connect();
        upload(&mut client, "Content-Length: 9\r\n", "half");
        until(|| backend.connections() > before, "the upload at the backend");
        if reset_it {
            client.reset()
        } else {
            drop(client)
        }
        let line = world.gateway.decision();
        let end = (line["status"].as_u64().unwrap(), line["reason"].as_str().unwrap_or_default().to_owned());
        assert!([(499, String::new()), (400, "bad_body".into())].contains(&end), "{what}: {line}");
    }

    is(|stream| {
        std::thread::sleep(Duration::from_millis(100));
        drain(stream);
    });
    let before = backend.connections();
    let mut client = world.gateway.connect();
    client.send(get("/things/1", &world.token));
    until(|| backend.connections() > before, "the request at the backend");
    client.reset();
    world.decision("goes away before its answer", (499, "", true));

    is(streams);
    let mut client = world.gateway.connect();
    client.send(get("/things/1", &world.token));
    assert_eq!(client.head().unwrap().status, 200);
    client.reset();
    world.decision("goes away in its answer", (200, "", true));

    let mut client = world.gateway.connect();
    client.send(get("/things/1", &world.token));
    assert_eq!(client.head().unwrap().status, 200);
    world.decision("does not read its answer", (200, "body_timeout", true));
    drop(client);

    is(answers);
    let mut client = world.gateway.connect();
    client.send(get("/things/1", &world.token));
    client.send(&get("/things/2", &world.token)[..20]);
    assert_eq!(client.answer().text(), "hello");
    client.reset();
    world.decision("goes away in its next head", FINE);

    world.is_as_before("after all of them");
    let metrics = world.gateway.admin("GET", "/metrics", "").text();
    assert!(!metrics.contains("portcullis_upstream_ejections_total{"), "faults of clients are no server's: {metrics}");
}

#[test]
fn a_client_that_says_that_it_will_send_nothing_more_is_taken_for_gone() {
    let backend = Backend::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(500));
        crate::backend::reply(stream, "200 OK", b"hello")
    });
    let world = World::of(Setup::before(&backend));
    let mut client = world.gateway.connect();
    client.send(get("/things/1", &world.token));
    until(|| backend.heads() == 1, "the request at the backend");
    client.finish();
    assert!(client.answer_if_any().is_none());
    world.decision("half-closes", (499, "", true));
    world.is_as_before("a half-closed connection");
}
