//! Whether a token is revoked, by the files that the gateway would read: as they are now, and nobody is asked.

use std::path::Path;
use std::sync::Arc;

use super::advice::{Advice, place_of};
use crate::cli::{Exit, Failure, now};
use crate::diag::{Place, Report};
use crate::document::{self, Limits};
use crate::reload::revoked::{self, RevokedFiles};
use crate::source::file;
use crate::token::revoked::Target;
use crate::token::{Fault, Issuers, Outcome, Revocation, Revoked, RevokedList, Shown, Verified};

/// What came of the look at the files.
pub(super) struct Looked {
    /// Not reached where too little of the token can be read to know whose it is.
    pub(super) outcome: Outcome,
    /// For a revoked token: the entry, and what it covers.
    pub(super) advice: Option<Advice>,
}

impl Looked {
    /// The stable word, for programs.
    pub(super) const WORD: &'static str = "revoked";
    /// What is asked, for people.
    pub(super) const ASKS: &'static str = "neither the token nor its principal is revoked";

    /// Whether the token is revoked.
    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// Looks for the token in all files and in the store.
///
/// # Errors
/// Exit code 3 where a file cannot be used: a gateway would not start with it, and nobody can tell what it revokes.
pub(super) fn look(
    files: &RevokedFiles,
    issuers: &Issuers,
    said: Option<&Verified>,
    report: &mut Report,
) -> Result<Looked, Failure> {
    let sources = revoked::load(files, issuers, now(), report);
    if report.has_errors() {
        return Err(Failure::new(Exit::Configuration, report.render()));
    }
    let Some(said) = said else { return Ok(Looked { outcome: Outcome::NotReached, advice: None }) };
    let Some(source) = sources.iter().find(|source| covers(Arc::clone(&source.contents.list), said)) else {
        return Ok(Looked { outcome: Outcome::Passed, advice: None });
    };
    let advice = match entry(&source.path, issuers, said, report) {
        Some((place, target)) => Advice { text: meaning(&target, said), place: Some(place_of(place, report)) },
        // It was changed a moment ago.
        None => Advice { text: "an entry revokes it".to_owned(), place: Some(source.path.display().to_string()) },
    };
    Ok(Looked { outcome: Outcome::Failed(Fault::Revoked), advice: Some(advice) })
}

fn covers(list: Arc<RevokedList>, said: &Verified) -> bool {
    Revoked::new(0, [list]).find(said).is_some()
}

/// The first entry of a file that covers the token. Lists for look-ups know no places, so the file is read once more.
fn entry(path: &Path, issuers: &Issuers, said: &Verified, report: &mut Report) -> Option<(Place, Target)> {
    let bytes = file::fetch(path, &Limits::revoked(), report)?;
    let source = file::add_document(path, bytes, report)?;
    let written = document::read_revoked(source, report)?;
    let places: Vec<Place> = written.iter().map(|entry| entry.place).collect();
    let entries = places.into_iter().zip(Revocation::resolve(written, issuers, report)?);
    let mut found = entries.filter(|(_, entry)| covers(Arc::new(RevokedList::new([entry])), said));
    found.next().map(|(place, entry)| (place, entry.target))
}

fn meaning(target: &Target, said: &Verified) -> String {
    match target {
        Target::Principal { issued_before: Some(moment), .. } => format!(
            "every token of the principal issued before {} is revoked; this one was issued at {}",
            Shown::Time(*moment),
            Shown::Time(said.issued_at)
        ),
        Target::Principal { issued_before: None, .. } => "every token of the principal is revoked".to_owned(),
        Target::Token { .. } => "this one token is revoked, by its id".to_owned(),
    }
}
