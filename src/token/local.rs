//! The verified tokens that one thread has seen last, in front of the memory that all threads share: found without a
//! lock and without writing anything that another thread reads, at little more than the price of comparing the token.

use std::cell::RefCell;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::cache::{Counts, Remembered, Room};
use super::fault::TokenFault;
use super::issuer::Issuers;
use super::keys::KeyRing;
use super::verified::Verified;
use super::verify::{Verifier, Verify};

/// Tokens among which a new one finds its place.
const WAYS: usize = 8;
/// Most such sets; with [`WAYS`], how many tokens a thread knows at most: 32,768, so that 10,000 hardly ever crowd each
/// other out. The table itself then takes 1.3 MB.
const MOST_SETS: usize = 4096;
/// Most bytes of tokens, with what they say, that a thread holds on to.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// A thread holds on to at most this part of what all may remember. As a rule it shares its tokens with all others, and
/// what it holds takes no room; only what all others have forgotten does.
const SHARE: u64 = 8;
/// How much of a token's end is hashed: of verified tokens that is a signature, which differs from token to token.
const HASHED_BYTES: usize = 64;
/// How often the shared memory hears that a token is in use, as a power of two of seconds.
const TELL_EVERY: u32 = 4;

/// A [`Verifier`] for one thread, which remembers by itself what the thread has seen last.
///
/// What it remembers is believed on the same terms as what the verifier remembers: the whole token is compared, the keys
/// are those that it was verified with, and its time is checked each time. Whether it was revoked is for the snapshot to
/// say, each time as well.
pub struct LocalVerifier {
    shared: Arc<Verifier>,
    table: RefCell<Table>,
    counts: Arc<Counts>,
}

impl LocalVerifier {
    /// One that knows no token yet.
    pub fn new(shared: Arc<Verifier>) -> Self {
        let (table, counts) = (Table::new(shared.memory.room()), shared.memory.counts_of_thread());
        Self { shared, table: RefCell::new(table), counts }
    }

    /// The verifier behind it.
    pub const fn shared(&self) -> &Arc<Verifier> {
        &self.shared
    }
}

impl Verify for LocalVerifier {
    fn recall(&self, token: &[u8], keys: &KeyRing, now: u64) -> Option<Result<Arc<Verified>, TokenFault>> {
        let mut table = self.table.borrow_mut();
        let verdict = table.find(token, keys, now, &self.shared).or_else(|| {
            let known = self.shared.known(token, keys)?;
            let verdict = self.shared.at(&known.verified, now);
            table.keep(known, keys, now);
            Some(verdict)
        })?;
        self.counts.count(true);
        Some(verdict)
    }

    fn verify(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Arc<Verified>, TokenFault> {
        if let Some(verdict) = self.recall(token.as_bytes(), keys, now) {
            return verdict;
        }
        self.counts.count(false);
        let (known, timely) = self.shared.learn(token, keys, now)?;
        let verified = Arc::clone(&known.verified);
        self.table.borrow_mut().keep(known, keys, now);
        timely.map(|()| verified).map_err(TokenFault::from)
    }

    fn issuers(&self) -> &Issuers {
        self.shared.issuers()
    }
}

impl Drop for LocalVerifier {
    fn drop(&mut self) {
        self.shared.memory.take_over(&self.counts);
    }
}

impl fmt::Debug for LocalVerifier {
    /// The size only: tokens are secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes of tokens", self.table.borrow().bytes)
    }
}

/// Tokens by the hash of their ends: each has its set, and in a full set the one that was not asked for longest gives
/// way.
struct Table {
    hasher: RandomState,
    sets: Box<[Set]>,
    /// What the tokens take.
    bytes: usize,
    room: usize,
    /// Counts what was asked for, so that it can be said what was asked for longest ago.
    asked: u32,
    /// The set that is emptied next where there is no more room.
    hand: usize,
}

#[derive(Default)]
struct Set {
    /// Of those that are there. Of two tokens with one hash, only the later is.
    hashes: [u64; WAYS],
    tokens: [Option<Seen>; WAYS],
}

/// One token.
struct Seen {
    known: Arc<Remembered>,
    /// The keys, all in all, with which it was last seen to be as good as before.
    ring: u64,
    /// When it was last asked for.
    asked: u32,
    /// When the shared memory last heard of it.
    told: u32,
}

impl Table {
    fn new(room: Room) -> Self {
        let most = usize::try_from(room.entries).unwrap_or(usize::MAX).min(MOST_SETS * WAYS);
        let sets = if most == 0 { 0 } else { most.div_ceil(WAYS).next_power_of_two() };
        Self {
            hasher: RandomState::default(),
            sets: (0..sets).map(|_| Set::default()).collect(),
            bytes: 0,
            room: usize::try_from((room.bytes / SHARE).min(MOST_BYTES)).unwrap_or(usize::MAX),
            asked: 0,
            hand: 0,
        }
    }

    /// What comes of a token at `now`, if it is known and was verified with these keys.
    fn find(
        &mut self,
        token: &[u8],
        keys: &KeyRing,
        now: u64,
        shared: &Verifier,
    ) -> Option<Result<Arc<Verified>, TokenFault>> {
        let hash = self.hash(token);
        let set = self.sets.get_mut(hash as usize & self.sets.len().wrapping_sub(1))?;
        let at = set.hashes.iter().position(|known| *known == hash)?;
        let place = set.tokens.get_mut(at)?;
        let seen = place.as_mut().filter(|seen| *seen.known.token == *token)?;
        // Keys of other issuers may have changed, too.
        if seen.ring != keys.generation() {
            if !shared.holds(&seen.known, keys) {
                self.bytes -= seen.known.bytes();
                *place = None;
                return None;
            }
            seen.ring = keys.generation();
        }
        self.asked = self.asked.wrapping_add(1);
        seen.asked = self.asked;
        if seen.told != moment(now) {
            seen.told = moment(now);
            shared.memory.is_in_use(&seen.known);
        }
        Some(shared.at(&seen.known.verified, now))
    }

    /// Takes a token in that was verified with these keys.
    fn keep(&mut self, known: Arc<Remembered>, keys: &KeyRing, now: u64) {
        let (hash, bytes) = (self.hash(&known.token), known.bytes());
        if bytes > self.room {
            return;
        }
        while self.bytes + bytes > self.room {
            self.empty_one();
        }
        self.asked = self.asked.wrapping_add(1);
        let asked = self.asked;
        let Some(set) = self.sets.get_mut(hash as usize & self.sets.len().wrapping_sub(1)) else { return };
        let age = |place: &Option<Seen>| place.as_ref().map_or(u32::MAX, |seen| asked.wrapping_sub(seen.asked));
        let places = set.hashes.iter_mut().zip(&mut set.tokens);
        let place = places.max_by_key(|(known, place)| (**known == hash, age(place)));
        let Some((known_hash, place)) = place else { return };
        *known_hash = hash;
        let left = place.replace(Seen { known, ring: keys.generation(), asked, told: moment(now) });
        self.bytes = self.bytes + bytes - left.map_or(0, |left| left.known.bytes());
    }

    /// Gives the tokens of one set up.
    fn empty_one(&mut self) {
        self.hand = (self.hand + 1) & self.sets.len().wrapping_sub(1);
        let Some(set) = self.sets.get_mut(self.hand) else { return };
        let left = set.tokens.iter_mut().filter_map(Option::take);
        self.bytes -= left.map(|seen| seen.known.bytes()).sum::<usize>();
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let end = token.get(token.len().saturating_sub(HASHED_BYTES)..).unwrap_or_default();
        self.hasher.hash_one(end)
    }
}

/// A moment as far as it matters for telling the shared memory.
fn moment(now: u64) -> u32 {
    (now >> TELL_EVERY) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guid, PrincipalKey};
    use crate::token::{Algorithms, Class, Groups, IssuerId, Rules, Window};

    const RULES: Rules =
        Rules { leeway: 5, max_lifetime: 1000, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };

    fn verifier(entries: u64) -> Verifier {
        Verifier::new(Issuers::default(), RULES, entries)
    }

    fn known(token: &str, roles: usize) -> Arc<Remembered> {
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
            window: Window { not_before: 0, issued: 0, until: 1000 },
        };
        Arc::new(Remembered {
            token: token.as_bytes().into(),
            verified: Arc::new(verified),
            generations: Box::default(),
        })
    }

    /// The tokens that a table holds, and the bytes that it counts for them.
    fn held(table: &Table) -> (usize, usize) {
        let tokens = table.sets.iter().flat_map(|set| &set.tokens).flatten();
        let bytes: Vec<usize> = tokens.map(|seen| seen.known.bytes()).collect();
        assert_eq!(bytes.iter().sum::<usize>(), table.bytes, "what is counted is what is held");
        (bytes.len(), table.bytes)
    }

    #[test]
    fn the_number_and_the_bytes_are_bounded_whichever_is_reached_first() {
        let keys = KeyRing::empty(0);
        let many = 5 * WAYS * MOST_SETS / 4;
        for (room, length, roles, tokens, most, bytes) in [
            (Room { entries: 64, bytes: 1 << 30 }, 100, 0, 1000, 64, 1 << 20),
            (Room { entries: 1 << 40, bytes: 1 << 40 }, 10, 0, many, WAYS * MOST_SETS, MOST_BYTES),
            (Room { entries: 1 << 40, bytes: 1 << 40 }, 30_000, 0, 3000, 1100, MOST_BYTES),
            (Room { entries: 1 << 40, bytes: 8 * 100_000 }, 100, 500, 1000, 10, 100_000),
            (Room { entries: 1000, bytes: 0 }, 10, 0, 10, 0, 0),
            (Room { entries: 0, bytes: 1 << 20 }, 10, 0, 10, 0, 0),
        ] {
            let mut table = Table::new(room);
            for number in 0..tokens {
                table.keep(known(&format!("{number:0length$}"), roles), &keys, 0);
            }
            let (number, taken) = held(&table);
            assert!(number <= most && taken as u64 <= bytes, "{room:?}: {number} tokens of {taken} bytes");
            assert_eq!(number == 0, most == 0, "{room:?}");
        }
    }

    #[test]
    fn of_two_tokens_that_end_alike_none_gets_what_is_known_of_the_other() {
        let (keys, shared) = (KeyRing::empty(0), verifier(100));
        let mut table = Table::new(shared.memory.room());
        let end = "e".repeat(HASHED_BYTES);
        let (one, other) = (format!("one{end}"), format!("other{end}"));
        table.keep(known(&one, 0), &keys, 0);
        assert!(table.find(other.as_bytes(), &keys, 0, &shared).is_none());
        assert!(table.find(end.as_bytes(), &keys, 0, &shared).is_none());
        assert!(table.find(one.as_bytes(), &keys, 0, &shared).is_some(), "asking for another takes nothing away");
        table.keep(known(&other, 0), &keys, 0);
        assert!(table.find(other.as_bytes(), &keys, 0, &shared).is_some());
        assert_eq!(held(&table).0, 1);
    }

    #[test]
    fn in_a_full_set_the_token_that_was_not_asked_for_longest_gives_way() {
        let (keys, shared) = (KeyRing::empty(0), verifier(WAYS as u64));
        let mut table = Table::new(shared.memory.room());
        table.room = usize::MAX;
        let tokens: Vec<String> = (0..=WAYS).map(|number| format!("token {number}")).collect();
        for token in &tokens[..WAYS] {
            table.keep(known(token, 0), &keys, 0);
        }
        assert!(table.find(tokens[0].as_bytes(), &keys, 0, &shared).is_some());
        table.keep(known(&tokens[WAYS], 0), &keys, 0);
        let gone: Vec<_> =
            tokens.iter().filter(|token| table.find(token.as_bytes(), &keys, 0, &shared).is_none()).collect();
        assert_eq!(gone, [&tokens[1]]);
    }

    #[test]
    fn a_token_that_a_thread_uses_is_not_forgotten_by_all() {
        let (keys, shared) = (KeyRing::empty(0), verifier(100));
        let mut table = Table::new(shared.memory.room());
        table.keep(known("used", 0), &keys, 0);
        for (now, told) in [(1, false), (15, false), (16, true)] {
            assert!(table.find(b"used", &keys, now, &shared).is_some());
            assert_eq!(shared.memory.find(b"used").is_some(), told, "at {now}");
        }
    }

    #[test]
    fn what_threads_counted_is_counted_once_while_they_run_and_when_they_have_ended() {
        let (keys, shared) = (KeyRing::empty(0), Arc::new(verifier(100)));
        let [one, other] = [(); 2].map(|()| LocalVerifier::new(Arc::clone(&shared)));
        shared.memory.keep(&known("good", 0));
        let ask = |verifier: &LocalVerifier, token: &str| verifier.verify(token, &keys, 1).is_ok();
        assert!(ask(&one, "good") && ask(&one, "good") && ask(&other, "good") && !ask(&other, "bad"));
        let counted = |shared: &Verifier| (shared.lookups().hits, shared.lookups().misses);
        assert_eq!(counted(&shared), (3, 1));
        drop(other);
        assert_eq!(counted(&shared), (3, 1));
        drop(one);
        assert_eq!(counted(&shared), (3, 1));
    }
}
