//! `portcullis rollback`: tells a running gateway to go back to an older policy, or lists which there are.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Where;
use crate::cli::reload::in_words;
use crate::cli::{Exit, Failure, Output, complain, data, say};
use crate::route::query::encoded;

/// As for a reload.
const PATIENCE: Duration = Duration::from_secs(150);

/// `rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "The gate holds nothing of it. The files stay as they are; they count again when they say something new, or at \
`portcullis reload`.\n\nExit codes: 0 done, 1 there is no such policy, 2 usage, 3 the configuration cannot be used, 5 no answer."
)]
pub(super) struct Options {
    /// The serial to go back to; by default the one before what is live.
    #[arg(value_name = "SERIAL")]
    serial: Option<u64>,
    /// Why; the gateway logs it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Publish nothing; say what would change for how many.
    #[arg(long)]
    dry_run: bool,
    /// Only list what is live and what can be gone back to.
    #[arg(long, conflicts_with_all = ["serial", "reason", "dry_run"])]
    list: bool,
    #[command(flatten)]
    gateway: Where,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Options {
    /// What is asked of the admin listener.
    fn target(&self) -> String {
        let serial = self.serial.map(|serial| format!("serial={serial}"));
        let reason = self.reason.as_ref().map(|reason| format!("reason={}", encoded(reason)));
        let dry = self.dry_run.then(|| "dry_run=true".to_owned());
        let parameters: Vec<String> = [serial, reason, dry].into_iter().flatten().collect();
        if parameters.is_empty() { "/rollback".to_owned() } else { format!("/rollback?{}", parameters.join("&")) }
    }
}

/// Asks, and says what came of it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let gateway = options.gateway.gateway()?;
    let token = gateway.token()?;
    let (method, target) = if options.list { ("GET", "/history".to_owned()) } else { ("POST", options.target()) };
    let answer = gateway.ask(method, &target, token.as_deref(), PATIENCE)?;
    let result: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if [401, 403].contains(&answer.status) {
        let message = "the gateway does not accept the admin token; is this the configuration that it runs with?";
        return Err(Failure::new(Exit::Findings, message));
    }
    let exit = if answer.status == 200 { Exit::Ok } else { Exit::Findings };
    if options.output == Output::Json {
        data(answer.body.trim_end());
        return Ok(exit);
    }
    if exit != Exit::Ok {
        let why = result.get("message").and_then(Value::as_str).unwrap_or_default();
        complain(format_args!("not rolled back: the gateway answered {} {why}", answer.status));
        return Ok(exit);
    }
    if options.list {
        say(listed(&result).trim_end());
        return Ok(exit);
    }
    if let Some(changes) = result.get("changes") {
        say(in_words(changes).trim_end());
    }
    let number = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (serial, to) = (number("serial"), number("to"));
    if options.dry_run {
        say(format_args!("would go back to {to}: the gateway keeps serial {serial}"));
    } else {
        say(format_args!("rolled back to {to}: serial {serial}"));
    }
    Ok(exit)
}

/// A line for each policy, the live one first.
fn listed(result: &Value) -> String {
    let entries = result.get("history").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut lines = String::new();
    for (number, entry) in entries.iter().enumerate() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("-");
        let whole = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
        let live = if number == 0 { "live" } else { "    " };
        let of = entry.get("of").and_then(Value::as_u64).map(|of| format!(" to {of}")).unwrap_or_default();
        let count = |name: &str| {
            let count = entry.get("counts").and_then(|counts| counts.get(name));
            count.and_then(Value::as_u64).unwrap_or_default()
        };
        let digest: String = text("digest").chars().take(12).collect();
        lines.push_str(&format!(
            "{live} {}  {}  {}{of}  by {}  {} routes, {} principals  {digest}  {}\n",
            whole("serial"),
            whole("at"),
            text("origin"),
            text("by"),
            count("routes"),
            count("principals"),
            text("reason"),
        ));
    }
    if result.get("rolled_back").is_some_and(|back| !back.is_null()) {
        lines.push_str("the files say something else than what is live\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_a_line_and_the_live_one_is_first() {
        let result = serde_json::json!({
            "rolled_back": {"to": 1, "at": 9},
            "history": [
                {"serial": 3, "at": 9, "origin": "rollback", "of": 1, "by": "127.0.0.1:7", "reason": "wrong shop",
                    "digest": "0123456789abcdef", "counts": {"routes": 4, "principals": 2}},
                {"serial": 2, "at": 8, "origin": "signal", "of": null, "by": null, "reason": null, "digest": "ff",
                    "counts": {"routes": 5, "principals": 2}},
            ],
        });
        assert_eq!(
            listed(&result),
            "live 3  9  rollback to 1  by 127.0.0.1:7  4 routes, 2 principals  0123456789ab  wrong shop\n\
             \x20    2  8  signal  by -  5 routes, 2 principals  ff  -\n\
             the files say something else than what is live\n"
        );
    }
}
