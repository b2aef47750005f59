//! The threads: one worker for each core and the control thread. If one breaks down, the others are drained and the
//! process ends, so that whoever looks after it starts it anew instead of it limping on.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::Ended;
use super::control::Control;
use crate::proxy::Gateway;
use crate::proxy::listener::{self, Terms};

/// A runtime for one thread.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

type Listening = Vec<(TcpListener, Terms)>;

/// The threads of one gateway.
pub(super) struct Crew {
    drain: watch::Sender<bool>,
    broken: Arc<AtomicBool>,
    /// Everything that may fail is made before the first thread starts.
    workers: Vec<(Runtime, Arc<Gateway>, Listening)>,
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
            self.workers.push((runtime()?, Arc::clone(gateway), listening));
        }
        Ok(())
    }

    /// Starts all threads. `end` is told how the run ended, when no worker is left.
    pub(super) fn start(self, control: Control, end: watch::Sender<Option<Ended>>) -> io::Result<Vec<JoinHandle<()>>> {
        let (working, mut workers_gone) = mpsc::channel::<()>(1);
        let mut threads = Vec::with_capacity(self.workers.len() + 1);
        let control_runtime = runtime()?;
        for (number, (runtime, gateway, listening)) in self.workers.into_iter().enumerate() {
            let watchdog = Watchdog::new(format!("worker-{number}"), &self.drain, &self.broken);
            let (working, draining) = (working.clone(), self.drain.subscribe());
            threads.push(watchdog.spawn(move || {
                // Held until the thread ends, however it ends.
                let _working = working;
                LocalSet::new().block_on(&runtime, listener::serve(gateway, listening, draining));
                // The resolution of a name cannot be broken off; nobody waits for it.
                runtime.shutdown_background();
            })?);
        }
        drop(working);
        let watchdog = Watchdog::new("control".to_owned(), &self.drain, &self.broken);
        let broken = Arc::clone(&self.broken);
        threads.push(watchdog.spawn(move || {
            let all_done = async move { while workers_gone.recv().await.is_some() {} };
            if !LocalSet::new().block_on(&control_runtime, control.run(all_done)) {
                broken.store(true, Ordering::Release);
            }
            // Nobody waits for a load or a look-up that is still going on.
            control_runtime.shutdown_background();
            let how = if broken.load(Ordering::Acquire) { Ended::Failed } else { Ended::Drained };
            end.send_replace(Some(how));
        })?);
        Ok(threads)
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

    fn spawn(self, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let name = self.name.clone();
        // If there is no thread to be had, the watchdog is dropped here, and the threads before it are drained.
        thread::Builder::new().name(name).spawn(move || {
            let _watchdog = self;
            work();
        })
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
