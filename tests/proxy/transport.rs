//! The way to servers that speak HTTP/2: streams that share connections, what happens when either side breaks off, and
//! what becomes of heads and trailers on the way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::backend::{Backend, read_exactly, read_head, reply, until};
use crate::gateway::{Setup, token};
use crate::h2::{Exchange, H2Backend, pour};
use crate::wire::{Repeated, block_on, get, h2_request, http2, request};

const MIB: usize = 1024 * 1024;

/// A gateway of one thread that speaks HTTP/2 with its upstream, which has further keys.
pub fn speaking_http2(url: &str, keys: &str) -> Setup {
    let setup = Setup { workers: 1, ..Setup::to(&[url.to_owned()]) };
    let routes = setup.routes.replacen("\"]}\n", &format!("\"], protocol: http2{keys}}}\n"), 1);
    assert_ne!(routes, setup.routes);
    Setup { routes, ..setup }
}

#[test]
fn requests_of_all_clients_share_one_connection() {
    let backend = H2Backend::hello();
    let gateway = speaking_http2(&backend.url(), "").start();
    let token = token("olga");
    let mut client = gateway.connect();
    for number in 0..20 {
        let answer = client.ask(request("PUT", &format!("/things/{number}"), &token, "", "body"));
        assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "hello", true));
    }
    assert_eq!(gateway.ask(get("/things/other", &token)).status, 200);
    assert_eq!(gateway.ask(get("/secrets/1", &token)).status, 403);
    assert_eq!((backend.connections(), backend.heads()), (1, 21));
}

#[test]
fn a_thousand_requests_take_as_many_connections_as_the_streams_that_the_server_permits_make_necessary() {
    for (permitted, expected) in [(100, vec![100; 10]), (1000, vec![100; 10]), (250, vec![100; 10]), (50, vec![50; 20])]
    {
        let (come, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let backend = H2Backend::start(permitted, move |mut exchange: Exchange| {
            let (come, go) = (Arc::clone(&come), Arc::clone(&go));
            async move {
                // Nobody is answered before all are there, so all run at once.
                if come.fetch_add(1, Ordering::SeqCst) + 1 == 1000 {
                    go.notify_waiters();
                } else {
                    go.notified().await;
                }
                exchange.say(exchange.head.uri.path().to_owned());
            }
        });
        let gateway = speaking_http2(&backend.url(), "").start();
        let token = token("olga");
        block_on(async {
            let mut asked = Vec::new();
            for number in 0..10 {
                let client = http2(gateway.tls, &gateway.certificate()).await;
                for stream in 0..100 {
                    let (mut client, target) = (client.clone(), format!("/things/{number}-{stream}"));
                    let request = h2_request("GET", &target, &token, Repeated::none());
                    asked.push(tokio::spawn(async move {
                        let answer = client.send_request(request).await.unwrap();
                        let status = answer.status().as_u16();
                        assert_eq!(
                            (status, answer.into_body().collect().await.unwrap().to_bytes()),
                            (200, target.into())
                        );
                    }));
                }
            }
            for one in asked {
                one.await.unwrap();
            }
        });
        assert_eq!(backend.heads(), 1000, "none was refused and tried again");
        assert_eq!(backend.most(), expected, "{permitted} permitted");
        // All are there again.
        assert_eq!(gateway.ask(get("/secrets/1", &token)).status, 403);
        until(|| backend.running() == 0, "all streams have ended");
    }
}

#[test]
fn after_a_goaway_running_streams_end_and_new_ones_go_elsewhere() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let wait = Arc::clone(&wait);
        async move {
            let number = exchange.connection;
            let mut stream = exchange.head(Response::builder().status(200));
            stream.send_data(format!("from {number}").into(), false).unwrap();
            if exchange.head.uri.path() == "/things/slow" {
                wait.notified().await;
            }
            stream.send_data(" to the end".into(), true).unwrap();
        }
    });
    let gateway = speaking_http2(&backend.url(), "").start();
    let token = token("olga");
    let mut slow = gateway.connect();
    slow.send(get("/things/slow", &token));
    let mut answer = slow.head().unwrap();
    backend.goaway();
    // The gateway may not have heard of it yet; whatever it does, nobody notices.
    until(|| gateway.ask(get("/things/1", &token)).text() == "from 1 to the end", "a second connection");
    go.notify_one();
    slow.body(&mut answer, &mut |_| ());
    assert_eq!((answer.text().as_str(), answer.whole), ("from 0 to the end", true));
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_client_that_goes_away_ends_its_stream_and_nothing_else() {
    let resets = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&resets);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let seen = Arc::clone(&seen);
        async move {
            let path = exchange.head.uri.path().to_owned();
            let note = |reason: Option<Reason>| seen.lock().unwrap().push((path.clone(), reason));
            match path.as_str() {
                "/things/download" => {
                    let mut stream = exchange.head(Response::builder().status(200));
                    note(pour(&mut stream, 100 * MIB, &AtomicUsize::new(0)).await.unwrap_err());
                }
                "/things/upload" => note(exchange.read().await.unwrap_err()),
                // Answers early and never ends; the upload goes on.
                "/things/both" => {
                    let mut stream = exchange.head(Response::builder().status(200));
                    stream.send_data("early".into(), false).unwrap();
                    note(exchange.read().await.unwrap_err());
                }
                "/things/wait" => {
                    let reset = std::future::poll_fn(|context| exchange.respond.poll_reset(context)).await;
                    note(reset.ok());
                }
                _ => exchange.say("hello"),
            }
        }
    });
    let gateway = speaking_http2(&backend.url(), "").start();
    let token = token("olga");
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, target, lines, body) in [
        ("GET", "/things/download", "", ""),
        ("PUT", "/things/upload", chunked, "4\r\nbody\r\n"),
        ("PUT", "/things/both", chunked, "4\r\nbody\r\n"),
        ("GET", "/things/wait", "", ""),
    ] {
        let before = backend.heads();
        let mut client = gateway.connect();
        client.send(format!("{}{body}", request(method, target, &token, lines, "")));
        if matches!(target, "/things/download" | "/things/both") {
            assert_eq!(client.head().unwrap().status, 200);
        }
        until(|| backend.heads() > before, "the request is at the backend");
        client.reset();
        until(|| resets.lock().unwrap().iter().any(|(path, _)| path == target), target);
        assert_eq!(gateway.ask(get("/things/1", &token)).text(), "hello", "{target}");
    }
    assert!(resets.lock().unwrap().iter().all(|(_, reason)| *reason == Some(Reason::CANCEL)), "{resets:?}");
    until(|| backend.running() == 0, "all streams have ended");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_upload_that_the_server_does_not_read_ends_when_its_early_answer_has() {
    let backend = H2Backend::start(100, |mut exchange: Exchange| async move {
        let mut stream = exchange.head(Response::builder().status(200));
        stream.send_data("early".into(), exchange.head.uri.path() == "/things/ends").unwrap();
        // Holds on to the body and reads nothing of it.
        let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
    });
    let timeouts = "drain: 1s, response_body: 300ms".into();
    let gateway = Setup { timeouts, ..speaking_http2(&backend.url(), "") }.start();
    let token = token("olga");
    for target in ["/things/ends", "/things/hangs"] {
        let mut client = gateway.connect();
        let head = request("PUT", target, &token, "Content-Length: 1000000\r\n", "");
        // More than the server's window.
        client.send(format!("{head}{}", "x".repeat(200_000)));
        assert_eq!(client.head().unwrap().status, 200, "{target}");
        until(|| backend.running() == 0, "the stream has ended");
    }
}

#[test]
fn an_upload_that_waits_holds_up_no_other_of_its_connection() {
    let backend = Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        record.head();
        if seen.target() == "/things/waits" {
            // Reads nothing until the client is gone.
            std::thread::sleep(Duration::from_secs(15));
        } else {
            let length = seen.header("content-length").unwrap().parse().unwrap();
            assert!(read_exactly(&mut stream, &mut buffer, length, &mut |_| ()));
            reply(&mut stream, "200 OK", b"hello");
        }
    });
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    block_on(async {
        let mut client = crate::grpc::connect(&gateway).await;
        let (_waits, mut stream) =
            client.send_request(h2_request("PUT", "/things/waits", &token("olga"), ()), false).unwrap();
        let poured = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&poured);
        tokio::spawn(async move { pour(&mut stream, 100 * MIB, &count).await });
        let mut before = usize::MAX;
        // Until nobody on the way takes another byte.
        while before != poured.load(Ordering::SeqCst) {
            before = poured.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert!((1..100 * MIB).contains(&before), "{before}");
        let asked = http::Request::put("https://app.test/things/1")
            .header("authorization", format!("Bearer {}", token("olga")))
            .header("content-length", MIB);
        let (answer, mut stream) = client.send_request(asked.body(()).unwrap(), false).unwrap();
        let other = async {
            pour(&mut stream, MIB, &AtomicUsize::new(0)).await.unwrap();
            answer.await.unwrap().status().as_u16()
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(2), other).await, Ok(200));
    });
}

#[test]
fn an_upload_that_its_client_resets_never_looks_complete() {
    let whole = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&whole);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let seen = Arc::clone(&seen);
        async move {
            let read = exchange.read().await;
            seen.lock().unwrap().push(read.is_ok());
        }
    });
    let old = Backend::hello();
    let gateways = [speaking_http2(&backend.url(), "").start(), Setup { workers: 1, ..Setup::before(&old) }.start()];
    block_on(async {
        for gateway in &gateways {
            for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
                let before = (backend.heads(), old.heads());
                let mut client = crate::grpc::connect(gateway).await;
                let asked = h2_request("PUT", "/things/1", &token("olga"), ());
                let (_answer, mut stream) = client.send_request(asked, false).unwrap();
                stream.send_data("half".into(), false).unwrap();
                while (backend.heads(), old.heads()) == before {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                stream.send_reset(reason);
                // So that the reset is sent before the connection ends.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    until(|| whole.lock().unwrap().len() == 3, "all streams have ended");
    assert_eq!(*whole.lock().unwrap(), [false; 3]);
    assert!(old.wait_for(3).iter().all(|seen| !seen.whole), "{:?}", old.seen());
}

#[test]
fn an_answer_that_the_backend_resets_never_looks_complete() {
    let backend = H2Backend::start(100, |mut exchange: Exchange| async move {
        if exchange.head.uri.path() == "/things/before" {
            return exchange.respond.send_reset(Reason::INTERNAL_ERROR);
        }
        let mut stream = exchange.head(Response::builder().status(200));
        stream.send_data("the begin".into(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::NO_ERROR);
    });
    let gateway = speaking_http2(&backend.url(), "").start();
    let token = token("olga");
    let answer = gateway.ask(get("/things/1", &token));
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "the begin", false));
    // A client of HTTP/1.0 knows the end by the close, so it must be a reset.
    let old = get("/things/1", &token).replace("HTTP/1.1", "HTTP/1.0");
    let answer = gateway.ask(old);
    assert_eq!((answer.status, answer.whole), (200, false));
    assert_eq!(gateway.ask(get("/things/before", &token)).verdict(), (502, "upstream_invalid".into()));
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let asked = client.send_request(h2_request("GET", "/things/1", &token, Repeated::none())).await.unwrap();
        assert_eq!(asked.status().as_u16(), 200);
        assert!(asked.into_body().collect().await.is_err());
    });
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_stream_that_the_server_refused_unseen_is_sent_again_if_it_can_be() {
    let backend = H2Backend::start(100, |mut exchange: Exchange| async move {
        static REFUSED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let asked = format!("{} {}", exchange.head.method, exchange.head.uri.path());
        let again = {
            let mut refused = REFUSED.lock().unwrap();
            let again = refused.contains(&asked);
            refused.push(asked);
            again
        };
        match again {
            true => exchange.say("at last"),
            false => exchange.respond.send_reset(Reason::REFUSED_STREAM),
        }
    });
    let gateway = speaking_http2(&backend.url(), "").start();
    let token = token("olga");
    gateway.ask(get("/things/first", &token));
    for (method, body, expected) in [("GET", "", 200), ("DELETE", "", 200), ("POST", "", 200), ("PUT", "body", 502)] {
        let answer = gateway.ask(request(method, "/things/1", &token, "", body));
        assert_eq!(answer.status, expected, "{method}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn readers_that_do_not_read_hold_little_memory_and_no_other_reader() {
    let poured = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&poured);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let count = Arc::clone(&count);
        async move {
            if exchange.head.uri.path() == "/things/short" {
                return exchange.say("hello");
            }
            let mut stream = exchange.head(Response::builder().status(200));
            let _ = pour(&mut stream, 1024 * MIB, &count).await;
        }
    });
    let gateway = speaking_http2(&backend.url(), "").timeouts("client_body: 5m").spawn();
    let token = token("olga");
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let mut held = Vec::new();
        for _ in 0..90 {
            let asked = client.send_request(h2_request("GET", "/things/long", &token, Repeated::none())).await.unwrap();
            assert_eq!(asked.status().as_u16(), 200);
            held.push(asked);
        }
        // Waits until nothing moves any more.
        let mut before = 0;
        while before == 0 || poured.load(Ordering::SeqCst) != before {
            before = poured.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(before < 90 * MIB / 2, "{before} bytes are under way to 90 clients that read nothing");
        let mut other = http2(gateway.tls, &gateway.certificate()).await;
        let asked = other.send_request(h2_request("GET", "/things/short", &token, Repeated::none())).await.unwrap();
        assert_eq!(asked.into_body().collect().await.unwrap().to_bytes(), "hello");
        assert_eq!(backend.most(), [91], "it shared their connection");
        // One of them begins to read.
        let mut body = held.pop().unwrap().into_body();
        drop(held);
        let mut read = 0;
        while read < 64 * MIB {
            read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
    });
    let peak = gateway.peak_memory();
    assert!(peak < 120 * MIB as u64, "{peak} bytes of memory");
}

#[test]
fn an_upload_waits_for_a_server_that_reads_slowly() {
    let backend = H2Backend::start(100, |mut exchange: Exchange| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (body, _) = exchange.read().await.unwrap();
        exchange.say(body.len().to_string());
    });
    let gateway = speaking_http2(&backend.url(), "").spawn();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let length = 64 * MIB as u64;
        let body = Repeated::new(&Bytes::from(vec![b'x'; MIB]), length);
        let asked = client.send_request(h2_request("PUT", "/things/1", &token("olga"), body)).await.unwrap();
        assert_eq!(asked.into_body().collect().await.unwrap().to_bytes(), length.to_string());
    });
    let peak = gateway.peak_memory();
    assert!(peak < 100 * MIB as u64, "{peak} bytes of memory");
}

#[test]
fn a_request_of_http_1_1_becomes_one_of_http_2() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let seen = Arc::clone(&seen);
        async move {
            let read = exchange.read().await.unwrap();
            seen.lock().unwrap().push((exchange.head.uri.clone(), exchange.head.headers.clone(), read));
            let head = Response::builder().status(201).header("x-own", "1").header("x-portcullis-own", "1");
            exchange.end(head);
        }
    });
    let gateway = speaking_http2(&backend.url(), "").start();
    let lines = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: gzip, trailers\r\n\
                 Transfer-Encoding: chunked\r\nCookie: a=1; b=2\r\nX-Auth-Request-User: root\r\n";
    let head = request("PUT", "/things/a%20b?x=1&y", &token("olga"), lines, "");
    let answer = gateway.ask(format!("{head}4\r\nbody\r\n0\r\nX-Trailer: 1\r\n\r\n"));
    assert_eq!((answer.status, answer.header("x-own"), answer.header("x-portcullis-own")), (201, Some("1"), None));
    assert_eq!(answer.header("content-length"), Some("0"), "{}", answer.head);
    let heads = heads.lock().unwrap();
    let (uri, headers, (body, trailers)) = &heads[0];
    assert_eq!(uri.to_string(), "http://app.test/things/a%20b?x=1&y");
    assert_eq!((body.as_slice(), trailers), (&b"body"[..], &None));
    for gone in ["host", "connection", "keep-alive", "te", "transfer-encoding", "x-hop", "content-length"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("cookie"), ["a=1; b=2"]);
    assert_eq!(all("x-auth-request-user"), ["olga"]);
    assert_eq!(all("x-forwarded-host"), ["app.test"]);
    assert_eq!(all("via"), ["1.1 portcullis"]);
}

#[test]
fn trailers_that_the_route_names_pass_between_http_2_and_http_2() {
    let came = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&came);
    let fields = || {
        let fields = [("x-checksum", "1"), ("x-auth-request-user", "root"), ("x-unnamed", "1")];
        fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    };
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let seen = Arc::clone(&seen);
        async move {
            let (_, trailers) = exchange.read().await.unwrap();
            seen.lock().unwrap().push((exchange.head.headers.get("te").cloned(), trailers));
            let mut stream = exchange.head(Response::builder().status(200));
            stream.send_data("ok".into(), false).unwrap();
            stream.send_trailers(fields().collect()).unwrap();
        }
    });
    let mut setup = speaking_http2(&backend.url(), "");
    setup.routes = setup
        .routes
        .replace("require: [\"things:by_method\"]}", "require: [\"things:by_method\"], trailers: [x-checksum]}");
    let gateway = setup.start();
    let expected: HeaderMap = fields().take(1).collect();
    block_on(async {
        let body = Repeated::unsized_of(&Bytes::from_static(b"body"), 4);
        let body = body.with_trailers(std::future::ready(Some(Ok(fields().collect()))));
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let mut asked = h2_request("PUT", "/things/1", &token("olga"), body);
        asked.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let got = client.send_request(asked).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(got.trailers(), Some(&expected));
    });
    let (te, trailers) = came.lock().unwrap().pop().unwrap();
    assert_eq!((te.unwrap().to_str().unwrap(), trailers), ("trailers", Some(expected)));
}

#[test]
fn a_revoked_token_ends_its_stream_and_nothing_else() {
    let reset = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reset);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        let seen = Arc::clone(&seen);
        async move {
            if exchange.head.uri.path() == "/things/short" {
                return exchange.say("hello");
            }
            let mut stream = exchange.head(Response::builder().status(200));
            stream.send_data("event".into(), false).unwrap();
            // The upload is still open, so this ends only when the gateway ends the stream.
            let ended = exchange.read().await.unwrap_err();
            seen.lock().unwrap().push(ended);
        }
    });
    let mut setup = speaking_http2(&backend.url(), "");
    setup.more = "revoked: {files: [revoked.yaml]}\n".to_owned();
    setup.files = vec![("revoked.yaml", "version: 1\nrevoked: []\n".to_owned())];
    let gateway = setup.start();
    let ended = AtomicBool::new(false);
    block_on(async {
        let (hold, held) = tokio::sync::oneshot::channel::<()>();
        let body = Repeated::unsized_of(&Bytes::from_static(b"body"), 4).with_trailers(Box::pin(async move {
            let _ = held.await;
            None
        }));
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let asked = client.send_request(h2_request("PUT", "/things/1", &token("olga"), body)).await.unwrap();
        let mut body = asked.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "event");
        let olga = "version: 1\nrevoked:\n  - {principal: {tenant: home, oid: 00000000-0000-0000-0000-000000000001}}\n";
        gateway.replace("revoked.yaml", olga);
        let cut = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("the stream ends");
        ended.store(cut.is_none_or(|frame| frame.is_err()), Ordering::SeqCst);
        drop(hold);
    });
    assert!(ended.load(Ordering::SeqCst));
    until(|| !reset.lock().unwrap().is_empty(), "the backend's stream ends");
    assert_eq!(gateway.ask(get("/things/short", &token("vera"))).text(), "hello");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_server_that_does_not_speak_http_2_is_unreachable_and_sees_no_request() {
    let backend = Backend::hello();
    let gateway = speaking_http2(&backend.url(), "").spawn();
    let answer = gateway.ask(request("POST", "/things/1", &token("olga"), "", "body"));
    assert!(matches!(answer.verdict(), (502 | 504, _)), "{answer:?}");
    assert_eq!(answer.verdict(), (502, "upstream_unreachable".into()));
    gateway.logs("the server does not speak HTTP/2");
    assert!(backend.seen().iter().all(|seen| !seen.head.contains("things")), "{:?}", backend.seen());
}

#[test]
fn sockets_of_this_machine_are_servers_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let url = format!("unix:{}", path.display());
    let authority = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&authority);
    {
        let gateway = speaking_http2(&url, "").start();
        let missing = gateway.ask(get("/things/1", &token("olga")));
        assert_eq!(missing.verdict(), (502, "upstream_unreachable".into()));
        let backend = H2Backend::unix(&path, move |mut exchange: Exchange| {
            seen.lock().unwrap().push(exchange.head.uri.authority().unwrap().to_string());
            async move { exchange.say("hello") }
        });
        for _ in 0..3 {
            assert_eq!(gateway.ask(get("/things/1", &token("olga"))).text(), "hello");
        }
        assert_eq!(backend.connections(), 1);
        assert_eq!(*authority.lock().unwrap(), ["app.test"; 3]);
    }
    let plain = folder.path().join("plain.sock");
    let listener = std::os::unix::net::UnixListener::bind(&plain).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..3 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        }
    });
    let gateway = Setup { workers: 1, ..Setup::to(&[format!("unix:{}", plain.display())]) }.start();
    for _ in 0..3 {
        assert_eq!(gateway.ask(get("/things/1", &token("olga"))).text(), "hello", "over one connection");
    }
}
