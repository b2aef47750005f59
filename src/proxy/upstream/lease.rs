//! The use of one connection, or of one stream of it, for one exchange.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::http2::{self, Slot};
use super::pool::{Http1, ServerPool};
use super::{Failure, Visit};
use crate::proxy::bound::Owner;
use crate::proxy::idle::Alarm;
use crate::proxy::upload::RequestBody;

/// Dropped, it closes an HTTP/1.1 connection and resets an HTTP/2 stream; only an exchange that came to its end gives
/// it back.
pub(in crate::proxy) struct Lease {
    pool: Rc<ServerPool>,
    way: Option<Way>,
    /// What the exchange counts as at its server; over with it.
    visit: Option<Visit>,
    home: Home,
    /// For its answers: an HTTP/1.1 connection brings along the one of its last exchange.
    alarm: Alarm,
}

/// Where a connection goes when its exchange has come to its end.
#[derive(Clone)]
enum Home {
    /// To whoever asks next.
    Pool,
    /// To its owner, or nowhere.
    Owner(Option<Owner>),
}

enum Way {
    Connection(Http1),
    Stream(Rc<Slot>),
}

/// The head of an answer, to be waited for. One piece of memory of its own, so that what waits for it stays small.
pub(in crate::proxy) type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, SendFault>>>>;

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

impl fmt::Display for SendFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unsent(_) => "the server closed the connection before it took the request",
            Self::Lost => "the connection ended before an answer came",
            Self::Failed => "the answer is no HTTP that may be relayed",
            Self::Unfit => "the request cannot be sent so",
        })
    }
}

impl Lease {
    pub(super) fn connection(pool: &Rc<ServerPool>, connection: Http1) -> Self {
        let alarm = connection.alarm.take();
        let way = Some(Way::Connection(connection));
        Self { pool: Rc::clone(pool), way, visit: None, home: Home::Pool, alarm }
    }

    pub(super) fn stream(pool: &Rc<ServerPool>, slot: Rc<Slot>) -> Self {
        let way = Some(Way::Stream(slot));
        Self { pool: Rc::clone(pool), way, visit: None, home: Home::Pool, alarm: Alarm::default() }
    }

    /// The exchange counts as this, as long as it runs.
    pub(in crate::proxy) fn carry(&mut self, visit: Visit) {
        self.visit = Some(visit);
    }

    /// The server broke its answer off.
    pub(in crate::proxy) fn broke_off(&self) {
        if let Some(visit) = &self.visit {
            visit.failed(Failure::Broken);
        }
    }

    /// Sends a request in the form of HTTP/1.1; its answer's head is to be waited for. To be called once.
    pub(in crate::proxy) fn send(&mut self, request: Request<RequestBody>) -> Answer {
        match &mut self.way {
            Some(Way::Connection(connection)) => {
                let sent = connection.sender.try_send_request(request);
                Box::pin(async move {
                    sent.await.map_err(|mut fault| match fault.take_message() {
                        Some(request) => SendFault::Unsent(Box::new(request)),
                        None => SendFault::of(fault.into_error()),
                    })
                })
            }
            Some(Way::Stream(slot)) => {
                let sent = slot.send(request);
                Box::pin(async move {
                    sent.await.map_err(|fault| match (fault.request, fault.fault) {
                        (_, None) => SendFault::Unfit,
                        (Some(request), Some(_)) => SendFault::Unsent(Box::new(request)),
                        (None, Some(fault)) => SendFault::of(fault),
                    })
                })
            }
            None => Box::pin(std::future::ready(Err(SendFault::Unfit))),
        }
    }

    /// Ready once the answer is `due`.
    pub(in crate::proxy) fn poll_due(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<()> {
        self.alarm.poll_due(context, due)
    }

    /// The exchange came to its end, `now`: the connection may serve another.
    pub(in crate::proxy) fn give_back(mut self, now: Instant) {
        if let Some(visit) = self.visit.take() {
            visit.completed();
        }
        if let Some(Way::Stream(slot)) = &self.way {
            slot.settle();
        }
        match self.home.clone() {
            Home::Owner(Some(owner)) if self.is_open() => owner.keep(self),
            Home::Owner(_) => {}
            Home::Pool => {
                if let Some(Way::Connection(connection)) = self.way.take() {
                    connection.alarm.set(std::mem::take(&mut self.alarm));
                    self.pool.put(connection, now);
                }
            }
        }
    }

    fn is_open(&self) -> bool {
        matches!(&self.way, Some(Way::Connection(connection)) if !connection.sender.is_closed())
    }

    /// Whether the last exchange is over and another can follow.
    pub(in crate::proxy) fn is_ready(&self) -> bool {
        matches!(&self.way, Some(Way::Connection(connection)) if connection.sender.is_ready())
    }

    /// Waits until the last exchange is over; whether another can follow.
    pub(in crate::proxy) async fn ready(&mut self) -> bool {
        match &mut self.way {
            Some(Way::Connection(connection)) => connection.sender.ready().await.is_ok(),
            Some(Way::Stream(_)) | None => false,
        }
    }

    /// The connection was authenticated: nobody but `owner` may have it from now on; without one, nobody at all.
    /// Streams of HTTP/2 cannot be authenticated so.
    pub(in crate::proxy) fn bind(&mut self, owner: Option<&Owner>) {
        self.home = Home::Owner(owner.cloned());
        if let Some(Way::Stream(slot)) = &self.way {
            slot.retire();
        }
    }

    /// Whether it is one of this pool's server.
    pub(in crate::proxy) fn is_of(&self, pool: &Rc<ServerPool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
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
