//! The control thread: keys, changed files, reloads, revocations, the health of upstreams, operators, and the freeing of
//! old snapshots.

use std::collections::HashSet;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Admin};
use crate::proxy::tls::ServerTls;
use crate::proxy::{Gateway, health};
use crate::reload::behind::{behind, give_way_for};
use crate::reload::feed::{self, Feed};
use crate::reload::objects::LookUps;
use crate::reload::revoked::Keeper;
use crate::reload::{Handle, Reloader, Trigger};
use crate::snapshot::Live;
use crate::source::jwks::{self, Intervals, KeySource};
use crate::source::otlp::{self, Exporter};
use crate::telemetry::{Telemetry, TracedRequests};
use crate::token::WantedKey;

/// How often replaced snapshots that no request uses any more are freed, on a thread that gives way to requests.
const SWEEP: Duration = Duration::from_secs(1);

/// What the control thread works with.
pub(super) struct Control {
    pub(super) sources: Vec<KeySource>,
    pub(super) intervals: Intervals,
    pub(super) live: Arc<Live>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) woken: mpsc::Receiver<WantedKey>,
    pub(super) changes: Changes,
    pub(super) reloader: Reloader,
    pub(super) keeper: Keeper,
    pub(super) feeds: Vec<Arc<Feed>>,
    pub(super) objects: Arc<LookUps>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) admin: Option<(TcpListener, Arc<Admin>)>,
    pub(super) drain: watch::Sender<bool>,
    /// Where spans go, and the requests that they are made of.
    pub(super) traces: Option<(Exporter, TracedRequests)>,
}

impl Control {
    /// Works until `workers_done`; tells whether all went well. A part that ends before is a breakdown: without it
    /// keys would grow old, or changes would go unnoticed, so the process is drained.
    pub(super) async fn run(self, workers_done: impl Future<Output = ()>) -> bool {
        let Self {
            sources,
            intervals,
            live,
            telemetry,
            woken,
            changes,
            reloader,
            keeper,
            feeds,
            objects,
            gateway,
            admin,
            drain,
            traces,
        } = self;
        let mut parts = JoinSet::new();
        if !sources.is_empty() {
            parts.spawn_local(jwks::keep(intervals, sources, Arc::clone(&live), Arc::clone(&telemetry), woken));
        }
        parts.spawn_local(changes.run());
        parts.spawn_local(reloader.run());
        parts.spawn_local(keeper.run());
        for feed in feeds {
            parts.spawn_local(feed::keep(feed, Arc::clone(&live), Arc::clone(&telemetry)));
        }
        for connection in objects.connections() {
            parts.spawn_local(connection);
        }
        parts.spawn_local(health::keep(gateway));
        parts.spawn_local(sweep(live));
        if let Some((socket, admin)) = admin {
            parts.spawn_local(operators(socket, admin));
        }
        let (done, over) = watch::channel(false);
        // No part like the others: without it requests are served all the same.
        let traces = traces.map(|(exporter, requests)| {
            tokio::task::spawn_local(otlp::keep(exporter, requests, Arc::clone(&telemetry), over))
        });
        tokio::pin!(workers_done);
        let whole = tokio::select! {
            () = &mut workers_done => true,
            _ended = parts.join_next() => {
                tracing::error!("a part of the control thread broke down: draining");
                drain.send_replace(true);
                workers_done.await;
                false
            }
        };
        done.send_replace(true);
        if let Some(traces) = traces {
            // It ends by itself, in a bounded time.
            let _ended = traces.await;
        }
        telemetry.flush();
        whole
    }
}

async fn sweep(live: Arc<Live>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let unused = live.take_unused();
        if !unused.is_empty() {
            let free = move || {
                give_way_for(usize::MAX);
                drop(unused);
            };
            behind(free).await;
        }
    }
}

async fn operators(socket: TcpListener, admin: Arc<Admin>) {
    match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => admin::serve(socket, admin).await,
        Err(error) => tracing::error!("the admin listener cannot be used: {error}"),
    }
}

/// What to do about changed files.
pub(super) struct Changes {
    changes: mpsc::Receiver<Vec<PathBuf>>,
    /// Those of all listeners.
    certificates: Vec<Arc<ServerTls>>,
    /// The files that they are read from.
    certificate_files: HashSet<PathBuf>,
    gateway_file: PathBuf,
    reload: Handle,
    telemetry: Arc<Telemetry>,
}

impl Changes {
    pub(super) fn new(
        changes: mpsc::Receiver<Vec<PathBuf>>,
        certificates: Vec<Arc<ServerTls>>,
        gateway_file: PathBuf,
        reload: Handle,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let certificate_files = certificates.iter().flat_map(|tls| tls.files().paths()).map(Path::to_owned).collect();
        Self { changes, certificates, certificate_files, gateway_file, reload, telemetry }
    }

    async fn run(mut self) {
        while let Some(changed) = self.changes.recv().await {
            if changed.contains(&self.gateway_file) {
                tracing::warn!("{} changed; it takes effect at the next start", self.gateway_file.display());
            }
            for tls in &self.certificates {
                if tls.files().paths().any(|path| changed.iter().any(|changed| changed == path)) {
                    reload_certificates(Arc::clone(tls), &self.telemetry).await;
                }
            }
            let policy = |path: &PathBuf| *path != self.gateway_file && !self.certificate_files.contains(path);
            if changed.iter().any(policy) {
                self.reload.ask(Trigger::FileChange);
            }
        }
    }
}

/// Reads the files of one listener again; all of them are used, or none.
async fn reload_certificates(tls: Arc<ServerTls>, telemetry: &Telemetry) {
    let again = Arc::clone(&tls);
    let files = tls.files().default.certificate.display();
    match tokio::task::spawn_blocking(move || again.reload()).await {
        Ok(Ok(())) => {
            tell_ends(&tls, telemetry);
            tracing::info!("certificate {files} and what belongs to its listener is in use");
        }
        Ok(Err(faults)) => {
            for fault in faults {
                tracing::error!("certificate {files}: all that was in use stays, rejected: {fault}");
            }
        }
        Err(_panicked_or_cancelled) => tracing::error!("loading certificate {files} broke, the old one stays"),
    }
}

/// Tells until when the certificates of a listener last.
pub(super) fn tell_ends(tls: &ServerTls, telemetry: &Telemetry) {
    for (path, end) in tls.ends() {
        telemetry.certificate_ends(&path.display().to_string(), end);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::snapshot::Snapshot;
    use crate::token::KeyRing;

    #[test]
    fn what_was_replaced_and_is_no_longer_used_is_freed_without_another_publication() {
        let live = Arc::new(Live::new(Snapshot {
            serial: 1,
            loaded_at: 0,
            routes: Arc::default(),
            domains: Arc::default(),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::default(),
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let used = live.load();
            live.publish_policy(Arc::default(), Arc::default(), 1);
            let old = Arc::downgrade(&used);
            tokio::task::spawn_local(sweep(Arc::clone(&live)));
            tokio::time::sleep(SWEEP / 4).await;
            drop(used);
            assert!(old.upgrade().is_some(), "whoever used it does not free it");
            let freed = async {
                while old.upgrade().is_some() {
                    tokio::time::sleep(SWEEP / 10).await;
                }
            };
            tokio::time::timeout(10 * SWEEP, freed).await.unwrap();
        });
    }
}
