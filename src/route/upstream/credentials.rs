//! What the gateway shows a backend that wants credentials of its own. They are read once, with the route map, and are
//! never printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};

/// Bytes that must not be seen in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever shows or uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// How the gateway shows a backend who it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A header, in place of whatever the client sent under that name.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value; marked as sensitive, so that it is not printed either.
        value: HeaderValue,
    },
    /// A query parameter, behind those of the client.
    Query {
        /// Its name, of unreserved characters.
        name: Box<str>,
        /// `NAME=VALUE`, encoded.
        pair: Secret,
    },
}

impl Credentials {
    /// HTTP Basic (RFC 7617 section 2), in UTF-8.
    ///
    /// # Errors
    /// What is wrong with the user or the password, as a message.
    pub fn basic(user: &str, password: &str) -> Result<Self, String> {
        if user.contains(':') || user.is_empty() || user.contains(char::is_control) {
            return Err("a user of HTTP Basic has at least one character, no `:` and no control character".to_owned());
        }
        if password.contains(char::is_control) {
            return Err("a password of HTTP Basic has no control characters".to_owned());
        }
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let value = sensitive(&format!("Basic {encoded}")).ok_or("the credentials fit into no header")?;
        Ok(Self::Header { name: http::header::AUTHORIZATION, value })
    }

    /// A header of any name.
    ///
    /// # Errors
    /// What is wrong with the name or the value, as a message.
    pub fn header(name: &str, value: &str) -> Result<Self, String> {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("`{name}` has other characters than letters, digits and `-`"));
        }
        let value = sensitive(value).filter(|value| !value.is_empty()).ok_or("the file holds no value of a header")?;
        Ok(Self::Header { name: parsed, value })
    }

    /// A query parameter.
    ///
    /// # Errors
    /// What is wrong with the name or the value, as a message.
    pub fn query(name: &str, value: &str) -> Result<Self, String> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if name.is_empty() || !name.bytes().all(unreserved) {
            return Err(format!("`{name}` has other characters than letters, digits, `-`, `.`, `_` and `~`"));
        }
        if value.is_empty() || value.contains(char::is_control) {
            return Err("the file holds no value of a parameter".to_owned());
        }
        let mut pair = format!("{name}=").into_bytes();
        for byte in value.bytes() {
            if unreserved(byte) {
                pair.push(byte);
            } else {
                pair.extend(format!("%{byte:02X}").bytes());
            }
        }
        Ok(Self::Query { name: name.into(), pair: Secret::new(pair) })
    }
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_made_once_in_the_form_in_which_they_are_shown() {
        let Ok(Credentials::Header { name, value }) = Credentials::basic("gateway", "pass word:ü") else { panic!() };
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Basic Z2F0ZXdheTpwYXNzIHdvcmQ6w7w="));
        let Ok(Credentials::Header { name, value }) = Credentials::header("X-Api-Key", "k 1") else { panic!() };
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-api-key", "k 1"));
        let Ok(Credentials::Query { pair, .. }) = Credentials::query("api_key", "a&b=c ä") else { panic!() };
        assert_eq!(pair.expose(), b"api_key=a%26b%3Dc%20%C3%A4");
    }

    #[test]
    fn what_could_break_out_of_its_place_is_refused() {
        for (user, password) in [("", "x"), ("a:b", "x"), ("a\n", "x"), ("a", "x\r\n")] {
            assert!(Credentials::basic(user, password).is_err(), "{user:?} {password:?}");
        }
        for (name, value) in [("", "x"), ("a b", "x"), ("a_b", "x"), ("a", ""), ("a", "x\ny")] {
            assert!(Credentials::header(name, value).is_err(), "{name:?} {value:?}");
        }
        for (name, value) in [("", "x"), ("a=b", "x"), ("a&b", "x"), ("a", ""), ("a", "\0")] {
            assert!(Credentials::query(name, value).is_err(), "{name:?} {value:?}");
        }
    }

    #[test]
    fn credentials_are_never_printed() {
        let all = [
            Credentials::basic("gateway", "hunter2"),
            Credentials::header("x-key", "hunter2"),
            Credentials::query("key", "hunter2"),
        ];
        for credentials in all {
            let shown = format!("{:?}", credentials.unwrap());
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
        }
    }
}
