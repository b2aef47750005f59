//! The decision log's own thread: takes finished records out of the trays of all threads, formats and writes them, so
//! that no request ever waits for standard output.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::RequestRecord;
use super::line::Lines;
use super::sink::Sink;
use super::trays::{Batch, Laid, Outbox, Waiting};

/// Messages that wait for the writer; one is enough to wake it.
const QUEUE: usize = 16;
/// How long the writer rests after a batch: under load it then works some hundred times a second instead of once a
/// request, and nobody has to wake it.
const REST: Duration = Duration::from_millis(4);
/// How long it waits before it tries once more to write lines that it must not lose.
const RETRY: Duration = Duration::from_millis(100);
/// How often it looks after a destination that it must not lose while nothing is to be written.
const PROBE: Duration = Duration::from_secs(1);
/// Bytes after which lines are written out even if more records wait.
const BATCH: usize = 256 * 1024;

#[derive(Debug)]
enum Message {
    /// Something waits.
    Wake,
    /// Open the destination anew.
    Reopen,
    /// Tell when everything is written that waits by now.
    Flush(SyncSender<()>),
}

/// What the log counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Lines that were lost.
    pub(super) dropped: Counter,
    /// Whether lines can be written.
    pub(super) writable: Gauge,
}

/// What all threads share of the decision log.
#[derive(Debug)]
pub(super) struct DecisionLog {
    queue: SyncSender<Message>,
    waiting: Arc<Waiting>,
    dropped: Counter,
}

impl DecisionLog {
    /// Starts the writer. Where it `keeps` lines, those that cannot be written now are written later; otherwise they
    /// count as dropped. If the system refuses the thread, every line does.
    pub(super) fn start(sink: Box<dyn Sink>, counts: Counts, keeps: bool) -> Self {
        let (queue, asked) = sync_channel(QUEUE);
        let waiting = Arc::<Waiting>::default();
        let dropped = counts.dropped.clone();
        let writer = Writer {
            out: Out { sink, done: 0, keeps, waiting: Arc::clone(&waiting), counts },
            lines: Lines::new(),
            empty: Batch::default(),
            waiting: Arc::clone(&waiting),
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

    /// Whether lines cannot be written at the moment.
    pub(super) fn is_failing(&self) -> bool {
        self.waiting.is_failing()
    }

    /// Has the destination opened anew before the next line.
    pub(super) fn reopen(&self) {
        if self.queue.try_send(Message::Reopen).is_err() {
            tracing::warn!("the decision log is busy and was not opened anew");
        }
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
    /// Whether a line that is handed over now would be written, as far as anybody knows. Never waits.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

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

/// What came of one round of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// There was nothing to write.
    Idle,
    /// All that waited is written, or given up.
    Wrote,
    /// What is to be kept could not be written.
    Stuck,
}

struct Writer {
    out: Out,
    lines: Lines,
    /// A batch to put in place of a full one.
    empty: Batch,
    waiting: Arc<Waiting>,
}

impl Writer {
    fn run(mut self, asked: &Receiver<Message>) {
        let mut round = Round::Wrote;
        let mut flushes = Vec::new();
        loop {
            let ended = self.listen(asked, round, &mut flushes);
            round = self.write_all();
            if round != Round::Stuck {
                for done in flushes.drain(..) {
                    // Who asked may have given up waiting.
                    let _ = done.try_send(());
                }
            }
            if ended {
                return;
            }
            match round {
                Round::Wrote => thread::sleep(REST),
                Round::Stuck => thread::sleep(RETRY),
                Round::Idle => {}
            }
        }
    }

    /// Takes what was asked for, after an idle round once something is; whether nobody is left to ask.
    fn listen(&mut self, asked: &Receiver<Message>, round: Round, flushes: &mut Vec<SyncSender<()>>) -> bool {
        let mut sleeps = round == Round::Idle;
        loop {
            let message = match (sleeps, self.out.keeps) {
                (false, _) => asked.try_recv(),
                (true, false) => asked.recv().map_err(|_| TryRecvError::Disconnected),
                (true, true) => asked.recv_timeout(PROBE).map_err(|fault| match fault {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                }),
            };
            sleeps = false;
            match message {
                Ok(Message::Wake) => {}
                Ok(Message::Reopen) => self.out.sink.reopen(),
                Ok(Message::Flush(done)) => flushes.push(done),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Writes all that waits, as far as that goes.
    fn write_all(&mut self) -> Round {
        let Self { out, lines, empty, waiting } = self;
        if out.write(lines).is_break() {
            return Round::Stuck;
        }
        let some = waiting.take_all(empty, |batch| {
            let mut flow = ControlFlow::Continue(());
            batch.drain(lines, |lines| {
                if flow.is_continue() && lines.out.len() >= BATCH {
                    flow = out.write(lines);
                }
            });
            flow
        });
        match out.write(lines) {
            ControlFlow::Break(()) => Round::Stuck,
            ControlFlow::Continue(()) if some => Round::Wrote,
            ControlFlow::Continue(()) => out.look_after(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However it ended: nobody writes any more.
        self.waiting.tell_failing(true);
    }
}

/// The destination, and what became of the lines.
struct Out {
    sink: Box<dyn Sink>,
    /// How many bytes of the lines are written.
    done: usize,
    /// Whether lines that cannot be written are kept.
    keeps: bool,
    waiting: Arc<Waiting>,
    counts: Counts,
}

impl Out {
    /// Writes the lines and clears them; breaks off if they could not be written and are kept.
    fn write(&mut self, lines: &mut Lines) -> ControlFlow<()> {
        if lines.out.is_empty() {
            return ControlFlow::Continue(());
        }
        let written = self.sink.write(&lines.out, &mut self.done);
        self.tell(written.as_ref().err());
        if written.is_err() {
            if self.keeps {
                return ControlFlow::Break(());
            }
            let rest = lines.out.get(self.done..).unwrap_or_default();
            self.counts.dropped.inc_by(rest.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        lines.out.clear();
        self.done = 0;
        ControlFlow::Continue(())
    }

    /// Finds out whether lines that must not be lost could be written if there were any.
    fn look_after(&mut self) -> Round {
        if !self.keeps {
            return Round::Idle;
        }
        let well = self.sink.probe();
        self.tell(well.as_ref().err());
        if well.is_ok() { Round::Idle } else { Round::Stuck }
    }

    /// Tells everybody how it goes, and the process log when that changes.
    fn tell(&self, fault: Option<&io::Error>) {
        match (self.waiting.is_failing(), fault) {
            (false, Some(fault)) if self.keeps => {
                tracing::error!("decisions cannot be logged, so no request is forwarded (`audit.required`): {fault}");
            }
            (false, Some(fault)) => tracing::error!("decisions cannot be logged, their lines are dropped: {fault}"),
            (true, None) => tracing::info!("decisions are logged again"),
            _ => return,
        }
        self.waiting.tell_failing(fault.is_some());
        self.counts.writable.set(i64::from(fault.is_none()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::telemetry::record::Text;
    use crate::telemetry::sink::Stream;
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

    fn log_to(out: impl Write + Send + 'static, dropped: &Counter, keeps: bool) -> DecisionLog {
        let counts = Counts { dropped: dropped.clone(), writable: Gauge::default() };
        DecisionLog::start(Box::new(Stream::new(out)), counts, keeps)
    }

    fn asked(path: &str) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set(Text::Path, path);
        record
    }

    #[test]
    fn flush_returns_after_everything_before_it_is_written() {
        let out = Shared::default();
        let log = log_to(out.clone(), &Counter::default(), false);
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
        let log = log_to(out.clone(), &dropped, false);
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
        let log = log_to(out.clone(), &Counter::default(), false);
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
        let log = log_to(Broken, &dropped, false);
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
        let log = log_to(Stuck(stuck), &dropped, false);
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
        let log = log_to(out.clone(), &Counter::default(), false);
        for number in 0..100 {
            log.pen().hand_over(&mut asked(&format!("/{number}")));
        }
        log.flush(Duration::from_secs(10));
        assert_eq!(out.paths().len(), 100);
    }

    /// A disk that is full until it is not.
    #[derive(Clone, Default)]
    struct Disk {
        is_full: Arc<AtomicBool>,
        written: Shared,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // Whatever fits fits in the middle of a line.
            self.written.write(&bytes[..bytes.len().min(100)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn soon(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(REST);
        }
    }

    #[test]
    fn lines_that_must_not_be_lost_are_kept_and_written_when_the_disk_has_room_again() {
        let (disk, dropped) = (Disk::default(), Counter::default());
        let log = log_to(disk.clone(), &dropped, true);
        let pen = log.pen();
        pen.hand_over(&mut asked("/0"));
        log.flush(Duration::from_secs(10));
        for round in 1..=3 {
            assert!(pen.has_room());
            disk.is_full.store(true, Ordering::SeqCst);
            for number in 0..100 {
                pen.hand_over(&mut asked(&format!("/{round}/{number}")));
            }
            soon("nobody was told", || log.is_failing());
            assert!(!pen.has_room());
            log.flush(Duration::from_millis(20));
            disk.is_full.store(false, Ordering::SeqCst);
            soon("nobody was told that it goes on", || !log.is_failing());
        }
        log.flush(Duration::from_secs(10));
        let all = (1..=3).flat_map(|round| (0..100).map(move |number| format!("/{round}/{number}")));
        let expected: Vec<String> = std::iter::once("/0".to_owned()).chain(all).collect();
        assert_eq!((disk.written.paths(), dropped.get()), (expected, 0));
    }

    #[test]
    fn lines_that_may_be_lost_are_counted_and_those_behind_them_are_whole() {
        let (disk, dropped) = (Disk::default(), Counter::default());
        let log = log_to(disk.clone(), &dropped, false);
        let pen = log.pen();
        disk.is_full.store(true, Ordering::SeqCst);
        for _ in 0..10 {
            pen.hand_over(&mut asked("/lost"));
        }
        log.flush(Duration::from_secs(10));
        assert!(log.is_failing() && dropped.get() == 10);
        disk.is_full.store(false, Ordering::SeqCst);
        pen.hand_over(&mut asked("/kept"));
        log.flush(Duration::from_secs(10));
        assert_eq!((disk.written.paths(), log.is_failing()), (vec!["/kept".to_owned()], false));
    }

    #[test]
    fn a_writer_that_broke_down_is_told_as_one_that_cannot_write() {
        struct Panics;
        impl Write for Panics {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                panic!("a defect")
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = log_to(Panics, &Counter::default(), true);
        let pen = log.pen();
        pen.hand_over(&mut asked("/"));
        soon("nobody was told", || log.is_failing());
        assert!(!pen.has_room());
    }
}
