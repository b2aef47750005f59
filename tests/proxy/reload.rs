//! The route map changes while requests run: each is judged by one generation, and none fails because of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, until};
use crate::gateway::{Process, Setup, routes, token};
use crate::wire::get;

/// Two route maps that differ in every answer: `/things` is allowed in one and lacks a flag in the other, and the other
/// way round with `/secrets`; the text of a request tells which one judged it.
fn generations(backend: &Backend) -> [String; 2] {
    let one = routes(&[backend.url()]).replace("require: [secrets]", "require: [{flag: second}]");
    let two = routes(&[backend.url()])
        .replace("require: [\"things:by_method\"]", "require: [{flag: first}]")
        .replace("require: [secrets]", "require: [{flag: member}]");
    assert_ne!(one, two);
    [one, two]
}

#[test]
fn every_answer_is_of_one_generation_and_none_fails() {
    let backend = Backend::hello();
    let generations = generations(&backend);
    let gateway = Setup { routes: generations[0].clone(), decisions: true, ..Setup::before(&backend) }.spawn();
    let token = token("olga");
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let seen = thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    let mut seen = [[0; 2]; 2];
                    while !done.load(Ordering::Relaxed) {
                        for (route, target) in ["/things/1", "/secrets/1"].into_iter().enumerate() {
                            asked.fetch_add(1, Ordering::Relaxed);
                            let answer = client.ask(get(target, &token));
                            let generation = match (route, answer.verdict()) {
                                (0, (200, _)) => 0,
                                (0, (403, reason)) if reason == "flag_missing" => 1,
                                (1, (403, reason)) if reason == "flag_missing" => 0,
                                (1, (200, _)) => 1,
                                other => panic!("neither generation answers so: {other:?}"),
                            };
                            assert!(answer.whole);
                            seen[route][generation] += 1;
                        }
                    }
                    seen
                })
            })
            .collect();
        for turn in 1..=8 {
            let serial = gateway.serial();
            gateway.replace("routes.yaml", &generations[turn % 2]);
            until(|| gateway.serial() > serial, "the new generation");
            // Lets it serve for a while.
            let until_asked = asked.load(Ordering::Relaxed) + 50;
            until(|| asked.load(Ordering::Relaxed) > until_asked, "requests");
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for route in 0..2 {
        for generation in 0..2 {
            assert!(seen.iter().map(|seen| seen[route][generation]).sum::<u64>() > 0, "{seen:?}");
        }
    }
    assert_eq!(gateway.serial(), 9);
    // The decision log agrees: the generation that a line names is the one that its answer shows, and serials grow.
    let mut newest = 0;
    for _ in 0..asked.load(Ordering::Relaxed) {
        let line = gateway.decision();
        let serial = line["serial"].as_u64().unwrap();
        let first = serial % 2 == 1;
        let allowed = (line["route"] == "thing") == first;
        assert_eq!(line["decision"], if allowed { "allow" } else { "deny" }, "{line}");
        newest = newest.max(serial);
    }
    assert_eq!(newest, 9);
}

#[test]
fn a_bad_document_never_replaces_a_good_one_and_its_faults_are_told() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).spawn();
    let good = routes(&[backend.url()]);
    let token = token("olga");
    for (bad, told) in [
        (good.replace("require: [secrets]", "require: [secretz]"), "routes.yaml:14:"),
        (good.replace("require: [secrets]", "requires: [secrets]"), "requires"),
        (good.replace("upstream: app", "upstream: ap"), "`ap`"),
        ("version: [".into(), "routes.yaml:1:"),
        (String::new(), "routes.yaml"),
    ] {
        gateway.replace("routes.yaml", &bad);
        gateway.logs(told);
        assert_eq!(gateway.serial(), 1, "{told}");
        assert_eq!(gateway.ask(get("/things/1", &token)).status, 200, "{told}");
        let ready = gateway.admin("GET", "/readyz", "");
        assert_eq!(ready.status, 200, "what is live still serves");
        assert!(ready.json()["last_reload_failed"].is_object(), "{}", ready.text());
    }
    std::fs::remove_file(gateway.file("routes.yaml")).unwrap();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(gateway.ask(get("/things/1", &token)).status, 200, "without the file");
    gateway.replace("routes.yaml", &good.replace("require: [secrets]", "require: [things]"));
    until(|| gateway.serial() == 2, "the next good one");
    assert_eq!(gateway.ask(get("/secrets/1", &token)).status, 200);
    assert!(gateway.admin("GET", "/readyz", "").json()["last_reload_failed"].is_null());
}

#[test]
fn a_change_counts_on_open_connections() {
    let backend = Backend::hello();
    let generations = generations(&backend);
    let gateway: Process = Setup { routes: generations[0].clone(), ..Setup::before(&backend) }.spawn();
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    gateway.replace("routes.yaml", &generations[1]);
    until(|| client.ask(get("/things/1", &token("olga"))).status == 403, "the new generation");
}

#[test]
fn a_request_that_runs_while_the_map_changes_ends_as_it_began() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        let _ = held.lock().unwrap().recv();
        crate::backend::reply(stream, "200 OK", b"late")
    });
    let generations = generations(&backend);
    let gateway = Setup { routes: generations[0].clone(), ..Setup::before(&backend) }.start();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    until(|| backend.heads() == 1, "the request at the backend");
    gateway.replace("routes.yaml", &generations[1]);
    until(|| gateway.serial() == 2, "the new generation");
    drop(release);
    assert_eq!(client.answer().text(), "late");
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 403);
}
