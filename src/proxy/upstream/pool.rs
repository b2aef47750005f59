//! The open connections of one server on one thread: HTTP/1.1 connections that idle, bounded in number, and HTTP/2
//! connections with their streams. All are bounded in age, so that a name is resolved again in time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::http2::{Http2, MOST_STREAMS};
use super::lease::Lease;
use crate::proxy::idle::Alarm;
use crate::proxy::upload::RequestBody;
use crate::route::upstream::Transport;

/// How long a returned connection may take to finish its last exchange (the end of an upload that the answer did not
/// wait for). hyper needs one more turn of the event loop in the ordinary case.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// How long a connection takes new requests, less up to a tenth, so that not all end at once.
const MOST_AGE: Duration = Duration::from_secs(10 * 60);

/// One open HTTP/1.1 connection. Dropping it closes the socket at once.
pub(super) struct Http1 {
    /// hyper's handle; takes one request at a time.
    pub(super) sender: SendRequest<RequestBody>,
    /// The task that moves the bytes.
    pub(super) task: JoinHandle<()>,
    /// After this it takes no new request.
    pub(super) until: Instant,
    /// The timer of its exchanges while none runs.
    pub(super) alarm: Cell<Alarm>,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Idle {
    connection: Http1,
    since: Instant,
}

/// The open connections of one server.
pub(in crate::proxy) struct ServerPool {
    transport: Arc<Transport>,
    most: Cell<usize>,
    longest: Cell<Duration>,
    /// The most recently used last.
    idle: RefCell<VecDeque<Idle>>,
    shared: RefCell<Vec<Rc<Http2>>>,
    /// HTTP/2 connections that are being made, and the requests that wait for them or for a stream to end.
    opening: Cell<usize>,
    waiting: Cell<usize>,
    /// How many streams the last HTTP/2 connection took.
    room: Cell<usize>,
    changed: Rc<Notify>,
}

impl ServerPool {
    /// No connection yet. At most `most` are kept, for `longest` each, all made as `transport` says.
    pub(in crate::proxy) fn new(transport: Arc<Transport>, most: usize, longest: Duration) -> Self {
        Self {
            transport,
            most: Cell::new(most),
            longest: Cell::new(longest),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Cell::new(0),
            waiting: Cell::new(0),
            room: Cell::new(MOST_STREAMS),
            changed: Rc::default(),
        }
    }

    /// Whether its connections are made in this way.
    pub(super) fn is_for(&self, transport: &Arc<Transport>) -> bool {
        Arc::ptr_eq(&self.transport, transport) || self.transport == *transport
    }

    /// Its connections are kept for so long from now on.
    pub(super) fn keep_for(&self, longest: Duration) {
        self.longest.set(longest);
    }

    /// Closes what idles; what is in use is closed at its end.
    pub(super) fn retire(&self) {
        self.most.set(0);
        self.idle.borrow_mut().clear();
        // Those with streams live as long as these.
        self.shared.borrow_mut().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// A connection that can take a request now: of those that idle the warmest, of those that are shared the fullest.
    pub(in crate::proxy) fn check_out(self: &Rc<Self>, now: Instant) -> Option<Lease> {
        self.check_out_idle(now).map(|connection| self.lease(connection)).or_else(|| self.check_out_shared())
    }

    fn check_out_idle(&self, now: Instant) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        let takes = |idle: &Idle| idle.connection.sender.is_ready() && now < idle.connection.until;
        let ready = idle.iter().rposition(takes)?;
        let Idle { connection, since } = idle.remove(ready)?;
        // The sweep comes only once a second, and the oldest are in front: if this one is too old, all are.
        (now.saturating_duration_since(since) <= self.longest.get()).then_some(connection)
    }

    fn check_out_shared(self: &Rc<Self>) -> Option<Lease> {
        let shared = self.shared.borrow();
        let fullest = shared.iter().filter(|connection| connection.has_room()).max_by_key(|open| open.streams())?;
        Some(Lease::stream(self, fullest.take()))
    }

    /// Lends a new HTTP/1.1 connection of this server.
    pub(super) fn lease(self: &Rc<Self>, connection: Http1) -> Lease {
        Lease::connection(self, connection)
    }

    /// Takes in a new HTTP/2 connection of this server and lends the first stream of it.
    pub(super) fn share(self: &Rc<Self>, connection: Rc<Http2>) -> Lease {
        self.room.set(connection.most_streams().max(1));
        let lease = Lease::stream(self, connection.take());
        self.shared.borrow_mut().push(connection);
        lease
    }

    /// Says that another HTTP/2 connection is being made, until the mark is dropped; `None` if those that are being
    /// made will do for all who wait.
    pub(super) fn begin_opening(self: &Rc<Self>) -> Option<Opening> {
        let enough = self.opening.get() > 0 && self.waiting.get() < self.opening.get() * self.room.get();
        (!enough).then(|| {
            self.opening.set(self.opening.get() + 1);
            Opening(Rc::clone(self))
        })
    }

    /// Waits until there may be room on an HTTP/2 connection, or it is time to make another.
    pub(super) async fn wait(self: &Rc<Self>) {
        struct Waiting<'a>(&'a ServerPool);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
            }
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(self);
        self.changed.notified().await;
    }

    /// What is told when a stream ends.
    pub(super) const fn changed(&self) -> &Rc<Notify> {
        &self.changed
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let settled = idle.connection.sender.is_ready() || age < SETTLE;
            age <= self.longest.get() && settled && now < idle.connection.until && !idle.connection.sender.is_closed()
        });
        self.shared.borrow_mut().retain(|connection| {
            let Some(since) = connection.unwanted_since() else { return true };
            let idle = now.saturating_duration_since(since);
            let over = connection.is_over();
            if connection.streams() == 0 {
                return !over && self.most.get() > 0 && idle <= self.longest.get();
            }
            // Streams that everybody gave up and the server does not let go of.
            let stuck = over && idle > SETTLE;
            if stuck {
                connection.abort();
            }
            !stuck
        });
    }

    pub(super) fn put(&self, connection: Http1, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if self.most.get() == 0 || connection.sender.is_closed() {
            return;
        }
        if idle.len() >= self.most.get() {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, since: now });
    }
}

impl fmt::Debug for ServerPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerPool").field("idle", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

/// The mark of an HTTP/2 connection that is being made.
pub(super) struct Opening(Rc<ServerPool>);

impl Drop for Opening {
    fn drop(&mut self) {
        let pool = &self.0;
        pool.opening.set(pool.opening.get().saturating_sub(1));
        // There is room now, or somebody else must try.
        pool.changed.notify_waiters();
    }
}

/// When a connection that is made now takes no more requests.
pub(super) fn end_of_age() -> Instant {
    let spread = RandomState::new().hash_one(0) % (MOST_AGE.as_secs() / 10);
    Instant::now() + MOST_AGE - Duration::from_secs(spread)
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn connections_end_between_nine_and_ten_minutes_and_not_all_at_once() {
        let now = Instant::now();
        let ends: Vec<u64> = (0..50).map(|_| end_of_age().saturating_duration_since(now).as_secs()).collect();
        assert!(ends.iter().all(|end| (540..=600).contains(end)), "{ends:?}");
        assert!(ends.iter().any(|end| *end != ends[0]));
    }

    #[test]
    fn a_connection_that_is_too_old_takes_no_new_request() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let pool = Rc::new(ServerPool::new(Arc::default(), 4, Duration::from_secs(30)));
            let mut held = Vec::new();
            for (until, lent) in [(Instant::now(), false), (end_of_age(), true)] {
                let (near, far) = tokio::io::duplex(1024);
                held.push(far);
                let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
                let task = tokio::task::spawn_local(async move { drop(connection.await) });
                sender.ready().await.unwrap();
                pool.put(Http1 { sender, task, until, alarm: Cell::default() }, Instant::now());
                assert_eq!(pool.check_out(Instant::now()).is_some(), lent);
                pool.sweep(Instant::now());
                assert!(pool.is_empty(), "lent and dropped, or too old");
            }
        });
    }

    #[test]
    fn no_more_connections_idle_than_are_to_be_kept_and_the_oldest_gives_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let pool = Rc::new(ServerPool::new(Arc::default(), 4, Duration::from_secs(30)));
            let mut held = Vec::new();
            for number in 0..10 {
                let (near, far) = tokio::io::duplex(1024);
                let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
                let task = tokio::task::spawn_local(async move { drop(connection.await) });
                sender.ready().await.unwrap();
                pool.put(Http1 { sender, task, until: end_of_age(), alarm: Cell::default() }, Instant::now());
                held.push(far);
                assert_eq!(pool.idle.borrow().len(), (number + 1).min(4));
            }
            // Whoever was closed reads the end.
            for (number, far) in held.iter_mut().enumerate() {
                let read = timeout(Duration::from_millis(50), far.read(&mut [0])).await;
                assert_eq!(read.is_ok_and(|read| read.unwrap() == 0), number < 6, "{number}");
            }
        });
    }
}
