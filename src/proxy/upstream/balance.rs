//! Which server of an upstream gets a request.
//!
//! `least_requests` takes two servers by chance and of these the one with fewer running requests: nearly as even as
//! the least of all, without every thread running to the same server. tower has this as `balance::p2c`, which does not
//! fit: it drives a changing set of ready services and erases their faults into a boxed error, so it could neither
//! tell a refused connection from a broken answer, nor leave out the servers that this request has tried, nor let one
//! request through for a trial; what is left of it to use is the choice below.
//!
//! If no server is fit, all are tried as if they were: a gateway that is wrong about its upstream must not be what
//! takes it down.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, PoisonError};

use super::condition::{Condition, Failure, State};
use super::fleet::Shared;
use super::pool::ServerPool;
use super::queue::Full;
use crate::proxy::numbers::Numbers;
use crate::route::upstream::{Balance, Ejection, Retries, UpstreamLimits};

/// One thread's view of an upstream of one route map: the rules are the map's own, what they work on is shared by all
/// threads.
pub(in crate::proxy) struct Cluster {
    pub(super) shared: Arc<Shared>,
    /// In the order of the upstream's own list.
    pub(super) servers: Vec<Arc<Condition>>,
    pub(super) balance: Balance,
    pub(super) ejection: Ejection,
    pub(super) limits: UpstreamLimits,
    pub(super) retries: Retries,
    /// Where each server's connections were found last, so that nobody looks for them by name each time.
    pub(super) pools: RefCell<Vec<Weak<ServerPool>>>,
}

impl Cluster {
    /// Takes a place among the requests that run, if one is free and nobody waits for it.
    pub(in crate::proxy) fn enter_now(self: &Rc<Self>) -> Option<Place> {
        self.shared.gate.enter_now().then(|| self.entered())
    }

    /// Takes a place among the requests that run, after waiting for one where that must be.
    pub(in crate::proxy) async fn enter(self: &Rc<Self>) -> Result<Place, Full> {
        let UpstreamLimits { queue, queue_time, .. } = self.limits;
        self.shared
            .gate
            .enter(queue, queue_time)
            .await
            .inspect_err(|_| self.shared.telemetry.upstream_shed(self.name()))?;
        Ok(self.entered())
    }

    fn entered(self: &Rc<Self>) -> Place {
        let place = Place { cluster: Rc::clone(self) };
        if self.retries.attempts > 0 {
            self.shared.budget.asked(self.shared.clock.second());
        }
        place
    }

    /// Whether a request that a server may have seen may be tried again; if so, that is counted.
    pub(in crate::proxy) fn may_repeat(&self) -> bool {
        self.shared.budget.spend(self.retries.budget, self.shared.clock.second())
    }

    /// A request is tried again.
    pub(in crate::proxy) fn repeats(&self) {
        self.shared.telemetry.upstream_retried(self.name());
    }

    /// The best server but those to `avoid`, if there is another.
    pub(in crate::proxy) fn pick(self: &Rc<Self>, numbers: &Numbers, avoid: &[usize]) -> Option<Visit> {
        let now = || self.shared.clock.now();
        let others = |index: &usize| !avoid.contains(index);
        let state = |index: usize| self.servers.get(index).map(|server| server.state(now));
        let all = 0..self.servers.len();
        let due = all.clone().filter(others).find(|index| {
            state(*index) == Some(State::Due) && self.servers.get(*index).is_some_and(|server| server.try_out())
        });
        if let Some(index) = due {
            return self.visit(index, Footing::Trial);
        }
        let fit = |index: &usize| others(index) && state(*index) == Some(State::Fit);
        if let Some(index) = self.choose(numbers, fit) {
            return self.visit(index, Footing::Fit);
        }
        self.choose(numbers, others).and_then(|index| self.visit(index, Footing::Last))
    }

    /// A certain server, whatever is known of it: one that somebody's connection goes to.
    pub(in crate::proxy) fn at(self: &Rc<Self>, index: usize) -> Option<Visit> {
        self.visit(index, Footing::Last)
    }

    fn choose(&self, numbers: &Numbers, may: impl Fn(&usize) -> bool) -> Option<usize> {
        let able = || (0..self.servers.len()).filter(&may);
        let count = able().count();
        let nth = |number: usize| able().nth(number);
        if count < 2 {
            return nth(0);
        }
        match self.balance {
            Balance::RoundRobin => nth(self.shared.turn() % count),
            Balance::LeastRequests => {
                let first = chance(numbers, count);
                let second = (first + 1 + chance(numbers, count - 1)) % count;
                let running = |index: usize| self.servers.get(index).map(|server| server.running());
                let (first, second) = (nth(first)?, nth(second)?);
                Some(if running(second) < running(first) { second } else { first })
            }
        }
    }

    fn visit(self: &Rc<Self>, index: usize, footing: Footing) -> Option<Visit> {
        self.servers.get(index)?.begin();
        Some(Visit { cluster: Rc::clone(self), index, footing: Cell::new(footing), place: None })
    }

    fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// Leaves a server out, unless too many are out already.
    fn leave_out(&self, server: &Condition, again: bool) {
        let _one_at_a_time = self.shared.leaving_out.lock().unwrap_or_else(PoisonError::into_inner);
        let out = self.servers.iter().filter(|server| server.is_out()).count();
        let most = self.servers.len() * self.ejection.most as usize / 100;
        let allowed = match again {
            true => server.is_out(),
            false => !server.is_out() && self.servers.len() > 1 && out < most,
        };
        if !allowed {
            return;
        }
        let time = server.leave_out(self.shared.clock.now(), self.ejection);
        self.shared.telemetry.upstream_ejected(self.name(), &server.server);
        tracing::warn!("upstream {}: server {} failed and is left out for {time} ms", self.name(), server.server);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// A number below `bound`. The remainder favours small ones by less than one in 2^32 as long as the bound is small.
fn chance(numbers: &Numbers, bound: usize) -> usize {
    usize::try_from(numbers.next() % (bound.max(1) as u64)).unwrap_or(0)
}

/// A place among the requests of an upstream; given up when dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Place {
    cluster: Rc<Cluster>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cluster.shared.gate.leave();
    }
}

/// On what footing a server was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Footing {
    /// It is fit.
    Fit,
    /// Its time of being left out is over, and this is the one request that tries it.
    Trial,
    /// No other is left.
    Last,
    /// That was so, and it has been settled.
    Settled,
}

/// One request at one server, from before it is connected to until the answer is gone.
#[derive(Debug)]
pub(in crate::proxy) struct Visit {
    cluster: Rc<Cluster>,
    /// Which server, in the upstream's own list.
    pub(in crate::proxy) index: usize,
    footing: Cell<Footing>,
    /// Kept as long as the visit, and given up after it.
    place: Option<Place>,
}

impl Visit {
    /// The request's place is held as long as the visit.
    pub(in crate::proxy) fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The head of an answer is there.
    pub(in crate::proxy) fn answered(&self) {
        let Some(server) = self.server() else { return };
        server.answered();
        let shared = &self.cluster.shared;
        if matches!(self.footing.replace(Footing::Settled), Footing::Trial | Footing::Last)
            && server.is_out()
            && server.readmit(shared.clock.now())
        {
            tracing::info!("upstream {}: server {} answers again", shared.name, server.server);
        }
    }

    /// The answer came to its end.
    pub(in crate::proxy) fn completed(&self) {
        if let Some(server) = self.server() {
            server.completed();
        }
    }

    /// The server failed.
    pub(in crate::proxy) fn failed(&self, failure: Failure) {
        let Some(server) = self.server() else { return };
        let enough = server.failed(failure, self.cluster.ejection);
        match self.footing.replace(Footing::Settled) {
            Footing::Trial => self.cluster.leave_out(server, true),
            // It is out already, or all are as bad.
            Footing::Last => {}
            Footing::Fit | Footing::Settled if enough => self.cluster.leave_out(server, false),
            Footing::Fit | Footing::Settled => {}
        }
    }

    /// The connections of this thread to the server; `find` looks for them.
    pub(super) fn pool(&self, find: impl FnOnce() -> Rc<ServerPool>) -> Rc<ServerPool> {
        let mut pools = self.cluster.pools.borrow_mut();
        if let Some(pool) = pools.get(self.index).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = find();
        if pools.len() <= self.index {
            pools.resize_with(self.index + 1, Weak::new);
        }
        if let Some(place) = pools.get_mut(self.index) {
            *place = Rc::downgrade(&pool);
        }
        pool
    }

    fn server(&self) -> Option<&Condition> {
        self.cluster.servers.get(self.index).map(|server| &**server)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(server) = self.server() else { return };
        server.end();
        if self.footing.get() == Footing::Trial {
            server.untried();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::upstream::Fleet;
    use crate::route::{Server, Upstream};
    use crate::telemetry::Telemetry;

    fn cluster(servers: u16, change: impl FnOnce(&mut Upstream)) -> Rc<Cluster> {
        let server = |port| Server::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let mut upstream = Upstream::plain("a", (1..=servers).map(server).collect());
        change(&mut upstream);
        Rc::new(Fleet::new(Telemetry::new("0", false)).cluster(&upstream))
    }

    /// Where so many requests go that are each over before the next.
    fn picked(cluster: &Rc<Cluster>, times: usize) -> Vec<usize> {
        let numbers = Numbers::seeded();
        (0..times).map(|_| cluster.pick(&numbers, &[]).unwrap().index).collect()
    }

    fn fails(cluster: &Rc<Cluster>, index: usize, times: usize) {
        for _ in 0..times {
            cluster.visit(index, Footing::Fit).unwrap().failed(Failure::Unanswered);
        }
    }

    #[test]
    fn in_turn_means_each_after_the_other() {
        let cluster = cluster(3, |upstream| upstream.balance = Balance::RoundRobin);
        assert_eq!(picked(&cluster, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn of_two_servers_the_one_with_fewer_requests_is_chosen() {
        let (cluster, numbers) = (cluster(2, |_| ()), Numbers::seeded());
        let mut running: Vec<_> = (0..10).map(|_| cluster.pick(&numbers, &[]).unwrap()).collect();
        assert_eq!(cluster.servers.iter().map(|server| server.running()).collect::<Vec<_>>(), [5, 5]);
        running.retain(|visit| visit.index == 1);
        assert!(picked(&cluster, 20).iter().all(|index| *index == 0));
        drop(running);
        assert!(cluster.servers.iter().all(|server| server.running() == 0));
    }

    #[test]
    fn all_servers_get_their_share_by_chance() {
        let mut counts = [0_u32; 4];
        picked(&cluster(4, |_| ()), 4000).into_iter().for_each(|index| counts[index] += 1);
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_server_that_was_tried_is_not_picked_again() {
        let (cluster, numbers) = (cluster(2, |_| ()), Numbers::seeded());
        assert!((0..20).all(|_| cluster.pick(&numbers, &[1]).unwrap().index == 0));
        assert!(cluster.pick(&numbers, &[0, 1]).is_none());
        assert!(cluster.servers.iter().all(|server| server.running() == 0));
    }

    #[test]
    fn a_server_that_fails_is_left_out_then_tried_once_and_back() {
        let cluster = cluster(2, |upstream| upstream.ejection.time = Duration::from_secs(3600));
        let numbers = Numbers::seeded();
        fails(&cluster, 0, 4);
        assert!(!cluster.servers[0].is_out());
        fails(&cluster, 0, 1);
        assert!(picked(&cluster, 20).iter().all(|index| *index == 1));
        cluster.servers[0].time_is_over();
        let trial = cluster.pick(&numbers, &[]).unwrap();
        assert_eq!(trial.index, 0);
        assert!(picked(&cluster, 20).iter().all(|index| *index == 1), "one request tries it");
        drop(trial);
        let trial = cluster.pick(&numbers, &[]).unwrap();
        assert_eq!(trial.index, 0, "a trial without an outcome is none");
        trial.failed(Failure::Unanswered);
        drop(trial);
        assert!(picked(&cluster, 20).iter().all(|index| *index == 1), "left out once more");
        cluster.servers[0].time_is_over();
        cluster.pick(&numbers, &[]).unwrap().answered();
        assert!(!cluster.servers[0].is_out());
    }

    #[test]
    fn never_too_many_are_left_out_and_never_the_only_one() {
        for (servers, most, out) in
            [(1, 100, 0), (2, 50, 1), (3, 50, 1), (4, 50, 2), (4, 100, 4), (4, 0, 0), (9, 10, 0)]
        {
            let cluster = cluster(servers, |upstream| upstream.ejection.most = most);
            (0..usize::from(servers)).for_each(|index| fails(&cluster, index, 20));
            let count = cluster.servers.iter().filter(|server| server.is_out()).count();
            assert_eq!(count, out, "{servers} servers, {most} percent");
        }
    }

    #[test]
    fn without_a_fit_server_all_are_tried_and_an_answer_brings_one_back() {
        let cluster = cluster(2, |upstream| upstream.ejection.most = 100);
        fails(&cluster, 0, 5);
        fails(&cluster, 1, 5);
        assert!((0..2).all(|index| picked(&cluster, 50).contains(&index)));
        let numbers = Numbers::seeded();
        cluster.pick(&numbers, &[1]).unwrap().answered();
        assert_eq!(cluster.servers.iter().map(|server| server.is_out()).collect::<Vec<_>>(), [false, true]);
        cluster.servers[0].checked(false);
        assert!((0..2).all(|index| picked(&cluster, 50).contains(&index)));
    }
}
