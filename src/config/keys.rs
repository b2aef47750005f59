//! Where keys come from, as tenants and issuers of `gateway.yaml` say it.

use std::path::PathBuf;

use super::Base;
use crate::diag::Report;
use crate::document::Located;
use crate::source::http::Url;
use crate::source::jwks::{From, KeySource};
use crate::token::{IssuerId, KeySet, KeySetFault, KeySourceId, Refused};

/// The list of all sources; a source's place in it is its id.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) list: Vec<KeySource>,
    /// Whether development keys are believed.
    pub(super) development: bool,
}

impl Sources {
    /// Adds a source of the issuer with this id and `iss`; `application` is the one that the keys belong to, if it is a
    /// single one. More than a `u16` counts is reported as a fault by whoever resolves the file.
    pub(super) fn add(
        &mut self,
        (issuer, url): (IssuerId, &str),
        application: Option<&str>,
        from: From,
    ) -> KeySourceId {
        let id = KeySourceId(u16::try_from(self.list.len()).unwrap_or(u16::MAX));
        let (url, application) = (url.to_owned(), application.map(str::to_owned));
        self.list.push(KeySource { id, issuer, url, application, from, development: self.development });
        id
    }
}

/// A key file; its content is checked here so that faults come with a place. `beyond` is a listener that other machines
/// can reach: with one, development keys are refused.
pub(super) fn file(
    name: &Located<String>,
    base: &Base,
    beyond: Option<&Located<String>>,
    report: &mut Report,
) -> Option<PathBuf> {
    let json = base.read(name, report)?;
    match KeySet::parse(&json) {
        Err(KeySetFault { why, .. }) => {
            report.error("bad_keys", name.place, format!("`{}` is no usable key set: {why}", name.value)).help(
                "it must be a JWKS document (RFC 7517) with public keys, as the issuer publishes it at its `jwks_uri`",
            );
        }
        Ok(keys) => {
            for Refused { why, .. } in keys.refused().iter().filter(|refused| refused.exposed) {
                report
                    .warning("exposed_key", name.place, format!("`{}`: {why}", name.value))
                    .help("a key set holds public keys only: take the key out of use, for others can sign with it");
            }
            if let Some(listener) = beyond.filter(|_| keys.has_development_key()) {
                report
                    .error("development_keys", name.place, format!("`{}` holds a development key", name.value))
                    .also(listener.place, "other machines can reach this listener")
                    .help("anybody can sign with a development key: listen on 127.0.0.1 only, or use the issuer's own keys");
            }
        }
    }
    Some(base.path(name))
}

/// The certificate authorities that fetches trust. `unused` is the key that names a file in place of fetches.
pub(super) fn authorities(
    ca: Option<&Located<String>>,
    unused: Option<&str>,
    base: &Base,
    report: &mut Report,
) -> Option<Vec<u8>> {
    let name = ca?;
    if let Some(key) = unused {
        report.warning("unused_ca", name.place, format!("`ca` is not used, because `{key}` names a file"));
    }
    let pem = base.read(name, report)?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        report
            .error("bad_certificate", name.place, format!("`{}` holds no certificate", name.value))
            .help("it must be a PEM file with `-----BEGIN CERTIFICATE-----` blocks");
    }
    Some(pem)
}

/// Checks a base URL that documents are fetched below: https, or plain http on this machine, and nothing behind its
/// path. The clause of a failure follows the text.
pub(super) fn base_url(text: &str) -> Result<(), String> {
    if text.contains(['?', '#']) {
        return Err("must be without query and fragment".into());
    }
    // It may stand in the quoted strings of challenges.
    if text.contains(['"', '\\']) {
        return Err("has a character that must be percent-encoded".into());
    }
    Url::parse(text).map(drop)
}
