//! The decision log's own thread: takes finished records out of the trays of all threads, formats and writes them, so
//! that no request ever waits for standard output.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::RequestRecord;
use super::line::Lines;
use super::trays::{Batch, Laid, Outbox, Waiting};

/// Messages that wait for the writer; one is enough to wake it.
const QUEUE: usize = 16;
/// How long the writer rests after a batch: under load it then works some hundred times a second instead of once a
/// request, and nobody has to wake it.
const REST: Duration = Duration::from_millis(4);
/// Bytes after which lines are written out even if more records wait.
const BATCH: usize = 256 * 1024;

#[derive(Debug)]
enum Message {
    /// Something waits.
    Wake,
    /// Tell when everything is written that waits by now.
    Flush(SyncSender<()>),
}

/// What all threads share of the decision log.
#[derive(Debug)]
pub(super) struct DecisionLog {
    queue: SyncSender<Message>,
    waiting: Arc<Waiting>,
    dropped: Counter,
}

impl DecisionLog {
    /// Starts the writer. If the system refuses the thread, every line counts as dropped.
    pub(super) fn start(out: Box<dyn Write + Send>, dropped: Counter) -> Self {
        let (queue, asked) = sync_channel(QUEUE);
        let waiting = Arc::<Waiting>::default();
        let writer = Writer {
            out,
            lines: Lines::new(),
            unwritten: 0,
            empty: Batch::default(),
            waiting: Arc::clone(&waiting),
            dropped: dropped.clone(),
        };
        let started = thread::Builder::new().name("decisions".into()).spawn(move || writer.run(&asked));
        if let Err(fault) = started {
            tracing::error!("the decision log has no thread, its lines are dropped: {fault}");
        }
        Self { queue, waiting, dropped }
    }

    /// The end of the log for the current thread.
    pub(super) fn pen(&self) -> Pen {
        Pen { outbox: Outbox::new(&self.waiting), queue: self.queue.clone(), dropped: self.dropped.clone() }
    }

    /// Waits until what waits by now is written, or until the time is up.
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

/// One thread's end of the decision log.
#[derive(Debug)]
pub(super) struct Pen {
    outbox: Outbox,
    queue: SyncSender<Message>,
    dropped: Counter,
}

impl Pen {
    /// Hands a record over, or counts it as dropped. Never waits.
    pub(super) fn hand_over(&self, record: &mut RequestRecord) {
        match self.outbox.lay_down(record) {
            Laid::Down => {}
            Laid::DownForSleeper => self.wake(),
            Laid::Lost => drop(self.dropped.inc()),
        }
    }

    #[cold]
    fn wake(&self) {
        // A full queue wakes it too; without a writer nobody empties the trays, and what is beyond their room is counted.
        let _ = self.queue.try_send(Message::Wake);
    }
}

struct Writer {
    out: Box<dyn Write + Send>,
    lines: Lines,
    /// How many lines there are in `lines`.
    unwritten: u64,
    /// A batch to put in place of a full one.
    empty: Batch,
    waiting: Arc<Waiting>,
    dropped: Counter,
}

impl Writer {
    fn run(mut self, asked: &Receiver<Message>) {
        let mut awake = true;
        loop {
            let mut flushes = Vec::new();
            let ended = loop {
                let message =
                    if awake { asked.try_recv() } else { asked.recv().map_err(|_| TryRecvError::Disconnected) };
                awake = true;
                match message {
                    Ok(Message::Wake) => {}
                    Ok(Message::Flush(done)) => flushes.push(done),
                    Err(TryRecvError::Empty) => break false,
                    Err(TryRecvError::Disconnected) => break true,
                }
            };
            let wrote = self.write_all();
            for done in &flushes {
                // Who asked may have given up waiting.
                let _ = done.try_send(());
            }
            if ended {
                return;
            }
            awake = wrote;
            if wrote && flushes.is_empty() {
                thread::sleep(REST);
            }
        }
    }

    /// Writes all that waits; whether there was something.
    fn write_all(&mut self) -> bool {
        let Self { out, lines, unwritten, empty, waiting, dropped } = self;
        let mut write = |lines: &mut Lines, unwritten: &mut u64| {
            if out.write_all(&lines.out).and_then(|()| out.flush()).is_err() {
                dropped.inc_by(*unwritten);
            }
            lines.out.clear();
            *unwritten = 0;
        };
        let some = waiting.take_all(empty, |batch| {
            batch.drain(lines, |lines| {
                *unwritten += 1;
                if lines.out.len() >= BATCH {
                    write(lines, unwritten);
                }
            });
        });
        if *unwritten > 0 {
            write(lines, unwritten);
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;
    use crate::telemetry::record::Text;
    use crate::telemetry::trays::MOST_BYTES;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        /// The paths of the lines that were written.
        fn paths(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let path = |line: &str| line.split("\"path\":\"").nth(1)?.split('"').next().map(str::to_owned);
            text.lines().map(|line| path(line).unwrap()).collect()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn asked(path: &str) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set(Text::Path, path);
        record
    }

    #[test]
    fn flush_returns_after_everything_before_it_is_written() {
        let out = Shared::default();
        let log = DecisionLog::start(Box::new(out.clone()), Counter::default());
        let pen = log.pen();
        for _ in 0..500 {
            pen.hand_over(&mut asked("/"));
        }
        log.flush(Duration::from_secs(10));
        assert_eq!(out.paths().len(), 500);
    }

    #[test]
    fn each_line_of_each_thread_is_written_once_and_in_the_order_of_its_thread() {
        const THREADS: usize = 4;
        const EACH: usize = 5_000;
        let (out, dropped) = (Shared::default(), Counter::default());
        let log = DecisionLog::start(Box::new(out.clone()), dropped.clone());
        thread::scope(|scope| {
            for number in 0..THREADS {
                let log = &log;
                scope.spawn(move || {
                    let pen = log.pen();
                    for request in 0..EACH {
                        pen.hand_over(&mut asked(&format!("/{number}/{request}")));
                        if request % 1000 == 999 {
                            // The writer falls asleep now and then.
                            thread::sleep(3 * REST);
                        }
                    }
                });
            }
        });
        log.flush(Duration::from_secs(10));
        let paths = out.paths();
        for number in 0..THREADS {
            let of_thread = format!("/{number}/");
            let written: Vec<&String> = paths.iter().filter(|path| path.starts_with(&of_thread)).collect();
            let expected: Vec<String> = (0..EACH).map(|request| format!("/{number}/{request}")).collect();
            assert!(written.into_iter().eq(&expected), "lines of thread {number} are missing or in another order");
        }
        assert_eq!((paths.len(), dropped.get()), (THREADS * EACH, 0));
    }

    #[test]
    fn a_line_is_written_without_another_one_behind_it() {
        let out = Shared::default();
        let log = DecisionLog::start(Box::new(out.clone()), Counter::default());
        let pen = log.pen();
        for number in 1..=3 {
            pen.hand_over(&mut asked("/"));
            let deadline = Instant::now() + Duration::from_secs(10);
            while out.paths().len() < number {
                assert!(Instant::now() < deadline, "line {number} was not written");
                thread::sleep(REST);
            }
            thread::sleep(5 * REST);
        }
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
        let pen = log.pen();
        pen.hand_over(&mut asked("/"));
        log.flush(Duration::from_secs(10));
        pen.hand_over(&mut asked("/"));
        pen.hand_over(&mut asked("/"));
        log.flush(Duration::from_secs(10));
        assert_eq!(dropped.get(), 3);
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
        let path = "x".repeat(1000);
        // More than all threads together may leave and one batch holds, whatever the writer took before it hung.
        let records = 3 * MOST_BYTES / path.len();
        let pens = [log.pen(), log.pen()];
        for number in 0..records {
            pens[number % 2].hand_over(&mut asked(&path));
        }
        let kept = records as u64 - dropped.get();
        assert!(dropped.get() > 0);
        assert!(kept * (path.len() as u64) < 2 * MOST_BYTES as u64, "{kept} lines are kept");
        log.flush(Duration::from_millis(20));
        drop(release);
    }

    #[test]
    fn what_a_thread_left_is_written_after_its_end() {
        let out = Shared::default();
        let log = DecisionLog::start(Box::new(out.clone()), Counter::default());
        for number in 0..100 {
            log.pen().hand_over(&mut asked(&format!("/{number}")));
        }
        log.flush(Duration::from_secs(10));
        assert_eq!(out.paths().len(), 100);
    }
}
