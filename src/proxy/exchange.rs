//! One exchange with an upstream: which server is asked, what becomes of a failure, and whether another try is safe.

use std::error::Error;
use std::io::ErrorKind;

use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::Worker;
use super::body::{RequestBody, UploadFault};
use super::ledger::Ledger;
use super::upstream::{ConnectFault, Lease};
use crate::model::Reason;
use crate::route::Upstream;

/// Why one attempt on one connection failed.
enum Attempt {
    /// Nothing was sent: the request comes back and may be tried again.
    Unsent(Box<Request<RequestBody>>),
    /// The request may have been sent, but the connection ended before any of an answer came.
    Lost,
    /// Anything else: a second attempt could do the thing twice.
    Failed(Reason),
}

/// Tries the upstream's servers in turn until one can be connected to, then sends the request there.
pub(super) async fn exchange(
    worker: &Worker,
    upstream: &Upstream,
    mut request: Request<RequestBody>,
    ledger: &mut Ledger,
) -> Result<(Response<Incoming>, Lease), Reason> {
    let upstreams = &worker.upstreams;
    let mut reason = Reason::UpstreamUnreachable;
    for server in upstreams.in_turn(upstream) {
        ledger.tries(&server.name);
        let pool = upstreams.pool(server, &upstream.transport);
        if let Some(lease) = pool.check_out() {
            let copy = repeatable(&request);
            match (attempt(worker, lease, request, ledger).await, copy) {
                (Ok(answer), _) => return Ok(answer),
                // The server closed the pooled connection in the meantime: once more, on a new one.
                (Err(Attempt::Unsent(back)), _) => request = *back,
                (Err(Attempt::Lost), Some(copy)) => request = copy,
                (Err(Attempt::Lost), None) => return Err(Reason::UpstreamInvalid),
                (Err(Attempt::Failed(reason)), _) => return Err(reason),
            }
        }
        let lease = match upstreams.connector.open(server, &upstream.transport, &pool).await {
            Ok(lease) => lease,
            Err(fault) => {
                worker.complain(&server.name, &fault);
                reason = match fault {
                    ConnectFault::TimedOut => Reason::UpstreamTimeout,
                    ConnectFault::Failed(_) => Reason::UpstreamUnreachable,
                };
                continue;
            }
        };
        return match attempt(worker, lease, request, ledger).await {
            Ok(answer) => Ok(answer),
            Err(Attempt::Failed(reason)) => Err(reason),
            Err(Attempt::Lost) => Err(Reason::UpstreamInvalid),
            Err(Attempt::Unsent(_)) => Err(Reason::UpstreamUnreachable),
        };
    }
    Err(reason)
}

/// A copy of a request that may be sent twice without harm: safe by its method (RFC 9110 section 9.2.1) and without a body.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let (method, body) = (request.method(), request.body());
    if !method.is_safe() || !body.is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::none());
    copy.method_mut().clone_from(method);
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    Some(copy)
}

/// One request on one connection, up to the head of its answer.
async fn attempt(
    worker: &Worker,
    mut lease: Lease,
    request: Request<RequestBody>,
    ledger: &Ledger,
) -> Result<(Response<Incoming>, Lease), Attempt> {
    let limit = worker.gateway.settings.timeouts.response;
    let sent = Instant::now();
    let answer = lease.sender().try_send_request(request);
    tokio::pin!(answer);
    let mut deadline = sent + limit;
    let received = loop {
        tokio::select! {
            biased;
            received = &mut answer => break received,
            () = sleep_until(deadline) => {
                // While the client still uploads, its own timer runs; the upstream's begins with the last piece.
                let due = ledger.upstream_waits_since(sent).unwrap_or_else(Instant::now) + limit;
                if due <= Instant::now() {
                    return Err(Attempt::Failed(Reason::UpstreamTimeout));
                }
                deadline = due;
            }
        }
    };
    match received {
        // Nobody asked for another protocol, and none was judged.
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Attempt::Failed(Reason::UpstreamInvalid))
        }
        Ok(response) => Ok((response, lease)),
        Err(fault) => Err(failed(fault, ledger)),
    }
}

fn failed(mut fault: TrySendError<Request<RequestBody>>, ledger: &Ledger) -> Attempt {
    if let Some(request) = fault.take_message() {
        return Attempt::Unsent(Box::new(request));
    }
    let fault = fault.into_error();
    tracing::debug!("upstream exchange: {fault}");
    match ledger.upload_fault() {
        Some(UploadFault::Slow) => Attempt::Failed(Reason::BodyTimeout),
        Some(UploadFault::Broken) => Attempt::Failed(Reason::BadBody),
        None if ended_early(&fault) => Attempt::Lost,
        None => Attempt::Failed(Reason::UpstreamInvalid),
    }
}

/// Whether the connection ended before any of an answer came, as a server's closing of an idle one does.
fn ended_early(fault: &hyper::Error) -> bool {
    let socket = fault.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let reset = socket.is_some_and(|fault| {
        matches!(fault.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
    });
    reset || fault.is_incomplete_message() || fault.is_closed() || fault.is_canceled()
}
