//! What is known of one server by all threads: how many requests run there, what the health checks say, and whether it
//! is left out because it failed.
//!
//! A failure is a connection that does not come about, an answer that does not come in time, that is no HTTP, or that
//! breaks off. A status is none, not even 500: the server has answered, and what it says is between it and its client.
//! So many failures in a row leave the server out for a while, longer each time up to ten times; each time that passes
//! without a failure takes one repetition back. When the time is over, one request is let through, and all of them if
//! it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};

use crate::route::upstream::Ejection;

/// The longest time of being left out, in first times.
const LONGEST: u64 = 10;

/// What is known of one server. Moments are milliseconds of the fleet's clock, which begins at 1.
#[derive(Debug)]
pub(super) struct Condition {
    /// As logs name it.
    pub(super) server: Arc<str>,
    running: AtomicUsize,
    sick: AtomicBool,
    unanswered: AtomicU32,
    broken: AtomicU32,
    /// Until when it is left out; 0 while it is not.
    out_until: AtomicU64,
    /// Whether one request tries it.
    on_trial: AtomicBool,
    repetitions: AtomicU64,
    back_at: AtomicU64,
}

/// Whether a server should get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It should.
    Fit,
    /// The health checks say no.
    Sick,
    /// It is left out.
    Out,
    /// Its time is over: one request may try it.
    Due,
}

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// No answer began.
    Unanswered,
    /// An answer broke off.
    Broken,
}

impl Condition {
    /// A server that is not known to be anything but well.
    pub(super) fn new(server: &Arc<str>) -> Self {
        Self {
            server: Arc::clone(server),
            running: AtomicUsize::new(0),
            sick: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            broken: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            repetitions: AtomicU64::new(0),
            back_at: AtomicU64::new(0),
        }
    }

    /// How many requests run there.
    pub(super) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    /// One more request runs there.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, SeqCst);
    }

    /// One request less runs there.
    pub(super) fn end(&self) {
        self.running.fetch_sub(1, SeqCst);
    }

    /// The health checks have come to this; whether it is news.
    pub(super) fn checked(&self, healthy: bool) -> bool {
        self.sick.swap(!healthy, SeqCst) == healthy
    }

    /// Whether the health checks say no.
    pub(super) fn is_sick(&self) -> bool {
        self.sick.load(SeqCst)
    }

    /// Whether it is left out, be it until one request has tried it.
    pub(super) fn is_out(&self) -> bool {
        self.out_until.load(SeqCst) != 0
    }

    /// Whether it should get requests; the clock is read only where it counts.
    pub(super) fn state(&self, now: impl FnOnce() -> u64) -> State {
        match self.out_until.load(SeqCst) {
            _ if self.is_sick() => State::Sick,
            0 => State::Fit,
            until if until > now() || self.on_trial.load(SeqCst) => State::Out,
            _ => State::Due,
        }
    }

    /// Takes the trial; whether nobody else has it.
    pub(super) fn try_out(&self) -> bool {
        !self.on_trial.swap(true, SeqCst)
    }

    /// Gives the trial back undone.
    pub(super) fn untried(&self) {
        self.on_trial.store(false, SeqCst);
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        // Reading costs other threads nothing, writing does.
        if self.unanswered.load(SeqCst) != 0 {
            self.unanswered.store(0, SeqCst);
        }
    }

    /// An answer came to its end.
    pub(super) fn completed(&self) {
        if self.broken.load(SeqCst) != 0 {
            self.broken.store(0, SeqCst);
        }
    }

    /// A request failed; whether that makes enough failures in a row to leave the server out.
    pub(super) fn failed(&self, failure: Failure, ejection: Ejection) -> bool {
        let count = match failure {
            Failure::Unanswered => &self.unanswered,
            Failure::Broken => &self.broken,
        };
        let before = count.fetch_update(SeqCst, SeqCst, |count| Some(count.saturating_add(1))).unwrap_or(0);
        ejection.failures > 0 && before.saturating_add(1) >= ejection.failures
    }

    /// Leaves it out; for how long, in milliseconds. One caller at a time.
    pub(super) fn leave_out(&self, now: u64, ejection: Ejection) -> u64 {
        let first = u64::try_from(ejection.time.as_millis()).unwrap_or(u64::MAX).max(1);
        let quiet = now.saturating_sub(self.back_at.load(SeqCst)) / first;
        // On trial, it was never back.
        let quiet = if self.is_out() { 0 } else { quiet };
        let repetitions = (self.repetitions.load(SeqCst).saturating_sub(quiet) + 1).min(LONGEST);
        let time = first.saturating_mul(repetitions);
        self.repetitions.store(repetitions, SeqCst);
        self.unanswered.store(0, SeqCst);
        self.broken.store(0, SeqCst);
        self.out_until.store(now.saturating_add(time), SeqCst);
        self.on_trial.store(false, SeqCst);
        time
    }

    /// The time for which it is left out has passed.
    #[cfg(test)]
    pub(super) fn time_is_over(&self) {
        assert!(self.is_out());
        self.out_until.store(1, SeqCst);
    }

    /// It is back; whether it was out.
    pub(super) fn readmit(&self, now: u64) -> bool {
        self.back_at.store(now, SeqCst);
        let was_out = self.out_until.swap(0, SeqCst) != 0;
        self.on_trial.store(false, SeqCst);
        was_out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: Ejection = Ejection { failures: 3, time: Duration::from_secs(10), most: 50 };

    fn condition() -> Condition {
        Condition::new(&Arc::from("http://a:80"))
    }

    #[test]
    fn only_failures_in_a_row_leave_a_server_out() {
        let server = condition();
        for (failures, enough) in [(2, false), (2, false), (3, true)] {
            let last = (0..failures).map(|_| server.failed(Failure::Unanswered, RULE)).last();
            assert_eq!(last, Some(enough));
            server.answered();
        }
        // A head that is answered says nothing about a body that breaks off each time.
        for enough in [false, false, true] {
            server.answered();
            assert_eq!(server.failed(Failure::Broken, RULE), enough);
        }
        server.completed();
        assert!(!server.failed(Failure::Broken, RULE));
        let never = Ejection { failures: 0, ..RULE };
        assert!((0..100).all(|_| !server.failed(Failure::Unanswered, never)));
    }

    #[test]
    fn a_server_that_is_left_out_is_tried_by_one_request_when_its_time_is_over() {
        let server = condition();
        server.leave_out(1_000, RULE);
        assert_eq!(server.state(|| 10_999), State::Out);
        assert_eq!(server.state(|| 11_000), State::Due);
        assert!(server.try_out());
        assert!(!server.try_out(), "one at a time");
        assert_eq!(server.state(|| 11_000), State::Out, "for all others");
        server.untried();
        assert_eq!(server.state(|| 11_000), State::Due);
        assert!(server.readmit(11_000));
        assert_eq!(server.state(|| 11_000), State::Fit);
        assert!(!server.readmit(11_000));
    }

    #[test]
    fn each_repetition_takes_longer_and_quiet_times_take_it_back() {
        let server = condition();
        let mut now = 1_000;
        for times in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10] {
            assert_eq!(server.leave_out(now, RULE), times * 10_000);
            now += times * 10_000;
        }
        server.readmit(now);
        // Seven times of ten seconds without a failure.
        assert_eq!(server.leave_out(now + 75_000, RULE), 4 * 10_000);
        server.readmit(now + 200_000);
        assert_eq!(server.leave_out(now + 900_000, RULE), 10_000);
    }

    #[test]
    fn health_checks_and_failures_do_not_undo_each_other() {
        let server = condition();
        assert!(!server.checked(true), "that is no news");
        assert!(server.checked(false));
        server.leave_out(1_000, RULE);
        assert_eq!(server.state(|| 20_000), State::Sick);
        assert!(server.checked(true));
        assert_eq!(server.state(|| 20_000), State::Due);
        server.readmit(20_000);
        assert!(server.checked(false));
        assert_eq!(server.state(|| 20_000), State::Sick);
    }
}
