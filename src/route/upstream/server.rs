//! One server of a backend: where it is, as its URL says.

use std::path::Path;
use std::sync::Arc;

use crate::route::host::Host;

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// `http://host:port` or `unix:/path`, as logs name it.
    pub name: Arc<str>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Host name or address, without brackets.
        host: Arc<str>,
        /// Port.
        port: u16,
    },
    /// A socket of this machine, by its absolute path.
    Unix(Arc<Path>),
}

impl Server {
    /// Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/PATH`, behind which plain HTTP is spoken.
    ///
    /// # Errors
    /// What is wrong, as a message.
    pub fn parse(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Self::socket(url, path);
        }
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
        let host = Host::parse(authority).map_err(|_| format!("`{authority}` is no host and port"))?;
        let port = host.port.unwrap_or(if tls { 443 } else { 80 });
        let scheme = if tls { "https" } else { "http" };
        let bare = host.name.trim_start_matches('[').trim_end_matches(']');
        let endpoint = Endpoint::Tcp { host: bare.into(), port };
        Ok(Self { name: format!("{scheme}://{}:{port}", host.name).into(), tls, endpoint })
    }

    fn socket(url: &str, path: &str) -> Result<Self, String> {
        // What `sun_path` holds, with its final NUL.
        const LONGEST: usize = 107;
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.ends_with('/') || path.len() > LONGEST || path.contains(char::is_control) {
            return Err(format!("`{url}` is no absolute path of a socket of at most {LONGEST} bytes"));
        }
        Ok(Self { name: format!("unix:{path}").into(), tls: false, endpoint: Endpoint::Unix(Path::new(path).into()) })
    }

    /// The `HOST[:PORT]` that names it in a `Host` header, the scheme's own port left out; `localhost` behind a socket.
    pub fn authority(&self) -> &str {
        let Some((_, authority)) = self.name.split_once("://") else { return "localhost" };
        authority.strip_suffix(if self.tls { ":443" } else { ":80" }).unwrap_or(authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_an_authority_of_its_own() {
        for (url, authority) in [
            ("http://oms.internal", "oms.internal"),
            ("http://oms.internal:443", "oms.internal:443"),
            ("https://oms.internal", "oms.internal"),
            ("https://[::1]:8443", "[::1]:8443"),
            ("unix:/run/oms.sock", "localhost"),
        ] {
            assert_eq!(Server::parse(url).unwrap().authority(), authority, "{url}");
        }
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let cases = [
            ("http://127.0.0.1:9001", ("http://127.0.0.1:9001", false, "127.0.0.1", 9001)),
            ("http://oms.internal", ("http://oms.internal:80", false, "oms.internal", 80)),
            ("https://oms.internal/", ("https://oms.internal:443", true, "oms.internal", 443)),
            ("https://[::1]:8443", ("https://[::1]:8443", true, "::1", 8443)),
        ];
        for (url, (name, tls, host, port)) in cases {
            let endpoint = Endpoint::Tcp { host: host.into(), port };
            let expected = Server { name: name.into(), tls, endpoint };
            assert_eq!(Server::parse(url), Ok(expected), "{url}");
        }
        for url in ["unix:/run/oms.sock", "unix:///run/oms.sock"] {
            let server = Server::parse(url).unwrap();
            assert_eq!((&*server.name, server.tls), ("unix:/run/oms.sock", false));
            assert_eq!(server.endpoint, Endpoint::Unix(Path::new("/run/oms.sock").into()));
        }
        let long = format!("unix:/{}", "a".repeat(107));
        for url in ["unix:", "unix:run/a", "unix:/run/", "unix:/run/\0", long.as_str()] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
        for url in ["oms:80", "ftp://a", "http://a/b", "http://u@a", "http://", "http://a:0", "http://a?x"] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }
}
