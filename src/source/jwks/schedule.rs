//! When the keys of one issuer are fetched next.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::Intervals;

/// The times of one issuer.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Instant,
    failures: u32,
    woken: Option<Instant>,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn new(start: Instant) -> Self {
        Self { next: start, failures: 0, woken: None }
    }

    /// When the next fetch is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A fetch brought keys.
    pub(super) fn succeeded(&mut self, now: Instant, intervals: &Intervals) {
        self.failures = 0;
        self.next = now + intervals.refresh + jitter(intervals.refresh / 20);
    }

    /// A fetch failed.
    pub(super) fn failed(&mut self, now: Instant, intervals: &Intervals) {
        let doubled = intervals.retry.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let pause = doubled.min(intervals.retry_longest);
        self.failures = self.failures.saturating_add(1);
        self.next = now + pause + jitter(pause / 10);
    }

    /// A file was looked at.
    pub(super) fn look_again(&mut self, now: Instant, intervals: &Intervals) {
        self.next = now + intervals.file;
    }

    /// Makes a fetch due at once, unless the last one that was asked for so is too short ago.
    pub(super) fn wake(&mut self, now: Instant, intervals: &Intervals) {
        if self.woken.is_none_or(|last| now.duration_since(last) >= intervals.wake) {
            self.woken = Some(now);
            self.next = now;
        }
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

    #[test]
    fn a_wake_counts_once_in_five_minutes_and_the_first_at_once() {
        let (start, intervals) = (Instant::now(), Intervals::default());
        let mut schedule = Schedule::new(start);
        schedule.succeeded(start, &intervals);
        schedule.wake(start, &intervals);
        assert_eq!(schedule.next(), start);
        schedule.succeeded(start, &intervals);
        let later = start + Duration::from_secs(299);
        schedule.wake(later, &intervals);
        assert!(pause(&schedule, later) > Duration::from_secs(3000), "too soon");
        let later = start + Duration::from_secs(300);
        schedule.wake(later, &intervals);
        assert_eq!(schedule.next(), later);
    }

    #[test]
    fn wakes_do_not_put_off_the_hourly_fetch() {
        let (start, intervals) = (Instant::now(), Intervals::default());
        let mut schedule = Schedule::new(start);
        schedule.succeeded(start, &intervals);
        let due = schedule.next();
        schedule.wake(start, &intervals);
        schedule.succeeded(start, &intervals);
        schedule.wake(start + Duration::from_secs(10), &intervals);
        assert!(schedule.next() <= due + intervals.refresh / 20);
    }
}
