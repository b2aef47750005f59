//! Which worker serves a connection: one that has few, whoever has accepted it.
//!
//! All workers listen on the same sockets, and the system gives a connection to whoever asks first: a worker that is
//! awake gets more of them than one that sleeps, and keeps them for as long as their clients stay. So whoever has accepted
//! a connection hands it over if it has clearly more than another (Envoy's exact balance of connections does it likewise).
//! A worker that does not come for what it was handed gets nothing more, and others take it back. The table is looked at
//! when a connection comes, never for a request.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// By how many connections a worker may be ahead before it hands the next one over, so two are never more than one more
/// than this apart. To hand over costs some system calls, and clients that come one after the other need none of it.
const AHEAD: usize = 1;
/// The most connections that wait for a worker to take them over.
const WAITING: usize = 64;
/// How long a connection waits for its worker before others may serve it.
const LATE: Duration = Duration::from_millis(50);

/// How many connections each worker has. `T` is what is handed over.
pub(super) struct Shares<T>(Mutex<Vec<Arc<Share<T>>>>);

/// One worker's connections.
struct Share<T> {
    open: AtomicUsize,
    inbox: Mutex<Inbox<T>>,
    told: Notify,
}

/// What was handed to a worker and waits for it.
struct Inbox<T> {
    waiting: VecDeque<T>,
    /// Since when the first of them does.
    since: Option<Instant>,
    /// The worker takes nothing more.
    closed: bool,
}

/// A worker among the others, until it is dropped.
pub(super) struct Member<T> {
    shares: Arc<Shares<T>>,
    own: Arc<Share<T>>,
}

/// One connection of a worker's share, until it is dropped.
pub(super) struct Counted<T>(Arc<Share<T>>);

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shares<T> {
    /// One worker more.
    pub(super) fn join(self: &Arc<Self>) -> Member<T> {
        let inbox = Mutex::new(Inbox { waiting: VecDeque::new(), since: None, closed: false });
        let own = Arc::new(Share { open: AtomicUsize::new(0), inbox, told: Notify::new() });
        self.all().push(Arc::clone(&own));
        Member { shares: Arc::clone(self), own }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Share<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Share<T> {
    fn inbox(&self) -> MutexGuard<'_, Inbox<T>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inbox<T> {
    fn is_late(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > LATE)
    }

    fn take(&mut self) -> VecDeque<T> {
        self.since = None;
        mem::take(&mut self.waiting)
    }
}

impl<T> Member<T> {
    /// Counts a connection that this worker has accepted: for itself, or, as `Err`, for the one that is to get it.
    pub(super) fn count(&self) -> Result<Counted<T>, Counted<T>> {
        // Chosen and counted at once: in a burst, two would otherwise choose the same.
        let all = self.shares.all();
        let own = self.own.open.load(Relaxed);
        let ready = all.iter().filter(|share| Arc::ptr_eq(share, &self.own) || !share.inbox().is_late());
        let least = ready.min_by_key(|share| share.open.load(Relaxed));
        match least.filter(|share| share.open.load(Relaxed).saturating_add(AHEAD) < own) {
            Some(least) => Err(Counted::of(least)),
            None => Ok(self.count_own()),
        }
    }

    /// Counts a connection that this worker serves, however many it has.
    pub(super) fn count_own(&self) -> Counted<T> {
        Counted::of(&self.own)
    }

    /// Waits until something is handed over.
    pub(super) async fn told(&self) {
        self.own.told.notified().await;
    }

    /// What was handed over.
    pub(super) fn take(&self) -> VecDeque<T> {
        self.own.inbox().take()
    }

    /// What others were handed and did not come for.
    pub(super) fn take_late(&self) -> Vec<T> {
        let all = self.shares.all().clone();
        let others = all.iter().filter(|share| !Arc::ptr_eq(share, &self.own));
        let late = others
            .filter_map(|share| Some(share.inbox()).filter(|inbox| inbox.is_late()).map(|mut inbox| inbox.take()));
        late.flatten().collect()
    }

    /// Leaves the others: nothing more is chosen for this worker, and nothing is handed to it.
    pub(super) fn leave(&self) {
        self.shares.all().retain(|share| !Arc::ptr_eq(share, &self.own));
        self.own.inbox().closed = true;
    }
}

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> Counted<T> {
    fn of(share: &Arc<Share<T>>) -> Self {
        share.open.fetch_add(1, Relaxed);
        Self(Arc::clone(share))
    }

    /// Hands something over to the worker for which it was counted; gives it back if too much waits for that one, or it
    /// has left.
    pub(super) fn hand_over(self, make: impl FnOnce(Self) -> T) -> Result<(), T> {
        let share = Arc::clone(&self.0);
        let made = make(self);
        let mut inbox = share.inbox();
        if inbox.closed || inbox.waiting.len() >= WAITING {
            return Err(made);
        }
        inbox.since.get_or_insert_with(Instant::now);
        inbox.waiting.push_back(made);
        drop(inbox);
        share.told.notify_one();
        Ok(())
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl<T> fmt::Debug for Shares<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = |share: &Arc<Share<T>>| share.open.load(Relaxed);
        out.debug_list().entries(self.all().iter().map(open)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed over: how it was counted, as in the gateway.
    struct Handed(Counted<Handed>);

    fn workers(number: usize) -> (Arc<Shares<Handed>>, Vec<Member<Handed>>) {
        let shares = Arc::new(Shares::default());
        let all = (0..number).map(|_| shares.join()).collect();
        (shares, all)
    }

    fn open(shares: &Shares<Handed>) -> Vec<usize> {
        shares.all().iter().map(|share| share.open.load(Relaxed)).collect()
    }

    fn apart(shares: &Shares<Handed>) -> usize {
        let open = open(shares);
        open.iter().max().unwrap() - open.iter().min().unwrap()
    }

    #[test]
    fn whoever_accepts_all_workers_get_the_same() {
        for number in [1, 2, 4] {
            let (shares, all) = workers(number);
            let mut kept: Vec<_> = (0..64).map(|_| all[0].count().unwrap_or_else(|other| other)).collect();
            assert_eq!(open(&shares).iter().sum::<usize>(), 64);
            assert!(apart(&shares) <= AHEAD + 1, "{shares:?}");
            // What one worker has lost, it gets again.
            let first = Arc::clone(&all[0].own);
            kept.retain(|counted| !Arc::ptr_eq(&counted.0, &first));
            while kept.len() < 64 {
                kept.push(all[number - 1].count().unwrap_or_else(|other| other));
                assert!(kept.len() < 64 || apart(&shares) <= AHEAD + 1, "{shares:?}");
            }
            drop(kept);
            assert_eq!(open(&shares), vec![0; number]);
        }
    }

    #[test]
    fn clients_that_come_one_after_the_other_stay_where_they_were_accepted() {
        let (_shares, all) = workers(4);
        for worker in &all {
            let two = [worker.count(), worker.count()];
            assert!(two.iter().all(Result::is_ok));
            assert!(worker.count().is_err());
        }
    }

    #[test]
    fn a_worker_that_is_late_gets_no_more_than_may_wait() {
        let (shares, all) = workers(2);
        let [busy, late] = &all[..] else { panic!() };
        let _kept: Vec<_> = (0..2 * WAITING + 2).map(|_| busy.count_own()).collect();
        for _ in 0..WAITING {
            assert!(busy.count().err().unwrap().hand_over(Handed).is_ok());
        }
        let back = busy.count().err().unwrap().hand_over(Handed);
        assert!(Arc::ptr_eq(&back.err().unwrap().0.0, &late.own), "given back");
        assert_eq!((late.take().len(), open(&shares)), (WAITING, vec![2 * WAITING + 2, WAITING]));
    }

    #[test]
    fn a_worker_that_leaves_loses_nothing_that_was_handed_to_it_and_gets_nothing_more() {
        let (shares, mut all) = workers(2);
        let leaving = all.pop().unwrap();
        let busy = all.pop().unwrap();
        let _kept = [(); 4].map(|()| busy.count_own());
        let [first, second] = [(); 2].map(|()| busy.count().err().unwrap());
        assert!(first.hand_over(Handed).is_ok());
        leaving.leave();
        assert!(second.hand_over(Handed).is_err(), "chosen before it left, and handed over after it");
        assert_eq!(leaving.take().len(), 1);
        let _more: Vec<_> = (0..10).map(|_| busy.count().ok().unwrap()).collect();
        assert_eq!(open(&shares), [14]);
    }

    #[test]
    fn what_a_worker_does_not_come_for_others_take_and_it_gets_nothing_more_until_it_comes() {
        let (_shares, all) = workers(3);
        let [busy, stuck, other] = &all[..] else { panic!() };
        let _kept = [(); 6].map(|()| (busy.count_own(), other.count_own()));
        assert!(busy.count().err().unwrap().hand_over(Handed).is_ok());
        assert!(other.take_late().is_empty(), "in time");
        assert!(Arc::ptr_eq(&busy.count().err().unwrap().0, &stuck.own));
        std::thread::sleep(LATE + Duration::from_millis(1));
        assert!(busy.count().is_ok(), "it has the fewest, but does not come");
        assert!(stuck.take_late().is_empty(), "its own is no other's");
        assert_eq!(other.take_late().len(), 1);
        assert!(busy.take_late().is_empty());
        assert!(Arc::ptr_eq(&busy.count().err().unwrap().0, &stuck.own), "nothing waits for it any more");
    }
}
