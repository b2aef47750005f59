//! From the parser's positions, which count characters, to places, which count bytes.

use saphyr_parser::{Marker, Span};

use crate::diag::{Place, SourceId};

/// The byte order mark that some editors put first. It is kept from the parser, which would count it as a character.
const BOM: char = '\u{feff}';

/// Positions in one text. Questions come nearly in the order of the text, so a cursor answers them in little time.
pub(super) struct Positions<'t> {
    source: SourceId,
    /// The text without a byte order mark.
    text: &'t str,
    /// Bytes of the byte order mark.
    base: usize,
    ascii: bool,
    /// A position known both ways.
    character: usize,
    byte: usize,
}

impl<'t> Positions<'t> {
    pub(super) fn new(source: SourceId, text: &'t str) -> Self {
        let inner = text.strip_prefix(BOM).unwrap_or(text);
        let base = text.len() - inner.len();
        Self { source, text: inner, base, ascii: inner.is_ascii(), character: 0, byte: 0 }
    }

    /// The text that the positions are about.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// The place of a span, without the white space that the parser counts in at its end.
    pub(super) fn place(&mut self, span: &Span) -> Place {
        let start = self.byte(&span.start);
        let end = self.byte(&span.end).max(start);
        let length = self.text.get(start..end).map_or(0, |text| text.trim_end_matches([' ', '\t', '\r', '\n']).len());
        self.at(start, start + length)
    }

    /// The place of the character at a mark.
    pub(super) fn point(&mut self, mark: &Marker) -> Place {
        let start = self.byte(mark);
        self.character_at(start)
    }

    /// The place of the first character of a place, be it empty.
    pub(super) fn first(&self, place: Place) -> Place {
        self.character_at(self.around(place).0.len())
    }

    fn character_at(&self, start: usize) -> Place {
        let width = self.rest(start).chars().next().map_or(0, char::len_utf8);
        self.at(start, start + width)
    }

    /// The text before a place, and the text from its start on.
    pub(super) fn around(&self, place: Place) -> (&'t str, &'t str) {
        let start = usize::try_from(place.start).unwrap_or(usize::MAX).saturating_sub(self.base);
        self.text.split_at_checked(start).unwrap_or((self.text, ""))
    }

    /// The text at a place.
    pub(super) fn read(&self, place: Place) -> &'t str {
        let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(0);
        self.around(place).1.get(..length).unwrap_or_default()
    }

    /// A place from bytes of the text without its byte order mark.
    pub(super) fn at(&self, start: usize, end: usize) -> Place {
        let whole = |byte: usize| u32::try_from(byte + self.base).unwrap_or(u32::MAX);
        Place { source: self.source, start: whole(start), end: whole(end) }
    }

    fn rest(&self, byte: usize) -> &'t str {
        self.text.get(byte..).unwrap_or_default()
    }

    fn byte(&mut self, mark: &Marker) -> usize {
        let wanted = mark.index();
        if self.ascii {
            return wanted.min(self.text.len());
        }
        if let Some(ahead) = wanted.checked_sub(self.character) {
            let rest = self.rest(self.byte);
            self.byte += rest.char_indices().nth(ahead).map_or(rest.len(), |(byte, _)| byte);
        } else {
            let back = self.character - wanted;
            let before = self.text.get(..self.byte).unwrap_or_default();
            self.byte = before.char_indices().rev().take(back).last().map_or(0, |(byte, _)| byte);
        }
        self.character = wanted;
        self.byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Report;

    #[test]
    fn characters_become_bytes_in_any_order_of_asking() {
        for text in ["", "plain text", "äö€😀x\r\nß: ü", "\u{feff}a: ß\n"] {
            let source = Report::new().add_source("t", text);
            let mut positions = Positions::new(source, text);
            let inner = positions.text();
            let bytes: Vec<usize> = inner.char_indices().map(|(byte, _)| byte).chain([inner.len()]).collect();
            let forth = 0..bytes.len();
            for index in forth.clone().chain(forth.clone().rev()).chain(forth.step_by(3)) {
                let place = positions.point(&Marker::new(index, 0, 0));
                assert_eq!(place.start as usize, bytes[index] + text.len() - inner.len(), "{text:?} {index}");
            }
        }
    }

    #[test]
    fn a_mark_beyond_the_text_is_its_end() {
        let source = Report::new().add_source("t", "ä");
        let mut positions = Positions::new(source, "ä");
        assert_eq!(positions.point(&Marker::new(9, 0, 0)).start, 2);
        assert_eq!(positions.point(&Marker::new(0, 0, 0)).start, 0);
    }
}
