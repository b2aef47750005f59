//! Findings as text for people.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Level, Renderer, Snippet};

use super::sources::BOM;
use super::{Diagnostic, Place, Report, Severity};

/// Characters shown ahead of a place, and from its start on. Lines that fit are shown whole.
const BEFORE: usize = 80;
const AFTER: usize = 100;

/// Stands for what was cut off.
const CUT: char = '…';

/// Characters of a message or help text that are shown: they may quote what stands in the file.
const LONGEST_MESSAGE: usize = 2_000;

pub(super) fn render(report: &Report) -> String {
    let mut sorted: Vec<&Diagnostic> = report.diagnostics().iter().collect();
    // The sort is stable: findings about the same place stay in the order of finding.
    sorted.sort_by_key(|found| found.place.map(|place| (place.source, place.start)));
    let renderer = Renderer::plain().term_width(1_000);
    let mut text = String::new();
    for found in &sorted {
        text.push_str(&one(found, report, &renderer));
        text.push_str("\n\n");
    }
    let hidden = (report.errors() + report.warnings()).saturating_sub(sorted.len());
    text.push_str(&summary(report.errors(), report.warnings(), hidden));
    text
}

fn one(found: &Diagnostic, report: &Report, renderer: &Renderer) -> String {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let places = found.place.map(|place| (place, AnnotationKind::Primary, None)).into_iter();
    let related = found.related.iter().map(|(place, label)| (*place, AnnotationKind::Context, Some(label)));
    let mut group = level.primary_title(visible(&found.message, false)).id(found.code).elements(None::<Element<'_>>);
    let mut headers = Vec::new();
    for (place, kind, label) in places.chain(related) {
        let location = report.locate(place);
        let excerpt = Excerpt::of(report, place);
        let annotation = kind.span(excerpt.marked).label(label.map(|label| visible(label, false)));
        let snippet = Snippet::source(excerpt.text).path("").line_start(location.line).annotation(annotation);
        group = group.element(snippet);
        headers.push(format!("{}:{}:{}", visible(&location.file, false), location.line, location.column));
    }
    if let Some(help) = &found.help {
        group = group.element(Level::HELP.message(visible(help, true)));
    }
    with_headers(&renderer.render(&[group]), headers)
}

/// The library derives columns from the text it is given, which for us is an excerpt: so the lines that name places,
/// one for each, are written here. They come before any help, and lines of excerpts begin with a number or a bar.
fn with_headers(rendered: &str, headers: Vec<String>) -> String {
    let mut headers = headers.into_iter().peekable();
    let mut text = String::with_capacity(rendered.len());
    for (number, line) in rendered.lines().enumerate() {
        let arrow = ["--> ", "::: "].into_iter().find_map(|arrow| line.find(arrow).map(|at| at + arrow.len()));
        let indent = arrow.and_then(|end| line.get(..end)).filter(|start| start.trim_start().len() == 4);
        text.push_str(if number == 0 { "" } else { "\n" });
        match indent.filter(|_| number > 0).zip(headers.peek()) {
            Some((indent, header)) => {
                text.push_str(indent);
                text.push_str(header);
                headers.next();
            }
            None => text.push_str(line),
        }
    }
    text
}

/// A line, or the part of one around a place, fit to be printed.
struct Excerpt {
    text: String,
    /// The bytes of `text` to underline.
    marked: Range<usize>,
}

impl Excerpt {
    fn of(report: &Report, place: Place) -> Self {
        let source = report.text(place.source);
        let range = report.sources.excerpt(place, BEFORE, AFTER);
        let cut_off = |neighbour: Option<char>| neighbour.is_some_and(|c| !matches!(c, '\n' | '\r' | BOM));
        let before = source.get(..range.start).and_then(|text| text.chars().next_back());
        let after = source.get(range.end..).and_then(|text| text.chars().next());
        let mut text = String::new();
        if cut_off(before) {
            text.push(CUT);
        }
        let (mut start, mut end) = (None, None);
        let line = source.get(range.clone()).unwrap_or_default();
        for (offset, character) in line.trim_end_matches('\r').char_indices() {
            let at = u32::try_from(range.start + offset).unwrap_or(u32::MAX);
            if at >= place.start && start.is_none() {
                start = Some(text.len());
            }
            if at >= place.end && end.is_none() {
                end = Some(text.len());
            }
            text.push(shown(character));
        }
        let (start, end) = (start.unwrap_or(text.len()), end.unwrap_or(text.len()));
        if cut_off(after) {
            text.push(CUT);
        }
        Self { text, marked: start..end.max(start) }
    }
}

/// Text of one or more lines as a terminal may show it: names, paths and answers may hold any character.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character == '\n' { '\n' } else { shown(character) }).collect()
}

/// A text from outside as it may be printed, bounded.
fn visible(text: &str, lines: bool) -> String {
    let fit = |character| match character {
        '\n' if lines => '\n',
        // Only in excerpts are tabs made spaces.
        '\t' => '\u{2409}',
        other => shown(other),
    };
    let mut shortened: String = text.chars().take(LONGEST_MESSAGE).map(fit).collect();
    if text.chars().nth(LONGEST_MESSAGE).is_some() {
        shortened.push(CUT);
    }
    shortened
}

/// A character that neither moves the cursor nor hides or reorders others. Terminals obey some of these, and a text
/// must not look like what it is not.
fn shown(character: char) -> char {
    match character {
        '\t' => '\t',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// The closing line; empty when there is nothing to close.
fn summary(errors: usize, warnings: usize, hidden: usize) -> String {
    let count = |number: usize, word: &str| match number {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{number} {word}s")),
    };
    let counts: Vec<String> = [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
    let mut line = counts.join(", ");
    if hidden > 0 {
        line.push_str(&format!(" ({hidden} not shown)"));
    }
    if !line.is_empty() {
        line.push('\n');
    }
    line
}
