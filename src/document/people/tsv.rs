//! Tables: a line that names the columns, then a line of cells for each principal, with tabs between them.
//!
//! Spaces around a cell or an entry of a list do not count. Commas part the entries of a list. A backslash makes a letter
//! of what would part something: `\\`, `\,`, `\@` and `\s` (a space that counts), and it brings what no line can hold:
//! `\t`, `\n`, `\r`. So every text can be written, and in one way only can each be read: a right has no `=` and no `@` in
//! it, which is why `role=NAME` is no right, and the first `@` without a backslash begins the node.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::lines::Line;
use super::{KnownBy, Person, scalar};
use crate::diag::{Place, Report, suggest};
use crate::document::parse::{Entry, Node, Shape};

/// The columns that a table can have: the keys of an entry of `principals`.
const COLUMNS: [&str; 9] = ["id", "tenant", "oid", "subject", "status", "flags", "groups", "boundary", "grants"];

/// What begins an entry of `grants` that names a role.
const ROLE: &str = "role=";

/// The columns that a table has.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// In the order of the table: which of [`COLUMNS`].
    order: Vec<usize>,
}

impl Columns {
    /// Reads the line that names them. `None` if cells could not be told by it.
    pub(super) fn read(line: Line<'_>, report: &mut Report) -> Option<Self> {
        let before = report.errors();
        let mut found: [Option<Place>; COLUMNS.len()] = [None; COLUMNS.len()];
        let mut order = Vec::new();
        for cell in line.text.split('\t') {
            let name = trimmed(cell);
            let place = line.place_of(name);
            let column = COLUMNS.iter().position(|known| *known == name);
            let Some((column, slot)) = column.and_then(|column| Some((column, found.get_mut(column)?))) else {
                unknown(name, place, report);
                continue;
            };
            if let Some(first) = slot.replace(place) {
                report
                    .error("duplicate_column", place, format!("the column `{name}` stands here for the second time"))
                    .help("remove one of the two")
                    .also(first, "first here");
            }
            order.push(column);
        }
        let [id, tenant, oid, subject, ..] = found;
        let names = [("id", id), ("tenant", tenant), ("oid` or `subject", oid.or(subject))];
        for (name, _) in names.iter().filter(|(_, place)| place.is_none()) {
            report
                .error("missing_column", line.place(), format!("there is no column `{name}`"))
                .help("the first line names the columns, with a tab between two names");
        }
        (report.errors() == before).then_some(Self { order })
    }

    /// See [`super::Reader::quick`].
    pub(super) fn quick<'t>(&self, line: Line<'t>, grants: &mut Vec<&'t str>) -> Option<Person<'t>> {
        if !is_plain(line.text) {
            return None;
        }
        let mut found = [""; COLUMNS.len()];
        let mut columns = self.order.iter();
        for cell in pieces(line.text, b'\t') {
            *found.get_mut(*columns.next()?)? = trimmed(cell);
        }
        let [id, tenant, oid, subject, status, flags, groups, boundary, held] = found;
        let known_by = match (oid, subject) {
            ("", "") => None,
            (oid, "") => Some(KnownBy::ObjectId(Cow::Borrowed(oid))),
            ("", subject) => Some(KnownBy::Subject(Cow::Borrowed(subject))),
            (_, _) => None,
        };
        let whole = columns.next().is_none() && !id.is_empty() && !tenant.is_empty();
        if !held.is_empty() {
            grants.extend(pieces(held, b',').map(trimmed));
        }
        let standing = [tenant, status, flags, groups];
        Some(Person { id: Cow::Borrowed(id), known_by: known_by.filter(|_| whole)?, standing, boundary })
    }

    /// The map that YAML would have had in place of a line. `None` if its cells cannot be told.
    pub(super) fn node(&self, line: Line<'_>, report: &mut Report) -> Option<Node> {
        let before = report.errors();
        for (at, fault) in line.text.char_indices().filter(|(_, found)| found.is_ascii_control() && *found != '\t') {
            report
                .error(
                    "control_character",
                    line.stretch(at..at + fault.len_utf8()),
                    "a control character cannot stand here",
                )
                .help("remove it; `\\n` and `\\r` stand for ends of lines within a text");
        }
        let cells: Vec<&str> = line.text.split('\t').collect();
        if cells.len() != self.order.len() {
            let message =
                format!("this line has {} cells, the first line names {} columns", cells.len(), self.order.len());
            let help = "put a tab between two cells, also where one is empty; `\\t` is a tab within a text";
            report.error("wrong_cells", line.place(), message).help(help);
            return None;
        }
        let mut entries = Vec::new();
        for (cell, column) in cells.into_iter().zip(&self.order) {
            let (cell, Some(name)) = (trimmed(cell), COLUMNS.get(*column)) else { continue };
            if cell.is_empty() {
                continue;
            }
            let place = line.place_of(cell);
            let value = match *name {
                "flags" | "groups" | "boundary" => list(cell, line, report, |entry, report| text(entry, line, report)),
                "grants" => list(cell, line, report, |entry, report| grant(entry, line, report)),
                _ => text(cell, line, report),
            };
            entries.extend(value.map(|value| Entry { place, key: (*name).into(), value }));
        }
        (report.errors() == before).then(|| Node::new(line.place(), Shape::Map(entries.into())))
    }
}

fn unknown(name: &str, place: Place, report: &mut Report) {
    let help = match suggest(name, COLUMNS) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            format!("the first line names the columns; known: {}", COLUMNS.map(|name| format!("`{name}`")).join(", "))
        }
    };
    report.error("unknown_column", place, format!("unknown column `{name}`")).help(help);
}

/// Without the spaces around it.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b' ', ..] | [.., b' '] => text.trim_matches(' '),
        _ => text,
    }
}

/// What stands between marks of one byte each. `str::split` compares each mark that it finds once more, by a call.
fn pieces(text: &str, mark: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((piece, behind)) = first(text.as_bytes(), mark).and_then(|end| text.split_at_checked(end)) else {
            return rest.take();
        };
        rest = behind.get(1..);
        Some(piece)
    })
}

/// Where a byte comes first. Eight are looked at in one step: those that are sought become zero, and only where a zero is
/// does the subtraction borrow a highest bit that was not there, at the first one before any other.
fn first(bytes: &[u8], sought: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    let (eights, rest) = bytes.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let apart = u64::from_le_bytes(*eight) ^ u64::from_le_bytes([sought; 8]);
        let zeros = apart.wrapping_sub(ONES) & !apart & HIGHEST;
        if zeros != 0 {
            return Some(8 * number + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == sought).map(|at| bytes.len() - rest.len() + at)
}

/// Whether a line has neither backslashes nor control characters other than tabs.
fn is_plain(line: &str) -> bool {
    // Without a way out on the way, so that many bytes are looked at in one step.
    let odd = |byte: u8| byte == b'\\' || (byte < b' ' && byte != b'\t') || byte == 0x7f;
    !line.bytes().fold(false, |found, byte| found | odd(byte))
}

/// The offset of the first of these letters that no backslash stands before.
fn first_bare(text: &str, letter: u8) -> Option<usize> {
    let mut escaped = false;
    let found = text.bytes().enumerate().try_for_each(|(at, byte)| {
        if byte == letter && !escaped {
            return ControlFlow::Break(at);
        }
        escaped = byte == b'\\' && !escaped;
        ControlFlow::Continue(())
    });
    found.break_value()
}

/// The entries of a list.
fn list(
    cell: &str,
    line: Line<'_>,
    report: &mut Report,
    entry: impl Fn(&str, &mut Report) -> Option<Node>,
) -> Option<Node> {
    let mut nodes = Vec::new();
    let mut rest = Some(cell);
    while let Some(text) = rest {
        let (first, behind) = match first_bare(text, b',').and_then(|comma| text.split_at_checked(comma)) {
            Some((first, behind)) => (first, behind.strip_prefix(',')),
            None => (text, None),
        };
        rest = behind;
        let first = trimmed(first);
        if first.is_empty() {
            report
                .error("empty_entry", line.place_of(first), "an entry of this list is empty")
                .help("a comma stands between two entries, never first, last or twice; `\\,` is a comma within one");
            continue;
        }
        nodes.extend(entry(first, report));
    }
    Some(Node::new(line.place_of(cell), Shape::List(nodes.into())))
}

/// A text without its backslashes; a fault is reported.
fn text(written: &str, line: Line<'_>, report: &mut Report) -> Option<Node> {
    let place = line.place_of(written);
    let mut plain = String::with_capacity(written.len());
    let mut letters = written.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        let escaped = letters.next().map(|(_, letter)| letter);
        let meant = escaped.and_then(|letter| match letter {
            '\\' | ',' | '@' => Some(letter),
            's' => Some(' '),
            't' => Some('\t'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            _ => None,
        });
        let Some(meant) = meant else {
            let part = written.get(at..at + 1 + escaped.map_or(0, char::len_utf8)).unwrap_or_default();
            report
                .error("bad_escape", line.place_of(part), format!("`{part}` means nothing"))
                .help("write `\\\\` for a backslash; known: `\\,`, `\\@`, `\\s` (a space), `\\t`, `\\n`, `\\r`");
            return None;
        };
        plain.push(meant);
    }
    Some(scalar(place, plain))
}

/// An entry of `grants`: `RIGHT[:LEVEL|:deny][@NODE]` or `role=NAME[@NODE]`.
fn grant(written: &str, line: Line<'_>, report: &mut Report) -> Option<Node> {
    let role = written.strip_prefix(ROLE);
    if role.is_none() && !written.contains('\\') {
        return text(written, line, report);
    }
    let given = role.unwrap_or(written);
    let (given, node) = match first_bare(given, b'@').and_then(|at| given.split_at_checked(at)) {
        Some((given, behind)) => (trimmed(given), behind.strip_prefix('@').map(trimmed)),
        None => (given, None),
    };
    let key = if role.is_some() { "role" } else { "rights" };
    let mut entries = vec![entry(key, trimmed(given), line, report)?];
    if let Some(node) = node {
        entries.push(entry("at", node, line, report)?);
    }
    Some(Node::new(line.place_of(written), Shape::Map(entries.into())))
}

fn entry(key: &str, written: &str, line: Line<'_>, report: &mut Report) -> Option<Entry> {
    Some(Entry { place: line.place_of(written), key: key.into(), value: text(written, line, report)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_a_byte_is_found_wherever_it_is(
            // Bytes that differ in one bit, or by one, are the ones to be taken for each other.
            bytes in prop::collection::vec(prop::sample::select(vec![b',', b',' + 1, b',' - 1, b',' | 0x80, 0, 0xff]), 0..40),
            sought in prop::sample::select(vec![b',', 0, 0xff, b'\t']),
        ) {
            prop_assert_eq!(first(&bytes, sought), bytes.iter().position(|byte| *byte == sought));
        }
    }
}
