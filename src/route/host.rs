//! Hosts in one form: lower case, without a final dot, the port apart. RFC 9110 section 4.2.3, RFC 9112 section 3.2.

use std::borrow::Cow;

/// A host in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'r> {
    /// Name or address, an IPv6 address in its brackets.
    pub name: Cow<'r, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// The host is not of the form `NAME[:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHost;

impl<'r> Host<'r> {
    /// Reads a `Host` header or the authority of a target. User information, blanks, lists and empty or
    /// out-of-range ports are refused.
    ///
    /// # Errors
    /// [`BadHost`] for any other form.
    pub fn parse(text: &'r str) -> Result<Self, BadHost> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(BadHost)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| BadHost)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BadHost)?) };
                (text.get(..address.len() + 2).ok_or(BadHost)?, port)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(BadHost)?)
            }
            Some(_) => return Err(BadHost),
        };
        if !name.starts_with('[') {
            let name = name.strip_suffix('.').unwrap_or(name);
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > 253 || !name.bytes().all(letters) || name.split('.').any(str::is_empty) {
                return Err(BadHost);
            }
        }
        let name = if name.starts_with('[') { name } else { name.strip_suffix('.').unwrap_or(name) };
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Ok(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        let cases = [
            ("oms.example.org", ("oms.example.org", None)),
            ("OMS.Example.ORG.", ("oms.example.org", None)),
            ("oms.example.org:8443", ("oms.example.org", Some(8443))),
            ("127.0.0.1:80", ("127.0.0.1", Some(80))),
            ("[::1]:8080", ("[::1]", Some(8080))),
            ("[::1]", ("[::1]", None)),
        ];
        for (text, (name, port)) in cases {
            assert_eq!(Host::parse(text), Ok(Host { name: name.into(), port }), "{text}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "user@host",
            "a b",
            "a,b",
            "a/b",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:80:80",
            "[::1",
            "[x]",
            "[::1]80",
            "::1",
            "a..",
            "ä.example",
        ] {
            assert_eq!(Host::parse(text), Err(BadHost), "{text}");
        }
    }
}
