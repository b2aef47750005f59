//! The decision alone: principal, scopes and requirement, with the token already verified; and the same through
//! `authorize`, with routing and the memory of verified tokens. Principals are picked at random, hot or over all.
//!
//! Run with `cargo bench --bench decide`. `PORTCULLIS_BENCH_PRINCIPALS=10000000` adds a store of that many.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "benchmarks use a part of what tests share")]
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use http::{Method, Request};
use portcullis::pep::{self, Verdict};
use portcullis::policy::{Domain, Facts, HeaderValue, decide};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::{Access, Application, Route, host::Host};
use portcullis::token::LocalVerifier;
use world::{ENVIRONMENT, World};

/// A request that brings path segments and nothing else.
struct PathFacts<'r>(&'r CanonicalPath<'r>);

impl Facts for PathFacts<'_> {
    fn segment(&self, index: usize) -> Option<&str> {
        self.0.segment(index)
    }
    fn rest(&self, index: usize) -> Option<&str> {
        self.0.rest(index)
    }
    fn query<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}
    fn form<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}
    fn header(&self, _: &str) -> HeaderValue<'_> {
        HeaderValue::Absent
    }
}

/// A small generator (xorshift), so that picking a principal costs next to nothing.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 16).unwrap()
}

/// The world of the benchmarks with so many principals, and what it takes to ask about them.
struct Asked {
    world: World,
    domain: Domain,
}

impl Asked {
    fn new(principals: usize) -> Self {
        let (gateway, routes) = (support::gateway(), support::routes(1_000, "http://127.0.0.1:1"));
        let world = World::from_texts(&gateway, &routes, &support::grants(support::ALIKE));
        let (_, domain) = world.snapshot.domains.find("d").unwrap();
        let domain = support::peopled(domain, principals);
        Self { world, domain }
    }

    fn application(&self) -> &Application {
        self.world.snapshot.routes.application(&Host::parse("app.example.org").unwrap()).unwrap()
    }

    /// Route match, principal, scopes and requirement of one request.
    fn decide(&self, application: &Application, number: usize, path: &CanonicalPath<'_>) {
        let route = application.route(path, &Method::GET).unwrap();
        self.decide_on(black_box(route), number, path);
    }

    /// The same without the route match.
    fn decide_on(&self, route: &Route, number: usize, path: &CanonicalPath<'_>) {
        let Access::Rules(rules) = &route.access else { panic!("the route has rules") };
        let principal = self.domain.principal(black_box(support::key(number))).unwrap();
        let decision = decide(&self.domain, rules, principal, &PathFacts(path), route.level(&Method::GET));
        assert!(black_box(decision).is_ok());
    }
}

/// How many decisions are timed together where single ones are too short for the clock.
const BATCH: usize = 64;

fn decisions(criterion: &mut Criterion, principals: usize) {
    let asked = Asked::new(principals);
    let application = asked.application();
    let paths: Vec<String> = (0..100).map(|territory| format!("/module7/territories/T{territory}/items/42")).collect();
    let paths: Vec<CanonicalPath<'_>> = paths.iter().map(|path| CanonicalPath::new(path).unwrap()).collect();
    let route = application.route(&paths[0], &Method::GET).unwrap();
    for (name, range) in [("hot", principals.min(2_000)), ("random", principals)] {
        // Hot ones lie anywhere in the store, as the busy ones of a day do.
        let spread = principals / range;
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut pick = move || next(&mut state) % range * spread;
        criterion.bench_function(&format!("decide/{principals} principals, {name}"), |bencher| {
            bencher.iter(|| {
                let number = pick();
                asked.decide(application, number, &paths[number % 100]);
            });
        });
        criterion.bench_function(&format!("decide/{principals} principals, {name}, route known"), |bencher| {
            bencher.iter(|| {
                let number = pick();
                asked.decide_on(route, number, &paths[number % 100]);
            });
        });
        let batches = (0..4_000).map(|_| {
            let numbers: [usize; BATCH] = std::array::from_fn(|_| pick());
            let start = Instant::now();
            numbers.iter().for_each(|number| asked.decide(application, *number, &paths[number % 100]));
            start.elapsed().as_nanos() / BATCH as u128
        });
        let mut batches: Vec<u128> = batches.collect();
        batches.sort_unstable();
        let at = |part: usize| batches[(batches.len() - 1) * part / 100];
        println!(
            "decide/{principals} principals, {name}: p50 {} ns, p90 {} ns, p99 {} ns in batches of {BATCH}",
            at(50),
            at(90),
            at(99)
        );
    }
}

fn whole_authorization(criterion: &mut Criterion) {
    let world =
        World::from_texts(&support::gateway(), &support::routes(1_000, "http://127.0.0.1:1"), &support::grants(1_000));
    let token = format!("Bearer {}", world.token("p7", "app.example.org", &[]));
    let local = LocalVerifier::new(Arc::clone(&world.verifier));
    let head = |target: &str| {
        let request = Request::get(target).header("host", "app.example.org").header("authorization", &token);
        request.body(()).unwrap().into_parts().0
    };
    for (name, target, allowed) in
        [("allow", "/module7/territories/T7/items/42", true), ("deny", "/module7/territories/T8/items/42", false)]
    {
        criterion.bench_function(&format!("authorize/{name}, token verified before"), |bencher| {
            bencher.iter_batched(
                || head(target),
                |head| {
                    let verdict = pep::authorize(&world.snapshot, &local, head, ENVIRONMENT);
                    assert_eq!(matches!(verdict, Verdict::Permitted(_)), allowed);
                    verdict
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for principals in [1_000, 100_000, 1_000_000].into_iter().chain(support::largest()) {
        decisions(&mut criterion, principals);
    }
    whole_authorization(&mut criterion);
    criterion.final_summary();
}
