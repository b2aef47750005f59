//! `tenants`: each Entra tenant becomes the two exact issuers that sign for it, and the sources of their keys.

use std::sync::Arc;

use http::Uri;

use super::{Base, Name, Seen, list};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::gateway::TenantDocument;
use crate::model::Guid;
use crate::source::jwks::{From, KeySource};
use crate::token::{Issuer, IssuerId, IssuerKind, KeySet, KeySourceId, KeyUse};

/// What `tenants` says; complete only if no fault was reported.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) names: Vec<(Name, Guid)>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) keys: Vec<KeySource>,
    /// Whether development keys are believed.
    development: bool,
}

/// The sign-in services of the clouds that Microsoft runs.
const CLOUDS: [(&str, Cloud); 3] = [
    ("global", Cloud { authority: "https://login.microsoftonline.com", v1: Some("https://sts.windows.net") }),
    // No v1 issuer: its host is documented nowhere but in the tenant's own discovery document. A resource that asks
    // for v2 tokens (`accessTokenAcceptedVersion: 2`) does not need it.
    ("usgov", Cloud { authority: "https://login.microsoftonline.us", v1: None }),
    (
        "china",
        Cloud { authority: "https://login.partner.microsoftonline.cn", v1: Some("https://sts.chinacloudapi.cn") },
    ),
];

#[derive(Clone, Copy)]
struct Cloud {
    /// Base URL of discovery and of v2 issuers.
    authority: &'static str,
    /// Base URL of v1 issuers.
    v1: Option<&'static str>,
}

/// Expands all tenants. `beyond` is a listener that other machines can reach: with one, development keys are refused.
pub(super) fn resolve(
    documents: &[TenantDocument],
    base: &Base,
    beyond: Option<&Located<String>>,
    report: &mut Report,
) -> Tenants {
    let mut tenants = Tenants { development: beyond.is_none(), ..Tenants::default() };
    let (mut names, mut ids) = (Seen::new(), Seen::new());
    for document in documents {
        let name = &document.name;
        if let Some(before) = names.before(name.value.clone(), name.place) {
            let message = format!("the tenant `{}` is there twice", name.value);
            report.error("duplicate_tenant", name.place, message).also(before, "here first");
        }
        let id = id(document, &mut ids, report);
        // The name is known even if its id is not, so that documents that mention it do not seem at fault.
        tenants.names.push((Arc::from(name.value.as_str()), id.unwrap_or(Guid(0))));
        let authority = authority(document, report);
        let keys = key_file(document, base, beyond, report);
        let ca = authorities(document, base, report);
        if let (Some(id), Some((authority, v1))) = (id, authority) {
            tenants.expand(document, id, &authority, v1.as_deref(), keys, ca);
        }
    }
    if tenants.issuers.len() > usize::from(u16::MAX) {
        let place = documents.last().map(|document| document.place);
        report.error("too_many_tenants", place, format!("more than {} issuers", u16::MAX));
    }
    tenants
}

impl Tenants {
    fn expand(
        &mut self,
        document: &TenantDocument,
        id: Guid,
        authority: &str,
        v1: Option<&str>,
        keys: Option<std::path::PathBuf>,
        ca: Option<Vec<u8>>,
    ) {
        let v1 = v1.map(|v1| (IssuerKind::EntraV1, format!("{v1}/{id}/"), format!("{authority}/{id}")));
        let v2 = format!("{authority}/{id}/v2.0");
        let v2 = (IssuerKind::EntraV2, v2.clone(), v2);
        for (kind, url, discovery) in v1.into_iter().chain([v2]) {
            let from = match &keys {
                Some(path) => From::File(path.clone()),
                None => From::Discovery {
                    document: format!("{discovery}/.well-known/openid-configuration"),
                    ca: ca.clone(),
                },
            };
            // More than a `u16` counts is reported as a fault by the caller.
            let issuer = IssuerId(u16::try_from(self.issuers.len()).unwrap_or(u16::MAX));
            let source = KeySourceId(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
            self.keys.push(KeySource { id: source, issuer, url: url.clone(), from, development: self.development });
            let tenant = Arc::from(document.name.value.as_str());
            let keys = vec![KeyUse { source, audiences: None }];
            let authorization_uri = Some(format!("{authority}/common/oauth2/authorize"));
            self.issuers.push(Issuer { tenant, tenant_id: id, url, kind, keys, authorization_uri });
        }
    }
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
        report.error("duplicate_tenant", written.place, message).also(before, "here first");
    }
    Some(id)
}

/// Base URLs of discovery (and v2 issuers) and of v1 issuers.
fn authority(document: &TenantDocument, report: &mut Report) -> Option<(String, Option<String>)> {
    if let Some(written) = &document.authority {
        if let Some(cloud) = &document.cloud {
            report
                .error("conflicting_keys", cloud.place, "`cloud` and `authority` exclude each other")
                .also(written.place, "the other one");
            return None;
        }
        return match own_authority(&written.value) {
            Ok(url) => Some((url.clone(), Some(url))),
            Err(fault) => {
                report
                    .error("bad_authority", written.place, format!("`{}` {fault}", written.value))
                    .help("write the base URL of the sign-in service, such as `https://login.example.org`");
                None
            }
        };
    }
    let name = document.cloud.as_ref().map_or("global", |cloud| cloud.value.as_str());
    match CLOUDS.iter().find(|(known, _)| *known == name) {
        Some((_, cloud)) => Some((cloud.authority.to_owned(), cloud.v1.map(str::to_owned))),
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

/// Checks an `authority` and takes a final slash off. Keys that come over plain HTTP could be anybody's, so that is
/// for this machine only.
fn own_authority(text: &str) -> Result<String, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    let (Some(scheme), Some(host), Some(authority)) = (uri.scheme_str(), uri.host(), uri.authority()) else {
        return Err("is not an absolute URL");
    };
    if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
        return Err("must be without user, query and fragment");
    }
    // It stands in the quoted strings of challenges.
    if text.contains(['"', '\\']) {
        return Err("has a character that must be percent-encoded");
    }
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match scheme {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err("would fetch keys over plain HTTP, which only loopback may"),
        _ => return Err("is neither https nor http"),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The file with the tenant's keys, if it names one; its content is checked here so that faults come with a place.
fn key_file(
    document: &TenantDocument,
    base: &Base,
    beyond: Option<&Located<String>>,
    report: &mut Report,
) -> Option<std::path::PathBuf> {
    let name = document.keys.as_ref()?;
    let json = base.read(name, report)?;
    match KeySet::parse(&json) {
        Err(fault) => {
            report.error("bad_keys", name.place, format!("`{}` is no usable key set: {}", name.value, fault.0));
        }
        Ok(keys) => {
            if let Some(listener) = beyond.filter(|_| keys.has_development_key()) {
                report
                    .error("development_keys", name.place, format!("`{}` holds a development key", name.value))
                    .also(listener.place, "other machines can reach this listener")
                    .help("anybody can sign with a development key: listen on 127.0.0.1 only, or use the tenant's own keys");
            }
        }
    }
    Some(base.path(name))
}

fn authorities(document: &TenantDocument, base: &Base, report: &mut Report) -> Option<Vec<u8>> {
    let name = document.ca.as_ref()?;
    if document.keys.is_some() {
        report.warning("unused_ca", name.place, "`ca` is not used, because `keys` names a file");
    }
    let pem = base.read(name, report)?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        report
            .error("bad_certificate", name.place, format!("`{}` holds no certificate", name.value))
            .help("it must be a PEM file with `-----BEGIN CERTIFICATE-----` blocks");
    }
    Some(pem)
}
