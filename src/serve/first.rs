//! What must be read before anything can start: keys from files, certificates, the first policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use crate::config::{Config, Listener};
use crate::diag::Report;
use crate::proxy::listener::Terms;
use crate::proxy::tls::{ServerTls, TlsFiles};
use crate::reload::revoked::Source;
use crate::reload::{self, Loaded, Written};
use crate::route::Compiled;
use crate::source::jwks;
use crate::token::{Issuers, KeyRing};

/// All of it.
pub(super) struct First {
    /// The keys of those issuers that have them in files.
    pub(super) keys: KeyRing,
    /// What each client listener asks and gives, with its certificates.
    pub(super) terms: Vec<Terms>,
    /// The certificates of the admin listener.
    pub(super) admin_tls: Option<Arc<ServerTls>>,
    /// The first policy.
    pub(super) policy: Compiled,
    /// What it was made of.
    pub(super) loaded: Loaded,
    /// What is revoked.
    pub(super) revoked: Vec<Source>,
}

/// The files whose changes matter while the process runs, key sets excepted: those are looked after where keys are.
pub(super) fn watched(config: &Config) -> Vec<PathBuf> {
    let operators = config.admin.iter().filter_map(|admin| admin.tls.as_ref());
    let certificates = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let certificates = certificates.chain(operators).flat_map(TlsFiles::paths);
    let documents = config.policy.routes.iter().chain(&config.policy.grants).chain([&config.path]);
    documents.cloned().chain(certificates.map(Path::to_owned)).collect()
}

impl First {
    /// Reads everything, or tells all faults of all files. Warnings go to standard error.
    pub(super) fn read(config: &Config, issuers: &Issuers, now: u64) -> Result<Self, StartError> {
        let mut report = Report::new();
        let keys = match jwks::load_files(&config.keys, KeyRing::empty(config.keys.len()), now) {
            Ok(keys) => Some(keys),
            Err(mut faults) => {
                // The issuers of one tenant share a file.
                faults.dedup();
                for (path, fault) in faults {
                    report
                        .error("bad_keys", None, format!("cannot use the keys in `{}`: {fault}", path.display()))
                        .help("it must be a JWKS document (RFC 7517) with public keys");
                }
                None
            }
        };
        let terms = config.listeners.iter().map(|listener| terms(listener, &mut report)).collect();
        let admin_tls = config.admin.as_ref().and_then(|admin| load(admin.tls.as_ref()?, &mut report));
        let revoked = reload::revoked::load(&config.revoked, issuers, now, &mut report);
        for feed in &config.policy.feeds {
            if let Err(fault) = feed.await_first() {
                let message = format!("no rows for the domain `{}`: {fault}", feed.domain());
                report
                    .error("no_rows", None, message)
                    .help("check `postgres` in gateway.yaml, and that the database runs");
                return Err(StartError::Configuration(Box::new(report)));
            }
        }
        let others = report.errors();
        let mut loaded = reload::load(&config.policy, &mut report);
        // Faults of other files are nothing that older documents mend.
        if let (true, 0, Some(directory)) = (report.has_errors(), others, &config.reload.last_good) {
            (loaded, report) = last_good(directory, config, report)?;
        }
        match (keys, loaded.compiled.take()) {
            (Some(keys), Some(policy)) if !report.has_errors() => {
                if !report.diagnostics().is_empty() {
                    reload::print(&report.render());
                }
                Ok(Self { keys, terms, admin_tls, policy, loaded, revoked })
            }
            _ => Err(StartError::Configuration(Box::new(report))),
        }
    }
}

fn load(files: &TlsFiles, report: &mut Report) -> Option<Arc<ServerTls>> {
    let faults = match ServerTls::load(files.clone()) {
        Ok(loaded) => return Some(loaded),
        Err(faults) => faults,
    };
    for fault in faults {
        report
            .error("bad_certificate", None, format!("cannot use {fault}"))
            .help("it must be a PEM file: a chain, leaf first, the private key of the leaf, authorities or lists");
    }
    None
}

/// Takes the last good documents in place of those that have the faults in `report`, which are told; its own report is in its
/// place then.
fn last_good(directory: &Path, config: &Config, report: Report) -> Result<(Loaded, Report), StartError> {
    let mut kept = Report::new();
    let Some(loaded) = reload::load_last_good(directory, &config.policy, &mut kept) else {
        return Err(StartError::LastGood(Box::new([report, kept])));
    };
    let Written { serial, at } = loaded.stale.unwrap_or_default();
    tracing::error!(
        errors = report.errors(),
        serial,
        published_at = at,
        "policy files cannot be used: started with the last good ones, which are stale"
    );
    reload::print(&report.render());
    Ok((loaded, kept))
}

fn terms(listener: &Listener, report: &mut Report) -> Terms {
    let Listener { address: _, tls, proxy_protocol, hsts, redirect_to_https } = listener;
    Terms {
        tls: tls.as_ref().and_then(|files| load(files, report)),
        proxy_protocol: *proxy_protocol,
        hsts: hsts.clone(),
        redirect_to_https: *redirect_to_https,
    }
}
