//! What the parser says about broken YAML, in words for people who did not write the parser.

use saphyr_parser::ScanError;

use super::parse::{Node, Shape};
use super::position::Positions;
use crate::diag::{Place, Report};

/// Words of the parser, what is said in their place, and what to do about it.
const PHRASES: &[(&str, &str, &str)] = &[
    ("unprintable", "a control character cannot stand here", "remove it"),
    (
        "did not find expected ',' or '}'",
        "a `,` or `}` is missing before this",
        "put a `,` between two entries; a value that contains `,`, `{`, `}`, `[` or `]` needs double quotes",
    ),
    (
        "expected ',' or ']'",
        "a `,` or `]` is missing before this",
        "put a `,` between two entries; a value that contains `,`, `{`, `}`, `[` or `]` needs double quotes",
    ),
    (
        "mapping values are not allowed",
        "a `:` cannot stand here",
        "put a value that contains `: ` in double quotes, or correct the indentation of this line",
    ),
    (
        "illegal placement of ':'",
        "a `:` cannot stand here",
        "close the brackets of the lines before, or put a value that contains `: ` in double quotes",
    ),
    ("tab", "a tab cannot indent a line", "indent with spaces"),
    ("unexpected character", "no value can begin like this", "put the value in double quotes"),
    (
        "quoted scalar",
        "the quote that opens here is not closed",
        "add the closing quote; within single quotes write `''` for one",
    ),
    (
        "invalid trailing content",
        "something follows the closing quote",
        "put the whole value in quotes; within single quotes write `''` for one",
    ),
    (
        "simple key expect",
        "the line before has a key without `:`",
        "write `key: value`; an entry of a list begins with `- `",
    ),
    (
        "unknown anchor",
        "no `&` of this name stands before the alias",
        "put `&name` before the value that `*name` shall repeat, or put the value in double quotes if it is no alias",
    ),
    (
        "did not find expected key",
        "neither a key of the map above nor the end of it",
        "give all keys of a map the same indentation, and put a value that contains `: ` or braces in double quotes",
    ),
    (
        "did not find expected '-'",
        "neither an entry of the list above nor the end of it",
        "give all entries of a list the same indentation and begin each with `- `",
    ),
    (
        "block sequence entries are not allowed",
        "a list cannot begin here",
        "begin it on a line of its own, or put a `-` that is a value in double quotes",
    ),
    ("expected node content", "a value is missing here", "write the value, or close the bracket"),
];

/// Reports a fault that ended the parser's work. `opened` is the innermost bracket that was open.
pub(super) fn refuse(
    error: &ScanError,
    positions: &mut Positions<'_>,
    opened: Option<Place>,
    depth: usize,
    report: &mut Report,
) {
    let place = positions.point(error.marker());
    if error.info().contains("recursion limit") {
        return too_deep(place, depth, report);
    }
    if let Some((variable, value)) = unquoted_variable(positions, place) {
        unquoted(variable, &value, report);
        return;
    }
    let phrase = PHRASES.iter().find(|(words, _, _)| error.info().contains(words));
    let at_end = positions.around(place).1.trim().is_empty();
    let found = match (opened, phrase) {
        (Some(_), _) if at_end => report
            .error("syntax", place, "the file ends before a bracket is closed")
            .help("close it, or put a value that contains `[` or `{` in double quotes"),
        (_, Some((_, message, help))) => report.error("syntax", place, *message).help(*help),
        (_, None) => report
            .error("syntax", place, format!("this is not valid YAML: {}", error.info()))
            .help("put texts with special characters in double quotes"),
    };
    if let Some(opened) = opened {
        found.also(Place { end: opened.start.saturating_add(1), ..opened }, "opened here");
    }
}

/// Reports nesting beyond the limit.
pub(super) fn too_deep(place: Place, depth: usize, report: &mut Report) {
    report
        .error("too_deep", place, format!("lists and maps are nested more than {depth} deep"))
        .help("write it flatter: no document needs more than ten levels");
}

/// Reports a list or map in the place of a key. `{id}: x` and `"{id}": x` are easily confused.
pub(super) fn non_scalar_key(node: &Node, report: &mut Report) {
    let found = report.error("non_scalar_key", node.place, "a key must be one word or a quoted text");
    if let Some(variable) = lone_variable(node) {
        found.help(format!("put the key in double quotes: `\"{variable}\"`"));
    }
}

/// The text `{id}` that YAML reads as a map with one key and no value.
pub(super) fn lone_variable(node: &Node) -> Option<String> {
    let Shape::Map(entries) = node.shape() else {
        return None;
    };
    let [entry] = &**entries else {
        return None;
    };
    // In brackets the map begins ahead of its first key.
    let written = node.place.start < entry.place.start && entry.value.is_nothing();
    written.then(|| format!("{{{}}}", entry.key))
}

fn unquoted(place: Place, value: &str, report: &mut Report) {
    report.error("unquoted_braces", place, "`{` begins a map when it is not in quotes").help(quote(value));
}

/// What to do about a value in which YAML sees a map.
pub(super) fn quote(value: &str) -> String {
    format!("put the value in double quotes: `\"{value}\"`")
}

/// Finds a variable such as `{id}` at which, or behind which, the parser gave up, and the value around it.
fn unquoted_variable(positions: &Positions<'_>, place: Place) -> Option<(Place, String)> {
    let (before, after) = positions.around(place);
    let (start, length) = match variable_length(after) {
        Some(length) => (before.len(), length),
        None => {
            let start = before.rfind('{').filter(|_| before.ends_with('}'))?;
            let length = variable_length(before.get(start..)?)?;
            (start + length == before.len()).then_some((start, length))?
        }
    };
    let text = positions.text();
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '"' | '\'');
    let head = text.get(..start)?.char_indices().rev().take(LONGEST_VALUE);
    let value_start = head.take_while(|(_, c)| !separates(*c)).last().map_or(start, |(at, _)| at);
    let mut value_end = start + length;
    while let Some(next) = text.get(value_end..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(value_end..)?;
        if let Some(length) = variable_length(rest) {
            value_end += length;
        } else if separates(next) || value_end - value_start > LONGEST_VALUE {
            break;
        } else {
            value_end += next.len_utf8();
        }
    }
    Some((positions.at(start, start + length), text.get(value_start..value_end)?.to_owned()))
}

/// Longer values are not quoted in help.
const LONGEST_VALUE: usize = 200;

/// The length of `{name}` or `{name...}` at the start of a text.
fn variable_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('{')?;
    let end = inside.char_indices().take(64).find(|(_, c)| *c == '}').map(|(at, _)| at)?;
    let name = inside.get(..end)?;
    let name = name.strip_suffix("...").unwrap_or(name);
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    named.then_some(end + 2)
}
