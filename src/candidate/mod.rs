//! A candidate policy judged beside the live one on real traffic: requests are copied into a bounded queue, a thread of its
//! own judges them again by the candidate, and a bounded tally says what would change for whom.
//!
//! Nothing of a candidate reaches a request: whoever serves one only offers a copy, never waits, and hears nothing back.
//! Without a candidate, that is one look at a number.

mod compare;
mod judge;
mod offer;
mod tally;

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::request::Parts;

use crate::pep::Environment;
use crate::policy::Domains;
use crate::route::RouteMap;
use crate::snapshot::{Live, Snapshot};
use crate::telemetry::Telemetry;
use crate::token::Verifier;

use offer::{Post, Queued};

pub use judge::Judge;
pub use offer::Offer;
pub use tally::{Change, Changes, Count, Counts, Key, Report, Tally, Why};

/// How many copies may wait to be judged. With [`MOST_BYTES`], that bounds their memory: 16 MiB.
pub const QUEUE: usize = 1_024;
/// How many bytes a request's head and the form that was read may have together to be copied.
pub const MOST_BYTES: usize = 16 * 1024;

/// Brings a candidate's domains up to the rows that databases have now; `None` if they are not to be had.
pub type Rows = Box<dyn FnMut() -> Option<Arc<Domains>> + Send>;

/// A candidate that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What it was asked for as.
    pub name: String,
    /// A digest of its files.
    pub digest: String,
    /// When it was loaded, in seconds since the Unix epoch.
    pub at: u64,
    /// Who asked: the address that the call came from.
    pub by: Option<String>,
    /// For how long requests are judged by it.
    pub longest: Duration,
    /// Warnings of its files, as text.
    pub warnings: String,
}

/// What requests are to be judged by.
pub struct Policy {
    /// Its routes.
    pub routes: Arc<RouteMap>,
    /// Its domains, with the rows of now whenever it is asked.
    pub rows: Rows,
}

impl fmt::Debug for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Policy").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// Where the candidate stands, if there is one. Shared by those who offer requests and those who ask for the report.
pub struct Stand {
    /// The number of the candidate that requests are offered to; 0 while there is none.
    on: AtomicU64,
    place: Mutex<Place>,
    live: Arc<Live>,
    verifier: Arc<Verifier>,
    telemetry: Arc<Telemetry>,
}

#[derive(Default)]
struct Place {
    /// How many candidates there were.
    count: u64,
    trial: Option<Arc<Trial>>,
}

/// A candidate and what is known of it by now.
pub struct Trial {
    about: About,
    post: Arc<Post>,
    tally: Mutex<Tally>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Trial").field("about", &self.about).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stand").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Stand {
    /// A stand without a candidate, beside what `live` holds.
    pub fn new(live: &Arc<Live>, verifier: &Arc<Verifier>, telemetry: &Arc<Telemetry>) -> Arc<Self> {
        let (live, verifier, telemetry) = (Arc::clone(live), Arc::clone(verifier), Arc::clone(telemetry));
        Arc::new(Self { on: AtomicU64::new(0), place: Mutex::default(), live, verifier, telemetry })
    }

    /// Makes a candidate ready: the work of judging by it, which is for a thread of its own, and the trial to be put up
    /// with [`begin`](Self::begin) once that thread runs.
    pub fn prepare(self: &Arc<Self>, about: About, policy: Policy) -> (Judge, Arc<Trial>) {
        let (sender, inbox) = sync_channel(QUEUE);
        let post = Arc::new(Post::new(sender, &self.telemetry));
        let tally = Mutex::new(Tally::new(self.live.load().serial, about.at));
        let ends = Instant::now().checked_add(about.longest);
        let trial = Arc::new(Trial { about, post, tally });
        let judge = Judge::new(self, &trial, (inbox, ends), policy);
        (judge, trial)
    }

    /// Puts a candidate up in place of the one before. From now on requests are offered to it.
    pub fn begin(&self, trial: Arc<Trial>) {
        let mut place = self.place();
        let before = place.trial.replace(trial);
        place.count += 1;
        self.on.store(place.count, Ordering::Relaxed);
        self.telemetry.candidate_running(true);
        before.inspect(|before| before.post.close());
    }

    /// Takes the candidate down, and says which it was.
    pub fn clear(&self) -> Option<About> {
        let mut place = self.place();
        self.on.store(0, Ordering::Relaxed);
        self.telemetry.candidate_running(false);
        place.trial.take().map(|trial| {
            trial.post.close();
            trial.about.clone()
        })
    }

    /// Nothing is offered to this candidate any more; its report stays.
    fn end(&self, trial: &Arc<Trial>) {
        let place = self.place();
        if place.trial.as_ref().is_some_and(|standing| Arc::ptr_eq(standing, trial)) {
            self.on.store(0, Ordering::Relaxed);
            self.telemetry.candidate_running(false);
        }
        trial.post.close();
    }

    /// What is known by now, in seconds since the Unix epoch; `None` without a candidate.
    pub fn report(&self, now: u64) -> Option<(About, Report)> {
        self.told(now, Tally::report)
    }

    /// The same without the changes.
    pub fn summary(&self, now: u64) -> Option<(About, Report)> {
        self.told(now, Tally::summary)
    }

    fn told(&self, now: u64, tell: fn(&Tally, &Queued, bool) -> Report) -> Option<(About, Report)> {
        let trial = self.place().trial.clone()?;
        let serial = self.live.load().serial;
        let mut tally = trial.tally();
        // What has ended is told as it was: nothing is compared with what is live since.
        if !trial.post.is_closed() {
            trial.follow(&mut tally, serial, now);
        }
        let report = tell(&tally, &trial.post.counts(), !trial.post.is_closed());
        Some((trial.about.clone(), report))
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the tally anew where another policy is live by now.
    fn follow(&self, tally: &mut Tally, serial: u64, now: u64) {
        if tally.serial() != serial {
            tracing::info!(
                serial,
                candidate = self.about.name,
                "another policy is live: the candidate's report begins anew"
            );
            tally.restart(serial, now);
            self.post.restart();
        }
    }
}

/// One thread's way to the candidate.
#[derive(Debug)]
pub struct Reader {
    stand: Arc<Stand>,
    known: RefCell<Option<(u64, Arc<Post>)>>,
}

impl Reader {
    /// A way to what stands there, for one thread.
    pub fn new(stand: &Arc<Stand>) -> Self {
        Self { stand: Arc::clone(stand), known: RefCell::default() }
    }

    /// Copies a request that is about to be judged, if there is a candidate to judge it, too.
    #[inline]
    pub fn copy(&self, head: &Parts, environment: Environment<'_>) -> Option<Box<Offer>> {
        match self.stand.on.load(Ordering::Relaxed) {
            0 => None,
            number => self.copy_for(number, head, environment),
        }
    }

    #[cold]
    fn copy_for(&self, number: u64, head: &Parts, environment: Environment<'_>) -> Option<Box<Offer>> {
        let mut known = self.known.borrow_mut();
        if known.as_ref().is_none_or(|(known, _)| *known != number) {
            let place = self.stand.place();
            *known = place.trial.as_ref().map(|trial| (place.count, Arc::clone(&trial.post)));
        }
        known.as_ref().and_then(|(_, post)| Offer::of(post, head, environment))
    }
}

/// The state that a request was judged by: what two judgements must have in common to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Basis {
    serial: u64,
    rows: u64,
    keys: u64,
    revoked: u64,
}

impl Basis {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            serial: snapshot.serial,
            rows: snapshot.domains.generation(),
            keys: snapshot.keys.generation(),
            revoked: snapshot.revoked.generation(),
        }
    }
}

#[cfg(test)]
mod tests;
