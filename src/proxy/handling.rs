//! The handling of one request as a future that takes no memory of its own where the answer is there at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::Body;

/// The answer to a request: there already, or to be waited for.
pub(super) enum Handling {
    Done(Response<Body>),
    Waiting(Pin<Box<dyn Future<Output = Response<Body>>>>),
    /// It was handed over.
    Over,
}

impl Future for Handling {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Body>> {
        if let Self::Waiting(waiting) = &mut *self {
            return waiting.as_mut().poll(context);
        }
        match std::mem::replace(&mut *self, Self::Over) {
            Self::Done(response) => Poll::Ready(response),
            // Polled after its end, which hyper does not do.
            Self::Waiting(_) | Self::Over => Poll::Pending,
        }
    }
}
