//! Keys of issuers: read from files and fetched by discovery, kept fresh while the process runs, and published.
//!
//! Keys are fetched at start, each hour, and when a token names a key that is not known, then at most once in five
//! minutes for each issuer so that forged tokens cannot make the gateway flood it. A bad answer never replaces good
//! keys; keys that could not be confirmed for a day are withdrawn.

mod fetch;
pub mod look;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use self::schedule::Schedule;
use crate::snapshot::Live;
use crate::telemetry::Telemetry;
use crate::token::{IssuerId, KeyRing, KeySet, KeySourceId, WantedKey};

/// One place where keys of an issuer come from.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// Where they stand in the [`KeyRing`].
    pub id: KeySourceId,
    /// The issuer.
    pub issuer: IssuerId,
    /// Its exact `iss`; a discovery document must say the same.
    pub url: String,
    /// The place.
    pub from: From,
    /// Whether development keys may be among them: their private halves are known to anybody, so only where nobody
    /// beyond this machine can connect.
    pub development: bool,
}

/// A place that keys come from.
#[derive(Clone, Debug)]
pub enum From {
    /// A JWKS file, read again as soon as it changes. Several issuers may share one.
    File(PathBuf),
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
    /// Between two fetches of an issuer whose keys are there; up to a twentieth is added at random, so that many
    /// gateways do not ask at once.
    pub refresh: Duration,
    /// Between two fetches of an issuer because of unknown keys.
    pub wake: Duration,
    /// From the first failed fetch to the next; doubled at each failure that follows.
    pub retry: Duration,
    /// Longest time between two failing fetches.
    pub retry_longest: Duration,
    /// Between two looks at a file.
    pub file: Duration,
    /// How long keys are believed that cannot be fetched again. Whole seconds.
    pub keep: Duration,
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
                    Ok(keys) => {
                        warn_of_refused(&source.url, &keys);
                        Some(Arc::new(keys))
                    }
                    Err(cause) => {
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
    sources: Vec<KeySource>,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    wake: mpsc::Receiver<WantedKey>,
) {
    keep_at(Intervals::default(), sources, live, telemetry, wake).await;
}

/// [`keep`] with intervals of one's own.
pub async fn keep_at(
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
                    Err(error) => (error.id(), Err(format!("the fetch ended unexpectedly: {error}"))),
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
    fetches: JoinSet<Result<KeySet, String>>,
}

struct Entry {
    source: Arc<KeySource>,
    schedule: Schedule,
    /// The fetch in flight: never more than one for each issuer.
    running: Option<task::Id>,
    /// The last failure of a file, so that one that stays broken is not reported each second.
    complaint: Option<String>,
}

impl Entry {
    fn new(source: KeySource, start: Instant) -> Self {
        Self { source: Arc::new(source), schedule: Schedule::new(start), running: None, complaint: None }
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
                entry.running = Some(self.fetches.spawn(fetch::fetch(Arc::clone(&entry.source))).id());
            }
        }
    }

    /// A token named a key of this issuer that is not known. Files are read each second anyway.
    fn wake(&mut self, key: &WantedKey) {
        let now = Instant::now();
        for entry in &mut self.entries {
            if entry.source.issuer == key.issuer && !entry.is_file() && entry.running.is_none() {
                entry.schedule.wake(now, &self.intervals);
            }
        }
    }

    fn finish(&mut self, task: task::Id, result: Result<KeySet, String>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.running == Some(task)) else { return };
        entry.running = None;
        let now = Instant::now();
        match (&result, entry.is_file()) {
            (_, true) => entry.schedule.look_again(now, &self.intervals),
            (Ok(_), false) => entry.schedule.succeeded(now, &self.intervals),
            (Err(_), false) => entry.schedule.failed(now, &self.intervals),
        }
        let source = &entry.source;
        match result {
            Ok(keys) => {
                if entry.complaint.take().is_some() {
                    tracing::info!(issuer = source.url, "keys can be read again");
                }
                adopt(source, keys, &self.live, &self.telemetry, &self.intervals);
            }
            Err(cause) => {
                self.telemetry.keys_failed(&source.url);
                if entry.complaint.as_ref() == Some(&cause) {
                    return;
                }
                if self.live.load().keys.get(source.id).is_some() {
                    tracing::warn!(issuer = source.url, cause, "keys could not be fetched; the old ones stay");
                } else {
                    tracing::warn!(issuer = source.url, cause, "no keys yet: not ready, trying again within a minute");
                }
                entry.complaint = matches!(source.from, From::File(_)).then_some(cause);
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
            if now.saturating_sub(fetched_at) > self.intervals.keep.as_secs() {
                tracing::error!(issuer = entry.source.url, fetched_at, "keys are too old and no longer believed");
                self.live.publish_keys(&Arc::new(self.live.load().keys.without(source)));
            }
        }
    }
}

fn adopt(source: &KeySource, keys: KeySet, live: &Live, telemetry: &Telemetry, intervals: &Intervals) {
    let now = super::now();
    let old = Arc::clone(&live.load().keys);
    let keys = Arc::new(keys);
    let ring = old.with(source.id, Arc::clone(&keys), now);
    let changed = ring.generation() != old.generation();
    if changed {
        let kids: Vec<_> = keys.kids().collect();
        tracing::info!(issuer = source.url, ?kids, "keys changed");
        warn_of_refused(&source.url, &keys);
    }
    let age = old.fetched_at(source.id).map_or(u64::MAX, |fetched_at| now.saturating_sub(fetched_at));
    // A file is read each second; that it is still the same is worth a new snapshot only now and then.
    let worth = match source.from {
        From::File(_) => changed || age >= intervals.refresh.as_secs().min(intervals.keep.as_secs() / 2),
        From::Discovery { .. } => true,
    };
    if worth {
        live.publish_keys(&Arc::new(ring));
    }
    telemetry.keys_fetched(&source.url, now);
}

fn warn_of_refused(issuer: &str, keys: &KeySet) {
    for why in keys.refused() {
        tracing::warn!(issuer, why, "a published key is not used");
    }
}
