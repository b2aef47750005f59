//! The trace that a request belongs to (W3C Trace Context): a valid `traceparent` goes on as it came, anything else is
//! replaced by a new one, so that the backend always has one and never a broken one.
//!
//! Where the gateway itself traces ([`Context`]), only a trusted proxy's trace goes on, and its word on sampling counts.
//! Others could have everything sampled, or write into the traces of somebody else: for them a new trace begins, which
//! links to theirs.

use http::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::{RequestId, Trace, hexadecimal};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The bits of a trace's id that are random by the specification, and decide.
const RANDOM_BITS: u32 = 56;

/// The share of requests that are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(u64);

impl Sample {
    /// So many of a million.
    pub fn per_million(count: u32) -> Self {
        Self((u64::from(count.min(1_000_000)) << 36) / 1_000_000 * (1 << (RANDOM_BITS - 36)))
    }

    fn takes(self, trace: u128) -> bool {
        (trace as u64 & ((1 << RANDOM_BITS) - 1)) < self.0
    }
}

/// The place of a request in a trace of its own or of a trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    trace: Trace,
    is_sampled: bool,
}

impl Context {
    /// What spans need, if there are to be any.
    pub(super) fn sampled(&self) -> Option<Trace> {
        self.is_sampled.then_some(self.trace)
    }

    /// Writes what the backend gets: the span of the upstream leg, and whether it is kept. The state stays with the trace
    /// that it belongs to.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if self.trace.parent.is_none() {
            headers.remove(STATE);
        }
        set_parent(headers, (self.trace.trace, self.trace.client), self.is_sampled);
    }
}

/// The context of a request that came over such a connection, trusted and encrypted or not.
pub(super) fn context(
    headers: &HeaderMap,
    (trusted, secure, version): (bool, bool, Version),
    id: &RequestId,
    sample: Sample,
    mut number: impl FnMut() -> u64,
) -> Context {
    let given = only_parent(headers);
    let (trace, parent, link, sampled) = match given {
        Some(Parent { trace, span, sampled }) if trusted => (trace, Some(span), None, Some(sampled)),
        _ => {
            let trace = match id {
                RequestId::Made(number) => *number,
                RequestId::Given(_) => (u128::from(number()) << 64) | u128::from(number()),
            };
            (trace.max(1), None, given.map(|Parent { trace, span, .. }| (trace, span)), None)
        }
    };
    let version = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let [server, client] = [number().max(1), number().max(1)];
    let (judged_us, upstream_status, is_broken) = (0, None, false);
    let trace = Trace { trace, parent, link, server, client, version, secure, judged_us, upstream_status, is_broken };
    Context { is_sampled: sampled.unwrap_or_else(|| sample.takes(trace.trace)), trace }
}

/// Keeps a valid `traceparent` or makes one: the trace is named like the request where the request's name is a number,
/// and `span` names this hop. A state without a valid parent means nothing and goes.
pub(super) fn keep_or_make(headers: &mut HeaderMap, id: &RequestId, span: u64) {
    // Most requests have neither, and names are quicker looked through than looked up.
    if headers.keys().any(|name| *name == PARENT || *name == STATE) {
        if only_parent(headers).is_some() {
            return;
        }
        headers.remove(STATE);
    }
    let trace = match id {
        RequestId::Made(number) => *number,
        RequestId::Given(_) => (u128::from(span) << 64) | u128::from(!span),
    };
    // Zero is the one value that neither may have. Flag 01: whether to sample stays the backend's own choice.
    set_parent(headers, (trace.max(1), span.max(1)), true);
}

fn set_parent(headers: &mut HeaderMap, (trace, span): (u128, u64), sampled: bool) {
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let [.., flag] = &mut parent;
    *flag += u8::from(sampled);
    let parts = [(3, &RequestId::digits(trace)[..]), (36, &hexadecimal(span))];
    for (begin, digits) in parts {
        if let Some(place) = parent.get_mut(begin..begin + digits.len()) {
            place.copy_from_slice(digits);
        }
    }
    match HeaderValue::from_bytes(&parent) {
        Ok(parent) => headers.insert(PARENT, parent),
        Err(_) => headers.remove(PARENT),
    };
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The one `traceparent` there is, if it is valid.
fn only_parent(headers: &HeaderMap) -> Option<Parent> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next().and_then(|parent| parent_of(parent.as_bytes()))?;
    parents.next().is_none().then_some(parent)
}

/// `VERSION-TRACE-PARENT-FLAGS` in lower-case hexadecimal, no id all zero; later versions may have more behind it.
fn parent_of(text: &[u8]) -> Option<Parent> {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut part = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        part.iter().try_fold(0, |number: u128, digit| {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some((number << 4) | u128::from(digit))
        })
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, u64::try_from(part(16)?).ok()?, part(2)?);
    let is_valid = version != 0xff && trace != 0 && span != 0 && (version != 0 || parts.next().is_none());
    is_valid.then_some(Parent { trace, span, sampled: flags & 1 == 1 })
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

    fn context_of(parents: &[&str], trusted: bool, share: u32) -> (Context, HeaderMap) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(PARENT, parent.parse().unwrap());
        }
        headers.insert(STATE, HeaderValue::from_static("vendor=1"));
        let mut next = 0x10;
        let number = || {
            next += 1;
            next
        };
        let peer = (trusted, true, Version::HTTP_2);
        let context = context(&headers, peer, &RequestId::Made(0xabc), Sample::per_million(share), number);
        context.tell(&mut headers);
        (context, headers)
    }

    #[test]
    fn the_trace_of_a_trusted_proxy_goes_on_with_its_state_and_its_word_on_sampling() {
        for (flags, share, sampled) in [("01", 0, true), ("00", 1_000_000, false), ("03", 0, true), ("02", 0, false)] {
            let parent = VALID.replace("-01", &format!("-{flags}"));
            let (context, headers) = context_of(&[&parent], true, share);
            assert_eq!(context.sampled().is_some(), sampled, "{flags}");
            let Trace { trace, parent, link, .. } = context.trace;
            assert_eq!((trace, parent), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7)));
            assert_eq!(link, None);
            let flag = if sampled { "01" } else { "00" };
            let told = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-{flag}", context.trace.client);
            assert_eq!(headers[PARENT], told);
            assert_eq!(headers[STATE], "vendor=1");
        }
    }

    #[test]
    fn the_trace_of_a_stranger_is_linked_to_and_decides_nothing() {
        for (share, sampled, flag) in [(0, false, "00"), (1_000_000, true, "01")] {
            let (context, headers) = context_of(&[VALID], false, share);
            assert_eq!(context.sampled().is_some(), sampled);
            let Trace { trace, parent, link, client, .. } = context.trace;
            assert_eq!((trace, parent), (0xabc, None));
            assert_eq!(link, Some((0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)));
            assert_eq!(headers[PARENT], format!("00-{:032x}-{client:016x}-{flag}", 0xabc));
            assert!(!headers.contains_key(STATE));
        }
    }

    #[test]
    fn what_is_no_parent_is_neither_continued_nor_linked_to_whoever_sent_it() {
        for broken in [&[][..], &["garbage"], &[VALID, VALID], &["ff-1-2-01"], &[&VALID[1..]], &[&VALID.to_uppercase()]]
        {
            for trusted in [true, false] {
                let (context, headers) = context_of(broken, trusted, 1_000_000);
                assert_eq!((context.trace.trace, context.trace.parent, context.trace.link), (0xabc, None, None));
                assert_eq!(headers.get_all(PARENT).iter().count(), 1);
                assert!(!headers.contains_key(STATE));
            }
        }
    }

    #[test]
    fn a_share_is_met_by_random_ids() {
        let numbers = crate::proxy::numbers::Numbers::seeded();
        for share in [0, 10_000, 500_000, 1_000_000] {
            let sample = Sample::per_million(share);
            let taken = (0..100_000).filter(|_| sample.takes(u128::from(numbers.next()))).count() as f64;
            let expected = f64::from(share) / 10.0;
            assert!((taken - expected).abs() <= 6.0 * (expected * (1.0 - expected / 1e5)).sqrt(), "{taken}");
        }
        assert!(Sample::per_million(1_000_000).takes(u128::MAX) && !Sample::per_million(0).takes(0));
    }
}
