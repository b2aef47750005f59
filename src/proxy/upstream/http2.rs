//! One HTTP/2 connection to a server, shared by the streams of one thread (RFC 9113).
//!
//! A stream's place is taken by a [`Slot`] and given up only when both of its directions are over, as the server counts
//! it. So no stream ever waits inside the connection for another to end, and what one exchange does holds back no
//! other.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::uri::Scheme;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::driver::{Driver, Local};
use super::pool::SETTLE;
use super::stream::{Heard, Stream, Watched};
use super::translate::{into_http1, into_http2};
use crate::proxy::upload::RequestBody;

/// The most streams that run on one connection, whatever the server permits: what one broken connection takes along.
pub(super) const MOST_STREAMS: usize = 100;
/// What a stream of an answer may hold for a client that reads slowly.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all streams of a connection. Each may fill its own window, so that slow readers never stop others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// What a stream of a request may hold that is not yet written.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a quiet connection with running streams is pinged. More often counts as an attack with some servers of
/// gRPC, whose default is this.
const PING_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long the answer to a ping may take.
const PING_WITHIN: Duration = Duration::from_secs(20);
/// A stream that was given up after so long without a byte from the server makes the connection suspect.
const SUSPECT_AFTER: Duration = Duration::from_secs(5);

/// How a connection is set up whose tasks run on `local`, for response heads of up to `head_bytes`.
fn builder(local: &Local, head_bytes: usize) -> Builder<Local> {
    let mut http = Builder::new(local.clone());
    http.timer(TokioTimer::new())
        // Nothing is sent before the server says how many streams it takes.
        .initial_max_send_streams(0)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    http
}

/// A connection with room for streams.
pub(in crate::proxy) struct Http2 {
    sender: RefCell<SendRequest<StreamBody>>,
    driver: Rc<Driver>,
    heard: Rc<Heard>,
    /// The task that moves the bytes.
    moving: AbortHandle,
    scheme: Scheme,
    /// After this it takes no new streams.
    until: Instant,
    retired: Cell<bool>,
    streams: Cell<usize>,
    /// Streams that nobody has given up.
    wanted: Cell<usize>,
    unwanted_since: Cell<Instant>,
    /// Told when a stream ends.
    freed: Rc<Notify>,
}

impl Http2 {
    /// Begins HTTP/2 on a stream and waits until the server has said how many streams it takes, which also shows that
    /// it speaks HTTP/2 at all before any request is sent. The caller bounds the wait.
    ///
    /// # Errors
    /// A clause.
    pub(in crate::proxy) async fn start(
        stream: Stream,
        head_bytes: usize,
        tls: bool,
        until: Instant,
        freed: &Rc<Notify>,
    ) -> Result<Rc<Self>, String> {
        const OTHER: &str = "the server does not speak HTTP/2";
        let (stream, heard) = Watched::new(stream);
        let local = Local::default();
        let made = builder(&local, head_bytes).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|fault| format!("{OTHER}: {fault}"))?;
        let driver = Rc::new(Driver::default());
        driver.drives(connection);
        let Some(moving) = local.first() else { return Err(OTHER.to_owned()) };
        spawn_local(Rc::clone(&driver).run(Rc::clone(&heard)));
        let now = Instant::now();
        let connection = Rc::new(Self {
            sender: RefCell::new(sender),
            driver,
            heard,
            moving,
            scheme: if tls { Scheme::HTTPS } else { Scheme::HTTP },
            until,
            retired: Cell::new(false),
            streams: Cell::new(0),
            wanted: Cell::new(0),
            unwanted_since: Cell::new(now),
            freed: Rc::clone(freed),
        });
        while connection.most_streams() == 0 {
            if connection.driver.is_done() {
                // In TLS 1.3 a server that wants another certificate says so only now.
                return Err(connection.heard.fault().unwrap_or_else(|| OTHER.to_owned()));
            }
            connection.heard.more().await;
        }
        Ok(connection)
    }

    /// How many streams it takes now.
    pub(super) fn most_streams(&self) -> usize {
        self.driver.most_streams().min(MOST_STREAMS)
    }

    /// How many streams it has.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether it can take one more stream.
    pub(super) fn has_room(&self) -> bool {
        !self.is_over() && self.streams.get() < self.most_streams()
    }

    /// Whether it takes no new streams any more: it is too old or suspect, the server said so (GOAWAY), or it is
    /// broken.
    pub(super) fn is_over(&self) -> bool {
        if !self.retired.get() && (Instant::now() >= self.until || self.driver.ended_by_now()) {
            self.retired.set(true);
        }
        self.retired.get()
    }

    /// Takes a place for a stream, whether or not there is room.
    pub(in crate::proxy) fn take(self: &Rc<Self>) -> Rc<Slot> {
        self.streams.set(self.streams.get() + 1);
        self.wanted.set(self.wanted.get() + 1);
        Rc::new(Slot {
            connection: Rc::clone(self),
            taken: Instant::now(),
            given_up: Cell::new(false),
            upload: Cell::new(None),
            sending: Cell::new(false),
            answered: Cell::new(false),
        })
    }

    /// Since when nobody wants any of its streams; `None` while somebody does.
    pub(super) fn unwanted_since(&self) -> Option<Instant> {
        (self.wanted.get() == 0).then(|| self.unwanted_since.get())
    }

    /// Ends it at once, with all of its streams. Without streams it ends in order by itself when it is dropped.
    pub(super) fn abort(&self) {
        self.moving.abort();
    }

    fn unwanted(&self) {
        self.wanted.set(self.wanted.get().saturating_sub(1));
        self.unwanted_since.set(Instant::now());
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Http2").field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// A stream's place on a connection.
pub(in crate::proxy) struct Slot {
    connection: Rc<Http2>,
    taken: Instant,
    given_up: Cell<bool>,
    /// Whoever moves the request's body, while it waits for more of it.
    upload: Cell<Option<Waker>>,
    /// Whether the request's body is being sent.
    sending: Cell<bool>,
    /// Whether the head of the answer is there.
    answered: Cell<bool>,
}

impl Slot {
    /// Sends a request on the connection.
    pub(in crate::proxy) fn send(
        self: &Rc<Self>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<http::Response<hyper::body::Incoming>, Box<SendError>>> + use<> {
        let (scheme, slot) = (&self.connection.scheme, Rc::clone(self));
        let request = request.map(|inner| StreamBody { slot: Sending::begin(self, &inner), inner });
        let sending = into_http2(request, scheme).map(|request| {
            // A request without a body can be given back although hyper took it.
            let spare = request.body().is_end_stream().then(|| copy(&request));
            (self.connection.sender.borrow_mut().try_send_request(request), spare)
        });
        async move {
            let (answer, spare) = sending.ok_or_else(|| Box::new(SendError { fault: None, request: None }))?;
            answer.await.inspect(|_| slot.answered.set(true)).map_err(|mut fault| {
                let back = fault.take_message().map(without_slot);
                let fault = fault.into_error();
                let request = back.or_else(|| spare.filter(|_| is_unprocessed(&fault)));
                Box::new(SendError { fault: Some(fault), request })
            })
        }
    }

    /// The connection takes no more streams.
    pub(super) fn retire(&self) {
        self.connection.retired.set(true);
    }

    /// The answer came to its end. An upload that it did not wait for has as long to end as over HTTP/1.1.
    pub(super) fn settle(self: &Rc<Self>) {
        if self.sending.get() {
            let slot = Rc::downgrade(self);
            spawn_local(async move {
                sleep(SETTLE).await;
                if let Some(slot) = slot.upgrade() {
                    slot.give_up();
                }
            });
        }
    }

    /// Ends the stream although it has not come to its end; the connection lives.
    pub(super) fn give_up(&self) {
        if self.given_up.replace(true) {
            return;
        }
        let connection = &self.connection;
        connection.unwanted();
        let silent = connection.heard.at().is_none_or(|at| at < self.taken);
        if silent && self.taken.elapsed() >= SUSPECT_AFTER {
            connection.retired.set(true);
        }
        match self.upload.take() {
            Some(upload) => upload.wake(),
            // Once there is an answer, hyper waits for room for a piece that it holds and for nothing else, so the stream
            // would last until the server reads on. It ends with its connection, when nobody wants that any more.
            None if self.sending.get() && self.answered.get() => connection.retired.set(true),
            None => {}
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connection = &self.connection;
        if !self.given_up.get() {
            connection.unwanted();
        }
        connection.streams.set(connection.streams.get().saturating_sub(1));
        connection.freed.notify_one();
    }
}

/// Why a request got no answer.
pub(in crate::proxy) struct SendError {
    /// What hyper says; `None` if it was not asked.
    pub(in crate::proxy) fault: Option<hyper::Error>,
    /// The request, if the server has done nothing with it.
    pub(super) request: Option<Request<RequestBody>>,
}

/// Whether the server says that it has not looked at a stream: REFUSED_STREAM, or a stream after the last one of a
/// GOAWAY (RFC 9113 section 8.7).
fn is_unprocessed(fault: &hyper::Error) -> bool {
    h2_fault(fault).is_some_and(|fault| {
        let refused = fault.is_reset() && fault.reason() == Some(h2::Reason::REFUSED_STREAM);
        fault.is_remote() && (refused || fault.is_go_away())
    })
}

/// Whether the connection ended before any of an answer came.
pub(super) fn is_lost(fault: &hyper::Error) -> bool {
    h2_fault(fault).is_some_and(h2::Error::is_io) || is_unprocessed(fault)
}

fn h2_fault(fault: &hyper::Error) -> Option<&h2::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(fault);
    while let Some(fault) = cause {
        if let Some(found) = fault.downcast_ref() {
            return Some(found);
        }
        cause = fault.source();
    }
    None
}

/// A copy of a request without a body, as it would be sent over HTTP/1.1.
fn copy(request: &Request<StreamBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::none());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    into_http1(copy)
}

fn without_slot(request: Request<StreamBody>) -> Request<RequestBody> {
    into_http1(request.map(|body| body.inner))
}

/// The body of a request on a stream. It holds the stream's place while it is sent, and ends with a reset (CANCEL) when
/// the client breaks off or the stream is given up.
pub(super) struct StreamBody {
    inner: RequestBody,
    slot: Sending,
}

/// A stream's place as its request's body holds it.
struct Sending(Rc<Slot>);

impl Sending {
    fn begin(slot: &Rc<Slot>, body: &RequestBody) -> Self {
        slot.sending.set(!body.is_end_stream());
        Self(Rc::clone(slot))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.set(false);
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        let cancelled = || Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL))));
        let slot = &this.slot.0;
        if slot.given_up.get() {
            return cancelled();
        }
        slot.upload.take();
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Pending => {
                slot.upload.set(Some(context.waker().clone()));
                Poll::Pending
            }
            Poll::Ready(Some(Err(_))) => cancelled(),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
