//! Routes that read fields of a form: what is judged is what is sent, and nothing is read for those who may not come in.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::backend::{Backend, SOON};
use crate::gateway::{Gateway, Pass, Setup, token};
use crate::wire::{Answer, Repeated, block_on, h2_request, http2, request};

const ROUTES: &str = "version: 1
upstreams:
  app: {servers: [\"SERVER\"]}
applications:
  - name: app
    hosts: [app.test]
    domain: app
    upstream: app
    backend: DIALECT
    gate: {tenants: [home], audiences: [\"api://app\"], app_roles: [Access]}
    routes:
      - {id: health, match: {methods: [GET, POST], path: /health}, public: true}
      - {id: file, match: {methods: [GET, POST], path: /file}, scopes: {main: {from: [query.place, form.place], kind: place}}, require: [places]}
      - {id: file-only, match: {methods: [GET, POST], path: /file-only}, scopes: {main: {from: form.place, kind: place, missing: {node: \"place:north\"}}}, require: [places]}
      - {id: kind, match: {methods: [POST], path: /kind}, scopes: {main: {from: query.place, kind: place}}, require: [places, {in: [form.kind, [a, b]], reason: wrong_kind}]}
      - {id: find, match: {methods: [GET, POST], path: /find}, scopes: {main: {from: query.place, kind: place}}, require: [places]}
      - {id: thing, match: {methods: [GET, POST], path: \"/things/{thing...}\"}, require: [\"things:by_method\"]}
";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn before(backend: &Backend, dialect: &str) -> Setup {
    let routes = ROUTES.replace("SERVER", &backend.url()).replace("DIALECT", dialect);
    Setup { routes, ..Setup::before(backend) }
}

fn post(target: &str, lines: &str, body: &str) -> String {
    request("POST", target, &token("olga"), lines, body)
}

fn ask(gateway: &Gateway, target: &str, lines: &str, body: &str) -> (u16, String) {
    gateway.ask(post(target, lines, body)).verdict()
}

#[test]
fn all_that_name_the_place_must_say_the_same() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    for (target, body, expected) in [
        ("/file", "place=north", (200, "")),
        ("/file", "place=north&place=west&note=a+b%0D%0Ac", (200, "")),
        ("/file?place=north", "place=north", (200, "")),
        ("/file?place=north", "note=1", (200, "")),
        ("/file?place=north", "", (200, "")),
        ("/file?place=north", "place=west", (403, "scope_conflict")),
        ("/file?place=north", "place=south", (403, "scope_conflict")),
        ("/file?place=north", "place=north&place=south", (403, "scope_conflict")),
        ("/file", "place=south", (403, "right_denied")),
        ("/file", "place=north&place=south", (403, "right_denied")),
        ("/file", "place=north,south", (403, "right_denied")),
        ("/file", "place=nowhere", (403, "scope_unknown")),
        ("/file", "place=", (403, "scope_unknown")),
        ("/file", "place", (403, "scope_unknown")),
        ("/file", "note=1", (403, "scope_missing")),
        ("/file-only", "place=south", (403, "right_denied")),
        ("/file-only", "note=1", (200, "")),
        ("/kind?place=north", "kind=a", (200, "")),
        ("/kind?place=north", "kind=c", (403, "wrong_kind")),
        ("/kind?place=north", "kind=a&kind=b", (403, "wrong_kind")),
        ("/kind?place=north", "", (403, "wrong_kind")),
    ] {
        let seen = backend.seen().len();
        assert_eq!(ask(&gateway, target, FORM, body), (expected.0, expected.1.to_owned()), "{target} {body}");
        if expected.0 == 200 {
            let sent = backend.wait_for(seen + 1).pop().unwrap();
            assert_eq!((sent.target(), sent.body.as_slice()), (target, body.as_bytes()));
        } else {
            assert_eq!(backend.heads(), seen, "{target} {body}");
        }
    }
}

#[test]
fn a_cookie_that_the_backend_may_take_for_a_parameter_that_decides_is_refused() {
    let refused = (400, "bad_header".to_owned());
    let passed = (200, String::new());
    for (dialect, expected) in [("php", &refused), ("iis", &refused), ("tomcat", &passed), ("strict", &passed)] {
        let backend = Backend::hello();
        let gateway = before(&backend, dialect).start();
        let ask = |target: &str, cookie: &str| {
            let cookie = format!("Cookie: {cookie}\r\n");
            gateway.ask(request("GET", target, &token("olga"), &cookie, "")).verdict()
        };
        for cookie in
            ["place=south", "a=b; Place=south", "%70lace=south", "place[]=south", "a=b\r\nCookie: place=south"]
        {
            assert_eq!(&ask("/find?place=north", cookie), expected, "{dialect} {cookie}");
        }
        // Where the query says nothing, too, and where the rules read a form.
        assert_eq!(&ask("/file-only", "place=south"), expected, "{dialect}");
        assert_eq!(ask("/find?place=north", "places=south; a=place"), passed, "{dialect}");
        assert_eq!(ask("/things/1", "place=south"), passed, "{dialect}");
    }
}

#[test]
fn the_form_that_was_judged_is_sent_byte_for_byte_however_it_came() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    let form = "a=%7e&&place=north&b=+%20x&c=%C3%A9&";
    let length = format!("{FORM}Content-Length: {}\r\n", form.len());
    let chunks: String = form
        .as_bytes()
        .chunks(5)
        .map(|piece| format!("{:x};ext=1\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()))
        .collect();
    let chunks = format!("{chunks}0\r\nX-Trailer: y\r\n\r\n");
    for (lines, body) in [(length.as_str(), form), (&format!("{FORM}Transfer-Encoding: chunked\r\n"), &chunks)] {
        for step in [usize::MAX, 7] {
            let mut client = gateway.connect();
            client.send(post("/file", lines, ""));
            for piece in body.as_bytes().chunks(step.min(body.len())) {
                client.send(piece);
                std::thread::sleep(Duration::from_millis(if step == 7 { 3 } else { 0 }));
            }
            assert_eq!(client.answer().status, 200, "{lines} {step}");
            // The connection is in step.
            assert_eq!(client.ask(post("/file", FORM, "place=south")).verdict(), (403, "right_denied".into()));
        }
    }
    for seen in backend.wait_for(4) {
        assert_eq!((seen.body.as_slice(), seen.whole), (form.as_bytes(), true));
        assert_eq!(seen.header("content-length"), Some(form.len().to_string().as_str()));
        assert_eq!((seen.header("transfer-encoding"), seen.header("trailer")), (None, None));
        assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
}

#[test]
fn a_form_goes_through_http2_too() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    let form = Bytes::from(format!("place=north&x={}&", "y".repeat(985)));
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for (body, status) in [
            (Repeated::new(&form, 1000), 200),
            (Repeated::new(&form, 48_000), 200),
            (Repeated::new(&form, 80_000), 413),
            (Repeated::new(&Bytes::from_static(b"place=south"), 11), 403),
            (Repeated::new(&Bytes::from_static(b"Place=north"), 11), 400),
        ] {
            let mut request = h2_request("POST", "/file", &token("olga"), body);
            request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status);
            let _ = answer.into_body().collect().await;
        }
    });
    let seen = backend.wait_for(2);
    assert_eq!(seen.iter().map(|seen| seen.length).collect::<Vec<_>>(), [1000, 48_000]);
    assert!(seen.iter().all(|seen| seen.whole && seen.body.starts_with(&form)));
}

#[test]
fn only_a_form_that_every_reader_reads_alike_is_judged() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    let form = "place=north";
    for (lines, body, expected) in [
        ("Content-Type: multipart/form-data; boundary=x\r\n", "--x--", (415, "form_type")),
        ("Content-Type: application/json\r\n", "{\"place\":\"north\"}", (415, "form_type")),
        ("Content-Type: text/plain\r\n", form, (415, "form_type")),
        ("", form, (415, "form_type")),
        ("Content-Type: application/x-www-form-urlencoded; charset=utf-16\r\n", form, (415, "form_type")),
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n", form, (415, "form_type")),
        (&format!("{FORM}{FORM}"), form, (400, "bad_form")),
        (FORM, "Place=north", (400, "bad_form")),
        (FORM, "place[]=north", (400, "bad_form")),
        (FORM, "pl%61ce=north", (400, "bad_form")),
        (FORM, "place=north;x=1", (400, "bad_form")),
        (FORM, "place=north&x=%00", (400, "bad_form")),
        (FORM, "place=north&x=%ff", (400, "bad_form")),
        (FORM, "place=north\n", (400, "bad_form")),
        (FORM, "place=north&_method=DELETE", (400, "bad_form")),
        (FORM, "place=north&access_token=x", (400, "malformed_credentials")),
        (FORM, &"place=north&".repeat(1001), (400, "bad_form")),
    ] {
        assert_eq!(ask(&gateway, "/file", lines, body), (expected.0, expected.1.to_owned()), "{lines} {body}");
    }
    let plain = "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n";
    assert_eq!(ask(&gateway, "/file", plain, form), (200, String::new()));
    // Elsewhere the body is the backend's own matter.
    assert_eq!(ask(&gateway, "/things/1", "Content-Type: application/json\r\n", "{}"), (200, String::new()));
    assert_eq!(ask(&gateway, "/find?place=north", FORM, "place=south"), (200, String::new()));
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn a_query_names_no_other_method() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    for target in ["/things/1?_method=DELETE", "/health?a=b&_method=PUT", "/things/1?x-http-method-override=PUT"] {
        assert_eq!(ask(&gateway, target, "", "x"), (400, "bad_target".into()), "{target}");
    }
    assert_eq!(ask(&gateway, "/things/1?method=card", "", "x"), (200, String::new()));
}

#[test]
fn a_form_has_its_bounds_in_length_and_time() {
    let backend = Backend::hello();
    let limits = "form_bytes: 1000".to_owned();
    let gateway = Setup { limits, ..before(&backend, "strict").timeouts("client_body: 400ms") }.start();
    // What says that it is too long is not waited for.
    let began = Instant::now();
    let declared = gateway.ask(post("/file", &format!("{FORM}Content-Length: 1001\r\n"), ""));
    assert_eq!(declared.verdict(), (413, "form_too_large".into()));
    assert!(began.elapsed() < Duration::from_millis(400));
    let body = format!("place=north&x={}", "y".repeat(986));
    assert_eq!(ask(&gateway, "/file", FORM, &body), (200, String::new()));
    assert_eq!(ask(&gateway, "/file", FORM, &format!("{body}y")), (413, "form_too_large".into()));
    // What does not say so is stopped.
    let mut client = gateway.connect();
    client.send(post("/file", &format!("{FORM}Transfer-Encoding: chunked\r\n"), ""));
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    for _ in 0..11 {
        client.send(&chunk);
    }
    let answer = client.answer();
    assert_eq!(answer.verdict(), (413, "form_too_large".into()));
    assert_eq!(answer.header("connection"), Some("close"));
    // One that comes piece by piece may not take longer as a whole.
    let mut client = gateway.connect();
    client.send(post("/file", &format!("{FORM}Content-Length: 100\r\n"), ""));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) && client.try_send("x").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        if began.elapsed() > Duration::from_millis(600) {
            break;
        }
    }
    assert_eq!(client.answer().verdict(), (408, "body_timeout".into()));
    // One that never comes to its end is none.
    let mut client = gateway.connect();
    client.send(post("/file", &format!("{FORM}Content-Length: 100\r\n"), "")).send("place=north");
    client.finish();
    assert!(client.answer_if_any().is_none_or(|answer| answer.status == 400));
    assert_eq!(backend.wait_for(1).len(), 1);
}

#[test]
fn nothing_is_read_for_those_who_may_not_come_in() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    let lines = format!("{FORM}Content-Length: 60000\r\nExpect: 100-continue\r\n");
    let away = Pass { roles: &[], ..Pass::default() }.token();
    for (who, expected) in [
        (String::new(), (401, "no_token")),
        ("x.y.z".into(), (401, "invalid_token")),
        (away, (403, "gate_app_role")),
        (token("nobody"), (403, "principal_unknown")),
        (token("ina"), (403, "principal_inactive")),
    ] {
        let mut client = gateway.connect();
        client.send(request("POST", "/file", &who, &lines, ""));
        let began = Instant::now();
        // The first head that comes is the answer: nobody was told to go on.
        assert_eq!(client.interim(), expected.0, "{expected:?}");
        assert!(began.elapsed() < SOON / 4);
        assert_eq!(gateway.ask(request("POST", "/file", &who, &lines, "")).verdict(), (expected.0, expected.1.into()));
    }
    // Nor for a body that could not be judged.
    for (target, lines, status) in [
        ("/file?Place=north", lines.clone(), 400),
        ("/file", lines.replace("x-www-form-urlencoded", "json"), 415),
        ("/file", lines.replace("60000", "70000"), 413),
    ] {
        let mut client = gateway.connect();
        client.send(post(target, &lines, ""));
        assert_eq!(client.interim(), status, "{target} {lines}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_client_is_told_to_go_on_when_its_form_is_needed() {
    let backend = Backend::hello();
    let gateway = before(&backend, "strict").start();
    for (body, status) in [("place=north", 200), ("place=south", 403)] {
        let mut client = gateway.connect();
        client.send(post("/file", &format!("{FORM}Content-Length: 11\r\nExpect: 100-continue\r\n"), ""));
        assert_eq!(client.interim(), 100);
        assert_eq!(client.ask(body).status, status);
    }
    let seen = backend.only();
    assert_eq!((seen.body.as_slice(), seen.header("expect")), (&b"place=north"[..], None));
}

#[test]
fn where_fields_take_the_place_of_the_query_a_body_that_may_have_some_is_refused() {
    let backend = Backend::hello();
    for dialect in ["php", "iis", "tomcat"] {
        let gateway = before(&backend, dialect).start();
        let refused = (415, "form_overrides_query".to_owned());
        for lines in [
            FORM,
            "Content-Type: application/x-www-form-urlencoded;charset=utf-7\r\n",
            "Content-Type: multipart/form-data; boundary=x\r\n",
            "Content-Type: application/json\r\n",
            "Content-Type: text/plain, application/x-www-form-urlencoded\r\n",
            "Content-Type: text/plain\r\nContent-Type: text/plain\r\n",
            "Content-Type: x\r\n",
            "",
        ] {
            assert_eq!(ask(&gateway, "/find?place=north", lines, "place=south"), refused, "{dialect} {lines}");
            let get = request("GET", "/find?place=north", &token("olga"), lines, "place=south");
            assert_eq!(gateway.ask(get).verdict(), refused, "{dialect} {lines}");
        }
        let seen = backend.seen().len();
        for (target, lines, body) in [
            ("/find?place=north", "Content-Type: text/csv\r\n", "place=south"),
            ("/find?place=north", FORM, ""),
            ("/things/1", FORM, "place=south"),
            ("/file?place=north", FORM, "place=north"),
            ("/file", FORM, "place=north"),
            ("/file-only", FORM, "place=north"),
            ("/kind?place=north", FORM, "kind=a"),
        ] {
            assert_eq!(ask(&gateway, target, lines, body), (200, String::new()), "{dialect} {target} {body}");
        }
        assert_eq!(backend.wait_for(seen + 7).len(), seen + 7);
        for (target, body, expected) in [
            ("/file?place=north", "place=south", (403, "scope_conflict")),
            // A field where the rules read the query only, and the other way round.
            ("/kind?place=north", "kind=a&place=south", (400, "bad_form")),
            ("/kind?place=north&kind=b", "kind=a", (400, "bad_target")),
            ("/file-only?place=south", "", (400, "bad_target")),
            ("/file-only?Place[]=south", "x=1", (400, "bad_target")),
        ] {
            assert_eq!(ask(&gateway, target, FORM, body), (expected.0, expected.1.to_owned()), "{dialect} {target}");
        }
    }
}

#[test]
fn a_form_is_counted_and_never_logged() {
    let backend = Backend::hello();
    let gateway = Setup { decisions: true, ..before(&backend, "strict") }.spawn();
    for (body, decision) in [("place=north&secret=42", "allow"), ("place=south&secret=42", "deny")] {
        let answer: Answer = gateway.ask(post("/file", FORM, body));
        assert!(!answer.text().contains("secret"));
        let line = gateway.decision_line();
        assert!(line.contains(&format!("\"decision\":\"{decision}\"")), "{line}");
        assert!(line.contains("\"bytes_in\":21") && !line.contains("secret"), "{line}");
    }
    assert!(!gateway.log().contains("secret"));
}

#[test]
fn who_is_revoked_while_the_form_is_read_is_not_waited_for() {
    let backend = Backend::hello();
    let revoked = "version: 1\nrevoked: []\n".to_owned();
    let files = vec![("revoked.yaml", revoked)];
    let more = "revoked: {files: [revoked.yaml]}\n".to_owned();
    let gateway = Setup { files, more, ..before(&backend, "strict") }.start();
    let mut client = gateway.connect();
    client.send(post("/file", &format!("{FORM}Content-Length: 100\r\n"), "")).send("place=north");
    let olga = "{principal: {tenant: home, oid: 00000000-0000-0000-0000-000000000001}}";
    gateway.replace("revoked.yaml", &format!("version: 1\nrevoked: [{olga}]\n"));
    let began = Instant::now();
    assert_eq!(client.answer().verdict(), (401, "invalid_token".into()));
    assert!(began.elapsed() < Duration::from_secs(15), "the form has thirty seconds");
    assert_eq!(backend.connections(), 0);
}
