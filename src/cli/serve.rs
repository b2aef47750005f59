//! `portcullis serve`: runs the gateway until it is told to stop.

use clap::Args;

use crate::cli::{ConfigFile, Exit, Failure, complain};
use crate::config::{self, Config};
use crate::diag::Report;
use crate::serve::{self, Ended, Passed, Running, Signals, StartError};
use crate::telemetry::log;

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
    let passed = Passed::from_environment().map_err(|fault| {
        Failure::new(Exit::Findings, format_args!("a socket that was passed cannot be used: {fault}"))
    })?;
    let mut report = Report::new();
    let config = config::load(&options.config.path, &mut report);
    let Some(config) = config.filter(|_| !report.has_errors()) else {
        return Err(Failure::new(Exit::Configuration, report.render()));
    };
    let schemes: Vec<&str> =
        config.listeners.iter().map(|listener| if listener.tls.is_some() { "https" } else { "http" }).collect();
    let signals = watch_signals()?;
    let running = start(passed, config, options.workers.map(usize::from))?;
    for (address, scheme) in running.addresses().into_iter().zip(schemes) {
        complain(format_args!("portcullis: serving on {scheme}://{address}"));
    }
    if let Some(address) = running.admin_address() {
        complain(format_args!("portcullis: admin listener on {address}"));
    }
    Ok(stay(signals, running))
}

/// Takes signals from now on.
///
/// # Errors
/// Exit code 1 when the system does not let them be watched.
pub(super) fn watch_signals() -> Result<Signals, Failure> {
    let refused = |error| Failure::new(Exit::Findings, format_args!("signals cannot be watched: {error}"));
    Signals::watch().map_err(refused)
}

/// Serves until a signal ends it.
pub(super) fn stay(signals: Signals, running: Running) -> Exit {
    match signals.serve(running) {
        Ended::Drained => Exit::Ok,
        Ended::Forced | Ended::Failed => Exit::Findings,
    }
}

/// Sets the process log up and starts a gateway on sockets that were `passed` and others; `workers` as on the command line.
///
/// # Errors
/// Exit code 3 when the configuration cannot be used, 1 when a port is taken or the system refuses something.
pub(super) fn start(passed: Passed, config: Config, workers: Option<usize>) -> Result<Running, Failure> {
    log::init(&config.log.level).map_err(|fault| Failure::new(Exit::Configuration, fault))?;
    serve::start_on(passed, config, serve::Options { workers }).map_err(|error| match error {
        StartError::Configuration(report) => Failure::new(Exit::Configuration, report.render()),
        both @ StartError::LastGood(_) => Failure::new(Exit::Configuration, both),
        other @ (StartError::Bind(_) | StartError::Passed(_) | StartError::Log(_) | StartError::Io(_)) => {
            Failure::new(Exit::Findings, other)
        }
    })
}
