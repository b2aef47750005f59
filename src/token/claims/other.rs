//! Access tokens of issuers other than Entra ID: JWTs as RFC 9068 describes them, and what Keycloak, Okta, Auth0 and
//! others make of it. Where they say what is configured (see [`Profile`]).

use aws_lc_rs::digest::{SHA256, digest};

use super::printable;
use crate::model::tenant::is_subject;
use crate::model::{Guid, PrincipalKey};
use crate::token::fault::Fault;
use crate::token::issuer::{Issuer, Profile};
use crate::token::strict::{Json, Object};
use crate::token::verified::{Caller, Class};

/// Where the client stands, unless it is configured: RFC 9068 section 2.2 and Auth0; Keycloak and Auth0; Okta.
const CLIENT: [&str; 3] = ["client_id", "azp", "cid"];
/// What only access tokens say: what was asked for (RFC 9068 section 2.2.3; Okta and Microsoft), for which client (RFC
/// 9068 section 2.2; Okta; `azp` stands in ID tokens too), by which grant (Auth0).
const OF_ACCESS_TOKENS: [&str; 5] = ["scope", "scp", "client_id", "cid", "gty"];
/// What only ID tokens say: hashes of what was issued with them (OpenID Connect Core 1.0 section 3.3.2.11).
const OF_ID_TOKENS: [&str; 2] = ["at_hash", "c_hash"];
/// Claims beside those of the profile that are checked here.
pub(super) const CHECKED: [&str; 10] =
    ["sub", "azp", "client_id", "cid", "typ", "token_use", "nonce", "scope", "scp", "gty"];
/// How Keycloak names the account of an application, its client id behind it.
const SERVICE_ACCOUNT: &str = "service-account-";

/// The subject and the client.
pub(super) fn caller(payload: &Object, issuer: &Issuer, profile: &Profile) -> Result<Caller, Fault> {
    access_token(payload)?;
    let subject = match member(payload, &profile.subject).and_then(Json::text) {
        Some(subject) if is_subject(subject) => subject,
        Some(_) | None => return Err(Fault::BadSubject),
    };
    let client = match &profile.client {
        Some(name) => Some(member(payload, name).ok_or(Fault::NoClient)?),
        None => CLIENT.iter().find_map(|name| payload.get(name)),
    };
    let client = client.map(|client| client.text().filter(|text| is_subject(text)).ok_or(Fault::BadClient));
    let client = client.transpose()?;
    Ok(Caller {
        principal: principal(issuer.tenant_id, subject),
        subject: subject.into(),
        class: class(payload, client),
        client: client.map(Into::into),
        username: printable(member(payload, &profile.username).and_then(Json::text)),
    })
}

/// The key of a subject at an issuer: see [`Guid::of_digest`].
pub(in crate::token) fn principal(issuer: Guid, subject: &str) -> PrincipalKey {
    let digest = digest(&SHA256, subject.as_bytes());
    PrincipalKey { tenant: issuer, object: Guid::of_digest(digest.as_ref().try_into().unwrap_or_default()) }
}

/// An application speaks for itself where it is its own subject (RFC 9068 section 2.2, Okta), where Auth0 says by which
/// grant it got the token, and where Keycloak names both the client and its service account. A user otherwise.
fn class(payload: &Object, client: Option<&str>) -> Class {
    let is_own = client.is_some_and(|client| payload.text("sub") == Some(client));
    let by_grant = payload.text("gty") == Some("client-credentials");
    let account = payload.text("preferred_username").and_then(|name| name.strip_prefix(SERVICE_ACCOUNT));
    // `client_id` stands in Keycloak's tokens only where a client asked for itself.
    let in_person = ["client_id", "clientId"].iter().find_map(|name| payload.text(name));
    let is_account = account.zip(in_person).is_some_and(|(account, client)| account == client.to_lowercase());
    if is_own || by_grant || is_account { Class::App } else { Class::User }
}

/// This is an access token: by a mark that says so, or by what no other token says. The same issuer signs ID tokens,
/// refresh tokens and logout tokens with the same keys, and who holds one must not be able to call with it.
fn access_token(payload: &Object) -> Result<(), Fault> {
    let marked = match (marked(payload, "typ", &["Bearer"], "ID")?, marked(payload, "token_use", &["access"], "id")?) {
        (None, None) => false,
        (Some(()), _) | (_, Some(())) => true,
    };
    let says = |name: &&str| match payload.get(name) {
        Some(Json::Text(text)) => !text.is_empty(),
        Some(several) => several.texts().is_some_and(|texts| !texts.is_empty()),
        None => false,
    };
    if OF_ID_TOKENS.iter().any(|name| payload.has(name)) {
        return Err(Fault::IdToken);
    }
    // Older Keycloaks repeat the nonce of a sign-in in access tokens, which they mark; nobody else does.
    match marked || OF_ACCESS_TOKENS.iter().any(says) {
        true if marked || !payload.has("nonce") => Ok(()),
        true => Err(Fault::IdToken),
        false if payload.has("nonce") || payload.has("auth_time") => Err(Fault::IdToken),
        false => Err(Fault::NotAnAccessToken),
    }
}

/// What an issuer's mark says: `Some` for an access token, `None` where there is no mark. Keycloak marks by the claim
/// `typ` (`Bearer`, `ID`, `Refresh`, `Offline`, `Logout`), Cognito by `token_use`; some copy the header's `typ` there.
fn marked(payload: &Object, name: &str, access: &[&str], id: &str) -> Result<Option<()>, Fault> {
    let Some(claim) = payload.get(name) else { return Ok(None) };
    match claim.text() {
        Some(mark) if access.iter().any(|word| word.eq_ignore_ascii_case(mark)) => Ok(Some(())),
        Some(mark) if mark.eq_ignore_ascii_case(id) => Err(Fault::IdToken),
        Some(mark) if name == "typ" && ["JWT", "at+jwt"].iter().any(|word| word.eq_ignore_ascii_case(mark)) => Ok(None),
        Some(_) | None => Err(Fault::NotAnAccessToken),
    }
}

/// Names in a list, or a single one in place of a list, as ADFS and others write it; empty where the claim is missing.
pub(super) fn names<'p>(payload: &'p Object, claim: &str) -> Option<Vec<&'p str>> {
    match member(payload, claim) {
        None => Some(Vec::new()),
        Some(Json::Text(one)) if !one.is_empty() => Some(vec![one]),
        Some(several) => several.texts(),
    }
}

/// The claim of this name, or else the one that the name leads to as a path with dots.
fn member<'p>(payload: &'p Object, name: &str) -> Option<&'p Json> {
    if let Some(claim) = payload.get(name) {
        return Some(claim);
    }
    let (first, rest) = name.split_once('.')?;
    match payload.get(first)? {
        Json::Object(inner) => member(inner, rest),
        Json::Text(_) | Json::Whole(_) | Json::Truth(_) | Json::List(_) | Json::Other => None,
    }
}

/// The claims of the payload itself that a profile reads.
pub(super) fn read(profile: &Profile) -> impl Iterator<Item = &str> {
    let Profile { subject, client, roles, groups, username, audiences: _ } = profile;
    let names = [Some(subject), client.as_ref(), Some(roles), Some(groups), Some(username)];
    names.into_iter().flatten().flat_map(|name| [&**name, name.split('.').next().unwrap_or_default()])
}
