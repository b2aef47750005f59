//! What must be read before anything can start: keys from files, certificates, the first policy.

use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::diag::Report;
use crate::proxy::tls::ServerTls;
use crate::reload::revoked::Source;
use crate::reload::{self, Loaded};
use crate::route::Compiled;
use crate::source::jwks;
use crate::token::{Issuers, KeyRing};

/// All of it.
pub(super) struct First {
    /// The keys of those issuers that have them in files.
    pub(super) keys: KeyRing,
    /// The certificate of each client listener that has one.
    pub(super) tls: Vec<Option<Arc<ServerTls>>>,
    /// The first policy.
    pub(super) policy: Compiled,
    /// What it was made of.
    pub(super) loaded: Loaded,
    /// What is revoked.
    pub(super) revoked: Vec<Source>,
}

/// The files whose changes matter while the process runs, key sets excepted: those are looked after where keys are.
pub(super) fn watched(config: &Config) -> Vec<PathBuf> {
    let pairs = config.listeners.iter().filter_map(|listener| listener.tls.clone());
    let certificates = pairs.flat_map(|(certificate, key)| [certificate, key]);
    let documents = config.policy.routes.iter().chain(&config.policy.grants).chain([&config.path]);
    documents.cloned().chain(certificates).collect()
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
        let mut tls = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            let Some((certificate, key)) = &listener.tls else {
                tls.push(None);
                continue;
            };
            match ServerTls::load(certificate, key) {
                Ok(loaded) => tls.push(Some(loaded)),
                Err(fault) => {
                    let message = format!("cannot use the certificate `{}`: {fault}", certificate.display());
                    report
                        .error("bad_certificate", None, message)
                        .help("`certificate` is a PEM chain, leaf first, and `key` the private key of the leaf");
                }
            }
        }
        let revoked = reload::revoked::load(&config.revoked, issuers, now, &mut report);
        let mut loaded = reload::load(&config.policy, &mut report);
        match (keys, loaded.compiled.take()) {
            (Some(keys), Some(policy)) if !report.has_errors() => {
                if !report.diagnostics().is_empty() {
                    reload::print(&report.render());
                }
                Ok(Self { keys, tls, policy, loaded, revoked })
            }
            _ => Err(StartError::Configuration(Box::new(report))),
        }
    }
}
