//! A histogram of times with a bounded relative error.

/// Sub-buckets of each power of two: the error of a percentile is below 1/64.
const SUB: u64 = 64;
/// Up to 2^42 nanoseconds, more than an hour.
const POWERS: u64 = 42;

/// Counts of times in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
    largest: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { counts: vec![0; usize::try_from(SUB * POWERS).expect("a small number")], total: 0, sum: 0, largest: 0 }
    }

    /// Counts one time.
    pub fn add(&mut self, nanos: u64) {
        let at = bucket(nanos).min(self.counts.len() - 1);
        self.counts[at] += 1;
        self.total += 1;
        self.sum += nanos;
        self.largest = self.largest.max(nanos);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The mean in microseconds.
    pub fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum as f64 / self.total as f64 / 1000.0 }
    }

    /// The largest in microseconds.
    pub fn largest(&self) -> f64 {
        self.largest as f64 / 1000.0
    }

    /// The time in microseconds below or at which `share` (0 to 1) of all lie; 0 of an empty one.
    pub fn percentile(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (middle(at) as f64 / 1000.0).min(self.largest());
            }
        }
        0.0
    }
}

/// The bucket of a time: values below `2 * SUB` have one each, then `SUB` for each power of two.
fn bucket(nanos: u64) -> usize {
    let power = (64 - nanos.leading_zeros() as u64).saturating_sub(u64::from(SUB.trailing_zeros()) + 1);
    usize::try_from(power * SUB + (nanos >> power)).unwrap_or(usize::MAX)
}

/// The middle of a bucket.
fn middle(at: usize) -> u64 {
    let at = at as u64;
    if at < 2 * SUB {
        return at;
    }
    let power = at / SUB - 1;
    let low = (at - power * SUB) << power;
    low + (1 << power) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_times_within_a_sixty_fourth() {
        for nanos in (0..5_000).chain([65_535, 65_536, 1_000_000, 999_999_999, 60_000_000_000]) {
            let near = middle(bucket(nanos));
            assert!(near.abs_diff(nanos) <= nanos / 64 + 1, "{nanos} became {near}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Histogram::new();
        (1..=1000).for_each(|n| times.add(n * 1000));
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = times.percentile(share);
            assert!((found - micros).abs() <= micros / 60.0, "{share}: {found}");
        }
        assert_eq!(times.largest(), 1000.0);
        assert_eq!(Histogram::new().percentile(0.5), 0.0);
    }
}
