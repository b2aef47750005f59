//! Issuers that are believed: a table of exact texts, made from `gateway.yaml` and fixed until restart.

use std::sync::Arc;

use super::keys::KeySourceId;
use crate::model::Guid;

/// Index of an issuer in [`Issuers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IssuerId(pub u16);

/// Which shape of token an issuer writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// Entra ID: `ver` is `1.0`, the client stands in `appid`.
    EntraV1,
    /// Entra ID: `ver` is `2.0`, the client stands in `azp`.
    EntraV2,
    /// Any other issuer of JWT access tokens (OpenID Connect, RFC 9068).
    Other(Arc<Profile>),
}

/// Where the tokens of an issuer that is not Entra ID say what. A claim's name may be a path with dots, such as
/// `realm_access.roles`; a claim of the whole name comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The claim that names the caller, `sub` as a rule.
    pub subject: Box<str>,
    /// The claim with the client, or none to look at those in use: `azp`, `client_id`, `cid`.
    pub client: Option<Box<str>>,
    /// The claim with the roles.
    pub roles: Box<str>,
    /// The claim with the groups.
    pub groups: Box<str>,
    /// The claim with a name for display.
    pub username: Box<str>,
    /// Audiences one of which each token must carry; empty: the gates alone decide.
    pub audiences: Vec<Box<str>>,
}

/// Keys that may have signed the tokens of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which keys.
    pub source: KeySourceId,
    /// For the keys of a single application, which its owners hold: the only audiences that they may sign for, its
    /// client id the first.
    pub audiences: Option<Vec<Box<str>>>,
}

impl KeyUse {
    /// The client id of the application whose keys these are; `None` for the issuer's own.
    pub fn application(&self) -> Option<&str> {
        self.audiences.as_ref()?.first().map(|client| &**client)
    }
}

/// One exact `iss`.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Name of the tenant or issuer, as gates and logs use it.
    pub tenant: Arc<str>,
    /// The tenant id; `tid` must be this. For an issuer of another kind, the digest of its URL.
    pub tenant_id: Guid,
    /// The exact `iss`, compared as a whole, byte by byte.
    pub url: String,
    /// Its kind.
    pub kind: IssuerKind,
    /// What its tokens are signed with, the issuer's own keys first.
    pub keys: Vec<KeyUse>,
    /// Where clients that can handle a claims challenge are sent (Entra ID only, see [`crate::pep::judge_again`]).
    pub authorization_uri: Option<String>,
}

/// All issuers of the process.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Makes the table. An issuer's place in the list is its [`IssuerId`]; the first of two with the same text counts.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }

    /// Finds an issuer by its exact text.
    pub fn find(&self, url: &str) -> Option<IssuerId> {
        self.iter().find(|(_, issuer)| issuer.url == url).map(|(id, _)| id)
    }

    /// The issuer with this id.
    pub fn get(&self, id: IssuerId) -> Option<&Issuer> {
        self.0.get(usize::from(id.0))
    }

    /// All issuers with their ids, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (IssuerId, &Issuer)> {
        (0..=u16::MAX).map(IssuerId).zip(&self.0)
    }

    /// Whether a key whose JWK says `key_issuer` may sign for `issuer`: the text, with `{tenantid}` replaced by the
    /// tenant's id, must be the issuer's own. Entra writes the v2 form in the key documents of both versions, so for
    /// a v1 issuer the tenant's v2 issuer is as good.
    pub(super) fn key_may_sign(&self, key_issuer: &str, issuer: &Issuer) -> bool {
        let claimed = key_issuer.replace("{tenantid}", &issuer.tenant_id.to_string());
        claimed == issuer.url
            || issuer.kind == IssuerKind::EntraV1
                && self.0.iter().any(|other| {
                    other.kind == IssuerKind::EntraV2 && other.tenant_id == issuer.tenant_id && other.url == claimed
                })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Issuers {
        let tenant_id: Guid = "11111111-1111-1111-1111-111111111111".parse().unwrap();
        let issuer = |url: &str, kind| Issuer {
            tenant: Arc::from("uss"),
            tenant_id,
            url: url.into(),
            kind,
            keys: Vec::new(),
            authorization_uri: None,
        };
        Issuers::new(vec![
            issuer("https://sts.windows.net/11111111-1111-1111-1111-111111111111/", IssuerKind::EntraV1),
            issuer("https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0", IssuerKind::EntraV2),
        ])
    }

    #[test]
    fn an_issuer_is_found_by_its_whole_text_only() {
        let issuers = table();
        assert_eq!(issuers.find("https://sts.windows.net/11111111-1111-1111-1111-111111111111/"), Some(IssuerId(0)));
        for near in [
            "",
            "https://sts.windows.net/11111111-1111-1111-1111-111111111111",
            "https://STS.windows.net/11111111-1111-1111-1111-111111111111/",
            "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0/",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
        ] {
            assert_eq!(issuers.find(near), None, "{near}");
        }
    }

    #[test]
    fn a_key_signs_for_the_issuer_that_its_document_names() {
        let issuers = table();
        let (v1, v2) = (issuers.get(IssuerId(0)).unwrap(), issuers.get(IssuerId(1)).unwrap());
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let consumers = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        for (key, issuer, expected) in [
            (template, v2, true),
            (template, v1, true),
            (v1.url.as_str(), v1, true),
            (v1.url.as_str(), v2, false),
            (consumers, v1, false),
            (consumers, v2, false),
            ("", v2, false),
        ] {
            assert_eq!(issuers.key_may_sign(key, issuer), expected, "{key} for {}", issuer.url);
        }
    }
}
