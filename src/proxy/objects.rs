//! Objects that a request is about and that somebody outside has to look up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ledger::Ledger;
use super::{Worker, now_ms};
use crate::model::Reason;
use crate::pep::{self, Environment, Given, Grounds, Refusal, Verdict, Wanted};
use crate::policy::Missed;

/// The most objects of one request: its path may be read in several ways.
const MOST: usize = 4;

/// The most look-ups for one principal on one thread at a time; more wait for these.
const MOST_OF_ONE: usize = 8;
/// How long they wait for that.
const TURN: Duration = Duration::from_millis(500);

/// For whom a thread looks up objects, so that nobody can take all the time of a database.
#[derive(Debug, Default)]
pub(super) struct Askers {
    turns: RefCell<HashMap<Arc<str>, Arc<Semaphore>>>,
    /// What is looked up now: whoever asks for that as well costs nothing.
    under_way: RefCell<HashMap<Wanted, usize>>,
}

impl Askers {
    /// A turn for one look-up, once this principal has fewer of them than it may have; `None` if that takes too long.
    async fn turn(&self, who: &Arc<str>, wanted: &Wanted) -> Option<Asking<'_>> {
        if self.under_way.borrow().contains_key(wanted) {
            return Some(Asking { askers: self, turns: None, wanted: None });
        }
        let turns = Arc::clone(
            self.turns.borrow_mut().entry(Arc::clone(who)).or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_ONE))),
        );
        let mut asking =
            Asking { askers: self, turns: Some((Arc::clone(who), Arc::clone(&turns), None)), wanted: None };
        let turn = timeout(TURN, turns.acquire_owned()).await.ok()?.ok()?;
        if let Some((_, _, own)) = &mut asking.turns {
            *own = Some(turn);
        }
        *self.under_way.borrow_mut().entry(wanted.clone()).or_default() += 1;
        asking.wanted = Some(wanted.clone());
        Some(asking)
    }
}

/// Whoever has a turn or waits for one, or needs none.
struct Asking<'a> {
    askers: &'a Askers,
    turns: Option<(Arc<str>, Arc<Semaphore>, Option<OwnedSemaphorePermit>)>,
    wanted: Option<Wanted>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(wanted) = self.wanted.take()
            && let Entry::Occupied(mut count) = self.askers.under_way.borrow_mut().entry(wanted)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some((who, turns, turn)) = self.turns.take() {
            drop(turn);
            // The last of its principal: nobody else but the map has them.
            if Arc::strong_count(&turns) <= 2 {
                self.askers.turns.borrow_mut().remove(&who);
            }
        }
    }
}

/// Whoever looks objects up.
pub trait Objects: Send + Sync + fmt::Debug {
    /// What is remembered of one and still believed.
    fn recall(&self, wanted: &Wanted) -> Option<Given>;

    /// Looks one up. Always comes to an answer within a bounded time, be it that there is none.
    fn look_up(&self, wanted: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>>;
}

/// Nobody: no kind of objects is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Objects for Nobody {
    fn recall(&self, _: &Wanted) -> Option<Given> {
        None
    }

    fn look_up(&self, wanted: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>> {
        let found = Err(Missed::Unavailable("not_looked_up"));
        Box::pin(std::future::ready(Given { wanted, found, until: None }))
    }
}

/// Looks up the object that a request waits for, and judges the whole by the snapshot of then and by all that was found
/// so far.
pub(super) async fn judge(
    worker: &Rc<Worker>,
    (head, form, grounds): (Parts, Option<Bytes>, Grounds),
    (wanted, given): (Wanted, &mut Vec<Given>),
    environment: Environment<'_>,
    ledger: &mut Ledger,
) -> Verdict {
    if given.len() >= MOST || given.iter().any(|given| given.wanted == wanted) {
        return Verdict::Refused { head, refusal: Refusal::of(Reason::ObjectUnavailable), grounds };
    }
    let objects = &worker.gateway.objects;
    let found = match objects.recall(&wanted) {
        Some(remembered) => remembered,
        None => {
            let who = grounds.principal.clone().unwrap_or_default();
            match worker.askers.turn(&who, &wanted).await {
                Some(_asking) => objects.look_up(wanted).await,
                None => Given { wanted, found: Err(Missed::Unavailable("busy")), until: None },
            }
        }
    };
    given.push(found);
    ledger.judges_again();
    let environment = Environment { now: now_ms() / 1000, ..environment };
    ledger.has_objects(given, environment.now);
    let asked = (head, form, &**given);
    let verdict = pep::authorize_with_objects(worker.reader.borrow_mut().load(), &worker.verifier, asked, environment);
    ledger.judged_again();
    verdict
}
