//! The texts that were read, and how a place in them becomes a line and a column.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// One file (or other text) that was read, by its number in a [`Report`](super::Report).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

/// A stretch of a source, in bytes from its start; `start == end` points between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The source.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A place as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The source's name, as it was written by whoever named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Bytes between two marks, about.
const STEP: usize = 4096;

/// The byte order mark that some editors put first; it is no character of the first line.
pub(super) const BOM: char = '\u{feff}';

/// A known position. They bound how much text has to be looked at to place a byte, however long the file or its lines
/// are, and take little memory, however short the lines are.
#[derive(Clone, Copy, Debug)]
struct Mark {
    byte: usize,
    line: usize,
    column: usize,
}

#[derive(Debug)]
struct File {
    name: Arc<str>,
    /// As it was handed over: of a large one no copy is made.
    text: Arc<String>,
    /// Made at the first question: most texts have no fault.
    marks: OnceLock<Vec<Mark>>,
}

/// All texts of one load.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<File>,
}

impl Sources {
    pub(super) fn add(&mut self, name: &str, text: Arc<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(File { name: name.into(), text, marks: OnceLock::new() });
        id
    }

    pub(super) fn text(&self, source: SourceId) -> Arc<String> {
        self.file(source).map(|file| Arc::clone(&file.text)).unwrap_or_default()
    }

    pub(super) fn name(&self, source: SourceId) -> Arc<str> {
        self.file(source).map_or_else(|| Arc::from(""), |file| Arc::clone(&file.name))
    }

    pub(super) fn locate(&self, place: Place) -> Location {
        let Some(file) = self.file(place.source) else {
            return Location { file: Arc::from(""), line: 1, column: 1 };
        };
        let at = file.boundary(place.start);
        let mark = file.mark_before(at);
        let mark = mark.beyond(file.text.get(mark.byte..at).unwrap_or_default());
        Location { file: Arc::clone(&file.name), line: mark.line, column: mark.column }
    }

    /// Up to `before` characters ahead of the place and `after` characters from its start on, without leaving its
    /// line. Returns where in the text they stand.
    pub(super) fn excerpt(&self, place: Place, before: usize, after: usize) -> Range<usize> {
        let Some(file) = self.file(place.source) else {
            return 0..0;
        };
        let at = file.boundary(place.start);
        let (head, tail) = file.text.split_at_checked(at).unwrap_or_default();
        let first = head
            .char_indices()
            .rev()
            .take_while(|(_, character)| *character != '\n' && *character != BOM)
            .take(before)
            .last();
        let last = tail.char_indices().take_while(|(_, character)| *character != '\n').take(after).last();
        let start = first.map_or(at, |(byte, _)| byte);
        let end = last.map_or(at, |(byte, character)| at + byte + character.len_utf8());
        start..end
    }

    fn file(&self, source: SourceId) -> Option<&File> {
        usize::try_from(source.0).ok().and_then(|index| self.files.get(index))
    }
}

impl File {
    /// The last character boundary at or before a byte; the end of the text for bytes beyond it.
    fn boundary(&self, byte: u32) -> usize {
        let mut at = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at = at.saturating_sub(1);
        }
        at
    }

    fn mark_before(&self, at: usize) -> Mark {
        let marks = self.marks.get_or_init(|| marks(&self.text));
        let following = marks.partition_point(|mark| mark.byte <= at);
        let found = following.checked_sub(1).and_then(|index| marks.get(index));
        found.copied().unwrap_or(Mark { byte: 0, line: 1, column: 1 })
    }
}

impl Mark {
    /// The position behind a text that begins here.
    fn beyond(self, text: &str) -> Self {
        let byte = self.byte + text.len();
        match text.rsplit_once('\n') {
            None => Self { byte, column: self.column + text.chars().count(), ..self },
            Some((lines, last)) => {
                let newlines = lines.bytes().filter(|byte| *byte == b'\n').count() + 1;
                Self { byte, line: self.line + newlines, column: 1 + last.chars().count() }
            }
        }
    }
}

/// A mark about every [`STEP`] bytes.
fn marks(text: &str) -> Vec<Mark> {
    let byte = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
    let mut mark = Mark { byte, line: 1, column: 1 };
    let mut found = vec![mark];
    let mut rest = text.get(byte..).unwrap_or_default();
    while let Some(cut) = (STEP..rest.len()).find(|at| rest.is_char_boundary(*at)) {
        let (step, beyond) = rest.split_at_checked(cut).unwrap_or((rest, ""));
        mark = mark.beyond(step);
        found.push(mark);
        rest = beyond;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: SourceId, start: usize) -> Place {
        let start = u32::try_from(start).unwrap();
        Place { source, start, end: start }
    }

    /// Line and column the slow way.
    fn counted(text: &str, at: usize) -> (usize, usize) {
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().filter(|character| *character != BOM).count() + 1)
    }

    #[test]
    fn every_character_of_every_text_is_located_by_line_and_character() {
        let long = "äb€😀".repeat(3_000);
        let texts =
            ["", "a", "\n", "\n\n", "a\nb", "a\r\nb\r\n", "\u{feff}a: 1\nb: ü2\n", &long, &format!("x\n{long}\ny")];
        for text in texts {
            let mut sources = Sources::default();
            let source = sources.add("t", Arc::new(text.to_owned()));
            for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let found = sources.locate(place(source, at));
                assert_eq!(
                    (found.line, found.column),
                    counted(text, at),
                    "byte {at} of {:?}",
                    &text[..text.len().min(20)]
                );
            }
        }
    }

    #[test]
    fn places_beyond_the_text_inside_a_character_or_of_no_source_do_no_harm() {
        let mut sources = Sources::default();
        let source = sources.add("t", Arc::new("aß".to_owned()));
        assert_eq!(sources.locate(place(source, 2)).column, 2);
        assert_eq!(sources.locate(place(source, 900)).column, 3);
        assert_eq!(sources.locate(place(SourceId(7), 900)).line, 1);
        assert_eq!(sources.excerpt(place(source, 900), 10, 10), 0..3);
        assert_eq!(sources.excerpt(place(SourceId(7), 1), 10, 10), 0..0);
    }

    #[test]
    fn an_excerpt_stays_in_its_line_and_within_its_bounds() {
        let mut sources = Sources::default();
        let text = "first\nsecond line\nthird";
        let source = sources.add("t", Arc::new(text.to_owned()));
        let cut = |at, before, after| &text[sources.excerpt(place(source, at), before, after)];
        assert_eq!(cut(13, 100, 100), "second line");
        assert_eq!(cut(13, 2, 3), "d lin");
        assert_eq!(cut(5, 100, 100), "first");
        assert_eq!(cut(23, 100, 100), "third");
    }
}
