//! `portcullis db`: the schema of a database that feeds a domain.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Exit, Failure, say};
use crate::source::postgres::{Address, schema};

/// How long making the schema may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be done with a database.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the schema `portcullis` in a database of PostgreSQL 14 or later; what is there already stays.
    Init(Options),
}

/// `db init`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print the commands instead of giving them.
    #[arg(long)]
    print: bool,
    /// The database: `postgres://USER@HOST:PORT/DATABASE`.
    #[arg(long, required_unless_present_any = ["print", "url_file"])]
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

/// Does it.
pub(super) fn run(verb: &Verb) -> Result<Exit, Failure> {
    let Verb::Init(options) = verb;
    if options.print {
        say(schema::SQL.trim_end());
        return Ok(Exit::Ok);
    }
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| Failure::new(Exit::Usage, format_args!("{}: {error}", path.display())))
    };
    let url = match &options.url_file {
        Some(path) => String::from_utf8_lossy(&read(path)?).into_owned(),
        None => options.url.clone().unwrap_or_default(),
    };
    let ca = options.ca.as_ref().map(read).transpose()?;
    let address = Address::parse(&url, (ca.is_some(), ca.as_deref()), options.insecure_plaintext)
        .map_err(|why| Failure::new(Exit::Usage, format_args!("the URL cannot be used: {why}")))?;
    schema::apply(&address, PATIENCE)
        .map_err(|fault| Failure::new(Exit::Unreachable, format_args!("{address}: {fault}")))?;
    say(format_args!("{address} has the schema `portcullis`"));
    Ok(Exit::Ok)
}
