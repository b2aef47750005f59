//! One worker's way to the upstreams: which server is next, and its pooled connections. Nothing here is shared between
//! threads, so nothing here locks.

mod connect;
mod dial;
mod http2;
mod lease;
mod pool;
mod resolve;
mod stream;
mod tls;
mod translate;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use connect::{ConnectFault, Connector};
pub(super) use dial::Dialer;
pub use dial::{DialFault, Stage};
pub(super) use http2::Http2;
pub(super) use lease::{Lease, SendFault};
pub(super) use pool::ServerPool;
pub(super) use stream::Stream;
pub use tls::{CertificateFault, CertificateFile, check_authorities, check_identity};

use crate::route::upstream::Transport;
use crate::route::{Server, Upstream};

/// The pools and turns of one worker thread.
#[derive(Debug)]
pub(super) struct Upstreams {
    /// Opens new connections.
    pub(super) connector: Connector,
    /// Those of a server, one for each way to it.
    pools: RefCell<HashMap<Server, Vec<Rc<ServerPool>>>>,
    turns: RefCell<HashMap<Arc<str>, usize>>,
    idle_connections: usize,
    idle_time: Duration,
}

impl Upstreams {
    /// No connections yet. At most `idle_connections` are kept for each server, each for `idle_time` at most.
    pub(super) fn new(connector: Connector, idle_connections: usize, idle_time: Duration) -> Self {
        Self { connector, pools: RefCell::default(), turns: RefCell::default(), idle_connections, idle_time }
    }

    /// The servers of an upstream in the order in which this request tries them: round-robin.
    pub(super) fn in_turn<'a>(&self, upstream: &'a Upstream) -> impl Iterator<Item = &'a Server> + use<'a> {
        let servers = upstream.servers.as_slice();
        let first = if servers.len() < 2 { 0 } else { self.turn(&upstream.name) % servers.len() };
        let (later, sooner) = servers.split_at(first.min(servers.len()));
        sooner.iter().chain(later)
    }

    fn turn(&self, upstream: &Arc<str>) -> usize {
        let mut turns = self.turns.borrow_mut();
        match turns.get_mut(upstream) {
            Some(turn) => {
                *turn = turn.wrapping_add(1);
                *turn
            }
            None => {
                turns.insert(Arc::clone(upstream), 0);
                0
            }
        }
    }

    /// The pool of one server. A connection that was made in another way is never reused.
    pub(super) fn pool(&self, server: &Server, transport: &Arc<Transport>) -> Rc<ServerPool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(server).into_iter().flatten().find(|pool| pool.is_for(transport)) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(ServerPool::new(Arc::clone(transport), self.idle_connections, self.idle_time));
        pools.entry(server.clone()).or_default().push(Rc::clone(&pool));
        pool
    }

    /// Closes what has idled for too long and forgets servers that nobody uses any more. Called each second.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.pools.borrow_mut().retain(|_, pools| {
            pools.retain(|pool| {
                pool.sweep(now);
                !pool.is_empty() || Rc::strong_count(pool) > 1
            });
            !pools.is_empty()
        });
        // A thousand names are more than any route map has; reloads that rename upstreams must not add up for ever.
        let mut turns = self.turns.borrow_mut();
        if turns.len() > 1000 {
            turns.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::settings::Timeouts;
    use crate::telemetry::Telemetry;

    fn server(port: u16) -> Server {
        Server::parse(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn upstreams() -> Upstreams {
        let connector = Connector::new(Telemetry::new("0", false), &Timeouts::default(), 65_536);
        Upstreams::new(connector, 4, Duration::from_secs(1))
    }

    #[test]
    fn servers_take_turns_and_each_request_knows_all_of_them() {
        let upstreams = upstreams();
        let one = Upstream::plain("one", vec![server(1), server(2), server(3)]);
        let two = Upstream::plain("two", vec![server(8), server(9)]);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let turn =
                upstreams.in_turn(&one).map(|server| one.servers.iter().position(|known| known == server).unwrap());
            seen.push(turn.collect::<Vec<_>>());
            // Another upstream's turns do not disturb these.
            upstreams.in_turn(&two).count();
        }
        assert_eq!(seen, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn an_upstream_without_servers_has_no_turn() {
        let none = Upstream::plain("none", vec![]);
        assert_eq!(upstreams().in_turn(&none).count(), 0);
    }

    #[test]
    fn a_pool_belongs_to_a_server_and_a_way_to_it() {
        let upstreams = upstreams();
        let way = |ca: &[u8]| Arc::new(Transport { ca: Some(ca.into()), ..Transport::default() });
        let [one, same, other] = [way(b"ca"), way(b"ca"), way(b"xx")];
        let first = upstreams.pool(&server(1), &one);
        assert!(Rc::ptr_eq(&first, &upstreams.pool(&server(1), &same)));
        assert!(!Rc::ptr_eq(&first, &upstreams.pool(&server(1), &other)));
        let public = Arc::default();
        assert!(!Rc::ptr_eq(&first, &upstreams.pool(&server(1), &public)));
        assert!(!Rc::ptr_eq(&upstreams.pool(&server(1), &public), &upstreams.pool(&server(2), &public)));
        // Two ways that are used in turn keep their connections.
        assert!(Rc::ptr_eq(&first, &upstreams.pool(&server(1), &same)));
    }

    #[test]
    fn a_sweep_forgets_servers_without_connections() {
        let upstreams = upstreams();
        let held = upstreams.pool(&server(1), &Arc::default());
        upstreams.pool(&server(2), &Arc::default());
        upstreams.sweep();
        assert_eq!(upstreams.pools.borrow().len(), 1);
        drop(held);
        upstreams.sweep();
        assert!(upstreams.pools.borrow().is_empty());
    }
}
