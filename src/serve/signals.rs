//! Signals: how the operating system tells the process to end or to reload; and what the service manager is told of it.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Interval;

use super::notify::Manager;
use super::{Ended, Running};
use crate::reload::{ReloadOutcome, Trigger};

/// The signals that the process listens to. Watched from before anything is said to be ready, since whoever reads that
/// may send one at once.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    manager: Manager,
    hang_up: Signal,
    reopen: Signal,
    ends: [Signal; 2],
}

impl Signals {
    /// Watches SIGHUP, SIGUSR1, SIGTERM and SIGINT from now on; what comes before [`serve`](Self::serve) is remembered.
    ///
    /// # Errors
    /// When the system does not let them be watched, or the service manager's socket has no usable address.
    pub fn watch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let manager = Manager::from_environment()?;
        let entered = runtime.enter();
        let hang_up = signal(SignalKind::hangup())?;
        let reopen = signal(SignalKind::user_defined1())?;
        let ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        drop(entered);
        Ok(Self { runtime, manager, hang_up, reopen, ends })
    }

    /// Serves until a signal ends it: SIGTERM and SIGINT begin the drain, a second one of them ends at once; SIGHUP
    /// reloads the live documents; SIGUSR1 opens the decision log anew.
    pub fn serve(self, mut running: Running) -> Ended {
        let Self { runtime, manager, mut hang_up, mut reopen, mut ends } = self;
        match runtime.block_on(until_ended(&mut running, &manager, (&mut hang_up, &mut reopen), &mut ends)) {
            Ended::Forced => Ended::Forced,
            Ended::Drained | Ended::Failed => running.wait(),
        }
    }
}

/// A reload that was asked for by a signal.
type Reloading = Pin<Box<dyn Future<Output = Option<ReloadOutcome>>>>;

async fn until_ended(
    running: &mut Running,
    manager: &Manager,
    (hang_up, reopen): (&mut Signal, &mut Signal),
    ends: &mut [Signal; 2],
) -> Ended {
    let mut ended = running.ended.clone();
    let mut reloading: Option<Reloading> = None;
    let mut watchdog = manager.watchdog().map(tokio::time::interval);
    let mut is_steady = true;
    manager.serves("serving");
    loop {
        tokio::select! {
            _ = hang_up.recv() => {
                manager.reloads();
                let reload = running.reload.clone();
                // One more while one runs is a reload of its own, of which only the last is told.
                reloading = Some(Box::pin(async move { reload.reload(Trigger::Signal).await }));
            }
            outcome = of(&mut reloading) => {
                reloading = None;
                manager.serves(if outcome.is_some_and(|outcome| outcome.is_good()) {
                    "serving"
                } else {
                    "serving; the last reload was not taken over"
                });
            }
            _ = reopen.recv() => running.reopen_log(),
            most = tick(&mut watchdog) => {
                let was_steady = is_steady;
                is_steady = running.pulse.is_steady(Instant::now(), most);
                match (is_steady, was_steady) {
                    (true, _) => manager.is_alive(),
                    (false, true) => tracing::error!("a thread takes no turns: the service manager will notice"),
                    (false, false) => {}
                }
            }
            () = either(ends) => {
                if *running.drain.borrow() {
                    tracing::warn!("told to end a second time: ending at once");
                    return Ended::Forced;
                }
                tracing::info!("told to end: draining");
                manager.ends();
                running.shutdown();
            }
            // An error means that the control thread broke down, which `wait` finds out too.
            how = ended.wait_for(Option::is_some) => {
                return how.ok().and_then(|how| *how).unwrap_or(Ended::Failed);
            }
        }
    }
}

async fn of(reloading: &mut Option<Reloading>) -> Option<ReloadOutcome> {
    match reloading {
        Some(reloading) => reloading.await,
        None => pending().await,
    }
}

/// Waits until the service manager is to be told that the process is alive; how long that may take.
async fn tick(watchdog: &mut Option<Interval>) -> Duration {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
            interval.period()
        }
        None => pending().await,
    }
}

async fn either([one, other]: &mut [Signal; 2]) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
