//! `POST /reload`: what is asked for, and by whom.

use http::StatusCode;
use http::header::RETRY_AFTER;
use http::request::Parts;

use super::calls::caller;
use super::query::Query;
use super::{Admin, Answer, answer, dry, json, problem, saying, with};
use crate::reload::{Mode, Order, Trigger};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 500;

impl Admin {
    pub(super) async fn reload(&self, head: &Parts) -> Answer {
        let (mode, all) = match mode(head.uri.query().unwrap_or_default()) {
            Ok(asked) => asked,
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        let found = match mode {
            Mode::Dry => {
                let told = self.reload.dry_run(by(head), move |compared| dry::told(compared, all)).await;
                told.map(|(outcome, difference)| {
                    let mut body = answer::reload(&outcome);
                    difference.into_iter().for_each(|difference| dry::add(&mut body, difference));
                    (outcome, body)
                })
            }
            mode => {
                let outcome = self.reload.reload(Order { trigger: Trigger::Request, by: by(head), mode }).await;
                outcome.map(|outcome| (outcome.clone(), answer::reload(&outcome)))
            }
        };
        match found {
            Some((outcome, body)) => saying(outcome.word(), json(answer::reload_status(&outcome), &body)),
            None => {
                let text = "too many reloads are waiting already, or the process is ending";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
        }
    }
}

/// Who makes a call, as it is told.
pub(super) fn by(head: &Parts) -> Option<String> {
    caller(head).map(ToString::to_string)
}

/// Reads `dry_run`, `force`, `reason` and `all`, which is whether nothing is left out of the text.
fn mode(query: &str) -> Result<(Mode, bool), String> {
    let query = Query::read(query, &["dry_run", "force", "reason", "all"], &[])?;
    let all = truth(&query, "all")?;
    let fault = match (truth(&query, "dry_run")?, truth(&query, "force")?, query.value("reason")) {
        (true, false, None) => return Ok((Mode::Dry, all)),
        (false, ..) if all => "`all` belongs to `dry_run=true`",
        (false, false, None) => return Ok((Mode::Usual, false)),
        (false, true, Some(reason)) => return Ok((Mode::Forced(reason_of(&reason)?), false)),
        (false, true, None) => "`force=true` needs a `reason`, which is logged",
        (true, true, _) => "`dry_run` and `force` exclude each other",
        (_, false, Some(_)) => "a `reason` belongs to `force=true`",
    };
    Err(fault.to_owned())
}

/// A switch, which is off where it is not there.
pub(super) fn truth(query: &Query, name: &str) -> Result<bool, String> {
    match query.value(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("`{name}` is `true` or `false`")),
    }
}

/// A reason as it is logged and kept.
pub(super) fn reason_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err("a `reason` has 1 to 500 bytes without control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_far_a_reload_goes() {
        let forced = |reason: &str| Ok((Mode::Forced(reason.to_owned()), false));
        for (query, expected) in [
            ("", Ok((Mode::Usual, false))),
            ("dry_run=false&force=false", Ok((Mode::Usual, false))),
            ("dry_run=true", Ok((Mode::Dry, false))),
            ("dry_run=true&all=true", Ok((Mode::Dry, true))),
            ("force=true&reason=move+of%20Caf%C3%A9", forced("move of Café")),
            ("reason=%20x%20&force=true", forced("x")),
        ] {
            assert_eq!(mode(query), expected, "{query}");
        }
        for query in [
            "force=true",
            "force=true&reason=",
            "force=true&reason=%0a",
            "force=true&reason=%ff",
            "force=true&reason=%2",
            "force=true&dry_run=true&reason=x",
            "reason=x",
            "dry_run=true&reason=x",
            "force=1&reason=x",
            "dry_run",
            "all=true",
            "force=true&reason=x&all=true",
            "dry_run=true&all=1",
            "forced=true",
            "dry_run=true&dry_run=true",
            &format!("force=true&reason={}", "x".repeat(501)),
        ] {
            assert!(mode(query).is_err(), "{query}");
        }
    }
}
