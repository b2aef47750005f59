//! `portcullis lint`: what looks odd in a configuration that loads.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::policy::Loaded;
use crate::cli::{ConfigFile, Exit, Failure, Output, data, say};
use crate::diag::{Place, Severity};
use crate::review::lint::{self, Code, Finding};

/// `lint`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// Leave these findings out; may be given more than once.
    #[arg(long, value_name = "CODE")]
    allow: Vec<String>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// A finding of `lint` or a warning of the load.
struct Shown {
    code: &'static str,
    place: Option<Place>,
    message: String,
    help: Option<String>,
}

/// Reads all files as `serve` would and looks for what is odd.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut loaded = Loaded::read(&options.config.path)?;
    known(&options.allow)?;
    let allowed = |code: &str| options.allow.iter().any(|allowed| allowed == code);
    let warnings: Vec<Shown> = loaded
        .report
        .diagnostics()
        .iter()
        .filter(|found| found.severity == Severity::Warning && !allowed(found.code))
        .map(|found| Shown {
            code: found.code,
            place: found.place,
            message: found.message.clone(),
            help: found.help.clone(),
        })
        .collect();
    let mut found: Vec<Finding> = lint::lint(&loaded.policy);
    found.retain(|finding| !allowed(finding.code.name()));
    let some = !found.is_empty() || !warnings.is_empty();
    match options.output {
        Output::Json => data(format_args!("{:#}", as_json(&loaded, warnings, &found))),
        Output::Text => {
            let counts = counts(&warnings, &found);
            loaded.report.retain(|diagnostic| !allowed(diagnostic.code));
            for finding in &found {
                let warning = loaded.report.warning(finding.code.name(), finding.place, finding.message.clone());
                warning.help(finding.code.remedy());
                for (place, label) in &finding.related {
                    warning.also(*place, label.clone());
                }
            }
            if some {
                say(loaded.report.render().trim_end());
                say(counts);
            } else {
                say("nothing looks odd");
            }
        }
    }
    Ok(if some { Exit::Findings } else { Exit::Ok })
}

/// The codes of all warnings that a load can bring.
const LOAD_WARNINGS: [&str; 5] = ["look_alike", "never_with_settings", "unknown_flag", "unknown_right", "unused_ca"];

/// A code that nothing can find is a slip of the pen.
fn known(allowed: &[String]) -> Result<(), Failure> {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    match allowed.iter().find(|code| !names.contains(&code.as_str()) && !LOAD_WARNINGS.contains(&code.as_str())) {
        Some(code) => {
            let near = crate::diag::suggest(code, names.iter().copied().chain(LOAD_WARNINGS));
            let near = near.map_or_else(
                || format!("; there is {}, {}", names.join(", "), LOAD_WARNINGS.join(", ")),
                |near| format!("; did you mean `{near}`?"),
            );
            Err(Failure::new(Exit::Usage, format_args!("there is no finding `{code}`{near}")))
        }
        None => Ok(()),
    }
}

/// How many there are of each, for whoever cannot read a thousand.
fn counts(warnings: &[Shown], found: &[Finding]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let codes = warnings.iter().map(|warning| warning.code).chain(found.iter().map(|finding| finding.code.name()));
    for code in codes {
        *counts.entry(code).or_default() += 1;
    }
    let texts: Vec<String> = counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
    texts.join(", ")
}

fn as_json(loaded: &Loaded, warnings: Vec<Shown>, found: &[Finding]) -> Value {
    let findings = found.iter().map(|finding| Shown {
        code: finding.code.name(),
        place: finding.place,
        message: finding.message.clone(),
        help: Some(finding.code.remedy().to_owned()),
    });
    let all = warnings.into_iter().chain(findings).map(|shown| {
        let place = shown.place.map(|place| loaded.report.locate(place));
        json!({
            "code": shown.code,
            "message": shown.message,
            "file": place.as_ref().map(|place| place.file.as_ref()),
            "line": place.as_ref().map(|place| place.line),
            "column": place.as_ref().map(|place| place.column),
            "help": shown.help,
        })
    });
    json!({"findings": all.collect::<Vec<_>>()})
}
