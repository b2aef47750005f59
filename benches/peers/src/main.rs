//! The same decisions through Portcullis, Cedar, regorus and casbin: first checked to be the same answers, then measured.
//! See README.md.

mod engines;
#[path = "../../../tests/support/world.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod policy_world;
mod world;

use std::hint::black_box;
use std::time::{Duration, Instant};

use engines::Engine;
use serde_json::json;
use world::{Case, World};

/// Questions in each world.
const CASES: usize = 20_000;
/// Principals about whom everything is asked first.
const FEW: usize = 10;
/// Each engine is measured so often, in turn with the others.
const ROUNDS: usize = 3;
/// How long a round of one engine takes at most, beyond the least number of questions.
const ROUND: Duration = Duration::from_secs(2);
/// The least number of questions of a round, however long they take.
const LEAST: usize = 10;
/// How long an engine is checked at most. All but the slowest get through all questions.
const CHECK: Duration = Duration::from_secs(60);

/// What was measured of one engine in one world; nanoseconds.
struct Row {
    name: &'static str,
    checked: usize,
    measured: Vec<u64>,
}

impl Row {
    fn percentile(&self, part: f64) -> u64 {
        let last = self.measured.len() - 1;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (last as f64 * part) as usize;
        self.measured[at]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = match arguments.as_slice() {
        [] => vec![1_000, 100_000],
        sizes => sizes.iter().map(|size| size.parse().expect("numbers of principals")).collect(),
    };
    matrix();
    let mut results = Vec::new();
    for principals in sizes {
        let world = World::new(principals);
        let cases = world.cases(CASES);
        let rows = compare(&world, &cases);
        let ours = rows[0].percentile(0.5).max(1);
        println!("\n{principals} principals");
        println!("| engine | questions checked | measured | p50 | p99 | p50 to ours |\n|---|---|---|---|---|---|");
        for row in &rows {
            let (p50, p99) = (row.percentile(0.5), row.percentile(0.99));
            #[allow(clippy::cast_precision_loss, reason = "a ratio")]
            let ratio = p50 as f64 / ours as f64;
            let (name, checked, measured) = (row.name, row.checked, row.measured.len());
            println!("| {name} | {checked} | {measured} | {} | {} | {ratio:.1} |", time(p50), time(p99));
            results.push(json!({
                "principals": principals, "engine": name, "checked": checked, "measured": measured,
                "p50_ns": p50, "p99_ns": p99, "p50_to_ours": ratio,
            }));
        }
    }
    std::fs::write("results.json", serde_json::to_string_pretty(&results).unwrap() + "\n").unwrap();
}

/// Asks every engine every question that there is about a few principals.
fn matrix() {
    let world = World::new(FEW);
    let cases = world.matrix();
    let expected: Vec<bool> = cases.iter().map(|case| world.expected(*case)).collect();
    let allowed = expected.iter().filter(|allowed| **allowed).count();
    assert!((1..cases.len()).contains(&allowed), "{allowed} of {} are allowed", cases.len());
    for mut engine in engines(&world, &cases) {
        for (number, case) in cases.iter().enumerate() {
            assert_eq!(engine.allows(number), expected[number], "{}: {case:?}", engine.name());
        }
    }
    println!("All engines answer all {} questions about {FEW} principals alike; {allowed} are allowed.", cases.len());
}

/// Prepares all engines, holds their answers to the expected ones, and measures them.
fn compare(world: &World, cases: &[Case]) -> Vec<Row> {
    let expected: Vec<bool> = cases.iter().map(|case| world.expected(*case)).collect();
    let allowed = expected.iter().filter(|allowed| **allowed).count();
    assert!((CASES / 5..CASES * 4 / 5).contains(&allowed), "{allowed} of {CASES} are allowed");
    eprintln!("{allowed} of {CASES} questions are to be allowed");
    let mut engines = engines(world, cases);
    let check = |engine: &mut Box<dyn Engine>| {
        let began = Instant::now();
        let due = |number: &usize| *number < LEAST || began.elapsed() < CHECK;
        let checked = (0..cases.len()).take_while(due).map(|number| {
            assert_eq!(engine.allows(number), expected[number], "{}: {:?}", engine.name(), cases[number]);
        });
        Row { checked: checked.count(), name: engine.name(), measured: Vec::new() }
    };
    let mut rows: Vec<Row> = engines.iter_mut().map(check).collect();
    let clock = clock();
    for round in 0..ROUNDS {
        for (engine, row) in engines.iter_mut().zip(&mut rows) {
            measure(engine.as_mut(), round, clock, &mut row.measured);
        }
    }
    rows.iter_mut().for_each(|row| row.measured.sort_unstable());
    rows
}

/// All engines with the same world and the same questions, ours first.
fn engines(world: &World, cases: &[Case]) -> Vec<Box<dyn Engine>> {
    let (decision, from_path) = prepared("Portcullis", || engines::portcullis::both(world, cases));
    let (cedar, sliced) = prepared("Cedar", || engines::cedar::both(world, cases));
    let (bytecode, interpreter) = prepared("regorus", || engines::rego::both(world, cases));
    let casbin = prepared("casbin", || engines::casbin::Casbin::new(world, cases));
    vec![
        Box::new(decision),
        Box::new(from_path),
        Box::new(cedar),
        Box::new(sliced),
        Box::new(bytecode),
        Box::new(interpreter),
        Box::new(casbin),
    ]
}

fn prepared<T>(name: &str, prepare: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let prepared = prepare();
    eprintln!("{name}: prepared in {:.1} s", began.elapsed().as_secs_f64());
    prepared
}

/// What reading the clock twice takes.
fn clock() -> Duration {
    let mut times: Vec<Duration> = (0..10_001).map(|_| Instant::now().elapsed()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Asks one question after the other, each timed alone, less what the clock takes.
fn measure(engine: &mut dyn Engine, round: usize, clock: Duration, into: &mut Vec<u64>) {
    let began = Instant::now();
    for turn in 0..CASES {
        if turn >= LEAST && began.elapsed() > ROUND {
            break;
        }
        // Each round begins somewhere else, so that a slow engine is not measured by the same few questions.
        let case = (turn + round * (CASES / ROUNDS)) % CASES;
        let asked = Instant::now();
        black_box(engine.allows(black_box(case)));
        into.push(u64::try_from(asked.elapsed().saturating_sub(clock).as_nanos()).unwrap_or(u64::MAX));
    }
}

fn time(nanoseconds: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for reading")]
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} us", value / 1e3),
        _ => format!("{:.1} ms", value / 1e6),
    }
}
