//! A file as lines: where each stands, and what a file must have to be believed whole.

use std::ops::Range;

use crate::diag::{Place, Report, SourceId};

/// What is read of files of principals at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds;

impl Bounds {
    /// Bytes of a file: 1 GiB.
    pub const FILE: usize = 1 << 30;
    /// Bytes of a line: 64 KiB.
    pub const LINE: usize = 1 << 16;
    /// Principals of a domain that come from files.
    pub const PRINCIPALS: usize = 20_000_000;
    /// Files that a document names.
    pub const FILES: usize = 64;
    /// Faults after which the rest is not read: far fewer are shown.
    pub const FAULTS: usize = 10_000;

    /// Reports that there are more principals than so many.
    pub fn too_many(most: usize, place: Place, report: &mut Report) {
        let message = format!("the files have more than {most} principals, which are read at most");
        report.error("too_large", place, message).help("leave out who has no grants and belongs to no group");
    }
}

/// The byte order mark that some programs put first.
const BOM: char = '\u{feff}';

/// A line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    source: SourceId,
    /// The byte of the file that it begins at.
    start: usize,
    /// What stands on it.
    pub text: &'t str,
}

impl<'t> Line<'t> {
    /// All of it.
    pub fn place(&self) -> Place {
        self.stretch(0..self.text.len())
    }

    /// A stretch of it, in bytes.
    pub(super) fn stretch(&self, range: Range<usize>) -> Place {
        let byte = |offset: usize| u32::try_from(self.start.saturating_add(offset)).unwrap_or(u32::MAX);
        Place { source: self.source, start: byte(range.start), end: byte(range.end) }
    }

    /// Where a part of its text stands.
    pub(super) fn place_of(&self, part: &str) -> Place {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.stretch(start..start.saturating_add(part.len()))
    }
}

/// The lines of a text that have anything on them.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    source: SourceId,
    text: &'t str,
    /// Where the lines begin that are left.
    start: usize,
}

impl<'t> Lines<'t> {
    /// Looks at a text as a whole. A last line that has no end may have been cut off, and what is left of it could mean
    /// more than the whole of it: a denial without its last letters denies something else.
    pub(super) fn new(source: SourceId, text: &'t str, report: &mut Report) -> Option<Self> {
        let start = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let mut lines = Self { source, text, start };
        if text.len() > Bounds::FILE {
            let message =
                format!("the file has {} bytes, of which {} MiB are read at most", text.len(), Bounds::FILE >> 20);
            report.error("too_large", lines.at(0..0), message).help("split it into several files");
            return None;
        }
        if lines.iter().next().is_none() {
            let help = "write at least one principal, or leave the file out of `principals_from`";
            report.error("empty", lines.at(0..0), "the file is empty").help(help);
            return None;
        }
        if !text.ends_with('\n') {
            let last = text.rfind('\n').map_or(start, |end| end + 1);
            report
                .error(
                    "unfinished_line",
                    lines.at(last..text.len()),
                    "the last line has no end, so the file may be unfinished",
                )
                .help("end every line with a line feed; write the file beside and rename it when it is whole");
            lines.text = text.get(..last).unwrap_or_default();
        }
        Some(lines)
    }

    /// Takes the first line away.
    pub(super) fn take_first(&mut self) -> Option<Line<'t>> {
        let first = self.iter().next()?;
        self.start = self.text.len().min(first.start + first.text.len() + 1);
        Some(first)
    }

    /// Where they begin and end, cut between lines into pieces of about so many bytes. The cuts depend on nothing but the
    /// text.
    pub fn pieces(&self, bytes: usize) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut start = self.start;
        while start < self.text.len() {
            let least = start.saturating_add(bytes.max(1)).min(self.text.len());
            // A line feed is never part of another character.
            let rest = self.text.as_bytes().get(least.saturating_sub(1)..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(self.text.len(), |feed| least + feed);
            pieces.push(Self { text: self.text.get(..end).unwrap_or_default(), start, ..*self });
            start = end;
        }
        pieces
    }

    /// Each in turn. Empty ones are left out, and so are the carriage returns of some systems at their ends.
    pub fn iter(&self) -> impl Iterator<Item = Line<'t>> + use<'t> {
        let (source, mut start) = (self.source, self.start);
        let all = self.text.get(start..).unwrap_or_default().split_inclusive('\n').map(move |text| {
            let line = Line { source, start, text: text.strip_suffix('\n').unwrap_or(text) };
            start += text.len();
            Line { text: line.text.strip_suffix('\r').unwrap_or(line.text), ..line }
        });
        all.filter(|line| !line.text.is_empty())
    }

    /// The line that begins at a byte, by [`Place::start`].
    pub fn line_at(&self, start: u32) -> Option<Line<'t>> {
        Self { start: usize::try_from(start).ok()?, ..*self }.iter().next()
    }

    fn at(&self, range: Range<usize>) -> Place {
        Line { source: self.source, start: 0, text: self.text }.stretch(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> (Option<Lines<'_>>, Report) {
        let mut report = Report::new();
        let source = report.add_source("people", text);
        (Lines::new(source, text, &mut report), report)
    }

    fn texts<'t>(lines: &Lines<'t>) -> Vec<&'t str> {
        lines.iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_what_stands_between_line_feeds_without_marks_of_systems_and_without_empty_ones() {
        for text in ["a\nb\n", "\u{feff}a\nb\n", "a\r\nb\r\n", "\n\na\n\r\n\nb\n\n"] {
            let (lines, report) = lines(text);
            assert_eq!((texts(&lines.unwrap()), report.errors()), (vec!["a", "b"], 0), "{text:?}");
        }
    }

    #[test]
    fn a_line_knows_where_it_stands() {
        let text = "\u{feff}ä\r\n\nbc\n";
        let (lines, report) = lines(text);
        for line in lines.unwrap().iter() {
            let place = line.place();
            assert_eq!(&text[place.start as usize..place.end as usize], line.text);
            assert_eq!(report.locate(place).column, 1);
        }
    }

    #[test]
    fn a_file_without_lines_and_a_last_line_without_an_end_are_faults() {
        for (text, code, left) in [
            ("", "empty", None),
            ("\u{feff}", "empty", None),
            ("\r\n\n", "empty", None),
            ("a\nb", "unfinished_line", Some(vec!["a"])),
            ("b", "unfinished_line", Some(vec![])),
            ("a\nb\r", "unfinished_line", Some(vec!["a"])),
        ] {
            let (lines, report) = lines(text);
            assert_eq!(report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>(), [code], "{text:?}");
            assert_eq!(lines.map(|lines| texts(&lines)), left, "{text:?}");
        }
    }

    #[test]
    fn pieces_of_any_size_have_every_line_once_and_none_in_parts() {
        let text = "\u{feff}first\n\nsecond\r\nx\nthird line\n\n\ny\n";
        let whole = lines(text).0.unwrap();
        for bytes in 0..text.len() + 2 {
            let found: Vec<&str> = whole.pieces(bytes).iter().flat_map(|piece| texts(piece)).collect();
            assert_eq!(found, texts(&whole), "{bytes}");
        }
    }

    #[test]
    fn a_line_is_found_again_by_where_it_begins() {
        let whole = lines("a\n\nbc\r\nd\n").0.unwrap();
        for line in whole.iter() {
            assert_eq!(whole.line_at(line.place().start), Some(line));
        }
    }
}
