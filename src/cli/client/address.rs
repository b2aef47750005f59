//! The address of an operators' listener as the command line takes it.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    secure: bool,
    host: String,
    port: u16,
}

impl Address {
    /// Reads `https://HOST:PORT`, or `http://HOST:PORT` on this host.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is no address of a listener; write `https://HOST:PORT` without a path");
        let url: Uri = text.parse().map_err(|_| form())?;
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(form()),
        };
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(form)?;
        let rest = url.path_and_query().map_or("/", |rest| rest.as_str());
        if rest != "/" || text.contains('#') || authority.host().is_empty() {
            return Err(form());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if secure {
                    443
                } else {
                    80
                }
            }
            _ => authority.port_u16().filter(|port| *port > 0).ok_or_else(form)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !secure && !here {
            return Err(format!(
                "`{text}` would send the token in the clear: write `https://`, or reach the listener over a tunnel \
                 (`ssh -L`) as `http://127.0.0.1:PORT`"
            ));
        }
        Ok(Self { secure, host, port })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is asked over TLS.
    pub(super) const fn is_secure(&self) -> bool {
        self.secure
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secure, host, port } = self;
        let scheme = if *secure { "https" } else { "http" };
        if host.contains(':') {
            write!(out, "{scheme}://[{host}]:{port}")
        } else {
            write!(out, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_elsewhere_is_asked_over_tls_only() {
        for (written, read) in [
            ("http://127.0.0.1:9901", Some("http://127.0.0.1:9901")),
            ("http://localhost:9901/", Some("http://localhost:9901")),
            ("http://[::1]:9901", Some("http://[::1]:9901")),
            ("https://Gate.example:9901", Some("https://gate.example:9901")),
            ("https://gate.example", Some("https://gate.example:443")),
            ("https://10.0.0.7:9901", Some("https://10.0.0.7:9901")),
            ("http://10.0.0.7:9901", None),
            ("http://gate.example:9901", None),
            ("http://localhost.example:9901", None),
        ] {
            assert_eq!(Address::parse(written).ok().map(|known| known.to_string()).as_deref(), read, "{written}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "127.0.0.1:9901",
            "ftp://127.0.0.1:1",
            "https://",
            "https://olga@gate.example:1",
            "https://olga:secret@gate.example:1",
            "https://gate.example:1/reload",
            "https://gate.example:1?x",
            "https://gate.example:1#x",
            "https://gate.example:0",
            "https://gate.example:",
            "https://gate.example:99999",
            "https://gate example:1",
            "https://gate.example:1\r\nX: y",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
