//! The memory of verified tokens, shared by all threads and bounded.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use super::Verified;

/// What an entry takes beside its texts, in bytes: the token's copy, what it says, the tables that find it.
const OVERHEAD_BYTES: usize = mem::size_of::<Remembered>() + mem::size_of::<Verified>() + 256;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most tokens.
    pub entries: u64,
    /// Most bytes: the tokens and what they say.
    pub bytes: u64,
}

/// How often a token was known, and how many are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Tokens that were remembered and still to be believed.
    pub hits: u64,
    /// Tokens that had to be verified.
    pub misses: u64,
    /// Tokens that are remembered, roughly.
    pub entries: u64,
}

/// Verified tokens by their full text. A hash alone is never trusted: the whole token is compared, so no token can
/// get the verdict of another. Tokens that were refused are not remembered, so nobody can fill the memory with them.
pub(super) struct Memory {
    tokens: moka::sync::Cache<Box<str>, Arc<Remembered>, RandomState>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// One verified token. It is to be believed only while its window is open and the keys are those it was verified with.
pub(super) struct Remembered {
    /// What the token says.
    pub(super) verified: Arc<Verified>,
    /// The generation of each source of its issuer's keys, in their order.
    pub(super) generations: Box<[u64]>,
}

impl Memory {
    /// A memory with so much room. Every entry counts as its share of the bytes at least, so that the bound on bytes is
    /// one on the number as well.
    pub(super) fn new(room: Room) -> Self {
        let least = room.bytes.checked_div(room.entries).map_or(1, |share| share.max(1));
        let weigh = move |token: &str, entry: &Remembered| {
            let bytes = token.len() + OVERHEAD_BYTES + entry.verified.text_bytes() + 8 * entry.generations.len();
            u32::try_from((bytes as u64).max(least)).unwrap_or(u32::MAX)
        };
        let tokens = moka::sync::Cache::<Box<str>, Arc<Remembered>>::builder()
            .max_capacity(if room.entries == 0 { 0 } else { room.bytes })
            .weigher(move |token, entry| weigh(token, entry))
            .build_with_hasher(RandomState::default());
        Self { tokens, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Finds a token without allocating.
    pub(super) fn find(&self, token: &str) -> Option<Arc<Remembered>> {
        self.tokens.get(token)
    }

    /// Counts a look-up.
    pub(super) fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers a token.
    pub(super) fn keep(&self, token: &str, entry: Remembered) {
        self.tokens.insert(token.into(), Arc::new(entry));
    }

    /// Forgets a token.
    pub(super) fn forget(&self, token: &str) {
        self.tokens.invalidate(token);
    }

    /// What was counted so far.
    pub(super) fn lookups(&self) -> Lookups {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lookups { hits: read(&self.hits), misses: read(&self.misses), entries: self.tokens.entry_count() }
    }

    #[cfg(test)]
    fn settled(&self) -> (u64, u64) {
        self.tokens.run_pending_tasks();
        (self.tokens.entry_count(), self.tokens.weighted_size())
    }
}

impl fmt::Debug for Memory {
    /// The number only: tokens are secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.tokens.entry_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guid, PrincipalKey};
    use crate::token::{Class, Groups, IssuerId, Window};

    fn entry(roles: usize) -> Remembered {
        let verified = Verified {
            issuer: IssuerId(0),
            tenant: "t".into(),
            principal: PrincipalKey { tenant: Guid(1), object: Guid(2) },
            subject: "s".into(),
            class: Class::User,
            client: None,
            username: None,
            audiences: vec!["a".into()],
            roles: vec!["0123456789".into(); roles],
            groups: Groups::Unknown,
            token_id: None,
            issued_at: 0,
            takes_challenges: false,
            window: Window::default(),
        };
        Remembered { verified: Arc::new(verified), generations: Box::new([1]) }
    }

    /// Entries and bytes after so many tokens of this length.
    fn filled(room: Room, number: usize, length: usize, roles: usize) -> (u64, u64) {
        let memory = Memory::new(room);
        for token in 0..number {
            memory.keep(&format!("{token:0length$}"), entry(roles));
            memory.settled();
        }
        memory.settled()
    }

    #[test]
    fn the_number_and_the_bytes_are_bounded_whichever_is_reached_first() {
        let roomy = Room { entries: 10, bytes: 1 << 20 };
        assert_eq!(filled(roomy, 30, 100, 0).0, 10);
        let narrow = Room { entries: 1000, bytes: 100_000 };
        for (length, roles) in [(10_000, 0), (100, 500)] {
            let (entries, bytes) = filled(narrow, 30, length, roles);
            assert!(entries < 10 && bytes <= 100_000, "{entries} entries of {bytes} bytes");
            assert!(entries * 10_000 <= 100_000, "what a token says counts as the token does");
        }
        for nothing in [Room { entries: 0, bytes: 1000 }, Room { entries: 1000, bytes: 0 }] {
            assert_eq!(filled(nothing, 3, 10, 0).0, 0);
        }
    }
}
