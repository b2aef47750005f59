//! Verification of one token, and the memory of verified ones.
use super::{IssuerId, Issuers, KeyRing};
use crate::model::PrincipalKey;
use std::sync::Arc;
/// Accepted signature algorithms.
#[derive(Clone, Copy, Debug)]
pub struct Algorithms {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub rs256: bool,
    /// ECDSA with P-256 and SHA-256.
    pub es256: bool,
}
/// Checks that have a measure.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Seconds that clocks may differ.
    pub leeway: u64,
    /// Longest believed lifetime in seconds.
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
    /// `aud`.
    pub audiences: Vec<Box<str>>,
    /// `roles`.
    pub roles: Vec<Box<str>>,
    /// `preferred_username` or `upn`/`unique_name`: display only, printable ASCII only, else absent.
    pub username: Option<Box<str>>,
    /// `exp`.
    pub expires: u64,
}
/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Not one of ours; the word goes to the log only (`expired`, `bad_signature`, ...).
    Invalid(&'static str),
    /// The issuer's keys do not have the `kid`: it may be new.
    UnknownKey(IssuerId),
    /// The issuer's keys have never been fetched.
    KeysUnavailable(IssuerId),
}
/// Verifies tokens and remembers them, shared by all threads.
#[derive(Debug)]
pub struct Verifier {}
impl Verifier {
    /// A verifier that remembers up to `cache_entries` tokens.
    pub fn new(_issuers: Issuers, _rules: Rules, _cache_entries: u64) -> Self {
        todo!()
    }
    /// The issuers.
    pub fn issuers(&self) -> &Issuers {
        todo!()
    }
    /// Verifies a token at `now` (Unix seconds).
    pub fn verify(&self, _token: &str, _keys: &KeyRing, _now: u64) -> Result<Arc<Verified>, TokenFault> {
        todo!()
    }
}
