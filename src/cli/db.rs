//! `portcullis db`: the schema of a database that feeds a domain.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Exit, Failure, say};
use crate::source::postgres::{Address, Fault, schema};

/// How long making the schema may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long taking changes out may take: nobody may have done it for a year.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// What can be done with a database.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the schema `portcullis` in a database of PostgreSQL 14 or later, or bring an older one up to date; what is
    /// there already stays.
    Init(Init),
    /// Take old changes out of its log of changes. A gateway that has not seen them yet reads everything.
    Prune(Prune),
}

/// `db init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Print the commands instead of giving them.
    #[arg(long, conflicts_with_all = ["url", "url_file"])]
    print: bool,
    #[command(flatten)]
    place: Place,
}

/// `db prune`.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// How old a change must be.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = super::token::seconds)]
    keep: u64,
    #[command(flatten)]
    place: Place,
}

/// Where the database is, and how to connect to it.
#[derive(Debug, Args)]
struct Place {
    /// The database: `postgres://USER@HOST:PORT/DATABASE`.
    #[arg(long)]
    url: Option<String>,
    /// A file with that URL, for one with a password.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    url_file: Option<PathBuf>,
    /// Certificate authorities (PEM) to believe in place of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Connect without TLS beyond this machine.
    #[arg(long)]
    insecure_plaintext: bool,
}

impl Place {
    fn address(&self) -> Result<Address, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| Failure::new(Exit::Usage, format_args!("{}: {error}", path.display())))
        };
        let url = match (&self.url_file, &self.url) {
            (Some(path), _) => String::from_utf8_lossy(&read(path)?).into_owned(),
            (None, Some(url)) => url.clone(),
            (None, None) => {
                return Err(Failure::new(Exit::Usage, "which database? Say so by `--url` or `--url-file`"));
            }
        };
        let ca = self.ca.as_ref().map(read).transpose()?;
        Address::parse(&url, (ca.is_some(), ca.as_deref()), self.insecure_plaintext)
            .map_err(|why| Failure::new(Exit::Usage, format_args!("the URL cannot be used: {why}")))
    }
}

/// Does it.
pub(super) fn run(verb: &Verb) -> Result<Exit, Failure> {
    let failed = |address: &Address, fault: Fault| Failure::new(Exit::Unreachable, format_args!("{address}: {fault}"));
    match verb {
        Verb::Init(Init { print: true, .. }) => say(schema::SQL.trim_end()),
        Verb::Init(Init { print: false, place }) => {
            let address = place.address()?;
            schema::apply(&address, PATIENCE).map_err(|fault| failed(&address, fault))?;
            say(format_args!("{address} has the schema `portcullis`"));
        }
        Verb::Prune(Prune { keep, place }) => {
            let address = place.address()?;
            let pruned = schema::prune(&address, Duration::from_secs(*keep), LONG_PATIENCE);
            let gone = pruned.map_err(|fault| failed(&address, fault))?;
            let changes = if gone == 1 { "change" } else { "changes" };
            say(format_args!("{address}: {gone} old {changes} taken out"));
        }
    }
    Ok(Exit::Ok)
}
