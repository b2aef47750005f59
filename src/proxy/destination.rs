//! What an upstream asks of the head of a request: the form of its target, the `Host`, and the gateway's own
//! credentials.

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

use crate::route::upstream::{Credentials, HostHeader};
use crate::route::{Server, Upstream};

/// The header in which the gateway shows an upstream who it is; whatever a client sends there goes.
pub(super) fn credential_header(upstream: &Upstream) -> Option<&HeaderName> {
    match &upstream.credentials {
        Some(Credentials::Header { name, .. }) => Some(name),
        Some(Credentials::Query { .. }) | None => None,
    }
}

/// Sets that header.
pub(super) fn show_credentials(headers: &mut HeaderMap, upstream: &Upstream) {
    if let Some(Credentials::Header { name, value }) = &upstream.credentials {
        headers.insert(name.clone(), value.clone());
    }
}

/// The target as an origin server wants it (RFC 9112 section 3.2.1): path and query as they were judged, and behind
/// them the parameter in which the gateway shows who it is.
pub(super) fn origin_form(target: &Uri, upstream: &Upstream) -> Uri {
    let Some(judged) = target.path_and_query() else { return Uri::default() };
    let Some(Credentials::Query { pair, .. }) = &upstream.credentials else { return Uri::from(judged.clone()) };
    let mark: &[u8] = match judged.query() {
        None => b"?",
        Some("") => b"",
        Some(_) => b"&",
    };
    let longer = Bytes::from([judged.as_str().as_bytes(), mark, pair.expose()].concat());
    // Only characters were added that a query may have; only the length could be too much, and then the backend says
    // no.
    PathAndQuery::from_maybe_shared(longer).map_or_else(|_| Uri::from(judged.clone()), Uri::from)
}

/// Takes the secret parameter out of an answer: servers that redirect (a missing slash, another page) copy the query that they
/// were asked with, and the client would read it there.
pub(super) fn hide_credentials(answer: &mut HeaderMap, upstream: &Upstream) {
    let Some(Credentials::Query { pair, .. }) = &upstream.credentials else { return };
    for value in answer.values_mut() {
        while let Some(Ok(less)) = without(value.as_bytes(), pair.expose()).map(|less| HeaderValue::from_bytes(&less)) {
            *value = less;
        }
    }
}

/// A URL without a parameter and the mark that led to it; `None` if it is not there. Hexadecimal digits may come back in
/// another case.
fn without(url: &[u8], pair: &[u8]) -> Option<Vec<u8>> {
    let at = url.windows(pair.len().max(1)).position(|part| part.eq_ignore_ascii_case(pair))?;
    let (before, rest) = url.split_at_checked(at)?;
    let behind = rest.get(pair.len()..)?;
    let (before, behind) = match (before.split_last(), behind.split_first()) {
        // The next parameter becomes the first.
        (Some((b'?', _)), Some((b'&', next))) => (before, next),
        (Some((b'?' | b'&', before)), _) => (before, behind),
        _ => (before, behind),
    };
    Some([before, behind].concat())
}

/// Names the `Host` that the upstream wants, now that it is known which server is asked.
pub(super) fn name_host(headers: &mut HeaderMap, upstream: &Upstream, server: &Server) {
    let name = match &upstream.host {
        HostHeader::Preserve => return,
        HostHeader::Named(name) => name.clone(),
        // A server's name is a host and a port in their one form, which a header can carry.
        HostHeader::Server => match HeaderValue::from_str(server.authority()) {
            Ok(name) => name,
            Err(_) => return,
        },
    };
    headers.insert(HOST, name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> Upstream {
        Upstream::plain("u", vec![Server::parse("http://oms.internal:8080").unwrap()])
    }

    #[test]
    fn targets_go_out_in_origin_form_with_path_and_query_as_they_came() {
        for (came, goes) in [
            ("/a%2Db?x=%20&y", "/a%2Db?x=%20&y"),
            ("http://oms.example.org/a?b", "/a?b"),
            ("https://oms.example.org", "/"),
            ("/", "/"),
        ] {
            assert_eq!(origin_form(&came.parse().unwrap(), &upstream()).to_string(), goes);
        }
    }

    #[test]
    fn a_secret_parameter_stands_behind_those_of_the_client() {
        let credentials = Some(Credentials::query("key", "a b").unwrap());
        let upstream = Upstream { credentials, ..upstream() };
        for (came, goes) in
            [("/a", "/a?key=a%20b"), ("/a?", "/a?key=a%20b"), ("/a?x=1", "/a?x=1&key=a%20b"), ("/", "/?key=a%20b")]
        {
            assert_eq!(origin_form(&came.parse().unwrap(), &upstream).to_string(), goes);
        }
    }

    #[test]
    fn the_host_is_the_clients_the_servers_or_a_name() {
        let named = HostHeader::Named(HeaderValue::from_static("b:1"));
        let all = [(HostHeader::Preserve, "a"), (HostHeader::Server, "oms.internal:8080"), (named, "b:1")];
        for (host, expected) in all {
            let upstream = Upstream { host, ..upstream() };
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a"))]);
            name_host(&mut headers, &upstream, &upstream.servers[0]);
            assert_eq!(headers[HOST], expected);
        }
    }
}
