//! A long run of everything at once against the real binary: good, bad and broken requests over HTTP/1.1 and HTTP/2,
//! reloads, backends that go away and come back. One minute; `PORTCULLIS_SOAK=SECONDS` makes it as long as wanted.
//!
//! What must hold: no request is done twice or lost without a word, what is refused reaches no backend, and memory,
//! descriptors and counts come back to where they were.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;

use backend::{Backend, Then, read_request, reply, until};
use gateway::{Process, Setup, token};
use wire::{Repeated, block_on, get, h2_request, http2, request};

/// How many clients speak HTTP/1.1, and how many HTTP/2.
const SINGLE: u64 = 6;
const MULTIPLEXED: u64 = 2;
/// What memory may grow by after the first third of the run, in bytes.
const GROWTH: u64 = 24 * 1024 * 1024;
/// The largest request body.
const LARGEST: u64 = 64 * 1024;

/// How often each request reached a backend, by its number.
type Done = Arc<Mutex<HashMap<u64, u32>>>;

/// What clients know of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Answered by a backend.
    Answered,
    /// Refused by the gateway, as it must be.
    Refused,
    /// Failed on its way while a backend was going away; the gateway said so.
    Failed,
    /// Given up by the client.
    GivenUp,
}

/// A backend that counts and echoes the number of each request, on one port through all its lives.
fn life(at: SocketAddr, done: &Done) -> Backend {
    let listener =
        (0..500).find_map(|_| TcpListener::bind(at).map_err(|_| thread::sleep(Duration::from_millis(10))).ok());
    let done = Arc::clone(done);
    Backend::at(listener.expect("the port is free again"), move |connection, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(connection, &mut stream, &mut buffer, record) {
            if !seen.whole {
                return;
            }
            let number = seen.target().rsplit('/').next().unwrap();
            *done.lock().unwrap().entry(number.parse().unwrap()).or_default() += 1;
            if reply(&mut stream, "200 OK", number.as_bytes()) != Then::Keep {
                return;
            }
        }
    })
}

/// Numbers that look random and are the same in each run: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

struct World<'w> {
    process: &'w Process,
    token: String,
    numbers: AtomicU64,
    outcomes: Mutex<HashMap<u64, (bool, Outcome)>>,
    over: AtomicBool,
}

impl World<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Does its part; if it breaks down, the run is over for all.
    fn until_over(&self, part: impl FnOnce()) {
        struct Over<'o>(&'o AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _over = Over(&self.over);
        part();
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes what came of a request; `safe` ones may be tried twice.
    fn note(&self, number: u64, safe: bool, outcome: Outcome) {
        assert_eq!(self.outcomes.lock().unwrap().insert(number, (safe, outcome)), None);
    }

    fn judge(&self, number: u64, safe: bool, status: u16, text: &str) {
        let outcome = match status {
            200 => {
                assert_eq!(text, number.to_string(), "an answer to another request");
                Outcome::Answered
            }
            502 | 503 => Outcome::Failed,
            other => panic!("request {number}: {other} {text}"),
        };
        self.note(number, safe, outcome);
    }

    /// One client of HTTP/1.1, request after request.
    fn single(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut client = self.process.connect();
        while self.goes_on() {
            let number = self.number();
            let thing = format!("/things/{number}");
            let body = "x".repeat(usize::try_from(dice.roll(LARGEST)).unwrap());
            let kind = dice.roll(12);
            let (asked, safe, expected) = match kind {
                0..3 => (get(&thing, &self.token), true, None),
                3 | 4 => (request("PUT", &thing, &self.token, "", &format!("-{body}")), false, None),
                5 => {
                    let head = request("POST", &thing, &self.token, "Transfer-Encoding: chunked\r\n", "");
                    (format!("{head}{:x}\r\n-{body}\r\n0\r\n\r\n", body.len() + 1), false, None)
                }
                6 => (get(&format!("/secrets/{number}"), &self.token), true, Some(403)),
                7 => (get(&thing, ""), true, Some(401)),
                8 => (get(&format!("/nowhere/{number}"), &self.token), true, Some(404)),
                9 => (get(&format!("/things/../things/{number}"), &self.token), true, Some(400)),
                10 => (request("DELETE", &format!("/secrets/{number}"), &self.token, "", "x"), false, Some(405)),
                _ => {
                    // Gone in the middle of its body.
                    let lines = "Content-Length: 100000\r\n";
                    let begun = client.try_send(request("PUT", &thing, &self.token, lines, "") + &body);
                    drop(begun);
                    std::mem::replace(&mut client, self.process.connect()).reset();
                    self.note(number, false, Outcome::GivenUp);
                    continue;
                }
            };
            // The gateway closes after some refusals, and it may have closed an idle connection.
            let answer = client.try_send(asked).ok().and_then(|()| client.answer_if_any());
            match (answer, expected) {
                (Some(answer), None) => {
                    self.judge(number, safe, answer.status, &answer.text());
                    if answer.header("connection").is_some_and(|value| value.contains("close")) {
                        client = self.process.connect();
                    }
                }
                (Some(answer), Some(status)) => {
                    assert_eq!(answer.status, status, "request {number}: {}", answer.text());
                    self.note(number, safe, Outcome::Refused);
                    if answer.header("connection").is_some_and(|value| value.contains("close")) {
                        client = self.process.connect();
                    }
                }
                // An answer that broke off with its backend.
                (None, _) => {
                    self.note(number, safe, Outcome::Failed);
                    client = self.process.connect();
                }
            }
        }
    }

    /// One client of HTTP/2: a handful of streams at once, again and again, now and then on a new connection.
    fn multiplexed(&self, seed: u64) {
        let mut dice = Dice(seed);
        let block = Bytes::from(vec![b'x'; 4096]);
        block_on(async {
            while self.goes_on() {
                let client = http2(self.process.tls, &self.process.certificate()).await;
                for _ in 0..=dice.roll(20) {
                    let mut streams = tokio::task::JoinSet::new();
                    for _ in 0..=dice.roll(8) {
                        let (number, kind, length) = (self.number(), dice.roll(4), dice.roll(LARGEST));
                        let (method, target, body) = match kind {
                            0 | 1 => ("GET", format!("/things/{number}"), Repeated::none()),
                            2 => ("PUT", format!("/things/{number}"), Repeated::new(&block, length)),
                            _ => ("GET", format!("/secrets/{number}"), Repeated::none()),
                        };
                        let asked = h2_request(method, &target, &self.token, body);
                        let mut client = client.clone();
                        streams.spawn(async move {
                            let Ok(answer) = client.send_request(asked).await else { return (number, kind, None) };
                            let status = answer.status().as_u16();
                            let body = answer.into_body().collect().await.ok().map(|body| body.to_bytes());
                            (number, kind, body.map(|body| (status, body)))
                        });
                    }
                    while let Some(ended) = streams.join_next().await {
                        let (number, kind, answer) = ended.unwrap();
                        match answer {
                            Some((403, _)) if kind == 3 => self.note(number, true, Outcome::Refused),
                            Some((status, body)) => {
                                self.judge(number, kind < 2, status, std::str::from_utf8(&body).unwrap());
                            }
                            None => self.note(number, kind < 2, Outcome::Failed),
                        }
                    }
                }
            }
        });
    }

    /// Publishes one map after the other, and a broken one now and then.
    fn reload(&self, routes: &str) -> u64 {
        let mut edits = 0;
        while self.goes_on() {
            edits += 1;
            let extra =
                format!("      - {{id: extra-{edits}, match: {{methods: [GET], path: /extra}}, gate_only: true}}\n");
            let text = if edits % 5 == 0 { "version: 1\nbroken".to_owned() } else { format!("{routes}{extra}") };
            self.process.replace("routes.yaml", &text);
            thread::sleep(Duration::from_millis(300));
        }
        self.process.replace("routes.yaml", routes);
        edits
    }
}

fn count(process: &Process, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{}/{folder}", process.id())).unwrap().count()
}

fn gauge(process: &Process, name: &str) -> u64 {
    let page = process.admin("GET", "/metrics", "").text();
    let line =
        page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}:\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn everything_at_once_for_a_long_time_loses_nothing_and_grows_nothing() {
    let seconds = std::env::var("PORTCULLIS_SOAK").map_or(60, |text| text.parse().expect("a number of seconds"));
    let length = Duration::from_secs(seconds);
    let done = Done::default();
    let addresses = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut backends = addresses.map(|address| life(address, &done));
    let mut setup = Setup::to(&backends.each_ref().map(Backend::url)).timeouts("upstream_idle: 1s, client_body: 5s");
    // Each edit opens a route.
    setup.more.push_str("reload: {gate: off}\n");
    let routes = setup.routes.clone();
    let process = setup.spawn();
    assert_eq!(process.ask(get("/health/", "")).status, 401);
    let (threads, descriptors) = (count(&process, "task"), count(&process, "fd"));
    let world = World {
        process: &process,
        token: token("olga"),
        numbers: AtomicU64::new(1),
        outcomes: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let began = Instant::now();
    let mut early = 0;
    thread::scope(|scope| {
        for seed in 0..SINGLE {
            let world = &world;
            scope.spawn(move || world.until_over(|| world.single(seed)));
        }
        for seed in 0..MULTIPLEXED {
            let world = &world;
            scope.spawn(move || world.until_over(|| world.multiplexed(1000 + seed)));
        }
        let reloading = scope.spawn(|| world.reload(&routes));
        let mut turn = 0;
        while world.goes_on() && began.elapsed() < length {
            thread::sleep(Duration::from_millis(1500));
            // One of the two is always there.
            let address = addresses[turn % 2];
            backends[turn % 2].hang_up();
            let ended = std::mem::replace(&mut backends[turn % 2], Backend::hello());
            drop(ended);
            thread::sleep(Duration::from_millis(300));
            backends[turn % 2] = life(address, &done);
            turn += 1;
            if early == 0 && began.elapsed() > length / 3 {
                early = process.memory();
            }
        }
        world.over.store(true, Ordering::SeqCst);
        assert!(reloading.join().unwrap() > 2);
    });
    let late = process.memory();

    // Nothing is lost and nothing is done twice.
    let outcomes = world.outcomes.into_inner().unwrap();
    let done = done.lock().unwrap();
    let mut counts = HashMap::new();
    for (number, (safe, outcome)) in &outcomes {
        let times = done.get(number).copied().unwrap_or_default();
        let most = if *safe { 2 } else { 1 };
        let right = match outcome {
            Outcome::Answered => (1..=most).contains(&times),
            Outcome::Refused => times == 0,
            Outcome::Failed | Outcome::GivenUp => times <= most,
        };
        assert!(right, "request {number} ({outcome:?}) was done {times} times");
        *counts.entry(format!("{outcome:?}")).or_insert(0_usize) += 1;
    }
    assert!(done.keys().all(|number| outcomes.contains_key(number)), "a backend was asked what nobody asked");
    let (answered, failed) = (counts["Answered"], counts.get("Failed").copied().unwrap_or_default());
    assert!(answered > outcomes.len() / 4 && failed * 50 < answered, "{counts:?}");

    // Nothing is left over.
    until(|| gauge(&process, "portcullis_requests_in_flight") == 0, "no request in flight");
    until(|| gauge(&process, "portcullis_connections") == 0, "no client connection");
    until(|| count(&process, "fd") <= descriptors, "no descriptor left over");
    // The reader of files may have started a blocking thread or two.
    assert!(count(&process, "task") <= threads + 4, "threads: {threads} before, {} after", count(&process, "task"));
    assert!(late <= early + GROWTH, "memory: {early} after a third of the run, {late} at its end");
    println!(
        "{} requests in {seconds} s: {counts:?}; {early} bytes resident after a third, {late} at the end",
        outcomes.len()
    );
}
