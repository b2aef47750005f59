//! What header names mean to whoever reads them behind the gateway: which end at this hop, which
//! speak for others (`speaking`), and which have no business in a trailer. Names are compared as the worst reader folds them.

mod shapes;
mod speaking;

use std::borrow::Cow;

use shapes::{Shapes, shape};
use speaking::speaks_for_others;

/// Fields of one connection (RFC 9110 section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a trailer never carries (RFC 9110 section 6.5.1): framing, routing, credentials, conditions, controls, and how
/// the body is to be read; beside that, what the gateway itself sets. Sorted.
const BELONGS_IN_FRONT: [&str; 39] = [
    "accept",
    "age",
    "allow",
    "alt-svc",
    "authentication-info",
    "authorization",
    "cache-control",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "early-data",
    "expect",
    "expires",
    "from",
    "host",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "traceparent",
    "tracestate",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-frame-options",
    "x-request-id",
];

/// The same as families of names.
const FRONT_FAMILIES: [&str; 7] = ["accept-", "access-control-", "content-", "cross-origin-", "if-", "proxy-", "sec-"];

/// Fields that most requests have and nothing is to be said about: a glance at them saves the look at all lists.
macro_rules! ordinary {
    ($($name:literal),+) => {
        /// Whether a request's field is one of those that every client sends and that goes on as it came, whoever sent it:
        /// neither [hop by hop](is_hop_by_hop) nor [dropped](is_dropped). Others may go on, too. `name` is in lower case.
        #[inline]
        pub fn is_ordinary(name: &str) -> bool {
            matches!(name, $($name)|+)
        }

        #[cfg(test)]
        const ORDINARY: &[&str] = &[$($name),+];
    };
}

ordinary!(
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "host",
    "if-modified-since",
    "if-none-match",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "traceparent",
    "upgrade-insecure-requests",
    "user-agent",
    "x-requested-with"
);

/// Whether a field is one of a single connection, named by `Connection` or not. `name` is in lower case.
pub fn is_hop_by_hop(name: &str) -> bool {
    shape(name.as_bytes()).is_some_and(|shape| HOP_SHAPES.has(shape)) && HOP_BY_HOP.contains(&name)
}

/// Whether a request's field goes before the backend sees it, whatever the application says: because it speaks for
/// others, or because its name has marks and nobody `allowed` it. Servers that make variables of header names (CGI, WSGI, Rack) read `_`, and some of
/// them any other mark, as `-`; so a name is looked up as the worst of them reads it. `name` is in lower case;
/// `trusted` says whether a trusted proxy sent it.
pub fn is_dropped(name: &str, trusted: bool, allowed: &[Box<str>]) -> bool {
    let Cow::Owned(folded) = folded(name) else { return speaks_for_others(name, trusted) };
    let decides = || matches!(&*folded, "host" | "content-length" | "authorization" | "via");
    speaks_for_others(&folded, false)
        || is_hop_by_hop(&folded)
        || decides()
        || !allowed.iter().any(|asked| **asked == *name)
}

/// Whether the worst of the servers that make variables of header names reads one name as the other, which has none of
/// their marks.
pub fn is_read_as(name: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() == other.len() && name.bytes().map(fold).eq(other.bytes())
}

/// Whether a trailer field of this name never passes, in either direction, whoever permits it. `name` is in lower case.
pub fn is_forbidden_in_trailers(name: &str) -> bool {
    let name = &*folded(name);
    // RFC 9530 section 2: digests of what was just sent are what trailers are for.
    if name == "content-digest" {
        return false;
    }
    is_hop_by_hop(name)
        || BELONGS_IN_FRONT.binary_search(&name).is_ok()
        || FRONT_FAMILIES.iter().any(|family| name.starts_with(family))
        || speaks_for_others(name, false)
}

/// The bytes of names that have no marks.
#[expect(clippy::indexing_slicing, reason = "a byte of 256, and found out by the compiler")]
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'-';
        byte += 1;
    }
    plain
};

/// Whether a name is made of letters, digits and `-` alone, as most are: looked at by eight bytes at once, the last of
/// them with some before them for a second time.
fn has_no_marks(name: &[u8]) -> bool {
    let Some(last) = name.last_chunk() else {
        return name.iter().all(|byte| PLAIN.get(usize::from(*byte)) == Some(&true));
    };
    let (whole, _) = name.as_chunks();
    whole.iter().chain([last]).fold(true, |all, eight| all & are_plain(u64::from_le_bytes(*eight)))
}

/// The same of eight bytes. A sum sets the top bit of its byte where that is at least so much; of ASCII, no sum carries
/// into its neighbour.
const fn are_plain(bytes: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    const fn at_least(bytes: u64, least: u8) -> u64 {
        bytes + EACH * (0x80 - least as u64)
    }
    if bytes & TOP != 0 {
        return false;
    }
    let small = bytes | (EACH * 0x20);
    let letter = at_least(small, b'a') & !at_least(small, b'z' + 1);
    let digit = at_least(bytes, b'0') & !at_least(bytes, b'9' + 1);
    let dash = !((bytes ^ (EACH * b'-' as u64)) + EACH * 0x7f);
    (letter | digit | dash) & TOP == TOP
}

/// A name with all marks read as `-`.
fn folded(name: &str) -> Cow<'_, str> {
    if has_no_marks(name.as_bytes()) {
        return Cow::Borrowed(name);
    }
    let plain = |byte: u8| PLAIN.get(usize::from(byte)) == Some(&true);
    name.bytes().map(|byte| if plain(byte) { char::from(byte.to_ascii_lowercase()) } else { '-' }).collect()
}

const HOP_SHAPES: Shapes = Shapes::of(&HOP_BY_HOP);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_marks_where_each_byte_is_a_letter_a_digit_or_a_dash() {
        for byte in 0..=u8::MAX {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-';
            for (length, at) in (1..=20).flat_map(|length| (0..length).map(move |at| (length, at))) {
                for around in [b'a', b'-', b'9'] {
                    let mut name = vec![around; length];
                    name[at] = byte;
                    assert_eq!(has_no_marks(&name), plain, "{name:?}");
                }
            }
        }
        assert!(has_no_marks(b""));
    }

    #[test]
    fn what_is_ordinary_goes_on_by_all_other_rules_too() {
        for name in ORDINARY {
            assert!(is_ordinary(name) && !is_hop_by_hop(name), "{name}");
            assert!([true, false].iter().all(|trusted| !is_dropped(name, *trusted, &[])), "{name}");
        }
        for name in ["authorization", "expect", "x-request-id", "x-forwarded-for", "via", "te", "user_agent"] {
            assert!(!is_ordinary(name), "{name}");
        }
    }

    #[test]
    fn what_ends_at_this_hop_gets_past_the_first_glance_and_the_other_list_is_sorted() {
        assert!(BELONGS_IN_FRONT.is_sorted());
        assert!(HOP_BY_HOP.iter().all(|name| is_hop_by_hop(name)));
    }

    #[test]
    fn what_frames_routes_authorizes_or_speaks_for_others_is_no_trailer_in_any_fold() {
        for name in [
            "transfer-encoding",
            "content_length",
            "content-type",
            "te",
            "trailer",
            "connection",
            "host",
            "authorization",
            "proxy-authorization",
            "proxy-anything",
            "cookie",
            "set_cookie",
            "www-authenticate",
            "x-request-id",
            "via",
            "x-forwarded-for",
            "x.forwarded.user",
            "x-auth-request-user",
            "x_auth_request_user",
            "x-portcullis-assertion",
            "x-http-method-override",
            "x-original-url",
            "remote_user",
            "if-match",
            "access-control-allow-origin",
            "strict-transport-security",
        ] {
            assert!(is_forbidden_in_trailers(name), "{name}");
        }
        for name in ["x-checksum", "grpc-status", "grpc-message", "grpc-status-details-bin", "server-timing", "etag"] {
            assert!(!is_forbidden_in_trailers(name), "{name}");
        }
        for digest in ["content-digest", "repr-digest", "digest", "content-md5-x"] {
            assert_eq!(is_forbidden_in_trailers(digest), digest == "content-md5-x", "{digest}");
        }
    }
}
