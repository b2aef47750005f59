//! Which web page asks: the origin of a request, and whether a token in a cookie may count for it. Browsers send
//! cookies along whoever made the page, so a request that changes something must show that the application's own page
//! made it (Fetch Metadata, RFC 6454 section 7).

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;

use super::{Carrier, Environment, websocket};
use crate::model::Reason;
use crate::route::cors::{default_port, split};
use crate::route::host::Host;
use crate::route::{Application, Cors};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The origin of a page that `cors` of the application admits: it may read the answer.
pub(super) fn admitted(application: &Application, headers: &HeaderMap) -> Option<HeaderValue> {
    let cors = application.cors.as_ref()?;
    let origin = single(headers, &ORIGIN).ok()??;
    cors.admits(origin.as_bytes()).then(|| origin.clone())
}

/// Whether a token that comes by itself, in a cookie or by a sign-in proxy that was shown one, may count for this
/// request. A cookie counts only where a browser shows whose page asks; a proxy also serves clients that show nothing.
///
/// # Errors
/// [`Reason::CrossSite`] if another site may have made it.
pub(super) fn check_page(
    head: &Parts,
    host: &Host<'_>,
    cors: Option<&Cors>,
    environment: Environment<'_>,
    carrier: Carrier,
) -> Result<(), Reason> {
    let safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    // A handshake of WebSocket is a GET, but what comes after it may be anything.
    if safe && !websocket::asks_for_websocket(head) {
        return Ok(());
    }
    let site = single(&head.headers, &SEC_FETCH_SITE)?;
    let origin = single(&head.headers, &ORIGIN)?;
    if let (Some(cors), Some(origin)) = (cors.filter(|cors| cors.credentials), origin)
        && cors.admits(origin.as_bytes())
    {
        return Ok(());
    }
    let site_is_own = site.is_none_or(|site| site == "same-origin" || site == "none");
    let origin_is_own = origin.is_none_or(|origin| is_own(origin, head, host, environment));
    let shown = site.is_some() || origin.is_some() || carrier == Carrier::Header;
    if shown && site_is_own && origin_is_own { Ok(()) } else { Err(Reason::CrossSite) }
}

/// Whether a page of this origin is one of the application itself, as its clients see it.
fn is_own(origin: &HeaderValue, head: &Parts, host: &Host<'_>, environment: Environment<'_>) -> bool {
    let Some((scheme, name, port)) = origin.to_str().ok().and_then(split) else { return false };
    let own = scheme_of(head, environment);
    let own_port = host.port.or_else(|| default_port(own));
    scheme == own && name.name == host.name && Some(port) == own_port
}

/// The scheme that the client used: a trusted proxy knows better than the connection.
fn scheme_of(head: &Parts, environment: Environment<'_>) -> &'static str {
    let told = single(&head.headers, &FORWARDED_PROTO).ok().flatten().filter(|_| environment.trusted_peer);
    match told.map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if environment.secure => "https",
        _ => "http",
    }
}

/// The one value of a header.
///
/// # Errors
/// [`Reason::CrossSite`] if it came more than once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Reason> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Reason::CrossSite) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HOST;

    use super::*;

    const OWN: (&str, &str) = ("origin", "https://app.test");

    /// Method, environment, host, further lines; whether the cookie counts.
    type Case = (&'static str, Environment<'static>, &'static str, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn a_cookie_counts_for_what_the_applications_own_page_asks() {
        let plain = Environment {
            now: 0,
            trusted_peer: false,
            secure: false,
            has_body: false,
            server_name: None,
            certificate: None,
        };
        let secure = Environment { secure: true, ..plain };
        let behind = Environment { trusted_peer: true, ..plain };
        let cases: [Case; 30] = [
            ("GET", plain, "app.test", &[], true),
            ("GET", plain, "app.test", &[("sec-fetch-site", "cross-site")], true),
            ("HEAD", plain, "app.test", &[], true),
            ("OPTIONS", plain, "app.test", &[], true),
            ("GET", plain, "app.test", &[("upgrade", "foo, WebSocket")], false),
            ("GET", plain, "app.test", &[("upgrade", "h2c")], true),
            ("GET", secure, "app.test", &[("upgrade", "websocket"), OWN], true),
            ("POST", plain, "app.test", &[], false),
            ("BREW", plain, "app.test", &[], false),
            ("POST", plain, "app.test", &[("sec-fetch-site", "same-origin")], true),
            ("POST", plain, "app.test", &[("sec-fetch-site", "none")], true),
            ("POST", plain, "app.test", &[("sec-fetch-site", "same-site")], false),
            ("POST", plain, "app.test", &[("sec-fetch-site", "cross-site")], false),
            ("POST", plain, "app.test", &[("sec-fetch-site", "Same-Origin")], false),
            ("POST", plain, "app.test", &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], false),
            ("POST", secure, "app.test", &[OWN], true),
            ("POST", secure, "app.test:443", &[OWN], true),
            ("POST", secure, "app.test:8443", &[OWN], false),
            ("POST", secure, "app.test:8443", &[("origin", "https://app.test:8443")], true),
            ("POST", plain, "app.test", &[OWN], false),
            ("POST", plain, "app.test", &[("origin", "http://app.test")], true),
            ("POST", secure, "app.test", &[("origin", "http://app.test")], false),
            ("POST", secure, "app.test", &[("origin", "https://app.test.evil.test")], false),
            ("POST", secure, "app.test", &[("origin", "https://evil.test")], false),
            ("POST", secure, "app.test", &[("origin", "null"), ("sec-fetch-site", "same-origin")], false),
            ("POST", secure, "app.test", &[OWN, OWN], false),
            ("POST", secure, "app.test", &[OWN, ("sec-fetch-site", "cross-site")], false),
            ("POST", behind, "app.test", &[OWN, ("x-forwarded-proto", "https")], true),
            ("POST", plain, "app.test", &[OWN, ("x-forwarded-proto", "https")], false),
            ("POST", behind, "app.test", &[OWN, ("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")], false),
        ];
        for (method, environment, host, lines, may) in cases {
            let mut request = Request::builder().method(method).uri("/").header(HOST, host);
            for (name, value) in lines {
                request = request.header(*name, *value);
            }
            let head = request.body(()).unwrap().into_parts().0;
            let host_read = Host::parse(host).unwrap();
            let check = |carrier| check_page(&head, &host_read, None, environment, carrier).is_ok();
            assert_eq!(check(Carrier::Cookie), may, "{method} {environment:?} {host} {lines:?}");
            // A proxy's header needs no proof, but what is shown counts for it as well.
            let shows = lines.iter().any(|(name, _)| matches!(*name, "origin" | "sec-fetch-site"));
            assert_eq!(check(Carrier::Header), may || !shows, "{method} {environment:?} {host} {lines:?}");
        }
    }
}
