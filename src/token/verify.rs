//! Verification of one token: the order of the checks, and the memory of verified tokens.

use std::sync::Arc;

use super::cache::{Memory, Remembered};
use super::fault::{Fault, TokenFault};
use super::issuer::{IssuerId, Issuers};
use super::jose::{self, Algorithm, Parts};
use super::jwk::Key;
use super::keys::KeyRing;
use super::{claims, issuer};
use crate::model::PrincipalKey;

/// Accepted signature algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    pub rs256: bool,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 section 3.4).
    pub es256: bool,
}

/// Checks that have a measure.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Seconds that the clocks of issuer and gateway may differ.
    pub leeway: u64,
    /// Longest believed time between `nbf` and `exp`, in seconds.
    pub max_lifetime: u64,
    /// Algorithms.
    pub algorithms: Algorithms,
}

/// What a verified token says.
#[derive(Debug)]
pub struct Verified {
    /// The issuer.
    pub issuer: IssuerId,
    /// Name of the tenant.
    pub tenant: Arc<str>,
    /// `tid` and `oid`.
    pub principal: PrincipalKey,
    /// `aud`, at least one. Whether one of them is the application's is for its gate to say.
    pub audiences: Vec<Box<str>>,
    /// `roles`.
    pub roles: Vec<Box<str>>,
    /// `preferred_username`, `upn` or `unique_name`: display only, printable ASCII only, else absent.
    pub username: Option<Box<str>>,
    /// `exp`, in Unix seconds.
    pub expires: u64,
}

/// Verifies tokens and remembers them, shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    issuers: Issuers,
    rules: Rules,
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
            if let Err(fault) = known.window.check(now, self.rules.leeway) {
                self.memory.forget(token);
                return Err(fault.into());
            }
            return Ok(known.verified);
        }
        let (verified, window) = self.verify_afresh(token, keys, now)?;
        let verified = Arc::new(verified);
        let entry = Remembered { verified: Arc::clone(&verified), window, generation: keys.generation() };
        self.memory.keep(token, entry);
        Ok(verified)
    }

    /// All checks, the cheap ones first. Nothing of the payload but `iss` is used before the signature is verified,
    /// and `iss` only to choose among our own keys.
    fn verify_afresh(&self, token: &str, keys: &KeyRing, now: u64) -> Result<(Verified, claims::Window), TokenFault> {
        let parts = jose::split(token, self.rules.algorithms)?;
        let (id, issuer) = self.issuer(&parts)?;
        let set = keys.get(id).ok_or(TokenFault::KeysUnavailable(id))?;
        let key = set.find(&parts.kid).ok_or(TokenFault::UnknownKey(id))?;
        if key.algorithm != parts.algorithm {
            return Err(Fault::KeyMismatch.into());
        }
        if key.issuer.as_ref().is_some_and(|text| !self.issuers.key_may_sign(text, issuer)) {
            return Err(Fault::KeyIssuer.into());
        }
        if !signature_fits(&parts, key) {
            let fault = if claims::is_for_graph(&parts.payload) { Fault::GraphToken } else { Fault::BadSignature };
            return Err(fault.into());
        }
        let claims = claims::check(&parts.payload, issuer, &self.rules, now)?;
        let verified = Verified {
            issuer: id,
            tenant: Arc::clone(&issuer.tenant),
            principal: claims.principal,
            audiences: claims.audiences,
            roles: claims.roles,
            username: claims.username,
            expires: claims.window.until,
        };
        Ok((verified, claims.window))
    }

    fn issuer(&self, parts: &Parts<'_>) -> Result<(IssuerId, &issuer::Issuer), Fault> {
        claims::issuer(&parts.payload)
            .and_then(|url| self.issuers.find(url))
            .and_then(|id| Some((id, self.issuers.get(id)?)))
            .ok_or(Fault::UnknownIssuer)
    }
}

fn signature_fits(parts: &Parts<'_>, key: &Key) -> bool {
    let algorithm = match parts.algorithm {
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
    };
    jsonwebtoken::crypto::verify(parts.signature, parts.signed.as_bytes(), &key.decoding, algorithm).unwrap_or(false)
}
