//! Who is asking: the key of a principal and the state of its account.

use super::Guid;

/// The identity of a principal: tenant id and object id of a verified token (`tid`, `oid`). Names and addresses
/// are never keys, because they change and differ between tenants. At issuers that have neither id, digests of the
/// issuer's URL and of the subject stand in their place ([`Guid::of_digest`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalKey {
    /// The tenant that signed the principal in.
    pub tenant: Guid,
    /// The principal's object id in that tenant.
    pub object: Guid,
}

/// The state of a principal's account. Only an active one may do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// In use.
    #[default]
    Active,
    /// Switched off for the time being, itself or through one of its groups.
    Inactive,
    /// Removed, kept for the record.
    Deleted,
    /// Owned by the system; never a caller.
    Reserved,
}

impl Status {
    /// The word that configuration uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
            Self::Reserved => "reserved",
        }
    }
}
