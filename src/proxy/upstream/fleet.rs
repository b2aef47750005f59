//! What all threads know of the upstreams together: the places and the budget of each, and the condition of its
//! servers.
//!
//! It outlives the route maps: a reload changes the rules, and what is known of an upstream and of a server that both
//! maps name stays. A request takes no lock here: each thread asks once for each upstream of each route map, and keeps
//! the answer.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::balance::Cluster;
use super::budget::Budget;
use super::condition::Condition;
use super::queue::Gate;
use crate::route::{RouteMap, Server, Upstream};
use crate::telemetry::Telemetry;

/// The upstreams of the process.
pub struct Fleet {
    clock: Clock,
    telemetry: Arc<Telemetry>,
    all: Mutex<HashMap<Arc<str>, Entry>>,
}

/// What an upstream is now, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamState {
    /// Its name.
    pub name: Arc<str>,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait for one of these to end.
    pub waiting: usize,
    /// Its servers, by name.
    pub servers: Vec<ServerState>,
}

/// What a server is now, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Its URL.
    pub name: Arc<str>,
    /// Requests that run there.
    pub running: usize,
    /// Whether its health checks say that it is well, as they do before the first one.
    pub healthy: bool,
    /// Whether it is left out because it failed.
    pub ejected: bool,
}

impl ServerState {
    /// Whether it gets requests as long as another server is there.
    pub const fn is_fit(&self) -> bool {
        self.healthy && !self.ejected
    }
}

/// What an upstream's clusters of all threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) gate: Gate,
    pub(super) budget: Budget,
    /// Held while it is decided whether one more server may be left out.
    pub(super) leaving_out: Mutex<()>,
    turns: AtomicUsize,
}

impl Shared {
    /// The number of the next turn.
    pub(super) fn turn(&self) -> usize {
        self.turns.fetch_add(1, Relaxed)
    }
}

/// Time since the fleet began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Milliseconds, from 1 on.
    pub(super) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Seconds. From 100 on, so that the empty slots of a window are long past.
    pub(super) fn second(self) -> u32 {
        u32::try_from(self.0.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(100)
    }
}

struct Entry {
    shared: Arc<Shared>,
    servers: HashMap<Server, Arc<Condition>>,
}

impl Fleet {
    /// No upstream yet.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { clock: Clock(Instant::now()), telemetry, all: Mutex::default() }
    }

    /// What the upstreams of the route map in force are now, by name: none that it does not name, whoever still serves
    /// by an older one. The map is asked for here, so that no newer one comes between.
    pub fn states(&self, in_force: impl FnOnce() -> Arc<RouteMap>) -> Vec<UpstreamState> {
        // Declared first, so that a map that nobody else has any more is not freed while threads wait.
        let routes;
        let mut all = self.all();
        routes = in_force();
        self.keep(&mut all, &routes);
        let state = |(name, entry): (&Arc<str>, &Entry)| {
            let servers = entry.servers.values().map(|server| ServerState {
                name: Arc::clone(&server.server),
                running: server.running(),
                healthy: !server.is_sick(),
                ejected: server.is_out(),
            });
            let mut servers: Vec<_> = servers.collect();
            servers.sort_by(|one, other| one.name.cmp(&other.name));
            let gate = &entry.shared.gate;
            UpstreamState { name: Arc::clone(name), running: gate.running(), waiting: gate.waiting(), servers }
        };
        let mut states: Vec<_> = all.iter().map(state).collect();
        states.sort_by(|one, other| one.name.cmp(&other.name));
        states
    }

    /// Takes over the limits of the route map in force, and forgets the upstreams and servers that it does not name. What
    /// still runs on these ends as it began.
    pub(in crate::proxy) fn follow(&self, in_force: impl FnOnce() -> Arc<RouteMap>) -> Arc<RouteMap> {
        let mut all = self.all();
        // Asked for now: what a thread has entered by a newer map than one that is at hand would be forgotten, and that
        // thread would count for itself from then on.
        let routes = in_force();
        self.keep(&mut all, &routes);
        routes
    }

    fn keep(&self, all: &mut HashMap<Arc<str>, Entry>, routes: &RouteMap) {
        let named: BTreeMap<&Arc<str>, &Upstream> = routes
            .applications()
            .iter()
            .map(|application| (&application.upstream.id, &*application.upstream))
            .collect();
        all.retain(|id, _| named.contains_key(id));
        for upstream in named.into_values() {
            let entry = self.entry(all, upstream);
            entry.shared.gate.set_limit(upstream.limits.requests);
            entry.servers.retain(|server, _| upstream.servers.contains(server));
        }
    }

    /// A thread's view of an upstream.
    pub(super) fn cluster(&self, upstream: &Upstream) -> Cluster {
        let mut all = self.all();
        let entry = self.entry(&mut all, upstream);
        let servers = upstream.servers.iter().filter_map(|server| entry.servers.get(server).cloned());
        Cluster {
            shared: Arc::clone(&entry.shared),
            servers: servers.collect(),
            balance: upstream.balance,
            ejection: upstream.ejection,
            limits: upstream.limits,
            retries: upstream.retries,
            pools: RefCell::default(),
        }
    }

    /// Notes what the health checks of a server have come to; whether it is news.
    pub(in crate::proxy) fn checked(&self, upstream: &Upstream, server: &Server, healthy: bool) -> bool {
        let all = self.all();
        let condition = all.get(&upstream.id).and_then(|entry| entry.servers.get(server));
        condition.is_some_and(|condition| condition.checked(healthy))
    }

    fn entry<'a>(&self, all: &'a mut HashMap<Arc<str>, Entry>, upstream: &Upstream) -> &'a mut Entry {
        let entry = all.entry(Arc::clone(&upstream.id)).or_insert_with(|| {
            let shared = Shared {
                name: Arc::clone(&upstream.id),
                clock: self.clock,
                telemetry: Arc::clone(&self.telemetry),
                gate: Gate::new(upstream.limits.requests),
                budget: Budget::default(),
                leaving_out: Mutex::default(),
                turns: AtomicUsize::new(0),
            };
            Entry { shared: Arc::new(shared), servers: HashMap::new() }
        });
        for server in &upstream.servers {
            if !entry.servers.contains_key(server) {
                entry.servers.insert(server.clone(), Arc::new(Condition::new(&server.name)));
            }
        }
        entry
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fleet").field("upstreams", &self.all().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(ports: &[u16]) -> Upstream {
        let server = |port: &u16| Server::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        Upstream::plain("a", ports.iter().map(server).collect())
    }

    #[test]
    fn what_is_known_of_a_server_outlives_its_route_map() {
        let fleet = Fleet::new(Telemetry::new("0", false));
        let (old, new) = (upstream(&[1, 2]), upstream(&[2, 3]));
        fleet.cluster(&old);
        assert!(fleet.checked(&old, &old.servers[1], false));
        assert!(Arc::ptr_eq(&fleet.cluster(&old).servers[1], &fleet.cluster(&new).servers[0]));
        let all = fleet.all();
        let known = all["a"].servers.values().map(|server| (&*server.server, server.is_sick()));
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let expected = [(url(1), false), (url(2), true), (url(3), false)];
        assert_eq!(known.collect::<BTreeMap<_, _>>(), expected.iter().map(|(url, sick)| (&**url, *sick)).collect());
    }

    #[test]
    fn what_no_route_map_names_is_forgotten() {
        let fleet = Fleet::new(Telemetry::new("0", false));
        fleet.cluster(&upstream(&[1]));
        fleet.follow(Arc::default);
        assert!(fleet.all().is_empty());
        assert!(!fleet.checked(&upstream(&[1]), &upstream(&[1]).servers[0], false));
    }

    #[test]
    fn operators_see_nothing_of_what_a_thread_has_entered_by_an_older_route_map() {
        let fleet = Fleet::new(Telemetry::new("0", false));
        fleet.follow(Arc::default);
        fleet.cluster(&upstream(&[1]));
        assert_eq!(fleet.states(Arc::default), []);
    }

    #[test]
    fn the_route_map_in_force_is_asked_for_when_nothing_more_can_be_entered_by_another() {
        let fleet = Fleet::new(Telemetry::new("0", false));
        let locked = || assert!(fleet.all.try_lock().is_err());
        let in_force = || {
            locked();
            Arc::default()
        };
        fleet.follow(in_force);
        fleet.states(in_force);
    }
}
