//! The socket of an upstream server, whatever is below HTTP.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::proxy::idle::Idle;
use crate::proxy::io::write_pieces;

/// How long a connection that many share may take no bytes at all. Flow control of HTTP/2 holds single streams back;
/// the connection itself stands still only when its server is gone or broken.
const STALLED: Duration = Duration::from_secs(30);

/// A connected stream.
#[derive(Debug)]
pub(in crate::proxy) enum Stream {
    /// Without TLS.
    Tcp(TcpStream),
    /// Over TLS, the handshake made.
    Tls(Box<TlsStream<TcpStream>>),
    /// To a socket of this machine.
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => write_pieces(Pin::new(stream), context, slices),
            Self::Tls(stream) => write_pieces(Pin::new(stream), context, slices),
            Self::Unix(stream) => write_pieces(Pin::new(stream), context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// When a server was last heard of.
#[derive(Debug)]
pub(super) struct Heard {
    at: Cell<Option<Instant>>,
    fault: RefCell<Option<String>>,
    more: Notify,
}

impl Heard {
    /// When bytes last came, if any did.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at.get()
    }

    /// Why nothing more can be read, if that is so.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Waits until more bytes have come than at the last call, or somebody [`wake`](Self::wake)s. For one task at a
    /// time.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Ends a wait for bytes that will not come.
    pub(super) fn wake(&self) {
        self.more.notify_one();
    }
}

/// A stream that many share: it notes when bytes come, and fails if the other side takes none for too long.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    heard: Rc<Heard>,
    stalled: Idle,
}

impl Watched {
    /// Watches from now on.
    pub(super) fn new(stream: Stream) -> (Self, Rc<Heard>) {
        let heard = Rc::new(Heard { at: Cell::new(None), fault: RefCell::default(), more: Notify::new() });
        (Self { stream, heard: Rc::clone(&heard), stalled: Idle::new(STALLED) }, heard)
    }

    fn guard<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.progressed();
            return polled;
        }
        self.stalled.poll_expired(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(read) = &polled {
            match read {
                Ok(()) => self.heard.at.set(Some(Instant::now())),
                Err(fault) => drop(self.heard.fault.replace(Some(fault.to_string()))),
            }
            self.heard.more.notify_one();
        }
        polled
    }
}

impl AsyncWrite for Watched {
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
