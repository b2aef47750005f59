//! One request, from which its log line and its counters are made.
//!
//! A line never holds a token, a cookie, a query or a body. What clients wrote is bounded in length and written in
//! printable ASCII only, everything else escaped, so that no line can be broken or dressed up by a client.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Method;

/// The most bytes of a client's text (path, host, method) that a line shows.
const TEXT_BYTES: usize = 1024;

/// The name of one request in logs and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here: 128 random bits, written as 32 hexadecimal digits.
    Made(u128),
    /// Given by a trusted proxy and kept as it came.
    Given(Arc<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(number) => write!(out, "{number:032x}"),
            Self::Given(text) => out.write_str(text),
        }
    }
}

/// What is known of one request when it is over.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// When it came in, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Its name.
    pub request_id: RequestId,
    /// The serial of the policy that judged it; 0 if none did.
    pub serial: u64,
    /// The application, once found.
    pub application: Option<Arc<str>>,
    /// The route's id, once found.
    pub route: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The host as asked for; empty if there was none.
    pub host: Box<str>,
    /// The path as asked for, without the query.
    pub path: Box<str>,
    /// The name of the tenant of a verified token.
    pub tenant: Option<Arc<str>>,
    /// The principal's id, once found.
    pub principal: Option<Arc<str>>,
    /// Whether a `user` or an `app` asks, by a verified token.
    pub caller: Option<&'static str>,
    /// The client that got the token.
    pub client_id: Option<Arc<str>>,
    /// The identifier of the token, by which it can be revoked.
    pub token_id: Option<Arc<str>>,
    /// Who the client is by the certificate that it showed in the TLS handshake.
    pub client_certificate: Option<Arc<str>>,
    /// The client's address, as far as trusted proxies say.
    pub client: IpAddr,
    /// Whether the request was permitted: to be forwarded, or to be answered by the gateway itself.
    pub allowed: bool,
    /// The stable code of what went wrong, without its subject, or of what the gateway itself answered: the label of the
    /// metric.
    pub reason_code: Option<Cow<'static, str>>,
    /// The same with its subject, for the line.
    pub reason: Option<String>,
    /// What is wrong with the token, one word of a closed list: the label of a metric of its own.
    pub token_fault: Option<&'static str>,
    /// The right that was asked for when it was denied.
    pub right: Option<String>,
    /// The scope in which it was asked for.
    pub scope: Option<String>,
    /// The status that the client got; 499 if it went away before there was one.
    pub status: u16,
    /// The upstream server (`http://host:port`) that was used or tried last.
    pub upstream: Option<Arc<str>>,
    /// Bytes of the request's body that were forwarded.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
    /// How long judging took, in microseconds.
    pub decide_us: u64,
    /// From judged to the head of the upstream's answer (connecting included), in microseconds; 0 without an upstream.
    pub upstream_us: u64,
    /// From the request's head to the end of its answer, in microseconds.
    pub total_us: u64,
}

impl Default for RequestRecord {
    fn default() -> Self {
        Self {
            at: 0,
            request_id: RequestId::Made(0),
            serial: 0,
            application: None,
            route: None,
            method: Method::GET,
            host: Box::default(),
            path: Box::default(),
            tenant: None,
            principal: None,
            caller: None,
            client_id: None,
            token_id: None,
            client_certificate: None,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            allowed: false,
            reason_code: None,
            reason: None,
            token_fault: None,
            right: None,
            scope: None,
            status: 0,
            upstream: None,
            bytes_in: 0,
            bytes_out: 0,
            decide_us: 0,
            upstream_us: 0,
            total_us: 0,
        }
    }
}

impl RequestRecord {
    /// Appends the record as one line of JSON.
    pub(super) fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out, self.at);
        out.push(b'"');
        // Both kinds of id are bounded, and a given one was checked before it was kept.
        text(out, "request_id", Some(&self.request_id.to_string()));
        number(out, "serial", self.serial);
        text(out, "application", self.application.as_deref());
        text(out, "route", self.route.as_deref());
        text(out, "method", Some(self.method.as_str()));
        text(out, "host", Some(&self.host));
        text(out, "path", Some(&self.path));
        text(out, "tenant", self.tenant.as_deref());
        text(out, "principal", self.principal.as_deref());
        text(out, "caller", self.caller);
        text(out, "client_id", self.client_id.as_deref());
        text(out, "token_id", self.token_id.as_deref());
        text(out, "client_certificate", self.client_certificate.as_deref());
        text(out, "client", Some(&self.client.to_string()));
        text(out, "decision", Some(if self.allowed { "allow" } else { "deny" }));
        text(out, "reason", self.reason.as_deref().or(self.reason_code.as_deref()));
        text(out, "right", self.right.as_deref());
        text(out, "scope", self.scope.as_deref());
        number(out, "status", u64::from(self.status));
        text(out, "upstream", self.upstream.as_deref());
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        number(out, "decide_us", self.decide_us);
        number(out, "upstream_us", self.upstream_us);
        number(out, "total_us", self.total_us);
        out.extend_from_slice(b"}\n");
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    out.extend_from_slice(value.to_string().as_bytes());
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    key(out, name);
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    let mut used = 0;
    for c in value.chars() {
        used += c.len_utf8();
        if used > TEXT_BYTES {
            out.extend_from_slice(b"...");
            break;
        }
        match c {
            '"' | '\\' => {
                out.push(b'\\');
                push_char(out, c);
            }
            ' '..='~' => push_char(out, c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_time(out: &mut Vec<u8>, milliseconds: u64) {
    out.extend_from_slice(rfc3339(milliseconds).as_bytes());
}

/// A moment, counted in milliseconds from the Unix epoch, in RFC 3339: UTC with milliseconds.
pub fn rfc3339(milliseconds: u64) -> String {
    let (seconds, thousandths) = (milliseconds / 1000, milliseconds % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{thousandths:03}Z")
}

/// The Gregorian date that is `days` after 1970-01-01. Counted in eras of 400 years that begin on 1 March, so that the
/// leap day is the last day of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &RequestRecord) -> String {
        let mut out = Vec::new();
        record.write_line(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_json_with_the_fields_of_the_contract_in_order() {
        let record = RequestRecord {
            at: 1_700_000_000_042,
            request_id: RequestId::Made(0xab),
            serial: 7,
            application: Some("oms".into()),
            route: Some("officer.read".into()),
            host: "oms.example.org".into(),
            path: "/territories/USS".into(),
            tenant: Some("uss".into()),
            principal: Some("nils".into()),
            caller: Some("user"),
            token_id: Some("AbC-1".into()),
            reason_code: Some("right_missing".into()),
            reason: Some("right_missing:oms.officer@territory:USS".into()),
            right: Some("oms.officer".into()),
            scope: Some("territory:USS".into()),
            status: 403,
            decide_us: 3,
            total_us: 90,
            ..RequestRecord::default()
        };
        assert_eq!(
            line(&record),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"request_id\":\"000000000000000000000000000000ab\",\"serial\":7,\
             \"application\":\"oms\",\"route\":\"officer.read\",\"method\":\"GET\",\"host\":\"oms.example.org\",\
             \"path\":\"/territories/USS\",\"tenant\":\"uss\",\"principal\":\"nils\",\"caller\":\"user\",\
             \"client_id\":null,\"token_id\":\"AbC-1\",\"client_certificate\":null,\"client\":\"0.0.0.0\",\
             \"decision\":\"deny\",\"reason\":\"right_missing:oms.officer@territory:USS\",\"right\":\"oms.officer\",\
             \"scope\":\"territory:USS\",\"status\":403,\"upstream\":null,\"bytes_in\":0,\"bytes_out\":0,\
             \"decide_us\":3,\"upstream_us\":0,\"total_us\":90}\n"
        );
    }

    #[test]
    fn whatever_a_client_writes_stays_inside_its_field_and_reads_back() {
        for hostile in ["\",\"decision\":\"allow", "a\nb\r\0\u{1b}[31m", "\\\"", "\u{2028}\u{202e}\u{1f600}é\u{7f}"] {
            let written = line(&RequestRecord { path: hostile.into(), ..RequestRecord::default() });
            assert_eq!(written.lines().count(), 1);
            assert!(written.trim_end().bytes().all(|b| (b' '..=b'~').contains(&b)), "{written:?}");
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(read["path"], hostile);
            assert_eq!(read["decision"], "deny");
        }
    }

    #[test]
    fn long_text_is_cut() {
        let written = line(&RequestRecord { path: "ä".repeat(50_000).into(), ..RequestRecord::default() });
        assert!(written.len() < 8 * TEXT_BYTES);
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert!(read["path"].as_str().unwrap().ends_with("ä..."));
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, milliseconds);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
