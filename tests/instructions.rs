//! The hot path costs no more instructions than it did: valgrind counts those of a decision, a route match, a token that
//! was verified before and a whole authorization, and none may be more than a tenth from `benches/instructions.json`.
//! Unlike times, the counts are the same on a busy machine and on another one of the same kind.
//!
//! `PORTCULLIS_INSTRUCTIONS=record cargo test --test instructions` writes the file anew.

#[path = "../benches/support/mod.rs"]
#[allow(dead_code, reason = "benchmarks use a part each")]
mod bench;
mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request};
use portcullis::model::PrincipalKey;
use portcullis::pep::{RequestFacts, Verdict, authorize};
use portcullis::policy::{Claimed, decide};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::host::Host;
use portcullis::route::{Access, Application};
use portcullis::token::{LocalVerifier, Verify};
use serde::{Deserialize, Serialize};
use support::world::{ENVIRONMENT, NOW, World};

/// How far a count may be from the recorded one, in percent.
const TOLERANCE: u64 = 10;
/// Hashes are seeded anew in every process, which moves the counts a little: a count that is off is taken again so
/// many times, and the lowest one is believed.
const ATTEMPTS: usize = 3;
/// What is measured, in this order.
const CASES: [&str; 6] = [
    "decide, allowed",
    "decide, denied",
    "route",
    "verify, remembered by all threads",
    "verify, remembered by the thread",
    "authorize",
];
/// How often each runs; enough that seeds and the housekeeping of the memory of tokens even out.
const TURNS: usize = 4_000;
/// Principals and routes of the world.
const PRINCIPALS: usize = 1_000;
const ROUTES: usize = 1_000;
/// Set to `record`, it makes the test write what it would compare with.
const WRITE: &str = "PORTCULLIS_INSTRUCTIONS";
const COUNTED: &str = "instructions::run_while_counted";
const HOST: &str = "app.example.org";
/// What most tokens say of groups and roles.
const NO_CLAIMS: Claimed<'_> = Claimed { groups: Some(&[]), roles: &[] };

/// What was counted before, and where.
#[derive(Debug, Deserialize, Serialize)]
struct Recorded {
    architecture: String,
    toolchain: String,
    profile: String,
    instructions: BTreeMap<String, u64>,
}

/// Valgrind counts what runs in here, and nothing else; [`COUNTED`] is its name there.
#[inline(never)]
fn run_while_counted(case: &mut dyn FnMut(usize)) {
    (0..TURNS).for_each(case);
}

/// A path of a module that the principal of this number may read, or else may not.
fn path(number: usize, allowed: bool) -> String {
    let territory = (number + usize::from(!allowed)) % 100;
    format!("/module{}/territories/T{territory}/items/42", number * 7 % ROUTES)
}

fn head(target: &str, token: &str) -> Parts {
    let request = Request::get(target).header("host", HOST).header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap().into_parts().0
}

fn decisions(world: &World, application: &Application, allowed: bool) {
    let domain = world.snapshot.domains.get(application.domain).unwrap();
    let keys: Vec<PrincipalKey> = (0..PRINCIPALS)
        .map(|number| PrincipalKey { tenant: world.tenants[0].id, object: bench::object_id(number).parse().unwrap() })
        .collect();
    let paths: Vec<String> = (0..PRINCIPALS).map(|number| path(number, allowed)).collect();
    let paths: Vec<CanonicalPath<'_>> = paths.iter().map(|path| CanonicalPath::new(path).unwrap()).collect();
    let headers = HeaderMap::new();
    let asked: Vec<_> = paths
        .iter()
        .map(|path| {
            let route = application.route(path, &Method::GET).unwrap();
            let Access::Rules(rules) = &route.access else { panic!("`{}` asks nothing", route.id) };
            let facts = RequestFacts::new(path, "", &headers, rules, application.backend).unwrap();
            (rules, facts, route.level(&Method::GET))
        })
        .collect();
    run_while_counted(&mut |turn| {
        let number = turn * 7_919 % PRINCIPALS;
        let (rules, facts, level) = &asked[number];
        let principal = domain.principal(black_box(keys[number])).unwrap();
        let member = domain.member(principal, black_box(NO_CLAIMS));
        assert_eq!(black_box(decide(domain, rules, member, facts, *level)).is_ok(), allowed);
    });
}

#[test]
#[ignore = "the other test runs it under valgrind"]
fn subject() {
    let world =
        World::from_texts(&bench::gateway(), &bench::routes(ROUTES, "http://127.0.0.1:1"), &bench::grants(PRINCIPALS));
    let application = world.snapshot.routes.application(&Host::parse(HOST).unwrap()).unwrap();

    // In the order of the names of the cases.
    decisions(&world, application, true);
    decisions(&world, application, false);

    let paths: Vec<String> = (0..ROUTES).map(|number| path(number, true)).collect();
    run_while_counted(&mut |turn| {
        let path = CanonicalPath::new(black_box(&paths[turn * 7_919 % ROUTES])).unwrap();
        assert!(black_box(application.route(&path, &Method::GET)).is_some());
    });

    let tokens: Vec<String> = (0..10).map(|number| world.token(&format!("p{number}"), HOST, &[])).collect();
    let verify = |number: usize| world.verifier.verify(black_box(&tokens[number]), &world.snapshot.keys, NOW);
    assert!((0..tokens.len()).all(|number| verify(number).is_ok()));
    run_while_counted(&mut |turn| assert!(black_box(verify(turn % 10)).is_ok()));

    let local = LocalVerifier::new(Arc::clone(&world.verifier));
    let recall = |number: usize| local.recall(black_box(tokens[number].as_bytes()), &world.snapshot.keys, NOW);
    assert!((0..tokens.len()).all(|number| recall(number).is_some()));
    run_while_counted(&mut |turn| assert!(matches!(black_box(recall(turn % 10)), Some(Ok(_)))));

    let mut heads =
        (0..TURNS).map(|turn| head(&path(turn % 10, true), &tokens[turn % 10])).collect::<Vec<_>>().into_iter();
    run_while_counted(&mut |_| {
        let verdict = authorize(&world.snapshot, &local, heads.next().unwrap(), ENVIRONMENT);
        assert!(matches!(black_box(verdict), Verdict::Permitted(_)));
    });
}

/// Instructions of one turn of each case, or nothing if there is no valgrind.
fn count(folder: &Path) -> Option<BTreeMap<String, u64>> {
    let out = folder.join("counts");
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .args(["--toggle-collect", "--dump-after"].map(|option| format!("{option}={COUNTED}")))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "subject", "--test-threads=1"]);
    let done = match command.output() {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return None,
        done => done.unwrap(),
    };
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let total = |number: usize| -> u64 {
        let text = fs::read_to_string(format!("{}.{number}", out.display()));
        let text = text.unwrap_or_else(|fault| panic!("{fault}: is `{COUNTED}` still the name of what is counted?"));
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        line.unwrap_or_else(|| panic!("no sum in {text}")).trim().parse().unwrap()
    };
    let turns = u64::try_from(TURNS).unwrap();
    Some(CASES.iter().enumerate().map(|(number, case)| ((*case).to_owned(), total(number + 1) / turns)).collect())
}

/// What is wrong with counts, one line each; the recorded ones are the measure.
fn faults(recorded: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> Vec<String> {
    let mut faults = Vec::new();
    for (case, now) in counted {
        match recorded.get(case) {
            None => faults.push(format!("`{case}` takes {now} instructions and is not recorded")),
            Some(before) if now * 100 > before * (100 + TOLERANCE) => {
                faults.push(format!("`{case}` takes {now} instructions, more than {before} by over {TOLERANCE} %"));
            }
            Some(before) if now * 100 < before * (100 - TOLERANCE) => faults.push(format!(
                "`{case}` takes {now} instructions, less than {before} by over {TOLERANCE} %: well done; record that"
            )),
            Some(_) => {}
        }
    }
    let gone = recorded.keys().filter(|case| !counted.contains_key(*case));
    faults.extend(gone.map(|case| format!("`{case}` is recorded and not counted any more")));
    faults
}

fn toolchain() -> String {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(compiler).arg("--version").output().unwrap().stdout;
    String::from_utf8(said).unwrap().trim().to_owned()
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json")
}

#[test]
fn the_hot_path_takes_as_many_instructions_as_recorded() {
    // Cargo tells nobody the profile, but where it builds.
    let folder = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    if cfg!(debug_assertions) || !folder.ends_with("debug") {
        eprintln!("skipped: counts are those of the profile of tests (`cargo test` without another)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut counted) = count(folder.path()) else {
        assert!(env::var_os("CI").is_none(), "valgrind is not installed, and CI is set");
        eprintln!("skipped: valgrind is not installed");
        return;
    };
    let again = |counted: &mut BTreeMap<String, u64>| {
        for (case, number) in count(folder.path()).unwrap() {
            eprintln!("{case}: {number}");
            counted.entry(case).and_modify(|known| *known = number.min(*known));
        }
    };
    if env::var_os(WRITE).is_some_and(|value| value == "record") {
        (1..ATTEMPTS).for_each(|_| again(&mut counted));
        let recorded = Recorded {
            architecture: env::consts::ARCH.into(),
            toolchain: toolchain(),
            profile: "test".into(),
            instructions: counted,
        };
        fs::write(baseline(), serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
        return;
    }
    let recorded: Recorded = serde_json::from_str(&fs::read_to_string(baseline()).unwrap()).unwrap();
    if recorded.architecture != env::consts::ARCH {
        eprintln!("skipped: what is recorded was counted on {}", recorded.architecture);
        return;
    }
    for _ in 1..ATTEMPTS {
        if faults(&recorded.instructions, &counted).is_empty() {
            break;
        }
        again(&mut counted);
    }
    let faults = faults(&recorded.instructions, &counted);
    eprintln!("{counted:#?}");
    assert!(
        faults.is_empty(),
        "\n{}\nRecorded with {}, counted with {}. Find out why before anything else: `cargo bench`, or callgrind on the \
         subject of this test. If the new count is meant, `{WRITE}=record cargo test --test instructions` \
         writes benches/instructions.json anew; say why in the commit.",
        faults.join("\n"),
        recorded.toolchain,
        toolchain(),
    );
}

#[test]
fn a_count_is_held_to_the_recorded_one_both_ways() {
    let counts = |list: &[(&str, u64)]| -> BTreeMap<String, u64> {
        list.iter().map(|(case, number)| ((*case).to_owned(), *number)).collect()
    };
    let recorded = counts(&[("a", 1_000)]);
    for (counted, said) in [
        (counts(&[("a", 1_000)]), ""),
        (counts(&[("a", 1_100)]), ""),
        (counts(&[("a", 1_101)]), "more than 1000"),
        (counts(&[("a", 900)]), ""),
        (counts(&[("a", 899)]), "less than 1000"),
        (counts(&[("a", 1_000), ("b", 1)]), "`b` takes 1 instructions and is not recorded"),
        (counts(&[]), "`a` is recorded and not counted"),
    ] {
        let faults = faults(&recorded, &counted);
        assert_eq!(faults.len(), usize::from(!said.is_empty()), "{counted:?}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.contains(said)), "{faults:?}");
    }
}
