//! Which worker serves a connection: one that has few, whoever has accepted it.
//!
//! All workers listen on the same sockets, and the system gives a connection to whoever asks first: a worker that is
//! awake gets more of them than one that sleeps, and keeps them for as long as their clients stay. So whoever has accepted
//! a connection hands it over if it has clearly more than another (Envoy's exact balance of connections does it likewise).
//! The table is looked at when a connection comes, never for a request.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// By how many connections a worker may be ahead before it hands the next one over. To hand over costs some system
/// calls, and clients that come one after the other need none of it.
const AHEAD: usize = 1;
/// The most connections that wait for a worker to take them over. One that is late gets no more than these.
const WAITING: usize = 64;

/// How many connections each worker has. `T` is what is handed over.
pub(super) struct Shares<T>(Mutex<Vec<Arc<Share<T>>>>);

/// One worker's connections.
struct Share<T> {
    open: AtomicUsize,
    handed: mpsc::Sender<T>,
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
    /// One worker more, and what others hand over to it.
    pub(super) fn join(self: &Arc<Self>) -> (Member<T>, mpsc::Receiver<T>) {
        let (handed, inbox) = mpsc::channel(WAITING);
        let own = Arc::new(Share { open: AtomicUsize::new(0), handed });
        self.all().push(Arc::clone(&own));
        (Member { shares: Arc::clone(self), own }, inbox)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Share<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Member<T> {
    /// Counts a connection that this worker has accepted: for itself, or, as `Err`, for the one that is to get it.
    pub(super) fn count(&self) -> Result<Counted<T>, Counted<T>> {
        // Chosen and counted at once: in a burst, two would otherwise choose the same.
        let all = self.shares.all();
        let own = self.own.open.load(Relaxed);
        let least = all.iter().min_by_key(|share| share.open.load(Relaxed));
        match least.filter(|share| share.open.load(Relaxed).saturating_add(AHEAD) < own) {
            Some(least) => Err(Counted::of(least)),
            None => Ok(self.count_own()),
        }
    }

    /// Counts a connection that this worker serves, however many it has.
    pub(super) fn count_own(&self) -> Counted<T> {
        Counted::of(&self.own)
    }

    /// Leaves the others: nothing more is chosen for this worker.
    pub(super) fn leave(&self) {
        self.shares.all().retain(|share| !Arc::ptr_eq(share, &self.own));
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

    /// Hands something over to the worker for which it was counted; gives it back if that one is late or has left.
    pub(super) fn hand_over(self, make: impl FnOnce(Self) -> T) -> Result<(), T> {
        let handed = self.0.handed.clone();
        handed.try_send(make(self)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => back,
        })
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

    type Joined = (Member<Handed>, mpsc::Receiver<Handed>);

    fn workers(number: usize) -> (Arc<Shares<Handed>>, Vec<Joined>) {
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
            let mut kept: Vec<_> = (0..64).map(|_| all[0].0.count().unwrap_or_else(|other| other)).collect();
            assert_eq!(open(&shares).iter().sum::<usize>(), 64);
            assert!(apart(&shares) <= AHEAD + 1, "{shares:?}");
            // What one worker has lost, it gets again.
            let first = Arc::clone(&all[0].0.own);
            kept.retain(|counted| !Arc::ptr_eq(&counted.0, &first));
            while kept.len() < 64 {
                kept.push(all[number - 1].0.count().unwrap_or_else(|other| other));
                assert!(kept.len() < 64 || apart(&shares) <= AHEAD + 1, "{shares:?}");
            }
            drop(kept);
            assert_eq!(open(&shares), vec![0; number]);
        }
    }

    #[test]
    fn clients_that_come_one_after_the_other_stay_where_they_were_accepted() {
        let (_shares, all) = workers(4);
        for (worker, _) in &all {
            let two = [worker.count(), worker.count()];
            assert!(two.iter().all(Result::is_ok));
            assert!(worker.count().is_err());
        }
    }

    #[test]
    fn a_worker_that_is_late_gets_no_more_than_may_wait() {
        let (shares, all) = workers(2);
        let [(busy, _), (late, inbox)] = &all[..] else { panic!() };
        let _kept: Vec<_> = (0..2 * WAITING + 2).map(|_| busy.count_own()).collect();
        for _ in 0..WAITING {
            assert!(busy.count().err().unwrap().hand_over(Handed).is_ok());
        }
        let back = busy.count().err().unwrap().hand_over(Handed);
        assert!(Arc::ptr_eq(&back.err().unwrap().0.0, &late.own), "given back");
        assert_eq!((inbox.len(), open(&shares)), (WAITING, vec![2 * WAITING + 2, WAITING]));
    }

    #[test]
    fn a_worker_that_leaves_loses_nothing_that_was_handed_to_it_and_gets_nothing_more() {
        let (shares, mut all) = workers(2);
        let (leaving, mut inbox) = all.pop().unwrap();
        let (busy, _inbox) = all.pop().unwrap();
        let _kept = [(); 4].map(|()| busy.count_own());
        let [first, second] = [(); 2].map(|()| busy.count().err().unwrap());
        assert!(first.hand_over(Handed).is_ok());
        leaving.leave();
        inbox.close();
        assert!(second.hand_over(Handed).is_err(), "chosen before it left, and handed over after it");
        assert!(inbox.try_recv().is_ok());
        assert!(inbox.try_recv().is_err());
        let _more: Vec<_> = (0..10).map(|_| busy.count().ok().unwrap()).collect();
        assert_eq!(open(&shares), [14]);
    }
}
