//! Spans as OTLP writes them: the JSON mapping of `ExportTraceServiceRequest`, with ids in hexadecimal, 64-bit numbers as
//! text and attributes by the semantic conventions for HTTP.
//!
//! A span shows what the decision log shows, and like it never a token, a cookie, a query or a body.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::digits::hexadecimal;
use super::record::{RequestId, Text};
use super::trace::{Trace, Traced};

/// Kinds and statuses by their numbers in `opentelemetry.proto.trace.v1`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;
/// `Span.flags`: sampled; whether a parent is remote is known; it is remote.
const SAMPLED: u32 = 0x001;
const REMOTE_IS_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;
/// Methods that may stand in names and attributes; clients make up others.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// The most requests in one message.
const MOST_REQUESTS: usize = 512;
/// Beyond so many bytes a message takes no more requests.
const MOST_BYTES: usize = 1024 * 1024;

/// One message in the making.
#[derive(Debug)]
pub struct Export {
    out: Vec<u8>,
    requests: usize,
    has_spans: bool,
}

impl Export {
    /// A message without spans, of the service of this name.
    pub fn new(service: &str, version: &str) -> Self {
        let resource = json!({"attributes": [text("service.name", service), text("service.version", version)]});
        let scope = json!({"name": "portcullis", "version": version});
        let begin = format!(r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":["#);
        Self { out: begin.into_bytes(), requests: 0, has_spans: false }
    }

    /// Adds the spans of a request.
    pub fn push(&mut self, traced: &Traced) {
        for span in [Some(server(traced)), client(traced)].into_iter().flatten() {
            if std::mem::replace(&mut self.has_spans, true) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(span.to_string().as_bytes());
        }
        self.requests += 1;
    }

    /// Whether it is to take no more.
    pub fn is_full(&self) -> bool {
        self.requests >= MOST_REQUESTS || self.out.len() >= MOST_BYTES
    }

    /// The whole message.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}]}]}");
        self.out
    }
}

/// The span of the request.
fn server(traced: &Traced) -> Value {
    let Traced { trace, figures, code, .. } = traced;
    let of = |which| traced.text(which);
    let begin = figures.at.saturating_mul(1_000_000);
    let mut all = Attributes::default();
    let name = all.method(&of(Text::Method).unwrap_or_default());
    all.some("url.path", of(Text::Path));
    all.text("url.scheme", if trace.secure { "https" } else { "http" });
    all.server(&of(Text::Host).unwrap_or_default());
    all.text("client.address", &figures.client.to_string());
    all.text("network.protocol.version", trace.version);
    all.number("http.response.status_code", u64::from(figures.status));
    all.some("http.route", of(Text::Route));
    let is_error = figures.status >= 500 || trace.is_broken;
    if is_error {
        all.text("error.type", &code.as_deref().map_or_else(|| figures.status.to_string().into(), Cow::Borrowed));
    }
    match figures.made_id {
        Some(number) => all.text("portcullis.request_id", &hex(number)),
        None => all.some("portcullis.request_id", of(Text::RequestId)),
    }
    all.text("portcullis.decision", if figures.allowed { "allow" } else { "deny" });
    all.number("portcullis.serial", figures.serial);
    for (key, which) in [
        ("portcullis.application", Text::Application),
        ("portcullis.route", Text::Route),
        ("portcullis.reason", Text::Reason),
        ("portcullis.right", Text::Right),
        ("portcullis.scope", Text::Scope),
        ("portcullis.tenant", Text::Tenant),
        ("portcullis.principal", Text::Principal),
    ] {
        all.some(key, of(which));
    }
    let name = match of(Text::Route) {
        Some(route) => format!("{name} {route}"),
        None => name.to_owned(),
    };
    let times = (begin, begin.saturating_add(figures.total_us.saturating_mul(1000)));
    let mut span = span(trace, (trace.server, trace.parent), (SERVER, &name), times, all, is_error);
    let remote = if trace.parent.is_some() { REMOTE } else { 0 };
    set(&mut span, "flags", json!(SAMPLED | REMOTE_IS_KNOWN | remote));
    if let Some((other, parent)) = trace.link {
        let link = json!({"traceId": hex(other), "spanId": short(parent), "flags": REMOTE_IS_KNOWN | REMOTE});
        set(&mut span, "links", json!([link]));
    }
    span
}

/// The span of its upstream leg, up to the head of the answer.
fn client(traced: &Traced) -> Option<Value> {
    let Traced { trace, figures, code, .. } = traced;
    let upstream = traced.text(Text::Upstream)?;
    let mut all = Attributes::default();
    let name = all.method(&traced.text(Text::Method).unwrap_or_default());
    let server = upstream.split_once("://").map_or(&*upstream, |(_, server)| server);
    all.server(server);
    if let Some(status) = trace.upstream_status {
        all.number("http.response.status_code", u64::from(status));
    }
    let error = match trace.upstream_status {
        Some(status) if status < 400 => None,
        Some(status) => Some(Cow::Owned(status.to_string())),
        // Nobody waited for the answer any more, or there was none.
        None => Some(code.as_deref().map_or(Cow::Borrowed("client_gone"), Cow::Borrowed)),
    };
    if let Some(error) = &error {
        all.text("error.type", error);
    }
    let micros = |from: u64, more: u64| from.saturating_add(more.saturating_mul(1000));
    let begin = micros(figures.at.saturating_mul(1_000_000), trace.judged_us);
    let end = match figures.upstream_us {
        0 => micros(figures.at.saturating_mul(1_000_000), figures.total_us),
        took => micros(begin, took),
    };
    let ids = (trace.client, Some(trace.server));
    let mut span = span(trace, ids, (CLIENT, name), (begin, end.max(begin)), all, error.is_some());
    set(&mut span, "flags", json!(SAMPLED | REMOTE_IS_KNOWN));
    Some(span)
}

fn span(
    trace: &Trace,
    (id, parent): (u64, Option<u64>),
    (kind, name): (u8, &str),
    (begin, end): (u64, u64),
    Attributes(attributes): Attributes,
    is_error: bool,
) -> Value {
    let mut span = json!({
        "traceId": hex(trace.trace),
        "spanId": short(id),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": begin.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": if is_error { json!({"code": ERROR}) } else { json!({}) },
    });
    if let Some(parent) = parent {
        set(&mut span, "parentSpanId", short(parent).into());
    }
    span
}

fn set(span: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = span {
        fields.insert(key.to_owned(), value);
    }
}

#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push(text(key, value));
    }

    fn some(&mut self, key: &str, value: Option<Cow<'_, str>>) {
        if let Some(value) = value {
            self.text(key, &value);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.0.push(json!({"key": key, "value": {"intValue": value.to_string()}}));
    }

    /// The method, and how a span is named by it.
    fn method(&mut self, written: &str) -> &'static str {
        let known = METHODS.into_iter().find(|known| *known == written);
        self.text("http.request.method", known.unwrap_or("_OTHER"));
        if known.is_none() {
            self.text("http.request.method_original", written);
        }
        known.unwrap_or("HTTP")
    }

    /// `HOST` or `HOST:PORT`.
    fn server(&mut self, written: &str) {
        let (host, port) = match written.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => (host, port.parse::<u16>().ok()),
            _ => (written, None),
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if !address.is_empty() {
            self.text("server.address", address);
        }
        if let Some(port) = port {
            self.number("server.port", u64::from(port));
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn hex(number: u128) -> String {
    String::from_utf8_lossy(&RequestId::digits(number)).into_owned()
}

fn short(number: u64) -> String {
    String::from_utf8_lossy(&hexadecimal(number)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_address_and_port() {
        for (written, expected) in [
            ("app.test", "app.test -"),
            ("app.test:8080", "app.test 8080"),
            ("127.0.0.1:80", "127.0.0.1 80"),
            ("[::1]", "::1 -"),
            ("[::1]:8443", "::1 8443"),
            ("app.test:none", "app.test -"),
            ("", "- -"),
        ] {
            let mut all = Attributes::default();
            all.server(written);
            let of = |key: &str, kind: &str| {
                let found = all.0.iter().find(|one| one["key"] == key);
                found.map_or("-".to_owned(), |one| one["value"][kind].as_str().unwrap().to_owned())
            };
            let told = format!("{} {}", of("server.address", "stringValue"), of("server.port", "intValue"));
            assert_eq!(told, expected, "{written}");
        }
    }

    #[test]
    fn a_method_that_a_client_made_up_names_no_span() {
        let mut all = Attributes::default();
        assert_eq!((all.method("GET"), all.method("get"), all.method("X-MADE-UP")), ("GET", "HTTP", "HTTP"));
    }

    #[test]
    fn a_message_without_spans_is_whole() {
        let message = Export::new("a \"service\"", "1").finish();
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["resourceSpans"][0]["scopeSpans"][0]["spans"], json!([]));
        let name = &message["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"];
        assert_eq!(name, "a \"service\"");
    }
}
