//! The exchanges of one thread that run on somebody's token: known as long as they run, so that they can be judged again
//! when what let them in may not hold any more, and cut.
//!
//! Whatever outlives its request's head takes a [`Place`]: an upload, a download, a stream of events. Who can wait asks
//! [`Place::cut`]; an answer that is being sent is told through [`Place::answers`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use super::body::Held;
use crate::pep::{self, Refusal};
use crate::snapshot::Snapshot;
use crate::token::{Issuers, Verified};

/// The exchanges of one thread.
#[derive(Default)]
pub(super) struct Running {
    all: RefCell<Vec<Rc<Exchange>>>,
    /// The generation of the revocations that the last look was made with.
    judged_by: Cell<u64>,
}

impl Running {
    /// Takes a place for an exchange that was let in by this token. To be called before anything is awaited after the
    /// judgement, so that no change of the revocations falls in between.
    pub(super) fn enter(self: &Rc<Self>, token: &Arc<Verified>) -> Place {
        let mut all = self.all.borrow_mut();
        let exchange = Rc::new(Exchange {
            token: Arc::clone(token),
            at: Cell::new(all.len()),
            is_cut: Cell::new(false),
            refusal: RefCell::new(None),
            changed: Notify::new(),
            answer: RefCell::default(),
        });
        all.push(Rc::clone(&exchange));
        Place { running: Rc::clone(self), exchange }
    }

    /// Judges all exchanges again if the revocations are others than at the last look, and cuts those that they name; how
    /// many.
    pub(super) fn judge_again(&self, snapshot: &Snapshot, issuers: &Issuers, now: u64) -> usize {
        let generation = snapshot.revoked.generation();
        if self.judged_by.replace(generation) == generation {
            return 0;
        }
        // A copy, because an exchange that is cut gives its place up.
        let all = self.all.borrow().clone();
        let judged = all.iter().filter_map(|exchange| {
            let refusal = pep::judge_again(snapshot, issuers, &exchange.token, now).err()?;
            exchange.cut(refusal).then_some(())
        });
        judged.count()
    }

    fn leave(&self, at: usize) {
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
    token: Arc<Verified>,
    /// Its index among all.
    at: Cell<usize>,
    is_cut: Cell<bool>,
    /// Why it was cut, until somebody takes it.
    refusal: RefCell<Option<Refusal>>,
    changed: Notify,
    /// The answer, while it is being sent.
    answer: RefCell<Weak<Held>>,
}

impl Exchange {
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
                self.changed.notify_one();
            }
        }
        true
    }
}

/// An exchange's place among those that run; given up when dropped.
pub(super) struct Place {
    running: Rc<Running>,
    exchange: Rc<Exchange>,
}

impl Place {
    /// Waits until the exchange must end, and says why. For one task at a time.
    pub(super) async fn cut(&self) -> Refusal {
        loop {
            if let Some(refusal) = self.exchange.refusal.take() {
                return refusal;
            }
            self.exchange.changed.notified().await;
        }
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
        self.running.leave(self.exchange.at.get());
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guid, PrincipalKey};
    use crate::policy::Domains;
    use crate::route::RouteMap;
    use crate::token::revoked::{PrincipalName, Target};
    use crate::token::{Class, Groups, IssuerId, KeyRing, Revocation, Revoked, RevokedList, Window};

    fn token(person: u128) -> Arc<Verified> {
        Arc::new(Verified {
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
            window: Window::default(),
        })
    }

    fn snapshot(generation: u64, person: u128) -> Snapshot {
        let key = PrincipalKey { tenant: Guid(1), object: Guid(person) };
        let name = PrincipalName::Oid(Guid(person));
        let target = Target::Principal { tenant: Arc::from("uss"), name, key, issued_before: None };
        let list = RevokedList::new(&[Revocation { target, added_at: None }]);
        Snapshot {
            serial: 1,
            loaded_at: 0,
            routes: Arc::new(RouteMap::default()),
            domains: Arc::new(Domains::default()),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::new(Revoked::new(generation, [Arc::new(list)])),
        }
    }

    #[test]
    fn places_are_given_up_in_any_order() {
        let running = Rc::new(Running::default());
        let mut places: Vec<_> = (0..5).map(|person| running.enter(&token(person))).collect();
        for index in [0, 3, 1, 0, 0] {
            drop(places.remove(index));
            let all = running.all.borrow();
            assert_eq!(all.len(), places.len());
            assert!(all.iter().enumerate().all(|(at, exchange)| exchange.at.get() == at));
            assert!(places.iter().all(|place| Rc::ptr_eq(&all[place.exchange.at.get()], &place.exchange)));
        }
    }

    #[tokio::test]
    async fn only_those_that_new_revocations_name_are_cut_and_once() {
        let running = Rc::new(Running::default());
        let (olga, nils) = (running.enter(&token(1)), running.enter(&token(2)));
        let issuers = Issuers::default();
        assert_eq!(running.judge_again(&snapshot(1, 3), &issuers, 9), 0);
        // The same generation is not looked at again.
        assert_eq!(running.judge_again(&snapshot(1, 1), &issuers, 9), 0);
        assert_eq!(running.judge_again(&snapshot(2, 1), &issuers, 9), 1);
        assert_eq!(running.judge_again(&snapshot(3, 1), &issuers, 9), 0);
        assert_eq!(olga.cut().await.full_code(), "invalid_token:revoked");
        assert!(nils.exchange.refusal.borrow().is_none());
    }
}
