//! The use of one connection, or of one stream of it, for one exchange.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::http2::{self, Slot};
use super::pool::{Http1, ServerPool};
use crate::proxy::upload::RequestBody;

/// Dropped, it closes an HTTP/1.1 connection and resets an HTTP/2 stream; only an exchange that came to its end gives it
/// back.
pub(in crate::proxy) struct Lease {
    pool: Rc<ServerPool>,
    way: Option<Way>,
}

enum Way {
    Connection(Http1),
    Stream(Rc<Slot>),
}

/// Why a request got no answer.
#[derive(Debug)]
pub(in crate::proxy) enum SendFault {
    /// The server has done nothing with it: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// It may have been received, but the connection ended before any of an answer came.
    Lost,
    /// Anything else.
    Failed,
    /// The lease was given back already, or the request has no authority: a defect of the gateway.
    Unfit,
}

impl Lease {
    pub(super) fn connection(pool: &Rc<ServerPool>, connection: Http1) -> Self {
        Self { pool: Rc::clone(pool), way: Some(Way::Connection(connection)) }
    }

    pub(super) fn stream(pool: &Rc<ServerPool>, slot: Rc<Slot>) -> Self {
        Self { pool: Rc::clone(pool), way: Some(Way::Stream(slot)) }
    }

    /// Sends a request in the form of HTTP/1.1 and waits for the head of the answer. To be called once.
    pub(in crate::proxy) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendFault>> + use<> {
        let (alone, shared) = match &mut self.way {
            Some(Way::Connection(connection)) => (Some(connection.sender.try_send_request(request)), None),
            Some(Way::Stream(slot)) => (None, Some(slot.send(request))),
            None => (None, None),
        };
        async move {
            if let Some(sent) = alone {
                return sent.await.map_err(|mut fault| match fault.take_message() {
                    Some(request) => SendFault::Unsent(Box::new(request)),
                    None => SendFault::of(fault.into_error()),
                });
            }
            let Some(sent) = shared else { return Err(SendFault::Unfit) };
            sent.await.map_err(|fault| match (fault.request, fault.fault) {
                (_, None) => SendFault::Unfit,
                (Some(request), Some(_)) => SendFault::Unsent(Box::new(request)),
                (None, Some(fault)) => SendFault::of(fault),
            })
        }
    }

    /// The exchange came to its end: the connection may serve another.
    pub(in crate::proxy) fn give_back(mut self) {
        if let Some(Way::Connection(connection)) = self.way.take() {
            self.pool.put(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Way::Stream(slot)) = &self.way {
            slot.give_up();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Lease")
    }
}

impl SendFault {
    fn of(fault: hyper::Error) -> Self {
        tracing::debug!("upstream exchange: {fault}");
        if ended_early(&fault) { Self::Lost } else { Self::Failed }
    }
}

/// Whether the connection ended before any of an answer came, as a server's closing of an idle one does.
fn ended_early(fault: &hyper::Error) -> bool {
    let socket = fault.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let reset = socket.is_some_and(|fault| {
        matches!(fault.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
    });
    reset || fault.is_incomplete_message() || fault.is_closed() || fault.is_canceled() || http2::is_lost(fault)
}
