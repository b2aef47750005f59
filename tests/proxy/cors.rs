//! Web pages of other origins: preflights are the gateway's own, and every answer says who may read it.

use crate::backend::{Backend, Then, say};
use crate::gateway::{Setup, token};
use crate::places::with;
use crate::wire::request;

const CORS: &str = "    cors: {origins: [\"https://page.test\", \"http://localhost:3000\"], \
                    methods: [GET, POST, DELETE], headers: [Authorization, X-Place], expose: [X-Total, ETag], \
                    max_age: 30m}\n";
const PAGE: &str = "origin: https://page.test\r\n";

/// A backend with an opinion of its own about other origins.
fn opinionated() -> Backend {
    Backend::start(|_, stream| {
        let fields = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
                      Access-Control-Expose-Headers: X-Secret\r\nAccess-Control-Max-Age: 1\r\nVary: Accept\r\n";
        say(stream, format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").as_bytes());
        Then::Keep
    })
}

/// All lines of an answer whose names begin so, sorted.
fn fields<'a>(head: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut lines: Vec<&str> =
        head.lines().skip(1).filter(|line| line.to_ascii_lowercase().starts_with(prefix)).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_preflight_is_answered_without_a_token_and_without_the_backend() {
    let backend = Backend::hello();
    let gateway = with(&backend, CORS, false).start();
    let method = "access-control-request-method: POST\r\n";
    for (lines, subject) in [
        (format!("{PAGE}{method}"), None),
        (format!("{PAGE}{method}access-control-request-headers: authorization,x-place\r\n"), None),
        (format!("{PAGE}{method}access-control-request-headers: X-PLACE , Authorization\r\n"), None),
        (format!("{PAGE}{method}access-control-request-headers:\r\n"), None),
        (format!("origin: http://localhost:3000\r\n{method}"), None),
        (format!("origin: https://evil.test\r\n{method}"), Some("origin")),
        (format!("origin: null\r\n{method}"), Some("origin")),
        (format!("origin: HTTPS://page.test\r\n{method}"), Some("origin")),
        (format!("origin: https://page.test:444\r\n{method}"), Some("origin")),
        (format!("origin: https://page.test.evil.test\r\n{method}"), Some("origin")),
        (format!("{PAGE}{PAGE}{method}"), Some("origin")),
        (format!("{PAGE}access-control-request-method: PUT\r\n"), Some("method")),
        (format!("{PAGE}access-control-request-method: post\r\n"), Some("method")),
        (format!("{PAGE}{method}{method}"), Some("method")),
        (format!("{PAGE}{method}access-control-request-headers: x-other\r\n"), Some("headers")),
        (
            format!("{PAGE}{method}access-control-request-headers: x-place\r\naccess-control-request-headers: *\r\n"),
            Some("headers"),
        ),
    ] {
        // Routes that are public, that are not, and paths that have none: strangers learn nothing of the map.
        for target in ["/health", "/things/1", "/no/such/path"] {
            let case = format!("{target} {lines}");
            let answer = gateway.ask(request("OPTIONS", target, "", &lines, ""));
            let allowed = fields(&answer.head, "access-control-");
            match subject {
                None => {
                    assert_eq!((answer.status, answer.header("x-portcullis")), (204, Some("answered")), "{case}");
                    let origin = lines.lines().next().unwrap().strip_prefix("origin: ").unwrap();
                    let expected = [
                        "access-control-allow-headers: authorization, x-place".to_owned(),
                        "access-control-allow-methods: GET, POST, DELETE".to_owned(),
                        format!("access-control-allow-origin: {origin}"),
                        "access-control-max-age: 1800".to_owned(),
                    ];
                    assert_eq!(allowed, expected, "{case}");
                    let vary = fields(&answer.head, "vary");
                    assert_eq!(
                        vary,
                        ["vary: Access-Control-Request-Headers", "vary: Access-Control-Request-Method", "vary: Origin"]
                    );
                }
                Some(_) => {
                    assert_eq!(answer.verdict(), (403, "cors_refused".into()), "{case}");
                    assert_eq!((allowed, answer.header("www-authenticate")), (vec![], None), "{case}");
                }
            }
        }
    }
    assert_eq!(backend.connections(), 0);
    let bad = gateway.ask(request("OPTIONS", "/things/../1", "", &format!("{PAGE}{method}"), ""));
    assert_eq!(bad.verdict(), (400, "bad_target".into()), "a preflight needs a canonical target like any request");
}

#[test]
fn what_is_no_preflight_is_an_ordinary_request() {
    let backend = Backend::hello();
    let gateway = with(&backend, CORS, false).start();
    let method = "access-control-request-method: POST\r\n";
    for (verb, lines) in [
        ("OPTIONS", PAGE.to_owned()),
        ("OPTIONS", method.to_owned()),
        ("OPTIONS", format!("connection: origin\r\n{PAGE}{method}")),
        ("GET", format!("{PAGE}{method}")),
    ] {
        assert_eq!(gateway.ask(request(verb, "/things/1", "", &lines, "")).status, 401, "{verb} {lines}");
        let answer = gateway.ask(request(verb, "/things/1", &token("olga"), &lines, ""));
        assert_eq!(answer.status, 200, "{verb} {lines}");
    }
    drop(gateway);
    let gateway = Setup::before(&backend).start();
    let before = backend.heads();
    let lines = format!("{PAGE}{method}");
    assert_eq!(gateway.ask(request("OPTIONS", "/things/1", "", &lines, "")).verdict(), (401, "no_token".into()));
    assert_eq!(gateway.ask(request("OPTIONS", "/things/1", &token("olga"), &lines, "")).status, 200);
    assert_eq!(backend.heads(), before + 1, "without `cors` the backend answers preflights");
}

#[test]
fn the_methods_of_a_preflight_are_those_of_all_routes_unless_listed() {
    let backend = Backend::hello();
    let gateway = with(&backend, "    cors: {origins: [\"https://page.test\"]}\n", false).start();
    for (method, status) in [("PATCH", 204), ("HEAD", 204), ("BREW", 403)] {
        let lines = format!(
            "{PAGE}access-control-request-method: {method}\r\naccess-control-request-headers: authorization, content-type\r\n"
        );
        // A path with one method only: what is answered does not tell.
        let answer = gateway.ask(request("OPTIONS", "/staff", "", &lines, ""));
        assert_eq!(answer.status, status, "{method}");
        if status == 204 {
            let allowed = answer.header("access-control-allow-methods");
            assert_eq!(allowed, Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"));
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
        }
    }
}

#[test]
fn every_answer_says_which_page_may_read_it_in_the_gateways_words() {
    let backend = opinionated();
    let gateway = with(&backend, CORS, false).start();
    let admitted = ["access-control-allow-origin: https://page.test", "access-control-expose-headers: x-total, etag"];
    for (who, target, status) in [
        ("olga", "/things/1", 200),
        ("", "/health", 200),
        ("", "/things/1", 401),
        ("olga", "/secrets/1", 403),
        ("olga", "/no/such/path", 404),
    ] {
        let pass = if who.is_empty() { String::new() } else { token(who) };
        for (lines, expected) in [
            (PAGE, &admitted[..]),
            ("origin: https://evil.test\r\n", &[]),
            ("origin: null\r\n", &[]),
            ("origin: https://page.test\r\norigin: https://page.test\r\n", &[]),
            ("", &[]),
        ] {
            let answer = gateway.ask(request("GET", target, &pass, lines, ""));
            assert_eq!(answer.status, status, "{target} {lines}");
            assert_eq!(fields(&answer.head, "access-control-"), expected, "{target} {lines}");
            let vary = fields(&answer.head, "vary").join(" ");
            assert!(vary.contains("Origin"), "a cache must not mix them up: {}", answer.head);
            assert_eq!(vary.contains("Accept"), status == 200, "the backend's own part stays: {}", answer.head);
        }
    }
    drop((gateway, backend));
    let gone = Backend::hello();
    let setup = with(&gone, CORS, false);
    drop(gone);
    let answer = setup.start().ask(request("GET", "/things/1", &token("olga"), PAGE, ""));
    assert_eq!(answer.verdict().0, 502);
    assert_eq!(fields(&answer.head, "access-control-"), admitted, "a page may read why it failed");
}

#[test]
fn without_cors_the_backends_words_go_through() {
    let backend = opinionated();
    let gateway = Setup::before(&backend).start();
    let answer = gateway.ask(request("GET", "/things/1", &token("olga"), PAGE, ""));
    assert_eq!(fields(&answer.head, "access-control-").len(), 4);
    assert_eq!(fields(&answer.head, "vary"), ["vary: Accept"]);
    let refused = gateway.ask(request("GET", "/secrets/1", &token("olga"), PAGE, ""));
    assert!(fields(&refused.head, "access-control-").is_empty() && fields(&refused.head, "vary").is_empty());
}

#[test]
fn pages_with_credentials_may_call_with_a_cookie_and_others_may_not() {
    let backend = Backend::hello();
    let cookie = format!("cookie: erp_token={}\r\n", token("olga"));
    for (credentials, status) in [(true, 200), (false, 403)] {
        let lines = format!(
            "    token: {{cookie: erp_token}}\n    cors: {{origins: [\"https://page.test\"], credentials: {credentials}}}\n"
        );
        let gateway = with(&backend, &lines, false).start();
        let from = |page: &str| format!("{cookie}sec-fetch-site: cross-site\r\norigin: {page}\r\n");
        let answer = gateway.ask(request("POST", "/things/1", "", &from("https://page.test"), ""));
        assert_eq!(answer.status, status);
        let allowed = answer.header("access-control-allow-credentials");
        assert_eq!(allowed, credentials.then_some("true"));
        let answer = gateway.ask(request("POST", "/things/1", "", &from("https://evil.test"), ""));
        assert_eq!(answer.verdict(), (403, "cross_site".into()));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn any_origin_is_echoed_but_never_null() {
    let backend = Backend::hello();
    let gateway = with(&backend, "    cors: {origins: \"*\"}\n", false).start();
    for (origin, echoed) in [
        ("https://anything.test", true),
        ("http://[::1]:8080", true),
        ("null", false),
        ("https://a.test https://b.test", false),
        ("file://", false),
    ] {
        let answer = gateway.ask(request("GET", "/health", "", &format!("origin: {origin}\r\n"), ""));
        assert_eq!(answer.header("access-control-allow-origin"), echoed.then_some(origin), "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn the_log_and_the_metrics_say_that_the_gateway_answered() {
    let backend = Backend::hello();
    let gateway = Setup { decisions: true, ..with(&backend, CORS, false) }.spawn();
    let method = "access-control-request-method: POST\r\n";
    gateway.ask(request("OPTIONS", "/things/1", "", &format!("{PAGE}{method}"), ""));
    let line = gateway.decision();
    assert_eq!(
        (&line["decision"], &line["reason"], &line["status"]),
        (&"allow".into(), &"preflight".into(), &204.into())
    );
    assert_eq!((&line["application"], &line["route"], &line["upstream"]), (&"app".into(), &().into(), &().into()));
    gateway.ask(request("OPTIONS", "/things/1", "", &format!("origin: null\r\n{method}"), ""));
    let line = gateway.decision();
    assert_eq!((&line["decision"], &line["reason"]), (&"deny".into(), &"cors_refused:origin".into()));
    let metrics = gateway.admin("GET", "/metrics", "").text();
    let counted = "{application=\"app\",route=\"\",decision=\"allow\",reason=\"preflight\",status=\"2xx\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}
