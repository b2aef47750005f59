//! How the gateway itself answers on the wire: RFC 9457 problem details, a plain page for browsers, and the headers
//! that RFC 6750 (`WWW-Authenticate`) and RFC 9110 (`Allow`, `Retry-After`) ask for.

use std::num::NonZeroU32;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use serde::Serialize;

use super::Caller;
use super::body::Body;
use super::cors::Readers;
use super::{grpc, headers};
use crate::model::Reason;
use crate::pep::{Answer, Grounds, Metadata, Refusal};

const REFUSED: HeaderValue = HeaderValue::from_static("refused");
/// What may be asked for at all, where no route narrows it.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// One text for every cause, so that the answer tells a guesser nothing (RFC 6750 section 3.1).
const INVALID_TOKEN: &str = ", error=\"invalid_token\", error_description=\"The access token is invalid or expired\"";

/// What the form of an answer depends on; taken before the head is judged and sent on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    head_only: bool,
    html: bool,
    grpc: bool,
    http1: bool,
    closing: bool,
}

impl Asker {
    /// Reads it from a request's head.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            head_only: request.method() == Method::HEAD,
            html: wants_html(request.headers()),
            grpc: grpc::is_call(request.version(), request.headers()),
            http1: request.version() < Version::HTTP_2,
            // What follows a tunnel that was asked for may be meant for its other end.
            closing: request.method() == Method::CONNECT,
        }
    }

    /// The same of a request whose body may not have come to its end.
    pub(super) const fn closing(self) -> Self {
        Self { closing: true, ..self }
    }
}

/// The answer to a refused request and the number of its body's bytes. With `full_detail` the client learns the
/// reason's subject, except in a 401, which tells nobody more than that.
pub(super) fn refusal(refusal: &Refusal, full_detail: bool, asker: Asker, caller: &Caller) -> (Response<Body>, usize) {
    let status = StatusCode::from_u16(refusal.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let full = full_detail && status != StatusCode::UNAUTHORIZED;
    let reason = if full { refusal.full_code() } else { refusal.code() };
    let title = refusal.reason.title();
    if asker.grpc {
        let mut response = grpc::refusal(status, title, reason);
        let fields = response.headers_mut();
        fields.insert(headers::PORTCULLIS, REFUSED);
        headers::identify(fields, &caller.id_header);
        reason_fields(fields, refusal, status);
        return (response, 0);
    }
    let id = caller.id.to_string();
    let (kind, text) = if asker.html {
        ("text/html; charset=utf-8", page(status, title, reason, &id))
    } else {
        ("application/problem+json", problem(status, title, reason, &id))
    };
    let length = text.len();
    let body = if asker.head_only { Bytes::new() } else { Bytes::from(text) };
    let sent = body.len();
    let mut response = Response::new(Body::fixed(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if asker.html {
        let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        fields.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    fields.insert(headers::PORTCULLIS, REFUSED);
    headers::identify(fields, &caller.id_header);
    reason_fields(fields, refusal, status);
    let broken = matches!(refusal.reason, Reason::BodyTimeout | Reason::BadBody);
    if (broken || asker.closing) && asker.http1 {
        // The rest of the body may still come; it must not be read as the next request.
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    (response, sent)
}

/// The gateway's own answer to a request that needs no backend, and the number of its body's bytes.
pub(super) fn own(answer: &Answer, grounds: &Grounds, asker: Asker, caller: &Caller) -> (Response<Body>, usize) {
    let readers = Readers::of(grounds);
    let (mut response, sent) = match answer {
        Answer::Preflight => {
            let mut response = Response::new(Body::fixed(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            readers.tell_preflight(response.headers_mut());
            (response, 0)
        }
        Answer::Redirect(url) => {
            let mut response = Response::new(Body::fixed(Bytes::new()));
            // Keeps method and body, unlike its older kin (RFC 9110 section 15.4.9).
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            if let Ok(url) = HeaderValue::try_from(&**url) {
                response.headers_mut().insert(header::LOCATION, url);
            }
            (response, 0)
        }
        Answer::Options(methods) => {
            let mut response = Response::new(Body::fixed(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            if let Ok(methods) = HeaderValue::from_str(methods) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
            readers.tell(response.headers_mut());
            (response, 0)
        }
        Answer::Metadata(metadata) => {
            let text = metadata_document(metadata, grounds);
            let length = text.len();
            let body = if asker.head_only { Bytes::new() } else { Bytes::from(text) };
            let sent = body.len();
            let mut response = Response::new(Body::fixed(body));
            let fields = response.headers_mut();
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            readers.tell(fields);
            (response, sent)
        }
    };
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(headers::PORTCULLIS, HeaderValue::from_static("answered"));
    headers::identify(fields, &caller.id_header);
    (response, sent)
}

/// RFC 9728 section 2.
fn metadata_document(metadata: &Metadata, grounds: &Grounds) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        resource: &'a str,
        authorization_servers: &'a [Box<str>],
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        scopes_supported: &'a [Box<str>],
        bearer_methods_supported: [&'static str; 1],
    }
    let application = grounds.application.as_ref().and_then(|application| application.resource_metadata.as_ref());
    let document = Document {
        resource: &metadata.resource,
        authorization_servers: &metadata.issuers,
        scopes_supported: application.map_or(&[], |application| application.scopes.as_slice()),
        bearer_methods_supported: ["header"],
    };
    // Plain texts cannot fail to be written.
    serde_json::to_string(&document).unwrap_or_default()
}

/// The headers that one status or reason asks for.
fn reason_fields(fields: &mut HeaderMap, refusal: &Refusal, status: StatusCode) {
    let error = match refusal.reason {
        Reason::NoToken => Some(""),
        Reason::InvalidToken => Some(INVALID_TOKEN),
        Reason::MalformedCredentials => Some(", error=\"invalid_request\""),
        // No token would help a page that may not call.
        Reason::CorsRefused | Reason::CrossSite | Reason::GateCertificate => None,
        _ if status == StatusCode::FORBIDDEN => Some(", error=\"insufficient_scope\""),
        _ => None,
    };
    let own = refusal.challenge.as_deref().cloned().filter(|_| refusal.reason == Reason::InvalidToken);
    let plain = || challenge(error?, refusal.resource_metadata.as_deref());
    if let Some(challenge) = own.or_else(plain) {
        fields.insert(header::WWW_AUTHENTICATE, challenge);
    }
    let retry = match refusal.reason {
        // Keys are retried every few seconds; overload passes faster.
        Reason::KeysUnavailable => Some(5),
        Reason::Overloaded | Reason::UpstreamOverloaded | Reason::AuditUnavailable | Reason::ObjectUnavailable => {
            Some(1)
        }
        _ => refusal.retry_after.map(NonZeroU32::get),
    };
    if let Some(seconds) = retry {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = refusal.allow.as_deref().unwrap_or(FORWARDED_METHODS);
        let allow = HeaderValue::from_str(allow).unwrap_or(HeaderValue::from_static(FORWARDED_METHODS));
        fields.insert(header::ALLOW, allow);
    }
}

/// The challenge of RFC 6750 section 3 with what RFC 9728 section 5.1 adds. The URL is made of a host in its one form,
/// so it needs no escapes.
fn challenge(error: &str, metadata: Option<&str>) -> Option<HeaderValue> {
    let metadata = metadata.map(|url| format!(", resource_metadata=\"{url}\"")).unwrap_or_default();
    HeaderValue::try_from(format!("Bearer realm=\"portcullis\"{error}{metadata}")).ok()
}

/// RFC 9457. The texts come from this program and from the operators' files; they are escaped all the same.
fn problem(status: StatusCode, title: &str, reason: &str, id: &str) -> String {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        reason: &'a str,
        request_id: &'a str,
    }
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), reason, request_id: id };
    // Plain texts and a number cannot fail to be written; the status says the most even without them.
    serde_json::to_string(&problem).unwrap_or_default()
}

fn page(status: StatusCode, title: &str, reason: &str, id: &str) -> String {
    let (title, reason, id) = (escape(title), escape(reason), escape(id));
    let code = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{code} {title}</title>\n\
         <h1>{title}</h1>\n<p>Status {code}, reason <code>{reason}</code>.</p>\n\
         <p>If you ask for help, give this request id: <code>{id}</code></p>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Browsers name `text/html` and no JSON; API clients name JSON, anything or nothing.
fn wants_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT);
    // Clients of APIs name no page at all, and then nothing has to be read.
    let mentions_html = |line: &[u8]| {
        let mut marks = memchr::memchr2_iter(b'h', b'H', line).filter_map(|at| line.get(at..at + 4));
        marks.any(|mark| mark.eq_ignore_ascii_case(b"html"))
    };
    if !lines.iter().any(|line| mentions_html(line.as_bytes())) {
        return false;
    }
    let mut html = false;
    for line in lines {
        let Ok(line) = line.to_str() else { return false };
        for element in line.split(',') {
            let mut parts = element.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            if kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/problem+json") {
                return false;
            }
            let refused = parts.any(|parameter| {
                parameter.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
            });
            html |= kind.eq_ignore_ascii_case("text/html") && !refused;
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;
    use crate::proxy::caller::{Caller, Connection};
    use crate::proxy::numbers::Numbers;

    fn ask(method: &str, accept: Option<&str>) -> Asker {
        let mut request = Request::builder().method(method);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        Asker::of(&request.body(()).unwrap())
    }

    fn answer(reason: Reason, asker: Asker) -> (Response<Body>, String) {
        let connection = Connection::from("192.0.2.7:1", true, |_| false);
        let caller = Caller::of(&HeaderMap::new(), &connection, (&Numbers::seeded(), None), |_| false);
        let (mut response, _) = refusal(&Refusal::of(reason), false, asker, &caller);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let text = match std::pin::Pin::new(response.body_mut()).poll_frame(&mut context) {
            std::task::Poll::Ready(Some(Ok(frame))) => String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap(),
            _ => String::new(),
        };
        assert_eq!(response.headers()["x-request-id"].len(), 32);
        assert_eq!(response.headers()["x-portcullis"], "refused");
        (response, text)
    }

    #[test]
    fn a_refusal_is_problem_json_with_the_five_members() {
        let (response, text) = answer(Reason::RightMissing, ask("GET", Some("*/*")));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-length"], text.len().to_string());
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], Reason::RightMissing.title());
        assert_eq!(problem["status"], 403);
        assert_eq!(problem["reason"], "right_missing");
        assert_eq!(problem["request_id"], *response.headers()["x-request-id"].to_str().unwrap());
        assert_eq!(problem.as_object().unwrap().len(), 5);
    }

    #[test]
    fn each_reason_carries_the_headers_of_its_rfc() {
        let bearer = "Bearer realm=\"portcullis\"";
        let invalid = "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                       error_description=\"The access token is invalid or expired\"";
        for (reason, status, name, value) in [
            (Reason::NoToken, 401, "www-authenticate", Some(bearer)),
            (Reason::InvalidToken, 401, "www-authenticate", Some(invalid)),
            (
                Reason::MalformedCredentials,
                400,
                "www-authenticate",
                Some("Bearer realm=\"portcullis\", error=\"invalid_request\""),
            ),
            (
                Reason::RightMissing,
                403,
                "www-authenticate",
                Some("Bearer realm=\"portcullis\", error=\"insufficient_scope\""),
            ),
            (Reason::NoRoute, 404, "www-authenticate", None),
            (Reason::KeysUnavailable, 503, "retry-after", Some("5")),
            (Reason::KeysUnavailable, 503, "www-authenticate", None),
            (Reason::Overloaded, 503, "retry-after", Some("1")),
            (Reason::UpstreamOverloaded, 503, "retry-after", Some("1")),
            (Reason::AuditUnavailable, 503, "retry-after", Some("1")),
            (Reason::MethodForbidden, 405, "allow", Some(FORWARDED_METHODS)),
            (Reason::BodyTimeout, 408, "connection", Some("close")),
            (Reason::UpstreamTimeout, 504, "retry-after", None),
        ] {
            let (response, _) = answer(reason, ask("GET", None));
            assert_eq!(response.status(), status, "{reason:?}");
            assert_eq!(response.headers().get(name).map(|value| value.to_str().unwrap()), value, "{reason:?}");
        }
    }

    #[test]
    fn allow_names_the_methods_of_the_route() {
        let connection = Connection::from("192.0.2.7:1", true, |_| false);
        let caller = Caller::of(&HeaderMap::new(), &connection, (&Numbers::seeded(), None), |_| false);
        let mut no = Refusal::of(Reason::NoRouteMethod);
        no.allow = Some("GET, HEAD".into());
        let (response, _) = refusal(&no, false, ask("GET", None), &caller);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }

    #[test]
    fn an_answer_to_head_has_the_length_but_not_the_body() {
        let (response, text) = answer(Reason::NoToken, ask("HEAD", None));
        assert_eq!(text, "");
        assert!(response.body().is_end_stream());
        assert_ne!(response.headers()["content-length"], "0");
    }

    #[test]
    fn browsers_get_a_page_and_programs_get_json() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, html) in [
            (Some(browser), true),
            (Some("TEXT/HTML"), true),
            (Some("*/*"), false),
            (Some("application/json, text/html"), false),
            (Some("text/html;q=0, */*"), false),
            (Some("application/problem+json"), false),
            (Some(""), false),
            (None, false),
        ] {
            let (response, text) = answer(Reason::NoToken, ask("GET", accept));
            assert_eq!(response.headers()["content-type"] == "text/html; charset=utf-8", html, "{accept:?}");
            assert_eq!(response.headers().contains_key("content-security-policy"), html);
            assert_eq!(text.starts_with("<!doctype html>"), html);
        }
    }

    #[test]
    fn a_page_cannot_be_broken_out_of() {
        let written = page(StatusCode::FORBIDDEN, "<b>", "\"'&", "<script>");
        assert!(!written.contains("<b>") && !written.contains("<script>"));
        assert!(written.contains("&quot;&#39;&amp;"));
    }
}
