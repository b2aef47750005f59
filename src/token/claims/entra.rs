//! Access tokens of Entra ID, versions 1.0 and 2.0.
//! <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>

use super::printable;
use crate::model::{Guid, PrincipalKey};
use crate::token::fault::Fault;
use crate::token::issuer::{Issuer, IssuerKind};
use crate::token::strict::{Json, Object};
use crate::token::verified::{Caller, Class};

/// Claims beside those of all issuers that are checked here.
pub(super) const CHECKED: [&str; 10] = ["ver", "tid", "oid", "sub", "azp", "appid", "scp", "idtyp", "roles", "groups"];

/// `ver` is the version that the issuer writes. Which of the two a token has depends on the application that it is for,
/// not on the endpoint that the client used.
pub(super) fn version(payload: &Object, issuer: &Issuer) -> Result<(), Fault> {
    let version = payload.text("ver").ok_or(Fault::NoVersion)?;
    let expected = if issuer.kind == IssuerKind::EntraV1 { "1.0" } else { "2.0" };
    if version == expected { Ok(()) } else { Err(Fault::WrongVersion) }
}

/// `tid` is the issuer's tenant.
pub(super) fn tenant(payload: &Object, issuer: &Issuer) -> Result<(), Fault> {
    let tenant = payload.text("tid").and_then(|text| text.parse::<Guid>().ok()).ok_or(Fault::NoTenant)?;
    if tenant == issuer.tenant_id { Ok(()) } else { Err(Fault::WrongTenant) }
}

/// `oid`, the class of the token, and `azp` or `appid`.
pub(super) fn caller(payload: &Object, issuer: &Issuer) -> Result<Caller, Fault> {
    let object = payload.get("oid").ok_or(Fault::NoObjectId)?;
    let object: Guid = object.text().and_then(|text| text.parse().ok()).ok_or(Fault::BadObjectId)?;
    let class = class(payload, object)?;
    let (client, names) = match issuer.kind {
        IssuerKind::EntraV1 => ("appid", ["upn", "unique_name"]),
        IssuerKind::EntraV2 | IssuerKind::Other(_) => ("azp", ["preferred_username", "upn"]),
    };
    let client = payload.get(client).ok_or(Fault::NoClient)?;
    let client: Guid = client.text().and_then(|text| text.parse().ok()).ok_or(Fault::BadClient)?;
    Ok(Caller {
        principal: PrincipalKey { tenant: issuer.tenant_id, object },
        subject: object.to_string().into(),
        class,
        client: Some(client.to_string().into()),
        username: printable(names.iter().find_map(|name| payload.text(name))),
    })
}

/// Whether this is the access token of a user (`scp`) or of an application (`idtyp` says so, or there is no `scp` and
/// `sub` is the application's own object id). An ID token of the same app registration has the same issuer, audience
/// and key, but neither.
fn class(payload: &Object, object: Guid) -> Result<Class, Fault> {
    let scopes = match payload.get("scp") {
        None => None,
        Some(Json::Text(scopes)) if !scopes.trim().is_empty() => Some(scopes),
        Some(_) => return Err(Fault::BadScopes),
    };
    let kind = match payload.get("idtyp") {
        None => None,
        Some(Json::Text(kind)) => Some(kind.as_str()),
        Some(_) => return Err(Fault::BadTokenKind),
    };
    let is_own = || payload.text("sub").and_then(|subject| subject.parse().ok()) == Some(object);
    match (scopes, kind) {
        (Some(_), None | Some("user")) => Ok(Class::User),
        (None, Some("app")) => Ok(Class::App),
        (None, None) if is_own() => Ok(Class::App),
        (None, None) if !payload.has("azp") && !payload.has("appid") => Err(Fault::IdToken),
        (None, None) => Err(Fault::NotAnAccessToken),
        (Some(_), Some(_)) | (None, Some(_)) => Err(Fault::BadTokenKind),
    }
}
