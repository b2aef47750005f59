//! Revocation on real sockets: in force within a second wherever it comes from, on open connections and on exchanges that
//! run; never fewer revocations through a broken file; what operators revoke by calls survives a restart.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use portcullis::token::IssuerKind;
use portcullis::token::mint::UserToken;
use serde_json::{Value, json};

use backend::{Backend, Record, SOON, Then, read_body, read_head, say, until};
use gateway::{ADMIN_TOKEN, Door, Gateway, HOME, KEY, Setup, now, token};
use wire::{Answer, Client, Repeated, block_on, get, h2_request, http2, request};

const SECOND: Duration = Duration::from_secs(1);
const NOBODY: &str = "version: 1\nrevoked: []\n";
const OLGA: &str = "00000000-0000-0000-0000-000000000001";

/// A document that revokes every token of one of the four principals, by the last digit of the object id.
fn file_of(person: u8) -> String {
    format!(
        "version: 1\nrevoked:\n  - {{principal: {{tenant: home, oid: 00000000-0000-0000-0000-00000000000{person}}}}}\n"
    )
}

/// A gateway with a file and a store.
fn setup(backend: &Backend) -> Setup {
    Setup {
        more: "revoked: {files: [revoked.yaml], store: store.yaml}\n".to_owned(),
        files: vec![("revoked.yaml", NOBODY.to_owned())],
        ..Setup::before(backend)
    }
}

/// A token of olga with further claims.
fn token_with(issued: u64, more: &Value) -> String {
    let mut claims = UserToken {
        tenant_id: HOME.parse().unwrap(),
        object_id: OLGA.parse().unwrap(),
        issuer: &format!("https://login.microsoftonline.com/{HOME}/v2.0"),
        kind: IssuerKind::EntraV2,
        audience: "api://app",
        roles: &["Access"],
        username: "olga@example.org",
        now: issued,
        lifetime: 3600,
    }
    .claims();
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    KEY.mint(&claims).unwrap()
}

/// Waits until something holds, which must be within a second; how long it took.
fn within_a_second(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SECOND, "{what}: not within a second");
        thread::sleep(Duration::from_millis(5));
    }
    let took = begun.elapsed();
    eprintln!("{what}: {} ms", took.as_millis());
    assert!(took < SECOND, "{what}: {took:?}");
}

/// A call of an operator, made again where calls came too fast.
fn call(door: &Door, method: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} /revoked HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let begun = Instant::now();
    loop {
        let answer = Client::plain(door.admin).ask(&request);
        if answer.status != 429 {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "calls are never taken again");
        thread::sleep(Duration::from_millis(50));
    }
}

fn status(door: &Door) -> Value {
    door.admin("GET", "/status", "").json()["revoked"].clone()
}

fn metric(door: &Door, name: &str) -> u64 {
    let text = door.admin("GET", "/metrics", "").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// One request. A revocation that comes while it runs is answered and ends the connection, as it must; then the next one
/// needs another.
fn asks(client: &mut Client, who: &str) -> (u16, String) {
    let answer = client.ask(get("/things/1", &token(who)));
    if answer.header("connection") == Some("close") {
        *client = client.again();
    }
    answer.verdict()
}

const REVOKED: (u16, &str) = (401, "invalid_token");

fn is_revoked(verdict: &(u16, String)) -> bool {
    (verdict.0, verdict.1.as_str()) == REVOKED
}

#[test]
fn a_revocation_in_the_file_is_in_force_within_a_second_on_open_connections() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let (mut olga, mut vera) = (gateway.connect(), gateway.connect());
    assert_eq!((asks(&mut olga, "olga").0, asks(&mut vera, "vera").0), (200, 200));
    block_on(async {
        let mut http2 = http2(gateway.tls, &gateway.certificate()).await;
        let olgas = token("olga");
        let again = || h2_request("GET", "/things/1", &olgas, Repeated::none());
        assert_eq!(http2.send_request(again()).await.unwrap().status().as_u16(), 200);
        gateway.replace("revoked.yaml", &file_of(1));
        within_a_second("a principal in the file", || is_revoked(&asks(&mut olga, "olga")));
        assert_eq!(http2.send_request(again()).await.unwrap().status().as_u16(), 401);
    });
    // Everybody else goes on, and so do pages that ask for no token.
    assert_eq!(asks(&mut vera, "vera").0, 200);
    assert_eq!(vera.ask(get("/health", "")).status, 200);
    // Whoever is revoked learns nothing of gates and routes.
    for target in ["/lobby", "/secrets/1", "/no/such/page"] {
        assert!(is_revoked(&olga.ask(get(target, &token("olga"))).verdict()), "{target}");
    }
    assert_eq!(metric(&gateway, "portcullis_revoked_entries"), 1);
    gateway.replace("revoked.yaml", NOBODY);
    within_a_second("taken out of the file", || asks(&mut olga, "olga").0 == 200);
    assert_eq!(gateway.serial(), 1, "a revocation is no change of the policy");
}

#[test]
fn every_way_of_changing_the_file_is_noticed_within_a_second() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let file = gateway.file("revoked.yaml");
    let mut clients = (gateway.connect(), gateway.connect());
    let mut reach = |what: &str, person: u8| {
        within_a_second(what, || {
            let refused = [is_revoked(&asks(&mut clients.0, "olga")), is_revoked(&asks(&mut clients.1, "vera"))];
            refused == [person == 1, person == 2]
        });
    };
    fs::write(&file, file_of(1)).unwrap();
    reach("truncated and written", 1);
    gateway.replace("revoked.yaml", &file_of(2));
    reach("renamed over", 2);
    for (folder, person) in [("..1", 1), ("..2", 2)] {
        fs::create_dir(gateway.file(folder)).unwrap();
        fs::write(gateway.file(folder).join("revoked.yaml"), file_of(person)).unwrap();
    }
    symlink("..1", gateway.file("..data")).unwrap();
    symlink("..data/revoked.yaml", gateway.file("link")).unwrap();
    fs::rename(gateway.file("link"), &file).unwrap();
    reach("replaced by a symlink", 1);
    symlink("..2", gateway.file("..new")).unwrap();
    fs::rename(gateway.file("..new"), gateway.file("..data")).unwrap();
    reach("the folder behind the symlink swapped", 2);
}

#[test]
fn a_broken_file_takes_nothing_back_and_everybody_is_told() {
    let backend = Backend::hello();
    let mut setup = setup(&backend);
    setup.files = vec![("revoked.yaml", file_of(1))];
    let gateway = setup.start();
    let mut client = gateway.connect();
    assert!(is_revoked(&asks(&mut client, "olga")), "in force from the start");
    let broken = [
        ("empty", ""),
        ("without its list", "version: 1\n"),
        ("an entry cut off", "version: 1\nrevoked:\n  - {principal: {tenant: home, oid: 0000"),
        ("an unknown tenant", "version: 1\nrevoked:\n  - {uti: x, tenant: nowhere}\n"),
        ("of another version", "version: 2\nrevoked: []\n"),
    ];
    for (number, (what, text)) in broken.into_iter().enumerate() {
        gateway.replace("revoked.yaml", text);
        let failed = || metric(&gateway, "portcullis_revoked_loads_failed_total");
        within_a_second(what, || failed() == number as u64 + 1);
        let source = &status(&gateway)["sources"][0];
        assert!(source["failed"]["errors"].as_u64() >= Some(1) && source["entries"] == 1, "{what}: {source}");
        assert!(is_revoked(&asks(&mut client, "olga")), "{what}");
    }
    fs::remove_file(gateway.file("revoked.yaml")).unwrap();
    within_a_second("gone", || metric(&gateway, "portcullis_revoked_loads_failed_total") == broken.len() as u64 + 1);
    assert!(is_revoked(&asks(&mut client, "olga")));
    gateway.replace("revoked.yaml", &file_of(2));
    within_a_second("repaired", || asks(&mut client, "olga").0 == 200);
    assert!(is_revoked(&asks(&mut client, "vera")));
    assert_eq!(status(&gateway)["sources"][0]["failed"], Value::Null);
}

#[test]
fn nothing_starts_with_a_broken_file() {
    let backend = Backend::hello();
    for (name, text) in [
        ("revoked.yaml", "version: 1\nrevoked:\n  - {uti: x, bogus: 1}\n  - {uti: y, tenant: nowhere}\n"),
        ("revoked.yaml", ""),
        ("store.yaml", "version: 1\nrevoked: {}\n"),
    ] {
        let mut setup = setup(&backend);
        setup.files.push((name, text.to_owned()));
        let Err(error) = setup.try_start() else { panic!("started with {name}") };
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_revocation_does_not_wait_for_a_policy_that_compiles() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let mut client = gateway.connect();
    assert_eq!(asks(&mut client, "olga").0, 200);
    let grants = fs::read_to_string(gateway.file("grants.yaml")).unwrap();
    let more: String = (0..300_000)
        .map(|number| {
            format!(
                "  - {{id: p{number}, tenant: home, oid: 10000000-0000-0000-0000-{number:012}, grants: [things]}}\n"
            )
        })
        .collect();
    gateway.replace("grants.yaml", &format!("{grants}{more}"));
    let admin = gateway.admin;
    let reload = thread::spawn(move || {
        let mut client = Client::plain(admin);
        client.ask(format!("POST /reload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"));
    });
    thread::sleep(Duration::from_millis(300));
    gateway.replace("revoked.yaml", &file_of(1));
    within_a_second("while a policy compiles", || is_revoked(&asks(&mut client, "olga")));
    assert!(!reload.is_finished(), "the policy was compiled before: give it more principals");
    reload.join().unwrap();
}

#[test]
fn a_revocation_by_a_call_or_by_another_file_does_not_wait_for_a_large_file_that_is_read() {
    let backend = Backend::hello();
    let mut setup = setup(&backend);
    setup.more = "revoked: {files: [revoked.yaml, small.yaml], store: store.yaml}\n".to_owned();
    setup.files.push(("small.yaml", NOBODY.to_owned()));
    let gateway = setup.start();
    let (mut olga, mut vera) = (gateway.connect(), gateway.connect());
    assert_eq!((asks(&mut olga, "olga").0, asks(&mut vera, "vera").0), (200, 200));
    let large: String = (0..300_000)
        .map(|number| format!("  - {{principal: {{tenant: home, oid: 10000000-0000-0000-0000-{number:012}}}}}\n"))
        .collect();
    gateway.replace("revoked.yaml", &format!("version: 1\nrevoked:\n{large}"));
    // Long enough for the reading to begin.
    thread::sleep(Duration::from_millis(150));
    let body = json!({"principal": {"tenant": "home", "oid": OLGA}}).to_string();
    let begun = Instant::now();
    assert_eq!(call(&gateway, "POST", &body).status, 200);
    assert!(is_revoked(&asks(&mut olga, "olga")));
    told_within_a_second("by a call while a large file is read", begun);
    gateway.replace("small.yaml", &file_of(2));
    within_a_second("by a small file while a large one is read", || is_revoked(&asks(&mut vera, "vera")));
    assert_eq!(status(&gateway)["sources"][0]["entries"], 0, "the file was read before: give it more entries");
    let begun = Instant::now();
    while status(&gateway)["sources"][0]["entries"] != 300_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the large file is never in force");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(is_revoked(&asks(&mut olga, "olga")) && is_revoked(&asks(&mut vera, "vera")));
    assert_eq!(status(&gateway)["entries"], 300_002);
}

#[test]
fn what_is_taken_back_without_a_moment_or_a_tenant_is_every_entry_of_it() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let principal = json!({"tenant": "home", "oid": OLGA});
    let before = |moment: u64| json!({"principal": principal, "issued_before": moment});
    let (every, first, second) = (json!({"principal": principal}), before(now() - 20), before(now() - 10));
    let (one, here) = (json!({"uti": "x"}), json!({"uti": "x", "tenant": "home"}));
    for (there, taken, removed) in [
        (vec![&every, &first, &second], &first, 1),
        (vec![&every, &first, &second], &every, 3),
        (vec![&second], &every, 1),
        (vec![&one, &here], &here, 1),
        (vec![&one, &here], &one, 2),
        (vec![&here], &one, 1),
    ] {
        assert_eq!(call(&gateway, "POST", &json!({"revoked": there}).to_string()).status, 200);
        let answer = call(&gateway, "DELETE", &taken.to_string());
        assert_eq!((answer.status, &answer.json()["removed"]), (200, &json!(removed)), "{there:?} {taken}");
        let left = there.len() - removed;
        assert_eq!(status(&gateway)["entries"], left, "{there:?} {taken}");
        // Whatever is left, for the next row.
        for rest in [&every, &one] {
            call(&gateway, "DELETE", &rest.to_string());
        }
        assert_eq!(status(&gateway)["entries"], 0);
    }
    // What is not there takes nothing back, and the answer names what is.
    assert_eq!(call(&gateway, "POST", &json!({"revoked": [second, here]}).to_string()).status, 200);
    for (taken, near) in
        [(&first, "issued_before: 2"), (&json!({"uti": "x", "tenant": "away"}), "`uti: \"x\", tenant: \"home\"`")]
    {
        let answer = call(&gateway, "DELETE", &json!({"revoked": [taken, second]}).to_string());
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 404 && message.contains(near), "{message}");
        assert!(message.contains("leave `issued_before` or `tenant` out"), "{message}");
    }
    assert_eq!(status(&gateway)["entries"], 2);
}

#[test]
fn a_moment_that_has_not_come_is_refused_by_a_call_and_a_warning_in_a_file() {
    let backend = Backend::hello();
    let mut setup = setup(&backend);
    let later = now() + 3600;
    let entry = format!("{{principal: {{tenant: home, oid: {OLGA}}}, issued_before: {later}}}");
    setup.files = vec![("revoked.yaml", format!("version: 1\nrevoked:\n  - {entry}\n"))];
    let gateway = setup.start();
    let body = json!({"principal": {"tenant": "home", "oid": OLGA}, "issued_before": later}).to_string();
    let answer = call(&gateway, "POST", &body).json();
    assert_eq!((&answer["error"], &answer["found"][0]["code"]), (&json!("rejected"), &json!("future_moment")));
    assert!(answer["found"][0]["message"].as_str().unwrap().contains("has not come"), "{answer}");
    let soon = body.replace(&later.to_string(), &(now() + 30).to_string());
    assert_eq!(call(&gateway, "POST", &soon).status, 200, "clocks differ a little");
    // In the file it holds, and no client is sent for a token that would be refused as well.
    let refused = gateway.ask(get("/things/1", &token_with(now(), &json!({"xms_cc": ["cp1"]}))));
    assert!(is_revoked(&refused.verdict()), "{refused:?}");
    assert!(!refused.header("www-authenticate").unwrap().contains("insufficient_claims"), "{refused:?}");
    let mut report = portcullis::diag::Report::new();
    let files = portcullis::reload::revoked::RevokedFiles { files: vec![gateway.file("revoked.yaml")], store: None };
    let issuers = portcullis::token::Issuers::new(Vec::new());
    portcullis::reload::revoked::load(&files, &issuers, now(), &mut report);
    let warned = report.diagnostics().iter().any(|found| found.code == "future_moment");
    assert!(warned && report.warnings() == 1, "{}", report.render());
}

#[test]
fn what_is_revoked_by_a_call_is_in_force_with_the_answer_and_after_a_restart() {
    let backend = Backend::hello();
    let mut gateway = setup(&backend).start();
    let mut client = gateway.connect();
    assert_eq!(asks(&mut client, "olga").0, 200);
    let olga = json!({"principal": {"tenant": "home", "oid": OLGA}}).to_string();
    let answer = call(&gateway, "POST", &olga);
    assert_eq!((answer.status, &answer.json()["added"]), (200, &json!(1)));
    assert!(is_revoked(&asks(&mut client, "olga")));
    let store = gateway.file("store.yaml");
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.restart();
    let mut client = gateway.connect();
    assert!(is_revoked(&asks(&mut client, "olga")), "forgotten at the restart");
    let vera = olga.replace("0001", "0002");
    assert_eq!(call(&gateway, "POST", &format!("{{\"revoked\": [{olga}, {vera}]}}")).json()["known"], 1);
    assert!(is_revoked(&asks(&mut client, "vera")));
    let list = call(&gateway, "GET", "").json();
    assert_eq!((&list["entries"], list["revoked"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(call(&gateway, "DELETE", &olga).json()["removed"], 1);
    assert_eq!((asks(&mut client, "olga").0, asks(&mut client, "vera").0), (200, 401));
    assert_eq!(call(&gateway, "DELETE", &olga).status, 404);
    // What people write into the store counts, too, and is kept by the next call.
    let text = fs::read_to_string(&store).unwrap().replace("0002", "0001");
    fs::write(&store, text).unwrap();
    within_a_second("the store edited by hand", || asks(&mut client, "olga").0 == 401);
    assert_eq!(call(&gateway, "POST", &vera).status, 200);
    assert_eq!((asks(&mut client, "olga").0, asks(&mut client, "vera").0), (401, 401));
    // A store that is gone takes nothing back, and is whole again after the next call.
    fs::remove_file(&store).unwrap();
    within_a_second("the store gone", || status(&gateway)["sources"][1]["failed"].is_object());
    assert_eq!(asks(&mut client, "olga").0, 401);
    assert_eq!(call(&gateway, "POST", "{\"uti\": \"x\"}").status, 200);
    gateway.restart();
    assert_eq!(asks(&mut gateway.connect(), "olga").0, 401);
    assert_eq!(status(&gateway)["entries"], 3);
}

#[test]
fn a_store_that_cannot_be_written_revokes_nothing_by_half() {
    let backend = Backend::hello();
    let mut setup = setup(&backend);
    setup.more = "revoked: {store: kept/store.yaml}\n".to_owned();
    let folder = tempfile::tempdir().unwrap();
    // The folder of the store is a symlink, so that it can be there at the start and be gone later.
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    setup.more = format!("revoked: {{store: \"{}/store.yaml\"}}\n", kept.display());
    let gateway = setup.start();
    let mut client = gateway.connect();
    fs::remove_dir(&kept).unwrap();
    let olga = json!({"principal": {"tenant": "home", "oid": OLGA}}).to_string();
    let answer = call(&gateway, "POST", &olga);
    assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("store_unwritable")), "{answer:?}");
    assert_eq!((asks(&mut client, "olga").0, &status(&gateway)["entries"]), (200, &json!(0)));
    fs::create_dir(&kept).unwrap();
    assert_eq!(call(&gateway, "POST", &olga).status, 200);
    assert_eq!(asks(&mut client, "olga").0, 401);
    // A store with faults is not written over.
    fs::write(kept.join("store.yaml"), "version: 1\nrevoked: {}\n").unwrap();
    let answer = call(&gateway, "DELETE", &olga);
    assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("store_unreadable")), "{answer:?}");
    assert_eq!(asks(&mut client, "olga").0, 401);
}

#[test]
fn without_a_store_a_call_is_refused_and_says_what_to_configure() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let answer = call(&gateway, "POST", "{\"uti\": \"x\"}");
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("no_store")));
    assert!(answer.text().contains("`revoked.store`"), "{}", answer.text());
    assert_eq!(call(&gateway, "GET", "").json()["entries"], 0);
}

#[test]
fn one_token_or_the_tokens_of_before_a_moment_are_revoked_and_no_others() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let old = token_with(now() - 600, &json!({"uti": "old"}));
    let other = token_with(now() - 600, &json!({"uti": "other"}));
    let new = token_with(now() - 5, &json!({"uti": "new"}));
    let verdicts = || [&old, &other, &new].map(|token| gateway.ask(get("/things/1", token)).status);
    assert_eq!(verdicts(), [200, 200, 200]);
    assert_eq!(call(&gateway, "POST", "{\"uti\": \"old\", \"tenant\": \"away\"}").status, 200);
    assert_eq!(verdicts(), [200, 200, 200]);
    assert_eq!(call(&gateway, "POST", "{\"uti\": \"old\", \"tenant\": \"home\"}").status, 200);
    assert_eq!(verdicts(), [401, 200, 200]);
    let before = json!({"principal": {"tenant": "home", "oid": OLGA}, "issued_before": now() - 300});
    assert_eq!(call(&gateway, "POST", &before.to_string()).status, 200);
    assert_eq!(verdicts(), [401, 401, 200]);
}

#[test]
fn a_client_that_takes_challenges_is_told_how_to_get_a_token_that_counts() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let moment = now() - 300;
    let before = json!({"principal": {"tenant": "home", "oid": OLGA}, "issued_before": moment});
    assert_eq!(call(&gateway, "POST", &before.to_string()).status, 200);
    let challenged = |token: &str| {
        let answer = gateway.ask(get("/things/1", token));
        assert!(is_revoked(&answer.verdict()), "{answer:?}");
        answer.header("www-authenticate").unwrap().to_owned()
    };
    let can = json!({"xms_cc": ["cp1"]});
    let claims = format!("{{\"access_token\":{{\"nbf\":{{\"essential\":true,\"value\":\"{moment}\"}}}}}}");
    assert_eq!(
        challenged(&token_with(moment - 1, &can)),
        format!(
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
             error=\"insufficient_claims\", claims=\"{}\"",
            STANDARD.encode(claims)
        )
    );
    let plain = "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                 error_description=\"The access token is invalid or expired\"";
    assert_eq!(challenged(&token_with(moment - 1, &json!({}))), plain);
    assert_eq!(challenged(&token_with(moment - 1, &json!({"xms_cc": ["cp2"]}))), plain);
    // Nobody gets it with a token that was not verified.
    let mut forged = token_with(moment - 1, &can);
    forged.replace_range(forged.len() - 20..forged.len() - 10, "AAAAAAAAAA");
    assert_eq!(challenged(&forged), plain);
}

/// What became of an exchange at the backend: its target, and whether it came to its end there.
type Ends = Receiver<(String, bool)>;

/// Answers GET with a stream that goes on until somebody ends it, either fast or with one event and then nothing;
/// takes uploads to their end.
fn endless() -> (Backend, Ends) {
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let backend = Backend::raw(move |number, mut stream, record: &Record| {
        let mut buffer = Vec::new();
        while let Some(mut seen) = read_head(number, &mut stream, &mut buffer) {
            record.head();
            let end = |whole: bool| {
                let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                // The test may be over.
                let _gone = ended.send((seen.target().to_owned(), whole));
            };
            if seen.line().starts_with("GET") {
                say(&mut stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
                if seen.target().ends_with("fast") {
                    let block = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                    while say(&mut stream, block.as_bytes()) == Then::Keep {}
                } else {
                    backend::fill(&mut stream, &mut Vec::new());
                }
                end(false);
                return;
            }
            read_body(&mut seen, &mut stream, &mut buffer);
            let whole = seen.whole;
            (ended.lock().unwrap_or_else(PoisonError::into_inner)).send((seen.target().to_owned(), whole)).ok();
            if !whole {
                return;
            }
            say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (backend, ends)
}

fn cut_by_a_call(door: &Door) -> Instant {
    let begun = Instant::now();
    let olga = json!({"principal": {"tenant": "home", "oid": OLGA}}).to_string();
    assert_eq!(call(door, "POST", &olga).status, 200);
    begun
}

fn told_within_a_second(what: &str, begun: Instant) {
    let took = begun.elapsed();
    eprintln!("{what}: cut after {} ms", took.as_millis());
    assert!(took < SECOND, "{what}: {took:?}");
}

/// A gateway with one exchange of olga's and one of vera's, both running, and olga's cut: by file or call.
fn log_line(gateway: &gateway::Process, target: &str) -> Value {
    loop {
        let line = gateway.decision();
        if line["path"] == target {
            return line;
        }
    }
}

#[test]
fn a_running_download_is_cut_within_a_second_http1() {
    let (backend, ends) = endless();
    let gateway = Setup { decisions: true, ..setup(&backend) }.spawn();
    for (target, tls) in [("/things/fast", false), ("/things/slow", false), ("/things/slow", true)] {
        let mut olga = match tls {
            true => Client::tls(gateway.tls, &gateway.trust()).unwrap().0,
            false => gateway.connect(),
        };
        let mut vera = gateway.connect();
        vera.send(get("/things/slow", &token("vera")));
        olga.send(get(target, &token("olga")));
        let (mut answer, other) = (olga.head().unwrap(), vera.head().unwrap());
        assert_eq!((answer.status, other.status), (200, 200));
        let before = metric(&gateway, "portcullis_exchanges_cut_total");
        let begun = cut_by_a_call(&gateway);
        olga.body(&mut answer, &mut |_| {});
        told_within_a_second(target, begun);
        assert!(!answer.whole, "it looks complete");
        assert_eq!(ends.recv_timeout(SOON).unwrap(), (target.to_owned(), false));
        let line = log_line(&gateway, target);
        assert_eq!((&line["status"], &line["reason"]), (&json!(200), &json!("invalid_token:revoked")), "{line}");
        assert_eq!(metric(&gateway, "portcullis_exchanges_cut_total"), before + 1);
        assert!(ends.try_recv().is_err(), "the stream of another principal was cut");
        assert_eq!(
            call(&gateway, "DELETE", &json!({"principal": {"tenant": "home", "oid": OLGA}}).to_string()).status,
            200
        );
        vera.reset();
        ends.recv_timeout(SOON).unwrap();
        log_line(&gateway, "/things/slow");
    }
}

#[test]
fn a_download_that_nobody_reads_is_cut_as_well_http1() {
    let (backend, ends) = endless();
    let gateway = setup(&backend).start();
    let mut olga = gateway.connect();
    olga.send(get("/things/fast", &token("olga")));
    assert_eq!(olga.head().unwrap().status, 200);
    // The pipe fills up to the backend.
    thread::sleep(Duration::from_millis(500));
    let begun = cut_by_a_call(&gateway);
    assert_eq!(ends.recv_timeout(SOON).unwrap(), ("/things/fast".to_owned(), false));
    told_within_a_second("a client that does not read", begun);
    until(|| metric(&gateway, "portcullis_requests_in_flight") == 0, "the place is given up");
}

#[test]
fn a_running_upload_is_cut_within_a_second_http1() {
    let (backend, ends) = endless();
    let gateway = Setup { decisions: true, ..setup(&backend) }.spawn();
    let mut olga = gateway.connect();
    olga.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 1000\r\n", "")).send("only a part");
    let mut vera = gateway.connect();
    vera.send(request("GET", "/things/slow", &token("vera"), "", ""));
    until(|| backend.heads() == 2, "both at the backend");
    let begun = cut_by_a_call(&gateway);
    let answer = olga.answer();
    told_within_a_second("an upload", begun);
    assert!(is_revoked(&answer.verdict()), "{answer:?}");
    assert!(olga.is_ended(), "the rest of the body could be taken for a request");
    assert_eq!(ends.recv_timeout(SOON).unwrap(), ("/things/1".to_owned(), false));
    let line = log_line(&gateway, "/things/1");
    assert_eq!((&line["status"], &line["reason"]), (&json!(401), &json!("invalid_token:revoked")), "{line}");
    assert!(ends.try_recv().is_err());
}

/// No body at all, or one that begins and never goes on.
struct Sent {
    first: Option<Bytes>,
    ends: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match this.first.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if this.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.first.is_none()
    }
}

#[test]
fn running_exchanges_are_cut_within_a_second_http2() {
    let (backend, ends) = endless();
    let gateway: Gateway = setup(&backend).start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let (olga, vera) = (token("olga"), token("vera"));
        let get = |target: &str, token: &str| h2_request("GET", target, token, Sent { first: None, ends: true });
        let upload = h2_request("PUT", "/things/1", &olga, Sent { first: Some("part".into()), ends: false });
        let fast = client.send_request(get("/things/fast", &olga)).await.unwrap();
        let slow = client.send_request(get("/things/slow", &olga)).await.unwrap();
        let other = client.send_request(get("/things/slow/other", &vera)).await.unwrap();
        let upload = tokio::spawn(client.send_request(upload));
        while backend.heads() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let door = &gateway;
        let begun = cut_by_a_call(door);
        assert!(slow.into_body().collect().await.is_err(), "it looks complete");
        told_within_a_second("a stream without a next piece", begun);
        let upload = upload.await.unwrap();
        told_within_a_second("an upload", begun);
        assert!(upload.is_err() || upload.unwrap().status().as_u16() == 401);
        let mut ended = Vec::new();
        while ended.len() < 3 {
            ended.push(ends.recv_timeout(SOON).unwrap());
        }
        // The third one is not read by the client.
        told_within_a_second("all of them at the backend", begun);
        ended.sort();
        let expected = ["/things/1", "/things/fast", "/things/slow"].map(|target| (target.to_owned(), false));
        assert_eq!(ended, expected);
        assert!(fast.into_body().collect().await.is_err(), "it looks complete");
        assert_eq!(metric(door, "portcullis_exchanges_cut_total"), 3);
        // The connection and the streams of others go on.
        assert!(ends.try_recv().is_err());
        let refused = client.send_request(get("/things/1", &olga)).await.unwrap();
        assert_eq!(refused.status().as_u16(), 401);
        drop(other);
    });
}

#[test]
fn a_revocation_in_the_file_cuts_running_exchanges_within_a_second_too() {
    let (backend, ends) = endless();
    let gateway = setup(&backend).start();
    let mut olga = gateway.connect();
    olga.send(get("/things/slow", &token("olga")));
    let mut answer = olga.head().unwrap();
    gateway.replace("revoked.yaml", &file_of(1));
    let begun = Instant::now();
    olga.body(&mut answer, &mut |_| {});
    told_within_a_second("from the file to the stream", begun);
    assert!(!answer.whole);
    assert_eq!(ends.recv_timeout(SOON).unwrap(), ("/things/slow".to_owned(), false));
}
