//! Connections are shared out evenly among workers, whoever of them is awake. Which worker has a connection is told by
//! the system: each waits for the events of its own sockets.

use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::backend::{Backend, reply, until};
use crate::gateway::{Process, Setup, token};
use crate::wire::{Client, get};

/// Sockets that a thread waits for beside those of its clients, and more than it can have: those where it listens, and
/// the like. Each worker has the same.
const OTHERS: usize = 8;

/// How many sockets each worker waits for. A thread has several descriptors for the same wait; each stands here.
fn shares(gateway: &Process) -> Vec<usize> {
    let files = fs::read_dir(format!("/proc/{}/fdinfo", gateway.id())).unwrap();
    // Descriptors come and go.
    let texts = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok());
    let sockets = texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).count());
    sockets.filter(|sockets| *sockets > OTHERS).collect()
}

fn open(gateway: &Process) -> usize {
    let text = gateway.admin("GET", "/metrics", "").text();
    let line = text.lines().find_map(|line| line.strip_prefix("portcullis_connections "));
    line.unwrap().parse().unwrap()
}

#[test]
fn connections_that_come_at_once_are_shared_out_evenly() {
    const CONNECTIONS: usize = 64;
    let backend = Backend::hello();
    let olga = token("olga");
    for workers in [2, 4] {
        let gateway = Setup { workers, ..Setup::before(&backend) }.spawn();
        let mut clients: Vec<Client> = Vec::new();
        // Those that are gone are made up for.
        for kept in [0, CONNECTIONS / 4, CONNECTIONS / 2] {
            clients.truncate(kept);
            until(|| open(&gateway) == kept, "the end of the others");
            clients.extend((kept..CONNECTIONS).map(|_| gateway.connect()));
            until(|| open(&gateway) == CONNECTIONS, "all of them");
            let shares = shares(&gateway);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(shares.len() >= workers && shares.len().is_multiple_of(workers), "{workers} workers: {shares:?}");
            assert!(most - least <= 2 && *least >= CONNECTIONS / workers - 1, "{workers} workers: {shares:?}");
        }
        // Whoever accepted it, each is served.
        assert!(clients.iter_mut().all(|client| client.ask(get("/things/1", &olga)).status == 200));
    }
}

#[test]
fn a_drain_loses_no_request_of_connections_that_were_handed_over() {
    const CONNECTIONS: usize = 64;
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        let _ = held.lock().unwrap().recv();
        reply(stream, "200 OK", b"hello")
    });
    let gateway = Setup { workers: 2, ..Setup::before(&backend) }.spawn();
    let olga = token("olga");
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(get("/things/1", &olga));
    }
    until(|| backend.heads() == CONNECTIONS, "all requests are at the backend");
    gateway.signal("TERM");
    until(|| TcpStream::connect(gateway.plain).is_err(), "the drain");
    drop(release);
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}
