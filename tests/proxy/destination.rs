//! What an upstream asks of requests: a path without a prefix or with another, a `Host`, credentials of the gateway's own.

use std::io::Write as _;

use tempfile::NamedTempFile;

use crate::backend::{Backend, say};
use crate::gateway::{Gateway, Process, Setup, token};
use crate::wire::{get, request};

/// A setup whose upstream has these keys beside its servers, and whose routes begin with `prefix`.
fn setup(backend: &Backend, keys: &str, prefix: &str) -> Setup {
    let setup = Setup::before(backend);
    let routes = setup
        .routes
        .replace("{servers: [", &format!("{{{keys}, servers: ["))
        .replace("path: \"/", &format!("path: \"{prefix}/"))
        .replace("path: /", &format!("path: {prefix}/"));
    Setup { routes, workers: 1, ..setup }
}

fn gateway(backend: &Backend, keys: &str) -> Gateway {
    setup(backend, keys, "").start()
}

fn secret(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_prefix_is_taken_off_what_was_judged_and_another_put_in_front() {
    let backend = Backend::hello();
    for (keys, prefix, sent, seen) in [
        ("path: {strip: /oms}", "/oms", "/oms/things/a%20b?x=/oms/y", "/things/a%20b?x=/oms/y"),
        ("path: {add: /app/v2}", "", "/things/1", "/app/v2/things/1"),
        ("path: {strip: /a/b, add: /c}", "/a/b", "/a/b/things/1/", "/c/things/1/"),
    ] {
        let before = backend.heads();
        let gateway = setup(&backend, keys, prefix).start();
        assert_eq!(gateway.ask(get(sent, &token("olga"))).status, 200, "{keys}");
        let last = backend.wait_for(before + 1).pop().unwrap();
        assert_eq!(last.target(), seen, "{keys}");
    }
    let prefixes: Vec<_> =
        backend.seen().iter().map(|seen| seen.header("x-forwarded-prefix").map(str::to_owned)).collect();
    assert_eq!(prefixes, [Some("/oms".to_owned()), None, Some("/a/b".to_owned())]);
}

#[test]
fn rights_are_asked_of_the_path_that_the_client_sent() {
    let backend = Backend::hello();
    let gateway = setup(&backend, "path: {strip: /oms}", "/oms").start();
    // Behind the prefix `/secrets` is another page; in front of it there is none.
    assert_eq!(gateway.ask(get("/oms/secrets/1", &token("vera"))).verdict(), (403, "right_missing".into()));
    assert_eq!(gateway.ask(get("/things/1", &token("vera"))).verdict(), (404, "no_route".into()));
    assert_eq!(gateway.ask(get("/oms/oms/things/1", &token("vera"))).verdict(), (404, "no_route".into()));
    assert_eq!(gateway.ask(get("/oms/../things/1", &token("vera"))).verdict(), (400, "bad_target".into()));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_route_that_does_not_begin_with_what_is_stripped_is_a_fault_of_the_file() {
    let backend = Backend::hello();
    let Err(fault) = setup(&backend, "path: {strip: /omsx}", "/oms").try_start() else { panic!("started") };
    let fault = fault.to_string();
    assert!(fault.contains("error[strip_mismatch]") && fault.contains("`/oms/health` does not begin"), "{fault}");
}

#[test]
fn the_backend_gets_the_host_that_it_wants_and_learns_the_one_that_was_asked_for() {
    let backend = Backend::hello();
    let own = backend.url().replace("http://", "");
    for (keys, expected) in
        [("host: preserve", "app.test"), ("host: server", own.as_str()), ("host: b.internal:81", "b.internal:81")]
    {
        let before = backend.heads();
        assert_eq!(gateway(&backend, keys).ask(get("/things/1", &token("olga"))).status, 200);
        let seen = backend.wait_for(before + 1).pop().unwrap();
        assert_eq!((seen.all("host"), seen.all("x-forwarded-host")), (vec![expected], vec!["app.test"]), "{keys}");
    }
}

#[test]
fn credentials_stand_in_place_of_what_the_client_sent_there() {
    let backend = Backend::hello();
    let file = secret("pa ss\n");
    let path = file.path().display();
    for (keys, name, expected) in [
        (
            format!("credentials: {{basic: gateway, from_file: \"{path}\"}}"),
            "authorization",
            "Basic Z2F0ZXdheTpwYSBzcw==",
        ),
        (format!("credentials: {{header: X-Api-Key, from_file: \"{path}\"}}"), "x-api-key", "pa ss"),
    ] {
        let before = backend.heads();
        let gateway = gateway(&backend, &keys);
        let lines = "X-Api-Key: theirs\r\nx_api_key: theirs\r\nX.Api.Key: theirs\r\n";
        assert_eq!(gateway.ask(request("GET", "/things/1", &token("olga"), lines, "")).status, 200);
        // Public pages are the backend's too.
        assert_eq!(gateway.ask("GET /health HTTP/1.1\r\nHost: app.test\r\nX-Api-Key: theirs\r\n\r\n").status, 200);
        for seen in &backend.wait_for(before + 2)[before..] {
            assert_eq!(seen.all(name), [expected]);
            assert!(seen.all("x_api_key").is_empty() && seen.all("x.api.key").is_empty());
        }
    }
}

#[test]
fn a_secret_parameter_is_added_and_no_client_can_bring_one_of_its_name() {
    let backend = Backend::hello();
    let file = secret("s&cret");
    let gateway =
        gateway(&backend, &format!("credentials: {{query: api_key, from_file: \"{}\"}}", file.path().display()));
    assert_eq!(gateway.ask(get("/things/1?a=b", &token("olga"))).status, 200);
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
    for query in ["api_key=1", "a=b&API_KEY=1", "api%5fkey=1", "api_key[]=1", "a;api_key=1", "api.key"] {
        let answer = gateway.ask(get(&format!("/things/1?{query}"), &token("olga")));
        assert_eq!(answer.verdict(), (400, "bad_target".into()), "{query}");
    }
    let targets: Vec<_> = backend.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/things/1?a=b&api_key=s%26cret", "/things/1?api_key=s%26cret"]);
}

#[test]
fn no_redirect_tells_a_client_the_secret_parameter() {
    let backend = Backend::start(|seen, stream| {
        let (path, query) = seen.target().split_once('?').unwrap();
        let lower = query.to_ascii_lowercase();
        let lines = format!("Location: {path}/?{query}\r\nLink: <http://b{path}?{lower}&p=2>; rel=next\r\n");
        say(
            stream,
            format!("HTTP/1.1 301 Moved\r\n{lines}X-Own: /other?api_key=1\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        )
    });
    let file = secret("S&cret");
    let gateway =
        gateway(&backend, &format!("credentials: {{query: api_key, from_file: \"{}\"}}", file.path().display()));
    for (target, location, link) in [
        ("/things/1", "/things/1/", "<http://b/things/1?p=2>; rel=next"),
        ("/things/1?a=b", "/things/1/?a=b", "<http://b/things/1?a=b&p=2>; rel=next"),
    ] {
        let answer = gateway.ask(get(target, &token("olga")));
        assert_eq!((answer.header("location"), answer.header("link")), (Some(location), Some(link)));
        assert_eq!(answer.header("x-own"), Some("/other?api_key=1"), "another's is none of ours");
    }
}

#[test]
fn no_log_has_a_secret() {
    let backend = Backend::hello();
    let file = secret("hunter2");
    let keys = format!("credentials: {{query: api_key, from_file: \"{}\"}}", file.path().display());
    let process: Process = Setup { decisions: true, ..setup(&backend, &keys, "") }.spawn();
    assert_eq!(process.ask(get("/things/1", &token("olga"))).status, 200);
    assert!(!process.decision_line().contains("hunter2"));
    backend.hang_up();
    assert!(!process.log().contains("hunter2"));
}

#[test]
fn what_decides_on_a_route_cannot_be_a_credential_as_well() {
    let backend = Backend::hello();
    let file = secret("x");
    for (kind, said) in [("header: X-Place", "x-place"), ("query: place", "place"), ("header: Host", "host")] {
        let keys = format!("credentials: {{{kind}, from_file: \"{}\"}}", file.path().display());
        let Err(fault) = setup(&backend, &keys, "").try_start() else { panic!("started with {kind}") };
        let fault = fault.to_string();
        assert!(fault.contains("error[credentials_clash]") && fault.contains(said), "{fault}");
    }
    let mut setup =
        setup(&backend, &format!("credentials: {{header: X-Api-Key, from_file: \"{}\"}}", file.path().display()), "");
    setup.routes = setup.routes.replacen("public: true", "public: true, trailers: [x-api-key]", 1);
    let Err(fault) = setup.try_start() else { panic!("started with the name in trailers") };
    assert!(fault.to_string().contains("error[credentials_clash]"), "{fault}");
}
