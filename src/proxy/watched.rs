//! A list of what somebody looks after now and then, and which ends by itself in between.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// Room is made for so many at least.
const FEW: usize = 64;

/// Weak references, so that nothing lives longer for being watched. The list is cleared of what has ended before it
/// grows: however much comes and goes between two looks, it has room for twice what lives, not for all that came.
#[derive(Debug)]
pub(super) struct Watched<T>(RefCell<Vec<Weak<T>>>);

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Watched<T> {
    /// Looks after this as well, from now on.
    pub(super) fn add(&self, one: &Rc<T>) {
        let mut all = self.0.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
            let living = all.len();
            all.reserve(living.max(FEW));
        }
        all.push(Rc::downgrade(one));
    }

    /// Looks at everything that lives, and goes on looking after what `keep` says.
    pub(super) fn retain(&self, keep: impl Fn(&T) -> bool) {
        self.0.borrow_mut().retain(|one| one.upgrade().is_some_and(|one| keep(&one)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_looked_at_until_it_is_let_go_or_ends() {
        let watched = Watched::default();
        let (one, two, three) = (Rc::new(1), Rc::new(2), Rc::new(3));
        [&one, &two, &three].into_iter().for_each(|one| watched.add(one));
        drop(two);
        let seen = RefCell::new(Vec::new());
        let look = || {
            watched.retain(|number| {
                seen.borrow_mut().push(*number);
                *number == 3
            });
            seen.take()
        };
        assert_eq!(look(), [1, 3]);
        assert_eq!(look(), [3]);
    }

    #[test]
    fn a_flood_between_two_looks_takes_no_more_room_than_what_lives() {
        let watched = Watched::default();
        let living: Vec<Rc<usize>> = (0..1_000).map(Rc::new).collect();
        living.iter().for_each(|one| watched.add(one));
        for number in 0..100_000 {
            watched.add(&Rc::new(number));
        }
        let room = watched.0.borrow().capacity();
        assert!((1_000..=4 * 1_000).contains(&room), "{room}");
        let seen = RefCell::new(0);
        watched.retain(|_| {
            *seen.borrow_mut() += 1;
            true
        });
        assert_eq!(seen.take(), living.len(), "none of these was forgotten");
    }
}
