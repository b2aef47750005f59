//! Sends what was permitted to its upstream. Takes [`Permitted`] by value and accepts nothing else, so what is
//! forwarded is what was judged.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::body::{Body, RequestBody};
use super::cors::Readers;
use super::exchange::{Ended, exchange};
use super::headers;
use super::identity::Identity;
use super::ledger::Ledger;
use super::running::Place;
use super::{Caller, Worker};
use crate::model::Reason;
use crate::pep::{Permitted, Refusal};

/// An exchange that failed before its answer began.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the client is told.
    pub(super) refusal: Refusal,
    /// Which web page may read that.
    pub(super) readers: Readers,
    /// Its account, still open.
    pub(super) ledger: Ledger,
}

/// Forwards a permitted request and returns the answer as the client is to see it, its body still streaming. `now` is in
/// Unix seconds.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    permitted: Permitted,
    incoming: Incoming,
    caller: &Caller,
    now: u64,
    mut ledger: Ledger,
) -> Result<Response<Body>, Failed> {
    let (mut head, grounds) = permitted.into_parts();
    let multiplexed = head.version >= Version::HTTP_2;
    ledger.grounds(&grounds, true);
    let readers = Readers::of(&grounds);
    let place = grounds.token.as_ref().map(|token| worker.running.enter(token));
    let Some(application) = grounds.application.clone() else {
        // A permission without an application has no way to go; pep never makes one.
        return Err(Failed { refusal: Refusal::of(Reason::Internal), readers, ledger });
    };
    let identity = Identity { key: &worker.gateway.assertions, now };
    headers::to_backend(&mut head, &grounds, &application, caller, identity);
    // A long exchange must not keep a whole old snapshot alive.
    drop(grounds);
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let timeouts = &worker.gateway.settings.timeouts;
    let (body, upload) = RequestBody::new(incoming, timeouts.client_body);
    if upload.is_some() && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper would take a GET without either field for one without a body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    ledger.uploads(upload);
    let request = Request::from_parts(head, body);
    let exchanged = tokio::select! {
        biased;
        refusal = cut(place.as_ref()) => Err(refusal),
        exchanged = exchange(worker, &application.upstream, request, &mut ledger) => {
            exchanged.map_err(|ended| match ended {
                Ended::Overloaded => Refusal::about(Reason::UpstreamOverloaded, &application.upstream.name),
                Ended::Failed(reason) => Refusal::of(reason),
            })
        }
    };
    match exchanged {
        Ok((response, lease)) => {
            ledger.answered(Some(response.status()));
            let (mut head, incoming) = response.into_parts();
            headers::to_client(&mut head.headers, caller);
            readers.tell(&mut head.headers);
            // The gateway's own version (RFC 9112 section 2.3): an HTTP/1.0 backend sets no terms for the client's side.
            head.version = Version::HTTP_11;
            head.extensions.clear();
            let limit = application.upstream.patience.response_body.unwrap_or(timeouts.response_body);
            let body = Body::relayed(incoming, (lease, ledger, place), &caller.connection, limit);
            if let Some(held) = body.held().filter(|_| multiplexed) {
                worker.streams.borrow_mut().push(Rc::downgrade(held));
            }
            Ok(Response::from_parts(head, body))
        }
        Err(refusal) => {
            ledger.answered(None);
            Err(Failed { refusal, readers, ledger })
        }
    }
}

/// Waits until an exchange must end before it has an answer; one without a token never must.
async fn cut(place: Option<&Place>) -> Refusal {
    match place {
        Some(place) => place.cut().await,
        None => std::future::pending().await,
    }
}

/// The target as an origin server wants it (RFC 9112 section 3.2.1): path and query as they came.
fn origin_form(target: &Uri) -> Uri {
    match target.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_out_in_origin_form_with_path_and_query_as_they_came() {
        for (came, goes) in [
            ("/a%2Db?x=%20&y", "/a%2Db?x=%20&y"),
            ("http://oms.example.org/a?b", "/a?b"),
            ("https://oms.example.org", "/"),
            ("/", "/"),
        ] {
            assert_eq!(origin_form(&came.parse().unwrap()).to_string(), goes);
        }
    }
}
