//! Objects that are looked up when a request needs them: what a row says decides, and whatever is no row, late or odd lets
//! nobody in.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use super::*;
use crate::backend::{SOON, fill, read_head, say, until};
use crate::gateway::ADMIN_TOKEN;
use crate::h2::H2Backend;
use crate::postgres::Relay;
use crate::websocket::{echo, echoes, handshake};

const ROUTES: &str = "      - {id: officer, match: {methods: [GET], path: \"/officers/{n}\"}, \
    object: {kind: officer, key: path.n}, scopes: {main: {from: object.place, kind: place}}, require: [places]}
      - {id: crew, match: {methods: [GET], path: \"/crews/{n}\"}, object: {kind: officer, key: path.n}, \
    require: [things, {lt: [count(object.crew), 2], reason: crowded}, {eq: [object.active, true], reason: asleep}]}
      - {id: form, match: {methods: [POST], path: \"/officers/{n}\"}, object: {kind: officer, key: path.n}, \
    scopes: {main: {from: [object.place, form.place], kind: place}}, require: [\"places:read\"]}
      - {id: ship, match: {methods: [GET], path: \"/ships/{n}\"}, object: {kind: ship, key: path.n}, \
    scopes: {main: {from: object.place, kind: place}}, require: [places]}
      - {id: seen, match: {methods: [GET], path: \"/seen/{n}\"}, mode: shadow, object: {kind: officer, key: path.n}, \
    scopes: {main: {from: object.place, kind: place}}, require: [places]}
";

const ROWS: &str = "CREATE TABLE officers (id text, place text, crew text[], active boolean, age integer);
    INSERT INTO officers VALUES
    ('1', 'north', '{ann,bob}', true, 30), ('2', 'south', '{ann}', true, 30), ('3', NULL, NULL, NULL, 30),
    ('4', 'west', '{ann,null}', true, 30), ('5', 'north', '{}', true, 30), ('5', 'north', '{}', true, 30),
    ('a6', 'north', '{ann}', true, 30), ('7', 'north', '{ann}', false, 30);
    CREATE TABLE ships (id integer, place text);
    INSERT INTO ships VALUES (7, 'north'), (8, 'south');
    INSERT INTO portcullis.grants (principal, \"right\", node) VALUES ('olga', 'places', 'place:north')";

/// Every query takes an advisory lock that its connection keeps, so that they can be counted.
const OFFICER: &str = "SELECT * FROM officers WHERE id = $1 \
    AND (SELECT pg_try_advisory_lock((random() * 1e15)::bigint))";

fn rows(server: &Server) -> Database<'_> {
    let mut database = people(server);
    database.run(ROWS);
    database
}

/// How many queries of [`OFFICER`] were made.
fn asked(database: &Database<'_>) -> usize {
    let mine = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    let count = format!("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = {mine}");
    database.other().ask(&count).parse().unwrap()
}

/// A gateway that asks `officer` this, with these times.
fn with(backend: &Backend, url: &str, officer: &str, times: &str) -> Setup {
    let objects = format!(
        ", statement_timeout: 1s, connect_timeout: 1s, objects: {{\
         officer: {{query: \"{officer}\", attributes: [place, crew, active], {times}}}, \
         ship: {{query: \"SELECT * FROM ships WHERE id = $1::integer\", attributes: [place], wait: 5s}}}}"
    );
    let mut setup = setup(backend, url, &objects);
    setup.routes += ROUTES;
    setup
}

fn start(backend: &Backend, database: &Database<'_>) -> Gateway {
    with(backend, &database.url(), OFFICER, "ttl: 10m, wait: 5s").start()
}

fn told(gateway: &Gateway, target: &str) -> String {
    let (status, reason) = verdict(gateway, "olga", target);
    format!("{status} {reason}").trim().to_owned()
}

#[test]
fn objects_of_the_own_schema_need_no_query() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    database.run(
        r#"INSERT INTO portcullis.objects VALUES
        ('officer', '1', '{"place": "north", "crew": ["ann"], "active": true}'),
        ('officer', '2', '{"place": "south", "crew": ["ann", 2, false], "active": true}'),
        ('officer', '3', '{"place": null, "crew": [], "active": 1}'),
        ('officer', '4', '{"place": ["north", "south"], "crew": "ann", "active": "true"}'),
        ('officer', '5', '{"place": {"a": "north"}}'), ('officer', '6', '{"place": 1.5}'), ('officer', '8', '{"place": [null]}'),
        ('it''s', '9', '{"place": "north"}')"#,
    );
    let objects = ", objects: {officer: {attributes: [place, crew, active]}, \"it's\": {attributes: [place, \"a'b\"]}}";
    let mut setup = setup(&backend, &database.url(), objects);
    let quoted = "      - {id: odd, match: {methods: [GET], path: \"/odd/{n}\"}, object: {kind: \"it's\", key: path.n}, \
                  scopes: {main: {from: object.place, kind: place}}, require: [places]}\n";
    setup.routes +=
        &ROUTES.lines().filter(|line| !line.contains("ship")).map(|line| format!("{line}\n")).collect::<String>();
    setup.routes = setup.routes.replace("      - {id: officer", &format!("{quoted}      - {{id: officer"));
    let gateway = setup.start();
    for (target, expected) in [
        ("/officers/1", "200"),
        ("/officers/2", "403 right_missing"),
        ("/officers/3", "403 scope_missing"),
        ("/officers/4", "403 right_missing"),
        ("/officers/5", "503 object_unavailable"),
        ("/officers/6", "503 object_unavailable"),
        ("/officers/8", "503 object_unavailable"),
        ("/officers/7", "403 object_unknown"),
        ("/odd/9", "200"),
        ("/odd/1", "403 object_unknown"),
        ("/crews/1", "200"),
        ("/crews/2", "403 crowded"),
        ("/crews/3", "403 asleep"),
        ("/crews/4", "403 crowded"),
    ] {
        assert_eq!(told(&gateway, target), expected, "{target}");
    }
    for wrong in ["('a:b', '1', '{}')", "('officer', '', '{}')", "('officer', '1', '{}')", "('officer', '99', '[]')"] {
        assert!(
            database.other().try_run(&format!("INSERT INTO portcullis.objects VALUES {wrong}")).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_row_decides_and_what_is_no_row_is_refused() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let gateway = start(&backend, &database);
    for (target, expected) in [
        ("/officers/1", "200"),
        ("/officers/2", "403 right_missing"),
        // Null is an attribute that is not there.
        ("/officers/3", "403 scope_missing"),
        ("/crews/3", "403 crowded"),
        ("/officers/5", "503 object_unavailable"),
        ("/officers/7", "200"),
        ("/officers/8", "403 object_unknown"),
        ("/officers/%27%20OR%20%27%27=%27", "403 object_unknown"),
        ("/crews/1", "403 crowded"),
        ("/crews/2", "200"),
        ("/crews/7", "403 asleep"),
        ("/crews/8", "403 object_unknown"),
        ("/ships/7", "200"),
        ("/ships/8", "403 right_missing"),
        ("/ships/9", "403 object_unknown"),
    ] {
        assert_eq!(told(&gateway, target), expected, "{target}");
        // The same by what is remembered.
        assert_eq!(told(&gateway, target), expected, "{target}");
    }
    let long = format!("/officers/{}", "x".repeat(300));
    assert_eq!(told(&gateway, &long), "403 object_unknown");
    // A list with a null in it is none.
    assert_eq!(told(&gateway, "/officers/4"), "503 object_unavailable");
    let late = gateway.ask(get("/officers/5", &token("olga")));
    assert_eq!(late.header("retry-after"), Some("1"));
}

#[test]
fn a_row_with_a_place_that_the_document_does_not_know_is_refused() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    database.run("UPDATE officers SET place = 'nowhere' WHERE id = '1'");
    let gateway = start(&backend, &database);
    assert_eq!(told(&gateway, "/officers/1"), "403 scope_unknown");
}

#[test]
fn who_may_do_nothing_has_nothing_looked_up() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    database.run("UPDATE portcullis.principals SET status = 'inactive' WHERE id = 'olga'");
    let gateway = start(&backend, &database);
    assert_eq!(told(&gateway, "/officers/1"), "403 principal_inactive");
    assert_eq!(verdict(&gateway, "nobody", "/officers/1").1, "principal_unknown");
    assert_eq!(gateway.ask(get("/officers/1", "x")).verdict().0, 401);
    assert_eq!(asked(&database), 0);
}

#[test]
fn an_id_counts_byte_for_byte_whatever_the_query_finds() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let folded = "SELECT * FROM officers WHERE lower(id) = lower(trim(leading '0' from $1))";
    let gateway = with(&backend, &database.url(), folded, "wait: 5s").start();
    for (target, expected) in [
        ("/officers/a6", "200"),
        ("/officers/A6", "403 object_unknown"),
        ("/officers/0a6", "403 object_unknown"),
        ("/ships/7", "200"),
        ("/ships/07", "403 object_unknown"),
        // No integer at all, or none that fits.
        ("/ships/x", "403 object_unknown"),
        ("/ships/99999999999", "403 object_unknown"),
    ] {
        assert_eq!(told(&gateway, target), expected, "{target}");
    }
}

#[test]
fn a_form_and_an_object_are_both_waited_for() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let gateway = start(&backend, &database);
    let post = |target: &str, form: &str| {
        let (token, length) = (token("olga"), form.len());
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        let (status, reason) = gateway.ask(request).verdict();
        format!("{status} {reason}").trim().to_owned()
    };
    assert_eq!(post("/officers/1", "place=north"), "200");
    assert_eq!(post("/officers/1", "other=north"), "200");
    assert_eq!(post("/officers/1", "place=south"), "403 scope_conflict");
    assert_eq!(post("/officers/2", "place=north"), "403 scope_conflict");
    assert_eq!(post("/officers/8", "place=north"), "403 object_unknown");
}

#[test]
fn a_kind_whose_query_is_broken_is_refused_until_it_is_mended_and_no_other_suffers() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    database.run("ALTER TABLE officers ALTER COLUMN active TYPE numeric USING 1");
    let gateway = start(&backend, &database);
    let both = || [told(&gateway, "/officers/1"), told(&gateway, "/ships/7")];
    assert_eq!(both(), ["503 object_unavailable", "200"]);
    database.run("ALTER TABLE officers DROP COLUMN active");
    assert_eq!(both(), ["503 object_unavailable", "200"]);
    database.run("ALTER TABLE officers ADD COLUMN active boolean");
    until(|| both() == ["200", "200"], "mended");
}

#[test]
fn an_answer_is_believed_for_its_time_and_no_longer() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    let gateway = with(&backend, &database.url(), OFFICER, "ttl: 4s, wait: 5s").start();
    let began = Instant::now();
    assert_eq!([told(&gateway, "/officers/1"), told(&gateway, "/officers/9")], ["200", "403 object_unknown"]);
    database.run("UPDATE officers SET place = 'south' WHERE id = '1'; INSERT INTO officers VALUES ('9', 'north')");
    let both = [told(&gateway, "/officers/1"), told(&gateway, "/officers/9")];
    if began.elapsed() < Duration::from_secs(4) {
        assert_eq!(both, ["200", "403 object_unknown"]);
        assert_eq!(asked(&database), 2);
    }
    until(|| told(&gateway, "/officers/1") == "403 right_missing", "the change counts");
    until(|| told(&gateway, "/officers/9") == "200", "so does the new row");
}

#[test]
fn a_hundred_requests_at_once_are_one_question() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let slow = format!("{OFFICER} AND (SELECT pg_sleep(1)::text = '')");
    let gateway = with(&backend, &database.url(), &slow, "ttl: 10m, wait: 10s").start();
    let (all, token) = (Barrier::new(100), token("olga"));
    thread::scope(|scope| {
        let asking: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    all.wait();
                    client.ask(get("/officers/1", &token)).verdict().0
                })
            })
            .collect();
        assert!(asking.into_iter().all(|one| one.join().unwrap() == 200));
    });
    assert_eq!(asked(&database), 1);
    let page = gateway.admin("GET", "/metrics", "").text();
    let count = |outcome: &str| {
        let name = format!("portcullis_object_lookups_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse::<u32>().unwrap())
    };
    assert_eq!(count("found") + count("hit"), 100, "{page}");
}

#[test]
fn a_database_that_is_stuck_or_gone_refuses_what_needs_it_and_nothing_else() {
    let Some(server) = Server::start() else { return };
    let backend = Backend::hello();
    let database = rows(&server);
    let relay = Relay::to(server.address());
    let gateway = with(&backend, &database.url_at(relay.address()), OFFICER, "ttl: 10m, wait: 300ms").start();
    until(|| told(&gateway, "/officers/1") == "200", "connected");
    relay.stall(true);
    let began = Instant::now();
    assert_eq!(told(&gateway, "/officers/2"), "503 object_unavailable");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // What is remembered still counts, and what needs no object is not concerned.
    for (target, expected) in [("/officers/1", "200"), ("/things/1", "200"), ("/lobby", "200"), ("/health", "200")] {
        assert_eq!(told(&gateway, target), expected, "{target}");
    }
    relay.stall(false);
    until(|| told(&gateway, "/officers/2") == "403 right_missing", "it answers again");
    server.kill();
    until(|| told(&gateway, "/officers/7") == "503 object_unavailable", "gone");
    assert_eq!(told(&gateway, "/things/1"), "200");
    // Where nothing is enforced, the request goes on, and the log says what would have become of it.
    assert_eq!(told(&gateway, "/seen/7"), "200");
}

#[test]
fn a_request_that_waited_is_judged_by_the_policy_of_then() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 10m, wait: 10s");
    setup.more = "reload: {gate: off}\n".to_owned();
    let gateway = setup.start();
    assert_eq!(told(&gateway, "/ships/7"), "200");
    for (change, expected) in [
        (GRANTS.replace("\"place:north\": root", "\"place:north\": root, \"place:east\": root"), 200),
        (GRANTS.replace("\"place:north\": root, ", ""), 403),
    ] {
        database.run("BEGIN; LOCK TABLE officers IN ACCESS EXCLUSIVE MODE");
        let target = if expected == 200 { "/officers/1" } else { "/officers/7" };
        thread::scope(|scope| {
            let waiting = scope.spawn(|| status(&gateway, "olga", target));
            thread::sleep(Duration::from_millis(300));
            let serial = gateway.serial();
            gateway.replace("grants.yaml", &change);
            until(|| gateway.serial() > serial, "reloaded");
            assert!(!waiting.is_finished(), "the row was not waited for");
            database.run("COMMIT");
            assert_eq!(waiting.join().unwrap(), expected, "{change}");
        });
    }
}

#[test]
fn a_path_that_can_be_read_in_two_ways_is_decided_by_the_objects_of_both() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    database.run("INSERT INTO officers VALUES ('7;v=1', 'north'), ('2;v=1', 'north'), ('1;v=1', 'south')");
    let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 10m, wait: 5s");
    setup.routes = setup.routes.replace("    domain: app\n", "    domain: app\n    backend: {semicolon: true}\n");
    let gateway = setup.start();
    for (target, expected) in [
        ("/officers/7;v=1", "200"),
        ("/officers/1;v=1", "403 right_missing"),
        ("/officers/2;v=1", "403 right_missing"),
        ("/officers/7;v=2", "403 object_unknown"),
        ("/officers/7", "200"),
    ] {
        assert_eq!(told(&gateway, target), expected, "{target}");
    }
}

#[test]
fn a_websocket_ends_when_the_row_of_its_object_is_gone() {
    let Some(server) = server() else { return };
    let backend = echo();
    let mut database = rows(server);
    let gateway = with(&backend, &database.url(), OFFICER, "ttl: 500ms, wait: 5s").start();
    let opened = |target: &str| {
        let mut client = gateway.connect();
        assert_eq!(client.ask(handshake(target, &token("olga"), "")).status, 101, "{target}");
        echoes(&mut client, "hello");
        client
    };
    assert_eq!(gateway.ask(handshake("/officers/2", &token("olga"), "")).verdict().1, "right_missing");
    let (mut goes, mut stays) = (opened("/officers/1"), opened("/officers/7"));
    database.run("DELETE FROM officers WHERE id = '1'");
    assert!(goes.is_ended());
    let before = asked(&database);
    until(|| asked(&database) >= before + 2, "the other is looked up again");
    echoes(&mut stays, "still here");
}

#[test]
fn a_stream_ends_when_a_new_policy_asks_for_an_object_that_was_not_looked_up_for_it() {
    let Some(server) = server() else { return };
    let backend = Backend::events();
    let database = rows(server);
    let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 10m, wait: 5s");
    setup.more = "reload: {gate: off}\n".to_owned();
    let routes = setup.routes.clone();
    let gateway = setup.start();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
    let path = "path: \"/things/{thing...}\"}, ";
    assert!(routes.contains(path), "{routes}");
    gateway
        .replace("routes.yaml", &routes.replace(path, &format!("{path}object: {{kind: officer, key: path.thing}}, ")));
    until(|| gateway.serial() == 2, "reloaded");
    assert!(client.is_ended());
    assert_eq!(asked(&database), 0);
}

#[test]
fn a_stream_goes_on_while_the_object_lets_it_and_not_after() {
    let Some(server) = server() else { return };
    let backend = Backend::events();
    let mut database = rows(server);
    let gateway = with(&backend, &database.url(), OFFICER, "ttl: 500ms, wait: 5s").start();
    let listening = |target: &str| {
        let mut client = gateway.connect();
        client.send(get(target, &token("olga")));
        assert_eq!(client.head().unwrap().status, 200, "{target}");
        assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
        client
    };
    let cut = || {
        let page = gateway.admin("GET", "/metrics", "").text();
        let count = page.lines().find_map(|line| line.strip_prefix("portcullis_exchanges_cut_total "));
        count.unwrap_or_else(|| panic!("{page}")).parse::<u32>().unwrap()
    };
    let (mut moves, _stays) = (listening("/officers/1"), listening("/officers/7"));
    let before = asked(&database);
    until(|| asked(&database) >= before + 4, "both are looked up again and again");
    assert_eq!(cut(), 0);
    database.run("UPDATE officers SET place = 'south' WHERE id = '1'");
    until(|| cut() == 1, "the one whose row has changed");
    assert!(moves.is_ended());
    database.run("DROP TABLE officers");
    until(|| cut() == 2, "nobody can say any more");
}

/// Sends the beginning of an answer of this type, and goes on until somebody ends it.
fn begun(kind: &'static str) -> Backend {
    Backend::raw(move |number, mut stream, _| {
        let mut buffer = Vec::new();
        if read_head(number, &mut stream, &mut buffer).is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
            say(&mut stream, format!("{head}9\r\ndata: x\n\n\r\n").as_bytes());
            fill(&mut stream, &mut buffer);
        }
    })
}

#[test]
fn whatever_runs_for_long_ends_when_the_row_of_its_object_has_changed() {
    let Some(server) = server() else { return };
    for kind in ["application/x-ndjson", "text/csv"] {
        let backend = begun(kind);
        let mut database = rows(server);
        let gateway = with(&backend, &database.url(), OFFICER, "ttl: 500ms, wait: 5s").start();
        let listening = |target: &str| {
            let mut client = gateway.connect();
            client.send(get(target, &token("olga")));
            assert_eq!(client.head().unwrap().status, 200, "{target}");
            assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
            client
        };
        let (mut moves, _stays) = (listening("/officers/1"), listening("/officers/7"));
        let before = asked(&database);
        until(|| asked(&database) >= before + 4, "both are looked up again and again");
        assert_eq!(gateway.metric("portcullis_exchanges_cut_total"), 0, "{kind}");
        database.run("UPDATE officers SET place = 'south' WHERE id = '1'");
        assert!(moves.is_ended(), "{kind}");
        assert_eq!(gateway.metric("portcullis_exchanges_cut_total"), 1, "{kind}");
    }
}

#[test]
fn a_call_of_grpc_ends_when_the_row_of_its_object_has_changed() {
    let Some(server) = server() else { return };
    let backend = H2Backend::start(100, |mut exchange| async move {
        let mut stream = exchange.head(http::Response::builder().header("content-type", "application/grpc"));
        while stream.send_data("drip".into(), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut database = rows(server);
    let nobody = Backend::hello();
    let mut setup = with(&nobody, &database.url(), OFFICER, "ttl: 500ms, wait: 5s");
    let servers = |url: String, more: &str| format!("\"{url}\"]{more}");
    setup.routes = setup.routes.replace(&servers(nobody.url(), ""), &servers(backend.url(), ", protocol: http2"));
    setup.routes += "      - {id: call, match: {methods: [POST], path: \"/calls/{n}\"}, object: {kind: officer, key: path.n}, \
        scopes: {main: {from: object.place, kind: place}}, require: [places]}\n";
    let gateway = setup.start();
    let call = async || {
        let mut client = wire::http2(gateway.tls, &gateway.certificate()).await;
        let mut call = wire::h2_request("POST", "/calls/1", &token("olga"), wire::Repeated::none());
        call.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let answer = client.send_request(call).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("grpc-status")), (200, false));
        let mut body = answer.into_body();
        let ended = tokio::time::timeout(SOON, async { while let Some(Ok(_)) = body.frame().await {} });
        ended.await.expect("the call ends");
    };
    thread::scope(|scope| {
        let calling = scope.spawn(|| wire::block_on(call()));
        until(|| asked(&database) >= 3, "it is looked up again and again");
        assert_eq!(gateway.metric("portcullis_exchanges_cut_total"), 0);
        database.run("UPDATE officers SET place = 'south' WHERE id = '1'");
        calling.join().unwrap();
    });
    assert_eq!(gateway.metric("portcullis_exchanges_cut_total"), 1);
    until(|| backend.running() == 0, "the backend's stream ends");
}

#[test]
fn a_kind_stands_in_documents_or_in_a_database_but_not_in_both() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    for (grants, routes, why) in [
        ("objects: {\"officer:1\": {place: north}}\n", "", "ambiguous_object"),
        (
            "",
            "      - {id: x, match: {methods: [GET], path: \"/x/{n}\"}, object: {kind: officer, key: path.n}, \
             require: [{eq: [object.weight, 1], reason: x}]}\n",
            "has the attribute `weight`",
        ),
        (
            "",
            "      - {id: x, match: {methods: [GET], path: \"/x/{n}\"}, object: {kind: offizer, key: path.n}, \
             require: [things]}\n",
            "there is no object of kind `offizer`",
        ),
    ] {
        let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 1s");
        setup.grants += grants;
        setup.routes += routes;
        let Err(error) = setup.try_start() else { panic!("started: {why}") };
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn tools_never_guess_what_a_database_would_say() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 1s");
    setup.routes += "tests:
  - {id: said, as: olga, request: \"GET https://app.test/officers/1\", objects: {\"officer:1\": {place: north}}, expect: allow}
  - {id: elsewhere, as: olga, request: \"GET https://app.test/officers/1\", objects: {\"officer:1\": {place: south}}, expect: deny, reason: right_missing}
  - {id: unsaid, as: olga, request: \"GET https://app.test/officers/1\", expect: deny, reason: \"object_unavailable:not_looked_up\"}
  - {id: another, as: olga, request: \"GET https://app.test/officers/1\", objects: {\"officer:2\": {place: north}}, expect: deny, reason: object_unavailable}
";
    let run = |setup: &Setup, arguments: &[&str]| {
        let folder = setup.write();
        let done = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .args(["--config", "gateway.yaml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (done.status.success(), text)
    };
    let (passed, text) = run(&setup, &["test"]);
    assert!(passed, "{text}");
    let explain = ["explain", "--as", "olga", "GET https://app.test/officers/1"];
    let (_, text) = run(&setup, &explain);
    assert!(text.contains("object_unavailable"), "{text}");
    for (objects, why) in [
        ("{\"sailor:1\": {place: north}}", "is no object that is looked up"),
        ("{\"officer:1\": {size: 1}}", "no attribute `size`"),
    ] {
        let mut wrong = with(&backend, &database.url(), OFFICER, "ttl: 1s");
        wrong.routes += &format!(
            "tests:\n  - {{id: odd, as: olga, request: \"GET https://app.test/officers/1\", objects: {objects}, expect: allow}}\n"
        );
        let (passed, text) = run(&wrong, &["test"]);
        assert!(!passed && text.contains(why), "{text}");
    }
}

#[test]
fn nothing_is_sent_again_by_an_object_that_is_no_longer_believed() {
    let Some(server) = server() else { return };
    let (asked_it, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (told_it, goes_on) = (Arc::clone(&asked_it), Arc::clone(&go_on));
    let backend = Backend::raw(move |number, mut stream, record| {
        let mut buffer = Vec::new();
        for turn in 0..2 {
            let Some(seen) = crate::backend::read_request(number, &mut stream, &mut buffer, record) else { return };
            record.seen(seen);
            match turn {
                0 => drop(crate::backend::reply(&mut stream, "200 OK", b"hello")),
                _ => {
                    told_it.store(true, Ordering::SeqCst);
                    until(|| goes_on.load(Ordering::SeqCst), "the row to go");
                }
            }
        }
    });
    let mut database = rows(server);
    let mut setup = with(&backend, &database.url(), OFFICER, "ttl: 100ms, wait: 5s");
    setup.workers = 1;
    let gateway = setup.start();
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/officers/1", &token("olga"))).status, 200);
    client.send(get("/officers/1", &token("olga")));
    until(|| asked_it.load(Ordering::SeqCst), "the request");
    database.run("DELETE FROM officers WHERE id = '1'");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(told(&gateway, "/officers/1"), "403 object_unknown");
    go_on.store(true, Ordering::SeqCst);
    let answer = client.answer();
    assert_ne!(answer.status, 200);
}

/// Does something after so many clients of nils, who may see nothing, have asked for so long for one officer after the other.
fn while_nils_asks(gateway: &Gateway, clients: usize, begun: Duration, does: impl FnOnce()) {
    let (over, nils) = (AtomicBool::new(false), token("nils"));
    thread::scope(|scope| {
        for number in 0..clients {
            let (over, nils) = (&over, &nils);
            scope.spawn(move || {
                let mut client = gateway.connect();
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    let _ = client.ask(get(&format!("/officers/x{number}-{turn}"), nils));
                    turn += 1;
                }
            });
        }
        /// Ends the others also where what is done fails.
        struct Over<'o>(&'o AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        thread::sleep(begun);
        does();
    });
}

#[test]
fn nobody_keeps_others_from_their_objects() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let slow = format!("{OFFICER} AND (SELECT pg_sleep(0.01)::text = '')");
    let gateway = with(&backend, &database.url(), &slow, "ttl: 10m, wait: 500ms").start();
    assert_eq!(told(&gateway, "/officers/1"), "200");
    assert_eq!(verdict(&gateway, "nils", "/officers/1").1, "right_missing");
    while_nils_asks(&gateway, 200, Duration::from_secs(1), || {
        let told: Vec<String> = (0..5).map(|n| told(&gateway, &format!("/officers/y{n}"))).collect();
        assert!(told.iter().all(|told| told == "403 object_unknown"), "{told:?}");
    });
}

#[test]
fn what_is_remembered_waits_for_no_turn() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let slow = format!("{OFFICER} AND (SELECT pg_sleep(1.5)::text = '')");
    let setup = with(&backend, &database.url(), &slow, "ttl: 10m, wait: 10s");
    let gateway = Setup { workers: 1, ..setup }.start();
    assert_eq!(verdict(&gateway, "nils", "/officers/1").1, "right_missing");
    // All turns of nils are taken for seconds.
    while_nils_asks(&gateway, 8, Duration::from_millis(500), || {
        assert_eq!(verdict(&gateway, "nils", "/officers/1").1, "right_missing");
    });
}

#[test]
fn who_waited_for_the_upstream_goes_on_only_by_an_object_that_is_still_believed() {
    let Some(server) = server() else { return };
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |seen, stream| {
        let _ = held.lock().unwrap().recv();
        crate::backend::reply(stream, "200 OK", seen.target().as_bytes())
    });
    let mut database = rows(server);
    let setup = with(&backend, &database.url(), OFFICER, "ttl: 100ms, wait: 5s");
    let gateway = setup.upstream("limits: {requests: 1, queue: 3, queue_time: 1m}").start();
    let mut first = gateway.connect();
    first.send(get("/things/1", &token("olga")));
    until(|| backend.heads() == 1, "runs");
    let mut second = gateway.connect();
    second.send(get("/officers/1", &token("olga")));
    until(|| gateway.admin("GET", "/status", "").json()["upstreams"][0]["waiting"] == 1, "waits");
    database.run("DELETE FROM officers WHERE id = '1'");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(told(&gateway, "/officers/1"), "403 object_unknown");
    assert_eq!(backend.heads(), 1);
    release.send(()).unwrap();
    release.send(()).unwrap();
    let _ = first.answer();
    assert_eq!(second.answer().verdict(), (503, "object_unavailable".to_owned()));
    assert_eq!(backend.heads(), 1, "it was not sent");
}

#[test]
fn questions_of_clients_that_have_gone_are_not_asked() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let slow = format!("{OFFICER} AND (SELECT pg_sleep(0.02)::text = '')");
    let gateway = with(&backend, &database.url(), &slow, "ttl: 10m, wait: 10s").start();
    assert_eq!(told(&gateway, "/officers/1"), "200");
    let before = asked(&database);
    let nils = token("nils");
    for number in 0..300 {
        let mut client = gateway.connect();
        client.send(get(&format!("/officers/x{number}"), &nils));
        client.reset();
    }
    // The two that were under way, and those whose clients were not seen to go in time.
    assert_eq!(told(&gateway, "/officers/y"), "403 object_unknown");
    let asked_for_the_gone = asked(&database) - before;
    assert!(asked_for_the_gone < 100, "{asked_for_the_gone}");
}

#[test]
fn a_kind_that_hangs_keeps_the_server_busy_with_two_questions_and_no_more() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let slow = "SELECT o.* FROM officers AS o, (SELECT pg_sleep(5)) AS p WHERE o.id = $1";
    // `ship` waits 5s, so that is what the server is told for both.
    let gateway = with(&backend, &database.url(), slow, "ttl: 10m, wait: 50ms").start();
    assert_eq!(told(&gateway, "/ships/7"), "200");
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(5)%' \
        AND state = 'active' AND pid <> pg_backend_pid()";
    while_nils_asks(&gateway, 4, Duration::from_secs(5), || {
        let many: usize = database.other().ask(active).parse().unwrap();
        assert!(many <= 2, "{many}");
    });
}

/// What `explain` prints in this folder.
fn explained(folder: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let mut line = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    line.args(["explain", "--config", "gateway.yaml", "--as", "olga"]).args(arguments).current_dir(folder);
    let done = line.output().unwrap();
    let text = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    (done.status.success(), text)
}

#[test]
fn explain_says_what_a_decision_depends_on_and_is_told_what_a_database_would_say() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let database = rows(server);
    let folder = with(&backend, &database.url(), OFFICER, "ttl: 1s").write();
    let ask = |request: &str, objects: &[&str]| {
        let options = objects.iter().flat_map(|object| ["--object", object]);
        explained(folder.path(), &[&[request][..], &options.collect::<Vec<_>>()].concat())
    };
    const OFFICER_1: &str = "GET https://app.test/officers/1";
    const CREW: &str = "GET https://app.test/crews/1";
    let told = [
        (OFFICER_1, &[][..], &["denied: object_unavailable:not_looked_up", "--object \"officer:1 place=VALUE\""][..]),
        (CREW, &[], &["--object \"officer:1 active=VALUE\"", "--object \"officer:1 crew=VALUE\""]),
        (OFFICER_1, &["officer:1 place=north"], &["\nallowed", "officer:1, known", "object.place says north"]),
        (OFFICER_1, &["officer:1 place=south"], &["denied: right_missing"]),
        (OFFICER_1, &["officer:1"], &["denied: scope_missing"]),
        (OFFICER_1, &["officer:2 place=north"], &["object_unavailable:not_looked_up", "\"officer:1 place=VALUE\""]),
        (CREW, &["officer:1 crew=[ann]", "officer:1 active=true"], &["\nallowed"]),
        (CREW, &["officer:1 crew=[ann, bob]", "officer:1 active=true"], &["denied: crowded"]),
        (CREW, &["officer:1 crew=[]", "officer:1 active=false"], &["denied: asleep"]),
    ];
    for (request, objects, expected) in told {
        let (done, text) = ask(request, objects);
        assert!(done && expected.iter().all(|expected| text.contains(expected)), "{request} {objects:?}:\n{text}");
        assert_eq!(text.contains("depends on that object"), text.contains("not_looked_up"), "{text}");
    }
    for (object, why) in [
        ("officer:1 weight=7", "have no attribute `weight`"),
        ("sailor:1 place=north", "is no object that is looked up"),
        ("officer", "names no object"),
    ] {
        let (done, text) = ask(OFFICER_1, &[object]);
        assert!(!done && text.contains(why), "{object}: {text}");
    }
    assert_eq!(asked(&database), 0);
}

#[test]
fn a_gateway_that_is_asked_to_explain_looks_the_object_up_unless_it_is_told() {
    let Some(server) = server() else { return };
    let backend = Backend::hello();
    let mut database = rows(server);
    let gateway = with(&backend, &database.url(), OFFICER, "ttl: 100ms, wait: 2s").spawn();
    let explain = |target: &str, more: &str| {
        let page = format!("/explain?method=GET&host=app.test&path={target}&principal=olga{more}");
        loop {
            let answer = gateway.admin("GET", &page, &format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"));
            if answer.status == 429 {
                thread::sleep(Duration::from_millis(300));
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            let said = answer.json();
            let object = said["object"].clone();
            assert_eq!((&object["looked_up"], &object["needs"]), (&true.into(), &serde_json::Value::Null), "{said}");
            let reason = said["reason"].as_str().unwrap_or("allowed").to_owned();
            return (reason, object["name"].as_str().unwrap().to_owned(), object["known"].as_bool().unwrap());
        }
    };
    let said = |reason: &str, name: &str, known| (reason.to_owned(), name.to_owned(), known);
    assert_eq!(explain("/officers/2", "&object=officer:2+place%3Dnorth"), said("allowed", "officer:2", true));
    assert_eq!(asked(&database), 0, "what it is told is all that is known");
    assert_eq!(explain("/officers/1", ""), said("allowed", "officer:1", true));
    assert_eq!(explain("/officers/2", ""), said("right_missing:places@place:south", "officer:2", true));
    assert_eq!(explain("/officers/9", ""), said("object_unknown:row", "officer:9", false));
    assert_eq!(asked(&database), 3);
    database.run("UPDATE officers SET place = 'south' WHERE id = '1'");
    until(|| explain("/officers/1", "").0.starts_with("right_missing"), "it is looked up again");
    database.run("DROP TABLE officers");
    until(|| explain("/officers/1", "").0.starts_with("object_unavailable"), "nobody can say any more");
}
