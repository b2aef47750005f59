//! What wraps the gateway as a whole, in the shape of tower services: bounds on requests in flight, on their rate and
//! on their heads, and a net for panics. They answer in the gateway's own words instead of erasing the outcome into a
//! boxed error, and they never order security checks. All of them are always ready, so callers need not ask.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, header};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::answer::Asker;
use super::body::Body;
use super::{Arrival, Caller, Connection, Gateway, Worker};
use crate::model::Reason;
use crate::pep::Refusal;

/// The service of one client connection: the gateway inside its layers.
pub(super) fn service(
    worker: &Rc<Worker>,
    connection: Rc<Connection>,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + use<> {
    let judge = {
        let worker = Rc::clone(worker);
        Handler(move |arrival| worker.handle(arrival))
    };
    let guarded = CatchPanic { inner: judge, worker: Rc::clone(worker) };
    let service = InFlight { inner: guarded, worker: Rc::clone(worker) };
    ForHyper { service, worker: Rc::clone(worker), connection }
}

/// A place among the requests in flight and among those of its connection, held until the answer's body is gone.
#[derive(Debug)]
pub(super) struct Permit {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
}

impl Permit {
    /// Takes a place, whether or not one is free.
    fn take(worker: &Rc<Worker>, connection: &Rc<Connection>) -> (Self, usize) {
        let taken = worker.telemetry.request_started();
        connection.request_started();
        (Self { worker: Rc::clone(worker), connection: Rc::clone(connection) }, taken)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.worker.telemetry.request_finished();
        self.connection.request_finished();
    }
}

/// Turns what hyper read into an [`Arrival`].
struct ForHyper<S> {
    service: S,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
}

impl<S> hyper::service::Service<Request<Incoming>> for ForHyper<S>
where
    S: Service<Arrival, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.service.clone().call(self.worker.arrival(request, &self.connection))
    }
}

/// A function as the innermost service.
#[derive(Clone)]
struct Handler<F>(F);

impl<F, Answer> Service<Arrival> for Handler<F>
where
    F: FnMut(Arrival) -> Answer,
    Answer: Future<Output = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Infallibly<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, arrival: Arrival) -> Infallibly<Answer> {
        Infallibly { answer: (self.0)(arrival) }
    }
}

pin_project! {
    /// An answer that never fails, as tower wants it.
    struct Infallibly<F> {
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = Response<Body>>> Future for Infallibly<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(context).map(Ok)
    }
}

/// Answers 503 at once when too many requests are in flight: a queue would only add waiting to the overload. Answers at
/// once, too, what needs no judgement to be refused, so that a flood of forged tokens is cheap.
#[derive(Clone)]
struct InFlight<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Arrival> for InFlight<S>
where
    S: Service<Arrival, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let (permit, taken) = Permit::take(&self.worker, &arrival.caller.connection);
        if let Err(refusal) = bounded(&self.worker.gateway, &arrival, taken) {
            let refused = self.worker.refuse_unjudged(&arrival, &refusal);
            return Admitted { inner: None, refused: Some(refused), permit: Some(permit) };
        }
        Admitted { inner: Some(self.inner.call(arrival)), refused: None, permit: Some(permit) }
    }
}

/// Whether a request is within the bounds that concern every request; `taken` are in flight.
fn bounded(gateway: &Gateway, arrival: &Arrival, taken: usize) -> Result<(), Refusal> {
    let limits = &gateway.settings.limits;
    if taken > limits.requests {
        return Err(Refusal::of(Reason::Overloaded));
    }
    if let Some(client) = arrival.caller.account(&gateway.settings.trusted_proxies)
        && let Err(seconds) = gateway.limiters.client(client)
    {
        return Err(Refusal::about(Reason::RateLimited, "client").retrying_after(seconds));
    }
    let (target, headers) = (arrival.request.uri(), arrival.request.headers());
    if target.path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes) {
        return Err(Refusal::of(Reason::TargetTooLong));
    }
    // hyper counts the lines of HTTP/1 heads. Browsers send each cookie in a field of its own (RFC 9113 section 8.2.3).
    let cookies = || headers.get_all(header::COOKIE).iter().count().saturating_sub(1);
    if headers.len() > limits.headers && headers.len() - cookies() > limits.headers {
        return Err(Refusal::of(Reason::HeadTooLarge));
    }
    Ok(())
}

pin_project! {
    /// The answer of [`InFlight`].
    struct Admitted<F> {
        #[pin]
        inner: Option<F>,
        refused: Option<Response<Body>>,
        permit: Option<Permit>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Admitted<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match (this.inner.as_pin_mut(), this.refused.take()) {
            (_, Some(refused)) => refused,
            (Some(inner), None) => {
                let Ok(response) = ready!(inner.poll(context));
                response
            }
            // Polled after its end, which hyper does not do.
            (None, None) => return Poll::Pending,
        };
        if let Some(permit) = this.permit.take() {
            permit.connection.adorn(response.headers_mut());
            response.body().hold(permit);
        }
        Poll::Ready(Ok(response))
    }
}

/// Turns a panic into a 500: one broken request must not end a process that serves all others.
#[derive(Clone)]
struct CatchPanic<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Arrival> for CatchPanic<S>
where
    S: Service<Arrival, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Caught<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let (asker, caller) = (arrival.asker, Rc::clone(&arrival.caller));
        // What it shared is either thread-local and changed in one step, or shared data that is never changed in place.
        let inner = catch_unwind(AssertUnwindSafe(|| self.inner.call(arrival))).ok();
        Caught { inner, worker: Rc::clone(&self.worker), asker, caller }
    }
}

pin_project! {
    /// The answer of [`CatchPanic`].
    struct Caught<F> {
        #[pin]
        inner: Option<F>,
        worker: Rc<Worker>,
        asker: Asker,
        caller: Rc<Caller>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Caught<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future is not polled again after a panic.
        let polled = this.inner.as_pin_mut().map(|inner| catch_unwind(AssertUnwindSafe(|| inner.poll(context))));
        match polled {
            Some(Ok(polled)) => polled,
            // The request's ledger was closed while the panic unwound.
            None | Some(Err(_)) => Poll::Ready(Ok(this.worker.panicked(*this.asker, this.caller))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::server::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::mpsc;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::policy::Domains;
    use crate::proxy::objects::Nobody;
    use crate::proxy::{Limits, Settings};
    use crate::route::RouteMap;
    use crate::snapshot::{Live, Snapshot};
    use crate::telemetry::Telemetry;
    use crate::token::{Algorithms, AssertionKey, Issuers, KeyRing, Rules, Verifier};

    fn worker(requests: usize) -> Rc<Worker> {
        let live = Arc::new(Live::new(Snapshot {
            serial: 1,
            loaded_at: 0,
            routes: Arc::new(RouteMap::default()),
            domains: Arc::new(Domains::default()),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::default(),
        }));
        let rules =
            Rules { leeway: 0, max_lifetime: 1, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };
        let verifier = Arc::new(Verifier::new(Issuers::default(), rules, 1));
        let settings = Settings { limits: Limits { requests, ..Limits::default() }, ..Settings::default() };
        let (wake, _) = mpsc::channel(1);
        let assertions = Arc::new(AssertionKey::generate().unwrap());
        Worker::new(Gateway::new(
            &live,
            verifier,
            assertions,
            Telemetry::new("0", false),
            (wake, Arc::new(Nobody)),
            settings,
        ))
    }

    /// What a client reads from one connection when `handler` stands where the gateway would.
    fn ask<Answer>(worker: &Rc<Worker>, handler: impl FnMut(Arrival) -> Answer + Clone + 'static, sent: &str) -> String
    where
        Answer: Future<Output = Response<Body>> + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (mut client, server) = duplex(1 << 16);
            let guarded = CatchPanic { inner: Handler(handler), worker: Rc::clone(worker) };
            let service = InFlight { inner: guarded, worker: Rc::clone(worker) };
            let connection = Connection::from("192.0.2.7:1", false, |_| false);
            let service = ForHyper { service, worker: Rc::clone(worker), connection };
            spawn_local(
                http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(server), service),
            );
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut read = String::new();
            client.read_to_string(&mut read).await.unwrap();
            read
        })
    }

    const ASKED_TWICE: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_panic_becomes_a_500_and_the_connection_goes_on() {
        async fn defect(arrival: Arrival) -> Response<Body> {
            drop(arrival);
            panic!("a defect");
        }
        let worker = worker(10);
        fn at_once(arrival: Arrival) -> std::future::Ready<Response<Body>> {
            drop(arrival);
            panic!("a defect");
        }
        for read in [ask(&worker, defect, ASKED_TWICE), ask(&worker, at_once, ASKED_TWICE)] {
            assert_eq!(read.matches("HTTP/1.1 500 ").count(), 2, "{read}");
            assert_eq!(read.matches("\"reason\":\"internal\"").count(), 2, "{read}");
            assert_eq!(worker.gateway.telemetry.in_flight(), 0);
        }
    }

    #[test]
    fn too_many_requests_are_refused_at_once_and_counted() {
        async fn never(_: Arrival) -> Response<Body> {
            panic!("it was not refused");
        }
        let worker = worker(0);
        let read = ask(&worker, never, ASKED_TWICE);
        assert_eq!(read.matches("HTTP/1.1 503 ").count(), 2, "{read}");
        assert_eq!(read.matches("retry-after: 1").count(), 2, "{read}");
        assert_eq!(worker.gateway.telemetry.in_flight(), 0);
        assert!(worker.gateway.telemetry.render().contains("reason=\"overloaded\",status=\"5xx\"} 2"));
    }

    #[test]
    fn a_request_for_an_unknown_host_goes_through_the_whole_gateway_and_is_refused() {
        let worker = worker(10);
        let gateway = Rc::clone(&worker);
        let read = ask(&worker, move |arrival| gateway.handle(arrival), ASKED_TWICE);
        assert_eq!(read.matches("HTTP/1.1 421 ").count(), 2, "{read}");
        assert_eq!(read.matches("x-portcullis: refused").count(), 2, "{read}");
        assert_eq!(worker.gateway.telemetry.in_flight(), 0);
    }
}
