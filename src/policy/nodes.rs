//! What the scope nodes of one kind are called: where a request's value leads, in a few steps and without a heap.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::domain::ScopeId;
use super::words::Words;

/// No node: a slot that is free.
const FREE: ScopeId = ScopeId(u32::MAX);
/// The fewest slots of a table that has any.
const FEWEST: usize = 8;

/// Names and the nodes that they stand for, names of nodes and aliases alike. Open addressing: a name lies at the place
/// of its hash or behind it, before the next free slot. Where that is depends on a seed drawn at random, so that nobody
/// can choose names that lie in one place.
#[derive(Clone, Debug, Default)]
pub struct NodeNames {
    /// As many as a power of two, or none; a third of them at least is free.
    slots: Vec<Slot>,
    taken: usize,
    /// The names, one behind the other.
    texts: String,
    seed: RandomState,
}

/// A short name lies in its slot; of a longer one the middle has to be looked up.
#[derive(Clone, Copy, Debug)]
struct Slot {
    words: Words,
    node: ScopeId,
    length: u32,
    start: usize,
}

impl NodeNames {
    /// The node of a name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<ScopeId> {
        let (_, node) = self.look(name, Words::of(name.as_bytes()));
        if node == FREE { None } else { Some(node) }
    }

    /// Gives a name to a node; the last one who is given a name has it.
    pub fn insert(&mut self, name: &str, node: ScopeId) {
        let Ok(length) = u32::try_from(name.len()) else { return };
        if (self.taken + 1) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        let words = Words::of(name.as_bytes());
        let ((place, known), start) = (self.look(name, words), self.texts.len());
        let Some(slot) = self.slots.get_mut(place) else { return };
        if known == FREE {
            *slot = Slot { words, node, length, start };
            self.texts.push_str(name);
            self.taken += 1;
        } else {
            slot.node = node;
        }
    }

    /// All names and their nodes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ScopeId)> {
        self.slots.iter().filter(|slot| slot.node != FREE).map(|slot| (self.text(slot), slot.node))
    }

    /// Whether there is no name.
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The slot that a name lies in, or else the free one at which looking for it ends, and the node there.
    #[inline]
    fn look(&self, name: &str, words: Words) -> (usize, ScopeId) {
        let last = self.slots.len().wrapping_sub(1);
        let mut place = self.hash(name, words) as usize & last;
        // Some slot is free.
        while let Some(slot) = self.slots.get(place) {
            let same = slot.words == words && slot.length as usize == name.len();
            if slot.node == FREE || (same && (Words::are_all(name.len()) || self.text(slot) == name)) {
                return (place, slot.node);
            }
            place = (place + 1) & last;
        }
        (place, FREE)
    }

    #[inline]
    fn hash(&self, name: &str, words: Words) -> u64 {
        let mut hasher = self.seed.build_hasher();
        if Words::are_all(name.len()) {
            hasher.write_u64(words.head() ^ name.len() as u64);
            hasher.write_u64(words.tail());
        } else {
            hasher.write(name.as_bytes());
        }
        hasher.finish()
    }

    fn text(&self, slot: &Slot) -> &str {
        self.texts.get(slot.start..slot.start + slot.length as usize).unwrap_or_default()
    }

    fn grow(&mut self) {
        let free = Slot { words: Words::default(), node: FREE, length: 0, start: 0 };
        let size = (self.slots.len() * 2).max(FEWEST);
        let old = std::mem::replace(&mut self.slots, vec![free; size]);
        for slot in old.into_iter().filter(|slot| slot.node != FREE) {
            let name = self.texts.get(slot.start..slot.start + slot.length as usize).unwrap_or_default();
            let (place, _) = self.look(name, slot.words);
            if let Some(free) = self.slots.get_mut(place) {
                *free = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a map like any other, whatever the names have in common.
        #[test]
        fn every_name_leads_to_the_node_that_was_given_it_last(
            names in prop::collection::vec(("[ab]{0,20}|[a-z]{1,3}|T[0-9]{1,3}|\u{e9}{0,12}", 0_u32..1000), 0..200),
            others in prop::collection::vec("[ab]{0,20}", 0..50),
        ) {
            let (mut known, mut expected) = (NodeNames::default(), HashMap::new());
            for (name, node) in &names {
                known.insert(name, ScopeId(*node));
                expected.insert(name.as_str(), ScopeId(*node));
            }
            for name in names.iter().map(|(name, _)| name).chain(&others) {
                prop_assert_eq!(known.get(name), expected.get(name.as_str()).copied(), "{:?}", name);
            }
            prop_assert_eq!(known.is_empty(), expected.is_empty());
            prop_assert_eq!(known.iter().collect::<HashMap<_, _>>(), expected);
        }
    }

    #[test]
    fn a_slot_is_half_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
