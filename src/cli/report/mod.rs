//! `portcullis report`: who can do what, where. Tables for people and programs; what they say is made in
//! [`crate::review::report`], how it looks is made here, one file a format.

mod csv;
mod html;
mod text;
mod words;

use std::io::{self, BufWriter, ErrorKind, Write};

use clap::{Args, Subcommand, ValueEnum};

use self::words::Words;
use crate::cli::policy::Loaded;
use crate::cli::{ConfigFile, Exit, Failure, now};
use crate::model::Level;
use crate::review::json;
use crate::review::report::{Asker, Filter, Glob, Report, UnknownName};

/// `report`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    config: ConfigFile,
    /// The domain to report on; not needed where there is only one.
    #[arg(long, value_name = "NAME", global = true)]
    domain: Option<String>,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    output: Format,
}

/// What to report.
#[derive(Debug, Subcommand)]
enum What {
    /// Principals against rights, at one scope node.
    Modules {
        /// The node; by default the root.
        #[arg(long, value_name = "NODE")]
        at: Option<String>,
        /// Only rights that fit; `*` stands for any letters.
        #[arg(long, value_name = "GLOB")]
        right: Option<String>,
        #[command(flatten)]
        rows: RowOptions,
    },
    /// Principals against scope nodes.
    Scopes {
        /// The right; by default each cell is about the one that most is held of.
        #[arg(long, value_name = "NAME")]
        right: Option<String>,
        /// Only nodes that fit; `*` stands for any letters.
        #[arg(long, value_name = "GLOB")]
        scope: Option<String>,
        #[command(flatten)]
        rows: RowOptions,
    },
    /// Principals against the scope nodes that known objects belong to.
    Objects {
        /// The right; by default those that routes ask for there.
        #[arg(long, value_name = "NAME")]
        right: Option<String>,
        /// Only objects of this kind.
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only objects, as `KIND:KEY`, that fit; `*` stands for any letters.
        #[arg(long, value_name = "GLOB")]
        object: Option<String>,
        #[command(flatten)]
        rows: RowOptions,
    },
    /// Everything about one principal: account, groups, flags, rights, and the routes that are open to it.
    Principal {
        /// The principal's id.
        id: String,
    },
    /// Who holds a right, where, how much and by which source; and the routes that ask for it.
    Right {
        /// The right.
        name: String,
        #[command(flatten)]
        rows: RowOptions,
    },
}

/// Which principals.
#[derive(Debug, Args)]
struct RowOptions {
    /// Only principals whose ids fit; `*` stands for any letters.
    #[arg(long, value_name = "GLOB")]
    principal: Option<String>,
    /// Only members of this group, be it through another.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only those who hold this level at least: read, write or delete.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    /// Only those who hold something.
    #[arg(long)]
    only_held: bool,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, on a terminal.
    #[default]
    Text,
    /// For spreadsheets.
    Csv,
    /// For programs.
    Json,
    /// For people: one page to open or print, without anything from elsewhere.
    Html,
}

fn level(text: &str) -> Result<Level, &'static str> {
    Level::parse(text).ok_or("use `read`, `write` or `delete`")
}

impl RowOptions {
    fn filter(&self) -> Filter {
        Filter {
            principal: self.principal.as_ref().map(Glob::new),
            group: self.group.clone(),
            level: self.level,
            only_held: self.only_held,
        }
    }
}

/// Loads the policy, makes the report and prints it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let loaded = Loaded::read(&options.config.path)?;
    let asker = Asker::new(&loaded.policy, options.domain.as_deref());
    let report = asker.and_then(|asker| make(&asker, &options.what)).map_err(|unknown| usage(&unknown))?;
    let mut out = BufWriter::new(io::stdout().lock());
    match print(&report, &loaded, options.output, &mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Ok),
        // `portcullis ... | head` is no reason to fail.
        Err(fault) if fault.kind() == ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(fault) => Err(Failure::new(Exit::Findings, format!("the report could not be written: {fault}"))),
    }
}

fn make<'p>(asker: &Asker<'p>, what: &What) -> Result<Report<'p>, UnknownName> {
    let glob = |text: &Option<String>| text.as_ref().map(Glob::new);
    match what {
        What::Modules { at, right, rows } => asker.modules(at.as_deref(), glob(right).as_ref(), rows.filter()),
        What::Scopes { right, scope, rows } => asker.scopes(right.as_deref(), glob(scope).as_ref(), rows.filter()),
        What::Objects { right, kind, object, rows } => {
            asker.objects(right.as_deref(), kind.as_deref(), glob(object).as_ref(), rows.filter())
        }
        What::Principal { id } => asker.principal(id),
        What::Right { name, rows } => asker.holders(name, rows.filter()),
    }
}

fn usage(unknown: &UnknownName) -> Failure {
    let help = unknown.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    Failure::new(Exit::Usage, format!("error: {}{help}", unknown.message))
}

fn print(report: &Report<'_>, loaded: &Loaded, format: Format, out: &mut impl Write) -> io::Result<()> {
    let words = Words::new(report, loaded);
    match format {
        Format::Text => text::print(report, &words, out),
        Format::Csv => csv::print(report, &words, out),
        Format::Json => json::report(report, &json::Places::new(report, &loaded.report), out),
        Format::Html => html::print(report, &words, now(), out),
    }
}
