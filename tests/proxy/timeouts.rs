//! Nobody may keep the gateway waiting for ever: clients that send or read slowly, and upstreams that answer slowly.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::backend::{Backend, Then, say};
use crate::gateway::{Setup, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2, request};

const WAIT: Duration = Duration::from_secs(8);

/// Does something that must end by a timeout of 300 ms: not at once, and not by the patience of the test.
fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < WAIT, "{what}: after {took:?}");
    done
}

#[test]
fn a_client_that_sends_its_head_slowly_is_cut_off() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_head: 300ms").start();
    for part in ["", "GET /thi", "GET /things/1 HTTP/1.1\r\nHost: app.test\r\nX: y"] {
        let mut client = gateway.connect();
        client.send(part);
        let answer = in_time(part, || client.answer_if_any());
        assert!(answer.is_none_or(|answer| answer.status == 408), "{part}");
    }
    // Byte by byte counts as slow, too: the time is for the whole head.
    let mut client = gateway.connect();
    let begun = Instant::now();
    while client.try_send("X").is_ok() {
        assert!(begun.elapsed() < WAIT, "a head that grows for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_client_that_makes_no_handshake_is_cut_off() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("handshake: 300ms").start();
    let mut client = Client::plain(gateway.tls);
    client.send([0x16, 0x03, 0x01]);
    assert!(in_time("a handshake", || client.is_ended()));
}

#[test]
fn a_quiet_connection_is_closed() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_idle: 300ms").start();
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    assert!(in_time("HTTP/1.1", || client.is_ended()));
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer =
            client.send_request(h2_request("GET", "/things/1", &token("olga"), Repeated::none())).await.unwrap();
        answer.into_body().collect().await.unwrap();
        let begun = Instant::now();
        while !client.is_closed() {
            assert!(begun.elapsed() < WAIT, "HTTP/2");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_connection_may_idle_longer_than_a_head_may_take() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_head: 300ms, client_idle: 60s").start();
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
        std::thread::sleep(Duration::from_millis(900));
    }
    client.send("GET /thi");
    assert!(in_time("a later head", || client.is_ended()));
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for _ in 0..2 {
            let request = h2_request("GET", "/things/1", &token("olga"), Repeated::none());
            client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    });
}

#[test]
fn a_connection_that_has_rested_goes_on_as_before_and_still_has_its_limits() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_head: 1s, client_idle: 20s").start();
    let (trust, olga) = (gateway.trust(), token("olga"));
    let mut clients = vec![gateway.connect(), Client::tls(gateway.tls, &trust).unwrap().0];
    let mut faulty = gateway.connect();
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(client.ask(get("/things/1", &olga)).status, 200);
        }
        assert_eq!(faulty.ask(get("/things/1", &olga)).status, 200);
        // Longer than it takes until a connection rests.
        std::thread::sleep(Duration::from_millis(6500));
    }
    // In pieces, and two requests at once.
    let (two, rest) = (get("/things/1", &olga).repeat(2), get("/things/2", &olga));
    let (begin, end) = two.split_at(20);
    for client in &mut clients {
        client.send(begin);
        std::thread::sleep(Duration::from_millis(100));
        client.send(end);
        assert_eq!((client.answer().status, client.answer().status), (200, 200));
        assert_eq!(client.ask(&rest).status, 200);
    }
    // What reads beside hyper has not forgotten anything.
    faulty.send(format!("{}{}", get("/things/1", &olga), rest.replacen("Host", "Content-Length: 5, 5\r\nHost", 1)));
    assert_eq!(faulty.answer().status, 200);
    assert_eq!(faulty.answer().status, 400);
    std::thread::sleep(Duration::from_millis(6500));
    let mut late = clients.remove(0);
    late.send("GET /thi");
    assert!(in_time("a head that begins after a rest", || late.is_ended()));
}

#[test]
fn empty_lines_behind_a_request_do_not_keep_a_connection_that_rests_busy() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_idle: 9s").spawn();
    let olga = token("olga");
    let mut clients = [gateway.connect(), Client::tls(gateway.tls, &gateway.trust()).unwrap().0];
    for client in &mut clients {
        client.send([get("/things/1", &olga).as_str(), "\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 200);
    }
    // Longer than it takes until a connection rests.
    std::thread::sleep(Duration::from_millis(6500));
    let before = gateway.computed();
    std::thread::sleep(Duration::from_millis(800));
    let spent = gateway.computed() - before;
    assert!(spent < Duration::from_millis(400), "{spent:?} of computing for nobody");
    assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
    let [mut rested, mut left] = clients;
    assert_eq!(rested.ask(get("/things/1", &olga)).status, 200);
    assert!(in_time("the end of a connection that rests", || left.is_ended()));
}

#[test]
fn a_connection_that_idles_is_not_cut_in_the_middle_of_a_request() {
    let backend = Backend::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(900));
        crate::backend::reply(stream, "200 OK", b"hello")
    });
    let gateway = Setup::before(&backend).timeouts("client_head: 200ms, client_idle: 200ms").start();
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).text(), "hello");
}

#[test]
fn a_client_that_sends_its_body_slowly_gets_408_and_the_backend_no_complete_request() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_body: 300ms").start();
    for (lines, part) in [
        ("Content-Length: 100\r\n", ""),
        ("Content-Length: 100\r\n", "a part"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
    ] {
        let mut client = gateway.connect();
        client.send(request("PUT", "/things/1", &token("olga"), lines, "")).send(part);
        let answer = in_time(lines, || client.answer());
        assert_eq!(answer.verdict(), (408, "body_timeout".into()), "{lines} {part}");
        assert!(client.is_ended(), "what may still come must not be read as a request");
    }
    assert!(backend.wait_for(3).iter().all(|seen| !seen.whole));
}

#[test]
fn a_body_that_moves_may_take_longer_than_the_limit() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_body: 400ms, response: 400ms").start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 10\r\n", ""));
    for byte in b"0123456789" {
        std::thread::sleep(Duration::from_millis(100));
        client.send([*byte]);
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(backend.only().body, b"0123456789");
}

#[test]
fn an_http2_client_that_sends_its_body_slowly_gets_408() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_body: 300ms").start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let begun = Instant::now();
        let answer = client.send_request(h2_request("PUT", "/things/1", &token("olga"), Stuck::default())).await;
        assert_eq!(answer.unwrap().status().as_u16(), 408);
        assert!(begun.elapsed() < WAIT);
    });
    assert!(backend.wait_for(1).iter().all(|seen| !seen.whole));
}

/// A body that sends a little and then nothing more.
#[derive(Default)]
struct Stuck(bool);

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.0 {
            return std::task::Poll::Pending;
        }
        this.0 = true;
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"a part")))))
    }
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(stream, &[0; 64 * 1024]) == Then::Keep {}
        gone.lock().unwrap().send(()).unwrap();
        Then::Close
    });
    let gateway = Setup::before(&backend).timeouts("client_body: 300ms").start();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    in_time("the backend is let go", || told.recv_timeout(WAIT)).unwrap();
    drop(client);
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let backend = Backend::raw(|_, stream, record| {
        record.head();
        std::thread::sleep(WAIT);
        drop(stream);
    });
    let gateway = Setup::before(&backend).timeouts("response: 300ms").start();
    let mut client = gateway.connect();
    let answer = in_time("no answer", || client.ask(get("/things/1", &token("olga"))));
    assert_eq!(answer.verdict(), (504, "upstream_timeout".into()));
    let answer = in_time("with a body", || client.ask(request("PUT", "/things/1", &token("olga"), "", "body")));
    assert_eq!(answer.verdict(), (504, "upstream_timeout".into()));
    assert_eq!(backend.connections(), 2, "a connection that timed out is not used again, and nothing is retried");
}

#[test]
fn an_upstream_that_stops_in_the_middle_of_its_answer_breaks_it() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part");
        std::thread::sleep(WAIT);
        Then::Close
    });
    let gateway = Setup::before(&backend).timeouts("response_body: 300ms").start();
    let answer = in_time("half an answer", || gateway.ask(get("/things/1", &token("olga"))));
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "a part", false));
}

#[test]
fn an_upstream_that_accepts_no_connection_in_time_is_a_504() {
    // Nobody accepts, and the queue of the socket is full.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _queue: Vec<_> =
        (0..3).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))).collect();
    let gateway = Setup::to(&[format!("http://{address}")]).timeouts("connect: 300ms").start();
    let answer = in_time("a connection", || gateway.ask(get("/things/1", &token("olga"))));
    assert_eq!(answer.verdict(), (504, "upstream_timeout".into()));
}

#[test]
fn an_http2_client_that_never_finishes_a_head_is_cut_off() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("client_head: 300ms").start();
    let trust = crate::wire::trusting(&gateway.certificate(), rustls::ALL_VERSIONS, &["h2"]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // A HEADERS frame without END_HEADERS, after which only CONTINUATION may come.
    let half = [preface.as_slice(), &[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]].concat();
    for (what, part) in [("silence", Vec::new()), ("only a preface", preface), ("half a head", half)] {
        let (mut client, _) = Client::tls(gateway.tls, &trust).unwrap();
        client.send(part);
        in_time(what, || client.rest());
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_upstream_that_does_not_take_the_body_is_a_504() {
    let backend = Backend::raw(|_, stream, record| {
        record.head();
        std::thread::sleep(WAIT);
        drop(stream);
    });
    let gateway = Setup::before(&backend).timeouts("response: 300ms, client_body: 5s").start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 1000000000\r\n", ""));
    let answer = in_time("an upload that nobody takes", || {
        while client.try_send([0; 64 * 1024]).is_ok() {}
        client.answer_if_any()
    });
    // Its answer may be lost to the reset that ends a connection whose bytes nobody read.
    assert!(answer.is_none_or(|answer| answer.verdict() == (504, "upstream_timeout".into())));
}

#[test]
fn an_http2_client_that_does_not_take_its_answer_is_cut_off() {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(stream, &[0; 64 * 1024]) == Then::Keep {}
        gone.lock().unwrap().send(()).unwrap();
        Then::Close
    });
    let gateway = Setup::before(&backend).timeouts("client_body: 300ms").start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer =
            client.send_request(h2_request("GET", "/things/1", &token("olga"), Repeated::none())).await.unwrap();
        // The connection is alive and answers pings, but this stream is never read.
        let begun = Instant::now();
        while told.try_recv().is_err() {
            assert!(begun.elapsed() < WAIT, "the backend is never let go");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(answer);
    });
}

/// Sends a piece of an answer every 50 ms until nobody takes it, then says so.
fn dripping(head: &'static str) -> (Backend, std::sync::mpsc::Receiver<()>) {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |_, stream| {
        say(stream, head.as_bytes());
        while say(stream, b"1\r\nx\r\n") == Then::Keep {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = gone.lock().unwrap().send(());
        Then::Close
    });
    (backend, told)
}

#[test]
fn a_whole_request_has_an_end_even_if_each_piece_is_in_time() {
    let idle = "client_body: 30s, response: 30s, response_body: 30s";
    let setup = |backend: &Backend| Setup::before(backend).timeouts(&format!("request: 700ms, {idle}"));

    // An upload that drips.
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 1000\r\n", ""));
    let answer = in_time("an upload", || {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(50));
            client.send("x");
        }
        client.answer()
    });
    assert_eq!(answer.verdict(), (408, "body_timeout".into()));
    assert!(client.is_ended());
    assert!(backend.wait_for(1).iter().all(|seen| !seen.whole));

    // An upstream that never answers.
    let backend = Backend::raw(|_, stream, record| {
        record.head();
        std::thread::sleep(WAIT);
        drop(stream);
    });
    let gateway = setup(&backend).start();
    let answer = in_time("no answer", || gateway.ask(get("/things/1", &token("olga"))));
    assert_eq!(answer.verdict(), (504, "request_timeout".into()));

    // An answer that drips, in both versions.
    let (backend, told) = dripping("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let gateway = setup(&backend).start();
    let answer = in_time("an answer", || gateway.ask(get("/things/1", &token("olga"))));
    assert_eq!((answer.status, answer.whole), (200, false));
    assert!(answer.length > 3);
    told.recv_timeout(WAIT).unwrap();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer = client.send_request(h2_request("GET", "/things/1", &token("olga"), Repeated::none())).await;
        assert!(answer.unwrap().into_body().collect().await.is_err(), "a stream that broke off");
    });
    told.recv_timeout(WAIT).unwrap();
}

#[test]
fn a_client_that_takes_its_answer_in_drips_has_the_same_time() {
    let (gone, told) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(stream, &[0; 64 * 1024]) == Then::Keep {}
        gone.lock().unwrap().send(()).unwrap();
        Then::Close
    });
    let gateway = Setup::before(&backend).timeouts("request: 1s, client_body: 30s").start();
    let socket = std::net::TcpStream::connect(gateway.plain).unwrap();
    std::io::Write::write_all(&mut &socket, get("/things/1", &token("olga")).as_bytes()).unwrap();
    in_time("a dripping reader", || {
        let mut taken = 0;
        while told.try_recv().is_err() {
            assert!(taken < 1000, "the backend is never let go");
            let _ = std::io::Read::read(&mut &socket, &mut [0; 4096]);
            taken += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_stream_of_events_and_a_gateway_without_that_limit_go_on() {
    let stream =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let other = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, limit) in [(stream, "request: 500ms"), (other, "request: 0s")] {
        let (backend, told) = dripping(head);
        let gateway = Setup::before(&backend).timeouts(limit).start();
        let mut client = gateway.connect();
        client.send(get("/things/1", &token("olga")));
        assert_eq!(client.head().unwrap().status, 200);
        assert!(told.recv_timeout(Duration::from_millis(2500)).is_err(), "{limit}");
        drop(client);
        told.recv_timeout(WAIT).unwrap();
    }
}
