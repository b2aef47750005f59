//! Where permitted requests go: the servers of a backend.

use std::sync::Arc;

/// A backend.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Its servers, at least one.
    pub servers: Vec<Server>,
    /// Certificate authorities (PEM) that https servers must chain to, in place of the public ones.
    pub ca: Option<Arc<[u8]>>,
}

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// `http://host:port`, as logs name it.
    pub name: Arc<str>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
}

impl Server {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// What is wrong, as a message.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("`{scheme}` is no scheme of an upstream")),
            None => return Err(format!("`{url}` is no URL")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("`{url}` has more than scheme, host and port"));
        }
        let host = super::host::Host::parse(authority).map_err(|_| format!("`{authority}` is no host and port"))?;
        let port = host.port.unwrap_or(if tls { 443 } else { 80 });
        let scheme = if tls { "https" } else { "http" };
        let bare = host.name.trim_start_matches('[').trim_end_matches(']');
        Ok(Self { name: format!("{scheme}://{}:{port}", host.name).into(), tls, host: bare.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let cases = [
            ("http://127.0.0.1:9001", ("http://127.0.0.1:9001", false, "127.0.0.1", 9001)),
            ("http://oms.internal", ("http://oms.internal:80", false, "oms.internal", 80)),
            ("https://oms.internal/", ("https://oms.internal:443", true, "oms.internal", 443)),
            ("https://[::1]:8443", ("https://[::1]:8443", true, "::1", 8443)),
        ];
        for (url, (name, tls, host, port)) in cases {
            let expected = Server { name: name.into(), tls, host: host.into(), port };
            assert_eq!(Server::parse(url), Ok(expected), "{url}");
        }
        for url in ["oms:80", "ftp://a", "http://a/b", "http://u@a", "http://", "http://a:0", "http://a?x"] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }
}
