//! What operators revoke by calls: read from a body, written into the store as a whole, and only then in force.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::source::{self, Contents, Source, moment_text};
use crate::diag::Report;
use crate::document;
use crate::reload::load::sha256;
use crate::token::revoked::{PrincipalName, Target};
use crate::token::{Issuers, Revocation, RevokedList, Rules};

/// Most entries of the store: as many as are read.
const ENTRIES: usize = 1_000_000;
/// Most entries that are named to an operator who named another.
const NEAR: usize = 5;

/// What a call is to do with its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Revoke.
    Add,
    /// Take back. Who names more takes back less: a principal without a moment stands for every entry of the principal, a
    /// token without a tenant for every entry of that id; with it, for the very entry. Entries of files stay.
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
        /// Each of the first thousand, for programs.
        found: Vec<Found>,
    },
    /// Some of the entries to take back are not in the store.
    NotInStore {
        /// How many.
        missing: usize,
        /// A few that the store has of the same principals and tokens.
        near: Vec<Target>,
    },
    /// The store holds as many entries as it may.
    Full,
    /// The store has faults itself; all of them as people read them.
    Unreadable(String),
    /// The store cannot be written; why not.
    Unwritable(String),
    /// Changing it broke (a defect of this program).
    Broken,
}

/// One fault of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The stable word for its class.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
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
    let wanted = wanted(change, body, issuers, now)?;
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
            let before = entries.len();
            take_back(&mut entries, wanted)?;
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

/// Takes out of `entries` what `wanted` stands for (see [`Change::Remove`]).
fn take_back(entries: &mut Vec<Revocation>, wanted: Vec<Target>) -> Result<(), Refused> {
    let mut found: HashMap<Target, bool> = wanted.into_iter().map(|target| (target, false)).collect();
    for entry in &*entries {
        for name in [&entry.target, &entry.target.widest()] {
            if let Some(found) = found.get_mut(name) {
                *found = true;
            }
        }
    }
    let missing: Vec<Target> = found.iter().filter(|(_, found)| !**found).map(|(target, _)| target.widest()).collect();
    if missing.is_empty() {
        entries.retain(|entry| !found.contains_key(&entry.target) && !found.contains_key(&entry.target.widest()));
        return Ok(());
    }
    let names: HashSet<&Target> = missing.iter().collect();
    let near = entries.iter().map(|entry| &entry.target).filter(|target| names.contains(&target.widest()));
    Err(Refused::NotInStore { missing: missing.len(), near: near.take(NEAR).cloned().collect() })
}

/// The entries of a body. JSON is YAML but for tabs between its tokens; inside of its strings they cannot stand.
fn wanted(change: Change, body: &[u8], issuers: &Issuers, now: u64) -> Result<Vec<Target>, Refused> {
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
    if change == Change::Add {
        for (entry, moment) in documents.iter().filter_map(|entry| Some((entry, source::future(entry, now)?))) {
            report.error("future_moment", entry.place, source::future_text(moment)).help(source::FUTURE_HELP);
        }
    }
    let resolved = Revocation::resolve(documents, issuers, &mut report);
    match resolved.filter(|_| !report.has_errors()) {
        Some(entries) => Ok(entries.into_iter().map(|entry| entry.target).collect()),
        None => {
            let found = report.diagnostics().iter().map(|found| Found {
                code: found.code,
                message: found.message.clone(),
                help: found.help.clone(),
            });
            let found = found.collect();
            Err(Refused::Faulty { errors: report.errors(), report: report.render(), found })
        }
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
        text.push_str(&target_text(&entry.target));
        if let Some(moment) = entry.added_at {
            text.push_str(&format!(", added_at: {}", moment_text(moment)));
        }
        text.push_str("}\n");
    }
    text
}

/// What an entry revokes, in the words of the file.
pub fn target_text(target: &Target) -> String {
    match target {
        Target::Principal { tenant, name, issued_before, .. } => {
            let name = match name {
                PrincipalName::Oid(id) => format!("oid: {id}"),
                PrincipalName::Subject(subject) => format!("subject: {}", quoted(subject)),
            };
            let moment = issued_before.map(|moment| format!(", issued_before: {}", moment_text(moment)));
            format!("principal: {{tenant: {}, {name}}}{}", quoted(tenant), moment.unwrap_or_default())
        }
        Target::Token { id, tenant } => {
            let tenant = tenant.as_ref().map(|(tenant, _)| format!(", tenant: {}", quoted(tenant)));
            format!("uti: {}{}", quoted(id), tenant.unwrap_or_default())
        }
    }
}

/// A text in double quotes, with the escapes that JSON and YAML share.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
