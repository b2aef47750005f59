//! Files that are wrong, huge or hostile, as the real binary meets them: `check` names every fault with its place and what
//! to do, and refuses the rest in bounded time and memory.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::{BINARY, Done, portcullis};
use serde_json::Value;
use tempfile::TempDir;

const GATEWAY: &str = "version: 1
listeners: [{address: 127.0.0.1:8080}]
routes: [routes.yaml]
grants: [grants.yaml]
tenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]
";

const ROUTES: &str = "version: 1
upstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [api://app]}
    routes: [{id: r, match: {methods: [GET], path: /}, public: true}]
";

const GRANTS: &str = "version: 1
domain: d
scopes: {forest: {\"town:X\": root}}
principals:
  - {id: a, tenant: t, oid: 00000000-0000-4000-8000-000000000001, flags: [f], grants: [x]}
";

/// One fault a line.
const FAULTY_ROUTES: &str = r#"version: 1
colour: red
settings:
  n: 1
  n: 2
upstreams:
  app: {servers: ["ftp://127.0.0.1"]}
define:
  loop: [loop]
applications:
  - name: app
    hosts:
      - exa mple.org
      - "*.[::1]"
    domain: d
    upstream: app
    gate:
      tenants: [nowhere]
      audiences: [api://app]
    routes:
      - {id: a, match: {methods: [GET], path: "/a/{x}"}, require: loop}
      - {id: b, match: {methods: [GET], path: "/a/{y}"}, public: true}
      - {id: a, match: {methods: [PUT], path: /c}, public: true}
      - {id: d, match: {methods: [TRACE], path: /d}, public: true}
      - {id: e, match: {methods: [GET], path: /e//e}, public: true}
      - {id: f, match: {methods: [GET], path: /f}, require: "x @nowhere"}
      - {id: g, match: {methods: [GET], path: /g}, require: "x:upsert"}
      - {id: h, match: {methods: [GET], path: "/h/{k}"}, require: "x.{k}"}
      - {id: i, match: {methods: [GET], path: /i}, require: [{flag: f}, {not_flag: f}]}
      - {id: j, match: {methods: [GET], path: /j}, require: {setting: m, reason: no}}
      - {id: k, match: {methods: [GET], path: /k}, scopes: {main: {from: path.z, kind: town}}, require: []}
      - {id: l, match: {methods: [GET], path: /l}, scopes: {main: {from: query.z, kind: twon}}, require: []}
      - {id: m, match: {methods: [GET], path: /m}, require: {eq: [a, b], reason: no}}
      - {id: n, match: {methods: [GET], path: /n}}
"#;

/// One fault a line, but for a circle, which has two.
const FAULTY_GRANTS: &str = r#"version: 1
domain: d
strategy:
  within: nearby
  boundary: maybe
rights: [x, y]
scopes:
  forest:
    town:X: root
    town:Y: town:Z
    land:A: land:B
    land:B: land:A
  aliases:
    town: {X: town:Y}
    code: {1: town:Q}
implies: {x: [nothing]}
roles:
  a: {includes: [b]}
  b: {includes: [a]}
  c: {rights: [x @town:X]}
  d: {reserved: true, includes: [c]}
  e: {rights: [x], digest: abc}
groups:
  g: {parents: [h]}
principals:
  - {id: a, tenant: t, oid: nonsense}
  - {id: b, tenant: nowhere, oid: 00000000-0000-4000-8000-000000000002}
  - {id: c, tenant: t, oid: 00000000-0000-4000-8000-000000000003, groups: [k]}
  - {id: d, oid: 00000000-0000-4000-8000-000000000005}
  - {id: e, tenant: t, oid: 00000000-0000-4000-8000-000000000004, grants: ["x:often"]}
  - {id: c, tenant: t, oid: 00000000-0000-4000-8000-000000000006}
objects:
  thing: {a: 1}
"#;

/// A configuration with these two files.
fn folder(routes: &[u8], grants: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("gateway.yaml", GATEWAY.as_bytes()), ("routes.yaml", routes), ("grants.yaml", grants)] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// A word that tells what is wrong, and where.
fn findings(folder: &Path) -> Vec<(String, u64, u64)> {
    let done = portcullis(folder, &["check", "--output", "json"]);
    assert_eq!(done.code, 3, "{done:?}");
    let json: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(json["ok"], false);
    let findings = json["findings"].as_array().unwrap().iter();
    findings
        .map(|found| {
            assert_eq!(found["severity"], "error", "{found}");
            assert!(found["message"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
            assert!(found["help"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
            let number = |key: &str| found[key].as_u64().unwrap_or_else(|| panic!("no {key}: {found}"));
            (found["code"].as_str().unwrap().to_owned(), number("line"), number("column"))
        })
        .collect()
}

#[test]
fn twenty_faults_of_a_file_are_twenty_diagnostics_with_places_and_help_in_one_run() {
    for (name, folder) in [
        ("routes.yaml", folder(FAULTY_ROUTES.as_bytes(), GRANTS.as_bytes())),
        ("grants.yaml", folder(ROUTES.as_bytes(), FAULTY_GRANTS.as_bytes())),
    ] {
        let mut found = findings(folder.path());
        assert_eq!(found.len(), 20, "{name}: {found:#?}");
        found.sort_by_key(|(_, line, column)| (*line, *column));
        found.dedup_by_key(|(_, line, _)| *line);
        assert!(found.len() >= 19, "{name} has faults that are told twice: {found:#?}");
        let done = portcullis(folder.path(), &["check"]);
        assert_eq!((done.code, done.out.as_str()), (3, ""));
        let count = |text: &str| done.err.lines().filter(|line| line.trim_start().starts_with(text)).count();
        assert_eq!(count("error["), 20, "{}", done.err);
        assert_eq!(count(&format!("--> {name}:")), 20, "{}", done.err);
        assert_eq!(count("= help: "), 20, "{}", done.err);
        assert!(done.err.contains("\n20 errors\n"), "{}", done.err);
    }
}

/// What a run took.
struct Cost {
    done: Done,
    time: Duration,
    /// Most memory at once, in KiB.
    memory: u64,
}

/// No run may have more address space than this, in KiB: memory beyond it is refused by the system.
const ADDRESS_SPACE: u64 = 4 * 1024 * 1024;

/// Runs `check` and watches what it takes.
fn check(folder: &Path) -> Cost {
    let start = Instant::now();
    let mut child = Command::new("bash")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" check"), BINARY])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(fs::File::create(folder.join("out")).unwrap())
        .stderr(fs::File::create(folder.join("err")).unwrap())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        // The highest mark so far; nothing is told of a process that has ended.
        let told = fs::read_to_string(&status).unwrap_or_default();
        let mark = told.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        memory = memory.max(mark.unwrap_or(0));
        assert!(start.elapsed() < Duration::from_secs(120), "check does not end");
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = start.elapsed();
    let read = |name: &str| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap()).into_owned();
    let done = Done { code: ended.code().unwrap_or(-1), out: read("out"), err: read("err") };
    Cost { done, time, memory }
}

/// Checks that a file is refused with these words, within bounds.
fn refused(name: &str, file: &str, content: &[u8], code: &str, (seconds, mebibytes): (u64, u64)) {
    let folder = match file {
        "routes.yaml" => folder(content, GRANTS.as_bytes()),
        _ => folder(ROUTES.as_bytes(), content),
    };
    let cost = check(folder.path());
    let shown: String = cost.done.err.chars().take(2_000).collect();
    println!("{name} in {file}: {:?}, {} MiB", cost.time, cost.memory / 1024);
    assert_eq!(cost.done.code, 3, "{name} in {file}: {shown}");
    assert!(cost.done.err.contains(&format!("error[{code}]")), "{name} in {file}: {shown}");
    assert!(cost.done.err.contains(file), "{name} in {file}: {shown}");
    assert!(cost.done.err.contains("= help: "), "{name} in {file}: {shown}");
    assert!(cost.done.err.len() < 2_000_000, "{name} in {file}: {} bytes of text", cost.done.err.len());
    assert!(cost.time < Duration::from_secs(seconds), "{name} in {file} took {:?}", cost.time);
    assert!(cost.memory < mebibytes * 1024, "{name} in {file} took {} KiB", cost.memory);
}

/// What a small file may take, in seconds and MiB; on an idle machine it is some milliseconds and 10 MiB.
const SMALL: (u64, u64) = (10, 64);

#[test]
fn a_file_of_200_mb_is_not_even_read() {
    const SIZE: usize = 200_000_000;
    for file in ["routes.yaml", "grants.yaml"] {
        let folder = folder(ROUTES.as_bytes(), GRANTS.as_bytes());
        for unit in ["- x\n", "# comment\n", "\0"] {
            // The good content comes first.
            let mut content = fs::read(folder.path().join(file)).unwrap();
            content.extend(unit.bytes().cycle().take(SIZE - content.len()));
            refused(&format!("200 MB of {unit:?}"), file, &content, "too_large", SMALL);
        }
    }
}

#[test]
fn a_file_of_the_largest_size_that_is_read_takes_bounded_memory_and_time() {
    let of = |head: &str, unit: &str, size: usize| {
        let mut content = head.as_bytes().to_vec();
        content.extend(unit.bytes().cycle().take(size - content.len()));
        content
    };
    let (routes, grants) = (8 << 20, 160 << 20);
    let bounds = (60, 800);
    refused("8 MiB of entries", "routes.yaml", &of("", "- x\n", routes), "too_large", bounds);
    refused("8 MiB of pieces", "routes.yaml", &of("version: 1\ndefine: {x: [", "a,", routes), "too_large", bounds);
    let bounds = (120, 3_500);
    refused("160 MiB of one key", "grants.yaml", &of("", "a: b\n", grants), "duplicate_key", bounds);
    refused("160 MiB of a word", "grants.yaml", &of("", "x", grants), "wrong_type", bounds);
    refused("160 MiB of no text", "grants.yaml", &vec![0xff; grants], "not_utf8", bounds);
    refused("160 MiB of brackets", "grants.yaml", &of("", "[", grants), "too_deep", bounds);
    refused("160 MiB of entries", "grants.yaml", &of("", "- x\n", grants), "too_large", bounds);
}

#[test]
fn ten_thousand_levels_and_exploding_aliases_are_refused_at_once() {
    let mut bomb = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for line in 1..40 {
        bomb.push_str(&format!("a{line}: &a{line} [{}]\n", vec![format!("*a{}", line - 1); 10].join(", ")));
    }
    let flow = format!("version: 1\nx: {}x{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let flow_maps = format!("version: 1\nx: {}x{}\n", "{a: ".repeat(10_000), "}".repeat(10_000));
    let lists = format!("version: 1\nx:\n  {}x\n", "- ".repeat(10_000));
    let maps: String = (0..4_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let staircase: String = (0..10_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    for file in ["routes.yaml", "grants.yaml"] {
        refused("a bomb", file, bomb.as_bytes(), "alias_bomb", SMALL);
        refused("lists in brackets", file, flow.as_bytes(), "too_deep", SMALL);
        refused("maps in braces", file, flow_maps.as_bytes(), "too_deep", SMALL);
        refused("lists in blocks", file, lists.as_bytes(), "too_deep", SMALL);
        refused("maps in blocks", file, maps.as_bytes(), "too_deep", SMALL);
    }
    // 50 MB of indentation
    refused("10,000 maps in blocks", "routes.yaml", staircase.as_bytes(), "too_large", SMALL);
    refused("10,000 maps in blocks", "grants.yaml", staircase.as_bytes(), "too_deep", (10, 256));
}

#[test]
fn what_is_no_document_is_told_at_its_place() {
    let with = |text: &str, file: &str| {
        let good = if file == "routes.yaml" { ROUTES } else { GRANTS };
        text.replace("GOOD", good)
    };
    // What a file says, the code, and line and column.
    let cases = [
        ("", "empty", 1, 1),
        ("\n\n# nothing\n", "empty", 1, 1),
        ("~\n", "empty", 1, 1),
        ("\u{feff}", "empty", 1, 1),
        ("just words\n", "wrong_type", 1, 1),
        ("- a\n", "wrong_type", 1, 1),
        ("version: 2\n", "version", 1, 10),
        ("version: 1\nversion: 1\n", "duplicate_key", 2, 1),
        ("version: 1\nx: \"a\0b\"\n", "syntax", 2, 4),
        ("version: 1\n\0", "syntax", 2, 1),
        ("GOOD---\nGOOD", "several_documents", 0, 1),
        ("version: !int 1\n", "tag", 1, 10),
        ("!!map\nversion: 1\n", "tag", 1, 1),
        ("version: 1\nx: *nothing\n", "syntax", 2, 4),
        ("version: 1\nx: &a [*a]\n", "alias_cycle", 2, 8),
        ("version: 1\nx: {<<: {a: b}}\n", "merge_key", 2, 5),
        ("version: 1\n\tx: 1\n", "syntax", 1, 10),
        ("version: 1\nx: [a\n", "syntax", 3, 1),
    ];
    for file in ["routes.yaml", "grants.yaml"] {
        for (text, code, line, column) in cases {
            let content = with(text, file);
            let folder = match file {
                "routes.yaml" => folder(content.as_bytes(), GRANTS.as_bytes()),
                _ => folder(ROUTES.as_bytes(), content.as_bytes()),
            };
            let line =
                if line == 0 { content.lines().position(|line| line == "---").unwrap() as u64 + 1 } else { line };
            let found = findings(folder.path());
            assert!(found.contains(&(code.to_owned(), line, column)), "{text:?} in {file}: {found:?}");
        }
        let bytes = b"version: 1\nx: \xff\n";
        let folder =
            if file == "routes.yaml" { folder(bytes, GRANTS.as_bytes()) } else { folder(ROUTES.as_bytes(), bytes) };
        assert_eq!(findings(folder.path()), [("not_utf8".to_owned(), 2, 4)], "{file}");
    }
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_change_nothing() {
    let of = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let folder = folder(of(ROUTES).as_bytes(), of(GRANTS).as_bytes());
    let done = portcullis(folder.path(), &["check"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}

#[test]
fn what_is_no_file_is_told_and_never_waited_for() {
    for file in ["routes.yaml", "grants.yaml", "gateway.yaml"] {
        for kind in ["pipe", "device", "directory", "nothing", "loop"] {
            let folder = folder(ROUTES.as_bytes(), GRANTS.as_bytes());
            let path = folder.path().join(file);
            fs::remove_file(&path).unwrap();
            match kind {
                "pipe" => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                "directory" => fs::create_dir(&path).unwrap(),
                "loop" => std::os::unix::fs::symlink(file, &path).unwrap(),
                _ => {}
            }
            let cost = check(folder.path());
            assert_eq!(cost.done.code, 3, "{kind} for {file}: {}", cost.done.err);
            assert!(cost.done.err.contains("error[unreadable_file]: cannot read `"), "{kind}: {}", cost.done.err);
            assert!(cost.done.err.contains(file) && cost.done.err.contains("= help: "), "{kind}: {}", cost.done.err);
            assert!(cost.time < Duration::from_secs(10) && cost.memory < 64 * 1024, "{kind} for {file}");
        }
    }
}
