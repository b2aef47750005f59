//! What gRPC asks of an intermediary (the protocol "gRPC over HTTP/2"): calls are known by their content type, their
//! status comes behind the body, and who is refused reads the status of gRPC in place of the one of HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};

use super::body::Body;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const KIND: &str = "application/grpc";

/// Whether a request is a call: HTTP/2 and `application/grpc`, with or without a suffix. `application/grpc-web` is
/// another protocol, which needs nothing of this.
pub(super) fn is_call(version: Version, headers: &HeaderMap) -> bool {
    let is_kind = |kind: &str| {
        let (begin, rest) = kind.split_at_checked(KIND.len()).unwrap_or_default();
        begin.eq_ignore_ascii_case(KIND) && matches!(rest.trim_start().bytes().next(), None | Some(b'+' | b';'))
    };
    version == Version::HTTP_2
        && headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_kind)
}

/// How long a call may take as its client says; `None` if it says nothing, or nothing that can be read.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A refusal as a caller reads it: a status and a message without a body ("Trailers-Only").
pub(super) fn refusal(status: StatusCode, title: &str, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::fixed(Bytes::new()));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
    fields.insert(STATUS, HeaderValue::from(code(status)));
    if let Ok(message) = HeaderValue::try_from(encoded(&format!("{title} ({reason})"))) {
        fields.insert(MESSAGE, message);
    }
    response
}

/// The status of gRPC that means the same as one of HTTP.
fn code(status: StatusCode) -> u16 {
    match status.as_u16() {
        // INTERNAL: what arrived breaks the rules of HTTP, which no argument of a call could.
        400 | 411 | 413..=417 | 421 | 431 | 500 => 13,
        // UNAUTHENTICATED, PERMISSION_DENIED.
        401 => 16,
        403 => 7,
        // UNIMPLEMENTED: there is no such method.
        404 | 405 | 501 => 12,
        // DEADLINE_EXCEEDED.
        408 | 504 => 4,
        // UNAVAILABLE: another attempt may do.
        429 | 502 | 503 => 14,
        // UNKNOWN.
        _ => 2,
    }
}

/// Percent-encodes a message: all but space to `~`, and `%`.
fn encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn calls_are_known_by_their_content_type_over_http_2() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = headers("content-type", kind);
            assert_eq!(is_call(Version::HTTP_2, &headers), expected, "{kind}");
            assert!(!is_call(Version::HTTP_11, &headers), "{kind}");
        }
        assert!(!is_call(Version::HTTP_2, &HeaderMap::new()));
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("1500m", Some(Duration::from_millis(1500))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0S", Some(Duration::ZERO)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("+1S", None),
            ("-1S", None),
            ("1s", None),
            ("1 S", None),
        ] {
            assert_eq!(timeout(&headers("grpc-timeout", text)), expected, "{text}");
        }
    }

    #[test]
    fn each_reason_has_the_status_of_grpc_that_means_the_same() {
        for (reason, expected) in [
            (Reason::NoToken, 16),
            (Reason::InvalidToken, 16),
            (Reason::RightMissing, 7),
            (Reason::NoRoute, 12),
            (Reason::MethodForbidden, 12),
            (Reason::MalformedCredentials, 13),
            (Reason::BodyTimeout, 4),
            (Reason::Overloaded, 14),
            (Reason::KeysUnavailable, 14),
            (Reason::UpstreamUnreachable, 14),
            (Reason::UpstreamInvalid, 14),
            (Reason::UpstreamTimeout, 4),
            (Reason::Internal, 13),
        ] {
            assert_eq!(code(StatusCode::from_u16(reason.status()).unwrap()), expected, "{reason:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded("100% of \u{e4}\n~"), "100%25 of %C3%A4%0A~");
    }
}
