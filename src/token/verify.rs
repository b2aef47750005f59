//! Verification of one token: the order of the checks, and the memory of verified tokens.

use std::sync::Arc;

use super::cache::{Lookups, Memory, Remembered, Room};
use super::claims;
use super::fault::{Fault, TokenFault, WantedKey};
use super::issuer::{Issuer, IssuerId, Issuers, KeyUse};
use super::jose::{self, Algorithm, Segments};
use super::jwk::Key;
use super::keys::{KeyRing, KeySourceId};
use super::strict::Object;
use super::verified::Verified;

/// Accepted signature algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    pub rs256: bool,
    /// RSASSA-PSS with SHA-256 (RFC 7518 section 3.5).
    pub ps256: bool,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 section 3.4).
    pub es256: bool,
}

/// Checks that have a measure.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Seconds that the clocks of issuer and gateway may differ.
    pub leeway: u64,
    /// Longest believed time between `nbf` or `iat` and `exp`, in seconds.
    pub max_lifetime: u64,
    /// Algorithms.
    pub algorithms: Algorithms,
}

/// What a token of ordinary size takes in the memory, in bytes, with what it says.
const ENTRY_BYTES: u64 = 2560;

/// Verifies tokens and remembers them, shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    issuers: Issuers,
    pub(super) rules: Rules,
    pub(super) memory: Memory,
}

/// Who verifies tokens: a [`Verifier`], or what stands in front of one.
pub trait Verify {
    /// What comes of a token at `now` (Unix seconds), if it takes no signature to say so; `None` if it must be
    /// verified. Any bytes may be asked about: none are remembered but those of tokens.
    fn recall(&self, token: &[u8], keys: &KeyRing, now: u64) -> Option<Result<Arc<Verified>, TokenFault>>;

    /// Verifies a token at `now` (Unix seconds), unless that is remembered.
    ///
    /// # Errors
    /// See [`TokenFault`].
    fn verify(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Arc<Verified>, TokenFault>;

    /// The issuers that are believed.
    fn issuers(&self) -> &Issuers;
}

impl Verify for Verifier {
    fn recall(&self, token: &[u8], keys: &KeyRing, now: u64) -> Option<Result<Arc<Verified>, TokenFault>> {
        let known = self.known(token, keys)?;
        self.memory.count(true);
        Some(self.at(&known.verified, now))
    }

    fn verify(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Arc<Verified>, TokenFault> {
        Self::verify(self, token, keys, now)
    }

    fn issuers(&self) -> &Issuers {
        Self::issuers(self)
    }
}

impl<V: Verify> Verify for Arc<V> {
    fn recall(&self, token: &[u8], keys: &KeyRing, now: u64) -> Option<Result<Arc<Verified>, TokenFault>> {
        V::recall(self, token, keys, now)
    }

    fn verify(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Arc<Verified>, TokenFault> {
        V::verify(self, token, keys, now)
    }

    fn issuers(&self) -> &Issuers {
        V::issuers(self)
    }
}

impl Verifier {
    /// A verifier that remembers up to `cache_entries` tokens of ordinary size; longer ones count as more.
    pub fn new(issuers: Issuers, rules: Rules, cache_entries: u64) -> Self {
        let room = Room { entries: cache_entries, bytes: cache_entries.saturating_mul(ENTRY_BYTES) };
        Self::with_room(issuers, rules, room)
    }

    /// A verifier that remembers as many tokens as `room` says.
    pub fn with_room(issuers: Issuers, rules: Rules, room: Room) -> Self {
        Self { issuers, rules, memory: Memory::new(room) }
    }

    /// How often tokens were remembered so far.
    pub fn lookups(&self) -> Lookups {
        self.memory.lookups()
    }

    /// The issuers.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Verifies a token at `now` (Unix seconds). A token that was verified before with the same keys costs a look-up;
    /// its time is checked each time.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Arc<Verified>, TokenFault> {
        if let Some(known) = self.known(token.as_bytes(), keys) {
            self.memory.count(true);
            return self.at(&known.verified, now);
        }
        self.memory.count(false);
        let (known, timely) = self.learn(token, keys, now)?;
        timely.map(|()| Arc::clone(&known.verified)).map_err(TokenFault::from)
    }

    /// A token that was verified before with these keys; whether its time has come is not looked at. One that was
    /// verified with other keys is forgotten.
    pub(super) fn known(&self, token: &[u8], keys: &KeyRing) -> Option<Arc<Remembered>> {
        let known = self.memory.find(token)?;
        if self.holds(&known, keys) {
            return Some(known);
        }
        self.memory.forget(token);
        None
    }

    /// Whether the keys that may sign for a token are those that it was verified with.
    pub(super) fn holds(&self, known: &Remembered, keys: &KeyRing) -> bool {
        self.generations(known.verified.issuer, keys).eq(known.generations.iter().copied())
    }

    /// What comes of a remembered token at `now`.
    pub(super) fn at(&self, verified: &Arc<Verified>, now: u64) -> Result<Arc<Verified>, TokenFault> {
        self.check_time(verified, now).map(|()| Arc::clone(verified))
    }

    /// Verifies a token that nobody remembers, and remembers it: also one whose time is over or has not come, if nothing
    /// else is wrong with it, for its client may come again and again.
    pub(super) fn learn(
        &self,
        token: &str,
        keys: &KeyRing,
        now: u64,
    ) -> Result<(Arc<Remembered>, Result<(), Fault>), TokenFault> {
        let (verified, timely) = self.verify_afresh(token, keys, now)?;
        let generations = self.generations(verified.issuer, keys).collect();
        let known = Arc::new(Remembered { token: token.as_bytes().into(), verified: Arc::new(verified), generations });
        self.memory.keep(&known);
        Ok((known, timely))
    }

    /// When a token is not believed any more, in Unix seconds.
    pub fn expires(&self, token: &Verified) -> u64 {
        token.window.until.saturating_add(self.rules.leeway)
    }

    /// Checks only the time of a token that was verified before.
    ///
    /// # Errors
    /// It is not valid at `now` (Unix seconds).
    pub fn check_time(&self, token: &Verified, now: u64) -> Result<(), TokenFault> {
        Ok(token.window.check(now, self.rules.leeway)?)
    }

    /// The generations of all keys that may sign for an issuer. While they stay, so does the outcome of a verification:
    /// keys of other issuers are never looked at.
    fn generations<'v>(&'v self, issuer: IssuerId, keys: &'v KeyRing) -> impl Iterator<Item = u64> + 'v {
        let sources = self.issuers.get(issuer).map_or(&[][..], |issuer| &issuer.keys);
        sources.iter().map(|using| keys.generation_of(using.source))
    }

    /// All checks, the cheap ones first; whether the time of a token has come stands beside what it says, because that
    /// alone changes while keys stay the same. Nothing of the payload but `iss` is used before the signature is verified,
    /// and `iss` only to choose among our own keys.
    pub(super) fn verify_afresh(
        &self,
        token: &str,
        keys: &KeyRing,
        now: u64,
    ) -> Result<(Verified, Result<(), Fault>), TokenFault> {
        let segments = jose::segments(token)?;
        let header = jose::header(&segments.header)?;
        let (algorithm, kid) = jose::asked(&header, self.rules.algorithms)?;
        let payload = jose::payload(&segments.payload)?;
        let (id, issuer) = self.issuer(&payload)?;
        let (source, key) = key(keys, (id, issuer), kid, &payload)?;
        self.key_fits(key, algorithm, issuer)?;
        signature(&segments, key, algorithm, &payload)?;
        Ok(claims::check(&payload, (id, issuer), source, &self.rules, now)?)
    }

    /// The issuer that a payload names.
    pub(super) fn issuer(&self, payload: &Object) -> Result<(IssuerId, &Issuer), Fault> {
        let id = self.issuers.find(claims::issuer(payload)?).ok_or(Fault::UnknownIssuer)?;
        Ok((id, self.issuers.get(id).ok_or(Fault::UnknownIssuer)?))
    }

    /// Whether a key may sign tokens of this algorithm and this issuer.
    pub(super) fn key_fits(&self, key: &Key, algorithm: Algorithm, issuer: &Issuer) -> Result<(), Fault> {
        if !key.is_for(algorithm) {
            return Err(Fault::KeyMismatch);
        }
        match &key.issuer {
            Some(text) if !self.issuers.key_may_sign(text, issuer) => Err(Fault::KeyIssuer),
            Some(_) | None => Ok(()),
        }
    }
}

/// Finds the key of this name among those of an issuer: its own first, then those of the application that the token is for,
/// so that no application can take another's name of a key. What `payload` says only chooses among keys of ours.
pub(super) fn key<'k>(
    keys: &'k KeyRing,
    (id, issuer): (IssuerId, &Issuer),
    kid: &str,
    payload: &Object,
) -> Result<(KeySourceId, &'k Key), TokenFault> {
    let found = |using: &KeyUse| Some((using.source, keys.get(using.source)?.find(kid)?));
    let is_meant = |using: &&KeyUse| claims::may_sign_for(using, &claims::audiences(payload).unwrap_or_default());
    let mut uses = issuer.keys.iter();
    if let Some(found) = uses.clone().filter(is_meant).find_map(found).or_else(|| uses.find_map(found)) {
        return Ok(found);
    }
    let wanted = WantedKey { issuer: id, kid: kid.into() };
    // Without the issuer's own keys nobody can say that they do not have it; those of an application say nothing of it.
    match issuer.keys.first().and_then(|own| keys.get(own.source)) {
        Some(_) => Err(TokenFault::UnknownKey(wanted)),
        None => Err(TokenFault::KeysUnavailable(wanted)),
    }
}

/// Whether the signature is that of the key.
pub(super) fn signature(
    segments: &Segments<'_>,
    key: &Key,
    algorithm: Algorithm,
    payload: &Object,
) -> Result<(), Fault> {
    if key.verifies(algorithm, segments.signed.as_bytes(), segments.signature) {
        Ok(())
    } else if claims::is_for_graph(payload) {
        Err(Fault::GraphToken)
    } else {
        Err(Fault::BadSignature)
    }
}
