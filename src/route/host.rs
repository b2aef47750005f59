//! Hosts in one form: lower case, without a final dot, addresses in one spelling, the port apart. RFC 9110 section
//! 4.2.3, RFC 9112 section 3.2, RFC 5952.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A host in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'r> {
    /// Name or address, an IPv6 address in its brackets.
    pub name: Cow<'r, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// What ends a label.
const DOT: u8 = 1;
/// A letter that the canonical form has in another case.
const CAPITAL: u8 = 2;
/// What no name has.
const OTHER: u8 = 4;

/// The kind of each byte; those that stand in the canonical form of a label are of none.
#[expect(clippy::indexing_slicing, reason = "a byte of 256, and found out by the compiler")]
const KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => 0,
            b'A'..=b'Z' => CAPITAL,
            b'.' => DOT,
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
};

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
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BadHost)?) };
                (Self::address(text.get(..address.len() + 2).ok_or(BadHost)?, address)?, port)
            }
            None => match text.bytes().position(|byte| byte == b':').and_then(|colon| text.split_at_checked(colon)) {
                Some((name, port)) => (Self::name(name)?, port.strip_prefix(':')),
                None => (Self::name(text)?, None),
            },
        };
        let port = match port {
            None => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(BadHost)?)
            }
            Some(_) => return Err(BadHost),
        };
        Ok(Self { name, port })
    }

    fn name(written: &'r str) -> Result<Cow<'r, str>, BadHost> {
        let name = written.strip_suffix('.').unwrap_or(written);
        if name.len() > 253 {
            return Err(BadHost);
        }
        // No label is empty, the first as little as the last.
        let (mut all, mut empty, mut last) = (0, 0, DOT);
        for byte in name.bytes() {
            let kind = KINDS.get(usize::from(byte)).copied().unwrap_or(OTHER);
            all |= kind;
            empty |= kind & last & DOT;
            last = kind;
        }
        if all & OTHER != 0 || (empty | last) & DOT != 0 {
            return Err(BadHost);
        }
        Ok(if all & CAPITAL == 0 { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
    }

    /// An address in the one spelling of RFC 5952, with its brackets. `written` has them too.
    fn address(written: &'r str, address: &str) -> Result<Cow<'r, str>, BadHost> {
        let canonical = format!("[{}]", address.parse::<Ipv6Addr>().map_err(|_| BadHost)?);
        Ok(if canonical == written { Cow::Borrowed(written) } else { Cow::Owned(canonical) })
    }

    /// Whether this is how the host is written in its canonical form.
    pub fn is_written(&self, text: &[u8]) -> bool {
        let Some(rest) = text.strip_prefix(self.name.as_bytes()) else { return false };
        let digits = rest.strip_prefix(b":").and_then(|digits| std::str::from_utf8(digits).ok());
        match self.port {
            None => rest.is_empty(),
            Some(port) => digits.is_some_and(|digits| !digits.starts_with(['0', '+']) && digits.parse() == Ok(port)),
        }
    }
}

impl fmt::Display for Host<'_> {
    /// The canonical form, as a `Host` header has it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
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
            ("oms.example.org:0080", ("oms.example.org", Some(80))),
            ("[::1]:8080", ("[::1]", Some(8080))),
            ("[::1]", ("[::1]", None)),
            ("[0:0::0001]:80", ("[::1]", Some(80))),
            ("[2001:DB8::A]", ("[2001:db8::a]", None)),
            ("[::ffff:1.2.3.4]", ("[::ffff:1.2.3.4]", None)),
        ];
        for (text, (name, port)) in cases {
            let host = Host::parse(text).unwrap();
            assert_eq!(host, Host { name: name.into(), port }, "{text}");
            let canonical = host.to_string();
            assert_eq!(Host::parse(&canonical).as_ref(), Ok(&host), "{canonical}");
            assert!(host.is_written(canonical.as_bytes()), "{canonical}");
            assert_eq!(host.is_written(text.as_bytes()), text == canonical, "{text}");
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
            "[::1%25eth0]",
            "[::1].",
            "[v1.x]",
            "user:80@host",
            "a:080 ",
            "a%2eb",
            "a\\b",
            "a#b",
            "a?b",
            "a..",
            "ä.example",
        ] {
            assert_eq!(Host::parse(text), Err(BadHost), "{text}");
        }
    }
}
