//! Which web pages of other origins may call an application, and what browsers are told of it (the CORS protocol of the
//! Fetch standard).

use http::HeaderValue;

use super::host::Host;
use super::table::Table;
use crate::diag::Report;
use crate::document::Located;
use crate::document::entrance::CorsDocument;

/// Request headers that a preflight may ask for where nothing is written.
const HEADERS: [&str; 2] = ["authorization", "content-type"];

/// What an application tells browsers.
#[derive(Debug)]
pub struct Cors {
    /// Serialized origins; `None` for any.
    origins: Option<Vec<Box<str>>>,
    methods: Vec<Box<str>>,
    /// In lower case.
    headers: Vec<Box<str>>,
    /// Whether pages may call with cookies.
    pub credentials: bool,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: HeaderValue,
    /// `Access-Control-Allow-Headers`, if any is allowed.
    pub allow_headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`, if any is exposed.
    pub expose: Option<HeaderValue>,
    /// `Access-Control-Max-Age`, in seconds.
    pub max_age: HeaderValue,
}

impl Cors {
    /// Whether pages of this origin (the value of `Origin`) may call. `null` is everybody's, so it never may.
    pub fn admits(&self, origin: &[u8]) -> bool {
        match &self.origins {
            Some(origins) => origins.iter().any(|known| known.as_bytes() == origin),
            None => std::str::from_utf8(origin).is_ok_and(|origin| split(origin).is_some()),
        }
    }

    /// Whether a preflight may ask for this method.
    pub fn admits_method(&self, method: &[u8]) -> bool {
        self.methods.iter().any(|known| known.as_bytes() == method)
    }

    /// Whether a preflight may ask for this request header.
    pub fn admits_header(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The origins in words, for reviews.
    pub fn origins(&self) -> Vec<&str> {
        self.origins.as_ref().map_or_else(|| vec!["*"], |list| list.iter().map(|origin| &**origin).collect())
    }
}

/// Scheme, host and port (that of the scheme if none is written) of a serialized origin; `None` of anything else.
pub fn split(origin: &str) -> Option<(&str, Host<'_>, u16)> {
    let (scheme, authority) = origin.split_once("://")?;
    let default = default_port(scheme)?;
    let host = Host::parse(authority).ok()?;
    let port = host.port.unwrap_or(default);
    Some((scheme, host, port))
}

/// The port of a scheme of web pages.
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// Reads `cors` of an application whose routes are in the table.
pub(super) fn compile(cors: &CorsDocument, table: &Table, report: &mut Report) -> Cors {
    let origins = origins(cors, report);
    if origins.is_none() && cors.credentials.value {
        let message = "every page on the web could call with the caller's cookies";
        report.error("conflict", cors.credentials.place, message).help("list the origins instead of `*`");
    }
    let methods: Vec<Box<str>> = match &cors.methods {
        Some(methods) => {
            methods.iter().filter_map(|method| name(method, "method", str::to_ascii_uppercase, report)).collect()
        }
        // The same for every path: a stranger learns no routes.
        None => table.all_methods().into_iter().map(Box::from).collect(),
    };
    let headers: Vec<Box<str>> = match &cors.headers {
        Some(headers) => {
            headers.iter().filter_map(|header| name(header, "header", str::to_ascii_lowercase, report)).collect()
        }
        None => HEADERS.map(Box::from).to_vec(),
    };
    let expose = cors.expose.iter().filter_map(|header| name(header, "header", str::to_ascii_lowercase, report));
    let expose: Vec<Box<str>> = expose.collect();
    Cors {
        origins,
        credentials: cors.credentials.value,
        allow_methods: listed(&methods).unwrap_or(HeaderValue::from_static("")),
        allow_headers: listed(&headers),
        expose: listed(&expose),
        max_age: HeaderValue::from(cors.max_age.as_secs()),
        methods,
        headers,
    }
}

/// The names of a list as one header value; all of them are tokens.
fn listed(names: &[Box<str>]) -> Option<HeaderValue> {
    HeaderValue::try_from(names.join(", ")).ok().filter(|value| !value.is_empty())
}

fn origins(cors: &CorsDocument, report: &mut Report) -> Option<Vec<Box<str>>> {
    let mut origins = Vec::new();
    if let Some(any) = cors.origins.iter().find(|origin| origin.value == "*") {
        if cors.origins.len() > 1 {
            report
                .error("conflict", any.place, "`*` is every origin, so no other can be listed beside it")
                .help("remove `*`, or all others");
        }
        return None;
    }
    for written in &cors.origins {
        match canonical(&written.value) {
            Some(origin) if origin == written.value && !origins.contains(&Box::from(origin.as_str())) => {
                origins.push(origin.into());
            }
            Some(origin) if origin == written.value => {
                let message = format!("`{origin}` stands in this list for the second time");
                report.error("duplicate_value", written.place, message).help("remove one of the two");
            }
            other => {
                let message = format!("`{}` is no origin as browsers send it", written.value);
                let help = match other {
                    Some(origin) => format!("write `{origin}`"),
                    None => "write `https://HOST` or `https://HOST:PORT`, or `*` alone".to_owned(),
                };
                report.error("bad_origin", written.place, message).help(help);
            }
        }
    }
    Some(origins)
}

/// The origin of a URL as browsers serialize it: lower case, without the scheme's own port.
fn canonical(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (scheme, host, port) = split(lower.strip_suffix('/').unwrap_or(&lower))?;
    let port = if default_port(scheme) == Some(port) { String::new() } else { format!(":{port}") };
    Some(format!("{scheme}://{}{port}", host.name))
}

/// A name that stands for itself: `*` would mean all.
fn name(written: &Located<String>, what: &str, form: impl Fn(&str) -> String, report: &mut Report) -> Option<Box<str>> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if written.value.is_empty() || !written.value.bytes().all(letters) {
        let message = format!("`{}` is no name of a {what}", written.value);
        report.error("bad_value", written.place, message).help("name each one; there is no `*` here");
        return None;
    }
    Some(form(&written.value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_one_form() {
        for (text, form) in [
            ("https://app.example.org", Some("https://app.example.org")),
            ("https://App.Example.org/", Some("https://app.example.org")),
            ("https://app.example.org:443", Some("https://app.example.org")),
            ("http://app.example.org:443", Some("http://app.example.org:443")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("app.example.org", None),
            ("https://app.example.org/a", None),
            ("https://*.example.org", None),
            ("ftp://app.example.org", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(canonical(text).as_deref(), form, "{text}");
        }
    }
}
