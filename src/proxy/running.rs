//! The exchanges of one thread: known as long as they run, so that they can be judged again when what let them in may
//! not hold any more, and cut.
//!
//! Whatever outlives its request's head takes a [`Place`]: an upload, a download, a stream of events, a tunnel. Who can
//! wait asks [`Place::cut`] or [`Place::ends`]; an answer that is being sent is told through [`Place::answers`]. All of
//! them end when their token is revoked. Those that may last for ever, streams and tunnels, are judged again whole, and so
//! is all that has run for some seconds. An exchange knows by the looks that were taken meanwhile how long it runs, so
//! that the many short ones ask no clock and set no timer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::body::Held;
use super::looking::{Turn, Turns};
use super::objects::Objects;
use crate::pep::{self, Expiry, Given, Refusal, Standing, Wanted};
use crate::policy::Missed;
use crate::snapshot::Snapshot;
use crate::token::Verifier;

/// The exchanges of one thread.
#[derive(Default)]
pub(super) struct Running {
    all: RefCell<Vec<Rc<Exchange>>>,
    /// The generation of the revocations that the last look was made with.
    judged_by: Cell<u64>,
    /// How many are to be judged again whole.
    lasting: Cell<usize>,
    draining: Cell<bool>,
    /// How many looks were taken.
    looks: Cell<u64>,
    /// For whom of them objects are looked up again now.
    looking_up: Rc<Turns>,
}

/// How often a worker looks whether running exchanges must be judged again, and whether another does not come for its
/// connections. A fifth of the second within which a revocation is in force: the other parts are for noticing a changed
/// file and reading it.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// What still runs after so many looks is judged again whole: three seconds.
const LONG: u64 = 15;
/// How long after its time an object may still be looked up again. Past that, nobody can say any more what they are about.
const OVERDUE: Duration = Duration::from_secs(10);

impl Running {
    /// Takes a place for an exchange that was let in on these grounds. To be called before anything is awaited after
    /// the judgement, so that no change falls in between.
    pub(super) fn enter(self: &Rc<Self>, standing: Standing) -> Place {
        let mut all = self.all.borrow_mut();
        let exchange = Rc::new(Exchange {
            judged_in: Cell::new(standing.state()),
            standing,
            at: Cell::new(all.len()),
            since: self.looks.get(),
            lasts: Cell::new(false),
            expiry: Cell::new(Expiry::Passes),
            has_expired: Cell::new(false),
            is_cut: Cell::new(false),
            refusal: RefCell::new(None),
            waiting: Cell::new(None),
            answer: RefCell::default(),
            again: Cell::new(Again::No),
            fresh: RefCell::new(None),
        });
        all.push(Rc::clone(&exchange));
        Place { running: Rc::clone(self), exchange }
    }

    /// Judges again whatever may not go on by now, and cuts what may not; how many. Cheap where nothing has changed.
    pub(super) fn judge_again(&self, snapshot: &Arc<Snapshot>, verifier: &Verifier, now: u64) -> usize {
        let generation = snapshot.revoked.generation();
        let revoked = self.judged_by.replace(generation) != generation;
        self.find_long();
        if !revoked && self.lasting.get() == 0 {
            return 0;
        }
        // A copy, because an exchange that is cut gives its place up.
        let all = self.all.borrow().clone();
        let judged = all.iter().filter_map(|exchange| {
            let refusal = exchange.judge_again(snapshot, verifier, revoked, now).err()?;
            exchange.cut(refusal).then_some(())
        });
        judged.count()
    }

    /// Another look: who runs for too long by now to be left alone?
    fn find_long(&self) {
        let looks = self.looks.get() + 1;
        self.looks.set(looks);
        for exchange in self.all.borrow().iter() {
            if looks.saturating_sub(exchange.since) > LONG && exchange.standing.is_judged() {
                self.lasts(exchange);
            }
        }
    }

    fn lasts(&self, exchange: &Exchange) {
        if !exchange.lasts.replace(true) {
            self.lasting.set(self.lasting.get() + 1);
        }
    }

    /// Looks up again what exchanges are about that last, once it is not believed any more. They are judged by
    /// the answer, or by there being none, at the next look.
    pub(super) fn look_up_again(&self, objects: &Arc<dyn Objects>) {
        if self.lasting.get() == 0 {
            return;
        }
        let now = Instant::now();
        for exchange in self.all.borrow().iter() {
            let Some(until) = exchange.outdated_since(now) else { continue };
            let wanted = || exchange.standing.objects().iter().map(|given| &given.wanted);
            if let Some(known) = wanted().map(|wanted| objects.recall(wanted)).collect() {
                exchange.found(known);
            } else if let Some(turn) =
                Turn::take(&self.looking_up, exchange.standing.token().map(|token| token.principal))
            {
                exchange.again.set(Again::Underway);
                let wanted: Vec<Wanted> = wanted().cloned().collect();
                let (exchange, objects) = (Rc::downgrade(exchange), Arc::clone(objects));
                spawn_local(async move {
                    let mut found = Vec::with_capacity(wanted.len());
                    for one in wanted {
                        found.push(objects.look_up(one).await);
                    }
                    drop(turn);
                    if let Some(exchange) = exchange.upgrade() {
                        exchange.found(found);
                    }
                });
            } else if now.saturating_duration_since(until) >= OVERDUE {
                let late = |wanted: &Wanted| Given {
                    wanted: wanted.clone(),
                    found: Err(Missed::Unavailable("late")),
                    until: None,
                };
                exchange.found(wanted().map(late).collect());
            }
        }
    }

    /// Ends the tunnels, which would not end by themselves: all others come to their ends.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for exchange in self.all.borrow().iter() {
            exchange.wake();
        }
    }

    fn leave(&self, exchange: &Exchange) {
        if exchange.lasts.get() {
            self.lasting.set(self.lasting.get().saturating_sub(1));
        }
        let at = exchange.at.get();
        let mut all = self.all.borrow_mut();
        all.swap_remove(at);
        if let Some(moved) = all.get(at) {
            moved.at.set(at);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Running").field("exchanges", &self.all.borrow().len()).finish_non_exhaustive()
    }
}

struct Exchange {
    /// What let it in.
    standing: Standing,
    /// The state of the policy that it was judged by last.
    judged_in: Cell<(u64, u64)>,
    /// Its index among all.
    at: Cell<usize>,
    /// How many looks had been taken when it began.
    since: u64,
    /// Whether it may last for ever, or runs for long.
    lasts: Cell<bool>,
    /// Whether it ends with its token.
    expiry: Cell<Expiry>,
    /// Whether it was judged after its token had expired.
    has_expired: Cell<bool>,
    is_cut: Cell<bool>,
    /// Why it was cut, until somebody takes it.
    refusal: RefCell<Option<Refusal>>,
    /// Whoever waits for the answer's beginning, or carries a tunnel.
    waiting: Cell<Option<Waker>>,
    /// The answer, while it is being sent.
    answer: RefCell<Weak<Held>>,
    /// Whether what it is about is looked up again.
    again: Cell<Again>,
    /// What was found when that was done last.
    fresh: RefCell<Option<Vec<Given>>>,
}

/// How far looking up again what an exchange is about has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Underway,
    /// There is an answer, and the exchange was not judged by it yet.
    Done,
}

impl Exchange {
    fn judge_again(
        &self,
        snapshot: &Arc<Snapshot>,
        verifier: &Verifier,
        revoked: bool,
        now: u64,
    ) -> Result<(), Refusal> {
        let standing = &self.standing;
        let fresh = self.fresh.borrow();
        let given = fresh.as_deref().unwrap_or(standing.objects());
        let expiry = self.expiry.get();
        if !self.lasts.get() {
            return match standing.token().filter(|_| revoked) {
                Some(_) if standing.is_watched() => standing.judge(snapshot, verifier, (now, expiry), given),
                Some(token) => pep::judge_again(snapshot, verifier.issuers(), token, now),
                None => Ok(()),
            };
        }
        let expired = expiry == Expiry::Counts && standing.expires(verifier).is_some_and(|at| now >= at);
        let expires = expired && !self.has_expired.replace(expired);
        let state = pep::state_of(snapshot);
        let found = self.again.get() == Again::Done;
        if found {
            self.again.set(Again::No);
        }
        if self.judged_in.replace(state) == state && !revoked && !expires && !found {
            return Ok(());
        }
        standing.judge(snapshot, verifier, (now, expiry), given)
    }

    /// Since when what it is about is to be looked up again: nothing says that an object has changed.
    fn outdated_since(&self, now: Instant) -> Option<Instant> {
        if !self.lasts.get() || self.is_cut.get() || self.again.get() != Again::No {
            return None;
        }
        let fresh = self.fresh.borrow();
        let given = fresh.as_deref().unwrap_or(self.standing.objects());
        given.iter().filter_map(|given| given.until).min().filter(|until| *until <= now)
    }

    /// From now on it is judged by this.
    fn found(&self, given: Vec<Given>) {
        self.fresh.replace(Some(given));
        self.again.set(Again::Done);
    }

    /// Whether it ran until now.
    fn cut(&self, refusal: Refusal) -> bool {
        if self.is_cut.replace(true) {
            return false;
        }
        let answer = self.answer.borrow().upgrade();
        match answer {
            Some(answer) => answer.revoked(&refusal),
            None => {
                self.refusal.replace(Some(refusal));
                self.wake();
            }
        }
        true
    }

    fn wait(&self, context: &Context<'_>) {
        let same = self.waiting.take().filter(|waiting| waiting.will_wake(context.waker()));
        self.waiting.set(Some(same.unwrap_or_else(|| context.waker().clone())));
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// Why a tunnel must end.
#[derive(Debug)]
pub(super) enum Ending {
    /// It may not go on.
    Cut(Refusal),
    /// The process ends.
    Drained,
}

/// An exchange's place among those that run; given up when dropped.
pub(super) struct Place {
    running: Rc<Running>,
    exchange: Rc<Exchange>,
}

impl Place {
    /// Waits until the exchange must end, and says why. For one task at a time.
    pub(super) async fn cut(&self) -> Refusal {
        poll_fn(|context| self.poll_cut(context)).await
    }

    /// Ready once the exchange must end, with the reason.
    pub(super) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<Refusal> {
        match self.exchange.refusal.take() {
            Some(refusal) => Poll::Ready(refusal),
            None => {
                self.exchange.wait(context);
                Poll::Pending
            }
        }
    }

    /// What the exchange was permitted on.
    pub(super) fn standing(&self) -> &Standing {
        &self.exchange.standing
    }

    /// The same for a tunnel, which a drain ends too.
    pub(super) async fn ends(&self) -> Ending {
        poll_fn(|context| match self.poll_cut(context) {
            Poll::Ready(refusal) => Poll::Ready(Ending::Cut(refusal)),
            Poll::Pending if self.running.draining.get() => Poll::Ready(Ending::Drained),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether it was ended because it may not go on.
    pub(super) fn was_cut(&self) -> bool {
        self.exchange.is_cut.get()
    }

    /// From now on the exchange may last for ever, so it is judged again whole.
    pub(super) fn lasts(&self) {
        self.has_no_end();
        self.running.lasts(&self.exchange);
    }

    /// Nothing but its token says when the exchange must be over, so it ends with that if it runs for long.
    pub(super) fn has_no_end(&self) {
        self.exchange.expiry.set(Expiry::Counts);
    }

    /// From now on this answer is ended if the exchange must end; nobody waits for [`cut`](Self::cut) any more.
    pub(super) fn answers(&self, held: &Rc<Held>) {
        self.exchange.answer.replace(Rc::downgrade(held));
    }
}

/// Waits until an exchange must end before it has an answer; one without a token never must.
pub(super) async fn cut(place: Option<&Place>) -> Refusal {
    match place {
        Some(place) => place.cut().await,
        None => std::future::pending().await,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.leave(&self.exchange);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Place")
    }
}
#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::looking::{LOOKING_UP, LOOKING_UP_FOR_ONE};
    use super::*;
    use crate::model::{Guid, PrincipalKey};
    use crate::policy::Domains;
    use crate::route::RouteMap;
    use crate::token::revoked::{PrincipalName, Target};
    use crate::token::{
        Algorithms, Class, Groups, IssuerId, Issuers, KeyRing, Revocation, Revoked, RevokedList, Rules, Verified,
        Window,
    };

    fn of(person: u128, until: u64) -> Standing {
        Standing::of_token(&Arc::new(Verified {
            issuer: IssuerId(0),
            tenant: Arc::from("uss"),
            principal: PrincipalKey { tenant: Guid(1), object: Guid(person) },
            subject: Box::default(),
            class: Class::User,
            client: None,
            username: None,
            audiences: Vec::new(),
            roles: Vec::new(),
            groups: Groups::Unknown,
            token_id: None,
            issued_at: 5,
            takes_challenges: false,
            window: Window { until, ..Window::default() },
        }))
    }

    fn snapshot(generation: u64, person: u128) -> Arc<Snapshot> {
        let key = PrincipalKey { tenant: Guid(1), object: Guid(person) };
        let name = PrincipalName::Oid(Guid(person));
        let target = Target::Principal { tenant: Arc::from("uss"), name, key, issued_before: None };
        let list = RevokedList::new(&[Revocation { target, added_at: None }]);
        Arc::new(Snapshot {
            serial: 1,
            loaded_at: 0,
            routes: Arc::new(RouteMap::default()),
            domains: Arc::new(Domains::default()),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::new(Revoked::new(generation, [Arc::new(list)])),
        })
    }

    fn verifier() -> Verifier {
        let algorithms = Algorithms { rs256: true, ps256: false, es256: false };
        Verifier::new(Issuers::default(), Rules { leeway: 5, max_lifetime: 1, algorithms }, 1)
    }

    #[test]
    fn places_are_given_up_in_any_order() {
        let running = Rc::new(Running::default());
        let mut places: Vec<_> = (0..5).map(|person| running.enter(of(person, 100))).collect();
        places[2].lasts();
        places[2].lasts();
        assert_eq!(running.lasting.get(), 1);
        for index in [0, 3, 1, 0, 0] {
            drop(places.remove(index));
            let all = running.all.borrow();
            assert_eq!(all.len(), places.len());
            assert!(all.iter().enumerate().all(|(at, exchange)| exchange.at.get() == at));
            assert!(places.iter().all(|place| Rc::ptr_eq(&all[place.exchange.at.get()], &place.exchange)));
        }
        assert_eq!(running.lasting.get(), 0);
    }

    #[tokio::test]
    async fn only_those_that_new_revocations_name_are_cut_and_once() {
        let running = Rc::new(Running::default());
        let (olga, nils) = (running.enter(of(1, 100)), running.enter(of(2, 100)));
        let verifier = verifier();
        assert_eq!(running.judge_again(&snapshot(1, 3), &verifier, 9), 0);
        // The same generation is not looked at again.
        assert_eq!(running.judge_again(&snapshot(1, 1), &verifier, 9), 0);
        assert_eq!(running.judge_again(&snapshot(2, 1), &verifier, 9), 1);
        assert_eq!(running.judge_again(&snapshot(3, 1), &verifier, 9), 0);
        assert_eq!(olga.cut().await.full_code(), "invalid_token:revoked");
        assert!(nils.exchange.refusal.borrow().is_none());
    }

    #[tokio::test]
    async fn what_may_last_is_judged_again_whole_when_its_token_has_expired_and_the_rest_is_not() {
        let running = Rc::new(Running::default());
        let (stream, download) = (running.enter(of(1, 100)), running.enter(of(2, 100)));
        stream.lasts();
        let verifier = verifier();
        let now = snapshot(1, 3);
        // The first look is one by new revocations too: nothing is known of this host any more.
        running.judged_by.set(1);
        assert_eq!(running.judge_again(&now, &verifier, 104), 0, "the leeway counts");
        assert_eq!(running.judge_again(&now, &verifier, 105), 1);
        assert!(matches!(stream.ends().await, Ending::Cut(_)));
        assert!(download.exchange.refusal.borrow().is_none());
    }

    #[tokio::test]
    async fn a_drain_ends_tunnels_that_run_and_those_that_begin() {
        let running = Rc::new(Running::default());
        let early = running.enter(of(1, 100));
        running.drain();
        assert!(matches!(early.ends().await, Ending::Drained));
        assert!(matches!(running.enter(of(2, 100)).ends().await, Ending::Drained));
    }

    #[tokio::test]
    async fn what_has_run_for_three_seconds_is_judged_again_whole_and_ends_with_its_token_if_nothing_else_ends_it() {
        let running = Rc::new(Running::default());
        let judged = |person| running.enter(of(person, 100).about(Vec::new()));
        let (download, endless, form) = (judged(1), judged(2), running.enter(of(3, 100)));
        endless.has_no_end();
        let (now, verifier) = (snapshot(1, 9), verifier());
        running.judged_by.set(1);
        for _ in 0..LONG {
            assert_eq!(running.judge_again(&now, &verifier, 105), 0);
        }
        let brief = judged(4);
        assert_eq!(running.judge_again(&now, &verifier, 105), 1);
        assert!(matches!(endless.ends().await, Ending::Cut(_)));
        let refused = |place: &Place| place.exchange.refusal.borrow().is_some();
        assert_eq!(running.lasting.get(), 2, "who is not judged yet cannot be judged again");
        let next = Arc::new(Snapshot { serial: 2, ..Snapshot::clone(&now) });
        assert_eq!(running.judge_again(&next, &verifier, 105), 1, "nothing is known of this host any more");
        assert_eq!([&download, &brief, &form].map(refused), [true, false, false]);
    }

    /// Remembers what it is told to, and gives no other answer.
    #[derive(Debug, Default)]
    struct Silent {
        known: Option<Instant>,
        asked: AtomicUsize,
    }

    impl Objects for Silent {
        fn recall(&self, wanted: &Wanted) -> Option<Given> {
            self.known.map(|until| Given { wanted: wanted.clone(), found: Ok([].into()), until: Some(until) })
        }

        fn look_up(&self, _: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::pending())
        }
    }

    /// So many streams of so many people about an object that was believed until so long ago; how often it is asked for at
    /// two looks, and how many streams are judged by what is known then. Whatever of these is judged is cut.
    fn looked_at((streams, people): (usize, u128), ago: Duration, known: Option<Instant>) -> (usize, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let running = Rc::new(Running::default());
            running.judged_by.set(1);
            let wanted = Wanted { domain: "app".into(), kind: "officer".into(), key: "1".into() };
            let until = Instant::now().checked_sub(ago);
            let given = Given { wanted, found: Ok([].into()), until };
            let places: Vec<_> = (1..=people)
                .cycle()
                .take(streams)
                .map(|who| running.enter(of(who, 100).about(vec![given.clone()])))
                .collect();
            places.iter().for_each(Place::lasts);
            let silent = Arc::new(Silent { known, ..Silent::default() });
            let objects: Arc<dyn Objects> = Arc::clone(&silent) as Arc<dyn Objects>;
            for _ in 0..2 {
                running.look_up_again(&objects);
                for _ in 0..streams {
                    tokio::task::yield_now().await;
                }
            }
            let cut = running.judge_again(&snapshot(1, 999), &verifier(), 9);
            (silent.asked.load(Ordering::Relaxed), cut)
        })
    }

    #[test]
    fn what_a_stream_is_about_is_looked_up_again_once_it_is_not_believed_any_more() {
        let second = Duration::from_secs(1);
        let later = Some(Instant::now() + 60 * second);
        // It is asked for once, and the stream goes on until there is an answer.
        assert_eq!(looked_at((1, 1), second, None), (1, 0));
        // What somebody else was told a moment ago is told to all.
        assert_eq!(looked_at((500, 1), second, later), (0, 500));
        // So many at a time, and who waits too long for that is cut.
        assert_eq!(looked_at((LOOKING_UP + 5, 5), second, None), (LOOKING_UP, 0));
        assert_eq!(looked_at((LOOKING_UP + 5, 5), OVERDUE, None), (LOOKING_UP, 5));
        // Nobody has all of it.
        assert_eq!(looked_at((LOOKING_UP, 1), second, None), (LOOKING_UP_FOR_ONE, 0));
    }

    #[test]
    fn what_is_still_believed_is_not_looked_up_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let running = Rc::new(Running::default());
            let wanted = Wanted { domain: "app".into(), kind: "officer".into(), key: "1".into() };
            let until = Some(Instant::now() + Duration::from_secs(60));
            let stream = running.enter(of(1, 100).about(vec![Given { wanted, found: Ok([].into()), until }]));
            stream.lasts();
            let silent = Arc::new(Silent::default());
            running.look_up_again(&(Arc::clone(&silent) as Arc<dyn Objects>));
            tokio::task::yield_now().await;
            assert_eq!(silent.asked.load(Ordering::Relaxed), 0);
        });
    }
}
