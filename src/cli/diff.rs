//! `portcullis diff`: what a change of the configuration changes for principals and routes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::policy::Loaded;
use crate::cli::{Exit, Failure, Output, data, say};
use crate::review::diff::{Places, diff, text};
use crate::review::json;

/// `diff`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration as it was: a gateway.yaml, or the directory that it lies in.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The configuration as it is to be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Which changes are exit code 1: any, or only those by which somebody gains, or may gain, access.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    fail_on: FailOn,
    /// List every principal, node and change, however many there are.
    #[arg(long)]
    all: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// What is bad news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Any change.
    #[default]
    Change,
    /// A change by which somebody gains access, or may.
    Gain,
}

/// Compares what two configurations decide.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    // Reading is most of the work, and the two have nothing to do with each other.
    let (old, new) = std::thread::scope(|scope| {
        let old = scope.spawn(|| read("old", &options.old));
        let new = read("new", &options.new);
        (old.join(), new)
    });
    let old = old.map_err(|_| Failure::new(Exit::Configuration, "the old configuration could not be read"))?;
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(old), Err(new)) => {
            return Err(Failure::new(Exit::Configuration, format_args!("{}\n\n{}", old.message, new.message)));
        }
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => return Err(failure),
    };
    let found = diff(&old.policy, &new.policy);
    let places = Places { old: &old.report, new: &new.report };
    match options.output {
        Output::Json => data(format_args!("{:#}", json::difference(&found, &places))),
        Output::Text => say(text::difference(&found, &places, options.all).trim_end()),
    }
    let bad = match options.fail_on {
        FailOn::Change => !found.is_empty(),
        FailOn::Gain => found.gains(),
    };
    Ok(if bad { Exit::Findings } else { Exit::Ok })
}

/// Reads one side; what is wrong in it is told with its name.
fn read(side: &str, path: &Path) -> Result<Loaded, Failure> {
    let file = if path.is_dir() { path.join("gateway.yaml") } else { path.to_owned() };
    Loaded::read(&file).map_err(|failure| {
        let message =
            format!("the {side} configuration, {}, cannot be used:\n{}", file.display(), failure.message.trim_end());
        Failure::new(failure.exit, message)
    })
}
