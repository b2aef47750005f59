//! The idle connections of one server on one thread, bounded in number and age.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::proxy::body::RequestBody;
use crate::proxy::bound::Owner;

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
    ca: Option<Arc<[u8]>>,
    most: usize,
    longest: Duration,
    idle: RefCell<VecDeque<Idle>>,
}

impl ServerPool {
    pub(super) fn new(ca: Option<Arc<[u8]>>, most: usize, longest: Duration) -> Self {
        Self { ca, most, longest, idle: RefCell::default() }
    }

    pub(super) fn verified_with(&self, ca: Option<&Arc<[u8]>>) -> bool {
        match (&self.ca, ca) {
            (None, None) => true,
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            _ => false,
        }
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
        if since.elapsed() > self.longest {
            return None;
        }
        Some(self.lease(connection))
    }

    /// Lends a new connection of this server.
    pub(super) fn lease(self: &Rc<Self>, connection: Connection) -> Lease {
        Lease { pool: Rc::clone(self), connection, home: Home::Pool }
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let settled = idle.connection.sender.is_ready() || age < SETTLE;
            age <= self.longest && settled && !idle.connection.sender.is_closed()
        });
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if self.most == 0 || connection.sender.is_closed() {
            return;
        }
        if idle.len() >= self.most {
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
    home: Home,
}

/// Where a connection goes when its exchange has come to its end.
#[derive(Clone)]
enum Home {
    /// To whoever asks next.
    Pool,
    /// To its owner, or nowhere.
    Owner(Option<Owner>),
}

impl Lease {
    /// hyper's handle.
    pub(in crate::proxy) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }

    /// The exchange came to its end: the connection may serve another.
    pub(in crate::proxy) fn give_back(self) {
        match self.home.clone() {
            Home::Pool => self.pool.put(self.connection),
            Home::Owner(Some(owner)) if !self.connection.sender.is_closed() => owner.keep(self),
            Home::Owner(_) => {}
        }
    }

    /// The connection was authenticated: nobody but `owner` may have it from now on; without one, nobody at all.
    pub(in crate::proxy) fn bind(&mut self, owner: Option<&Owner>) {
        self.home = Home::Owner(owner.cloned());
    }

    /// Whether it is one of this pool's server.
    pub(in crate::proxy) fn is_of(&self, pool: &Rc<ServerPool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Lease")
    }
}
