//! The state that requests are judged by: filling a store of principals, reading files of them, putting a whole one in the
//! place of another, and changing what one principal holds while readers go on.
//!
//! Run with `cargo bench --bench snapshot`. `PORTCULLIS_BENCH_PRINCIPALS=10000000` adds a store of that many.

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;
#[path = "../tests/support/world.rs"]
#[allow(dead_code, reason = "benchmarks use a part of what tests share")]
mod world;

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use portcullis::diag::Report;
use portcullis::document;
use portcullis::model::Tenant;
use portcullis::policy::{Domain, DomainId};
use portcullis::reload::{self, PolicyFiles};
use portcullis::review::impact;
use portcullis::snapshot::{Live, Reader, Snapshot};
use world::World;

/// Principals of one file: one may have 1 GiB at most.
const EACH_FILE: usize = 2_500_000;

/// A world whose principals are to be many.
fn small() -> World {
    World::from_texts(
        &support::gateway(),
        &support::routes(1_000, "http://127.0.0.1:1"),
        &support::grants(support::ALIKE),
    )
}

fn domain(world: &World) -> (DomainId, &Domain) {
    world.snapshot.domains.find("d").unwrap()
}

/// What is live with this domain.
fn live(world: &World, id: DomainId, domain: Domain) -> Live {
    let domains = Arc::new(world.snapshot.domains.with(id, domain));
    Live::new(Snapshot { domains, ..(*world.snapshot).clone() })
}

fn build(criterion: &mut Criterion, principals: usize) {
    let world = small();
    let (_, domain) = domain(&world);
    let chunks = support::chunks(domain, principals);
    for threads in [1, 2] {
        criterion.bench_function(&format!("snapshot/build {principals}, threads: {threads}"), |bencher| {
            bencher.iter_with_large_drop(|| domain.with_people(black_box(&chunks), threads));
        });
    }
    let (bytes, names) = domain.with_people(&chunks, 2).0.people().heap_bytes();
    println!("snapshot/{principals} principals: {} bytes each beside names", (bytes - names) / principals);
}

/// Reads principals from a file, checks and resolves them, and fills a store: all that a reload does.
fn read(criterion: &mut Criterion, principals: usize) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("routes.yaml"), support::routes(1, "http://127.0.0.1:1")).unwrap();
    for (kind, people) in [
        ("tsv", support::people_tsv as fn(Range<usize>) -> String),
        ("jsonl", support::people_jsonl as fn(Range<usize>) -> String),
    ] {
        let parts = (0..principals).step_by(EACH_FILE).map(|first| first..principals.min(first + EACH_FILE));
        let names: Vec<String> = (0..parts.len()).map(|number| format!("p{number}.{kind}")).collect();
        parts.zip(&names).for_each(|(numbers, name)| fs::write(at(name), people(numbers)).unwrap());
        fs::write(at("grants.yaml"), support::grants_from(&names)).unwrap();
        let tenants = vec![Tenant::of_objects("t", support::TENANT.parse().unwrap())];
        let files = PolicyFiles {
            routes: vec![at("routes.yaml")],
            grants: vec![at("grants.yaml")],
            tenants,
            feeds: Vec::new(),
        };
        criterion.bench_function(&format!("snapshot/read {principals} from {kind}"), |bencher| {
            bencher.iter_with_large_drop(|| {
                let mut report = Report::new();
                let loaded = reload::load(&files, &mut report);
                let read = loaded.compiled.as_ref().map(|compiled| compiled.domains.counts().1);
                assert_eq!(read, Some(principals), "{report:?}");
                loaded
            });
        });
        names.iter().for_each(|name| fs::remove_file(at(name)).unwrap());
    }
}

/// Compares what is live with what may follow it, as the gate of a reload does: everybody's holdings, and what routes ask.
/// What there is to compare differs in nothing, in what a group holds, in who belongs to it, and in what all routes ask.
fn compare(criterion: &mut Criterion, principals: usize) {
    if principals > EACH_FILE {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let load = |routes: &str, grants: &str, people: &str| {
        let written = [("routes.yaml", routes), ("grants.yaml", grants), ("p.tsv", people)];
        written.into_iter().for_each(|(name, text)| fs::write(at(name), text).unwrap());
        let tenants = vec![Tenant::of_objects("t", support::TENANT.parse().unwrap())];
        let (routes, grants) = (vec![at("routes.yaml")], vec![at("grants.yaml")]);
        let mut report = Report::new();
        reload::load_policy(&PolicyFiles { routes, grants, tenants, feeds: Vec::new() }, &mut report).unwrap()
    };
    let (routes, grants) = (support::routes(100, "http://127.0.0.1:1"), support::grants_from(&["p.tsv".to_owned()]));
    let people = support::people_tsv(0..principals);
    let moved = people.replace("\tNoAdmin\t", "\t\t");
    let live = load(&routes, &grants, &people);
    for (name, routes, grants, people) in [
        ("nothing", routes.clone(), grants.clone(), &people),
        ("a group's grants", routes.clone(), grants.replace("admin:deny", "app:deny"), &people),
        ("everybody's groups", routes.clone(), grants.clone(), &moved),
        ("all routes", routes.replace("app.territory,", ""), grants, &people),
    ] {
        let next = load(&routes, &grants, people);
        criterion.bench_function(&format!("snapshot/compare {principals}, differing: {name}"), |bencher| {
            bencher.iter(|| impact((&live.routes, &live.domains), (&next.routes, &next.domains)));
        });
    }
}

fn swap(criterion: &mut Criterion, principals: usize) {
    let world = small();
    let (id, small) = domain(&world);
    let live = live(&world, id, support::peopled(small, principals));
    let (routes, domains) = (Arc::clone(&live.load().routes), Arc::clone(&live.load().domains));
    let mut reader = Reader::new(&live);
    criterion.bench_function(&format!("snapshot/swap, {principals} principals"), |bencher| {
        bencher.iter(|| {
            live.publish_policy(Arc::clone(&routes), Arc::clone(&domains), 1);
            black_box(reader.load().serial)
        });
    });
}

fn delta(criterion: &mut Criterion, principals: usize) {
    let world = small();
    let (id, small) = domain(&world);
    let live = live(&world, id, support::peopled(small, principals));
    let mut reader = Reader::new(&live);
    let mut number = 0;
    // Every change gives a principal what the next one has.
    let mut change = || {
        number = (number + 7_919) % principals;
        let (name, like) = (format!("p{number}"), support::key((number + 1) % principals));
        let published = live.publish_change(|domains| {
            let domain = domains.get(id)?;
            let like = domain.principal(like)?;
            let key = support::key(number);
            Some(domains.with(id, domain.with_numbers(key, like.profile(), like.own(), &name)?))
        });
        assert!(published);
        black_box(reader.load().serial)
    };
    criterion.bench_function(&format!("snapshot/delta, {principals} principals"), |bencher| bencher.iter(&mut change));
    let mut times: Vec<u128> = (0..2_000)
        .map(|_| {
            let start = Instant::now();
            change();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    println!("snapshot/delta, {principals} principals: p50 {} ns, p99 {} ns", times[1_000], times[1_980]);
}

/// The same from entries as they are written, whose names are looked up and whose grants are found among the known ones.
fn entry(criterion: &mut Criterion, principals: usize) {
    let world = small();
    let (id, small) = domain(&world);
    let live = live(&world, id, support::peopled(small, principals));
    let mut report = Report::new();
    let source = report.add_source("grants.yaml", support::grants(support::ALIKE));
    let mut entries = document::read_grants(source, &mut report).unwrap().principals;
    let grants: Vec<_> = entries.iter().map(|entry| entry.grants.clone()).collect();
    let mut turn = 0;
    criterion.bench_function(&format!("snapshot/delta from an entry, {principals} principals"), |bencher| {
        bencher.iter_batched(
            || {
                turn += 1;
                // Everybody in turn gets what somebody else has, each time somebody further away.
                let number = turn % entries.len();
                let other = (number + turn / entries.len() + 1) % grants.len();
                entries[number].grants.clone_from(&grants[other]);
                entries[number].clone()
            },
            |entry| {
                let mut report = Report::new();
                assert!(live.publish_change(|domains| {
                    Some(domains.with(id, domains.get(id)?.with_principal(&entry, &mut report)?))
                }));
            },
            BatchSize::SmallInput,
        );
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for principals in [100_000, 1_000_000].into_iter().chain(support::largest()) {
        build(&mut criterion, principals);
        read(&mut criterion, principals);
        compare(&mut criterion, principals);
        swap(&mut criterion, principals);
        delta(&mut criterion, principals);
        entry(&mut criterion, principals);
    }
    criterion.final_summary();
}
