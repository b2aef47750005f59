//! The client's socket as hyper sees it, with two guards that hyper does not have: a client that stops taking the bytes
//! of its answer is cut off, and an answer that broke off never ends like a complete one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Connection;
use super::idle::Idle;

/// A stream that can end with a reset instead of an orderly close.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset.
    fn reset_on_close(&self);
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        // If the system refuses, the close stays an orderly one; there is nobody to tell.
        let _ = self.set_zero_linger();
    }
}

impl Socket for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// A client's stream.
#[derive(Debug)]
pub(super) struct ClientIo<S: Socket> {
    stream: S,
    stalled: Idle,
    connection: Rc<Connection>,
}

impl<S: Socket> ClientIo<S> {
    /// Guards a stream whose client may keep us waiting for `limit` with each write.
    pub(super) fn new(stream: S, limit: Duration, connection: Rc<Connection>) -> Self {
        Self { stream, stalled: Idle::new(limit), connection }
    }

    fn guard<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.progressed();
            return polled;
        }
        self.stalled.poll_expired(context).map(|()| {
            self.connection.stalls();
            Err(io::Error::from(io::ErrorKind::TimedOut))
        })
    }
}

impl<S: Socket> Drop for ClientIo<S> {
    fn drop(&mut self) {
        // An HTTP/1.0 client, or one that was sent no length, takes an orderly close for the end of the answer.
        if self.connection.is_broken() {
            self.stream.reset_on_close();
        }
    }
}

impl<S: Socket> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Socket> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guard(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.guard(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.guard(polled, context)
    }
}
