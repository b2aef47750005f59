//! Many at once: exact counts, and no answer that belongs to another request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use http_body_util::BodyExt;

use crate::backend::{Backend, SOON, reply};
use crate::gateway::{Setup, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2};

/// Streams on each HTTP/2 connection, and how many connections.
const STREAMS: usize = 100;
const CONNECTIONS: usize = 8;
/// Clients that speak HTTP/1.1.
const SINGLE: usize = 200;
/// Of all these, every second one on HTTP/2 and every fourth one on HTTP/1.1 is allowed.
const ALLOWED: usize = STREAMS * CONNECTIONS / 2 + SINGLE / 4;

/// Who asks for what, by number, and what must come of it.
fn order(number: usize, every: usize) -> (String, &'static str, u16) {
    match number % every {
        0 => (format!("/things/{number}"), "olga", 200),
        1 => (format!("/secrets/{number}"), "olga", 403),
        2 => (format!("/things/{number}"), "", 401),
        _ => (format!("/things/{number}/.."), "olga", 400),
    }
}

#[test]
fn a_thousand_streams_at_once_are_told_apart() {
    // Answers only when all that are allowed are there at once.
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    let backend = Backend::start(move |seen, stream| {
        let (count, all) = &*gate;
        let mut count = count.lock().unwrap();
        *count += 1;
        all.notify_all();
        let (held, waited) = all.wait_timeout_while(count, SOON, |count| *count < ALLOWED).unwrap();
        assert!(!waited.timed_out(), "only {} of {ALLOWED} arrived together", *held);
        drop(held);
        reply(stream, "200 OK", seen.target().as_bytes())
    });
    let gateway = Setup::before(&backend).spawn();
    let trust = gateway.trust();
    let tokens = |who: &str| if who.is_empty() { String::new() } else { token(who) };
    let olga = tokens("olga");
    let allowed = AtomicUsize::new(0);
    let check = |target: &str, status: u16, expected: u16, text: &str| {
        assert_eq!(status, expected, "{target}: {text}");
        if status == 200 {
            assert_eq!(text, target, "an answer to another request");
            allowed.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let work: Vec<_> = (0..2)
            .map(|half| {
                let (gateway, olga, check) = (&gateway, &olga, &check);
                scope.spawn(move || {
                    block_on(async {
                        let mut tasks = tokio::task::JoinSet::new();
                        for connection in (0..CONNECTIONS).filter(|number| number % 2 == half) {
                            let client = http2(gateway.tls, &gateway.certificate()).await;
                            for stream in 0..STREAMS {
                                let (target, who, status) = order(connection * STREAMS + stream, 2);
                                let token = if who.is_empty() { "" } else { olga };
                                let request = h2_request("GET", &target, token, Repeated::none());
                                let mut client = client.clone();
                                tasks.spawn(async move {
                                    let answer = client.send_request(request).await.unwrap();
                                    let got = answer.status().as_u16();
                                    let body = answer.into_body().collect().await.unwrap().to_bytes();
                                    (target, got, status, String::from_utf8(body.to_vec()).unwrap())
                                });
                            }
                        }
                        while let Some(done) = tasks.join_next().await {
                            let (target, got, status, text) = done.unwrap();
                            check(&target, got, status, &text);
                        }
                    });
                })
            })
            .collect();
        let mut clients: Vec<_> = (0..SINGLE)
            .map(|number| {
                let (target, who, status) = order(number, 4);
                let mut client = Client::tls(gateway.tls, &trust).unwrap().0;
                client.send(get(&target, if who.is_empty() { "" } else { &olga }));
                (client, target, status)
            })
            .collect();
        for (client, target, status) in &mut clients {
            let answer = client.answer();
            check(target, answer.status, *status, &answer.text());
        }
        work.into_iter().for_each(|half| half.join().unwrap());
    });
    assert_eq!(allowed.into_inner(), ALLOWED);
    assert_eq!((backend.heads(), backend.seen().len()), (ALLOWED, ALLOWED), "exactly what was allowed");
    assert_eq!(backend.connections(), ALLOWED, "all of it at once");
}

#[test]
fn refusals_under_load_never_touch_the_backend() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let olga = token("olga");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for number in 0..500 {
                    let (target, who, status) = order(4 * number + 1 + number % 3, 4);
                    let answer = client.ask(get(&target, if who.is_empty() { "" } else { &olga }));
                    assert_eq!(answer.status, status, "{target}");
                }
            });
        }
    });
    assert_eq!(backend.connections(), 0);
}

#[test]
fn nothing_is_left_behind_when_all_are_gone() {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/things/dies" => crate::backend::Then::Reset,
        "/things/half" => {
            crate::backend::say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            crate::backend::Then::Close
        }
        _ => reply(stream, "200 OK", b"hello"),
    });
    let gateway = Setup::before(&backend).timeouts("upstream_idle: 200ms").spawn();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    let olga = token("olga");
    // The threads that watch files open theirs a little after the listeners.
    assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let before = open();
    for number in 0..200 {
        let mut client = gateway.connect();
        match number % 5 {
            0 => drop(client.ask(get("/things/1", &olga))),
            1 => drop(client.ask(get("/things/dies", &olga))),
            2 => drop(client.ask(get("/things/half", &olga))),
            3 => drop(client.send(get("/things/1", &olga))),
            _ => drop(
                client.send(crate::wire::request("PUT", "/things/1", &olga, "Content-Length: 9\r\n", "")).send("half"),
            ),
        }
    }
    crate::backend::until(|| open() <= before, "all connections are closed");
    for wanted in ["portcullis_connections 0\n", "portcullis_requests_in_flight 0\n"] {
        crate::backend::until(|| gateway.admin("GET", "/metrics", "").text().contains(wanted), wanted);
    }
}
