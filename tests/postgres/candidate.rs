//! A candidate policy beside the live one, where the principals are rows: it has the rows of now, whatever changes.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::backend::until;
use crate::gateway::ADMIN_TOKEN;
use crate::postgres::Relay;

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

/// A gateway with a candidate that has other grants.
fn before(setup: Setup, grants: &str) -> Gateway {
    let setup = Setup { more: "shadow: {candidates: candidates}\n".to_owned(), ..setup };
    let routes = setup.routes.clone();
    let gateway = setup.start();
    let folder = gateway.file("candidates/next");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("routes.yaml"), routes).unwrap();
    fs::write(folder.join("grants.yaml"), grants).unwrap();
    assert_eq!(shadow(&gateway, "POST", "?candidate=next")["outcome"], "loaded");
    gateway
}

#[test]
fn a_candidate_has_the_rows_of_now_and_differs_by_what_its_documents_say() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = before(setup(&backend, &database.url(), ""), &GRANTS.replace("things:read", "secrets:read"));
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

#[test]
fn rows_that_are_too_old_are_withheld_from_the_candidate_too() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = people(server);
    let relay = Relay::to(server.address());
    let more = ", poll: 1s, connect_timeout: 500ms, statement_timeout: 500ms, max_staleness: 3s, on_stale: deny";
    let gateway = before(setup(&backend, &database.url_at(relay.address()), more), GRANTS);
    assert_eq!(status(&gateway, "olga", THING), 200);
    relay.stall(true);
    let stale = || verdict(&gateway, "olga", THING) == (503, "grants_stale".to_owned());
    until(stale, "denied");
    let differing = |report: &Value| {
        let sums = ["newly_denied", "newly_allowed", "reason_changed"].map(|name| report["requests"][name].as_u64());
        sums.into_iter().flatten().sum::<u64>()
    };
    let settled = report(&gateway);
    assert!(stale());
    let during = report(&gateway);
    assert_eq!(during["requests"]["same"].as_u64(), settled["requests"]["same"].as_u64().map(|same| same + 1));
    assert_eq!(differing(&during), 0, "{during:#}");
    // And from one that is loaded meanwhile.
    assert_eq!(shadow(&gateway, "POST", "?candidate=next")["outcome"], "loaded");
    assert!(stale());
    let loaded = report(&gateway);
    assert_eq!((&loaded["requests"]["same"], differing(&loaded)), (&json!(1), 0), "{loaded:#}");
    relay.stall(false);
    until(|| status(&gateway, "olga", THING) == 200, "open again");
    assert_eq!(differing(&report(&gateway)), 0);
}
