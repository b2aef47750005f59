//! WebSockets: what is asked of the backend in whose name, which answer opens a tunnel, what passes through it, and how it
//! ends. Nothing reaches a backend before its yes.

use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{Backend, SOON, fill, read_head, say, until};
use crate::gateway::{Door, Setup, token};
use crate::websocket::{CLOSE, KEY, TEXT, accept, answering, echo, echoes, frame, handshake, next, serve_frames, yes};
use crate::wire::{Client, block_on, get, request};

/// The value of a metric without labels.
pub fn metric(door: &Door, name: &str) -> u64 {
    let text = door.admin("GET", "/metrics", "").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until nothing is left of any tunnel.
pub fn nothing_is_left(door: &Door) {
    for name in ["portcullis_tunnels", "portcullis_requests_in_flight", "portcullis_connections"] {
        until(|| metric(door, name) == 0, name);
    }
}

/// Whether the other side ends the connection soon, without another byte; silence until a timeout is no end.
pub fn closes(client: &mut Client) -> bool {
    let begun = Instant::now();
    client.is_ended() && begun.elapsed() < SOON / 2
}

/// A client whose handshake was answered with yes.
pub fn opened(mut client: Client, target: &str, token: &str) -> Client {
    let answer = client.ask(handshake(target, token, ""));
    assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(&*accept(KEY))), "{answer:?}");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    client
}

#[test]
fn frames_pass_both_ways_over_plain_sockets_and_over_tls_and_nothing_is_left() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let olga = token("olga");
    for number in 0..2 {
        let encrypted = || Client::tls(gateway.tls, &gateway.trust()).unwrap().0;
        let client = if number == 0 { gateway.connect() } else { encrypted() };
        let mut client = opened(client, "/things/1?x=y", &olga);
        let seen = backend.wait_for(number + 1).pop().unwrap();
        assert_eq!(seen.line(), "GET /things/1?x=y HTTP/1.1");
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        assert_eq!(seen.header("connection"), Some("Upgrade"));
        assert_eq!(seen.header("sec-websocket-key"), Some(KEY));
        assert_eq!(seen.header("x-auth-request-user"), Some("olga"));
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(metric(&gateway, "portcullis_tunnels"), 1);
        assert_eq!(metric(&gateway, "portcullis_requests_in_flight"), 1);
        for text in ["hello", "", &"long ".repeat(10_000)] {
            echoes(&mut client, text);
        }
        client.send(frame(CLOSE, &[3, 232], true));
        assert_eq!(next(&mut client), Some((CLOSE, vec![3, 232])));
        assert!(closes(&mut client));
        drop(client);
        nothing_is_left(&gateway);
    }
    assert!(metric(&gateway, "portcullis_tunnel_bytes_total{direction=\"in\"}") > 100_000);
    assert!(metric(&gateway, "portcullis_tunnel_bytes_total{direction=\"out\"}") > 100_000);
}

#[test]
fn one_line_tells_of_a_tunnel_when_it_has_ended() {
    let backend = echo();
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
    echoes(&mut client, "hello");
    sleep(Duration::from_millis(50));
    client.send(frame(CLOSE, b"", true));
    client.rest();
    drop(client);
    let line = gateway.decision();
    assert_eq!((&line["status"], &line["decision"], &line["reason"]), (&101.into(), &"allow".into(), &().into()));
    // Masked frames to the backend, plain ones back.
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&17.into(), &9.into()), "{line}");
    assert!(line["total_us"].as_u64().unwrap() >= 50_000, "{line}");
}

#[test]
fn a_malformed_handshake_is_refused_and_its_connection_closed() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let olga = token("olga");
    let sound = handshake("/things/1", &olga, "");
    for (from, to, subject) in [
        ("GET ", "POST ", "method"),
        ("Upgrade: websocket", "Upgrade: websocket, h2c", "upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive", "connection"),
        ("Connection: Upgrade", "Connection: Upgrade, Sec-WebSocket-Key", "key"),
        (KEY, "bm8=", "key"),
        ("Version: 13", "Version: 7", "version"),
        ("Version: 13\r\n", "Version: 13\r\nContent-Length: 1\r\n", "body"),
    ] {
        let mut client = gateway.connect();
        let answer = client.ask(sound.replacen(from, to, 1));
        assert_eq!(answer.verdict(), (400, "bad_handshake".into()), "{subject}");
        assert!(closes(&mut client), "{subject}: what follows may be no HTTP");
    }
    assert_eq!(backend.heads(), 0);
}

#[test]
fn other_protocols_and_older_versions_are_ignored_and_forwarded_as_plain_requests() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let olga = token("olga");
    let sound = handshake("/things/1", &olga, "");
    for request in [
        sound.replacen("Upgrade: websocket", "Upgrade: h2c", 1),
        sound.replacen("Upgrade: websocket", "Upgrade: TLS/1.3", 1),
        sound.replacen("HTTP/1.1", "HTTP/1.0", 1),
    ] {
        let answer = gateway.ask(&request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "plain"), "{request}");
        let seen = backend.seen().pop().unwrap();
        assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None), "{request}");
    }
}

#[test]
fn only_who_may_get_the_resource_may_open_a_websocket_of_it() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    for (target, who, verdict) in [
        ("/things/1", "", (401, "no_token")),
        ("/things/1", "nils", (403, "right_missing")),
        ("/secrets/1", "vera", (403, "right_missing")),
        ("/nowhere", "olga", (404, "no_route")),
        ("/things/../secrets/1", "olga", (400, "bad_target")),
    ] {
        let token = if who.is_empty() { String::new() } else { token(who) };
        let mut client = gateway.connect();
        let answer = client.ask(handshake(target, &token, ""));
        assert_eq!(answer.verdict(), (verdict.0, verdict.1.into()), "{target} {who}");
        assert!(closes(&mut client), "{target}: what a client sends after a refused handshake is read by nobody");
    }
    assert_eq!(backend.heads(), 0);
}

#[test]
fn any_other_yes_is_a_502_and_opens_nothing() {
    let olga = token("olga");
    for (from, to) in [
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: other\r\n\r\n"),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"),
    ] {
        let backend = answering(move |seen| yes(seen, "").replacen(from, to, 1));
        let gateway = Setup::before(&backend).start();
        let mut client = gateway.connect();
        client
            .send(handshake("/things/1", &olga, "Sec-WebSocket-Protocol: chat\r\n"))
            .send(frame(TEXT, b"hello", true));
        assert_eq!(client.answer().verdict(), (502, "upstream_invalid".into()), "{to:?}");
        assert!(closes(&mut client));
        assert_eq!(backend.wait_for(1)[0].body, b"", "{to:?}");
        nothing_is_left(&gateway);
    }
    // Nor does a yes to what was no question.
    let backend = answering(|_| yes_to_nothing());
    let gateway = Setup::before(&backend).start();
    assert_eq!(gateway.ask(request("GET", "/things/1", &olga, "", "")).verdict(), (502, "upstream_invalid".into()));
}

fn yes_to_nothing() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept(KEY)
    )
}

#[test]
fn an_ordinary_answer_to_a_handshake_stays_one_and_nothing_more_reaches_the_backend() {
    let backend = answering(|_| "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into());
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(handshake("/things/1", &token("olga"), "")).send("GET /secrets/1 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.header("upgrade")), (403, "no", None));
    assert!(closes(&mut client), "what was sent early must not be read as a request");
    drop(gateway);
    assert_eq!(backend.wait_for(1)[0].body, b"");
}

#[test]
fn what_is_sent_early_waits_for_the_backends_yes() {
    let (go, waits) = channel::<()>();
    let waits = Mutex::new(waits);
    let backend = Backend::raw(move |number, mut stream, record| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        record.seen(seen.clone());
        waits.lock().unwrap().recv_timeout(SOON).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        fill(&mut stream, &mut buffer);
        assert!(buffer.is_empty(), "bytes before the yes: {buffer:?}");
        stream.set_read_timeout(None).unwrap();
        say(&mut stream, yes(&seen, "").as_bytes());
        serve_frames(&mut stream, &mut buffer);
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(handshake("/things/1", &token("olga"), "")).send(frame(TEXT, b"early", true));
    backend.wait_for(1);
    sleep(Duration::from_millis(100));
    go.send(()).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    assert_eq!(next(&mut client), Some((TEXT, b"early".to_vec())));
    echoes(&mut client, "late");
}

#[test]
fn a_subprotocol_and_extensions_are_agreed_on_end_to_end() {
    let more = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let backend = answering(move |seen| yes(seen, more));
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    let asked = "Sec-WebSocket-Protocol: news, chat\r\nSec-WebSocket-Extensions: permessage-deflate; x\r\n";
    let answer = client.ask(handshake("/things/1", &token("olga"), asked));
    assert_eq!(answer.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(answer.header("sec-websocket-extensions"), Some("permessage-deflate"));
    drop(client);
    let seen = &backend.wait_for(1)[0];
    assert_eq!(seen.header("sec-websocket-protocol"), Some("news, chat"));
    assert_eq!(seen.header("sec-websocket-extensions"), Some("permessage-deflate; x"));
}

#[test]
fn websockets_pass_only_where_the_application_or_the_route_lets_them() {
    let olga = token("olga");
    let (off, on) = (", websocket: false, require: [\"things", ", websocket: true, require: [\"things");
    for (application, route, status) in
        [("", "", 101), ("", off, 200), ("    websocket: false\n", "", 200), ("    websocket: false\n", on, 101)]
    {
        let backend = echo();
        let mut setup = Setup::before(&backend);
        setup.routes = setup.routes.replace("    domain: app\n", &format!("    domain: app\n{application}"));
        if !route.is_empty() {
            setup.routes = setup.routes.replace(", require: [\"things", route);
        }
        let gateway = setup.start();
        let plain = status == 200;
        let mut client = gateway.connect();
        // Whoever asks for a WebSocket may speak it already, and what it says is no request.
        let early = if plain { get("/things/early", &olga) } else { String::new() };
        let answer = client.ask([handshake("/things/1", &olga, ""), early].concat());
        assert_eq!(answer.status, status, "{application} {route}");
        assert!(!plain || answer.header("connection") == Some("close") && client.is_ended(), "{answer:?}");
        assert_eq!(backend.only().header("upgrade").is_none(), plain, "{application} {route}");
        let over_http2 = block_on(async { extended_connect(&gateway, "/things/1", &olga, "websocket", &[]).await.0 });
        assert_eq!(over_http2, if plain { 405 } else { 200 }, "{application} {route}");
    }
}

#[test]
fn a_page_of_another_origin_cannot_open_a_websocket_with_a_cookie() {
    let backend = echo();
    let gateway = super::places::with(&backend, "    token: {cookie: erp_token}\n", false).start();
    let cookie = format!("erp_token={}", token("olga"));
    for (origin, may) in [("http://app.test", true), ("http://evil.test", false)] {
        let lines = format!("Cookie: {cookie}\r\nOrigin: {origin}\r\n");
        let answer = gateway.connect().ask(handshake("/things/1", "", &lines));
        assert_eq!(answer.status, if may { 101 } else { 403 }, "{origin}");
    }
    for (origin, may) in [("https://app.test", true), ("https://evil.test", false)] {
        let lines = [("cookie", cookie.as_str()), ("origin", origin)];
        let status = block_on(async { extended_connect(&gateway, "/things/1", "", "websocket", &lines).await.0 });
        assert_eq!(status, if may { 200 } else { 403 }, "{origin}");
    }
    assert_eq!(backend.heads(), 2);
}

#[test]
fn whoever_goes_away_ends_the_tunnel_for_the_other_side() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let olga = token("olga");
    let mut client = opened(gateway.connect(), "/things/1", &olga);
    echoes(&mut client, "hello");
    backend.hang_up();
    assert!(closes(&mut client), "the backend is gone");
    drop(client);
    nothing_is_left(&gateway);
    for how in ["reset", "ended", "dropped"] {
        let mut client = opened(gateway.connect(), "/things/1", &olga);
        echoes(&mut client, "hello");
        match how {
            "reset" => client.reset(),
            "ended" => {
                client.finish();
                assert!(closes(&mut client), "the backend ended its side, too");
            }
            _ => drop(client),
        }
        nothing_is_left(&gateway);
    }
}

#[test]
fn a_side_that_has_ended_can_still_be_spoken_to() {
    let backend = Backend::raw(|number, mut stream, _| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        say(&mut stream, yes(&seen, "").as_bytes());
        while fill(&mut stream, &mut buffer) > 0 {}
        say(&mut stream, &frame(TEXT, &buffer, false));
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let gateway = Setup::before(&backend).start();
    let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
    client.send("all of it").finish();
    assert_eq!(next(&mut client), Some((TEXT, b"all of it".to_vec())));
    assert!(closes(&mut client));
    nothing_is_left(&gateway);
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_is_closed_and_one_that_moves_is_not() {
    let backend = echo();
    let setup = Setup { decisions: true, ..Setup::before(&backend).timeouts("tunnel_idle: 400ms") };
    let gateway = setup.spawn();
    let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
    for _ in 0..6 {
        sleep(Duration::from_millis(150));
        echoes(&mut client, "still here");
    }
    let begun = Instant::now();
    assert!(closes(&mut client));
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(gateway.decision()["reason"], "tunnel_idle");
    nothing_is_left(&gateway);
}

#[test]
fn a_receiver_that_does_not_read_slows_its_sender_down_and_is_cut_off() {
    let (sent, blocked) = channel();
    let sent = Mutex::new(sent);
    let backend = Backend::raw(move |number, mut stream, _| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        say(&mut stream, yes(&seen, "").as_bytes());
        let mut total = 0_u64;
        let block = [0; 64 * 1024];
        while say(&mut stream, &block) == crate::backend::Then::Keep {
            total += block.len() as u64;
        }
        sent.lock().unwrap().send(total).unwrap();
    });
    let gateway = Setup::before(&backend).timeouts("client_body: 500ms").start();
    let client = opened(gateway.connect(), "/things/1", &token("olga"));
    let total = blocked.recv_timeout(SOON).expect("the sender was never cut off");
    // What the kernel's buffers of two connections hold, and two buffers of the tunnel.
    assert!(total < 64 * 1024 * 1024, "{total}");
    drop(client);
    nothing_is_left(&gateway);
}

#[test]
fn a_drain_ends_tunnels_at_once() {
    let backend = echo();
    let mut gateway = Setup { timeouts: "drain: 20s".into(), decisions: true, ..Setup::before(&backend) }.spawn();
    let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
    echoes(&mut client, "hello");
    let begun = Instant::now();
    gateway.signal("TERM");
    assert!(closes(&mut client));
    assert_eq!(gateway.wait(SOON), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(gateway.decision()["reason"], "drained");
}

/// An extended CONNECT (RFC 8441 section 4) over TLS: the status of its answer and, if that is yes, the stream.
async fn extended_connect(
    door: &Door,
    target: &str,
    token: &str,
    protocol: &'static str,
    lines: &[(&str, &str)],
) -> (u16, Option<TokioIo<hyper::upgrade::Upgraded>>, http::HeaderMap) {
    let mut sender = crate::wire::http2::<Refused>(door.tls, &door.certificate()).await;
    // Waits for the server's settings, without which no client may ask so.
    let first = crate::wire::h2_request("GET", "/nowhere", "", Refused);
    sender.send_request(first).await.unwrap();
    let mut request = crate::wire::h2_request("CONNECT", target, token, Refused);
    for (name, value) in lines {
        request.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    if !protocol.is_empty() {
        request.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
        request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    }
    let mut answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let stream = match status {
        200 => Some(TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())),
        _ => {
            answer.into_body().collect().await.unwrap();
            None
        }
    };
    (status, stream, headers)
}

/// No body.
struct Refused;

impl http_body::Body for Refused {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        let mut none = Empty::<Bytes>::new();
        std::pin::Pin::new(&mut none).poll_frame(context).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

#[test]
fn an_extended_connect_of_http2_is_an_ordinary_handshake_to_the_backend() {
    let backend = echo();
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    block_on(async {
        let (status, stream, headers) =
            extended_connect(&gateway, "/things/1?x=y", &token("olga"), "websocket", &[("sec-websocket-key", KEY)])
                .await;
        assert_eq!(status, 200);
        assert!(!headers.contains_key("sec-websocket-accept") && !headers.contains_key("upgrade"), "{headers:?}");
        assert_eq!(gateway.decision()["reason"], "no_token", "of the request before");
        let mut stream = stream.unwrap();
        let text = "over HTTP/2 ".repeat(5_000);
        let sent = frame(TEXT, text.as_bytes(), true);
        stream.write_all(&sent).await.unwrap();
        let expected = frame(TEXT, text.as_bytes(), false);
        let mut echoed = vec![0; expected.len()];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, expected);
        stream.write_all(&frame(CLOSE, b"", true)).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, frame(CLOSE, b"", false));
        stream.shutdown().await.unwrap();
    });
    let seen = backend.only();
    assert_eq!(seen.line(), "GET /things/1?x=y HTTP/1.1");
    assert_eq!((seen.header("upgrade"), seen.header("connection")), (Some("websocket"), Some("Upgrade")));
    assert_ne!(seen.header("sec-websocket-key"), Some(KEY), "the key is the gateway's own");
    assert_eq!(seen.header("x-auth-request-user"), Some("olga"));
    let line = gateway.decision();
    assert_eq!((&line["method"], &line["status"], &line["route"]), (&"CONNECT".into(), &200.into(), &"thing".into()));
    assert!(line["bytes_in"].as_u64().unwrap() > 60_000 && line["bytes_out"].as_u64().unwrap() > 60_000, "{line}");
    nothing_is_left(&gateway);
}

#[test]
fn a_handshake_is_sent_again_where_a_pooled_connection_had_ended() {
    for multiplexed in [false, true] {
        let backend = Backend::raw(|number, mut stream, record| {
            let mut buffer = Vec::new();
            while let Some(seen) = read_head(number, &mut stream, &mut buffer) {
                record.seen(seen.clone());
                match (seen.header("upgrade"), number) {
                    (None, _) => drop(say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")),
                    (Some(_), 0) => return,
                    (Some(_), _) => {
                        say(&mut stream, yes(&seen, "").as_bytes());
                        return serve_frames(&mut stream, &mut buffer);
                    }
                }
            }
        });
        let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
        let olga = token("olga");
        assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
        if multiplexed {
            let asked = async { extended_connect(&gateway, "/things/2", &olga, "websocket", &[]).await.0 };
            assert_eq!(block_on(asked), 200);
        } else {
            echoes(&mut opened(gateway.connect(), "/things/2", &olga), "after all");
        }
        let connections: Vec<_> =
            backend.seen().iter().map(|seen| (seen.target().to_owned(), seen.connection)).collect();
        let expected = [("/things/1", 0), ("/things/2", 0), ("/things/2", 1)];
        assert_eq!(connections, expected.map(|(target, number)| (target.to_owned(), number)), "{multiplexed}");
    }
}

#[test]
fn an_extended_connect_is_judged_as_a_get_and_any_other_connect_is_refused() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let (olga, nils) = (token("olga"), token("nils"));
    for (target, token, protocol, status) in [
        ("/things/1", "", "websocket", 401),
        ("/things/1", &*nils, "websocket", 403),
        ("/nowhere", &*olga, "websocket", 404),
        ("/things//1", &*olga, "websocket", 400),
        ("/things/1", &*olga, "connect-udp", 405),
        ("/things/1", &*olga, "", 405),
    ] {
        let answered = block_on(async { extended_connect(&gateway, target, token, protocol, &[]).await.0 });
        assert_eq!(answered, status, "{target} {protocol}");
    }
    assert_eq!(backend.heads(), 0);
}

#[test]
fn a_wrong_yes_is_a_502_over_http2_too() {
    let ask = |backend: &Backend| {
        let gateway = Setup::before(backend).start();
        let ask = async { extended_connect(&gateway, "/things/1", &token("olga"), "websocket", &[]).await.0 };
        let status = block_on(ask);
        nothing_is_left(&gateway);
        status
    };
    assert_eq!(ask(&answering(|seen| yes(seen, "").replacen("Accept: ", "Accept: x", 1))), 502);
    // An ordinary yes would tell this client that its WebSocket is open; an ordinary no stays one.
    for (said, status) in [("200 OK", 502), ("204 No Content", 502), ("404 Not Found", 404), ("302 Found", 302)] {
        let length = if said.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        let backend = answering(move |_| format!("HTTP/1.1 {said}\r\n{length}\r\n"));
        assert_eq!(ask(&backend), status, "{said}");
    }
}

#[test]
fn a_side_that_has_ended_holds_the_other_no_longer_than_a_slow_body_may_take() {
    let stays = Backend::raw(|number, mut stream, _| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        say(&mut stream, yes(&seen, "").as_bytes());
        while fill(&mut stream, &mut buffer) > 0 {}
        // It was told that the client has ended, and stays all the same.
        sleep(Duration::from_secs(30));
    });
    let gateway = Setup { decisions: true, ..Setup::before(&stays).timeouts("client_body: 300ms") }.spawn();
    let client = opened(gateway.connect(), "/things/1", &token("olga"));
    client.finish();
    assert_eq!(gateway.decision()["reason"], "tunnel_idle");
    nothing_is_left(&gateway);
}

#[test]
fn a_stream_of_http2_is_judged_again_and_ends_with_its_client() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    block_on(async {
        let (_, stream, _) = extended_connect(&gateway, "/things/1", &token("vera"), "websocket", &[]).await;
        assert_eq!(metric(&gateway, "portcullis_tunnels"), 1);
        drop(stream);
    });
    nothing_is_left(&gateway);
    block_on(async {
        let (_, stream, _) = extended_connect(&gateway, "/things/1", &token("vera"), "websocket", &[]).await;
        let grants = std::fs::read_to_string(gateway.file("grants.yaml")).unwrap();
        gateway.replace("grants.yaml", &grants.replace("grants: [things:read]", "grants: []"));
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SOON, stream.unwrap().read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "{rest:?}");
    });
    assert_eq!(metric(&gateway, "portcullis_exchanges_cut_total"), 1);
    nothing_is_left(&gateway);
}
