//! The example systems decide as their rules say: every entry of `tests:` in the route maps under examples/ is judged
//! by the real enforcement function with a real token.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::world::World;

fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("gateway.yaml").is_file()).collect();
    found.sort();
    found
}

#[test]
fn every_case_of_every_example_is_decided_as_expected() {
    let examples = examples();
    assert!(examples.iter().any(|example| example.ends_with("ips-oms")));
    for example in examples {
        let world = World::load(&example);
        let faults: Vec<String> = world.tests().filter_map(|(file, test)| world.run(file, test).err()).collect();
        assert!(faults.is_empty(), "{}:\n{}", example.display(), faults.join("\n"));
    }
}
