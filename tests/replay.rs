//! `portcullis replay`: what another configuration would have said of recorded requests. A real gateway writes the log; what
//! the log does not have is never guessed.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/process.rs"]
mod process;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use backend::Backend;
use gateway::{AWAY, Pass, Setup, now, token};
use process::{Done, portcullis};
use serde_json::{Value, json};
use wire::{get, request};

/// A configuration in a folder, and the log of what a gateway with it decided.
struct Recorded {
    setup: Setup,
    folder: tempfile::TempDir,
}

impl Recorded {
    /// Has a gateway serve these requests.
    fn of(requests: &[String]) -> Self {
        let backend = Backend::hello();
        let setup = || Setup { decisions: true, ..Setup::before(&backend) };
        let process = setup().spawn();
        let lines: Vec<String> = requests
            .iter()
            .map(|request| {
                process.ask(request);
                process.decision_line()
            })
            .collect();
        assert_eq!(lines.len(), requests.len());
        let recorded = Self { setup: setup(), folder: tempfile::tempdir().unwrap() };
        recorded.write("decisions.jsonl", &(lines.join("\n") + "\n"));
        recorded
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// The configuration after some words in its route map and grants were replaced.
    fn changed(&self, routes: &[(&str, &str)], grants: &[(&str, &str)]) -> PathBuf {
        let replaced = |text: &str, changes: &[(&str, &str)]| {
            changes.iter().fold(text.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            })
        };
        let folder = self.setup.write().keep();
        fs::write(folder.join("routes.yaml"), replaced(&self.setup.routes, routes)).unwrap();
        fs::write(folder.join("grants.yaml"), replaced(&self.setup.grants, grants)).unwrap();
        folder
    }

    fn replay(&self, against: &Path, more: &[&str]) -> Done {
        let against = against.to_str().unwrap();
        portcullis(self.folder.path(), &[&["replay", "decisions.jsonl", "--against", against], more].concat())
    }

    fn told(&self, against: &Path) -> Value {
        let done = self.replay(against, &["--output", "json"]);
        assert!(done.code < 2, "{done:?}");
        serde_json::from_str(&done.out).unwrap()
    }
}

/// The sums of a report that are not zero, but for what was seen.
fn sums(report: &Value) -> Value {
    let mut sums = serde_json::Map::new();
    let members = report["requests"].as_object().unwrap();
    for (name, count) in members.iter().chain(report["requests"]["not_judged"].as_object().unwrap()) {
        if count.as_u64().is_some_and(|count| count > 0) && name != "seen" && name != "judged" {
            sums.insert(name.clone(), count.clone());
        }
    }
    Value::Object(sums)
}

/// `GAIN application/route METHOD path principal reason requests` of all changes.
fn changes(report: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (word, list) in [("denied", "denied"), ("allowed", "allowed")] {
        for group in report[list].as_array().unwrap() {
            for who in group["who"].as_array().unwrap() {
                let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("-").to_owned();
                let [route, method, path] = ["route", "method", "path"].map(|key| text(group, key));
                let [principal, reason] = ["principal", "reason"].map(|key| text(who, key));
                all.push(format!("{word} {route} {method} {path} {principal} {reason} {}", who["requests"]));
            }
        }
    }
    all.sort_unstable();
    all
}

/// Requests of all kinds: served, refused for each of the reasons that policies have, and refused before any policy.
fn traffic() -> Vec<String> {
    let away = Pass { tenant: AWAY, ..Pass::default() }.token();
    let expired = Pass { issued: now() - 90_000, ..Pass::default() }.token();
    let mut all = vec![
        get("/things/1", &token("olga")),
        get("/things/2", &token("olga")),
        get("/things/1", &token("vera")),
        request("PUT", "/things/1", &token("vera"), "", ""),
        get("/things/1", &token("nils")),
        get("/things/3", &token("nils")),
        get("/things/1", &token("ina")),
        get("/things/1", &token("nobody")),
        get("/things/1", ""),
        get("/things/1", &expired),
        get("/things/1", &away),
        get("/health", ""),
        get("/lobby", &token("vera")),
        get("/staff", &token("olga")),
        get("/guests", &token("olga")),
        get("/guests", &token("vera")),
        get("/kinds/a", &token("nils")),
        get("/kinds/c", &token("nils")),
        get("/nowhere", &token("olga")),
        get("/things/%2e%2e/secrets/1", &token("olga")),
        get("/find?place=north", &token("olga")),
        get("/places/north", &token("olga")),
    ];
    all.push(get("/things/1", &token("olga")).replace("Host: app.test", "Host: other.test"));
    all
}

#[test]
fn the_configuration_that_decided_would_decide_the_same_and_what_it_cannot_know_is_counted_by_why() {
    let recorded = Recorded::of(&traffic());
    let against = recorded.changed(&[], &[]);
    let report = recorded.told(&against);
    assert_eq!(changes(&report), Vec::<String>::new());
    let expected = json!({"same": 19, "not_policy": 1, "gate": 1, "reads_query": 1, "reads_header": 1});
    assert_eq!((sums(&report), &report["lines"], &report["unreadable"]), (expected, &json!(23), &json!(0)));
    let done = recorded.replay(&against, &[]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let words = "19 of 23 requests compared (82.6 %)\nnot compared: gate 1, not_policy 1, reads_header 1, reads_query 1\n  \
                 19 the same answer (100.0 %)\n";
    assert!(done.out.starts_with(words), "{}", done.out);
}

#[test]
fn planted_differences_are_all_found_with_who_and_how_often_and_none_beside() {
    let recorded = Recorded::of(&traffic());
    let against = recorded.changed(
        &[("path: /lobby}, gate_only: true", "path: /lobby}, require: [secrets]"), ("- {id: health", "- {id: alive")],
        &[
            ("flags: [member], grants: [things,", "flags: [staff], grants: ["),
            (
                "oid: 00000000-0000-0000-0000-000000000003}",
                "oid: 00000000-0000-0000-0000-000000000003, grants: [things]}",
            ),
            (", status: inactive, grants: [things]", ", grants: [things]"),
            ("  - {id: vera, tenant: home, oid: 00000000-0000-0000-0000-000000000002, grants: [things:read]}\n", ""),
        ],
    );
    let report = recorded.told(&against);
    assert_eq!(
        changes(&report),
        [
            "allowed guests GET /guests olga flag_forbids:member 1",
            "allowed staff GET /staff olga flag_missing:staff 1",
            "allowed thing GET /things/{...} ina principal_inactive 1",
            "allowed thing GET /things/{...} nils right_missing:things@root 2",
            "denied guests GET /guests vera principal_unknown 1",
            "denied thing GET /things/{...} olga right_missing:things@root 2",
            "denied thing GET /things/{...} vera principal_unknown 1",
        ]
    );
    // Who was let into the lobby is not in the log; a route that is only called otherwise is the same.
    let expected = json!({"same": 8, "reason_changed": 1, "newly_denied": 4, "newly_allowed": 5, "asker_unknown": 1, "not_policy": 1,
                          "gate": 1, "reads_query": 1, "reads_header": 1});
    assert_eq!(sums(&report), expected);
    let done = recorded.replay(&against, &[]);
    assert_eq!(done.code, 1);
    let line = "2 principals would newly be denied GET /things/{...} (route thing of app; 3 requests; right_missing:things@root, \
                principal_unknown; olga, vera)\n";
    assert!(done.out.contains(line), "{}", done.out);
}

#[test]
fn what_becomes_public_is_newly_allowed_also_for_those_without_a_good_token() {
    let recorded = Recorded::of(&traffic());
    let against = recorded.changed(&[("require: [\"things:by_method\"]", "public: true")], &[]);
    let found = changes(&recorded.told(&against));
    let expected = [
        "allowed thing GET /things/{...} - invalid_token:expired 1",
        "allowed thing GET /things/{...} - no_token 1",
        "allowed thing GET /things/{...} home/? principal_unknown:00000000-0000-0000-0000-000000000005 1",
        "allowed thing GET /things/{...} ina principal_inactive 1",
        "allowed thing GET /things/{...} nils right_missing:things@root 2",
        "allowed thing PUT /things/{...} vera right_level:things=read<write@root 1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn where_the_configuration_reads_what_the_log_does_not_have_nothing_is_guessed() {
    let recorded = Recorded::of(&[get("/staff", &token("olga")), get("/guests", &token("vera"))]);
    let staff = "require: [{flag: staff}]";
    let by = |comparison: &str| format!("require: [{{{comparison}, reason: no}}]");
    let cases = [
        (staff, by("eq: [query.a, b]"), "reads_query"),
        (staff, by("eq: [header.x-a, b]"), "reads_header"),
        ("gate: {", "gate: {client_certificates: [\"CN=a\"], ".to_owned(), "gate"),
        ("gate: {", "gate: {clients: [99999999-9999-9999-9999-999999999999], ".to_owned(), "newly_denied"),
    ];
    for (from, to, why) in cases {
        let report = recorded.told(&recorded.changed(&[(from, &to)], &[]));
        assert!(sums(&report)[why].as_u64() > Some(0), "{to}: {report}");
        assert_eq!(sums(&report)["newly_allowed"], Value::Null, "{to}");
    }
    let groups =
        "domain: app\ntoken_groups: {33333333-3333-3333-3333-333333333333: Staff}\ngroups: {Staff: {flags: [staff]}}\n";
    let report = recorded.told(&recorded.changed(&[], &[("domain: app\n", groups)]));
    assert_eq!(sums(&report), json!({"token_groups": 2}));
}

#[test]
fn lines_that_are_no_decisions_are_named_and_the_others_count() {
    let recorded = Recorded::of(&[get("/things/1", &token("olga"))]);
    let against = recorded.changed(&[], &[]);
    let good = fs::read_to_string(recorded.folder.path().join("decisions.jsonl")).unwrap();
    let long = format!("{{\"time\":\"{}\"}}", "x".repeat(100_000));
    let cut = &good[..good.len() / 2];
    let other = good.replace("\"allow\"", "\"perhaps\"");
    recorded
        .write("decisions.jsonl", &format!("{good}\nnonsense\n[1]\n{long}\n{other}{good}{}{cut}", "{}\n".repeat(3)));
    let done = recorded.replay(&against, &["--output", "json"]);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, sums(&report), &report["unreadable"]), (0, json!({"same": 2}), &json!(8)));
    for told in [
        "decisions.jsonl:3: no decision stands here: ",
        "decisions.jsonl:4: no decision stands here: it has no `decision`",
        "decisions.jsonl:5: no decision stands here: it has more than 65536 bytes",
        "decisions.jsonl:6: no decision stands here: `perhaps` is no decision",
        "3 lines more that no decision stands in",
    ] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }

    recorded.write("decisions.jsonl", "");
    let done = recorded.replay(&against, &[]);
    assert_eq!((done.code, done.out.lines().next()), (0, Some("0 of 0 requests compared")));
}

#[test]
fn several_logs_and_standard_input_are_read_one_after_the_other() {
    let recorded = Recorded::of(&[get("/things/1", &token("olga"))]);
    let against = recorded.changed(&[], &[]);
    let line = format!(
        "cat decisions.jsonl | portcullis replay decisions.jsonl - --against {} --output json",
        against.display()
    );
    let done = process::shell(recorded.folder.path(), &line);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &report["lines"]), (0, &json!(2)));
}

#[test]
fn a_log_or_a_configuration_that_cannot_be_used_is_told() {
    let recorded = Recorded::of(&[]);
    let against = recorded.changed(&[], &[]);
    fs::remove_file(recorded.folder.path().join("decisions.jsonl")).unwrap();
    let done = recorded.replay(&against, &[]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("decisions.jsonl: No such file"), "{}", done.err);
    fs::write(against.join("routes.yaml"), "version: [").unwrap();
    let done = recorded.replay(&against, &[]);
    assert_eq!(done.code, 3);
    assert!(done.err.contains("routes.yaml:"), "{}", done.err);
}
