//! Keys of issuers: read from files and fetched by discovery, kept fresh while the process runs, and published.
//!
//! Keys are fetched at start, then at intervals ([`Intervals`]), and when a token names a key that is not known, though for
//! that reason only now and then, so that forged tokens cannot make the gateway flood the issuer. A bad answer never
//! replaces good keys; keys that could not be confirmed for too long are withdrawn.

mod absent;
mod fetch;
pub mod look;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use self::absent::Absent;
use self::fetch::Failure;
use self::schedule::Schedule;
use crate::snapshot::Live;
use crate::telemetry::Telemetry;
use crate::token::keys::label;
use crate::token::{IssuerId, KeyRing, KeySet, KeySourceId, Refused, WantedKey};

/// One place where keys of an issuer come from.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// Where they stand in the [`KeyRing`].
    pub id: KeySourceId,
    /// The issuer.
    pub issuer: IssuerId,
    /// Its exact `iss`; a discovery document must say the same.
    pub url: String,
    /// The client id of the application that the keys belong to; `None` for the issuer's own.
    pub application: Option<String>,
    /// The place.
    pub from: From,
    /// Whether development keys may be among them: their private halves are known to anybody, so only where nobody
    /// beyond this machine can connect.
    pub development: bool,
}

impl KeySource {
    /// What logs and metrics call it.
    pub fn label(&self) -> String {
        label(&self.url, self.application.as_deref())
    }
}

/// A place that keys come from.
#[derive(Clone, Debug)]
pub enum From {
    /// A JWKS file, read again as soon as it changes. Several issuers may share one.
    File(PathBuf),
    /// A JWKS document behind a URL.
    Jwks {
        /// The URL.
        document: String,
        /// As for discovery.
        ca: Option<Vec<u8>>,
    },
    /// OpenID Connect Discovery 1.0.
    Discovery {
        /// URL of the `openid-configuration` document.
        document: String,
        /// PEM file content with the certificate authorities to trust in place of the public ones.
        ca: Option<Vec<u8>>,
    },
}

/// How often keys are looked for and how long they last.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Between two fetches in the background of a source whose keys are there; up to a twentieth is added at random, so that many
    /// gateways do not ask at once.
    pub refresh: Duration,
    /// Between two fetches of a source because of unknown keys.
    pub wake: Duration,
    /// From the first failed fetch to the next; doubled at each failure that follows.
    pub retry: Duration,
    /// Longest time between two failing fetches.
    pub retry_longest: Duration,
    /// Between two looks at a file.
    pub file: Duration,
    /// How long keys are believed that cannot be fetched again. Whole seconds.
    pub keep: Duration,
    /// How long one document may take to come.
    pub fetch: Duration,
}

impl Intervals {
    /// Whether keys of this age (seconds) should have been confirmed long ago: two fetches in the background are missing.
    pub fn is_stale(&self, age: u64) -> bool {
        age > self.refresh.as_secs().saturating_mul(2)
    }

    /// Whether keys of this age (seconds) are no longer believed.
    pub fn is_too_old(&self, age: u64) -> bool {
        age > self.keep.as_secs()
    }
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(60 * 60),
            wake: Duration::from_secs(5 * 60),
            retry: Duration::from_secs(1),
            retry_longest: Duration::from_secs(60),
            file: Duration::from_secs(1),
            keep: Duration::from_secs(24 * 60 * 60),
            fetch: Duration::from_secs(10),
        }
    }
}

/// Reads the key files among `sources` into a ring, at start. Sources by discovery stay without keys.
///
/// # Errors
/// Each file that is unreadable or has no usable key, once, with the cause.
pub fn load_files(sources: &[KeySource], ring: KeyRing, now: u64) -> Result<KeyRing, Vec<(PathBuf, String)>> {
    let mut read: Vec<(&PathBuf, Option<Arc<KeySet>>)> = Vec::new();
    let mut faults = Vec::new();
    let mut ring = ring;
    for source in sources {
        let From::File(path) = &source.from else { continue };
        let keys = match read.iter().find(|(known, _)| *known == path) {
            Some((_, keys)) => keys.clone(),
            None => {
                let keys = match fetch::file(path) {
                    Ok(keys) => Some(Arc::new(keys)),
                    Err(Failure { cause, .. }) => {
                        faults.push((path.clone(), cause));
                        None
                    }
                };
                read.push((path, keys.clone()));
                keys
            }
        };
        if let Some(keys) = keys {
            ring = ring.with(source.id, keys, now);
        }
    }
    if faults.is_empty() { Ok(ring) } else { Err(faults) }
}

/// Keeps the keys of all sources fresh, for ever. After start nobody else publishes keys.
///
/// `wake` names the keys of tokens that are not known; more of these than can be served are ignored.
pub async fn keep(
    intervals: Intervals,
    sources: Vec<KeySource>,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    mut wake: mpsc::Receiver<WantedKey>,
) {
    let start = Instant::now();
    let entries = sources.into_iter().map(|source| Entry::new(source, start)).collect();
    let mut keeper = Keeper { intervals, live, telemetry, entries, fetches: JoinSet::new() };
    let mut awake = true;
    loop {
        keeper.withdraw();
        keeper.start_due();
        let next = keeper.next();
        tokio::select! {
            Some(done) = keeper.fetches.join_next_with_id() => {
                let (task, result) = match done {
                    Ok((task, result)) => (task, result),
                    Err(error) => (error.id(), Err(format!("the fetch ended unexpectedly: {error}").into())),
                };
                keeper.finish(task, result);
            }
            woken = wake.recv(), if awake => match woken {
                Some(key) => keeper.wake(&key),
                None => awake = false,
            },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

struct Keeper {
    intervals: Intervals,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    entries: Vec<Entry>,
    fetches: JoinSet<Result<KeySet, Failure>>,
}

struct Entry {
    source: Arc<KeySource>,
    /// What logs and metrics call it.
    label: String,
    schedule: Schedule,
    absent: Absent,
    /// The fetch in flight: never more than one for each source.
    running: Option<task::Id>,
    /// The last failure of a file, so that one that stays broken is not reported each second.
    complaint: Option<String>,
    /// The refused entries that the log was told of.
    told: Vec<Refused>,
}

impl Entry {
    fn new(source: KeySource, start: Instant) -> Self {
        Self {
            label: source.label(),
            source: Arc::new(source),
            schedule: Schedule::new(start),
            absent: Absent::default(),
            running: None,
            complaint: None,
            told: Vec::new(),
        }
    }

    fn is_file(&self) -> bool {
        matches!(self.source.from, From::File(_))
    }
}

impl Keeper {
    /// When something is to be done next, at the latest in a second so that old keys are noticed.
    fn next(&self) -> Instant {
        let idle = self.entries.iter().filter(|entry| entry.running.is_none());
        let soon = Instant::now() + Duration::from_secs(1);
        idle.map(|entry| entry.schedule.next()).min().map_or(soon, |next| next.min(soon))
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for entry in &mut self.entries {
            if entry.running.is_none() && entry.schedule.next() <= now {
                entry.schedule.begin(now);
                entry.absent.begin();
                let fetch = fetch::fetch(Arc::clone(&entry.source), self.intervals.fetch);
                entry.running = Some(self.fetches.spawn(fetch).id());
            }
        }
    }

    /// A token named a key of this issuer that is not known. All of the issuer's sources are asked, for it could be in
    /// any of them; files are read each second anyway.
    fn wake(&mut self, key: &WantedKey) {
        let now = Instant::now();
        let ring = Arc::clone(&self.live.load().keys);
        let sources = self.entries.iter_mut().filter(|entry| entry.source.issuer == key.issuer && !entry.is_file());
        let mut sources: Vec<&mut Entry> = sources.collect();
        if sources.iter().any(|entry| ring.get(entry.source.id).is_some_and(|keys| keys.has(&key.kid))) {
            // It came while the token waited in line.
            return;
        }
        for entry in &mut sources {
            if entry.absent.ask(&key.kid, now) {
                entry.schedule.wake(now, &self.intervals);
            }
        }
    }

    fn finish(&mut self, task: task::Id, result: Result<KeySet, Failure>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.running == Some(task)) else { return };
        entry.running = None;
        let now = Instant::now();
        match (&result, entry.is_file()) {
            (_, true) => entry.schedule.look_again(now, &self.intervals),
            (Ok(_), false) => entry.schedule.succeeded(now, &self.intervals),
            (Err(_), false) => entry.schedule.failed(now, &self.intervals),
        }
        match result {
            Ok(keys) => {
                if entry.complaint.take().is_some() {
                    tracing::info!(issuer = entry.label, "keys can be read again");
                }
                adopt(entry, keys, &self.live, &self.telemetry, &self.intervals);
            }
            Err(Failure { cause, exposed, shown }) => {
                self.telemetry.keys_failed(&entry.label);
                entry.absent.failed();
                if entry.complaint.as_ref() == Some(&cause) {
                    return;
                }
                if exposed {
                    tracing::error!(issuer = entry.label, cause, "{EXPOSED}");
                    forget(entry.source.id, &shown, &self.live);
                }
                if self.live.load().keys.get(entry.source.id).is_some() {
                    tracing::warn!(issuer = entry.label, cause, "keys could not be fetched; the old ones stay");
                } else {
                    tracing::warn!(issuer = entry.label, cause, "no keys yet: not ready, trying again within a minute");
                }
                entry.complaint = entry.is_file().then_some(cause);
            }
        }
    }

    /// Withdraws keys that nobody could confirm for too long: they may have been revoked meanwhile.
    fn withdraw(&self) {
        let ring = Arc::clone(&self.live.load().keys);
        let now = super::now();
        for entry in &self.entries {
            let source = entry.source.id;
            let Some(fetched_at) = ring.fetched_at(source) else { continue };
            if self.intervals.is_too_old(now.saturating_sub(fetched_at)) {
                tracing::error!(issuer = entry.label, fetched_at, "keys are too old and no longer believed");
                self.live.publish_keys(&Arc::new(self.live.load().keys.without(source)));
            }
        }
    }
}

fn adopt(entry: &mut Entry, keys: KeySet, live: &Live, telemetry: &Telemetry, intervals: &Intervals) {
    let source = &entry.source;
    let now = super::now();
    let old = Arc::clone(&live.load().keys);
    let keys = Arc::new(keys);
    let ring = old.with(source.id, Arc::clone(&keys), now);
    let changed = ring.generation() != old.generation();
    if changed {
        let kids: Vec<_> = keys.kids().collect();
        tracing::info!(issuer = entry.label, ?kids, "keys changed");
    }
    if entry.told != keys.refused() {
        tell_of_refused(&entry.label, keys.refused());
        entry.told = keys.refused().to_vec();
    }
    if entry.absent.answered(|kid| keys.has(kid), changed, Instant::now() + intervals.wake * 2) {
        entry.schedule.satisfied();
    }
    let age = old.fetched_at(source.id).map_or(u64::MAX, |fetched_at| now.saturating_sub(fetched_at));
    // A file is read each second; that it is still the same is worth a new snapshot only now and then.
    let worth = match source.from {
        From::File(_) => changed || age >= intervals.refresh.as_secs().min(intervals.keep.as_secs() / 2),
        From::Jwks { .. } | From::Discovery { .. } => true,
    };
    if worth {
        live.publish_keys(&Arc::new(ring));
    }
    telemetry.keys_fetched(&entry.label, now);
}

/// Takes keys out of use whose secret halves are known, though the document that shows them brings none in their place.
fn forget(source: KeySourceId, shown: &[Box<str>], live: &Live) {
    let ring = Arc::clone(&live.load().keys);
    let (Some(held), Some(fetched_at)) = (ring.get(source), ring.fetched_at(source)) else { return };
    if !shown.iter().any(|kid| held.has(kid)) {
        return;
    }
    let left = match held.without(shown) {
        Some(left) => ring.with(source, Arc::new(left), fetched_at),
        None => ring.without(source),
    };
    live.publish_keys(&Arc::new(left));
}

/// What the log says of an issuer that publishes a secret key.
const EXPOSED: &str = "a secret key is published: whoever read it can sign; tell the issuer to withdraw the key";

fn tell_of_refused(issuer: &str, refused: &[Refused]) {
    for Refused { why, exposed } in refused {
        if *exposed {
            tracing::error!(issuer, why, "{EXPOSED}");
        } else {
            tracing::warn!(issuer, why, "a published key is not used");
        }
    }
}
