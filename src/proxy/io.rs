//! The client's socket as hyper sees it, with guards that hyper does not have: a client that stops taking the bytes of
//! its answer is cut off, an answer that broke off never ends like a complete one, a client that still sends when its
//! answer ends gets to read it, and what the client sends is read beside hyper ([`Watch`], [`Flood`]).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::Connection;
use super::flood::Flood;
use super::idle::Idle;
use super::watch::{Seen, Watch};

/// How long, and for how many bytes, a connection that ends in the middle of an upload goes on taking it in. Closed at
/// once, it would be reset, and the reset would overtake the answer that says why (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// How many bytes of several pieces are put into one before they are written.
const GATHERED: usize = 2 * 1024;

/// Writes pieces. One, or few bytes of several, are written as one: the system's way for that is shorter, by more than
/// copying them costs.
pub(super) fn write_pieces(
    mut stream: Pin<&mut (impl AsyncWrite + ?Sized)>,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = pieces {
        return stream.poll_write(context, one);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > GATHERED {
        return stream.poll_write_vectored(context, pieces);
    }
    let mut room = [const { MaybeUninit::uninit() }; GATHERED];
    let mut gathered = ReadBuf::uninit(&mut room);
    pieces.iter().for_each(|piece| gathered.put_slice(piece));
    stream.as_mut().poll_write(context, gathered.filled())
}

/// A stream that can end with a reset instead of an orderly close.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset.
    fn reset_on_close(&self);

    /// Ready once bytes, or the end, have come on the socket since they were last read to the end.
    fn poll_stirs(&self, context: &mut Context<'_>) -> Poll<()>;
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        // If the system refuses, the close stays an orderly one; there is nobody to tell.
        let _ = self.set_zero_linger();
    }

    fn poll_stirs(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(context).map(|_| ())
    }
}

impl Socket for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn poll_stirs(&self, context: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_stirs(context)
    }
}

/// A client's stream.
#[derive(Debug)]
pub(super) struct ClientIo<S: Socket> {
    stream: S,
    stalled: Idle,
    connection: Rc<Connection>,
    beside: Beside,
    lingering: Option<Lingering>,
    /// What was read already, by whoever had the stream before.
    before: Bytes,
}

/// An ended connection that takes in what still comes.
#[derive(Debug)]
struct Lingering {
    timer: Idle,
    left: usize,
}

/// Who reads what the client sends, beside hyper.
#[derive(Debug)]
enum Beside {
    Nobody,
    Http1(Watch),
    Http2(Flood),
    /// It found something that must go no further.
    Ended,
}

impl<S: Socket> ClientIo<S> {
    /// Guards a stream whose client may keep us waiting for `limit` with each write. It has one place in memory for its
    /// life: whoever is handed it would otherwise keep room for all of it, in each of their own states.
    pub(super) fn new(stream: S, limit: Duration, connection: Rc<Connection>) -> Box<Self> {
        Box::new(Self {
            stream,
            stalled: Idle::new(limit),
            connection,
            beside: Beside::Nobody,
            lingering: None,
            before: Bytes::new(),
        })
    }

    /// With an eye on HTTP/1 messages: faults of heads are noted with the connection, those of bodies end its bytes.
    pub(super) fn watch_http1(&mut self) {
        self.beside = Beside::Http1(Watch::new());
    }

    /// With an eye on floods of HTTP/2 frames, which end the connection.
    pub(super) fn watch_http2(&mut self) {
        self.beside = Beside::Http2(Flood::new(Instant::now()));
    }

    /// The stream of a tunnel: what comes is HTTP no more.
    pub(super) fn watch_no_more(&mut self) {
        self.beside = Beside::Nobody;
    }

    /// Gives bytes back that were read and not used; they come first when it is read again. Empty lines are as good as
    /// nothing (RFC 9112 section 2.2): whoever reads them again would only give them back again.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        let is_blank = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        // Of an empty part of it, nothing is kept: it would hold on to the whole buffer.
        self.before = if is_blank { Bytes::new() } else { bytes };
        if !self.before.is_empty() {
            // What is begun does not rest, whatever comes of it.
            self.connection.is_between_messages(false);
        }
    }

    /// Waits until there is something to read.
    pub(super) async fn stirs(&self) {
        if self.before.is_empty() {
            poll_fn(|context| self.stream.poll_stirs(context)).await;
        }
    }

    /// Looks at what has come since `before`: the bytes that go no further are taken out again.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let new = buffer.filled().get(before..).unwrap_or_default();
        let ends_at = match &mut self.beside {
            Beside::Nobody | Beside::Ended => return Ok(()),
            Beside::Http1(watch) => match watch.see(new) {
                Seen::Fine => return Ok(()),
                Seen::Head(number, fault) => {
                    self.connection.faulty_head(number, fault);
                    return Ok(());
                }
                Seen::Body(at) => at,
            },
            Beside::Http2(flood) => {
                if flood.read(new, Instant::now()) {
                    return Ok(());
                }
                tracing::debug!("client connection: a flood of HTTP/2 frames");
                0
            }
        };
        self.beside = Beside::Ended;
        buffer.set_filled(before + ends_at);
        // Nothing at all would be the end of the stream.
        if ends_at == 0 { Err(ended()) } else { Ok(()) }
    }

    fn owes_a_reader(&self) -> bool {
        let mid_message = match &self.beside {
            Beside::Http1(watch) => watch.is_mid_message(),
            Beside::Ended => true,
            Beside::Nobody | Beside::Http2(_) => false,
        };
        mid_message && !self.connection.is_broken()
    }

    /// Takes in and forgets what still comes, until the client ends it or has had its chance.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(Lingering { timer, left }) = &mut self.lingering else { return Poll::Ready(()) };
        let mut room = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, &mut buffer) else {
                return timer.poll_expired(context);
            };
            let taken = buffer.filled().len();
            if read.is_err() || taken == 0 || taken >= *left {
                return Poll::Ready(());
            }
            *left -= taken;
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if let (Beside::Http2(flood), Poll::Ready(Ok(octets))) = (&mut self.beside, polled) {
            flood.wrote(*octets);
        }
    }

    /// Tells the connection whether its stream could be left to another reader of HTTP/1 here: a part of an answer that
    /// waits, or a part of a request that came, would be lost.
    fn tell(&self) {
        let whole = matches!(&self.beside, Beside::Http1(watch) if !watch.is_mid_message());
        self.connection.is_between_messages(whole && !self.stalled.is_waiting());
    }

    fn guard<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.progressed();
            self.tell();
            return polled;
        }
        self.connection.is_between_messages(false);
        self.stalled.poll_expired(context).map(|()| {
            self.connection.stalls();
            Err(io::Error::from(io::ErrorKind::TimedOut))
        })
    }
}

fn ended() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

impl<S: Socket> Drop for ClientIo<S> {
    fn drop(&mut self) {
        // An HTTP/1.0 client, or one that was sent no length, takes an orderly close for the end of the answer; so it
        // would if bytes of the answer are still waiting.
        if self.connection.is_broken() || self.stalled.is_waiting() {
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
        if matches!(self.beside, Beside::Ended) {
            return Poll::Ready(Err(ended()));
        }
        if !self.before.is_empty() {
            // Looked at when it came.
            let fits = self.before.len().min(buffer.remaining());
            let part = self.before.split_to(fits);
            buffer.put_slice(&part);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.connection.received();
        }
        let looked = self.look(buffer, before);
        self.tell();
        Poll::Ready(looked)
    }
}

impl<S: Socket> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&polled);
        self.guard(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = write_pieces(Pin::new(&mut self.stream), context, slices);
        self.wrote(&polled);
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
        if self.lingering.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.guard(polled, context))?;
            if !self.owes_a_reader() {
                return Poll::Ready(Ok(()));
            }
            self.lingering = Some(Lingering { timer: Idle::new(LINGER), left: LINGER_BYTES });
        }
        self.linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    async fn pair() -> (Box<ClientIo<TcpStream>>, Rc<Connection>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let connection = Connection::from(&peer.to_string(), false, |_| false);
        let mut io = ClientIo::new(stream, Duration::from_secs(60), Rc::clone(&connection));
        io.watch_http1();
        (io, connection, client)
    }

    #[test]
    fn nothing_is_quiet_while_a_part_of_a_request_has_come() {
        run(async {
            let (mut io, connection, mut client) = pair().await;
            assert!(connection.quiet_for() > Duration::ZERO);
            let mut room = [0; 1024];
            for (piece, quiet) in [
                ("GET / HT", false),
                ("TP/1.1\r\nHost: a\r\n\r\n", true),
                ("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", false),
                ("hel", false),
                ("lo", true),
                ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
                ("0\r\n\r\n", true),
                ("GET / HTTP/1.1\n", false),
                ("Host: a\r\n\r\n", false),
            ] {
                client.write_all(piece.as_bytes()).await.unwrap();
                let mut left = piece.len();
                while left > 0 {
                    left -= io.read(&mut room).await.unwrap();
                }
                // The request is answered, as far as anybody knows.
                connection.request_started();
                connection.request_finished();
                assert_eq!(connection.quiet_for() > Duration::ZERO, quiet, "{piece:?}");
            }
        });
    }

    #[test]
    fn nothing_is_quiet_while_a_part_of_an_answer_waits() {
        run(async {
            let (mut io, connection, mut client) = pair().await;
            let piece = [b'a'; 64 * 1024];
            let mut sent = 0;
            while let Poll::Ready(wrote) =
                poll_fn(|context| Poll::Ready(Pin::new(&mut io).poll_write(context, &piece))).await
            {
                sent += wrote.unwrap();
                assert!(connection.quiet_for() > Duration::ZERO, "all of it is with the system");
            }
            assert_eq!(connection.quiet_for(), Duration::ZERO);
            let mut room = vec![0; sent];
            client.read_exact(&mut room).await.unwrap();
            assert_eq!(connection.quiet_for(), Duration::ZERO, "it still waits here");
            io.write_all(b"the rest").await.unwrap();
            assert!(connection.quiet_for() > Duration::ZERO);
        });
    }
}
