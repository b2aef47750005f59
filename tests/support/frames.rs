//! HTTP/2 written frame by frame (RFC 9113), with fields that no library would send (RFC 7541: literals without indexing).
#![allow(dead_code, reason = "each test file uses its part")]

use std::io;
use std::time::Instant;

use crate::backend::SOON;
use crate::gateway::Door;
use crate::wire::{Client, trusting};

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

/// What opens a connection (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// A field section; names and values as they are.
pub fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    for (name, value) in fields {
        section.push(0);
        for text in [name, value] {
            let length = text.chars().count();
            if length < 127 {
                section.push(u8::try_from(length).unwrap());
            } else {
                // An integer with a prefix of 7 bits (RFC 7541 section 5.1).
                section.push(127);
                let mut left = length - 127;
                while left >= 128 {
                    section.push(u8::try_from(left % 128 + 128).unwrap());
                    left /= 128;
                }
                section.push(u8::try_from(left).unwrap());
            }
            section.extend(text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()));
        }
    }
    section
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Status(u16),
    /// Its stream was reset, with this code (RFC 9113 section 7).
    Reset(u32),
    /// The connection was ended, with this code.
    GoAway(u32),
    /// The connection was ended without a word.
    Closed,
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One connection.
pub struct Frames {
    pub client: Client,
}

impl Frames {
    /// Opens one, with no settings of its own.
    pub fn open(door: &Door) -> Self {
        let config = trusting(&door.certificate(), rustls::ALL_VERSIONS, &["h2"]);
        let (mut client, facts) = Client::tls(door.tls, &config).unwrap();
        assert_eq!(facts.alpn.as_deref(), Some(&b"h2"[..]));
        client.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        Self { client }
    }

    /// Writes a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.client.send(frame(kind, flags, stream, payload));
        self
    }

    /// Writes a frame, if the other side still takes it.
    pub fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.client.try_send(frame(kind, flags, stream, payload))
    }

    /// Writes a whole request without a body.
    pub fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> Outcome {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &section(fields));
        self.outcome(stream)
    }

    /// The next frame, if any comes.
    pub fn next(&mut self) -> Option<Frame> {
        let header = self.client.exactly(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let payload = self.client.exactly(usize::try_from(length).unwrap())?;
        Some(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    /// What becomes of a request.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        while let Some(frame) = self.next() {
            match frame.kind {
                HEADERS if frame.stream == stream => return Outcome::Status(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame.payload)),
                GOAWAY => {
                    let code = code(&frame.payload[4..8]);
                    // Without an error it only asks for no more requests.
                    if code != 0 {
                        return Outcome::GoAway(code);
                    }
                }
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// How the connection ends, as it must. A client that gave up waiting would look the same but for the time.
    pub fn ends(&mut self) -> Outcome {
        let begin = Instant::now();
        let outcome = self.outcome(u32::MAX);
        assert!(begin.elapsed() < SOON, "the connection goes on");
        outcome
    }
}

/// `:status`, which comes first in an answer: an entry of the static table, or three digits.
fn status(section: &[u8]) -> u16 {
    // A change of the size of the dynamic table may stand in front.
    let section = match section {
        [update, rest @ ..] if update & 0xe0 == 0x20 => rest,
        other => other,
    };
    match *section {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x08 | 0x48, length, ref rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            let digits = if length & 0x80 == 0 { text.to_vec() } else { huffman_digits(text) };
            String::from_utf8(digits).unwrap().parse().unwrap()
        }
        _ => panic!("no status: {section:x?}"),
    }
}

/// Digits in the code of RFC 7541 appendix B: 0 to 2 have five bits, 3 to 9 have six.
fn huffman_digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut digits) = (0, Vec::new());
    while digits.len() < 3 {
        let value = |count: usize| bits[at..at + count].iter().fold(0, |value, bit| value * 2 + bit);
        if value(5) <= 2 {
            digits.push(b'0' + value(5));
            at += 5;
        } else {
            digits.push(b'0' + value(6) - 0x19 + 3);
            at += 6;
        }
    }
    digits
}
