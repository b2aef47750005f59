//! What a token says, read from its payload. Every claim that a decision rests on must have exactly the type that the
//! issuers give it; unknown claims are ignored.
//!
//! Here is what all issuers have in common; `entra` and `other` know what the tokens of each kind of issuer look like.

mod entra;
mod other;

use std::sync::Arc;

use super::fault::Fault;
use super::issuer::{Issuer, IssuerKind, KeyUse};
use super::strict::{Json, Object};
use super::verified::{Caller, Groups, Verified, Window};
use super::verify::Rules;
use super::{IssuerId, KeySourceId};

pub(super) use other::principal as principal_of;

/// `aud` of a token for Microsoft Graph, which nobody but Graph can verify.
const GRAPH: [&str; 3] =
    ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"];
/// Longest user name that is passed on for display, in bytes.
const USERNAME_BYTES: usize = 256;
/// Longest identifier of a token, in bytes.
pub(super) const TOKEN_ID_BYTES: usize = 128;
/// Claims that are checked at every issuer, in small letters. One that differs from a checked one in letter case only
/// would be read by some backends or libraries as the claim itself.
const CHECKED: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "cnf"];

/// `iss`, which must be known before a key can be looked up, so before anything can be believed.
pub(super) fn issuer(payload: &Object) -> Result<&str, Fault> {
    payload.text("iss").ok_or(Fault::NoIssuer)
}

/// Whether an unverified payload says that it is meant for Microsoft Graph.
pub(super) fn is_for_graph(payload: &Object) -> bool {
    payload.text("aud").is_some_and(|audience| GRAPH.contains(&audience))
}

/// Checks the claims of a payload whose signature fits; `signed_by` are the keys that it was signed with. Beside what the
/// token says stands whether its time has come. A token whose time has not come is refused for that, whatever is wrong
/// behind.
pub(super) fn check(
    payload: &Object,
    (id, issuer): (IssuerId, &Issuer),
    signed_by: KeySourceId,
    rules: &Rules,
    now: u64,
) -> Result<(Verified, Result<(), Fault>), Fault> {
    exact_names(payload, issuer)?;
    version(payload, issuer)?;
    tenant(payload, issuer)?;
    let audiences = audiences(payload)?;
    audience_of(issuer, signed_by, &audiences)?;
    let (window, issued_at) = window(payload, issuer, rules)?;
    let timely = window.check(now, rules.leeway);
    let rest = || {
        let caller = caller(payload, issuer)?;
        unbound(payload)?;
        let roles = roles(payload, issuer)?;
        let groups = groups(payload, issuer)?;
        let token_id = token_id(payload, issuer)?;
        Ok(Parts { audiences, window, issued_at, caller, roles, groups, token_id })
    };
    match rest() {
        Ok(parts) => Ok((parts.together(payload, (id, issuer)), timely)),
        Err(fault) => Err(timely.err().unwrap_or(fault)),
    }
}

/// What the checks read, each its part.
pub(super) struct Parts<'p> {
    pub(super) audiences: Vec<&'p str>,
    pub(super) window: Window,
    pub(super) issued_at: u64,
    pub(super) caller: Caller,
    pub(super) roles: Vec<&'p str>,
    pub(super) groups: Groups,
    pub(super) token_id: Option<Arc<str>>,
}

impl Parts<'_> {
    /// What the token says as a whole.
    pub(super) fn together(self, payload: &Object, (id, issuer): (IssuerId, &Issuer)) -> Verified {
        let Caller { principal, subject, class, client, username } = self.caller;
        Verified {
            issuer: id,
            tenant: Arc::clone(&issuer.tenant),
            principal,
            subject,
            class,
            client,
            username,
            audiences: boxed(self.audiences),
            roles: boxed(self.roles),
            groups: self.groups,
            token_id: self.token_id,
            issued_at: self.issued_at,
            takes_challenges: takes_challenges(payload),
            window: self.window,
        }
    }
}

/// `ver`, which Entra ID writes.
pub(super) fn version(payload: &Object, issuer: &Issuer) -> Result<(), Fault> {
    match issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => entra::version(payload, issuer),
        IssuerKind::Other(_) => Ok(()),
    }
}

/// `tid`, which Entra ID writes.
pub(super) fn tenant(payload: &Object, issuer: &Issuer) -> Result<(), Fault> {
    match issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => entra::tenant(payload, issuer),
        IssuerKind::Other(_) => Ok(()),
    }
}

/// No claim looks like one that is checked without being it.
pub(super) fn exact_names(payload: &Object, issuer: &Issuer) -> Result<(), Fault> {
    let is_common =
        |name: &str| CHECKED.iter().chain(&entra::CHECKED).any(|checked| checked.eq_ignore_ascii_case(name));
    let own: Vec<&str> = match &issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => {
            // What Entra ID calls a claim has small letters only, and so have nearly all names.
            let has_capital = |name: &str| name.bytes().any(|byte| byte.is_ascii_uppercase());
            let alike = payload.names().any(|name| has_capital(name) && is_common(name));
            return if alike { Err(Fault::LookAlikeClaim) } else { Ok(()) };
        }
        IssuerKind::Other(profile) => CHECKED.into_iter().chain(other::CHECKED).chain(other::read(profile)).collect(),
    };
    let alike = |name: &str| !own.contains(&name) && own.iter().any(|checked| checked.eq_ignore_ascii_case(name));
    if payload.names().any(alike) { Err(Fault::LookAlikeClaim) } else { Ok(()) }
}

/// `aud`: one or more texts (RFC 7519 section 4.1.3). Whether one of them is the application's is for its gate to say.
pub(super) fn audiences(payload: &Object) -> Result<Vec<&str>, Fault> {
    let audiences = match payload.get("aud").ok_or(Fault::NoAudience)? {
        Json::Text(one) => vec![one.as_str()],
        several => several.texts().ok_or(Fault::BadAudience)?,
    };
    let usable = !audiences.is_empty() && audiences.iter().all(|audience| !audience.is_empty());
    if usable { Ok(audiences) } else { Err(Fault::BadAudience) }
}

/// Whether the keys that signed may sign for these audiences, and the issuer's tokens may carry them.
pub(super) fn audience_of(issuer: &Issuer, signed_by: KeySourceId, audiences: &[&str]) -> Result<(), Fault> {
    let signing = issuer.keys.iter().find(|keys| keys.source == signed_by).ok_or(Fault::KeyAudience)?;
    if !may_sign_for(signing, audiences) {
        return Err(Fault::KeyAudience);
    }
    match &issuer.kind {
        IssuerKind::Other(profile) if !profile.audiences.is_empty() => {
            let admitted = audiences.iter().any(|audience| profile.audiences.iter().any(|known| **known == **audience));
            if admitted { Ok(()) } else { Err(Fault::IssuerAudience) }
        }
        IssuerKind::EntraV1 | IssuerKind::EntraV2 | IssuerKind::Other(_) => Ok(()),
    }
}

/// Whether keys may sign for all of these audiences.
pub(super) fn may_sign_for(keys: &KeyUse, audiences: &[&str]) -> bool {
    let is_own = |own: &[Box<str>], audience: &str| own.iter().any(|own| **own == *audience);
    keys.audiences.as_ref().is_none_or(|own| audiences.iter().all(|audience| is_own(own, audience)))
}

/// `exp`, `nbf` and `iat` (RFC 7519 section 4.1): when the token is valid, and when it was issued.
pub(super) fn window(payload: &Object, issuer: &Issuer, rules: &Rules) -> Result<(Window, u64), Fault> {
    let seconds = |name, fault| match payload.get(name) {
        Some(Json::Whole(seconds)) => Ok(Some(*seconds)),
        Some(_) => Err(fault),
        None => Ok(None),
    };
    let until = seconds("exp", Fault::BadExpiry)?.ok_or(Fault::NoExpiry)?;
    let not_before = seconds("nbf", Fault::BadStart)?;
    let issued = seconds("iat", Fault::BadIssueTime)?;
    let start = match (not_before, issued, &issuer.kind) {
        (Some(start), _, _) | (None, Some(start), IssuerKind::Other(_)) => start,
        (None, _, _) => return Err(Fault::NoStart),
    };
    let issued = issued.unwrap_or(start);
    if until < start || until < issued {
        return Err(Fault::TimesContradict);
    }
    if until - start.min(issued) > rules.max_lifetime.saturating_add(rules.leeway) {
        return Err(Fault::LifetimeTooLong);
    }
    Ok((Window { not_before: start, issued, until }, issued))
}

/// Who asks, and through which client.
pub(super) fn caller(payload: &Object, issuer: &Issuer) -> Result<Caller, Fault> {
    match &issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => entra::caller(payload, issuer),
        IssuerKind::Other(profile) => other::caller(payload, issuer, profile),
    }
}

/// No `cnf`: the token is its bearer's (RFC 7800 section 3.1).
pub(super) fn unbound(payload: &Object) -> Result<(), Fault> {
    if payload.has("cnf") { Err(Fault::ProofOfPossession) } else { Ok(()) }
}

/// App roles.
pub(super) fn roles<'p>(payload: &'p Object, issuer: &Issuer) -> Result<Vec<&'p str>, Fault> {
    match &issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => payload.get("roles").map_or(Some(Vec::new()), Json::texts),
        IssuerKind::Other(profile) => other::names(payload, &profile.roles),
    }
    .ok_or(Fault::BadRoles)
}

/// Groups, as far as the token says.
pub(super) fn groups(payload: &Object, issuer: &Issuer) -> Result<Groups, Fault> {
    let claim = match &issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => "groups",
        IssuerKind::Other(profile) => &*profile.groups,
    };
    if has_group_overage(payload, claim)? {
        return Ok(Groups::Unknown);
    }
    let groups = match &issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => payload.get(claim).map_or(Some(Vec::new()), Json::texts),
        IssuerKind::Other(_) => other::names(payload, claim),
    };
    Ok(Groups::Listed(boxed(groups.ok_or(Fault::BadGroups)?).into()))
}

/// Whether the groups are elsewhere: Entra ID does so with more than fit into a token, and any issuer may (OpenID Connect
/// Core 1.0 section 5.6.2). Then none are listed, and `_claim_names` or, in Entra's implicit flow, `hasgroups` says so.
/// The address that `_claim_sources` names is never asked.
fn has_group_overage(payload: &Object, claim: &str) -> Result<bool, Fault> {
    let outer = claim.split('.').next().unwrap_or(claim);
    let elsewhere = match payload.get("_claim_names") {
        None => false,
        Some(Json::Object(names)) => ["groups", claim, outer].iter().any(|name| names.has(name)),
        Some(_) => return Err(Fault::BadGroups),
    };
    let marked = match payload.get("hasgroups") {
        None | Some(Json::Truth(false)) => false,
        Some(Json::Truth(true)) => true,
        // Seen written as text, too; what is no clear no is a yes.
        Some(Json::Text(truth)) => truth != "false",
        Some(_) => return Err(Fault::BadGroups),
    };
    Ok(elsewhere || marked)
}

/// `uti` of Entra ID, `jti` of others (RFC 7519 section 4.1.7).
pub(super) fn token_id(payload: &Object, issuer: &Issuer) -> Result<Option<Arc<str>>, Fault> {
    let name = match issuer.kind {
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => "uti",
        IssuerKind::Other(_) => "jti",
    };
    match payload.get(name) {
        None => Ok(None),
        Some(Json::Text(id)) if (1..=TOKEN_ID_BYTES).contains(&id.len()) => Ok(Some(id.as_str().into())),
        Some(_) => Err(Fault::BadTokenId),
    }
}

/// Whether the client said that it can handle claims challenges: `xms_cc` holds `cp1`, in any letter case. Anything else
/// under that name says that it cannot.
fn takes_challenges(payload: &Object) -> bool {
    let is_cp1 = |word: &&str| word.eq_ignore_ascii_case("cp1");
    match payload.get("xms_cc") {
        Some(Json::Text(one)) => is_cp1(&one.as_str()),
        Some(several) => several.texts().is_some_and(|words| words.iter().any(is_cp1)),
        None => false,
    }
}

/// A name that can be shown anywhere: printable ASCII, so that it fits into a header and a log line.
fn printable(name: Option<&str>) -> Option<Box<str>> {
    let printable = |name: &&str| name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    name.filter(printable).filter(|name| (1..=USERNAME_BYTES).contains(&name.len())).map(Box::from)
}

fn boxed(texts: Vec<&str>) -> Vec<Box<str>> {
    texts.into_iter().map(Box::from).collect()
}
