//! What people read when a file is wrong, compared as full text, and what hostile files may cost.
//!
//! `tests/diagnostics/KIND-NAME.yaml` is read as that kind of file, and must yield `KIND-NAME.txt`; files of principals end in
//! `.tsv` and `.jsonl`. To change the texts
//! on purpose, run the test with `PORTCULLIS_BLESS=1`, which writes them anew, and read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis::diag::{Report, Severity};
use portcullis::document::people::{PeopleFormat, read_people};
use portcullis::document::{read_gateway, read_grants, read_routes};
use proptest::prelude::*;

/// Reads a text as one kind of file. Returns whether a document was made.
fn read(kind: &str, name: &str, text: &str, report: &mut Report) -> bool {
    let source = report.add_source(name, text);
    match kind {
        "gateway" => read_gateway(source, report).is_some(),
        "routes" => read_routes(source, report).is_some(),
        "grants" => read_grants(source, report).is_some(),
        "people" => !read_people(source, PeopleFormat::of(name).unwrap(), report).is_empty(),
        other => panic!("`{other}` is no kind of file"),
    }
}

fn rendered(kind: &str, text: &str) -> String {
    let mut report = Report::new();
    read(kind, "x.yaml", text, &mut report);
    report.render()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind != "txt")).collect();
    cases.sort();
    cases
}

#[test]
fn every_faulty_file_is_explained_word_for_word() {
    let bless = std::env::var_os("PORTCULLIS_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() > 25, "the cases are missing");
    let mut wrong = Vec::new();
    for path in cases {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (kind, _) = stem.split_once('-').unwrap();
        let mut report = Report::new();
        read(kind, path.file_name().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap(), &mut report);
        assert!(report.has_errors(), "{stem} has no fault");
        let text = report.render();
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &text).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("--- {stem}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "these differ from what is expected:\n{}", wrong.join("\n"));
}

#[test]
fn twenty_different_faults_are_found_in_one_run() {
    let mut report = Report::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics/gateway-twenty-faults.yaml");
    read("gateway", "gateway.yaml", &fs::read_to_string(path).unwrap(), &mut report);
    let mut messages: Vec<&str> = report.diagnostics().iter().map(|found| found.message.as_str()).collect();
    messages.sort_unstable();
    messages.dedup();
    assert!(messages.len() >= 20, "{messages:#?}");
    assert!(report.diagnostics().iter().all(|found| found.place.is_some() && found.severity == Severity::Error));
}

#[test]
fn a_fault_without_a_place_has_message_and_help() {
    let mut report = Report::new();
    report
        .error("unreadable", None, "`routes.yaml` cannot be read: no such file")
        .help("check `routes` of gateway.yaml");
    report.warning("odd", None, "an odd thing");
    let expected = "error[unreadable]: `routes.yaml` cannot be read: no such file
 |
 = help: check `routes` of gateway.yaml

warning[odd]: an odd thing

1 error, 1 warning
";
    assert_eq!(report.render(), expected);
    assert_eq!(Report::new().render(), "");
}

#[test]
fn faults_are_sorted_by_source_and_position_whatever_the_order_of_finding() {
    let mut report = Report::new();
    let first = report.add_source("a.yaml", "one\ntwo\n");
    let second = report.add_source("b.yaml", "three\n");
    let at = |source, start, end| portcullis::diag::Place { source, start, end };
    report.error("c", at(second, 0, 5), "third").also(at(first, 0, 3), "see here");
    report.error("b", at(first, 4, 7), "second");
    report.warning("a", at(first, 0, 3), "first");
    let expected = "warning[a]: first
 --> a.yaml:1:1
  |
1 | one
  | ^^^

error[b]: second
 --> a.yaml:2:1
  |
2 | two
  | ^^^

error[c]: third
 --> b.yaml:1:1
  |
1 | three
  | ^^^^^
  |
 ::: a.yaml:1:1
  |
1 | one
  | --- see here

2 errors, 1 warning
";
    assert_eq!(report.render(), expected);
}

#[test]
fn columns_count_characters_behind_a_byte_order_mark_and_in_files_from_windows() {
    let text = "\u{feff}version: 1\r\ndefine:\r\n  größe: {flagge: ß}\r\n";
    let expected = "error[unknown_key]: unknown kind of requirement `flagge`
 --> x.yaml:3:11
  |
3 |   größe: {flagge: ß}
  |           ^^^^^^
  |
  = help: did you mean `flag`? known: `any`, `flag`, `not_flag`, `unless_denied`, `when`, `setting`, `eq`, `in`, `not_in`, `lt`

1 error
";
    assert_eq!(rendered("routes", text), expected);
    assert!(rendered("routes", "\u{feff}versio: 1\r\n").contains(" --> x.yaml:1:1\n"));
}

#[test]
fn control_characters_are_shown_and_not_obeyed() {
    let text = "version: 1\n\"\\u001b[31mred\\u202e\": \"\u{9b}\u{202e}\u{200b}\u{7f}\tx\"\n";
    let text = rendered("routes", text);
    assert!(text.contains("unknown key `␛[31mred�` in this file"), "{text}");
    assert!(text.contains("2 | \"\\u001b[31mred\\u202e\": \"���␡    x\""), "{text}");
    // In a message a tab is no blank to be made wider.
    assert!(rendered("routes", "version: 1\n\"na\\tme\": 1\n").contains("unknown key `na␉me`"));
    let mut report = Report::new();
    report.error("c", None, "a\nb\r\u{1b}").help("one\ntwo");
    assert_eq!(report.render(), "error[c]: a␊b␍␛\n |\n = help: one\n         two\n\n1 error\n");
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let names: Vec<String> = (0..40).map(|number| format!("route_{number:02}")).collect();
    let text = format!("version: 1\ndefine: {{x: [{}, {{flagg: y}}, {}]}}\n", names.join(", "), names.join(", "));
    let expected = "error[unknown_key]: unknown kind of requirement `flagg`
 --> x.yaml:2:415
  |
2 | …oute_32, route_33, route_34, route_35, route_36, route_37, route_38, route_39, {flagg: y}, route_00, route_01, route_02, route_03, route_04, route_05, route_06, route_07, route_08,…
  |                                                                                  ^^^^^
  |
  = help: did you mean `flag`? known: `any`, `flag`, `not_flag`, `unless_denied`, `when`, `setting`, `eq`, `in`, `not_in`, `lt`

1 error
";
    assert_eq!(rendered("routes", &text), expected);
}

#[test]
fn a_huge_line_costs_little_and_prints_little() {
    let mut text = String::from("version: 1\ndomain: d\nroles: {");
    for number in 0..600_000 {
        text.push_str(if number % 500 == 250 { "ä: {colour: x}, ä: {}, " } else { "" });
        text.push_str(&format!("r{number}: {{rights: [a]}}, "));
    }
    text.push('}');
    assert!(text.len() > 12_000_000);
    let mut report = Report::new();
    read("grants", "x.yaml", &text, &mut report);
    assert_eq!(report.errors(), 2 * 1_200);
    let start = Instant::now();
    let rendered = report.render();
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert!(rendered.len() < 1_000_000);
    assert!(rendered.ends_with("\n2400 errors (1400 not shown)\n"), "{}", &rendered[rendered.len() - 100..]);
}

/// A name, a text, and the code of the error that it must get.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let bomb = |lines: usize| {
        let mut text = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for line in 1..lines {
            let aliases = vec![format!("*a{}", line - 1); 10].join(", ");
            text.push_str(&format!("a{line}: &a{line} [{aliases}]\n"));
        }
        text
    };
    let mut staircase = String::new();
    for level in 0..2_000 {
        staircase.push_str(&format!("{}a:\n", " ".repeat(level)));
    }
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(1_000_000), vec!["*a"; 100_000].join(", "));
    let mut ladder = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        ladder.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    vec![
        ("2 MB of [", "[".repeat(2_000_000), "too_deep"),
        ("2 MB of {", "{".repeat(2_000_000), "too_deep"),
        ("2 MB of [{", "[{".repeat(1_000_000), "too_deep"),
        ("10,000 lists in lists", format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000)), "too_deep"),
        ("10,000 lists in blocks", "- ".repeat(10_000), "too_deep"),
        ("10,000 keys that are maps", "? ".repeat(10_000), "too_deep"),
        ("maps in maps by indentation", staircase, "too_deep"),
        ("100 levels", format!("{}x{}", "[".repeat(100), "]".repeat(100)), "too_deep"),
        ("a thousand million entries from a few lines", bomb(9), "alias_bomb"),
        ("many more", bomb(60), "alias_bomb"),
        ("a long text, many times", long, "alias_bomb"),
        ("nesting by aliases", ladder, "too_deep"),
        ("9 MiB", "#".repeat(9 << 20), "too_large"),
        ("1 MB of one key", "a: b\n".repeat(200_000), "duplicate_key"),
        ("2 MB of quotes", "\"".repeat(2_000_000), "syntax"),
        ("2 MB of spaces", " ".repeat(2_000_000), "empty"),
        ("2 MB of blank lines", "\n".repeat(2_000_000), "empty"),
        ("2 MB of anchors", "&a ".repeat(700_000), "syntax"),
        ("2 MB of documents", "--- a\n".repeat(300_000), "several_documents"),
        ("a byte that is no text", "version: 1\n\0".to_owned(), "syntax"),
    ]
}

/// What a hostile file of about 2 MB may take; most take a tenth of it.
const BOUND: Duration = Duration::from_secs(2);

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    for (name, text, code) in hostile() {
        // The best of a few attempts: the machine may be busy with other things.
        let mut took = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let mut report = Report::new();
            read("routes", "x.yaml", &text, &mut report);
            let rendered = report.render();
            took = took.min(start.elapsed());
            let codes: Vec<&str> = report.diagnostics().iter().map(|found| found.code).collect();
            assert!(codes.contains(&code), "{name}: {}", &rendered[..rendered.len().min(500)]);
            if took < BOUND {
                break;
            }
        }
        assert!(took < BOUND, "{name} took {took:?}");
    }
}

#[test]
fn hostile_files_do_not_need_much_stack() {
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(|| {
        for (_, text, _) in hostile() {
            read("routes", "x.yaml", &text, &mut Report::new());
        }
        let deepest = format!("version: 1\ndefine: {{a: {}r{}}}\n", "[".repeat(62), "]".repeat(62));
        let mut report = Report::new();
        assert!(read("routes", "x.yaml", &deepest, &mut report));
        assert_eq!(report.render(), "");
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn a_bracket_in_the_comment_behind_an_anchor_is_no_list_and_leads_nowhere() {
    let text = "&a #[\r\nversion: 1\n";
    let mut report = Report::new();
    read("gateway", "x.yaml", text, &mut report);
    assert!(report.has_errors());
    let places = report.diagnostics().iter().filter_map(|found| found.place);
    assert!(places.into_iter().all(|place| place.end as usize <= text.len()), "{}", report.render());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the text: no panic, every place inside of it, and no tree or document without a word about faults.
    #[test]
    fn no_text_breaks_the_readers(
        parts in prop::collection::vec(
            prop_oneof![
                Just("version: 1\n"), Just("applications:\n"), Just("  - "), Just("- "), Just(": "), Just(":"), Just("? "),
                Just("{"), Just("}"), Just("["), Just("]"), Just(", "), Just("\n"), Just("\n  "), Just("\t"), Just("\r\n"),
                Just("&a "), Just("*a"), Just("!t "), Just("|\n"), Just(">-\n"), Just("'"), Just("\""), Just("#"), Just("%"),
                Just("---\n"), Just("...\n"), Just("<<"), Just("{id}"), Just("/a/{id}"), Just("ä€"), Just("\u{feff}"),
                Just("name"), Just("routes"), Just("require"), Just("flag"), Just("\0"), Just("\u{85}"), Just("~"), Just("1"),
            ],
            0..40,
        ),
    ) {
        let text = parts.concat();
        for kind in ["gateway", "routes", "grants"] {
            let mut report = Report::new();
            let made = read(kind, "x.yaml", &text, &mut report);
            prop_assert!(made || report.has_errors());
            for found in report.diagnostics() {
                let places = found.place.into_iter().chain(found.related.iter().map(|(place, _)| *place));
                for place in places {
                    let (start, end) = (place.start as usize, place.end as usize);
                    prop_assert!(start <= end && text.get(start..end).is_some(), "{found:?}");
                }
            }
            let rendered = report.render();
            prop_assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
