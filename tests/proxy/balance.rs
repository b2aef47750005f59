//! Several servers behind one name: who gets what, and servers that come and go under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::backend::{Backend, reply, until};
use crate::gateway::{Gateway, Setup, routes, token};
use crate::wire::get;

/// Answers all but what is below `/things/held`, which waits for a word, or for the end of the sender.
fn holding() -> (Backend, Sender<()>) {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |seen, stream| {
        if seen.target().starts_with("/things/held") {
            let _ = held.lock().unwrap().recv();
        }
        reply(stream, "200 OK", b"hello")
    });
    (backend, release)
}

#[test]
fn servers_take_turns_whatever_thread_a_request_is_on() {
    let backends = [Backend::hello(), Backend::hello(), Backend::hello()];
    let urls = backends.each_ref().map(Backend::url);
    let gateway = Setup { workers: 2, ..Setup::to(&urls).upstream("balance: round_robin") }.start();
    let token = token("olga");
    let mut clients: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
    for turn in 0..30 {
        assert_eq!(clients[turn % 6].ask(get("/things/1", &token)).status, 200);
    }
    assert_eq!(backends.each_ref().map(Backend::heads), [10, 10, 10]);
}

#[test]
fn the_server_with_fewer_requests_gets_the_next_whatever_thread_it_is_on() {
    let (one, release_one) = holding();
    let (other, release_other) = holding();
    let gateway = Setup { workers: 2, ..Setup::to(&[one.url(), other.url()]) }.start();
    let token = token("olga");
    let mut held = Vec::new();
    for number in 1..=10 {
        let mut client = gateway.connect();
        client.send(get("/things/held", &token));
        until(|| one.heads() + other.heads() == number, "the request at a server");
        held.push(client);
    }
    assert_eq!((one.heads(), other.heads()), (5, 5));
    // One of them gets free; all that is asked one after the other goes there.
    drop(release_one);
    let running = |url: &str| {
        let metrics = gateway.admin("GET", "/metrics", "").text();
        let line = format!("portcullis_upstream_requests{{upstream=\"app\",server=\"{url}\"}} ");
        metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse::<usize>().ok()).unwrap()
    };
    until(|| running(&one.url()) == 0, "the end of the first ones");
    assert_eq!(running(&other.url()), 5);
    for _ in 0..20 {
        assert_eq!(gateway.ask(get("/things/1", &token)).status, 200);
    }
    assert_eq!((one.heads(), other.heads()), (25, 5));
    drop(release_other);
    held.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    until(|| running(&other.url()) == 0, "the end of the others");
}

/// Makes the gateway use these servers.
fn change(gateway: &Gateway, servers: &[String]) {
    let serial = gateway.serial();
    gateway.replace("routes.yaml", &routes(servers));
    until(|| gateway.serial() > serial, "the new route map");
}

#[test]
fn servers_come_and_go_under_load_and_no_request_fails() {
    let backends = [Backend::hello(), Backend::hello(), Backend::hello()];
    let urls = backends.each_ref().map(Backend::url);
    let gateway = Setup { workers: 2, ..Setup::to(&urls[..2]) }.start();
    let token = token("olga");
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !done.load(Ordering::Relaxed) {
                    let answer = client.ask(get("/things/1", &token));
                    assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let serve = |servers: &[usize]| {
            let named: Vec<_> = servers.iter().map(|server| urls[*server].clone()).collect();
            change(&gateway, &named);
            // Threads look at the route map at each request, so two rounds later nobody has the old one.
            let heads = || backends.each_ref().map(Backend::heads);
            let enough = asked.load(Ordering::Relaxed) + 40;
            until(|| asked.load(Ordering::Relaxed) > enough, "requests");
            let before = heads();
            let enough = asked.load(Ordering::Relaxed) + 40;
            until(|| asked.load(Ordering::Relaxed) > enough, "requests");
            let after = heads();
            for (server, (before, after)) in before.into_iter().zip(after).enumerate() {
                assert_eq!(after > before, servers.contains(&server), "server {server} of {servers:?}");
            }
        };
        for servers in [&[1][..], &[1, 2], &[2], &[0, 1, 2], &[0]] {
            serve(servers);
        }
        done.store(true, Ordering::Relaxed);
    });
    let heads: usize = backends.iter().map(Backend::heads).sum();
    assert_eq!(heads, asked.into_inner(), "each request reached one server, once");
}

#[test]
fn what_runs_at_a_server_that_is_removed_ends_there_and_its_connections_are_closed_soon() {
    let closed = Arc::new(AtomicUsize::new(0));
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let count = Arc::clone(&closed);
    let leaving = Backend::raw(move |number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = crate::backend::read_request(number, &mut stream, &mut buffer, record) {
            if seen.target() == "/things/held" {
                let _ = held.lock().unwrap().recv();
            }
            record.seen(seen);
            reply(&mut stream, "200 OK", b"leaving");
        }
        count.fetch_add(1, Ordering::SeqCst);
    });
    let staying = Backend::hello();
    // Idle connections would be kept for long.
    let gateway = Setup { workers: 1, ..Setup::before(&leaving) }.timeouts("upstream_idle: 1h").start();
    let token = token("olga");
    let mut running = gateway.connect();
    running.send(get("/things/held", &token));
    until(|| leaving.heads() == 1, "the request that runs");
    assert_eq!(gateway.ask(get("/things/1", &token)).text(), "leaving");
    assert_eq!(leaving.connections(), 2);
    change(&gateway, &[staying.url()]);
    assert_eq!(gateway.ask(get("/things/1", &token)).text(), "hello");
    until(|| closed.load(Ordering::SeqCst) == 1, "the end of the idle connection");
    // The other one serves its request to the end, and then no other.
    drop(release);
    assert_eq!(running.answer().text(), "leaving");
    until(|| closed.load(Ordering::SeqCst) == 2, "the end of the other connection");
    assert_eq!(leaving.heads(), 2);
    let metrics = gateway.admin("GET", "/metrics", "").text();
    assert!(!metrics.contains(&format!("portcullis_upstream_healthy{{upstream=\"app\",server=\"{}\"", leaving.url())));
}
