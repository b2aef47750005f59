//! What good clients notice of a flood of forged tokens: the times of their requests without it and during it, by turns,
//! on one worker thread. The tokens are well-formed, name a key that there is, and are all different.
//!
//! Run with `cargo bench --bench flood`; the first argument that is a number is how many connections the flood has, the
//! second how many rounds there are. What counts is the ratio, and that only on a machine with a core to spare for the
//! clients: they run in the same process.

#[path = "../tests/support/backend.rs"]
mod backend;
#[path = "../tests/support/gateway.rs"]
mod gateway;
#[path = "../tests/support/wire.rs"]
mod wire;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backend::Backend;
use gateway::{Setup, token};
use wire::{Client, get};

/// How long each part of a round takes.
const PART: Duration = Duration::from_secs(2);
/// Good clients, and how long each waits between two requests.
const GOOD: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (connections, rounds) = (numbers.next().unwrap_or(64), numbers.next().unwrap_or(5));
    let backend = Backend::hello();
    let olga = token("olga");
    for (what, limits) in [("every token verified", "failed_tokens_per_client: 0"), ("the default limit", "")] {
        let setup = Setup { workers: 1, limits: limits.into(), ..Setup::before(&backend) };
        let gateway = setup.start();
        let asked = get("/things/1", &olga);
        assert_eq!(gateway.ask(&asked).status, 200);
        assert_eq!(gateway.ask(get("/things/1", &forged(&olga, 0))).status, 401);
        let mut flood: Vec<Client> = (0..connections).map(|_| gateway.connect()).collect();
        let (mut ratios, mut answered) = (Vec::new(), 0);
        for _ in 0..rounds {
            let quiet = good(|| gateway.connect(), &asked);
            let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
            let flooded = thread::scope(|scope| {
                scope.spawn(|| pour(&mut flood, &olga, &over, &sent));
                let flooded = good(|| gateway.connect(), &asked);
                over.store(true, Ordering::Relaxed);
                flooded
            });
            answered += sent.into_inner();
            println!(
                "{what}: quiet p50 {:?} p99 {:?}; flooded p50 {:?} p99 {:?}",
                quiet[0], quiet[1], flooded[0], flooded[1]
            );
            ratios.push(flooded[1].as_secs_f64() / quiet[1].as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        let each_second = answered as f64 / (PART * rounds as u32).as_secs_f64();
        println!(
            "{what}: p99 grows by {:.2} (median of {rounds} rounds), while {connections} connections are told no \
             {each_second:.0} times a second",
            ratios[ratios.len() / 2]
        );
    }
}

/// The median and the 99th percentile of what good clients wait for.
fn good(connect: impl Fn() -> Client + Sync, asked: &str) -> [Duration; 2] {
    let one = || {
        let (mut client, end, mut times) = (connect(), Instant::now() + PART, Vec::new());
        while Instant::now() < end {
            let began = Instant::now();
            assert_eq!(client.ask(asked).status, 200);
            times.push(began.elapsed());
            thread::sleep(PAUSE);
        }
        times
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..GOOD).map(|_| scope.spawn(one)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// Keeps a forged request running on each connection until it is over.
fn pour(flood: &mut [Client], good: &str, over: &AtomicBool, sent: &AtomicUsize) {
    let next = || get("/things/1", &forged(good, sent.fetch_add(1, Ordering::Relaxed)));
    flood.iter_mut().for_each(|client| {
        client.send(next());
    });
    while !over.load(Ordering::Relaxed) {
        for client in flood.iter_mut() {
            assert!(matches!(client.answer().status, 401 | 429));
            client.send(next());
        }
    }
    flood.iter_mut().for_each(|client| {
        client.answer();
    });
}

/// A forged token of its own for each number.
fn forged(good: &str, number: usize) -> String {
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let own = format!("{number:0>12}");
    format!("{signed}.{}{own}{}", &signature[..20], &signature[20 + own.len()..])
}
