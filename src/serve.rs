//! The composition root: configuration, first keys, first policy, listeners, threads; then the drain.
//!
//! One `current_thread` runtime for each core serves clients; one more, the control thread, fetches keys, watches
//! files, reloads and answers operators. They share nothing but [`Live`] and what is fixed at start.

mod control;
mod error;
mod first;
mod notify;
mod passed;
mod pulse;
mod signals;
mod sockets;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::admin::{Admin, Calls};
use crate::config::Config;
use crate::proxy::Gateway;
use crate::proxy::objects::Objects;
use crate::reload::candidate::Candidates;
use crate::reload::objects::LookUps;
use crate::reload::revoked::Keeper;
use crate::reload::{self, Handle, Reloader, Trigger};
use crate::snapshot::{Live, Snapshot};
use crate::source::file::watch::Watcher;
use crate::telemetry::{Telemetry, log};
use crate::token::{AssertionKey, Issuers, Verifier};

use control::{Changes, Control};
use first::First;
use pulse::Pulse;
use sockets::Sockets;
use workers::Crew;

pub use error::{BindFault, StartError};
pub use passed::Passed;
pub use signals::Signals;

/// The version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many keys may wait to be looked for.
const WAKES: usize = 64;
/// How many sets of changed files may wait to be looked at.
const CHANGES: usize = 16;

/// What the command line decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many threads serve clients; one for each core by default, at least one.
    pub workers: Option<usize>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to end; requests in flight were answered, or the drain's time was up.
    Drained,
    /// It was told a second time and ended at once.
    Forced,
    /// A thread that the process cannot do without broke down; the others were drained.
    Failed,
}

impl Ended {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::Forced | Self::Failed => 1,
        }
    }
}

/// A gateway that serves. Dropping it begins the drain without waiting for its end.
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
    reload: Handle,
    drain: watch::Sender<bool>,
    ended: watch::Receiver<Option<Ended>>,
    threads: Vec<JoinHandle<()>>,
    pulse: Pulse,
}

/// Starts everything. When it returns, all listeners accept; keys that come over the network may still be missing,
/// and then `/readyz` says so and requests that need them are answered 503.
///
/// # Errors
/// [`StartError::Configuration`] when files that the configuration names have faults, with all of them;
/// [`StartError::Bind`] when addresses cannot be listened on, with all of them; [`StartError::Io`] when the system
/// refuses a thread or a descriptor.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    start_on(Passed::default(), config, options)
}

/// The same, with sockets that were opened by somebody else.
///
/// # Errors
/// Those of [`start`], and [`StartError::Passed`] when sockets were passed that no listener is for.
pub fn start_on(passed: Passed, config: Config, options: Options) -> Result<Running, StartError> {
    log::init(&config.log.level).map_err(std::io::Error::other)?;
    let started_at = reload::now();
    let telemetry = match &config.log.decisions {
        Some(to) => Telemetry::logging_to(VERSION, to, config.log.required).map_err(StartError::Log)?,
        None => Telemetry::new(VERSION, false),
    };
    // Watched before they are read, so that no change falls in between.
    let (changed, changes) = mpsc::channel(CHANGES);
    let watcher = Watcher::start(first::watched(&config), changed)?;
    let (revoked_changed, revoked_changes) = mpsc::channel(CHANGES);
    let revoked_watcher = Watcher::start(config.revoked.paths().cloned().collect(), revoked_changed)?;
    let verifier = Arc::new(Verifier::with_room(Issuers::new(config.issuers.clone()), config.rules, config.room));
    let first = First::read(&config, verifier.issuers(), started_at)?;
    let sockets = Sockets::bind(&config, passed)?;
    let (addresses, admin_address) = (sockets.addresses()?, sockets.admin_address()?);

    let live = Arc::new(Live::new(Snapshot {
        serial: 1,
        loaded_at: started_at,
        routes: Arc::new(first.policy.routes),
        domains: Arc::new(first.policy.domains),
        keys: Arc::new(first.keys),
        revoked: Arc::default(),
    }));
    telemetry.policy_loaded(1, started_at);

    let traces = config.traces.and_then(|exporter| Some((exporter, telemetry.traced_requests()?)));
    let feeds = config.policy.feeds.clone();
    let (reloader, reload) =
        Reloader::new((config.policy, config.reload), first.loaded, Arc::clone(&live), Arc::clone(&telemetry), watcher);
    let (keeper, revoked) = Keeper::new(
        first.revoked,
        (Arc::clone(&verifier), config.rules),
        Arc::clone(&live),
        Arc::clone(&telemetry),
        (revoked_watcher, revoked_changes),
    );
    let (wake, woken) = mpsc::channel(WAKES);
    let assertions = Arc::new(AssertionKey::generate().map_err(std::io::Error::other)?);
    let objects = LookUps::new(feeds.iter().map(|feed| feed.database()), Arc::clone(&telemetry));
    let gateway = Gateway::new(
        &live,
        Arc::clone(&verifier),
        Arc::clone(&assertions),
        Arc::clone(&telemetry),
        (wake, Arc::clone(&objects) as Arc<dyn Objects>),
        config.settings,
    );
    let (drain, draining) = watch::channel(false);

    let mut crew = Crew::new(drain.clone());
    crew.prepare_workers(options.workers, &gateway, &sockets.clients, &first.terms)?;
    let operators = first.admin_tls.clone();
    let certificates: Vec<_> = first.terms.into_iter().filter_map(|terms| terms.tls).chain(first.admin_tls).collect();
    certificates.iter().for_each(|tls| control::tell_ends(tls, &telemetry));
    let (end, ended) = watch::channel(None);
    let admin = Admin {
        version: VERSION,
        started_at,
        live: Arc::clone(&live),
        verifier,
        assertions,
        intervals: config.intervals,
        fleet: Arc::clone(gateway.fleet()),
        telemetry: Arc::clone(&telemetry),
        objects: Arc::clone(&objects) as Arc<dyn Objects>,
        candidates: Candidates::new(config.candidates, &reload, gateway.candidate()),
        reload: reload.clone(),
        revoked,
        draining,
        ready_needs_upstreams: config.admin.as_ref().is_some_and(|admin| admin.ready_needs_upstreams),
        tls: operators,
        operators: config.admin.as_ref().map(|admin| admin.operators.clone()).unwrap_or_default(),
        token_file: config.admin.and_then(|admin| admin.token_file),
        calls: Calls::default(),
    };
    let of_running = Arc::clone(&telemetry);
    let control = Control {
        sources: config.keys,
        intervals: config.intervals,
        live: Arc::clone(&live),
        telemetry: Arc::clone(&telemetry),
        woken,
        changes: Changes::new(changes, certificates, config.path, reload.clone(), telemetry),
        reloader,
        keeper,
        feeds,
        objects,
        gateway,
        admin: sockets.admin.map(|socket| (socket, Arc::new(admin))),
        drain: drain.clone(),
        traces,
    };
    let (threads, pulse) = crew.start(control, end)?;
    Ok(Running { addresses, admin_address, live, telemetry: of_running, reload, drain, ended, threads, pulse })
}

impl Running {
    /// The addresses where clients connect, in the order of `listeners`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// The address where operators connect, if there is one.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// What requests are judged by.
    pub const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Asks for a reload of the live documents, as SIGHUP does.
    pub fn reload(&self) {
        self.reload.ask(Trigger::Signal);
    }

    /// Opens the decision log's destination anew, as SIGUSR1 does.
    pub fn reopen_log(&self) {
        self.telemetry.reopen_log();
    }

    /// Begins the drain: no connection is accepted any more, requests in flight are answered within
    /// `timeouts.drain`.
    pub fn shutdown(&self) {
        self.drain.send_replace(true);
    }

    /// Waits until it has ended, which it does after [`shutdown`](Self::shutdown) or when a thread breaks down.
    pub fn wait(mut self) -> Ended {
        for thread in self.threads.drain(..) {
            // A thread that broke down has said so and is counted in how the run ended.
            let _broken = thread.join();
        }
        self.ended.borrow().unwrap_or(Ended::Failed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config;
    use crate::diag::Report;

    struct Folder(tempfile::TempDir);

    impl Folder {
        /// A folder with a configuration of these listeners, no application and no tenant.
        fn new(listeners: &str, admin: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            let gateway = format!(
                "version: 1\nlisteners: [{listeners}]\nadmin: {{address: \"{admin}\"}}\nroutes: [routes.yaml]\n\
                 grants: [grants]\nlog: {{level: error}}\ntimeouts: {{drain: 1s}}\n"
            );
            fs::create_dir(folder.0.path().join("grants")).unwrap();
            fs::write(folder.0.path().join("grants/a.yaml"), "version: 1\ndomain: a\nprincipals: []\n").unwrap();
            fs::write(folder.0.path().join("gateway.yaml"), gateway).unwrap();
            fs::write(folder.0.path().join("routes.yaml"), "version: 1\napplications: []\n").unwrap();
            folder
        }

        fn start(&self) -> Result<Running, StartError> {
            let mut report = Report::new();
            let config = config::load(&self.0.path().join("gateway.yaml"), &mut report);
            start(config.unwrap_or_else(|| panic!("{}", report.render())), Options { workers: Some(2) })
        }
    }

    #[test]
    fn serves_until_told_to_end_and_then_drains() {
        let running = Folder::new("{address: \"127.0.0.1:0\"}, {address: \"[::1]:0\"}", "127.0.0.1:0").start();
        let running = running.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(running.addresses().len(), 2);
        assert!(running.addresses().iter().all(|address| address.port() != 0));
        assert!(running.admin_address().is_some_and(|address| address.port() != 0));
        assert_eq!(running.live().load().serial, 1);
        let begun = Instant::now();
        running.shutdown();
        assert_eq!(running.wait(), Ended::Drained);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn all_taken_ports_are_told_with_their_settings_and_nothing_is_left_running() {
        let taken = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [client, admin] = taken.each_ref().map(|socket| socket.local_addr().unwrap());
        let listeners = format!("{{address: \"127.0.0.1:0\"}}, {{address: \"{client}\"}}");
        let Err(error) = Folder::new(&listeners, &admin.to_string()).start() else { panic!("started") };
        let StartError::Bind(faults) = &error else { panic!("{error}") };
        let told: Vec<_> = faults.iter().map(|fault| (fault.setting.as_str(), fault.address)).collect();
        assert_eq!(told, [("listeners[1].address", client), ("admin.address", admin)]);
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn faults_of_the_live_documents_keep_it_from_starting() {
        let folder = Folder::new("{address: \"127.0.0.1:0\"}", "127.0.0.1:0");
        fs::write(folder.0.path().join("routes.yaml"), "version: 1\nbogus: 1\n").unwrap();
        fs::write(folder.0.path().join("grants/a.yaml"), "version: 1\ndomain: a\nbogus: 1\n").unwrap();
        let Err(error) = folder.start() else { panic!("started") };
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("routes.yaml:2:1") && text.contains("a.yaml:3:1"), "{text}");
    }
}
