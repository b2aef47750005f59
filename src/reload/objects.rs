//! Looks up objects in databases for requests that wait for them. An answer is remembered for a while, be it that there
//! is no such object; many requests about one object are one question; whoever waits does so for a bounded time, and of
//! those who wait there is a bounded number. A fault is never remembered, and never an answer.
//!
//! Requests wait on the threads that serve them and ask through a queue; the connections are the control thread's.

mod keep;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::pep::{Attributes, Given, Wanted};
use crate::policy::Missed;
use crate::proxy::objects::Objects;
use crate::source::postgres::{Database, Kind};
use crate::telemetry::Telemetry;

pub use keep::keep;

/// The most requests that wait for one database; more are refused at once.
const WAITING: usize = 4096;
/// The most bytes of a key that a database is asked for.
const KEY: usize = 256;
/// Connections to one database.
const CONNECTIONS: usize = 2;

/// What is known of an object.
#[derive(Clone, Debug)]
struct Known {
    found: Result<Attributes, Missed>,
    /// From when on it is not believed any more; `None` for what was never believed.
    until: Option<Instant>,
}

type Awaited = watch::Receiver<Option<Known>>;

/// A question on its way.
struct Job {
    number: usize,
    key: Box<str>,
    /// By then, nobody waits for it any more who came first.
    before: Instant,
    answer: watch::Sender<Option<Known>>,
}

/// The same for those who ask meanwhile.
struct Flight {
    before: Instant,
    awaited: Awaited,
}

/// A kind of objects and what is remembered of it.
struct Shelf {
    kind: Kind,
    known: Cache<Box<str>, Known>,
}

/// One database.
struct Source {
    database: Arc<Database>,
    shelves: Vec<Shelf>,
    flights: Mutex<HashMap<(usize, Box<str>), Flight>>,
    /// How many requests wait.
    waiting: AtomicUsize,
    /// Connections that failed to come about since there was one last. With all of them, nobody waits in vain.
    away: AtomicUsize,
    jobs: mpsc::Sender<Job>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Job>>,
}

/// All databases in which objects are looked up.
pub struct LookUps {
    sources: Vec<Arc<Source>>,
    telemetry: Arc<Telemetry>,
}

impl fmt::Debug for LookUps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LookUps").field("databases", &self.sources.len()).finish_non_exhaustive()
    }
}

impl LookUps {
    /// Looks up the kinds of these databases. Nothing is asked before [`keep`] runs for each of
    /// [`connections`](Self::connections).
    pub fn new<'d>(databases: impl Iterator<Item = &'d Arc<Database>>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let with_kinds = databases.filter(|database| !database.kinds.is_empty());
        Arc::new(Self { sources: with_kinds.map(|database| Arc::new(Source::new(database))).collect(), telemetry })
    }

    /// What keeps each connection.
    pub fn connections(&self) -> impl Iterator<Item = impl Future<Output = ()> + use<>> {
        self.sources.iter().flat_map(|source| (0..CONNECTIONS).map(move |_| keep(Connection(Arc::clone(source)))))
    }

    /// Where such an object is looked up: the database, and the kind by its number there.
    fn place(&self, wanted: &Wanted) -> Option<(&Source, usize, &Shelf)> {
        let source = self.sources.iter().find(|source| *source.database.domain == *wanted.domain)?;
        let number = source.shelves.iter().position(|shelf| *shelf.kind.name == *wanted.kind)?;
        Some((source, number, source.shelves.get(number)?))
    }

    async fn find(&self, wanted: &Wanted) -> (Known, &'static str) {
        let Some((source, number, shelf)) = self.place(wanted) else {
            return (Known::unavailable("not_looked_up"), "failed");
        };
        // Longer ones are no keys, and no text of PostgreSQL has a NUL.
        if wanted.key.len() > KEY || wanted.key.contains('\0') {
            return (Known { found: Err(Missed::Unknown("key")), until: None }, "unknown");
        }
        if let Some(known) = shelf.recall(&wanted.key) {
            return (known, "hit");
        }
        let known = source.ask(number, shelf, &wanted.key).await;
        let outcome = match &known.found {
            Ok(_) => "found",
            Err(Missed::Unknown(_)) => "unknown",
            Err(Missed::Unavailable("late")) => "late",
            Err(Missed::Unavailable(_)) => "failed",
        };
        (known, outcome)
    }
}

impl Objects for LookUps {
    fn recall(&self, wanted: &Wanted) -> Option<Given> {
        let (_, _, shelf) = self.place(wanted)?;
        let Known { found, until } = shelf.recall(&wanted.key)?;
        self.telemetry.object_looked_up("hit");
        Some(Given { wanted: wanted.clone(), found, until: until.map(Instant::into_std) })
    }

    fn look_up(&self, wanted: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>> {
        Box::pin(async move {
            let (Known { found, until }, outcome) = self.find(&wanted).await;
            self.telemetry.object_looked_up(outcome);
            Given { wanted, found, until: until.map(Instant::into_std) }
        })
    }
}

impl Known {
    const fn unavailable(why: &'static str) -> Self {
        Self { found: Err(Missed::Unavailable(why)), until: None }
    }
}

impl Shelf {
    fn new(kind: &Kind) -> Self {
        // What is too old is not believed; that it goes by itself then is for the memory's sake.
        let known = Cache::builder().max_capacity(kind.most).time_to_live(kind.ttl).build();
        Self { kind: kind.clone(), known }
    }

    fn recall(&self, key: &str) -> Option<Known> {
        self.known.get(key).filter(|known| known.until.is_some_and(|until| Instant::now() < until))
    }
}

impl Source {
    fn new(database: &Arc<Database>) -> Self {
        let (jobs, queue) = mpsc::channel(WAITING);
        Self {
            database: Arc::clone(database),
            shelves: database.kinds.iter().map(Shelf::new).collect(),
            flights: Mutex::default(),
            waiting: AtomicUsize::new(0),
            away: AtomicUsize::new(0),
            jobs,
            queue: tokio::sync::Mutex::new(queue),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(usize, Box<str>), Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer.
    async fn ask(&self, number: usize, shelf: &Shelf, key: &str) -> Known {
        let Some(_place) = Place::take(&self.waiting) else { return Known::unavailable("busy") };
        let mut awaited = match self.join(number, shelf, key) {
            Ok(awaited) => awaited,
            Err(known) => return known,
        };
        let answer = async {
            let known = awaited.wait_for(Option::is_some).await.ok()?;
            known.clone()
        };
        // Whoever was to answer and did not has gone, or came to it when it was too late.
        timeout(shelf.kind.wait, answer).await.ok().flatten().unwrap_or(Known::unavailable("late"))
    }

    /// Joins those who ask the same, or is the first.
    fn join(&self, number: usize, shelf: &Shelf, key: &str) -> Result<Awaited, Known> {
        let mut flights = self.lock();
        // An answer is remembered before its flight ends, so one that came in between is here.
        if let Some(known) = shelf.recall(key) {
            return Err(known);
        }
        if self.away.load(Ordering::Acquire) >= CONNECTIONS {
            return Err(Known::unavailable("away"));
        }
        let now = Instant::now();
        let asked = (number, Box::<str>::from(key));
        if let Some(flight) = flights.get(&asked).filter(|flight| now < flight.before) {
            return Ok(flight.awaited.clone());
        }
        let (answer, awaited) = watch::channel(None);
        let before = now + shelf.kind.wait;
        let job = Job { number, key: key.into(), before, answer };
        self.jobs.try_send(job).map_err(|_full| Known::unavailable("busy"))?;
        flights.insert(asked, Flight { before, awaited: awaited.clone() });
        Ok(awaited)
    }

    /// The question, unless all who asked it have gone; then it is over.
    fn still_asked(&self, job: Job) -> Option<Job> {
        let mut flights = self.lock();
        // The flight itself listens, and nobody joins it meanwhile.
        if job.answer.receiver_count() > 1 {
            return Some(job);
        }
        flights.remove(&(job.number, job.key));
        None
    }

    /// Ends a question: those who asked are told, and whoever asks from now on asks anew if nothing is remembered.
    fn end(&self, job: Job, known: Option<Known>) {
        if let (Some(known), Some(shelf)) = (&known, self.shelves.get(job.number))
            && known.until.is_some()
        {
            shelf.known.insert(job.key.clone(), known.clone());
        }
        let mut flights = self.lock();
        let asked = (job.number, job.key);
        // One that took too long may have a successor.
        if flights.get(&asked).is_some_and(|flight| flight.before == job.before) {
            flights.remove(&asked);
        }
        drop(flights);
        // Nobody may be left who waits.
        job.answer.send_replace(known);
    }
}

/// One connection to a database, for [`keep`].
pub struct Connection(Arc<Source>);

/// A place among those who wait; given up when dropped.
struct Place<'w>(&'w AtomicUsize);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::AcqRel) < WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// From a lost connection to the first attempt at another; doubled at each failure.
const RETRY: Duration = Duration::from_millis(100);
/// No longer than this.
const RETRY_LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Literal;
    use crate::source::postgres::{Address, OnStale, Pace, schema};

    const WAIT: Duration = Duration::from_millis(300);

    fn look_ups(ttl: Duration, most: u64) -> Arc<LookUps> {
        waiting_for(WAIT, ttl, most)
    }

    fn waiting_for(wait: Duration, ttl: Duration, most: u64) -> Arc<LookUps> {
        let short = Duration::from_secs(1);
        let kind = |name: &str| Kind {
            name: name.into(),
            query: String::new(),
            attributes: vec!["place".into()],
            ttl,
            wait,
            most,
        };
        let database = Arc::new(Database {
            domain: "app".into(),
            address: Address::parse("postgres://127.0.0.1:9/x", (false, None), false).unwrap(),
            queries: schema::queries(),
            kinds: vec![kind("ship"), kind("officer")],
            notify: None,
            pace: Pace {
                poll: short,
                reconcile: short,
                max_staleness: short,
                connect: short,
                statement: short,
                load: short,
                start: short,
            },
            on_stale: OnStale::Serve,
        });
        LookUps::new([&database].into_iter(), Telemetry::new("0", false))
    }

    async fn look_up(of: &LookUps, kind: &str, key: &str) -> Result<Attributes, Missed> {
        of.look_up(Wanted { domain: "app".into(), kind: kind.into(), key: key.into() }).await.found
    }

    fn north(ttl: Duration) -> Known {
        let attributes = [("place".into(), Literal::Text("north".into()))];
        Known { found: Ok(attributes.into()), until: Some(Instant::now() + ttl) }
    }

    /// Answers the next question, if there is one.
    async fn answer(of: &LookUps, known: Known) -> Option<String> {
        let source = &of.sources[0];
        let job = timeout(WAIT / 10, async { source.queue.lock().await.recv().await }).await.ok()??;
        let key = format!("{}:{}", source.shelves[job.number].kind.name, job.key);
        source.end(job, Some(known));
        Some(key)
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_question_and_its_answer_is_remembered() {
        let ttl = Duration::from_secs(60);
        let of = look_ups(ttl, 10);
        let asking = async { tokio::join!(look_up(&of, "officer", "1"), look_up(&of, "officer", "1")) };
        let ((one, other), asked) = tokio::join!(asking, answer(&of, north(ttl)));
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(asked.as_deref(), Some("officer:1"));
        assert!(look_up(&of, "officer", "1").await.is_ok());
        assert_eq!(answer(&of, north(ttl)).await, None);
        // Of another kind it says nothing.
        assert_eq!(look_up(&of, "ship", "1").await.err(), Some(Missed::Unavailable("late")));
        assert!(of.sources[0].waiting.load(Ordering::Acquire) == 0);
    }

    #[tokio::test]
    async fn a_fault_is_not_remembered_and_neither_is_what_is_too_old() {
        let of = look_ups(Duration::from_secs(60), 10);
        for known in [Known::unavailable("bad"), north(Duration::ZERO)] {
            for _ in 0..2 {
                let (_, asked) = tokio::join!(look_up(&of, "officer", "1"), answer(&of, known.clone()));
                assert_eq!(asked.as_deref(), Some("officer:1"));
            }
        }
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_was_said_and_who_comes_later_asks_anew() {
        let of = look_ups(Duration::from_secs(60), 10);
        let began = Instant::now();
        assert_eq!(look_up(&of, "officer", "1").await.err(), Some(Missed::Unavailable("late")));
        assert!(began.elapsed() < 10 * WAIT, "{:?}", began.elapsed());
        let second = tokio::join!(look_up(&of, "officer", "1"), async {
            let first = answer(&of, Known::unavailable("late")).await;
            (first, answer(&of, north(WAIT)).await)
        });
        assert!(second.0.is_ok(), "{second:?}");
    }

    #[tokio::test]
    async fn of_those_who_wait_for_a_database_there_is_a_bounded_number() {
        // So long that the first are still there when the last come.
        let of = waiting_for(Duration::from_secs(600), Duration::from_secs(60), 10);
        let waiting: Vec<_> = (0..WAITING)
            .map(|number| {
                let of = Arc::clone(&of);
                tokio::spawn(async move { look_up(&of, "officer", &number.to_string()).await })
            })
            .collect();
        while of.sources[0].waiting.load(Ordering::Acquire) < WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(look_up(&of, "officer", "one more").await.err(), Some(Missed::Unavailable("busy")));
        for one in waiting {
            one.abort();
            assert!(one.await.is_err_and(|ended| ended.is_cancelled()));
        }
        assert_eq!(of.sources[0].waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn no_more_answers_are_remembered_than_there_is_room_for() {
        let of = look_ups(Duration::from_secs(60), 10);
        let shelf = &of.sources[0].shelves[1];
        for number in 0..1000 {
            shelf.known.insert(number.to_string().into(), north(WAIT));
        }
        shelf.known.run_pending_tasks();
        assert!(shelf.known.entry_count() <= 10, "{}", shelf.known.entry_count());
    }

    #[tokio::test]
    async fn without_any_connection_nobody_waits() {
        let of = look_ups(Duration::from_secs(60), 10);
        of.sources[0].away.store(CONNECTIONS, Ordering::Release);
        assert_eq!(look_up(&of, "officer", "1").await.err(), Some(Missed::Unavailable("away")));
        assert_eq!(look_up(&of, "sailor", "1").await.err(), Some(Missed::Unavailable("not_looked_up")));
        assert_eq!(look_up(&of, "officer", &"1".repeat(KEY + 1)).await.err(), Some(Missed::Unknown("key")));
        assert_eq!(look_up(&of, "officer", "1\0").await.err(), Some(Missed::Unknown("key")));
    }
}
