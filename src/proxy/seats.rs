//! The places for client connections: so many in all and so many for each client, and who gives way when they are
//! taken.
//!
//! Holding a connection open costs an attacker nothing, so a place is no property: where places run out, connections on
//! which no request runs give way, strangers before those that have made a permitted request, and the longest idle
//! first. Servers for many clients do the same (nginx closes its least recently used idle ones). The book of places is
//! opened when a connection comes and goes, never for a request.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::settings::{ClientNetwork, Limits};
use crate::telemetry::Telemetry;

/// How long to wait for a place before looking again for somebody who may give way.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a newcomer may keep its place, so that it can say what it wants: in a flood, places would otherwise change
/// hands faster than a good client sends its head. It also bounds how fast a flood is accepted.
const GRACE: Duration = Duration::from_millis(250);
/// The most that give way at once: one look through all of them is to make room for more than one.
const AT_ONCE: usize = 32;

/// Values of [`Occupant::state`] that are no moment.
const BUSY: u64 = u64::MAX;
const LEAVING: u64 = u64::MAX - 1;

type Book = HashMap<Option<ClientNetwork>, Vec<Arc<Occupant>>>;

/// All places of the process.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    per_client: usize,
    /// Who sits, by client; as long as the number of places.
    book: Mutex<Book>,
    telemetry: Arc<Telemetry>,
    begun: Instant,
    grace: Duration,
}

impl Seats {
    /// All places are free.
    pub(super) fn new(limits: &Limits, telemetry: &Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self::with(limits, telemetry, GRACE))
    }

    fn with(limits: &Limits, telemetry: &Arc<Telemetry>, grace: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            per_client: limits.connections_per_client,
            book: Mutex::default(),
            telemetry: Arc::clone(telemetry),
            begun: Instant::now(),
            grace,
        }
    }

    /// A place for a connection, as soon as there is one; idle connections give way for it.
    pub(super) async fn take(self: &Arc<Self>) -> Seat {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.make_room(self.begun.elapsed());
            // The semaphore is never closed, so only the wait may fail.
            if let Ok(Ok(permit)) = timeout(LOOK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                break permit;
            }
        };
        let occupant = Arc::new(Occupant {
            begun: self.begun,
            state: AtomicU64::new(moment(self.begun, Instant::now())),
            known: AtomicBool::new(false),
            at: AtomicUsize::new(0),
            asked: Notify::new(),
        });
        Seat { seats: Arc::clone(self), occupant, client: Cell::new(None), _permit: permit }
    }

    /// Asks some to give way whose time of grace is over at this moment (after the beginning); how many were asked.
    fn make_room(&self, now: Duration) -> usize {
        // In the first moments nobody has been there for so long.
        now.checked_sub(self.grace).map_or(0, |settled| self.dismiss(self.book().values().flatten(), settled))
    }

    /// Asks the best of those to give way that have idled since `settled` (after the beginning) or longer; how many
    /// were asked.
    fn dismiss<'a>(&self, among: impl Iterator<Item = &'a Arc<Occupant>>, settled: Duration) -> usize {
        let settled = micros(settled);
        let mut idle: Vec<((bool, u64), &Arc<Occupant>)> = among
            .filter_map(|occupant| {
                let since = occupant.state.load(Ordering::Relaxed);
                (since <= settled).then(|| ((occupant.known.load(Ordering::Relaxed), since), occupant))
            })
            .collect();
        if idle.is_empty() {
            return 0;
        }
        let number = (idle.len() / 8).clamp(1, AT_ONCE);
        idle.select_nth_unstable_by_key(number - 1, |(rank, _)| *rank);
        let asked = idle.iter().take(number).filter(|((_, since), occupant)| {
            // Whoever became busy in the meantime stays.
            let told = occupant.state.compare_exchange(*since, LEAVING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if told {
                occupant.asked.notify_one();
                self.telemetry.connection_shed();
            }
            told
        });
        asked.count()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    occupant: Arc<Occupant>,
    /// Under which name it stands in the book, once it does.
    client: Cell<Option<Option<ClientNetwork>>>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Enters the book as a client's, or as that of somebody who speaks for many and may have as many as there are.
    /// Whether it may stay: not if the client has all of its places and is busy in each.
    pub(super) fn belongs_to(&self, client: Option<ClientNetwork>) -> bool {
        let mut book = self.seats.book();
        if client.is_none() {
            self.occupant.becomes_known();
        } else if let Some(own) = book.get(&client).filter(|own| own.len() >= self.seats.per_client) {
            let staying = own.iter().filter(|occupant| !occupant.is_leaving()).count();
            if staying >= self.seats.per_client && self.seats.dismiss(own.iter(), Duration::MAX) == 0 {
                return false;
            }
        }
        let own = book.entry(client).or_default();
        self.occupant.at.store(own.len(), Ordering::Relaxed);
        own.push(Arc::clone(&self.occupant));
        self.client.set(Some(client));
        true
    }

    /// What others know of who sits there.
    pub(super) const fn occupant(&self) -> &Arc<Occupant> {
        &self.occupant
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(client) = self.client.get() else { return };
        let mut book = self.seats.book();
        let Some(own) = book.get_mut(&client) else { return };
        // The index is written under the lock only.
        let at = self.occupant.at.load(Ordering::Relaxed);
        if at < own.len() {
            own.swap_remove(at);
        }
        if let Some(moved) = own.get(at) {
            moved.at.store(at, Ordering::Relaxed);
        }
        if own.is_empty() {
            book.remove(&client);
        }
    }
}

/// Who sits in a place: the one thing that threads know of each other's connections.
#[derive(Debug)]
pub(super) struct Occupant {
    begun: Instant,
    /// Since when it idles (microseconds after the beginning), [`BUSY`], or [`LEAVING`].
    state: AtomicU64,
    /// Whether it has made a permitted request, or speaks for many.
    known: AtomicBool,
    /// Its index among those of its client.
    at: AtomicUsize,
    asked: Notify,
}

impl Occupant {
    /// A request runs; whoever was asked to give way before that stays.
    pub(super) fn is_busy(&self) {
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// No request runs any more, as of `now`.
    pub(super) fn is_idle(&self, now: Instant) {
        self.state.store(moment(self.begun, now), Ordering::Relaxed);
    }

    /// It has made a permitted request, so strangers give way before it.
    pub(super) fn becomes_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Waits until it must give way. No request runs then, because requests run on the thread that waits.
    pub(super) async fn must_leave(&self) {
        loop {
            self.asked.notified().await;
            if self.is_leaving() {
                return;
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LEAVING
    }
}

fn moment(begun: Instant, now: Instant) -> u64 {
    micros(now.saturating_duration_since(begun))
}

/// Below all values that are no moment.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LEAVING - 1)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn seats(connections: usize, connections_per_client: usize) -> Arc<Seats> {
        let limits = Limits { connections, connections_per_client, ..Limits::default() };
        Arc::new(Seats::with(&limits, &Telemetry::new("0", false), Duration::ZERO))
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    fn client(address: &str) -> Option<ClientNetwork> {
        Some(ClientNetwork::from(address.parse::<IpAddr>().unwrap()))
    }

    /// What comes of something without any wait: however busy the machine is, it happens once.
    async fn at_once<T>(what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = what => Some(done),
            () = std::future::ready(()) => None,
        }
    }

    /// A place whose occupant idles for a little shorter than those before.
    async fn sit(seats: &Arc<Seats>, address: &str) -> Seat {
        let seat = seats.take().await;
        assert!(seat.belongs_to(client(address)));
        tokio::time::sleep(Duration::from_millis(2)).await;
        seat
    }

    #[test]
    fn a_client_has_so_many_places_and_its_own_idle_connections_give_way() {
        run(async {
            let seats = seats(10, 2);
            let (first, second) = (sit(&seats, "192.0.2.1").await, sit(&seats, "192.0.2.1").await);
            let other = sit(&seats, "192.0.2.2").await;
            first.occupant.is_busy();
            let third = sit(&seats, "192.0.2.1").await;
            let leaving = [&first, &second, &third, &other].map(|seat| seat.occupant.is_leaving());
            assert_eq!(leaving, [false, true, false, false], "an idle one of its own, not the busy one");
            third.occupant.is_busy();
            drop(second);
            assert!(!seats.take().await.belongs_to(client("192.0.2.1")), "busy in both");
            assert!(seats.take().await.belongs_to(client("192.0.2.3")), "others are not concerned");
            assert!(seats.take().await.belongs_to(None));
        });
    }

    #[test]
    fn where_all_places_are_taken_strangers_give_way_before_the_known_and_the_longest_idle_first() {
        run(async {
            let seats = seats(4, 4);
            let known = sit(&seats, "192.0.2.1").await;
            known.occupant.becomes_known();
            let busy = sit(&seats, "192.0.2.2").await;
            busy.occupant.is_busy();
            let (older, younger) = (sit(&seats, "192.0.2.3").await, sit(&seats, "192.0.2.4").await);
            let mut order = Vec::new();
            for _ in 0..3 {
                assert!(at_once(seats.take()).await.is_none());
                order.push([&known, &busy, &older, &younger].map(|seat| seat.occupant.is_leaving()));
            }
            assert_eq!(order[0], [false, false, true, false]);
            assert_eq!(order[1], [false, false, true, true]);
            assert_eq!(order[2], [true, false, true, true], "never one with a request");
        });
    }

    #[test]
    fn a_newcomer_has_a_moment_to_say_what_it_wants() {
        run(async {
            let limits = Limits { connections: 1, ..Limits::default() };
            let grace = Duration::from_secs(3600);
            let seats = Arc::new(Seats::with(&limits, &Telemetry::new("0", false), grace));
            let newcomer = sit(&seats, "192.0.2.1").await;
            let came = Duration::from_micros(newcomer.occupant.state.load(Ordering::Relaxed));
            assert!(at_once(seats.take()).await.is_none());
            assert_eq!(seats.make_room(came + grace - Duration::from_micros(1)), 0);
            assert!(!newcomer.occupant.is_leaving());
            assert_eq!(seats.make_room(came + grace), 1);
            assert!(newcomer.occupant.is_leaving());
        });
    }

    #[test]
    fn who_becomes_busy_after_being_asked_stays() {
        run(async {
            let seats = seats(1, 1);
            let seat = sit(&seats, "192.0.2.1").await;
            assert!(at_once(seats.take()).await.is_none());
            assert!(seat.occupant.is_leaving());
            seat.occupant.is_busy();
            assert!(at_once(seat.occupant.must_leave()).await.is_none());
            seat.occupant.is_idle(Instant::now());
            let (gone, taken) = tokio::join!(
                async {
                    seat.occupant.must_leave().await;
                    drop(seat);
                },
                seats.take()
            );
            assert!(taken.belongs_to(client("192.0.2.1")), "{gone:?}");
        });
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_gone() {
        run(async {
            let seats = seats(100, 100);
            let mut all = Vec::new();
            for number in 0..100 {
                let seat = seats.take().await;
                assert!(seat.belongs_to(client(&format!("192.0.2.{}", number % 7))));
                all.push(seat);
            }
            // In an order of their own.
            while !all.is_empty() {
                drop(all.swap_remove(all.len() / 2));
            }
            assert!(seats.book().is_empty());
            assert_eq!(seats.free.available_permits(), 100);
        });
    }
}
