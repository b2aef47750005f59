//! A dry run of a reload where the principals are rows: both sides have the rows of now, so it tells what the files change.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::backend::until;
use crate::gateway::ADMIN_TOKEN;

fn dry_run(gateway: &Gateway) -> Value {
    let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n");
    loop {
        let answer = gateway.admin("POST", "/reload?dry_run=true", &lines);
        if answer.status != 429 {
            assert_eq!(answer.status, 200, "{}", answer.text());
            return answer.json();
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn it_tells_what_the_files_change_for_the_rows_of_now_and_nothing_that_rows_change() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let strict = "reload: {gate: {gain: 0%, lose: 0%, few: 0}}\n".to_owned();
    let gateway = Setup { more: strict, ..setup(&backend, &database.url(), "") }.start();
    let (before, now) = (tempfile::tempdir().unwrap(), gateway.file(""));
    for entry in fs::read_dir(&now).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), before.path().join(entry.file_name())).unwrap();
    }
    // A right that is taken from one row and given to another, after the start.
    database.run("DELETE FROM portcullis.grants WHERE principal = 'olga'");
    database.run("INSERT INTO portcullis.grants (principal, role) VALUES ('nils', 'reader')");
    let asked = |who| status(&gateway, who, "/things/1");
    until(|| (asked("olga"), asked("nils")) == (403, 200), "noticed");

    gateway.replace("grants.yaml", &GRANTS.replace("things:read", "secrets:read"));
    let answer = dry_run(&gateway);
    assert_eq!((&answer["outcome"], &answer["verdict"]), (&"tried".into(), &"hold".into()), "{answer:#}");
    let access = answer["diff"]["domains"][0]["access"].as_array().unwrap();
    assert_eq!(access.len(), 2, "{answer:#}");
    assert!(access.iter().all(|change| change["at"][0]["principals"] == serde_json::json!(["nils", "vera"])));

    let now = now.display().to_string();
    let now = now.trim_end_matches('/');
    let before = before.path().display().to_string();
    let done = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["diff", &before, now, "--output", "json"]).output();
    let told = String::from_utf8(done.unwrap().stdout).unwrap().replace(&before, now);
    // Which line a row is on is a matter of the order in which it came.
    let told: Vec<&str> = told.lines().filter(|line| !line.contains("(rows of app)")).collect();
    let found = format!("{:#}", answer["diff"]);
    assert_eq!(found.lines().filter(|line| !line.contains("(rows of app)")).collect::<Vec<&str>>(), told);
    assert_eq!((asked("vera"), status(&gateway, "vera", "/secrets/1")), (200, 403), "nothing is published");
}
