//! A candidate policy beside the live one, where the principals are rows: it has the rows of now, whatever changes.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::backend::until;
use crate::gateway::ADMIN_TOKEN;

const THING: &str = "/things/1";

fn shadow(gateway: &Gateway, method: &str, query: &str) -> Value {
    let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n");
    loop {
        let answer = gateway.admin(method, &format!("/shadow{query}"), &lines);
        if answer.status != 429 {
            assert_eq!(answer.status, 200, "{}", answer.text());
            return answer.json();
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// The report once nothing waits.
fn report(gateway: &Gateway) -> Value {
    let mut body = Value::Null;
    until(
        || {
            body = shadow(gateway, "GET", "");
            body["waiting"] == 0
        },
        "judged",
    );
    body
}

#[test]
fn a_candidate_has_the_rows_of_now_and_differs_by_what_its_documents_say() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let mut setup = setup(&backend, &database.url(), "");
    setup.more = "shadow: {candidates: candidates}\n".to_owned();
    let next = GRANTS.replace("things:read", "secrets:read");
    let routes = setup.routes.clone();
    let gateway = setup.start();
    let folder = gateway.file("candidates/next");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("routes.yaml"), routes).unwrap();
    fs::write(folder.join("grants.yaml"), next).unwrap();
    assert_eq!(shadow(&gateway, "POST", "?candidate=next")["outcome"], "loaded");
    let asked = || ["olga", "vera", "nils"].map(|who| status(&gateway, who, THING));
    assert_eq!(asked(), [200, 200, 403]);
    let first = report(&gateway);
    let denied = |report: &Value| report["denied"][0]["who"].clone();
    let vera = |requests: u64, last: &Value| json!([{"principal": "vera", "reason": "right_missing:things@root", "requests": requests, "last": last}]);
    assert_eq!(denied(&first), vera(1, &first["denied"][0]["last"]), "{first:#}");
    assert_eq!((&first["requests"]["newly_allowed"], &first["requests"]["same"]), (&json!(0), &json!(2)));

    // A right that is taken from one and given to another, in both.
    database.run("DELETE FROM portcullis.grants WHERE principal = 'olga'");
    database.run("INSERT INTO portcullis.grants (principal, \"right\", level) VALUES ('nils', 'things', NULL)");
    until(|| (status(&gateway, "olga", THING), status(&gateway, "nils", THING)) == (403, 200), "noticed");
    let settled = report(&gateway)["requests"]["same"].as_u64().unwrap();
    assert_eq!(asked(), [403, 200, 200]);
    let second = report(&gateway);
    assert_eq!(denied(&second), vera(2, &second["denied"][0]["last"]), "{second:#}");
    assert_eq!((&second["requests"]["newly_allowed"], &second["requests"]["same"]), (&json!(0), &json!(settled + 2)));
    assert_eq!(second["restarts"], 0);
}
