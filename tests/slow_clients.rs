//! Clients that are slow on purpose, against the real binary: `slowhttptest` holds connections in each of its ways while a
//! good client asks on; and floods that try to fill the memory.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backend::{Backend, Then, reply, say, until};
use gateway::{Process, Setup, token};
use wire::{Client, Repeated, block_on, get, h2_request, http2, request};

/// Connections that slow clients open.
const SLOW: usize = 400;
/// Places where those that idle are to give way.
const FEW: usize = 200;
/// What a good client may wait for one answer on a machine that does other things, too. Without protection it waits
/// until slow clients are cut off, which no default does within that time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway before a backend that has a large answer.
fn gateway(limits: &str) -> (Backend, Process) {
    let large = vec![b'x'; 256 * 1024];
    let backend = Backend::start(move |seen, stream| match seen.target() {
        "/health" => reply(stream, "200 OK", &large),
        _ => reply(stream, "200 OK", b"hello"),
    });
    let setup = Setup::before(&backend);
    // The tool names the host as it connects to it.
    let routes = setup.routes.replace("hosts: [app.test]", "hosts: [app.test, 127.0.0.1]");
    let gateway = Setup { routes, limits: limits.to_owned(), ..setup }.spawn();
    (backend, gateway)
}

/// Runs the tool for some seconds while a good client asks on connections of its own; false if it is not installed.
fn attacked(gateway: &Process, path: &str, options: &[&str], least: usize) -> bool {
    let mut command = Command::new("slowhttptest");
    let url = format!("http://{}{path}", gateway.plain);
    command.args(["-c", &SLOW.to_string(), "-r", "200", "-l", "6", "-i", "1", "-v", "0", "-u", &url]).args(options);
    let mut tool = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(tool) => tool,
        Err(fault) => {
            assert!(std::env::var_os("CI").is_none(), "slowhttptest is not installed, and CI is set: {fault}");
            eprintln!("skipped: slowhttptest is not installed");
            return false;
        }
    };
    let (olga, mut served, mut slowest) = (token("olga"), 0, Duration::ZERO);
    while tool.try_wait().unwrap().is_none() {
        let begun = Instant::now();
        assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
        slowest = slowest.max(begun.elapsed());
        assert!(slowest < PATIENCE, "{slowest:?} after {served} answers");
        served += 1;
        thread::sleep(Duration::from_millis(5));
    }
    eprintln!("{options:?}: {served} good requests served, the slowest in {slowest:?}");
    assert!(served >= least, "only {served} good requests");
    true
}

/// How many connections the gateway has accepted.
fn accepted(gateway: &Process) -> usize {
    let text = gateway.admin("GET", "/metrics", "").text();
    let line = text.lines().find_map(|line| line.strip_prefix("portcullis_connections_accepted_total "));
    line.unwrap().parse().unwrap()
}

#[test]
fn slow_heads_do_not_keep_good_clients_out() {
    let (_backend, gateway) = gateway(&format!("connections: {FEW}"));
    if attacked(&gateway, "/health", &["-H"], 50) {
        assert!(accepted(&gateway) > SLOW, "the attack was none");
    }
}

#[test]
fn slow_bodies_do_not_keep_good_clients_out() {
    let (_backend, gateway) = gateway("");
    if attacked(&gateway, "/health", &["-B", "-s", "8192"], 50) {
        assert!(accepted(&gateway) > SLOW, "the attack was none");
    }
}

#[test]
fn many_ranges_do_not_keep_good_clients_out() {
    let (_backend, gateway) = gateway("");
    // The tool asks once whether ranges have an effect, and ends early where they have none.
    attacked(&gateway, "/health", &["-R", "-t", "HEAD"], 1);
}

#[test]
fn slow_readers_do_not_keep_good_clients_out() {
    let (_backend, gateway) = gateway("");
    attacked(&gateway, "/health", &["-X", "-k", "2", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"], 50);
}

/// The resident memory of the process so far at most.
struct Memory<'a>(&'a Process, u64);

impl<'a> Memory<'a> {
    /// What it is before a flood.
    fn of(process: &'a Process) -> Self {
        Self(process, process.peak_memory())
    }

    /// What a flood has added to it, to be held against a bound.
    fn grew_less_than(self, bound: u64, what: &str) {
        let grown = self.0.peak_memory().saturating_sub(self.1);
        eprintln!("{what}: {} KiB more, the bound is {} KiB", grown / 1024, bound / 1024);
        assert!(grown < bound, "{what}: {grown} bytes, more than {bound}");
    }
}

/// What the process may need beside what the limits say: threads' arenas, tables, the log.
const SLACK: u64 = 16 * 1024 * 1024;

/// Opens connections for some seconds and keeps so many; each does something with its socket. How many were made.
fn flood(gateway: &Process, connections: usize, each: impl Fn(&mut TcpStream) + Sync) -> usize {
    let end = Instant::now() + Duration::from_secs(4);
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut kept = VecDeque::new();
                while Instant::now() < end {
                    let Ok(mut socket) = TcpStream::connect(gateway.plain) else { continue };
                    socket.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                    each(&mut socket);
                    // More would wait in the system's queue rather than in the gateway.
                    thread::sleep(Duration::from_millis(4));
                    kept.push_back(socket);
                    if kept.len() > connections / 2 {
                        kept.pop_front();
                    }
                }
            });
        }
    });
    made.into_inner()
}

/// Waits until a good client is served again: what the flood has left in the system's queue comes before it.
fn is_served(gateway: &Process, path: &str, token: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while gateway.connect().send(get(path, token)).answer_if_any().is_none_or(|answer| answer.status != 200) {
        assert!(Instant::now() < end, "nobody is served after the flood");
    }
}

#[test]
fn memory_comes_in_small_pages_only() {
    let (_backend, gateway) = gateway("");
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    // Otherwise what a connection takes is up to how the system is set.
    assert!(status.lines().any(|line| line.split_whitespace().eq(["THP_enabled:", "0"])), "{status}");
}

const CONNECTIONS: u64 = 200;
const HEAD: u64 = 64 * 1024;

#[test]
fn memory_is_bounded_under_floods_of_connections_and_heads() {
    let (_backend, gateway) = gateway(&format!("connections: {CONNECTIONS}, requests: 100, head_bytes: 64KiB"));
    let olga = token("olga");
    assert_eq!(gateway.ask(get("/things/1", &olga)).status, 200);
    let memory = Memory::of(&gateway);
    let made = flood(&gateway, 2000, |_| ());
    assert!(made > 2 * CONNECTIONS as usize, "only {made} connections");
    // What hyper has read may be a buffer more than is allowed.
    let each = 2 * HEAD;
    let head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'y'; HEAD as usize - 1000]].concat();
    let made = flood(&gateway, 2000, |socket| drop(socket.write_all(&head)));
    assert!(made > CONNECTIONS as usize, "only {made} big heads");
    memory.grew_less_than(CONNECTIONS * each + SLACK, "connections and big heads");
    is_served(&gateway, "/things/1", &olga);
}

#[test]
fn connections_that_rest_give_their_memory_back() {
    const RESTING: u64 = 400;
    // Each has a head read for it, and hyper keeps the room of that for the next one.
    const ROOM: u64 = 16 * 1024;
    let (_backend, gateway) = gateway("");
    let olga = token("olga");
    let long = request("GET", "/things/1", &olga, &format!("X-Long: {}\r\n", "x".repeat(ROOM as usize)), "");
    assert_eq!(gateway.connect().ask(&long).status, 200);
    let before = gateway.memory();
    let mut clients: Vec<Client> = (0..RESTING).map(|_| gateway.connect()).collect();
    let mut taken = 0;
    for client in &mut clients {
        assert_eq!(client.ask(&long).status, 200);
        taken = taken.max(gateway.memory().saturating_sub(before));
    }
    assert!(taken > RESTING * ROOM, "{taken} bytes for what is to be given back");
    let left = || gateway.memory().saturating_sub(before);
    until(|| left() < taken / 2, "the memory of connections that rest is given back");
    eprintln!("{} KiB of {} KiB are left", left() / 1024, taken / 1024);
    // They are kept.
    assert!(clients.iter_mut().all(|client| client.ask(&long).status == 200));
}

#[test]
fn memory_is_bounded_under_bodies_that_nobody_ends_and_answers_that_nobody_reads() {
    const REQUESTS: u64 = 100;
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/health" {
            return reply(stream, "200 OK", b"hello");
        }
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(stream, &[0; 64 * 1024]) == Then::Keep {}
        Then::Close
    });
    let limits = format!("connections: {CONNECTIONS}, requests: {REQUESTS}, streams: 100");
    let gateway = Setup { limits, ..Setup::before(&backend) }.spawn();
    let olga = token("olga");
    assert_eq!(gateway.ask(get("/health", "")).status, 200);
    let memory = Memory::of(&gateway);

    // Answers over HTTP/2: every stream is begun, none is read.
    let begun = block_on(async {
        let mut clients = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..4 {
            let client = http2(gateway.tls, &gateway.certificate()).await;
            for _ in 0..100 {
                let mut client = client.clone();
                let request = h2_request("GET", "/things/1", &olga, Repeated::none());
                answers.push(tokio::spawn(async move { client.send_request(request).await }));
            }
            clients.push(client);
        }
        let mut begun = Vec::new();
        for answer in answers {
            begun.extend(answer.await.unwrap());
        }
        let status = |wanted| begun.iter().filter(|answer| answer.status().as_u16() == wanted).count();
        let counts = (status(200), status(503));
        tokio::time::sleep(Duration::from_secs(2)).await;
        counts
    });
    assert_eq!(begun.0 + begun.1, 400, "{begun:?}");
    assert!(begun.0 >= REQUESTS as usize && begun.1 > 0, "{begun:?}");

    // Bodies that have no end, and answers over HTTP/1.1 that nobody reads.
    let upload = format!(
        "PUT /things/1 HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {olga}\r\nContent-Length: 999999999\r\n\r\n"
    );
    let block = vec![b'x'; 256 * 1024];
    let download = get("/things/1", &olga);
    let turn = AtomicBool::new(false);
    let made = flood(&gateway, 400, |socket| {
        if turn.fetch_xor(true, Ordering::Relaxed) {
            drop(socket.write_all(upload.as_bytes()).and_then(|()| socket.write_all(&block)));
        } else {
            drop(socket.write_all(download.as_bytes()));
        }
    });
    assert!(made > REQUESTS as usize, "only {made} requests");

    // Of each request in flight: what is read from one side and what waits for the other, at 64 KiB to 128 KiB each, twice
    // with HTTP/2 and TLS. Of each connection: its own buffers.
    let bound = REQUESTS * 4 * 128 * 1024 + CONNECTIONS * 2 * HEAD;
    memory.grew_less_than(bound + SLACK, "bodies and answers");
    is_served(&gateway, "/health", "");
}
