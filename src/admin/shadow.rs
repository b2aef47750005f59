//! `/shadow`: has a candidate policy judged beside what is live (`POST`), says what it would change for whom (`GET`), and
//! takes it down (`DELETE`). Nothing of it is published.

use std::collections::BTreeSet;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::set;
use super::query::Query;
use super::reload::by;
use super::{Admin, Answer, json as answer_with, problem, saying, with};
use crate::candidate::{About, Count, Key, Report};
use crate::reload::candidate::NotLoaded;

/// The longest name of a candidate, in bytes.
const LONGEST_NAME: usize = 500;

impl Admin {
    pub(super) async fn shadow(&self, head: &Parts) -> Answer {
        let query = head.uri.query().unwrap_or_default();
        let named = if head.method == Method::POST { name(query).map(Some) } else { none(query).map(|()| None) };
        match (named, &head.method) {
            (Err(message), _) => problem(StatusCode::BAD_REQUEST, "bad_query", &message),
            (Ok(Some(name)), _) => self.load(&name, by(head)).await,
            (Ok(None), &Method::DELETE) => self.clear(by(head)),
            (Ok(None), _) => {
                let body = self.candidates.report().map_or_else(|| json!({ "candidate": null }), |known| told(&known));
                answer_with(StatusCode::OK, &body)
            }
        }
    }

    async fn load(&self, name: &str, by: Option<String>) -> Answer {
        match self.candidates.load(name, by).await {
            Ok(about) => {
                let body = json!({ "outcome": "loaded", "candidate": candidate(&about), "report": about.warnings });
                saying("loaded", answer_with(StatusCode::OK, &body))
            }
            Err(why) => self.not_loaded(&why),
        }
    }

    fn not_loaded(&self, why: &NotLoaded) -> Answer {
        match why {
            NotLoaded::NotConfigured => {
                let text = "no candidate may be loaded: set `shadow: {candidates: DIRECTORY}` in gateway.yaml, below which \
                            candidates lie, and restart";
                problem(StatusCode::CONFLICT, "no_candidates", text)
            }
            NotLoaded::BadName(text) => problem(StatusCode::BAD_REQUEST, "bad_candidate", text),
            NotLoaded::Missing(text) => problem(StatusCode::NOT_FOUND, "unknown_candidate", text),
            NotLoaded::Ambiguous(path) => {
                let text = format!(
                    "`{}` would stand for two entries of gateway.yaml, which lie outside of its directory: give these files \
                     different names",
                    path.display()
                );
                problem(StatusCode::CONFLICT, "ambiguous_candidate", &text)
            }
            NotLoaded::Busy => {
                let text = "another candidate is being loaded";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
            NotLoaded::Rejected { why, errors, report } => {
                let kept = self.candidates.report().map(|(about, _)| candidate(&about));
                let body = json!({
                    "outcome": "rejected",
                    "why": why.word(),
                    "errors": errors,
                    "report": report,
                    "candidate": kept,
                });
                saying("rejected", answer_with(StatusCode::UNPROCESSABLE_ENTITY, &body))
            }
            NotLoaded::Broken => {
                let text = "the candidate could not be loaded: see the process log";
                problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }

    fn clear(&self, by: Option<String>) -> Answer {
        let cleared = self.candidates.clear(by.as_deref());
        let outcome = if cleared.is_some() { "cleared" } else { "none" };
        let body = json!({ "outcome": outcome, "candidate": cleared.as_ref().map(candidate) });
        saying(outcome, answer_with(StatusCode::OK, &body))
    }
}

/// Reads `candidate`.
fn name(query: &str) -> Result<String, String> {
    let name = Query::read(query, &["candidate"], &[])?.needed("candidate")?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err("a `candidate` has 1 to 500 bytes".to_owned());
    }
    Ok(name)
}

fn none(query: &str) -> Result<(), String> {
    if query.is_empty() { Ok(()) } else { Err("this call has no parameters".to_owned()) }
}

/// `{"name": "next", "digest": "...", "loaded_at": 1, "ends_at": 86401, "by": "127.0.0.1:5000"}`.
fn candidate(about: &About) -> Value {
    json!({
        "name": about.name,
        "digest": about.digest,
        "loaded_at": about.at,
        "ends_at": about.at.saturating_add(about.longest.as_secs()),
        "by": about.by,
    })
}

/// What `/status` says of a candidate: `{"name": "next", "running": true, "since": 1, "until": 86401, "compared": 8,
/// "newly_denied": 2, "newly_allowed": 1, "not_compared": 1}`. `since` is when the report began, for the last time.
pub(super) fn summary((about, report): &(About, Report)) -> Value {
    json!({
        "name": about.name,
        "running": report.running,
        "since": report.since,
        "until": about.at.saturating_add(about.longest.as_secs()),
        "compared": report.counts.judged(),
        "newly_denied": report.counts.newly_denied,
        "newly_allowed": report.counts.newly_allowed,
        "not_compared": report.counts.skipped(),
    })
}

/// `{"candidate": {..., "running": true}, "serial": 3, "since": 1, "restarts": 0, "waiting": 0, "requests": {"seen": 9,
/// "judged": 8, "same": 5, "reason_changed": 0, "newly_denied": 2, "newly_allowed": 1, "not_judged": {"queue_full": 1, ...}},
/// "others": {"newly_denied": 0, "newly_allowed": 0}, "denied": [...], "allowed": [...]}`; of the last two each entry is of
/// [`Group`].
fn told((about, report): &(About, Report)) -> Value {
    let Report { serial, since, restarts, running, waiting, counts, changes } = report;
    let mut body = candidate(about);
    set(&mut body, "running", json!(running));
    let not_judged: serde_json::Map<String, Value> =
        counts.not_judged().map(|(why, count)| (why.word().to_owned(), json!(count))).collect();
    let [others_denied, others_allowed] = counts.others;
    json!({
        "candidate": body,
        "serial": serial,
        "since": since,
        "restarts": restarts,
        "waiting": waiting,
        "requests": {
            "seen": counts.judged() + counts.skipped(),
            "judged": counts.judged(),
            "same": counts.same,
            "reason_changed": counts.reason_changed,
            "newly_denied": counts.newly_denied,
            "newly_allowed": counts.newly_allowed,
            "not_judged": not_judged,
        },
        "others": { "newly_denied": others_denied, "newly_allowed": others_allowed },
        "denied": groups(changes.iter().filter(|(key, _)| !key.gain)),
        "allowed": groups(changes.iter().filter(|(key, _)| key.gain)),
    })
}

/// Changes of one route by one method: `{"application": "app", "route": "home", "method": "GET", "path": "/", "enforced": true,
/// "requests": 3, "principals": 2, "last": 1, "who": [{"principal": "olga", "reason": "right_missing:...", "requests": 2,
/// "last": 1}]}`. `principal` is null without a token.
#[derive(Default)]
struct Group<'r>(Vec<&'r (Key, Count)>);

/// Changes as reports for programs have them: one entry a route and method, what has the most requests first.
pub fn groups<'r>(changes: impl Iterator<Item = &'r (Key, Count)>) -> Vec<Value> {
    // They come in the order of their keys: what belongs together stands together.
    let mut groups: Vec<Group<'r>> = Vec::new();
    let place = |key: &Key| (key.enforced, key.application.clone(), key.route.clone(), key.method.clone());
    for change in changes {
        match groups.last_mut() {
            Some(group) if group.0.last().is_some_and(|(last, _)| place(last) == place(&change.0)) => {
                group.0.push(change)
            }
            _ => groups.push(Group(vec![change])),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.requests()));
    groups.iter_mut().filter_map(Group::told).collect()
}

impl Group<'_> {
    fn requests(&self) -> u64 {
        self.0.iter().map(|(_, count)| count.requests).sum()
    }

    fn told(&mut self) -> Option<Value> {
        self.0.sort_by_key(|(_, count)| std::cmp::Reverse(count.requests));
        let (Key { enforced, application, route, method, .. }, first) = self.0.first()?;
        let named = |key: &Key| Some(key.principal.clone()).filter(|principal| !principal.is_empty());
        let who: Vec<Value> = self
            .0
            .iter()
            .map(|(key, count)| {
                json!({
                    "principal": named(key),
                    "reason": key.reason,
                    "requests": count.requests,
                    "last": count.last,
                })
            })
            .collect();
        let principals: BTreeSet<&str> =
            self.0.iter().map(|(key, _)| &*key.principal).filter(|principal| !principal.is_empty()).collect();
        Some(json!({
            "application": &**application,
            "route": &**route,
            "method": method,
            "path": first.path,
            "enforced": enforced,
            "requests": self.requests(),
            "principals": principals.len(),
            "last": self.0.iter().map(|(_, count)| count.last).max(),
            "who": who,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_candidate_and_nothing_else() {
        assert_eq!(name("candidate=team%2Fnext"), Ok("team/next".to_owned()));
        let long = format!("candidate={}", "x".repeat(501));
        for query in
            ["", "candidate=", "candidate=%0a", "candidate=a&candidate=b", "name=a", "candidate=a&force=true", &long]
        {
            assert!(name(query).is_err(), "{query}");
        }
        assert!(none("").is_ok() && none("candidate=next").is_err());
    }
}
