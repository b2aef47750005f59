//! One request, from which its log line and its counters are made.
//!
//! It holds values, in memory that the next request uses again: texts are copied into it once, and nothing is formatted
//! before it has left the thread that served the request.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::digits::hexadecimal;
use super::trace::Trace;

/// The most bytes that are kept of a text that only the line shows; a line cuts a little before.
const KEPT_BYTES: usize = 1100;
/// The most memory for texts that a record keeps for the next request.
const KEPT_ROOM: usize = 4096;

/// The name of one request in logs and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here: 128 random bits, written as 32 hexadecimal digits.
    Made(u128),
    /// Given by a trusted proxy and kept as it came.
    Given(Arc<str>),
}

impl RequestId {
    /// A number of 128 bits as 32 hexadecimal digits.
    pub fn digits(number: u128) -> [u8; 32] {
        let mut digits = [0; 32];
        let (high, low) = digits.split_at_mut(16);
        high.copy_from_slice(&hexadecimal((number >> 64) as u64));
        low.copy_from_slice(&hexadecimal(number as u64));
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(number) => write!(out, "{number:032x}"),
            Self::Given(text) => out.write_str(text),
        }
    }
}

/// A text of a request, in the order of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The request's name, where a trusted proxy gave it.
    RequestId,
    /// The application, once found.
    Application,
    /// The route's id, once found.
    Route,
    /// The method.
    Method,
    /// The host as asked for.
    Host,
    /// The path as asked for, without the query.
    Path,
    /// The name of the tenant of a verified token.
    Tenant,
    /// The principal's id, once found.
    Principal,
    /// The client that got the token.
    ClientId,
    /// The identifier of the token, by which it can be revoked.
    TokenId,
    /// Who the client is by the certificate that it showed in the TLS handshake.
    ClientCertificate,
    /// Why it would have been refused, with its subject, where nothing is enforced.
    WouldDeny,
    /// The reason with its subject; without one, the line shows [`RequestRecord::reason_code`].
    Reason,
    /// The right that was asked for when it was denied.
    Right,
    /// The scope in which it was asked for.
    Scope,
    /// The upstream server (`http://host:port`) that was used or tried last.
    Upstream,
}

impl Text {
    /// How many there are.
    const COUNT: usize = Self::Upstream as usize + 1;

    /// Whether metrics have it as a label; the operators' files bound those.
    const fn is_label(self) -> bool {
        matches!(self, Self::Application | Self::Route)
    }
}

/// What was decided, as lines and metrics say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decision {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
    /// It might not, where the decision was enforced.
    WouldDeny,
}

impl Decision {
    /// The word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would_deny",
        }
    }
}

/// What is known of one request and needs no memory of its own.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// When it came in, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The number that its name was made of; `None` where it was given.
    pub made_id: Option<u128>,
    /// The serial of the policy that judged it; 0 if none did.
    pub serial: u64,
    /// Whether a `user` or an `app` asks, by a verified token.
    pub caller: Option<&'static str>,
    /// The client's address, as far as trusted proxies say.
    pub client: IpAddr,
    /// Whether the request was permitted: to be forwarded, or to be answered by the gateway itself.
    pub allowed: bool,
    /// Whether nothing is enforced where it went.
    pub shadow: bool,
    /// The status that the client got; 499 if it went away before there was one.
    pub status: u16,
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

impl Default for Figures {
    fn default() -> Self {
        Self {
            at: 0,
            made_id: None,
            serial: 0,
            caller: None,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            allowed: false,
            shadow: false,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            decide_us: 0,
            upstream_us: 0,
            total_us: 0,
        }
    }
}

/// Where a text stands among those of its record.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    /// Outside of all texts.
    const NONE: Self = Self { begin: u32::MAX, end: u32::MAX };

    fn of(self, all: &[u8]) -> Option<&[u8]> {
        all.get(self.begin as usize..self.end as usize)
    }
}

/// Where the texts of a record stand among them all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans([Span; Text::COUNT]);

impl Spans {
    /// One text out of all of its record's; `None` if it was not told.
    #[inline]
    pub(super) fn text(self, which: Text, all: &[u8]) -> Option<&[u8]> {
        self.0.get(which as usize)?.of(all)
    }
}

/// What is known of one request when it is over.
#[derive(Debug)]
pub struct RequestRecord {
    /// The numbers and words.
    pub figures: Figures,
    /// The stable code of what went wrong, without its subject, or of what the gateway itself answered: the label of the
    /// metric.
    pub reason_code: Option<Cow<'static, str>>,
    /// The stable code for which it would have been refused where nothing is enforced: the label of a metric of its own.
    pub would_deny: Option<Cow<'static, str>>,
    /// What is wrong with the token, one word of a closed list: the label of a metric of its own.
    pub token_fault: Option<&'static str>,
    /// What its spans need, where it is traced.
    pub trace: Option<Trace>,
    spans: Spans,
    texts: Vec<u8>,
    /// Whether a line or a span may be made of it, and not only counters.
    has_line: bool,
    /// Whether its request was let in on the promise that its line will be written.
    pub(super) is_owed: bool,
}

impl RequestRecord {
    /// Nothing is known. Without a line or a span, it keeps only the texts that are labels.
    pub(super) fn new(has_line: bool) -> Self {
        Self {
            figures: Figures::default(),
            reason_code: None,
            would_deny: None,
            token_fault: None,
            trace: None,
            spans: Spans([Span::NONE; Text::COUNT]),
            texts: Vec::new(),
            has_line,
            is_owed: false,
        }
    }

    /// Keeps a text, in place of what it was before. Long ones are cut, at a little more than a line shows.
    #[inline]
    pub fn set(&mut self, which: Text, text: &str) {
        if which.is_label() || (self.has_line && text.len() <= KEPT_BYTES) {
            self.keep(which, text.as_bytes());
        } else if self.has_line {
            self.keep(which, cut(text).as_bytes());
        }
    }

    fn keep(&mut self, which: Text, text: &[u8]) {
        // Beyond this end there is no text, so nothing would be shown; no record gets near it.
        let end = |texts: &Vec<u8>| u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let begin = end(&self.texts);
        self.texts.extend_from_slice(text);
        if let Some(place) = self.spans.0.get_mut(which as usize) {
            *place = Span { begin, end: end(&self.texts) };
        }
    }

    /// Keeps a text if there is one.
    pub fn set_some(&mut self, which: Text, text: Option<&str>) {
        if let Some(text) = text {
            self.set(which, text);
        }
    }

    /// Keeps the request's name.
    pub fn set_id(&mut self, id: &RequestId) {
        match id {
            RequestId::Made(number) => self.figures.made_id = Some(*number),
            RequestId::Given(text) => self.set(Text::RequestId, text),
        }
    }

    /// What was decided. Of what was let in though it would be refused, it is that it would be.
    pub(super) const fn decision(&self) -> Decision {
        match (self.figures.allowed, &self.would_deny) {
            (true, Some(_)) => Decision::WouldDeny,
            (true, None) => Decision::Allow,
            (false, _) => Decision::Deny,
        }
    }

    /// A text, in UTF-8; `None` if it was not told.
    pub(super) fn text(&self, which: Text) -> Option<&[u8]> {
        self.spans.text(which, &self.texts)
    }

    /// The parts from which a line is made: the numbers, where each text stands, and all texts.
    pub(super) fn parts(&mut self) -> (&Figures, &Spans, &[u8]) {
        if self.text(Text::Reason).is_none()
            && let Some(code) = self.reason_code.take()
        {
            self.set(Text::Reason, &code);
            self.reason_code = Some(code);
        }
        (&self.figures, &self.spans, &self.texts)
    }

    /// Forgets the request, but keeps its memory for another one.
    pub(super) fn clear(&mut self) {
        self.figures = Figures::default();
        self.reason_code = None;
        self.would_deny = None;
        self.token_fault = None;
        self.trace = None;
        self.is_owed = false;
        self.spans = Spans([Span::NONE; Text::COUNT]);
        self.texts.clear();
        if self.texts.capacity() > KEPT_ROOM {
            self.texts.shrink_to(KEPT_ROOM);
        }
    }
}

/// The beginning of a long text, as much as is kept.
#[cold]
fn cut(text: &str) -> &str {
    let end = (0..=KEPT_BYTES).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_was_set_to_last() {
        let mut record = RequestRecord::new(true);
        assert_eq!(record.text(Text::Upstream), None);
        record.set(Text::Upstream, "http://one:1");
        record.set(Text::Path, "/");
        record.set(Text::Upstream, "http://two:2");
        record.set_some(Text::Upstream, None);
        assert_eq!(record.text(Text::Upstream), Some(&b"http://two:2"[..]));
        assert_eq!(record.text(Text::Path), Some(&b"/"[..]));
        record.set(Text::Path, "");
        assert_eq!(record.text(Text::Path), Some(&b""[..]));
    }

    #[test]
    fn the_next_request_finds_nothing_of_the_one_before() {
        let mut record = RequestRecord::new(true);
        record.set(Text::Principal, &"olga".repeat(300));
        record.set(Text::Route, &"route".repeat(3000));
        record.set_id(&RequestId::Made(7));
        record.figures.status = 200;
        record.reason_code = Some("no_token".into());
        record.token_fault = Some("expired");
        record.clear();
        let new = RequestRecord::new(true);
        assert_eq!(format!("{record:?}"), format!("{new:?}"));
        assert!(record.texts.capacity() <= KEPT_ROOM, "one long request does not hold memory for ever");
    }

    #[test]
    fn what_only_a_line_shows_is_cut_and_not_kept_without_one() {
        let long = "ä".repeat(2000);
        for (which, kept) in [(Text::Path, KEPT_BYTES), (Text::Reason, KEPT_BYTES), (Text::Route, long.len())] {
            let mut record = RequestRecord::new(true);
            record.set(which, &long);
            assert_eq!(record.text(which), Some(&long.as_bytes()[..kept]), "{which:?}");
        }
        let mut record = RequestRecord::new(false);
        for which in [Text::Path, Text::Reason, Text::Application, Text::Route] {
            record.set(which, "text");
            assert_eq!(record.text(which).is_some(), which.is_label(), "{which:?}");
        }
    }

    #[test]
    fn a_made_name_is_written_alike_in_headers_and_in_the_process_log() {
        for number in [0, 1, 0xab, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            assert_eq!(RequestId::digits(number), RequestId::Made(number).to_string().as_bytes());
        }
    }
}
