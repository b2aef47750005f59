//! How the process runs: `gateway.yaml`, resolved and checked, fixed until the next start.

mod listeners;
mod settings;
mod tenants;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diag::{Place, Report};
use crate::document;
use crate::document::Located;
use crate::document::gateway::{GatewayDocument, TokensDocument};
use crate::proxy::Settings;
use crate::reload::{self, PolicyFiles};
use crate::source::file;
use crate::source::jwks::KeySource;
use crate::token::{Algorithms, Issuer, Rules};

pub use listeners::{Admin, Listener};

/// The whole of `gateway.yaml`. Paths are ready for use: relative ones start at the file that named them.
#[derive(Debug)]
pub struct Config {
    /// The file itself, as it was named.
    pub path: PathBuf,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators connect.
    pub admin: Option<Admin>,
    /// The live documents, and the tenants that they may name.
    pub policy: PolicyFiles,
    /// Every `iss` that is believed; the index is the [`IssuerId`](crate::token::IssuerId).
    pub issuers: Vec<Issuer>,
    /// Where the keys of each issuer come from.
    pub keys: Vec<KeySource>,
    /// How tokens are checked.
    pub rules: Rules,
    /// How many verified tokens are remembered.
    pub cache_entries: u64,
    /// What the data plane needs to know.
    pub settings: Settings,
    /// What is logged.
    pub log: Log,
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Whether each decision is a JSON line on standard output.
    pub decisions: bool,
    /// Lowest level of the process log on standard error.
    pub level: String,
}

/// Reads and resolves a `gateway.yaml`. Every fault goes to `report`: those of the file itself and of the
/// certificates, key sets and certificate authorities that it names. `None` when there is any; then the faults of
/// the live documents are in `report` too, so that nobody has to repair one file to hear of the next.
/// Without a fault the live documents are left to [`reload::load`].
pub fn load(path: &Path, report: &mut Report) -> Option<Config> {
    let source = file::read_document(path, report)?;
    let document = document::read_gateway(source, report)?;
    resolve(path, &document, report)
}

fn resolve(path: &Path, document: &GatewayDocument, report: &mut Report) -> Option<Config> {
    let base = Base::of(path);
    let listeners = listeners::resolve(document, &base, report);
    let tenants = tenants::resolve(&document.tenants, &base, listeners::first_beyond_loopback(document), report);
    let policy = PolicyFiles {
        routes: base.existing(&document.routes, report),
        grants: base.existing(&document.grants, report),
        tenants: tenants.names,
    };
    let rules = rules(&document.tokens, report);
    let settings = settings::resolve(document, report);
    if report.has_errors() {
        if policy.routes.len() == document.routes.len() && policy.grants.len() == document.grants.len() {
            let _rejected_anyway = reload::load(&policy, report);
        } else {
            reload::check_shape(&policy, report);
        }
        return None;
    }
    Some(Config {
        path: path.to_owned(),
        listeners: listeners.clients,
        admin: listeners.admin,
        policy,
        issuers: tenants.issuers,
        keys: tenants.keys,
        rules,
        cache_entries: document.tokens.cache_entries,
        settings,
        log: Log { decisions: document.log.decisions, level: document.log.level.value.clone() },
    })
}

fn rules(document: &TokensDocument, report: &mut Report) -> Rules {
    let mut algorithms = Algorithms { rs256: false, es256: false };
    for name in &document.algorithms {
        match name.value.as_str() {
            "RS256" => algorithms.rs256 = true,
            "ES256" => algorithms.es256 = true,
            _ => {
                let message = format!("unknown algorithm `{}`", name.value);
                report
                    .error("unknown_algorithm", name.place, message)
                    .help("`RS256` and `ES256` are supported; Entra ID signs with RS256");
            }
        }
    }
    Rules { leeway: document.leeway.value.as_secs(), max_lifetime: document.max_lifetime.value.as_secs(), algorithms }
}

/// Where relative paths of `gateway.yaml` start.
struct Base(PathBuf);

impl Base {
    fn of(file: &Path) -> Self {
        Self(file.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The path that a name means.
    fn path(&self, name: &Located<String>) -> PathBuf {
        self.0.join(&name.value)
    }

    /// Reads a small file that `gateway.yaml` names.
    fn read(&self, name: &Located<String>, report: &mut Report) -> Option<Vec<u8>> {
        let path = self.path(name);
        file::read(&path, file::MAX_SECRET).map_err(|error| unreadable(name, &path, &error, report)).ok()
    }

    /// Those of the named files or directories that can be opened; the others are faults.
    fn existing(&self, names: &[Located<String>], report: &mut Report) -> Vec<PathBuf> {
        let mut paths = Vec::with_capacity(names.len());
        for name in names {
            let path = self.path(name);
            match file::probe(&path) {
                Ok(()) => paths.push(path),
                Err(error) => unreadable(name, &path, &error, report),
            }
        }
        paths
    }
}

/// Reports a file that cannot be read, by its name as written.
fn unreadable(name: &Located<String>, path: &Path, error: &str, report: &mut Report) {
    let found = report.error("unreadable_file", name.place, format!("cannot read `{}`: {error}", name.value));
    if path != Path::new(&name.value) {
        found.help(format!("relative paths start at the file that names them; this is `{}`", path.display()));
    }
}

/// Where each value was written first, to tell the second writer of it.
struct Seen<T>(Vec<(T, Place)>);

impl<T: PartialEq> Seen<T> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes note of a value; the place of the same value before it, if there is one.
    fn before(&mut self, value: T, place: Place) -> Option<Place> {
        let before = self.0.iter().find(|(seen, _)| *seen == value).map(|(_, place)| *place);
        if before.is_none() {
            self.0.push((value, place));
        }
        before
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The name of a tenant, shared by all that mention it.
type Name = Arc<str>;
