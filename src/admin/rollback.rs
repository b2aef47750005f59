//! `POST /rollback` and `GET /history`: going back to an older policy, and which there are. Both need the admin token:
//! the history names who asked.

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::answer::{self, set};
use super::reload::{by, parameters, reason_of, truth};
use super::{Admin, Answer, json as answer_with, not_allowed, problem, reads, with};
use crate::reload::{Back, Nowhere};

impl Admin {
    pub(super) async fn history(&self, head: &Parts) -> Answer {
        if !reads(&head.method) {
            return not_allowed("GET, HEAD");
        }
        if let Some(refused) = self.refused(head).await {
            return refused;
        }
        let body = answer::history(&self.reload.history(), self.reload.rolled_back().as_ref());
        answer_with(StatusCode::OK, &body)
    }

    /// Answers as `POST /reload` does, with `to`, the serial that was gone back to.
    pub(super) async fn roll_back(&self, head: &Parts) -> Answer {
        if head.method != Method::POST {
            return not_allowed("POST");
        }
        if let Some(refused) = self.refused(head).await {
            return refused;
        }
        let back = match back(head.uri.query().unwrap_or_default()) {
            Ok(back) => Back { by: by(head), ..back },
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        match self.reload.roll_back(back).await {
            Some(Ok(done)) => {
                let mut body = answer::reload(&done.outcome);
                set(&mut body, "to", json!(done.to));
                answer_with(answer::reload_status(&done.outcome), &body)
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
    let [serial, reason, dry] = parameters(query, ["serial", "reason", "dry_run"])?;
    let to = match serial {
        // A sign before a number is no digit.
        Some(text) if !text.starts_with('+') => Some(text.parse().map_err(|_| "`serial` is a number")?),
        Some(_) => return Err("`serial` is a number".to_owned()),
        None => None,
    };
    let reason = reason.map(|text| reason_of(&text)).transpose()?;
    let dry = truth(dry.as_deref()).ok_or("`dry_run` is `true` or `false`")?;
    Ok(Back { to, by: None, reason, dry })
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
