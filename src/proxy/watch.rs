//! Reads the bytes of an HTTP/1 client beside hyper, and can only say no.
//!
//! hyper reads a little more than the grammar has, and shows none of it: of two framings (`Content-Length` beside
//! `Transfer-Encoding`) only the one that holds, of equal lengths only one, no fragment of a target, no line that ends
//! without CR, and chunk sizes with zeros in front for as long as the client sends them. What hyper re-frames is safe
//! behind the gateway, but what another hop read before the gateway is not known; so such a message is refused instead
//! of mended.
//!
//! A second reader beside the first is a risk where both can admit. This one admits nothing: the request, its body and
//! where it ends are what hyper says, and a message in which this reader sees a fault is refused, whatever hyper says.
//! It takes the strict grammar only (RFC 9112), in which there is one way to read; once it meets anything else, it
//! stops.

/// The bytes of a line that are looked at; a line that matters is not longer.
const KEPT: usize = 64;
/// The longest chunk line, and the longest trailer line. hyper bounds the extensions and trailers of a body as a whole.
const LONGEST_LINE: usize = 8 * 1024;
/// The most digits of a chunk size: 64 bits.
const MOST_DIGITS: usize = 16;

/// The fields that frame a message.
const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";

/// What is wrong with a message, as the subject of a refusal.
pub(super) type Fault = &'static str;

/// One connection's reader.
#[derive(Debug)]
pub(super) struct Watch {
    next: Next,
    line: [u8; KEPT],
    length: usize,
    last: u8,
    head: Head,
    /// How many heads have come to their end.
    heads: u64,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    RequestLine,
    HeaderLine,
    /// So many bytes of a body whose length was told.
    Body(u64),
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkSize,
    ChunkEnd,
    TrailerLine,
    /// Nothing that this reader follows.
    Anything,
}

/// What the lines of one head say of its framing.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
    fault: Option<Fault>,
}

/// What new bytes have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing against them.
    Fine,
    /// The head of this number (from 1) is faulty; nothing behind it is followed.
    Head(u64, Fault),
    /// The body is faulty from this byte on: no reader may take it for complete.
    Body(usize),
}

impl Watch {
    /// The reader of a new connection.
    pub(super) const fn new() -> Self {
        let head = Head { length: None, chunked: false, fault: None };
        Self { next: Next::RequestLine, line: [0; KEPT], length: 0, last: 0, head, heads: 0 }
    }

    /// Follows the next bytes of the connection.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Seen {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.next {
                Next::Anything => return Seen::Fine,
                Next::Body(left) => self.skip(rest, left, Next::Body, Next::RequestLine),
                Next::Chunk(left) => self.skip(rest, left, Next::Chunk, Next::ChunkEnd),
                Next::RequestLine | Next::HeaderLine if self.length == 0 => match self.whole_lines(rest) {
                    Ok(behind) if behind.len() < rest.len() => behind,
                    // The rest of a line comes later.
                    Ok(part) => {
                        self.keep(part);
                        return Seen::Fine;
                    }
                    Err(fault) => return self.stop(fault, bytes.len() - rest.len()),
                },
                _ => {
                    let end = memchr::memchr(b'\n', rest);
                    let (line, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                    let seen = match end {
                        // Most lines come whole, and are read where they are.
                        Some(_) if self.length == 0 => self.line_comes(line),
                        Some(_) => {
                            self.keep(line);
                            self.line_ends()
                        }
                        None => {
                            self.keep(line);
                            bounded(self.next, self.length)
                        }
                    };
                    match seen {
                        Ok(()) => behind,
                        Err(fault) => {
                            let at = bytes.len() - rest.len();
                            return self.stop(fault, at);
                        }
                    }
                }
            };
        }
        Seen::Fine
    }

    /// Whether the client may be in the middle of a message: it does not read an answer before it has sent the rest.
    pub(super) const fn is_mid_message(&self) -> bool {
        !(matches!(self.next, Next::RequestLine) && self.length == 0)
    }

    fn stop(&mut self, fault: Fault, at: usize) -> Seen {
        let head = matches!(self.next, Next::RequestLine | Next::HeaderLine);
        self.next = Next::Anything;
        if head { Seen::Head(self.heads + 1, fault) } else { Seen::Body(at) }
    }

    /// Reads the lines of a head that are there whole, up to the head's end; what is behind them.
    fn whole_lines<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(begin..=end).unwrap_or_default();
            begin = end + 1;
            match line {
                [field @ .., b'\r', b'\n'] if self.next == Next::HeaderLine && !field.is_empty() => {
                    self.head.take(field.get(..KEPT).unwrap_or(field), field.len() > KEPT);
                }
                _ => self.line_comes(line)?,
            }
            if !matches!(self.next, Next::RequestLine | Next::HeaderLine) {
                break;
            }
        }
        Ok(bytes.get(begin..).unwrap_or_default())
    }

    fn skip<'b>(&mut self, bytes: &'b [u8], left: u64, same: fn(u64) -> Next, then: Next) -> &'b [u8] {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - now as u64;
        self.next = if left == 0 { then } else { same(left) };
        bytes.get(now..).unwrap_or_default()
    }

    /// Adds to the line that is being read. A `#` is looked for here, because a target may be longer than what is kept.
    fn keep(&mut self, part: &[u8]) {
        if self.next == Next::RequestLine && memchr::memchr(b'#', part).is_some() {
            self.head.fault = Some("fragment");
        }
        if let Some(room) = self.line.get_mut(self.length.min(KEPT)..) {
            let kept = room.len().min(part.len());
            if let (Some(room), Some(part)) = (room.get_mut(..kept), part.get(..kept)) {
                room.copy_from_slice(part);
            }
        }
        // Of the byte before the end, a line in two parts would forget it.
        self.last = match part {
            [.., before, b'\n'] => *before,
            [b'\n'] => self.last,
            [.., last] => *last,
            [] => self.last,
        };
        self.length += part.len();
    }

    /// A line that came in pieces has come to its end.
    fn line_ends(&mut self) -> Result<(), Fault> {
        let length = std::mem::take(&mut self.length);
        bounded(self.next, length)?;
        if self.last != b'\r' || length < 2 {
            return Err("line_end");
        }
        self.last = 0;
        let whole = length - 2;
        let kept = self.line;
        self.line(kept.get(..whole.min(KEPT)).unwrap_or_default(), whole)
    }

    /// A whole line comes at once.
    fn line_comes(&mut self, line: &[u8]) -> Result<(), Fault> {
        bounded(self.next, line.len())?;
        if self.next == Next::RequestLine && memchr::memchr(b'#', line).is_some() {
            self.head.fault = Some("fragment");
        }
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err("line_end") };
        self.line(line.get(..KEPT).unwrap_or(line), line.len())
    }

    /// The beginning of a line of so many bytes.
    fn line(&mut self, line: &[u8], whole: usize) -> Result<(), Fault> {
        match self.next {
            // RFC 9112 section 2.2: an empty line before a request is skipped.
            Next::RequestLine if whole == 0 => {}
            Next::RequestLine => self.next = Next::HeaderLine,
            Next::HeaderLine if whole == 0 => return self.head_ends(),
            Next::HeaderLine => self.head.take(line, whole > KEPT),
            Next::ChunkSize => {
                self.next = match chunk_size(line).ok_or("chunk")? {
                    0 => Next::TrailerLine,
                    size => Next::Chunk(size),
                };
            }
            Next::ChunkEnd if whole == 0 => self.next = Next::ChunkSize,
            Next::ChunkEnd => return Err("chunk"),
            Next::TrailerLine if whole == 0 => self.next = Next::RequestLine,
            Next::TrailerLine | Next::Body(_) | Next::Chunk(_) | Next::Anything => {}
        }
        Ok(())
    }

    fn head_ends(&mut self) -> Result<(), Fault> {
        let Head { length, chunked, fault } = std::mem::take(&mut self.head);
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.heads += 1;
        self.next = match length {
            _ if chunked => Next::ChunkSize,
            None | Some(0) => Next::RequestLine,
            Some(length) => Next::Body(length),
        };
        Ok(())
    }
}

impl Head {
    /// Takes in a field line, of which only the beginning is there if it is `longer`.
    #[inline]
    fn take(&mut self, line: &[u8], longer: bool) {
        // Most fields are of neither kind, and the lengths of their names tell it.
        if [LENGTH, CODING].iter().any(|name| line.get(name.len()) == Some(&b':')) {
            self.take_framing(line, longer);
        }
    }

    /// The same of one that may frame the message.
    fn take_framing(&mut self, line: &[u8], longer: bool) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let fault = if name.eq_ignore_ascii_case(LENGTH) {
            let read = digits(value, 10).filter(|_| !longer && value.len() < 20);
            match (self.length.replace(read.unwrap_or(0)), read) {
                (None, Some(_)) if !self.chunked => return,
                (_, None) => "content_length",
                (Some(_), _) => "content_length_repeated",
                (None, _) => "two_framings",
            }
        } else if name.eq_ignore_ascii_case(CODING) {
            let plain = !longer && value.eq_ignore_ascii_case(b"chunked");
            match (std::mem::replace(&mut self.chunked, true), self.length) {
                (false, None) if plain => return,
                (false, Some(_)) => "two_framings",
                _ => "transfer_encoding",
            }
        } else {
            return;
        };
        self.fault.get_or_insert(fault);
    }
}

/// Whether a line may be so long, its end included.
fn bounded(next: Next, length: usize) -> Result<(), Fault> {
    let is_bounded = matches!(next, Next::ChunkSize | Next::ChunkEnd | Next::TrailerLine);
    if is_bounded && length > LONGEST_LINE { Err("chunk") } else { Ok(()) }
}

/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 section 7.1), without the blanks in front of extensions that some allow.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let size = line.get(..end)?;
    digits(size, 16).filter(|_| size.len() <= MOST_DIGITS)
}

/// A number of digits and nothing else; `None` also where it does not fit.
fn digits(text: &[u8], base: u32) -> Option<u64> {
    let first = text.first()?;
    // The standard library would take a sign.
    if *first == b'+' {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, base).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is seen when the bytes come at once, and in pieces of each size.
    fn seen(bytes: &str) -> (Seen, u64) {
        let mut whole = Watch::new();
        let once = whole.see(bytes.as_bytes());
        for size in [1, 2, 3, 7, 64] {
            let (mut watch, mut at) = (Watch::new(), 0);
            let mut pieces = bytes.as_bytes().chunks(size).map(|piece| {
                let seen = watch.see(piece);
                at += piece.len();
                match seen {
                    // The fault is seen where its line begins, or later.
                    Seen::Body(inside) => Seen::Body(at - piece.len() + inside),
                    other => other,
                }
            });
            let first = pieces.find(|seen| *seen != Seen::Fine).unwrap_or(Seen::Fine);
            drop(pieces);
            match (once, first) {
                (Seen::Body(once), Seen::Body(first)) => assert!(first >= once, "{bytes:?} by {size}"),
                (once, first) => assert_eq!(once, first, "{bytes:?} by {size}"),
            }
            assert_eq!(watch.heads, whole.heads, "{bytes:?} by {size}");
        }
        (once, whole.heads)
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn one_message_follows_another_where_it_ends() {
        for (message, heads) in [
            (GET, 1),
            ("\r\nGET / HTTP/1.1\r\n\r\n", 1),
            ("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 1),
            ("PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 1),
            ("PUT / HTTP/1.1\r\ncontent-LENGTH:30\r\n\r\nGET / HTTP/1.1\r\nHost: hidden\r\n", 1),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00005;a=b\r\nhel\nl\r\nA;x=\"1\"\r\n1234567890\r\n0\r\nX: 1\r\nY: 2\r\n\r\n",
                1,
            ),
        ] {
            assert_eq!(seen(message), (Seen::Fine, heads), "{message:?}");
            for end in 1..=message.len() {
                let mut watch = Watch::new();
                watch.see(&message.as_bytes()[..end]);
                // The empty line in front of a request is no part of it.
                let between = end == message.len() || &message[..end] == "\r\n";
                assert_eq!(watch.is_mid_message(), !between, "{message:?} to {end}");
            }
            assert_eq!(seen(&[message, GET, message].concat()), (Seen::Fine, 2 * heads + 1), "{message:?}");
        }
    }

    #[test]
    fn a_faulty_head_is_known_by_its_number() {
        let head = |lines: &str| format!("PUT / HTTP/1.1\r\n{lines}\r\n\r\n");
        for (head, fault) in [
            (head("Content-Length: 5\r\nTransfer-Encoding: chunked"), "two_framings"),
            (head("Transfer-Encoding: chunked\r\nContent-Length: 5"), "two_framings"),
            (head("Content-Length: 5\r\nContent-Length: 5"), "content_length_repeated"),
            (head("Content-Length: 5, 5"), "content_length"),
            (head("Content-Length: +5"), "content_length"),
            (head("Content-Length:"), "content_length"),
            (head(&format!("Content-Length: {:0>70}", 5)), "content_length"),
            (head("Content-Length: 99999999999999999999"), "content_length"),
            (head("Transfer-Encoding: gzip, chunked"), "transfer_encoding"),
            (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "transfer_encoding"),
            ("GET /#/../admin HTTP/1.1\r\n\r\n".into(), "fragment"),
            (format!("GET /{}#a HTTP/1.1\r\n\r\n", "a".repeat(200)), "fragment"),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), "line_end"),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), "line_end"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), "line_end"),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "line_end"),
        ] {
            assert_eq!(seen(&head).0, Seen::Head(1, fault), "{head:?}");
            let before = "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\r\n";
            assert_eq!(seen(&[before, GET, &head, GET].concat()).0, Seen::Head(3, fault), "{head:?}");
        }
    }

    #[test]
    fn a_faulty_body_is_faulty_from_its_line_on() {
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (good, bad) in [
            ("", "5\nhello\r\n0\r\n\r\n"),
            ("", "+5\r\nhello\r\n0\r\n\r\n"),
            ("", "5 \r\nhello\r\n0\r\n\r\n"),
            ("", "\r\nhello\r\n0\r\n\r\n"),
            ("", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
            ("", "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n"),
            ("", "5;\nhello\r\n0\r\n\r\n"),
            ("5\r\nhello", "X\r\n0\r\n\r\n"),
            ("5\r\nhello", "\n0\r\n\r\n"),
            ("5\r\nhello\r\n", "0\n\r\n"),
            ("5\r\nhello\r\n0\r\n", "X: 1\n\r\n"),
            ("5\r\nhello\r\n0\r\n", "\n"),
        ] {
            assert_eq!(seen(&[head, good, bad].concat()).0, Seen::Body(head.len() + good.len()), "{good:?} {bad:?}");
        }
        let endless = "0".repeat(LONGEST_LINE + 1);
        assert!(matches!(seen(&[head, &endless].concat()).0, Seen::Body(_)));
    }

    #[test]
    fn after_a_fault_nothing_is_followed() {
        let mut watch = Watch::new();
        assert!(matches!(watch.see(b"\n"), Seen::Head(1, _)));
        assert_eq!(watch.see(GET.as_bytes()), Seen::Fine);
        assert_eq!(watch.heads, 0);
    }

    /// Lines and parts of lines, such as messages have and such as they must not have.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "GET / HTTP/1.1\r\n",
            "PUT /a#b HTTP/1.1\r\n",
            "Host: a\r\n",
            "Content-Length: 5\r\n",
            "content-length:12\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length : 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encodings: gzip\r\n",
            "\r\n",
            "\r\n\r\n",
            "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
            "5\r\n",
            "0\r\n\r\n",
            "A;x=1\r\n1234567890\r\n",
            "fffffffffffffffff\r\n",
            "X: 1\r\n",
            "\r",
            "\n",
            "#",
            ":",
            " ",
        ];
        prop_oneof![
            20 => proptest::sample::select(known.map(|text| text.as_bytes().to_vec()).to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..8),
            1 => (60_usize..70).prop_map(|length| vec![b'a'; length]),
            1 => (KEPT - 20..KEPT + 4).prop_map(|length| format!("Content-Length:{:>length$}\r\n", 5).into_bytes()),
            1 => (LONGEST_LINE - 2..LONGEST_LINE + 2).prop_map(|length| vec![b'0'; length]),
        ]
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let begin = prop_oneof![
            Just(""),
            Just("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Just("PUT / HTTP/1.1\r\nContent-Length: 5\r\n"),
        ];
        (begin, proptest::collection::vec(part(), 0..12))
            .prop_map(|(begin, parts)| [begin.as_bytes(), &parts.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// However the bytes are cut into pieces, the same is seen of them: a line that comes whole is read as one of which
        /// the reader had to keep the beginning.
        #[test]
        fn nothing_depends_on_how_the_bytes_come(bytes in message(), cuts in proptest::collection::vec(1_usize..40, 1..9)) {
            let (mut whole, mut pieces, mut bytewise) = (Watch::new(), Watch::new(), Watch::new());
            let once = whole.see(&bytes);
            let state = |watch: &Watch| {
                let length = if watch.next == Next::Anything { 0 } else { watch.length };
                (watch.next, length, watch.heads, watch.is_mid_message())
            };
            let first = |watch: &mut Watch, sizes: &mut dyn Iterator<Item = usize>| {
                let (mut rest, mut seen) = (&bytes[..], Seen::Fine);
                while !rest.is_empty() && seen == Seen::Fine {
                    let (piece, behind) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                    seen = match watch.see(piece) {
                        Seen::Body(at) => Seen::Body(bytes.len() - rest.len() + at),
                        seen => seen,
                    };
                    rest = behind;
                }
                seen
            };
            let by_piece = first(&mut pieces, &mut cuts.iter().copied().cycle());
            let by_byte = first(&mut bytewise, &mut std::iter::repeat(1));
            for (seen, watch) in [(by_piece, &pieces), (by_byte, &bytewise)] {
                match (once, seen) {
                    // Seen where its line begins, or in a later piece of it.
                    (Seen::Body(once), Seen::Body(seen)) => prop_assert!(seen >= once),
                    (once, seen) => prop_assert_eq!(once, seen),
                }
                prop_assert_eq!(state(watch), state(&whole));
            }
        }
    }
}
