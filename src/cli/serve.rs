//! `portcullis serve`: runs the gateway until it is told to stop.

use clap::Args;

use crate::cli::{ConfigFile, Exit, Failure, complain};
use crate::config;
use crate::diag::Report;
use crate::serve;

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// Worker threads [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

/// Starts the gateway and stays until a signal ends it. Standard output is left to the decision log.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut report = Report::new();
    let config = config::load(&options.config.path, &mut report);
    let Some(config) = config.filter(|_| !report.has_errors()) else {
        return Err(Failure::new(Exit::Configuration, report.render()));
    };
    let running = start(config, options.workers.map(usize::from))?;
    for address in running.addresses() {
        complain(format_args!("portcullis: serving on {address}"));
    }
    if let Some(address) = running.admin_address() {
        complain(format_args!("portcullis: admin listener on {address}"));
    }
    serve::run_until_signal(running);
    Ok(Exit::Ok)
}

/// Starts a gateway; `workers` as on the command line.
///
/// # Errors
/// Exit code 3 when the configuration cannot be used, 1 when a port is taken or the system refuses something.
pub(super) fn start(config: config::Config, workers: Option<usize>) -> Result<serve::Running, Failure> {
    serve::start(config, serve::Options { workers }).map_err(|error| match error {
        serve::StartError::Configuration(report) => Failure::new(Exit::Configuration, report.render()),
        other => Failure::new(Exit::Findings, other),
    })
}
