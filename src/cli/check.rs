//! `portcullis check`: everything that is wrong in the configuration, all files at once, before anything runs.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{ConfigFile, Exit, Failure, Output, complain, data, now, say};
use crate::config;
use crate::diag::{Diagnostic, Report, Severity};
use crate::reload::{self, candidate};
use crate::route::Compiled;
use crate::token::Issuers;

/// `check`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Reads all files as `serve` would, and prints what it found.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut report = Report::new();
    // With faults in gateway.yaml the other files have been read already, for their faults.
    let config = config::load(&options.config.path, &mut report);
    let compiled = config.and_then(|config| {
        reload::revoked::load(&config.revoked, &Issuers::new(config.issuers), now(), &mut report);
        let loaded = reload::load(&config.policy, &mut report);
        if let (Some(below), Some(_)) = (&config.candidates, &loaded.compiled) {
            for (message, help) in candidate::check(below, &config.policy, &loaded.content).warnings {
                report.warning("candidate", None, message).help(help);
            }
        }
        loaded.compiled
    });
    let compiled = compiled.filter(|_| !report.has_errors());
    match options.output {
        Output::Json => data(format_args!("{:#}", as_json(&report, compiled.as_ref()))),
        Output::Text => {
            if !report.diagnostics().is_empty() {
                complain(report.render().trim_end());
            }
            match &compiled {
                Some(compiled) => say(summary(compiled)),
                None => complain(format_args!("{}: not usable", counted(report.errors(), "error"))),
            }
        }
    }
    Ok(if compiled.is_some() { Exit::Ok } else { Exit::Configuration })
}

fn summary(compiled: &Compiled) -> String {
    let (applications, routes) = compiled.routes.counts();
    let (domains, principals, grants) = compiled.domains.counts();
    format!(
        "ok: {}, {}, {}, {}, {}",
        counted(applications, "application"),
        counted(routes, "route"),
        counted(domains, "domain"),
        counted(principals, "principal"),
        counted(grants, "grant"),
    )
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn as_json(report: &Report, compiled: Option<&Compiled>) -> Value {
    let counts = compiled.map(|compiled| {
        let (applications, routes) = compiled.routes.counts();
        let (domains, principals, grants) = compiled.domains.counts();
        json!({
            "applications": applications, "routes": routes,
            "domains": domains, "principals": principals, "grants": grants,
        })
    });
    let found: Vec<_> = report.diagnostics().iter().map(|diagnostic| finding(report, diagnostic)).collect();
    json!({"ok": compiled.is_some(), "counts": counts, "findings": found})
}

fn finding(report: &Report, found: &Diagnostic) -> Value {
    let place = found.place.map(|place| report.locate(place));
    json!({
        "severity": match found.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "code": found.code,
        "message": found.message,
        "file": place.as_ref().map(|place| place.file.as_ref()),
        "line": place.as_ref().map(|place| place.line),
        "column": place.as_ref().map(|place| place.column),
        "help": found.help,
    })
}
