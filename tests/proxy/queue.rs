//! How many requests an upstream gets at once, and what becomes of the others.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then, reply, say, until};
use crate::gateway::{Gateway, Setup, routes, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2};

/// Answers each request after a word.
fn holding() -> (Backend, Sender<()>) {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |seen, stream| {
        let _ = held.lock().unwrap().recv();
        reply(stream, "200 OK", seen.target().as_bytes())
    });
    (backend, release)
}

fn waiting(gateway: &Gateway) -> u64 {
    gateway.admin("GET", "/status", "").json()["upstreams"][0]["waiting"].as_u64().unwrap()
}

fn running(gateway: &Gateway) -> u64 {
    gateway.admin("GET", "/status", "").json()["upstreams"][0]["running"].as_u64().unwrap()
}

fn asking(gateway: &Gateway, target: &str) -> Client {
    let mut client = gateway.connect();
    client.send(get(target, &token("olga")));
    client
}

#[test]
fn so_many_run_so_many_wait_in_order_and_the_others_are_told_to_come_again() {
    let (backend, release) = holding();
    let limits = "limits: {requests: 2, queue: 3, queue_time: 1m}";
    let gateway = Setup { workers: 2, ..Setup::before(&backend) }.upstream(limits).start();
    let mut running: Vec<_> = (0..2).map(|_| asking(&gateway, "/things/running")).collect();
    until(|| backend.heads() == 2, "those that run");
    let mut queue = Vec::new();
    for number in 0..3 {
        queue.push(asking(&gateway, &format!("/things/{number}")));
        until(|| waiting(&gateway) == number + 1, "the one that waits");
    }
    let answer = gateway.ask(get("/things/late", &token("olga")));
    assert_eq!(answer.verdict(), (503, "upstream_overloaded".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // What the gateway answers itself is not the upstream's affair.
    assert_eq!(gateway.ask(get("/secrets/1", &token("olga"))).status, 403);
    assert_eq!(backend.heads(), 2);
    // Whoever ends lets in the first of the queue, whatever thread it is on.
    for (number, client) in queue.iter_mut().enumerate() {
        release.send(()).unwrap();
        until(|| backend.heads() == 3 + number, "the next one");
        let seen = backend.wait_for(3 + number);
        assert_eq!(seen[2 + number].target(), format!("/things/{number}"));
        let _ = client;
    }
    drop(release);
    for client in running.iter_mut().chain(&mut queue) {
        assert_eq!(client.answer().status, 200);
    }
    let metrics = gateway.admin("GET", "/metrics", "").text();
    assert!(metrics.contains("portcullis_upstream_overloaded_total{upstream=\"app\"} 1\n"), "{metrics}");
    assert!(metrics.contains("portcullis_upstream_requests_waiting{upstream=\"app\"} 0\n"), "{metrics}");
}

#[test]
fn nobody_waits_for_longer_than_the_queue_allows() {
    let (backend, _release) = holding();
    let gateway = Setup::before(&backend).upstream("limits: {requests: 1, queue_time: 300ms}").start();
    let _running = asking(&gateway, "/things/1");
    until(|| backend.heads() == 1, "the one that runs");
    let begun = Instant::now();
    assert_eq!(gateway.ask(get("/things/2", &token("olga"))).verdict(), (503, "upstream_overloaded".into()));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((backend.heads(), waiting(&gateway)), (1, 0));
}

#[test]
fn a_client_that_goes_away_leaves_the_queue() {
    let (backend, release) = holding();
    let gateway = Setup::before(&backend).upstream("limits: {requests: 1, queue: 2, queue_time: 1m}").start();
    let mut first = asking(&gateway, "/things/1");
    until(|| backend.heads() == 1, "the one that runs");
    let gone = asking(&gateway, "/things/gone");
    until(|| waiting(&gateway) == 1, "the one that will go");
    let mut last = asking(&gateway, "/things/last");
    until(|| waiting(&gateway) == 2, "the one that stays");
    gone.reset();
    until(|| waiting(&gateway) == 1, "one place in the queue");
    // The same on a stream that is reset.
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let request = h2_request("GET", "/things/gone", &token("olga"), Repeated::none());
        let answer = client.send_request(request);
        let waits = async {
            while waiting(&gateway) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = answer => panic!("it was answered"),
            () = waits => {}
        }
        // The connection lives; only the stream is given up.
        let begun = Instant::now();
        while waiting(&gateway) > 1 {
            assert!(begun.elapsed() < crate::backend::SOON, "a stream that was reset waits on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(release);
    assert_eq!((first.answer().status, last.answer().text().as_str()), (200, "/things/last"));
    assert!(backend.seen().iter().all(|seen| seen.target() != "/things/gone"));
    until(|| (running(&gateway), waiting(&gateway)) == (0, 0), "an empty upstream");
}

#[test]
fn a_place_is_held_until_the_body_of_the_answer_is_gone() {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/things/long" => {
            say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            std::thread::sleep(Duration::from_secs(30));
            Then::Close
        }
        _ => reply(stream, "200 OK", b"hello"),
    });
    let gateway = Setup::before(&backend).upstream("limits: {requests: 1, queue: 0}").start();
    let mut long = asking(&gateway, "/things/long");
    assert_eq!(long.head().unwrap().status, 200);
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).verdict(), (503, "upstream_overloaded".into()));
    long.reset();
    until(|| gateway.ask(get("/things/1", &token("olga"))).status == 200, "the place of the one that is gone");
    until(|| running(&gateway) == 0, "an empty upstream");
}

#[test]
fn a_reload_with_a_higher_limit_lets_in_those_who_wait() {
    let (backend, release) = holding();
    let setup = |requests: usize| format!("limits: {{requests: {requests}, queue: 9, queue_time: 1m}}");
    let gateway = Setup::before(&backend).upstream(&setup(1)).start();
    let mut clients: Vec<_> = (0..4).map(|number| asking(&gateway, &format!("/things/{number}"))).collect();
    until(|| waiting(&gateway) == 3, "those who wait");
    let map =
        |requests| Setup { routes: routes(&[backend.url()]), ..Setup::before(&backend) }.upstream(&setup(requests));
    gateway.replace("routes.yaml", &map(3).routes);
    until(|| backend.heads() == 3, "two more");
    assert_eq!((running(&gateway), waiting(&gateway)), (3, 1));
    // A lower one lets in nobody until enough are gone.
    let serial = gateway.serial();
    gateway.replace("routes.yaml", &map(1).routes);
    until(|| gateway.serial() > serial, "the lower limit");
    std::thread::sleep(Duration::from_millis(500));
    release.send(()).unwrap();
    until(|| running(&gateway) == 2, "one less");
    assert_eq!((backend.heads(), waiting(&gateway)), (3, 1));
    drop(release);
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    assert_eq!(backend.heads(), 4);
}
