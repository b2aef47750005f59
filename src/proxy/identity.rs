//! What the backend is told of the caller: its name always, its groups, its scopes and a signed assertion where the
//! application asks for them. The names are stripped from every request before, so what stands here is the gateway's.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Caller;
use crate::pep::Grounds;
use crate::route::Application;
use crate::token::{Assertion, AssertionKey};

/// The principal's id.
const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
/// The name to show for the principal.
const USERNAME: HeaderName = HeaderName::from_static("x-auth-request-preferred-username");
/// The names of the principal's groups.
const GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");
/// The nodes in which the principal holds the right that the route asks for.
const SCOPES: HeaderName = HeaderName::from_static("x-portcullis-scopes");
/// All of it, signed.
const ASSERTION: HeaderName = HeaderName::from_static("x-portcullis-assertion");

/// The certificate that the client showed (RFC 9440 section 2.2).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// The most names in a list.
const LIST_NAMES: usize = 64;
/// The most bytes in a list.
const LIST_BYTES: usize = 4096;

/// What it takes to vouch for a caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// Signs assertions.
    pub(super) key: &'a AssertionKey,
    /// The moment of the request, in Unix seconds.
    pub(super) now: u64,
}

impl Identity<'_> {
    /// Sets the headers that say who asks.
    pub(super) fn tell(self, headers: &mut HeaderMap, grounds: &Grounds, application: &Application, caller: &Caller) {
        let watched = grounds.watched.as_ref();
        if watched.is_some_and(|watched| !watched.named) {
            return;
        }
        if let Some(user) = grounds.principal.as_deref().and_then(|id| HeaderValue::from_str(&encoded(id, b"%")).ok()) {
            headers.insert(USER, user);
        }
        let username = grounds.token.as_ref().and_then(|token| token.username.as_deref());
        if let Some(username) = username.and_then(|name| HeaderValue::from_str(name).ok()) {
            headers.insert(USERNAME, username);
        }
        let asked = application.identity_headers;
        if asked.scopes && grounds.scopes.is_none() && grounds.principal.is_some() && watched.is_none() {
            tracing::debug!("request {} goes on without {SCOPES}: no list would be exact", caller.id);
        }
        for (name, names) in [(GROUPS, grounds.groups.as_deref()), (SCOPES, grounds.scopes.as_deref())] {
            match names.map(list) {
                // Nobody asked, nothing is known, or there are none.
                None | Some(Ok(None)) => {}
                Some(Ok(Some(value))) => {
                    headers.insert(name, value);
                }
                Some(Err(TooLong)) => tracing::debug!("request {} goes on without {name}: too long a list", caller.id),
            }
        }
        let shown = caller.connection.certificate.as_ref().filter(|_| asked.client_certificate);
        if let Some(field) = shown.and_then(|shown| HeaderValue::from_str(&shown.field).ok()) {
            headers.insert(CLIENT_CERT, field);
        }
        // An assertion says that the gateway let the request in.
        if asked.assertion
            && watched.is_none()
            && let Some(assertion) = self.assertion(grounds, application, caller)
        {
            headers.insert(ASSERTION, assertion);
        }
    }

    /// None where nobody proved who asks: on public routes, whatever token came along.
    fn assertion(self, grounds: &Grounds, application: &Application, caller: &Caller) -> Option<HeaderValue> {
        let (token, route) = (grounds.token.as_ref()?, grounds.route.as_deref()?);
        let assertion = Assertion {
            application: &application.name,
            route,
            principal: grounds.principal.as_deref(),
            key: token.principal,
            request: &caller.id.to_string(),
            now: self.now,
        };
        match self.key.sign(&assertion) {
            Ok(signed) => HeaderValue::try_from(signed).ok(),
            Err(fault) => {
                tracing::error!("request {} goes on without {ASSERTION}: {fault}", caller.id);
                None
            }
        }
    }
}

/// A list that is left out, since half of one would say something else.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// Names as one header value, separated by commas; `None` of none.
fn list(names: &[Arc<str>]) -> Result<Option<HeaderValue>, TooLong> {
    if names.len() > LIST_NAMES {
        return Err(TooLong);
    }
    let mut value = String::new();
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            value.push(',');
        }
        value.push_str(&encoded(name, b"%,"));
        if value.len() > LIST_BYTES {
            return Err(TooLong);
        }
    }
    Ok(HeaderValue::try_from(value).ok().filter(|value| !value.is_empty()))
}

/// A name from the operators' files for a header value: what is not visible ASCII, and `special`, is percent-encoded.
fn encoded<'t>(text: &'t str, special: &[u8]) -> Cow<'t, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !special.contains(&byte);
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize, length: usize) -> Vec<Arc<str>> {
        vec!["x".repeat(length).into(); count]
    }

    #[test]
    fn ids_of_principals_become_visible_ascii_that_reads_back() {
        for (id, header) in [("olga", "olga"), ("a b", "a%20b"), ("é\n", "%C3%A9%0A"), ("50%", "50%25"), ("a,b", "a,b")]
        {
            assert_eq!(encoded(id, b"%"), header);
        }
    }

    #[test]
    fn a_list_reads_back_whatever_its_names_hold() {
        let names = ["Operators", "a,b", "50%", "Ärzte im Dienst"].map(Arc::from);
        assert_eq!(list(&names).unwrap().unwrap(), "Operators,a%2Cb,50%25,%C3%84rzte%20im%20Dienst");
        assert_eq!(list(&[]), Ok(None));
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out_whole() {
        assert!(list(&names(64, 1)).unwrap().is_some());
        assert_eq!(list(&names(65, 1)), Err(TooLong));
        assert!(list(&names(1, 4096)).unwrap().is_some());
        assert_eq!(list(&names(1, 4097)), Err(TooLong));
        assert_eq!(list(&names(2, 2048)), Err(TooLong));
        // Counted as it is sent: each of these letters is six bytes.
        assert_eq!(list(&["é".repeat(700).into()]), Err(TooLong));
    }
}
