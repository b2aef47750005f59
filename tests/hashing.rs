//! Nobody can choose keys that meet: the maps that strangers' words are looked up in are seeded anew in every process and
//! for every map. docs/testing.md has the table of these maps.

use std::collections::BTreeSet;
use std::env;
use std::hash::BuildHasher;
use std::process::Command;

use portcullis::policy::Map;

/// Marks the line of a child that its parent wants.
const MARK: &str = "hashes: ";

/// What a new map makes of a few keys.
fn hashes() -> String {
    let map: Map<&str, ()> = Map::default();
    format!("{:?}", ["", "a", "app.example.org", "territories"].map(|key| map.hasher().hash_one(key)))
}

#[test]
#[ignore = "the other test runs it"]
fn told() {
    println!("\n{MARK}{}", hashes());
}

#[test]
fn no_two_maps_and_no_two_processes_hash_alike() {
    let here: BTreeSet<String> = (0..8).map(|_| hashes()).collect();
    assert_eq!(here.len(), 8, "maps of one process");
    let elsewhere: BTreeSet<String> = (0..8)
        .map(|_| {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--ignored", "--exact", "told", "--nocapture"]);
            let told = String::from_utf8(child.output().unwrap().stdout).unwrap();
            told.lines().find_map(|line| line.strip_prefix(MARK)).expect("the child told its hashes").to_owned()
        })
        .collect();
    assert_eq!(elsewhere.len(), 8, "the first map of a process");
}
