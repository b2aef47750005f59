//! Reads one file of revocations.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diag::Report;
use crate::document::revoked::{RevocationDocument, TargetDocument};
use crate::document::{self, Limits};
use crate::reload::load::sha256;
use crate::source::file;
use crate::telemetry::rfc3339;
use crate::token::revoked::is_ahead;
use crate::token::{Issuers, Revocation, RevokedList};

/// How many entries of a file are remembered as they were written, to be shown to operators.
const SHOWN: usize = 1_000;

/// Where revocations come from.
#[derive(Clone, Debug, Default)]
pub struct RevokedFiles {
    /// Files that people and programs write. Each must be there at the start.
    pub files: Vec<PathBuf>,
    /// The file that the gateway writes what operators revoke by calls into. Absent until then.
    pub store: Option<PathBuf>,
}

impl RevokedFiles {
    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.store)
    }
}

/// One file, and what it said when it could last be used.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the gateway writes it.
    pub is_store: bool,
    /// What is in force of it.
    pub contents: Arc<Contents>,
    /// Why it differs from what is in force, if it does.
    pub failed: Option<Failed>,
}

/// What a file said.
#[derive(Debug, Default)]
pub struct Contents {
    /// SHA-256 of the file; `None` for a store that was never written.
    pub(super) digest: Option<[u8; 32]>,
    /// Ready for look-ups.
    pub list: Arc<RevokedList>,
    /// The entries: of the store all, of a file the first thousand.
    pub entries: Vec<Revocation>,
    /// When it was read, in seconds since the Unix epoch.
    pub read_at: u64,
}

/// A file that could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When that was noticed, in seconds since the Unix epoch.
    pub at: u64,
    /// How many faults it has.
    pub errors: usize,
}

/// Reads all files for the first time; every fault of every file goes to `report`.
pub fn load(files: &RevokedFiles, issuers: &Issuers, now: u64, report: &mut Report) -> Vec<Source> {
    let all = files.paths().map(|path| {
        let is_store = files.store.as_ref() == Some(path);
        let source = Source { path: path.clone(), is_store, contents: Arc::default(), failed: None };
        if is_store && is_absent(&source.path) {
            return source;
        }
        let contents = read(&source, issuers, now, report).unwrap_or_default();
        Source { contents: Arc::new(contents), ..source }
    });
    all.collect()
}

/// Reads all files for their faults of shape only, where the names in them cannot be resolved.
pub fn check_shape(files: &RevokedFiles, report: &mut Report) {
    for path in files.paths().filter(|path| !is_absent(path)) {
        let bytes = file::fetch(path, &Limits::revoked(), report);
        let source = bytes.and_then(|bytes| file::add_document(path, bytes, report));
        source.and_then(|source| document::read_revoked(source, report));
    }
}

/// What a look at a file brought.
pub(super) enum Look {
    /// It says what it said.
    Same,
    /// It says something else; warnings as people read them.
    New { contents: Contents, report: String },
    /// It cannot be used.
    Faulty { errors: usize, report: String },
}

/// Reads a file if it says something new. An absent store is a fault, too, once there was one.
pub(super) fn look(source: &Source, issuers: &Issuers, now: u64) -> Look {
    let mut report = Report::new();
    if source.is_store && source.contents.digest.is_none() && is_absent(&source.path) {
        return Look::Same;
    }
    match read(source, issuers, now, &mut report) {
        Some(contents) if contents.digest == source.contents.digest => Look::Same,
        Some(contents) => Look::New { contents, report: report.render() },
        None => Look::Faulty { errors: report.errors(), report: report.render() },
    }
}

/// Whether nothing is there.
pub(super) fn is_absent(path: &PathBuf) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Reads a file; `None` if it has any fault. A file that says what is known already is not read further.
pub(super) fn read(source: &Source, issuers: &Issuers, now: u64, report: &mut Report) -> Option<Contents> {
    let bytes = file::fetch(&source.path, &Limits::revoked(), report)?;
    let digest = Some(sha256(&bytes));
    if digest == source.contents.digest {
        return Some(Contents { digest, ..Contents::default() });
    }
    let before = report.errors();
    let document = file::add_document(&source.path, bytes, report)?;
    let entries = document::read_revoked(document, report)?;
    warn_of_future(&entries, now, report);
    let mut entries = Revocation::resolve(entries, issuers, report).filter(|_| report.errors() == before)?;
    let list = Arc::new(RevokedList::new(&entries));
    if !source.is_store {
        entries.truncate(SHOWN);
        entries.shrink_to_fit();
    }
    Some(Contents { digest, list, entries, read_at: now })
}

fn warn_of_future(entries: &[RevocationDocument], now: u64, report: &mut Report) {
    for (entry, moment) in entries.iter().filter_map(|entry| Some((entry, future(entry, now)?))) {
        report.warning("future_moment", entry.place, future_text(moment)).help(FUTURE_HELP);
    }
}

/// What to do about a moment that has not come.
pub(super) const FUTURE_HELP: &str =
    "write a moment that has come, or leave `issued_before` out to revoke every token for good";

/// The `issued_before` of an entry, if that moment has not come.
pub(super) fn future(entry: &RevocationDocument, now: u64) -> Option<u64> {
    match entry.target {
        TargetDocument::Principal { issued_before, .. } => issued_before.filter(|moment| is_ahead(*moment, now)),
        TargetDocument::Token { .. } => None,
    }
}

/// What is wrong with a moment that has not come.
pub(super) fn future_text(moment: u64) -> String {
    let moment = moment_text(moment);
    format!("`issued_before` has not come yet: until {moment} new tokens of the principal are refused, too")
}

/// Unix seconds as RFC 3339 writes them.
pub fn moment_text(seconds: u64) -> String {
    rfc3339(seconds.saturating_mul(1_000)).replace(".000Z", "Z")
}
