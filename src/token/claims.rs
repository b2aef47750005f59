//! What a token says, read from its payload: the claims of Entra ID's access tokens, versions 1.0 and 2.0. Every claim
//! that a decision rests on must have exactly the type that Entra gives it; unknown claims are ignored.

use super::fault::Fault;
use super::issuer::{Issuer, IssuerKind};
use super::strict::{Json, Object};
use super::verify::Rules;
use crate::model::{Guid, PrincipalKey};

/// `aud` of a token for Microsoft Graph, which nobody but Graph can verify.
const GRAPH: [&str; 3] =
    ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"];
/// Longest user name that is passed on for display, in bytes.
const USERNAME_BYTES: usize = 256;

/// The claims that are used, checked.
#[derive(Debug)]
pub(super) struct Claims {
    /// `tid` and `oid`.
    pub(super) principal: PrincipalKey,
    /// `aud`, at least one.
    pub(super) audiences: Vec<Box<str>>,
    /// `roles`.
    pub(super) roles: Vec<Box<str>>,
    /// A name for display.
    pub(super) username: Option<Box<str>>,
    /// `nbf` and `exp`.
    pub(super) window: Window,
}

/// When a token is valid, in Unix seconds, none above 2^53.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The later of `nbf` and `iat`.
    pub(super) from: u64,
    /// `exp`.
    pub(super) until: u64,
}

impl Window {
    /// Whether the token is valid at `now`, clocks differing by up to `leeway` seconds.
    pub(super) fn check(self, now: u64, leeway: u64) -> Result<(), Fault> {
        if now >= self.until.saturating_add(leeway) {
            return Err(Fault::Expired);
        }
        if now.saturating_add(leeway) < self.from {
            return Err(Fault::NotYetValid);
        }
        Ok(())
    }
}

/// `iss`, which must be known before a key can be looked up, so before anything can be believed.
pub(super) fn issuer(payload: &Object) -> Option<&str> {
    payload.text("iss")
}

/// Whether an unverified payload says that it is meant for Microsoft Graph.
pub(super) fn is_for_graph(payload: &Object) -> bool {
    payload.text("aud").is_some_and(|audience| GRAPH.contains(&audience))
}

/// Checks the claims of a payload whose signature fits.
pub(super) fn check(payload: &Object, issuer: &Issuer, rules: &Rules, now: u64) -> Result<Claims, Fault> {
    let (version, client, name) = match issuer.kind {
        IssuerKind::EntraV1 => ("1.0", "appid", ["upn", "unique_name"]),
        IssuerKind::EntraV2 => ("2.0", "azp", ["preferred_username", "upn"]),
    };
    if payload.text("ver") != Some(version) {
        return Err(Fault::WrongVersion);
    }
    let tenant = payload.text("tid").and_then(|text| text.parse::<Guid>().ok());
    if tenant != Some(issuer.tenant_id) {
        return Err(Fault::WrongTenant);
    }
    let audiences = audiences(payload).ok_or(Fault::BadAudience)?;
    let window = window(payload, rules)?;
    window.check(now, rules.leeway)?;
    let object = payload.text("oid").and_then(|text| text.parse().ok()).ok_or(Fault::BadObjectId)?;
    if !is_access_token(payload) {
        return Err(Fault::NotAnAccessToken);
    }
    if payload.text(client).is_none_or(str::is_empty) {
        return Err(Fault::NoClient);
    }
    if payload.has("cnf") {
        return Err(Fault::ProofOfPossession);
    }
    let roles = match payload.get("roles") {
        None => Vec::new(),
        Some(roles) => roles.texts().ok_or(Fault::BadRoles)?.into_iter().map(Box::from).collect(),
    };
    let principal = PrincipalKey { tenant: issuer.tenant_id, object };
    Ok(Claims { principal, audiences, roles, username: username(payload, name), window })
}

fn audiences(payload: &Object) -> Option<Vec<Box<str>>> {
    let audiences = match payload.get("aud")? {
        Json::Text(one) => vec![one.as_str()],
        several => several.texts()?,
    };
    let usable = !audiences.is_empty() && audiences.iter().all(|audience| !audience.is_empty());
    usable.then(|| audiences.into_iter().map(Box::from).collect())
}

fn window(payload: &Object, rules: &Rules) -> Result<Window, Fault> {
    let seconds = |name| match payload.get(name) {
        Some(Json::Whole(seconds)) => Ok(Some(*seconds)),
        Some(_) => Err(Fault::BadTimes),
        None => Ok(None),
    };
    let until = seconds("exp")?.ok_or(Fault::BadTimes)?;
    let not_before = seconds("nbf")?.ok_or(Fault::BadTimes)?;
    let issued = seconds("iat")?.unwrap_or(not_before);
    let lifetime = until.checked_sub(not_before).ok_or(Fault::BadTimes)?;
    if lifetime > rules.max_lifetime.saturating_add(rules.leeway) {
        return Err(Fault::LifetimeTooLong);
    }
    Ok(Window { from: not_before.max(issued), until })
}

/// Whether this is the access token of a user (`scp`) or of an application (`idtyp` says so, or there is no `scp` and
/// `sub` is the application's own object id). An ID token of the same app registration has the same issuer, audience
/// and key, but neither.
fn is_access_token(payload: &Object) -> bool {
    let scopes = match payload.get("scp") {
        None => None,
        Some(Json::Text(scopes)) if !scopes.trim().is_empty() => Some(scopes),
        Some(_) => return false,
    };
    let kind = match payload.get("idtyp") {
        None => None,
        Some(Json::Text(kind)) => Some(kind.as_str()),
        Some(_) => return false,
    };
    match (scopes, kind) {
        (Some(_), None | Some("user")) | (None, Some("app")) => true,
        (None, None) => payload.text("sub").is_some() && payload.text("sub") == payload.text("oid"),
        (Some(_), Some(_)) | (None, Some(_)) => false,
    }
}

/// The first of these names that can be shown anywhere: printable ASCII, so that it fits into a header and a log line.
fn username(payload: &Object, names: [&str; 2]) -> Option<Box<str>> {
    let printable = |name: &&str| name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let name = names.iter().find_map(|name| payload.text(name))?;
    Some(name).filter(printable).filter(|name| (1..=USERNAME_BYTES).contains(&name.len())).map(Box::from)
}
