//! From changed files to a published snapshot, or none: fetch, compile, publish, or keep the last good one and say so.
//!
//! One task does this for the whole process, one reload at a time; the work itself runs on a blocking thread, so
//! that neither requests nor the operators' listener wait for it.

pub mod behind;
mod certificates;
pub mod feed;
mod gate;
mod load;
mod named;
mod outcome;
mod pages;
pub mod revoked;
mod trials;

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use crate::policy::Domains;
use crate::review::impact;
use crate::route::RouteMap;
use crate::snapshot::Live;
use crate::source::file::watch::Watcher;
use crate::telemetry::Telemetry;

use feed::{Feed, FeedState};

pub use gate::{Gate, Share, Weighed};
pub use load::{
    Content, Loaded, PolicyFiles, Why, check_shape, load, load_for_review, load_policy, read_documents, sha256,
};
pub use outcome::{Counts, LastReload, ReloadOutcome, Trigger};

/// How many reloads may wait for their turn; more are refused, since each would read the same files.
const WAITING: usize = 8;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What set it off.
    pub trigger: Trigger,
    /// Who asked, where somebody did: the address that the call came from.
    pub by: Option<String>,
    /// How far it is to go.
    pub mode: Mode,
}

/// How far a reload goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be published, unless something is against it.
    Usual,
    /// To be published whatever the gate says, for this reason. Faults and failing tests are against it all the same.
    Forced(String),
    /// Not to be published: what would come of it is told.
    Dry,
}

impl From<Trigger> for Order {
    fn from(trigger: Trigger) -> Self {
        Self { trigger, by: None, mode: Mode::Usual }
    }
}

struct Command {
    order: Order,
    /// When it was asked for.
    since: Instant,
    answer: Option<oneshot::Sender<ReloadOutcome>>,
}

impl Command {
    fn new(order: impl Into<Order>, answer: Option<oneshot::Sender<ReloadOutcome>>) -> Self {
        Self { order: order.into(), since: Instant::now(), answer }
    }
}

/// Asks for reloads and knows the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    last: Arc<Mutex<Option<LastReload>>>,
    feeds: Arc<[Arc<Feed>]>,
}

impl Handle {
    /// How the databases are that feed domains.
    pub fn feeds(&self) -> Vec<FeedState> {
        self.feeds.iter().map(|feed| feed.state()).collect()
    }

    /// Asks for a reload without waiting for it. When the queue is full, one that will see the same files is due.
    pub fn ask(&self, trigger: Trigger) {
        let _due = self.commands.try_send(Command::new(trigger, None));
    }

    /// Asks for a reload and waits for what comes of it; `None` when too many wait already or the process is ending.
    pub async fn reload(&self, order: impl Into<Order>) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send(Command::new(order, Some(answer))).ok()?;
        outcome.await.ok()
    }

    /// The last reload; `None` if there was none since the start.
    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a look at the files brought, weighed against what is live.
enum Found {
    None,
    Good {
        /// What is to be published; nothing where it is held, or only tried.
        publish: Option<(Box<Loaded>, Arc<RouteMap>, Arc<Domains>)>,
        weighed: Box<Weighed>,
        report: String,
    },
    Faulty {
        why: Why,
        errors: usize,
        report: String,
    },
}

/// The task that reloads.
pub struct Reloader {
    files: Arc<PolicyFiles>,
    gate: Gate,
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
        (files, gate): (PolicyFiles, Gate),
        loaded: Loaded,
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        watcher: Watcher,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(WAITING);
        let last = Arc::new(Mutex::new(None));
        let handle = Handle { commands: sender, last: Arc::clone(&last), feeds: files.feeds.clone().into() };
        feed::begin(&loaded.fed);
        (Self { files: Arc::new(files), gate, loaded, live, telemetry, watcher, commands, last }, handle)
    }

    /// Reloads whenever it is asked to, until nobody can ask any more.
    pub async fn run(mut self) {
        self.watch_dependencies();
        while let Some(Command { order, since, answer }) = self.commands.recv().await {
            let outcome = self.reload(&order, since).await;
            if let Some(answer) = answer {
                // Whoever asked may have gone away; the outcome is logged all the same.
                let _gone = answer.send(outcome);
            }
        }
    }

    async fn reload(&mut self, order: &Order, since: Instant) -> ReloadOutcome {
        let files = Arc::clone(&self.files);
        let known = self.loaded.content.clone();
        // What is live may change meanwhile by what is no policy of the files, and that is not held against them.
        let (live, gate, mode) = (self.live.load(), self.gate, order.mode.clone());
        let work = behind::behind(move || match load::load_if_changed(&files, &known) {
            load::Change::Good { mut loaded, routes, domains, report } => {
                let [before, after] = feed::alike(&mut loaded.fed, [&live.domains, &domains]);
                let weighed = Box::new(gate.weigh(impact((&live.routes, &before), (&routes, &after))));
                let publish = match mode {
                    Mode::Usual => weighed.held.is_empty(),
                    Mode::Forced(_) => true,
                    Mode::Dry => false,
                };
                // What is not to be published is freed here, which takes a while.
                Found::Good { publish: publish.then_some((loaded, routes, domains)), weighed, report }
            }
            load::Change::None => Found::None,
            load::Change::Faulty { why, errors, report } => Found::Faulty { why, errors, report },
        });
        let found = work.await;
        let serial = self.live.load().serial;
        let outcome = match found {
            Some(Found::None) => ReloadOutcome::Unchanged { serial },
            Some(Found::Good { publish: Some((mut loaded, routes, domains)), weighed, report }) => {
                let serial = feed::publish(&self.live, &mut loaded.fed, (routes, domains), now()).await;
                self.telemetry.reload_took(since.elapsed());
                self.loaded = *loaded;
                self.watch_dependencies();
                ReloadOutcome::Published { serial, counts: Counts::of(&self.live), weighed, report }
            }
            Some(Found::Good { publish: None, weighed, report }) => match order.mode {
                Mode::Dry => ReloadOutcome::Tried { serial, weighed, report },
                Mode::Usual | Mode::Forced(_) => ReloadOutcome::Held { serial, weighed, report },
            },
            Some(Found::Faulty { why, errors, report }) => ReloadOutcome::Rejected { serial, why, errors, report },
            None => ReloadOutcome::Broken { serial },
        };
        self.say(order, &outcome);
        outcome
    }

    fn watch_dependencies(&self) {
        self.watcher.also(self.loaded.content.named());
    }

    /// Tells everybody: the log, the metrics, and whoever asks for the status.
    fn say(&self, order: &Order, outcome: &ReloadOutcome) {
        let at = now();
        let Order { trigger, by, mode } = order;
        let (trigger_word, by) = (trigger.word(), by.as_deref().unwrap_or("-"));
        if *mode == Mode::Dry {
            // Nothing happened that anybody has to be told of but who asked.
            tracing::info!(by, outcome = outcome.word(), "policy files tried, nothing was published");
            return;
        }
        match outcome {
            ReloadOutcome::Published { serial, counts, weighed, report } => {
                self.telemetry.policy_loaded(*serial, at);
                if let Mode::Forced(reason) = mode {
                    let held = weighed.held.join("; ");
                    tracing::warn!(serial, by, reason, held, "policy published by force");
                }
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
            ReloadOutcome::Held { serial, weighed, report } => {
                self.telemetry.reload_held(at);
                let held = weighed.held.join("; ");
                tracing::error!(
                    serial,
                    trigger = trigger_word,
                    held,
                    "policy files held by the gate, the last ones stay"
                );
                print(report);
            }
            // Only told to whoever asked; see above.
            ReloadOutcome::Tried { .. } => {}
            ReloadOutcome::Unchanged { serial } => {
                // Undoing a bad edit ends in this arm too, and then the files are good again.
                self.telemetry.policy_loaded(*serial, self.live.load().loaded_at);
                tracing::info!(serial, trigger = trigger_word, "policy files say what is live already");
            }
            ReloadOutcome::Rejected { serial, why, errors, report } => {
                self.telemetry.reload_failed(at);
                tracing::error!(
                    serial,
                    trigger = trigger_word,
                    why = why.word(),
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
        let last = LastReload {
            at,
            trigger: *trigger,
            outcome: outcome.word(),
            good: outcome.is_good(),
            errors: outcome.errors(),
            held: outcome
                .weighed()
                .map(|weighed| weighed.held.clone())
                .filter(|_| !outcome.is_good())
                .unwrap_or_default(),
        };
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::diag::Report;
    use crate::model::{Guid, Tenant};
    use crate::snapshot::Snapshot;
    use crate::token::KeyRing;

    const ROUTES: &str = "version: 1\n\
        upstreams: {app: {servers: [\"http://127.0.0.1:9\"], ca: ca.pem}}\n\
        applications:\n\
        \x20 - name: app\n\
        \x20   hosts: [localhost]\n\
        \x20   domain: app\n\
        \x20   upstream: app\n\
        \x20   gate: {tenants: [dev], audiences: [\"api://app\"]}\n\
        \x20   routes:\n\
        \x20     - {id: home, match: {methods: [GET], path: /}, require: app.pages}\n";
    const GRANTS: &str = "version: 1\n\
        domain: app\n\
        principals:\n\
        \x20 - {id: olga, tenant: dev, oid: 11111111-1111-1111-1111-111111111112, grants: [app]}\n";

    struct Fixture {
        dir: tempfile::TempDir,
        live: Arc<Live>,
        reloader: Reloader,
        handle: Handle,
    }

    fn files(dir: &Path) -> PolicyFiles {
        PolicyFiles {
            routes: vec![dir.join("routes.yaml")],
            grants: vec![dir.join("grants")],
            tenants: vec![Tenant::of_objects("dev", Guid(1))],
            feeds: Vec::new(),
        }
    }

    /// A new certificate, PEM.
    fn certificate() -> String {
        rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem()
    }

    impl Fixture {
        /// A reloader whose live policy is what the files say.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("grants")).unwrap();
            for (name, text) in [("routes.yaml", ROUTES), ("grants/app.yaml", GRANTS), ("ca.pem", &certificate())] {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let files = files(dir.path());
            let mut report = Report::new();
            let mut loaded = load(&files, &mut report);
            assert!(!report.has_errors(), "{}", report.render());
            let policy = loaded.compiled.take().unwrap();
            let live = Arc::new(Live::new(Snapshot {
                serial: 1,
                loaded_at: 1,
                routes: Arc::new(policy.routes),
                domains: Arc::new(policy.domains),
                keys: Arc::new(KeyRing::empty(0)),
                revoked: Arc::default(),
            }));
            let (changed, _changes) = mpsc::channel(1);
            let watcher = Watcher::start(Vec::new(), changed).unwrap();
            let telemetry = Telemetry::new("0", false);
            let (reloader, handle) =
                Reloader::new((files, Gate::default()), loaded, Arc::clone(&live), telemetry, watcher);
            Self { dir, live, reloader, handle }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join(name), text).unwrap();
        }

        async fn reload(&mut self) -> ReloadOutcome {
            self.reloader.reload(&Trigger::Signal.into(), Instant::now()).await
        }
    }

    #[tokio::test]
    async fn what_says_the_same_is_not_published_again() {
        let mut fixture = Fixture::new();
        let before = fixture.live.load();
        fixture.write("routes.yaml", ROUTES);
        assert_eq!(fixture.reload().await, ReloadOutcome::Unchanged { serial: 1 });
        assert!(Arc::ptr_eq(&before, &fixture.live.load()));
    }

    #[tokio::test]
    async fn a_good_edit_is_published_under_the_next_serial() {
        let mut fixture = Fixture::new();
        fixture.write("routes.yaml", &ROUTES.replace("[GET]", "[GET, POST]"));
        let outcome = fixture.reload().await;
        let counts = Counts { applications: 1, routes: 1, domains: 1, principals: 1, grants: 1 };
        let ReloadOutcome::Published { serial: 2, counts: told, report, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((told, report.as_str()), (counts, ""));
        assert_eq!(fixture.live.load().serial, 2);
        assert_eq!(fixture.reload().await, ReloadOutcome::Unchanged { serial: 2 });
    }

    #[tokio::test]
    async fn a_bad_edit_keeps_the_old_policy_and_tells_every_fault() {
        let mut fixture = Fixture::new();
        let before = fixture.live.load();
        fixture.write("routes.yaml", &ROUTES.replace("hosts:", "hostz:"));
        fixture.write("grants/app.yaml", &GRANTS.replace("grants:", "grantz:"));
        let ReloadOutcome::Rejected { serial: 1, why: Why::Faults, errors, report } = fixture.reload().await else {
            panic!()
        };
        assert!(errors >= 2 && report.contains("hostz") && report.contains("grantz"), "{report}");
        assert!(Arc::ptr_eq(&before, &fixture.live.load()));
        let last = fixture.handle.last().unwrap();
        assert_eq!((last.outcome, last.good, last.errors), ("rejected", false, errors));
    }

    #[tokio::test]
    async fn undoing_a_bad_edit_is_good_again_without_a_new_serial() {
        let mut fixture = Fixture::new();
        fixture.write("routes.yaml", "version: 1\nbogus: 1\n");
        assert!(!fixture.reload().await.is_good());
        fixture.write("routes.yaml", ROUTES);
        assert_eq!(fixture.reload().await, ReloadOutcome::Unchanged { serial: 1 });
        assert!(fixture.handle.last().unwrap().good);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_not_utf8_keeps_the_old_policy() {
        let mut fixture = Fixture::new();
        fs::remove_file(fixture.dir.path().join("routes.yaml")).unwrap();
        let ReloadOutcome::Rejected { errors: 1, report, .. } = fixture.reload().await else { panic!() };
        assert!(report.contains("routes.yaml") && report.contains("No such file"), "{report}");
        fs::write(fixture.dir.path().join("routes.yaml"), b"version: \xff\n").unwrap();
        let ReloadOutcome::Rejected { errors: 1, report, .. } = fixture.reload().await else { panic!() };
        assert!(report.contains("not UTF-8"), "{report}");
        assert_eq!(fixture.live.load().serial, 1);
    }

    #[tokio::test]
    async fn documents_and_files_that_they_name_count_as_content() {
        let mut fixture = Fixture::new();
        fixture.write("grants/more.yaml", "version: 1\ndomain: more\nprincipals: []\n");
        assert_eq!(fixture.reload().await.serial(), 2);
        fs::remove_file(fixture.dir.path().join("grants/more.yaml")).unwrap();
        assert_eq!(fixture.reload().await.serial(), 3);
        assert_eq!(
            fixture.reloader.loaded.content.named().collect::<Vec<PathBuf>>(),
            [fixture.dir.path().join("ca.pem")]
        );
        fixture.write("ca.pem", &certificate());
        assert_eq!(fixture.reload().await.serial(), 4);
    }

    #[tokio::test]
    async fn more_reloads_than_can_wait_are_refused_and_the_others_answered() {
        let Fixture { handle, reloader, dir: _dir, .. } = Fixture::new();
        let asked: Vec<_> = (0..WAITING + 1).map(|_| handle.clone()).collect();
        let asked = asked.into_iter().map(|handle| tokio::spawn(async move { handle.reload(Trigger::Request).await }));
        let asked: Vec<_> = asked.collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let running = tokio::spawn(reloader.run());
        let mut answered = 0;
        for one in asked {
            answered += usize::from(one.await.unwrap() == Some(ReloadOutcome::Unchanged { serial: 1 }));
        }
        assert_eq!(answered, WAITING);
        drop(handle);
        running.await.unwrap();
    }
}
