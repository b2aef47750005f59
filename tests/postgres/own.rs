//! The product's own schema: what stands in it decides, and every change of it is noticed.

use std::process::Command;

use super::*;
use crate::backend::until;

const THING: &str = "/things/1";

#[test]
fn db_init_makes_the_schema_and_may_be_given_again() {
    let Some(server) = server() else { return };
    let mut database = server.database();
    for _ in 0..2 {
        let done =
            Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["db", "init", "--url", &database.url()]).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        database.run("INSERT INTO portcullis.groups VALUES ('staff') ON CONFLICT DO NOTHING");
    }
    assert_eq!(database.ask("SELECT count(*) FROM portcullis.version"), "1");
    assert_eq!(database.ask("SELECT count(*) FROM portcullis.groups"), "1");
    let printed = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["db", "init", "--print"]).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().trim(), portcullis::source::postgres::schema::SQL.trim());
    let nowhere = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["db", "init", "--url", "postgres://test@127.0.0.1:9/x"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(5), "{}", String::from_utf8_lossy(&nowhere.stderr));
}

#[test]
fn the_schema_holds_what_makes_no_sense_off() {
    let Some(server) = server() else { return };
    let database = people(server);
    for wrong in [
        "INSERT INTO portcullis.principals (id, tenant) VALUES ('x', 'home')",
        "INSERT INTO portcullis.principals (id, tenant, oid, subject) VALUES ('x', 'home', gen_random_uuid(), 's')",
        "INSERT INTO portcullis.principals (id, tenant, oid) VALUES ('x', 'home', '00000000-0000-0000-0000-000000000001')",
        "INSERT INTO portcullis.principals (id, tenant, oid, status) VALUES ('x', 'home', gen_random_uuid(), 'odd')",
        "INSERT INTO portcullis.grants (principal, \"right\") VALUES ('nobody', 'things')",
        "INSERT INTO portcullis.grants (principal, \"right\") VALUES ('olga', 'thinsg')",
        "INSERT INTO portcullis.grants (principal, \"right\", role) VALUES ('olga', 'things', 'reader')",
        "INSERT INTO portcullis.grants (principal, role, level) VALUES ('olga', 'reader', 'read')",
        "INSERT INTO portcullis.grants (principal, \"right\", level) VALUES ('olga', 'things', 'own')",
        "INSERT INTO portcullis.grants (principal, \"right\", node) VALUES ('olga', 'things', 'place:west')",
        "INSERT INTO portcullis.rights VALUES ('things:deny')",
    ] {
        assert!(database.other().try_run(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_change_of_it_is_noticed() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = setup(&backend, &database.url(), ", poll: 1h, reconcile: 1h, max_staleness: 2h").start();
    assert_eq!(status(&gateway, "olga", THING), 200);
    let vera = "SELECT 1";
    for (change, who, target, expected) in [
        (vera, "vera", THING, "200"),
        ("DELETE FROM portcullis.grants WHERE principal = 'olga'", "olga", THING, "403 right_missing"),
        (
            "INSERT INTO portcullis.grants (principal, \"right\", level) VALUES ('olga', 'things', 'read')",
            "olga",
            THING,
            "200",
        ),
        ("UPDATE portcullis.grants SET level = 'deny' WHERE principal = 'olga'", "olga", THING, "403 right_denied"),
        ("UPDATE portcullis.grants SET level = NULL WHERE principal = 'olga'", "olga", THING, "200"),
        (
            "UPDATE portcullis.grants SET principal = 'nils' WHERE principal = 'olga'",
            "olga",
            THING,
            "403 right_missing",
        ),
        (vera, "nils", THING, "200"),
        (
            "UPDATE portcullis.principals SET status = 'inactive' WHERE id = 'nils'",
            "nils",
            THING,
            "403 principal_inactive",
        ),
        ("UPDATE portcullis.principals SET status = 'active' WHERE id = 'nils'", "nils", THING, "200"),
        ("UPDATE portcullis.principals SET id = 'nina' WHERE id = 'nils'", "nils", THING, "200"),
        (
            "UPDATE portcullis.principals SET oid = '00000000-0000-0000-0000-000000000005' WHERE id = 'nina'",
            "nils",
            THING,
            "403 principal_unknown",
        ),
        (vera, "nobody", THING, "200"),
        ("DELETE FROM portcullis.principals WHERE id = 'nina'", "nobody", THING, "403 principal_unknown"),
        ("INSERT INTO portcullis.memberships VALUES ('vera', 'staff')", "vera", "/staff", "200"),
        ("INSERT INTO portcullis.memberships VALUES ('vera', 'banned')", "vera", "/staff", "403 principal_inactive"),
        ("DELETE FROM portcullis.memberships WHERE \"group\" = 'banned'", "vera", "/staff", "200"),
        ("DELETE FROM portcullis.groups WHERE name = 'staff'", "vera", "/staff", "403 flag_missing"),
        ("UPDATE portcullis.principals SET flags = '{staff}' WHERE id = 'vera'", "vera", "/staff", "200"),
        ("INSERT INTO portcullis.grants (principal, role) VALUES ('vera', 'keeper')", "vera", "/secrets/a", "200"),
        ("DELETE FROM portcullis.role_rights", "vera", "/secrets/a", "403 right_missing"),
        ("INSERT INTO portcullis.role_rights VALUES ('keeper', 'secrets')", "vera", "/secrets/a", "200"),
        ("TRUNCATE portcullis.role_rights", "vera", "/secrets/a", "403 right_missing"),
        ("DELETE FROM portcullis.roles WHERE name = 'reader'", "vera", THING, "403 right_missing"),
        (
            "INSERT INTO portcullis.grants (principal, \"right\", node) VALUES ('vera', 'places', 'place:north')",
            "vera",
            "/places/north",
            "200",
        ),
        (vera, "vera", "/places/south", "403 right_missing"),
        (
            "UPDATE portcullis.scopes SET node = 'place:north2' WHERE node = 'place:north'",
            "vera",
            "/places/north",
            "403 principal_unknown",
        ),
        (
            "UPDATE portcullis.scopes SET node = 'place:north' WHERE node = 'place:north2'",
            "vera",
            "/places/north",
            "200",
        ),
        ("TRUNCATE portcullis.principals CASCADE", "vera", "/places/north", "403 principal_unknown"),
    ] {
        database.run(change);
        let said = || {
            let (status, reason) = verdict(&gateway, who, target);
            format!("{status} {}", reason.split(':').next().unwrap()).trim().to_owned()
        };
        let mut last = String::new();
        until(
            || {
                last = said();
                last.starts_with(expected)
            },
            &format!("{change}: {expected}, not {}", said()),
        );
    }
    assert_eq!(gateway.serial(), 1, "changes of rows are no new policy");
}

#[test]
fn what_a_role_loses_is_lost_by_whoever_is_given_the_role_at_the_same_time() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = setup(&backend, &database.url(), ", poll: 1h, reconcile: 1h, max_staleness: 2h").start();
    let mut other = database.other();
    other.run("BEGIN; DELETE FROM portcullis.role_rights WHERE role = 'keeper'");
    database.run("INSERT INTO portcullis.grants (principal, role) VALUES ('nils', 'keeper')");
    until(|| status(&gateway, "nils", "/secrets/a") == 200, "nils has the role");
    other.run("COMMIT");
    until(|| status(&gateway, "nils", "/secrets/a") == 403, "the role has nothing any more");
}

#[test]
fn a_change_that_commits_late_is_not_missed() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let gateway = setup(&backend, &database.url(), ", poll: 1h, reconcile: 1h, max_staleness: 2h").start();
    let mut slow = database.other();
    slow.run("BEGIN; DELETE FROM portcullis.grants WHERE principal = 'olga'");
    for _ in 0..3 {
        database.run("UPDATE portcullis.principals SET flags = flags || '{x}' WHERE id = 'nils'");
    }
    database.run("INSERT INTO portcullis.grants (principal, \"right\") VALUES ('nils', 'things')");
    until(|| status(&gateway, "nils", THING) == 200, "what came later has come");
    assert_eq!(status(&gateway, "olga", THING), 200);
    slow.run("COMMIT");
    until(|| status(&gateway, "olga", THING) == 403, "what committed last is noticed");
}
