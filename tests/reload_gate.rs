//! What keeps a candidate from being published though its files have no fault: its own tests, and how much it changes
//! for how many.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
const GRANTS: &str = "version: 1\ndomain: d\nprincipals_from: [people.tsv]\n";

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
            "version: 1\nlisteners: [{{address: \"127.0.0.1:0\"}}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\n\
             admin: {{address: \"127.0.0.1:{port}\", token_file: admin.token}}\nlog: {{decisions: false}}\n\
             tenants:\n- {{name: t, id: 11111111-1111-1111-1111-111111111111, keys: jwks.json}}\n\
             - {{name: other, id: 22222222-2222-2222-2222-222222222222, keys: jwks.json}}\ntimeouts: {{drain: 1s}}\n{more}"
        );
        let keys = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dev.jwks.json")).unwrap();
        fs::write(dir.path().join("jwks.json"), keys).unwrap();
        for (name, text) in [
            ("gateway.yaml", gateway.as_str()),
            ("routes.yaml", ROUTES),
            ("grants.yaml", GRANTS),
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
        let admin: SocketAddr = self.running.admin_address().unwrap();
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
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
