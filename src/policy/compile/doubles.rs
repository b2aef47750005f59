//! Principals that have something in common which is to be one's own: each pair is told with both places, wherever the
//! two are written.

use std::borrow::Cow;

use super::files;
use crate::diag::{Place, Report};
use crate::document::grants::PrincipalDocument;
use crate::document::people::{Bounds, PeopleFile};
use crate::policy::people::Doubles;

/// Where the principals are written that were stored, by number.
pub(super) struct Stored<'d> {
    /// Those of the document itself.
    pub(super) entries: Vec<&'d PrincipalDocument>,
    /// Those of its files: their lines, chunk by chunk.
    pub(super) lines: Vec<Vec<Place>>,
    /// The files.
    pub(super) files: &'d [PeopleFile],
}

impl<'d> Stored<'d> {
    fn get(&self, number: usize, report: &Report) -> Option<Cow<'d, PrincipalDocument>> {
        if let Some(entry) = self.entries.get(number) {
            return Some(Cow::Borrowed(entry));
        }
        let mut left = number.checked_sub(self.entries.len())?;
        for lines in &self.lines {
            if let Some(place) = lines.get(left) {
                return files::entry_at(self.files, *place, report).map(Cow::Owned);
            }
            left = left.checked_sub(lines.len())?;
        }
        None
    }

    /// Reports all pairs.
    pub(super) fn report(&self, doubles: &Doubles, report: &mut Report) {
        let by_id = doubles.ids.iter().map(|pair| (pair, true));
        let by_key = doubles.keys.iter().map(|pair| (pair, false));
        for ((first, later), same_id) in by_id.chain(by_key) {
            if report.errors() > Bounds::FAULTS {
                return;
            }
            let (Some(first), Some(later)) = (self.get(*first, report), self.get(*later, report)) else { continue };
            if same_id { one_id(&first, &later, report) } else { one_key(&first, &later, report) }
        }
    }
}

/// Reports the second of two principals with one id.
pub(super) fn one_id(first: &PrincipalDocument, later: &PrincipalDocument, report: &mut Report) {
    let (first, later) = (&first.id, &later.id);
    let (first, later) = if first.place <= later.place { (first, later) } else { (later, first) };
    report
        .error("duplicate_principal", later.place, format!("two principals have the id `{}`", later.value))
        .help("give each principal its own id")
        .also(first.place, "the other one");
}

fn one_key(first: &PrincipalDocument, later: &PrincipalDocument, report: &mut Report) {
    let (first, later) = if first.id.place <= later.id.place { (first, later) } else { (later, first) };
    let (key, place) = (later.known_by.key(), later.known_by.text().place);
    let what = if key == "oid" { "object id" } else { key };
    let message = format!("another principal has the {what} of `{}` in this tenant", later.id.value);
    report
        .error("duplicate_principal", place, message)
        .help(format!("give each principal its own {key}"))
        .also(first.known_by.text().place, "the other one");
}
