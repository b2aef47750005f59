//! Fields behind the body. They were not there when the request was judged, and many servers merge them into the
//! headers; so those that the route names pass, in both directions, and all others end here.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::headers;
use crate::route::Trailers;

/// The most fields that pass, and the most bytes of names and values. hyper bounds what it reads; this bounds what is
/// sent.
const MOST_FIELDS: usize = 64;
const MOST_BYTES: usize = 16 * 1024;

/// What one message says of its trailers, read before its fields of this hop are removed.
#[derive(Debug)]
pub(super) struct Announced {
    /// Those that pass.
    pub(super) passing: Trailers,
    names: Option<HeaderValue>,
    accepted: bool,
}

impl Announced {
    /// Reads `Connection`, `Trailer` and `TE` of a message on a route with these trailers.
    pub(super) fn of(headers: &HeaderMap, permitted: &Trailers) -> Self {
        if permitted.is_none() {
            return Self { passing: Trailers::default(), names: None, accepted: false };
        }
        let passing = permitted.clone().without(&headers::connection_options(headers));
        let lines =
            headers.get_all(header::TRAILER).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let listed: Vec<HeaderName> = lines.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
        // Who announces nothing may send them all the same; hyper writes only announced ones over HTTP/1.1.
        let names: Vec<&str> = match headers.contains_key(header::TRAILER) {
            true => listed.iter().filter(|name| passing.permits(name)).map(HeaderName::as_str).collect(),
            false => passing.names().iter().map(HeaderName::as_str).collect(),
        };
        let names = HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty());
        Self { names, accepted: accepts(headers), passing }
    }

    /// Whether the sender of a request takes trailers in the answer.
    pub(super) const fn accepted(&self) -> bool {
        self.accepted
    }

    /// Whether there are any to announce.
    pub(super) const fn has_names(&self) -> bool {
        self.names.is_some()
    }

    /// Announces them to whoever gets the message, whose body must be one that can have them.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        if let Some(names) = &self.names {
            headers.insert(header::TRAILER, names.clone());
        }
    }

    /// Tells the backend that trailers are welcome, if the client said so and any may pass (RFC 9110 section 10.1.4).
    pub(super) fn accept(&self, headers: &mut HeaderMap) {
        if self.accepted && !self.passing.is_none() {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.append(header::CONNECTION, HeaderValue::from_static("TE"));
        }
    }
}

/// Whether a request says `TE: trailers`.
pub(super) fn accepts(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// More trailer fields than may pass: the message must not look complete.
#[derive(Debug)]
pub(super) struct TooMany;

/// What of a frame that is no data passes.
pub(super) fn of_frame(frame: Frame<Bytes>, permitted: &Trailers) -> Result<Option<Frame<Bytes>>, TooMany> {
    let Ok(fields) = frame.into_trailers() else { return Ok(None) };
    Ok(passing(&fields, permitted)?.map(Frame::trailers))
}

/// The part of a message's trailer fields that passes; `None` if none does.
fn passing(fields: &HeaderMap, permitted: &Trailers) -> Result<Option<HeaderMap>, TooMany> {
    if permitted.is_none() {
        return Ok(None);
    }
    let mut passed = HeaderMap::new();
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in fields.iter().filter(|(name, _)| permitted.permits(name)) {
        count += 1;
        bytes += name.as_str().len() + value.len();
        if count > MOST_FIELDS || bytes > MOST_BYTES {
            return Err(TooMany);
        }
        passed.append(name.clone(), value.clone());
    }
    Ok(Some(passed).filter(|passed| !passed.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn route(names: &[&'static str]) -> Trailers {
        Trailers::named(names.iter().map(|name| HeaderName::from_static(name)))
    }

    #[test]
    fn named_fields_pass_and_all_others_end() {
        let sent = map(&[("x-checksum", "1"), ("x-checksum", "2"), ("x-auth-request-user", "root"), ("x-other", "3")]);
        assert!(passing(&sent, &Trailers::default()).unwrap().is_none());
        assert!(passing(&sent, &route(&["x-absent"])).unwrap().is_none());
        let passed = passing(&sent, &route(&["x-checksum"])).unwrap().unwrap();
        assert_eq!(passed, map(&[("x-checksum", "1"), ("x-checksum", "2")]));
        let all = passing(&sent, &Trailers::all()).unwrap().unwrap();
        assert_eq!(all, map(&[("x-checksum", "1"), ("x-checksum", "2"), ("x-other", "3")]));
    }

    #[test]
    fn too_many_or_too_long_ones_break_the_message() {
        let mut many = HeaderMap::new();
        for _ in 0..=MOST_FIELDS {
            many.append("x-checksum", HeaderValue::from_static("1"));
        }
        assert!(passing(&many, &route(&["x-checksum"])).is_err());
        assert!(passing(&many, &route(&["x-other"])).unwrap().is_none(), "what does not pass is not counted");
        let mut long = HeaderMap::new();
        long.append("x-checksum", HeaderValue::try_from("1".repeat(MOST_BYTES)).unwrap());
        assert!(passing(&long, &route(&["x-checksum"])).is_err());
    }

    #[test]
    fn the_gateway_announces_what_passes_and_accepts_what_the_client_accepts() {
        for (lines, names, told) in [
            (&[][..], &["x-checksum", "x-other"][..], &[("trailer", "x-checksum, x-other")][..]),
            (&[("trailer", "X-Other, X-User")], &["x-checksum", "x-other"], &[("trailer", "x-other")]),
            (&[("trailer", "x-user")], &["x-checksum"], &[]),
            (&[("connection", "x-other, te")], &["x-checksum", "x-other"], &[("trailer", "x-checksum")]),
            (&[("trailer", "x-checksum"), ("te", "trailers")], &[], &[]),
            (
                &[("te", "gzip;q=0.5, Trailers")],
                &["x-checksum"],
                &[("trailer", "x-checksum"), ("te", "trailers"), ("connection", "TE")],
            ),
        ] {
            let announced = Announced::of(&map(lines), &route(names));
            let mut headers = HeaderMap::new();
            announced.announce(&mut headers);
            announced.accept(&mut headers);
            assert_eq!(headers, map(told), "{lines:?} {names:?}");
        }
    }
}
