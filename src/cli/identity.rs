//! Claims of the tokens that `demo` and `token mint` make: an Entra v2.0 access token of a signed-in user.

use serde_json::Value;

use crate::model::Guid;
use crate::token::IssuerKind;
use crate::token::mint::UserToken;

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
    /// `azp`, where the application does not admit any.
    pub(super) client: Option<String>,
}

impl Identity {
    /// The claims of a token that begins at `now` (Unix seconds) and lasts so many seconds.
    pub(super) fn claims(&self, now: u64, lifetime: u64) -> Value {
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        let token = UserToken {
            tenant_id: self.tenant,
            object_id: self.object,
            issuer: &self.issuer,
            kind: IssuerKind::EntraV2,
            audience: &self.audience,
            roles: &roles,
            username: &self.username,
            now,
            lifetime,
        };
        let mut claims = token.claims();
        if let (Some(client), Some(members)) = (&self.client, claims.as_object_mut()) {
            members.insert("azp".to_owned(), Value::from(client.as_str()));
        }
        claims
    }
}
