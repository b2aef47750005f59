//! Live documents of a running gateway: every way of changing a file is noticed within a second, a bad edit keeps the
//! policy that was live, and operators are told.

#[path = "support/operator.rs"]
mod operator;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::config;
use portcullis::diag::Report;
use portcullis::serve::{self, Ended, Options, Running};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const GATEWAY: &str = "version: 1\n\
    listeners: [{address: \"127.0.0.1:0\"}]\n\
    admin: {address: \"127.0.0.1:0\", token_file: admin.token}\n\
    routes: [routes.yaml]\n\
    grants: [grants]\n\
    log: {decisions: false}\n\
    timeouts: {drain: 1s}\n";
const GRANTS: &str = "version: 1\ndomain: app\nprincipals: []\n";

/// A route map that differs with `number`.
fn routes(number: u64) -> String {
    format!("version: 1\nsettings: {{number: {number}}}\napplications: []\n")
}

struct Gateway {
    dir: tempfile::TempDir,
    running: Running,
}

impl Gateway {
    /// Starts a gateway on a folder that `arrange` may rearrange before.
    fn start(arrange: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("grants")).unwrap();
        for (name, text) in [
            ("gateway.yaml", GATEWAY),
            ("routes.yaml", &routes(0)),
            ("grants/app.yaml", GRANTS),
            ("admin.token", TOKEN),
        ] {
            fs::write(at(name), text).unwrap();
        }
        arrange(dir.path());
        let mut report = Report::new();
        let config = config::load(&at("gateway.yaml"), &mut report);
        let config = config.unwrap_or_else(|| panic!("{}", report.render()));
        let running = serve::start(config, Options { workers: Some(1) }).unwrap_or_else(|error| panic!("{error}"));
        Self { dir, running }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serial(&self) -> u64 {
        self.running.live().load().serial
    }

    /// Waits for a serial, a second at most; how long it took.
    fn reaches(&self, serial: u64, what: &str) {
        let begun = Instant::now();
        while self.serial() < serial {
            assert!(begun.elapsed() < Duration::from_secs(1), "{what}: not noticed within a second");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.serial(), serial, "{what}");
    }

    /// Asks the operators' listener; status and body.
    fn ask(&self, request: &str) -> (u16, serde_json::Value) {
        let (status, body) = operator::ask(self.running.admin_address().unwrap(), TOKEN, request);
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until the last reload had this outcome, two seconds at most.
    fn last_outcome(&self, outcome: &str) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let (_, status) = self.ask("GET /status");
            if status["last_reload"]["outcome"] == outcome {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(2), "{status}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(self) {
        self.running.shutdown();
        assert_eq!(self.running.wait(), Ended::Drained);
    }
}

#[test]
fn every_way_of_changing_a_file_is_noticed_within_a_second() {
    let gateway = Gateway::start(|_| {});
    let file = gateway.at("routes.yaml");
    fs::write(&file, routes(1)).unwrap();
    gateway.reaches(2, "truncated and written");

    fs::write(gateway.at("new"), routes(2)).unwrap();
    fs::rename(gateway.at("new"), &file).unwrap();
    gateway.reaches(3, "renamed over");

    fs::rename(&file, gateway.at("routes.yaml~")).unwrap();
    fs::write(&file, routes(3)).unwrap();
    gateway.reaches(4, "moved away and written anew");

    fs::write(gateway.at("grants/more.yaml"), GRANTS.replace("app", "more")).unwrap();
    gateway.reaches(5, "a document added to a directory");

    fs::remove_file(gateway.at("grants/more.yaml")).unwrap();
    gateway.reaches(6, "a document removed from a directory");
    gateway.end();
}

#[test]
fn a_swap_of_the_data_symlink_as_kubernetes_makes_it_is_noticed_within_a_second() {
    let gateway = Gateway::start(|dir| {
        for (number, name) in ["..1", "..2"].into_iter().enumerate() {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("routes.yaml"), routes(number as u64)).unwrap();
        }
        fs::remove_file(dir.join("routes.yaml")).unwrap();
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/routes.yaml", dir.join("routes.yaml")).unwrap();
    });
    symlink("..2", gateway.at("..data_tmp")).unwrap();
    fs::rename(gateway.at("..data_tmp"), gateway.at("..data")).unwrap();
    fs::remove_dir_all(gateway.at("..1")).unwrap();
    gateway.reaches(2, "symlink swapped");
    gateway.end();
}

#[test]
fn a_bad_edit_keeps_the_old_policy_and_is_told_until_it_is_repaired() {
    let gateway = Gateway::start(|_| {});
    let before = gateway.running.live().load();
    fs::write(gateway.at("routes.yaml"), "version: 1\napplicatoins: []\nupstream: {}\n").unwrap();
    let status = gateway.last_outcome("rejected");
    assert_eq!((&status["serial"], &status["last_reload"]["errors"]), (&1.into(), &2.into()), "{status}");
    assert!(std::sync::Arc::ptr_eq(&before.routes, &gateway.running.live().load().routes));
    let (code, ready) = gateway.ask("GET /readyz");
    assert_eq!((code, &ready["last_reload_failed"]["outcome"]), (200, &"rejected".into()));
    let (code, answer) = gateway.ask("POST /reload");
    let report = answer["report"].as_str().unwrap();
    assert!(code == 422 && report.contains("routes.yaml:2:1") && report.contains("routes.yaml:3:1"), "{answer}");

    fs::write(gateway.at("routes.yaml"), routes(0)).unwrap();
    gateway.last_outcome("unchanged");
    assert_eq!(gateway.ask("GET /readyz").1["last_reload_failed"], serde_json::Value::Null);
    fs::write(gateway.at("routes.yaml"), routes(1)).unwrap();
    gateway.reaches(2, "repaired and edited");
    gateway.end();
}

#[test]
fn a_file_of_principals_is_part_of_what_is_live() {
    let table = |last: &str| format!("id\ttenant\t{last}");
    let gateway = Gateway::start(|dir| {
        fs::write(dir.join("grants/app.yaml"), format!("{GRANTS}principals_from: [people.tsv]\n")).unwrap();
        fs::write(dir.join("grants/people.tsv"), table("oid\n")).unwrap();
    });
    let file = gateway.at("grants/people.tsv");
    fs::write(&file, table("subject\n")).unwrap();
    gateway.reaches(2, "truncated and written");

    fs::write(gateway.at("new"), table("subject\tflags\n")).unwrap();
    fs::rename(gateway.at("new"), &file).unwrap();
    gateway.reaches(3, "renamed over");

    fs::write(&file, table("subject\tfl")).unwrap();
    let status = gateway.last_outcome("rejected");
    assert_eq!(status["serial"], 3, "{status}");
    let report = gateway.ask("POST /reload").1["report"].as_str().unwrap().to_owned();
    assert!(report.contains("people.tsv:1:1") && report.contains("the last line has no end"), "{report}");

    fs::write(&file, table("subject\tflags\n")).unwrap();
    gateway.last_outcome("unchanged");
    assert_eq!(gateway.serial(), 3);
    gateway.end();
}

#[test]
fn a_file_that_is_missing_for_a_while_keeps_the_old_policy() {
    let gateway = Gateway::start(|_| {});
    fs::remove_file(gateway.at("routes.yaml")).unwrap();
    gateway.last_outcome("rejected");
    assert_eq!(gateway.serial(), 1);
    fs::write(gateway.at("routes.yaml"), routes(1)).unwrap();
    gateway.reaches(2, "there again");
    gateway.end();
}

#[test]
fn touching_a_file_or_asking_without_a_change_publishes_nothing() {
    let gateway = Gateway::start(|_| {});
    fs::write(gateway.at("routes.yaml"), routes(0)).unwrap();
    gateway.last_outcome("unchanged");
    let (code, answer) = gateway.ask("POST /reload");
    assert_eq!((code, answer), (200, serde_json::json!({"outcome": "unchanged", "serial": 1})));
    gateway.running.reload();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(gateway.serial(), 1);
    gateway.end();
}

#[test]
fn a_drain_ends_and_nothing_is_accepted_afterwards() {
    let gateway = Gateway::start(|_| {});
    let addresses = [gateway.running.addresses()[0], gateway.running.admin_address().unwrap()];
    gateway.end();
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address} still accepts");
    }
}
