//! Single values: texts, truth values, numbers, durations, sizes, words of a closed list, literals.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Field, Name, entries, unknown, wrong};
use crate::diag::{Diagnostic, Place, Report};
use crate::document::parse::{Entry, Node, Shape};
use crate::document::{Entries, Literal, Located};

/// A text as it is written: numbers and truth values too, but not nothing.
pub(super) fn text(node: &Node, name: Name<'_>, report: &mut Report) -> Option<Located<String>> {
    match node.shape() {
        Shape::Scalar { text, .. } if !node.is_nothing() => Some(Located::new(node.place, text.to_string())),
        _ => {
            wrong(node, name, "a text", report);
            None
        }
    }
}

pub(super) fn flag(node: &Node, key: &str, report: &mut Report) -> Option<bool> {
    let value = match node.shape() {
        Shape::Scalar { text, plain: true } => truth(text),
        _ => None,
    };
    if value.is_none() {
        wrong(node, Name::Key(key), "`true` or `false`", report).help("write `true` or `false` without quotes");
    }
    value
}

/// A whole number in the notation of the YAML 1.2 core schema.
pub(super) fn integer(node: &Node, name: Name<'_>, report: &mut Report) -> Option<i64> {
    let number = match node.shape() {
        Shape::Scalar { text, plain: true } => number(text),
        _ => None,
    };
    match number {
        Some(Ok(number)) => Some(number),
        Some(Err(OutOfRange)) => {
            too_large(node, report);
            None
        }
        None => {
            wrong(node, name, "a whole number", report).help("write digits only, without quotes");
            None
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, key: &str, choices: &[(&'static str, T)], report: &mut Report) -> Option<T> {
    let written = text(node, Name::Key(key), report)?;
    let chosen = choices.iter().find(|(word, _)| *word == written.value).map(|(_, value)| *value);
    if chosen.is_none() {
        let known: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let subject = format!("value `{}` of `{key}`", written.value);
        unknown("unknown_value", node.place, &subject, &written.value, &known, report);
    }
    chosen
}

/// A constant: plain scalars may be truth values or whole numbers, all else is text.
pub(super) fn literal(node: &Node, name: Name<'_>, report: &mut Report) -> Option<Literal> {
    match node.shape() {
        Shape::List(items) => {
            // Every entry is read, so that each fault is reported.
            let literals: Vec<_> = items.iter().map(|item| literal(item, name, report)).collect();
            literals.into_iter().collect::<Option<_>>().map(Literal::List)
        }
        Shape::Scalar { text, plain: true } if !node.is_nothing() => match (truth(text), number(text)) {
            (Some(truth), _) => Some(Literal::Bool(truth)),
            (None, Some(Ok(number))) => Some(Literal::Int(number)),
            (None, Some(Err(OutOfRange))) => {
                too_large(node, report).help("put it in quotes if it is a text");
                None
            }
            (None, None) => Some(Literal::Text(text.to_string())),
        },
        Shape::Scalar { text, plain: false } => Some(Literal::Text(text.to_string())),
        Shape::Scalar { .. } | Shape::Map(_) => {
            wrong(node, name, "a word, a number, `true`, `false` or a list of these", report);
            None
        }
    }
}

/// A map of names to constants.
pub(super) fn literals(node: &Node, name: Name<'_>, report: &mut Report) -> Entries<Literal> {
    let entries = entries(node, name, report).unwrap_or_default();
    let pair = |entry: &Entry| Some((entry.name(), literal(&entry.value, Name::Key(&entry.key), report)?));
    entries.iter().filter_map(pair).collect()
}

impl Field<'_> {
    /// A whole number within bounds.
    pub(super) fn number(self, default: u64, range: RangeInclusive<u64>, report: &mut Report) -> u64 {
        let read = |node: &Node, report: &mut Report| {
            let number = integer(node, Name::Key(self.key), report)?;
            within(u64::try_from(number).ok(), node.place, self.key, range, |bound| bound.to_string(), report)
        };
        self.node.and_then(|node| read(node, report)).unwrap_or(default)
    }

    /// A number of bytes within bounds: `64KiB`, `1MiB` or a plain number.
    pub(super) fn size(self, default: u64, range: RangeInclusive<u64>, report: &mut Report) -> u64 {
        let read = |node: &Node, report: &mut Report| {
            let written = text(node, Name::Key(self.key), report)?;
            let units = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
            let Some(bytes) = quantity(&written.value, &units) else {
                let message = format!("`{}` must be a number of bytes, but is `{}`", self.key, written.value);
                report.error("bad_value", node.place, message).help("write `64KiB`, `1MiB` or a plain number of bytes");
                return None;
            };
            within(bytes, node.place, self.key, range, sized, report)
        };
        self.node.and_then(|node| read(node, report)).unwrap_or(default)
    }

    /// A stretch of time within bounds, in milliseconds: `500ms`, `60s`, `5m`, `28h`.
    pub(super) fn duration(self, default: u64, range: RangeInclusive<u64>, report: &mut Report) -> Duration {
        let read = |node: &Node, report: &mut Report| {
            let written = text(node, Name::Key(self.key), report)?;
            let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
            let Some(milliseconds) = quantity(&written.value, &units) else {
                let message = format!("`{}` must be a duration, but is `{}`", self.key, written.value);
                report
                    .error("bad_value", node.place, message)
                    .help("write a number and its unit: `500ms`, `60s`, `5m`, `28h`");
                return None;
            };
            within(milliseconds, node.place, self.key, range, timed, report)
        };
        Duration::from_millis(self.node.and_then(|node| read(node, report)).unwrap_or(default))
    }
}

/// Reports a number outside its bounds. `value` is `None` when it is negative or too large to be counted.
fn within(
    value: Option<u64>,
    place: Place,
    key: &str,
    range: RangeInclusive<u64>,
    written: impl Fn(u64) -> String,
    report: &mut Report,
) -> Option<u64> {
    let inside = value.filter(|value| range.contains(value));
    if inside.is_none() {
        let (least, most) = (written(*range.start()), written(*range.end()));
        report
            .error("out_of_range", place, format!("`{key}` must be {least} to {most}"))
            .help("write a value between these, or leave the key out for the default");
    }
    inside
}

fn too_large<'r>(node: &Node, report: &'r mut Report) -> &'r mut Diagnostic {
    let found = report.error("out_of_range", node.place, "the number has more than 64 bits");
    found.help("write a smaller number")
}

/// Digits and a unit. `None` when it is something else, `Some(None)` when it is too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<Option<u64>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    (!digits.is_empty()).then(|| digits.parse::<u64>().ok()?.checked_mul(*factor))
}

fn sized(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn timed(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".to_owned(),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(1_000) => format!("{}s", milliseconds / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number that does not fit.
#[derive(Debug, PartialEq)]
struct OutOfRange;

/// `None` when the text is no number.
fn number(text: &str) -> Option<Result<i64, OutOfRange>> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        (None, None) => (text.strip_prefix(['+', '-']).unwrap_or(text), 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    let signed = if radix == 10 { text } else { digits };
    is_number.then(|| i64::from_str_radix(signed, radix).map_err(|_| OutOfRange))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        let cases = [
            ("0", Some(Ok(0))),
            ("-12", Some(Ok(-12))),
            ("+7", Some(Ok(7))),
            ("010", Some(Ok(10))),
            ("0x1F", Some(Ok(31))),
            ("0o17", Some(Ok(15))),
            ("9223372036854775807", Some(Ok(i64::MAX))),
            ("-9223372036854775808", Some(Ok(i64::MIN))),
            ("9223372036854775808", Some(Err(OutOfRange))),
            ("", None),
            ("-", None),
            ("+-1", None),
            ("0x", None),
            ("0x-1", None),
            ("1.5", None),
            ("1_000", None),
            ("1e3", None),
            ("٣", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn quantities_need_a_known_unit_and_do_not_overflow() {
        let units = [("s", 1_000), ("h", 3_600_000)];
        let cases = [
            ("60s", Some(Some(60_000))),
            ("28h", Some(Some(100_800_000))),
            ("99999999999999999999s", Some(None)),
            ("9999999999999999h", Some(None)),
            ("60", None),
            ("s", None),
            ("60 s", None),
            ("-1s", None),
            ("1.5h", None),
            ("60S", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quantity(text, &units), expected, "{text}");
        }
    }
}
