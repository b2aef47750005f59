//! Where finished records wait for the writer: two trays for each thread, of which the writer empties one at a time, so
//! that a thread always finds one that nobody holds. It lays down a copy of its record's values and goes on.

use std::cell::Cell;
use std::mem;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::line::Lines;
use super::record::{Figures, RequestRecord, Spans};

/// The most bytes that wait for the writer, shared by all threads alike: some 20,000 usual records.
pub(super) const MOST_BYTES: usize = 8 * 1024 * 1024;
/// What a batch that was written may keep of its memory.
const KEPT_BYTES: usize = 512 * 1024;

/// Records behind each other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    texts: Vec<u8>,
}

/// One record, its texts aside.
#[derive(Debug)]
struct Entry {
    figures: Figures,
    spans: Spans,
    /// How many bytes of texts belong to it.
    bytes: usize,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.texts.len()
    }

    const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes all records as lines and forgets them; `full` is asked after each line and may take the lines.
    pub(super) fn drain(&mut self, lines: &mut Lines, mut full: impl FnMut(&mut Lines)) {
        let mut rest = self.texts.as_slice();
        for entry in self.entries.drain(..) {
            let (texts, others) = rest.split_at_checked(entry.bytes).unwrap_or_default();
            rest = others;
            lines.push(&entry.figures, entry.spans, texts);
            full(lines);
        }
        self.texts.clear();
        if self.entries.capacity() * size_of::<Entry>() + self.texts.capacity() > KEPT_BYTES {
            *self = Self::default();
        }
    }
}

#[derive(Debug)]
struct Tray {
    batch: Batch,
    /// Whether the writer waits to be told of the next record.
    writer_sleeps: bool,
}

impl Default for Tray {
    fn default() -> Self {
        Self { batch: Batch::default(), writer_sleeps: true }
    }
}

/// What the writer made of the trays of one thread.
struct Exchanged {
    some: bool,
    /// The writer wants no more.
    enough: bool,
}

/// The trays of one thread.
#[derive(Debug, Default)]
pub(super) struct Trays {
    one: Mutex<Tray>,
    other: Mutex<Tray>,
}

impl Trays {
    fn each(&self) -> [&Mutex<Tray>; 2] {
        [&self.one, &self.other]
    }

    /// Takes what lies in each tray in exchange for an empty batch, one tray after the other, until `take` says that this
    /// is enough; whether there was something. From an empty tray the next record wakes the writer.
    fn exchange(&self, empty: &mut Batch, take: &mut impl FnMut(&mut Batch) -> ControlFlow<()>) -> Exchanged {
        let mut some = false;
        for tray in self.each() {
            {
                // Held for the exchange only.
                let mut tray = lock(tray);
                tray.writer_sleeps = tray.batch.is_empty();
                if tray.writer_sleeps {
                    continue;
                }
                mem::swap(&mut tray.batch, empty);
            }
            some = true;
            if take(empty).is_break() {
                return Exchanged { some, enough: true };
            }
        }
        Exchanged { some, enough: false }
    }

    fn are_empty(&self) -> bool {
        self.each().into_iter().all(|tray| lock(tray).batch.is_empty())
    }
}

fn lock(tray: &Mutex<Tray>) -> MutexGuard<'_, Tray> {
    tray.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The trays of all threads.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: Mutex<Vec<Arc<Trays>>>,
    /// The most bytes that each thread may leave.
    share: AtomicUsize,
    /// Whether lines cannot be written at the moment.
    failing: AtomicBool,
}

impl Waiting {
    /// Trays for one more thread. Those of threads that have ended go once they are empty.
    pub(super) fn trays(&self) -> Arc<Trays> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|trays| Arc::strong_count(trays) > 1 || !trays.are_empty());
        let trays = Arc::<Trays>::default();
        all.push(Arc::clone(&trays));
        self.share.store(MOST_BYTES / all.len(), Ordering::Relaxed);
        trays
    }

    /// Takes everything that waits, or until `take` breaks off; whether there was something. If there was nothing, the
    /// next record of any thread wakes the writer.
    pub(super) fn take_all(&self, empty: &mut Batch, mut take: impl FnMut(&mut Batch) -> ControlFlow<()>) -> bool {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut any = false;
        // All of them are looked at, whatever the first ones held.
        for trays in &all {
            let Exchanged { some, enough } = trays.exchange(empty, &mut take);
            any |= some;
            if enough {
                break;
            }
        }
        any
    }

    /// Tells all threads whether lines can be written.
    pub(super) fn tell_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether lines cannot be written at the moment.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// What came of laying down a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Laid {
    /// The writer will find it.
    Down,
    /// The writer sleeps and is to be woken.
    DownForSleeper,
    /// There is no room for it.
    Lost,
}

/// The end of the thread that serves requests.
#[derive(Debug)]
pub(super) struct Outbox {
    trays: Arc<Trays>,
    waiting: Arc<Waiting>,
    /// Which tray is used.
    other: Cell<bool>,
}

impl Outbox {
    /// The outbox of the current thread.
    pub(super) fn new(waiting: &Arc<Waiting>) -> Self {
        Self { trays: waiting.trays(), waiting: Arc::clone(waiting), other: Cell::new(false) }
    }

    /// Whether a record that is laid down now would find room and be written, as far as anybody knows.
    pub(super) fn has_room(&self) -> bool {
        let tray = if self.other.get() { &self.trays.other } else { &self.trays.one };
        let waiting = match tray.try_lock() {
            Ok(tray) => tray.batch.bytes(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().batch.bytes(),
            // The writer is emptying it.
            Err(TryLockError::WouldBlock) => 0,
        };
        let share = self.waiting.share.load(Ordering::Relaxed);
        // The last eighth is for the lines of those that are turned away then.
        !self.waiting.is_failing() && waiting < share - share / 8
    }

    /// Lays a record down. Never waits: the writer holds one tray at a time, and leaves it empty, so whatever is laid into
    /// the other one then is the oldest there is. A record whose line is owed is taken even beyond the room: whoever let
    /// its request in saw some, and no more requests are in flight than `limits.requests`.
    pub(super) fn lay_down(&self, record: &mut RequestRecord) -> Laid {
        let owed = record.is_owed;
        let tray = self.tray().or_else(|| owed.then(|| lock(&self.trays.one)));
        tray.map_or(Laid::Lost, |mut tray| {
            let (figures, spans, texts) = record.parts();
            let room = self.waiting.share.load(Ordering::Relaxed);
            if !owed && tray.batch.bytes() + size_of::<Entry>() + texts.len() > room {
                return Laid::Lost;
            }
            tray.batch.texts.extend_from_slice(texts);
            tray.batch.entries.push(Entry { figures: *figures, spans: *spans, bytes: texts.len() });
            if mem::take(&mut tray.writer_sleeps) { Laid::DownForSleeper } else { Laid::Down }
        })
    }

    fn tray(&self) -> Option<MutexGuard<'_, Tray>> {
        let mut tries = 0;
        loop {
            let tray = if self.other.get() { &self.trays.other } else { &self.trays.one };
            match tray.try_lock() {
                Ok(tray) => return Some(tray),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if tries == TRIES => return None,
                Err(TryLockError::WouldBlock) => self.other.set(!self.other.get()),
            }
            tries += 1;
        }
    }
}

/// How often a thread turns to its other tray before it gives its record up. Once is enough unless the writer moves on to
/// just that one in the same moment.
const TRIES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::Text;

    fn asked(path: &str) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set(Text::Path, path);
        record
    }

    /// The paths of all records that wait.
    fn taken(waiting: &Waiting) -> Vec<String> {
        let mut lines = Lines::new();
        waiting.take_all(&mut Batch::default(), |batch| {
            batch.drain(&mut lines, |_| {});
            ControlFlow::Continue(())
        });
        let text = String::from_utf8(lines.out).unwrap();
        text.lines().map(|line| line.split('"').skip_while(|part| *part != "path").nth(2).unwrap().to_owned()).collect()
    }

    #[test]
    fn only_the_first_record_after_the_writer_found_nothing_wakes_it() {
        let waiting = Arc::default();
        let outbox = Outbox::new(&waiting);
        let lay = || outbox.lay_down(&mut asked("/"));
        assert_eq!([lay(), lay()], [Laid::DownForSleeper, Laid::Down]);
        assert_eq!(taken(&waiting).len(), 2);
        assert_eq!(lay(), Laid::Down, "the writer looks once more before it sleeps");
        assert_eq!(taken(&waiting).len(), 1);
        assert_eq!(taken(&waiting).len(), 0);
        assert_eq!([lay(), lay()], [Laid::DownForSleeper, Laid::Down]);
    }

    #[test]
    fn a_tray_that_the_writer_holds_is_passed_by_and_the_order_stays() {
        let waiting = Arc::default();
        let outbox = Outbox::new(&waiting);
        for (held, path) in [(&outbox.trays.one, "/1"), (&outbox.trays.other, "/3"), (&outbox.trays.one, "/5")] {
            {
                // As it is while the writer empties it.
                let _held = lock(held);
                assert_ne!(outbox.lay_down(&mut asked(path)), Laid::Lost);
            }
            assert_ne!(outbox.lay_down(&mut asked("/then")), Laid::Lost);
            assert_eq!(taken(&waiting), [path, "/then"]);
        }
        let _both = (lock(&outbox.trays.one), lock(&outbox.trays.other));
        assert_eq!(outbox.lay_down(&mut asked("/")), Laid::Lost, "never waited for");
    }

    #[test]
    fn all_threads_together_leave_no_more_than_there_is_room_for() {
        let waiting = Arc::default();
        let text = "x".repeat(1000);
        let most = |outbox: &Outbox| {
            let laid = std::iter::repeat_with(|| outbox.lay_down(&mut asked(&text))).take(MOST_BYTES / 1000);
            laid.take_while(|laid| *laid != Laid::Lost).count()
        };
        let alone = most(&Outbox::new(&waiting));
        assert!(alone * 1000 > MOST_BYTES / 2 && alone * (1000 + size_of::<Entry>()) <= MOST_BYTES, "{alone}");
        assert_eq!(taken(&waiting).len(), alone);
        // The first of them has ended and left nothing.
        let outboxes = [Outbox::new(&waiting), Outbox::new(&waiting), Outbox::new(&waiting)];
        for outbox in &outboxes {
            assert_eq!(most(outbox), alone / 3);
        }
    }

    #[test]
    fn a_line_that_is_owed_finds_room_where_others_do_not() {
        let waiting = Arc::default();
        let outbox = Outbox::new(&waiting);
        let text = "x".repeat(1000);
        assert!(outbox.has_room());
        while outbox.lay_down(&mut asked(&text)) != Laid::Lost {}
        // Less than one more record fits; two of a hundred bytes may still have done so.
        while outbox.lay_down(&mut asked("")) != Laid::Lost {}
        let mut owed = asked("/owed");
        owed.is_owed = true;
        assert_ne!(outbox.lay_down(&mut owed), Laid::Lost);
        assert!(!outbox.has_room(), "nobody else is let in on it");
        assert_eq!(taken(&waiting).last().map(String::as_str), Some("/owed"));
        assert!(outbox.has_room());
        waiting.tell_failing(true);
        assert!(!outbox.has_room());
    }

    #[test]
    fn a_burst_does_not_hold_its_memory_for_ever() {
        let mut batch = Batch::default();
        let mut long = asked(&"x".repeat(1000));
        for _ in 0..KEPT_BYTES / 1000 {
            let (figures, spans, texts) = long.parts();
            batch.texts.extend_from_slice(texts);
            batch.entries.push(Entry { figures: *figures, spans: *spans, bytes: texts.len() });
        }
        batch.drain(&mut Lines::new(), |_| {});
        assert_eq!(batch.entries.capacity() + batch.texts.capacity(), 0);
    }
}
