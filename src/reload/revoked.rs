//! Revocations while the process runs: from changed files and operators' calls to a published list, or the last good one
//! stays.
//!
//! One task does this for the whole process. It shares nothing with the task that reloads the policy, so that a
//! revocation never waits for a policy to compile.

mod source;
mod store;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};

use super::{now, print};
use crate::snapshot::Live;
use crate::source::file::watch::Watcher;
use crate::telemetry::Telemetry;
use crate::token::{Revoked, Rules, Verifier};

pub use source::{Contents, Failed, RevokedFiles, Source, check_shape, load, moment_text};
pub use store::{Change, Changed, Found, Refused, target_text};

use source::Look;

/// How many calls may wait for their turn.
const WAITING: usize = 64;

struct Command {
    change: Change,
    body: Bytes,
    answer: oneshot::Sender<Result<Published, Refused>>,
}

/// What a look at a file brought, and what was in force of the file when it began.
type Read = (Look, Arc<Contents>);

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The generation that is in force now.
    pub generation: u64,
    /// What it did.
    pub changed: Changed,
}

/// Asks for changes and knows what is in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    sources: Arc<Mutex<Vec<Source>>>,
}

impl Handle {
    /// Changes the store as a JSON body says, and waits until the change is in force; `None` when too many wait already
    /// or the process is ending.
    ///
    /// # Errors
    /// The cause; then nothing has changed.
    pub async fn change(&self, change: Change, body: Bytes) -> Option<Result<Published, Refused>> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send(Command { change, body, answer }).ok()?;
        outcome.await.ok()
    }

    /// Where revocations come from, the files in the order of the configuration, then the store.
    pub fn sources(&self) -> Vec<Source> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The task that keeps what is revoked.
pub struct Keeper {
    sources: Vec<Source>,
    verifier: Arc<Verifier>,
    rules: Rules,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    /// Tells of changes for as long as it lives.
    _watcher: Watcher,
    changes: mpsc::Receiver<Vec<PathBuf>>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Mutex<Vec<Source>>>,
    /// Sources that have changed and are not being read yet, by their place in `sources`.
    due: BTreeSet<usize>,
    reads: JoinSet<Read>,
    /// Which source each of `reads` is of.
    running: HashMap<Id, usize>,
}

impl Keeper {
    /// Makes the task and the way to ask it, and publishes what `sources` hold. `changes` comes from `watcher`, which
    /// watches the paths of all sources since before they were read.
    pub fn new(
        sources: Vec<Source>,
        (verifier, rules): (Arc<Verifier>, Rules),
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        (watcher, changes): (Watcher, mpsc::Receiver<Vec<PathBuf>>),
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(WAITING);
        let shared = Arc::new(Mutex::new(Vec::new()));
        let handle = Handle { commands: sender, sources: Arc::clone(&shared) };
        let keeper = Self {
            sources,
            verifier,
            rules,
            live,
            telemetry,
            _watcher: watcher,
            changes,
            commands,
            shared,
            due: BTreeSet::new(),
            reads: JoinSet::new(),
            running: HashMap::new(),
        };
        keeper.publish();
        (keeper, handle)
    }

    /// Works until nobody tells of changes any more. Files are read beside everything else, so that neither a call nor
    /// another file waits for a large one.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                changed = self.changes.recv() => match changed {
                    Some(changed) => self.note(&changed),
                    None => return,
                },
                Some(Command { change, body, answer }) = self.commands.recv() => {
                    let outcome = self.change(change, body).await;
                    // Whoever asked may have gone away; the outcome is logged all the same.
                    let _gone = answer.send(outcome);
                }
                Some(done) = self.reads.join_next_with_id() => self.finish(done),
            }
            self.start_due();
        }
    }

    /// Remembers which files are to be read.
    fn note(&mut self, changed: &[PathBuf]) {
        for (index, source) in self.sources.iter().enumerate() {
            if changed.contains(&source.path) {
                self.due.insert(index);
            }
        }
    }

    /// Begins to read what is due. A file that is being read waits until that is done: what is read of it may be of before
    /// its change.
    fn start_due(&mut self) {
        for index in std::mem::take(&mut self.due) {
            if self.running.values().any(|running| *running == index) {
                self.due.insert(index);
                continue;
            }
            let Some(source) = self.sources.get(index).cloned() else { continue };
            let verifier = Arc::clone(&self.verifier);
            let read = self.reads.spawn_blocking(move || {
                let look = source::look(&source, verifier.issuers(), now());
                (look, source.contents)
            });
            self.running.insert(read.id(), index);
        }
    }

    /// Takes over what was read; a file that cannot be used leaves what it said before in force.
    fn finish(&mut self, done: Result<(Id, Read), JoinError>) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(index) = self.running.remove(&id) else { return };
        let Ok((_, (look, known))) = done else {
            self.telemetry.revoked_failed();
            tracing::error!("reading revocations broke, the last good ones stay");
            return;
        };
        let Some(source) = self.sources.get_mut(index) else { return };
        if !Arc::ptr_eq(&source.contents, &known) {
            // A call has written the store in the meantime: what was read may be of before it.
            self.due.insert(index);
            return;
        }
        match look {
            Look::Same => source.failed = None,
            Look::New { contents, report } => {
                print(&report);
                source.contents = Arc::new(contents);
                source.failed = None;
                self.publish();
            }
            Look::Faulty { errors, report } => {
                let file = source.path.display();
                self.telemetry.revoked_failed();
                tracing::error!(errors, "revocations of {file} rejected, the last good ones stay");
                print(&report);
                source.failed = Some(Failed { at: now(), errors });
            }
        }
        self.share();
    }

    /// Writes the store, then publishes, so that what an operator was told of survives the process.
    async fn change(&mut self, change: Change, body: Bytes) -> Result<Published, Refused> {
        let store = self.sources.iter().position(|source| source.is_store).ok_or(Refused::NoStore)?;
        let Some(source) = self.sources.get(store).cloned() else { return Err(Refused::NoStore) };
        let (verifier, rules) = (Arc::clone(&self.verifier), self.rules);
        let known = Arc::clone(&source.contents);
        let work = tokio::task::spawn_blocking(move || {
            store::change(&source.path, &known, (change, &body), (verifier.issuers(), &rules), now())
        });
        let (contents, changed) = work.await.map_err(|_panicked_or_cancelled| Refused::Broken)??;
        if let Some(source) = self.sources.get_mut(store) {
            let same = source.contents.digest == contents.digest;
            *source = Source { contents: Arc::new(contents), failed: None, ..source.clone() };
            if same { self.share() } else { self.publish() }
        }
        tracing::info!(
            added = changed.added,
            removed = changed.removed,
            spent = changed.spent,
            "revocations changed by a call"
        );
        Ok(Published { generation: self.live.load().revoked.generation(), changed })
    }

    fn publish(&self) {
        let lists = self.sources.iter().map(|source| Arc::clone(&source.contents.list));
        let generation = self.live.load().revoked.generation().saturating_add(1);
        let revoked = Arc::new(Revoked::new(generation, lists));
        let entries = revoked.entries();
        self.live.publish_revoked(&revoked);
        self.telemetry.revoked_loaded(entries, now());
        if !self.sources.is_empty() {
            tracing::info!(generation, entries, "revocations published");
        }
        self.share();
    }

    fn share(&self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.sources);
    }
}
