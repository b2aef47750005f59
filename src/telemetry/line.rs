//! The line of one request.
//!
//! A line never holds a token, a cookie, a query or a body. What clients wrote is bounded in length and written in
//! printable ASCII only, everything else escaped, so that no line can be broken or dressed up by a client.

use std::io::Write;
use std::net::IpAddr;

use super::digits::{decimal, hexadecimal, ones};
use super::record::{Figures, Spans, Text};
use super::rfc3339;

/// The most bytes of a text (path, host, method) that a line shows.
const TEXT_BYTES: usize = 1024;

/// The key of a text, up to its value, and the key without a value. Written in one piece each.
macro_rules! key {
    ($name:literal) => {
        Key { text: concat!(",\"", $name, "\":\"").as_bytes(), null: concat!(",\"", $name, "\":null").as_bytes() }
    };
}

#[derive(Clone, Copy)]
struct Key {
    text: &'static [u8],
    null: &'static [u8],
}

/// Writes lines of JSON, one record after the other.
#[derive(Debug)]
pub(super) struct Lines {
    /// What was written so far.
    pub(super) out: Vec<u8>,
    /// The second in which the last request came in, and how it is written: many requests come in one.
    second: u64,
    written: String,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), second: 0, written: up_to_second(0) }
    }

    /// Appends one record as one line.
    pub(super) fn push(&mut self, figures: &Figures, spans: Spans, texts: &[u8]) {
        let Self { out, second, written } = self;
        let (now, thousandths) = (figures.at / 1000, figures.at % 1000);
        if *second != now {
            (*second, *written) = (now, up_to_second(now));
        }
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(written.as_bytes());
        out.extend_from_slice(&[ones(thousandths / 100), ones(thousandths / 10), ones(thousandths), b'Z', b'"']);
        let of = |which| spans.text(which, texts);
        match figures.made_id {
            Some(number) => {
                out.extend_from_slice(b",\"request_id\":\"");
                out.extend_from_slice(&hexadecimal((number >> 64) as u64));
                out.extend_from_slice(&hexadecimal(number as u64));
                out.push(b'"');
            }
            // Bounded, and checked before it was kept.
            None => text(out, key!("request_id"), of(Text::RequestId)),
        }
        number(out, b",\"serial\":", figures.serial);
        text(out, key!("application"), of(Text::Application));
        text(out, key!("route"), of(Text::Route));
        text(out, key!("method"), of(Text::Method));
        text(out, key!("host"), Some(of(Text::Host).unwrap_or_default()));
        text(out, key!("path"), Some(of(Text::Path).unwrap_or_default()));
        text(out, key!("tenant"), of(Text::Tenant));
        text(out, key!("principal"), of(Text::Principal));
        word(out, key!("caller"), figures.caller);
        text(out, key!("client_id"), of(Text::ClientId));
        text(out, key!("token_id"), of(Text::TokenId));
        text(out, key!("client_certificate"), of(Text::ClientCertificate));
        out.extend_from_slice(b",\"client\":\"");
        address(out, figures.client);
        let would_deny = of(Text::WouldDeny);
        let decision: &[u8] = match (figures.allowed, would_deny) {
            (true, Some(_)) => b"\",\"decision\":\"would_deny\"",
            (true, None) => b"\",\"decision\":\"allow\"",
            (false, _) => b"\",\"decision\":\"deny\"",
        };
        out.extend_from_slice(decision);
        if figures.shadow {
            out.extend_from_slice(b",\"mode\":\"shadow\"");
            text(out, key!("would_deny"), would_deny);
        }
        text(out, key!("reason"), of(Text::Reason));
        text(out, key!("right"), of(Text::Right));
        text(out, key!("scope"), of(Text::Scope));
        number(out, b",\"status\":", u64::from(figures.status));
        text(out, key!("upstream"), of(Text::Upstream));
        number(out, b",\"bytes_in\":", figures.bytes_in);
        number(out, b",\"bytes_out\":", figures.bytes_out);
        number(out, b",\"decide_us\":", figures.decide_us);
        number(out, b",\"upstream_us\":", figures.upstream_us);
        number(out, b",\"total_us\":", figures.total_us);
        out.extend_from_slice(b"}\n");
    }
}

/// A time as RFC 3339 has it, up to the point behind its seconds.
fn up_to_second(second: u64) -> String {
    let whole = rfc3339(second.saturating_mul(1000));
    whole.strip_suffix("000Z").unwrap_or(&whole).to_owned()
}

// Inlined so that keys, whose lengths are known here, are a few stores each.
#[inline(always)]
fn number(out: &mut Vec<u8>, key: &'static [u8], value: u64) {
    out.extend_from_slice(key);
    decimal(out, value);
}

#[inline(always)]
fn text(out: &mut Vec<u8>, key: Key, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.extend_from_slice(key.null);
        return;
    };
    out.extend_from_slice(key.text);
    value_of(out, value);
}

/// A word of a closed list, which needs no escape.
#[inline(always)]
fn word(out: &mut Vec<u8>, key: Key, value: Option<&'static str>) {
    let Some(value) = value else {
        out.extend_from_slice(key.null);
        return;
    };
    out.extend_from_slice(key.text);
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn value_of(out: &mut Vec<u8>, value: &[u8]) {
    if value.len() <= TEXT_BYTES && is_plain(value) {
        out.extend_from_slice(value);
    } else {
        escaped(out, &String::from_utf8_lossy(value));
    }
    out.push(b'"');
}

/// Whether a text stands in JSON as it is: printable ASCII without quotes and backslashes.
fn is_plain(text: &[u8]) -> bool {
    let mut pieces = text.chunks_exact(8);
    let all = pieces.by_ref().all(|piece| piece.try_into().is_ok_and(|piece| are_plain(u64::from_le_bytes(piece))));
    // The last bytes are looked at with some before them for a second time, which costs less than one by one.
    all && match text.last_chunk() {
        Some(last) => pieces.remainder().is_empty() || are_plain(u64::from_le_bytes(*last)),
        None => text.iter().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')),
    }
}

/// The same of eight bytes at once. The top bit of each byte tells: a difference below zero sets it, and so does a sum
/// above 127; where a neighbour's carry sets it too, that neighbour is not plain itself.
const fn are_plain(bytes: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let quote = (bytes ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslash = (bytes ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    let control = bytes.wrapping_sub(EACH * 0x20);
    let delete = bytes.wrapping_add(EACH);
    (quote | backslash | control | delete | bytes) & (EACH * 0x80) == 0
}

#[cold]
fn escaped(out: &mut Vec<u8>, value: &str) {
    let mut used = 0;
    for c in value.chars() {
        used += c.len_utf8();
        if used > TEXT_BYTES {
            out.extend_from_slice(b"...");
            break;
        }
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    let [.., a, b, c, d] = hexadecimal(u64::from(*unit));
                    out.extend_from_slice(&[a, b, c, d]);
                }
            }
        }
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(four) => {
            for (at, byte) in four.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                decimal(out, u64::from(byte));
            }
        }
        // Its short form has rules of its own (RFC 5952). Writing to memory does not fail.
        IpAddr::V6(six) => drop(write!(out, "{six}")),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::record::{RequestId, RequestRecord};

    fn record(texts: &[(Text, &str)]) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set_id(&RequestId::Made(0xab));
        record.set(Text::Method, "GET");
        texts.iter().for_each(|(which, text)| record.set(*which, text));
        record
    }

    fn line(record: &mut RequestRecord) -> String {
        let mut lines = Lines::new();
        let (figures, spans, texts) = record.parts();
        lines.push(figures, *spans, texts);
        String::from_utf8(lines.out).unwrap()
    }

    /// What the line of a request for this path reads back as.
    fn read(path: &str) -> (String, serde_json::Value) {
        let written = line(&mut record(&[(Text::Path, path)]));
        assert_eq!(written.lines().count(), 1);
        assert!(written.trim_end().bytes().all(|b| (b' '..=b'~').contains(&b)), "{written:?}");
        let value = serde_json::from_str(&written).unwrap();
        (written, value)
    }

    #[test]
    fn a_line_is_json_with_the_fields_of_the_contract_in_order() {
        let mut denied = record(&[
            (Text::Host, "oms.example.org"),
            (Text::Path, "/territories/USS"),
            (Text::Application, "oms"),
            (Text::Route, "officer.read"),
            (Text::Principal, "nils"),
            (Text::Tenant, "uss"),
            (Text::TokenId, "AbC-1"),
            (Text::Reason, "right_missing:oms.officer@territory:USS"),
            (Text::Right, "oms.officer"),
            (Text::Scope, "territory:USS"),
        ]);
        denied.reason_code = Some("right_missing".into());
        let figures = &mut denied.figures;
        (figures.at, figures.serial, figures.caller) = (1_700_000_000_042, 7, Some("user"));
        (figures.status, figures.decide_us, figures.total_us) = (403, 3, 90);
        assert_eq!(
            line(&mut denied),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"request_id\":\"000000000000000000000000000000ab\",\"serial\":7,\
             \"application\":\"oms\",\"route\":\"officer.read\",\"method\":\"GET\",\"host\":\"oms.example.org\",\
             \"path\":\"/territories/USS\",\"tenant\":\"uss\",\"principal\":\"nils\",\"caller\":\"user\",\
             \"client_id\":null,\"token_id\":\"AbC-1\",\"client_certificate\":null,\"client\":\"0.0.0.0\",\
             \"decision\":\"deny\",\"reason\":\"right_missing:oms.officer@territory:USS\",\"right\":\"oms.officer\",\
             \"scope\":\"territory:USS\",\"status\":403,\"upstream\":null,\"bytes_in\":0,\"bytes_out\":0,\
             \"decide_us\":3,\"upstream_us\":0,\"total_us\":90}\n"
        );
        let mut allowed = record(&[
            (Text::RequestId, "given-by-the-proxy"),
            (Text::ClientId, "a client"),
            (Text::ClientCertificate, "CN=billing"),
            (Text::Upstream, "http://127.0.0.1:1"),
        ]);
        let figures = &mut allowed.figures;
        figures.made_id = None;
        (figures.at, figures.allowed, figures.client) =
            (253_402_300_799_999, true, "2001:db8::1:0:0:7".parse().unwrap());
        (figures.bytes_in, figures.bytes_out, figures.upstream_us) = (u64::MAX, 1_000_000, 10);
        assert_eq!(
            line(&mut allowed),
            "{\"time\":\"9999-12-31T23:59:59.999Z\",\"request_id\":\"given-by-the-proxy\",\"serial\":0,\
             \"application\":null,\"route\":null,\"method\":\"GET\",\"host\":\"\",\"path\":\"\",\"tenant\":null,\
             \"principal\":null,\"caller\":null,\"client_id\":\"a client\",\"token_id\":null,\
             \"client_certificate\":\"CN=billing\",\"client\":\"2001:db8::1:0:0:7\",\"decision\":\"allow\",\
             \"reason\":null,\"right\":null,\"scope\":null,\"status\":0,\"upstream\":\"http://127.0.0.1:1\",\
             \"bytes_in\":18446744073709551615,\"bytes_out\":1000000,\"decide_us\":0,\"upstream_us\":10,\
             \"total_us\":0}\n"
        );
    }

    #[test]
    fn a_reason_without_a_subject_is_its_code() {
        for code in [Cow::Borrowed("no_token"), Cow::Owned("own_code".to_owned())] {
            let mut refused = record(&[]);
            refused.reason_code = Some(code.clone());
            assert!(line(&mut refused).contains(&format!("\"reason\":\"{code}\",")));
            assert_eq!(refused.reason_code, Some(code), "the metrics want it too");
        }
    }

    #[test]
    fn the_second_of_one_line_is_not_that_of_the_next() {
        let mut lines = Lines::new();
        let mut record = record(&[]);
        for (at, written) in [
            (999, "1970-01-01T00:00:00.999Z"),
            (1_000, "1970-01-01T00:00:01.000Z"),
            (1_007, "1970-01-01T00:00:01.007Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_000, "1970-01-01T00:00:01.000Z"),
        ] {
            record.figures.at = at;
            lines.out.clear();
            let (figures, spans, texts) = record.parts();
            lines.push(figures, *spans, texts);
            let text = std::str::from_utf8(&lines.out).unwrap();
            assert!(text.starts_with(&format!("{{\"time\":\"{written}\"")), "{text}");
        }
    }

    #[test]
    fn odd_texts_are_written_byte_for_byte_like_this() {
        for (text, written) in [
            ("", ""),
            (" ", " "),
            ("~", "~"),
            ("\"", "\\\""),
            ("\\", "\\\\"),
            ("/plain/and/long/enough", "/plain/and/long/enough"),
            ("1234567\"", "1234567\\\""),
            ("12345678\"", "12345678\\\""),
            ("1234567\u{7f}901", "1234567\\u007f901"),
            ("\u{1f}2345678901", "\\u001f2345678901"),
            ("a\nb\r\tc\0", "a\\u000ab\\u000d\\u0009c\\u0000"),
            ("é", "\\u00e9"),
            ("\u{80}\u{2028}", "\\u0080\\u2028"),
            ("😀", "\\ud83d\\ude00"),
            ("\u{ffff}\u{10ffff}", "\\uffff\\udbff\\udfff"),
        ] {
            assert!(read(text).0.contains(&format!("\"path\":\"{written}\",")), "{text:?}: {}", read(text).0);
        }
    }

    #[test]
    fn whatever_a_client_writes_stays_inside_its_field_and_reads_back() {
        for hostile in ["\",\"decision\":\"allow", "a\nb\r\0\u{1b}[31m", "\\\"", "\u{2028}\u{202e}\u{1f600}é\u{7f}"] {
            let (_, value) = read(hostile);
            assert_eq!(value["path"], hostile);
            assert_eq!(value["decision"], "deny");
        }
    }

    #[test]
    fn long_text_is_cut() {
        for (text, shown) in [
            ("x".repeat(1024), "x".repeat(1024)),
            ("x".repeat(1025), "x".repeat(1024) + "..."),
            ("x".repeat(1100), "x".repeat(1024) + "..."),
            ("x".repeat(50_000), "x".repeat(1024) + "..."),
            ("ä".repeat(512), "ä".repeat(512)),
            ("ä".repeat(50_000), "ä".repeat(512) + "..."),
            ("€".repeat(50_000), "€".repeat(341) + "..."),
            ("\n".repeat(50_000), "\n".repeat(1024) + "..."),
        ] {
            let (written, value) = read(&text);
            assert!(written.len() < 8 * TEXT_BYTES);
            assert_eq!(value["path"], shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_of_any_client_reads_back(text in "\\PC{0,40}|.{0,40}|[ -~]{0,40}") {
            let (_, value) = read(&text);
            prop_assert_eq!(value["path"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn only_what_needs_no_escape_is_plain(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\';
            prop_assert_eq!(is_plain(&text), text.iter().all(plain));
            // The same of texts that are plain but for one byte.
            let mut nearly: Vec<u8> = text.iter().map(|byte| if plain(byte) { *byte } else { b'x' }).collect();
            prop_assert!(is_plain(&nearly));
            for at in 0..nearly.len() {
                for odd in [0, 0x1f, b'"', b'\\', 0x7f, 0x80, 0xff] {
                    let before = std::mem::replace(&mut nearly[at], odd);
                    prop_assert!(!is_plain(&nearly), "{:?}", nearly);
                    nearly[at] = before;
                }
            }
        }
    }
}
