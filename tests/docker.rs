//! The Dockerfile cannot be built everywhere, so its commands are compared with the real build.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// The instructions, with continued lines joined and comments left out.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn instruction(name: &str) -> String {
    let found: Vec<_> = instructions().into_iter().filter(|line| line.starts_with(name)).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0].clone()
}

/// The words of an instruction in JSON form.
fn words(instruction: &str) -> Vec<String> {
    serde_json::from_str(&instruction[instruction.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_build_makes_the_file_that_is_copied() {
    let build = instruction("RUN cargo build");
    let words: Vec<_> = build.split_whitespace().collect();
    let after = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
    assert_eq!(after("--bin"), env!("CARGO_PKG_NAME"));
    assert!(words.contains(&"--locked"));
    assert!(words.contains(&"--release"));
    let (folder, binary) = (instruction("WORKDIR /build"), words_of_copy());
    let folder = folder.trim_start_matches("WORKDIR ");
    assert_eq!(binary.0, format!("{folder}/target/release/{}", env!("CARGO_PKG_NAME")));
    assert_eq!(words_of_entrypoint()[0], binary.1);
}

fn words_of_copy() -> (String, String) {
    let copy = instruction("COPY --from=build");
    let mut words = copy.split_whitespace().skip(2);
    (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
}

fn words_of_entrypoint() -> Vec<String> {
    words(&instruction("ENTRYPOINT"))
}

#[test]
fn the_commands_are_ones_that_the_binary_understands() {
    let health = instruction("HEALTHCHECK");
    assert_eq!(words(&health)[0], words_of_entrypoint()[0]);
    for arguments in [words(&instruction("CMD")), words(&health)[1..].to_vec()] {
        // With `--help` behind them, arguments are read but not acted on.
        let done = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(&arguments).arg("--help").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_image_is_small_unprivileged_and_of_one_release() {
    let stages: Vec<_> = instructions().into_iter().filter(|line| line.starts_with("FROM")).collect();
    assert_eq!(stages.len(), 2);
    assert!(stages[0].contains("bookworm") && stages[1].contains("debian12"), "the C libraries differ: {stages:?}");
    assert!(stages[1].contains("distroless") && stages[1].ends_with(":nonroot"), "{stages:?}");
}

#[test]
fn the_build_gets_every_file_that_the_code_includes() {
    let ignored = read(".dockerignore");
    for needed in ["src", "examples", "routes.yaml", "Cargo.toml", "Cargo.lock", "benches", "tests"] {
        assert!(Path::new(ROOT).join(needed).exists(), "{needed}");
        assert!(!ignored.lines().any(|line| line.trim_end_matches('/') == needed), "{needed} is ignored");
    }
}
