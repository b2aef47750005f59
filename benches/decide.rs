//! The decision alone: principal, scopes and requirement, with the token already verified; and the same through
//! `authorize`, with routing and the memory of verified tokens. Principals are picked at random, hot or over all.
//!
//! Run with `cargo bench --bench decide`.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "benchmarks use a part of what tests share")]
mod world;

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use http::{Method, Request};
use portcullis::model::PrincipalKey;
use portcullis::pep::{self, Verdict};
use portcullis::policy::{Facts, HeaderValue, decide};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::{Access, host::Host};
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

fn decisions(criterion: &mut Criterion, principals: usize) {
    let world = World::from_texts(
        &support::gateway(),
        &support::routes(1_000, "http://127.0.0.1:1"),
        &support::grants(principals),
    );
    let application = world.snapshot.routes.application(&Host::parse("app.example.org").unwrap()).unwrap();
    let domain = world.snapshot.domains.get(application.domain).unwrap();
    let tenant = support::TENANT.parse().unwrap();
    let keys: Vec<PrincipalKey> = (0..principals)
        .map(|number| PrincipalKey { tenant, object: support::object_id(number).parse().unwrap() })
        .collect();
    let paths: Vec<String> = (0..100).map(|territory| format!("/module7/territories/T{territory}/items/42")).collect();
    let paths: Vec<CanonicalPath<'_>> = paths.iter().map(|path| CanonicalPath::new(path).unwrap()).collect();
    for (name, range) in [("hot", principals.min(2_000)), ("random", principals)] {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        criterion.bench_function(&format!("decide/{principals} principals, {name}"), |bencher| {
            bencher.iter(|| {
                let number = next(&mut state) % range;
                let path = &paths[number % 100];
                let route = application.route(path, &Method::GET).unwrap();
                let Access::Rules(rules) = &route.access else { panic!("the route has rules") };
                let principal = domain.principal(keys[number]).unwrap();
                let decision = decide(domain, rules, principal, &PathFacts(path), route.level(&Method::GET));
                assert!(black_box(decision).is_ok());
            });
        });
    }
}

fn whole_authorization(criterion: &mut Criterion) {
    let world =
        World::from_texts(&support::gateway(), &support::routes(1_000, "http://127.0.0.1:1"), &support::grants(1_000));
    let token = format!("Bearer {}", world.token("p7", "app.example.org", &[]));
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
                    let verdict = pep::authorize(&world.snapshot, &world.verifier, head, ENVIRONMENT);
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
    decisions(&mut criterion, 1_000);
    decisions(&mut criterion, 100_000);
    whole_authorization(&mut criterion);
    criterion.final_summary();
}
