//! From changed files to a published snapshot, or none: fetch, compile, publish, or keep the last good one and say so.
//!
//! One task does this for the whole process, one reload at a time; the work itself runs on a blocking thread, so
//! that neither requests nor the operators' listener wait for it.

pub mod ask;
pub mod behind;
pub mod candidate;
mod certificates;
pub mod dry;
pub mod feed;
mod gate;
mod ground;
mod handle;
mod history;
mod last_good;
mod load;
mod named;
pub mod objects;
mod outcome;
mod pages;
pub mod revoked;
mod rollback;
mod tell;
mod trials;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::review::impact;
use crate::snapshot::{Live, Snapshot};
use crate::source::file::watch::Watcher;
use crate::telemetry::Telemetry;

use behind::give_way_for;
use dry::Tried;
use handle::{Command, Told, lock};
use history::{Edition, History};

pub use gate::{Gate, Share, Weighed};
pub use handle::Handle;
pub use history::{Changes, DomainChanges, Entry, Nowhere, Origin};
pub use last_good::{LastGood, Written, load as load_last_good};
use load::Texts;
pub use load::{
    Content, Loaded, PolicyFiles, Why, check_shape, load, load_for_review, load_policy, read_documents, sha256,
};
pub use outcome::{Counts, LastReload, ReloadOutcome, Trigger};
pub use rollback::{Back, Rollback, RolledBack};
pub use tell::print;

/// How many reloads may wait for their turn; more are refused, since each would read the same files.
const WAITING: usize = 8;

/// How reloads are made.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What keeps a reload from being published unasked.
    pub gate: Gate,
    /// How many published policies besides the live one can be gone back to.
    pub history: usize,
    /// The directory in which the last good documents are kept for a start at which the files are broken.
    pub last_good: Option<PathBuf>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { gate: Gate::default(), history: 10, last_good: None }
    }
}

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

/// What a look at the files brought, weighed against what is live.
enum Found {
    None,
    Passed,
    Good {
        /// What is to be published; nothing where it is held.
        publish: Option<Box<Edition>>,
        /// What was only tried.
        tried: Option<Box<Edition>>,
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
    terms: Terms,
    /// What is live, to know whether files say anything new, and what was before.
    history: History,
    /// What was kept and is so no longer.
    fallen: Vec<Edition>,
    /// What the files said when an older policy was gone back to, as long as that is so.
    passed: Option<Content>,
    /// Whether what is live is to be written to disk.
    unwritten: bool,
    /// The copy that was written there last.
    copy: Option<last_good::Copy>,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    watcher: Watcher,
    commands: mpsc::Receiver<Command>,
    told: Arc<Mutex<Told>>,
    shelf: Arc<ask::Shelf>,
    /// Those that what is live was made of, as far as they are kept.
    texts: Texts,
    /// What the last dry run found, until whoever asked for it has it.
    tried: Option<Box<Tried>>,
}

impl Reloader {
    /// Makes the task and the way to ask it. `loaded` is what `live` was started with; `watcher` is
    /// told which files to watch besides those it knows.
    pub fn new(
        (files, terms): (PolicyFiles, Terms),
        loaded: Loaded,
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        watcher: Watcher,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(WAITING);
        let told = Arc::new(Mutex::new(Told::default()));
        let files = Arc::new(files);
        let shelf = ask::Shelf::new(&files);
        let feeds = files.feeds.clone().into();
        let handle = Handle::new(sender, Arc::clone(&told), feeds, Arc::clone(&shelf));
        feed::begin(&loaded.fed);
        let snapshot = live.load();
        shelf.put(&loaded.content, &loaded.fed, &snapshot);
        let entry = Entry {
            serial: snapshot.serial,
            at: snapshot.loaded_at,
            origin: if loaded.stale.is_some() { Origin::LastGood } else { Origin::Start },
            by: None,
            reason: None,
            digest: loaded.content.digest(),
            counts: Counts::of(&live),
            changes: None,
        };
        let (routes, domains) = (Arc::clone(&snapshot.routes), Arc::clone(&snapshot.domains));
        let Loaded { compiled: _, content, fed, stale, texts, ground } = loaded;
        let (kept, ground) = (Texts::default(), Arc::new(ground));
        let history =
            History::new(terms.history, entry, Edition { routes, domains, content, fed, texts: kept, ground });
        *lock(&told) = Told {
            history: history.entries(),
            stale,
            last_good: terms.last_good.is_some().then_some(LastGood { written: stale, failed: None }),
            ..Told::default()
        };
        telemetry.policy_stale(stale.is_some());
        let new = Self {
            files,
            terms,
            history,
            fallen: Vec::new(),
            passed: None,
            unwritten: stale.is_none(),
            copy: None,
            live,
            telemetry,
            watcher,
            commands,
            told,
            shelf,
            texts,
            tried: None,
        };
        (new, handle)
    }

    /// Reloads whenever it is asked to, until nobody can ask any more.
    pub async fn run(mut self) {
        self.watch_dependencies();
        self.write_last_good().await;
        while let Some(command) = self.commands.recv().await {
            // Whoever asked may have gone away; the outcome is logged all the same.
            match command {
                Command::Reload(order, since, answer) => {
                    let outcome = self.reload(&order, since).await;
                    let tried = self.tried.take();
                    let _gone = answer.map(|answer| answer.send((outcome, tried)));
                }
                Command::RollBack(back, answer) => {
                    let outcome = self.roll_back(&back).await;
                    let _gone = answer.send(outcome);
                }
            }
            self.write_last_good().await;
            self.free().await;
        }
    }

    async fn reload(&mut self, order: &Order, since: Instant) -> ReloadOutcome {
        let files = Arc::clone(&self.files);
        let (known, ground) = (self.history.live().content.clone(), Arc::clone(&self.history.live().ground));
        // Whoever watches the files goes by their stamps; whoever asks has them read.
        let trusting = order.trigger == Trigger::FileChange;
        // Who asks for the files wants them, whatever was gone back to.
        let passed = self.passed.clone().filter(|_| order.trigger != Trigger::Request);
        // What is live may change meanwhile by what is no policy of the files, and that is not held against them.
        let (live, gate, mode) = (self.live.load(), self.terms.gate, order.mode.clone());
        let judged = Arc::clone(&live);
        let work =
            behind::behind(move || match load::load_if_changed(&files, (&known, &ground), passed.as_ref(), trusting) {
                load::Change::Good { mut loaded, routes, domains, report } => {
                    let [before, after] = feed::alike(&mut loaded.fed, [&live.domains, &domains]);
                    let weighed = Box::new(gate.weigh(impact((&live.routes, &before), (&routes, &after))));
                    let publish = match mode {
                        Mode::Usual => weighed.held.is_empty(),
                        Mode::Forced(_) => true,
                        Mode::Dry => false,
                    };
                    let Loaded { compiled: _, content, fed, texts, stale: _, ground } = *loaded;
                    // What is held is freed here, which takes a while.
                    let edition = Box::new(Edition { routes, domains, content, fed, texts, ground: Arc::new(ground) });
                    let (publish, tried) = match mode {
                        Mode::Dry => (None, Some(edition)),
                        Mode::Usual | Mode::Forced(_) => (publish.then_some(edition), None),
                    };
                    Found::Good { publish, tried, weighed, report }
                }
                load::Change::None => Found::None,
                load::Change::Passed => Found::Passed,
                load::Change::Faulty { why, errors, report } => Found::Faulty { why, errors, report },
            });
        let found = work.await;
        let serial = self.live.load().serial;
        let outcome = match found {
            Some(Found::None) => {
                if order.mode != Mode::Dry {
                    self.is_as_the_files();
                }
                ReloadOutcome::Unchanged { serial }
            }
            Some(Found::Passed) => ReloadOutcome::Kept { serial },
            Some(Found::Good { publish: Some(edition), weighed, report, .. }) => {
                let (serial, counts) = self.publish((order, since), *edition, &weighed).await;
                ReloadOutcome::Published { serial, counts, weighed, report }
            }
            Some(Found::Good { publish: None, tried, weighed, report }) => match order.mode {
                Mode::Dry => {
                    self.tried = tried.map(|edition| Box::new(self.to_compare(judged, *edition)));
                    ReloadOutcome::Tried { serial, weighed, report }
                }
                Mode::Usual | Mode::Forced(_) => ReloadOutcome::Held { serial, weighed, report },
            },
            Some(Found::Faulty { why, errors, report }) => ReloadOutcome::Rejected { serial, why, errors, report },
            None => ReloadOutcome::Broken { serial },
        };
        self.say(order, &outcome);
        outcome
    }

    /// Publishes what the files say; the serial, and what it holds.
    async fn publish(
        &mut self,
        (order, since): (&Order, Instant),
        mut edition: Edition,
        weighed: &Weighed,
    ) -> (u64, Counts) {
        let (at, policy) = (now(), (Arc::clone(&edition.routes), Arc::clone(&edition.domains)));
        let serial = feed::publish(&self.live, &mut edition.fed, policy, at).await;
        self.telemetry.reload_took(since.elapsed());
        let counts = Counts::of(&self.live);
        let reason = match &order.mode {
            Mode::Forced(reason) => Some(reason.clone()),
            Mode::Usual | Mode::Dry => None,
        };
        let entry = Entry {
            serial,
            at,
            origin: Origin::Reload(order.trigger),
            by: order.by.clone(),
            reason,
            digest: edition.content.digest(),
            counts,
            changes: Some(Changes::from(weighed)),
        };
        self.is_as_the_files();
        self.unwritten = true;
        self.take_in(entry, edition);
        (serial, counts)
    }

    /// What is live, or will be in a moment, is what the files say.
    fn is_as_the_files(&mut self) {
        self.unwritten |= self.passed.take().is_some();
        self.telemetry.rolled_back(false);
        self.telemetry.policy_stale(false);
        let mut told = self.told();
        told.rolled_back = None;
        if told.stale.take().is_some() {
            tracing::info!("policy files can be used again: nothing is stale any more");
        }
    }

    /// Keeps what was published, and watches the files that it was made of.
    fn take_in(&mut self, entry: Entry, mut edition: Edition) {
        let mut before = std::mem::take(&mut self.texts);
        // Older ones are for those who go back.
        if self.terms.history == 0 {
            before.retain(&edition.content);
        }
        self.texts = std::mem::take(&mut edition.texts).for_live(&edition.content, &before);
        self.fallen.extend(self.history.publish(entry, edition));
        let entries = self.history.entries();
        self.told().history = entries;
        let live = self.history.live();
        self.shelf.put(&live.content, &live.fed, &self.live.load());
        self.watch_dependencies();
    }

    /// What is live, and what would follow it.
    fn to_compare(&self, live: Arc<Snapshot>, edition: Edition) -> Tried {
        Tried {
            files: Arc::clone(&self.files),
            copy: self.terms.last_good.clone(),
            live,
            texts: self.texts.clone(),
            both: Some([self.history.live().clone(), edition]),
        }
    }

    /// Frees what is kept no longer: a thread of its own does, for it takes a while.
    async fn free(&mut self) {
        let fallen = std::mem::take(&mut self.fallen);
        if !fallen.is_empty() {
            let free = move || {
                give_way_for(usize::MAX);
                drop(fallen);
            };
            behind::behind(free).await;
        }
    }

    fn watch_dependencies(&self) {
        let passed = self.passed.iter().flat_map(Content::named);
        self.watcher.also(self.history.live().content.named().chain(passed));
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
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
                Reloader::new((files, Terms::default()), loaded, Arc::clone(&live), telemetry, watcher);
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
            fixture.reloader.history.live().content.named().collect::<Vec<PathBuf>>(),
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
