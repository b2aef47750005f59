//! The shape of `src/`, kept by a test: imports point downward, the decision does no I/O, each outside library has its
//! homes, no file outgrows one sitting, and every file says what it is for.

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A layer may import only from rows above its own in this list.
const LAYERS: &[&[&str]] = &[
    &["courtesy", "diag", "telemetry"],
    &["model"],
    &["document"],
    &["policy", "token"],
    &["route"],
    &["snapshot"],
    &["pep"],
    &["review", "candidate"],
    &["proxy", "source"],
    &["reload"],
    &["admin"],
    &["config"],
    &["serve"],
    &["cli"],
    &["main", "lib"],
];
/// Layers that hold the decision: no runtime, no sockets, no files, no clock.
const PURE: &[&str] = &["diag", "model", "document", "policy", "token", "route", "snapshot", "pep", "review"];
const IMPURE: &[&str] = &[
    "tokio::",
    "hyper::",
    "std::fs",
    "std::env",
    "TcpStream",
    "SystemTime::now",
    "Instant::now",
    "println!",
    "eprintln!",
];
/// Libraries and their homes; a swap of one touches these layers only.
const HOMES: &[(&str, &[&str])] = &[
    ("saphyr_parser", &["document"]),
    ("annotate_snippets", &["diag"]),
    ("jsonwebtoken", &["token"]),
    ("moka", &["token", "reload"]),
    ("aws_lc_rs", &["token", "source", "reload", "proxy", "admin", "cli"]),
    ("arc_swap", &["snapshot"]),
    ("clap", &["cli"]),
    ("rcgen", &["cli"]),
    ("rustls", &["proxy", "source", "serve"]),
    ("tokio_rustls", &["proxy", "source"]),
    ("hyper", &["proxy", "source", "admin", "cli"]),
    ("h2", &["proxy"]),
    ("prometheus_client", &["telemetry"]),
    ("tokio_postgres", &["source"]),
    ("tracing_subscriber", &["telemetry"]),
    ("notify", &["source"]),
    ("tower", &["proxy"]),
    ("x509_parser", &["proxy"]),
    ("governor", &["proxy"]),
    ("memchr", &["proxy"]),
    ("mimalloc", &["main"]),
    ("rustix", &["reload", "telemetry", "serve"]),
    ("listenfd", &["serve"]),
];
/// Lines of a file before its `#[cfg(test)]` part.
const MAX_LINES: usize = 400;

#[test]
fn src_keeps_its_shape() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 50, "only {} files found", files.len());
    let faults: Vec<String> = files.iter().flat_map(|path| faults_in(&src, path)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_code_knows_a_system_that_it_guards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    // The demo and `init` show an example of configuration; nothing else may name one.
    for path in files.iter().filter(|path| !path.starts_with(src.join("cli"))) {
        let text = before_tests(path);
        for (number, line) in text.lines().enumerate() {
            let code = code_of(line).to_ascii_lowercase();
            for system in ["oms", "intershop", "imsma", "imos", "veson"] {
                let named = code.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == system);
                assert!(!named, "{}:{} names {system}", path.display(), number + 1);
            }
        }
    }
}

fn faults_in(src: &Path, path: &Path) -> Vec<String> {
    let name = path.strip_prefix(src).unwrap().display().to_string();
    let layer = name.split('/').next().unwrap().trim_end_matches(".rs");
    let text = before_tests(path);
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{name}: begins without a `//!` that says what it is for"));
    }
    if text.lines().count() > MAX_LINES {
        faults.push(format!("{name}: over {MAX_LINES} lines before its tests"));
    }
    for (number, line) in text.lines().enumerate() {
        let mut fault = |what: String| faults.push(format!("{name}:{}: {what}", number + 1));
        let code = code_of(line);
        if code.contains("crate::{") || code.contains("super::super") {
            fault("write `use crate::<layer>::...`, one layer a line".into());
        }
        for rest in code.split("crate::").skip(1) {
            let used: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !used.is_empty() && used != layer && rank(&used) >= rank(layer) {
                fault(format!("`{layer}` must not import `{used}`"));
            }
        }
        if PURE.contains(&layer) {
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                fault(format!("`{layer}` decides, so it may not use `{word}`"));
            }
        }
        for (library, homes) in HOMES {
            if names(code, library) && !homes.contains(&layer) {
                fault(format!("`{library}` lives in {homes:?} only"));
            }
        }
        if line.contains("#[allow(") && !line.contains("reason") {
            fault("an `allow` without a reason".into());
        }
        for left in ["todo!", "unimplemented!", "TODO", "FIXME", "XXX", "dbg!("] {
            if line.contains(left) {
                fault(format!("`{left}` was left behind"));
            }
        }
    }
    faults
}

/// Whether code names a library as the first part of a path.
fn names(code: &str, library: &str) -> bool {
    code.match_indices(library).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        code[at + library.len()..].starts_with("::")
            && before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

fn code_of(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") { "" } else { line.split(" // ").next().unwrap() }
}

fn before_tests(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned()
}

fn rank(layer: &str) -> usize {
    LAYERS.iter().position(|row| row.contains(&layer)).unwrap_or_else(|| panic!("give `{layer}` a row in LAYERS"))
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}
