//! A candidate policy beside the live one, on real traffic: what it would change is found, all of it and nothing else, and
//! no request notices.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::Duration;

use backend::{Backend, until};
use gateway::{ADMIN_TOKEN, Door, Setup, token};
use serde_json::{Value, json};
use wire::{Repeated, block_on, get, h2_request, http2, request};

const NOTHING: &str = "version: 1\nbogus: 1\n";

/// A gateway for which candidates lie in `candidates`.
fn before(backend: &Backend) -> Setup {
    Setup { more: "shadow: {candidates: candidates}\nreload: {gate: off}\n".to_owned(), ..Setup::before(backend) }
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

/// Writes a candidate.
fn write(door: &Door, name: &str, routes: &str, grants: &str) {
    let folder = door.file("candidates").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("routes.yaml"), routes).unwrap();
    fs::write(folder.join("grants.yaml"), grants).unwrap();
}

/// Writes a candidate and has it judged.
fn load(door: &Door, name: &str, routes: &str, grants: &str) {
    write(door, name, routes, grants);
    let (code, body) = ask(door, "POST", &format!("/shadow?candidate={name}"));
    assert_eq!((code, &body["outcome"]), (200, &json!("loaded")), "{body}");
}

/// The report, once so many requests were looked at.
fn report(door: &Door, seen: u64) -> Value {
    let mut body = Value::Null;
    until(
        || {
            body = ask(door, "GET", "/shadow").1;
            body["waiting"] == 0 && body["requests"]["seen"].as_u64() >= Some(seen)
        },
        "judged",
    );
    body
}

/// All changes: whether they are gains, route, method, principal, reason and requests.
fn changes(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for list in ["denied", "allowed"] {
        for group in report[list].as_array().unwrap() {
            let unseen = if group["enforced"] == true { "" } else { " unseen" };
            for one in group["who"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                found.push(format!(
                    "{list}{unseen} {} {} by {} for {}: {}",
                    text(&group["method"]),
                    text(&group["route"]),
                    text(&one["principal"]),
                    text(&one["reason"]),
                    one["requests"]
                ));
            }
        }
    }
    found.sort();
    found
}

fn count(report: &Value, name: &str) -> u64 {
    report["requests"][name].as_u64().unwrap()
}

fn changed(text: &str, from: &str, to: &str) -> String {
    let new = text.replace(from, to);
    assert_ne!(new, text, "{from}");
    new
}

/// What a policy may change: a public route that asks for a token, one that becomes public, one that vanishes, a right that
/// is taken, another that is given.
fn planted(setup: &Setup) -> (String, String) {
    let routes = changed(&setup.routes, "path: /health}, public: true", "path: /health}, gate_only: true");
    let routes = changed(&routes, "path: /staff}, require: [{flag: staff}]", "path: /staff}, public: true");
    let routes: String =
        routes.lines().filter(|line| !line.contains("id: lobby")).map(|line| format!("{line}\n")).collect();
    let grants = changed(&setup.grants, "grants: [things:read]", "grants: [secrets]");
    let grants = changed(&grants, "000000000003}", "000000000003, grants: [things:read]}");
    (routes, grants)
}

/// Requests, and how often each is sent.
fn traffic() -> Vec<(String, usize)> {
    let (olga, vera, nils) = (token("olga"), token("vera"), token("nils"));
    vec![
        (get("/things/1", &olga), 4),
        (get("/things/1", &vera), 3),
        (request("PUT", "/things/1", &vera, "", "x"), 1),
        (get("/things/2", &nils), 2),
        (get("/lobby", &olga), 2),
        (get("/health", ""), 2),
        (get("/health", &olga), 1),
        (get("/staff", ""), 2),
        (get("/staff", "a.b.c"), 1),
        (get("/staff", &vera), 1),
        (get("/things/1", "a.b.c"), 1),
        (get("/things/1", ""), 1),
        (get("/nowhere", &olga), 1),
        (get("/things/../1", &olga), 1),
        (get("/places/south", &olga), 1),
        ("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(), 1),
        (get("/secrets/1", &token("nobody")), 1),
    ]
}

fn send(door: &Door, traffic: &[(String, usize)]) -> u64 {
    for (request, times) in traffic {
        (0..*times).for_each(|_| drop(door.ask(request)));
    }
    traffic.iter().map(|(_, times)| *times as u64).sum()
}

const PLANTED: [&str; 7] = [
    "allowed GET staff by - for invalid_token:not_base64url: 1",
    "allowed GET staff by - for no_token: 2",
    "allowed GET staff by vera for flag_missing:staff: 1",
    "allowed GET thing by nils for right_missing:things@root: 2",
    "denied GET health by - for no_token: 2",
    "denied GET lobby by home/00000000-0000-0000-0000-000000000001 for no_route: 2",
    "denied GET thing by vera for right_missing:things@root: 3",
];

#[test]
fn all_planted_differences_are_found_and_nothing_else_is() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    load(&gateway, "next", &routes, &grants);
    let sent = send(&gateway, &traffic());
    let report = report(&gateway, sent);
    assert_eq!(changes(&report), PLANTED, "{report:#}");
    let sums = ["seen", "judged", "newly_denied", "newly_allowed", "reason_changed"].map(|name| count(&report, name));
    // What vera may not write, she may not for another reason: she held the right for reading.
    assert_eq!(sums, [sent, sent, 7, 6, 1], "{report:#}");
    let thing = report["denied"].as_array().unwrap().iter().find(|group| group["route"] == "thing").unwrap();
    assert_eq!(
        (&thing["path"], &thing["application"], &thing["principals"]),
        (&json!("/things/{...}"), &json!("app"), &json!(1))
    );
    assert_eq!((&report["serial"], &report["restarts"]), (&json!(1), &json!(0)));
    for (outcome, requests) in [("newly_denied", 7), ("newly_allowed", 6), ("reason_changed", 1), ("same", sent - 14)] {
        let series = format!("portcullis_candidate_requests_total{{outcome=\"{outcome}\"}} {requests}\n");
        assert!(gateway.admin("GET", "/metrics", "").text().contains(&series), "{series}");
    }
}

#[test]
fn a_candidate_that_says_what_is_live_differs_in_nothing() {
    let backend = Backend::hello();
    let mut setup = before(&backend);
    let cors = "    cors: {origins: [\"https://web.test\"], methods: [GET]}\n    token: [bearer, {cookie: session}]\n    routes:\n";
    setup.routes = changed(&setup.routes, "    routes:\n", cors);
    let socket = "      - {id: chat, match: {methods: [GET], path: /chat}, websocket: true, require: [things]}\n\
                  \x20     - {id: book, match: {methods: [POST], path: /book}, scopes: {main: {from: form.place, kind: place}}, \
                  require: [places]}\n";
    setup.routes.push_str(socket);
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let gateway = setup.start();
    load(&gateway, "same", &routes, &grants);
    let (olga, ina) = (token("olga"), token("ina"));
    let preflight = |origin: &str| format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let mut odd = traffic();
    odd.extend(
        [
            request("OPTIONS", "/things/1", &olga, "Max-Forwards: 0\r\n", ""),
            request("OPTIONS", "/things/1", "", &preflight("https://web.test"), ""),
            request("OPTIONS", "/things/1", "", &preflight("https://other.test"), ""),
            request("TRACE", "/things/1", &olga, "", ""),
            request("GET", "/things/1", "", &format!("Cookie: session={olga}\r\n"), ""),
            request("DELETE", "/things/1", "", &format!("Cookie: session={olga}\r\n"), ""),
            request("GET", "/things/1", &olga, &format!("Cookie: session={olga}\r\n"), ""),
            request("GET", "/things/1", &olga, "Expect: more\r\n", ""),
            request("GET", "/things/1", &olga, "X-Auth-Request-User: root\r\n", ""),
            request("GET", "/chat", &ina, &format!("{upgrade}{key}"), ""),
            request("GET", "/chat", &olga, upgrade, ""),
            request("POST", "/book", &olga, form, "place=north"),
            request("POST", "/book", &olga, form, "place=south"),
            request("POST", "/book", &olga, form, "place=%ff"),
            request("POST", "/book", &olga, "Content-Type: text/plain\r\n", "place=north"),
            get("/find?place=north&place=south", &olga),
            get("/find?access_token=x", &olga),
        ]
        .map(|request| (request, 1)),
    );
    let mut sent = send(&gateway, &odd);
    for (request, _) in &odd {
        let (mut client, _) = wire::Client::tls(gateway.tls, &gateway.trust()).unwrap();
        client.ask(request);
        sent += 1;
    }
    let report = report(&gateway, sent);
    assert_eq!((count(&report, "same"), count(&report, "seen")), (sent, sent), "{report:#}");
}

#[test]
fn under_load_every_request_is_compared_or_counted_as_not() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    let (olga, vera) = (get("/things/1", &token("olga")), get("/things/1", &token("vera")));
    load(&gateway, "next", &routes, &grants);
    thread::scope(|scope| {
        for request in [&olga, &vera, &olga, &vera] {
            let mut client = gateway.connect();
            scope.spawn(move || {
                for _ in 0..500 {
                    assert_eq!(client.ask(request).status, 200);
                }
            });
        }
    });
    let report = report(&gateway, 2000);
    let full = report["requests"]["not_judged"]["queue_full"].as_u64().unwrap();
    assert_eq!((count(&report, "seen"), count(&report, "judged")), (2000, 2000 - full), "{report:#}");
    assert_eq!(count(&report, "newly_denied") + count(&report, "same"), 2000 - full);
    assert!(full > 0 || count(&report, "newly_denied") == 1000, "{report:#}");
    let changes = changes(&report);
    assert!(changes.len() == 1 && changes[0].starts_with("denied GET thing by vera for"), "{changes:?}");
}

#[test]
fn live_answers_and_what_backends_see_are_those_without_a_candidate() {
    /// Without what differs from one request to the next.
    fn plain(text: &str) -> String {
        let differs = |line: &&str| {
            let line = line.to_ascii_lowercase();
            ["x-request-id:", "date:", "traceparent:"].iter().any(|name| line.starts_with(name))
        };
        let kept: Vec<&str> = text.split("\r\n").filter(|line| !differs(line)).collect();
        let mut kept = kept.join("\r\n");
        // A refusal names the request.
        if let Some(at) = kept.find("\"request_id\":\"") {
            let end = kept[at + 14..].find('"').map_or(kept.len(), |end| at + 14 + end);
            kept.replace_range(at + 14..end, "");
        }
        kept
    }
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    let answers = || {
        let before = backend.heads();
        let said: Vec<String> = traffic()
            .iter()
            .map(|(request, _)| {
                let answer = gateway.ask(request);
                plain(&format!("{}\r\n\r\n{}", answer.head, answer.text()))
            })
            .collect();
        let seen = backend.wait_for(backend.heads()).split_off(before);
        let seen: Vec<String> =
            seen.iter().map(|seen| plain(&seen.head) + &String::from_utf8_lossy(&seen.body)).collect();
        (said, seen)
    };
    let without = answers();
    load(&gateway, "next", &routes, &grants);
    let with = answers();
    assert_eq!(without, with);
    assert!(count(&report(&gateway, traffic().len() as u64), "newly_denied") > 0);
    assert!(without.1.len() > 3, "{without:?}");
}

#[test]
fn a_broken_candidate_is_refused_with_all_that_is_wrong_and_the_one_before_stays() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let (planted, _) = planted(&setup);
    let gateway = setup.start();
    write(&gateway, "broken", NOTHING, "version: 1\ndomain: app\nbogus: 2\n");
    let (code, body) = ask(&gateway, "POST", "/shadow?candidate=broken");
    assert_eq!(
        (code, &body["outcome"], &body["why"], &body["candidate"]),
        (422, &json!("rejected"), &json!("faults"), &Value::Null)
    );
    let told = body["report"].as_str().unwrap();
    assert!(told.contains("broken/routes.yaml:2:1") && told.contains("broken/grants.yaml:3:1"), "{told}");
    load(&gateway, "good", &planted, &grants);
    gateway.ask(get("/health", ""));
    let tests = "tests:\n  - {id: T1, as: olga, request: \"GET https://app.test/things/1\", expect: deny}\n";
    write(&gateway, "untrue", &(routes + tests), &grants);
    for (name, why) in [("broken", "faults"), ("untrue", "tests")] {
        let (code, body) = ask(&gateway, "POST", &format!("/shadow?candidate={name}"));
        assert_eq!((code, &body["why"], &body["candidate"]["name"]), (422, &json!(why), &json!("good")), "{body}");
    }
    fs::remove_file(gateway.file("candidates/broken/routes.yaml")).unwrap();
    let (code, body) = ask(&gateway, "POST", "/shadow?candidate=broken");
    assert!(code == 422 && body["report"].as_str().unwrap().contains("cannot read"), "{body}");
    gateway.ask(get("/health", ""));
    let report = report(&gateway, 2);
    assert_eq!(
        (&report["candidate"]["name"], changes(&report)),
        (&json!("good"), vec!["denied GET health by - for no_token: 2".to_owned()])
    );
}

#[test]
fn nothing_is_read_that_lies_elsewhere() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let gateway = setup.start();
    write(&gateway, "next", &routes, &grants);
    write(&gateway, "../elsewhere", &routes, &grants);
    let path = |name: &str| gateway.file(name).display().to_string();
    symlink(path("elsewhere"), path("candidates/out")).unwrap();
    let absolute = path("candidates/next");
    for (name, status) in [
        ("..", 400),
        ("../elsewhere", 400),
        ("next/../../elsewhere", 400),
        (&path("elsewhere"), 400),
        ("/etc", 400),
        ("out", 400),
        ("nothing", 404),
        (&absolute, 200),
    ] {
        let (code, body) = ask(&gateway, "POST", &format!("/shadow?candidate={name}"));
        assert_eq!(code, status, "{name}: {body}");
    }
    // Neither by a link in it, nor by what its documents name.
    fs::copy(gateway.file("tls.crt"), gateway.file("authority.tsv")).unwrap();
    fs::write(gateway.file("secret.tsv"), "not for operators\n").unwrap();
    write(&gateway, "linked", &routes, &grants);
    fs::remove_file(gateway.file("candidates/linked/grants.yaml")).unwrap();
    symlink(path("secret.tsv"), path("candidates/linked/grants.yaml")).unwrap();
    write(&gateway, "naming", &routes, &format!("{grants}principals_from: [{}]\n", path("secret.tsv")));
    write(&gateway, "climbing", &routes, &format!("{grants}principals_from: [../../secret.tsv]\n"));
    let trusting = changed(&routes, "]}\napplications", &format!("], ca: {}}}\napplications", path("authority.tsv")));
    write(&gateway, "trusting", &trusting, &grants);
    for name in ["linked", "naming", "climbing", "trusting"] {
        let (code, body) = ask(&gateway, "POST", &format!("/shadow?candidate={name}"));
        let told = body["report"].as_str().unwrap_or_default();
        assert!(code == 422 && told.contains("lies outside of"), "{name}: {body}");
        assert!(!told.contains("not for operators"), "{told}");
    }
    // What the live policy names is read for it already.
    gateway.replace(
        "routes.yaml",
        &trusting.replace("http://", "https://").replace(&backend.url(), &backend.url().replace("http:", "https:")),
    );
    until(|| gateway.serial() == 2, "published");
    write(&gateway, "trusting", &trusting.replace("http://", "https://"), &grants);
    let (code, body) = ask(&gateway, "POST", "/shadow?candidate=trusting");
    assert_eq!(code, 200, "{body}");
    // But only as what it is there: a certificate is none of the files of principals, whose lines are shown.
    write(&gateway, "naming", &routes, &format!("{grants}principals_from: [{}]\n", path("authority.tsv")));
    let (code, body) = ask(&gateway, "POST", "/shadow?candidate=naming");
    let told = body["report"].as_str().unwrap_or_default();
    assert!(code == 422 && told.contains("lies outside of") && !told.contains("BEGIN CERTIFICATE"), "{body}");
}

#[test]
fn without_a_directory_for_them_no_candidate_is_loaded_and_it_is_said_what_to_set() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let (code, body) = ask(&gateway, "POST", "/shadow?candidate=next");
    assert_eq!((code, &body["error"]), (409, &json!("no_candidates")), "{body}");
    assert!(body["message"].as_str().unwrap().contains("shadow: {candidates: DIRECTORY}"), "{body}");
    assert_eq!(ask(&gateway, "GET", "/shadow"), (200, json!({"candidate": null})));
    assert_eq!(ask(&gateway, "DELETE", "/shadow"), (200, json!({"outcome": "none", "candidate": null})));
}

#[test]
fn nobody_calls_it_without_the_token_or_too_often_and_the_log_says_who_asked() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let process = setup.spawn();
    write(&process, "next", &routes, &grants);
    for method in ["GET", "POST", "DELETE"] {
        for lines in ["Content-Length: 0\r\n", "Authorization: Bearer wrong\r\nContent-Length: 0\r\n"] {
            assert_eq!(process.admin(method, "/shadow", lines).status, 401, "{method}");
        }
    }
    assert_eq!(process.admin("PUT", "/shadow", "Content-Length: 0\r\n").status, 405);
    load(&process, "next", &routes, &grants);
    process.logs("a candidate is judged beside the live policy candidate=\"next\" by=\"127.0.0.1:");
    process.logs("outcome=\"loaded\"");
    let log = process.log();
    let line =
        log.lines().find(|line| line.contains("call of an operator") && line.contains("outcome=\"loaded\"")).unwrap();
    assert!(
        line.contains("by=127.0.0.1:") && line.contains("method=POST") && line.contains("path=\"/shadow\""),
        "{line}"
    );
    for call in ["POST /shadow", "POST /shadow?candidate=", "GET /shadow?x=1", "DELETE /shadow?candidate=next"] {
        let (method, path) = call.split_once(' ').unwrap();
        assert_eq!(ask(&process, method, path).0, 400, "{call}");
    }
    let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n");
    assert!((0..100).any(|_| process.admin("GET", "/shadow", &lines).status == 429), "no bound");
    assert_eq!(ask(&process, "DELETE", "/shadow").1["candidate"]["name"], "next");
    process.logs("the candidate is no longer judged candidate=\"next\" by=\"127.0.0.1:");
}

#[test]
fn a_live_reload_begins_the_report_anew() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let next = changed(&grants, "grants: [things:read]", "grants: [secrets]");
    let gateway = setup.start();
    load(&gateway, "next", &routes, &next);
    let vera = get("/things/1", &token("vera"));
    gateway.ask(&vera);
    assert_eq!(count(&report(&gateway, 1), "newly_denied"), 1);
    gateway.replace("grants.yaml", &next);
    until(|| gateway.serial() == 2, "published");
    let begun = ask(&gateway, "GET", "/shadow").1;
    assert_eq!((&begun["serial"], &begun["restarts"], count(&begun, "seen")), (&json!(2), &json!(1), 0), "{begun}");
    gateway.ask(&vera);
    let same = report(&gateway, 1);
    assert_eq!((count(&same, "same"), changes(&same).len()), (1, 0), "{same}");
    // A rollback is another live policy, too.
    assert_eq!(ask(&gateway, "POST", "/rollback").1["serial"], 3);
    gateway.ask(&vera);
    let back = report(&gateway, 1);
    assert_eq!((&back["serial"], &back["restarts"], count(&back, "newly_denied")), (&json!(3), &json!(2), 1), "{back}");
}

#[test]
fn a_revocation_reaches_the_candidate_at_once() {
    let backend = Backend::hello();
    let mut setup = before(&backend);
    setup.more.push_str("revoked: {store: store.yaml}\n");
    let (routes, grants) = (setup.routes.clone(), setup.grants.clone());
    let gateway = setup.start();
    load(&gateway, "next", &routes, &grants);
    let vera = get("/things/1", &token("vera"));
    assert_eq!(gateway.ask(&vera).status, 200);
    report(&gateway, 1);
    let entry = "{\"principal\": {\"tenant\": \"home\", \"oid\": \"00000000-0000-0000-0000-000000000002\"}}";
    let lines = format!("Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: {}\r\n\r\n{entry}", entry.len());
    assert_eq!(gateway.admin("POST", "/revoked", lines.trim_end_matches("\r\n")).status, 200);
    assert_eq!(gateway.ask(&vera).status, 401);
    let report = report(&gateway, 2);
    assert_eq!((count(&report, "same"), changes(&report).len()), (2, 0), "{report}");
}

#[test]
fn routes_that_only_watch_are_compared_by_what_clients_see_and_then_by_what_is_decided() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let watching =
        |routes: &str, id: &str| changed(routes, &format!("{{id: {id}, "), &format!("{{id: {id}, mode: shadow, "));
    let enforced = setup.routes.clone();
    // `secret` is watched now and enforced next, `thing` the other way round, `find` is watched by both.
    let live = watching(&watching(&enforced, "secret"), "find");
    let next = watching(&watching(&enforced, "thing"), "find");
    let grants = changed(&setup.grants, "grants: [things:read]", "grants: [places]");
    let gateway = Setup { routes: live, ..setup }.start();
    load(&gateway, "next", &next, &grants);
    let (olga, vera, nils) = (token("olga"), token("vera"), token("nils"));
    let sent = send(
        &gateway,
        &[
            (get("/secrets/1", &olga), 1),
            (get("/things/1", &nils), 1),
            (get("/things/1", &vera), 1),
            (get("/find?place=north", &vera), 1),
            (get("/find?place=north", &nils), 1),
        ],
    );
    let report = report(&gateway, sent);
    assert_eq!(
        changes(&report),
        [
            "allowed GET thing by nils for right_missing:things@root: 1",
            "allowed unseen GET find by vera for right_missing:places@place:north: 1",
            "denied GET secret by olga for right_missing:secrets@root: 1",
            "denied unseen GET thing by vera for right_missing:things@root: 1",
        ],
        "{report:#}"
    );
    assert_eq!(count(&report, "same"), 1);
}

#[test]
fn forms_that_were_read_are_judged_too_and_others_are_said_not_to_be() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let route = |from: &str| {
        let line = format!(
            "      - {{id: book, match: {{methods: [POST], path: /book}}, scopes: {{main: {{from: {from}, kind: place}}}}, require: [places]}}\n"
        );
        format!("{}{line}", setup.routes)
    };
    let (by_form, by_query) = (route("form.place"), route("query.place"));
    let grants = changed(&setup.grants, "places @place:north, ", "");
    let form = |door: &Door, target: &str| {
        let lines = "Content-Type: application/x-www-form-urlencoded\r\n";
        door.ask(request("POST", target, &token("olga"), lines, "place=north")).status
    };
    let live = Setup { routes: by_form.clone(), ..before(&backend) }.start();
    load(&live, "next", &by_form, &grants);
    assert_eq!(form(&live, "/book"), 200);
    let denied = "denied POST book by olga for right_missing:places@place:north: 1".to_owned();
    assert_eq!(changes(&report(&live, 1)), [denied]);

    let live = Setup { routes: by_query, ..before(&backend) }.start();
    load(&live, "next", &by_form, &grants);
    assert_eq!(form(&live, "/book?place=north"), 200);
    let report = report(&live, 1);
    assert_eq!(
        (count(&report, "judged"), &report["requests"]["not_judged"]["body_unread"]),
        (0, &json!(1)),
        "{report}"
    );
}

#[test]
fn limits_of_the_gateway_are_no_differences() {
    let backend = Backend::hello();
    let mut setup = before(&backend);
    setup.limits = "failed_tokens_per_client: 1".to_owned();
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    load(&gateway, "next", &routes, &grants);
    let statuses: Vec<u16> = (0..3).map(|_| gateway.ask(get("/staff", "a.b.c")).status).collect();
    let limited = statuses.iter().filter(|status| **status == 429).count() as u64;
    assert!(limited > 0, "{statuses:?}");
    let report = report(&gateway, 3);
    assert_eq!(report["requests"]["not_judged"]["not_policy"], json!(limited), "{report}");
    assert_eq!(count(&report, "newly_allowed"), 3 - limited);
}

#[test]
fn a_candidate_ends_when_it_is_cleared_and_after_its_time() {
    let backend = Backend::hello();
    let mut setup = before(&backend);
    setup.more = "shadow: {candidates: candidates, for: 1s}\n".to_owned();
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    load(&gateway, "next", &routes, &grants);
    assert_eq!(gateway.metric("portcullis_candidate_running"), 1);
    gateway.ask(get("/health", ""));
    assert_eq!(count(&report(&gateway, 1), "newly_denied"), 1);
    until(|| gateway.metric("portcullis_candidate_running") == 0, "over");
    gateway.ask(get("/health", ""));
    let over = ask(&gateway, "GET", "/shadow").1;
    assert_eq!((&over["candidate"]["running"], count(&over, "seen")), (&json!(false), 1), "{over}");
    assert_eq!(ask(&gateway, "DELETE", "/shadow").1["outcome"], "cleared");
    assert_eq!(ask(&gateway, "GET", "/shadow").1, json!({"candidate": null}));
}

#[test]
fn the_verb_loads_reports_and_clears() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    write(&gateway, "next", &routes, &grants);
    write(&gateway, "broken", NOTHING, &grants);
    let (admin, secret) = (format!("http://{}", gateway.admin), gateway.file("admin.token"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output =
            command.arg("shadow").args(arguments).args(["--admin", &admin, "--token-file"]).arg(&secret).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = run(&["report"]);
    assert!(code == 1 && said.contains("there is no candidate"), "{code} {said}");
    let (code, said) = run(&["load", "broken"]);
    assert!(code == 3 && said.contains("routes.yaml:2:1") && said.contains("there is no candidate"), "{code} {said}");
    let (code, said) = run(&["load", "../next"]);
    assert!(code == 1 && said.contains("shadow.candidates"), "{code} {said}");
    let (code, said) = run(&["load", "next"]);
    assert!(code == 0 && said.starts_with("loaded: next"), "{code} {said}");
    let (code, said) = run(&["load", "broken"]);
    assert!(code == 3 && said.contains("next stays"), "{code} {said}");
    gateway.ask(get("/things/1", &token("olga")));
    report(&gateway, 1);
    let (code, said) = run(&["report"]);
    assert!(code == 0 && said.contains("1 of 1 requests compared (100.0 %)"), "{code} {said}");
    let sent = send(&gateway, &traffic());
    report(&gateway, sent + 1);
    let (code, said) = run(&["report"]);
    assert_eq!(code, 1, "{said}");
    for line in [
        "1 principal would newly be denied GET /things/{...} (route thing of app; 3 requests; right_missing:things@root; vera)",
        "1 principal would newly be allowed GET /things/{...} (route thing of app; 2 requests; right_missing:things@root; nils)",
        "requests without a token would newly be denied GET /health (route health of app; 2 requests; no_token)",
        "1 principal and requests without a token would newly be allowed GET /staff (route staff of app; 4 requests; ",
    ] {
        assert!(said.contains(line), "{line} in\n{said}");
    }
    let (code, said) = run(&["report", "--output", "json"]);
    let body: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, count(&body, "newly_denied"), count(&body, "newly_allowed")), (1, 7, 6));
    let (code, said) = run(&["clear"]);
    assert!(code == 0 && said.contains("cleared: next"), "{code} {said}");
    let (code, said) = run(&["clear"]);
    assert!(code == 0 && said.contains("there was no candidate"), "{code} {said}");
}

#[test]
fn a_token_that_only_the_candidate_looks_for_is_judged_by_itself() {
    let backend = Backend::hello();
    let mut setup = before(&backend);
    setup.routes = changed(&setup.routes, "    routes:\n", "    token: [bearer, {cookie: old_session}]\n    routes:\n");
    let routes = changed(&setup.routes, "old_session", "new_session");
    let grants = setup.grants.clone();
    let gateway = setup.start();
    load(&gateway, "next", &routes, &grants);
    let cookies = format!("Cookie: old_session=a.b.c; new_session={}\r\n", token("olga"));
    let ask = request("GET", "/things/1", "", &cookies, "");
    assert_eq!(gateway.ask(&ask).status, 401);
    let found = report(&gateway, 1);
    // What the candidate does once it is live.
    gateway.replace("routes.yaml", &routes);
    until(|| gateway.serial() == 2, "reloaded");
    assert_eq!(gateway.ask(&ask).status, 200);
    assert_eq!(count(&found, "newly_allowed"), 1, "{found:#}");
}

#[test]
fn requests_over_http_2_are_compared_as_those_over_http_1_1_are() {
    let backend = Backend::hello();
    let [over_http_1, over_http_2] = [false, true].map(|multiplexed| {
        let setup = before(&backend);
        let (routes, grants) = planted(&setup);
        let gateway = setup.start();
        load(&gateway, "next", &routes, &grants);
        let (olga, vera, nils) = (token("olga"), token("vera"), token("nils"));
        let asked = [
            ("GET", "/things/1", &*olga, 200),
            ("GET", "/things/1", &vera, 200),
            ("GET", "/things/1", &vera, 200),
            ("PUT", "/things/1", &vera, 403),
            ("GET", "/things/2", &nils, 403),
            ("GET", "/lobby", &olga, 200),
            ("GET", "/health", "", 200),
            ("GET", "/staff", "", 401),
            ("GET", "/staff", &vera, 403),
            ("GET", "/things/1", "a.b.c", 401),
            ("GET", "/nowhere", &olga, 404),
        ];
        if multiplexed {
            block_on(async {
                let mut client = http2(gateway.tls, &gateway.certificate()).await;
                for (method, target, token, status) in asked {
                    let answer =
                        client.send_request(h2_request(method, target, token, Repeated::none())).await.unwrap();
                    assert_eq!(answer.status().as_u16(), status, "{method} {target}");
                }
            });
        } else {
            for (method, target, token, status) in asked {
                assert_eq!(gateway.ask(request(method, target, token, "", "")).status, status, "{method} {target}");
            }
        }
        let report = report(&gateway, asked.len() as u64);
        (report["requests"].clone(), changes(&report))
    });
    assert_eq!(over_http_2, over_http_1);
    let sums = ["seen", "judged", "newly_denied", "newly_allowed"].map(|name| over_http_2.0[name].as_u64().unwrap());
    assert_eq!(sums, [11, 11, 4, 3], "{}", over_http_2.0);
}

#[test]
fn the_status_says_which_candidate_is_judged_and_what_came_of_it() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let (routes, grants) = planted(&setup);
    let gateway = setup.start();
    let status = || gateway.admin("GET", "/status", "").json()["candidate"].clone();
    let verb = || {
        let admin = format!("http://{}", gateway.admin);
        let done = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["status", "--admin", &admin]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).filter(|line| line.starts_with("candidate")).collect::<Vec<_>>()
    };
    assert_eq!((status(), verb()), (Value::Null, vec!["candidate -".to_owned()]));
    load(&gateway, "next", &routes, &grants);
    let sent = send(&gateway, &traffic());
    let full = report(&gateway, sent);
    let lost: u64 = full["requests"]["not_judged"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    let expected = json!({
        "name": "next",
        "running": true,
        "since": full["since"],
        "until": full["candidate"]["ends_at"],
        "compared": full["requests"]["judged"],
        "newly_denied": 7,
        "newly_allowed": 6,
        "not_compared": lost,
    });
    assert_eq!(status(), expected);
    let lines = verb();
    for line in ["candidate.name next", "candidate.newly_allowed 6", "candidate.newly_denied 7"] {
        assert!(lines.iter().any(|known| known == line), "{line} in {lines:?}");
    }
    ask(&gateway, "DELETE", "/shadow");
    assert_eq!(status(), Value::Null);
}

#[test]
fn who_looks_over_a_configuration_is_warned_of_candidates_that_could_not_be_loaded() {
    let backend = Backend::hello();
    let setup = before(&backend);
    let folder = setup.write();
    let run = |verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let done = command.args([verb, "--config", "gateway.yaml"]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
        (done.status.code().unwrap(), said)
    };
    let candidate = |name: &str, routes: &str| {
        let directory = folder.path().join("candidates").join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("routes.yaml"), routes).unwrap();
        fs::write(directory.join("grants.yaml"), &setup.grants).unwrap();
    };
    let check = |wanted: &[&str]| {
        let (code, said) = run("check");
        assert!(code == 0 && said.starts_with("ok: "), "{code} {said}");
        assert_eq!(said.contains("candidate"), !wanted.is_empty(), "{said}");
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{wanted:?} in {said}");
    };
    check(&["`shadow.candidates` names", "which is no directory"]);
    fs::create_dir_all(folder.path().join("candidates/notes/of mine")).unwrap();
    check(&[]);
    candidate("next", &setup.routes);
    candidate("team/later", &setup.routes);
    check(&[]);
    assert!(run("doctor").1.contains("candidates: all that lie there could be loaded: 2"), "{}", run("doctor").1);
    candidate("team/broken", NOTHING);
    let test = "tests:\n  - {id: t, as: olga, request: \"GET https://app.test/things/1\", expect: deny, reason: x}\n";
    candidate("failing", &format!("{}{test}", setup.routes));
    let warnings = [
        "the candidate `team/broken` would be rejected: errors: 1, the first: unknown key `bogus`",
        "team/broken/routes.yaml:2:1",
        "the candidate `failing` would be rejected: of its tests, 1 fail",
    ];
    check(&warnings);
    let (_, said) = run("doctor");
    assert!(said.contains(warnings[0]) && said.contains("warn  candidates: "), "{said}");
    for number in 0..1_001 {
        fs::create_dir(folder.path().join(format!("candidates/notes/{number}"))).unwrap();
    }
    check(&["not all below"]);
}
