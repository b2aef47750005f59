//! Access tokens of issuers other than Entra ID: JWTs as RFC 9068 describes them, and what Keycloak, Okta and Auth0 make
//! of it. Where they say what is configured (see [`Profile`]).

use aws_lc_rs::digest::{SHA256, digest};

use super::printable;
use crate::model::{Guid, PrincipalKey};
use crate::token::fault::Fault;
use crate::token::issuer::{Issuer, Profile};
use crate::token::strict::{Json, Object};
use crate::token::verified::{Caller, Class};

/// Where the client stands, unless it is configured: RFC 9068 section 2.2 and Auth0, Keycloak, Okta.
const CLIENT: [&str; 3] = ["client_id", "azp", "cid"];
/// Longest subject, in bytes. OpenID Connect Core 1.0 section 2 allows 255.
pub(in crate::token) const SUBJECT_BYTES: usize = 256;
/// Claims that only ID tokens have (OpenID Connect Core 1.0 sections 2 and 3.3.2.11).
const OF_ID_TOKENS: [&str; 3] = ["nonce", "at_hash", "c_hash"];

/// The subject and the client.
pub(super) fn caller(payload: &Object, issuer: &Issuer, profile: &Profile) -> Result<Caller, Fault> {
    access_token(payload)?;
    let subject = match member(payload, &profile.subject).and_then(Json::text) {
        Some(subject) if (1..=SUBJECT_BYTES).contains(&subject.len()) => subject,
        Some(_) | None => return Err(Fault::BadSubject),
    };
    let client = match &profile.client {
        Some(name) => Some(member(payload, name).ok_or(Fault::NoClient)?),
        None => CLIENT.iter().find_map(|name| payload.get(name)),
    };
    let client = client.map(|client| client.text().filter(|text| !text.is_empty()).ok_or(Fault::BadClient));
    let client = client.transpose()?;
    let own = client.is_some_and(|client| payload.text("sub") == Some(client));
    Ok(Caller {
        principal: principal(issuer.tenant_id, subject),
        subject: subject.into(),
        class: if own { Class::App } else { Class::User },
        client: client.map(Into::into),
        username: printable(member(payload, &profile.username).and_then(Json::text)),
    })
}

/// The key of a subject at an issuer: see [`Guid::of_digest`].
pub(in crate::token) fn principal(issuer: Guid, subject: &str) -> PrincipalKey {
    let digest = digest(&SHA256, subject.as_bytes());
    PrincipalKey { tenant: issuer, object: Guid::of_digest(digest.as_ref().try_into().unwrap_or_default()) }
}

/// Not what these issuers mark as another kind of token: Keycloak by the claim `typ`, Cognito by `token_use`, all of them
/// by what only ID tokens have.
fn access_token(payload: &Object) -> Result<(), Fault> {
    let is = |name: &str, words: &[&str]| {
        payload.get(name).is_none_or(|claim| {
            claim.text().is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text)))
        })
    };
    if OF_ID_TOKENS.iter().any(|name| payload.has(name)) || payload.text("typ") == Some("ID") {
        return Err(Fault::IdToken);
    }
    if is("typ", &["Bearer", "JWT", "at+jwt"]) && is("token_use", &["access"]) {
        Ok(())
    } else {
        Err(Fault::NotAnAccessToken)
    }
}

/// The claim of this name, or else the one that the name leads to as a path with dots.
pub(super) fn member<'p>(payload: &'p Object, name: &str) -> Option<&'p Json> {
    if let Some(claim) = payload.get(name) {
        return Some(claim);
    }
    let (first, rest) = name.split_once('.')?;
    match payload.get(first)? {
        Json::Object(inner) => member(inner, rest),
        Json::Text(_) | Json::Whole(_) | Json::Truth(_) | Json::List(_) | Json::Other => None,
    }
}
