//! Random numbers that name requests and spans, choose servers and spread what would else happen at once.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Random numbers for names of requests: xoshiro256++, seeded from the operating system. Unlikely to repeat, fast, and
/// not for secrets.
#[derive(Debug)]
pub(super) struct Numbers(Cell<[u64; 4]>);

impl Numbers {
    /// A generator of its own for each thread.
    pub(super) fn seeded() -> Self {
        // The standard library takes the keys of its hashers from the operating system.
        let seed = RandomState::new();
        Self(Cell::new([0, 1, 2, 3].map(|part: u64| seed.hash_one(part))))
    }

    /// The next number.
    pub(super) fn next(&self) -> u64 {
        let [a, b, c, d] = self.0.get();
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c1, d1) = (c ^ a, d ^ b);
        self.0.set([a ^ d1, b ^ c1, c1 ^ (b << 17), d1.rotate_left(45)]);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_follow_the_published_generator() {
        // The first outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let numbers = Numbers(Cell::new([1, 2, 3, 4]));
        let first: Vec<u64> = (0..4).map(|_| numbers.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn two_threads_do_not_name_their_requests_alike() {
        let (one, other) = (Numbers::seeded(), Numbers::seeded());
        let seen: HashSet<u64> = (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(seen.len(), 2000);
    }
}
