//! The memory of verified tokens, shared by all threads and bounded.

use std::fmt;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::Verified;

/// What an entry weighs at least, in bytes: with it the bound on the weight is a bound on the number as well.
const ENTRY_BYTES: u64 = 2048;

/// Verified tokens by their full text. A hash alone is never trusted: the whole token is compared, so no token can
/// get the verdict of another. Tokens that were refused are not remembered, so nobody can fill the memory with them.
pub(super) struct Memory(moka::sync::Cache<Box<str>, Remembered, RandomState>);

/// One verified token. It is to be believed only while its window is open and the keys are those it was verified with.
#[derive(Clone)]
pub(super) struct Remembered {
    /// What the token says.
    pub(super) verified: Arc<Verified>,
    /// Generation of the key ring that it was verified with.
    pub(super) generation: u64,
}

impl Memory {
    /// Room for `entries` tokens of up to 2 KiB; a longer one counts as more, so that memory is bounded too.
    pub(super) fn new(entries: u64) -> Self {
        let cache = moka::sync::Cache::<Box<str>, Remembered>::builder()
            .max_capacity(entries.saturating_mul(ENTRY_BYTES))
            .weigher(|token, _| u32::try_from((token.len() as u64).max(ENTRY_BYTES)).unwrap_or(u32::MAX))
            .build_with_hasher(RandomState::default());
        Self(cache)
    }

    /// Finds a token without allocating.
    pub(super) fn find(&self, token: &str) -> Option<Remembered> {
        self.0.get(token)
    }

    /// Remembers a token.
    pub(super) fn keep(&self, token: &str, entry: Remembered) {
        self.0.insert(token.into(), entry);
    }

    /// Forgets a token.
    pub(super) fn forget(&self, token: &str) {
        self.0.invalidate(token);
    }
}

impl fmt::Debug for Memory {
    /// The number only: tokens are secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.0.entry_count())
    }
}
