//! The process from its start to its end: ports, signals, the drain.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::backend::{Backend, SOON, Then, reply, say, until};
use crate::gateway::{Setup, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2};

/// A backend that answers when it is told to.
fn patient() -> (Backend, std::sync::mpsc::Sender<()>) {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        let _ = held.lock().unwrap().recv();
        say(stream, b"half")
    });
    (backend, release)
}

#[test]
fn a_drain_lets_running_answers_end_and_accepts_nothing_new() {
    let (backend, release) = patient();
    let setup = Setup::before(&backend);
    let mut gateway = Setup { timeouts: "drain: 10s".into(), ..setup }.spawn();
    let mut client = gateway.connect();
    let mut idle = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    let mut answer = client.head().unwrap();
    gateway.signal("TERM");
    gateway.logs("draining");
    until(|| TcpStream::connect(gateway.plain).is_err(), "no more connections are accepted");
    assert!(idle.is_ended(), "idle connections are closed");
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 503);
    assert_eq!(gateway.admin("GET", "/livez", "").status, 200);
    release.send(()).unwrap();
    client.body(&mut answer, &mut |_| ());
    assert_eq!((answer.text().as_str(), answer.whole), ("halfhalf", true));
    assert!(client.is_ended(), "and then this one is closed, too");
    assert_eq!(gateway.wait(SOON), 0);
}

#[test]
fn a_drain_lets_running_http2_streams_end() {
    let (backend, release) = patient();
    let mut gateway = Setup { timeouts: "drain: 10s".into(), ..Setup::before(&backend) }.spawn();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let answer =
            client.send_request(h2_request("GET", "/things/1", &token("olga"), Repeated::none())).await.unwrap();
        gateway.signal("TERM");
        gateway.logs("draining");
        release.send(()).unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert_eq!(body, "halfhalf");
    });
    assert_eq!(gateway.wait(SOON), 0);
}

#[test]
fn a_client_that_was_accepted_before_a_drain_may_still_ask() {
    let backend = Backend::hello();
    let request = get("/things/1", &token("olga"));
    // What was sent before the drain: nothing, or half a head.
    for sent in [0, request.len() / 2] {
        let answered = || {
            let mut gateway = Setup { timeouts: "drain: 10s".into(), ..Setup::before(&backend) }.spawn();
            let mut client = gateway.connect();
            client.send(&request[..sent]);
            until(|| gateway.metric("portcullis_connections") == 1, "it is accepted");
            gateway.signal("TERM");
            until(|| gateway.admin("GET", "/readyz", "").status == 503, "the drain has begun");
            std::thread::sleep(Duration::from_millis(20));
            let _closed_already = client.try_send(&request[sent..]);
            let status = client.answer_if_any().map(|answer| answer.status);
            assert_eq!(gateway.wait(SOON), 0);
            status == Some(200)
        };
        // The time for it is short, and a busy machine may take all of it.
        assert!((0..5).any(|_| answered()), "{sent}");
    }
}

#[test]
fn a_drain_has_a_deadline() {
    let (backend, _release) = patient();
    let mut gateway = Setup { timeouts: "drain: 500ms".into(), ..Setup::before(&backend) }.spawn();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    let mut answer = client.head().unwrap();
    let begun = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait(Duration::from_secs(8)), 0);
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    client.body(&mut answer, &mut |_| ());
    assert!(!answer.whole, "what was cut off does not look complete");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (backend, _release) = patient();
    let mut gateway = Setup { timeouts: "drain: 60s".into(), ..Setup::before(&backend) }.spawn();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    client.head().unwrap();
    gateway.signal("INT");
    gateway.logs("draining");
    gateway.signal("INT");
    assert_eq!(gateway.wait(Duration::from_secs(8)), 1);
}

#[test]
fn a_port_is_free_for_the_next_run_and_taken_for_a_second_one() {
    let backend = Backend::hello();
    let mut first = Setup::before(&backend).spawn();
    let address = first.plain;
    // A connection that the first run served and closed must not keep the port from the next.
    assert_eq!(first.ask(get("/things/1", &token("olga"))).status, 200);
    let text = std::fs::read_to_string(first.file("gateway.yaml")).unwrap();
    let text = text.replacen("127.0.0.1:0", &address.to_string(), 1);
    std::fs::write(first.file("gateway.yaml"), &text).unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["serve", "--config", "gateway.yaml"]).current_dir(first.file(""));
        command
    };
    let second = serve().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&address.to_string()) && said.contains("listeners[0].address"), "{said}");
    let mut again = serve();
    let _idle = first.connect();
    first.signal("TERM");
    assert_eq!(first.wait(SOON), 0);
    let mut again = again.stderr(std::process::Stdio::null()).spawn().unwrap();
    until(|| TcpStream::connect(address).is_ok(), "the next run on the same port");
    assert_eq!(Client::plain(address).ask(get("/things/1", &token("olga"))).status, 200);
    again.kill().unwrap();
    again.wait().unwrap();
}

#[test]
fn sighup_reads_the_files_again() {
    let backend = Backend::start(|_, stream| {
        reply(stream, "200 OK", b"hello");
        Then::Close
    });
    let gateway = Setup::before(&backend).spawn();
    assert_eq!(gateway.ask(get("/secrets/1", &token("olga"))).status, 403);
    let text = std::fs::read_to_string(gateway.file("routes.yaml")).unwrap();
    gateway.replace("routes.yaml", &text.replace("require: [secrets]", "require: [things]"));
    gateway.signal("HUP");
    until(|| gateway.serial() == 2, "the new map");
    assert_eq!(gateway.ask(get("/secrets/1", &token("olga"))).status, 200);
}
