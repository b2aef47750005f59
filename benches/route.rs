//! Finding the route of a request: canonical path and table, among 10, 1,000 and 10,000 routes.
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

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for count in [10, 1_000, 10_000] {
        let world =
            World::from_texts(&support::gateway(), &support::routes(count, "http://127.0.0.1:1"), &support::grants(1));
        let application = world.snapshot.routes.application(&Host::parse("app.example.org").unwrap()).unwrap();
        let paths: Vec<String> = (0..count).map(|number| format!("/module{number}/territories/T1/items/42")).collect();
        let mut turn = 0_usize;
        criterion.bench_function(&format!("route/canonical and match among {count}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 7_919) % count;
                let path = CanonicalPath::new(&paths[turn]).unwrap();
                assert!(black_box(application.route(&path, &Method::GET)).is_some());
            });
        });
    }
    criterion.final_summary();
}
