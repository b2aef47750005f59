//! Spans, as a collector on a real socket gets them, and the trace context that backends get.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::backend::{Backend, SOON, reply, until};
use crate::gateway::{Setup, certificate, token};
use crate::wire::{get, request};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRUSTING: &str = "trusted_proxies: [127.0.0.1]\n";

fn collector() -> Backend {
    Backend::start(|_, stream| reply(stream, "200 OK", b"{}"))
}

fn setup(backend: &Backend, collector: &Backend, sample: &str) -> Setup {
    let more = format!("traces: {{endpoint: \"{}/v1/traces\", sample: {sample}}}\n", collector.url());
    Setup { more, ..Setup::before(backend) }
}

/// All spans that came, each checked for its shape.
fn spans(collector: &Backend) -> Vec<Value> {
    let mut all = Vec::new();
    for message in collector.seen() {
        assert_eq!((message.line(), message.whole), ("POST /v1/traces HTTP/1.1", true));
        assert_eq!(message.header("content-type"), Some("application/json"));
        all.extend(spans_of(&serde_json::from_slice(&message.body).unwrap()));
    }
    all
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn only(value: &Value) -> &Value {
    let list = value.as_array().unwrap();
    assert_eq!(list.len(), 1);
    &list[0]
}

fn spans_of(message: &Value) -> Vec<Value> {
    assert_eq!(keys(message), ["resourceSpans"]);
    let resource = only(&message["resourceSpans"]);
    assert_eq!(keys(resource), ["resource", "scopeSpans"]);
    let service = attributes(&resource["resource"]);
    assert_eq!(service["service.name"], "portcullis");
    let scope = only(&resource["scopeSpans"]);
    assert_eq!((keys(scope), keys(&scope["scope"])), (vec!["scope", "spans"], vec!["name", "version"]));
    let spans = scope["spans"].as_array().unwrap();
    spans.iter().for_each(check);
    spans.clone()
}

/// The names and kinds of `opentelemetry.proto.trace.v1.Span` in JSON; what is not known is a fault.
fn check(span: &Value) {
    let hex = |value: &Value, length: usize| {
        let text = value.as_str().unwrap();
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        assert!(digits && text.len() == length && text.bytes().any(|byte| byte != b'0'), "{text}");
    };
    let nanoseconds = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    for key in keys(span) {
        let value = &span[key];
        match key {
            "traceId" => hex(value, 32),
            "spanId" | "parentSpanId" => hex(value, 16),
            "name" => assert!(!value.as_str().unwrap().is_empty()),
            "kind" => assert!(value == 2 || value == 3),
            "startTimeUnixNano" => assert!(nanoseconds(value) <= nanoseconds(&span["endTimeUnixNano"])),
            "endTimeUnixNano" => assert!(nanoseconds(value) > 1_600_000_000_000_000_000),
            "flags" => assert_eq!(value.as_u64().unwrap() & 0x101, 0x101),
            "status" => assert!(*value == json!({}) || *value == json!({"code": 2})),
            "attributes" => drop(attributes(span)),
            "links" => {
                let link = only(value);
                assert_eq!(keys(link), ["flags", "spanId", "traceId"]);
                hex(&link["traceId"], 32);
                hex(&link["spanId"], 16);
            }
            _ => panic!("`{key}` is no field of a span"),
        }
    }
    for needed in ["traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"] {
        assert!(span.get(needed).is_some(), "{needed}");
    }
}

/// What stands in `attributes`, numbers as numbers.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for attribute in of["attributes"].as_array().unwrap() {
        assert_eq!(keys(attribute), ["key", "value"]);
        let value = match keys(&attribute["value"])[..] {
            ["stringValue"] => Value::from(attribute["value"]["stringValue"].as_str().unwrap()),
            ["intValue"] => attribute["value"]["intValue"].as_str().unwrap().parse::<i64>().unwrap().into(),
            ref other => panic!("{other:?} is no kind of value"),
        };
        assert!(all.insert(attribute["key"].as_str().unwrap().to_owned(), value).is_none());
    }
    all
}

/// Waits for so many spans; those of requests and those of upstream legs.
fn wait(collector: &Backend, count: usize) -> (Vec<Value>, Vec<Value>) {
    until(|| spans(collector).len() >= count, "the spans come");
    let all = spans(collector);
    assert_eq!(all.len(), count);
    all.into_iter().partition(|span| span["kind"] == 2)
}

#[test]
fn a_request_and_its_upstream_leg_are_spans_by_the_conventions() {
    let (backend, collector) = (Backend::hello(), collector());
    let gateway = setup(&backend, &collector, "100%").start();
    let answer = gateway.ask(get("/things/7?secret=1", &token("olga")));
    assert_eq!(answer.status, 200);
    let (servers, clients) = wait(&collector, 2);
    let (server, client) = (&servers[0], &clients[0]);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!((server["traceId"].as_str(), server.get("parentSpanId")), (Some(id), None));
    assert_eq!((&client["traceId"], &client["parentSpanId"]), (&server["traceId"], &server["spanId"]));
    assert_ne!(client["spanId"], server["spanId"]);
    assert_eq!((server["name"].as_str(), client["name"].as_str()), (Some("GET thing"), Some("GET")));
    assert_eq!((&server["status"], &client["status"]), (&json!({}), &json!({})));
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time(server, "startTimeUnixNano") <= time(client, "startTimeUnixNano"));
    assert!(time(client, "endTimeUnixNano") <= time(server, "endTimeUnixNano"));
    let expected = json!({
        "http.request.method": "GET",
        "url.path": "/things/7",
        "url.scheme": "http",
        "server.address": "app.test",
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.route": "thing",
        "portcullis.request_id": id,
        "portcullis.decision": "allow",
        "portcullis.serial": 1,
        "portcullis.application": "app",
        "portcullis.route": "thing",
        "portcullis.tenant": "home",
        "portcullis.principal": "olga",
    });
    assert_eq!(json!(attributes(server)), expected);
    let expected = json!({
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": backend.address.port(),
        "http.response.status_code": 200,
    });
    assert_eq!(json!(attributes(client)), expected);
    let told = format!("00-{id}-{}-01", client["spanId"].as_str().unwrap());
    assert_eq!(backend.only().header("traceparent"), Some(told.as_str()));
    until(|| gateway.metric("portcullis_spans_sent_total") == 2, "they are counted");
    assert_eq!(gateway.metric("portcullis_spans_dropped_total"), 0);
}

#[test]
fn a_refused_request_is_one_span_with_what_it_lacked_and_without_its_token() {
    let (backend, collector) = (Backend::hello(), collector());
    let gateway = setup(&backend, &collector, "100%").start();
    let token = token("nils");
    assert_eq!(gateway.ask(get("/things/7", &token)).status, 403);
    let (servers, clients) = wait(&collector, 1);
    assert!(clients.is_empty());
    let all = attributes(&servers[0]);
    for (key, expected) in [
        ("http.response.status_code", json!(403)),
        ("portcullis.decision", json!("deny")),
        ("portcullis.reason", json!("right_missing:things@root")),
        ("portcullis.principal", json!("nils")),
        ("portcullis.right", json!("things")),
    ] {
        assert_eq!(all.get(key), Some(&expected), "{key}");
    }
    assert!(!all.contains_key("error.type"), "a refusal is no error of the gateway");
    assert_eq!(servers[0]["status"], json!({}));
    let message = String::from_utf8(collector.only().body).unwrap();
    assert!(!message.contains(token.split('.').nth(2).unwrap()));
}

#[test]
fn failures_are_errors_on_the_side_that_they_are_of() {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/things/missing" => reply(stream, "404 Not Found", b""),
        "/things/broken" => reply(stream, "500 Internal Server Error", b""),
        _ => crate::backend::Then::Close,
    });
    for (path, server, client) in [
        ("/things/missing", None, Some("404")),
        ("/things/broken", Some("500"), Some("500")),
        ("/things/silent", Some("upstream_invalid"), Some("upstream_invalid")),
    ] {
        let collector = collector();
        let gateway = setup(&backend, &collector, "100%").start();
        // A method that is not tried again.
        gateway.ask(request("DELETE", path, &token("olga"), "", ""));
        let (servers, clients) = wait(&collector, 2);
        for (span, error) in [(&servers[0], server), (&clients[0], client)] {
            assert_eq!(attributes(span).get("error.type").and_then(Value::as_str), error, "{path}");
            assert_eq!(span["status"] == json!({"code": 2}), error.is_some(), "{path}");
        }
    }
}

#[test]
fn the_trace_of_a_trusted_proxy_goes_on_and_that_of_a_stranger_is_linked_to() {
    for trusted in [true, false] {
        let (backend, collector) = (Backend::hello(), collector());
        let mut setup = setup(&backend, &collector, "100%");
        setup.more.push_str(if trusted { TRUSTING } else { "" });
        let gateway = setup.start();
        let lines = format!("traceparent: {PARENT}\r\ntracestate: vendor=1\r\n");
        assert_eq!(gateway.ask(request("GET", "/health", "", &lines, "")).status, 200);
        let (servers, clients) = wait(&collector, 2);
        let (server, seen) = (&servers[0], backend.only());
        assert_eq!(server["traceId"] == TRACE, trusted);
        assert_eq!(clients[0]["traceId"], server["traceId"]);
        assert_eq!(server.get("parentSpanId") == Some(&json!("00f067aa0ba902b7")), trusted);
        let link = json!([{"traceId": TRACE, "spanId": "00f067aa0ba902b7", "flags": 0x300}]);
        assert_eq!(server.get("links") == Some(&link), !trusted);
        assert_eq!(seen.header("tracestate"), trusted.then_some("vendor=1"));
        let [trace, span] = [&server["traceId"], &clients[0]["spanId"]].map(|id| id.as_str().unwrap());
        assert_eq!(seen.header("traceparent"), Some(&*format!("00-{trace}-{span}-01")));
    }
}

#[test]
fn what_is_not_sampled_is_not_sent_whatever_a_stranger_wants() {
    let (backend, collector) = (Backend::hello(), collector());
    let gateway = setup(&backend, &collector, "0%").start();
    for _ in 0..20 {
        let lines = format!("traceparent: {PARENT}\r\n");
        assert_eq!(gateway.ask(request("GET", "/health", "", &lines, "")).status, 200);
    }
    for seen in backend.seen() {
        let parent = seen.header("traceparent").unwrap();
        assert!(parent.ends_with("-00") && !parent.contains(TRACE), "{parent}");
    }
    // All that waits is sent at the end.
    drop(gateway);
    assert!(collector.seen().is_empty());
}

#[test]
fn a_trusted_proxy_decides_whether_its_requests_are_sampled() {
    let (backend, collector) = (Backend::hello(), collector());
    let mut setup = setup(&backend, &collector, "0%");
    setup.more.push_str(TRUSTING);
    let gateway = setup.start();
    for parent in [PARENT.to_owned(), PARENT.replace("-01", "-00")] {
        let lines = format!("traceparent: {parent}\r\n");
        assert_eq!(gateway.ask(request("GET", "/health", "", &lines, "")).status, 200);
    }
    drop(gateway);
    assert_eq!(spans(&collector).len(), 2, "the spans of the first request, flushed by the drain");
}

#[test]
fn hostile_trace_headers_change_nothing_but_their_own() {
    let long = format!("traceparent: {PARENT}\r\ntracestate: {}\r\n", "k=v,".repeat(4000));
    for lines in [
        "traceparent: \r\n".to_owned(),
        format!("traceparent: {}\r\n", "0".repeat(8000)),
        "traceparent: 00-\u{e4}\u{e4}-\u{e4}-01\r\n".to_owned(),
        format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"),
        format!("traceparent: {PARENT}, {PARENT}\r\n"),
        format!("traceparent: {PARENT}-{}\r\n", "0".repeat(4000)),
        format!("Connection: traceparent\r\ntraceparent: {PARENT}\r\n"),
        long,
    ] {
        let (backend, collector) = (Backend::hello(), collector());
        let gateway = setup(&backend, &collector, "100%").start();
        assert_eq!(gateway.ask(request("GET", "/health", "", &lines, "")).status, 200);
        let (servers, _) = wait(&collector, 2);
        assert_ne!(servers[0]["traceId"], TRACE);
        let seen = backend.only();
        assert_eq!((seen.header("traceparent").unwrap().len(), seen.header("tracestate")), (55, None));
    }
}

#[test]
fn without_a_collector_requests_are_served_and_spans_are_counted_as_dropped() {
    let backend = Backend::hello();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("traces: {{endpoint: \"http://{}/v1/traces\", sample: 100%}}\n", nobody.local_addr().unwrap());
    drop(nobody);
    let gateway = Setup { more, workers: 1, ..Setup::before(&backend) }.start();
    let mut client = gateway.connect();
    // More than may wait.
    for _ in 0..6_000 {
        assert_eq!(client.ask(get("/lobby", "")).status, 401);
    }
    until(|| gateway.metric("portcullis_spans_dropped_total") > 0, "what finds no room is dropped");
    assert_eq!(gateway.metric("portcullis_spans_sent_total"), 0);
}

#[test]
fn spans_that_are_lost_at_the_end_are_counted_in_the_process_log() {
    let backend = Backend::hello();
    // One that takes connections and never answers, and one that is not there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [&silent, &away].map(|listener| listener.local_addr().unwrap());
    drop(away);
    for address in addresses {
        let more = format!("traces: {{endpoint: \"http://{address}/v1/traces\", sample: 100%}}\n");
        let mut gateway = Setup { more, workers: 1, ..Setup::before(&backend) }.spawn();
        let mut client = gateway.connect();
        // Two spans each for those that go on, one for the others; more than one message has.
        for _ in 0..600 {
            assert_eq!(client.ask(get("/health", "")).status, 200);
        }
        for _ in 0..50 {
            assert_eq!(client.ask(get("/lobby", "")).status, 401);
        }
        drop(client);
        let dropped = gateway.metric("portcullis_spans_dropped_total");
        assert_eq!(gateway.metric("portcullis_spans_sent_total") + dropped, 0);
        let begun = Instant::now();
        gateway.signal("TERM");
        assert_eq!(gateway.wait(SOON), 0);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let said = format!("the process ends, and 1250 spans that waited for http://{address}/v1/traces are lost");
        gateway.logs(&said);
    }
}

#[test]
fn a_busy_collector_is_asked_again_and_one_that_refuses_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let collector = Backend::start(move |_, stream| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => {
            let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
            crate::backend::say(stream, busy)
        }
        1 => reply(stream, "200 OK", b"{\"partialSuccess\":{}}"),
        2 => reply(stream, "200 OK", b"{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}"),
        _ => reply(stream, "400 Bad Request", b""),
    });
    let backend = Backend::hello();
    let gateway = setup(&backend, &collector, "100%").start();
    for (messages, counts) in [(2, [2, 0]), (3, [3, 1]), (4, [3, 3])] {
        assert_eq!(gateway.ask(get("/health", "")).status, 200);
        let now = || ["sent", "dropped"].map(|what| gateway.metric(&format!("portcullis_spans_{what}_total")));
        until(|| now() == counts, "the spans are counted by what became of them");
        assert_eq!(asked.load(Ordering::SeqCst), messages);
    }
    let bodies: Vec<_> = collector.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[0], bodies[1], "the same message once more");
}

#[test]
fn the_collector_is_known_by_its_authority_and_shown_the_authorization() {
    let backend = Backend::hello();
    let (pem, key) = certificate();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let config =
        Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let collector = Backend::raw(move |_, stream, _| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut buffer = Vec::new();
        while !buffer.windows(4).any(|end| end == b"\r\n\r\n") {
            if crate::backend::fill(&mut stream, &mut buffer) == 0 {
                return;
            }
        }
        seen.lock().unwrap().push(String::from_utf8_lossy(&buffer).into_owned());
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        let _flushed = stream.flush();
    });
    for (known, file) in [(true, pem), (false, certificate().0)] {
        let endpoint = format!("https://localhost:{}/v1/traces", collector.address.port());
        let more = format!(
            "traces: {{endpoint: \"{endpoint}\", sample: 100%, ca: collector.pem, authorization_file: collector.token}}\n"
        );
        let files = vec![("collector.pem", file), ("collector.token", "Bearer of-the-collector\n".to_owned())];
        let gateway = Setup { more, files, ..Setup::before(&backend) }.start();
        heads.lock().unwrap().clear();
        assert_eq!(gateway.ask(get("/health", "")).status, 200);
        drop(gateway);
        let heads = heads.lock().unwrap();
        let shown = heads.iter().any(|head| head.contains("\r\nauthorization: Bearer of-the-collector\r\n"));
        assert_eq!((shown, heads.is_empty()), (known, !known), "{heads:?}");
    }
}
