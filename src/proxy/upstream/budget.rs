//! How many requests of an upstream may be tried again: a share of those of the last ten seconds, so that tries again
//! never become the load that keeps an upstream down.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The seconds that are looked back upon.
const SECONDS: usize = 10;
/// Tries again in these seconds that are allowed in any case, so that a quiet upstream can have some.
const FLOOR: u64 = 10;

/// The requests of one upstream and what was tried again of them, of all threads.
#[derive(Debug, Default)]
pub(super) struct Budget {
    asked: Window,
    again: Window,
}

impl Budget {
    /// One more request, in this second of any clock.
    pub(super) fn asked(&self, second: u32) {
        self.asked.add(second);
    }

    /// Whether one may be tried again; if so, it is counted. Threads that ask in the same moment may exceed the share
    /// by one each.
    pub(super) fn spend(&self, percent: u32, second: u32) -> bool {
        let most = FLOOR + self.asked.sum(second).saturating_mul(u64::from(percent)) / 100;
        let allowed = percent > 0 && self.again.sum(second) < most;
        if allowed {
            self.again.add(second);
        }
        allowed
    }
}

/// A count for each of the last seconds: the second in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Window([AtomicU64; SECONDS]);

impl Window {
    fn add(&self, second: u32) {
        let Some(slot) = self.0.get(second as usize % SECONDS) else { return };
        let add = |held: u64| match held >> 32 == u64::from(second) {
            true => Some(held.saturating_add(1)),
            false => Some(u64::from(second) << 32 | 1),
        };
        // It never refuses.
        let _ = slot.fetch_update(Relaxed, Relaxed, add);
    }

    fn sum(&self, second: u32) -> u64 {
        let held = self.0.iter().map(|slot| slot.load(Relaxed));
        let recent = |held: &u64| u64::from(second).checked_sub(held >> 32).is_some_and(|age| age < SECONDS as u64);
        held.filter(recent).map(|held| held & u64::from(u32::MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, percent: u32, second: u32) -> usize {
        (0..1000).take_while(|_| budget.spend(percent, second)).count()
    }

    #[test]
    fn a_quiet_upstream_may_try_a_few_again() {
        assert_eq!(spent(&Budget::default(), 20, 100), 10);
        assert_eq!(spent(&Budget::default(), 0, 100), 0, "none at all if that is what the setting says");
    }

    #[test]
    fn a_busy_upstream_may_try_a_share_again_and_seconds_pass() {
        let budget = Budget::default();
        for second in 100..110 {
            (0..50).for_each(|_| budget.asked(second));
        }
        assert_eq!(spent(&budget, 20, 109), 10 + 100);
        assert_eq!(spent(&budget, 20, 109), 0);
        // Five of these seconds are over, and so is nothing of what was spent.
        assert_eq!(spent(&budget, 20, 114), 0);
        // All is over.
        assert_eq!(spent(&budget, 20, 119), 10);
        assert_eq!(spent(&budget, 20, 140), 10);
    }
}
