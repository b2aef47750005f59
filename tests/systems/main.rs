//! The example systems decide as their rules say: every entry of `tests:` in the route maps under examples/ is judged by
//! the real enforcement function with a real token, and once more by a running gateway in front of backends.

#[path = "../support/backend.rs"]
mod backend;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/wire.rs"]
mod wire;
#[path = "../support/world.rs"]
#[allow(dead_code, reason = "each test file uses a part")]
mod world;

mod domains;
mod http;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::document::routes::{AccessDocument, Term};
use world::World;

/// The folder with all examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The examples and the least number of cases in each.
const CASES: [(&str, usize); 6] =
    [("ips-oms", 45), ("iom", 36), ("imsma", 28), ("imos", 73), ("edge", 12), ("all", 182)];

#[test]
fn every_case_of_every_example_is_decided_as_expected() {
    for (example, least) in CASES {
        let world = World::load(&examples().join(example));
        let ids: HashSet<&str> = world.tests().map(|(_, test)| test.id.value.as_str()).collect();
        assert_eq!(ids.len(), world.tests().count(), "{example}: two cases have one id");
        assert!(ids.len() >= least, "{example}: {} cases", ids.len());
        let faults: Vec<String> = world.tests().filter_map(|(file, test)| world.run(file, test).err()).collect();
        assert!(faults.is_empty(), "{example}:\n{}", faults.join("\n"));
    }
}

#[test]
fn every_route_is_open_in_one_case_and_closed_in_another() {
    let world = World::load(&examples().join("all"));
    let (mut open, mut closed) = (HashSet::new(), HashSet::new());
    for (file, test) in world.tests() {
        let changed = world.with_settings(file, &test.settings).unwrap();
        let (route, decided) = changed.judge_on_route(world.request(test));
        if decided.is_ok() { open.extend(route) } else { closed.extend(route) }
    }
    let mut missing = Vec::new();
    for route in world.routes.iter().flat_map(|file| &file.applications).flat_map(|application| &application.routes) {
        let id = route.id.value.as_str();
        if !open.contains(id) {
            missing.push(format!("nobody may use {id}"));
        }
        // Without a requirement there is little to fail at.
        if matches!(&route.access, AccessDocument::Require(asked) if asked.value != Term::All(Vec::new()))
            && !closed.contains(id)
        {
            missing.push(format!("nobody is kept from {id}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_example_is_tested() {
    let folders = fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path());
    let found: HashSet<_> = folders
        .filter(|path| path.join("gateway.yaml").is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, CASES.map(|(example, _)| example.to_owned()).into());
}
