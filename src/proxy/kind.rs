//! What an answer says that it is: something with an end, or something that is read while it comes and may last for ever.

use http::header::{CONTENT_TYPE, HeaderMap};

/// What an answer says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A stream of events (the HTML standard's server-sent events), which has no end to wait for.
    Events,
    /// Another type that is made to be read while it comes.
    Stream,
    /// Whatever else.
    Ordinary,
}

/// Types that are read record by record.
const STREAMS: [&[u8]; 5] = [
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/json-seq",
    b"application/stream+json",
    b"multipart/x-mixed-replace",
];
/// What the types of gRPC and its kin begin with.
const GRPC: &[u8] = b"application/grpc";

impl Kind {
    /// By `Content-Type`; of several, by the one that lasts longest.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut kind = Self::Ordinary;
        for value in headers.get_all(CONTENT_TYPE) {
            let named = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if named.eq_ignore_ascii_case(b"text/event-stream") {
                return Self::Events;
            }
            let is_call = named.get(..GRPC.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(GRPC));
            if is_call || STREAMS.iter().any(|stream| named.eq_ignore_ascii_case(stream)) {
                kind = Self::Stream;
            }
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn streams_are_known_by_their_type_whatever_its_case_and_parameters() {
        for (types, kind) in [
            (&["text/event-stream"][..], Kind::Events),
            (&["Text/Event-Stream ; charset=utf-8"], Kind::Events),
            (&["application/x-ndjson"], Kind::Stream),
            (&["application/NDJSON;charset=utf-8"], Kind::Stream),
            (&["application/json-seq"], Kind::Stream),
            (&["application/stream+json"], Kind::Stream),
            (&["multipart/x-mixed-replace; boundary=x"], Kind::Stream),
            (&["application/grpc"], Kind::Stream),
            (&["application/grpc+proto"], Kind::Stream),
            (&["application/grpc-web-text"], Kind::Stream),
            (&["application/json"], Kind::Ordinary),
            (&["application/x-ndjson2"], Kind::Ordinary),
            (&["text/plain; a=text/event-stream"], Kind::Ordinary),
            (&[], Kind::Ordinary),
            (&["text/plain", "application/json-seq"], Kind::Stream),
            (&["application/json-seq", "text/event-stream"], Kind::Events),
        ] {
            let mut headers = HeaderMap::new();
            for value in types {
                headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
            }
            assert_eq!(Kind::of(&headers), kind, "{types:?}");
        }
    }
}
