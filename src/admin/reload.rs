//! `POST /reload`: what is asked for, and by whom.

use std::borrow::Cow;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Method, StatusCode};

use super::{Admin, Answer, Peer, answer, json, not_allowed, problem, with};
use crate::reload::{Mode, Order, Trigger};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 500;

impl Admin {
    pub(super) async fn reload(&self, head: &Parts) -> Answer {
        if head.method != Method::POST {
            return not_allowed("POST");
        }
        if let Some(refused) = self.refused(head).await {
            return refused;
        }
        let mode = match mode(head.uri.query().unwrap_or_default()) {
            Ok(mode) => mode,
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        let order = Order { trigger: Trigger::Request, by: by(head), mode };
        match self.reload.reload(order).await {
            Some(outcome) => json(answer::reload_status(&outcome), &answer::reload(&outcome)),
            None => {
                let text = "too many reloads are waiting already, or the process is ending";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
        }
    }
}

/// The address that a call came from.
pub(super) fn by(head: &Parts) -> Option<String> {
    head.extensions.get::<Peer>().map(|Peer(address)| address.to_string())
}

/// The parameters of a query with these names, each there once at most.
pub(super) fn parameters<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut found = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or("the query is not percent-encoded UTF-8")?;
        let place = names.iter().zip(&mut found).find(|(known, _)| **known == name).map(|(_, place)| place);
        let Some(place) = place else {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            return Err(format!("known parameters are {}", names.join(", ")));
        };
        if place.replace(value.into_owned()).is_some() {
            return Err("a parameter stands there twice".to_owned());
        }
    }
    Ok(found)
}

/// Reads `dry_run`, `force` and `reason`.
fn mode(query: &str) -> Result<Mode, String> {
    let [dry, force, reason] = parameters(query, ["dry_run", "force", "reason"])?;
    let (dry, force) = (truth(dry.as_deref()), truth(force.as_deref()));
    let (Some(dry), Some(force)) = (dry, force) else {
        return Err("`dry_run` and `force` are `true` or `false`".to_owned());
    };
    let fault = match (dry, force, reason) {
        (false, false, None) => return Ok(Mode::Usual),
        (true, false, None) => return Ok(Mode::Dry),
        (false, true, Some(reason)) => return Ok(Mode::Forced(reason_of(&reason)?)),
        (false, true, None) => "`force=true` needs a `reason`, which is logged",
        (true, true, _) => "`dry_run` and `force` exclude each other",
        (_, false, Some(_)) => "a `reason` belongs to `force=true`",
    };
    Err(fault.to_owned())
}

/// A switch, which is off where it is not there.
pub(super) fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("false") => Some(false),
        Some("true") => Some(true),
        Some(_) => None,
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

/// Undoes percent-encoding; a plus sign stands for a space.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['%', '+']) {
        return Some(value.into());
    }
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                16 * digit(bytes.next())? + digit(bytes.next())?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_far_a_reload_goes() {
        let forced = |reason: &str| Ok(Mode::Forced(reason.to_owned()));
        for (query, expected) in [
            ("", Ok(Mode::Usual)),
            ("dry_run=false&force=false", Ok(Mode::Usual)),
            ("dry_run=true", Ok(Mode::Dry)),
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
            "forced=true",
            "dry_run=true&dry_run=true",
            &format!("force=true&reason={}", "x".repeat(501)),
        ] {
            assert!(mode(query).is_err(), "{query}");
        }
    }
}
