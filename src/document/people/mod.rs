//! Principals in files of their own, one a line, which machines write and which are read fast: tables with tabs (`.tsv`)
//! and JSON lines (`.jsonl`).
//!
//! A line means what an entry of `principals` means: [`Reader::document`] makes that entry of it, by the code that reads
//! YAML, and reports every fault. [`Reader::quick`] only takes a line apart, for those who read a million of them: it
//! hands out stretches of the text, of which equal ones mean the same. It reports nothing, and declines whatever is not
//! plain; that is for the former.

mod json;
mod lines;
mod plain;
mod tsv;

use std::borrow::Cow;

use super::Located;
use super::decode;
use super::grants::PrincipalDocument;
use super::parse::{Node, Shape};
use crate::diag::{Place, Report, SourceId};

pub use lines::{Bounds, Line, Lines};

/// How a file of principals is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeopleFormat {
    /// A line of names, and below it a line of cells for each principal; tabs between them.
    Table,
    /// An object of JSON on each line.
    JsonLines,
}

impl PeopleFormat {
    /// The format of a file by the end of its name: `.tsv` or `.jsonl`.
    pub fn of(name: &str) -> Option<Self> {
        let (_, suffix) = name.rsplit_once('.')?;
        match suffix {
            "tsv" => Some(Self::Table),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// An entry of `principals_from`.
#[derive(Clone, Debug)]
pub struct PeopleFile {
    /// The path, relative to the document.
    pub name: Located<String>,
    /// How it is written.
    pub format: PeopleFormat,
    /// Its text, once whoever read the document has read the file too.
    pub source: Option<SourceId>,
}

/// A principal, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person<'t> {
    /// The id.
    pub id: Cow<'t, str>,
    /// What names it at its tenant.
    pub known_by: KnownBy<'t>,
    /// Tenant, status, flags and groups as they are written; empty where nothing is. In one file, equal texts mean the
    /// same.
    pub standing: [&'t str; 4],
    /// The boundary as it is written; empty where nothing is.
    pub boundary: &'t str,
}

/// What names a principal at its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy<'t> {
    /// `oid`.
    ObjectId(Cow<'t, str>),
    /// `subject`.
    Subject(Cow<'t, str>),
}

/// Reads one file.
#[derive(Clone, Debug)]
pub struct Reader<'t> {
    lines: Lines<'t>,
    layout: Layout,
}

/// What has to be known of a file before its lines mean anything.
#[derive(Clone, Debug)]
enum Layout {
    Table(tsv::Columns),
    JsonLines,
}

impl<'t> Reader<'t> {
    /// Begins to read a text, the one of `source`. Faults of the file as a whole go to `report`; `None` when its lines
    /// mean nothing.
    pub fn new(source: SourceId, format: PeopleFormat, text: &'t str, report: &mut Report) -> Option<Self> {
        let mut lines = Lines::new(source, text, report)?;
        let layout = match format {
            PeopleFormat::Table => Layout::Table(tsv::Columns::read(lines.take_first()?, report)?),
            PeopleFormat::JsonLines => Layout::JsonLines,
        };
        Some(Self { lines, layout })
    }

    /// The lines that principals stand on.
    pub fn lines(&self) -> &Lines<'t> {
        &self.lines
    }

    /// Takes a line apart; its grants, as they are written, are put in place of what `grants` held. `None` for a line
    /// that has a fault of shape or is not plain.
    pub fn quick(&self, line: Line<'t>, grants: &mut Vec<&'t str>) -> Option<Person<'t>> {
        grants.clear();
        if line.text.len() > Bounds::LINE {
            return None;
        }
        match &self.layout {
            Layout::Table(columns) => columns.quick(line, grants),
            Layout::JsonLines => json::quick(line, grants),
        }
    }

    /// The principal of a line. Faults go to `report`; `None` when there is none to be made of it.
    pub fn document(&self, line: Line<'t>, report: &mut Report) -> Option<PrincipalDocument> {
        if line.text.len() > Bounds::LINE {
            let message = format!("the line has {} bytes, of which {} are read at most", line.text.len(), Bounds::LINE);
            report.error("line_too_long", line.place(), message).help("each principal stands on a line of its own");
            return None;
        }
        let node = match &self.layout {
            Layout::Table(columns) => columns.node(line, report)?,
            Layout::JsonLines => json::node(line, report)?,
        };
        decode::principal(&node, report)
    }
}

/// All principals of a file, for whoever asks about each of them. Faults go to `report`.
pub fn read_people(source: SourceId, format: PeopleFormat, report: &mut Report) -> Vec<PrincipalDocument> {
    read_up_to(Bounds::PRINCIPALS, source, format, report)
}

/// Those principals of a file that `wanted` picks by what it is told of each: id, tenant, and object id or subject. What
/// a file says of the others is not looked at.
pub fn read_some(
    source: SourceId,
    format: PeopleFormat,
    wanted: impl Fn(&str, &str, &str) -> bool,
    report: &mut Report,
) -> Vec<PrincipalDocument> {
    let text = report.text(source);
    let Some(reader) = Reader::new(source, format, &text, report) else { return Vec::new() };
    let mut grants = Vec::new();
    let mut found = Vec::new();
    for line in reader.lines().iter() {
        let skipped = reader.quick(line, &mut grants).is_some_and(|person| {
            let (KnownBy::ObjectId(known_by) | KnownBy::Subject(known_by)) = &person.known_by;
            let [tenant, ..] = person.standing;
            // JSON writes names in quotes.
            !wanted(&person.id, tenant.trim_matches('"'), known_by)
        });
        if !skipped {
            let document = reader.document(line, report);
            found.extend(document.filter(|document| {
                wanted(&document.id.value, &document.tenant.value, &document.known_by.text().value)
            }));
        }
    }
    found
}

fn read_up_to(most: usize, source: SourceId, format: PeopleFormat, report: &mut Report) -> Vec<PrincipalDocument> {
    let text = report.text(source);
    let Some(reader) = Reader::new(source, format, &text, report) else { return Vec::new() };
    let mut found = Vec::new();
    for line in reader.lines().iter() {
        if report.errors() > Bounds::FAULTS {
            break;
        }
        if found.len() == most {
            Bounds::too_many(most, line.place(), report);
            break;
        }
        found.extend(reader.document(line, report));
    }
    found
}

/// A text that stands for itself, whatever it would mean in YAML.
fn scalar(place: Place, text: String) -> Node {
    Node::new(place, Shape::Scalar { text: text.into(), plain: false })
}

#[cfg(test)]
mod tests;
