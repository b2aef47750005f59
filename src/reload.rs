//! From changed files to a published snapshot, or none: fetch, compile, publish, or keep the last good one and say so.
//!
//! One task does this for the whole process, one reload at a time; the work itself runs on a blocking thread, so
//! that neither requests nor the operators' listener wait for it.

mod load;

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use crate::snapshot::Live;
use crate::source::file::watch::Watcher;
use crate::telemetry::Telemetry;

pub use load::{Content, Loaded, PolicyFiles, check_shape, load, load_policy};

/// How many reloads may wait for their turn; more are refused, since each would read the same files.
const WAITING: usize = 8;

/// What set a reload off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A watched file changed.
    FileChange,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Request,
}

impl Trigger {
    /// The word that logs and `/status` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FileChange => "file_change",
            Self::Signal => "signal",
            Self::Request => "request",
        }
    }
}

/// How many of each there are in a published policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Applications.
    pub applications: usize,
    /// Routes of all applications.
    pub routes: usize,
    /// Policy domains.
    pub domains: usize,
    /// Principals of all domains.
    pub principals: usize,
    /// Grants of all domains.
    pub grants: usize,
}

impl Counts {
    /// Those of what is live.
    pub fn of(live: &Live) -> Self {
        let snapshot = live.load();
        let (applications, routes) = snapshot.routes.counts();
        let (domains, principals, grants) = snapshot.domains.counts();
        Self { applications, routes, domains, principals, grants }
    }
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// New policy decides from now on.
    Published {
        /// Its serial.
        serial: u64,
        /// What it holds.
        counts: Counts,
        /// Warnings as people read them; empty if there are none.
        report: String,
    },
    /// The files say what is live already; nothing was published.
    Unchanged {
        /// The serial of what is live.
        serial: u64,
    },
    /// The files have faults; what was live still is.
    Rejected {
        /// The serial of what is live.
        serial: u64,
        /// How many faults.
        errors: usize,
        /// All of them as people read them, each with file, line, column, excerpt and help.
        report: String,
    },
    /// Loading itself broke (a defect of this program, not of the files); what was live still is.
    Broken {
        /// The serial of what is live.
        serial: u64,
    },
}

impl ReloadOutcome {
    /// The word that logs and `/status` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Published { .. } => "published",
            Self::Unchanged { .. } => "unchanged",
            Self::Rejected { .. } => "rejected",
            Self::Broken { .. } => "broken",
        }
    }

    /// Whether what is live is what the files say.
    pub const fn is_good(&self) -> bool {
        match self {
            Self::Published { .. } | Self::Unchanged { .. } => true,
            Self::Rejected { .. } | Self::Broken { .. } => false,
        }
    }

    /// The serial of what is live afterwards.
    pub const fn serial(&self) -> u64 {
        match self {
            Self::Published { serial, .. }
            | Self::Unchanged { serial }
            | Self::Rejected { serial, .. }
            | Self::Broken { serial } => *serial,
        }
    }

    /// How many faults kept the files from being used.
    pub const fn errors(&self) -> usize {
        match self {
            Self::Published { .. } | Self::Unchanged { .. } => 0,
            Self::Rejected { errors, .. } => *errors,
            Self::Broken { .. } => 1,
        }
    }
}

/// The last reload, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended, in seconds since the Unix epoch.
    pub at: u64,
    /// What set it off.
    pub trigger: Trigger,
    /// [`ReloadOutcome::word`].
    pub outcome: &'static str,
    /// [`ReloadOutcome::is_good`].
    pub good: bool,
    /// [`ReloadOutcome::errors`].
    pub errors: usize,
}

struct Command {
    trigger: Trigger,
    answer: Option<oneshot::Sender<ReloadOutcome>>,
}

/// Asks for reloads and knows the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    last: Arc<Mutex<Option<LastReload>>>,
}

impl Handle {
    /// Asks for a reload without waiting for it. When the queue is full, one that will see the same files is due.
    pub fn ask(&self, trigger: Trigger) {
        let _due = self.commands.try_send(Command { trigger, answer: None });
    }

    /// Asks for a reload and waits for what comes of it; `None` when too many wait already or the process is ending.
    pub async fn reload(&self, trigger: Trigger) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send(Command { trigger, answer: Some(answer) }).ok()?;
        outcome.await.ok()
    }

    /// The last reload; `None` if there was none since the start.
    pub fn last(&self) -> Option<LastReload> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reloads.
pub struct Reloader {
    files: Arc<PolicyFiles>,
    /// What is live, to know whether files say anything new.
    loaded: Loaded,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    watcher: Watcher,
    commands: mpsc::Receiver<Command>,
    last: Arc<Mutex<Option<LastReload>>>,
}

impl Reloader {
    /// Makes the task and the way to ask it. `loaded` is what `live` was started with; `watcher` is
    /// told which files to watch besides those it knows.
    pub fn new(
        files: PolicyFiles,
        loaded: Loaded,
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        watcher: Watcher,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(WAITING);
        let last = Arc::new(Mutex::new(None));
        let handle = Handle { commands: sender, last: Arc::clone(&last) };
        (Self { files: Arc::new(files), loaded, live, telemetry, watcher, commands, last }, handle)
    }

    /// Reloads whenever it is asked to, until nobody can ask any more.
    pub async fn run(mut self) {
        self.watch_dependencies();
        while let Some(Command { trigger, answer }) = self.commands.recv().await {
            let outcome = self.reload(trigger).await;
            if let Some(answer) = answer {
                // Whoever asked may have gone away; the outcome is logged all the same.
                let _gone = answer.send(outcome);
            }
        }
    }

    async fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        let files = Arc::clone(&self.files);
        let known = self.loaded.content.clone();
        let work = tokio::task::spawn_blocking(move || load::load_if_changed(&files, &known));
        let serial = self.live.load().serial;
        let outcome = match work.await {
            Ok(load::Change::None) => ReloadOutcome::Unchanged { serial },
            Ok(load::Change::Good { loaded, routes, domains, report }) => {
                let serial = self.live.publish_policy(routes, domains, now());
                self.loaded = loaded;
                self.watch_dependencies();
                ReloadOutcome::Published { serial, counts: Counts::of(&self.live), report }
            }
            Ok(load::Change::Faulty { errors, report }) => ReloadOutcome::Rejected { serial, errors, report },
            Err(_panicked_or_cancelled) => ReloadOutcome::Broken { serial },
        };
        self.say(trigger, &outcome);
        outcome
    }

    fn watch_dependencies(&self) {
        self.watcher.also(self.loaded.content.named());
    }

    /// Tells everybody: the log, the metrics, and whoever asks for the status.
    fn say(&self, trigger: Trigger, outcome: &ReloadOutcome) {
        let at = now();
        let trigger_word = trigger.word();
        match outcome {
            ReloadOutcome::Published { serial, counts, report } => {
                self.telemetry.policy_loaded(*serial, at);
                tracing::info!(
                    serial,
                    trigger = trigger_word,
                    applications = counts.applications,
                    routes = counts.routes,
                    principals = counts.principals,
                    grants = counts.grants,
                    "policy published"
                );
                print(report);
            }
            ReloadOutcome::Unchanged { serial } => {
                // Undoing a bad edit ends in this arm too, and then the files are good again.
                self.telemetry.policy_loaded(*serial, self.live.load().loaded_at);
                tracing::info!(serial, trigger = trigger_word, "policy files say what is live already");
            }
            ReloadOutcome::Rejected { serial, errors, report } => {
                self.telemetry.reload_failed(at);
                tracing::error!(
                    serial,
                    trigger = trigger_word,
                    errors,
                    "policy files rejected, the last good ones stay"
                );
                print(report);
            }
            ReloadOutcome::Broken { serial } => {
                self.telemetry.reload_failed(at);
                tracing::error!(serial, trigger = trigger_word, "loading the policy broke, the last good one stays");
            }
        }
        let last =
            LastReload { at, trigger, outcome: outcome.word(), good: outcome.is_good(), errors: outcome.errors() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

/// Writes rendered diagnostics to standard error, beside the process log. A closed standard error is no reason to
/// stop.
pub fn print(report: &str) {
    if !report.is_empty() {
        let _closed = writeln!(io::stderr().lock(), "{}", report.trim_end());
    }
}

/// The time in seconds since the Unix epoch, for the control plane.
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the edge where time enters the control plane")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
