//! Where a request goes, as the head says it: the host that names the application, in one form; and what the head says of
//! the message itself: its framing, its expectation, how far it may go.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, MAX_FORWARDS, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Version};

use super::Refusal;
use crate::model::Reason;
use crate::route::host::Host;

/// The host of a request: the authority of an absolute target or of HTTP/2, or else the one `Host` header; where both
/// are there, they must agree (RFC 9112 section 3.2, RFC 9113 section 8.3.1). No host at all is refused in every version.
///
/// # Errors
/// A refusal that says which rule was broken.
pub(super) fn host(head: &Parts) -> Result<Host<'_>, Refusal> {
    let refuse = |subject| Refusal::about(Reason::BadHeader, subject);
    let parse = |text| Host::parse(text).map_err(|_| refuse("host"));
    let mut lines = head.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(refuse("host_repeated"));
    }
    let header = match line {
        Some(value) => Some(parse(value.to_str().map_err(|_| refuse("host"))?)?),
        None => None,
    };
    let target = match head.uri.authority() {
        Some(authority) => Some(parse(authority.as_str())?),
        None => None,
    };
    match (target, header) {
        (Some(target), Some(header)) if same(&target, &header) => Ok(target),
        (Some(_), Some(_)) => Err(refuse("host_disagrees")),
        (Some(host), None) | (None, Some(host)) => Ok(host),
        (None, None) => Err(refuse("host_missing")),
    }
}

/// A message is framed in one plain way: by one `Content-Length` of digits, or over HTTP/1.1 by `chunked`, once (RFC 9112
/// sections 6.1 and 6.3); HTTP/1.0 and HTTP/2 have no codings. Whatever else hyper or h2 can read, some backend reads
/// differently.
///
/// # Errors
/// A refusal that says what is not so.
pub(super) fn check_framing(head: &Parts) -> Result<(), Refusal> {
    let refuse = |subject| Err(Refusal::about(Reason::BadHeader, subject));
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return refuse("content_length_repeated");
    }
    if length.is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return refuse("content_length");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if length.is_some() {
        return refuse("two_framings");
    }
    let plain = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if plain && head.version == Version::HTTP_11 { Ok(()) } else { refuse("transfer_encoding") }
}

/// What comes encrypted is for `https` (RFC 9110 section 7.4); a target that says otherwise was meant for another server,
/// and a backend that believes it would answer for one. An unencrypted connection may be that of a proxy that ends TLS.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_scheme(head: &Parts, secure: bool) -> Result<(), Refusal> {
    match head.uri.scheme() {
        Some(scheme) if secure && *scheme != Scheme::HTTPS => Err(Refusal::about(Reason::BadTarget, "scheme")),
        _ => Ok(()),
    }
}

/// The name by which the gateways of this kind know each other in `Via`.
const PSEUDONYM: &str = "portcullis";
/// How many of them a request may pass: more than any chain that somebody meant.
const MOST_GATEWAYS: usize = 8;

/// The one expectation is `100-continue`, once (RFC 9110 section 10.1.1); HTTP/1.0 has none, whatever it says. hyper tells
/// the client to go on when the body is asked for, which is after the permission.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_expectation(head: &Parts) -> Result<(), Refusal> {
    let mut lines = head.headers.get_all(EXPECT).iter();
    let Some(line) = lines.next().filter(|_| head.version > Version::HTTP_10) else { return Ok(()) };
    let known = line.as_bytes().eq_ignore_ascii_case(b"100-continue") && lines.next().is_none();
    if known { Ok(()) } else { Err(Refusal::of(Reason::ExpectationFailed)) }
}

/// A request that comes back again and again would come for ever (RFC 9110 section 7.6.3).
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_loop(headers: &HeaderMap) -> Result<(), Refusal> {
    let lines = headers.get_all(VIA).iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let ours = elements.filter(|element| {
        let mut words = element.trim_ascii().split(u8::is_ascii_whitespace);
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(PSEUDONYM.as_bytes()))
    });
    if ours.count() < MOST_GATEWAYS { Ok(()) } else { Err(Refusal::of(Reason::LoopDetected)) }
}

/// How many gateways more an OPTIONS may pass; `None` where nothing is said (RFC 9110 section 7.6.2). Other methods may
/// carry the field too, where it means nothing; TRACE is not forwarded at all.
///
/// # Errors
/// A value that is no number, or more than one.
pub(super) fn forwards_left(head: &Parts) -> Result<Option<u64>, Refusal> {
    let mut lines = head.headers.get_all(MAX_FORWARDS).iter();
    let Some(line) = lines.next().filter(|_| head.method == Method::OPTIONS) else { return Ok(None) };
    let number = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (number.and_then(|text| text.parse().ok()), lines.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => Err(Refusal::about(Reason::BadHeader, "max_forwards")),
    }
}

/// Counts this gateway off.
pub(super) fn count_forward(head: &mut Parts, left: u64) {
    head.headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
}

/// Gives the head the one `Host` that was judged, as it was written.
pub(super) fn settle(head: &mut Parts) -> Result<(), Refusal> {
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::about(Reason::BadHeader, "host"))?;
    head.headers.insert(HOST, value);
    Ok(())
}

fn same(a: &Host<'_>, b: &Host<'_>) -> bool {
    let port = |host: &Host<'_>| host.port.filter(|port| !matches!(port, 80 | 443));
    a.name == b.name && port(a) == port(b)
}
