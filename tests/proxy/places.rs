//! Where a token is found, and what becomes of it: one place, one token, and the backend never sees it.

use crate::backend::Backend;
use crate::gateway::{Door, Gateway, Setup, token};
use crate::wire::{Repeated, block_on, h2_request, http2, request};

/// The usual gateway, its application with further lines.
pub fn with(backend: &Backend, lines: &str, trusted: bool) -> Setup {
    let setup = Setup::before(backend);
    Setup {
        routes: setup.routes.replace("    domain: app\n", &format!("    domain: app\n{lines}")),
        more: if trusted { "trusted_proxies: [127.0.0.0/8]\n".into() } else { String::new() },
        ..setup
    }
}

fn ask(gateway: &Door, method: &str, target: &str, lines: &str) -> (u16, String) {
    gateway.ask(request(method, target, "", lines, "")).verdict()
}

const COOKIE: &str = "    token: {cookie: erp_token}\n";
const HEADER: &str = "    token: {header: X-Forwarded-Access-Token}\n";
const EVERYWHERE: &str = "    token: [bearer, {cookie: erp_token}, {header: X-Forwarded-Access-Token}]\n";

/// Lines of a request in which `@` is a good token; what comes of it, and the cookies that the backend sees.
type Case = (&'static str, u16, &'static str, &'static [&'static str]);

/// Runs cases on a route that asks for a token.
fn run(gateway: &Gateway, backend: &Backend, cases: &[Case]) {
    let good = token("olga");
    for (lines, status, reason, cookies) in cases {
        let before = backend.heads();
        let verdict = ask(gateway, "GET", "/things/1", &lines.replace('@', &good));
        assert_eq!(verdict, (*status, (*reason).to_owned()), "{lines}");
        assert_eq!(backend.heads() - before, usize::from(*status == 200), "{lines}");
        if *status == 200 {
            let seen = backend.seen().pop().unwrap();
            assert_eq!(seen.all("cookie"), *cookies, "{lines}");
            assert!(!seen.head.contains(&good), "the token reached the backend:\n{}", seen.head);
            assert_eq!(seen.header("x-auth-request-user"), Some("olga"), "{lines}");
        }
    }
}

#[test]
fn a_cookie_carries_the_token_once_and_under_its_own_name() {
    let backend = Backend::hello();
    let gateway = with(&backend, COOKIE, false).start();
    const MALFORMED: &str = "malformed_credentials";
    run(
        &gateway,
        &backend,
        &[
            ("cookie: erp_token=@\r\n", 200, "", &[]),
            ("cookie: a=\"b c\"; erp_token=@;d=e\r\n", 200, "", &["a=\"b c\";d=e"]),
            ("cookie: erp_token=@; a=b\r\n", 200, "", &["a=b"]),
            ("cookie: a=b\r\ncookie: erp_token=@; c=d\r\n", 200, "", &["a=b", "c=d"]),
            ("cookie: a=b\r\n", 401, "no_token", &[]),
            ("cookie: erp_token=\r\n", 401, "no_token", &[]),
            ("cookie: erp_token=a.b.c\r\n", 401, "invalid_token", &[]),
            ("authorization: Bearer @\r\n", 401, "no_token", &[]),
            ("x-forwarded-access-token: @\r\n", 401, "no_token", &[]),
            ("connection: cookie\r\ncookie: erp_token=@\r\n", 401, "no_token", &[]),
            ("cookie: a=b; erp_token=@; erp_token=@\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=x; erp_token=@\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@\r\ncookie: erp_token=@\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@; ERP_TOKEN=x\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@; erp-token=x\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@; erp%5ftoken=x\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@; erp_token =x\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@; erp_token\r\n", 400, MALFORMED, &[]),
            ("cookie: a=b, erp_token=@\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=\"@\"\r\n", 400, MALFORMED, &[]),
            ("cookie: Erp_Token=@\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@\r\nauthorization: Bearer @\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@\r\nauthorization: Bearer x\r\n", 400, MALFORMED, &[]),
            ("cookie: erp_token=@\r\nauthorization: Basic x\r\nauthorization: Basic y\r\n", 400, MALFORMED, &[]),
        ],
    );
    let target = format!("/things/1?access_token={}", token("olga"));
    let cookie = format!("cookie: erp_token={}\r\n", token("olga"));
    assert_eq!(ask(&gateway, "GET", &target, &cookie), (400, "malformed_credentials".into()));
}

#[test]
fn what_nobody_verified_beside_the_cookie_goes_no_further() {
    let backend = Backend::hello();
    let lines = "    token: [bearer, {cookie: erp_token}]\n    forward_authorization: true\n";
    let gateway = with(&backend, lines, false).start();
    let good = token("olga");
    let cookie = format!("cookie: erp_token={good}\r\nauthorization: Basic eDp5\r\n");
    assert_eq!(ask(&gateway, "GET", "/things/1", &cookie), (200, String::new()));
    assert!(backend.only().all("authorization").is_empty());
    assert_eq!(gateway.ask(request("GET", "/things/1", &good, "cookie: a=b\r\n", "")).status, 200);
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {good}").as_str()));
}

#[test]
fn no_route_lets_a_token_through_to_the_backend() {
    let backend = Backend::hello();
    let gateway = with(&backend, EVERYWHERE, true).start();
    // Nobody judges credentials on a public route, so whatever could be read as some is taken out.
    let lines = "cookie: a=b; erp_token=one; ERP-Token=two; c=d\r\ncookie: erp%5Ftoken=three\r\n\
                 x-forwarded-access-token: four\r\nX_Forwarded_Access_Token: five\r\nauthorization: Bearer six\r\n";
    assert_eq!(ask(&gateway, "GET", "/health", lines), (200, String::new()));
    let seen = backend.only();
    assert_eq!(seen.all("cookie"), ["a=b; c=d"]);
    for word in ["one", "two", "three", "four", "five", "six"] {
        assert!(!seen.head.contains(word), "{word}:\n{}", seen.head);
    }
}

#[test]
fn without_a_cookie_place_cookies_are_the_backends_own() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let lines = "cookie: erp_token=x; a=\"b\r\ncookie: ERP_TOKEN=y\r\n";
    assert_eq!(gateway.ask(request("GET", "/things/1", &token("olga"), lines, "")).status, 200);
    assert_eq!(backend.only().all("cookie"), ["erp_token=x; a=\"b", "ERP_TOKEN=y"]);
}

#[test]
fn a_header_carries_a_token_only_from_a_trusted_proxy() {
    let backend = Backend::hello();
    let cases: &[Case] = &[
        ("X-Forwarded-Access-Token: @\r\n", 200, "", &[]),
        ("X-Forwarded-Access-Token: @\r\ncookie: erp_token=x\r\n", 200, "", &["erp_token=x"]),
        ("x-forwarded-access-token: @\r\nX_Forwarded_Access_Token: x\r\n", 200, "", &[]),
        ("X_Forwarded_Access_Token: @\r\n", 401, "no_token", &[]),
        ("X-Forwarded_Access-Token: @\r\n", 401, "no_token", &[]),
        ("X.Forwarded.Access.Token: @\r\n", 401, "no_token", &[]),
        ("Connection: X-Forwarded-Access-Token\r\nX-Forwarded-Access-Token: @\r\n", 401, "no_token", &[]),
        ("X-Forwarded-Access-Token: @\r\nX-Forwarded-Access-Token: @\r\n", 400, "malformed_credentials", &[]),
        ("X-Forwarded-Access-Token: Bearer @\r\n", 400, "malformed_credentials", &[]),
        ("X-Forwarded-Access-Token: @, @\r\n", 400, "malformed_credentials", &[]),
        ("X-Forwarded-Access-Token:\r\n", 400, "malformed_credentials", &[]),
        ("X-Forwarded-Access-Token: @\r\nAuthorization: Bearer @\r\n", 400, "malformed_credentials", &[]),
    ];
    let gateway = with(&backend, HEADER, true).start();
    let good = token("olga");
    for (lines, status, reason, cookies) in cases {
        let lines = lines.replace('@', &good);
        assert_eq!(ask(&gateway, "GET", "/things/1", &lines), (*status, (*reason).to_owned()), "{lines}");
        if *status == 200 {
            let seen = backend.seen().pop().unwrap();
            assert_eq!(seen.all("cookie"), *cookies, "{lines}");
            assert!(!seen.head.to_ascii_lowercase().contains("access"), "{}", seen.head);
        }
    }
    drop(gateway);

    // Of anybody else it is as if it were not there: it neither proves anything nor spoils what does.
    let gateway = with(&backend, EVERYWHERE, false).start();
    let lines = format!("X-Forwarded-Access-Token: {good}\r\n");
    assert_eq!(ask(&gateway, "GET", "/things/1", &lines), (401, "no_token".into()));
    assert_eq!(gateway.ask(request("GET", "/things/1", &good, &lines, "")).verdict(), (200, String::new()));
    assert!(backend.seen().pop().unwrap().all("x-forwarded-access-token").is_empty());
}

#[test]
fn several_places_may_be_looked_in_and_one_of_them_used() {
    let backend = Backend::hello();
    let gateway = with(&backend, EVERYWHERE, true).start();
    run(
        &gateway,
        &backend,
        &[
            ("authorization: Bearer @\r\n", 200, "", &[]),
            ("cookie: erp_token=@\r\n", 200, "", &[]),
            ("x-forwarded-access-token: @\r\n", 200, "", &[]),
            ("cookie: erp_token=\r\nx-forwarded-access-token: @\r\n", 200, "", &[]),
            ("cookie: erp_token=@\r\nx-forwarded-access-token: @\r\n", 400, "malformed_credentials", &[]),
            ("authorization: Bearer @\r\nx-forwarded-access-token: @\r\n", 400, "malformed_credentials", &[]),
            ("authorization: Bearer @\r\ncookie: a=b; erp_token=@\r\n", 400, "malformed_credentials", &[]),
        ],
    );
}

#[test]
fn a_cookie_changes_things_only_when_the_applications_own_page_asks() {
    let backend = Backend::hello();
    let gateway = with(&backend, COOKIE, false).start();
    let cookie = format!("cookie: erp_token={}\r\n", token("olga"));
    let handshake = crate::websocket::lines();
    for (method, lines, status) in [
        ("GET", "", 200),
        ("GET", "sec-fetch-site: cross-site\r\n", 200),
        ("OPTIONS", "origin: https://evil.test\r\n", 200),
        ("POST", "", 403),
        ("DELETE", "", 403),
        ("POST", "sec-fetch-site: same-origin\r\n", 200),
        ("POST", "sec-fetch-site: none\r\n", 200),
        ("POST", "sec-fetch-site: same-site\r\n", 403),
        ("POST", "sec-fetch-site: cross-site\r\n", 403),
        ("POST", "sec-fetch-site: cross-site\r\norigin: http://app.test\r\n", 403),
        ("POST", "origin: http://app.test\r\n", 200),
        ("POST", "origin: https://app.test\r\n", 403),
        ("POST", "origin: https://app.test\r\nx-forwarded-proto: https\r\n", 403),
        ("POST", "origin: http://app.test:8080\r\n", 403),
        ("POST", "origin: http://app.test.evil.test\r\n", 403),
        ("POST", "origin: null\r\n", 403),
        ("POST", "origin: http://app.test\r\norigin: http://evil.test\r\n", 403),
        ("POST", "origin: http://evil.test\r\nsec-fetch-site: same-origin\r\n", 403),
        ("POST", "connection: origin\r\norigin: http://app.test\r\n", 403),
        ("POST", "referer: http://app.test/page\r\n", 403),
        // What comes after a handshake of WebSocket may change things, too.
        ("GET", &handshake, 403),
    ] {
        let answer = gateway.ask(request(method, "/things/1", "", &format!("{cookie}{lines}"), ""));
        let reason = if status == 403 { "cross_site" } else { "" };
        assert_eq!(answer.verdict(), (status, reason.to_owned()), "{method} {lines}");
        assert_eq!(answer.header("www-authenticate"), None, "another token would not help: {}", answer.head);
    }
    drop(gateway);

    let gateway = with(&backend, COOKIE, true).start();
    for (lines, status) in [
        ("origin: https://app.test\r\nx-forwarded-proto: https\r\n", 200),
        ("origin: http://app.test\r\nx-forwarded-proto: https\r\n", 403),
        ("origin: https://app.test\r\nx-forwarded-host: evil.test\r\n", 403),
    ] {
        assert_eq!(ask(&gateway, "POST", "/things/1", &format!("{cookie}{lines}")).0, status, "{lines}");
    }
    // A bearer token is no cookie: no page can make a browser send it.
    let gateway = with(&backend, EVERYWHERE, false).start();
    let answer = gateway.ask(request("POST", "/things/1", &token("olga"), "origin: https://evil.test\r\n", ""));
    assert_eq!(answer.status, 200);
}

#[test]
fn crumbs_of_http2_are_one_cookie() {
    let backend = Backend::hello();
    let gateway = with(&backend, COOKIE, false).start();
    let good = token("olga");
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let own = format!("erp_token={good}");
        for (crumbs, method, status) in [
            (&["a=b", own.as_str(), "c=d"][..], "GET", 200),
            (&[&own, "erp_token=x"], "GET", 400),
            (&[&own, "Erp_Token=x"], "GET", 400),
            (&["a=b"], "GET", 401),
            (&[&own], "POST", 403),
        ] {
            let mut request = h2_request(method, "/things/1", "", Repeated::none());
            for crumb in crumbs {
                request.headers_mut().append("cookie", crumb.parse().unwrap());
            }
            assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), status, "{crumbs:?}");
        }
        let mut request = h2_request("POST", "/things/1", "", Repeated::none());
        request.headers_mut().append("cookie", own.parse().unwrap());
        request.headers_mut().append("origin", "https://app.test".parse().unwrap());
        assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), 200, "a TLS listener is https");
    });
    assert_eq!(backend.seen()[0].all("cookie"), ["a=b; c=d"]);
    assert!(backend.seen()[1].all("cookie").is_empty());
}

#[test]
fn no_log_has_a_token_of_a_cookie() {
    let backend = Backend::hello();
    let gateway = Setup { decisions: true, ..with(&backend, COOKIE, false) }.spawn();
    let good = token("olga");
    for lines in [format!("cookie: erp_token={good}\r\n"), format!("cookie: erp_token={good}; erp_token=secret\r\n")] {
        ask(&gateway, "GET", "/things/1", &lines);
        let line = gateway.decision_line();
        assert!(!line.contains(&good[..20]) && !line.contains("secret") && !line.contains("erp_token"), "{line}");
    }
    assert!(!gateway.log().contains(&good[..20]));
}
