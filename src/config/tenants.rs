//! `tenants`: each Entra tenant becomes the two exact issuers that sign for it, and the sources of their keys.

use std::path::PathBuf;
use std::sync::Arc;

use super::keys::{self, Sources};
use super::{Base, Seen, list};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::gateway::{AppKeysDocument, TenantDocument};
use crate::model::{Guid, Tenant};
use crate::source::jwks::From;
use crate::token::{Issuer, IssuerId, IssuerKind, KeyUse};

/// Everything whose tokens are believed; complete only if no fault was reported.
pub(super) struct Believed {
    pub(super) tenants: Vec<Tenant>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) keys: Sources,
    names: Seen<String>,
}

/// The sign-in services of the clouds that Microsoft runs. The v1 issuers are those of
/// <https://learn.microsoft.com/answers/questions/1190472>; the US Government has that of the global cloud (`v1_issuer`
/// stands ready for a tenant whose discovery document says otherwise).
const CLOUDS: [(&str, Cloud); 3] = [
    ("global", Cloud { authority: "https://login.microsoftonline.com", v1: "https://sts.windows.net" }),
    ("usgov", Cloud { authority: "https://login.microsoftonline.us", v1: "https://sts.windows.net" }),
    ("china", Cloud { authority: "https://login.partner.microsoftonline.cn", v1: "https://sts.chinacloudapi.cn" }),
];

#[derive(Clone, Copy)]
struct Cloud {
    /// Base URL of discovery and of v2 issuers.
    authority: &'static str,
    /// Base URL of v1 issuers.
    v1: &'static str,
}

/// Whether an `iss` is one of Entra ID, in any cloud.
pub(super) fn is_entra(issuer: &str) -> bool {
    let bases = CLOUDS.iter().flat_map(|(_, cloud)| [cloud.authority, cloud.v1]);
    bases.into_iter().any(|base| issuer.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

impl Believed {
    /// Nothing yet. Whether development keys are among what is believed is for the listeners to say.
    pub(super) fn nothing(development: bool) -> Self {
        let keys = Sources { development, ..Sources::default() };
        Self { tenants: Vec::new(), issuers: Vec::new(), keys, names: Seen::new() }
    }

    /// Takes note of the name of a tenant or issuer, which are one namespace.
    pub(super) fn name(&mut self, name: &Located<String>, report: &mut Report) {
        if let Some(before) = self.names.before(name.value.clone(), name.place) {
            let message = format!("the tenant `{}` is there twice", name.value);
            let help = "names of `tenants` and `issuers` are one list, for gates and principals name both alike";
            report.error("duplicate_tenant", name.place, message).help(help).also(before, "here first");
        }
    }

    /// Adds an issuer with the keys that `keys` makes for it. Its `iss` must not be another's: the first of two would
    /// silently win.
    pub(super) fn issuer(
        &mut self,
        (tenant, tenant_id): (Arc<str>, Guid),
        (url, place): (&str, Place),
        (kind, authorization_uri): (IssuerKind, Option<String>),
        report: &mut Report,
        keys: impl FnOnce(&mut Sources, IssuerId) -> Vec<KeyUse>,
    ) {
        // Those of two tenants differ by the tenants' ids.
        let is_other = matches!(kind, IssuerKind::Other(_));
        if let Some(other) = self.issuers.iter().find(|known| is_other && known.url == url) {
            let message = format!("`{url}` is already an issuer of `{}`", other.tenant);
            report.error("duplicate_issuer", place, message).help("an `iss` belongs to one tenant or issuer");
        }
        // More than a `u16` counts is reported as a fault by the caller.
        let id = IssuerId(u16::try_from(self.issuers.len()).unwrap_or(u16::MAX));
        let keys = keys(&mut self.keys, id);
        self.issuers.push(Issuer { tenant, tenant_id, url: url.to_owned(), kind, keys, authorization_uri });
    }
}

/// Expands all tenants. `beyond` is a listener that other machines can reach: with one, development keys are refused.
pub(super) fn resolve(
    documents: &[TenantDocument],
    base: &Base,
    beyond: Option<&Located<String>>,
    believed: &mut Believed,
    report: &mut Report,
) {
    let mut ids = Seen::new();
    for document in documents {
        believed.name(&document.name, report);
        let id = id(document, &mut ids, report);
        // The name is known even if its id is not, so that documents that mention it do not seem at fault.
        believed.tenants.push(Tenant::of_objects(&document.name.value, id.unwrap_or(Guid(0))));
        let authority = authority(document, report);
        let file = document.keys.as_ref().and_then(|name| keys::file(name, base, beyond, report));
        let unused = document.keys.as_ref().map(|_| "keys");
        let ca = keys::authorities(document.ca.as_ref(), unused, base, report);
        let applications = applications(document, report);
        if let (Some(id), Some((authority, v1))) = (id, authority) {
            let tenant = Expanded { document, id, authority: &authority, file, ca, applications };
            let v1 = v1_issuer(document, id, report).unwrap_or_else(|| format!("{v1}/{id}/"));
            tenant.add((IssuerKind::EntraV1, &v1, &format!("{authority}/{id}")), believed, report);
            let v2 = format!("{authority}/{id}/v2.0");
            tenant.add((IssuerKind::EntraV2, &v2, &v2), believed, report);
        }
    }
}

/// A tenant whose parts are all known.
struct Expanded<'d> {
    document: &'d TenantDocument,
    id: Guid,
    /// Base URL of the sign-in service.
    authority: &'d str,
    file: Option<PathBuf>,
    ca: Option<Vec<u8>>,
    applications: Vec<Application>,
}

/// An application with keys of its own: its client id, and the audiences that these may sign for, that id the first.
struct Application {
    client: String,
    audiences: Vec<Box<str>>,
}

impl Expanded<'_> {
    /// Adds an issuer with its own keys and those of applications. `discovery` is the base URL of its documents.
    fn add(&self, (kind, url, discovery): (IssuerKind, &str, &str), believed: &mut Believed, report: &mut Report) {
        let document = format!("{discovery}/.well-known/openid-configuration");
        let at = |document: String| From::Discovery { document, ca: self.ca.clone() };
        let tenant = Arc::from(self.document.name.value.as_str());
        let place = self.document.place;
        let sign_in = Some(format!("{}/common/oauth2/authorize", self.authority));
        believed.issuer((tenant, self.id), (url, place), (kind, sign_in), report, |sources, issuer| {
            let own = match &self.file {
                Some(path) => From::File(path.clone()),
                None => at(document.clone()),
            };
            let mut keys = vec![KeyUse { source: sources.add((issuer, url), None, own), audiences: None }];
            for Application { client, audiences } in &self.applications {
                let from = at(format!("{document}?appid={client}"));
                let source = sources.add((issuer, url), Some(client), from);
                keys.push(KeyUse { source, audiences: Some(audiences.clone()) });
            }
            keys
        });
    }
}

/// The v1 issuer that a tenant says it has. It must be of the shape that all have, so that it can be neither the v2
/// issuer nor another tenant's.
fn v1_issuer(document: &TenantDocument, id: Guid, report: &mut Report) -> Option<String> {
    let written = document.v1_issuer.as_ref()?;
    if keys::base_url(&written.value).is_err() || !written.value.ends_with(&format!("/{id}/")) {
        let message = format!("`{}` cannot be the v1 issuer of this tenant", written.value);
        let help = format!("it is a URL that ends in the tenant id and a slash: `https://sts.example.org/{id}/`");
        report.error("bad_issuer", written.place, message).help(help);
    }
    Some(written.value.clone())
}

fn applications(document: &TenantDocument, report: &mut Report) -> Vec<Application> {
    let mut seen = Seen::new();
    let mut found = Vec::new();
    for AppKeysDocument { appid, audiences, place: _ } in &document.app_keys {
        let Ok(client) = appid.value.parse::<Guid>() else {
            report
                .error("bad_guid", appid.place, format!("`{}` is no client id", appid.value))
                .help("`appid` is the application (client) id of the app registration, a GUID");
            continue;
        };
        if let Some(before) = seen.before(client, appid.place) {
            let message = format!("the application `{client}` is there twice");
            report
                .error("duplicate_app_keys", appid.place, message)
                .also(before, "here first")
                .help("write one entry with all its `audiences`");
        }
        if let Some(keys) = &document.keys {
            report
                .error("conflicting_keys", appid.place, "`app_keys` are fetched by discovery, which `keys` replaces")
                .also(keys.place, "`keys` is here")
                .help("put the application's keys into a tenant that uses discovery, or remove one of the two");
        }
        let client = client.to_string();
        let own = [client.as_str().into(), format!("api://{client}").into()];
        let listed = audiences.iter().map(|audience| audience.value.as_str().into());
        found.push(Application { audiences: own.into_iter().chain(listed).collect(), client });
    }
    found
}

fn id(document: &TenantDocument, seen: &mut Seen<Guid>, report: &mut Report) -> Option<Guid> {
    let written = &document.id;
    let Ok(id) = written.value.parse() else {
        report
            .error("bad_guid", written.place, format!("`{}` is not a tenant id", written.value))
            .help("a tenant id is a GUID such as `11111111-1111-1111-1111-111111111111`; Entra calls it directory id");
        return None;
    };
    if let Some(before) = seen.before(id, written.place) {
        let message = format!("the tenant id `{id}` is there twice");
        report
            .error("duplicate_tenant", written.place, message)
            .also(before, "here first")
            .help("a tenant has one entry; gates and principals share its name");
    }
    Some(id)
}

/// Base URLs of discovery (and v2 issuers) and of v1 issuers.
fn authority(document: &TenantDocument, report: &mut Report) -> Option<(String, String)> {
    if let Some(written) = &document.authority {
        if let Some(cloud) = &document.cloud {
            report
                .error("conflicting_keys", cloud.place, "`cloud` and `authority` exclude each other")
                .also(written.place, "the other one")
                .help("`cloud` picks one of Microsoft's, `authority` names another of their shape: keep one");
            return None;
        }
        return match keys::base_url(&written.value) {
            Ok(()) => {
                let url = written.value.trim_end_matches('/').to_owned();
                Some((url.clone(), url))
            }
            Err(fault) => {
                report
                    .error(
                        "bad_authority",
                        written.place,
                        format!("no keys can be found at `{}`: {fault}", written.value),
                    )
                    .help("write the base URL of the sign-in service, such as `https://login.example.org`");
                None
            }
        };
    }
    let name = document.cloud.as_ref().map_or("global", |cloud| cloud.value.as_str());
    match CLOUDS.iter().find(|(known, _)| *known == name) {
        Some((_, cloud)) => Some((cloud.authority.to_owned(), cloud.v1.to_owned())),
        None => {
            let place: Option<Place> = document.cloud.as_ref().map(|cloud| cloud.place);
            let known = CLOUDS.map(|(known, _)| known);
            report
                .error("unknown_cloud", place, format!("unknown cloud `{name}`"))
                .help(format!("one of {}", list(&known)));
            None
        }
    }
}
