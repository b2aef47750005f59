//! `portcullis token`: `mint` makes a token for a principal of the configuration, signed with a development key; `explain`
//! takes one apart.

mod advice;
mod explain;
mod input;
mod json;
mod revoked;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::cli::identity::{Identity, Who};
use crate::cli::{ConfigFile, Exit, Failure, now, say};
use crate::config::{self, Config};
use crate::diag::Report;
use crate::document::grants::{GrantsDocument, PrincipalDocument, PrincipalName};
use crate::document::routes::{ApplicationDocument, RoutesDocument};
use crate::reload;
use crate::source::file;
use crate::source::jwks::From;
use crate::token::IssuerKind;
use crate::token::mint::DevelopmentKey;

/// `token`.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print an access token, signed with the development key of the principal's tenant.
    Mint(Options),
    /// Say why a token would be believed or not, and what to change; nothing is sent anywhere.
    Explain(explain::Options),
}

/// `token mint`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The id of the principal in the grants.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    /// The application that the token is for [default: the first whose grants know the principal].
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// How long the token lasts: a number and `s`, `m` or `h`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    lifetime: u64,
    /// The private key in PEM [default: beside the tenant's key set, `dev.key.pem` for `dev.jwks.json`].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Does what the verb says.
pub(super) fn run(verb: &Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Mint(options) => mint(options),
        Verb::Explain(options) => explain::run(options),
    }
}

/// Prints one token and nothing else.
fn mint(options: &Options) -> Result<Exit, Failure> {
    let mut report = Report::new();
    let config = config::load(&options.config.path, &mut report);
    let documents = config.as_ref().map(|config| Documents::read(config, &mut report));
    let (Some(config), Some(documents), false) = (config, documents, report.has_errors()) else {
        return Err(Failure::new(Exit::Configuration, report.render()));
    };
    let longest = config.rules.max_lifetime;
    if options.lifetime > longest {
        return Err(usage(format!("`tokens.max_lifetime` is {longest} s; the gateway would refuse a longer token")));
    }
    let (application, principal) = documents.find(&options.principal, options.application.as_deref())?;
    let (identity, jwks) = identity(&config, application, principal)?;
    let key = development_key(&jwks, options.key.as_deref())?;
    let token = key.mint(&identity.claims(now(), options.lifetime)).map_err(|fault| refused(fault.0))?;
    say(token);
    Ok(Exit::Ok)
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn refused(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Findings, message)
}

/// The live documents as they are written.
struct Documents {
    routes: Vec<RoutesDocument>,
    grants: Vec<GrantsDocument>,
}

impl Documents {
    fn read(config: &Config, report: &mut Report) -> Self {
        let (routes, grants) = reload::read_documents(&config.policy, report);
        Self { routes, grants }
    }

    /// The application, and the principal in the grants that decide for it.
    fn find(&self, id: &str, name: Option<&str>) -> Result<(&ApplicationDocument, &PrincipalDocument), Failure> {
        let applications: Vec<_> = self.routes.iter().flat_map(|document| &document.applications).collect();
        if let Some(name) = name
            && !applications.iter().any(|application| application.name.value == name)
        {
            let names = listed(applications.iter().map(|application| &application.name.value));
            return Err(usage(format!("no application `{name}`; there is {names}")));
        }
        let wanted = applications.iter().filter(|application| name.is_none_or(|name| application.name.value == name));
        let found = wanted.filter_map(|application| Some((*application, self.principal(application, id)?))).next();
        found.ok_or_else(|| {
            let known = self.grants.iter().flat_map(|document| &document.principals);
            usage(format!(
                "no application's grants know a principal `{id}`; they know {}",
                listed(known.map(|p| &p.id.value))
            ))
        })
    }

    fn principal(&self, application: &ApplicationDocument, id: &str) -> Option<&PrincipalDocument> {
        let mut domains = self.grants.iter().filter(|document| document.domain.value == application.domain.value);
        domains.find_map(|document| document.principals.iter().find(|principal| principal.id.value == id))
    }
}

/// Some names for a message; a large configuration has more than anybody wants to see.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.get(..SHOWN) {
        _ if names.is_empty() => "none".to_owned(),
        Some(shown) if names.len() > SHOWN => format!("{} and {} more", shown.join(", "), names.len() - SHOWN),
        _ => names.join(", "),
    }
}

/// What the token says, and the key set file of its tenant.
fn identity(
    config: &Config,
    application: &ApplicationDocument,
    principal: &PrincipalDocument,
) -> Result<(Identity, PathBuf), Failure> {
    let tenant = principal.tenant.value.as_str();
    let mut issuers = config.issuers.iter();
    let found = issuers.find(|issuer| &*issuer.tenant == tenant && issuer.kind != IssuerKind::EntraV1);
    let source = |id| config.keys.iter().find(|source| source.id == id);
    let found = found.and_then(|issuer| Some((issuer, source(issuer.keys.first()?.source)?)));
    let Some((issuer, source)) = found else {
        return Err(refused(format!(
            "gateway.yaml has no tenant `{tenant}`, which is the tenant of `{}`",
            principal.id.value
        )));
    };
    let From::File(jwks) = &source.from else {
        return Err(refused(format!(
            "tenant `{tenant}` signs with keys of its own; only a development key in a file under `keys` (`jwks` of an issuer) can be used"
        )));
    };
    let name = &principal.known_by.text().value;
    let who = match (&issuer.kind, &principal.known_by) {
        (IssuerKind::Other(profile), PrincipalName::Subject(_)) => {
            Who::Subject { subject: name.clone(), profile: Arc::clone(profile) }
        }
        (IssuerKind::EntraV1 | IssuerKind::EntraV2, PrincipalName::ObjectId(_)) => {
            let fault = |_| refused(format!("the `oid` of the principal is not a GUID: `{name}`"));
            Who::Object { tenant: issuer.tenant_id, object: name.parse().map_err(fault)? }
        }
        (_, PrincipalName::Subject(_) | PrincipalName::ObjectId(_)) => {
            let key = principal.known_by.key();
            return Err(refused(format!("`{tenant}` does not name its principals by `{key}`")));
        }
    };
    let gate = &application.gate;
    let admitted = |audience: &&str| match &issuer.kind {
        IssuerKind::Other(profile) => {
            profile.audiences.is_empty() || profile.audiences.iter().any(|known| **known == **audience)
        }
        IssuerKind::EntraV1 | IssuerKind::EntraV2 => true,
    };
    let mut audiences = gate.audiences.iter().map(|audience| audience.value.as_str());
    let identity = Identity {
        issuer: issuer.url.clone(),
        who,
        username: principal.id.value.clone(),
        audience: audiences.find(admitted).unwrap_or_default().to_owned(),
        roles: gate.app_roles.iter().map(|role| role.value.clone()).collect(),
        client: gate.clients.first().map(|client| client.value.clone()),
    };
    Ok((identity, jwks.clone()))
}

/// Reads the private key and makes sure that it is a development key of this key set.
fn development_key(jwks: &Path, key: Option<&Path>) -> Result<DevelopmentKey, Failure> {
    let beside = || {
        let name = jwks.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.strip_suffix(".jwks.json").or_else(|| name.strip_suffix(".json")).unwrap_or(name);
        jwks.with_file_name(format!("{stem}.key.pem"))
    };
    let key = key.map_or_else(beside, Path::to_owned);
    let read = |path: &Path| {
        file::read(path, file::MAX_SECRET)
            .map_err(|error| refused(format!("cannot read `{}`: {error}", path.display())))
    };
    let pem = read(&key)?;
    let pem = String::from_utf8_lossy(&pem);
    DevelopmentKey::from_pem(&pem, &read(jwks)?)
        .map_err(|fault| refused(format!("`{}` cannot sign for `{}`: {}", key.display(), jwks.display(), fault.0)))
}

/// Reads `90s`, `30m`, `8h` or `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let factor = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse::<u64>().ok());
    let seconds = number.and_then(|number| number.checked_mul(factor));
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "write a number and `s`, `m`, `h` or `d`, such as `30m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        for (text, read) in [("90s", 90), ("30m", 1800), ("8h", 28800), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(read), "{text}");
        }
        for text in ["", "h", "0h", "-1h", "1", "1w", "1.5h", "1 h", "18446744073709551615h", "1é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<String> = (0..25).map(|number| number.to_string()).collect();
        assert!(listed(names.iter()).ends_with("`19` and 5 more"));
        assert_eq!(listed(names.iter().take(2)), "`0`, `1`");
        assert_eq!(listed(names.iter().take(0)), "none");
    }
}
