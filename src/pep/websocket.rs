//! The handshake of WebSocket as a client writes it: an Upgrade over HTTP/1.1 (RFC 6455 section 4.2.1), an extended
//! CONNECT over HTTP/2 (RFC 8441 section 5). What is none is judged as if it did not ask; what is one by halves is
//! refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use super::Refusal;
use super::sought::{Seen, Sought};
use crate::model::Reason;

/// Marks the head of an extended CONNECT for `websocket`, whose method then stands as the GET that it is judged as.
/// Whoever reads it from the wire puts this into its extensions.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedConnect;

/// Whether the head came as an extended CONNECT.
pub(super) fn is_extended_connect(head: &Parts) -> bool {
    head.extensions.get::<ExtendedConnect>().is_some()
}

/// Whether a client asks for a WebSocket, in whatever form.
pub fn asks_for_websocket(head: &Parts) -> bool {
    // Most heads have no such field, and names are quicker looked through than looked up.
    let may = is_extended_connect(head) || head.headers.keys().any(|name| *name == UPGRADE);
    may && asks(head, Seen::of(&head.headers))
}

/// The same of a head whose fields were seen.
pub(super) fn asks(head: &Parts, seen: Seen<'_>) -> bool {
    is_extended_connect(head) || (head.version < Version::HTTP_2 && lists(seen.lines(Sought::Upgrade), b"websocket"))
}

/// Whether a head that `asks` for a WebSocket is a handshake. HTTP/1.0 knows none (RFC 9110 section 7.8), so there the field says nothing.
///
/// # Errors
/// A refusal that says what is wrong with one.
pub(super) fn handshake(head: &Parts, asks: bool) -> Result<bool, Refusal> {
    if !asks || head.version < Version::HTTP_11 {
        return Ok(false);
    }
    let sound = if is_extended_connect(head) { Ok(()) } else { check_upgrade(head) };
    sound.and_then(|()| check_rest(head)).map_err(|subject| Refusal::about(Reason::BadHandshake, subject))?;
    Ok(true)
}

fn check_upgrade(head: &Parts) -> Result<(), &'static str> {
    if head.method != Method::GET {
        return Err("method");
    }
    // A server may choose among several protocols, so that nobody here would know which one begins.
    if !single(&head.headers, &UPGRADE).is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err("upgrade");
    }
    if !lists(head.headers.get_all(CONNECTION).iter(), b"upgrade") {
        return Err("connection");
    }
    let key = single(&head.headers, &SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key.as_bytes()).ok());
    if key.is_some_and(|nonce| nonce.len() == 16) { Ok(()) } else { Err("key") }
}

/// What both forms have.
fn check_rest(head: &Parts) -> Result<(), &'static str> {
    if single(&head.headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("version");
    }
    let length = head.headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
    if length && !head.headers.contains_key(TRANSFER_ENCODING) { Ok(()) } else { Err("body") }
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list over all lines of a field has this word.
fn lists<'h>(lines: impl Iterator<Item = &'h HeaderValue>, word: &[u8]) -> bool {
    let mut words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    words.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SOUND: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn judged(method: &str, version: Version, lines: &[(&str, &str)], extended: bool) -> Result<bool, String> {
        let mut request = Request::builder().method(method).version(version).uri("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        if extended {
            head.extensions.insert(ExtendedConnect);
        }
        handshake(&head, asks_for_websocket(&head)).map_err(|refusal| refusal.full_code().to_owned())
    }

    /// The sound handshake with the lines of one name replaced.
    fn with<'a>(name: &str, values: &[&'a str]) -> Vec<(&'a str, &'a str)>
    where
        'static: 'a,
    {
        let mut lines: Vec<(&str, &str)> = SOUND.into_iter().filter(|(known, _)| *known != name).collect();
        let name = [
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-version",
            "content-length",
            "transfer-encoding",
        ]
        .into_iter()
        .find(|known| *known == name)
        .unwrap();
        lines.extend(values.iter().map(|value| (name, *value)));
        lines
    }

    #[test]
    fn a_handshake_over_http_1_1_is_exact_or_refused() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let cases: [(&str, &[&str], &str); 22] = [
            ("upgrade", &["WebSocket"], ""),
            ("upgrade", &["websocket, h2c"], "upgrade"),
            ("upgrade", &["websocket", "websocket"], "upgrade"),
            ("upgrade", &["foo", "websocket"], "upgrade"),
            ("connection", &["upgrade"], ""),
            ("connection", &["close", "x, UPGRADE"], ""),
            ("connection", &[], "connection"),
            ("connection", &["keep-alive"], "connection"),
            ("sec-websocket-key", &[], "key"),
            ("sec-websocket-key", &[key, key], "key"),
            ("sec-websocket-key", &["dGhlIHNhbXBsZQ=="], "key"),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], "key"),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZR=="], "key"),
            ("sec-websocket-key", &["not base64 at all, no!!!"], "key"),
            ("sec-websocket-version", &[], "version"),
            ("sec-websocket-version", &["8"], "version"),
            ("sec-websocket-version", &["13, 8"], "version"),
            ("sec-websocket-version", &["13", "13"], "version"),
            ("content-length", &["0"], ""),
            ("content-length", &["1"], "body"),
            ("content-length", &["0", "1"], "body"),
            ("transfer-encoding", &["chunked"], "body"),
        ];
        for (name, values, fault) in cases {
            let expected = if fault.is_empty() { Ok(true) } else { Err(format!("bad_handshake:{fault}")) };
            assert_eq!(judged("GET", Version::HTTP_11, &with(name, values), false), expected, "{name} {values:?}");
        }
        assert_eq!(judged("POST", Version::HTTP_11, &SOUND, false), Err("bad_handshake:method".into()));
        assert_eq!(judged("HEAD", Version::HTTP_11, &SOUND, false), Err("bad_handshake:method".into()));
    }

    #[test]
    fn what_asks_for_no_websocket_is_no_handshake() {
        for upgrade in [&[][..], &["h2c"], &["TLS/1.0"], &["websocket/13"], &["web socket"]] {
            assert_eq!(judged("GET", Version::HTTP_11, &with("upgrade", upgrade), false), Ok(false), "{upgrade:?}");
        }
        assert_eq!(judged("GET", Version::HTTP_10, &SOUND, false), Ok(false));
        assert_eq!(judged("GET", Version::HTTP_2, &SOUND, false), Ok(false));
    }

    #[test]
    fn an_extended_connect_has_no_key_and_no_upgrade() {
        let version = ("sec-websocket-version", "13");
        assert_eq!(judged("GET", Version::HTTP_2, &[version], true), Ok(true));
        assert_eq!(judged("GET", Version::HTTP_2, &[], true), Err("bad_handshake:version".into()));
        let sized = [version, ("content-length", "5")];
        assert_eq!(judged("GET", Version::HTTP_2, &sized, true), Err("bad_handshake:body".into()));
    }
}
