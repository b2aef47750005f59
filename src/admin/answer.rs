//! The JSON bodies of the operators' listener. Times are seconds since the Unix epoch, ages are seconds.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::proxy::{ServerState, UpstreamState};
use crate::reload::feed::FeedState;
use crate::reload::{self, Changes, Counts, Entry, LastGood, LastReload, Origin, ReloadOutcome, RolledBack, Weighed};
use crate::token::keys::label;
use crate::token::{KeySet, KeySourceId, Lookups};

/// `GET /livez`: `{"status": "alive"}`.
pub fn livez() -> Value {
    json!({ "status": "alive" })
}

/// `GET /version`: `{"name": "portcullis", "version": "0.1.0"}`.
pub fn version(version: &str) -> Value {
    json!({ "name": "portcullis", "version": version })
}

/// `GET /status`:
/// ```json
/// {"version": "0.1.0", "started_at": 1, "uptime_seconds": 1, "ready": true, "draining": false,
///  "serial": 3, "policy_loaded_at": 1, "policy_age_seconds": 1,
///  "counts": {"applications": 1, "routes": 9, "domains": 1, "principals": 5, "grants": 8},
///  "shadow": {"applications": 0, "routes": 0},
///  "candidate": {"name": "next", "running": true, "since": 1, "until": 86401, "compared": 8, "newly_denied": 2,
///    "newly_allowed": 1, "not_compared": 1},
///  "keys_generation": 2,
///  "keys": [{"tenant": "uss", "issuer": "https://...", "age_seconds": 1, "stale": false, "keys": 4, "fetched_at": 1}],
///  "token_cache": {"hits": 9, "misses": 2, "entries": 2},
///  "upstreams": [{"upstream": "oms", "running": 2, "waiting": 0, "servers": [
///    {"server": "http://...", "running": 2, "healthy": true, "ejected": false}]}],
///  "revoked": {"generation": 2, "entries": 3, "sources": [...]},
///  "databases": [{"domain": "iom", "address": "db:5432/iom", "connected": true, "fault": null, "age_seconds": 2,
///    "stale": false, "withheld": false, "rows_refused": 0}],
///  "last_reload": {"at": 1, "age_seconds": 1, "trigger": "file_change", "outcome": "rejected", "errors": 2,
///    "held": []},
///  "rolled_back": {"to": 2, "at": 1},
///  "stale": {"since": 1, "serial": 7},
///  "last_good": {"written": {"serial": 3, "at": 1}, "failed": null}}
/// ```
/// Entries of `keys` are those of `/readyz` with more; `fetched_at` is null while the keys are missing, `last_reload`
/// while there was none, `candidate` while none was loaded, `rolled_back` unless an older policy is live than the files say, `stale` unless
/// the last good documents are live because the files could not be used at the start (`since` is when these were published,
/// `serial` what they had in the process that kept them), `last_good` unless they are kept.
pub fn status(admin: &Admin) -> Value {
    let now = reload::now();
    let snapshot = admin.live.load();
    let counts = Counts::of(&admin.live);
    let in_shadow = snapshot.routes.shadowed();
    let key = |state: &KeySetState<'_>| {
        let mut entry = state.brief();
        set(&mut entry, "keys", json!(snapshot.keys.get(state.source).map_or(0, KeySet::len)));
        set(&mut entry, "fetched_at", json!(snapshot.keys.fetched_at(state.source)));
        entry
    };
    let Lookups { hits, misses, entries } = admin.verifier.lookups();
    json!({
        "version": admin.version,
        "started_at": admin.started_at,
        "uptime_seconds": now.saturating_sub(admin.started_at),
        "ready": super::ready::readyz(admin).ready,
        "draining": *admin.draining.borrow(),
        "serial": snapshot.serial,
        "policy_loaded_at": snapshot.loaded_at,
        "policy_age_seconds": now.saturating_sub(snapshot.loaded_at),
        "counts": counts_body(counts),
        "shadow": { "applications": in_shadow.0, "routes": in_shadow.1 },
        "candidate": admin.candidates.summary().as_ref().map(super::shadow::summary),
        "keys_generation": snapshot.keys.generation(),
        "keys": key_sets(admin, now).iter().map(key).collect::<Vec<_>>(),
        "token_cache": { "hits": hits, "misses": misses, "entries": entries },
        "upstreams": upstreams(admin).iter().map(upstream).collect::<Vec<_>>(),
        "revoked": super::revoked::summary(admin),
        "databases": admin.reload.feeds().iter().map(database).collect::<Vec<_>>(),
        "last_reload": admin.reload.last().map(|last| last_reload(&last, now)),
        "rolled_back": admin.reload.rolled_back().map(|back| rolled_back(&back)),
        "stale": admin.reload.stale().map(|copy| json!({ "since": copy.at, "serial": copy.serial })),
        "last_good": admin.reload.last_good().map(|kept| last_good(&kept)),
    })
}

fn last_good(kept: &LastGood) -> Value {
    let written = kept.written.map(|copy| json!({ "serial": copy.serial, "at": copy.at }));
    json!({ "written": written, "failed": kept.failed })
}

fn rolled_back(back: &RolledBack) -> Value {
    json!({ "to": back.to, "at": back.at })
}

/// What the upstreams of the routes in force are now.
pub(super) fn upstreams(admin: &Admin) -> Vec<UpstreamState> {
    admin.fleet.states(|| Arc::clone(&admin.live.load().routes))
}

pub(super) fn database(feed: &FeedState) -> Value {
    json!({
        "domain": feed.domain,
        "address": feed.address,
        "connected": feed.connected,
        "fault": feed.fault,
        "age_seconds": feed.age.as_secs(),
        "stale": feed.stale,
        "withheld": feed.withheld,
        "rows_refused": feed.refused,
    })
}

fn upstream(state: &UpstreamState) -> Value {
    let server = |server: &ServerState| {
        json!({
            "server": &*server.name,
            "running": server.running,
            "healthy": server.healthy,
            "ejected": server.ejected,
        })
    };
    let servers: Vec<Value> = state.servers.iter().map(server).collect();
    json!({ "upstream": &*state.name, "running": state.running, "waiting": state.waiting, "servers": servers })
}

/// `GET /metrics`: all metrics, those that grow by themselves as they are now.
pub fn metrics(admin: &Admin) -> String {
    for state in key_sets(admin, reload::now()) {
        admin.telemetry.keys_age(&label(state.issuer, state.application), state.age);
    }
    let Lookups { hits, misses, entries } = admin.verifier.lookups();
    admin.telemetry.token_cache(hits, misses, entries);
    admin.telemetry.forget_upstreams();
    for upstream in upstreams(admin) {
        admin.telemetry.upstream(&upstream.name, upstream.waiting);
        for server in &upstream.servers {
            admin.telemetry.upstream_server(&upstream.name, &server.name, server.is_fit(), server.running);
        }
    }
    admin.telemetry.render()
}

/// One set of keys at one moment.
pub(super) struct KeySetState<'a> {
    source: KeySourceId,
    tenant: &'a str,
    issuer: &'a str,
    /// The client id of the application whose keys these are.
    application: Option<&'a str>,
    /// Seconds since they were fetched; `None` while there are none to be believed.
    pub(super) age: Option<u64>,
    pub(super) stale: bool,
}

impl KeySetState<'_> {
    pub(super) fn name(&self, entry: &mut Value) {
        set(entry, "tenant", json!(self.tenant));
        set(entry, "issuer", json!(self.issuer));
        if let Some(application) = self.application {
            set(entry, "application", json!(application));
        }
    }

    pub(super) fn brief(&self) -> Value {
        let mut entry = json!({ "age_seconds": self.age, "stale": self.stale });
        self.name(&mut entry);
        entry
    }
}

/// All sets of keys, issuer by issuer.
pub(super) fn key_sets(admin: &Admin, now: u64) -> Vec<KeySetState<'_>> {
    let ring = &admin.live.load().keys;
    let mut sets = Vec::new();
    for (_, issuer) in admin.verifier.issuers().iter() {
        for using in &issuer.keys {
            let age = ring.fetched_at(using.source).map(|at| now.saturating_sub(at));
            let age = age.filter(|age| !admin.intervals.is_too_old(*age));
            sets.push(KeySetState {
                source: using.source,
                tenant: &issuer.tenant,
                issuer: &issuer.url,
                application: using.application(),
                age,
                stale: age.is_some_and(|age| admin.intervals.is_stale(age)),
            });
        }
    }
    sets
}

/// The status of the answer to `POST /reload`: 200 if what is live is what the files say, or if nothing but an answer was
/// asked for; 409 if the gate holds them, 422 if they have faults or their tests fail.
pub fn reload_status(outcome: &ReloadOutcome) -> StatusCode {
    match outcome {
        ReloadOutcome::Published { .. } | ReloadOutcome::Unchanged { .. } | ReloadOutcome::Kept { .. } => {
            StatusCode::OK
        }
        ReloadOutcome::Tried { .. } => StatusCode::OK,
        ReloadOutcome::Held { .. } => StatusCode::CONFLICT,
        ReloadOutcome::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadOutcome::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `POST /reload`: `{"outcome": "published", "serial": 4, "counts": {...}, "report": ""}` where `report` holds the
/// warnings as text; `{"outcome": "unchanged", "serial": 3}`; `{"outcome": "rejected", "serial": 3, "why":
/// "faults", "errors": 2, "report": "error[...]..."}` where `report` holds every fault as text, or with `why` `tests`
/// every test that fails; or `{"outcome": "broken", "serial": 3,
/// "errors": 1}`. `published`, `held` (over the gate) and `tried` (`dry_run`) have `held` and `changes` beside; the last two a
/// `"verdict"`, `publish` or `hold`, too. What a dry run adds is in `dry`. `serial` is what is live afterwards.
pub fn reload(outcome: &ReloadOutcome) -> Value {
    let mut body = json!({ "outcome": outcome.word(), "serial": outcome.serial() });
    match outcome {
        ReloadOutcome::Unchanged { .. } | ReloadOutcome::Kept { .. } => {}
        ReloadOutcome::Published { counts, weighed, report, .. } => {
            set(&mut body, "counts", counts_body(*counts));
            set(&mut body, "report", json!(report));
            weigh(&mut body, weighed);
        }
        ReloadOutcome::Held { weighed, report, .. } | ReloadOutcome::Tried { weighed, report, .. } => {
            set(&mut body, "report", json!(report));
            set(&mut body, "verdict", json!(if weighed.held.is_empty() { "publish" } else { "hold" }));
            weigh(&mut body, weighed);
        }
        ReloadOutcome::Rejected { why, errors, report, .. } => {
            set(&mut body, "why", json!(why.word()));
            set(&mut body, "errors", json!(errors));
            set(&mut body, "report", json!(report));
        }
        ReloadOutcome::Broken { .. } => set(&mut body, "errors", json!(outcome.errors())),
    }
    body
}

/// `"held": ["..."]`, one sentence for each cause, and `"changes": {"domains": [{"domain": "d", "principals": 100, "gain":
/// 3, "lose": 0, "gaining": ["ann"], "losing": []}], "opened": [{"application": "app", "route": "r", "request": "GET
/// app.test/r", "public": true, "before": null}], "more_opened": 0, "applications_gone": [], "routes_changed": 1}`. Of
/// principals and requests, some are named.
fn weigh(body: &mut Value, weighed: &Weighed) {
    let impact = &weighed.impact;
    let names = |who: &[Arc<str>]| who.iter().map(|id| json!(&**id)).collect::<Vec<_>>();
    let domains = impact.domains.iter().map(|(name, domain)| {
        json!({
            "domain": &**name,
            "principals": domain.principals,
            "gain": domain.gain,
            "lose": domain.lose,
            "gaining": names(&domain.gaining),
            "losing": names(&domain.losing),
        })
    });
    let opened = impact.opened.iter().map(|opened| {
        json!({
            "application": &*opened.application,
            "route": &*opened.route,
            "request": opened.sample,
            "public": opened.public,
            "before": opened.before.as_deref(),
        })
    });
    set(body, "held", json!(weighed.held));
    let changes = json!({
        "domains": domains.collect::<Vec<_>>(),
        "opened": opened.collect::<Vec<_>>(),
        "more_opened": impact.more_opened,
        "applications_gone": names(&impact.gone),
        "routes_changed": impact.turns,
    });
    set(body, "changes", changes);
}

/// `GET /history`: `{"rolled_back": null, "history": [{"serial": 4, "at": 1, "origin": "rollback", "of": 2, "by":
/// "127.0.0.1:5000", "reason": "...", "digest": "...", "counts": {...}, "changes": {"domains": [{"domain": "d",
/// "principals": 100, "gain": 3, "lose": 0}], "opened": 0, "applications_gone": 0, "routes_changed": 1}}]}`. The first is
/// live, the others can be gone back to. `origin` is `start`, `last_good`, `file_change`, `signal`, `request` or `rollback`; `of` is the
/// serial that was gone back to; `by`, `reason`, `of` and, at the start, `changes` are null where there are none.
pub(super) fn history(entries: &[Entry], back: Option<&RolledBack>) -> Value {
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    json!({ "rolled_back": back.map(rolled_back), "history": entries })
}

fn entry(entry: &Entry) -> Value {
    let Entry { serial, at, origin, by, reason, digest, counts, changes } = entry;
    let of = match origin {
        Origin::Rollback(of) => Some(of),
        Origin::Start | Origin::LastGood | Origin::Reload(_) => None,
    };
    json!({
        "serial": serial,
        "at": at,
        "origin": origin.word(),
        "of": of,
        "by": by,
        "reason": reason,
        "digest": digest,
        "counts": counts_body(*counts),
        "changes": changes.as_ref().map(changed),
    })
}

fn changed(changes: &Changes) -> Value {
    let domains = changes.domains.iter().map(|domain| {
        json!({
            "domain": &*domain.name,
            "principals": domain.principals,
            "gain": domain.gain,
            "lose": domain.lose,
        })
    });
    json!({
        "domains": domains.collect::<Vec<_>>(),
        "opened": changes.opened,
        "applications_gone": changes.gone,
        "routes_changed": changes.turns,
    })
}

pub(super) fn last_reload(last: &LastReload, now: u64) -> Value {
    json!({
        "at": last.at,
        "age_seconds": now.saturating_sub(last.at),
        "trigger": last.trigger.word(),
        "outcome": last.outcome,
        "errors": last.errors,
        "held": last.held,
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

pub(super) fn set(body: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = body {
        members.insert(name.to_owned(), value);
    }
}
