//! How many requests of an upstream run in the whole process, and who waits for one of them to end: first come, first
//! served, on whatever thread.
//!
//! While nobody waits, coming and going is one step on a counter each. Who must wait is handed the place of one who
//! leaves, so that no newcomer takes it in between; only that hand-over locks.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// No place became free in time, or too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Full;

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Gate {
    limit: AtomicUsize,
    running: AtomicUsize,
    /// Those who wait and have not been handed a place. Written under the lock only.
    waiting: AtomicUsize,
    handing_over: Mutex<()>,
    /// The places that were handed over; only those who waited take from here.
    handed: Semaphore,
}

impl Gate {
    /// So many places, all free.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            handing_over: Mutex::default(),
            handed: Semaphore::new(0),
        }
    }

    /// From now on there are so many places. Those who are inside stay.
    pub(super) fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, SeqCst) != limit {
            while self.waiting() > 0 && self.take() {
                self.leave();
            }
        }
    }

    /// How many are inside.
    pub(super) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Takes a place if one is free and nobody waits for it. Whoever took it must [`leave`](Self::leave).
    pub(super) fn enter_now(&self) -> bool {
        self.waiting() == 0 && self.take()
    }

    /// Takes a place, after waiting for one for so long at most, with at most `queue` who wait. Whoever took one must
    /// [`leave`](Self::leave). Dropped while it waits, it does not wait any more.
    pub(super) async fn enter(&self, queue: usize, patience: Duration) -> Result<(), Full> {
        if self.enter_now() {
            return Ok(());
        }
        let mut queued = Queued::behind(self, queue)?;
        // Somebody may have left before this one was seen to wait.
        if self.take() {
            self.leave();
        }
        match timeout(patience, self.handed.acquire()).await {
            Ok(Ok(handed)) => {
                handed.forget();
                queued.served = true;
                Ok(())
            }
            _ => Err(Full),
        }
    }

    /// Gives a place up, to the first who waits.
    pub(super) fn leave(&self) {
        loop {
            if self.waiting() == 0 || self.running() > self.limit.load(SeqCst) {
                self.running.fetch_sub(1, SeqCst);
                // Who began to wait in this moment saw no free place.
                if self.waiting() == 0 || !self.take() {
                    return;
                }
            }
            let _handing_over = self.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
            if self.waiting.fetch_update(SeqCst, SeqCst, |waiting| waiting.checked_sub(1)).is_ok() {
                return self.handed.add_permits(1);
            }
        }
    }

    fn take(&self) -> bool {
        let limit = self.limit.load(SeqCst);
        self.running.fetch_update(SeqCst, SeqCst, |running| (running < limit).then_some(running + 1)).is_ok()
    }
}

/// One who waits.
struct Queued<'g> {
    gate: &'g Gate,
    served: bool,
}

impl<'g> Queued<'g> {
    fn behind(gate: &'g Gate, queue: usize) -> Result<Self, Full> {
        let _handing_over = gate.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
        let entered = gate.waiting.fetch_update(SeqCst, SeqCst, |waiting| (waiting < queue).then_some(waiting + 1));
        entered.map(|_| Self { gate, served: false }).map_err(|_| Full)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let handing_over = self.gate.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
        if self.gate.waiting.fetch_update(SeqCst, SeqCst, |waiting| waiting.checked_sub(1)).is_ok() {
            return;
        }
        // Everybody who waits was handed a place, this one too: it goes on to the next.
        let handed = self.gate.handed.try_acquire().map(|handed| handed.forget());
        drop(handing_over);
        if handed.is_ok() {
            self.gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    /// What comes of it without any wait: who has waited in vain is told the same as who may not wait.
    async fn at_once<T>(entering: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::ZERO, entering).await.ok()
    }

    #[test]
    fn places_and_the_queue_have_their_bounds() {
        run(async {
            let gate = Arc::new(Gate::new(2));
            assert_eq!((gate.enter(0, LONG).await, gate.enter(0, LONG).await), (Ok(()), Ok(())));
            assert_eq!(at_once(gate.enter(0, LONG)).await, Some(Err(Full)), "no queue");
            let waiting = Arc::clone(&gate);
            let waiting = spawn_local(async move { waiting.enter(1, LONG).await });
            yield_now().await;
            assert_eq!(at_once(gate.enter(1, LONG)).await, Some(Err(Full)), "the queue is full");
            gate.leave();
            assert_eq!(waiting.await.unwrap(), Ok(()));
            assert_eq!((gate.running(), gate.waiting()), (2, 0));
            assert_eq!(gate.enter(1, Duration::from_millis(5)).await, Err(Full), "in time");
            gate.leave();
            gate.leave();
            assert_eq!((gate.running(), gate.waiting()), (0, 0));
        });
    }

    #[test]
    fn who_came_first_goes_first_and_no_newcomer_overtakes() {
        run(async {
            let gate = Arc::new(Gate::new(1));
            gate.enter(9, LONG).await.unwrap();
            let served = Arc::new(Mutex::new(Vec::new()));
            let waiting: Vec<_> = (0..5)
                .map(|number| {
                    let (gate, served) = (Arc::clone(&gate), Arc::clone(&served));
                    spawn_local(async move {
                        gate.enter(9, LONG).await.unwrap();
                        served.lock().unwrap().push(number);
                        gate.leave();
                    })
                })
                .collect();
            yield_now().await;
            gate.leave();
            // The place belongs to the first who waits, though it does not run yet.
            gate.enter(9, LONG).await.unwrap();
            assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4]);
            for one in waiting {
                one.await.unwrap();
            }
        });
    }

    #[test]
    fn who_goes_away_while_waiting_leaves_the_queue_even_with_a_place_in_hand() {
        run(async {
            let gate = Arc::new(Gate::new(1));
            gate.enter(9, LONG).await.unwrap();
            let wait = || {
                let gate = Arc::clone(&gate);
                spawn_local(async move { gate.enter(9, LONG).await })
            };
            let (first, second, third) = (wait(), wait(), wait());
            yield_now().await;
            second.abort();
            yield_now().await;
            assert_eq!(gate.waiting(), 2);
            // Handed to the first and dropped before it ran: it is the third one's.
            gate.leave();
            first.abort();
            assert_eq!(third.await.unwrap(), Ok(()));
            // The same with nobody left to take it.
            let last = wait();
            yield_now().await;
            gate.leave();
            last.abort();
            assert!(last.await.unwrap_err().is_cancelled());
            assert_eq!((gate.running(), gate.waiting()), (0, 0));
            gate.enter(0, LONG).await.unwrap();
        });
    }

    #[test]
    fn a_higher_limit_lets_in_who_waits_and_a_lower_one_lets_in_nobody() {
        run(async {
            let gate = Arc::new(Gate::new(1));
            gate.enter(0, LONG).await.unwrap();
            let waiting = Arc::clone(&gate);
            let waiting = spawn_local(async move { waiting.enter(9, LONG).await });
            yield_now().await;
            gate.set_limit(2);
            assert_eq!(waiting.await.unwrap(), Ok(()));
            gate.set_limit(1);
            gate.leave();
            assert_eq!(at_once(gate.enter(0, LONG)).await, Some(Err(Full)), "one is inside still");
            gate.leave();
            assert_eq!(gate.enter(0, LONG).await, Ok(()));
        });
    }

    #[test]
    fn no_place_is_lost_or_made_between_threads() {
        let gate = Arc::new(Gate::new(3));
        let (inside, too_many) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (gate, inside, too_many) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&too_many));
                std::thread::spawn(move || {
                    run(async move {
                        let tasks: Vec<_> = (0..8)
                            .map(|task| {
                                let (gate, inside, too_many) = (gate.clone(), inside.clone(), too_many.clone());
                                spawn_local(async move {
                                    for turn in 0..200 {
                                        // Some give up at once, some in the middle, some get in.
                                        let patience =
                                            Duration::from_micros([0, 50, 5_000][(turn + task + thread) % 3]);
                                        if gate.enter(64, patience).await.is_ok() {
                                            let now = inside.fetch_add(1, SeqCst) + 1;
                                            too_many.fetch_or(now > 3, SeqCst);
                                            yield_now().await;
                                            inside.fetch_sub(1, SeqCst);
                                            gate.leave();
                                        }
                                    }
                                })
                            })
                            .collect();
                        for task in tasks {
                            task.await.unwrap();
                        }
                    });
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!too_many.load(SeqCst));
        assert_eq!((gate.running(), gate.waiting(), gate.handed.available_permits()), (0, 0, 0));
    }
}
