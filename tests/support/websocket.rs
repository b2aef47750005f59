//! Both peers of a WebSocket, byte by byte: the handshake (RFC 6455 section 4) and single frames (section 5.2).
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::TcpStream;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::backend::{Backend, Record, Seen, Then, fill, read_head, say};
use crate::wire::{Client, request};

/// The key of every handshake of these tests.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Text, close and ping (RFC 6455 section 5.2).
pub const TEXT: u8 = 1;
/// See [`TEXT`].
pub const CLOSE: u8 = 8;

/// The lines of a handshake.
pub fn lines() -> String {
    format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n")
}

/// A handshake with further lines.
pub fn handshake(target: &str, token: &str, more: &str) -> String {
    request("GET", target, token, &format!("{}{more}", lines()), "")
}

/// The answer to a key.
pub fn accept(key: &str) -> String {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()))
}

/// The yes to a handshake.
pub fn yes(seen: &Seen, more: &str) -> String {
    let accept = accept(seen.header("sec-websocket-key").unwrap());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

/// One final frame; a client's is masked.
pub fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    match u16::try_from(payload.len()).unwrap() {
        short @ 0..126 => bytes.push(mask | u8::try_from(short).unwrap()),
        long => {
            bytes.push(mask | 126);
            bytes.extend(long.to_be_bytes());
        }
    }
    if masked {
        let key = [7, 77, 177, 27];
        bytes.extend(key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// Reads one frame by `take`, which reads so many bytes or says that there are no more.
pub fn read_frame(mut take: impl FnMut(usize) -> Option<Vec<u8>>) -> Option<(u8, Vec<u8>)> {
    let head = take(2)?;
    assert_eq!(head[0] & 0xf0, 0x80, "a frame in pieces");
    let length = match head[1] & 0x7f {
        126 => {
            let long = take(2)?;
            usize::from(u16::from_be_bytes([long[0], long[1]]))
        }
        short => usize::from(short),
    };
    let key = if head[1] & 0x80 == 0 { vec![0; 4] } else { take(4)? };
    let payload = take(length)?;
    Some((head[0] & 0x0f, payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()))
}

/// The next frame that a client reads.
pub fn next(client: &mut Client) -> Option<(u8, Vec<u8>)> {
    read_frame(|length| client.take(length))
}

/// Sends a text and reads the echo.
pub fn echoes(client: &mut Client, text: &str) {
    client.send(frame(TEXT, text.as_bytes(), true));
    assert_eq!(next(client), Some((TEXT, text.as_bytes().to_vec())));
}

/// A backend that says yes to handshakes and echoes texts until it is told to close; answers all else with `plain`.
pub fn echo() -> Backend {
    Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_head(number, &mut stream, &mut buffer) {
            record.head();
            record.seen(seen.clone());
            if seen.header("upgrade").is_none() {
                say(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain");
                continue;
            }
            say(&mut stream, yes(&seen, "").as_bytes());
            return serve_frames(&mut stream, &mut buffer);
        }
    })
}

/// The backend's side of a WebSocket after its yes.
pub fn serve_frames(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    while let Some((opcode, payload)) = read_frame(|length| take(stream, buffer, length)) {
        if say(stream, &frame(opcode, &payload, false)) == Then::Close || opcode == CLOSE {
            return;
        }
    }
}

/// Reads so many bytes of a stream, if they come.
pub fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        if fill(stream, buffer) == 0 {
            return None;
        }
    }
    Some(buffer.drain(..length).collect())
}

/// A backend that answers each handshake with what `answer` says and then reads on, noting whatever comes as a body.
pub fn answering(answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Backend {
    Backend::raw(move |number, mut stream, record: &Record| {
        let mut buffer = Vec::new();
        let Some(mut seen) = read_head(number, &mut stream, &mut buffer) else { return };
        record.head();
        say(&mut stream, answer(&seen).as_bytes());
        while fill(&mut stream, &mut buffer) > 0 {}
        seen.body = buffer;
        record.seen(seen);
    })
}
