//! Where a request goes, as the head says it: the host that names the application, in one form; and what the head says
//! of the message itself: its framing, its expectation, how far it may go.

use http::header::{HOST, HeaderValue, MAX_FORWARDS};
use http::request::Parts;
use http::{Method, Version};

use super::sought::{Seen, Sought};
use super::{Environment, Refusal};
use crate::model::Reason;
use crate::route::host::Host;

/// The host of a request, and whether the head has it as it goes on: one `Host` in its canonical form. It is the authority of
/// an absolute target or of HTTP/2, or else the one `Host` header; where both
/// are there, they must agree (RFC 9112 section 3.2, RFC 9113 section 8.3.1). No host at all is refused in every
/// version.
///
/// # Errors
/// A refusal that says which rule was broken.
pub(super) fn host(head: &Parts) -> Result<(Host<'_>, bool), Refusal> {
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
    let host = match (target, header) {
        (Some(target), Some(header)) if same(&target, &header) => target,
        (Some(_), Some(_)) => return Err(refuse("host_disagrees")),
        (Some(host), None) | (None, Some(host)) => host,
        (None, None) => return Err(refuse("host_missing")),
    };
    let is_settled = line.is_some_and(|written| host.is_written(written.as_bytes()));
    Ok((host, is_settled))
}

/// A message is framed in one plain way: by one `Content-Length` of digits, or over HTTP/1.1 by `chunked`, once (RFC
/// 9112 sections 6.1 and 6.3); HTTP/1.0 and HTTP/2 have no codings. Whatever else hyper or h2 can read, some backend
/// reads differently.
///
/// # Errors
/// A refusal that says what is not so.
pub(super) fn check_framing(head: &Parts, seen: Seen<'_>) -> Result<(), Refusal> {
    let refuse = |subject| Err(Refusal::about(Reason::BadHeader, subject));
    let mut lengths = seen.lines(Sought::ContentLength);
    let length = lengths.next();
    if lengths.next().is_some() {
        return refuse("content_length_repeated");
    }
    if length.is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return refuse("content_length");
    }
    let mut codings = seen.lines(Sought::TransferEncoding);
    let Some(coding) = codings.next() else { return Ok(()) };
    if length.is_some() {
        return refuse("two_framings");
    }
    let plain = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if plain && head.version == Version::HTTP_11 { Ok(()) } else { refuse("transfer_encoding") }
}

/// No value begins or ends with a blank. HTTP/1 has none there, since its readers take them off; over HTTP/2, where h2 leaves
/// them on, such a request is malformed (RFC 9113 section 8.2.1), and a backend would not read what was judged.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_blanks(head: &Parts) -> Result<(), Refusal> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = head.headers.values().map(HeaderValue::as_bytes);
    if head.version >= Version::HTTP_2 && values.any(|value| is_blank(value.first()) || is_blank(value.last())) {
        return Err(Refusal::about(Reason::BadHeader, "blank"));
    }
    Ok(())
}

/// The scheme of an absolute target or of HTTP/2 is that of the connection (RFC 9110 section 7.4): a backend that
/// trusts it would take a plain request for an encrypted one. A trusted proxy may have ended the encryption.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_scheme(head: &Parts, environment: Environment<'_>) -> Result<(), Refusal> {
    let own = if environment.secure { "https" } else { "http" };
    match head.uri.scheme_str() {
        Some("http" | "https") if environment.trusted_peer => Ok(()),
        Some(scheme @ ("http" | "https")) if scheme != own => {
            Err(Refusal::about(Reason::BadTarget, "scheme_disagrees"))
        }
        _ => Ok(()),
    }
}

/// The name by which the gateways of this kind know each other in `Via`.
const PSEUDONYM: &str = "portcullis";
/// How many of them a request may pass: more than any chain that somebody meant.
const MOST_GATEWAYS: usize = 8;

/// The one expectation is `100-continue`, once (RFC 9110 section 10.1.1); HTTP/1.0 has none, whatever it says. hyper
/// tells the client to go on when the body is asked for, which is after the permission.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_expectation(head: &Parts, seen: Seen<'_>) -> Result<(), Refusal> {
    let mut lines = seen.lines(Sought::Expect);
    let Some(line) = lines.next().filter(|_| head.version > Version::HTTP_10) else { return Ok(()) };
    let known = line.as_bytes().eq_ignore_ascii_case(b"100-continue") && lines.next().is_none();
    if known { Ok(()) } else { Err(Refusal::of(Reason::ExpectationFailed)) }
}

/// A request that comes back again and again would come for ever (RFC 9110 section 7.6.3).
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_loop(seen: Seen<'_>) -> Result<(), Refusal> {
    let elements = seen.lines(Sought::Via).flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
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
    if head.method != Method::OPTIONS {
        return Ok(None);
    }
    let mut lines = head.headers.get_all(MAX_FORWARDS).iter();
    let Some(line) = lines.next() else { return Ok(None) };
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

/// Gives the head the one `Host` that was judged, in its canonical form: a backend that knows another host by the same
/// name with a final dot would serve that one.
pub(super) fn settle(head: &mut Parts) -> Result<(), Refusal> {
    let (judged, is_settled) = host(head)?;
    if is_settled {
        return Ok(());
    }
    let value = HeaderValue::from_str(&judged.to_string()).map_err(|_| Refusal::about(Reason::BadHeader, "host"))?;
    head.headers.insert(HOST, value);
    Ok(())
}

/// Whether two hosts are one. A port that is left out is the scheme's own.
fn same(a: &Host<'_>, b: &Host<'_>) -> bool {
    let left_out = |port: Option<u16>, other: Option<u16>| port.is_none() && matches!(other, Some(80 | 443));
    a.name == b.name && (a.port == b.port || left_out(a.port, b.port) || left_out(b.port, a.port))
}
