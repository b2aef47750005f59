//! The command line as people and scripts use it: the real binary, its output and its exit codes.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use process::{ROOT, Running, SOON, edit, free_ports, portcullis, shell};
use serde_json::Value;
use tempfile::TempDir;

/// A configuration as `init` writes it, on free ports.
struct Gate {
    folder: TempDir,
    port: u16,
}

impl Gate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(2);
        let upstream = format!("http://127.0.0.1:{}", process::backend());
        let done = portcullis(folder.path(), &["init", "gate", "--upstream", &upstream]);
        assert_eq!(done.code, 0, "{done:?}");
        let gate = Self { folder, port };
        edit(&gate.file("gateway.yaml"), "127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        edit(&gate.file("gateway.yaml"), "127.0.0.1:9901", &format!("127.0.0.1:{}", port + 1));
        gate
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("gate").join(name)
    }

    fn run(&self, verb: &[&str]) -> process::Done {
        portcullis(self.folder.path(), &[verb, &["--config", "gate/gateway.yaml"]].concat())
    }

    fn serve(&self) -> Running {
        let mut running = Running::start(self.folder.path(), &["serve", "--config", "gate/gateway.yaml"]);
        running.wait_for("admin listener on", SOON);
        running
    }

    fn token(&self, who: &str) -> String {
        self.run(&["token", "mint", "--as", who]).out.trim().to_owned()
    }

    fn get(&self, token: &str, path: &str) -> String {
        let url = format!("http://localhost:{}{path}", self.port);
        shell(self.folder.path(), &format!("curl -s -i -H 'Authorization: Bearer {token}' {url}")).out
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["serve", "--frobnicate"],
        &["serve", "--workers", "0"],
        &["demo", "--port", "65533"],
        &["init"],
        &["init", "x", "--upstream", "localhost"],
        &["token"],
        &["token", "mint"],
        &["token", "mint", "--as", "olga", "--lifetime", "1y"],
        &["status", "--output", "xml"],
        &["revoke"],
        &["revoke", "--undo"],
        &["revoke", "--principal", "dev"],
        &["revoke", "--uti", "x", "--issued-before", "now"],
    ] {
        assert_eq!(portcullis(Path::new(ROOT), arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_exit_code_0() {
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"], &["token", "mint", "--help"]] {
        let done = portcullis(Path::new(ROOT), arguments);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn the_examples_pass_the_check() {
    for (example, counts) in [
        ("ips-oms", "4 applications, 15 routes, 1 domain, 23 principals, "),
        ("iom", "1 application, 19 routes, 1 domain, 22 principals, "),
        ("imsma", "1 application, 15 routes, 1 domain, 12 principals, "),
        ("imos", "2 applications, 18 routes, 1 domain, 49 principals, "),
        ("edge", "3 applications, 5 routes, 1 domain, 2 principals, "),
        ("all", "8 applications, 67 routes, 4 domains, 106 principals, "),
    ] {
        let gateway = format!("examples/{example}/gateway.yaml");
        let done = portcullis(Path::new(ROOT), &["check", "--config", &gateway]);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{example}");
        assert!(done.out.starts_with(&format!("ok: {counts}")), "{example}: {}", done.out);
        assert_eq!(done.out.lines().count(), 1);
    }
}

#[test]
fn check_tells_the_faults_of_all_files_at_once() {
    let gate = Gate::new();
    edit(&gate.file("gateway.yaml"), "admin:", "adnim:");
    edit(&gate.file("routes.yaml"), "upstream: app", "upstream: ap");
    edit(&gate.file("grants.yaml"), "tenant: dev, oid", "tenant: deff, oid");
    let done = gate.run(&["check"]);
    assert_eq!(done.code, 3);
    for file in ["gate/gateway.yaml:", "gate/routes.yaml:", "gate/grants.yaml:"] {
        assert!(done.err.contains(file), "no fault in {file}\n{}", done.err);
    }
    let json = gate.run(&["check", "--output", "json"]);
    assert_eq!(json.code, 3);
    let found: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(found["ok"], false);
    assert!(found["findings"].as_array().unwrap().iter().all(|finding| finding["line"].is_u64()), "{found:#}");
}

#[test]
fn a_missing_file_is_named_as_it_was_written() {
    let gate = Gate::new();
    fs::remove_file(gate.file("routes.yaml")).unwrap();
    let done = gate.run(&["check"]);
    assert_eq!(done.code, 3);
    assert!(done.err.contains("cannot read `routes.yaml`"), "{}", done.err);
    let done = portcullis(gate.folder.path(), &["serve", "--config", "no/such.yaml"]);
    assert_eq!(done.code, 3);
    assert!(done.err.contains("no/such.yaml"), "{}", done.err);
}

#[test]
fn init_writes_secrets_for_their_owner_only_and_overwrites_nothing() {
    let gate = Gate::new();
    for (name, mode) in [("dev.key.pem", 0o600), ("admin.token", 0o600)] {
        assert_eq!(fs::metadata(gate.file(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(gate.run(&["check"]).code, 0);
    let before = fs::read_to_string(gate.file("gateway.yaml")).unwrap();
    fs::remove_file(gate.file("dev.jwks.json")).unwrap();
    let again = portcullis(gate.folder.path(), &["init", "gate"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("gate/gateway.yaml") && again.err.contains("gate/admin.token"), "{}", again.err);
    assert!(!again.err.contains("dev.jwks.json"), "{}", again.err);
    assert!(!gate.file("dev.jwks.json").exists());
    assert_eq!(fs::read_to_string(gate.file("gateway.yaml")).unwrap(), before);
}

#[test]
fn token_mint_prints_one_token_and_nothing_else() {
    let gate = Gate::new();
    let done = gate.run(&["token", "mint", "--as", "olga"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(done.out.trim_end().split('.').count(), 3);
    assert_eq!(done.out.lines().count(), 1);
}

#[test]
fn token_mint_says_what_is_wrong() {
    let gate = Gate::new();
    let unknown = gate.run(&["token", "mint", "--as", "olaf"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("`olga`, `vera`, `nils`"), "{}", unknown.err);
    let unknown = gate.run(&["token", "mint", "--as", "olga", "--application", "other"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("there is `app`"), "{}", unknown.err);
    let long = gate.run(&["token", "mint", "--as", "olga", "--lifetime", "29h"]);
    assert_eq!(long.code, 2, "{long:?}");
}

#[test]
fn token_mint_signs_with_a_development_key_only() {
    let gate = Gate::new();
    let key = gate.file("other.key.pem");
    let made = shell(gate.folder.path(), &format!("openssl genpkey -algorithm RSA -out {} 2>/dev/null", key.display()));
    assert_eq!(made.code, 0);
    let other = gate.run(&["token", "mint", "--as", "olga", "--key", key.to_str().unwrap()]);
    assert_eq!((other.code, other.out.as_str()), (1, ""), "a key that is not in the key set");
    edit(&gate.file("dev.jwks.json"), "portcullis-development-", "production-");
    let renamed = gate.run(&["token", "mint", "--as", "olga"]);
    assert_eq!((renamed.code, renamed.out.as_str()), (1, ""), "a key that is not marked as a development key");
    assert!(renamed.err.contains("dev.key.pem"), "{}", renamed.err);
}

#[test]
fn nobody_there_is_exit_code_5() {
    let gate = Gate::new();
    for verb in [&["status"][..], &["status", "--ready"], &["reload"], &["revoke", "--uti", "x"]] {
        let done = gate.run(verb);
        assert_eq!(done.code, 5, "{verb:?} {done:?}");
        assert!(done.err.contains(&format!("127.0.0.1:{}", gate.port + 1)), "{}", done.err);
    }
}

#[test]
fn a_taken_port_is_named_with_its_setting() {
    let gate = Gate::new();
    let _taken = TcpListener::bind(("127.0.0.1", gate.port)).unwrap();
    let done = gate.run(&["serve"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains(&gate.port.to_string()) && done.err.contains("listeners[0].address"), "{}", done.err);
}

#[test]
fn serve_status_and_reload_work_together() {
    let gate = Gate::new();
    let mut running = gate.serve();
    let [olga, vera, nils] = ["olga", "vera", "nils"].map(|who| gate.token(who));
    assert!(gate.get(&olga, "/").contains("from the backend"));
    let refused = gate.get(&nils, "/");
    assert!(refused.contains(" 403 ") && refused.contains("right_missing:app.pages"), "{refused}");
    let refused = gate.get(&vera, "/admin/x");
    assert!(refused.contains("flag_missing:staff"), "{refused}");

    assert_eq!(gate.run(&["status", "--ready"]).code, 0);
    let status = gate.run(&["status"]);
    assert_eq!(status.code, 0);
    assert!(status.out.lines().any(|line| line.starts_with("serial") && line.ends_with(" 1")), "{}", status.out);
    let status: Value = serde_json::from_str(&gate.run(&["status", "--output", "json"]).out).unwrap();
    assert_eq!((&status["serial"], &status["counts"]["principals"]), (&1.into(), &3.into()), "{status:#}");

    let good = fs::read_to_string(gate.file("grants.yaml")).unwrap();
    edit(&gate.file("grants.yaml"), "grants: [app]", "grants: [");
    let rejected = gate.run(&["reload"]);
    assert_eq!(rejected.code, 3);
    assert!(rejected.err.contains("grants.yaml:") && rejected.err.contains("keeps serial 1"), "{}", rejected.err);
    assert!(gate.get(&olga, "/").contains("from the backend"));
    // The file watcher may be faster than the request; then there is nothing left to do.
    fs::write(gate.file("grants.yaml"), good.replace("grants: [app]", "grants: [\"app:read\"]")).unwrap();
    let taken = gate.run(&["reload"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(taken.out.trim_end().ends_with(": serial 2"), "{}", taken.out);

    running.signal("TERM");
    assert_eq!(running.wait(), 0);
}

#[test]
fn a_gateway_is_asked_by_its_address_without_its_configuration() {
    let gate = Gate::new();
    edit(&gate.file("gateway.yaml"), "admin:", "revoked: {store: store.yaml}\nadmin:");
    let _running = gate.serve();
    let elsewhere = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", gate.port + 1);
    fs::copy(gate.file("admin.token"), elsewhere.path().join("token")).unwrap();
    fs::write(elsewhere.path().join("other"), "another token than that one").unwrap();
    let run = |verb: &[&str], more: &[&str]| portcullis(elsewhere.path(), &[verb, &["--admin", &url], more].concat());
    let token = ["--token-file", "token"];
    for (verb, more, code) in [
        (&["status"][..], &[][..], 0),
        (&["status", "--ready"], &[], 0),
        (&["reload"], &token, 0),
        (&["reload", "--dry-run"], &token, 0),
        (&["reload"], &["--token-file", "other"], 1),
        (&["reload"], &["--token-file", "nowhere"], 3),
        (&["reload"], &[], 3),
        (&["revoke", "--uti", "x"], &token, 0),
        (&["revoke", "--uti", "x", "--undo"], &token, 0),
        (&["status"], &["--ca", "token"], 2),
        (&["status"], &["--certificate", "token"], 2),
    ] {
        let done = run(verb, more);
        assert_eq!(done.code, code, "{verb:?} {more:?} {done:?}");
    }
    let lacking = run(&["reload"], &[]);
    assert!(lacking.err.contains("`--token-file`"), "{}", lacking.err);
    // A token of their own for those who have the configuration, too.
    assert_eq!(gate.run(&["reload", "--token-file", "nowhere"]).code, 3);
    for (url, code) in [("http://192.0.2.1:9901", 2), ("127.0.0.1:9901", 2), ("http://127.0.0.1:1", 5)] {
        let done = portcullis(elsewhere.path(), &["status", "--admin", url]);
        assert_eq!(done.code, code, "{url} {done:?}");
    }
}

#[test]
fn revoke_takes_tokens_out_of_force_and_back() {
    let gate = Gate::new();
    let store = "revoked: {files: [revoked.yaml], store: store.yaml}\nadmin:";
    edit(&gate.file("gateway.yaml"), "admin:", store);
    assert_eq!(gate.run(&["check"]).code, 3, "a file that is not there");
    fs::write(gate.file("revoked.yaml"), "version: 1\nrevoked:\n  - {uti: x, tenant: devv}\n").unwrap();
    let faulty = gate.run(&["check"]);
    assert_eq!(faulty.code, 3);
    assert!(faulty.err.contains("revoked.yaml:3:") && faulty.err.contains("did you mean `dev`?"), "{}", faulty.err);
    assert_eq!(gate.run(&["serve"]).code, 3);
    fs::write(gate.file("revoked.yaml"), "version: 1\nrevoked: []\n").unwrap();
    assert_eq!(gate.run(&["check"]).code, 0);

    let mut running = gate.serve();
    let olga = gate.token("olga");
    let grants = fs::read_to_string(gate.file("grants.yaml")).unwrap();
    let line = grants.lines().find(|line| line.contains("id: olga,")).unwrap();
    let oid = line.split("oid: ").nth(1).unwrap().split([',', '}']).next().unwrap();
    let (principal, unknown) = (format!("dev/{oid}"), format!("devv/{oid}"));
    assert!(gate.get(&olga, "/").contains("from the backend"));
    let before = ["revoke", "--principal", &principal, "--issued-before", "now"];
    let done = gate.run(&before);
    assert_eq!((done.code, done.out.as_str()), (0, "revoked\n"), "{done:?}");
    assert_eq!(gate.run(&before[..3]).code, 0);
    assert_eq!(gate.run(&before[..3]).out, "revoked before\n");
    let refused = gate.get(&olga, "/");
    assert!(refused.contains(" 401 ") && refused.contains("error=\"invalid_token\""), "{refused}");
    // Another second runs by now: what `now` meant then can only be taken back without it.
    thread::sleep(Duration::from_secs(2));
    let impossible = gate.run(&[&before[..], &["--undo"]].concat());
    assert!(impossible.code == 2 && impossible.err.contains("leave `--issued-before` out"), "{impossible:?}");
    let other = gate.run(&[&before[..4], &["1000", "--undo"]].concat());
    assert!(other.code == 1 && other.err.contains("but it has `principal: {tenant: \"dev\", oid: "), "{}", other.err);
    let undone = gate.run(&[&before[..3], &["--undo"]].concat());
    assert_eq!((undone.code, undone.out.as_str()), (0, "taken back: 2 entries\n"), "{undone:?}");
    assert!(gate.get(&olga, "/").contains("from the backend"), "the moment still holds");

    let again = gate.run(&[&before[..3], &["--undo"]].concat());
    assert_eq!(again.code, 1);
    assert!(again.err.contains("not in the store"), "{}", again.err);
    let faulty = gate.run(&["revoke", "--principal", &unknown, "--output", "json"]);
    assert_eq!(faulty.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&faulty.out).unwrap()["error"], "rejected");
    let faulty = gate.run(&["revoke", "--principal", "dev/olga"]);
    assert!(faulty.code == 1 && faulty.err.contains("is not an object id"), "{}", faulty.err);
    let misnamed = gate.run(&["revoke", "--subject", "dev/olga"]);
    assert!(misnamed.code == 1 && misnamed.err.contains("write `--principal dev/OID`"), "{}", misnamed.err);
    assert!(!misnamed.err.contains("the body"), "{}", misnamed.err);
    let future = gate.run(&["revoke", "--principal", &principal, "--issued-before", "9999-01-01T00:00:00Z"]);
    assert!(future.code == 2 && future.err.contains("has not come"), "{}", future.err);

    running.signal("TERM");
    assert_eq!(running.wait(), 0);
}

#[test]
fn a_drain_ends_with_exit_code_0_and_frees_the_port() {
    let gate = Gate::new();
    let mut running = gate.serve();
    running.signal("INT");
    assert_eq!(running.wait(), 0);
    TcpListener::bind(("127.0.0.1", gate.port)).unwrap();
}

/// The demo in a folder that has the repository's `routes.yaml`, on free ports.
struct Demo {
    folder: TempDir,
    running: Running,
    calls: Vec<(String, String)>,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(Path::new(ROOT).join("routes.yaml"), folder.path().join("routes.yaml")).unwrap();
        let (port, backend) = (free_ports(4), free_ports(1));
        edit(&folder.path().join("routes.yaml"), "127.0.0.1:9001", &format!("127.0.0.1:{backend}"));
        let arguments = ["demo", "--port", &port.to_string(), "--backend-port", &backend.to_string()];
        let started = Instant::now();
        let mut running = Running::start(folder.path(), &arguments);
        running.wait_for("starting", SOON);
        assert!(started.elapsed() < Duration::from_secs(2), "first output after {:?}", started.elapsed());
        let lines = running.wait_for("Ctrl-C", SOON).to_vec();
        let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("# ") && pair[1].starts_with("curl "));
        let calls = pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("export ")).count(), 4);
        Self { folder, running, calls }
    }
}

#[test]
fn the_lines_that_the_demo_prints_do_what_they_say() {
    let mut demo = Demo::start();
    assert_eq!(demo.calls.len(), 5);
    for (title, line) in &demo.calls {
        // `# 403 right_missing: ...`
        let (expected, _) = title.trim_start_matches("# ").split_once(':').unwrap();
        let (status, reason) = expected.split_once(' ').unwrap_or((expected, ""));
        let answer = shell(demo.folder.path(), line).out;
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(&format!(" {status}")), "{title}\n{line}\n{answer}");
        assert!(answer.contains(reason), "{title}\n{line}\n{answer}");
        assert_eq!(answer.contains("stand-in for OMS"), status == "200", "{title}\n{line}\n{answer}");
        assert!(!answer.to_lowercase().contains("bearer ey"), "the backend must not see the token\n{answer}");
    }
    let reasons: Vec<_> = demo.calls.iter().filter(|(title, _)| title.starts_with("# 403")).collect();
    assert_eq!(reasons.len(), 3);

    demo.running.signal("INT");
    let seen = demo.running.wait_for("is removed", SOON).last().unwrap().clone();
    assert_eq!(demo.running.wait(), 0);
    let folder = seen.split("ended, ").nth(1).unwrap().trim_end_matches(" is removed");
    assert!(!Path::new(folder).exists(), "{folder}");
}

#[test]
fn an_edit_of_the_route_map_counts_within_a_second_of_running_the_demo() {
    let mut demo = Demo::start();
    let (_, allowed) = demo.calls.iter().find(|(title, _)| title.starts_with("# 200")).unwrap().clone();
    let path = demo.folder.path().join("routes.yaml");
    assert!(shell(demo.folder.path(), &allowed).out.contains("stand-in for OMS"));
    edit(&path, "require: [view, oms.officer.personal_info @command]", "require: [view, {flag: nobody.has.this}]");
    let edited = Instant::now();
    demo.running.wait_for("policy published", SOON);
    assert!(edited.elapsed() < Duration::from_secs(1), "said so after {:?}", edited.elapsed());
    let answer = shell(demo.folder.path(), &allowed).out;
    assert!(answer.contains("flag_missing:nobody.has.this"), "{answer}");
    // A bad edit is reported with its place and changes nothing.
    edit(&path, "require: [view, {flag: nobody.has.this}]", "require: [view, {flaag: nobody.has.this}]");
    demo.running.wait_for("routes.yaml:", SOON);
    let answer = shell(demo.folder.path(), &allowed).out;
    assert!(answer.contains("flag_missing:nobody.has.this"), "{answer}");
}

#[test]
fn the_demo_brings_its_own_route_map_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (port, backend) = (free_ports(4).to_string(), free_ports(1).to_string());
    let mut running = Running::start(folder.path(), &["demo", "--port", &port, "--backend-port", &backend]);
    let lines = running.wait_for("Ctrl-C", SOON).to_vec();
    let allowed = lines.iter().find(|line| line.contains("olga.jwt") && line.starts_with("curl ")).unwrap();
    assert!(shell(folder.path(), allowed).out.contains("stand-in for OMS"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_names_every_port_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(4);
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let _tls = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let backend = backend.local_addr().unwrap().port().to_string();
    let done = portcullis(folder.path(), &["demo", "--port", &port.to_string(), "--backend-port", &backend]);
    assert_eq!(done.code, 1);
    for wanted in [&(port + 1).to_string(), "TLS listener", "--port", &backend, "made-up application", "--backend-port"]
    {
        assert!(done.err.contains(wanted), "{wanted}\n{}", done.err);
    }
}
