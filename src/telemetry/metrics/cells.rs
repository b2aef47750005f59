//! What one thread has counted. Only that thread writes here, so counting is an ordinary addition in memory that no other
//! thread writes; whoever renders reads along and adds the threads up.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::labels::{Outcome, Watched};
use crate::telemetry::record::Decision;

/// Upper bounds in microseconds for whole requests and upstream answers.
pub(super) const REQUEST_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    60_000_000,
];
/// Upper bounds in microseconds for decisions.
pub(super) const DECIDE_MICROS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 1_000, 10_000];

/// A number that one thread writes and all may read.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    /// Adds to it, in steps that are one only because nobody else writes.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes one away.
    pub(super) fn take(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    /// The number as it is now.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, by upper bounds.
#[derive(Debug)]
pub(super) struct Timings<const BOUNDS: usize> {
    within: [Tally; BOUNDS],
    longer: Tally,
    micros: Tally,
}

impl<const BOUNDS: usize> Default for Timings<BOUNDS> {
    fn default() -> Self {
        Self { within: [(); BOUNDS].map(|()| Tally::default()), longer: Tally::default(), micros: Tally::default() }
    }
}

impl<const BOUNDS: usize> Timings<BOUNDS> {
    /// Counts one that took so long.
    pub(super) fn observe(&self, bounds: &[u64; BOUNDS], micros: u64) {
        let fits = bounds.iter().zip(&self.within).find(|(bound, _)| micros <= **bound);
        fits.map_or(&self.longer, |(_, within)| within).add(1);
        self.micros.add(micros);
    }

    /// Whether nothing was counted yet.
    pub(super) fn is_empty(&self) -> bool {
        self.within.iter().chain([&self.longer]).all(|count| count.get() == 0)
    }
}

/// The timings of several threads, added up.
#[derive(Clone, Debug)]
pub(super) struct TimingsSum<const BOUNDS: usize> {
    /// How many took no longer than each bound, and longer than the one before.
    pub(super) within: [u64; BOUNDS],
    /// How many took longer than all bounds.
    pub(super) longer: u64,
    /// All that they took.
    pub(super) micros: u64,
}

impl<const BOUNDS: usize> Default for TimingsSum<BOUNDS> {
    fn default() -> Self {
        Self { within: [0; BOUNDS], longer: 0, micros: 0 }
    }
}

impl<const BOUNDS: usize> TimingsSum<BOUNDS> {
    /// Adds what one thread counted.
    pub(super) fn add(&mut self, timings: &Timings<BOUNDS>) {
        for (sum, within) in self.within.iter_mut().zip(&timings.within) {
            *sum += within.get();
        }
        self.longer += timings.longer.get();
        self.micros = self.micros.wrapping_add(timings.micros.get());
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.within.iter().sum::<u64>() + self.longer
    }
}

/// Requests that ended alike.
#[derive(Debug)]
pub(super) struct Requests {
    /// How.
    pub(super) outcome: Outcome,
    /// How many.
    pub(super) count: Tally,
}

impl Requests {
    /// Whether that is how requests of this route ended.
    pub(super) fn ended(&self, decision: Decision, reason: Option<&Cow<'static, str>>, class: u16) -> bool {
        self.outcome.decision == decision && self.outcome.class == class && self.outcome.reason.as_ref() == reason
    }
}

/// Requests that would have been refused alike.
#[derive(Debug)]
pub(super) struct Denials {
    /// How.
    pub(super) of: Watched,
    /// How many.
    pub(super) count: Tally,
}

/// Refused tokens of one cause.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Which.
    pub(super) cause: &'static str,
    /// How many.
    pub(super) count: Tally,
}

/// How long the requests of one application took.
#[derive(Debug)]
pub(super) struct Durations {
    /// Which; empty for those of none.
    pub(super) application: Arc<str>,
    /// From the head to the end of the answer.
    pub(super) whole: Timings<14>,
    /// From judged to the head of the upstream's answer.
    pub(super) upstream: Timings<14>,
}

/// Cells with labels, which others may read once they are told. Locked for as long as it takes to tell of one that is new
/// to its thread, or to copy the list of them.
#[derive(Debug)]
pub(super) struct Told<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Told<T> {
    /// Tells of a cell.
    pub(super) fn tell(&self, cell: T) -> Arc<T> {
        let cell = Arc::new(cell);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cell));
        cell
    }

    /// Those that were told of.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All cells of one thread, on cache lines that no other thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Cells {
    /// Open client connections.
    pub(super) connections: Tally,
    /// Client connections ever accepted.
    pub(super) accepted: Tally,
    /// How long judging took.
    pub(super) decide: Timings<10>,
    /// Requests by what became of them.
    pub(super) requests: Told<Requests>,
    /// How long they took, by application.
    pub(super) durations: Told<Durations>,
    /// Requests that would have been refused.
    pub(super) denials: Told<Denials>,
    /// Refused tokens.
    pub(super) refused: Told<Refusals>,
}
