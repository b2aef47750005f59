//! Where a request goes, as the head says it: the host that names the application, in one form.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Version};

use super::{Environment, Refusal};
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

/// The one transfer coding that clients may use is `chunked`, once, and never in HTTP/1.0 (RFC 9112 section 6.1):
/// whatever else hyper can read, some backend reads differently.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_framing(head: &Parts) -> Result<(), Refusal> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let plain = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if plain && head.version == Version::HTTP_11 {
        Ok(())
    } else {
        Err(Refusal::about(Reason::BadHeader, "transfer_encoding"))
    }
}

/// The scheme of an absolute target or of HTTP/2 is that of the connection (RFC 9110 section 7.4): a backend that trusts it
/// would take a plain request for an encrypted one. A trusted proxy may have ended the encryption.
///
/// # Errors
/// A refusal that says so.
pub(super) fn check_scheme(head: &Parts, environment: Environment) -> Result<(), Refusal> {
    let own = if environment.secure { "https" } else { "http" };
    match head.uri.scheme_str() {
        Some("http" | "https") if environment.trusted_peer => Ok(()),
        Some(scheme @ ("http" | "https")) if scheme != own => {
            Err(Refusal::about(Reason::BadTarget, "scheme_disagrees"))
        }
        _ => Ok(()),
    }
}

/// Gives the head the one `Host` that was judged, in its canonical form: a backend that knows another host by the same name
/// with a final dot would serve that one.
pub(super) fn settle(head: &mut Parts) -> Result<(), Refusal> {
    let judged = host(head)?;
    if head.headers.get(HOST).is_some_and(|written| judged.is_written(written.as_bytes())) {
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
