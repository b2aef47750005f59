//! Finding the route of a request: canonical path and table, among 10, 1,000 and 10,000 routes; of 64 paths that come
//! again and again, and of any.
//!
//! Run with `cargo bench --bench route`.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "benchmarks use a part of what tests share")]
mod world;

use std::hint::black_box;

use criterion::Criterion;
use http::Method;
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::host::Host;
use world::World;

/// How many paths are hot.
const HOT: usize = 64;

/// Numbers without an order that a processor could foresee, always the same ones.
fn scattered(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 32).unwrap_or_default()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for count in [10, 1_000, 10_000] {
        let world =
            World::from_texts(&support::gateway(), &support::routes(count, "http://127.0.0.1:1"), &support::grants(1));
        let application = world.snapshot.routes.application(&Host::parse("app.example.org").unwrap()).unwrap();
        let paths: Vec<String> = (0..count).map(|number| format!("/module{number}/territories/T1/items/42")).collect();
        for (kind, different) in [("hot", HOT.min(count)), ("any", count)] {
            let order: Vec<usize> =
                (0..1 << 16).map(|_| scattered(&mut state) % different * (count / different)).collect();
            let mut turns = order.iter().cycle();
            criterion.bench_function(&format!("route/canonical and match among {count}, {kind}"), |bencher| {
                bencher.iter(|| {
                    let path = turns.next().and_then(|number| paths.get(*number)).unwrap();
                    let path = CanonicalPath::new(path).unwrap();
                    assert!(black_box(application.route(&path, &Method::GET)).is_some());
                });
            });
        }
    }
    criterion.final_summary();
}
