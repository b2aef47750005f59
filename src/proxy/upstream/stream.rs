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

/// How long a connection that many share may take no bytes at all. Flow control of HTTP/2 holds single streams back; the
/// connection itself stands still only when its server is gone or broken.
const STALLED: Duration = Duration::from_secs(30);

/// A connected stream.
#[derive(Debug)]
pub(in crate::proxy) struct Stream {
    kind: Kind,
    watch: Option<Watch>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

#[derive(Debug)]
struct Watch {
    heard: Rc<Heard>,
    stalled: Idle,
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

    /// Waits until more bytes have come than at the last call, or somebody [`wake`](Self::wake)s. For one task at a time.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Ends a wait for bytes that will not come.
    pub(super) fn wake(&self) {
        self.more.notify_one();
    }
}

impl Stream {
    /// Without TLS.
    pub(super) const fn tcp(stream: TcpStream) -> Self {
        Self { kind: Kind::Tcp(stream), watch: None }
    }

    /// Over TLS, the handshake made.
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { kind: Kind::Tls(Box::new(stream)), watch: None }
    }

    /// To a socket of this machine.
    pub(super) const fn unix(stream: UnixStream) -> Self {
        Self { kind: Kind::Unix(stream), watch: None }
    }

    /// Notes from now on when bytes come, and fails if the other side takes none for too long.
    pub(super) fn watched(&mut self) -> Rc<Heard> {
        let heard = Rc::new(Heard { at: Cell::new(None), fault: RefCell::default(), more: Notify::new() });
        self.watch = Some(Watch { heard: Rc::clone(&heard), stalled: Idle::new(STALLED) });
        heard
    }

    fn guard<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(Watch { stalled, .. }) = &mut self.watch else { return polled };
        if polled.is_ready() {
            stalled.progressed();
            return polled;
        }
        stalled.poll_expired(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let (Poll::Ready(read), Some(Watch { heard, .. })) = (&polled, &self.watch) {
            match read {
                Ok(()) => heard.at.set(Some(Instant::now())),
                Err(fault) => drop(heard.fault.replace(Some(fault.to_string()))),
            }
            heard.more.notify_one();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.guard(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.guard(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
            Kind::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(context),
            Kind::Unix(stream) => Pin::new(stream).poll_flush(context),
        };
        self.guard(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        };
        self.guard(polled, context)
    }
}
