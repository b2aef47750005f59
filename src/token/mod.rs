//! Who asks: verifies bearer tokens (RFC 7519 JWTs as Entra ID issues them) and remembers the verified ones. Pure: keys
//! come from the snapshot, the time from the caller.
//!
//! - `issuer`: whose tokens are believed. `keys`, `jwk`: what they sign with.
//! - `strict`, `jose`, `claims`: reading a token so that no two readers could read it differently.
//! - `verify`: the order of the checks. `cache`: the verified tokens. `fault`: every way a token fails.
//! - `mint`: signing with a development key, for the demo and for tests. `assertion`: signing what backends are told.

pub mod assertion;
mod cache;
mod claims;
pub mod fault;
pub mod issuer;
mod jose;
mod jwk;
pub mod keys;
pub mod mint;
mod strict;
pub mod verify;

pub use assertion::{Assertion, AssertionKey};
pub use fault::{Fault, TokenFault};
pub use issuer::{Issuer, IssuerId, IssuerKind, Issuers};
pub use keys::{KeyRing, KeySet, KeySetFault};
pub use verify::{Algorithms, Rules, Verified, Verifier};
