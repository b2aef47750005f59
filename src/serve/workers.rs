//! The threads: one worker for each core and the control thread. If one breaks down, the others are drained and the
//! process ends, so that whoever looks after it starts it anew instead of it limping on.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use super::Ended;
use super::control::Control;
use super::pulse::Pulse;
use crate::proxy::Gateway;
use crate::proxy::listener::{self, Terms};

/// A runtime for the thread that makes it: its tasks are run as they are, with no set of tasks in between.
pub(super) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

type Listening = Vec<(TcpListener, Terms)>;

/// The threads of one gateway.
pub(super) struct Crew {
    drain: watch::Sender<bool>,
    broken: Arc<AtomicBool>,
    /// What may fail of them is made before the first thread starts, or told by the threads before they begin.
    workers: Vec<(Arc<Gateway>, Listening)>,
}

impl Crew {
    /// No thread yet. `drain` tells all to end.
    pub(super) fn new(drain: watch::Sender<bool>) -> Self {
        Self { drain, broken: Arc::default(), workers: Vec::new() }
    }

    /// Makes ready so many workers, or one for each core. Each shares the listening sockets.
    pub(super) fn prepare_workers(
        &mut self,
        number: Option<usize>,
        gateway: &Arc<Gateway>,
        sockets: &[TcpListener],
        terms: &[Terms],
    ) -> io::Result<()> {
        let number = number.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        for _ in 0..number.max(1) {
            let shared = sockets.iter().zip(terms).map(|(socket, terms)| Ok((socket.try_clone()?, terms.clone())));
            let listening = shared.collect::<io::Result<Listening>>()?;
            self.workers.push((Arc::clone(gateway), listening));
        }
        Ok(())
    }

    /// Starts all threads. `end` is told how the run ended, when no worker is left.
    pub(super) fn start(
        self,
        control: Control,
        end: watch::Sender<Option<Ended>>,
    ) -> io::Result<(Vec<JoinHandle<()>>, Pulse)> {
        let mut pulse = Pulse::default();
        let (working, mut workers_gone) = mpsc::channel::<()>(1);
        let mut threads = Vec::with_capacity(self.workers.len() + 1);
        for (number, (gateway, listening)) in self.workers.into_iter().enumerate() {
            let watchdog = Watchdog::new(format!("worker-{number}"), &self.drain, &self.broken);
            let (working, draining) = (working.clone(), self.drain.subscribe());
            let beat = pulse.of_another();
            threads.push(watchdog.spawn(move |runtime| {
                // Held until the thread ends, however it ends.
                let _working = working;
                runtime.block_on(beat.during(listener::serve(gateway, listening, draining)));
                // The resolution of a name cannot be broken off; nobody waits for it.
                runtime.shutdown_background();
            })?);
        }
        drop(working);
        let watchdog = Watchdog::new("control".to_owned(), &self.drain, &self.broken);
        let broken = Arc::clone(&self.broken);
        let beat = pulse.of_another();
        threads.push(watchdog.spawn(move |runtime| {
            let all_done = async move { while workers_gone.recv().await.is_some() {} };
            if !runtime.block_on(beat.during(control.run(all_done))) {
                broken.store(true, Ordering::Release);
            }
            // Nobody waits for a load or a look-up that is still going on.
            runtime.shutdown_background();
            let how = if broken.load(Ordering::Acquire) { Ended::Failed } else { Ended::Drained };
            end.send_replace(Some(how));
        })?);
        Ok((threads, pulse))
    }
}

/// Notices the end of a thread that was not told to end.
struct Watchdog {
    name: String,
    drain: watch::Sender<bool>,
    broken: Arc<AtomicBool>,
}

impl Watchdog {
    fn new(name: String, drain: &watch::Sender<bool>, broken: &Arc<AtomicBool>) -> Self {
        Self { name, drain: drain.clone(), broken: Arc::clone(broken) }
    }

    /// Starts a thread with a runtime of its own.
    fn spawn(self, work: impl FnOnce(LocalRuntime) + Send + 'static) -> io::Result<JoinHandle<()>> {
        let name = self.name.clone();
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        // If there is no thread to be had, the watchdog is dropped here, and the threads before it are drained.
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _watchdog = self;
            match runtime() {
                Ok(runtime) => {
                    // Whoever started this thread waits for it.
                    let _ = ready.send(Ok(()));
                    work(runtime);
                }
                Err(fault) => drop(ready.send(Err(fault))),
            }
        })?;
        made.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
        Ok(thread)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if thread::panicking() || !*self.drain.borrow() {
            tracing::error!(thread = self.name, "a thread broke down: draining the others");
            self.broken.store(true, Ordering::Release);
            self.drain.send_replace(true);
        }
    }
}
