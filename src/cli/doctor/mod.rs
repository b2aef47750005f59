//! `portcullis doctor`: everything around a gateway that can be wrong, looked at from where it runs, and what to do about
//! it. Needs no running gateway, changes nothing and sends no token.

mod files;
mod issuers;
mod listeners;
mod upstreams;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cli::{ConfigFile, Exit, Failure, Output, data, now, say};
use crate::config;
use crate::diag::Report;
use crate::reload;

/// `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all well, or warnings only, 1 something fails, 2 usage, 3 configuration invalid."
)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// How long all checks together may take: a number and `s`, `m` or `h`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = super::token::seconds)]
    timeout: u64,
    /// How the findings are printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// What it is about, such as `issuer https://...`.
    about: String,
    /// A stable word for what was looked at.
    check: &'static str,
    /// What was found: a clause.
    message: String,
    /// What to do about it.
    help: Option<String>,
}

impl Finding {
    fn new(level: Level, about: &str, check: &'static str, message: impl Into<String>) -> Self {
        Self { level, about: about.to_owned(), check, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Looks at everything and prints what it found.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut report = Report::new();
    let config = config::load(&options.config.path, &mut report);
    let policy = config.as_ref().and_then(|config| reload::load_for_review(&config.policy, &mut report));
    let (Some(config), Some(policy), false) = (config, policy, report.has_errors()) else {
        return Err(Failure::new(Exit::Configuration, report.render()));
    };
    let within = Duration::from_secs(options.timeout);
    let mut findings = files::look(&config, &policy, &report);
    findings.extend(files::candidates(&config));
    findings.extend(listeners::look(&config, &policy, now()));
    findings.extend(network(config, &policy, within)?);
    match options.output {
        Output::Text => say(text(&findings).trim_end()),
        Output::Json => data(format_args!("{:#}", as_json(&findings))),
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(if worst == Some(Level::Fail) { Exit::Findings } else { Exit::Ok })
}

/// All that needs the network, at the same time.
fn network(config: config::Config, policy: &crate::review::Policy, within: Duration) -> Result<Vec<Finding>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Findings, format!("no runtime: {error}")))?;
    let leeway = config.rules.leeway;
    let found = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        for source in config.keys {
            tasks.spawn(async move { issuers::look(source, leeway, within).await });
        }
        for (upstream, server) in upstreams::servers(policy) {
            tasks.spawn_local(async move { upstreams::look(&upstream, &server, within).await });
        }
        tasks.join_all().await
    });
    // The resolution of a name cannot be broken off; nobody waits for it.
    runtime.shutdown_background();
    let mut found: Vec<Finding> = found.into_iter().flatten().collect();
    found.sort_by(|one, other| one.about.cmp(&other.about));
    Ok(found)
}

fn counts(findings: &[Finding]) -> [usize; 3] {
    [Level::Ok, Level::Warn, Level::Fail].map(|level| findings.iter().filter(|finding| finding.level == level).count())
}

fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { level, about, message, help, .. } = finding;
        let help = help.as_ref().map_or_else(String::new, |help| format!("      -> {help}\n"));
        format!("{:<4}  {about}: {message}\n{help}", level.word())
    };
    let lines: String = findings.iter().map(line).collect();
    let [ok, warn, fail] = counts(findings);
    format!("{lines}{ok} ok, {warn} to be warned of, {fail} failed\n")
}

fn as_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "level": finding.level.word(), "about": finding.about, "check": finding.check,
            "message": finding.message, "help": finding.help,
        })
    };
    let [ok, warn, fail] = counts(findings);
    json!({"ok": ok, "warn": warn, "fail": fail, "findings": findings.iter().map(one).collect::<Vec<_>>()})
}

/// A duration as people read it.
fn milliseconds(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}
