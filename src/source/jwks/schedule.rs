//! When the keys of one issuer are fetched next.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::Intervals;

/// The times of one source: those in the background, and those on demand, each with a budget of its own. Tokens with
/// made-up keys use up what is on demand and never what is in the background.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the next fetch in the background is due.
    background: Instant,
    /// When the next fetch on demand is due, if one is wanted.
    wanted: Option<Instant>,
    /// When the last fetch on demand began.
    woken: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn new(start: Instant) -> Self {
        Self { background: start, wanted: None, woken: None, failures: 0 }
    }

    /// When the next fetch is due.
    pub(super) fn next(&self) -> Instant {
        self.wanted.map_or(self.background, |wanted| wanted.min(self.background))
    }

    /// A fetch begins. It serves whoever wanted one; it costs the budget on demand only if it is not due anyway.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.background > now {
            self.woken = Some(now);
        }
        self.wanted = None;
    }

    /// Nobody wants a fetch any more.
    pub(super) fn satisfied(&mut self) {
        self.wanted = None;
    }

    /// A fetch brought keys. The times in the background stay as they are, unless the fetch was one of them or put an
    /// end to failures.
    pub(super) fn succeeded(&mut self, now: Instant, intervals: &Intervals) {
        if self.background <= now || self.failures > 0 {
            self.background = now + intervals.refresh + jitter(intervals.refresh / 20);
        }
        self.failures = 0;
    }

    /// A fetch failed.
    pub(super) fn failed(&mut self, now: Instant, intervals: &Intervals) {
        let doubled = intervals.retry.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let pause = doubled.min(intervals.retry_longest);
        self.failures = self.failures.saturating_add(1);
        self.background = now + pause + jitter(pause / 10);
    }

    /// A file was looked at.
    pub(super) fn look_again(&mut self, now: Instant, intervals: &Intervals) {
        self.background = now + intervals.file;
    }

    /// Wants a fetch on demand: at once, or as soon as the last one is long enough ago.
    pub(super) fn wake(&mut self, now: Instant, intervals: &Intervals) {
        let earliest = self.woken.map_or(now, |last| now.max(last + intervals.wake));
        self.wanted = Some(self.wanted.map_or(earliest, |wanted| wanted.min(earliest)));
    }
}

/// A random duration below `most`.
fn jitter(most: Duration) -> Duration {
    let draw = RandomState::new().hash_one(0_u8) % 1024;
    most.saturating_mul(u32::try_from(draw).unwrap_or(0)) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(schedule: &Schedule, now: Instant) -> Duration {
        schedule.next().duration_since(now)
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_up_to_a_bound() {
        let (now, intervals) = (Instant::now(), Intervals::default());
        let mut schedule = Schedule::new(now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            schedule.failed(now, &intervals);
            let (least, most) = (Duration::from_secs(seconds), Duration::from_millis(seconds * 1100));
            assert!((least..=most).contains(&pause(&schedule, now)), "{seconds}: {:?}", pause(&schedule, now));
        }
        for _ in 0..100 {
            schedule.failed(now, &intervals);
        }
        assert!(pause(&schedule, now) <= Duration::from_secs(66));
        schedule.succeeded(now, &intervals);
        assert!(pause(&schedule, now) >= Duration::from_secs(3600));
        schedule.failed(now, &intervals);
        assert!(pause(&schedule, now) < Duration::from_secs(2), "a success starts the count afresh");
    }

    /// A schedule whose first fetch is over.
    fn fetched(start: Instant, intervals: &Intervals) -> Schedule {
        let mut schedule = Schedule::new(start);
        schedule.begin(start);
        schedule.succeeded(start, intervals);
        schedule
    }

    #[test]
    fn a_wake_is_served_at_once_and_the_next_when_the_cooldown_is_over() {
        let (start, intervals) = (Instant::now(), Intervals::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = fetched(start, &intervals);
        schedule.wake(at(10), &intervals);
        assert_eq!(schedule.next(), at(10), "the first fetch was in the background and costs nothing");
        schedule.begin(at(10));
        schedule.succeeded(at(11), &intervals);
        for second in [12, 20, 309] {
            schedule.wake(at(second), &intervals);
            assert_eq!(schedule.next(), at(310), "served late, but not forgotten");
        }
        schedule.begin(at(310));
        schedule.succeeded(at(311), &intervals);
        schedule.wake(at(700), &intervals);
        assert_eq!(schedule.next(), at(700));
    }

    #[test]
    fn wakes_neither_put_off_nor_use_up_the_fetches_in_the_background() {
        let (start, intervals) = (Instant::now(), Intervals::default());
        let mut schedule = fetched(start, &intervals);
        let due = schedule.next();
        let mut now = start;
        while now + intervals.wake < due {
            schedule.wake(now, &intervals);
            now = schedule.next();
            schedule.begin(now);
            schedule.succeeded(now, &intervals);
            now += Duration::from_secs(1);
        }
        assert_eq!(schedule.next(), due, "a fetch in the background comes as if nobody had woken");
        schedule.begin(due);
        schedule.succeeded(due, &intervals);
        schedule.wake(due, &intervals);
        assert!(schedule.next() <= due + intervals.wake, "and leaves the budget on demand as it was");
    }

    #[test]
    fn a_fetch_on_demand_that_fails_is_tried_again_soon() {
        let (start, intervals) = (Instant::now(), Intervals::default());
        let mut schedule = fetched(start, &intervals);
        schedule.wake(start, &intervals);
        schedule.begin(start);
        schedule.failed(start, &intervals);
        assert!(pause(&schedule, start) < Duration::from_secs(2));
        schedule.begin(schedule.next());
        schedule.succeeded(schedule.next(), &intervals);
        assert!(pause(&schedule, start) >= Duration::from_secs(3600));
    }
}
