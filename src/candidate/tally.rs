//! What is counted: by principal, route, method and reason, in bounded memory.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::offer::Queued;
use crate::pep::Judgement;

/// How many different changes are told apart; further ones are only counted.
pub const MOST: usize = 10_000;
/// The longest name that is kept, in letters as they are shown.
const LONGEST: usize = 120;

/// Why a request was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The queue was full.
    QueueFull,
    /// It has more bytes than are copied.
    TooLarge,
    /// The candidate reads a form that the live policy does not.
    BodyUnread,
    /// The candidate reads an object of a database that the live policy does not.
    ObjectUnread,
    /// What became of it is no policy's matter: limits, a body that broke off, a redirect to HTTPS.
    NotPolicy,
    /// What is live, or rows, keys or revocations, changed before its turn came.
    PolicyChanged,
    /// A fault of the gateway.
    Broken,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::TooLarge,
        Self::BodyUnread,
        Self::ObjectUnread,
        Self::NotPolicy,
        Self::PolicyChanged,
        Self::Broken,
    ];

    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::BodyUnread => "body_unread",
            Self::ObjectUnread => "object_unread",
            Self::NotPolicy => "not_policy",
            Self::PolicyChanged => "policy_changed",
            Self::Broken => "broken",
        }
    }
}

/// What came of one request.
#[derive(Debug)]
pub(super) enum Finding {
    Same,
    Reason,
    Differs(Box<Change>),
    NotJudged(Why),
}

impl Finding {
    /// The outcome that metrics have.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Reason => "reason_changed",
            Self::Differs(change) if change.key.gain => "newly_allowed",
            Self::Differs(_) => "newly_denied",
            Self::NotJudged(_) => "not_judged",
        }
    }
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whether it would be allowed, and is not; or the other way round.
    pub gain: bool,
    /// Whether the client would notice: not where what is decided is only watched.
    pub enforced: bool,
    /// The application; empty without one.
    pub application: Arc<str>,
    /// The route that takes the request now, or if there is none, in the candidate; empty without one.
    pub route: Arc<str>,
    /// The method; `other` for those that no standard knows.
    pub method: Box<str>,
    /// The principal's id, or `TENANT/SUBJECT` of a token without one; empty without a token.
    pub principal: Box<str>,
    /// Why not, with the subject: of the candidate where it denies, of the live policy where that does.
    pub reason: Box<str>,
}

/// A difference that one request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    key: Key,
    /// The pattern of the route, or without a route the path.
    path: Box<str>,
}

impl Change {
    pub(super) fn of(
        (live, candidate): (&Judgement, &Judgement),
        (gain, enforced): (bool, bool),
        method: &Method,
        path: &str,
    ) -> Self {
        let (denying, other) = if gain { (live, candidate) } else { (candidate, live) };
        let place = if live.route.is_some() { live } else { candidate };
        let application = live.application.as_ref().or(candidate.application.as_ref());
        let route = place.route.clone().unwrap_or_default();
        let pattern = place.application.iter().flat_map(|application| application.routes());
        let pattern = pattern.into_iter().find(|known| known.id == route).map(|route| route.pattern.shape());
        let principal = match live.principal.as_ref().or(candidate.principal.as_ref()) {
            Some(principal) => shown(principal),
            None => match denying.token.as_ref().or(other.token.as_ref()) {
                Some(token) => shown(&format!("{}/{}", token.tenant, token.subject)),
                None => Box::default(),
            },
        };
        let key = Key {
            gain,
            enforced,
            application: application.map(|application| Arc::clone(&application.name)).unwrap_or_default(),
            route,
            method: if is_standard(method) { method.as_str() } else { "other" }.into(),
            principal,
            reason: denying.no.as_ref().map(|no| shown(&no.code)).unwrap_or_default(),
        };
        Self { key, path: shown(pattern.as_deref().unwrap_or(path)) }
    }
}

fn is_standard(method: &Method) -> bool {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    known.contains(method)
}

/// A text of a client as a report may show it: bounded, and letters that do not print as they are escaped.
fn shown(text: &str) -> Box<str> {
    let mut shown = String::new();
    for letter in text.chars().take(LONGEST) {
        match letter {
            '\'' | '"' | '\\' => shown.push(letter),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown.into()
}

/// How often, and when last, in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// The last of them.
    pub last: u64,
    /// The pattern of the route, or without a route the path of the first.
    pub path: Box<str>,
}

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Both say the same.
    pub same: u64,
    /// Both say no, for another reason.
    pub reason_changed: u64,
    /// Allowed now, and not by the candidate.
    pub newly_denied: u64,
    /// The other way round.
    pub newly_allowed: u64,
    /// How many of the newly denied and of the newly allowed are beyond what is told apart.
    pub others: [u64; 2],
    /// Requests that were not compared, beside those of [`Why::ALL`] that are counted at the queue.
    not_judged: [u64; Why::ALL.len()],
}

impl Counts {
    /// Requests that were compared.
    pub const fn judged(&self) -> u64 {
        self.same + self.reason_changed + self.newly_denied + self.newly_allowed
    }

    /// Requests that were not.
    pub fn skipped(&self) -> u64 {
        self.not_judged.iter().sum()
    }

    /// Requests that were not, by why.
    pub fn not_judged(&self) -> impl Iterator<Item = (Why, u64)> + '_ {
        Why::ALL.into_iter().zip(self.not_judged)
    }

    fn lost(&mut self, why: Why, count: u64) {
        for (known, counter) in Why::ALL.into_iter().zip(&mut self.not_judged) {
            *counter += if known == why { count } else { 0 };
        }
    }
}

/// Changes that are told apart, a bounded number of them.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    known: HashMap<Key, Count>,
    /// How many of them are gains: these have room of their own, so that no number of losses hides one.
    gains: usize,
}

impl Changes {
    /// Counts one request, of a moment in seconds since the Unix epoch; `false` where there is no room for a change that
    /// was not known before.
    pub fn add(&mut self, key: Key, path: Box<str>, at: u64) -> bool {
        if let Some(count) = self.known.get_mut(&key) {
            count.requests += 1;
            count.last = count.last.max(at);
            return true;
        }
        let gain = key.gain;
        let alike = if gain { self.gains } else { self.known.len() - self.gains };
        let room = alike < MOST;
        if room {
            self.gains += usize::from(gain);
            self.known.insert(key, Count { requests: 1, last: at, path });
        }
        room
    }

    /// All of them, in their order: losses first, then by where.
    pub fn sorted(&self) -> Vec<(Key, Count)> {
        let mut changes: Vec<_> = self.known.iter().map(|(key, count)| (key.clone(), count.clone())).collect();
        changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        changes
    }
}

/// What is known of the candidate by now.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The serial of the policy that it is compared with.
    serial: u64,
    /// Since when, in seconds since the Unix epoch.
    since: u64,
    restarts: u64,
    counts: Counts,
    changes: Changes,
}

/// A tally as it was at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// The serial of the policy that the candidate is compared with.
    pub serial: u64,
    /// Since when, in seconds since the Unix epoch.
    pub since: u64,
    /// How often it began anew because another policy became live.
    pub restarts: u64,
    /// Whether it goes on.
    pub running: bool,
    /// Copies that wait for their turn.
    pub waiting: u64,
    /// The sums.
    pub counts: Counts,
    /// All changes, in their order: losses first, then by where.
    pub changes: Vec<(Key, Count)>,
}

impl Tally {
    pub(super) fn new(serial: u64, since: u64) -> Self {
        Self { serial, since, restarts: 0, counts: Counts::default(), changes: Changes::default() }
    }

    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Begins anew: another policy is live.
    pub(super) fn restart(&mut self, serial: u64, since: u64) {
        *self = Self { restarts: self.restarts + 1, ..Self::new(serial, since) };
    }

    pub(super) fn count(&mut self, found: Finding, at: u64) {
        let Change { key, path } = match found {
            Finding::Same => return self.counts.same += 1,
            Finding::Reason => return self.counts.reason_changed += 1,
            Finding::NotJudged(why) => return self.counts.lost(why, 1),
            Finding::Differs(change) => *change,
        };
        let Counts { newly_denied, newly_allowed, others: [others_denied, others_allowed], .. } = &mut self.counts;
        let (sum, others) = if key.gain { (newly_allowed, others_allowed) } else { (newly_denied, others_denied) };
        *sum += 1;
        if !self.changes.add(key, path, at) {
            *others += 1;
        }
    }

    /// So many copies were not judged before the end.
    pub(super) fn left_over(&mut self, copies: u64) {
        self.counts.lost(Why::QueueFull, copies);
    }

    pub(super) fn report(&self, queued: &Queued, running: bool) -> Report {
        Report { changes: self.changes.sorted(), ..self.summary(queued, running) }
    }

    /// The same without the changes.
    pub(super) fn summary(&self, queued: &Queued, running: bool) -> Report {
        let mut counts = self.counts.clone();
        counts.lost(Why::QueueFull, queued.full);
        counts.lost(Why::TooLarge, queued.large);
        let Self { serial, since, restarts, .. } = *self;
        Report { serial, since, restarts, running, waiting: queued.waiting, counts, changes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(gain: bool, principal: usize) -> Finding {
        let key = Key {
            gain,
            enforced: true,
            application: Arc::from("app"),
            route: Arc::from("home"),
            method: "GET".into(),
            principal: principal.to_string().into(),
            reason: "right_missing".into(),
        };
        Finding::Differs(Box::new(Change { key, path: "/".into() }))
    }

    #[test]
    fn more_changes_than_are_told_apart_are_counted_and_known_ones_still_are_told() {
        let mut tally = Tally::new(1, 5);
        for principal in 0..MOST + 7 {
            tally.count(differs(false, principal), 10);
        }
        tally.count(differs(true, 0), 11);
        tally.count(differs(false, 3), 12);
        let report = tally.report(&Queued::default(), true);
        // The gain has room of its own.
        assert_eq!(report.changes.len(), MOST + 1);
        assert!(report.changes.iter().any(|(key, _)| key.gain));
        assert_eq!((report.counts.newly_denied, report.counts.newly_allowed), (MOST as u64 + 8, 1));
        assert_eq!(report.counts.others, [7, 0]);
        let told: u64 = report.changes.iter().map(|(_, count)| count.requests).sum();
        assert_eq!(told + 7, report.counts.judged());
        let (_, known) = report.changes.iter().find(|(key, _)| &*key.principal == "3").unwrap();
        assert_eq!((known.requests, known.last), (2, 12));
    }

    #[test]
    fn a_new_policy_begins_it_anew() {
        let mut tally = Tally::new(1, 5);
        tally.count(differs(false, 1), 10);
        tally.count(Finding::NotJudged(Why::BodyUnread), 10);
        tally.restart(2, 20);
        let report = tally.report(&Queued { waiting: 4, full: 3, large: 2 }, true);
        assert_eq!((report.serial, report.since, report.restarts, report.waiting), (2, 20, 1, 4));
        assert_eq!((report.changes.len(), report.counts.judged()), (0, 0));
        let lost: Vec<(&str, u64)> = report.counts.not_judged().map(|(why, count)| (why.word(), count)).collect();
        assert_eq!(lost[..3], [("queue_full", 3), ("too_large", 2), ("body_unread", 0)]);
    }

    #[test]
    fn what_clients_write_is_shown_bounded_and_on_one_line() {
        assert_eq!(&*shown("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
        assert_eq!(shown(&"x".repeat(1000)).len(), LONGEST);
    }
}
