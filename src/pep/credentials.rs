//! The bearer token of a request: one `Authorization` header with one token. RFC 6750 section 2.1, RFC 9110 section 11.6.2.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::model::Reason;

/// The token, as it came.
///
/// # Errors
/// [`Reason::NoToken`] without credentials or with those of another scheme; [`Reason::MalformedCredentials`] where two
/// readers could find different tokens.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Reason::NoToken)?;
    if values.next().is_some() {
        return Err(Reason::MalformedCredentials);
    }
    let text = value.to_str().map_err(|_| Reason::MalformedCredentials)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Reason::NoToken);
    }
    let token = token.trim_start_matches(' ');
    let letters =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if token.is_empty() || !token.bytes().all(letters) {
        return Err(Reason::MalformedCredentials);
    }
    Ok(token)
}

/// Looks for a token in the query too (RFC 6750 section 2.3): a client must use one way only, and a backend that reads
/// the query would believe another caller than the one who was judged.
///
/// # Errors
/// [`Reason::MalformedCredentials`] if it does.
pub(super) fn only_one(head: &Parts) -> Result<(), Reason> {
    let query = head.uri.query().unwrap_or_default();
    let stands_in_query = query.split('&').any(|pair| pair.split('=').next() == Some("access_token"));
    if stands_in_query { Err(Reason::MalformedCredentials) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn exactly_one_bearer_token_counts() {
        let cases: [(&[&str], Result<&str, Reason>); 13] = [
            (&[], Err(Reason::NoToken)),
            (&["Bearer a.b.c"], Ok("a.b.c")),
            (&["bearer a.b.c"], Ok("a.b.c")),
            (&["BEARER   a.b.c"], Ok("a.b.c")),
            (&["Basic dXNlcjpwYXNz"], Err(Reason::NoToken)),
            (&["Negotiate abc"], Err(Reason::NoToken)),
            (&["a.b.c"], Err(Reason::NoToken)),
            (&["Bearer"], Err(Reason::MalformedCredentials)),
            (&["Bearer "], Err(Reason::MalformedCredentials)),
            (&["Bearer a b"], Err(Reason::MalformedCredentials)),
            (&["Bearer a,Bearer b"], Err(Reason::MalformedCredentials)),
            (&["Bearer a", "Bearer b"], Err(Reason::MalformedCredentials)),
            (&["Basic x", "Bearer b"], Err(Reason::MalformedCredentials)),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{lines:?}");
        }
    }
}
