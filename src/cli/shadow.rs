//! `portcullis shadow`: has a running gateway judge a candidate policy beside the live one, says what came of it, and ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::client::{Answer, Where};
use crate::cli::{Exit, Failure, Output, complain, data, say};
use crate::route::query::encoded;

/// Compiling a large set of grants takes a while, as for a reload.
const PATIENCE: Duration = Duration::from_secs(150);
/// So many principals of a line are named.
const NAMED: usize = 10;
/// So many reasons likewise.
const REASONS: usize = 3;

/// `shadow`.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Load a candidate, in place of the one before. Nothing of it is published; live answers stay as they are.
    #[command(
        after_help = "The candidate's directory has the files that `routes` and `grants` of gateway.yaml name, at the same places.\n\n\
Exit codes: 0 requests are judged by it, 1 there is no such candidate or none may be loaded, 2 usage, 3 its files have faults, 4 their tests \
fail (with 3 and 4, the candidate before stays), 5 no answer."
    )]
    Load(Load),
    /// Say which requests of whom it would newly deny or allow.
    #[command(
        after_help = "Exit codes: 0 nothing would be newly denied or allowed so far, 1 something would, or there is no candidate, 2 usage, \
5 no answer."
    )]
    Report(Asked),
    /// End it and free its memory; its report goes with it.
    #[command(after_help = "Exit codes: 0 there is none any more, 2 usage, 5 no answer.")]
    Clear(Asked),
}

/// `shadow load`.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// The candidate's directory: its path below `shadow.candidates` of gateway.yaml.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    asked: Asked,
}

/// What all of them have.
#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    gateway: Where,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Asked {
    fn ask(&self, method: &str, target: &str) -> Result<(Answer, Value), Failure> {
        let gateway = self.gateway.gateway()?;
        let token = gateway.token()?;
        let answer = gateway.ask(method, target, token.as_deref(), PATIENCE)?;
        if [401, 403].contains(&answer.status) {
            let message = "the gateway does not accept the admin token; is this the configuration that it runs with?";
            return Err(Failure::new(Exit::Findings, message));
        }
        let result = serde_json::from_str(&answer.body).unwrap_or_default();
        Ok((answer, result))
    }
}

/// Asks, and says what came of it.
pub(super) fn run(verb: &Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Load(load) => self::load(load),
        Verb::Report(asked) => report(asked),
        Verb::Clear(asked) => clear(asked),
    }
}

fn load(Load { name, asked }: &Load) -> Result<Exit, Failure> {
    let (answer, result) = asked.ask("POST", &format!("/shadow?candidate={}", encoded(name)))?;
    let exit = match answer.status {
        200 => Exit::Ok,
        422 if text(&result, "why") == "tests" => Exit::TestsFailed,
        422 => Exit::Configuration,
        _ => Exit::Findings,
    };
    if asked.output == Output::Json {
        data(answer.body.trim_end());
        return Ok(exit);
    }
    if !text(&result, "report").is_empty() {
        complain(text(&result, "report").trim_end());
    }
    let candidate = result.get("candidate").unwrap_or(&Value::Null);
    match answer.status {
        200 => say(format_args!("loaded: {}  {}", text(candidate, "name"), short(text(candidate, "digest")))),
        422 if candidate.is_null() => complain("not loaded: there is no candidate"),
        422 => complain(format_args!("not loaded: {} stays", text(candidate, "name"))),
        status => complain(format_args!("not loaded: the gateway answered {status} {}", text(&result, "message"))),
    }
    Ok(exit)
}

fn clear(asked: &Asked) -> Result<Exit, Failure> {
    let (answer, result) = asked.ask("DELETE", "/shadow")?;
    if asked.output == Output::Json {
        data(answer.body.trim_end());
    } else if answer.status != 200 {
        complain(format_args!("not cleared: the gateway answered {} {}", answer.status, text(&result, "message")));
    } else if let Some(candidate) = result.get("candidate").filter(|candidate| !candidate.is_null()) {
        say(format_args!("cleared: {}", text(candidate, "name")));
    } else {
        say("there was no candidate");
    }
    Ok(if answer.status == 200 { Exit::Ok } else { Exit::Findings })
}

fn report(asked: &Asked) -> Result<Exit, Failure> {
    let (answer, result) = asked.ask("GET", "/shadow")?;
    let requests = result.get("requests").unwrap_or(&Value::Null);
    let nothing = number(requests, "newly_denied") + number(requests, "newly_allowed") == 0;
    let exit = if answer.status == 200 && !requests.is_null() && nothing { Exit::Ok } else { Exit::Findings };
    if asked.output == Output::Json {
        data(answer.body.trim_end());
    } else if answer.status != 200 {
        complain(format_args!("no report: the gateway answered {} {}", answer.status, text(&result, "message")));
    } else if requests.is_null() {
        complain("there is no candidate: `portcullis shadow load NAME`");
    } else {
        say(in_words(&result).trim_end());
    }
    Ok(exit)
}

/// The report for people.
fn in_words(report: &Value) -> String {
    let candidate = report.get("candidate").unwrap_or(&Value::Null);
    let ended =
        if candidate.get("running").is_some_and(|running| running == false) { "; its time is over" } else { "" };
    let mut lines = format!(
        "candidate {}  {}  beside serial {} since {}{ended}\n",
        text(candidate, "name"),
        short(text(candidate, "digest")),
        number(report, "serial"),
        number(report, "since"),
    );
    lines.push_str(&compared(report));
    lines
}

/// What was compared and what came of it, of a report of `/shadow` or of `portcullis replay`.
pub(super) fn compared(report: &Value) -> String {
    let requests = report.get("requests").unwrap_or(&Value::Null);
    let (seen, judged) = (number(requests, "seen"), number(requests, "judged"));
    let mut lines = format!("{judged} of {seen} requests compared{}", share(judged, seen));
    let waiting = number(report, "waiting");
    lines.push_str(&if waiting > 0 { format!(", {waiting} more are waiting\n") } else { "\n".to_owned() });
    let whys = requests.get("not_judged").and_then(Value::as_object).into_iter().flatten();
    let whys: Vec<String> = whys
        .filter_map(|(why, count)| count.as_u64().filter(|count| *count > 0).map(|count| format!("{why} {count}")))
        .collect();
    if !whys.is_empty() {
        lines.push_str(&format!("not compared: {}\n", whys.join(", ")));
    }
    for (what, count) in [
        ("the same answer", "same"),
        ("denied for another reason", "reason_changed"),
        ("newly denied", "newly_denied"),
        ("newly allowed", "newly_allowed"),
    ] {
        let count = number(requests, count);
        lines.push_str(&format!("  {count} {what}{}\n", share(count, judged)));
    }
    for (word, sum, list) in [("denied", "newly_denied", "denied"), ("allowed", "newly_allowed", "allowed")] {
        for group in report.get(list).and_then(Value::as_array).into_iter().flatten() {
            lines.push_str(&line(word, group));
        }
        let others = report.get("others").map_or(0, |others| number(others, sum));
        if others > 0 {
            lines.push_str(&format!("{others} more requests would newly be {word}, beyond what is told apart\n"));
        }
    }
    lines
}

/// `2 principals would newly be denied GET /things/{} (route thing of app; 3 requests; right_missing:...; olga, nils)`.
fn line(word: &str, group: &Value) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut without = 0;
    for one in group.get("who").and_then(Value::as_array).into_iter().flatten() {
        *reasons.entry(text(one, "reason")).or_default() += number(one, "requests");
        match one.get("principal").and_then(Value::as_str) {
            Some(name) if names.contains(&name) => {}
            Some(name) => names.push(name),
            None => without += number(one, "requests"),
        }
    }
    let principals = number(group, "principals");
    let who = match (principals, without) {
        (0, _) => "requests without a token".to_owned(),
        (count, 0) => plural(count, "principal"),
        (count, _) => format!("{} and requests without a token", plural(count, "principal")),
    };
    let mut reasons: Vec<(&str, u64)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let reasons = some(&reasons.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>(), REASONS);
    let route = match (text(group, "route"), text(group, "application")) {
        ("", "") => String::new(),
        ("", application) => format!("no route of {application}; "),
        (route, application) => format!("route {route} of {application}; "),
    };
    let unseen = if group.get("enforced").is_some_and(|enforced| enforced == false) {
        "; only watched there, so nobody would notice"
    } else {
        ""
    };
    let names = if names.is_empty() { String::new() } else { format!("; {}", some(&names, NAMED)) };
    let requests = plural(number(group, "requests"), "request");
    let (method, path) = (text(group, "method"), text(group, "path"));
    format!("{who} would newly be {word} {method} {path} ({route}{requests}; {reasons}{names}{unseen})\n")
}

/// The first of them, and that there are more.
fn some(names: &[&str], most: usize) -> String {
    let more = if names.len() > most { ", …" } else { "" };
    let first: Vec<&str> = names.iter().take(most).copied().collect();
    format!("{}{more}", first.join(", "))
}

pub(super) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// ` (12.3 %)`, rounded down, so that only all are 100; nothing of nothing.
fn share(part: u64, whole: u64) -> String {
    match part.saturating_mul(1000).checked_div(whole) {
        Some(thousandths) => format!(" ({}.{} %)", thousandths / 10, thousandths % 10),
        None => String::new(),
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_who_would_be_denied_what_and_what_was_not_compared() {
        let who = |name: Option<&str>, reason: &str, requests: u64| serde_json::json!({"principal": name, "reason": reason, "requests": requests, "last": 9});
        let group = |method: &str, enforced: bool, principals: u64, requests: u64, who: &[Value]| {
            serde_json::json!({"application": "app", "route": "thing", "method": method, "path": "/things/{}",
                "enforced": enforced, "requests": requests, "principals": principals, "last": 9, "who": who})
        };
        let report = serde_json::json!({
            "candidate": {"name": "next", "digest": "0123456789abcdef", "running": false},
            "serial": 3, "since": 7, "waiting": 2,
            "requests": {"seen": 1001, "judged": 1000, "same": 995, "reason_changed": 0, "newly_denied": 4,
                "newly_allowed": 1, "not_judged": {"queue_full": 1, "broken": 0}},
            "others": {"newly_denied": 0, "newly_allowed": 5},
            "denied": [
                group("GET", true, 2, 3, &[who(Some("olga"), "a", 2), who(Some("nils"), "a", 1)]),
                group("PUT", false, 1, 1, &[who(Some("olga"), "b", 1)]),
            ],
            "allowed": [group("GET", true, 0, 1, &[who(None, "no_token", 1)])],
        });
        assert_eq!(
            in_words(&report),
            "candidate next  0123456789ab  beside serial 3 since 7; its time is over\n\
             1000 of 1001 requests compared (99.9 %), 2 more are waiting\n\
             not compared: queue_full 1\n\
             \x20 995 the same answer (99.5 %)\n\
             \x20 0 denied for another reason (0.0 %)\n\
             \x20 4 newly denied (0.4 %)\n\
             \x20 1 newly allowed (0.1 %)\n\
             2 principals would newly be denied GET /things/{} (route thing of app; 3 requests; a; olga, nils)\n\
             1 principal would newly be denied PUT /things/{} (route thing of app; 1 request; b; olga; only watched there, so \
             nobody would notice)\n\
             requests without a token would newly be allowed GET /things/{} (route thing of app; 1 request; no_token)\n\
             5 more requests would newly be allowed, beyond what is told apart\n"
        );
    }

    #[test]
    fn many_names_are_cut_and_nothing_of_nothing_has_no_share() {
        assert_eq!((some(&["a", "b", "c"], 2), some(&["a", "b"], 2)), ("a, b, …".to_owned(), "a, b".to_owned()));
        assert_eq!(
            (share(0, 0), share(999, 1000), share(2, 2)),
            (String::new(), " (99.9 %)".into(), " (100.0 %)".into())
        );
    }
}
