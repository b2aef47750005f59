//! What operators revoke by calls: read from a body, written into the store as a whole, and only then in force.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::source::{self, Contents, Source};
use crate::diag::Report;
use crate::document;
use crate::reload::load::sha256;
use crate::telemetry::rfc3339;
use crate::token::revoked::{PrincipalName, Target};
use crate::token::{Issuers, Revocation, RevokedList, Rules};

/// Most entries of the store: as many as are read.
const ENTRIES: usize = 1_000_000;

/// What a call is to do with its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Revoke.
    Add,
    /// Take back.
    Remove,
}

/// What a call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Entries that are new.
    pub added: usize,
    /// Entries that were there already.
    pub known: usize,
    /// Entries that were taken back.
    pub removed: usize,
    /// Entries that were dropped because no live token can fall under them.
    pub spent: usize,
}

/// Why a call changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no store, so that the entries would be forgotten at the next start.
    NoStore,
    /// The body is not JSON; why not.
    NotJson(String),
    /// The body has faults: how many, and all of them as people read them.
    Faulty {
        /// How many.
        errors: usize,
        /// All of them.
        report: String,
    },
    /// So many of the entries to take back are not in the store.
    NotInStore(usize),
    /// The store holds as many entries as it may.
    Full,
    /// The store has faults itself; all of them as people read them.
    Unreadable(String),
    /// The store cannot be written; why not.
    Unwritable(String),
    /// Changing it broke (a defect of this program).
    Broken,
}

/// Changes the store at `path`, of which `known` is in force, and says what is to be in force then. Whatever else the
/// file holds by now is kept; if it is gone, what was in force is written anew.
pub(super) fn change(
    path: &PathBuf,
    known: &Contents,
    (change, body): (Change, &[u8]),
    (issuers, rules): (&Issuers, &Rules),
    now: u64,
) -> Result<(Contents, Changed), Refused> {
    let wanted = wanted(body, issuers)?;
    let (mut entries, written) = current(path, known, issuers, now)?;
    let mut changed = Changed::default();
    match change {
        Change::Add => {
            let mut there: HashSet<Target> = entries.iter().map(|entry| entry.target.clone()).collect();
            for target in wanted {
                if there.insert(target.clone()) {
                    changed.added += 1;
                    entries.push(Revocation { target, added_at: Some(now) });
                } else {
                    changed.known += 1;
                }
            }
        }
        Change::Remove => {
            let wanted: HashSet<Target> = wanted.into_iter().collect();
            let there: HashSet<&Target> = entries.iter().map(|entry| &entry.target).collect();
            let missing = wanted.iter().filter(|target| !there.contains(target)).count();
            if missing > 0 {
                return Err(Refused::NotInStore(missing));
            }
            let before = entries.len();
            entries.retain(|entry| !wanted.contains(&entry.target));
            changed.removed = before - entries.len();
        }
    }
    let before = entries.len();
    entries.retain(|entry| !entry.is_spent(rules, now));
    changed.spent = before - entries.len();
    if entries.len() > ENTRIES {
        return Err(Refused::Full);
    }
    let text = render(&entries);
    if !reads_as(&text, &entries, issuers) {
        return Err(Refused::Unwritable("the entries cannot be written so that they read the same".to_owned()));
    }
    let digest = Some(sha256(text.as_bytes()));
    if written != digest {
        write(path, &text).map_err(|error| Refused::Unwritable(error.to_string()))?;
    }
    let list = Arc::new(RevokedList::new(&entries));
    Ok((Contents { digest, list, entries, read_at: now }, changed))
}

/// The entries of a body. JSON is YAML but for tabs between its tokens; inside of its strings they cannot stand.
fn wanted(body: &[u8], issuers: &Issuers) -> Result<Vec<Target>, Refused> {
    let not_json = |error: &dyn std::fmt::Display| Refused::NotJson(error.to_string());
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| not_json(&error))?;
    let text = std::str::from_utf8(body).map_err(|error| not_json(&error))?.replace('\t', " ");
    let mut report = Report::new();
    let source = report.add_source("the body", &text);
    let documents = document::read_revocations(source, &mut report).unwrap_or_default();
    for document in documents.iter().filter(|document| document.added_at.is_some()) {
        report
            .error("added_at", document.place, "the gateway itself writes when an entry was added")
            .help("leave `added_at` out");
    }
    let resolved = Revocation::resolve(documents, issuers, &mut report);
    match resolved.filter(|_| !report.has_errors()) {
        Some(entries) => Ok(entries.into_iter().map(|entry| entry.target).collect()),
        None => Err(Refused::Faulty { errors: report.errors(), report: report.render() }),
    }
}

/// The entries of the store as it is on disk, and its digest; those in force if it is gone.
fn current(
    path: &PathBuf,
    known: &Contents,
    issuers: &Issuers,
    now: u64,
) -> Result<(Vec<Revocation>, Option<[u8; 32]>), Refused> {
    if source::is_absent(path) {
        return Ok((known.entries.clone(), None));
    }
    let mut report = Report::new();
    let source = Source { path: path.clone(), is_store: true, contents: Arc::default(), failed: None };
    match source::read(&source, issuers, now, &mut report) {
        Some(contents) => Ok((contents.entries, contents.digest)),
        None => Err(Refused::Unreadable(report.render())),
    }
}

/// The whole document.
fn render(entries: &[Revocation]) -> String {
    let mut text =
        "# Written by the gateway: what was revoked by calls to its admin listener.\nversion: 1\n".to_owned();
    if entries.is_empty() {
        text.push_str("revoked: []\n");
        return text;
    }
    text.push_str("revoked:\n");
    for entry in entries {
        text.push_str("  - {");
        match &entry.target {
            Target::Principal { tenant, name, issued_before, .. } => {
                let name = match name {
                    PrincipalName::Oid(id) => format!("oid: {id}"),
                    PrincipalName::Subject(subject) => format!("subject: {}", quoted(subject)),
                };
                text.push_str(&format!("principal: {{tenant: {}, {name}}}", quoted(tenant)));
                if let Some(moment) = issued_before {
                    text.push_str(&format!(", issued_before: {}", moment_text(*moment)));
                }
            }
            Target::Token { id, tenant } => {
                text.push_str(&format!("uti: {}", quoted(id)));
                if let Some((tenant, _)) = tenant {
                    text.push_str(&format!(", tenant: {}", quoted(tenant)));
                }
            }
        }
        if let Some(moment) = entry.added_at {
            text.push_str(&format!(", added_at: {}", moment_text(moment)));
        }
        text.push_str("}\n");
    }
    text
}

/// A text in double quotes, with the escapes that JSON and YAML share.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Unix seconds as RFC 3339 writes them.
pub fn moment_text(seconds: u64) -> String {
    rfc3339(seconds.saturating_mul(1_000)).replace(".000Z", "Z")
}

/// Whether a document says exactly this: what is written must be what the next start reads.
fn reads_as(text: &str, entries: &[Revocation], issuers: &Issuers) -> bool {
    let mut report = Report::new();
    let source = report.add_source("the store", text);
    let read = document::read_revoked(source, &mut report);
    let read = read.and_then(|documents| Revocation::resolve(documents, issuers, &mut report));
    !report.has_errors() && read.is_some_and(|read| read == entries)
}

/// Writes a file beside and puts it in its place, for its owner's eyes only. Once it is there, it stays there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // Where the name is a symlink, the file that it points to is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    // One that a process left behind when it was ended.
    let _absent = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&beside, &path)) {
        let _left_behind = fs::remove_file(&beside);
        return Err(error);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::warn!("{} is written, but a crash of the system may undo it: {error}", path.display());
    }
    Ok(())
}
