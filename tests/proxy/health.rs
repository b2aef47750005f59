//! Servers are asked how they are, and get requests accordingly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::backend::{Backend, read_head, reply, until};
use crate::gateway::{Setup, routes, token};
use crate::wire::get;

const OFTEN: &str = "health: {path: \"/health?a=b\", interval: 100ms, timeout: 5s, healthy: 2, unhealthy: 2}";

/// A server that says of itself what the switch says, and answers everything else with its name.
fn server(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&well);
    let backend = Backend::start(move |seen, stream| match seen.target() {
        "/health?a=b" if switch.load(Ordering::SeqCst) => reply(stream, "204 No Content", b""),
        "/health?a=b" => reply(stream, "503 Service Unavailable", b"ill"),
        _ => reply(stream, "200 OK", name.as_bytes()),
    });
    (backend, well)
}

#[test]
fn an_upstream_without_any_well_server_is_told_and_makes_the_gateway_unready_only_where_that_is_wanted() {
    for (admin, expected) in [("", (200, "warn")), ("ready_needs_upstreams: true", (503, "fail"))] {
        let ((one, one_is_well), (other, other_is_well)) = (server("one"), server("other"));
        let setup = Setup::to(&[one.url(), other.url()]).upstream(OFTEN);
        let gateway = Setup { admin: admin.to_owned(), ..setup }.spawn();
        assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
        let check = || {
            let answer = gateway.admin("GET", "/readyz", "");
            let checks = answer.json()["checks"].as_array().unwrap().clone();
            let found = checks.into_iter().find(|check| check["check"] == "upstream").unwrap();
            assert_eq!(found["upstream"], "app");
            (answer.status, found)
        };
        one_is_well.store(false, Ordering::SeqCst);
        until(|| check().1["state"] == "warn", "one is unwell");
        let (status, found) = check();
        assert_eq!((status, &found["down"], &found["unfit"]), (200, &false.into(), &serde_json::json!([one.url()])));
        other_is_well.store(false, Ordering::SeqCst);
        until(|| check().1["down"] == true, "both are unwell");
        let (status, found) = check();
        assert_eq!((status, found["state"].as_str().unwrap()), expected);
        one_is_well.store(true, Ordering::SeqCst);
        until(|| check().1["down"] == false, "one is well again");
        assert_eq!(check().0, 200);
    }
}

#[test]
fn an_unwell_server_gets_no_requests_until_it_is_well_again() {
    let ((one, one_is_well), (other, _)) = (server("one"), server("other"));
    let setup = Setup::to(&[one.url(), other.url()]).upstream(&format!("balance: round_robin, {OFTEN}"));
    let gateway = setup.spawn();
    let token = token("olga");
    let answers = || -> Vec<String> { (0..8).map(|_| gateway.ask(get("/things/1", &token)).text()).collect() };
    let both = ["one", "other"];
    assert!(both.iter().all(|name| answers().iter().any(|answer| answer == name)), "well before anybody asked");
    one_is_well.store(false, Ordering::SeqCst);
    gateway.logs(&format!("upstream app: server {} is unwell: it answered 503", one.url()));
    assert!(answers().iter().all(|answer| answer == "other"));
    let fit = |fit: u8| format!("portcullis_upstream_healthy{{upstream=\"app\",server=\"{}\"}} {fit}\n", one.url());
    assert!(gateway.admin("GET", "/metrics", "").text().contains(&fit(0)));
    let ready = gateway.admin("GET", "/readyz", "");
    assert_eq!(ready.status, 200, "this process is ready all the same");
    assert_eq!(ready.json()["upstreams_unfit"], serde_json::json!([{ "upstream": "app", "server": one.url() }]));
    let status = gateway.admin("GET", "/status", "").json();
    assert_eq!(status["upstreams"][0]["servers"].as_array().unwrap().len(), 2);
    one_is_well.store(true, Ordering::SeqCst);
    gateway.logs(&format!("upstream app: server {} is well again", one.url()));
    assert!(both.iter().all(|name| answers().iter().any(|answer| answer == name)));
    assert!(gateway.admin("GET", "/metrics", "").text().contains(&fit(1)));
    assert!(gateway.admin("GET", "/readyz", "").json()["upstreams_unfit"].is_null());
    // What it asks is what the file says, with nobody's credentials.
    let seen = one.seen();
    let question = seen.iter().find(|seen| seen.target() == "/health?a=b").unwrap();
    assert_eq!(
        (question.line(), question.header("host")),
        ("GET /health?a=b HTTP/1.1", Some(&*one.address.to_string()))
    );
    assert!(question.all("authorization").is_empty());
}

#[test]
fn if_no_server_is_well_all_are_tried() {
    let ((one, one_is_well), (other, other_is_well)) = (server("one"), server("other"));
    let gateway = Setup::to(&[one.url(), other.url()]).upstream(&format!("balance: round_robin, {OFTEN}")).start();
    one_is_well.store(false, Ordering::SeqCst);
    other_is_well.store(false, Ordering::SeqCst);
    until(
        || gateway.admin("GET", "/readyz", "").json()["upstreams_unfit"].as_array().is_some_and(|all| all.len() == 2),
        "two unwell servers",
    );
    let mut answers: Vec<_> = (0..4).map(|_| gateway.ask(get("/things/1", &token("olga"))).text()).collect();
    answers.sort();
    assert_eq!(answers, ["one", "one", "other", "other"]);
}

#[test]
fn a_server_that_does_not_answer_is_asked_one_question_at_a_time() {
    let (open, most, asked) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen_most, seen_asked) = (Arc::clone(&most), Arc::clone(&asked));
    let backend = Backend::raw(move |number, mut stream, _| {
        let mut buffer = Vec::new();
        if read_head(number, &mut stream, &mut buffer).is_none() {
            return;
        }
        seen_most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        seen_asked.fetch_add(1, Ordering::SeqCst);
        // Until the gateway gives up.
        while crate::backend::fill(&mut stream, &mut buffer) > 0 {}
        open.fetch_sub(1, Ordering::SeqCst);
    });
    let health = "health: {path: /health, interval: 100ms, timeout: 300ms, unhealthy: 1}";
    let gateway = Setup { workers: 2, ..Setup::before(&backend) }.upstream(health).spawn();
    gateway.logs("is unwell: no answer within 300ms");
    until(|| asked.load(Ordering::SeqCst) >= 4, "more questions");
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn questions_follow_the_route_map() {
    let ((one, one_is_well), (other, _)) = (server("one"), server("other"));
    let gateway = Setup::before(&one).upstream(OFTEN).start();
    let map =
        |servers: &[String], keys: &str| Setup { routes: routes(servers), ..Setup::before(&one) }.upstream(keys).routes;
    one_is_well.store(false, Ordering::SeqCst);
    let unfit = || gateway.admin("GET", "/readyz", "").json()["upstreams_unfit"].is_array();
    until(unfit, "an unwell server");
    // A new server is asked, and what is known of the old one stays.
    gateway.replace("routes.yaml", &map(&[one.url(), other.url()], OFTEN));
    until(|| other.heads() > 2, "questions to the new server");
    assert!(unfit());
    // A removed one is not.
    gateway.replace("routes.yaml", &map(&[other.url()], OFTEN));
    until(|| !unfit(), "the end of the old server");
    std::thread::sleep(Duration::from_millis(300));
    let before = one.heads();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(one.heads(), before);
    // Without checks nobody is asked, and everybody is well.
    gateway.replace("routes.yaml", &map(&[one.url(), other.url()], "balance: round_robin"));
    until(|| gateway.serial() == 4, "the last route map");
    std::thread::sleep(Duration::from_millis(500));
    let before = one.heads() + other.heads();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(one.heads() + other.heads(), before);
    let mut answers: Vec<_> = (0..4).map(|_| gateway.ask(get("/things/1", &token("olga"))).text()).collect();
    answers.sort();
    assert_eq!(answers, ["one", "one", "other", "other"]);
}
