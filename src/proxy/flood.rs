//! Counts the HTTP/2 frames of a client that cost work and bring nothing, beside h2, which answers each of them: pings,
//! settings, resets, priorities, unknown frames and empty ones (the floods of CVE-2019-9512 to 9518, CVE-2023-44487 and
//! their successors). h2 has bounds of its own on continuations, on resets of streams that wait, and on streams that
//! its own errors end; those for the rest are here. Frames tell their length, so there is one way to read them.

use tokio::time::Instant;

/// Octets before the first frame (RFC 9113 section 3.4).
const PREFACE: u64 = 24;
/// Octets of a frame's header (RFC 9113 section 4.1).
const HEADER: usize = 9;
/// How many idle frames may come at once.
const MOST: u64 = 1000;
/// How many more each second: what tools that measure round trips send, and a browser that gives up a page's images.
const EACH_SECOND: u64 = 100;
/// How many octets written are worth one more: who downloads measures round trips, and confirms what it got.
const OCTETS_EACH: u64 = 1024;

/// One connection's count.
#[derive(Debug)]
pub(super) struct Flood {
    /// Octets until the next frame header.
    skip: u64,
    header: [u8; HEADER],
    read: usize,
    left: u64,
    since: Instant,
    written: u64,
}

impl Flood {
    /// A new connection, before its preface.
    pub(super) const fn new(now: Instant) -> Self {
        Self { skip: PREFACE, header: [0; HEADER], read: 0, left: MOST, since: now, written: 0 }
    }

    /// So many octets went to the client.
    pub(super) fn wrote(&mut self, octets: usize) {
        self.written += octets as u64;
        self.left = (self.left + self.written / OCTETS_EACH).min(MOST);
        self.written %= OCTETS_EACH;
    }

    /// Follows the next octets. Whether the connection may go on.
    pub(super) fn read(&mut self, mut octets: &[u8], now: Instant) -> bool {
        while !octets.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(octets.len());
            self.skip -= skipped as u64;
            octets = octets.get(skipped..).unwrap_or_default();
            let Some(room) = self.header.get_mut(self.read..) else { return false };
            let taken = room.len().min(octets.len());
            room.iter_mut().zip(octets).for_each(|(kept, octet)| *kept = *octet);
            octets = octets.get(taken..).unwrap_or_default();
            self.read += taken;
            if self.read == HEADER {
                self.read = 0;
                if !self.frame(now) {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self, now: Instant) -> bool {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u64::from(u32::from_be_bytes([0, a, b, c]));
        self.skip = length;
        let idle = match kind {
            // DATA and CONTINUATION that carry nothing and end nothing.
            0x0 => length == 0 && flags & 0x1 == 0,
            0x9 => length == 0 && flags & 0x4 == 0,
            // HEADERS bring a request, WINDOW_UPDATE room for an answer; h2 counts what is wrong with them.
            0x1 | 0x8 => false,
            _ => true,
        };
        if !idle {
            return true;
        }
        if self.left == 0 {
            let seconds = now.saturating_duration_since(self.since).as_secs();
            if seconds > 0 {
                self.since = now;
                self.left = seconds.saturating_mul(EACH_SECOND).min(MOST);
            }
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DATA: u8 = 0x0;
    const HEADERS: u8 = 0x1;
    const RST_STREAM: u8 = 0x3;
    const SETTINGS: u8 = 0x4;
    const PING: u8 = 0x6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1][..], &vec![0xff; payload]].concat()
    }

    fn started(now: Instant) -> Flood {
        let mut flood = Flood::new(now);
        assert!(flood.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now));
        flood
    }

    #[test]
    fn a_flood_of_frames_that_bring_nothing_ends_and_one_of_requests_does_not() {
        let now = Instant::now();
        for (kind, flags, payload, floods) in [
            (PING, 0, 8, true),
            (SETTINGS, 0, 0, true),
            (RST_STREAM, 0, 4, true),
            (0x2, 0, 5, true),
            (0x77, 0, 300, true),
            (DATA, 0, 0, true),
            (0x9, 0, 0, true),
            (DATA, 1, 0, false),
            (DATA, 0, 1, false),
            (HEADERS, 4, 300, false),
            (0x8, 0, 4, false),
        ] {
            for size in [1, 10, 4096] {
                let mut flood = started(now);
                let frames = frame(kind, flags, payload).repeat(1001);
                let ends = frames.chunks(size).any(|octets| !flood.read(octets, now));
                assert_eq!(ends, floods, "{kind} {flags} {payload} by {size}");
            }
        }
    }

    #[test]
    fn time_and_octets_written_are_worth_more_frames() {
        let now = Instant::now();
        let mut flood = started(now);
        let ping = frame(PING, 0, 8);
        assert!(flood.read(&ping.repeat(1000), now));
        flood.wrote(10 * 1024);
        assert!(flood.read(&ping.repeat(10), now));
        let later = now + Duration::from_secs(2);
        assert!(flood.read(&ping.repeat(200), later));
        assert!(!flood.read(&ping, later));
    }
}
