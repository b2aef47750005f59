//! `portcullis reload`: tells a running gateway to read its route maps and grants again.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Where;
use crate::cli::{Exit, Failure, Output, complain, data, say};
use crate::route::query::encoded;

/// Compiling a large set of grants takes a while; the answer comes when it is done.
const PATIENCE: Duration = Duration::from_secs(150);

/// `reload`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 what is live is what the files say (with --dry-run: they would be published), 1 the gate holds \
them, 2 usage, 3 the files have faults, 4 their tests fail, 5 no answer."
)]
pub(super) struct Options {
    /// Publish nothing; say what would come of it, what would change for how many, and, as `portcullis diff` does, for whom,
    /// where and by what.
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// With --dry-run: list every principal, node and change, however many there are.
    #[arg(long, requires = "dry_run")]
    all: bool,
    /// Publish what the gate would hold. Faults and failing tests are against it all the same.
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why; the gateway logs it.
    #[arg(long, value_name = "TEXT", requires = "force")]
    reason: Option<String>,
    #[command(flatten)]
    gateway: Where,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Options {
    /// What is asked of the admin listener.
    fn target(&self) -> String {
        match &self.reason {
            Some(reason) => format!("/reload?force=true&reason={}", encoded(reason)),
            None if self.all => "/reload?dry_run=true&all=true".to_owned(),
            None if self.dry_run => "/reload?dry_run=true".to_owned(),
            None => "/reload".to_owned(),
        }
    }
}

/// Asks for a reload and says what came of it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let gateway = options.gateway.gateway()?;
    let token = gateway.token()?;
    let answer = gateway.ask("POST", &options.target(), token.as_deref(), PATIENCE)?;
    let result: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let is = |name: &str, word: &str| result.get(name).is_some_and(|value| value == word);
    let exit = match answer.status {
        200 if is("verdict", "hold") => Exit::Findings,
        200 => Exit::Ok,
        422 if is("why", "tests") => Exit::TestsFailed,
        422 => Exit::Configuration,
        401 | 403 => {
            let message = "the gateway does not accept the admin token; is this the configuration that it runs with?";
            return Err(Failure::new(Exit::Findings, message));
        }
        _ => Exit::Findings,
    };
    if options.output == Output::Json {
        data(answer.body.trim_end());
        return Ok(exit);
    }
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("report").is_empty() {
        complain(text("report").trim_end());
    }
    if let (true, Some(changes)) = (options.dry_run, result.get("changes")) {
        say(format_args!("{}\n", in_words(changes).trim_end()));
        if !text("diff_text").is_empty() {
            say(format_args!("{}\n", text("diff_text").trim_end()));
        } else if let Some(why) = result.pointer("/diff_left_out/message").and_then(Value::as_str) {
            say(format_args!("who gains or loses what cannot be told: {why}\n"));
        }
    }
    for held in result.get("held").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        complain(format_args!("held: {held}"));
    }
    match (text("outcome"), result.get("serial")) {
        ("tried", Some(serial)) => say(format_args!("would {}: the gateway keeps serial {serial}", text("verdict"))),
        ("held", Some(serial)) => complain(format_args!(
            "not reloaded: the gateway keeps serial {serial}; if this is meant, `portcullis reload --force --reason TEXT`"
        )),
        (outcome, Some(serial)) if exit == Exit::Ok => say(format_args!("{outcome}: serial {serial}")),
        (_, Some(serial)) => complain(format_args!("not reloaded: the gateway keeps serial {serial}")),
        (_, None) => {
            let why = text("message");
            complain(format_args!("not reloaded: the gateway answered {} {why}", answer.status));
        }
    }
    Ok(exit)
}

/// What would change, a line for each.
pub(super) fn in_words(changes: &Value) -> String {
    let mut lines = String::new();
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for domain in list(changes, "domains") {
        let (name, all) = (text(&domain, "domain"), number(&domain, "principals"));
        for (word, who) in [("gain", "gaining"), ("lose", "losing")] {
            let named: Vec<String> = list(&domain, who).iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
            let (count, named) = (number(&domain, word), named.join(", "));
            if count > 0 {
                lines.push_str(&format!("{name}: {count} of {all} principals {word} access, or may ({named})\n"));
            }
        }
    }
    for opened in list(changes, "opened") {
        let what = if opened.get("public").is_some_and(|public| public == true) { "public" } else { "gate_only" };
        lines.push_str(&format!("{what} now: {} ({})\n", text(&opened, "request"), text(&opened, "route")));
    }
    for name in list(changes, "applications_gone") {
        lines.push_str(&format!("gone: application {}\n", name.as_str().unwrap_or_default()));
    }
    let turns = number(changes, "routes_changed");
    if turns > 0 {
        lines.push_str(&format!("routes: {turns} changes of what takes requests, or of what it asks\n"));
    }
    if lines.is_empty() { "nobody's access changes\n".to_owned() } else { lines }
}
