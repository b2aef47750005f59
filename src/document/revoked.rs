//! `revoked.yaml` as written: whose tokens are not believed any more. Live.

use super::{Limits, Located};
use crate::diag::Place;

impl Limits {
    /// For lists of revocations, which machines write: 160 MiB, enough for a million.
    pub fn revoked() -> Self {
        Self { bytes: 160 * 1024 * 1024, nodes: 16_000_000, ..Self::default() }
    }
}

/// One entry of `revoked`.
#[derive(Clone, Debug)]
pub struct RevocationDocument {
    /// Where the entry stands.
    pub place: Place,
    /// Whose tokens, or which token.
    pub target: TargetDocument,
    /// When the entry was made, in Unix seconds, where it says so: the gateway writes it into its own entries.
    pub added_at: Option<u64>,
}

/// What an entry revokes.
#[derive(Clone, Debug)]
pub enum TargetDocument {
    /// The tokens of a principal.
    Principal {
        /// The name of its tenant or issuer in `gateway.yaml`.
        tenant: Located<String>,
        /// Its name there.
        name: PrincipalNameDocument,
        /// Only tokens issued before this moment, in Unix seconds; without it, every token.
        issued_before: Option<u64>,
    },
    /// One token.
    Token {
        /// Its `uti` (`jti` at issuers other than Entra ID).
        id: Located<String>,
        /// The name of the tenant or issuer that it must come from.
        tenant: Option<Located<String>>,
    },
}

/// How a principal is named.
#[derive(Clone, Debug)]
pub enum PrincipalNameDocument {
    /// By its object id, a GUID: at tenants of Entra ID.
    Oid(Located<String>),
    /// By its subject: at other issuers.
    Subject(Located<String>),
}
