//! The head of a request in the form of HTTP/1.1, in which it was judged, as one of HTTP/2, and back for another
//! attempt.

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Uri, Version};

/// Fields of one connection, and what pseudo-header fields say (RFC 9113 sections 8.2.2 and 8.3.1).
const LEFT_OUT: [HeaderName; 7] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Turns a request for HTTP/1.1 into one for HTTP/2, with pseudo-header fields in place of the target and `Host`.
/// `None` if its `Host` is no authority.
pub(super) fn into_http2<B>(mut request: Request<B>, scheme: &Scheme) -> Option<Request<B>> {
    let mut parts = Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    parts.scheme = Some(scheme.clone());
    let host = request.headers().get(header::HOST);
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    let trailers = headers.get(header::TE).is_some_and(|te| te == "trailers");
    for name in LEFT_OUT {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

/// Undoes [`into_http2`] as far as another attempt needs it.
pub(super) fn into_http1<B>(mut request: Request<B>) -> Request<B> {
    let uri = std::mem::take(request.uri_mut());
    if let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_connection_says_stays_behind_and_the_rest_comes_back() {
        let request = Request::put("/a%20b?x")
            .header("host", "app.test:8080")
            .header("connection", "te")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("x-own", "1")
            .body(())
            .unwrap();
        let there = into_http2(request, &Scheme::HTTPS).unwrap();
        assert_eq!(there.uri(), "https://app.test:8080/a%20b?x");
        let mut names: Vec<&str> = there.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!((names, there.version()), (vec!["te", "x-own"], Version::HTTP_2));
        let back = into_http1(there);
        assert_eq!((back.uri().to_string().as_str(), back.version()), ("/a%20b?x", Version::HTTP_11));
        assert_eq!(
            (&back.headers()["host"], back.method().as_str()),
            (&HeaderValue::from_static("app.test:8080"), "PUT")
        );
    }

    #[test]
    fn a_request_without_an_authority_is_not_sent() {
        for host in [None, Some("a b"), Some("")] {
            let mut request = Request::get("/");
            if let Some(host) = host {
                request = request.header("host", host);
            }
            assert!(into_http2(request.body(()).unwrap(), &Scheme::HTTP).is_none(), "{host:?}");
        }
    }
}
