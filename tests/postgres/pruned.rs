//! The log of changes is cut, and nobody misses what was cut out of it.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use super::*;
use crate::backend::until;
use crate::postgres::Relay;
use portcullis::source::postgres::schema;

const REVOKE: &str = "DELETE FROM portcullis.grants WHERE principal = 'olga'";
const CHANGES: &str = "SELECT count(*) FROM portcullis.changes";
const POSITION: &str = "SELECT pg_current_snapshot()";

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().unwrap()
}

/// Whom the log names since a position, as a gateway asks for it: ids, and `*` for everybody.
fn since(database: &mut Database<'_>, position: &str) -> String {
    let query = schema::queries().changes.unwrap().replace("$1", &format!("'{position}'"));
    database.ask(&format!("SELECT coalesce(string_agg(DISTINCT coalesce(c.id, '*'), ' '), '') FROM ({query}) AS c(id)"))
}

#[test]
fn db_prune_takes_out_what_is_older_than_it_is_told_to_keep() {
    let Some(server) = server() else { return };
    let mut database = people(server);
    let url = database.url();
    database.run(
        "DELETE FROM portcullis.changes; INSERT INTO portcullis.changes (principal, at) VALUES \
         ('olga', now() - interval '8 days'), ('olga', now() - interval '6 days'), ('olga', now())",
    );
    for (keep, said, left) in [(None, ": 1 old change taken out", "2"), (Some("5d"), ": 1 old change taken", "1")] {
        let more = keep.map_or(Vec::new(), |keep| vec!["--keep", keep]);
        let done = portcullis(&[&["db", "prune", "--url", &url], more.as_slice()].concat());
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && text.contains(said), "{text}{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(database.ask(CHANGES), left);
    }
    let again = portcullis(&["db", "prune", "--keep", "5d", "--url", &url]);
    assert!(String::from_utf8(again.stdout).unwrap().contains(": 0 old changes taken out"));
}

#[test]
fn only_the_owner_prunes_and_a_mistake_is_told() {
    let Some(server) = server() else { return };
    let mut database = people(server);
    database.run("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA portcullis TO reader");
    let url = database.url().replace("test@", "reader@");
    let refused = portcullis(&["db", "prune", "--url", &url]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(5), "{told}");
    assert!(told.contains("permission denied for function prune"), "{told}");
    assert!(database.try_run("SELECT portcullis.prune('-1 s')").is_err());
    assert!(database.try_run("SELECT portcullis.prune(NULL)").is_err());

    let mut empty = server.database();
    let refused = portcullis(&["db", "prune", "--url", &empty.url()]);
    assert_eq!(refused.status.code(), Some(5));
    assert_eq!(portcullis(&["db", "prune"]).status.code(), Some(2));
    assert_eq!(portcullis(&["db", "prune", "--keep", "1y", "--url", &url]).status.code(), Some(2));
    // A schema of before there was anything to prune.
    empty.run(schema::SQL);
    empty.run("DROP TABLE portcullis.pruned");
    let backend = Backend::hello();
    let start = setup(&backend, &empty.url(), ", start_timeout: 1s").try_start();
    // Rows are there to read; what has changed is asked for later, and that fails with what to do.
    let gateway = start.unwrap_or_else(|error| panic!("{error}"));
    until(|| feed(&gateway)["fault"].to_string().contains("`portcullis db init` makes the schema"), "told");
}

#[test]
fn whoever_may_not_have_seen_what_was_taken_out_is_told_of_everybody() {
    // A server of its own: a position names what runs in all databases of a server, and of a stranger's transaction
    // nobody can tell what it took out.
    let Some(server) = Server::start() else { return };
    let mut database = people(&server);
    let before = database.ask(POSITION);
    database.run(REVOKE);
    assert_eq!(since(&mut database, &before), "olga");
    let after = database.ask(POSITION);

    // Runs before the pruning and ends behind it.
    let mut slow = database.other();
    slow.run("BEGIN; INSERT INTO portcullis.grants (principal, \"right\") VALUES ('nils', 'things')");
    let meanwhile = database.ask(POSITION);
    database.run("UPDATE portcullis.principals SET flags = '{x}' WHERE id = 'vera'");
    let late = database.ask(POSITION);
    database.run("SELECT portcullis.prune('0')");
    assert_eq!(database.ask(CHANGES), "0");
    for (position, told) in [(&before, "*"), (&after, "*"), (&meanwhile, "*"), (&late, "")] {
        assert_eq!(since(&mut database, position), told, "{position}");
    }
    slow.run("COMMIT");
    // It was still running at both positions, and may have been pruned as far as anybody can tell.
    assert_eq!(since(&mut database, &late), "* nils");
    let now = database.ask(POSITION);
    assert_eq!(since(&mut database, &now), "");
    // What is pruned later is not forgotten for what is pruned less later.
    database.run("SELECT portcullis.prune('0'); SELECT portcullis.prune('1 hour')");
    assert_eq!(since(&mut database, &late), "*");
    assert_eq!(since(&mut database, &now), "");
}

#[test]
fn a_revocation_counts_though_its_change_was_taken_out_before_a_gateway_saw_it() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = people(server);
    let relay = Relay::to(server.address());
    let more = ", poll: 1s, reconcile: 1h, max_staleness: 2h, statement_timeout: 30s";
    let gateway = setup(&backend, &database.url_at(relay.address()), more).start();
    until(|| feed(&gateway)["connected"] == true, "connected");
    assert_eq!(status(&gateway, "olga", "/things/1"), 200);
    // The connection stays; only what it says comes late.
    relay.stall(true);
    thread::sleep(Duration::from_millis(100));
    database.run(REVOKE);
    database.run("SELECT portcullis.prune('0')");
    assert_eq!(database.ask(CHANGES), "0");
    relay.stall(false);
    until(|| status(&gateway, "olga", "/things/1") == 403, "revoked");
    assert_eq!(status(&gateway, "vera", "/things/1"), 200);
}
