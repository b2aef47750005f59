//! `GET /readyz`: whether requests can be served, check by check.

use serde_json::{Value, json};

use super::Admin;
use super::answer::{KeySetState, database, key_sets, last_reload, set, upstreams};
use crate::proxy::UpstreamState;
use crate::reload;

/// Whether requests can be served, and the body that says so.
pub(super) struct Ready {
    /// 200 or 503.
    pub(super) ready: bool,
    /// `{"status": "ready", "serial": 3, "checks": [...], "keys": [...]}`; while it is `not_ready`, with `missing`, which
    /// names what fails as `{"what": "keys", "tenant": "uss", "issuer": "https://..."}`.
    ///
    /// Each check is `{"check": "keys", "state": "ok", ...}` with the state `ok`, `warn` or `fail`; only the last makes
    /// the process unready. There is one of `draining`, one of `policy`, with `serial` and `rolled_back` (whether an older
    /// policy is live than the files say), `stale` (whether it is that of the last good documents, because the files could not
    /// be used at the start) and `stale_since` (when that was published), one of `decision_log`, one of `keys` for each set, with
    /// `age_seconds` (null while they are missing) and `stale`, one of `grants` for each database, with the `domain` that it
    /// feeds, `age_seconds`, `stale_since` (null while the rows are fresh enough) and `withheld`, and one of `upstream`
    /// for each, with its `unfit` servers, and `down` if these are all. `keys`, `stale_grants` (as `databases` of
    /// `/status`), `upstreams_unfit` and `last_reload_failed` tell the same apart from the checks.
    pub(super) body: Value,
}

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Worth a look; requests are served.
    Warn,
    /// Requests cannot be served.
    Fail,
}

impl State {
    const fn of(fails: bool, warns: bool) -> Self {
        match (fails, warns) {
            (true, _) => Self::Fail,
            (false, true) => Self::Warn,
            (false, false) => Self::Ok,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// All checks, and what of them fails.
#[derive(Default)]
struct Checks {
    all: Vec<Value>,
    missing: Vec<Value>,
}

impl Checks {
    /// Takes a check with its details: those under `names` say what it is about, those of `more` how it is.
    fn add(&mut self, name: &str, state: State, names: Value, more: Value) {
        if state == State::Fail {
            let mut missing = json!({ "what": name });
            extend(&mut missing, &names);
            self.missing.push(missing);
        }
        let mut check = json!({ "check": name, "state": state.word() });
        extend(&mut check, &names);
        extend(&mut check, &more);
        self.all.push(check);
    }
}

/// `GET /readyz`.
pub(super) fn readyz(admin: &Admin) -> Ready {
    let (now, serial) = (reload::now(), admin.live.load().serial);
    let none = || json!({});
    let mut checks = Checks::default();
    checks.add("draining", State::of(*admin.draining.borrow(), false), none(), none());
    let failed = admin.reload.last().filter(|last| !last.good).map(|last| last_reload(&last, now));
    let rolled_back = admin.reload.rolled_back().is_some();
    let since = admin.reload.stale().map(|copy| copy.at);
    let state = State::of(false, failed.is_some() || rolled_back || since.is_some());
    let more = json!({
        "serial": serial,
        "rolled_back": rolled_back,
        "stale": since.is_some(),
        "stale_since": since,
    });
    checks.add("policy", state, none(), more);
    let log = State::of(admin.telemetry.audit_fails(), admin.telemetry.log_fails());
    checks.add("decision_log", log, none(), none());
    let sets = key_sets(admin, now);
    for set in &sets {
        let mut names = none();
        set.name(&mut names);
        let state = State::of(set.age.is_none(), set.stale);
        checks.add("keys", state, names, json!({ "age_seconds": set.age, "stale": set.stale }));
    }
    let feeds = admin.reload.feeds();
    for feed in &feeds {
        // Another process would find the database no better, and what other domains decide goes on: never a failure.
        let state = State::of(false, feed.stale);
        let since = feed.stale.then(|| now.saturating_sub(feed.overdue.as_secs()));
        let more = json!({ "age_seconds": feed.age.as_secs(), "stale_since": since, "withheld": feed.withheld });
        checks.add("grants", state, json!({ "domain": feed.domain }), more);
    }
    let upstreams = upstreams(admin);
    for upstream in &upstreams {
        let unfit = unfit(upstream);
        let down = !unfit.is_empty() && unfit.len() == upstream.servers.len();
        let state = State::of(down && admin.ready_needs_upstreams, !unfit.is_empty());
        let names = json!({ "upstream": &*upstream.name });
        checks.add("upstream", state, names, json!({ "down": down, "unfit": unfit }));
    }
    let Checks { all, missing } = checks;
    let ready = missing.is_empty();
    let keys: Vec<Value> = sets.iter().map(KeySetState::brief).collect();
    let status = if ready { "ready" } else { "not_ready" };
    let mut body = json!({ "status": status, "serial": serial, "checks": all, "keys": keys });
    if !ready {
        set(&mut body, "missing", Value::Array(missing));
    }
    let named = |upstream: &UpstreamState| {
        let unfit = unfit(upstream).into_iter();
        unfit.map(|server| json!({ "upstream": &*upstream.name, "server": server })).collect::<Vec<_>>()
    };
    let unfit: Vec<Value> = upstreams.iter().flat_map(named).collect();
    if !unfit.is_empty() {
        set(&mut body, "upstreams_unfit", Value::Array(unfit));
    }
    let stale: Vec<Value> = feeds.iter().filter(|feed| feed.stale).map(database).collect();
    if !stale.is_empty() {
        set(&mut body, "stale_grants", Value::Array(stale));
    }
    if let Some(failed) = failed {
        set(&mut body, "last_reload_failed", failed);
    }
    Ready { ready, body }
}

/// The servers of an upstream that get no requests as long as another one is there.
fn unfit(upstream: &UpstreamState) -> Vec<&str> {
    upstream.servers.iter().filter(|server| !server.is_fit()).map(|server| &*server.name).collect()
}

fn extend(object: &mut Value, with: &Value) {
    for (name, value) in with.as_object().into_iter().flatten() {
        set(object, name, value.clone());
    }
}
