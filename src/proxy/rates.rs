//! How often anybody may ask: accounts for each client and each principal, shared by all workers.
//!
//! The arithmetic (GCRA) is that of `governor`; its own tables of keys grow with every key, so the table is ours. It
//! has a fixed number of slots, and where they are taken, the account with the least debt is forgotten. A flood of
//! addresses so costs no memory, cannot lock anybody out, and does not wipe out the accounts of those who ask too
//! often.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::settings::{ClientNetwork, Rate, Rates};
use crate::model::PrincipalKey;

/// Accounts that share a lock, among which a new one finds its slot.
const WAYS: usize = 8;
/// Such groups; with [`WAYS`], how many accounts are remembered: 65,536, which take 3 MiB at most.
const SETS: usize = 8 * 1024;

/// The accounts that gateway.yaml asks for; where it asks for none, nothing is looked up.
#[derive(Debug)]
pub(super) struct Limiters {
    client: Option<Limiter<ClientNetwork>>,
    principal: Option<Limiter<PrincipalKey>>,
    bad_tokens: Option<Limiter<ClientNetwork>>,
}

impl Limiters {
    /// All accounts are empty. `bad_tokens` is how many of one client are looked at in a second, 0 for all.
    pub(super) fn new(rates: Rates, bad_tokens: u32) -> Self {
        let bad_tokens = NonZeroU32::new(bad_tokens);
        let each_second = |requests| Rate { requests, per: Duration::from_secs(1), burst: requests };
        Self {
            client: rates.per_client.map(|rate| Limiter::new(rate, SETS)),
            principal: rates.per_principal.map(|rate| Limiter::new(rate, SETS)),
            bad_tokens: bad_tokens.map(each_second).map(|rate| Limiter::new(rate, SETS)),
        }
    }

    /// Counts a token of a client as a bad one, before anybody looks at it.
    ///
    /// # Errors
    /// It has sent too many; after how many seconds the next is looked at.
    pub(super) fn bad_token(&self, address: IpAddr) -> Result<(), u64> {
        self.bad_tokens.as_ref().map_or(Ok(()), |limiter| limiter.count(&ClientNetwork::from(address)))
    }

    /// Takes back what was counted for a token that was good.
    pub(super) fn good_token(&self, address: IpAddr) {
        if let Some(limiter) = &self.bad_tokens {
            limiter.take_back(&ClientNetwork::from(address));
        }
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// It asks too often; after how many seconds it may again.
    pub(super) fn client(&self, address: IpAddr) -> Result<(), u64> {
        self.client.as_ref().map_or(Ok(()), |limiter| limiter.count(&ClientNetwork::from(address)))
    }

    /// Counts a permitted request of a principal.
    ///
    /// # Errors
    /// It asks too often; after how many seconds it may again.
    pub(super) fn principal(&self, principal: &PrincipalKey) -> Result<(), u64> {
        self.principal.as_ref().map_or(Ok(()), |limiter| limiter.count(principal))
    }
}

/// Accounts by key, so many at most.
pub struct Limiter<K: Copy + Eq + Hash> {
    arithmetic: RateLimiter<K, Shared<K>, DefaultClock>,
    slots: Arc<Slots<K>>,
    /// What one request adds to the debt of an account.
    each: Duration,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// No account has any debt. The room is for eight accounts in each of so many sets.
    pub fn new(rate: Rate, sets: usize) -> Self {
        // No rate is so high that this is zero.
        let each = (rate.per / rate.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(rate.requests)).allow_burst(rate.burst);
        let slots = Arc::new(Slots::new(sets));
        let arithmetic = RateLimiter::new(quota, Shared(Arc::clone(&slots)), DefaultClock::default());
        Self { arithmetic, slots, each }
    }

    /// Counts one of `key`.
    ///
    /// # Errors
    /// Its account is full; after how many seconds the next is counted.
    pub fn count(&self, key: &K) -> Result<(), u64> {
        self.arithmetic.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(self.arithmetic.clock().now());
            // Rounded up: who comes back then is let in.
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
        })
    }

    /// Takes one back that was counted before.
    pub fn take_back(&self, key: &K) {
        self.slots.repay(key, self.each);
    }
}

impl<K: Copy + Eq + Hash> fmt::Debug for Limiter<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Limiter")
    }
}

/// One account: whose, and the moment at which it will be empty, in nanoseconds since the start.
type Slot<K> = Option<(K, u64)>;

/// A table of accounts that never grows.
struct Slots<K> {
    sets: Box<[Mutex<[Slot<K>; WAYS]>]>,
    /// Keyed from the operating system, so that nobody can choose keys that meet in one set.
    hasher: RandomState,
}

impl<K: Copy> Slots<K> {
    fn new(sets: usize) -> Self {
        Self { sets: (0..sets).map(|_| Mutex::new([None; WAYS])).collect(), hasher: RandomState::new() }
    }
}

impl<K: Copy + Eq + Hash> Slots<K> {
    /// The set of a key. Held for some comparisons; the only foreign code under it is arithmetic.
    fn set(&self, key: &K) -> Option<MutexGuard<'_, [Slot<K>; WAYS]>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 1).unwrap_or_default();
        let set = hash.checked_rem(self.sets.len()).and_then(|at| self.sets.get(at))?;
        Some(set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the debt of an account smaller, if it is still remembered.
    fn repay(&self, key: &K, by: Duration) {
        let Some(mut set) = self.set(key) else { return };
        let own = set.iter_mut().flatten().find(|(owner, _)| owner == key);
        if let Some((_, empty_at)) = own {
            *empty_at = empty_at.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

impl<K: Copy + Eq + Hash> StateStore for Slots<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(mut set) = self.set(key) else { return decide(None).map(|(outcome, _)| outcome) };
        let own = set.iter_mut().find(|slot| slot.is_some_and(|(owner, _)| owner == *key));
        let debt = |slot: &&mut Slot<K>| slot.map_or(0, |(_, empty_at)| empty_at);
        let (known, slot) = match own {
            Some(slot) => (slot.map(|(_, empty_at)| Nanos::from(empty_at)), Some(slot)),
            None => (None, set.iter_mut().min_by_key(debt)),
        };
        let (outcome, empty_at) = decide(known)?;
        if let Some(slot) = slot {
            *slot = Some((*key, empty_at.into()));
        }
        Ok(outcome)
    }
}

/// The same table for the arithmetic.
struct Shared<K>(Arc<Slots<K>>);

impl<K: Copy + Eq + Hash> StateStore for Shared<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, decide)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;

    use super::*;

    /// A limiter whose time stands still until it is moved.
    type Still = RateLimiter<u32, Slots<u32>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    fn rate(requests: u32, per: Duration, burst: u32) -> Rate {
        Rate { requests: NonZeroU32::new(requests).unwrap(), per, burst: NonZeroU32::new(burst).unwrap() }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn no_two_tables_put_keys_into_the_same_sets() {
        let (one, other) = (Slots::<u32>::new(4), Slots::<u32>::new(4));
        assert!((0..4).any(|key| one.hasher.hash_one(key) != other.hasher.hash_one(key)));
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_come_back() {
        let rates = Rates { per_client: Some(rate(10, HOUR, 3)), per_principal: None };
        let limiters = Limiters::new(rates, 0);
        let ask = |address: &str| limiters.client(address.parse().unwrap());
        let asked: Vec<_> = (0..4).map(|_| ask("192.0.2.1")).collect();
        assert_eq!(asked, [Ok(()), Ok(()), Ok(()), Err(360)]);
        assert_eq!(ask("192.0.2.2"), Ok(()), "another client");
        for (address, passes) in
            [("2001:db8::1", true), ("2001:db8::2", true), ("2001:db8::3", true), ("2001:db8::4", false)]
        {
            assert_eq!(ask(address).is_ok(), passes, "{address} is one of a /64");
        }
        assert_eq!(ask("2001:db8:0:1::1"), Ok(()), "another /64");
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let limiters = Limiters::new(Rates::default(), 0);
        assert!((0..10_000).all(|_| limiters.client("192.0.2.1".parse().unwrap()).is_ok()));
    }

    #[test]
    fn good_tokens_are_no_burden_and_bad_ones_are_counted_by_client() {
        let limiters = Limiters::new(Rates::default(), 3);
        let [bad, good] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        for _ in 0..1000 {
            assert_eq!(limiters.bad_token(good), Ok(()));
            limiters.good_token(good);
        }
        let asked: Vec<_> = (0..4).map(|_| limiters.bad_token(bad)).collect();
        assert_eq!(asked, [Ok(()), Ok(()), Ok(()), Err(1)]);
        limiters.good_token(bad);
        assert_eq!(limiters.bad_token(bad), Ok(()), "one of them was good");
        assert_eq!(limiters.bad_token(bad), Err(1));
        assert_eq!(limiters.bad_token(good), Ok(()), "another client");
    }

    #[test]
    fn an_account_fills_again_with_time() {
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(Duration::from_millis(100)).unwrap().allow_burst(NonZeroU32::new(2).unwrap());
        let limiter = Still::new(quota, Slots::new(1), clock.clone());
        let passed = |milliseconds| {
            clock.advance(Duration::from_millis(milliseconds));
            (0..5).filter(|_| limiter.check_key(&7).is_ok()).count()
        };
        assert_eq!([passed(1000), passed(0), passed(100), passed(50), passed(50), passed(900)], [2, 0, 1, 0, 1, 2]);
    }

    #[test]
    fn a_flood_of_keys_neither_grows_the_table_nor_frees_who_asks_too_often_nor_locks_others_out() {
        let quota = Quota::with_period(HOUR).unwrap().allow_burst(NonZeroU32::new(5).unwrap());
        let limiter = Still::new(quota, Slots::new(4), FakeRelativeClock::default());
        let (greedy, good) = (1_000_000, 1_000_001);
        while limiter.check_key(&greedy).is_ok() {}
        assert!(limiter.check_key(&good).is_ok());
        for key in 0..100_000 {
            assert!(limiter.check_key(&key).is_ok(), "a new client always has an account");
        }
        assert!(limiter.check_key(&greedy).is_err(), "the greatest debt is not forgotten");
        assert!(limiter.check_key(&good).is_ok());
        let slots = limiter.into_state_store();
        assert_eq!(slots.sets.len() * WAYS, 32);
    }
}
