//! How the data plane runs: the bounds and times of gateway.yaml as plain values, and the networks that are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

pub use super::trace::Sample;

/// Everything of gateway.yaml that the data plane needs; fixed until restart.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds on what one client or the whole process may use.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// How often anybody may ask.
    pub rates: Rates,
    /// Peers whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id` and, with [`traces`](Self::traces), `traceparent` are believed. Empty: nobody's.
    pub trusted_proxies: Vec<Network>,
    /// How many requests are traced; `None` where nothing is.
    pub traces: Option<Sample>,
}

/// `limits` of gateway.yaml; the defaults are the file's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections at once, all listeners together. For more, those that idle longest give way; where none idles,
    /// they wait to be accepted.
    pub connections: usize,
    /// Most connections at once of one [`ClientNetwork`]. For more, its own that idle longest give way; where none
    /// idles, they are closed.
    pub connections_per_client: usize,
    /// Most requests in flight at once; more are answered 503.
    pub requests: usize,
    /// Largest request head in bytes.
    pub head_bytes: usize,
    /// Longest path and query together in bytes; more are answered 414.
    pub target_bytes: usize,
    /// Most header lines in a request.
    pub headers: usize,
    /// Largest form in bytes that is read to judge its request.
    pub form_bytes: usize,
    /// Most streams that one HTTP/2 connection may have open.
    pub streams: u32,
    /// Most tokens of one [`ClientNetwork`] in a second that turn out to be bad; what it sends beyond is believed only if
    /// it is remembered. 0 is no bound.
    pub failed_tokens_per_client: u32,
    /// Most idle connections kept for each upstream server by each worker thread.
    pub upstream_idle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_client: 1_024,
            requests: 8_192,
            head_bytes: 64 * 1024,
            target_bytes: 16 * 1024,
            headers: 100,
            form_bytes: 64 * 1024,
            streams: 128,
            failed_tokens_per_client: 100,
            upstream_idle: 128,
        }
    }
}

/// `timeouts` of gateway.yaml; the defaults are the file's.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From a connection's beginning, or the first byte of a later request, to the whole request head.
    pub client_head: Duration,
    /// How long a client's connection may idle between requests.
    pub client_idle: Duration,
    /// Between two pieces of a request body, for the whole of a form that is read to judge its request, and for a
    /// client that does not take the bytes of its answer.
    pub client_body: Duration,
    /// From a request's head to the end of its answer; streams of events are exempt. `None` is no bound.
    pub request: Option<Duration>,
    /// To connect to an upstream server, name resolution and TLS included.
    pub connect: Duration,
    /// From the last piece of the request sent to the head of the answer.
    pub response: Duration,
    /// Between two pieces of a response body.
    pub response_body: Duration,
    /// How long an idle upstream connection is kept.
    pub upstream_idle: Duration,
    /// How long a tunnel may be silent in both directions.
    pub tunnel_idle: Duration,
    /// How long a drain waits for running requests.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            client_head: Duration::from_secs(30),
            client_idle: Duration::from_secs(60),
            client_body: Duration::from_secs(30),
            request: Some(Duration::from_secs(3600)),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            response_body: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}

/// `rates` of gateway.yaml; by default there is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Of one [`ClientNetwork`], whatever it asks for.
    pub per_client: Option<Rate>,
    /// Of one principal's permitted requests.
    pub per_principal: Option<Rate>,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many times.
    pub requests: NonZeroU32,
    /// In how long.
    pub per: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// One client as limits count it: an IPv4 address, or the /64 of an IPv6 one, within which whoever has one address has
/// them all (RFC 4291 section 2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(u128);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        let bits = mapped(address);
        let of_ipv4 = address.to_canonical().is_ipv4();
        Self(if of_ipv4 { bits } else { bits & (u128::MAX << 64) })
    }
}

/// A network in CIDR form (RFC 4632), or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// As IPv6; an IPv4 address in its mapped form (RFC 4291 section 2.5.5.2).
    bits: u128,
    mask: u128,
}

impl Network {
    /// Whether the network has this address. An IPv4 address and its mapped form are the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        mapped(address) & self.mask == self.bits
    }
}

/// Why a text is no network: for the operator, as the rest of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `ADDRESS` or `ADDRESS/BITS`. Bits set behind the prefix are refused: the writer meant something else.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| NotANetwork(format!("`{address}` is no IPv4 or IPv6 address")))?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) => match digits.parse::<u32>() {
                Ok(bits) if bits <= width && digits.bytes().all(|b| b.is_ascii_digit()) => bits,
                _ => return Err(NotANetwork(format!("`/{digits}` is no prefix length from 0 to {width}"))),
            },
        };
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
        let bits = mapped(address);
        if bits & !mask != 0 {
            return Err(NotANetwork(format!("`{text}` has bits set behind its prefix")));
        }
        Ok(Self { bits: bits & mask, mask })
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => Ipv6Addr::from(six.octets()),
    }
    .to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.0.0.0/8", "::ffff:10.9.9.9", "::ffff:11.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "203.0.113.9", "none"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside}");
            if let Ok(outside) = outside.parse() {
                assert!(!network.contains(outside), "{outside}");
            }
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_the_64_of_an_ipv6_one() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let [one, other] = [one, other].map(|text| ClientNetwork::from(text.parse::<IpAddr>().unwrap()));
            assert_eq!(one == other, same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn other_text_is_refused_with_its_cause() {
        for (text, cause) in [
            ("", "no IPv4 or IPv6 address"),
            ("10.0.0.0/33", "prefix length from 0 to 32"),
            ("10.0.0.0/+8", "prefix length"),
            ("10.0.0.0/", "prefix length"),
            ("10.0.0.1/8", "behind its prefix"),
            ("proxy.example.org", "no IPv4 or IPv6 address"),
            ("::1/129", "0 to 128"),
        ] {
            let fault = text.parse::<Network>().unwrap_err().to_string();
            assert!(fault.contains(cause), "{text}: {fault}");
        }
    }
}
