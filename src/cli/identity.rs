//! Claims of the tokens that `demo` and `token mint` make: an access token of a signed-in user, as Entra ID v2.0 writes it
//! or as another issuer does.

use std::sync::Arc;

use serde_json::Value;

use crate::model::Guid;
use crate::token::mint::{SubjectToken, UserToken};
use crate::token::{IssuerKind, Profile};

/// Whom a token is for, and at which application.
#[derive(Debug)]
pub(super) struct Identity {
    /// The exact `iss`.
    pub(super) issuer: String,
    /// Who it is there.
    pub(super) who: Who,
    /// The name for display.
    pub(super) username: String,
    /// `aud`.
    pub(super) audience: String,
    /// The roles.
    pub(super) roles: Vec<String>,
    /// `azp`, where the application does not admit any.
    pub(super) client: Option<String>,
}

/// Who somebody is at an issuer.
#[derive(Debug)]
pub(super) enum Who {
    /// A user of an Entra tenant.
    Object {
        /// `tid`.
        tenant: Guid,
        /// `oid`.
        object: Guid,
    },
    /// A subject of another issuer.
    Subject {
        /// The subject.
        subject: String,
        /// Where the issuer's tokens say what.
        profile: Arc<Profile>,
    },
}

impl Identity {
    /// The claims of a token that begins at `now` (Unix seconds) and lasts so many seconds.
    pub(super) fn claims(&self, now: u64, lifetime: u64) -> Value {
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        let (issuer, audience, username) = (&*self.issuer, &*self.audience, &*self.username);
        let (mut claims, name) = match &self.who {
            Who::Object { tenant, object } => {
                let (tenant_id, object_id, kind, roles) = (*tenant, *object, IssuerKind::EntraV2, &*roles);
                let token = UserToken { tenant_id, object_id, issuer, kind, audience, roles, username, now, lifetime };
                (token.claims(), "azp")
            }
            Who::Subject { subject, profile } => {
                let token_id = format!("minted-{now}");
                let (roles, token_id) = (&*roles, &*token_id);
                let token =
                    SubjectToken { issuer, profile, subject, audience, roles, username, token_id, now, lifetime };
                (token.claims(), profile.client.as_deref().unwrap_or("client_id"))
            }
        };
        if let (Some(client), Some(members)) = (&self.client, claims.as_object_mut()) {
            members.insert(name.to_owned(), Value::from(client.as_str()));
        }
        claims
    }
}
