//! Who asks: verifies bearer tokens (RFC 7519 JWTs as Entra ID issues them) and remembers the verified ones. Pure: keys
//! come from the snapshot, the time from the caller.
//!
//! - `issuer`: whose tokens are believed. `keys`, `jwk`: what they sign with.
//! - `strict`, `jose`, `claims`: reading a token so that no two readers could read it differently.
//! - `verify`: the order of the checks. `verified`: what comes of them. `fault`: every way a token fails.
//! - `cache`: the verified tokens, for all threads. `local`: those that one thread has seen last.
//! - `revoked`: whose tokens are not believed any more.
//! - `inspect`, `redact`: a token taken apart for people, with every check and nothing secret.
//! - `mint`: signing with a development key, for the demo and for tests. `assertion`: signing what backends are told.

pub mod assertion;
mod cache;
mod claims;
pub mod fault;
mod inspect;
pub mod issuer;
mod jose;
mod jwk;
pub mod keys;
mod local;
pub mod mint;
mod redact;
pub mod revoked;
mod strict;
mod verified;
pub mod verify;

pub use assertion::{Assertion, AssertionKey};
pub use cache::{Lookups, Room};
pub use fault::{Fault, TokenFault, WantedKey};
pub use inspect::{Check, Inspection, Outcome, Step};
pub use issuer::{Issuer, IssuerId, IssuerKind, Issuers, KeyUse, Profile};
pub use keys::{KeyRing, KeySet, KeySetFault, KeySourceId, Refused};
pub use local::LocalVerifier;
pub use redact::{Claim, Shown};
pub use revoked::{Hit, Revocation, Revoked, RevokedList};
pub use verified::{Class, Groups, Verified, Window};
pub use verify::{Algorithms, Rules, Verifier, Verify};

use crate::model::{Guid, PrincipalKey};

/// The key of a subject at an issuer other than Entra ID, whose `tenant_id` is `issuer`.
pub fn principal_of(issuer: Guid, subject: &str) -> PrincipalKey {
    claims::principal_of(issuer, subject)
}
