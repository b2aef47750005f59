//! The command line: one file a verb, and what they share (exit codes, `--config`, `--output`, printing).

mod check;
mod client;
mod db;
mod demo;
mod diff;
mod doctor;
mod explain;
mod files;
mod identity;
mod init;
mod lint;
mod policy;
mod question;
mod reload;
mod replay;
mod report;
mod revoke;
mod rollback;
mod serve;
mod shadow;
mod status;
mod test;
mod token;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::diag::printable;

/// A reverse proxy that decides every request before it reaches an application.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 findings, failed or not ready, 2 usage, 3 configuration invalid, 4 tests failed, 5 not \
reachable."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be asked for. Every verb here works.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway.
    Serve(serve::Options),
    /// Run the gateway in front of a made-up application with made-up users; nothing else is needed.
    Demo(demo::Options),
    /// Write a first configuration and a development key into a directory.
    Init(init::Options),
    /// Say everything that is wrong in gateway.yaml and the files that it names.
    Check(check::Options),
    /// Run the `tests:` of the route maps, and those of further files, against the policy.
    Test(test::Options),
    /// Say why a request is allowed or denied, and what would have to change.
    Explain(explain::Options),
    /// Say who can do what, where: rights, scopes, objects, one principal or one right.
    Report(report::Options),
    /// Say what a change of the configuration changes: who gains or loses what, and which routes open or close.
    Diff(diff::Options),
    /// Say what looks odd in a configuration that loads: conflicts, duties that should be apart, what has no effect.
    Lint(lint::Options),
    /// Work with access tokens.
    #[command(subcommand)]
    Token(token::Verb),
    /// Prepare a database for the grants of a domain.
    #[command(subcommand)]
    Db(db::Verb),
    /// Look at everything around a gateway that can be wrong: issuers, clocks, upstreams, certificates, files.
    Doctor(doctor::Options),
    /// Ask a running gateway how it is.
    Status(status::Options),
    /// Tell a running gateway to read its route maps and grants again.
    Reload(reload::Options),
    /// Tell a running gateway to go back to an older policy.
    Rollback(rollback::Options),
    /// Judge the requests of decision logs by another configuration, and say what it would change for whom.
    Replay(replay::Options),
    /// Have a running gateway judge a candidate policy beside the live one, and say what it would change for whom.
    #[command(subcommand)]
    Shadow(shadow::Verb),
    /// Tell a running gateway not to believe the tokens of a principal, or one token, any more.
    Revoke(revoke::Options),
}

/// The exit codes of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Done.
    Ok = 0,
    /// Ran, and the answer is bad news: findings, a taken port, a gateway that is not ready, a reload that was not taken.
    Findings = 1,
    /// The command line does not make sense.
    Usage = 2,
    /// A configuration file cannot be used.
    Configuration = 3,
    /// A test of the policy failed.
    TestsFailed = 4,
    /// The running gateway did not answer.
    Unreachable = 5,
}

/// Why a verb could not do its work: the exit code, and what standard error says.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `--config`, the same for every verb that reads it.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The gateway's configuration; the files that it names are relative to it.
    #[arg(long = "config", value_name = "FILE", default_value = "gateway.yaml", global = true)]
    path: PathBuf,
}

/// Runs the command line of this process and says how it ended. Messages go to standard error, results to
/// standard output.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell if even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let ended = match cli.verb {
        Verb::Serve(options) => serve::run(&options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Init(options) => init::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Explain(options) => explain::run(&options),
        Verb::Report(options) => report::run(&options),
        Verb::Diff(options) => diff::run(&options),
        Verb::Lint(options) => lint::run(&options),
        Verb::Token(verb) => token::run(&verb),
        Verb::Db(verb) => db::run(&verb),
        Verb::Doctor(options) => doctor::run(&options),
        Verb::Status(options) => status::run(&options),
        Verb::Reload(options) => reload::run(&options),
        Verb::Rollback(options) => rollback::run(&options),
        Verb::Replay(options) => replay::run(&options),
        Verb::Shadow(verb) => shadow::run(&verb),
        Verb::Revoke(options) => revoke::run(&options),
    };
    let exit = ended.unwrap_or_else(|failure| {
        complain(failure.message.trim_end());
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// Prints a result for people: what it has of files, requests and answers moves no cursor. A closed pipe (`portcullis ...
/// | head`) is no reason to fail.
fn say(text: impl Display) {
    data(printable(&text.to_string()));
}

/// Prints a result for programs, as it is.
fn data(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a message for the operator.
fn complain(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(&text.to_string()));
}

/// The command line's clock, in seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "time enters the command line here")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
