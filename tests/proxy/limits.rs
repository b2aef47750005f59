//! What one client, or all of them, may use: connections, heads, targets, requests a second. Whoever takes too much is
//! turned away with a reason of its own, and everybody else is served.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then, reply, say, until};
use crate::gateway::{Door, Setup, token};
use crate::wire::{Answer, Client, Repeated, block_on, get, h2_request, http2, request};

fn with_limits(backend: &Backend, limits: &str) -> Setup {
    Setup { limits: limits.to_owned(), ..Setup::before(backend) }
}

fn with_more(backend: &Backend, more: &str) -> Setup {
    Setup { more: format!("{more}\n"), ..Setup::before(backend) }
}

/// The value of a metric; 0 if it is not there yet.
fn metric(gateway: &Door, name: &str) -> u64 {
    let text = gateway.admin("GET", "/metrics", "").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("portcullis_{name} ")).map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

/// A backend that begins each answer at once and ends it when it is told to.
fn patient() -> (Backend, Sender<()>) {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        let _ = held.lock().unwrap().recv();
        say(stream, b"half")
    });
    (backend, release)
}

/// A client whose request runs: the head of its answer is there.
fn busy(gateway: &Door) -> (Client, Answer) {
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    let answer = client.head().unwrap();
    assert_eq!(answer.status, 200);
    (client, answer)
}

#[test]
fn a_flood_of_idle_connections_gives_way_to_good_clients() {
    let backend = Backend::hello();
    let gateway = with_limits(&backend, "connections: 256").start();
    let olga = token("olga");
    let mut regular = gateway.connect();
    assert_eq!(regular.ask(get("/things/1", &olga)).status, 200);
    let mut flood = Vec::new();
    for number in 1..=1000 {
        flood.push(TcpStream::connect(gateway.plain).unwrap());
        if number % 100 == 0 {
            let begun = Instant::now();
            assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200, "a new client, after {number}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            assert_eq!(regular.ask(get("/things/1", &olga)).status, 200, "one that was here before, after {number}");
        }
    }
    assert!(metric(&gateway, "connections") <= 256);
    until(|| metric(&gateway, "connections_shed_total") >= 744, "the flood gave way");
    assert_eq!(metric(&gateway, "connections_refused_total"), 0);
}

#[test]
fn a_connection_with_a_request_never_gives_way() {
    let (backend, release) = patient();
    let gateway = with_limits(&backend, "connections: 2").start();
    let mut inside = [busy(&gateway), busy(&gateway)];
    let mut waiting = gateway.connect();
    waiting.send(get("/things/1", &token("olga")));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(backend.heads(), 2, "the third waits");
    (0..3).for_each(|_| release.send(()).unwrap());
    assert_eq!(waiting.answer().text(), "halfhalf", "one that idles again makes room");
    for (client, answer) in &mut inside {
        client.body(answer, &mut |_| ());
        assert!(answer.whole, "none was cut");
    }
}

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    let (backend, release) = patient();
    let gateway = with_limits(&backend, "connections_per_client: 2").start();
    let _first = busy(&gateway);
    let mut idle = gateway.connect();
    // Two threads accept; it must be in before the next one comes.
    until(|| metric(&gateway, "connections") == 2, "two connections");
    std::thread::sleep(Duration::from_millis(100));
    let _second = busy(&gateway);
    assert!(idle.is_ended(), "an idle one of its own gives way first");
    assert_eq!(metric(&gateway, "connections_refused_total"), 0);
    let mut third = gateway.connect();
    assert!(third.is_ended(), "all are busy");
    assert_eq!(metric(&gateway, "connections_refused_total"), 1);
    assert_eq!(metric(&gateway, "connections_shed_total"), 1);
    (0..3).for_each(|_| release.send(()).unwrap());
    until(|| metric(&gateway, "requests_in_flight") == 0, "they end");
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200, "and one of them gives way");
}

#[test]
fn a_trusted_proxy_may_have_as_many_connections_as_there_are() {
    let backend = Backend::hello();
    let more = "trusted_proxies: [127.0.0.1]\n".to_owned();
    let setup = Setup { limits: "connections_per_client: 1".into(), more, ..Setup::before(&backend) };
    let gateway = setup.start();
    let mut all: Vec<Client> = (0..5).map(|_| gateway.connect()).collect();
    for client in &mut all {
        assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    }
}

#[test]
fn a_long_target_is_a_414_in_every_version() {
    let backend = Backend::hello();
    let gateway = with_limits(&backend, "target_bytes: 1KiB").start();
    let olga = token("olga");
    let path = |length: usize| format!("/things/{}", "a".repeat(length - 8));
    let query = |length: usize| format!("/things/1?{}", "a".repeat(length - 10));
    for (target, status) in
        [(path(1024), 200), (path(1025), 414), (query(1024), 200), (query(1025), 414), (path(20_000), 414)]
    {
        let answer = gateway.ask(get(&target, &olga));
        let reason = if status == 414 { "target_too_long" } else { "" };
        assert_eq!(answer.verdict(), (status, reason.into()), "{}", target.len());
        // Scheme and host of an absolute target do not count.
        assert_eq!(gateway.ask(get(&format!("http://app.test{target}"), &olga)).status, status);
        block_on(async {
            let mut client = http2(gateway.tls, &gateway.certificate()).await;
            let answer = client.send_request(h2_request("GET", &target, &olga, Repeated::none())).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "HTTP/2, {}", target.len());
        });
    }
    assert_eq!(backend.heads(), 6);
}

#[test]
fn http2_heads_have_the_bounds_of_http1() {
    let backend = Backend::hello();
    let gateway = with_limits(&backend, "headers: 20, head_bytes: 16KiB").start();
    let olga = token("olga");
    let ask = |fields: usize, cookies: usize, bytes: usize| {
        block_on(async {
            let mut client = http2(gateway.tls, &gateway.certificate()).await;
            let mut request = h2_request("GET", "/things/1", &olga, Repeated::none());
            for number in 0..fields {
                let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                request.headers_mut().insert(name, http::HeaderValue::try_from("y".repeat(bytes)).unwrap());
            }
            for number in 0..cookies {
                request.headers_mut().append("cookie", http::HeaderValue::try_from(format!("c{number}=1")).unwrap());
            }
            client.send_request(request).await.unwrap().status().as_u16()
        })
    };
    // The token is a field, too.
    assert_eq!(ask(19, 0, 1), 200);
    assert_eq!(ask(20, 0, 1), 431);
    assert_eq!(ask(10, 50, 1), 200, "cookies that a browser sends one by one are one field");
    assert_eq!(ask(15, 0, 1200), 431, "more than head_bytes");
    assert_eq!(backend.heads(), 2);
}

#[test]
fn heads_that_never_became_a_request_are_counted_by_cause() {
    let backend = Backend::hello();
    let setup = with_limits(&backend, "head_bytes: 16KiB, headers: 20");
    // Longer than a refused client is listened to, so that each head has one cause.
    let gateway = Setup { timeouts: "drain: 1s, client_head: 1500ms".into(), ..setup }.start();
    let get = |lines: &str| format!("GET /things/1 HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n");
    for (head, cause) in [
        (get(&"X: y\r\n".repeat(20)), "too_large"),
        (get(&format!("X: {}\r\n", "y".repeat(40_000))), "too_large"),
        ("GET / HTTP/1.1\r\nBroken\r\n\r\n".into(), "malformed"),
        ("GET / HTTP/1.1\r\nX: y".into(), "too_slow"),
    ] {
        let name = format!("heads_rejected_total{{cause=\"{cause}\"}}");
        let before = metric(&gateway, &name);
        let mut client = gateway.connect();
        client.send(&head);
        client.rest();
        until(|| metric(&gateway, &name) == before + 1, cause);
    }
    assert_eq!(backend.heads(), 0);
}

#[test]
fn a_client_that_asks_too_often_gets_429_before_anybody_looks_at_its_token() {
    let backend = Backend::hello();
    let rates = "rates: {per_client: {requests: 1, per: 1h, burst: 3}}\ntrusted_proxies: [127.0.0.1]";
    let gateway = with_more(&backend, rates).start();
    let ask = |client: &str, token: &str, path: &str| {
        gateway.ask(request("GET", path, token, &format!("X-Forwarded-For: {client}\r\n"), ""))
    };
    let olga = token("olga");
    assert_eq!(ask("192.0.2.1", &olga, "/things/1").status, 200);
    assert_eq!(ask("192.0.2.1", "forged", "/things/1").status, 401);
    assert_eq!(ask("192.0.2.1", "", "/nothing").status, 401);
    for (token, path) in [(olga.as_str(), "/things/1"), ("forged", "/things/1"), ("", "/nothing"), ("", "/health")] {
        let answer = ask("192.0.2.1", token, path);
        assert_eq!(answer.verdict(), (429, "rate_limited".into()), "the same for everything: {path}");
        assert!((3590..=3600).contains(&answer.header("retry-after").unwrap().parse::<u64>().unwrap()));
    }
    assert_eq!(ask("192.0.2.2", &olga, "/things/1").status, 200, "another client");
    for number in 0..6 {
        let status = ask(&format!("2001:db8::{number}"), &olga, "/things/1").status;
        assert_eq!(status, if number < 3 { 200 } else { 429 }, "one /64 is one client");
    }
    for _ in 0..10 {
        assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200, "a trusted proxy itself speaks for many");
    }
    assert_eq!(backend.heads(), 15);
}

#[test]
fn a_principal_that_asks_too_often_gets_429_wherever_it_comes_from_and_others_learn_nothing() {
    let backend = Backend::hello();
    let gateway = with_more(&backend, "rates: {per_principal: {requests: 2, per: 1h}}").start();
    let (olga, vera) = (token("olga"), token("vera"));
    assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
    assert_eq!(gateway.ask(get("/secrets/1", &olga)).status, 403, "what is refused anyway does not count");
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer = client.send_request(h2_request("GET", "/things/1", &olga, Repeated::none())).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    });
    let answer = gateway.ask(get("/things/1", &olga));
    assert_eq!(answer.verdict(), (429, "rate_limited".into()));
    assert!((1790..=1800).contains(&answer.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(gateway.ask(get("/secrets/1", &olga)).status, 403, "the decision comes first");
    for (token, path, status) in [(vera.as_str(), "/things/1", 200), ("", "/things/1", 401), (&olga, "/health", 200)] {
        assert_eq!(gateway.ask(get(path, token)).status, status, "{path}");
    }
    assert_eq!(backend.heads(), 4);
}

#[test]
fn without_rates_nobody_is_turned_away() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    for _ in 0..1000 {
        assert_eq!(client.ask(get("/nothing", "")).status, 401);
    }
}

#[test]
fn the_body_of_a_request_that_was_turned_away_is_never_read_as_a_request() {
    let (backend, _release) = patient();
    let olga = token("olga");
    let inner = get("/things/smuggled", &olga);
    let upload = |length: usize| request("PUT", "/things/1", &olga, &format!("Content-Length: {length}\r\n"), "");
    for (more, limits, reason) in [
        ("rates: {per_client: {requests: 1, per: 1h}}", "", "rate_limited"),
        ("rates: {per_principal: {requests: 1, per: 1h}}", "", "rate_limited"),
        ("", "requests: 1", "overloaded"),
    ] {
        let setup = with_more(&backend, more);
        let gateway = Setup { limits: limits.into(), ..setup }.start();
        let _first = busy(&gateway);
        let before = backend.heads();
        for missing in [0, 100_000_000] {
            let mut client = gateway.connect();
            client.send(upload(inner.len() + missing)).send(&inner);
            assert_eq!(client.answer().verdict().1, reason);
            // Where all of it came, another request may follow, if the connection is still there.
            let sent =
                missing == 0 && client.try_send(request("GET", "/lobby", "", "Connection: close\r\n", "")).is_ok();
            let rest = String::from_utf8_lossy(&client.rest()).matches("HTTP/1.1 ").count();
            assert!(rest <= usize::from(sent), "an answer to nothing");
        }
        assert_eq!(backend.heads(), before);
    }
}

#[test]
fn the_log_says_who_asked_too_often() {
    let backend = Backend::start(|_, stream| {
        reply(stream, "200 OK", b"hello");
        Then::Close
    });
    let rates = "rates: {per_client: {requests: 3, per: 1h}, per_principal: {requests: 1, per: 1h}}";
    let gateway = Setup { decisions: true, ..with_more(&backend, rates) }.spawn();
    let seen: Vec<_> = (0..4)
        .map(|_| {
            gateway.ask(get("/things/1", &token("olga")));
            let line = gateway.decision();
            (line["status"].as_u64().unwrap(), line["reason"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let told: Vec<_> = seen.iter().map(|(status, reason)| (*status, reason.as_str())).collect();
    assert_eq!(
        told,
        [(200, ""), (429, "rate_limited:principal"), (429, "rate_limited:principal"), (429, "rate_limited:client")]
    );
}
