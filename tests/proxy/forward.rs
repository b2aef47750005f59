//! An allowed request reaches the backend as it was judged, and its answer comes back.

use crate::backend::{Backend, Then, reply, say};
use crate::gateway::{Setup, token};
use crate::wire::{Repeated, block_on, get, h2_request, http2, request};
use bytes::Bytes;

#[test]
fn an_allowed_request_reaches_the_backend_exactly_as_judged() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let target = "/things/a%20b/%c3%A4?x=%20&y==&&z=%c3%A4";
    let answer = gateway.ask(request(
        "PATCH",
        target,
        &token("olga"),
        "Content-Type: text/x-test\r\nX-Own: 1\r\n",
        "one\r\ntwo",
    ));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let seen = backend.only();
    assert_eq!(seen.line(), format!("PATCH {target} HTTP/1.1"));
    assert_eq!(seen.header("host"), Some("app.test"));
    assert_eq!(seen.header("content-type"), Some("text/x-test"));
    assert_eq!(seen.header("x-own"), Some("1"));
    assert_eq!(seen.header("content-length"), Some("8"));
    assert_eq!(seen.body, b"one\r\ntwo");
}

#[test]
fn the_backend_learns_who_asks_and_never_sees_the_token() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let token = token("olga");
    let answer = gateway.ask(get("/things/1", &token));
    let seen = backend.only();
    assert_eq!(seen.header("x-auth-request-user"), Some("olga"));
    assert_eq!(seen.header("x-auth-request-preferred-username"), Some("someone@example.org"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("app.test"));
    assert_eq!(seen.header("via"), Some("1.1 portcullis"));
    assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
    assert_eq!(seen.header("traceparent").unwrap().len(), 55);
    assert!(!seen.head.contains(&token) && seen.header("authorization").is_none(), "{}", seen.head);
}

#[test]
fn an_application_that_asks_for_the_token_gets_it() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.routes = setup.routes.replace("    upstream: app\n", "    upstream: app\n    forward_authorization: true\n");
    let gateway = setup.start();
    let token = token("olga");
    gateway.ask(get("/things/1", &token));
    assert_eq!(backend.only().header("authorization"), Some(format!("Bearer {token}").as_str()));
}

#[test]
fn nothing_that_a_client_writes_speaks_for_the_gateway() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let lies = "X-Auth-Request-User: admin\r\nx-auth-request-user: admin\r\nX_Auth_Request_User: admin\r\n\
                X.Auth.Request.User: admin\r\nX-Auth_Request-Email: admin\r\nX-Auth-Request-Groups: admin\r\n\
                X-Portcullis-Scopes: admin\r\nX-Portcullis-Assertion: admin\r\nX_Portcullis: admin\r\n\
                X-Forwarded-User: admin\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
                Forwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nX-Real-IP: 6.6.6.6\r\n\
                Remote-User: admin\r\nREMOTE_USER: admin\r\nX-Remote-User: admin\r\nX-User-Id: admin\r\n\
                X-Original-URL: /secrets/a\r\nX-Rewrite-URL: /secrets/a\r\nX-HTTP-Method-Override: DELETE\r\n\
                X-Request-Id: mine-mine-mine\r\nProxy: evil\r\nProxy-Authorization: Basic eDp5\r\n";
    for (target, user) in [("/things/1", Some("olga")), ("/health", None)] {
        gateway.ask(request("GET", target, &token("olga"), lies, ""));
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.line(), format!("GET {target} HTTP/1.1"));
        for lie in ["admin", "6.6.6.6", "evil", "/secrets/a", "DELETE", "mine-mine", "eDp5"] {
            assert!(!seen.head.contains(lie), "{lie} on {target}:\n{}", seen.head);
        }
        assert_eq!(seen.header("x-auth-request-user"), user, "{target}");
    }
}

#[test]
fn what_belongs_to_one_connection_stays_there() {
    let backend = Backend::start(|_, stream| {
        let fields = "Connection: X-Inner, close\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
                      X-Auth-Request-User: x\r\nX-Portcullis: refused\r\nX-Request-Id: x\r\nX-Kept: 1\r\n";
        say(stream, format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").as_bytes());
        Then::Close
    });
    let gateway = Setup::before(&backend).start();
    let lines = "Connection: X-Inner, keep-alive\r\nX-Inner: 1\r\nKeep-Alive: timeout=9\r\nTE: trailers\r\nUpgrade: h2c\r\n\
                 Proxy-Connection: keep-alive\r\nX-Kept: 1\r\n";
    let answer = gateway.ask(request("GET", "/things/1", &token("olga"), lines, ""));
    let seen = backend.only();
    for name in ["x-inner", "keep-alive", "te", "upgrade", "proxy-connection"] {
        assert!(seen.all(name).is_empty(), "{name}:\n{}", seen.head);
    }
    assert_eq!(seen.header("x-kept"), Some("1"));
    for name in ["x-inner", "keep-alive", "proxy-authenticate", "x-auth-request-user", "x-portcullis"] {
        assert_eq!(answer.header(name), None, "{name}: {}", answer.head);
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(answer.header("x-request-id"), seen.header("x-request-id"));
}

#[test]
fn a_header_that_connection_names_takes_no_part_in_the_decision() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    // Read together with the path the header would be a conflict; it ends at this hop, so it says nothing.
    let lines = "Connection: x-place\r\nX-Place: west\r\n";
    assert_eq!(gateway.ask(request("GET", "/places/north", &token("olga"), lines, "")).status, 200);
    assert!(backend.only().all("x-place").is_empty());
    let answer = gateway.ask(request("GET", "/places/north", &token("olga"), "X-Place: west\r\n", ""));
    assert_eq!(answer.verdict(), (403, "scope_conflict".into()));
}

#[test]
fn statuses_and_answers_come_back_as_the_backend_gave_them() {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/things/created" => reply(stream, "201 Made", b"made"),
        "/things/moved" => say(stream, b"HTTP/1.1 302 Found\r\nLocation: /elsewhere?a=b\r\nContent-Length: 0\r\n\r\n"),
        "/things/none" => say(stream, b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/things/same" => say(stream, b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        "/things/denied" => reply(stream, "403 Forbidden", b"the application's own no"),
        "/things/broken" => reply(stream, "500 Oops", b"oops"),
        "/things/cookies" => {
            say(stream, b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n")
        }
        "/things/early" => {
            say(stream, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
            reply(stream, "200 OK", b"late")
        }
        other => panic!("{other}"),
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    for (target, status, body) in [
        ("created", 201, "made"),
        ("moved", 302, ""),
        ("none", 204, ""),
        ("same", 304, ""),
        ("denied", 403, "the application's own no"),
        ("broken", 500, "oops"),
        ("cookies", 200, ""),
        ("early", 200, "late"),
    ] {
        let answer = client.ask(get(&format!("/things/{target}"), &token("olga")));
        assert_eq!((answer.status, answer.text().as_str(), answer.whole), (status, body, true), "{target}");
        assert_eq!(answer.header("x-portcullis"), None, "{target}");
        assert_eq!(answer.header("x-request-id").unwrap().len(), 32, "{target}");
        match target {
            "moved" => assert_eq!(answer.header("location"), Some("/elsewhere?a=b")),
            "same" => assert_eq!(answer.header("etag"), Some("\"x\"")),
            "cookies" => assert_eq!(answer.head.to_lowercase().matches("set-cookie: ").count(), 2, "{}", answer.head),
            _ => {}
        }
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn head_needs_what_get_needs_and_gets_no_body() {
    let backend = Backend::start(|_, stream| say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(request("HEAD", "/things/1", &token("olga"), "", ""));
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    client.send(request("HEAD", "/secrets/1", &token("olga"), "", ""));
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("x-portcullis")), (403, Some("refused")));
    assert_ne!(answer.header("content-length"), Some("0"));
    // The connection is still in step.
    client.send(request("HEAD", "/things/2", &token("olga"), "", ""));
    assert_eq!(client.answer_to_head().status, 200);
    assert_eq!(
        backend.seen().iter().map(|seen| seen.line()).collect::<Vec<_>>(),
        ["HEAD /things/1 HTTP/1.1", "HEAD /things/2 HTTP/1.1"]
    );
}

#[test]
fn an_answer_begins_before_its_end_is_known() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        held.lock().unwrap().recv().unwrap();
        say(stream, b"6\r\nsecond\r\n0\r\n\r\n")
    });
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    let mut answer = client.head().unwrap();
    assert_eq!(answer.status, 200);
    let mut release = Some(release);
    client.body(&mut answer, &mut |piece| {
        if let (b"first", Some(release)) = (piece, release.take()) {
            release.send(()).unwrap();
        }
    });
    assert_eq!((answer.text().as_str(), answer.whole), ("firstsecond", true));
}

#[test]
fn http2_over_tls_reaches_the_backend_as_http1() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        let block = Bytes::from_static(b"body");
        let mut request = h2_request("PUT", "/things/a?b=c", &token("olga"), Repeated::new(&block, 4));
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        let answer = client.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
        assert_eq!(answer.headers()["x-request-id"].len(), 32);
    });
    let seen = backend.only();
    assert_eq!(seen.line(), "PUT /things/a?b=c HTTP/1.1");
    assert_eq!(seen.header("host"), Some("app.test"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("via"), Some("2 portcullis"));
    assert_eq!((seen.body.as_slice(), seen.whole), (&b"body"[..], true));
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on_only_if_it_may() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let mut client = gateway.connect();
    let lines = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    client.send(request("PUT", "/things/1", &token("olga"), lines, ""));
    assert_eq!(client.interim(), 100);
    assert_eq!(client.ask("body").status, 200);
    assert_eq!(backend.only().body, b"body");
    let mut client = gateway.connect();
    client.send(request("PUT", "/things/1", &token("vera"), lines, ""));
    assert_eq!(client.interim(), 403);
    assert_eq!(backend.heads(), 1);
}

#[test]
fn trusted_proxies_are_believed_and_extended() {
    let backend = Backend::hello();
    let gateway = Setup { more: "trusted_proxies: [127.0.0.0/8]\n".into(), ..Setup::before(&backend) }.start();
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front.test\r\n\
                 X-Request-Id: given-by-the-proxy\r\nX-Forwarded-User: admin\r\nX-Auth-Request-User: admin\r\n";
    let answer = gateway.ask(request("GET", "/things/1", &token("olga"), lines, ""));
    let seen = backend.only();
    assert_eq!(seen.header("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("front.test"));
    assert_eq!(seen.header("x-request-id"), Some("given-by-the-proxy"));
    assert_eq!(answer.header("x-request-id"), Some("given-by-the-proxy"));
    assert!(!seen.head.contains("admin"), "who asks is never a proxy's to say:\n{}", seen.head);
}

#[test]
fn header_names_that_fold_into_others_pass_only_where_they_are_listed() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.routes = setup
        .routes
        .replace("    upstream: app\n", "    upstream: app\n    allow_headers: [X_Listed, X_Auth_Request_User]\n");
    let gateway = setup.start();
    let lines =
        "X_Listed: 1\r\nX_Other: 1\r\nX.Other: 1\r\nX_Auth_Request_User: admin\r\nTransfer_Encoding: chunked\r\n";
    gateway.ask(request("GET", "/things/1", &token("olga"), lines, ""));
    let seen = backend.only();
    assert_eq!(seen.header("x_listed"), Some("1"));
    for name in ["x_other", "x.other", "x_auth_request_user", "transfer_encoding"] {
        assert!(seen.all(name).is_empty(), "{name}:\n{}", seen.head);
    }
}

#[test]
fn a_header_that_the_application_removes_reaches_its_backend_in_no_spelling() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    // One of these every client sends, and it goes past all other lists.
    let line = "    upstream: app\n    remove_headers: [X-Employee_No, Accept-Language]\n";
    setup.routes = setup.routes.replace("    upstream: app\n", line);
    let gateway = setup.start();
    let lines =
        "X-Employee-No: 1\r\nx_employee.no: 1\r\nX-EMPLOYEE-NO: 2\r\nX-Employee-Nos: 3\r\nAccept-Language: en\r\n";
    gateway.ask(request("GET", "/things/1", &token("olga"), lines, ""));
    let seen = backend.only();
    assert_eq!(seen.all("x-employee-nos"), ["3"]);
    for name in ["x-employee-no", "x_employee.no", "accept-language"] {
        assert!(seen.all(name).is_empty(), "{name}:\n{}", seen.head);
    }
}
