//! The one who judges copies of requests by the candidate, on a thread of its own.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::compare::{Difference, compare, is_of_policy};
use super::offer::Judged;
use super::tally::{Change, Finding, Why};
use super::{Basis, Policy, Stand, Trial};
use crate::model::Reason;
use crate::pep::Lacking;
use crate::snapshot::Snapshot;

/// How soon a candidate that was taken down is freed.
const TICK: Duration = Duration::from_millis(200);

/// Judges by one candidate until that is taken down or its time is over. It alone holds the candidate.
pub struct Judge {
    stand: Arc<Stand>,
    trial: Arc<Trial>,
    inbox: Receiver<Judged>,
    /// `None` is never.
    ends: Option<Instant>,
    policy: Policy,
    /// The candidate with the keys, revocations and rows that the live policy has in this state.
    composed: Option<(Basis, Arc<Snapshot>)>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Judge").field("trial", &self.trial).finish_non_exhaustive()
    }
}

impl Judge {
    pub(super) fn new(
        stand: &Arc<Stand>,
        trial: &Arc<Trial>,
        (inbox, ends): (Receiver<Judged>, Option<Instant>),
        policy: Policy,
    ) -> Self {
        let (stand, trial) = (Arc::clone(stand), Arc::clone(trial));
        Self { stand, trial, inbox, ends, policy, composed: None }
    }

    /// Judges what comes until it is over, and frees the candidate.
    pub fn run(mut self) {
        // Where the stand is nobody's any more, the gateway has ended.
        while !self.trial.post.is_closed() && Arc::strong_count(&self.stand) > 1 {
            if self.ends.is_some_and(|ends| Instant::now() >= ends) {
                tracing::info!(
                    candidate = self.trial.about.name,
                    "the time of the candidate is over, its report stays"
                );
                break;
            }
            match self.inbox.recv_timeout(TICK) {
                Ok(judged) => self.take(judged),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.stand.end(&self.trial);
        // What waits still will not be judged, and is told of.
        let left = self.inbox.try_iter().count();
        self.trial.tally().left_over(left as u64);
    }

    fn take(&mut self, judged: Judged) {
        let (at, basis) = (judged.request.now(), judged.basis);
        // A defect that one request shows must not end what is told of all others.
        let found = catch_unwind(AssertUnwindSafe(|| self.judge(judged))).unwrap_or(Finding::NotJudged(Why::Broken));
        let mut tally = self.trial.tally();
        self.trial.follow(&mut tally, self.stand.live.load().serial, at);
        let found = if basis.serial == tally.serial() { found } else { Finding::NotJudged(Why::PolicyChanged) };
        self.stand.telemetry.candidate_request(found.word());
        tally.count(found, at);
        self.trial.post.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn judge(&mut self, judged: Judged) -> Finding {
        let Judged { request, live, basis } = judged;
        let of_policy = |no: Option<Reason>| no.is_none_or(is_of_policy);
        let Some(live) = live.filter(|live| of_policy(live.no.as_ref().map(|no| no.reason))) else {
            return Finding::NotJudged(Why::NotPolicy);
        };
        let Some(snapshot) = self.candidate(basis) else { return Finding::NotJudged(Why::PolicyChanged) };
        let (method, path) = (request.head().method.clone(), request.head().uri.path().to_owned());
        let candidate = match request.judge(&snapshot, &self.stand.verifier, live.token_refused()) {
            Ok(candidate) => candidate,
            Err(Lacking::Form) => return Finding::NotJudged(Why::BodyUnread),
            Err(Lacking::Object) => return Finding::NotJudged(Why::ObjectUnread),
        };
        if candidate.no.as_ref().is_some_and(|no| !is_of_policy(no.reason)) {
            return Finding::NotJudged(Why::Broken);
        }
        let (gain, enforced) = match compare(&live, &candidate) {
            Difference::Same => return Finding::Same,
            Difference::Reason => return Finding::Reason,
            Difference::Denied { enforced } => (false, enforced),
            Difference::Allowed { enforced } => (true, enforced),
        };
        Finding::Differs(Box::new(Change::of((&live, &candidate), (gain, enforced), &method, &path)))
    }

    /// The candidate in the state in which the live policy judged; `None` if that is over, for what has changed since must
    /// not look like a difference of the two.
    fn candidate(&mut self, asked: Basis) -> Option<Arc<Snapshot>> {
        if let Some((_, snapshot)) = self.composed.as_ref().filter(|(basis, _)| *basis == asked) {
            return Some(Arc::clone(snapshot));
        }
        let live = self.stand.live.load();
        if Basis::of(&live) != asked {
            return None;
        }
        let same_rows = |basis: &Basis| (basis.serial, basis.rows) == (asked.serial, asked.rows);
        let known = self.composed.as_ref().filter(|(basis, _)| same_rows(basis));
        let domains = match known {
            Some((_, snapshot)) => Arc::clone(&snapshot.domains),
            None => (self.policy.rows)()?,
        };
        // Rows are published under the lock that they are read under here: if none were since, these are those of `asked`.
        if Basis::of(&self.stand.live.load()) != asked {
            return None;
        }
        let routes = Arc::clone(&self.policy.routes);
        let snapshot = Arc::new(Snapshot { routes, domains, ..Snapshot::clone(&live) });
        self.composed = Some((asked, Arc::clone(&snapshot)));
        Some(snapshot)
    }
}
