//! `portcullis reload`: tells a running gateway to read its route maps and grants again.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Admin;
use crate::cli::{ConfigFile, Exit, Failure, Output, complain, say};

/// Compiling a large set of grants takes a while; the answer comes when it is done.
const PATIENCE: Duration = Duration::from_secs(150);

/// `reload`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Asks for a reload and says what came of it: exit code 0 if what is live is what the files say, 3 if they have
/// faults, 4 if their tests fail; either are printed.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let admin = Admin::of(&options.config.path)?;
    let token = admin.token()?;
    let answer = admin.ask("POST", "/reload", Some(&token), PATIENCE)?;
    let result: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let exit = match answer.status {
        200 => Exit::Ok,
        422 if result.get("why").is_some_and(|why| why == "tests") => Exit::TestsFailed,
        422 => Exit::Configuration,
        401 | 403 => {
            let message = "the gateway does not accept the admin token; is this the configuration that it runs with?";
            return Err(Failure::new(Exit::Findings, message));
        }
        _ => Exit::Findings,
    };
    if options.output == Output::Json {
        say(answer.body.trim_end());
        return Ok(exit);
    }
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("report").is_empty() {
        complain(text("report").trim_end());
    }
    match (exit, result.get("serial")) {
        (Exit::Ok, Some(serial)) => say(format_args!("{}: serial {serial}", text("outcome"))),
        (_, Some(serial)) => complain(format_args!("not reloaded: the gateway keeps serial {serial}")),
        (_, None) => complain(format_args!("not reloaded: the gateway answered {}", answer.status)),
    }
    Ok(exit)
}
