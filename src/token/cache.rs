//! The memory of verified tokens, shared by all threads and bounded.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    tokens: moka::sync::Cache<Arc<[u8]>, Arc<Remembered>, RandomState>,
    room: Room,
    /// What was counted by those who have no count of their own, or no longer.
    counts: Counts,
    /// The counts of the threads that look here for what they do not know themselves.
    threads: Mutex<Vec<Weak<Counts>>>,
}

/// One verified token. It is to be believed only while its window is open and the keys are those it was verified with.
pub(super) struct Remembered {
    /// The token itself.
    pub(super) token: Arc<[u8]>,
    /// What the token says.
    pub(super) verified: Arc<Verified>,
    /// The generation of each source of its issuer's keys, in their order.
    pub(super) generations: Box<[u64]>,
}

impl Remembered {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.token.len() + OVERHEAD_BYTES + self.verified.text_bytes() + size_of_val(&*self.generations)
    }
}

/// How often tokens were known. Of one thread, others only read it: the line that it is written to is nobody else's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counts {
    /// Counts a look-up of the one thread whose counts these are.
    pub(super) fn count(&self, hit: bool) {
        let counter = self.counter(hit);
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn counter(&self, hit: bool) -> &AtomicU64 {
        if hit { &self.hits } else { &self.misses }
    }

    fn read(&self) -> [u64; 2] {
        [true, false].map(|hit| self.counter(hit).load(Ordering::Relaxed))
    }
}

impl Memory {
    /// A memory with so much room. Every entry counts as its share of the bytes at least, so that the bound on bytes is
    /// one on the number as well.
    pub(super) fn new(room: Room) -> Self {
        let least = room.bytes.checked_div(room.entries).map_or(1, |share| share.max(1));
        let weigh = move |entry: &Remembered| u32::try_from((entry.bytes() as u64).max(least)).unwrap_or(u32::MAX);
        let tokens = moka::sync::Cache::<Arc<[u8]>, Arc<Remembered>>::builder()
            .max_capacity(if room.entries == 0 { 0 } else { room.bytes })
            .weigher(move |_, entry| weigh(entry))
            .build_with_hasher(RandomState::default());
        Self { tokens, room, counts: Counts::default(), threads: Mutex::default() }
    }

    /// How much is remembered at most.
    pub(super) const fn room(&self) -> Room {
        self.room
    }

    /// Finds a token without allocating.
    pub(super) fn find(&self, token: &[u8]) -> Option<Arc<Remembered>> {
        self.tokens.get(token)
    }

    /// Counts a look-up of nobody's in particular.
    pub(super) fn count(&self, hit: bool) {
        self.counts.counter(hit).fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers a token.
    pub(super) fn keep(&self, entry: &Arc<Remembered>) {
        self.tokens.insert(Arc::clone(&entry.token), Arc::clone(entry));
    }

    /// Takes note that a token is in use by somebody who did not have to look here: what is in use is to be the last that
    /// is forgotten.
    pub(super) fn is_in_use(&self, entry: &Arc<Remembered>) {
        if self.find(&entry.token).is_none() {
            self.keep(entry);
        }
    }

    /// Forgets a token.
    pub(super) fn forget(&self, token: &[u8]) {
        self.tokens.invalidate(token);
    }

    /// A count for one thread.
    pub(super) fn counts_of_thread(&self) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        self.threads().push(Arc::downgrade(&counts));
        counts
    }

    /// Takes the count of a thread over that counts no more.
    pub(super) fn take_over(&self, ended: &Arc<Counts>) {
        let mut threads = self.threads();
        threads.retain(|thread| thread.strong_count() > 0 && !thread.ptr_eq(&Arc::downgrade(ended)));
        for (hit, counted) in [true, false].into_iter().zip(ended.read()) {
            self.counts.counter(hit).fetch_add(counted, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub(super) fn lookups(&self) -> Lookups {
        let threads = self.threads();
        let counts = threads.iter().filter_map(Weak::upgrade).map(|counts| counts.read());
        let [hits, misses] = counts.fold(self.counts.read(), |[hits, misses], [more_hits, more_misses]| {
            [hits.wrapping_add(more_hits), misses.wrapping_add(more_misses)]
        });
        Lookups { hits, misses, entries: self.tokens.entry_count() }
    }

    /// Held for a few steps when a thread begins or ends and when operators ask, never for a request.
    fn threads(&self) -> MutexGuard<'_, Vec<Weak<Counts>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn entry(token: &str, roles: usize) -> Arc<Remembered> {
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
        Arc::new(Remembered {
            token: token.as_bytes().into(),
            verified: Arc::new(verified),
            generations: Box::new([1]),
        })
    }

    /// Entries and bytes after so many tokens of this length.
    fn filled(room: Room, number: usize, length: usize, roles: usize) -> (u64, u64) {
        let memory = Memory::new(room);
        for token in 0..number {
            memory.keep(&entry(&format!("{token:0length$}"), roles));
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
