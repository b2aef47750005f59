//! The decision log's destinations on real disks and sockets, and `audit.required`: what cannot be logged is not
//! forwarded.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::backend::{Backend, SOON, reply, until};
use crate::gateway::{Door, Setup, token};
use crate::wire::{Client, get};

const REQUIRED: &str = "audit: {required: true}\n";

fn setup(backend: &Backend, to: &str, more: &str) -> Setup {
    Setup { decisions: true, log: format!("to: {to}"), more: more.to_owned(), workers: 1, ..Setup::before(backend) }
}

fn backend() -> Backend {
    Backend::start(|_, stream| reply(stream, "200 OK", b"ok"))
}

/// What one request comes to: its status, and the reason if it was refused.
fn ask(gateway: &Door, path: &str) -> (u16, String) {
    gateway.ask(get(path, &token("olga"))).verdict()
}

fn refused() -> (u16, String) {
    (503, "audit_unavailable".to_owned())
}

/// The paths of all forwarded requests in a decision log, which must be whole lines of JSON.
fn forwarded(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    lines.filter(|line| line["status"] == 200).map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

/// A small disk that has room for all lines of a test, until it is dropped; `None` where this process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path()).output();
        let is_mounted = mount.is_ok_and(|done| done.status.success());
        if !is_mounted {
            eprintln!("no small disk: only root may mount one");
        }
        is_mounted.then_some(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.path("filler")).unwrap();
        while file.write_all(&[0; 64]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn what_is_only_watched_is_not_forwarded_either_when_it_cannot_be_logged() {
    let Some(disk) = SmallDisk::mount() else { return };
    let backend = backend();
    let log = disk.path("decisions.jsonl");
    let before = setup(&backend, &format!("{{file: {}}}", log.display()), REQUIRED);
    let routes = before.routes.replace("    routes:\n", "    mode: shadow\n    routes:\n");
    let gateway = Setup { routes, ..before }.start();
    let watched = |gateway: &Door| gateway.ask(get("/secrets/1", &token("nils"))).verdict();
    assert_eq!(watched(&gateway).0, 200);
    disk.fill();
    let begun = Instant::now();
    while watched(&gateway) != refused() {
        assert!(begun.elapsed() < SOON);
    }
    let reached = backend.seen().len();
    for _ in 0..20 {
        assert_eq!(watched(&gateway), refused());
    }
    assert_eq!(backend.seen().len(), reached, "nothing was forwarded");
}

#[test]
fn on_a_full_disk_nothing_is_forwarded_that_is_not_logged_and_it_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount() else { return };
    let backend = backend();
    let log = disk.path("decisions.jsonl");
    let gateway = setup(&backend, &format!("{{file: {}}}", log.display()), REQUIRED).start();
    let mut passed = Vec::new();
    for round in 0..3 {
        assert_eq!(ask(&gateway, &format!("/things/{round}/before")).0, 200);
        passed.push(format!("/things/{round}/before"));
        disk.fill();
        // The rest of the page that the log has begun may take some lines.
        let begun = Instant::now();
        let mut number = 0;
        let first_refusal = loop {
            let path = format!("/things/{round}/{number}");
            match ask(&gateway, &path) {
                (200, _) => passed.push(path),
                refusal => break refusal,
            }
            number += 1;
            assert!(begun.elapsed() < SOON);
        };
        assert_eq!(first_refusal, refused());
        assert_eq!(gateway.metric("portcullis_log_writable"), 0);
        let ready = gateway.admin("GET", "/readyz", "");
        assert_eq!((ready.status, &ready.json()["missing"]), (503, &serde_json::json!([{"what": "decision_log"}])));
        let reached = backend.seen().len();
        for _ in 0..50 {
            assert_eq!(ask(&gateway, "/things/refused"), refused());
        }
        assert_eq!(backend.seen().len(), reached, "nothing was forwarded");
        disk.free();
        until(|| gateway.metric("portcullis_log_writable") == 1, "it goes on");
    }
    assert_eq!(ask(&gateway, "/things/after").0, 200);
    passed.push("/things/after".to_owned());
    drop(gateway);
    assert_eq!(forwarded(&log), passed, "each forwarded request has its line, once and whole");
}

#[test]
fn without_the_audit_a_full_disk_costs_lines_which_are_counted_and_no_request() {
    let backend = backend();
    let gateway = setup(&backend, "{file: /dev/full}", "").start();
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "/things/1").0, 200);
    }
    until(|| gateway.metric("portcullis_log_lines_dropped_total") == 20, "lines are counted");
    assert_eq!(gateway.metric("portcullis_log_writable"), 0);
}

#[test]
fn a_device_that_is_full_from_the_beginning_lets_nothing_through_but_what_came_before_it_was_noticed() {
    let backend = backend();
    let gateway = setup(&backend, "{file: /dev/full}", REQUIRED).start();
    assert_eq!(ask(&gateway, "/things/1").0, 200, "nobody knows yet; the line is kept");
    until(|| ask(&gateway, "/things/2") == refused(), "noticed");
    let reached = backend.seen().len();
    assert_eq!(ask(&gateway, "/secrets/1").0, 403, "a refusal stays what it is");
    assert_eq!(ask(&gateway, "/things/3"), refused());
    assert_eq!((backend.seen().len(), gateway.metric("portcullis_requests_in_flight")), (reached, 0));
}

#[test]
fn a_directory_that_is_gone_is_noticed_without_a_request_and_so_is_its_return() {
    let backend = backend();
    let folder = tempfile::tempdir().unwrap();
    let (there, away) = (folder.path().join("logs"), folder.path().join("away"));
    fs::create_dir(&there).unwrap();
    let log = there.join("decisions.jsonl");
    let gateway = setup(&backend, &format!("{{file: {}}}", log.display()), REQUIRED).start();
    assert_eq!(ask(&gateway, "/things/1").0, 200);
    until(|| log.exists() && forwarded(&log).len() == 1, "the first line");
    fs::rename(&there, &away).unwrap();
    until(|| gateway.metric("portcullis_log_writable") == 0, "the directory is gone");
    assert_eq!(ask(&gateway, "/things/2"), refused());
    assert_eq!(backend.seen().len(), 1);
    fs::create_dir(&there).unwrap();
    until(|| gateway.metric("portcullis_log_writable") == 1, "the directory is back");
    assert_eq!(ask(&gateway, "/things/3").0, 200);
    drop(gateway);
    assert_eq!(
        (forwarded(&log), forwarded(&away.join("decisions.jsonl"))),
        (vec!["/things/3".into()], vec!["/things/1".into()])
    );
}

#[test]
fn a_reader_that_stalls_stops_requests_before_lines_are_lost_and_never_makes_one_wait() {
    let backend = backend();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let daemon = UnixDatagram::bind(&socket).unwrap();
    let gateway = setup(&backend, &format!("{{syslog: {}}}", socket.display()), REQUIRED).start();
    let long = "x".repeat(1000);
    let mut client = gateway.connect();
    let (mut passed, mut slowest) = (0, Duration::ZERO);
    loop {
        let begun = Instant::now();
        let verdict = client.ask(get(&format!("/things/{passed}/{long}"), &token("olga"))).verdict();
        slowest = slowest.max(begun.elapsed());
        if verdict != (200, String::new()) {
            assert_eq!(verdict, refused());
            break;
        }
        passed += 1;
        assert!(passed < 20_000, "8 MiB of records may wait");
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(passed > 2_000, "{passed}");
    assert_eq!(gateway.metric("portcullis_log_lines_dropped_total"), 0);
    // The reader goes on: every line of a request that passed is there.
    let reading = std::thread::spawn(move || {
        daemon.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut message = vec![0; 1 << 17];
        let mut paths = Vec::new();
        while let Ok(length) = daemon.recv(&mut message) {
            let text = std::str::from_utf8(&message[..length]).unwrap();
            let line: Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
            if line["path"] == "/things/last" {
                break;
            }
            if line["status"] == 200 {
                paths.push(line["path"].as_str().unwrap().split('/').nth(2).unwrap().parse::<i32>().unwrap());
            }
        }
        paths
    });
    until(|| ask(&gateway, "/things/last").0 == 200, "it goes on");
    assert_eq!(reading.join().unwrap(), (0..passed).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_moved_away_is_followed_by_a_new_one_with_and_without_a_signal() {
    let backend = backend();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let mut gateway = setup(&backend, &format!("{{file: {}}}", log.display()), "").spawn();
    for (number, signal) in [None, Some("USR1"), None].into_iter().enumerate() {
        assert_eq!(ask(&gateway, &format!("/things/{number}")).0, 200);
        until(|| log.exists() && forwarded(&log).len() == 1, "its line");
        fs::rename(&log, folder.path().join(format!("moved.{number}"))).unwrap();
        signal.into_iter().for_each(|name| gateway.signal(name));
    }
    assert_eq!(ask(&gateway, "/things/last").0, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(SOON), 0);
    for number in 0..3 {
        assert_eq!(forwarded(&folder.path().join(format!("moved.{number}"))), [format!("/things/{number}")]);
    }
    assert_eq!(forwarded(&log), ["/things/last"], "what was logged last is written before the end");
}

#[test]
fn files_are_rotated_under_load_without_a_line_lost() {
    let backend = backend();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let to = format!("{{file: {}, rotate: {{size: 1MiB, keep: 9}}}}", log.display());
    let gateway = setup(&backend, &to, "").start();
    let long = "x".repeat(1000);
    let mut client: Client = gateway.connect();
    for number in 0..2_000 {
        assert_eq!(client.ask(get(&format!("/things/{number}/{long}"), &token("olga"))).status, 200);
    }
    drop(gateway);
    let aside = |number: usize| folder.path().join(format!("decisions.jsonl.{number}"));
    let old = (1..=9).rev().map(aside).filter(|path| path.exists());
    let files: Vec<PathBuf> = old.chain([log]).collect();
    assert!(files.len() > 2, "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 1 << 20));
    let paths: Vec<String> = files.iter().flat_map(|file| forwarded(file)).collect();
    assert!(paths.into_iter().eq((0..2_000).map(|number| format!("/things/{number}/{long}"))));
}

#[test]
fn a_destination_that_is_not_there_keeps_the_gateway_from_starting_and_is_named() {
    let backend = backend();
    for to in ["{file: nowhere/decisions.jsonl}", "{syslog: nowhere}"] {
        let Err(error) = setup(&backend, to, "").try_start() else { panic!("started with {to}") };
        assert_eq!(error.exit_code(), 1);
        let text = error.to_string();
        assert!(text.contains("`log.to`") && text.contains("No such file"), "{text}");
    }
}
