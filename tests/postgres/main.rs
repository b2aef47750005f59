//! Grants from a real PostgreSQL: the rows decide, changes count at once, and no fault of a database or of the way to it
//! lets anybody in.

#[path = "../support/backend.rs"]
mod backend;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/h2.rs"]
mod h2;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/websocket.rs"]
mod websocket;
#[path = "../support/wire.rs"]
mod wire;

mod candidate;
mod changes;
mod dry_run;
mod examples;
mod first;
mod loss;
mod objects;
mod own;
mod pruned;

use std::sync::OnceLock;

use backend::Backend;
use gateway::{Gateway, Setup, token};
use postgres::{Database, Server};
use wire::get;

/// The server of this process.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

/// What a grants document says when its principals are rows.
const GRANTS: &str = "version: 1
domain: app
strategy: {rights: tree, within: union, across: deny_overrides}
rights: [things, secrets, places]
scopes: {forest: {\"place:north\": root, \"place:south\": root}}
roles: {reader: {rights: [\"things:read\"]}}
groups: {staff: {flags: [staff]}, banned: {status: inactive}}
";

/// People, and what they may name.
const PEOPLE: &str = "
INSERT INTO portcullis.rights VALUES ('things'), ('secrets'), ('places');
INSERT INTO portcullis.roles VALUES ('reader', true), ('keeper', false);
INSERT INTO portcullis.groups VALUES ('staff'), ('banned');
INSERT INTO portcullis.scopes VALUES ('place:north'), ('place:south');
INSERT INTO portcullis.role_rights VALUES ('keeper', 'secrets', 'read');
INSERT INTO portcullis.principals (id, tenant, oid) VALUES
    ('olga', 'home', '00000000-0000-0000-0000-000000000001'),
    ('vera', 'home', '00000000-0000-0000-0000-000000000002'),
    ('nils', 'home', '00000000-0000-0000-0000-000000000003');
INSERT INTO portcullis.grants (principal, \"right\", level) VALUES ('olga', 'things', NULL);
INSERT INTO portcullis.grants (principal, role) VALUES ('vera', 'reader');
";

/// A database with the product's own schema and people in it.
fn people(server: &Server) -> Database<'_> {
    let mut database = server.database();
    database.run(portcullis::source::postgres::schema::SQL);
    database.run(PEOPLE);
    database
}

/// The entry of `grants` for a database.
fn entry(url: &str, more: &str) -> String {
    format!("{{postgres: {{domain: app, url: \"{url}\"{more}}}}}")
}

/// A gateway whose principals are the rows behind a URL.
fn setup(backend: &Backend, url: &str, more: &str) -> Setup {
    Setup { grants: GRANTS.to_owned(), databases: vec![entry(url, more)], ..Setup::before(backend) }
}

fn start(backend: &Backend, database: &Database<'_>) -> Gateway {
    setup(backend, &database.url(), "").start()
}

/// The status and the reason for a request of somebody.
fn verdict(gateway: &Gateway, who: &str, target: &str) -> (u16, String) {
    gateway.ask(get(target, &token(who))).verdict()
}

fn status(gateway: &Gateway, who: &str, target: &str) -> u16 {
    verdict(gateway, who, target).0
}

/// What `/status` says of the database.
fn feed(gateway: &Gateway) -> serde_json::Value {
    gateway.admin("GET", "/status", "").json()["databases"][0].clone()
}
