//! Reports for spreadsheets: RFC 4180, every field in quotes. Tables follow each other, each with its header, with an
//! empty line between.
//!
//! Spreadsheets run a field that begins like a formula. Such a field gets an apostrophe in front, so that it is text:
//! names come from files that more people may write than may run things on the reader's machine.

use std::io::{self, Write};

use super::words::{Label, Words};
use crate::review::report::{Report, Row, Table};

/// Prints a report.
pub(super) fn print(report: &Report<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    for (number, table) in report.tables.iter().enumerate() {
        if number > 0 {
            out.write_all(b"\r\n")?;
        }
        header(table, out)?;
        table.each(&mut |row| line(&fields(table, row, words), out))?;
    }
    Ok(())
}

fn header(table: &Table<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut names: Vec<String> = table.heads.iter().map(|head| (*head).to_owned()).collect();
    if table.places {
        names.extend(["access", "source", "more", "written at"].map(str::to_owned));
    } else {
        names.extend(table.columns.iter().map(|column| column.name.to_string()));
    }
    line(&names, out)
}

fn fields(table: &Table<'_>, row: &Row<'_>, words: &Words<'_>) -> Vec<String> {
    let mut fields: Vec<String> = row.values.iter().map(|value| words.value(value)).collect();
    let cells = row.cells.iter().map(|cell| words.cell(cell, row.status));
    if table.places {
        fields.extend(cells.flat_map(|Label { main, source, rest, .. }| [main, source, rest]));
        fields.push(words.places(row).join(" "));
    } else {
        fields.extend(cells.map(|label| label.line()).map(|text| if text == "-" { String::new() } else { text }));
    }
    fields
}

fn line(fields: &[String], out: &mut impl Write) -> io::Result<()> {
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            out.write_all(b",")?;
        }
        write!(out, "\"{}\"", harmless(field).replace('"', "\"\""))?;
    }
    out.write_all(b"\r\n")
}

/// The field as text that no spreadsheet takes for a formula, be it after blanks that it drops.
fn harmless(field: &str) -> String {
    let begins = |text: &str| text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if begins(field) || begins(field.trim_start()) { format!("'{field}") } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_never_begin_a_formula() {
        for (field, expected) in [
            ("olga", "\"olga\""),
            ("", "\"\""),
            ("a,b;c", "\"a,b;c\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("\n=1", "\"'\n=1\""),
            ("  =1", "\"'  =1\""),
            ("＝1", "\"'＝1\""),
            ("\"=1", "\"\"\"=1\""),
            ("a=1", "\"a=1\""),
        ] {
            let mut out = Vec::new();
            line(&[field.to_owned()], &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\r\n"), "{field:?}");
        }
    }
}
