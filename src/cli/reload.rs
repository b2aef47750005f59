//! `portcullis reload`: tells a running gateway to read its route maps and grants again.

use std::time::Duration;

use clap::Args;

use crate::cli::client::Admin;
use crate::cli::{ConfigFile, Exit, Failure, say};

/// Compiling a large set of grants takes a while; the answer comes when it is done.
const PATIENCE: Duration = Duration::from_secs(120);

/// `reload`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
}

/// Asks for a reload and relays what came of it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let admin = Admin::of(&options.config.path)?;
    let token = admin.token()?;
    let answer = admin.ask("POST", "/reload", Some(&token), PATIENCE)?;
    let body = answer.body.trim_end();
    match answer.status {
        200 => {
            say(body);
            Ok(Exit::Ok)
        }
        401 | 403 => Err(Failure::new(
            Exit::Findings,
            "the gateway does not accept the admin token; it reads `admin.token_file` when it starts",
        )),
        _ => Err(Failure::new(Exit::Findings, format_args!("not reloaded, the gateway keeps what it has:\n{body}"))),
    }
}
