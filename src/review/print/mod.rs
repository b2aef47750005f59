//! Explanations and reports as people and programs read them: the same, byte for byte, whether the files are asked or a
//! running gateway.

mod csv;
mod explanation;
mod html;
mod terminal;
mod words;

use std::io::{self, Write};

use super::json;
use super::report::Report;
use crate::diag;

pub use explanation::explanation;

use words::Words;

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people, on a terminal.
    Text,
    /// For spreadsheets (RFC 4180).
    Csv,
    /// For programs.
    #[default]
    Json,
    /// For people: one page to open or print, without anything from elsewhere.
    Html,
}

impl Format {
    /// The word in queries.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Html => "html",
        }
    }

    /// The format of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Text, Self::Csv, Self::Json, Self::Html].into_iter().find(|format| format.word() == word)
    }

    /// The media type, for `Content-Type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// Prints a report, made of the policy whose texts `texts` knows. `now` is in seconds from the Unix epoch.
///
/// # Errors
/// Those of `out`.
pub fn report(
    report: &Report<'_>,
    texts: &diag::Report,
    (format, now): (Format, u64),
    out: &mut impl Write,
) -> io::Result<()> {
    let words = Words::new(report, texts);
    match format {
        Format::Text => terminal::print(report, &words, out),
        Format::Csv => csv::print(report, &words, out),
        Format::Json => json::report(report, &json::Places::new(report, texts), out),
        Format::Html => html::print(report, &words, now, out),
    }
}
