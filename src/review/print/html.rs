//! Reports as one page to open or print: no script, nothing from elsewhere. What a colour says, a word says too.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};

use super::words::Words;
use crate::model::Status;
use crate::policy::Reach;
use crate::review::report::{Access, Report, Row, Table, Value};
use crate::telemetry::rfc3339;

/// The look of the page. Every colour of a cell has a contrast of 7 to 1 at least with its text.
const STYLE: &str = include_str!("report.css");

/// Prints a report. `now` is in seconds from the Unix epoch.
pub(super) fn print(report: &Report<'_>, words: &Words<'_>, now: u64, out: &mut impl Write) -> io::Result<()> {
    let title = escaped(&report.title);
    let made_at = rfc3339(now.saturating_mul(1000));
    let made_at = made_at.split('.').next().unwrap_or_default().replace('T', " ");
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>"
    )?;
    for fact in &report.facts {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", fact.label, escaped(&words.value(&fact.value)))?;
    }
    writeln!(out, "<dt>generated at</dt><dd><time>{made_at} UTC</time></dd>\n</dl>")?;
    writeln!(out, "<h2>Legend</h2>\n<ul class=\"legend\">")?;
    for (word, meaning) in words.legend() {
        writeln!(out, "<li><b class=\"{}\">{word}</b> {meaning}</li>", class(word))?;
    }
    writeln!(out, "</ul>")?;
    for table in &report.tables {
        print_table(table, words, report.tables.len() > 1, out)?;
    }
    writeln!(out, "</body>\n</html>")
}

fn print_table(table: &Table<'_>, words: &Words<'_>, with_title: bool, out: &mut impl Write) -> io::Result<()> {
    if with_title {
        writeln!(out, "<h2>{}</h2>", escaped(&table.title))?;
    }
    let summary = Summary::of(table, words);
    writeln!(out, "<p class=\"summary\">{}</p>", escaped(&summary.text(table)))?;
    if let Some(note) = &table.note {
        writeln!(out, "<p>{}</p>", escaped(note))?;
    }
    if summary.rows == 0 {
        return Ok(());
    }
    writeln!(out, "<div class=\"table\"><table>\n<thead><tr>")?;
    for head in &table.heads {
        writeln!(out, "<th scope=\"col\">{head}</th>")?;
    }
    for column in &table.columns {
        let above = column.parent.and_then(|parent| table.columns.get(parent));
        let above = above.map(|above| &*above.name).unwrap_or_default();
        let objects = column.details.join(", ");
        let title = if objects.is_empty() { String::new() } else { format!(" title=\"{}\"", escaped(&objects)) };
        let count = match column.details.len() {
            0 => String::new(),
            1 => format!("<small>{}</small>", escaped(&objects)),
            count => format!("<small>{count} objects</small>"),
        };
        // What lies below something is shown below its name.
        let (above, name) = match column.name.strip_prefix(above).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) if !above.is_empty() => (format!("{above}."), rest),
            _ if above.is_empty() => (String::new(), &*column.name),
            _ => (format!("{above} ›"), &*column.name),
        };
        let above = if above.is_empty() { above } else { format!("<small>{}</small>", escaped(&above)) };
        writeln!(out, "<th scope=\"col\"{title}>{above}{}{count}</th>", escaped(name))?;
    }
    if table.places {
        writeln!(out, "<th scope=\"col\">written at</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    table.each(&mut |row| print_row(table, row, words, out))?;
    writeln!(out, "</tbody>\n</table></div>")
}

fn print_row(table: &Table<'_>, row: &Row<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(if row.status == Status::Active { b"<tr>" } else { b"<tr class=\"inert\">" })?;
    for (number, value) in row.values.iter().enumerate() {
        let text = escaped(&words.value(value));
        match (number, value) {
            (0, _) => write!(out, "<th scope=\"row\">{text}</th>")?,
            (_, Value::Reach(reach)) => write!(out, "<td class=\"{}\">{text}</td>", reach_class(reach))?,
            _ => write!(out, "<td>{text}</td>")?,
        }
    }
    for cell in row.cells {
        print_cell(table, cell, row, words, out)?;
    }
    if table.places {
        write!(out, "<td>{}</td>", escaped(&words.places(row).join(" ")))?;
    }
    out.write_all(b"</tr>\n")
}

fn print_cell(
    table: &Table<'_>,
    cell: &Access,
    row: &Row<'_>,
    words: &Words<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let state = words.state(cell, row.status);
    if state == "-" {
        return out.write_all(b"<td class=\"nothing\">\xe2\x80\x93</td>");
    }
    let label = words.cell(cell, row.status);
    let small = |text: &str| if text.is_empty() { String::new() } else { format!(" <small>{}</small>", escaped(text)) };
    let mut parts = if label.main.is_empty() {
        format!("<b>{}</b>", escaped(&label.rest))
    } else {
        format!("<b>{}</b>{}{}", escaped(&label.main), small(&label.source), small(&label.rest))
    };
    parts.push_str(&small(&label.place));
    if state == "off" && table.places {
        parts.push_str(&small(&format!("else {}", words.held(cell).line())));
    }
    let grounds = words.grounds(cell, row.principal).join("\n");
    write!(out, "<td class=\"{}\" title=\"{}\">{parts}</td>", class(state), escaped(&grounds))
}

/// The class of a word of the legend.
fn class(word: &str) -> &str {
    if word == "-" { "nothing" } else { word }
}

const fn reach_class(reach: &Reach) -> &'static str {
    match reach {
        Reach::Anywhere => "anywhere",
        Reach::At(_) => "somewhere",
        Reach::Never(_) => "nothing",
    }
}

/// How often a table says what.
#[derive(Default)]
struct Summary {
    rows: usize,
    inert: usize,
    states: BTreeMap<&'static str, usize>,
}

impl Summary {
    fn of(table: &Table<'_>, words: &Words<'_>) -> Self {
        let mut summary = Self::default();
        let counted: Result<(), Infallible> = table.each(&mut |row| {
            summary.rows += 1;
            summary.inert += usize::from(row.status != Status::Active);
            for cell in row.cells {
                *summary.states.entry(words.state(cell, row.status)).or_default() += 1;
            }
            Ok(())
        });
        match counted {
            Ok(()) => summary,
        }
    }

    fn text(&self, table: &Table<'_>) -> String {
        let is_matrix = !table.places && !table.columns.is_empty();
        let noun = if is_matrix { "principal" } else { "line" };
        let mut parts = vec![counted(self.rows, noun)];
        if self.inert > 0 {
            parts.push(format!("{} not active", self.inert));
        }
        if is_matrix {
            parts.push(counted(table.columns.len(), "column"));
        }
        parts.extend(
            self.states.iter().filter(|(word, _)| **word != "-").map(|(word, count)| format!("{count} × {word}")),
        );
        parts.join(" · ")
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A text that can stand between tags and in quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No letters that turn a line around, and no control characters but line ends.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        for (text, expected) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onmouseover=\"x", "&quot; onmouseover=&quot;x"),
            ("' x", "&#39; x"),
            ("a & b &lt;", "a &amp; b &amp;lt;"),
            ("a\u{202e}b\u{7}", "a\u{fffd}b\u{fffd}"),
            ("oms.officer:write @territory:USS", "oms.officer:write @territory:USS"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
