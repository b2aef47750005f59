//! Target forms and hosts, one by one, as they come over a socket; and that what was judged is what the backend gets.

use crate::backend::Backend;
use crate::gateway::{Gateway, Setup, token};
use crate::wire::{Client, Repeated, block_on, h2_request, http2};

/// A request line and header lines of olga's.
fn ask(client: &mut Client, line: &str, lines: &str) -> (u16, String) {
    let token = token("olga");
    let answer = client.ask(format!("{line} HTTP/1.1\r\n{lines}Authorization: Bearer {token}\r\n\r\n"));
    if answer.header("x-portcullis") == Some("refused") { answer.verdict() } else { (answer.status, String::new()) }
}

fn over_tls(gateway: &Gateway) -> Client {
    Client::tls(gateway.tls, &gateway.trust()).unwrap().0
}

const HOST: &str = "Host: app.test\r\n";
const TARGET: &str = "bad_target";
const HEADER: &str = "bad_header";

#[test]
fn an_absolute_target_names_the_host_and_goes_on_without_it() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (target, lines, sent) in [
        ("http://app.test/things/1?x", HOST, "/things/1?x"),
        ("HTTP://APP.test/things/1", HOST, "/things/1"),
        ("http://app.test:80/things/1", HOST, "/things/1"),
        ("http://app.test./things/1", HOST, "/things/1"),
        // HTTP/1.1 clients must send Host, but the target alone says enough
        ("http://app.test/things/2", "", "/things/2"),
    ] {
        let verdict = ask(&mut gateway.connect(), &format!("GET {target}"), lines);
        assert_eq!(verdict, (200, String::new()), "{target}");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.line(), format!("GET {sent} HTTP/1.1"), "{target}");
        assert_eq!(seen.header("host").unwrap().trim_end_matches(":80"), "app.test", "{target}");
    }
    let before = backend.heads();
    for (target, lines, status, reason) in [
        ("http://other.test/things/1", HOST, 400, HEADER),
        ("http://app.test/things/1", "Host: other.test\r\n", 400, HEADER),
        ("http://app.test:81/things/1", HOST, 400, HEADER),
        // two ports that are each some scheme's own are still two
        ("http://app.test:443/things/1", "Host: app.test:80\r\n", 400, HEADER),
        ("http://other.test/things/1", "", 421, "no_application"),
        ("http://user@app.test/things/1", HOST, 400, HEADER),
        ("http://user:pass@app.test/things/1", HOST, 400, HEADER),
        ("http://app.test:0/things/1", HOST, 400, HEADER),
        ("http://app.test:65536/things/1", HOST, 400, HEADER),
        ("https://app.test/things/1", HOST, 400, TARGET),
        ("ftp://app.test/things/1", HOST, 400, TARGET),
        ("ws://app.test/things/1", HOST, 400, TARGET),
        ("http://app.test", HOST, 404, "no_route"),
        ("http://app.test?x=/things/1", HOST, 404, "no_route"),
        ("http://app.test/things/../secrets/1", HOST, 400, TARGET),
    ] {
        assert_eq!(
            ask(&mut gateway.connect(), &format!("GET {target}"), lines),
            (status, reason.into()),
            "{target} {lines}"
        );
    }
    assert_eq!(backend.heads(), before);
}

#[test]
fn the_scheme_of_a_target_is_that_of_the_connection() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let refused = (400, TARGET.to_owned());
    let passed = (200, String::new());
    assert_eq!(ask(&mut over_tls(&gateway), "GET https://app.test/things/1", HOST), passed);
    assert_eq!(ask(&mut over_tls(&gateway), "GET http://app.test/things/1", HOST), refused);
    assert_eq!(ask(&mut gateway.connect(), "GET http://app.test/things/1", HOST), passed);
    assert_eq!(ask(&mut gateway.connect(), "GET https://app.test/things/1", HOST), refused);
    block_on(async {
        let mut client = http2(gateway.tls, &gateway.certificate()).await;
        for (scheme, status) in [("https", 200), ("http", 400)] {
            let mut request = h2_request("GET", "/things/1", &token("olga"), Repeated::none());
            *request.uri_mut() = format!("{scheme}://app.test/things/1").parse().unwrap();
            assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), status, "{scheme}");
        }
    });
    // A proxy that is trusted may have ended the encryption, and then tells of it.
    let behind = Setup { more: "trusted_proxies: [127.0.0.0/8]\n".into(), ..Setup::before(&backend) }.start();
    assert_eq!(ask(&mut behind.connect(), "GET https://app.test/things/1", HOST), passed);
}

#[test]
fn other_forms_of_a_target_are_refused() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for line in ["OPTIONS *", "GET *", "GET app.test:80", "GET app.test", "POST app.test:443"] {
        assert_eq!(ask(&mut gateway.connect(), line, HOST), (400, TARGET.into()), "{line}");
    }
    // Some are no targets at all to hyper, which says so itself and closes.
    for target in ["things/1", "@app.test/things/1", "?x", "http:///things/1", "http:/things/1", "//", "/things/\u{1}"]
    {
        let mut client = gateway.connect();
        let answer = client.send(format!("GET {target} HTTP/1.1\r\n{HOST}\r\n")).answer();
        assert_eq!(answer.status, 400, "{target}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn the_backend_is_sent_the_host_that_was_judged() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.routes = setup.routes.replace("[app.test]", "[app.test, \"*.apps.test\", \"[::1]\"]");
    let gateway = setup.start();
    for (written, sent) in [
        ("app.test", "app.test"),
        ("APP.Test", "app.test"),
        ("app.test.", "app.test"),
        ("app.test:80", "app.test:80"),
        ("app.test.:8443", "app.test:8443"),
        ("app.test:0443", "app.test:443"),
        ("One.APPS.test", "one.apps.test"),
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]:8443", "[::1]:8443"),
        ("  app.test\t", "app.test"),
    ] {
        let verdict = ask(&mut gateway.connect(), "GET /things/1", &format!("Host:{written}\r\n"));
        assert_eq!(verdict, (200, String::new()), "{written}");
        assert_eq!(backend.seen().pop().unwrap().all("host"), [sent], "{written}");
    }
    let before = backend.heads();
    for (lines, status) in [
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: app.test\r\nHost: app.test\r\n", 400),
        ("Host: app.test\r\nhost: other.test\r\n", 400),
        ("Host: app.test..\r\n", 400),
        ("Host: .app.test\r\n", 400),
        ("Host: user@app.test\r\n", 400),
        ("Host: app.test@other.test\r\n", 400),
        ("Host: app.test:\r\n", 400),
        ("Host: app.test:0\r\n", 400),
        ("Host: app.test:+80\r\n", 400),
        ("Host: app.test:80:80\r\n", 400),
        ("Host: app.test:65536\r\n", 400),
        ("Host: app.test/things\r\n", 400),
        ("Host: app.test?x\r\n", 400),
        ("Host: app.test#x\r\n", 400),
        ("Host: app.test\\x\r\n", 400),
        ("Host: app.test, app.test\r\n", 400),
        ("Host: app.test app.test\r\n", 400),
        ("Host: app%2etest\r\n", 400),
        ("Host: http://app.test\r\n", 400),
        ("Host: [::1\r\n", 400),
        ("Host: [::1%25eth0]\r\n", 400),
        ("Host: ::1\r\n", 400),
        ("Host: other.test\r\n", 421),
        ("Host: apps.test\r\n", 421),
        ("Host: [::2]\r\n", 421),
    ] {
        assert_eq!(ask(&mut gateway.connect(), "GET /things/1", lines).0, status, "{lines}");
    }
    assert_eq!(backend.heads(), before);
}

#[test]
fn a_method_is_another_one_in_another_case_and_head_is_get() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    for (line, verdict) in [
        ("GET /secrets/1", (403, "right_missing")),
        ("get /things/1", (405, "no_route")),
        ("Get /things/1", (405, "no_route")),
        ("get /health", (405, "no_route")),
        ("BREW /things/1", (405, "no_route")),
        ("PROPFIND /things/1", (405, "no_route")),
        ("trace /things/1", (405, "no_route")),
        ("connect /things/1", (405, "no_route")),
        ("TRACE /things/1", (405, "method_forbidden")),
        ("CONNECT app.test:443", (405, "method_forbidden")),
    ] {
        assert_eq!(ask(&mut gateway.connect(), line, HOST), (verdict.0, verdict.1.into()), "{line}");
    }
    assert_eq!(backend.connections(), 0);
    for (target, status) in [("/secrets/1", 403), ("/things/1", 200), ("/no/such/path", 404)] {
        let mut client = gateway.connect();
        client.send(format!("HEAD {target} HTTP/1.1\r\n{HOST}Authorization: Bearer {}\r\n\r\n", token("olga")));
        assert_eq!(client.answer_to_head().status, status, "{target}");
    }
    assert_eq!(backend.only().line(), "HEAD /things/1 HTTP/1.1");
}

#[test]
fn an_admitted_form_goes_on_byte_for_byte_and_a_denied_reading_does_not() {
    let backend = Backend::hello();
    for (declared, passes, refused) in [
        ("tomcat", "/things/a;v=%20b/c;w?x=;y", "/secrets;v/1"),
        ("{encoded_slash: true}", "/things/a%2Fb%2fc", "/things%2F..%2Fsecrets"),
        ("iis", "/THINGS/a/B.aspx/C", "/SECRETS/1"),
        ("php", "/things/a/x.PHP/c", "/secrets/1.php/a"),
    ] {
        let mut setup = Setup::before(&backend);
        setup.routes =
            setup.routes.replace("    domain: app\n", &format!("    domain: app\n    backend: {declared}\n"));
        let gateway = setup.start();
        assert_eq!(ask(&mut gateway.connect(), &format!("GET {passes}"), HOST), (200, String::new()), "{passes}");
        assert_eq!(backend.seen().pop().unwrap().target(), passes);
        let before = backend.heads();
        assert!(ask(&mut gateway.connect(), &format!("GET {refused}"), HOST).0 >= 400, "{refused}");
        let strict = Setup::before(&backend).start();
        let (status, _) = ask(&mut strict.connect(), &format!("GET {passes}"), HOST);
        assert!(matches!(status, 400 | 404), "{passes}: {status}");
        assert_eq!(backend.heads(), before, "{declared}");
    }
}
