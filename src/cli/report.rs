//! `portcullis report`: who can do what, where, by the files or by what a running gateway has live. What the tables say is
//! made in [`crate::review::report`], how they look in [`crate::review::print`].

use std::io::{self, BufWriter, ErrorKind, Write};

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::client::Where;
use crate::cli::policy::Loaded;
use crate::cli::question::Page;
use crate::cli::{Exit, Failure, now};
use crate::diag::printable;
use crate::model::Level;
use crate::review::print;
use crate::review::report::{Asker, Filter, Glob, Report, UnknownName};

/// `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "The files are read, unless `--admin` names a running gateway to ask.\n\nExit codes: 0 ok, 1 the gateway does not \
say, or the report could not be written, 2 usage, 3 configuration invalid, 5 no answer."
)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    gateway: Where,
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

impl Format {
    const fn format(self) -> print::Format {
        match self {
            Self::Text => print::Format::Text,
            Self::Csv => print::Format::Csv,
            Self::Json => print::Format::Json,
            Self::Html => print::Format::Html,
        }
    }
}

impl Options {
    /// The same question, to a running gateway.
    fn page(&self) -> Page {
        let page = |kind: &str| {
            let page = Page::of("/report", self.output.format()).with("report", kind);
            page.with_all("domain", &self.domain)
        };
        match &self.what {
            What::Modules { at, right, rows } => rows.on(page("modules").with_all("at", at).with_all("right", right)),
            What::Scopes { right, scope, rows } => {
                rows.on(page("scopes").with_all("right", right).with_all("scope", scope))
            }
            What::Objects { right, kind, object, rows } => {
                let page = page("objects").with_all("right", right).with_all("kind", kind);
                rows.on(page.with_all("object", object))
            }
            What::Principal { id } => page("principal").with("principal", id),
            What::Right { name, rows } => rows.on(page("right").with("right", name)),
        }
    }
}

impl RowOptions {
    /// The same rows, of a page.
    fn on(&self, page: Page) -> Page {
        let page = page.with_all("principal", &self.principal).with_all("group", &self.group);
        let page = page.with_all("level", self.level.map(|level| level.name().to_owned()).as_ref());
        if self.only_held { page.with("only_held", "true") } else { page }
    }

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
    let mut out = BufWriter::new(io::stdout().lock());
    if options.gateway.is_asked()? {
        let answer = options.page().ask(&options.gateway)?;
        let answer = if options.output == Format::Text { printable(&answer) } else { answer };
        return written(out.write_all(answer.as_bytes()).and_then(|()| out.flush()));
    }
    let loaded = Loaded::read(options.gateway.config())?;
    let asker = Asker::new(&loaded.policy, options.domain.as_deref());
    let report = asker.and_then(|asker| make(&asker, &options.what)).map_err(|unknown| usage(&unknown))?;
    let format = (options.output.format(), now());
    written(print::report(&report, &loaded.report, format, &mut out).and_then(|()| out.flush()))
}

/// What became of the output.
fn written(result: io::Result<()>) -> Result<Exit, Failure> {
    match result {
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
