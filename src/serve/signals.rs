//! Signals: how the operating system tells the process to end or to reload.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Ended, Running};

/// The signals that the process listens to. Watched from before anything is said to be ready, since whoever reads that
/// may send one at once.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    hang_up: Signal,
    reopen: Signal,
    ends: [Signal; 2],
}

impl Signals {
    /// Watches SIGHUP, SIGUSR1, SIGTERM and SIGINT from now on; what comes before [`serve`](Self::serve) is remembered.
    ///
    /// # Errors
    /// When the system does not let them be watched.
    pub fn watch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let hang_up = signal(SignalKind::hangup())?;
        let reopen = signal(SignalKind::user_defined1())?;
        let ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        drop(entered);
        Ok(Self { runtime, hang_up, reopen, ends })
    }

    /// Serves until a signal ends it: SIGTERM and SIGINT begin the drain, a second one of them ends at once; SIGHUP
    /// reloads the live documents; SIGUSR1 opens the decision log anew.
    pub fn serve(self, running: Running) -> Ended {
        let Self { runtime, mut hang_up, mut reopen, mut ends } = self;
        match runtime.block_on(until_ended(&running, (&mut hang_up, &mut reopen), &mut ends)) {
            Ended::Forced => Ended::Forced,
            Ended::Drained | Ended::Failed => running.wait(),
        }
    }
}

async fn until_ended(
    running: &Running,
    (hang_up, reopen): (&mut Signal, &mut Signal),
    ends: &mut [Signal; 2],
) -> Ended {
    let mut ended = running.ended.clone();
    loop {
        tokio::select! {
            _ = hang_up.recv() => running.reload(),
            _ = reopen.recv() => running.reopen_log(),
            () = either(ends) => {
                if *running.drain.borrow() {
                    tracing::warn!("told to end a second time: ending at once");
                    return Ended::Forced;
                }
                tracing::info!("told to end: draining");
                running.shutdown();
            }
            // An error means that the control thread broke down, which `wait` finds out too.
            how = ended.wait_for(Option::is_some) => {
                return how.ok().and_then(|how| *how).unwrap_or(Ended::Failed);
            }
        }
    }
}

async fn either([one, other]: &mut [Signal; 2]) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
