//! Verification of a token: cold (RS256, parsed and checked in full), and found in the memory of verified tokens.
//!
//! Run with `cargo bench --bench verify`.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "benchmarks use a part of what tests share")]
mod world;

use std::hint::black_box;

use criterion::Criterion;
use portcullis::token::{Algorithms, Issuers, Rules, Verifier};
use world::{NOW, World};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let world = World::from_texts(&support::gateway(), &support::routes(1, "http://127.0.0.1:1"), &support::grants(1));
    let token = world.token("p0", "app.example.org", &[]);
    let keys = &world.snapshot.keys;
    criterion.bench_function("verify/remembered", |bencher| {
        bencher.iter(|| assert!(black_box(world.verifier.verify(&token, keys, NOW)).is_ok()));
    });
    let rules =
        Rules { leeway: 60, max_lifetime: 100_800, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };
    let issuers = world.verifier.issuers().iter().map(|(_, issuer)| issuer.clone()).collect();
    // A memory without room forgets at once, so every verification is a cold one.
    let forgetful = Verifier::new(Issuers::new(issuers), rules, 0);
    criterion.bench_function("verify/cold RS256", |bencher| {
        bencher.iter(|| assert!(black_box(forgetful.verify(&token, keys, NOW)).is_ok()));
    });
    criterion.final_summary();
}
