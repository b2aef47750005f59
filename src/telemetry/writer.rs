//! The decision log's own thread: takes finished records over a bounded queue, formats and writes them, so that no
//! request ever waits for standard output.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::RequestRecord;

/// Most records that wait for the writer; about 8 MB at the longest lines.
const QUEUE: usize = 16_384;
/// How long the writer rests after a batch: under load it then wakes hundreds of times a second instead of once a
/// request, which spares the request threads a system call each.
const REST: Duration = Duration::from_millis(2);
/// Bytes after which a batch is written out even if more records wait.
const BATCH: usize = 256 * 1024;

#[derive(Debug)]
enum Message {
    Record(Box<RequestRecord>),
    Flush(SyncSender<()>),
}

/// The request threads' end of the queue.
#[derive(Debug)]
pub(super) struct DecisionLog {
    queue: SyncSender<Message>,
    dropped: Counter,
}

impl DecisionLog {
    /// Starts the writer. If the system refuses the thread, every line counts as dropped.
    pub(super) fn start(out: Box<dyn Write + Send>, dropped: Counter) -> Self {
        let (queue, waiting) = sync_channel(QUEUE);
        let lost = dropped.clone();
        let started = thread::Builder::new().name("decisions".into()).spawn(move || write_all(&waiting, out, &lost));
        if let Err(fault) = started {
            tracing::error!("the decision log has no thread, its lines are dropped: {fault}");
        }
        Self { queue, dropped }
    }

    /// Queues a record, or counts it as dropped.
    pub(super) fn hand_over(&self, record: Box<RequestRecord>) {
        if self.queue.try_send(Message::Record(record)).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until what was queued before is written, or until the time is up.
    pub(super) fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let (done, finished) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.queue.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
                Err(_) => return,
            }
            thread::sleep(REST);
        }
        // Either answer ends the wait: written, or too late.
        let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write_all(waiting: &Receiver<Message>, mut out: Box<dyn Write + Send>, dropped: &Counter) {
    let mut text = Vec::with_capacity(64 * 1024);
    while let Ok(first) = waiting.recv() {
        let mut flushes = Vec::new();
        let mut lines = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Record(record) => {
                    record.write_line(&mut text);
                    lines += 1;
                }
                Message::Flush(done) => flushes.push(done),
            }
            next = if text.len() < BATCH { waiting.try_recv().ok() } else { None };
        }
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            dropped.inc_by(lines);
        }
        text.clear();
        for done in &flushes {
            // Who asked may have given up waiting.
            let _ = done.try_send(());
        }
        if flushes.is_empty() {
            thread::sleep(REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flush_returns_after_everything_before_it_is_written() {
        let out = Shared::default();
        let log = DecisionLog::start(Box::new(out.clone()), Counter::default());
        for _ in 0..500 {
            log.hand_over(Box::default());
        }
        log.flush(Duration::from_secs(10));
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 500);
    }

    #[test]
    fn a_writer_that_fails_counts_its_lines_as_dropped() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = Counter::default();
        let log = DecisionLog::start(Box::new(Broken), dropped.clone());
        log.hand_over(Box::default());
        log.flush(Duration::from_secs(10));
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn a_writer_that_hangs_costs_lines_but_never_time() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = sync_channel(0);
        let dropped = Counter::default();
        let log = DecisionLog::start(Box::new(Stuck(stuck)), dropped.clone());
        // More than the queue and one batch hold, whatever the writer took before it hung.
        for _ in 0..QUEUE * 3 {
            log.hand_over(Box::default());
        }
        assert!(dropped.get() > 0);
        log.flush(Duration::from_millis(20));
        drop(release);
    }
}
