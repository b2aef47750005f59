//! A start, and rows with faults.

use super::*;
use crate::backend::until;
use crate::postgres::certificate;

/// Rows of any schema, as its owner wrote them.
const TABLE: &str = "CREATE TABLE people (name text, guid text, state text, may jsonb, teams text[]);
    INSERT INTO people VALUES
    ('olga', '00000000-0000-0000-0000-000000000001', 'active', '[\"things\"]', NULL),
    ('vera', '00000000-0000-0000-0000-000000000002', 'active', '[{\"role\": \"reader\"}]', '{staff}'),
    ('nils', '00000000-0000-0000-0000-000000000003', 'active', NULL, '{}')";

const QUERIES: &str = ", reconcile: 1s, queries: {principals: \"SELECT name AS id, 'home' AS tenant, guid AS oid, \
                       state AS status, may AS grants, teams AS groups FROM people\"}";

#[test]
fn rows_of_any_schema_decide_and_so_does_what_becomes_of_them() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = server.database();
    database.run(TABLE);
    let gateway = setup(&backend, &database.url(), QUERIES).start();
    let all = || ["olga", "vera", "nils"].map(|who| status(&gateway, who, "/things/1"));
    assert_eq!(all(), [200, 200, 403]);
    assert_eq!(status(&gateway, "vera", "/staff"), 200);
    database.run("UPDATE people SET may = NULL WHERE name = 'olga'; DELETE FROM people WHERE name = 'vera'");
    until(|| all() == [403, 403, 403], "the next reading finds it");
}

#[test]
fn a_row_with_a_fault_is_left_out_and_nobody_else_suffers() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    for wrong in [
        "UPDATE people SET state = NULL WHERE name = 'olga'",
        "UPDATE people SET state = 'odd' WHERE name = 'olga'",
        "UPDATE people SET guid = 'x' WHERE name = 'olga'",
        "UPDATE people SET guid = NULL WHERE name = 'olga'",
        "UPDATE people SET name = NULL WHERE name = 'olga'",
        "UPDATE people SET may = '[\"things\", {\"role\": \"reader\", \"at\": null}]' WHERE name = 'olga'",
        "UPDATE people SET may = '[\"things\", \"thinsg\"]' WHERE name = 'olga'",
        "UPDATE people SET may = '{\"things\": true}' WHERE name = 'olga'",
        "UPDATE people SET may = '[\"things\", \"places @place:west\"]' WHERE name = 'olga'",
        "UPDATE people SET teams = '{nobody}' WHERE name = 'olga'",
        "INSERT INTO people SELECT * FROM people WHERE name = 'olga'",
        "INSERT INTO people SELECT 'else', guid, state, '[]', teams FROM people WHERE name = 'olga'",
        "INSERT INTO people SELECT name, '00000000-0000-0000-0000-000000000005', state, '[]', teams FROM people WHERE name = 'olga'",
        "UPDATE people SET may = jsonb_build_array('things', repeat('x', 70000)) WHERE name = 'olga'",
    ] {
        let mut database = server.database();
        database.run(TABLE);
        // Once before the start, once while it runs.
        for early in [true, false] {
            if early {
                database.run(wrong);
            }
            let gateway = setup(&backend, &database.url(), QUERIES).start();
            if early {
                assert!(feed(&gateway)["rows_refused"].as_u64() >= Some(1), "{wrong}: {}", feed(&gateway));
                assert_eq!(verdict(&gateway, "olga", "/things/1").1, "principal_unknown", "{wrong}");
                database.run(&format!("DROP TABLE people; {TABLE}"));
                until(|| status(&gateway, "olga", "/things/1") == 200, wrong);
            } else {
                assert_eq!(status(&gateway, "olga", "/things/1"), 200);
                database.run(wrong);
                until(|| verdict(&gateway, "olga", "/things/1").1 == "principal_unknown", wrong);
            }
            assert_eq!(status(&gateway, "vera", "/things/1"), 200, "{wrong}");
        }
    }
}

#[test]
fn nobody_of_the_document_gives_way_to_a_row() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = server.database();
    database.run(TABLE);
    let mut setup = setup(&backend, &database.url(), QUERIES);
    setup.grants +=
        "principals:\n  - {id: admin, tenant: home, oid: 00000000-0000-0000-0000-000000000001, grants: [secrets]}\n";
    let gateway = setup.start();
    // The row of olga has the admin's object id.
    assert_eq!(["/things/1", "/secrets/1"].map(|target| status(&gateway, "olga", target)), [403, 200]);
    database.run(
        "INSERT INTO people VALUES ('admin', '00000000-0000-0000-0000-000000000005', 'active', '[\"things\"]', NULL)",
    );
    database.run("UPDATE people SET may = '[\"things\"]' WHERE name = 'nils'");
    until(|| status(&gateway, "nils", "/things/1") == 200, "the change of another row");
    assert_eq!(verdict(&gateway, "nobody", "/things/1").1, "principal_unknown");
    assert_eq!(["/things/1", "/secrets/1"].map(|target| status(&gateway, "olga", target)), [403, 200]);
}

#[test]
fn names_cannot_turn_into_other_grants() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = server.database();
    database.run(TABLE);
    database.run(
        "UPDATE people SET may = jsonb_build_array(jsonb_build_object('role', 'x\", \"things')) WHERE name = 'nils'",
    );
    database.run("UPDATE people SET name = 'nina\",\"grants\":[\"things\"],\"x\":\"' || E'\\n\\t' WHERE name = 'nils'");
    let gateway = setup(&backend, &database.url(), QUERIES).start();
    assert_eq!(verdict(&gateway, "nils", "/things/1").1, "principal_unknown");
    database.run("UPDATE people SET may = '[]' WHERE name LIKE 'nina%'");
    until(|| verdict(&gateway, "nils", "/things/1").1 == "right_missing", "it is a name like any other");
}

#[test]
fn without_a_database_there_is_no_start() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = server.database();
    for (url, more, why) in [
        ("postgres://test@127.0.0.1:9/x".to_owned(), "", "no connection"),
        (database.url(), "", "portcullis.principals"),
        (database.url(), ", queries: {principals: \"SELECT 1 AS id\"}", "has no column `tenant`"),
        (
            database.url(),
            ", queries: {principals: \"SELECT 1 AS id, 2 AS tenant, 3 AS oid, 4 AS role\"}",
            "a column `role`",
        ),
        (
            database.url(),
            ", queries: {principals: \"SELECT 1 AS id, 2 AS tenant, 3 AS oid, 'a' AS grants\"}",
            "must be an array",
        ),
    ] {
        let more = format!(", start_timeout: 100ms{more}");
        let Err(error) = setup(&backend, &url, &more).try_start() else { panic!("started: {why}") };
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut setup = setup(&backend, &database.url(), QUERIES);
    let mut database = database;
    database.run(TABLE);
    setup.databases[0] = setup.databases[0].replace("domain: app", "domain: other");
    let Err(error) = setup.try_start() else { panic!("started") };
    assert!(error.to_string().contains("no grants document has the domain `other`"), "{error}");
}

#[test]
fn a_start_waits_for_a_database_that_is_about_to_come() {
    let Some(mut server) = Server::start() else { return };
    let backend = Backend::hello();
    let url = people(&server).url();
    server.kill();
    let starting = std::thread::spawn({
        let setup = setup(&backend, &url, ", start_timeout: 60s");
        move || setup.start()
    });
    std::thread::sleep(std::time::Duration::from_millis(700));
    server.again();
    let gateway = starting.join().unwrap();
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
}

#[test]
fn tls_is_spoken_only_with_whom_the_authority_and_the_name_speak_for() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = people(server);
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem();
    let with = |ca: &str, host: &str| {
        let url = database.url().replace("127.0.0.1", host);
        let mut setup = setup(&backend, &url, ", tls: true, ca: db.pem, start_timeout: 100ms");
        setup.files.push(("db.pem", ca.to_owned()));
        setup.try_start().map_err(|error| error.to_string())
    };
    let gateway = with(&certificate().0, "localhost").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    for (ca, host) in [(&other, "localhost"), (&certificate().0, "127.0.0.1")] {
        let Err(error) = with(ca, host) else { panic!("connected to {host}") };
        assert!(error.contains("certificate"), "{error}");
    }
}

#[test]
fn the_url_may_come_from_a_file_and_nothing_shows_it() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = people(server);
    let url = database.url().replace("test@", "test:s3cret@");
    let mut setup = setup(&backend, "", "");
    setup.databases = vec!["{postgres: {domain: app, url_file: db.url}}".to_owned()];
    setup.files.push(("db.url", format!("{url}\n")));
    let gateway = setup.start();
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    assert!(!feed(&gateway).to_string().contains("s3cret"));
    assert!(feed(&gateway)["address"].as_str().unwrap().starts_with("127.0.0.1:"));
}
