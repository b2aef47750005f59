//! The trace that a request belongs to (W3C Trace Context): a valid `traceparent` goes on as it came, anything else is
//! replaced by a new one, so that the backend always has one and never a broken one.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::{RequestId, hexadecimal};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Keeps a valid `traceparent` or makes one: the trace is named like the request where the request's name is a number,
/// and `span` names this hop. A state without a valid parent means nothing and goes.
pub(super) fn keep_or_make(headers: &mut HeaderMap, id: &RequestId, span: u64) {
    let mut parents = headers.get_all(PARENT).iter();
    let kept = parents.next().is_some_and(|parent| is_valid(parent.as_bytes())) && parents.next().is_none();
    if kept {
        return;
    }
    headers.remove(STATE);
    let trace = match id {
        RequestId::Made(number) => *number,
        RequestId::Given(_) => (u128::from(span) << 64) | u128::from(!span),
    };
    // Zero is the one value that neither may have. Flag 01: whether to sample stays the backend's own choice.
    let (trace, span) = (RequestId::digits(trace.max(1)), hexadecimal(span.max(1)));
    match HeaderValue::try_from([b"00-", &trace[..], b"-", &span[..], b"-01"].concat()) {
        Ok(parent) => headers.insert(PARENT, parent),
        Err(_) => headers.remove(PARENT),
    };
}

/// `VERSION-TRACE-PARENT-FLAGS` in lower-case hexadecimal, no id all zero; later versions may have more behind it.
fn is_valid(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut part = |length: usize| {
        parts.next().filter(|part| part.len() == length && part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let named = |id: &[u8]| id.iter().any(|byte| *byte != b'0');
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (part(2), part(32), part(16), part(2)) else {
        return false;
    };
    version != b"ff" && named(trace) && named(parent) && (version != b"00" || parts.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn after(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(PARENT, parent.parse().unwrap());
        }
        headers.insert(STATE, HeaderValue::from_static("vendor=1"));
        keep_or_make(&mut headers, &RequestId::Made(0xabc), 0x12);
        headers
    }

    #[test]
    fn a_valid_parent_and_its_state_are_kept() {
        for valid in [VALID, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-later"] {
            let headers = after(&[valid]);
            assert_eq!(headers[PARENT], *valid);
            assert!(headers.contains_key(STATE));
        }
    }

    #[test]
    fn anything_else_is_replaced_and_its_state_dropped() {
        for broken in [
            &[][..],
            &["garbage"],
            &[VALID, VALID],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
        ] {
            let headers = after(broken);
            assert_eq!(headers.get_all(PARENT).iter().count(), 1);
            assert_eq!(headers[PARENT], "00-00000000000000000000000000000abc-0000000000000012-01", "{broken:?}");
            assert!(!headers.contains_key(STATE));
        }
    }
}
