//! Where an application looks for its callers' tokens.

use http::HeaderName;

use super::cookies::resembles;
use super::{Access, Route};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::entrance::TokenPlaceDocument;
use crate::document::routes::ApplicationDocument;
use crate::policy::Rules;

/// The places in which an application looks for a token; at least one.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenPlaces {
    /// `Authorization` with the scheme `Bearer`.
    pub bearer: bool,
    /// Cookies by name. No two look alike.
    pub cookies: Vec<Box<str>>,
    /// Headers, believed of trusted proxies only.
    pub headers: Vec<HeaderName>,
}

impl Default for TokenPlaces {
    fn default() -> Self {
        Self { bearer: true, cookies: Vec::new(), headers: Vec::new() }
    }
}

/// Headers that mean something else already, beside the families of [`FAMILIES`].
const TAKEN: [&str; 41] = [
    "accept",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "www-authenticate",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-user",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-request-id",
];
const FAMILIES: [&str; 6] = ["accept-", "access-control-", "content-", "if-", "sec-", "x-portcullis"];

/// Reads the places of an application whose routes are compiled.
pub(super) fn compile(application: &ApplicationDocument, routes: &[Route], report: &mut Report) -> TokenPlaces {
    let only_bearer = |place: &TokenPlaceDocument| matches!(place, TokenPlaceDocument::Bearer(_));
    if let Some(place) = application.connection_auth
        && application.token.iter().all(only_bearer)
    {
        let message = "`connection_auth` does nothing: the token of this application is in `Authorization` itself";
        let found = report.error("conflict", place, message);
        found.help("add a cookie or a header to `token`, or remove `connection_auth`");
    }
    if application.token.is_empty() {
        return TokenPlaces::default();
    }
    let mut places = TokenPlaces { bearer: false, cookies: Vec::new(), headers: Vec::new() };
    let mut seen: Vec<(String, Place)> = Vec::new();
    for written in &application.token {
        let (name, place) = match written {
            TokenPlaceDocument::Bearer(place) => ("bearer", *place),
            TokenPlaceDocument::Cookie(name) | TokenPlaceDocument::Header(name) => (name.value.as_str(), name.place),
        };
        let kind = match written {
            TokenPlaceDocument::Bearer(_) => "",
            TokenPlaceDocument::Cookie(_) => "cookie ",
            TokenPlaceDocument::Header(_) => "header ",
        };
        let same = |(other, _): &&(String, Place)| {
            other.strip_prefix(kind).is_some_and(|other| resembles(name.as_bytes(), other))
        };
        if let Some((_, first)) = seen.iter().find(same) {
            let message = format!("`{name}` stands in this list for the second time, or looks like an entry before it");
            report.error("duplicate_value", place, message).help("remove one of the two").also(*first, "first here");
        }
        seen.push((format!("{kind}{name}"), place));
        match written {
            TokenPlaceDocument::Bearer(_) => places.bearer = true,
            TokenPlaceDocument::Cookie(name) => places.cookies.extend(cookie(name, report)),
            TokenPlaceDocument::Header(name) => places.headers.extend(header(name, routes, report)),
        }
    }
    if application.forward_authorization && !places.bearer {
        let message = "`forward_authorization` does nothing: no token of this application is in `Authorization`";
        let place = seen.first().map(|(_, place)| *place);
        report.error("conflict", place, message).help("add `bearer` to `token`, or remove `forward_authorization`");
    }
    for allowed in &application.allow_headers {
        if places.headers.iter().any(|name| resembles(allowed.value.as_bytes(), name.as_str())) {
            let message = format!("some backends read `{}` as a header that carries tokens here", allowed.value);
            report.error("header_clash", allowed.place, message).help("take it off `allow_headers`");
        }
    }
    places
}

/// Whether a text may be the name of a field or a cookie (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(letters)
}

fn cookie(name: &Located<String>, report: &mut Report) -> Option<Box<str>> {
    if !is_token(&name.value) {
        let message = format!("`{}` is no name of a cookie", name.value);
        report.error("bad_value", name.place, message).help("use letters, digits, `-`, `_` and `.`");
        return None;
    }
    Some(name.value.as_str().into())
}

fn header(name: &Located<String>, routes: &[Route], report: &mut Report) -> Option<HeaderName> {
    let lower = name.value.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if lower.is_empty() || !lower.bytes().all(plain) {
        let message = format!("`{}` is no name of a header that carries a token", name.value);
        report.error("bad_value", name.place, message).help("use letters, digits and `-`");
        return None;
    }
    if TAKEN.contains(&lower.as_str()) || FAMILIES.iter().any(|family| lower.starts_with(family)) {
        let message = format!("`{}` has another meaning already", name.value);
        let help =
            "write `bearer` for `Authorization`, `{cookie: NAME}` for a cookie, or the header of your sign-in proxy";
        report.error("header_clash", name.place, message).help(help);
        return None;
    }
    let mut rules = routes.iter().filter_map(|route| match &route.access {
        Access::Rules(rules) => Some((route, rules)),
        Access::Public | Access::GateOnly => None,
    });
    if let Some((route, _)) = rules.find(|(_, rules)| Rules::header_names(rules).any(|read| *read == lower)) {
        let message = format!("`{}` decides on the route `{}`, so it cannot carry a token", name.value, route.id);
        report.error("header_clash", name.place, message).help("name another header");
        return None;
    }
    HeaderName::from_bytes(lower.as_bytes()).ok()
}
