//! What a listener asks of connections before HTTP begins, and what it does to all answers: the PROXY protocol, names in the
//! handshake against hosts in requests, redirects to HTTPS, HSTS.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustls::ALL_VERSIONS;

use crate::authority::{Authority, client};
use crate::backend::{Backend, Then, reply, until};
use crate::gateway::{Gateway, Setup, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2, request, trusting};

const PROXY: &str = "{address: \"127.0.0.1:0\", proxy_protocol: true}";
const TRUSTED: &str = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n";

/// A header of version 2 of the PROXY protocol.
fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, payload].concat()
}

fn behind(backend: &Backend, trusted: &str) -> Setup {
    let mut setup = Setup::before(backend);
    setup.listeners = vec![PROXY];
    setup.more = trusted.to_owned();
    setup
}

#[test]
fn the_address_in_the_proxy_header_is_the_client_s() {
    let backend = Backend::hello();
    let gateway = behind(&backend, TRUSTED).start();
    let spoofing = "X-Forwarded-For: 198.51.100.1\r\n";
    let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 0xbb];
    for (header, forwarded, why) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(), "192.0.2.7", "what the client adds is dropped"),
        (version_2(0x21, 0x11, &four), "192.0.2.7", "what the client adds is dropped"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 443\r\n".to_vec(), "2001:db8::7", "IPv6"),
        (b"PROXY TCP4 10.9.9.9 10.0.0.1 1 2\r\n".to_vec(), "198.51.100.1, 10.9.9.9", "a trusted proxy behind another"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", "nobody is believed"),
        (version_2(0x20, 0x00, &[]), "127.0.0.1", "nobody is believed"),
    ] {
        let mut client = Client::plain(gateway.more[0]);
        let asked = request("GET", "/things/1", &token("olga"), spoofing, "");
        // In one piece, so that what follows the header must not be lost.
        let answer = client.send([&header[..], asked.as_bytes()].concat()).answer();
        assert_eq!(answer.status, 200, "{why}");
        assert_eq!(backend.seen().pop().unwrap().header("x-forwarded-for"), Some(forwarded), "{why}");
        assert_eq!(backend.seen().pop().unwrap().header("x-forwarded-proto"), Some("http"));
    }
    // Byte by byte it is the same header, and only the first bytes of a connection are one.
    let mut client = Client::plain(gateway.more[0]);
    for byte in b"PROXY TCP4 192.0.2.8 10.0.0.1 12345 443\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    assert_eq!(backend.seen().pop().unwrap().header("x-forwarded-for"), Some("192.0.2.8"));
    client.send("PROXY TCP4 192.0.2.9 10.0.0.1 12345 443\r\n").send(get("/things/1", &token("olga")));
    assert!(client.answer_if_any().is_none_or(|answer| answer.status == 400));
}

#[test]
fn the_log_has_the_address_of_the_proxy_header() {
    let backend = Backend::hello();
    let mut setup = behind(&backend, TRUSTED);
    setup.decisions = true;
    let process = setup.spawn();
    let asked = format!("PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n{}", get("/things/1", &token("olga")));
    assert_eq!(Client::plain(process.more[0]).ask(asked).status, 200);
    assert_eq!(process.decision()["client"], "192.0.2.7");
}

#[test]
fn the_proxy_header_comes_before_tls_and_says_nothing_of_it() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.tls_listener = "proxy_protocol: true".to_owned();
    setup.more = TRUSTED.to_owned();
    let gateway = setup.start();
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n";
    let (mut client, _) = Client::tls_as("app.test", gateway.tls, &gateway.trust(), header).unwrap();
    assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
    let seen = backend.seen().pop().unwrap();
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-forwarded-proto")), (Some("192.0.2.7"), Some("https")));
    assert!(Client::tls(gateway.tls, &gateway.trust()).is_err(), "a handshake is no header");
}

#[test]
fn a_connection_without_a_due_proxy_header_is_closed_without_a_word_and_counted() {
    let backend = Backend::hello();
    let good = "PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
    let gateway = behind(&backend, TRUSTED).start();
    let stranger = behind(&backend, "trusted_proxies: [192.0.2.0/24]\n").start();
    let datagram = version_2(0x22, 0x11, &[0; 12]);
    for (number, (gateway, begins)) in [
        (&gateway, b"".as_slice()),
        (&gateway, b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\n"),
        (&gateway, b" PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n"),
        (&gateway, b"PROXY TCP4 192.0.2.7\r\n"),
        (&gateway, &datagram),
        (&stranger, good.as_bytes()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::plain(gateway.more[0]);
        let asked = get("/things/1", &token("olga"));
        let _closed_by_now = client.try_send([begins, asked.as_bytes()].concat());
        assert!(client.rest().is_empty(), "{number}");
    }
    assert_eq!(gateway.metric("portcullis_proxy_headers_rejected_total"), 5);
    assert_eq!(stranger.metric("portcullis_proxy_headers_rejected_total"), 1);
    assert_eq!(backend.connections(), 0);
    // Where no header is asked for, one is no HTTP.
    let mut client = Client::plain(gateway.plain);
    client.send([good.as_bytes(), get("/things/1", &token("olga")).as_bytes()].concat());
    assert!(client.answer_if_any().is_none_or(|answer| answer.status == 400));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_proxy_header_that_does_not_come_to_its_end_is_waited_for_as_long_as_a_handshake() {
    let backend = Backend::hello();
    let mut setup = behind(&backend, TRUSTED).timeouts("handshake: 300ms");
    setup.more = TRUSTED.to_owned();
    let gateway = setup.start();
    let began = Instant::now();
    let mut client = Client::plain(gateway.more[0]);
    assert!(client.send("PROXY TCP4").is_ended());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
    until(|| gateway.metric("portcullis_proxy_headers_rejected_total") == 1, "it is counted");
}

/// A gateway before two applications, of which the second has a name with a port as well.
fn two(backend: &Backend) -> Setup {
    let mut setup = Setup::before(backend);
    let (head, application) = setup.routes.split_once("  - name: app\n").unwrap();
    let other = application.replace("hosts: [app.test]", "hosts: [other.test, \"*.wild.test\", \"odd.test:8443\"]");
    let application = application.replace("hosts: [app.test]", "hosts: [app.test, www.app.test]");
    setup.routes = format!("{head}  - name: app\n{application}  - name: other\n{other}");
    setup
}

#[test]
fn a_connection_made_for_one_application_carries_no_request_for_another() {
    let backend = Backend::hello();
    let mut setup = two(&backend);
    let names = ["app.test", "www.app.test", "other.test", "a.wild.test", "odd.test", "localhost", "nobody.test"];
    let made = rcgen::generate_simple_self_signed(
        [&names[..], &["127.0.0.1"]].concat().iter().map(ToString::to_string).collect::<Vec<_>>(),
    )
    .unwrap();
    setup.files = vec![("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())];
    let gateway = setup.start();
    let misdirected = (421, "misdirected_request".to_owned());
    let served = (200, String::new());
    for (name, host, verdict) in [
        ("app.test", "app.test", &served),
        ("app.test", "App.Test.:8443", &served),
        ("app.test", "www.app.test", &served),
        ("other.test", "b.wild.test", &served),
        ("app.test", "other.test", &misdirected),
        ("app.test", "OTHER.test.", &misdirected),
        ("app.test", "a.wild.test", &misdirected),
        ("a.wild.test", "app.test", &misdirected),
        ("www.app.test", "odd.test:8443", &misdirected),
        ("odd.test", "app.test", &misdirected),
        ("odd.test", "app.test:8443", &misdirected),
        ("odd.test", "other.test", &served),
        // Names that no application has, and none at all.
        ("localhost", "app.test", &served),
        ("nobody.test", "other.test", &served),
        ("127.0.0.1", "other.test", &served),
    ] {
        let (mut client, _) = Client::tls_as(name, gateway.tls, &gateway.trust(), b"").unwrap();
        let asked = get("/things/1", &token("olga")).replace("Host: app.test", &format!("Host: {host}"));
        assert_eq!(client.ask(&asked).verdict(), *verdict, "{name} for {host}");
        // The target counts where it names a host.
        let absolute = asked.replace("GET /things/1", &format!("GET https://{host}/things/1"));
        assert_eq!(client.ask(absolute).verdict(), *verdict, "{name} for {host}");
    }
    let seen = backend.seen().len();
    // HTTP/2, where clients share connections among hosts by design (RFC 9113 section 9.1.1).
    block_on(async {
        let mut sender = http2::<Repeated>(gateway.tls, &gateway.certificate()).await;
        for (host, status) in [("app.test", 200), ("other.test", 421), ("www.app.test", 200)] {
            let mut asked = h2_request("GET", "/things/1", &token("olga"), Repeated::none());
            *asked.uri_mut() = format!("https://{host}/things/1").parse().unwrap();
            sender.ready().await.unwrap();
            assert_eq!(sender.send_request(asked).await.unwrap().status(), status, "{host}");
        }
    });
    assert_eq!(backend.seen().len(), seen + 2);
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200, "without TLS there is no name");
}

#[test]
fn a_certificate_opens_no_application_by_the_name_of_another() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let mut setup = two(&backend);
    setup.tls = "client_ca: clients.pem".to_owned();
    setup.files = vec![("clients.pem", authority.pem())];
    let gateway = setup.start();
    let config = client(&gateway.certificate(), Some(&authority.client("billing", 1)), ALL_VERSIONS);
    // Also where the session is resumed, which keeps its name.
    for resumed in [false, true] {
        let (mut client, facts) = Client::tls(gateway.tls, &config).unwrap();
        assert_eq!(facts.resumed, resumed);
        let asked = get("/things/1", &token("olga"));
        let other = asked.replace("Host: app.test", "Host: other.test");
        assert_eq!(client.ask(other).verdict(), (421, "misdirected_request".to_owned()));
        assert_eq!(client.ask(asked).status, 200);
    }
}

fn redirecting(backend: &Backend, entry: &'static str) -> Gateway {
    let mut setup = two(backend);
    setup.listeners = vec![entry];
    setup.start()
}

#[test]
fn a_listener_that_redirects_sends_every_good_request_to_https_and_does_nothing_else() {
    let backend = Backend::hello();
    let to_443 = redirecting(&backend, "{address: \"127.0.0.1:0\", redirect_to_https: true}");
    let to_8443 = redirecting(&backend, "{address: \"127.0.0.1:0\", redirect_to_https: {port: 8443}}");
    let to = |url: &str| Ok::<_, (u16, String)>(url.to_owned());
    let refused = |status, reason: &str| Err((status, reason.to_owned()));
    for (gateway, line, host, expected) in [
        (&to_443, "GET /things/1?a=b%20c", "app.test", to("https://app.test/things/1?a=b%20c")),
        (&to_443, "GET /", "app.test:8080", to("https://app.test/")),
        (&to_443, "POST /no/such/route", "APP.test.", to("https://app.test/no/such/route")),
        (&to_443, "HEAD /a", "x.wild.test", to("https://x.wild.test/a")),
        (&to_443, "GET http://app.test/a", "app.test", to("https://app.test/a")),
        (&to_443, "GET http://app.test", "app.test", to("https://app.test/")),
        (
            &to_443,
            "GET /.well-known/oauth-protected-resource",
            "app.test",
            to("https://app.test/.well-known/oauth-protected-resource"),
        ),
        (&to_8443, "GET /a", "app.test", to("https://app.test:8443/a")),
        (&to_8443, "GET /a", "odd.test:8080", to("https://odd.test:8443/a")),
        (&to_443, "GET /a", "odd.test", refused(421, "no_application")),
        (&to_443, "GET /a", "evil.test", refused(421, "no_application")),
        (&to_443, "GET http://evil.test/a", "evil.test", refused(421, "no_application")),
        (&to_443, "GET http://evil.test/a", "app.test", refused(400, "bad_header")),
        (&to_443, "GET /a", "app.test@evil.test", refused(400, "bad_header")),
        (&to_443, "GET /a", "app.test/evil", refused(400, "bad_header")),
        (&to_443, "GET /a\r\nHost: evil.test", "app.test", refused(400, "bad_header")),
        (&to_443, "GET //evil.test/a", "app.test", refused(400, "bad_target")),
        (&to_443, "GET /\\evil.test", "app.test", refused(400, "bad_target")),
        (&to_443, "GET /a/../b", "app.test", refused(400, "bad_target")),
        (&to_443, "GET /a%0d%0aSet-Cookie:x", "app.test", refused(400, "bad_target")),
        (&to_443, "TRACE /a", "app.test", refused(405, "method_forbidden")),
        (&to_443, "GET /.well-known/acme-challenge/x", "app.test", refused(404, "no_route")),
    ] {
        let (line, more) =
            line.split_once("\r\n").map_or((line, String::new()), |(line, more)| (line, format!("{more}\r\n")));
        let mut client = Client::plain(gateway.more[0]);
        client
            .send(format!("{line} HTTP/1.1\r\n{more}Host: {host}\r\nAuthorization: Bearer {}\r\n\r\n", token("olga")));
        let answer = if line.starts_with("HEAD") { client.answer_to_head() } else { client.answer() };
        let found = match answer.header("location") {
            Some(url) => {
                assert_eq!((answer.status, answer.header("x-portcullis")), (308, Some("answered")));
                Ok(url.to_owned())
            }
            None => Err(answer.verdict()),
        };
        assert_eq!(found, expected, "{line} {host}");
        assert_eq!(answer.header("strict-transport-security"), None, "never without TLS");
    }
    assert_eq!(backend.connections(), 0);
    let page = to_443.admin("GET", "/metrics", "").text();
    assert!(page.contains("application=\"app\",route=\"\",decision=\"allow\",reason=\"redirect_to_https\""), "{page}");
}

#[test]
fn every_answer_of_the_listener_carries_its_hsts_once_and_only_over_tls() {
    let backend = Backend::start(|_, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n";
        std::io::Write::write_all(stream, answer).map_or(Then::Close, |()| Then::Keep)
    });
    let mut setup = Setup::before(&backend);
    setup.tls_listener = "hsts: {max_age: 365d, include_subdomains: true}".to_owned();
    let gateway = setup.start();
    for (asked, status) in [
        (get("/things/1", &token("olga")), 200),
        (get("/things/1", ""), 401),
        (get("/secrets/1", &token("olga")), 403),
        (get("/things/../1", &token("olga")), 400),
    ] {
        let (mut client, _) = Client::tls(gateway.tls, &gateway.trust()).unwrap();
        let answer = client.ask(&asked);
        let told = answer.header("strict-transport-security");
        assert_eq!((answer.status, told), (status, Some("max-age=31536000; includeSubDomains")), "{asked}");
        let plain = gateway.ask(&asked);
        // What the backend itself says is not the plain listener's to change.
        let own = (status == 200).then_some("max-age=0");
        assert_eq!((plain.status, plain.header("strict-transport-security")), (status, own), "{asked}");
    }
    let quiet = Backend::start(|_, stream| reply(stream, "200 OK", b"hello"));
    let mut setup = Setup::before(&quiet);
    setup.tls_listener = "hsts: {max_age: 0s}".to_owned();
    let gateway = setup.start();
    let (mut client, _) = Client::tls(gateway.tls, &gateway.trust()).unwrap();
    let answer = client.ask(get("/things/1", &token("olga")));
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=0"), "taken back");
}

/// The output of curl; nothing if it is not installed, which only a machine that runs all checks must have.
fn curl(gateway: &Gateway, arguments: &[&str]) -> Option<String> {
    if !["/usr/bin/curl", "/usr/local/bin/curl"].iter().any(|path| Path::new(path).exists()) {
        assert!(std::env::var_os("CI").is_none(), "curl is not installed, and CI is set");
        eprintln!("skipped: curl is not installed");
        return None;
    }
    let resolve = |host: &str, port: u16| format!("{host}:{port}:127.0.0.1");
    let made = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(gateway.file("tls.crt"))
        .args([
            "--resolve",
            &resolve("app.test", gateway.tls.port()),
            "--resolve",
            &resolve("app.test", gateway.more[0].port()),
        ])
        .args(arguments)
        .current_dir(gateway.file(""))
        .output()
        .unwrap();
    Some(format!("{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr)))
}

#[test]
fn curl_is_served_with_its_certificate_and_is_redirected_and_speaks_through_a_balancer() {
    let (backend, authority) = (Backend::hello(), Authority::new("Clients"));
    let mut setup = Setup::before(&backend);
    setup.tls = "client_ca: clients.pem".to_owned();
    setup.tls_listener = "hsts: {max_age: 1d}, proxy_protocol: true".to_owned();
    setup.listeners = vec!["{address: \"127.0.0.1:0\", redirect_to_https: true}"];
    setup.more = TRUSTED.to_owned();
    let pair = authority.client("billing", 1);
    setup.files = vec![("clients.pem", authority.pem()), ("c.crt", pair.certificate), ("c.key", pair.key)];
    setup.routes = setup
        .routes
        .replace("app_roles: [Access]", "app_roles: [Access], client_certificates: \"CN=billing,O=Example\"");
    let gateway = setup.start();
    let (bearer, url) = (
        format!("Authorization: Bearer {}", token("olga")),
        format!("https://app.test:{}/things/1", gateway.tls.port()),
    );
    let shown = ["--cert", "c.crt", "--key", "c.key", "--header", &bearer, "--haproxy-protocol"];
    for version in ["--http1.1", "--http2"] {
        let Some(said) = curl(&gateway, &[&shown[..], &["--include", version, &url]].concat()) else { return };
        let lower = said.to_ascii_lowercase();
        assert!(said.contains(" 200") && said.ends_with("hello"), "{said}");
        assert!(lower.contains("strict-transport-security: max-age=86400"), "{said}");
    }
    let without = curl(&gateway, &["--header", &bearer, "--haproxy-protocol", &url]).unwrap();
    assert!(without.contains("curl: ("), "{without}");
    let plain = format!("http://app.test:{}/things/1?x=y", gateway.more[0].port());
    let moved = curl(&gateway, &["--output", "-", "--write-out", "%{http_code} %{redirect_url}", &plain]).unwrap();
    assert_eq!(moved, "308 https://app.test/things/1?x=y");
}

#[test]
fn what_is_no_handshake_is_closed_and_counted_and_so_is_a_handshake_that_is_no_http() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let mut client = Client::plain(gateway.tls);
    client.send(get("/things/1", &token("olga")));
    assert!(!client.rest().windows(4).any(|window| window == b"HTTP"), "at most a TLS alert");
    until(|| gateway.metric("portcullis_tls_handshakes_failed_total") == 1, "it is counted");
    assert!(Client::tls(gateway.plain, &trusting(&gateway.certificate(), ALL_VERSIONS, &[])).is_err());
    // The series is there from the first one on.
    let line = "portcullis_heads_rejected_total{cause=\"malformed\"} 1\n";
    until(|| gateway.admin("GET", "/metrics", "").text().contains(line), "it is counted");
    assert_eq!(backend.connections(), 0);
}
