//! The JSON bodies of the operators' listener. Times are seconds since the Unix epoch, ages are seconds.

use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::reload::{self, Counts, LastReload, ReloadOutcome};

/// `GET /livez`: `{"status": "alive"}`.
pub fn livez() -> Value {
    json!({ "status": "alive" })
}

/// `GET /version`: `{"name": "portcullis", "version": "0.1.0"}`.
pub fn version(version: &str) -> Value {
    json!({ "name": "portcullis", "version": version })
}

/// Whether requests can be served, and the body that says so.
pub struct Ready {
    /// 200 or 503.
    pub ready: bool,
    /// `{"status": "ready", "serial": 3}`, with `"last_reload_failed": {...}` (as `last_reload` of
    /// [`status`]) while the files differ from what is live, which does not make the process less ready; or
    /// `{"status": "not_ready", "serial": 3, "missing": [...]}` with entries
    /// `{"what": "draining"}` and `{"what": "keys", "tenant": "uss", "issuer": "https://..."}`.
    pub body: Value,
}

/// `GET /readyz`.
pub fn readyz(admin: &Admin) -> Ready {
    let snapshot = admin.live.load();
    let mut missing = Vec::new();
    if *admin.draining.borrow() {
        missing.push(json!({ "what": "draining" }));
    }
    for (_, issuer) in admin.verifier.issuers().iter() {
        if !issuer.keys.iter().any(|keys| snapshot.keys.get(keys.source).is_some()) {
            missing.push(json!({ "what": "keys", "tenant": &*issuer.tenant, "issuer": issuer.url }));
        }
    }
    let ready = missing.is_empty();
    let mut body = json!({ "status": if ready { "ready" } else { "not_ready" }, "serial": snapshot.serial });
    if !ready {
        set(&mut body, "missing", Value::Array(missing));
    }
    if let Some(last) = admin.reload.last().filter(|last| !last.good) {
        set(&mut body, "last_reload_failed", last_reload(&last, reload::now()));
    }
    Ready { ready, body }
}

/// `GET /status`:
/// ```json
/// {"version": "0.1.0", "started_at": 1, "uptime_seconds": 1, "ready": true, "draining": false,
///  "serial": 3, "policy_loaded_at": 1, "policy_age_seconds": 1,
///  "counts": {"applications": 1, "routes": 9, "domains": 1, "principals": 5, "grants": 8},
///  "keys_generation": 2,
///  "keys": [{"tenant": "uss", "issuer": "https://...", "keys": 4, "fetched_at": 1, "age_seconds": 1}],
///  "revoked": {"generation": 2, "entries": 3, "sources": [...]},
///  "last_reload": {"at": 1, "age_seconds": 1, "trigger": "file_change", "outcome": "rejected", "errors": 2}}
/// ```
/// `fetched_at` and `age_seconds` are null while an issuer's keys are missing, `last_reload` while there was none.
pub fn status(admin: &Admin) -> Value {
    let now = reload::now();
    let snapshot = admin.live.load();
    let counts = Counts::of(&admin.live);
    let key = |(_, issuer): (_, &crate::token::Issuer)| {
        let source = issuer.keys.first().map(|keys| keys.source);
        let fetched_at = source.and_then(|source| snapshot.keys.fetched_at(source));
        json!({
            "tenant": &*issuer.tenant,
            "issuer": issuer.url,
            "keys": source.and_then(|source| snapshot.keys.get(source)).map_or(0, |keys| keys.len()),
            "fetched_at": fetched_at,
            "age_seconds": fetched_at.map(|at| now.saturating_sub(at)),
        })
    };
    json!({
        "version": admin.version,
        "started_at": admin.started_at,
        "uptime_seconds": now.saturating_sub(admin.started_at),
        "ready": readyz(admin).ready,
        "draining": *admin.draining.borrow(),
        "serial": snapshot.serial,
        "policy_loaded_at": snapshot.loaded_at,
        "policy_age_seconds": now.saturating_sub(snapshot.loaded_at),
        "counts": counts_body(counts),
        "keys_generation": snapshot.keys.generation(),
        "keys": admin.verifier.issuers().iter().map(key).collect::<Vec<_>>(),
        "revoked": super::revoked::summary(admin),
        "last_reload": admin.reload.last().map(|last| last_reload(&last, now)),
    })
}

/// The status of the answer to `POST /reload`: 200 if what is live is what the files say, 422 if they have faults.
pub fn reload_status(outcome: &ReloadOutcome) -> StatusCode {
    match outcome {
        ReloadOutcome::Published { .. } | ReloadOutcome::Unchanged { .. } => StatusCode::OK,
        ReloadOutcome::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadOutcome::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `POST /reload`: `{"outcome": "published", "serial": 4, "counts": {...}, "report": ""}` where `report` holds the
/// warnings as text; `{"outcome": "unchanged", "serial": 3}`; `{"outcome": "rejected", "serial": 3, "errors": 2,
/// "report": "error[...]..."}` where `report` holds every fault as text; or `{"outcome": "broken", "serial": 3,
/// "errors": 1}`. `serial` is what is live afterwards.
pub fn reload(outcome: &ReloadOutcome) -> Value {
    let mut body = json!({ "outcome": outcome.word(), "serial": outcome.serial() });
    match outcome {
        ReloadOutcome::Unchanged { .. } => {}
        ReloadOutcome::Published { counts, report, .. } => {
            set(&mut body, "counts", counts_body(*counts));
            set(&mut body, "report", json!(report));
        }
        ReloadOutcome::Rejected { errors, report, .. } => {
            set(&mut body, "errors", json!(errors));
            set(&mut body, "report", json!(report));
        }
        ReloadOutcome::Broken { .. } => set(&mut body, "errors", json!(outcome.errors())),
    }
    body
}

fn last_reload(last: &LastReload, now: u64) -> Value {
    json!({
        "at": last.at,
        "age_seconds": now.saturating_sub(last.at),
        "trigger": last.trigger.word(),
        "outcome": last.outcome,
        "errors": last.errors,
    })
}

fn counts_body(counts: Counts) -> Value {
    let Counts { applications, routes, domains, principals, grants } = counts;
    json!({
        "applications": applications,
        "routes": routes,
        "domains": domains,
        "principals": principals,
        "grants": grants,
    })
}

fn set(body: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = body {
        members.insert(name.to_owned(), value);
    }
}
