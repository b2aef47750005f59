//! What the backend and the client get to see of each other's headers: what always goes, what the gateway sets, and
//! what is believed only when a trusted proxy says it ([`fields`] knows the names). Strip first, set after, so that
//! nothing a client writes can stand where the gateway speaks.

use std::net::IpAddr;

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use smallvec::SmallVec;

use super::bound;
use super::identity::Identity;
use super::{Caller, Connection};
use super::{destination, trace};
use crate::pep::{Carrier, Grounds};
use crate::route::upstream::Prefix;
use crate::route::{Application, cookies, fields};
use crate::telemetry::RequestId;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Marks answers of the gateway itself.
pub(super) const PORTCULLIS: HeaderName = HeaderName::from_static("x-portcullis");

/// Drops what `Connection` names, before the request is judged: a field that ends here (RFC 9110 section 7.6.1) must
/// not take part in a decision about what the backend will see without it. `Connection` itself stays for the judge.
pub(super) fn drop_connection_options(headers: &mut HeaderMap) {
    for name in connection_options(headers) {
        if !fields::is_hop_by_hop(name.as_str()) {
            headers.remove(name);
        }
    }
}

/// Turns the fields of a judged head into those that the backend gets: what may go on, and the gateway's own. Its `Host` is
/// the one that was judged. `has_owner` says whether the connection to the backend may be one that is authenticated.
pub(super) fn to_backend(
    head: &mut Parts,
    (grounds, application): (&Grounds, &Application),
    (has_owner, caller): (bool, &Caller),
    identity: Identity<'_>,
) {
    let (headers, version) = (&mut head.headers, head.version);
    let trusted = caller.connection.trusted;
    // What nobody verified is not passed on either: a backend would take it for checked.
    let verified = application.forward_authorization && grounds.carrier == Some(Carrier::Authorization);
    let authorization = verified || (has_owner && bound::authenticates(headers));
    let carries_token = |name: &str| application.token.headers.iter().any(|carrier| carrier == name);
    let shown = destination::credential_header(&application.upstream);
    let goes = |name: &str| {
        fields::is_hop_by_hop(name)
            // The gateway itself has met the expectation when the body is asked for; a backend's 100 would come too late.
            || name == header::EXPECT
            || (name == header::AUTHORIZATION && !authorization)
            || name == REQUEST_ID
            || fields::is_dropped(name, trusted, &application.header_rules.allowed)
    };
    thin(headers, |name| {
        (!fields::is_ordinary(name) && goes(name))
            || carries_token(name)
            || shown.is_some_and(|shown| fields::is_read_as(name, shown.as_str()))
            || application.header_rules.removes(name)
    });
    remove_cookies(headers, &application.token.cookies);
    if version >= Version::HTTP_2 {
        join_cookies(headers);
    }
    set_forwarded(headers, &caller.connection, application.upstream.rewrite.strip.as_ref());
    headers.append(REQUEST_ID, caller.id_header.clone());
    match &caller.trace {
        None => trace::keep_or_make(headers, &caller.id, caller.span),
        Some(context) => context.tell(headers),
    }
    headers.append(header::VIA, via(version));
    identity.tell(headers, grounds, application, caller);
    destination::show_credentials(headers, &application.upstream);
}

/// How many fields the gateway adds, about; more cost another piece of memory.
const OWN_FIELDS: usize = 10;

/// Takes out each field that `goes`; what `Connection` names has gone [before](drop_connection_options). Those that stay keep
/// their places: to build the map anew would be to find the place of each of them once more.
fn thin(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let doomed: Names = headers.keys().filter(|name| goes(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    headers.reserve(OWN_FIELDS);
}

/// The protocol in which the request came, and the name of gateways of this kind, which
/// [`crate::pep`] counts (RFC 9110 section 7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 portcullis",
        Version::HTTP_2 => "2 portcullis",
        _ => "1.1 portcullis",
    })
}

/// Turns the headers of the backend's answer into those that the client gets. `Server` stays as it is or is not there:
/// it is the backend's to say what it is, and the gateway's own answers are known by `X-Portcullis`. hyper adds a
/// `Date` where none is left (RFC 9110 section 6.6.1), so one that comes twice goes.
pub(super) fn to_client(headers: &mut HeaderMap, caller: &Caller) {
    if strip(headers, |name| name.starts_with("x-portcullis") || name.starts_with("x-auth-request-")) {
        // The body was read by its chunks, so that is how long it is (RFC 9112 section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    let repeats = headers.len() > headers.keys_len();
    if repeats && headers.get_all(header::DATE).iter().nth(1).is_some() {
        headers.remove(header::DATE);
    }
    headers.insert(REQUEST_ID, caller.id_header.clone());
}

/// Marks an answer of the gateway's own with the request's id.
pub(super) fn identify(headers: &mut HeaderMap, id: &HeaderValue) {
    headers.insert(REQUEST_ID, id.clone());
}

/// The id that a trusted proxy gave the request, if it is one that logs and headers can carry.
pub(super) fn given_request_id(headers: &HeaderMap) -> Option<RequestId> {
    let text = single(headers, &REQUEST_ID)?.to_str().ok()?;
    let sane = (8..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    sane.then(|| RequestId::Given(text.into()))
}

/// The nearest address of a chain of trusted proxies that is not itself trusted: `X-Forwarded-For` read from the right.
pub(super) fn client_of(headers: &HeaderMap, peer: IpAddr, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    let lines: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).iter().collect();
    for line in lines.iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for element in line.rsplit(',') {
            let Ok(address) = element.trim().parse() else { return client };
            client = address;
            if !trusted(address) {
                return client;
            }
        }
    }
    client
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Removes the fields of this connection, all that any `Connection` line names, and what `also` picks, in one pass.
/// Whether `Transfer-Encoding` was among them.
fn strip(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) -> bool {
    let mut doomed = connection_options(headers);
    let goes = |name: &str| fields::is_hop_by_hop(name) || also(name);
    doomed.extend(headers.keys().filter(|name| goes(name.as_str())).cloned());
    // A field that `Connection` names need not be there.
    let coded = doomed.contains(&header::TRANSFER_ENCODING) && headers.contains_key(header::TRANSFER_ENCODING);
    for name in doomed {
        headers.remove(name);
    }
    coded
}

/// Names of fields. Few are taken out of most messages.
type Names = SmallVec<[HeaderName; 4]>;

/// All that any `Connection` line names, but for what ends at this hop whether it is named or not. `Host` and
/// `Content-Length` stay whatever it says: without them the message would be another one.
pub(super) fn connection_options(headers: &HeaderMap) -> Names {
    let mut options = Names::new();
    for line in headers.get_all(header::CONNECTION) {
        for option in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // What most lines say.
            if option.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            let name = HeaderName::from_bytes(option).ok();
            options.extend(name.filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH));
        }
    }
    options
}

/// Takes out the cookies that carry tokens and whatever could be read as one; the others stay byte for byte.
fn remove_cookies(headers: &mut HeaderMap, names: &[Box<str>]) {
    if names.is_empty() || !headers.contains_key(header::COOKIE) {
        return;
    }
    let left: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| HeaderValue::from_bytes(&cookies::without(line.as_bytes(), names)?).ok())
        .collect();
    headers.remove(header::COOKIE);
    for line in left {
        headers.append(header::COOKIE, line);
    }
}

/// HTTP/2 may cut the cookie into crumbs; an HTTP/1.1 backend gets one line (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// `X-Forwarded-*`: what was left of them is a trusted proxy's and is extended or kept; otherwise they begin here.
fn set_forwarded(headers: &mut HeaderMap, connection: &Connection, stripped: Option<&Prefix>) {
    if let Some(stripped) = stripped {
        // Behind the prefix that a trusted proxy stripped before; the backend makes its links with both.
        let before = single(headers, &FORWARDED_PREFIX).and_then(|before| before.to_str().ok()).unwrap_or_default();
        let prefix = [before.trim_end_matches('/'), stripped.as_str()].concat();
        match HeaderValue::try_from(prefix) {
            Ok(prefix) => headers.insert(FORWARDED_PREFIX, prefix),
            Err(_) => headers.remove(FORWARDED_PREFIX),
        };
    }
    if !connection.trusted {
        // Nobody who may not write them has left any.
        headers.append(FORWARDED_FOR, connection.peer_header.clone());
        headers.append(FORWARDED_PROTO, protocol(connection));
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.append(FORWARDED_HOST, host);
        }
        return;
    }
    let before: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let peer = &connection.peer_header;
    let chain = match before.is_empty() {
        true => peer.clone(),
        false => {
            let chain = [&before.join(&b", "[..]), peer.as_bytes()].join(&b", "[..]);
            HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
        }
    };
    headers.insert(FORWARDED_FOR, chain);
    if let Some(forwarded) = headers.get(header::FORWARDED) {
        // RFC 7239 section 4: an IPv6 address stands in brackets and quotes.
        let node = match connection.peer {
            IpAddr::V4(four) => format!(", for={four}"),
            IpAddr::V6(six) => format!(", for=\"[{six}]\""),
        };
        match HeaderValue::from_bytes(&[forwarded.as_bytes(), node.as_bytes()].concat()) {
            Ok(longer) => headers.insert(header::FORWARDED, longer),
            Err(_) => headers.remove(header::FORWARDED),
        };
    }
    let known = single(headers, &FORWARDED_PROTO).is_some_and(|proto| proto == "http" || proto == "https");
    if !known {
        headers.insert(FORWARDED_PROTO, protocol(connection));
    }
    if single(headers, &FORWARDED_HOST).is_none() {
        match headers.get(header::HOST).cloned() {
            Some(host) => headers.insert(FORWARDED_HOST, host),
            None => headers.remove(FORWARDED_HOST),
        };
    }
}

fn protocol(connection: &Connection) -> HeaderValue {
    HeaderValue::from_static(if connection.secure { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::route::fields::is_dropped;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
        }
        headers
    }

    fn connection(trusted: bool) -> Rc<Connection> {
        Connection::from("192.0.2.7:4711", true, |_| trusted)
    }

    fn stripped(lines: &[(&'static str, &'static str)], trusted: bool, allowed: &[&str]) -> HeaderMap {
        let allowed: Vec<Box<str>> = allowed.iter().map(|name| (*name).into()).collect();
        let mut left = headers(lines);
        drop_connection_options(&mut left);
        thin(&mut left, |name| fields::is_hop_by_hop(name) || is_dropped(name, trusted, &allowed));
        left
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let left = stripped(
            &[
                ("connection", "close"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "gzip"),
                ("trailer", "x-user"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
                ("proxy-authorization", "Basic eA=="),
                ("accept", "*/*"),
            ],
            true,
            &[],
        );
        assert_eq!(left, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn everything_that_any_connection_line_names_ends_here() {
        let left = stripped(
            &[
                ("connection", "close, X-One"),
                ("connection", "x-TWO ,, x-three"),
                ("connection", "not a name, x-four"),
                ("x-one", "1"),
                ("x-two", "2"),
                ("x-two", "2b"),
                ("x-three", "3"),
                ("x-four", "4"),
                ("x-five", "5"),
            ],
            false,
            &[],
        );
        assert_eq!(left, headers(&[("x-five", "5")]));
    }

    #[test]
    fn connection_cannot_take_the_host_or_the_length() {
        let left = stripped(
            &[("connection", "host, content-length"), ("host", "oms.example.org"), ("content-length", "5")],
            false,
            &[],
        );
        assert_eq!(left, headers(&[("host", "oms.example.org"), ("content-length", "5")]));
    }

    #[test]
    fn what_connection_names_is_gone_before_the_judge_looks_and_the_rest_is_not() {
        let mut seen = headers(&[
            ("connection", "x-territory, upgrade"),
            ("x-territory", "USS"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer x"),
        ]);
        drop_connection_options(&mut seen);
        assert_eq!(
            seen,
            headers(&[
                ("connection", "x-territory, upgrade"),
                ("upgrade", "websocket"),
                ("transfer-encoding", "chunked"),
                ("authorization", "Bearer x"),
            ])
        );
    }

    #[test]
    fn identity_override_and_original_url_names_go_in_every_fold_whoever_sends_them() {
        for name in [
            "X-Auth-Request-User",
            "x-auth-request-groups",
            "X_Auth_Request_User",
            "x.auth.request.user",
            "X-Portcullis",
            "x-portcullis-scopes",
            "X_Portcullis_Assertion",
            "X-Forwarded-User",
            "x-forwarded-email",
            "X-Forwarded-Preferred-Username",
            "X_Forwarded_User",
            "x-forwarded-uri",
            "x-forwarded-method",
            "Remote-User",
            "REMOTE_USER",
            "x-remote-groups",
            "x-authenticated-user",
            "X.Authenticated.User",
            "x-auth-user",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "x_http_method_override",
            "X-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Original-URI",
            "x-original-method",
            "X-Envoy-Original-Path",
            "X-MS-Client-Principal-Name",
            "X-Real-IP",
            "true-client-ip",
            "proxy",
            "x-goog-iap-jwt-assertion",
            "ssl_client_verify",
            "x!auth!request!user",
        ] {
            for trusted in [true, false] {
                let folded = name.to_ascii_lowercase();
                assert!(is_dropped(&folded, trusted, &[]), "{name}");
                assert!(is_dropped(&folded, trusted, &[folded.as_str().into()]), "{name} although it is asked for");
            }
        }
    }

    #[test]
    fn names_with_marks_go_unless_the_application_asks_for_them() {
        let lines = [("soap_action", "a"), ("x.trace", "b"), ("soap-action", "c")];
        assert_eq!(stripped(&lines, false, &[]), headers(&[("soap-action", "c")]));
        let asked = stripped(&lines, false, &["soap_action"]);
        assert_eq!(asked, headers(&[("soap_action", "a"), ("soap-action", "c")]));
        // Not even then, where another server would read a field that frames or authorizes.
        for name in ["content_length", "transfer_encoding", "x_forwarded_for", "proxy_authorization", "keep.alive"] {
            assert!(is_dropped(name, true, &[name.into()]), "{name}");
        }
    }

    #[test]
    fn ordinary_headers_stay() {
        for name in [
            "accept",
            "accept-language",
            "cookie",
            "content-type",
            "content-length",
            "user-agent",
            "origin",
            "referer",
            "if-none-match",
            "range",
            "sec-fetch-mode",
            "x-requested-with",
            "x-csrf-token",
            "x-territory",
            "x-api-key",
            "soapaction",
            "expect",
            "priority",
            "x-correlation-id",
            "cache-control",
            "authorization",
            "forwarded-x",
        ] {
            assert!(!is_dropped(name, false, &[]), "{name}");
        }
    }

    #[test]
    fn x_forwarded_begins_here_unless_a_trusted_proxy_began_it() {
        let sent = [
            ("host", "oms.example.org"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "public.example.org"),
            ("x-forwarded-port", "8443"),
            ("forwarded", "for=203.0.113.9"),
        ];
        let mut replaced = stripped(&sent, false, &[]);
        set_forwarded(&mut replaced, &connection(false), None);
        assert_eq!(
            replaced,
            headers(&[
                ("host", "oms.example.org"),
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "oms.example.org"),
            ])
        );
        let mut extended = stripped(&sent, true, &[]);
        set_forwarded(&mut extended, &connection(true), None);
        assert_eq!(
            extended,
            headers(&[
                ("host", "oms.example.org"),
                ("x-forwarded-for", "203.0.113.9, 198.51.100.1, 192.0.2.7"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "public.example.org"),
                ("x-forwarded-port", "8443"),
                ("forwarded", "for=203.0.113.9, for=192.0.2.7"),
            ])
        );
    }

    #[test]
    fn a_trusted_proxy_that_says_two_things_or_nonsense_is_not_believed() {
        let mut fields = headers(&[
            ("host", "oms.example.org"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-host", "b"),
        ]);
        set_forwarded(&mut fields, &connection(true), None);
        assert_eq!(fields["x-forwarded-proto"], "https");
        assert_eq!(fields.get_all("x-forwarded-host").iter().collect::<Vec<_>>(), ["oms.example.org"]);
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_wrote_itself() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        for (lines, client) in [
            (&[][..], "10.0.0.1"),
            (&[("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            (&[("x-forwarded-for", "198.51.100.1, 203.0.113.9, 10.0.0.2")], "203.0.113.9"),
            (&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.3")], "203.0.113.9"),
            (&[("x-forwarded-for", "10.0.0.4")], "10.0.0.4"),
            (&[("x-forwarded-for", "unknown, 10.0.0.5")], "10.0.0.5"),
        ] {
            let found = client_of(&headers(lines), "10.0.0.1".parse().unwrap(), trusted);
            assert_eq!(found.to_string(), client, "{lines:?}");
        }
    }

    #[test]
    fn a_given_request_id_is_kept_only_if_headers_and_logs_can_carry_it() {
        for (id, kept) in [
            ("4bf92f3577b34da6a3ce929d0e0e4736", true),
            ("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", true),
            ("short", false),
            ("with spaces and \" quotes", false),
            ("<script>alert(1)</script>", false),
        ] {
            assert_eq!(given_request_id(&headers(&[("x-request-id", id)])).is_some(), kept, "{id}");
        }
        assert!(given_request_id(&headers(&[("x-request-id", "aaaaaaaa"), ("x-request-id", "bbbbbbbb")])).is_none());
        let long: HeaderValue = "a".repeat(129).parse().unwrap();
        let mut fields = HeaderMap::new();
        fields.insert(REQUEST_ID, long);
        assert!(given_request_id(&fields).is_none());
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        let mut fields = headers(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut fields);
        assert_eq!(fields, headers(&[("cookie", "a=1; b=2; c=3")]));
    }

    #[test]
    fn an_answer_keeps_only_what_is_the_backend_s_to_say() {
        let mut fields = headers(&[
            ("connection", "keep-alive, x-internal"),
            ("keep-alive", "timeout=5"),
            ("x-internal", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-late"),
            ("upgrade", "h2"),
            ("x-portcullis", "refused"),
            ("x-portcullis-scopes", "all"),
            ("x-auth-request-user", "root"),
            ("x-request-id", "theirs"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("www-authenticate", "Basic realm=\"theirs\""),
        ]);
        to_client(&mut fields, &caller());
        assert_eq!(
            fields,
            headers(&[
                ("x-request-id", "ours"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("www-authenticate", "Basic realm=\"theirs\""),
            ])
        );
    }

    fn caller() -> Caller {
        Caller {
            connection: connection(false),
            client: "192.0.2.7".parse().unwrap(),
            id: RequestId::Made(1),
            id_header: HeaderValue::from_static("ours"),
            span: 1,
            trace: None,
            started: Instant::now(),
        }
    }

    #[test]
    fn a_length_goes_only_where_chunks_say_how_long_the_answer_is() {
        for (line, stays) in [
            (("connection", "close"), true),
            (("connection", "transfer-encoding"), true),
            (("transfer-encoding", "chunked"), false),
        ] {
            let mut fields = headers(&[("content-length", "5"), line]);
            to_client(&mut fields, &caller());
            assert_eq!(fields.contains_key("content-length"), stays, "{line:?}");
        }
    }

    /// Any lines of these names, `Connection` naming any of them.
    fn lines() -> impl Strategy<Value = HeaderMap> {
        let names = [
            "host",
            "content-length",
            "transfer-encoding",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "proxy-connection",
            "date",
            "accept",
            "cookie",
            "x-portcullis-scopes",
            "x-auth-request-user",
            "x-one",
            "x-two",
        ];
        let option = prop_oneof![
            4 => proptest::sample::select(names.to_vec()),
            1 => proptest::sample::select(vec!["close", "Keep-Alive", " keep-alive", "", "not a name", "X-ONE", "connection"]),
        ];
        let connection = proptest::collection::vec(option, 0..4).prop_map(|options| ("connection", options.join(", ")));
        let other = (proptest::sample::select(names.to_vec()), "[a-c]{0,2}");
        let line = prop_oneof![1 => connection, 4 => other];
        proptest::collection::vec(line, 0..16).prop_map(|lines| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value.parse().unwrap());
            }
            headers
        })
    }

    /// Whether any `Connection` line names a field, read one option at a time.
    fn is_named(headers: &HeaderMap, name: &HeaderName) -> bool {
        let mut lines = headers.get_all("connection").iter().map(|line| line.to_str().unwrap());
        *name != "host"
            && *name != "content-length"
            && lines.any(|line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str())))
    }

    fn one_by_one(headers: &HeaderMap, stays: impl Fn(&HeaderName) -> bool) -> HeaderMap {
        let mut left = HeaderMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| stays(name)) {
            left.append(name.clone(), value.clone());
        }
        left
    }

    proptest! {
        /// What goes on is what is left when each line is looked at by itself.
        #[test]
        fn each_line_goes_on_or_ends_by_itself(came in lines(), dropped in "x-one|accept|none") {
            let is_dropped = |name: &str| name == dropped;
            let stays = |name: &HeaderName| {
                !fields::is_hop_by_hop(name.as_str()) && !is_named(&came, name) && !is_dropped(name.as_str())
            };
            let mut left = came.clone();
            drop_connection_options(&mut left);
            thin(&mut left, |name| fields::is_hop_by_hop(name) || is_dropped(name));
            prop_assert_eq!(left, one_by_one(&came, stays));

            let mut answered = came.clone();
            to_client(&mut answered, &caller());
            let coded = came.contains_key("transfer-encoding");
            let dates = came.get_all("date").iter().count();
            let mut expected = one_by_one(&came, |name| {
                let ours = name.as_str().starts_with("x-portcullis") || name.as_str().starts_with("x-auth-request-");
                !(fields::is_hop_by_hop(name.as_str())
                    || is_named(&came, name)
                    || ours
                    || (*name == "content-length" && coded)
                    || (*name == "date" && dates > 1))
            });
            expected.insert(REQUEST_ID, HeaderValue::from_static("ours"));
            prop_assert_eq!(answered, expected);

            let mut judged = came.clone();
            drop_connection_options(&mut judged);
            let stays = |name: &HeaderName| fields::is_hop_by_hop(name.as_str()) || !is_named(&came, name);
            prop_assert_eq!(judged, one_by_one(&came, stays));
        }
    }
}
