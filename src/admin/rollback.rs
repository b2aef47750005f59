//! `POST /rollback` and `GET /history`: going back to an older policy, and which there are. Both need the admin token:
//! the history names who asked.

use http::StatusCode;
use http::header::RETRY_AFTER;
use http::request::Parts;

use serde_json::json;

use super::answer::{self, set};
use super::query::Query;
use super::reload::{by, reason_of, truth};
use super::{Admin, Answer, json as answer_with, problem, saying, with};
use crate::reload::{Back, Nowhere};

impl Admin {
    pub(super) fn history(&self) -> Answer {
        let body = answer::history(&self.reload.history(), self.reload.rolled_back().as_ref());
        answer_with(StatusCode::OK, &body)
    }

    /// Answers as `POST /reload` does, with `to`, the serial that was gone back to.
    pub(super) async fn roll_back(&self, head: &Parts) -> Answer {
        let back = match back(head.uri.query().unwrap_or_default()) {
            Ok(back) => Back { by: by(head), ..back },
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        match self.reload.roll_back(back).await {
            Some(Ok(done)) => {
                let mut body = answer::reload(&done.outcome);
                set(&mut body, "to", json!(done.to));
                saying(done.outcome.word(), answer_with(answer::reload_status(&done.outcome), &body))
            }
            Some(Err(nowhere)) => no(&nowhere),
            None => {
                let text = "too many reloads are waiting already, or the process is ending";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
        }
    }
}

/// Reads `serial`, `reason` and `dry_run`.
fn back(query: &str) -> Result<Back, String> {
    let query = Query::read(query, &["serial", "reason", "dry_run"], &[])?;
    let to = match query.value("serial") {
        // A sign before a number is no digit.
        Some(text) if !text.starts_with('+') => Some(text.parse().map_err(|_| "`serial` is a number")?),
        Some(_) => return Err("`serial` is a number".to_owned()),
        None => None,
    };
    let reason = query.value("reason").map(|text| reason_of(&text)).transpose()?;
    Ok(Back { to, by: None, reason, dry: truth(&query, "dry_run")? })
}

fn no(nowhere: &Nowhere) -> Answer {
    match nowhere {
        Nowhere::Unknown(there) => {
            let named: Vec<String> = there.iter().map(u64::to_string).collect();
            let message = format!("no older policy with that serial is kept; there are {}", named.join(", "));
            let mut body = json!({ "error": "unknown_serial", "message": message });
            set(&mut body, "serials", json!(there));
            answer_with(StatusCode::NOT_FOUND, &body)
        }
        Nowhere::Nothing => {
            let text = "no older policy is kept: none was published since the start, or `reload.history` is 0";
            problem(StatusCode::CONFLICT, "nothing_older", text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_gone_back_to() {
        for (query, expected) in [
            ("", Back::default()),
            ("serial=7", Back { to: Some(7), ..Back::default() }),
            ("serial=7&dry_run=true", Back { to: Some(7), dry: true, ..Back::default() }),
            ("reason=wrong+shop&dry_run=false", Back { reason: Some("wrong shop".to_owned()), ..Back::default() }),
        ] {
            assert_eq!(back(query), Ok(expected), "{query}");
        }
        for query in [
            "serial=",
            "serial=-1",
            "serial=%2B1",
            "serial=x",
            "serial=1&serial=1",
            "reason=",
            "reason=%0a",
            "force=true",
        ] {
            assert!(back(query).is_err(), "{query}");
        }
        assert!(back("dry_run=1").is_err());
    }
}
