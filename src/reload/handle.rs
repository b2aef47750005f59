//! The way to the task that reloads: to ask it, and to know how it stands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Order;
use super::ask::Shelf;
use super::dry::Tried;
use super::feed::{Feed, FeedState};
use super::history::{Entry, Nowhere};
use super::last_good::{LastGood, Written};
use super::outcome::{LastReload, ReloadOutcome, Trigger};
use super::rollback::{Back, Rollback, RolledBack};

/// What is asked of the task.
pub(super) enum Command {
    /// What, since when, and for whom.
    Reload(Order, Instant, Option<oneshot::Sender<Answer>>),
    RollBack(Back, oneshot::Sender<Result<Rollback, Nowhere>>),
}

/// What came of a reload; of a dry run that found something new, that, too.
pub(super) type Answer = (ReloadOutcome, Option<Box<Tried>>);

/// What operators are told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) last: Option<LastReload>,
    /// The live one first.
    pub(super) history: Vec<Entry>,
    pub(super) rolled_back: Option<RolledBack>,
    /// The copy that is live, because the files could not be used at the start.
    pub(super) stale: Option<Written>,
    /// `None` if none is to be written.
    pub(super) last_good: Option<LastGood>,
}

/// What operators are told, to read or to change it.
pub(super) fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for reloads and knows the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    told: Arc<Mutex<Told>>,
    feeds: Arc<[Arc<Feed>]>,
    pub(super) shelf: Arc<Shelf>,
    /// Whose dry run is compared.
    pub(super) turn: Arc<Semaphore>,
}

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        told: Arc<Mutex<Told>>,
        feeds: Arc<[Arc<Feed>]>,
        shelf: Arc<Shelf>,
    ) -> Self {
        Self { commands, told, feeds, shelf, turn: Arc::new(Semaphore::new(1)) }
    }

    /// How the databases are that feed domains.
    pub fn feeds(&self) -> Vec<FeedState> {
        self.feeds.iter().map(|feed| feed.state()).collect()
    }

    /// Asks for a reload without waiting for it. When the queue is full, one that will see the same files is due.
    pub fn ask(&self, trigger: Trigger) {
        let _due = self.commands.try_send(Command::Reload(trigger.into(), Instant::now(), None));
    }

    /// Asks for a reload and waits for what comes of it; `None` when too many wait already or the process is ending.
    pub async fn reload(&self, order: impl Into<Order>) -> Option<ReloadOutcome> {
        self.order(order.into()).await.map(|(outcome, _tried)| outcome)
    }

    pub(super) async fn order(&self, order: Order) -> Option<Answer> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send(Command::Reload(order, Instant::now(), Some(answer))).ok()?;
        outcome.await.ok()
    }

    /// Asks for an older policy and waits for what comes of it; `None` as for a reload.
    pub async fn roll_back(&self, back: Back) -> Option<Result<Rollback, Nowhere>> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send(Command::RollBack(back, answer)).ok()?;
        outcome.await.ok()
    }

    /// The last reload; `None` if there was none since the start.
    pub fn last(&self) -> Option<LastReload> {
        lock(&self.told).last.clone()
    }

    /// What is live and what can be gone back to, the newest first.
    pub fn history(&self) -> Vec<Entry> {
        lock(&self.told).history.clone()
    }

    /// Whether an older policy is live than the files say.
    pub fn rolled_back(&self) -> Option<RolledBack> {
        lock(&self.told).rolled_back.clone()
    }

    /// The copy that is live, if that is one, because the files could not be used at the start.
    pub fn stale(&self) -> Option<Written> {
        lock(&self.told).stale
    }

    /// How the last good documents on disk are; `None` if none are kept there.
    pub fn last_good(&self) -> Option<LastGood> {
        lock(&self.told).last_good.clone()
    }
}
