//! One worker's way to the upstreams: which server is next, and its pooled connections. Only [`Fleet`] is shared
//! between threads; a request takes no lock there.

mod balance;
mod budget;
mod condition;
mod connect;
mod dial;
mod driver;
mod fleet;
mod http2;
mod lease;
mod pool;
mod queue;
mod resolve;
mod stream;
mod tls;
mod translate;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

pub(super) use balance::{Cluster, Visit};
pub(super) use condition::Failure;
pub(super) use connect::{ConnectFault, Connector};
pub(super) use dial::Dialer;
pub use dial::{DialFault, Stage};
pub use fleet::{Fleet, ServerState, UpstreamState};
pub(super) use http2::Http2;
pub(super) use lease::{Lease, SendFault};
pub(super) use pool::ServerPool;
pub(super) use stream::Stream;
pub use tls::{CertificateFault, CertificateFile, check_authorities, check_identity};

use crate::route::{RouteMap, Server, Upstream};

/// By where the upstream is in memory, which its weak pointer keeps from being used again.
type Clusters = HashMap<*const Upstream, (Weak<Upstream>, Rc<Cluster>), foldhash::fast::RandomState>;

/// The pools of one worker thread, and what it knows of the upstreams.
#[derive(Debug)]
pub(super) struct Upstreams {
    /// Opens new connections.
    pub(super) connector: Connector,
    /// Those of a server, one for each way to it.
    pools: RefCell<HashMap<Server, Vec<Rc<ServerPool>>>>,
    fleet: Arc<Fleet>,
    clusters: RefCell<Clusters>,
    /// The route map whose servers the pools are for.
    swept_for: RefCell<Weak<RouteMap>>,
    idle_connections: usize,
    idle_time: Duration,
}

impl Upstreams {
    /// No connections yet. At most `idle_connections` are kept for each server, each for `idle_time` at most unless its
    /// upstream says otherwise.
    pub(super) fn new(connector: Connector, fleet: Arc<Fleet>, idle_connections: usize, idle_time: Duration) -> Self {
        Self {
            connector,
            pools: RefCell::default(),
            fleet,
            clusters: RefCell::default(),
            swept_for: RefCell::default(),
            idle_connections,
            idle_time,
        }
    }

    /// What chooses among the servers of an upstream.
    pub(super) fn cluster(&self, upstream: &Arc<Upstream>) -> Rc<Cluster> {
        let mut clusters = self.clusters.borrow_mut();
        let known = clusters.entry(Arc::as_ptr(upstream));
        let (_, cluster) = known.or_insert_with(|| (Arc::downgrade(upstream), Rc::new(self.fleet.cluster(upstream))));
        Rc::clone(cluster)
    }

    /// The pool of the server that a request visits.
    pub(super) fn pool_of(&self, visit: &Visit, server: &Server, upstream: &Upstream) -> Rc<ServerPool> {
        let pool = visit.pool(|| self.pool(server, upstream));
        pool.keep_for(self.idle_time(upstream));
        pool
    }

    fn idle_time(&self, upstream: &Upstream) -> Duration {
        upstream.patience.idle.unwrap_or(self.idle_time)
    }

    /// The pool of one server of an upstream. A connection that was made in another way is never reused.
    pub(super) fn pool(&self, server: &Server, upstream: &Upstream) -> Rc<ServerPool> {
        let transport = &upstream.transport;
        let idle_time = self.idle_time(upstream);
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(server).into_iter().flatten().find(|pool| pool.is_for(transport)) {
            pool.keep_for(idle_time);
            return Rc::clone(pool);
        }
        let pool = Rc::new(ServerPool::new(Arc::clone(transport), self.idle_connections, idle_time));
        pools.entry(server.clone()).or_default().push(Rc::clone(&pool));
        pool
    }

    /// Closes what has idled for too long, and what idles at servers that the route map does not name any more. Called
    /// each second.
    pub(super) fn sweep(&self, routes: &Arc<RouteMap>) {
        let now = Instant::now();
        let mut pools = self.pools.borrow_mut();
        pools.retain(|_, pools| {
            pools.retain(|pool| {
                pool.sweep(now);
                !pool.is_empty() || Rc::strong_count(pool) > 1
            });
            !pools.is_empty()
        });
        if self.swept_for.borrow().as_ptr() != Arc::as_ptr(routes) {
            self.swept_for.replace(Arc::downgrade(routes));
            let upstreams = || routes.applications().iter().map(|application| &application.upstream);
            pools.retain(|server, pools| {
                pools.retain(|pool| {
                    let goes_there = |upstream: &Arc<Upstream>| {
                        pool.is_for(&upstream.transport) && upstream.servers.contains(server)
                    };
                    let is_named = upstreams().any(goes_there);
                    if !is_named {
                        pool.retire();
                    }
                    is_named
                });
                !pools.is_empty()
            });
        }
        // Those of route maps that no request runs on any more.
        self.clusters.borrow_mut().retain(|_, (upstream, _)| upstream.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::settings::Timeouts;
    use crate::route::upstream::Transport;
    use crate::telemetry::Telemetry;

    fn server(port: u16) -> Server {
        Server::parse(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn upstreams() -> Upstreams {
        let telemetry = Telemetry::new("0", false);
        let connector = Connector::new(Arc::clone(&telemetry), &Timeouts::default());
        Upstreams::new(connector, Arc::new(Fleet::new(telemetry)), 4, Duration::from_secs(1))
    }

    #[test]
    fn a_pool_belongs_to_a_server_and_a_way_to_it() {
        let upstreams = upstreams();
        let way = |ca: &[u8]| Upstream {
            transport: Arc::new(Transport { ca: Some(ca.into()), ..Transport::default() }),
            ..Upstream::plain("a", vec![])
        };
        let [one, same, other] = [way(b"ca"), way(b"ca"), way(b"xx")];
        let first = upstreams.pool(&server(1), &one);
        assert!(Rc::ptr_eq(&first, &upstreams.pool(&server(1), &same)));
        assert!(!Rc::ptr_eq(&first, &upstreams.pool(&server(1), &other)));
        let public = Upstream::plain("b", vec![]);
        assert!(!Rc::ptr_eq(&first, &upstreams.pool(&server(1), &public)));
        assert!(!Rc::ptr_eq(&upstreams.pool(&server(1), &public), &upstreams.pool(&server(2), &public)));
        // Two ways that are used in turn keep their connections.
        assert!(Rc::ptr_eq(&first, &upstreams.pool(&server(1), &same)));
    }

    #[test]
    fn a_sweep_forgets_servers_without_connections() {
        let upstreams = upstreams();
        let routes = Arc::default();
        upstreams.sweep(&routes);
        let public = Upstream::plain("a", vec![]);
        let held = upstreams.pool(&server(1), &public);
        upstreams.pool(&server(2), &public);
        upstreams.sweep(&routes);
        assert_eq!(upstreams.pools.borrow().len(), 1);
        // A route map that does not name the server.
        upstreams.sweep(&Arc::default());
        assert!(upstreams.pools.borrow().is_empty());
        drop(held);
    }

    #[test]
    fn a_thread_asks_once_for_each_upstream_of_each_route_map() {
        let upstreams = upstreams();
        let generation = |limit: usize| {
            let mut upstream = Upstream::plain("a", vec![server(1)]);
            upstream.limits.requests = limit;
            Arc::new(upstream)
        };
        let (old, new) = (generation(1), generation(2));
        let cluster = upstreams.cluster(&old);
        assert!(Rc::ptr_eq(&cluster, &upstreams.cluster(&old)));
        assert!(!Rc::ptr_eq(&cluster, &upstreams.cluster(&new)));
        assert!(Arc::ptr_eq(&cluster.shared, &upstreams.cluster(&new).shared), "what runs is counted together");
        drop(old);
        upstreams.sweep(&Arc::default());
        assert_eq!(upstreams.clusters.borrow().len(), 1);
    }
}
