//! A database that is gone, stuck or changed: the last rows stay, their age is shown, and past the limit nobody is let
//! in if that was asked for.

use super::*;
use crate::backend::until;
use crate::postgres::Relay;

const HASTY: &str = ", poll: 1s, connect_timeout: 500ms, statement_timeout: 500ms";

#[test]
fn a_server_that_is_killed_leaves_the_last_rows_and_its_return_brings_new_ones() {
    let Some(mut server) = Server::start() else { return };
    let backend = Backend::hello();
    let url = people(&server).url();
    let gateway = setup(&backend, &url, HASTY).start();
    until(|| feed(&gateway)["connected"] == true, "connected");
    server.kill();
    until(|| feed(&gateway)["connected"] == false, "the loss is noticed");
    assert!(feed(&gateway)["fault"].is_string());
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    assert_eq!(status(&gateway, "nils", "/things/1"), 403);
    server.again();
    let mut database = server.client(url.rsplit('/').next().unwrap());
    database.run("UPDATE portcullis.grants SET principal = 'nils' WHERE principal = 'olga'");
    until(|| status(&gateway, "nils", "/things/1") == 200, "what has changed since");
    assert_eq!(status(&gateway, "olga", "/things/1"), 403);
    until(|| feed(&gateway)["connected"] == true && feed(&gateway)["fault"].is_null(), "connected again");
}

#[test]
fn a_network_that_swallows_everything_is_noticed() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let relay = Relay::to(server.address());
    let gateway = setup(&backend, &database.url_at(relay.address()), &format!("{HASTY}, max_staleness: 3s")).start();
    until(|| feed(&gateway)["connected"] == true, "connected");
    relay.stall(true);
    database.run("DELETE FROM portcullis.grants WHERE principal = 'olga'");
    until(|| feed(&gateway)["connected"] == false, "the stall is noticed");
    until(|| feed(&gateway)["stale"] == true, "the rows grow too old");
    // `serve` is what was not said otherwise.
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    let ready = gateway.admin("GET", "/readyz", "");
    assert_eq!((ready.verdict().0, &ready.json()["stale_grants"][0]["domain"]), (200, &"app".into()));
    let age = || {
        let page = gateway.admin("GET", "/metrics", "").text();
        let age = page.lines().find_map(|line| line.strip_prefix("portcullis_grants_age_seconds{domain=\"app\"} "));
        age.unwrap_or_else(|| panic!("{page}")).parse::<u64>().unwrap()
    };
    until(|| age() >= 3, "the age is a metric");
    relay.stall(false);
    until(|| status(&gateway, "olga", "/things/1") == 403, "what was missed is found");
    until(|| feed(&gateway)["stale"] == false, "fresh again");
}

#[test]
fn rows_that_are_too_old_deny_everything_if_that_was_asked_for() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let relay = Relay::to(server.address());
    let more = format!("{HASTY}, max_staleness: 3s, on_stale: deny");
    let gateway = setup(&backend, &database.url_at(relay.address()), &more).start();
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    relay.stall(true);
    until(|| verdict(&gateway, "olga", "/things/1") == (503, "grants_stale".to_owned()), "denied");
    assert!(gateway.ask(get("/things/1", &token("olga"))).header("retry-after").is_some());
    // What nobody's rights decide goes on.
    assert_eq!(["/health", "/lobby"].map(|target| status(&gateway, "olga", target)), [200, 200]);
    // A reload does not open it.
    let serial = gateway.serial();
    gateway.replace("grants.yaml", &GRANTS.replace("secrets, ", "secrets, more, "));
    until(|| gateway.serial() > serial, "reloaded");
    assert_eq!(verdict(&gateway, "olga", "/things/1").1, "grants_stale");
    database.run("DELETE FROM portcullis.grants WHERE principal = 'vera'");
    relay.stall(false);
    until(|| status(&gateway, "olga", "/things/1") == 200, "open again");
    until(|| status(&gateway, "vera", "/things/1") == 403, "with what has changed");
}

#[test]
fn a_schema_that_has_changed_leaves_the_last_rows() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = setup(&backend, &database.url(), &format!("{HASTY}, reconcile: 1s")).start();
    database.run("ALTER TABLE portcullis.principals DROP COLUMN flags");
    database.run("DELETE FROM portcullis.grants WHERE principal = 'olga'");
    until(|| feed(&gateway)["fault"].as_str().is_some_and(|fault| fault.contains("flags")), "the fault is shown");
    assert_eq!(status(&gateway, "vera", "/things/1"), 200);
    database.run("ALTER TABLE portcullis.principals ADD COLUMN flags text[] NOT NULL DEFAULT '{}'");
    until(|| status(&gateway, "olga", "/things/1") == 403, "what has changed since");
    assert_eq!(status(&gateway, "vera", "/things/1"), 200);
}
