//! Going back to an older policy: what it decides, what undoes it and what does not, and that no request notices.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use backend::{Backend, until};
use gateway::{ADMIN_TOKEN, Door, Setup, token};
use serde_json::{Value, json};
use wire::get;

/// The grants of a setup, where vera holds something else.
fn grants(setup: &Setup, held: &str) -> String {
    let changed = setup.grants.replace("grants: [things:read]", &format!("grants: [{held}]"));
    assert_ne!(changed, setup.grants);
    changed
}

/// Asks the operators' listener with the token, again where that was too often; status and body.
fn ask(door: &Door, method: &str, path: &str) -> (u16, Value) {
    let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n");
    loop {
        let answer = door.admin(method, path, &lines);
        if answer.status != 429 {
            return (answer.status, answer.json());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn status(door: &Door) -> Value {
    ask(door, "GET", "/status").1
}

/// What vera gets.
fn vera(door: &Door, target: &str) -> u16 {
    door.ask(get(target, &token("vera"))).status
}

/// The state of the check `policy`, and whether it says that an older policy is live.
fn check(door: &Door) -> (String, bool) {
    let (_, body) = ask(door, "GET", "/readyz");
    let checks = body["checks"].as_array().unwrap();
    let policy = checks.iter().find(|check| check["check"] == "policy").unwrap();
    (policy["state"].as_str().unwrap().to_owned(), policy["rolled_back"].as_bool().unwrap())
}

/// Replaces the grants and waits until this serial is live.
fn publish(door: &Door, text: &str, serial: u64) {
    door.replace("grants.yaml", text);
    until(|| door.serial() == serial, "published");
}

/// Three policies: vera may read things, then nothing, then secrets.
fn three() -> (Backend, gateway::Gateway, [String; 3]) {
    let backend = Backend::hello();
    let setup = Setup::before(&backend);
    let texts = [setup.grants.clone(), grants(&setup, ""), grants(&setup, "secrets")];
    let gateway = setup.start();
    publish(&gateway, &texts[1], 2);
    publish(&gateway, &texts[2], 3);
    (backend, gateway, texts)
}

#[test]
fn an_older_policy_decides_again_under_a_new_serial() {
    let (_backend, gateway, _) = three();
    assert_eq!((vera(&gateway, "/things/1"), vera(&gateway, "/secrets/1")), (403, 200));
    let (code, answer) = ask(&gateway, "POST", "/rollback?reason=too+much");
    assert_eq!(
        (code, &answer["outcome"], &answer["serial"], &answer["to"]),
        (200, &json!("published"), &json!(4), &json!(2))
    );
    let domain = &answer["changes"]["domains"][0];
    assert_eq!((&domain["gain"], &domain["losing"]), (&json!(0), &json!(["vera"])), "{answer}");
    assert_eq!((vera(&gateway, "/things/1"), vera(&gateway, "/secrets/1")), (403, 403));

    assert_eq!(ask(&gateway, "POST", "/rollback?serial=1").1["serial"], 5);
    assert_eq!((vera(&gateway, "/things/1"), vera(&gateway, "/secrets/1")), (200, 403));
    let (_, body) = ask(&gateway, "GET", "/history");
    let told: Vec<_> = body["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["serial"], entry["origin"], entry["of"], entry["reason"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!([5, "rollback", 1, null]),
            json!([4, "rollback", 2, "too much"]),
            json!([3, "file_change", null, null]),
            json!([2, "file_change", null, null]),
            json!([1, "start", null, null]),
        ]
    );
    let entry = |at: usize| &body["history"][at];
    assert_eq!((&entry(0)["digest"], &entry(1)["digest"]), (&entry(4)["digest"], &entry(3)["digest"]));
    assert_ne!(entry(0)["digest"], entry(1)["digest"]);
    assert!(entry(0)["by"].as_str().unwrap().starts_with("127.0.0.1:"), "{body}");
    assert_eq!(entry(2)["changes"]["domains"][0], json!({"domain": "app", "principals": 4, "gain": 1, "lose": 0}));
    assert_eq!(body["rolled_back"]["to"], 1);
    // The files say what the third one said.
    assert_eq!(ask(&gateway, "POST", "/rollback?serial=3").1["serial"], 6);
    assert_eq!(status(&gateway)["rolled_back"], Value::Null);
    assert_eq!(check(&gateway), ("ok".to_owned(), false));
}

#[test]
fn files_that_say_the_same_do_not_undo_it_and_operators_are_told() {
    let backend = Backend::hello();
    let setup = Setup::before(&backend);
    let texts = [setup.grants.clone(), grants(&setup, ""), grants(&setup, "secrets")];
    let process = setup.spawn();
    publish(&process, &texts[1], 2);
    assert_eq!(process.metric("portcullis_policy_rolled_back"), 0);
    assert_eq!(ask(&process, "POST", "/rollback").1["serial"], 3);
    assert_eq!(check(&process), ("warn".to_owned(), true));
    assert_eq!(status(&process)["rolled_back"]["to"], 1);
    assert_eq!(process.metric("portcullis_policy_rolled_back"), 1);
    assert_eq!(process.metric("portcullis_policy_serial"), 3);

    let kept = |by: &str| {
        let last = &status(&process)["last_reload"];
        (&last["outcome"], &last["trigger"]) == (&json!("kept"), &json!(by))
    };
    process.replace("grants.yaml", &texts[1]);
    until(|| kept("file_change"), "looked at");
    process.signal("HUP");
    until(|| kept("signal"), "looked at again");
    // A bad edit, and its undoing, change nothing either.
    process.replace("grants.yaml", "version: 1\nbogus: 1\n");
    until(|| status(&process)["last_reload"]["outcome"] == "rejected", "rejected");
    process.replace("grants.yaml", &texts[1]);
    until(|| kept("file_change"), "looked at once more");
    assert_eq!((process.serial(), vera(&process, "/things/1")), (3, 200));
    assert_eq!(check(&process), ("warn".to_owned(), true));

    publish(&process, &texts[2], 4);
    assert_eq!((vera(&process, "/things/1"), vera(&process, "/secrets/1")), (403, 200));
    assert_eq!((check(&process), status(&process)["rolled_back"].clone()), (("ok".to_owned(), false), Value::Null));
    assert_eq!(process.metric("portcullis_policy_rolled_back"), 0);
}

#[test]
fn a_call_publishes_the_files_again_and_so_does_writing_what_is_live() {
    let (_backend, gateway, texts) = three();
    ask(&gateway, "POST", "/rollback");
    let (_, answer) = ask(&gateway, "POST", "/reload?dry_run=true");
    assert_eq!((&answer["outcome"], &answer["serial"]), (&json!("tried"), &json!(4)), "{answer}");
    assert_eq!(check(&gateway), ("warn".to_owned(), true));
    let (_, answer) = ask(&gateway, "POST", "/reload");
    assert_eq!((&answer["outcome"], &answer["serial"]), (&json!("published"), &json!(5)), "{answer}");
    assert_eq!((check(&gateway), vera(&gateway, "/secrets/1")), (("ok".to_owned(), false), 200));

    ask(&gateway, "POST", "/rollback?serial=2");
    gateway.replace("grants.yaml", &texts[1]);
    until(|| check(&gateway) == ("ok".to_owned(), false), "the files say what is live");
    assert_eq!(gateway.serial(), 6);
    // From here on, what was gone back from is as new as anything else.
    publish(&gateway, &texts[2], 7);
}

#[test]
fn a_dry_run_tells_and_publishes_nothing() {
    let (_backend, gateway, _) = three();
    let (code, answer) = ask(&gateway, "POST", "/rollback?serial=1&dry_run=true");
    assert_eq!(
        (code, &answer["outcome"], &answer["serial"], &answer["to"]),
        (200, &json!("tried"), &json!(3), &json!(1))
    );
    assert_eq!(answer["changes"]["domains"][0]["losing"], json!(["vera"]), "{answer}");
    assert_eq!((gateway.serial(), status(&gateway)["rolled_back"].clone()), (3, Value::Null));
    assert_eq!(ask(&gateway, "GET", "/history").1["history"].as_array().unwrap().len(), 3);
}

#[test]
fn only_so_many_are_kept_and_the_others_are_unknown() {
    let backend = Backend::hello();
    let setup = Setup::before(&backend);
    let texts = [grants(&setup, ""), grants(&setup, "secrets")];
    let gateway = Setup { more: "reload: {history: 2}\n".to_owned(), ..setup }.start();
    let (code, answer) = ask(&gateway, "POST", "/rollback");
    assert_eq!((code, &answer["error"]), (409, &json!("nothing_older")), "{answer}");
    for serial in 2..=5 {
        publish(&gateway, &texts[serial as usize % 2], serial);
    }
    let serials = |body: &Value| {
        body["history"].as_array().unwrap().iter().map(|entry| entry["serial"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(serials(&ask(&gateway, "GET", "/history").1), [5, 4, 3]);
    for serial in ["1", "2", "5", "9"] {
        let (code, answer) = ask(&gateway, "POST", &format!("/rollback?serial={serial}"));
        assert_eq!(
            (code, &answer["error"], &answer["serials"]),
            (404, &json!("unknown_serial"), &json!([4, 3])),
            "{serial}"
        );
    }
    assert_eq!(gateway.serial(), 5);

    let gateway = Setup { more: "reload: {history: 0}\n".to_owned(), ..Setup::before(&backend) }.start();
    publish(&gateway, &texts[0], 2);
    assert_eq!(ask(&gateway, "POST", "/rollback").0, 409);
}

#[test]
fn nobody_goes_back_or_sees_the_history_without_the_token() {
    let (_backend, gateway, _) = three();
    for lines in ["Content-Length: 0\r\n", "Authorization: Bearer wrong\r\nContent-Length: 0\r\n"] {
        assert_eq!(gateway.admin("POST", "/rollback", lines).status, 401);
        assert_eq!(gateway.admin("GET", "/history", lines).status, 401);
    }
    assert_eq!(ask(&gateway, "POST", "/rollback?serial=one").0, 400);
    assert_eq!(gateway.serial(), 3);
}

#[test]
fn the_verb_goes_back_lists_and_says_why_not() {
    let backend = Backend::hello();
    let setup = Setup::before(&backend);
    let next = grants(&setup, "");
    let gateway = setup.start();
    // The port that was chosen, for those who read the file.
    let text = std::fs::read_to_string(gateway.file("gateway.yaml")).unwrap();
    let text = text.replace("admin: {address: \"127.0.0.1:0\"", &format!("admin: {{address: \"{}\"", gateway.admin));
    gateway.replace("gateway.yaml", &text);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command.arg("rollback").args(arguments).arg("--config").arg(gateway.file("gateway.yaml")).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = run(&[]);
    assert!(code == 1 && said.contains("no older policy is kept"), "{code} {said}");
    publish(&gateway, &next, 2);
    let (code, said) = run(&["--dry-run"]);
    assert!(
        code == 0 && said.contains("1 of 4 principals gain access") && said.contains("would go back to 1"),
        "{said}"
    );
    let (code, said) = run(&["7"]);
    assert!(code == 1 && said.contains("there are 1"), "{code} {said}");
    let (code, said) = run(&["1", "--reason", "ticket 4711 & more"]);
    assert!(code == 0 && said.contains("rolled back to 1: serial 3"), "{code} {said}");
    let (code, said) = run(&["--list"]);
    assert!(code == 0 && said.starts_with("live 3 ") && said.contains("rollback to 1"), "{code} {said}");
    assert!(said.contains("ticket 4711 & more") && said.contains("the files say something else"), "{said}");
    let (code, said) = run(&["--list", "--output", "json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()["history"][0]["serial"].clone()), (0, json!(3)));
    assert_eq!(run(&["--list", "1"]).0, 2);
}

#[test]
fn no_request_fails_and_every_answer_fits_its_serial() {
    let backend = Backend::hello();
    let setup = Setup { decisions: true, ..Setup::before(&backend) };
    let next = grants(&setup, "");
    let process = setup.spawn();
    let done = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, request) = (process.connect(), get("/things/1", &token("vera")));
                    let mut asked = 0;
                    while !done.load(Ordering::Acquire) {
                        let (status, reason) = client.ask(&request).verdict();
                        assert!(status == 200 || (status == 403 && reason == "right_missing"), "{status} {reason}");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        process.replace("grants.yaml", &next);
        until(|| process.serial() == 2, "published");
        for serial in 3..=32 {
            assert_eq!(ask(&process, "POST", "/rollback").1["serial"], serial);
        }
        done.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    assert!(asked > 30, "{asked}");
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..asked {
        let line = process.decision();
        let serial = line["serial"].as_u64().unwrap();
        serials.insert(serial);
        assert_eq!(line["decision"], if serial % 2 == 1 { "allow" } else { "deny" }, "{line}");
    }
    assert!(serials.len() > 2, "{serials:?}");
}
