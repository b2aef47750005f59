//! The token of a request: exactly one, in a place where its application looks for one. RFC 6750 section 2, RFC 9110
//! section 11.6.2.

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::model::Reason;
use crate::route::TokenPlaces;
use crate::route::cookies::{self, Likeness};

/// Where a token stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// In `Authorization`.
    Authorization,
    /// In a cookie, which browsers send whoever made the page that asks.
    Cookie,
    /// In a header of a trusted proxy.
    Header,
}

/// A token as it was written: its letters are looked at only where nobody remembers to have verified these very bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written<'h>(pub(super) &'h [u8]);

impl<'h> Written<'h> {
    /// The same as text, if it is made of what a token may be made of (RFC 6750 section 2.1); quotes are no part of that.
    ///
    /// # Errors
    /// [`Reason::MalformedCredentials`] if it is not.
    pub(super) fn letters(self) -> Result<&'h str, Reason> {
        if self.0.is_empty() || !has_only_letters(self.0) {
            return Err(Reason::MalformedCredentials);
        }
        std::str::from_utf8(self.0).map_err(|_| Reason::MalformedCredentials)
    }
}

/// The one token of a request, as it came. Headers that carry tokens count if a trusted proxy sent them; of anybody
/// else they are as if absent. A token in a place where the application does not look counts too: a backend that reads
/// it would believe another caller than the one who was judged.
///
/// # Errors
/// [`Reason::NoToken`] without a token in a place of the application; [`Reason::MalformedCredentials`] where two
/// readers could find different tokens.
pub(super) fn find<'h>(
    head: &'h Parts,
    places: &TokenPlaces,
    trusted_peer: bool,
) -> Result<(Written<'h>, Carrier), Reason> {
    let bearer = bearer(&head.headers)?.map(|token| (token, Carrier::Authorization));
    let mut found = bearer;
    for name in places.headers.iter().filter(|_| trusted_peer) {
        let token = header(&head.headers, name)?.map(|token| (token, Carrier::Header));
        found = one_of(found, token)?;
    }
    if !places.cookies.is_empty() {
        let token = cookie(&head.headers, &places.cookies)?.map(|token| (token, Carrier::Cookie));
        found = one_of(found, token)?;
    }
    match found {
        Some(_) if in_query(head) => Err(Reason::MalformedCredentials),
        Some((token, Carrier::Authorization)) if !places.bearer => {
            Err(token.letters().err().unwrap_or(Reason::NoToken))
        }
        Some(found) => Ok(found),
        None => Err(Reason::NoToken),
    }
}

/// Looks for a token in the query (RFC 6750 section 2.3): a client must use one way only.
///
/// # Errors
/// [`Reason::MalformedCredentials`] if it is there.
pub(super) fn only_one(head: &Parts) -> Result<(), Reason> {
    if in_query(head) { Err(Reason::MalformedCredentials) } else { Ok(()) }
}

fn in_query(head: &Parts) -> bool {
    let Some(query) = head.uri.query() else { return false };
    // Some readers part pairs at `;`, too.
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        cookies::resembles_parameter(name.as_bytes(), "access_token")
    })
}

fn one_of<T>(first: Option<T>, second: Option<T>) -> Result<Option<T>, Reason> {
    match (first, second) {
        (Some(_), Some(_)) => Err(Reason::MalformedCredentials),
        (first, second) => Ok(first.or(second)),
    }
}

/// The token of `Authorization`; `None` without it or with credentials of another scheme.
fn bearer(headers: &HeaderMap) -> Result<Option<Written<'_>>, Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::MalformedCredentials);
    }
    let mut token = value.as_bytes();
    let end = token.iter().position(|byte| *byte == b' ').unwrap_or(token.len());
    let scheme = token.split_off(..end).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return value.to_str().map(|_| None).map_err(|_| Reason::MalformedCredentials);
    }
    while let [b' ', rest @ ..] = token {
        token = rest;
    }
    written(token).map(Some)
}

/// The token of a header that holds nothing else.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Written<'h>>, Reason> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::MalformedCredentials);
    }
    written(value.as_bytes()).map(Some)
}

/// The token of the one cookie that has one of these names, over all lines. An empty one is what a sign-out leaves
/// behind: no token, but still the only cookie of its name.
fn cookie<'h>(headers: &'h HeaderMap, names: &[Box<str>]) -> Result<Option<Written<'h>>, Reason> {
    let mut found = None;
    for name in names {
        let mut seen = false;
        for pair in headers.get_all(COOKIE).iter().flat_map(|line| cookies::pairs(line.as_bytes())) {
            match cookies::likeness(pair, name) {
                Likeness::Other => {}
                Likeness::Alike => return Err(Reason::MalformedCredentials),
                Likeness::Same(_) if seen => return Err(Reason::MalformedCredentials),
                Likeness::Same(value) => {
                    seen = true;
                    let token = if value.is_empty() { None } else { Some(Written(value)) };
                    found = one_of(found, token)?;
                }
            }
        }
    }
    Ok(found)
}

/// Whether all bytes are of the grammar of tokens. Without a way out in the middle, so that many are looked at at once.
fn has_only_letters(written: &[u8]) -> bool {
    let is_strange = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // From `-` to `9` are `-./` and the digits.
        let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
        let mark = (byte == b'_') | (byte == b'~') | (byte == b'+') | (byte == b'=');
        !(letter | digit | mark)
    };
    let (blocks, rest) = written.as_chunks::<32>();
    let mut strange = [false; 32];
    for block in blocks {
        strange.iter_mut().zip(block).for_each(|(strange, byte)| *strange |= is_strange(*byte));
    }
    !strange.contains(&true) && !rest.iter().any(|byte| is_strange(*byte))
}

/// Something has to be there.
const fn written(token: &[u8]) -> Result<Written<'_>, Reason> {
    if token.is_empty() { Err(Reason::MalformedCredentials) } else { Ok(Written(token)) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    type Found = Result<(&'static str, Carrier), Reason>;

    const MALFORMED: Found = Err(Reason::MalformedCredentials);
    const NONE: Found = Err(Reason::NoToken);

    /// What is found, and is made of what a token may be made of.
    fn found<'h>(head: &'h Parts, places: &TokenPlaces, trusted: bool) -> Result<(&'h str, Carrier), Reason> {
        let (written, carrier) = find(head, places, trusted)?;
        Ok((written.letters()?, carrier))
    }

    fn head(target: &str, lines: &[(&'static str, &str)]) -> Parts {
        let mut head = Request::get(target).body(()).unwrap().into_parts().0;
        for (name, value) in lines {
            head.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        head
    }

    #[test]
    fn exactly_one_bearer_token_counts() {
        let bearer = |token| Ok((token, Carrier::Authorization));
        let cases: [(&[&str], Found); 13] = [
            (&[], NONE),
            (&["Bearer a.b.c"], bearer("a.b.c")),
            (&["bearer a.b.c"], bearer("a.b.c")),
            (&["BEARER   a.b.c"], bearer("a.b.c")),
            (&["Basic dXNlcjpwYXNz"], NONE),
            (&["Negotiate abc"], NONE),
            (&["a.b.c"], NONE),
            (&["Bearer"], MALFORMED),
            (&["Bearer "], MALFORMED),
            (&["Bearer a b"], MALFORMED),
            (&["Bearer a,Bearer b"], MALFORMED),
            (&["Bearer a", "Bearer b"], MALFORMED),
            (&["Basic x", "Bearer b"], MALFORMED),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("authorization", *line)).collect();
            assert_eq!(found(&head("/", &lines), &TokenPlaces::default(), true), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_in_the_query_is_one_too_many_however_it_is_spelt() {
        for (target, one) in [
            ("/?access_token=x", false),
            ("/?a=b&Access-Token=x", false),
            ("/?access%5Ftoken=x", false),
            ("/?access_token", false),
            ("/?a;access_token=x", false),
            ("/?+access_token=x", false),
            ("/?access_token[]=x", false),
            ("/?%00access_token=x", false),
            ("/?access_token%5B%5D=x", false),
            ("/?a=access_token", true),
            ("/?access_tokens=x", true),
        ] {
            let head = head(target, &[("authorization", "Bearer a")]);
            assert_eq!(found(&head, &TokenPlaces::default(), true).is_ok(), one, "{target}");
            assert_eq!(only_one(&head).is_ok(), one, "{target}");
        }
    }

    #[test]
    fn of_all_places_exactly_one_may_carry_a_token() {
        let all = TokenPlaces {
            bearer: true,
            cookies: vec!["tok".into(), "old_tok".into()],
            headers: vec![HeaderName::from_static("x-token")],
        };
        let cookie_only = TokenPlaces { bearer: false, cookies: vec!["tok".into()], headers: Vec::new() };
        let (bearer, cookie, token) = (("authorization", "Bearer a"), ("cookie", "x=y; tok=b"), ("x-token", "c"));
        let cases: [(&TokenPlaces, bool, &[_], Found); 18] = [
            (&all, true, &[bearer], Ok(("a", Carrier::Authorization))),
            (&all, true, &[cookie], Ok(("b", Carrier::Cookie))),
            (&all, true, &[token], Ok(("c", Carrier::Header))),
            (&all, false, &[token], NONE),
            (&all, false, &[bearer, token], Ok(("a", Carrier::Authorization))),
            (&all, true, &[bearer, cookie], MALFORMED),
            (&all, true, &[bearer, token], MALFORMED),
            (&all, true, &[cookie, token], MALFORMED),
            (&all, true, &[token, token], MALFORMED),
            (&all, true, &[("x-token", "")], MALFORMED),
            (&all, true, &[("x-token", "Bearer c")], MALFORMED),
            (&all, true, &[("cookie", "tok=b; old_tok=c")], MALFORMED),
            (&all, true, &[("cookie", "tok=; old_tok=c")], Ok(("c", Carrier::Cookie))),
            (&cookie_only, true, &[bearer], NONE),
            (&cookie_only, true, &[bearer, cookie], MALFORMED),
            (&cookie_only, true, &[cookie, token], Ok(("b", Carrier::Cookie))),
            (&cookie_only, true, &[cookie, ("authorization", "Basic x")], Ok(("b", Carrier::Cookie))),
            (&cookie_only, true, &[], NONE),
        ];
        for (places, trusted, lines, expected) in cases {
            assert_eq!(found(&head("/", lines), places, trusted), expected, "{trusted} {lines:?}");
        }
    }

    #[test]
    fn a_cookie_comes_once_under_its_own_name() {
        let places = TokenPlaces { bearer: false, cookies: vec!["erp_token".into()], headers: Vec::new() };
        let token_found = |token| Ok((token, Carrier::Cookie));
        let cases: [(&[&str], Found); 14] = [
            (&["erp_token=a.b.c"], token_found("a.b.c")),
            (&["a=b", "erp_token=a.b.c; c=d"], token_found("a.b.c")),
            (&["a=b; erp_token=x; erp_token=x"], MALFORMED),
            (&["erp_token=x", "erp_token=y"], MALFORMED),
            (&["erp_token=x; ERP_Token=y"], MALFORMED),
            (&["erp_token=x", "erp-token=y"], MALFORMED),
            (&["erp_token=x; erp%5ftoken=y"], MALFORMED),
            (&["a=b, erp_token=x"], MALFORMED),
            (&["ERP_TOKEN=x"], MALFORMED),
            (&["erp_token=\"x\""], MALFORMED),
            (&["erp_token=x y"], MALFORMED),
            (&["erp_token="], NONE),
            (&["erp_token=; erp_token=x"], MALFORMED),
            (&["a=b"], NONE),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            assert_eq!(found(&head("/", &lines), &places, true), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_is_made_of_the_letters_of_its_grammar() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
            for at in [0, 31, 32, 40] {
                let mut token = [b'a'; 41];
                token[at] = byte;
                assert_eq!(Written(&token).letters().is_ok(), expected, "{byte:#x}");
            }
        }
    }
}
