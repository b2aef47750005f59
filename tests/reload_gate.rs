//! What keeps a candidate from being published though its files have no fault: its own tests, and how much it changes
//! for how many.

#[path = "support/operator.rs"]
mod operator;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use portcullis::config;
use portcullis::diag::Report;
use portcullis::serve::{self, Ended, Options, Running};
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ROUTES: &str = "version: 1\n\
    settings: {closed: false}\n\
    upstreams: {u: {servers: [\"http://127.0.0.1:9\"]}}\n\
    applications:\n\
    - name: app\n\
    \x20 hosts: [app.test]\n\
    \x20 domain: d\n\
    \x20 upstream: u\n\
    \x20 gate: {tenants: [t], audiences: [a]}\n\
    \x20 routes:\n\
    \x20 - {id: orders, match: {methods: [GET], path: /orders}, require: [orders, {when: {setting: closed}, then: nobody}]}\n\
    \x20 - {id: bills, match: {methods: [GET], path: /bills}, require: bills}\n\
    tests:\n\
    - {id: reads, as: p3, request: \"GET http://app.test/orders\", expect: allow}\n\
    - {id: closed, as: p3, request: \"GET http://app.test/orders\", settings: {closed: true}, expect: deny, reason: right_missing}\n\
    - {id: elsewhere, as: p3, request: \"GET http://app.test/orders\", token: {tenant: other}, expect: deny, reason: gate_tenant}\n\
    - {id: stranger, as: t/00000000-0000-0000-0000-0000000000ff, request: \"GET http://app.test/orders\", expect: deny, reason: principal_unknown}\n";
const GRANTS: &str = "version: 1\ndomain: d\nprincipals_from: [../people.tsv]\n";

/// So many principals, of which the first ones hold other grants.
fn people(count: usize, others: usize, grant: &str) -> String {
    let mut text = "id\ttenant\toid\tgrants\n".to_owned();
    for number in 1..=count {
        let held = if number <= others { grant } else { "orders" };
        text.push_str(&format!("p{number}\tt\t00000000-0000-0000-0000-{number:012x}\t{held}\n"));
    }
    text
}

struct Gateway {
    dir: tempfile::TempDir,
    running: Running,
}

impl Gateway {
    /// Starts a gateway for a hundred principals; `more` goes into gateway.yaml.
    fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let gateway = format!(
            "version: 1\nlisteners: [{{address: \"127.0.0.1:0\"}}]\nroutes: [routes.yaml]\ngrants: [grants]\n\
             admin: {{address: \"127.0.0.1:{port}\", token_file: admin.token}}\nlog: {{decisions: false}}\n\
             tenants:\n- {{name: t, id: 11111111-1111-1111-1111-111111111111, keys: jwks.json}}\n\
             - {{name: other, id: 22222222-2222-2222-2222-222222222222, keys: jwks.json}}\ntimeouts: {{drain: 1s}}\n{more}"
        );
        let keys = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dev.jwks.json")).unwrap();
        fs::write(dir.path().join("jwks.json"), keys).unwrap();
        fs::create_dir(dir.path().join("grants")).unwrap();
        for (name, text) in [
            ("gateway.yaml", gateway.as_str()),
            ("routes.yaml", ROUTES),
            ("grants/d.yaml", GRANTS),
            ("people.tsv", &people(100, 0, "")),
            ("admin.token", TOKEN),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut report = Report::new();
        let config = config::load(&dir.path().join("gateway.yaml"), &mut report);
        let config = config.unwrap_or_else(|| panic!("{}", report.render()));
        let running = serve::start(config, Options { workers: Some(1) }).unwrap_or_else(|error| panic!("{error}"));
        Self { dir, running }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file as operators are told to.
    fn replace(&self, name: &str, text: &str) {
        fs::write(self.at("new~"), text).unwrap();
        fs::rename(self.at("new~"), self.at(name)).unwrap();
    }

    fn serial(&self) -> u64 {
        self.running.live().load().serial
    }

    /// Asks the operators' listener; status and body.
    fn ask(&self, request: &str) -> (u16, Value) {
        let (status, body) = self.ask_text(request);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn ask_text(&self, request: &str) -> (u16, String) {
        operator::ask(self.running.admin_address().unwrap(), TOKEN, request)
    }

    /// Runs a verb of the command line on this gateway.
    fn cli(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).arg("--config").arg(self.at("gateway.yaml"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }

    /// Waits until the last reload had this outcome.
    fn last_outcome(&self, outcome: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (_, status) = self.ask("GET /status");
            if status["last_reload"]["outcome"] == outcome {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(self) {
        self.running.shutdown();
        assert_eq!(self.running.wait(), Ended::Drained);
    }
}

#[test]
fn a_candidate_whose_tests_fail_is_rejected_with_every_failure() {
    let gateway = Gateway::start("");
    // The tests hold for what is live, or this would be rejected, too.
    gateway.replace("routes.yaml", &format!("{ROUTES}# edited\n"));
    assert_eq!(gateway.ask("POST /reload").1["serial"], 2);

    gateway.replace("people.tsv", &people(100, 3, "bills"));
    let failing = ROUTES.replace("reason: gate_tenant", "reason: gate_audience");
    gateway.replace("routes.yaml", &failing);
    let (status, answer) = gateway.ask("POST /reload");
    assert_eq!((status, &answer["outcome"], &answer["why"]), (422, &"rejected".into(), &"tests".into()), "{answer}");
    assert_eq!((&answer["serial"], &answer["errors"]), (&2.into(), &2.into()));
    let report = answer["report"].as_str().unwrap();
    for told in [
        "routes.yaml:14:3",
        "the test `reads` expects its request to be allowed; it is denied: right_missing:orders",
        "routes.yaml:16:3",
        "expects its request to be denied: gate_audience; it is denied: gate_tenant",
    ] {
        assert!(report.contains(told), "{told} is not in\n{report}");
    }
    assert_eq!(gateway.serial(), 2);
    let (code, said) = gateway.cli(&["reload"]);
    assert!(code == Some(4) && said.contains("the test `reads`"), "{code:?} {said}");
    gateway.replace("people.tsv", "no table\n");
    let (code, said) = gateway.cli(&["reload"]);
    assert!(code == Some(3) && said.contains("people.tsv"), "{code:?} {said}");
    gateway.end();
}

#[test]
fn a_test_with_other_settings_tells_on_the_candidate_too() {
    let gateway = Gateway::start("");
    gateway.replace("routes.yaml", &ROUTES.replace("then: nobody", "then: orders"));
    let (_, answer) = gateway.ask("POST /reload");
    let report = answer["report"].as_str().unwrap();
    assert!(report.contains("the test `closed` expects") && !report.contains("`reads`"), "{report}");
    gateway.end();
}

#[test]
fn what_changes_too_much_is_held_until_it_is_forced_with_a_reason_or_undone() {
    let gateway = Gateway::start("");
    gateway.replace("people.tsv", &people(100, 20, "orders, bills"));
    assert_eq!(gateway.ask("POST /reload").1["serial"], 2, "a fifth may gain");

    gateway.replace("people.tsv", &people(100, 45, "orders, bills"));
    let status = gateway.last_outcome("held");
    assert_eq!((&status["serial"], status["last_reload"]["held"].as_array().unwrap().len()), (&2.into(), 1));
    let (code, answer) = gateway.ask("POST /reload");
    assert_eq!((code, &answer["outcome"], &answer["serial"]), (409, &"held".into(), &2.into()), "{answer}");
    let domain = &answer["changes"]["domains"][0];
    assert_eq!((&domain["principals"], &domain["gain"], &domain["lose"]), (&100.into(), &25.into(), &0.into()));
    assert!(answer["held"][0].as_str().unwrap().starts_with("25 of 100 principals of `d` gain access"), "{answer}");
    let metrics = gateway.ask_text("GET /metrics").1;
    assert!(metrics.contains("portcullis_reloads_total{outcome=\"held\"}"), "{metrics}");
    assert!(metrics.contains("portcullis_last_reload_successful 0"), "{metrics}");
    assert_eq!(gateway.ask("GET /readyz").1["last_reload_failed"]["outcome"], "held");

    let (code, said) = gateway.cli(&["reload"]);
    assert!(code == Some(1) && said.contains("held: 25 of 100") && said.contains("--force"), "{code:?} {said}");
    assert_eq!(gateway.cli(&["reload", "--force"]).0, Some(2), "without a reason");
    assert_eq!(gateway.ask("POST /reload?force=true").0, 400);
    assert_eq!(gateway.ask("POST /reload?force=true&reason=%0a").0, 400);
    // A test that fails is against it whatever the reason.
    gateway.replace("routes.yaml", &ROUTES.replace("reason: gate_tenant", "reason: gate_audience"));
    let (code, said) = gateway.cli(&["reload", "--force", "--reason", "meant"]);
    assert!(code == Some(4) && said.contains("`elsewhere`"), "{code:?} {said}");
    gateway.replace("routes.yaml", ROUTES);
    assert_eq!(gateway.cli(&["reload", "--dry-run"]).0, Some(1));
    assert_eq!(gateway.serial(), 2);
    let (code, said) = gateway.cli(&["reload", "--force", "--reason", "new clerks & co, 20%"]);
    assert!(code == Some(0) && said.contains("published: serial 3"), "{code:?} {said}");
    assert_eq!(gateway.serial(), 3);

    gateway.replace("people.tsv", &people(60, 45, "orders, bills"));
    let held = gateway.last_outcome("held")["last_reload"]["held"].to_string();
    assert!(held.contains("40 of 100 principals of `d` lose access"), "{held}");
    gateway.replace("people.tsv", &people(100, 45, "orders, bills"));
    assert_eq!(gateway.last_outcome("unchanged")["serial"], 3);
    gateway.end();
}

#[test]
fn routes_that_open_and_applications_that_are_gone_hold_it_and_a_dry_run_says_so() {
    let gateway = Gateway::start("");
    // Gone, so that its requests fall to a public one, which is no news by itself once it is live.
    let public = "  - {id: all, match: {methods: [GET], path: \"/{rest...}\"}, public: true}\n";
    let open = ROUTES.replace("tests:\n", &format!("{public}tests:\n"));
    gateway.replace("routes.yaml", &open);
    let (_, answer) = gateway.ask("POST /reload?dry_run=true");
    assert_eq!((&answer["outcome"], &answer["verdict"]), (&"tried".into(), &"hold".into()), "{answer}");
    let opened = &answer["changes"]["opened"][0];
    assert_eq!((&opened["route"], &opened["public"], &opened["before"]), (&"all".into(), &true.into(), &Value::Null));
    assert_eq!(gateway.ask("POST /reload?force=true&reason=x").1["serial"], 2);
    gateway.replace(
        "routes.yaml",
        &open.replace("  - {id: bills, match: {methods: [GET], path: /bills}, require: bills}\n", ""),
    );
    let (status, answer) = gateway.ask("POST /reload");
    let held = answer["held"].to_string();
    assert!(status == 409 && held.contains("GET app.test/bills become public by the route `all`"), "{held}");
    assert!(held.contains("before, `bills` took them"), "{held}");

    gateway.replace("routes.yaml", "version: 1\napplications: []\n");
    let (_, answer) = gateway.ask("POST /reload");
    assert!(answer["held"].to_string().contains("the application `app` is gone"), "{answer}");
    let (code, said) = gateway.cli(&["reload", "--dry-run"]);
    assert!(
        code == Some(1) && said.contains("gone: application app") && said.contains("would hold"),
        "{code:?} {said}"
    );
    assert_eq!(gateway.serial(), 2);
    gateway.end();
}

#[test]
fn a_gate_that_is_off_holds_nothing_and_a_dry_run_publishes_nothing() {
    let gateway = Gateway::start("reload: {gate: off}\n");
    gateway.replace("people.tsv", &people(100, 100, "orders, bills"));
    // The change of the file itself is a reload.
    gateway.last_outcome("published");
    assert_eq!(gateway.serial(), 2);
    let (code, said) = gateway.cli(&["reload", "--dry-run"]);
    assert!(code == Some(0) && said.contains("unchanged: serial 2"), "{code:?} {said}");
    gateway.end();
}

#[test]
fn what_was_not_there_before_is_nobodys_gain_unless_nobody_can_list_it() {
    let gateway = Gateway::start("");
    let with = |route: &str| {
        ROUTES.replace(
            "tests:\n",
            &format!("  - {{id: more, match: {{methods: [GET], path: \"{route}\"}}, require: orders}}\ntests:\n"),
        )
    };
    gateway.replace("routes.yaml", &with("/more/{page}"));
    assert_eq!(gateway.ask("POST /reload").1["serial"], 2, "a page that is spelled out");
    gateway.replace("routes.yaml", &with("/more/{page...}"));
    let (_, answer) = gateway.ask("POST /reload");
    assert!(answer["held"].to_string().contains("100 of 100 principals of `d` gain access"), "{answer}");

    // Another application, with a domain of its own.
    let other = "- {name: other, hosts: [other.test], domain: e, upstream: u, gate: {tenants: [t], audiences: [a]}, \
        routes: [{id: all, match: {methods: [GET], path: \"/{rest...}\"}, require: here}]}\n";
    let domain = GRANTS.replace("domain: d", "domain: e").replace("people.tsv", "others.tsv");
    gateway.replace("others.tsv", &people(50, 50, "here"));
    gateway.replace("grants/e.yaml", &domain);
    gateway.replace("routes.yaml", &with("/more/{page}").replace("tests:\n", &format!("{other}tests:\n")));
    let (_, answer) = gateway.ask("POST /reload");
    assert_eq!((&answer["outcome"], &answer["serial"]), (&"published".into(), &3.into()), "{answer}");
    gateway.end();
}
