//! Reports for a terminal. A matrix that fits is printed as such, with principals or, if there are few of them, columns
//! from top to bottom; one that does not is printed as a list for each principal.

use std::convert::Infallible;
use std::io::{self, Write};

use super::words::Words;
use crate::diag::printable;
use crate::model::Status;
use crate::policy::Held;
use crate::review::report::{Report, Row, Table};

/// What fits into a line.
const WIDTH: usize = 140;
/// The most principals that may stand side by side.
const MAX_ABREAST: usize = 24;

/// Prints a report.
pub(super) fn print(report: &Report<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", clean(&report.title))?;
    let width = report.facts.iter().map(|fact| fact.label.len()).max().unwrap_or(0);
    for fact in &report.facts {
        writeln!(out, "  {:width$}  {}", fact.label, clean(&words.value(&fact.value)))?;
    }
    for table in &report.tables {
        writeln!(out)?;
        if report.tables.len() > 1 {
            writeln!(out, "{}", table.title)?;
        }
        if let Some(note) = &table.note {
            writeln!(out, "  {note}")?;
        }
        if table.places || table.columns.is_empty() {
            list(table, words, out)?;
        } else {
            matrix(table, words, out)?;
        }
    }
    Ok(())
}

/// Names may hold any character; none may move the cursor or turn the line around.
fn clean(text: &str) -> String {
    let printed = printable(text);
    // Nor may it leave its column.
    if printed.contains(['\n', '\t']) { printed.replace('\n', "\u{240a}").replace('\t', "\u{2409}") } else { printed }
}

fn cells(row: &Row<'_>, words: &Words<'_>) -> Vec<String> {
    row.cells.iter().map(|cell| clean(&words.cell(cell, row.status).line())).collect()
}

/// The fields of a list's row.
fn fields(table: &Table<'_>, row: &Row<'_>, words: &Words<'_>) -> Vec<String> {
    let mut fields: Vec<String> = row.values.iter().map(|value| clean(&words.value(value))).collect();
    if table.places {
        let off = row.status != Status::Active;
        let access = row.cells.iter().map(|cell| {
            let held = words.held(cell).line();
            clean(&if off { format!("off (else {held})") } else { held })
        });
        fields.extend(access);
        fields.push(clean(&words.places(row).join(" ")));
    }
    fields
}

fn list(table: &Table<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut heads: Vec<String> = table.heads.iter().map(|head| (*head).to_owned()).collect();
    if table.places {
        heads.extend(["access", "written at"].map(str::to_owned));
    }
    let mut widths = Widths::of(&heads);
    let mut rows = 0_usize;
    never(table.each(&mut |row| {
        rows += 1;
        widths.fit(&fields(table, row, words));
        Ok(())
    }));
    if rows == 0 {
        return writeln!(out, "  none");
    }
    widths.line(&heads, out)?;
    table.each(&mut |row| widths.line(&fields(table, row, words), out))
}

fn matrix(table: &Table<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    let heads = || table.heads.iter().map(|head| (*head).to_owned());
    let names: Vec<String> = heads().chain(table.columns.iter().map(|column| clean(&column.name))).collect();
    let line = |row: &Row<'_>| -> Vec<String> {
        let values = row.values.iter().map(|value| clean(&words.value(value)));
        values.chain(cells(row, words)).collect()
    };
    let mut widths = Widths::of(&names);
    let mut abreast: Vec<Vec<String>> = Vec::new();
    let mut rows = 0_usize;
    never(table.each(&mut |row| {
        rows += 1;
        let line = line(row);
        widths.fit(&line);
        if abreast.len() <= MAX_ABREAST {
            abreast.push(line);
        }
        Ok(())
    }));
    if rows == 0 {
        return writeln!(out, "  no principal");
    }
    if widths.total() <= WIDTH {
        widths.line(&names, out)?;
        table.each(&mut |row| widths.line(&line(row), out))?;
    } else if let Some(turned) = turned(table, &abreast) {
        let widths = Widths::of_all(&turned);
        turned.iter().try_for_each(|line| widths.line(line, out))?;
    } else {
        writeln!(out, "  What is not listed is as the nearest line above it in the hierarchy, or nothing.")?;
        table.each(&mut |row| folded(table, row, words, out))?;
    }
    Ok(())
}

/// The matrix with one line for each column, if the principals fit side by side.
fn turned(table: &Table<'_>, rows: &[Vec<String>]) -> Option<Vec<Vec<String>>> {
    if rows.len() > MAX_ABREAST {
        return None;
    }
    let heads = table.heads.iter().map(|head| (*head).to_owned());
    let indented = table.columns.iter().map(|column| format!("{}{}", "  ".repeat(column.depth), clean(&column.name)));
    let lines = heads.chain(indented).enumerate().map(|(number, name)| {
        let fields = rows.iter().map(|row| row.get(number).cloned().unwrap_or_default());
        std::iter::once(name).chain(fields).collect()
    });
    let turned: Vec<Vec<String>> = lines.collect();
    (Widths::of_all(&turned).total() <= WIDTH).then_some(turned)
}

/// One principal as a list of the columns in which something changes.
fn folded(table: &Table<'_>, row: &Row<'_>, words: &Words<'_>, out: &mut impl Write) -> io::Result<()> {
    let values: Vec<String> = row.values.iter().map(|value| clean(&words.value(value))).collect();
    writeln!(out, "\n{}", values.join("  "))?;
    if row.status != Status::Active {
        return writeln!(out, "  nothing counts: the account is not active");
    }
    let changes = table.columns.iter().zip(row.cells).filter(|(column, cell)| {
        let above = column.parent.and_then(|parent| row.cells.get(parent));
        let above_says = above.filter(|above| !above.is_empty());
        match above_says {
            Some(above) if cell.is_empty() => above.held != Held::Nothing,
            Some(above) => !cell.agrees_with(above),
            None => !cell.is_empty(),
        }
    });
    let lines: Vec<(String, String)> =
        changes.map(|(column, cell)| (clean(&column.name), clean(&words.cell(cell, row.status).long()))).collect();
    if lines.is_empty() {
        return writeln!(out, "  nothing");
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().try_for_each(|(name, cell)| writeln!(out, "  {name:width$}  {cell}"))
}

/// Widths of columns.
struct Widths(Vec<usize>);

impl Widths {
    fn of(line: &[String]) -> Self {
        Self(line.iter().map(|field| field.chars().count()).collect())
    }

    fn of_all(lines: &[Vec<String>]) -> Self {
        let mut widths = Self(Vec::new());
        lines.iter().for_each(|line| widths.fit(line));
        widths
    }

    fn fit(&mut self, line: &[String]) {
        self.0.resize(self.0.len().max(line.len()), 0);
        for (width, field) in self.0.iter_mut().zip(line) {
            *width = (*width).max(field.chars().count());
        }
    }

    fn total(&self) -> usize {
        self.0.iter().map(|width| width + 2).sum()
    }

    fn line(&self, fields: &[String], out: &mut impl Write) -> io::Result<()> {
        let padded = self.0.iter().zip(fields).map(|(width, field)| format!("  {field:width$}"));
        writeln!(out, "{}", padded.collect::<String>().trim_end())
    }
}

fn never(done: Result<(), Infallible>) {
    match done {
        Ok(()) => {}
    }
}
