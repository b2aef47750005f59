//! Claims of the tokens that `demo` and `token mint` make: an Entra v2.0 access token of a signed-in user.

use serde_json::{Value, json};

use crate::model::Guid;

/// Whom a token is for, and at which application.
#[derive(Debug)]
pub(super) struct Identity {
    /// The exact `iss`.
    pub(super) issuer: String,
    /// `tid`.
    pub(super) tenant: Guid,
    /// `oid`.
    pub(super) object: Guid,
    /// `preferred_username`.
    pub(super) username: String,
    /// `aud`.
    pub(super) audience: String,
    /// `roles`.
    pub(super) roles: Vec<String>,
}

impl Identity {
    /// The claims of a token that begins at `now` (Unix seconds) and lasts so many seconds.
    pub(super) fn claims(&self, now: u64, lifetime: u64) -> Value {
        json!({
            "ver": "2.0",
            "iss": self.issuer,
            "aud": self.audience,
            "tid": self.tenant.to_string(),
            "oid": self.object.to_string(),
            // Entra's `sub` is another one for each application; nothing here depends on it.
            "sub": format!("portcullis-development:{}", self.object),
            "azp": "00000000-0000-0000-0000-000000000000",
            "azpacr": "0",
            "scp": "access_as_user",
            "roles": self.roles,
            "preferred_username": self.username,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(lifetime),
        })
    }
}
