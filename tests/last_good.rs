//! The last good documents on disk: used at a start at which the files are broken, told everywhere, and never used when
//! anything about them is odd.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use backend::{Backend, until};
use gateway::{ADMIN_TOKEN, Setup, token};
use serde_json::Value;
use tempfile::TempDir;
use wire::{Client, get};

const KEEP: &str = "reload: {last_good: state/kept}\n";
const BROKEN: &str = "version: 1\nbogus: 1\n";

/// A folder with a configuration, whose grants have a file of principals.
fn folder(backend: &Backend, more: &str) -> TempDir {
    let setup = Setup { more: more.to_owned(), ..Setup::before(backend) };
    let (head, people) = setup.grants.split_once("principals:\n").unwrap();
    let grants = format!("{head}principals_from: [people.jsonl]\nprincipals:\n{people}");
    let other = r#"{"id":"guest","tenant":"home","oid":"00000000-0000-0000-0000-000000000005","grants":["things"]}"#;
    let setup = Setup { grants, files: vec![("people.jsonl", format!("{other}\n"))], ..setup };
    setup.write()
}

/// One life of a gateway on a folder.
struct Life {
    child: Child,
    log: Arc<Mutex<String>>,
    plain: SocketAddr,
    admin: SocketAddr,
}

impl Life {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (shared, lines) = (Arc::clone(&log), BufReader::new(child.stderr.take().unwrap()).lines());
        thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| shared.lock().unwrap().push_str(&(line + "\n")))
        });
        let address = |after: &str| {
            let told = log.lock().unwrap();
            let line = told.lines().find_map(|line| line.strip_prefix(after))?;
            line.parse().ok()
        };
        until(|| address("portcullis: admin listener on ").is_some(), "started");
        let (plain, admin) = (address("portcullis: serving on http://"), address("portcullis: admin listener on "));
        Self { plain: plain.unwrap(), admin: admin.unwrap(), child, log }
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n");
        let answer = Client::plain(self.admin).ask(format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n{lines}\r\n"));
        (answer.status, answer.json())
    }

    fn status(&self) -> Value {
        self.ask("GET", "/status").1
    }

    /// The check `policy` of `/readyz`.
    fn check(&self) -> Value {
        let (code, body) = self.ask("GET", "/readyz");
        assert_eq!(code, 200, "{body}");
        body["checks"].as_array().unwrap().iter().find(|check| check["check"] == "policy").unwrap().clone()
    }

    fn metric(&self, name: &str) -> String {
        let page = Client::plain(self.admin).ask("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").text();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().to_owned()
    }

    /// What somebody gets.
    fn visit(&self, who: &str, target: &str) -> u16 {
        Client::plain(self.plain).ask(get(target, &token(who))).status
    }

    /// Waits until what was published under this serial is kept.
    fn keeps(&self, serial: u64) {
        until(|| self.status()["last_good"]["written"]["serial"] == serial, "kept");
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["serve", "--config", "gateway.yaml", "--workers", "1"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// What a gateway says that does not start.
fn refused(folder: &Path) -> String {
    let output = command(folder).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    said
}

/// A folder of which a first life has kept what it published.
fn kept(backend: &Backend) -> TempDir {
    let folder = folder(backend, KEEP);
    Life::start(folder.path()).keeps(1);
    folder
}

fn copy(folder: &Path) -> PathBuf {
    fs::canonicalize(folder.join("state/kept/current")).unwrap()
}

#[test]
fn a_start_with_broken_files_serves_what_was_good_last_and_says_so_until_they_are_mended() {
    let backend = Backend::hello();
    let folder = folder(&backend, KEEP);
    let at = |name: &str| folder.path().join(name);
    let good = fs::read_to_string(at("grants.yaml")).unwrap();
    let life = Life::start(folder.path());
    life.keeps(1);
    assert_eq!((life.visit("vera", "/things/1"), life.visit("nobody", "/things/1")), (200, 200));
    // What is published later takes its place.
    let second = good.replace("grants: [things:read]", "grants: [secrets]");
    fs::write(at("grants.yaml"), &second).unwrap();
    life.keeps(2);
    assert_eq!((life.check()["stale"].clone(), life.metric("portcullis_policy_stale")), (false.into(), "0".to_owned()));
    drop(life);

    fs::write(at("grants.yaml"), BROKEN).unwrap();
    fs::remove_file(at("people.jsonl")).unwrap();
    let life = Life::start(folder.path());
    assert_eq!((life.visit("vera", "/things/1"), life.visit("vera", "/secrets/1")), (403, 200));
    assert_eq!(life.visit("nobody", "/things/1"), 200, "from the file of principals");
    let status = life.status();
    assert_eq!((&status["serial"], &status["stale"]["serial"]), (&1.into(), &2.into()), "{status}");
    let check = life.check();
    assert_eq!((&check["state"], &check["stale"]), (&"warn".into(), &true.into()), "{check}");
    assert_eq!(check["stale_since"], status["stale"]["since"]);
    assert_eq!(life.metric("portcullis_policy_stale"), "1");
    assert_eq!(life.ask("GET", "/history").1["history"][0]["origin"], "last_good");
    let log = life.log.lock().unwrap().clone();
    assert!(log.contains("ERROR policy files cannot be used: started with the last good ones"), "{log}");
    assert!(log.contains("grants.yaml:2:1") && log.contains("bogus"), "{log}");
    // The copy survives a life that was made of it.
    drop(life);
    let life = Life::start(folder.path());
    assert_eq!(life.visit("vera", "/secrets/1"), 200);

    let before = copy(folder.path());
    let other = r#"{"id":"guest","tenant":"home","oid":"00000000-0000-0000-0000-000000000005","grants":["secrets"]}"#;
    fs::write(at("people.jsonl"), format!("{other}\n")).unwrap();
    fs::write(at("grants.yaml"), &good).unwrap();
    until(|| life.check()["stale"] == false, "mended");
    assert_eq!((life.visit("vera", "/things/1"), life.visit("nobody", "/things/1")), (200, 403));
    assert_eq!((life.status()["stale"].clone(), life.metric("portcullis_policy_stale")), (Value::Null, "0".to_owned()));
    until(|| fs::canonicalize(at("state/kept/current")).is_ok_and(|copy| copy != before), "kept");
}

#[test]
fn files_that_are_gone_are_no_reason_not_to_start_and_mended_ones_go_through_the_gate() {
    let backend = Backend::hello();
    let folder = kept(&backend);
    let at = |name: &str| folder.path().join(name);
    let routes = fs::read_to_string(at("routes.yaml")).unwrap();
    fs::remove_file(at("routes.yaml")).unwrap();
    let life = Life::start(folder.path());
    assert_eq!(life.visit("vera", "/things/1"), 200);
    fs::write(at("routes.yaml"), routes.replace("gate_only: true", "public: true")).unwrap();
    until(|| life.status()["last_reload"]["outcome"] == "held", "held");
    assert_eq!(life.check()["stale"], true);
    // What is live already is not published again, and yet nothing is stale any more.
    fs::write(at("routes.yaml"), &routes).unwrap();
    until(|| life.check()["stale"] == false, "mended");
    assert_eq!(life.status()["serial"], 1);
}

#[test]
fn a_copy_that_is_not_as_it_was_written_is_not_used() {
    let backend = Backend::hello();
    let append = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "\n").unwrap();
    };
    type Change<'c> = &'c dyn Fn(&Path);
    let cases: [(&str, Change<'_>, &str); 8] = [
        ("a document", &|folder| append(copy(folder).join("1")), "is not what was written"),
        ("people", &|folder| append(copy(folder).join("2")), "people.jsonl` is not what was written"),
        (
            "the manifest",
            &|folder| append(copy(folder).join("manifest.json")),
            "`manifest.json` is not what was written",
        ),
        ("a file is gone", &|folder| fs::remove_file(copy(folder).join("0")).unwrap(), "cannot read"),
        (
            "a link for a file",
            &|folder| {
                let (file, other) = (copy(folder).join("0"), folder.join("other"));
                fs::rename(&file, &other).unwrap();
                symlink(other, file).unwrap();
            },
            "not a regular file",
        ),
        (
            "a copy elsewhere",
            &|folder| {
                let (copy, link) = (copy(folder), folder.join("state/kept/current"));
                let name = copy.file_name().unwrap();
                fs::rename(&copy, folder.join(name)).unwrap();
                fs::remove_file(&link).unwrap();
                symlink(Path::new("../..").join(name), link).unwrap();
            },
            "does not name a copy beside it",
        ),
        (
            "others may write",
            &|folder| fs::set_permissions(copy(folder), fs::Permissions::from_mode(0o777)).unwrap(),
            "others may write",
        ),
        ("no copy", &|folder| fs::remove_file(folder.join("state/kept/current")).unwrap(), "cannot read the link"),
    ];
    for (what, change, told) in cases {
        let folder = kept(&backend);
        change(folder.path());
        fs::write(folder.path().join("grants.yaml"), BROKEN).unwrap();
        let said = refused(folder.path());
        assert!(said.contains("grants.yaml:2:1"), "{what}: {said}");
        assert!(
            said.contains("The last good documents cannot be used either") && said.contains(told),
            "{what}: {said}"
        );
    }
}

#[test]
fn a_copy_of_other_files_or_for_other_tenants_is_not_used() {
    let backend = Backend::hello();
    for (from, to, told) in [
        ("grants: [grants.yaml]", "grants: [grants.yaml, more.yaml]", "names `more.yaml`, which is not among them"),
        ("grants: [grants.yaml]", "grants: [more.yaml]", "does not name `grants.yaml`"),
        ("name: home", "name: elsewhere", "home"),
    ] {
        let folder = kept(&backend);
        let gateway = folder.path().join("gateway.yaml");
        let text = fs::read_to_string(&gateway).unwrap();
        assert!(text.contains(from));
        fs::write(gateway, text.replace(from, to)).unwrap();
        fs::write(folder.path().join("grants.yaml"), BROKEN).unwrap();
        let said = refused(folder.path());
        let (_, kept) =
            said.split_once("The last good documents cannot be used either").unwrap_or_else(|| panic!("{said}"));
        assert!(kept.contains(told), "{said}");
    }
}

#[test]
fn faults_of_other_files_keep_it_from_starting_all_the_same() {
    let backend = Backend::hello();
    let folder = kept(&backend);
    fs::write(folder.path().join("grants.yaml"), BROKEN).unwrap();
    fs::write(folder.path().join("dev.jwks.json"), "{}").unwrap();
    let said = refused(folder.path());
    assert!(said.contains("dev.jwks.json") && said.contains("grants.yaml:2:1"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_nothing_else_happens() {
    let backend = Backend::hello();
    // Below a file there is no directory.
    let folder = folder(&backend, "reload: {last_good: routes.yaml/kept}\n");
    let life = Life::start(folder.path());
    until(|| life.status()["last_good"]["failed"].is_string(), "told");
    assert_eq!(life.visit("vera", "/things/1"), 200);
    assert_ne!(life.metric("portcullis_last_good_failed_total"), "0");
    let log = life.log.lock().unwrap().clone();
    assert!(log.contains("the last good documents are not kept on disk"), "{log}");
    let (code, answer) = life.ask("POST", "/reload");
    assert_eq!((code, &answer["outcome"]), (200, &"unchanged".into()));
}
