//! Domains that databases feed: the rows that were read last, and what is published of them.
//!
//! Three things bring new rows into what decides: a start or a reload, which compile documents and put all rows in;
//! changes, which are put in one by one; and a second reading of everything. They never undo each other, because all
//! of them publish while they hold the state of the feed, and whoever worked on older rows first puts in what has
//! changed since: a reload that took a second cannot bring back what was revoked in that second.

mod keep;
mod publish;
mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::print;
use crate::diag::{Report, SourceId};
use crate::document::grants::LookedUp;
use crate::policy::{Applied, Domain, Domains};
use crate::snapshot::Live;
use crate::source::postgres::{self, Database, Fault, Kind, OnStale};

pub use keep::keep;
pub use publish::Fed;
pub(super) use publish::{alike, begin, fill, publish, with_all_rows, with_rows};

use store::{Few, Rows, Store};

/// A database and the domain that it feeds.
#[derive(Debug)]
pub struct Feed {
    database: Arc<Database>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    store: Option<Store>,
    position: String,
    /// When the rows were those of the database for certain.
    confirmed: Option<Instant>,
    /// What the domain is with and without the rows, since it was first published.
    worlds: Option<Worlds>,
    /// Whether nothing is published of the rows because they are too old.
    withheld: bool,
    connected: bool,
    fault: Option<String>,
    refused: usize,
    /// The report of refused rows that was printed last.
    told: String,
    /// Whether all rows are being read again.
    reading: bool,
}

#[derive(Debug)]
struct Worlds {
    /// The domain as documents say.
    own: Domain,
    /// The same with all rows.
    whole: Domain,
    /// Whether rows were left out because of others.
    torn: bool,
    /// Whether all rows are to be put in anew: only then it is known what becomes of those that were left out.
    mend: bool,
    /// The version of the store whose rows these are.
    version: u64,
}

/// How a feed is, for operators.
#[derive(Clone, Debug)]
pub struct FeedState {
    /// The domain.
    pub domain: String,
    /// Where the database is.
    pub address: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none, or why the last question was not answered.
    pub fault: Option<String>,
    /// How old the rows may be.
    pub age: Duration,
    /// Whether that is too old.
    pub stale: bool,
    /// For how long it has been too old; zero while it is not.
    pub overdue: Duration,
    /// Whether everything is denied for that.
    pub withheld: bool,
    /// How many rows were left out when all were put in last.
    pub refused: usize,
}

impl Feed {
    /// A feed of which nothing was read yet.
    pub fn new(database: Database) -> Self {
        Self { database: Arc::new(database), state: Mutex::default() }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.database.domain
    }

    /// The kinds of objects of the domain that are looked up in the database.
    pub(super) fn looked_up(&self) -> impl Iterator<Item = LookedUp> {
        let texts = |names: &[Box<str>]| names.iter().map(|name| name.to_string()).collect();
        let kind = move |kind: &Kind| LookedUp { kind: kind.name.to_string(), attributes: texts(&kind.attributes) };
        self.database.kinds.iter().map(kind)
    }

    /// The database.
    pub const fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// How it is.
    pub fn state(&self) -> FeedState {
        let state = self.lock();
        let age = state.age();
        FeedState {
            domain: self.database.domain.clone(),
            address: self.database.address.to_string(),
            connected: state.connected,
            fault: state.fault.clone(),
            age,
            stale: age > self.database.pace.max_staleness,
            overdue: age.saturating_sub(self.database.pace.max_staleness),
            withheld: state.withheld,
            refused: state.refused,
        }
    }

    /// Reads the first rows unless they were read already, and tries again for as long as a start waits.
    ///
    /// # Errors
    /// Why the database gave no answer.
    pub fn await_first(&self) -> Result<(), String> {
        self.rows(self.database.pace.start).map(drop).map_err(|fault| fault.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that were read last; if none were, they are read.
    fn rows(&self, patience: Duration) -> Result<Rows, Fault> {
        let mut state = self.lock();
        if let Some(store) = &state.store {
            return Ok(store.rows());
        }
        let began = Instant::now();
        // On a thread of its own: whoever asks may be in the middle of other work that waits.
        let read = thread::scope(|scope| scope.spawn(|| postgres::read_all(&self.database, patience)).join());
        let all = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        state.position = all.position;
        state.confirmed = Some(began);
        Ok(state.store.insert(Store::new(all.lines.text)).rows())
    }

    fn most_few(&self) -> usize {
        self.lock().most_few()
    }

    /// The name by which reports call a row.
    fn label(&self) -> String {
        format!("{} (rows of {})", self.database.address, self.database.domain)
    }

    fn source(&self, text: Arc<String>, report: &mut Report) -> Option<SourceId> {
        (!text.is_empty()).then(|| report.add_shared(&self.label(), text))
    }

    /// Puts changed rows into what decides.
    fn change(&self, live: &Live, few: &Few) {
        let mut state = self.lock();
        let since = state.version();
        if let Some(store) = &mut state.store {
            store.put(few);
        }
        self.change_published(&mut state, live, (few, since));
    }

    /// The same where the store has them already, and had the version `since` without them.
    fn change_published(&self, state: &mut State, live: &Live, (few, since): (&Few, u64)) {
        let version = state.version();
        let Some(worlds) = &mut state.worlds else { return };
        let mut report = Report::new();
        let applied = self.with_changed(&worlds.whole, (&worlds.own, worlds.torn), few, &mut report);
        worlds.whole = applied.domain;
        worlds.torn = applied.torn;
        worlds.mend |= applied.torn || applied.refused > 0;
        // Where more had changed before and is still being put in, these are not all.
        if worlds.version == since {
            worlds.version = version;
        }
        self.show(state, live);
        if applied.refused > 0 {
            tracing::warn!(domain = self.domain(), rows = applied.refused, "changed rows are left out");
            print(&report.render());
        }
    }

    fn with_changed(&self, whole: &Domain, own: (&Domain, bool), few: &Few, report: &mut Report) -> Applied {
        let ids: HashSet<&str> = few.ids.iter().map(String::as_str).collect();
        let source = self.source(Arc::new(few.lines.clone()), report);
        whole.with_changed_rows(own, &ids, source, report)
    }

    /// Publishes what the state says of the domain.
    fn show(&self, state: &State, live: &Live) {
        let Some(worlds) = &state.worlds else { return };
        let published = live.publish_change(|domains| self.shown(state, worlds, domains));
        if !published {
            tracing::error!(domain = self.domain(), "the domain is not among those that are live");
        }
    }

    fn shown(&self, state: &State, worlds: &Worlds, domains: &Domains) -> Option<Domains> {
        let (id, known) = domains.find(self.domain())?;
        // What others have put there can have no rows of now in it, so nobody is to be let in by it.
        let domain = if !known.shares_frame(&worlds.whole) {
            tracing::error!(domain = self.domain(), "the domain is none that its database feeds: all is denied");
            known.withhold()
        } else if state.withheld {
            worlds.whole.withhold()
        } else {
            worlds.whole.clone()
        };
        Some(domains.with(id, domain))
    }

    /// The rows were those of the database at this moment. Shows them again where they had become too old.
    fn confirm(&self, live: &Live, at: Instant) {
        let mut state = self.lock();
        state.confirmed = Some(at);
        state.fault = None;
        if state.withheld && state.age() <= self.database.pace.max_staleness {
            state.withheld = false;
            tracing::info!(domain = self.domain(), "the rows are fresh again");
            self.show(&state, live);
        }
    }

    /// Withholds what is too old, if that was asked for. Returns the age, and whether it is too old.
    fn check_age(&self, live: &Live) -> (Duration, bool) {
        let mut state = self.lock();
        let age = state.age();
        let stale = age > self.database.pace.max_staleness;
        if stale && self.database.on_stale == OnStale::Deny && !state.withheld {
            state.withheld = true;
            tracing::error!(domain = self.domain(), seconds = age.as_secs(), "the rows are too old: all is denied");
            self.show(&state, live);
        }
        (age, stale)
    }
}

/// Which rows each of these has; equal numbers, equal rows.
pub(super) fn versions(feeds: &[Arc<Feed>]) -> Vec<Option<u64>> {
    feeds.iter().map(|feed| feed.lock().store.as_ref().map(Store::version)).collect()
}

/// More changed principals than this are always put in together with all others.
const FEW: usize = 2_000;

impl State {
    /// How many changed principals are put in one by one: so few that it is faster than to put in all.
    fn most_few(&self) -> usize {
        let principals = self.worlds.as_ref().map_or(0, |worlds| worlds.whole.counts().0);
        (principals / 100).clamp(16, FEW)
    }

    /// The version of the rows that were read last.
    fn version(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::version)
    }

    fn age(&self) -> Duration {
        self.confirmed.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Prints which rows are left out, unless the same was printed before.
    fn tell(&mut self, refused: usize, report: &Report) {
        self.refused = refused;
        let text = report.render();
        if self.told != text {
            print(&text);
            self.told = text;
        }
    }
}
