//! The functions of the fuzz targets (`fuzz/`), run on their seeds, on JSONTestSuite and on random changes of both.
//!
//! `PORTCULLIS_FUZZ=SECONDS cargo test --test fuzz_corpus -- --nocapture random` runs the changes for longer
//! than usual, from another seed each time.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a target does with an input; it panics where something is wrong.
type Target = fn(&[u8]);

/// Name and function of each target.
const TARGETS: [(&str, Target); 8] = [
    ("header", targets::header),
    ("payload", targets::payload),
    ("jwks", targets::jwks),
    ("authorization", targets::authorization),
    ("proxy_protocol", targets::proxy_protocol),
    ("path", targets::path),
    ("host", targets::host),
    ("headers", targets::headers),
];
/// How many of them read JSON; these stand first.
const OF_JSON: usize = 3;
/// Inputs of the ordinary run for each target.
const INPUTS: u64 = 20_000;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    files(&root(&format!("fuzz/corpus/{target}")))
}

#[test]
fn each_target_stands_its_seeds() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= 15, "{name} has only {} seeds", seeds.len());
        assert!(seeds.iter().all(|seed| seed.len() < 4096), "seeds are small");
        seeds.iter().for_each(|seed| target(seed));
    }
}

#[test]
fn each_target_of_json_stands_jsontestsuite() {
    for folder in ["test_parsing", "test_transform"] {
        for text in files(&root("tests/vectors/jsontestsuite").join(folder)) {
            for (_, target) in &TARGETS[..OF_JSON] {
                target(&text);
            }
        }
    }
}

#[test]
fn the_manifest_has_each_target_and_each_target_calls_its_function() {
    let manifest = fs::read_to_string(root("fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        let source = fs::read_to_string(root(&format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("targets::{name}(data)")), "{name}");
    }
}

/// Small numbers that look random, the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }

    /// A seed with a few changes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        const LETTERS: &[u8] =
            b"{}[]\",:\\/u0123456789abcdefABCDEF+-.eE truefalsn\x00\x1f\x7f\x80\xc3\xed\xff\n\t=_%;~#?@()";
        let mut text = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let (place, length) = (self.below(text.len() + 1), self.below(12));
            let end = text.len().min(place + length);
            let other = &seeds[self.below(seeds.len())];
            let (from, until) = (self.below(other.len() + 1), self.below(other.len() + 1));
            match self.below(8) {
                0 if place < text.len() => text[place] ^= 1 << self.below(8),
                1 if place < text.len() => text[place] = LETTERS[self.below(LETTERS.len())],
                2 => text.insert(place, LETTERS[self.below(LETTERS.len())]),
                3 => drop(text.drain(place..end)),
                4 => drop(text.splice(place..end, other[from.min(until)..from.max(until)].to_vec())),
                5 => drop(text.splice(place..place, text[place..end].to_vec().repeat(1 + self.below(20)))),
                6 => text.truncate(place),
                _ => text.extend(&other[from..]),
            }
            text.truncate(8192);
        }
        text
    }
}

#[test]
fn each_target_stands_random_changes_of_its_seeds() {
    let seconds = env::var("PORTCULLIS_FUZZ").ok().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    for (number, (name, target)) in TARGETS.into_iter().enumerate() {
        let mut seeds = seeds(name);
        if number < OF_JSON {
            seeds.extend(
                files(&root("tests/vectors/jsontestsuite/test_parsing")).into_iter().filter(|text| text.len() < 1024),
            );
        }
        let seed = if seconds.is_some() { RandomState::new().hash_one(name) | 1 } else { 0x9e37_79b9_7f4a_7c15 };
        let (mut dice, began, mut count) = (Dice(seed), Instant::now(), 0);
        println!("{name}: seed {seed}");
        while seconds.map_or(count < INPUTS, |seconds| began.elapsed() < seconds / 8) {
            let text = dice.changed(&seeds);
            let outcome = std::panic::catch_unwind(|| target(&text));
            assert!(outcome.is_ok(), "{name} {}", text.escape_ascii());
            count += 1;
        }
        println!("{name}: {count} inputs in {:.0} s", began.elapsed().as_secs_f64());
    }
}
