//! Going back to an older policy: a person's act, which no gate holds. It is published under a new serial, with the rows
//! that databases have now, so that nothing that was revoked there comes back.

use std::sync::Arc;

use super::behind::behind;
use super::gate::Gate;
use super::history::{Changes, Edition, Entry, Nowhere, Origin};
use super::outcome::{Counts, ReloadOutcome};
use super::{Reloader, feed, load, now};
use crate::review::impact;

/// What is to be gone back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    /// The serial of the older policy; the one before what is live by default.
    pub to: Option<u64>,
    /// Who asked: the address that the call came from.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whether nothing is to be published: what would come of it is told.
    pub dry: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The serial that the older policy had when it was published first.
    pub to: u64,
    /// `Published`, `Tried` or `Broken`.
    pub outcome: ReloadOutcome,
}

/// An older policy is live, and the files say something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The serial that the older policy had when it was published first.
    pub to: u64,
    /// Since when, in seconds since the Unix epoch.
    pub at: u64,
}

impl Reloader {
    /// Publishes an older policy once more.
    pub(super) async fn roll_back(&mut self, back: &Back) -> Result<Rollback, Nowhere> {
        let (to, edition) = self.history.find(back.to)?;
        let (files, live) = (Arc::clone(&self.files), self.live.load());
        let known = self.passed.as_ref().unwrap_or(&self.history.live().content).clone();
        let work = behind(move || {
            // What the files say now is what is gone back from: only what is new in them counts again.
            let said = load::content_now(&files, &known);
            let mut fed = edition.fed.clone();
            let [before, after] = feed::alike(&mut fed, [&live.domains, &edition.domains]);
            let weighed = Gate::OFF.weigh(impact((&live.routes, &before), (&edition.routes, &after)));
            (Edition { fed, ..edition }, Box::new(weighed), said)
        });
        let found = work.await;
        let serial = self.live.load().serial;
        let by = back.by.as_deref().unwrap_or("-");
        let Some((mut edition, weighed, said)) = found else {
            tracing::error!(serial, to, by, "going back broke, what is live stays");
            return Ok(Rollback { to, outcome: ReloadOutcome::Broken { serial } });
        };
        if back.dry {
            tracing::info!(serial, to, by, "going back was tried, nothing was published");
            return Ok(Rollback { to, outcome: ReloadOutcome::Tried { serial, weighed, report: String::new() } });
        }
        let (at, policy) = (now(), (Arc::clone(&edition.routes), Arc::clone(&edition.domains)));
        let serial = feed::publish(&self.live, &mut edition.fed, policy, at).await;
        let counts = Counts::of(&self.live);
        let rolled_back = (said != edition.content).then_some(RolledBack { to, at });
        self.passed = rolled_back.is_some().then_some(said);
        // Where the files say the same, it is what is to be kept of them.
        self.unwritten |= rolled_back.is_none();
        self.telemetry.policy_rolled_back(serial, at);
        self.telemetry.rolled_back(rolled_back.is_some());
        self.told().rolled_back = rolled_back;
        let entry = Entry {
            serial,
            at,
            origin: Origin::Rollback(to),
            by: back.by.clone(),
            reason: back.reason.clone(),
            digest: edition.content.digest(),
            counts,
            changes: Some(Changes::from(&*weighed)),
        };
        self.take_in(entry, edition);
        let reason = back.reason.as_deref().unwrap_or("-");
        tracing::warn!(serial, to, by, reason, "an older policy was published again");
        Ok(Rollback { to, outcome: ReloadOutcome::Published { serial, counts, weighed, report: String::new() } })
    }
}
