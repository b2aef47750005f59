//! The idle connections of one server on one thread, bounded in number and age.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Failure, Visit};
use crate::proxy::body::RequestBody;
use crate::route::upstream::Transport;

/// How long a returned connection may take to finish its last exchange (the end of an upload that the answer did not
/// wait for). hyper needs one more turn of the event loop in the ordinary case.
const SETTLE: Duration = Duration::from_secs(2);

/// One open connection. Dropping it closes the socket at once.
pub(super) struct Connection {
    /// hyper's handle; takes one request at a time.
    pub(super) sender: SendRequest<RequestBody>,
    /// The task that moves the bytes.
    pub(super) task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// The idle connections of one server, the most recently used last.
pub(in crate::proxy) struct ServerPool {
    transport: Arc<Transport>,
    most: Cell<usize>,
    longest: Cell<Duration>,
    idle: RefCell<VecDeque<Idle>>,
}

impl ServerPool {
    /// No connection yet. At most `most` are kept, for `longest` each, all made as `transport` says.
    pub(in crate::proxy) fn new(transport: Arc<Transport>, most: usize, longest: Duration) -> Self {
        Self { transport, most: Cell::new(most), longest: Cell::new(longest), idle: RefCell::default() }
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
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// An idle connection that can take a request now, the warmest first.
    pub(in crate::proxy) fn check_out(self: &Rc<Self>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let ready = idle.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        let Idle { connection, since } = idle.remove(ready)?;
        // The sweep comes only once a second, and the oldest are in front: if this one is too old, all are.
        if since.elapsed() > self.longest.get() {
            return None;
        }
        Some(self.lease(connection))
    }

    /// Lends a new connection of this server.
    pub(super) fn lease(self: &Rc<Self>, connection: Connection) -> Lease {
        Lease { pool: Rc::clone(self), connection, visit: None }
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let settled = idle.connection.sender.is_ready() || age < SETTLE;
            age <= self.longest.get() && settled && !idle.connection.sender.is_closed()
        });
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if self.most.get() == 0 || connection.sender.is_closed() {
            return;
        }
        if idle.len() >= self.most.get() {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, since: Instant::now() });
    }
}

impl fmt::Debug for ServerPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerPool").field("idle", &self.idle.borrow().len()).finish_non_exhaustive()
    }
}

/// The use of one connection for one exchange. Dropped, it closes the connection; only an exchange that came to its
/// end gives it back.
pub(in crate::proxy) struct Lease {
    pool: Rc<ServerPool>,
    connection: Connection,
    /// What the exchange counts as at its server; over with it.
    visit: Option<Visit>,
}

impl Lease {
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

    /// hyper's handle.
    pub(in crate::proxy) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }

    /// The exchange came to its end: the connection may serve another.
    pub(in crate::proxy) fn give_back(self) {
        let Self { pool, connection, visit } = self;
        if let Some(visit) = visit {
            visit.completed();
        }
        pool.put(connection);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Lease")
    }
}
