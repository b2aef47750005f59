//! `issuers`: issuers of tokens other than Entra ID, and the sources of their keys.

use std::sync::Arc;

use super::tenants::{Believed, is_entra};
use super::{Base, keys};
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::IssuerDocument;
use crate::model::{Guid, Tenant};
use crate::reload::sha256;
use crate::source::http::Url;
use crate::source::jwks::From;
use crate::token::{IssuerKind, KeyUse, Profile, principal_of};

/// Longest `iss` and longest name of a claim, in bytes.
const TEXT_BYTES: usize = 2048;

/// Adds all issuers to what is believed.
pub(super) fn resolve(
    documents: &[IssuerDocument],
    base: &Base,
    beyond: Option<&Located<String>>,
    believed: &mut Believed,
    report: &mut Report,
) {
    for document in documents {
        let url = &document.issuer;
        believed.name(&document.name, report);
        let id = id(&url.value);
        // The name is known even if the issuer is at fault, so that documents that mention it do not seem at fault.
        believed.tenants.push(Tenant::of_subjects(&document.name.value, id, principal_of));
        let from = from(document, base, beyond, report);
        let profile = profile(document, report);
        if let (Some(from), Some(profile)) = (from, profile) {
            let tenant = Arc::from(document.name.value.as_str());
            let kind = IssuerKind::Other(Arc::new(profile));
            believed.issuer((tenant, id), (&url.value, url.place), (kind, None), report, |sources, issuer| {
                let source = sources.add((issuer, &url.value), None, from);
                vec![KeyUse { source, audiences: None }]
            });
        }
    }
}

/// What stands for the tenant id of an issuer that has none.
fn id(url: &str) -> Guid {
    Guid::of_digest(sha256(url.as_bytes()))
}

fn from(document: &IssuerDocument, base: &Base, beyond: Option<&Located<String>>, report: &mut Report) -> Option<From> {
    let issuer = &document.issuer;
    if issuer.value.is_empty() || issuer.value.len() > TEXT_BYTES || issuer.value.contains(char::is_control) {
        let help = "write the exact `iss` of its tokens, such as `https://sso.example.org/realms/main`";
        report.error("bad_issuer", issuer.place, "this cannot be an `iss`").help(help);
        return None;
    }
    if is_entra(&issuer.value) {
        report
            .error("entra_issuer", issuer.place, format!("`{}` is an issuer of Entra ID", issuer.value))
            .help("write an entry of `tenants` with the tenant id: it knows both issuers and the claims of the tenant");
        return None;
    }
    let written = document.jwks.as_ref();
    let is_url = |text: &&Located<String>| text.value.contains("://");
    if let Some(name) = written.filter(|text| !is_url(text)) {
        let file = keys::file(name, base, beyond, report);
        keys::authorities(document.ca.as_ref(), Some("jwks"), base, report);
        return file.map(From::File);
    }
    let ca = keys::authorities(document.ca.as_ref(), None, base, report);
    match written {
        Some(url) => match Url::parse(&url.value) {
            Ok(_) => Some(From::Jwks { document: url.value.clone(), ca }),
            Err(fault) => {
                report
                    .error("bad_jwks", url.place, fault)
                    .help("write the name of a file, or an https URL such as `https://sso.example.org/keys`");
                None
            }
        },
        None => match keys::base_url(&issuer.value) {
            Ok(()) => {
                // OpenID Connect Discovery 1.0 section 4.1: without a final slash.
                let base = issuer.value.trim_end_matches('/');
                Some(From::Discovery { document: format!("{base}/.well-known/openid-configuration"), ca })
            }
            Err(fault) => {
                report
                    .error("bad_issuer", issuer.place, format!("no keys can be found for `{}`: {fault}", issuer.value))
                    .help("without `jwks`, keys are found by discovery at the URL of the issuer");
                None
            }
        },
    }
}

fn profile(document: &IssuerDocument, report: &mut Report) -> Option<Profile> {
    let IssuerDocument { audiences, subject, client, roles, groups, username, .. } = document;
    let named = [subject, client, roles, groups, username].into_iter().flatten();
    let mut good = true;
    for name in named.chain(audiences) {
        if name.value.is_empty() || name.value.len() > TEXT_BYTES {
            let message = "a name of a claim or an audience has 1 to 2048 bytes";
            report.error("bad_value", name.place, message).help("write the name, or leave the key out");
            good = false;
        }
    }
    let or = |written: &Option<Located<String>>, default: &str| {
        written.as_ref().map_or(default, |text| text.value.as_str()).into()
    };
    good.then(|| Profile {
        subject: or(subject, "sub"),
        client: client.as_ref().map(|text| text.value.as_str().into()),
        roles: or(roles, "roles"),
        groups: or(groups, "groups"),
        username: or(username, "preferred_username"),
        audiences: audiences.iter().map(|text| text.value.as_str().into()).collect(),
    })
}
