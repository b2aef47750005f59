//! The handshake of WebSocket towards the backend: what the gateway asks in the client's name, and which answer opens a
//! tunnel. Nothing but that answer does (RFC 9110 section 7.8, RFC 6455 section 4.1, RFC 8441 section 5).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode, Version, response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use crate::pep::ExtendedConnect;

/// What RFC 6455 section 1.3 adds to a key before it is hashed.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Lets an extended CONNECT for `websocket` stand as the GET that it is to be judged as. Any other CONNECT stays what
/// it is.
pub(super) fn mean_get(head: &mut Parts) {
    let websocket = head.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if websocket && head.method == Method::CONNECT {
        head.method = Method::GET;
        head.extensions.insert(ExtendedConnect);
    }
}

/// A handshake that was permitted and is on its way.
#[derive(Debug)]
pub(super) struct Handshake {
    /// What the backend must answer in `Sec-WebSocket-Accept`.
    accept: String,
    /// The subprotocols that the client offers.
    offered: Vec<Box<str>>,
    /// The HTTP/2 stream that becomes the client's end; over HTTP/1.1 it is the connection itself.
    stream: Option<OnUpgrade>,
}

impl Handshake {
    /// Completes the head that goes to the backend: the handshake of HTTP/1.1 whatever the client speaks. Its
    /// hop-by-hop fields are gone, so these are ours. `None` if there is no key, which a judged handshake of HTTP/1.1
    /// has, or no randomness for one.
    pub(super) fn begin(head: &mut Parts) -> Option<Self> {
        let multiplexed = head.version >= Version::HTTP_2;
        if multiplexed {
            head.headers.insert(SEC_WEBSOCKET_KEY, new_key()?);
        }
        let accept = accept(head.headers.get(SEC_WEBSOCKET_KEY)?);
        let offered = words(&head.headers, &SEC_WEBSOCKET_PROTOCOL).map(Box::from).collect();
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, WEBSOCKET);
        let stream = head.extensions.remove::<OnUpgrade>().filter(|_| multiplexed);
        Some(Self { accept, offered, stream })
    }

    /// The backend is asked once more, so its answer is to be that to `again`.
    pub(super) fn asks_again(&mut self, again: Self) {
        self.accept = again.accept;
    }

    /// Whether the backend said exactly yes to what was asked.
    pub(super) fn is_accepted(&self, answer: &response::Parts) -> bool {
        let headers = &answer.headers;
        let chosen = || match single(headers, &SEC_WEBSOCKET_PROTOCOL) {
            Some(chosen) => self.offered.iter().any(|offered| offered.as_bytes() == chosen.as_bytes()),
            None => !headers.contains_key(SEC_WEBSOCKET_PROTOCOL),
        };
        answer.status == StatusCode::SWITCHING_PROTOCOLS
            && single(headers, &UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && words(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
            && single(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept == self.accept.as_str())
            // A 101 has no body (RFC 9110 sections 8.6 and 6.4.1); one that says so could be read in two ways.
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
            && chosen()
    }

    /// The client's end, if it is an HTTP/2 stream.
    pub(super) fn into_stream(self) -> Option<OnUpgrade> {
        self.stream
    }
}

/// The status with which the client's end begins, and the fields that its version has for that. Those of the connection
/// to the backend are gone from `headers`.
pub(super) fn tell_client(multiplexed: bool, headers: &mut HeaderMap) -> StatusCode {
    if multiplexed {
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        return StatusCode::OK;
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    StatusCode::SWITCHING_PROTOCOLS
}

fn new_key() -> Option<HeaderValue> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    HeaderValue::try_from(STANDARD.encode(nonce)).ok()
}

/// RFC 6455 section 4.2.2, step 5.4. SHA-1 protects nothing here: it shows that the other side understood the question.
fn accept(key: &HeaderValue) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), SALT].concat()))
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The words of a list over all lines of a field, as far as they are readable.
fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};

    use super::*;

    /// The example of RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn begun(version: Version) -> (Parts, Handshake) {
        let request = Request::get("/").version(version).header("sec-websocket-protocol", "chat, superchat");
        let request = if version == Version::HTTP_11 { request.header("sec-websocket-key", KEY) } else { request };
        let mut head = request.body(()).unwrap().into_parts().0;
        let handshake = Handshake::begin(&mut head).unwrap();
        (head, handshake)
    }

    #[test]
    fn a_client_of_http_1_1_keeps_its_key_and_one_of_http_2_is_given_a_new_one() {
        let (head, handshake) = begun(Version::HTTP_11);
        assert_eq!(handshake.accept, ACCEPT);
        assert_eq!((&head.headers["connection"], &head.headers["upgrade"]), (&"Upgrade".parse().unwrap(), &WEBSOCKET));
        let keys = [(); 2].map(|()| begun(Version::HTTP_2).0.headers["sec-websocket-key"].clone());
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| STANDARD.decode(key).unwrap().len() == 16));
    }

    #[test]
    fn only_the_exact_yes_opens_a_tunnel() {
        let (_, handshake) = begun(Version::HTTP_11);
        let sound = [("upgrade", "WebSocket"), ("connection", "upgrade"), ("sec-websocket-accept", ACCEPT)];
        let accepted = |status: u16, lines: &[(&str, &str)]| {
            let mut answer = Response::builder().status(status);
            for (name, value) in lines {
                answer = answer.header(*name, *value);
            }
            handshake.is_accepted(&answer.body(()).unwrap().into_parts().0)
        };
        assert!(accepted(101, &sound));
        assert!(!accepted(200, &sound));
        for missing in 0..3 {
            let mut lines = sound.to_vec();
            lines.remove(missing);
            assert!(!accepted(101, &lines), "{lines:?}");
        }
        for (name, value, yes) in [
            ("sec-websocket-protocol", "chat", true),
            ("sec-websocket-protocol", "Chat", false),
            ("sec-websocket-protocol", "chat, superchat", false),
            ("sec-websocket-protocol", "other", false),
            ("sec-websocket-extensions", "permessage-deflate", true),
            ("sec-websocket-accept", ACCEPT, false),
            ("upgrade", "h2c", false),
            ("content-length", "0", false),
            ("transfer-encoding", "chunked", false),
            ("connection", "close", true),
        ] {
            let lines = [&sound[..], &[(name, value)]].concat();
            assert_eq!(accepted(101, &lines), yes, "{name}: {value}");
        }
        let twice = [&sound[..], &[("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")]].concat();
        assert!(!accepted(101, &twice));
        let wrong = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", KEY)];
        assert!(!accepted(101, &wrong));
    }

    #[test]
    fn only_an_extended_connect_for_websocket_means_get() {
        for (protocol, method, means) in [
            (Some("websocket"), Method::CONNECT, Method::GET),
            (Some("connect-udp"), Method::CONNECT, Method::CONNECT),
            (Some("WebSocket"), Method::CONNECT, Method::CONNECT),
            (None, Method::CONNECT, Method::CONNECT),
            (Some("websocket"), Method::POST, Method::POST),
        ] {
            let mut head = Request::builder().method(method).body(()).unwrap().into_parts().0;
            head.extensions.extend(protocol.map(Protocol::from_static).into_iter().fold(
                http::Extensions::new(),
                |mut all, protocol| {
                    all.insert(protocol);
                    all
                },
            ));
            mean_get(&mut head);
            assert_eq!(head.method, means, "{protocol:?}");
        }
    }
}
