//! The body of a request on its way to the upstream, streamed piece by piece: never gathered, never boxed. It never
//! ends like a complete one when it broke off.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::idle::Idle;
use super::trailers;
use crate::route::Trailers;

/// What the two sides of an upload tell each other; they run in different tasks of one thread.
#[derive(Debug)]
pub(super) struct Upload {
    bytes: Cell<u64>,
    /// Whether the client is to send the next piece; otherwise the upstream is to take one, or all is sent.
    awaits_client: Cell<bool>,
    moved: Cell<Instant>,
    /// Whether the client may be silent for as long as it likes.
    may_pause: Cell<bool>,
    fault: Cell<Option<UploadFault>>,
}

impl Upload {
    /// Bytes forwarded so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// From now on the client may take its time with the next piece: its call has an answer that runs, and who only listens
    /// has nothing to say. What bounds the answer bounds the upload.
    pub(super) fn may_pause(&self) {
        self.may_pause.set(true);
    }

    /// What ended the upload early, if anything did.
    pub(super) fn fault(&self) -> Option<UploadFault> {
        self.fault.get()
    }

    /// Since when the upstream could have answered; `None` while the client is to send more.
    pub(super) fn upstream_waits_since(&self) -> Option<Instant> {
        (!self.awaits_client.get()).then(|| self.moved.get())
    }
}

/// Why a request body ended early. The backend never sees a complete message then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFault {
    /// The client sent nothing for too long.
    Slow,
    /// The client broke its framing or went away.
    Broken,
}

impl fmt::Display for UploadFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Slow => "the client sent its body too slowly",
            Self::Broken => "the client's body is broken",
        })
    }
}

impl std::error::Error for UploadFault {}

/// The request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody(Outgoing);

#[derive(Debug)]
enum Outgoing {
    /// Nothing, or what is left of bytes that were read before.
    Whole(Bytes),
    Streaming(Streaming),
}

#[derive(Debug)]
struct Streaming {
    incoming: Incoming,
    idle: Idle,
    upload: Rc<Upload>,
    trailers: Trailers,
    /// Whether it is of an HTTP/2 stream. hyper shows one that was reset without a fault (NO_ERROR) as if it had ended.
    multiplexed: bool,
}

impl RequestBody {
    /// The body of a request that has none.
    pub(super) const fn none() -> Self {
        Self(Outgoing::Whole(Bytes::new()))
    }

    /// A body that was read before.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self(Outgoing::Whole(bytes))
    }

    /// Wraps a client's body whose pieces may each take `limit`, and behind which `trailers` may come; `multiplexed` if
    /// it is of an HTTP/2 stream. Without a body there is nothing to watch.
    pub(super) fn new(
        (incoming, multiplexed): (Incoming, bool),
        limit: Duration,
        trailers: Trailers,
    ) -> (Self, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (Self::none(), None);
        }
        let upload = Rc::new(Upload {
            bytes: Cell::new(0),
            awaits_client: Cell::new(true),
            moved: Cell::new(Instant::now()),
            may_pause: Cell::new(false),
            fault: Cell::new(None),
        });
        let streaming =
            Streaming { incoming, idle: Idle::new(limit), upload: Rc::clone(&upload), trailers, multiplexed };
        (Self(Outgoing::Streaming(streaming)), Some(upload))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let Streaming { incoming, idle, upload, trailers, multiplexed } = match &mut self.get_mut().0 {
            Outgoing::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Outgoing::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Outgoing::Streaming(streaming) => streaming,
        };
        loop {
            let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(context) else {
                upload.awaits_client.set(true);
                if upload.may_pause.get() {
                    return Poll::Pending;
                }
                ready!(idle.poll_expired(context));
                upload.fault.set(Some(UploadFault::Slow));
                return Poll::Ready(Some(Err(UploadFault::Slow)));
            };
            idle.progressed();
            upload.awaits_client.set(false);
            upload.moved.set(Instant::now());
            return Poll::Ready(match polled {
                None if !*multiplexed || incoming.is_end_stream() => None,
                None | Some(Err(_)) => {
                    upload.fault.set(Some(UploadFault::Broken));
                    Some(Err(UploadFault::Broken))
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        upload.bytes.set(upload.bytes.get() + data.len() as u64);
                        Some(Ok(Frame::data(data)))
                    }
                    Err(frame) => match trailers::of_frame(frame, trailers) {
                        Ok(Some(fields)) => Some(Ok(fields)),
                        Ok(None) => continue,
                        Err(trailers::TooMany) => {
                            upload.fault.set(Some(UploadFault::Broken));
                            Some(Err(UploadFault::Broken))
                        }
                    },
                },
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Outgoing::Whole(bytes) => bytes.is_empty(),
            Outgoing::Streaming(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Outgoing::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Outgoing::Streaming(streaming) => streaming.incoming.size_hint(),
        }
    }
}
