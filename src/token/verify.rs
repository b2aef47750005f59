//! Verification of one token: the order of the checks, and the memory of verified tokens.

use std::sync::Arc;

use super::cache::{Memory, Remembered};
use super::claims;
use super::fault::{Fault, TokenFault, WantedKey};
use super::issuer::{Issuer, IssuerId, Issuers};
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

/// Verifies tokens and remembers them, shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    issuers: Issuers,
    pub(super) rules: Rules,
    memory: Memory,
}

impl Verifier {
    /// A verifier that remembers up to `cache_entries` tokens of ordinary size (2 KiB); longer ones count as more.
    pub fn new(issuers: Issuers, rules: Rules, cache_entries: u64) -> Self {
        Self { issuers, rules, memory: Memory::new(cache_entries) }
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
        if let Some(known) = self.memory.find(token)
            && known.generation == keys.generation()
        {
            if let Err(fault) = known.verified.window.check(now, self.rules.leeway) {
                self.memory.forget(token);
                return Err(fault.into());
            }
            return Ok(known.verified);
        }
        let verified = Arc::new(self.verify_afresh(token, keys, now)?);
        self.memory.keep(token, Remembered { verified: Arc::clone(&verified), generation: keys.generation() });
        Ok(verified)
    }

    /// All checks, the cheap ones first. Nothing of the payload but `iss` is used before the signature is verified,
    /// and `iss` only to choose among our own keys.
    pub(super) fn verify_afresh(&self, token: &str, keys: &KeyRing, now: u64) -> Result<Verified, TokenFault> {
        let segments = jose::segments(token)?;
        let header = jose::header(&segments.header)?;
        let (algorithm, kid) = jose::asked(&header, self.rules.algorithms)?;
        let payload = jose::payload(&segments.payload)?;
        let (id, issuer) = self.issuer(&payload)?;
        let (source, key) = key(keys, (id, issuer), kid)?;
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

/// Finds the key of this name among those of an issuer: its own first, then those of single applications.
pub(super) fn key<'k>(
    keys: &'k KeyRing,
    (id, issuer): (IssuerId, &Issuer),
    kid: &str,
) -> Result<(KeySourceId, &'k Key), TokenFault> {
    let mut sets = issuer.keys.iter().filter_map(|using| Some((using.source, keys.get(using.source)?)));
    if let Some(found) = sets.clone().find_map(|(source, set)| Some((source, set.find(kid)?))) {
        return Ok(found);
    }
    let wanted = WantedKey { issuer: id, kid: kid.into() };
    match sets.next() {
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
