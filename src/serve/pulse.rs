//! Whether the threads take their turns: each shows it by a count that goes up, and whoever looks after them compares.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// How often a thread shows that it takes turns.
const BEAT: Duration = Duration::from_secs(1);
/// For how long it may show nothing, at least.
const PATIENCE: Duration = Duration::from_secs(4);

/// What one thread shows.
#[derive(Debug, Default)]
pub(super) struct Beat(Arc<AtomicU64>);

impl Beat {
    /// Does the thread's work on its runtime and shows that it gets its turns meanwhile.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                _ = ticks.tick() => { self.0.fetch_add(1, Ordering::Relaxed); }
            }
        }
    }
}

/// A thread, as it was seen last.
#[derive(Debug)]
struct Seen {
    beat: Weak<AtomicU64>,
    count: u64,
    since: Instant,
}

/// What all threads show.
#[derive(Debug, Default)]
pub(super) struct Pulse(Vec<Seen>);

impl Pulse {
    /// One more thread, which begins now.
    pub(super) fn of_another(&mut self) -> Beat {
        let beat = Beat::default();
        self.0.push(Seen { beat: Arc::downgrade(&beat.0), count: 0, since: Instant::now() });
        beat
    }

    /// Whether each thread that has not ended took a turn within the time that `most` allows, as seen at `now`.
    pub(super) fn is_steady(&mut self, now: Instant, most: Duration) -> bool {
        let patience = most.max(PATIENCE);
        let mut steady = true;
        for seen in &mut self.0 {
            let Some(beat) = seen.beat.upgrade() else { continue };
            let count = beat.load(Ordering::Relaxed);
            if count != seen.count {
                (seen.count, seen.since) = (count, now);
            }
            steady &= now.saturating_duration_since(seen.since) <= patience;
        }
        steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_takes_no_turns_is_noticed_and_one_that_has_ended_is_not_missed() {
        let mut pulse = Pulse::default();
        let (one, other) = (pulse.of_another(), pulse.of_another());
        let begun = Instant::now();
        let mut steady_after = |seconds| pulse.is_steady(begun + Duration::from_secs(seconds), Duration::from_secs(10));
        assert!(steady_after(9), "they have only begun");
        one.0.fetch_add(1, Ordering::Relaxed);
        other.0.fetch_add(1, Ordering::Relaxed);
        assert!(steady_after(12));
        other.0.fetch_add(1, Ordering::Relaxed);
        assert!(steady_after(20));
        assert!(!steady_after(25), "one is stuck");
        one.0.fetch_add(1, Ordering::Relaxed);
        assert!(steady_after(26), "and goes on");
        drop(one);
        other.0.fetch_add(1, Ordering::Relaxed);
        assert!(steady_after(40));
    }

    #[test]
    fn work_that_waits_lets_the_thread_show_that_it_lives() {
        let mut pulse = Pulse::default();
        let beat = pulse.of_another();
        let shown = Arc::clone(&beat.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let done = runtime.block_on(beat.during(async move {
            while shown.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            "done"
        }));
        assert_eq!(done, "done");
        assert!(pulse.is_steady(Instant::now() + PATIENCE * 2, PATIENCE), "it has ended");
    }
}
