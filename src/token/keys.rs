//! Issuers that are believed, and the keys that they sign with.
use crate::model::Guid;
use std::sync::Arc;

/// Index of an issuer in [`Issuers`] and [`KeyRing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IssuerId(pub u16);
/// Which shape of token an issuer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// `ver` 1.0, client in `appid`.
    EntraV1,
    /// `ver` 2.0, client in `azp`.
    EntraV2,
}
/// One exact `iss`.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Name of the tenant.
    pub tenant: Arc<str>,
    /// The tenant id.
    pub tenant_id: Guid,
    /// The exact `iss`.
    pub url: String,
    /// Its kind.
    pub kind: IssuerKind,
}
/// All issuers of the process; fixed until restart.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Issuer>);
impl Issuers {
    /// Makes the table.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }
    /// Finds by exact text.
    pub fn find(&self, _url: &str) -> Option<IssuerId> {
        todo!()
    }
    /// The issuer.
    pub fn get(&self, _id: IssuerId) -> Option<&Issuer> {
        todo!()
    }
    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (IssuerId, &Issuer)> {
        self.0.iter().enumerate().map(|(i, x)| (IssuerId(i as u16), x))
    }
}
/// The usable keys of one JWKS document.
#[derive(Debug, PartialEq)]
pub struct KeySet {}
/// Why a JWKS document was not taken.
#[derive(Debug)]
pub struct KeySetFault(pub String);
impl KeySet {
    /// Reads a JWKS document (RFC 7517).
    pub fn parse(_json: &[u8]) -> Result<Self, KeySetFault> {
        todo!()
    }
    /// Number of usable keys.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether any key is a development key (kid prefix).
    pub fn has_development_key(&self) -> bool {
        todo!()
    }
}
/// The keys of all issuers at one moment.
#[derive(Debug)]
pub struct KeyRing {}
impl KeyRing {
    /// No keys yet for so many issuers.
    pub fn empty(_issuers: usize) -> Self {
        todo!()
    }
    /// The keys of an issuer, if fetched.
    pub fn get(&self, _issuer: IssuerId) -> Option<&KeySet> {
        todo!()
    }
    /// The same with an issuer's keys replaced; unchanged keys keep the generation.
    pub fn with(&self, _issuer: IssuerId, _keys: Arc<KeySet>, _fetched_at: u64) -> Self {
        todo!()
    }
    /// When an issuer's keys were last fetched (Unix seconds).
    pub fn fetched_at(&self, _issuer: IssuerId) -> Option<u64> {
        todo!()
    }
    /// Counts changes of content.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// Whether every issuer has keys.
    pub fn complete(&self) -> bool {
        todo!()
    }
}
