//! Who asks: verifies bearer tokens (RFC 7519 JWTs as Entra ID issues them) and remembers the verified ones. Pure: keys
//! come from the snapshot, the time from the caller.

pub mod keys;
pub mod mint;
pub mod verify;

pub use keys::{Issuer, IssuerId, IssuerKind, Issuers, KeyRing, KeySet};
pub use verify::{Algorithms, Rules, TokenFault, Verified, Verifier};
