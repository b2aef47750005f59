//! Every kind of no: its status, its headers, its body; and the backend hears nothing of it.

use crate::backend::Backend;
use crate::gateway::{AWAY, Pass, Setup, now, token};
use crate::wire::{Repeated, block_on, get, h2_request, http2, request};

/// The tokens that tests present.
fn pass(who: &str) -> String {
    match who {
        "" => String::new(),
        "stranger" => Pass { tenant: AWAY, ..Pass::default() }.token(),
        "other audience" => Pass { audience: "api://other", ..Pass::default() }.token(),
        "no role" => Pass { roles: &["Else"], ..Pass::default() }.token(),
        "expired" => Pass { issued: now() - 7200, ..Pass::default() }.token(),
        "unknown tenant" => Pass { tenant: "33333333-3333-3333-3333-333333333333", ..Pass::default() }.token(),
        "forged" => {
            let token = token("olga");
            let (rest, signature) = token.rsplit_once('.').unwrap();
            let first = if signature.starts_with('A') { "B" } else { "A" };
            format!("{rest}.{first}{}", &signature[1..])
        }
        "garbage" => "garbage".into(),
        who => token(who),
    }
}

const REALM: &str = "Bearer realm=\"portcullis\"";
const INVALID: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                       error_description=\"The access token is invalid or expired\"";
const SCOPE: &str = "Bearer realm=\"portcullis\", error=\"insufficient_scope\"";

/// Who, method, target, more header lines; status, reason, `WWW-Authenticate`, `Allow`.
type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str, &'static str, &'static str);

const FORWARDED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const CASES: &[Case] = &[
    ("olga", "GET", "/things/../secrets/1", "", 400, "bad_target", "", ""),
    ("olga", "GET", "/things/a%2fb", "", 400, "bad_target", "", ""),
    ("olga", "GET", "/find?%70lace=north", "", 400, "bad_target", "", ""),
    ("olga", "GET", "/things/1", "Host: app.test\r\n", 400, "bad_header", "", ""),
    (
        "olga",
        "GET",
        "/things/1",
        "Authorization: Bearer x\r\n",
        400,
        "malformed_credentials",
        "Bearer realm=\"portcullis\", error=\"invalid_request\"",
        "",
    ),
    (
        "",
        "GET",
        "/things/1",
        "Authorization: Bearer a b\r\n",
        400,
        "malformed_credentials",
        "Bearer realm=\"portcullis\", error=\"invalid_request\"",
        "",
    ),
    ("olga", "TRACE", "/things/1", "", 405, "method_forbidden", "", FORWARDED),
    ("", "GET", "/things/1", "", 401, "no_token", REALM, ""),
    ("", "GET", "/no/such/path", "", 401, "no_token", REALM, ""),
    ("", "DELETE", "/health", "", 401, "no_token", REALM, ""),
    ("", "GET", "/things/1", "Authorization: Basic eDp5\r\n", 401, "no_token", REALM, ""),
    ("expired", "GET", "/things/1", "", 401, "invalid_token", INVALID, ""),
    ("forged", "GET", "/things/1", "", 401, "invalid_token", INVALID, ""),
    ("garbage", "GET", "/things/1", "", 401, "invalid_token", INVALID, ""),
    ("unknown tenant", "GET", "/things/1", "", 401, "invalid_token", INVALID, ""),
    ("forged", "GET", "/no/such/path", "", 401, "invalid_token", INVALID, ""),
    ("olga", "GET", "/no/such/path", "", 404, "no_route", "", ""),
    ("olga", "DELETE", "/secrets/1", "", 405, "no_route", "", "GET, HEAD"),
    ("olga", "BREW", "/places/north", "", 405, "no_route", "", "GET, HEAD, PUT"),
    ("stranger", "GET", "/lobby", "", 403, "gate_tenant", SCOPE, ""),
    ("other audience", "GET", "/lobby", "", 403, "gate_audience", SCOPE, ""),
    ("no role", "GET", "/lobby", "", 403, "gate_app_role", SCOPE, ""),
    ("nobody", "GET", "/things/1", "", 403, "principal_unknown", SCOPE, ""),
    ("ina", "GET", "/things/1", "", 403, "principal_inactive", SCOPE, ""),
    ("olga", "GET", "/find", "", 403, "scope_missing", SCOPE, ""),
    ("olga", "GET", "/places/nowhere", "", 403, "scope_unknown", SCOPE, ""),
    ("olga", "GET", "/places/north", "X-Place: north, west\r\n", 403, "scope_ambiguous", SCOPE, ""),
    ("olga", "GET", "/places/north", "X-Place: west\r\n", 403, "scope_conflict", SCOPE, ""),
    ("olga", "GET", "/staff", "", 403, "flag_missing", SCOPE, ""),
    ("olga", "GET", "/guests", "", 403, "flag_forbids", SCOPE, ""),
    ("olga", "GET", "/secrets/1", "", 403, "right_missing", SCOPE, ""),
    ("olga", "GET", "/places/east", "", 403, "right_missing", SCOPE, ""),
    ("vera", "PUT", "/things/1", "", 403, "right_level", SCOPE, ""),
    ("olga", "PUT", "/places/west", "", 403, "right_level", SCOPE, ""),
    ("olga", "GET", "/places/south", "", 403, "right_denied", SCOPE, ""),
    ("olga", "GET", "/find?place=north&place=east", "", 403, "right_missing", SCOPE, ""),
    ("olga", "GET", "/kinds/c", "", 403, "value_not_allowed", SCOPE, ""),
];

#[test]
fn every_refusal_has_its_status_its_headers_and_its_body_and_touches_no_backend() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (who, method, target, lines, status, reason, challenge, allow) in CASES {
        let case = format!("{who:?} {method} {target} {lines:?}");
        let answer = gateway.ask(request(method, target, &pass(who), lines, ""));
        assert_eq!((answer.status, answer.whole), (*status, true), "{case}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{case}");
        assert_eq!(answer.header("x-portcullis"), Some("refused"), "{case}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{case}");
        assert_eq!(answer.header("www-authenticate").unwrap_or(""), *challenge, "{case}");
        assert_eq!(answer.header("allow").unwrap_or(""), *allow, "{case}");
        let problem = answer.json();
        let mut members: Vec<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["reason", "request_id", "status", "title", "type"], "{case}");
        assert_eq!((&problem["status"], &problem["reason"]), (&(*status).into(), &(*reason).into()), "{case}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{case}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{case}");
    }
    let answer = gateway.ask("GET /things/1 HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(answer.verdict(), (421, "no_application".into()));
    assert_eq!(backend.connections(), 0, "a refused request opened a connection to the backend");
}

#[test]
fn the_same_request_is_allowed_where_nothing_is_wrong() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (who, method, target) in [
        ("", "GET", "/health"),
        ("garbage", "GET", "/health"),
        ("nobody", "GET", "/lobby"),
        ("olga", "GET", "/things/1"),
        ("vera", "GET", "/things/1"),
        ("olga", "DELETE", "/things/1/2/3"),
        ("olga", "GET", "/places/north"),
        ("olga", "GET", "/places/west"),
        ("olga", "GET", "/find?place=north&place=west"),
        ("nils", "GET", "/guests"),
        ("nils", "GET", "/kinds/b"),
    ] {
        let answer = gateway.ask(request(method, target, &pass(who), "", ""));
        assert_eq!(answer.verdict(), (200, String::new()), "{who} {method} {target}");
    }
    assert_eq!(backend.heads(), 11);
}

#[test]
fn http2_is_refused_in_the_same_words() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for (who, target, status) in [("", "/things/1", 401), ("olga", "/secrets/1", 403), ("olga", "/a/./b", 400)] {
            let answer = client.send_request(h2_request("GET", target, &pass(who), Repeated::none())).await.unwrap();
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(answer.headers()["x-portcullis"], "refused");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        let mut request = h2_request("GET", "/things/1", &pass("olga"), Repeated::none());
        request.headers_mut().insert("host", "other.test".parse().unwrap());
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "`Host` and `:authority` disagree");
    });
    assert_eq!(backend.connections(), 0);
}

#[test]
fn browsers_get_a_page() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let accept = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
    let answer = gateway.ask(request("GET", "/secrets/1", &pass("olga"), accept, ""));
    assert_eq!((answer.status, answer.header("content-type")), (403, Some("text/html; charset=utf-8")));
    let page = answer.text();
    assert!(page.starts_with("<!doctype html>") && page.contains("right_missing"), "{page}");
    assert!(page.contains(answer.header("x-request-id").unwrap()), "{page}");
    assert!(answer.header("content-security-policy").is_some());
}

#[test]
fn clients_learn_the_subject_of_a_reason_only_where_the_application_tells() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    let told = Setup {
        routes: setup.routes.replace("    domain: app\n", "    domain: app\n    detail_to_client: full\n"),
        ..Setup::before(&backend)
    };
    let gateway = told.start();
    assert_eq!(gateway.ask(get("/staff", &pass("olga"))).verdict(), (403, "flag_missing:staff".into()));
    assert_eq!(
        gateway.ask(get("/things/1", &pass("expired"))).verdict(),
        (401, "invalid_token".into()),
        "never in a 401"
    );
    setup.workers = 1;
    let gateway = setup.start();
    assert_eq!(gateway.ask(get("/staff", &pass("olga"))).verdict(), (403, "flag_missing".into()));
}

#[test]
fn too_many_requests_at_once_are_refused_at_once() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        let _ = held.lock().unwrap().recv();
        crate::backend::reply(stream, "200 OK", b"ok")
    });
    let gateway = Setup { limits: "requests: 1".into(), ..Setup::before(&backend) }.start();
    let mut first = gateway.connect();
    first.send(get("/things/1", &pass("olga")));
    crate::backend::until(|| backend.heads() == 1, "the first request at the backend");
    let answer = gateway.ask(get("/things/1", &pass("olga")));
    assert_eq!(answer.verdict(), (503, "overloaded".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(release);
    assert_eq!(first.answer().status, 200);
    assert_eq!(gateway.ask(get("/things/1", &pass("olga"))).status, 200, "the place is free again");
    assert_eq!(backend.heads(), 2);
}
