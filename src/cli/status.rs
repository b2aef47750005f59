//! `portcullis status`: how a running gateway is. With `--ready` it is the health check of a container.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Where;
use crate::cli::{Exit, Failure, Output, complain, data, say};

const PATIENCE: Duration = Duration::from_secs(5);

/// `status`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    gateway: Where,
    /// Say nothing but whether requests can be served: exit code 0 if so, 1 if not, 5 if nobody answers.
    #[arg(long)]
    ready: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Asks the admin listener.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let gateway = options.gateway.gateway()?;
    if options.ready {
        let answer = gateway.ask("GET", "/readyz", None, PATIENCE)?;
        if answer.status == 200 {
            return Ok(Exit::Ok);
        }
        complain(answer.body.trim_end());
        return Ok(Exit::Findings);
    }
    let answer = gateway.ask("GET", "/status", None, PATIENCE)?;
    let status = serde_json::from_str::<Value>(&answer.body).ok().filter(|_| answer.status == 200);
    let Some(status) = status else {
        let message = format!("the admin listener at {} answered {} to /status", gateway.name(), answer.status);
        return Err(Failure::new(Exit::Findings, message));
    };
    match options.output {
        Output::Json => data(answer.body.trim_end()),
        Output::Text => say(text(&status).trim_end()),
    }
    Ok(Exit::Ok)
}

/// One line for each value, with the names of what it is nested in before it.
fn text(status: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", status, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(part, value)| flatten(&below(part), value, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| flatten(&below(&index.to_string()), value, lines));
        }
        Value::String(text) => lines.push((name.to_owned(), text.clone())),
        Value::Null => lines.push((name.to_owned(), "-".to_owned())),
        Value::Bool(_) | Value::Number(_) => lines.push((name.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_line_for_each_value() {
        let status = serde_json::json!({"serial": 3, "keys": [{"issuer": "uss", "age_seconds": null}], "ready": true});
        let text = text(&status);
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        let expected =
            ["keys.0.age_seconds  -", "keys.0.issuer       uss", "ready               true", "serial              3"];
        assert_eq!(lines, expected);
    }
}
