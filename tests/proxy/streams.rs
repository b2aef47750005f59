//! What outlives its request's head is judged again, whole: on a new policy, on a revocation, and when its token expires. It
//! goes on where nothing that concerns it has changed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis::token::IssuerKind;
use portcullis::token::mint::UserToken;

use crate::backend::{Backend, fill, read_head, say, until};
use crate::gateway::{Gateway, HOME, KEY, Setup, now, token};
use crate::places;
use crate::upgrade::{closes, metric, nothing_is_left, opened};
use crate::websocket::{echo, echoes};
use crate::wire::{Client, get, request};

const SECOND: Duration = Duration::from_secs(1);

/// Answers with a stream of one event that goes on until somebody ends it.
fn events(kind: &'static str) -> Backend {
    Backend::raw(move |number, mut stream, record| {
        let mut buffer = Vec::new();
        let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
        record.seen(seen);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        say(&mut stream, format!("{head}9\r\ndata: x\n\n\r\n").as_bytes());
        fill(&mut stream, &mut buffer);
    })
}

/// A client that reads a stream of events.
fn listening(gateway: &Gateway, token: &str) -> Client {
    let mut client = gateway.connect();
    client.send(get("/things/1", token));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
    client
}

/// A token of olga that is valid for so many seconds more.
pub fn short(seconds: u64) -> String {
    let token = UserToken {
        tenant_id: HOME.parse().unwrap(),
        object_id: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        issuer: &format!("https://login.microsoftonline.com/{HOME}/v2.0"),
        kind: IssuerKind::EntraV2,
        audience: "api://app",
        roles: &["Access"],
        username: "olga@example.org",
        now: now() - 60,
        lifetime: 60 + seconds,
    };
    KEY.mint(&token.claims()).unwrap()
}

/// Changes a file and waits for the new policy.
pub fn change(gateway: &Gateway, file: &str, from: &str, to: &str) -> Instant {
    let text = std::fs::read_to_string(gateway.file(file)).unwrap();
    assert!(text.contains(from), "{text}");
    let serial = gateway.serial();
    gateway.replace(file, &text.replace(from, to));
    until(|| gateway.serial() > serial, "the new policy");
    Instant::now()
}

fn cut(gateway: &Gateway) -> u64 {
    metric(gateway, "portcullis_exchanges_cut_total")
}

#[test]
fn a_policy_that_takes_the_right_away_ends_the_stream_within_a_second_and_another_does_not() {
    let olga_loses = [
        ("grants.yaml", "flags: [member], grants: [things, ", "flags: [member], grants: ["),
        ("grants.yaml", "id: olga, tenant", "id: olga, status: inactive, tenant"),
        ("routes.yaml", "app_roles: [Access]", "app_roles: [Other]"),
        ("routes.yaml", "path: \"/things/{thing...}\"", "path: \"/other/{thing...}\""),
        ("routes.yaml", "require: [\"things:by_method\"]", "require: [{flag: staff}]"),
        ("routes.yaml", "hosts: [app.test]", "hosts: [other.test]"),
        ("routes.yaml", "    domain: app\n", "    domain: app\n    websocket: false\n"),
    ];
    for (file, from, to) in olga_loses {
        let backend = echo();
        // What is public at another host is open to more than before, which the gate would hold.
        let gateway = Setup { more: "reload: {gate: off}\n".to_owned(), ..Setup::before(&backend) }.start();
        let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
        change(&gateway, "grants.yaml", "id: nils, tenant: home", "id: nils, tenant: home, grants: [secrets]");
        sleep(Duration::from_millis(500));
        echoes(&mut client, "still here");
        let begun = change(&gateway, file, from, to);
        assert!(closes(&mut client), "{to}");
        assert!(begun.elapsed() < SECOND, "{to}: {:?}", begun.elapsed());
        assert_eq!(cut(&gateway), 1, "{to}");
        drop(client);
        nothing_is_left(&gateway);
    }
}

#[test]
fn a_stream_of_a_public_page_ends_when_the_page_asks_for_a_token() {
    let backend = echo();
    let gateway = Setup::before(&backend).start();
    let mut client = opened(gateway.connect(), "/health", "");
    let begun = change(&gateway, "routes.yaml", "path: /health}, public: true", "path: /health}, gate_only: true");
    assert!(closes(&mut client));
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

#[test]
fn a_stream_ends_when_its_token_is_not_looked_for_any_more_where_it_stood() {
    for (before, after) in [
        ("{cookie: erp_token}", "{cookie: other_token}"),
        ("[bearer, {cookie: erp_token}]", "[bearer, {cookie: other_token}]"),
        ("[bearer, {cookie: erp_token}]", "bearer"),
    ] {
        let backend = events("text/event-stream");
        let gateway = places::with(&backend, &format!("    token: {before}\n"), false).start();
        let mut client = gateway.connect();
        client.send(request("GET", "/things/1", "", &format!("Cookie: erp_token={}\r\n", token("olga")), ""));
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
        change(&gateway, "grants.yaml", "id: nils, tenant: home", "id: nils, tenant: home, grants: [secrets]");
        sleep(SECOND);
        assert_eq!(cut(&gateway), 0, "{before}");
        let begun = change(&gateway, "routes.yaml", before, after);
        assert!(closes(&mut client), "{after}");
        assert!(begun.elapsed() < SECOND, "{after}: {:?}", begun.elapsed());
    }
}

#[test]
fn what_is_read_while_it_comes_is_judged_again_like_a_websocket_and_another_answer_once_it_has_run_for_three_seconds() {
    for (kind, is_stream) in [
        ("text/event-stream", true),
        ("Text/Event-Stream; charset=utf-8", true),
        ("application/x-ndjson", true),
        ("application/json-seq", true),
        ("application/stream+json", true),
        ("text/csv", false),
    ] {
        let backend = events(kind);
        let gateway = Setup::before(&backend).start();
        let begun = Instant::now();
        let mut client = listening(&gateway, &token("olga"));
        let changed =
            change(&gateway, "grants.yaml", "flags: [member], grants: [things, ", "flags: [member], grants: [");
        assert!(closes(&mut client), "{kind}");
        if is_stream {
            assert!(changed.elapsed() < SECOND, "{kind}: {:?}", changed.elapsed());
        } else {
            assert!((3 * SECOND..6 * SECOND).contains(&begun.elapsed()), "{kind}: {:?}", begun.elapsed());
        }
        assert_eq!(cut(&gateway), 1, "{kind}");
    }
}

#[test]
fn a_download_that_runs_for_long_goes_on_by_a_policy_that_does_not_concern_it_and_ends_by_one_that_does() {
    let backend = events("text/csv");
    let gateway = Setup { more: "reload: {gate: off}\n".to_owned(), ..Setup::before(&backend) }.start();
    let mut client = listening(&gateway, &token("olga"));
    sleep(4 * SECOND);
    change(&gateway, "grants.yaml", "id: nils, tenant: home", "id: nils, tenant: home, grants: [secrets]");
    sleep(SECOND);
    assert_eq!(cut(&gateway), 0);
    let begun = change(&gateway, "grants.yaml", "flags: [member], grants: [things, ", "flags: [member], grants: [");
    assert!(closes(&mut client));
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    nothing_is_left(&gateway);
}

#[test]
fn an_upload_that_runs_for_long_is_refused_when_the_right_is_gone() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("olga"), "Content-Length: 100\r\n", "")).send("begun");
    until(|| backend.connections() == 1, "it is sent on");
    let begun = Instant::now();
    change(&gateway, "grants.yaml", "flags: [member], grants: [things, ", "flags: [member], grants: [");
    let answer = client.answer();
    assert_eq!(answer.verdict(), (403, "right_missing".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"), "the rest of the body may still come");
    assert!((2 * SECOND..6 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(cut(&gateway), 1);
    until(|| backend.seen().iter().all(|seen| !seen.whole), "the backend never sees it whole");
}

#[test]
fn an_answer_ends_with_its_token_if_it_is_a_stream_or_nothing_else_ends_it() {
    for (kind, timeouts, lines, ends) in [
        ("application/x-ndjson", "", "", true),
        ("application/x-ndjson", "", "    on_expiry: keep\n", false),
        ("text/csv", "", "", false),
        ("text/csv", "request: 0s", "", true),
        ("text/csv", "request: 0s", "    on_expiry: keep\n", false),
    ] {
        let backend = events(kind);
        let more = "tokens: {leeway: 0s}\n".into();
        let mut setup = Setup { more, ..Setup::before(&backend).timeouts(timeouts) };
        setup.routes = setup.routes.replace("    domain: app\n", &format!("    domain: app\n{lines}"));
        let gateway = setup.start();
        let begun = Instant::now();
        let mut client = listening(&gateway, &short(4));
        if ends {
            assert!(closes(&mut client), "{kind} {timeouts}");
            assert!((3 * SECOND..7 * SECOND).contains(&begun.elapsed()), "{kind} {timeouts}: {:?}", begun.elapsed());
        } else {
            sleep(6 * SECOND);
            // Another policy does not bring its token into play either.
            change(&gateway, "grants.yaml", "id: nils, tenant: home", "id: nils, tenant: home, grants: [secrets]");
            sleep(SECOND);
        }
        assert_eq!(cut(&gateway), u64::from(ends), "{kind} {timeouts} {lines}");
    }
}

#[test]
fn a_revocation_ends_a_websocket_within_a_second() {
    let backend = echo();
    let gateway = Setup {
        more: "revoked: {files: [revoked.yaml]}\n".into(),
        files: vec![("revoked.yaml", "version: 1\nrevoked: []\n".into())],
        ..Setup::before(&backend)
    }
    .start();
    let (mut olga, mut vera) = (
        opened(gateway.connect(), "/things/1", &token("olga")),
        opened(gateway.connect(), "/things/1", &token("vera")),
    );
    let oid = "00000000-0000-0000-0000-000000000001";
    gateway
        .replace("revoked.yaml", &format!("version: 1\nrevoked:\n  - {{principal: {{tenant: home, oid: {oid}}}}}\n"));
    let begun = Instant::now();
    assert!(closes(&mut olga));
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    echoes(&mut vera, "still here");
    assert_eq!(cut(&gateway), 1);
}

#[test]
fn a_stream_ends_when_its_token_expires_unless_the_application_keeps_it() {
    for (lines, more, ends) in [
        ("", "tokens: {leeway: 0s}\n", true),
        ("", "tokens: {leeway: 2s}\n", true),
        ("    on_expiry: keep\n", "tokens: {leeway: 0s}\n", false),
    ] {
        let socket = echo();
        let mut setup = Setup { more: more.into(), ..Setup::before(&socket) };
        setup.routes = setup.routes.replace("    domain: app\n", &format!("    domain: app\n{lines}"));
        let gateway = setup.start();
        let expiring = short(3);
        let opened_at = Instant::now();
        let mut client = opened(gateway.connect(), "/things/1", &expiring);
        let leeway = if more.contains("2s") { 2 } else { 0 };
        if ends {
            assert!(closes(&mut client), "{more}");
            let took = opened_at.elapsed();
            let (earliest, latest) = (Duration::from_secs(leeway + 1), Duration::from_secs(leeway + 5));
            assert!((earliest..latest).contains(&took), "{more}: {took:?}");
            assert_eq!(cut(&gateway), 1);
        } else {
            sleep(Duration::from_secs(5));
            echoes(&mut client, "still here");
            // What keeps it is the policy of now.
            change(&gateway, "routes.yaml", "on_expiry: keep", "on_expiry: close");
            assert!(closes(&mut client));
        }
    }
}

#[test]
fn the_line_of_a_stream_that_was_ended_says_why() {
    let backend = echo();
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    let mut client = opened(gateway.connect(), "/things/1", &token("olga"));
    let grants = std::fs::read_to_string(gateway.file("grants.yaml")).unwrap();
    gateway.replace("grants.yaml", &grants.replace("flags: [member], grants: [things, ", "flags: [member], grants: ["));
    assert!(closes(&mut client));
    let line = gateway.decision();
    assert_eq!((&line["status"], &line["decision"]), (&101.into(), &"allow".into()));
    assert_eq!(line["reason"], "right_missing:things@root", "{line}");
}
