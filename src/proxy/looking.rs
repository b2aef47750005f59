//! Turns to look up again what running exchanges are about, so that neither all of them nor those of one principal take all
//! the time of a database.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use crate::model::PrincipalKey;

/// Objects are looked up again for no more exchanges of one thread at a time; the others wait for the next look.
pub(super) const LOOKING_UP: usize = 128;
/// For no more of one principal, so that nobody's many slow downloads keep those of all others from being looked up.
pub(super) const LOOKING_UP_FOR_ONE: usize = 32;

/// For whom objects are looked up again now: how often for each principal, `None` being whoever asked without a token.
#[derive(Default)]
pub(super) struct Turns {
    all: Cell<usize>,
    of: RefCell<HashMap<Option<PrincipalKey>, usize>>,
}

/// One of those that are looked up again; given back when dropped.
pub(super) struct Turn {
    turns: Rc<Turns>,
    of: Option<PrincipalKey>,
}

impl Turn {
    /// A turn for this principal, if there is one left for it and at all.
    pub(super) fn take(turns: &Rc<Turns>, of: Option<PrincipalKey>) -> Option<Self> {
        let mut each = turns.of.borrow_mut();
        if turns.all.get() >= LOOKING_UP || each.get(&of).is_some_and(|own| *own >= LOOKING_UP_FOR_ONE) {
            return None;
        }
        turns.all.set(turns.all.get() + 1);
        *each.entry(of).or_default() += 1;
        Some(Self { turns: Rc::clone(turns), of })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.all.set(self.turns.all.get().saturating_sub(1));
        if let Entry::Occupied(mut own) = self.turns.of.borrow_mut().entry(self.of) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}
