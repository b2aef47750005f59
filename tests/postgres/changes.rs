//! Changes: how fast they count, and that nothing undoes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::backend::until;
use crate::wire::Client;

const GRANT: &str = "INSERT INTO portcullis.grants (principal, \"right\") VALUES ('olga', 'things')";
const REVOKE: &str = "DELETE FROM portcullis.grants WHERE principal = 'olga'";

/// From each of so many revocations to the first request that is refused, sorted.
fn latencies(gateway: &Gateway, database: &mut Database<'_>, turns: usize) -> Vec<Duration> {
    let (mut client, ask) = (gateway.connect(), get("/things/1", &token("olga")));
    let is = |client: &mut Client, wanted: u16| {
        while client.ask(&ask).verdict().0 != wanted {
            thread::sleep(Duration::from_micros(100));
        }
    };
    let mut all = Vec::with_capacity(turns);
    for _ in 0..turns {
        is(&mut client, 200);
        database.run(REVOKE);
        let committed = Instant::now();
        is(&mut client, 403);
        all.push(committed.elapsed());
        database.run(GRANT);
    }
    all.sort_unstable();
    all
}

#[test]
fn a_revocation_counts_soon_after_its_commit() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = start(&backend, &database);
    let all = latencies(&gateway, &mut database, 200);
    let (half, most) = (all[all.len() / 2], all[all.len() * 99 / 100]);
    eprintln!("from COMMIT to the first refusal: p50 {half:?}, p99 {most:?}");
    assert!(most < Duration::from_secs(2), "{all:?}");
}

#[test]
fn no_reload_brings_back_what_was_revoked_while_it_ran() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    // So many rows that a reload takes longer than a change.
    database.run(
        "INSERT INTO portcullis.principals (id, tenant, oid) \
         SELECT 'p' || n, 'home', gen_random_uuid() FROM generate_series(1, 5000) n; \
         INSERT INTO portcullis.grants (principal, \"right\") \
         SELECT 'p' || n, 'things' FROM generate_series(1, 5000) n",
    );
    let gateway = setup(&backend, &database.url(), ", reconcile: 1s").start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let routes = crate::gateway::routes(&[backend.url()]);
            let mut number = 0;
            while !done.load(Ordering::Acquire) {
                number += 1;
                gateway.replace("routes.yaml", &format!("{routes}# {number}\n"));
                let admin = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", crate::gateway::ADMIN_TOKEN);
                assert!([200, 429, 503].contains(&gateway.admin("POST", "/reload", &admin).verdict().0));
                thread::sleep(Duration::from_millis(100));
            }
        });
        let (mut client, ask) = (gateway.connect(), get("/things/1", &token("olga")));
        for _ in 0..40 {
            database.run(REVOKE);
            let revoked = Instant::now();
            until(|| client.ask(&ask).verdict().0 == 403, "revoked");
            while revoked.elapsed() < Duration::from_millis(150) {
                assert_eq!(client.ask(&ask).verdict().0, 403, "it is back after {:?}", revoked.elapsed());
            }
            database.run(GRANT);
            until(|| client.ask(&ask).verdict().0 == 200, "granted");
        }
        done.store(true, Ordering::Release);
    });
    assert!(gateway.serial() > 1, "no reload fell in between");
}

#[test]
fn a_reload_of_documents_decides_by_the_rows_of_now_also_without_the_database() {
    let Some(mut server) = Server::start() else { return };
    let backend = Backend::hello();
    let (gateway, mut database) = {
        let database = people(&server);
        (start(&backend, &database), database)
    };
    database.run("INSERT INTO portcullis.grants (principal, \"right\") VALUES ('nils', 'things')");
    until(|| status(&gateway, "nils", "/things/1") == 200, "granted");
    drop(database);
    server.kill();
    let serial = gateway.serial();
    gateway.replace("grants.yaml", &GRANTS.replace("\"things:read\"", "\"places:read\""));
    until(|| gateway.serial() > serial, "reloaded");
    // The role of vera is the document's, what nils has is the database's.
    until(|| status(&gateway, "vera", "/things/1") == 403, "the role means less");
    assert_eq!(status(&gateway, "nils", "/things/1"), 200);
    server.again();
}

#[test]
fn going_back_to_an_older_policy_keeps_the_rows_of_now() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = start(&backend, &database);
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    gateway.replace("grants.yaml", &GRANTS.replace("\"things:read\"", "\"places:read\""));
    until(|| gateway.serial() == 2, "reloaded");
    assert_eq!(status(&gateway, "vera", "/things/1"), 403);
    database.run(REVOKE);
    until(|| status(&gateway, "olga", "/things/1") == 403, "revoked");

    let admin = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", crate::gateway::ADMIN_TOKEN);
    let answer = gateway.admin("POST", "/rollback?serial=1", &admin).json();
    assert_eq!(answer["serial"], 3, "{answer}");
    // The role of vera is the document's, what olga had was the database's.
    assert_eq!((status(&gateway, "vera", "/things/1"), status(&gateway, "olga", "/things/1")), (200, 403));
    assert_eq!(answer["changes"]["domains"][0]["gaining"], serde_json::json!(["vera"]), "{answer}");
    // Rows go on to count in it.
    database.run(GRANT);
    until(|| status(&gateway, "olga", "/things/1") == 200, "granted");
    database.run(REVOKE);
    until(|| status(&gateway, "olga", "/things/1") == 403, "revoked again");
}

#[test]
fn two_gateways_on_one_database_come_to_the_same() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateways = [start(&backend, &database), start(&backend, &database)];
    let people = ["olga", "vera", "nils"];
    for turn in 0..30 {
        let who = people[turn % 3];
        database.run(&format!("DELETE FROM portcullis.grants WHERE principal = '{who}'"));
        let other = people[(turn + 1) % 3];
        database.run(&format!("INSERT INTO portcullis.grants (principal, \"right\") VALUES ('{other}', 'things')"));
    }
    let held = |gateway: &Gateway| people.map(|who| status(gateway, who, "/things/1"));
    let said = people.map(|who| {
        let query = format!("SELECT count(*) FROM portcullis.grants WHERE principal = '{who}'");
        if database.ask(&query) == "0" { 403 } else { 200 }
    });
    until(|| gateways.iter().all(|gateway| held(gateway) == said), "both say what the database says");
}

#[test]
fn many_changes_at_once_all_count() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = setup(&backend, &database.url(), ", poll: 1h, reconcile: 1h, max_staleness: 2h").start();
    let count = || gateway.admin("GET", "/status", "").json()["counts"]["principals"].as_u64().unwrap();
    for (many, expected) in [(1_500, 1_503), (21_000, 21_003)] {
        database.run(&format!(
            "INSERT INTO portcullis.principals (id, tenant, oid) \
             SELECT 'p' || n, 'home', gen_random_uuid() FROM generate_series(1, {many}) n ON CONFLICT DO NOTHING"
        ));
        until(|| count() == expected, "all have come");
    }
    database.run("DELETE FROM portcullis.principals WHERE id LIKE 'p%' OR id = 'olga'");
    until(|| status(&gateway, "olga", "/things/1") == 403, "olga is gone");
    until(|| count() == 2, "all are gone");
}

/// A million principals; takes minutes and some gigabytes. `PORTCULLIS_MILLION=1`, in a release build.
#[test]
fn a_million_principals() {
    let Some(server) = server().filter(|_| std::env::var_os("PORTCULLIS_MILLION").is_some()) else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    database.run(
        "SET synchronous_commit = off; ALTER TABLE portcullis.principals DISABLE TRIGGER inserted; \
         ALTER TABLE portcullis.grants DISABLE TRIGGER inserted; \
         INSERT INTO portcullis.principals (id, tenant, oid) \
         SELECT 'person-' || n, 'home', gen_random_uuid() FROM generate_series(1, 1000000) n; \
         INSERT INTO portcullis.grants (principal, \"right\", level, node) \
         SELECT 'person-' || n, (ARRAY['things', 'secrets', 'places'])[1 + (n + k) % 3], \
                (ARRAY['read', 'write'])[1 + n % 2], CASE WHEN k = 0 THEN 'place:north' END \
         FROM generate_series(1, 1000000) n, generate_series(0, 2) k; \
         ALTER TABLE portcullis.principals ENABLE TRIGGER inserted; \
         ALTER TABLE portcullis.grants ENABLE TRIGGER inserted",
    );
    database.run("VACUUM ANALYZE");
    let began = Instant::now();
    let setup = setup(&backend, &database.url(), ", start_timeout: 10m, reconcile: 1h, max_staleness: 2h");
    let gateway = Setup { patience: Duration::from_secs(600), ..setup }.spawn();
    eprintln!(
        "started in {:?}, memory {} MiB, at most {} MiB",
        began.elapsed(),
        gateway.memory() >> 20,
        gateway.peak_memory() >> 20
    );
    let (mut client, ask) = (gateway.connect(), get("/things/1", &token("olga")));
    let mut all = Vec::new();
    for _ in 0..500 {
        while client.ask(&ask).verdict().0 != 200 {
            thread::sleep(Duration::from_micros(100));
        }
        database.run(REVOKE);
        let committed = Instant::now();
        while client.ask(&ask).verdict().0 != 403 {
            thread::sleep(Duration::from_micros(100));
        }
        all.push(committed.elapsed());
        database.run(GRANT);
    }
    all.sort_unstable();
    eprintln!("from COMMIT to the first refusal: p50 {:?}, p99 {:?}, most {:?}", all[250], all[495], all[499]);
    let mut gone = Vec::new();
    for number in 1..=50 {
        let began = Instant::now();
        database.run(&format!("DELETE FROM portcullis.principals WHERE id = 'person-{number}'"));
        let count = || gateway.admin("GET", "/status", "").json()["counts"]["principals"].as_u64().unwrap();
        until(|| count() == 1_000_003 - number, "gone");
        gone.push(began.elapsed());
    }
    gone.sort_unstable();
    eprintln!("a deleted principal: p50 {:?}, most {:?}; memory {} MiB", gone[25], gone[49], gateway.memory() >> 20);
    let routes = crate::gateway::routes(&[backend.url()]);
    for number in 1..=10 {
        gateway.replace("routes.yaml", &format!("{routes}# {number}\n"));
        until(|| gateway.serial() == number + 1, "the route map is live");
    }
    let page = gateway.admin("GET", "/metrics", "").text();
    let figure = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (count, sum) = ("portcullis_reload_duration_seconds_count", "portcullis_reload_duration_seconds_sum");
    eprintln!("route maps replaced:{}, seconds from the notice to live:{}", figure(count), figure(sum));
}

#[test]
fn a_gate_counts_what_files_change_and_holds_up_no_database() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let routes = crate::gateway::routes(&[backend.url()]);
    let setup = setup(&backend, &database.url(), "");
    let mut more = setup.more.clone();
    more.push_str("reload: {gate: {few: 0}}\n");
    let gateway = Setup { more, ..setup }.start();
    let (mut client, ask) = (gateway.connect(), get("/things/1", &token("nils")));
    let admin = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", crate::gateway::ADMIN_TOKEN);
    let reload = || gateway.admin("POST", "/reload", &admin).json();
    assert_eq!(client.ask(&ask).verdict().0, 403);
    // A third of all principals, which no gate of files would let through; and a file is changed at the same time.
    database.run("INSERT INTO portcullis.grants (principal, \"right\") VALUES ('nils', 'things')");
    gateway.replace("routes.yaml", &format!("{routes}# 1\n"));
    let answer = reload();
    assert!(answer["held"].as_array().is_none_or(Vec::is_empty), "{answer}");
    until(|| client.ask(&ask).verdict().0 == 200, "granted");
    // What a file says of the same rows counts.
    gateway.replace("grants.yaml", &GRANTS.replace("things:read", "places:read"));
    let answer = reload();
    assert_eq!(answer["outcome"], "held", "{answer}");
    assert!(answer["held"].to_string().contains("1 of 3 principals of `app` lose access"), "{answer}");
    // Nor is a database held up by what is.
    database.run("DELETE FROM portcullis.grants WHERE principal = 'nils'");
    until(|| client.ask(&ask).verdict().0 == 403, "revoked");
}

#[test]
fn questions_about_what_is_live_are_answered_with_the_rows_of_now() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = start(&backend, &database);
    let admin = format!("Authorization: Bearer {}\r\n", crate::gateway::ADMIN_TOKEN);
    let page = |who: &str| format!("/explain?method=GET&host=app.test&path=/things/1&principal={who}");
    let decision = |who: &str| {
        let answer = gateway.admin("GET", &page(who), &admin).json();
        assert_eq!(answer.get("error"), None, "{answer}");
        answer["decision"].clone()
    };
    assert_eq!(decision("olga"), "allow");
    let (mut client, ask) = (gateway.connect(), get("/things/1", &token("olga")));
    database.run(REVOKE);
    until(|| client.ask(&ask).verdict().0 == 403, "revoked");
    assert_eq!(decision("olga"), "deny");
    // A row that was not there when the documents were compiled.
    database.run(
        "INSERT INTO portcullis.principals (id, tenant, oid) \
         VALUES ('late', 'home', '00000000-0000-0000-0000-0000000000aa'); \
         INSERT INTO portcullis.grants (principal, \"right\") VALUES ('late', 'things')",
    );
    let report = "/report?report=principal&principal=late";
    until(|| gateway.admin("GET", report, &admin).status == 200, "the new row");
    assert_eq!(decision("late"), "allow");
}
