//! A few hundred principals in a table of their own.

use std::sync::Arc;

use foldhash::quality::RandomState;

use super::hash;
use super::tables::{BundleId, Profile, ProfileId, Tables};
use crate::model::{Guid, PrincipalKey};

/// No profile: nobody lies in the slot.
const VACANT: u32 = u32::MAX;
/// No bundle.
const NONE: BundleId = BundleId(u32::MAX);
/// The bundles lie elsewhere, because there are more than three: where they begin and how many there are follows.
const ELSEWHERE: BundleId = BundleId(u32::MAX - 1);

/// One principal, or nobody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    object: u128,
    profile: u32,
    own: [BundleId; 3],
}

impl Slot {
    pub(super) const VACANT: Self = Self { object: 0, profile: VACANT, own: [NONE; 3] };

    /// A principal with bundles that are all different; `more` takes those that do not fit in.
    pub(super) fn new(object: Guid, profile: ProfileId, own: &[BundleId], more: &mut Vec<BundleId>) -> Self {
        let own = match *own {
            [] => [NONE; 3],
            [one] => [one, NONE, NONE],
            [one, two] => [one, two, NONE],
            [one, two, three] => [one, two, three],
            _ => {
                let number = |number: usize| BundleId(u32::try_from(number).unwrap_or(u32::MAX));
                let start = number(more.len());
                more.extend_from_slice(own);
                [ELSEWHERE, start, number(own.len())]
            }
        };
        Self { object: object.0, profile: profile.0, own }
    }

    #[inline]
    pub(super) const fn object(&self) -> Guid {
        Guid(self.object)
    }

    #[inline]
    pub(super) const fn profile(&self) -> ProfileId {
        ProfileId(self.profile)
    }

    /// Its bundles. `more` is where those lie that [`Self::new`] did not fit in.
    #[inline]
    pub(super) fn own<'s>(&'s self, more: impl FnOnce() -> &'s [BundleId]) -> &'s [BundleId] {
        match &self.own {
            [ELSEWHERE, start, count] => {
                let number = |id: &BundleId| usize::try_from(id.0).unwrap_or(usize::MAX);
                let start = number(start);
                more().get(start..start.saturating_add(number(count))).unwrap_or_default()
            }
            [own @ .., NONE, NONE, NONE] => own,
            [own @ .., NONE, NONE] => own,
            [own @ .., NONE] => own,
            own => own,
        }
    }

    #[inline]
    const fn is_vacant(&self) -> bool {
        self.profile == VACANT
    }
}

/// A table of slots, and beside it what decisions seldom look at.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    slots: Arc<[Slot]>,
    rest: Arc<Rest>,
}

#[derive(Debug)]
struct Rest {
    /// The ids, in the order of the slots.
    ids: Box<str>,
    /// By slot: where its id ends.
    ends: Box<[u32]>,
    /// Bundles that did not fit into slots.
    more: Box<[BundleId]>,
}

/// A principal on its way into a shard.
#[derive(Clone, Copy)]
pub(super) struct Newcomer<'n> {
    pub(super) key: PrincipalKey,
    pub(super) profile: ProfileId,
    pub(super) own: &'n [BundleId],
    pub(super) id: &'n str,
}

impl Shard {
    /// A shard of these. Of those with the same key only the first is stored; of the others, `double` is told the
    /// position and that of the first.
    pub(super) fn new(newcomers: &[Newcomer<'_>], seed: &RandomState, mut double: impl FnMut(usize, usize)) -> Self {
        // A fifth stays free, and at least one slot, at which every search ends.
        let size = newcomers.len() + newcomers.len() / 4 + 1;
        let mut taken: Vec<Option<usize>> = vec![None; size];
        for (position, newcomer) in newcomers.iter().enumerate() {
            let key = |other: usize| newcomers.get(other).map(|other| other.key);
            for place in places(hash(seed, newcomer.key), size) {
                let Some(slot) = taken.get_mut(place) else { break };
                match *slot {
                    None => {
                        *slot = Some(position);
                        break;
                    }
                    Some(first) if key(first) == Some(newcomer.key) => {
                        double(first, position);
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
        let (mut ids, mut ends, mut more) = (String::new(), Vec::with_capacity(size), Vec::new());
        let slot = |position: Option<usize>| {
            let newcomer = position.and_then(|position| newcomers.get(position));
            ids.push_str(newcomer.map_or("", |newcomer| newcomer.id));
            ends.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            newcomer.map_or(Slot::VACANT, |new| Slot::new(new.key.object, new.profile, new.own, &mut more))
        };
        let slots = taken.into_iter().map(slot).collect();
        Self { slots, rest: Arc::new(Rest { ids: ids.into(), ends: ends.into(), more: more.into() }) }
    }

    /// The slot of this key, with its number and its profile. The hash is that of the key.
    #[inline]
    pub(super) fn find<'t>(
        &'t self,
        hash: u64,
        key: PrincipalKey,
        tables: &'t Tables,
    ) -> Option<(usize, &'t Slot, &'t Profile)> {
        let slots = &*self.slots;
        let mut place = first_place(hash, slots.len());
        // The search ends with the principal or with the first slot that nobody lies in.
        for _ in 0..slots.len() {
            let slot = slots.get(place)?;
            if slot.object == key.object.0
                && let Some(profile) = tables.profile(slot.profile()).filter(|profile| profile.tenant == key.tenant)
            {
                return Some((place, slot, profile));
            }
            if slot.is_vacant() {
                return None;
            }
            place = if place + 1 < slots.len() { place + 1 } else { 0 };
        }
        None
    }

    /// The same shard with another profile and other bundles for whoever lies in a slot, where there is no more to
    /// change: nobody moves, and all but the slots is shared. `None` where the bundles do not fit into the slot.
    pub(super) fn with_slot(&self, place: usize, profile: ProfileId, own: &[BundleId]) -> Option<Self> {
        let mut more = Vec::new();
        let slot = Slot::new(self.slots.get(place)?.object(), profile, own, &mut more);
        if !more.is_empty() {
            return None;
        }
        let slots = self.slots.iter().enumerate().map(|(other, old)| if other == place { slot } else { *old });
        Some(Self { slots: slots.collect(), rest: Arc::clone(&self.rest) })
    }

    /// All slots that are taken, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_vacant())
    }

    /// The id of the principal in a slot.
    pub(super) fn id(&self, place: usize) -> &str {
        let end = |place: usize| self.rest.ends.get(place).and_then(|end| usize::try_from(*end).ok());
        let start = place.checked_sub(1).map_or(Some(0), end);
        start.zip(end(place)).and_then(|(start, end)| self.rest.ids.get(start..end)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn own<'s>(&'s self, slot: &'s Slot) -> &'s [BundleId] {
        slot.own(|| &self.rest.more)
    }

    /// Whether this is the very same shard.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots)
    }

    /// The bytes behind it, and how many of these are the texts of ids.
    pub(super) fn heap_bytes(&self) -> (usize, usize) {
        // Each of the two shared parts begins with two counters.
        let counters = 4 * size_of::<usize>();
        let rest = size_of::<Rest>() + size_of_val(&*self.rest.ends) + size_of_val(&*self.rest.more);
        (counters + size_of_val(&*self.slots) + rest + self.rest.ids.len(), self.rest.ids.len())
    }
}

/// The slots in which a key may lie, the likeliest first.
fn places(hash: u64, size: usize) -> impl Iterator<Item = usize> {
    let first = first_place(hash, size);
    (first..size).chain(0..first)
}

#[inline]
fn first_place(hash: u64, size: usize) -> usize {
    // Sizes are far below the number beyond which the product would not fit; then the place would be another.
    (((hash & 0xffff_ffff).wrapping_mul(size as u64)) >> 32) as usize
}

/// Sorts bundles and drops what stands there twice.
pub(super) fn distinct(own: &[BundleId]) -> Vec<BundleId> {
    let mut own = own.to_vec();
    own.sort_unstable();
    own.dedup();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_half_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 32);
    }

    #[test]
    fn a_slot_gives_back_the_bundles_that_it_was_given() {
        let mut more = Vec::new();
        let all: Vec<BundleId> = (0..20).map(BundleId).collect();
        let slots: Vec<Slot> =
            (0..20).map(|count| Slot::new(Guid(1), ProfileId(2), &all[..count], &mut more)).collect();
        for (count, slot) in slots.iter().enumerate() {
            assert_eq!(slot.own(|| &more), &all[..count], "{count} bundles");
        }
    }

    #[test]
    fn every_slot_is_one_of_the_places_of_every_key() {
        for hash in [0, 1, 0x7fff_ffff, 0xffff_ffff, u64::MAX] {
            let mut all: Vec<usize> = places(hash, 5).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
    }
}
