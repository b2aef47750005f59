//! Another store that differs in one principal and shares the rest.

use std::sync::Arc;

use super::build::Chunk;
use super::shard::{Newcomer, Shard, distinct};
use super::tables::{BundleId, ProfileId, Tables};
use super::{People, SHARD, hash, scaled};
use crate::model::PrincipalKey;

/// Shards that have grown to so many times their size are dealt out anew.
const CROWDED: usize = 4;

/// What a principal is from now on: its profile, its own grants, its id.
pub(in crate::policy) type Become<'b> = (ProfileId, &'b [BundleId], &'b str);

impl People {
    /// The same principals, with this one in place of whoever has the key, or without anybody who has it. The tenant of
    /// the profile is that of the key.
    pub(in crate::policy) fn with(&self, key: PrincipalKey, new: Option<Become<'_>>, tables: &Tables) -> Self {
        let hash = hash(&self.seed, key);
        let number = scaled(hash >> 32, self.shards);
        let own = new.map(|(_, own, _)| distinct(own)).unwrap_or_default();
        let newcomer = new.map(|(profile, _, id)| Newcomer { key, profile, own: &own, id });
        let shard = self.shard(number);
        let len = self.len + usize::from(newcomer.is_some());
        let Some(shard) = shard.filter(|_| len <= CROWDED * SHARD * usize::try_from(self.shards).unwrap_or(1)) else {
            return self.dealt(key, newcomer, tables);
        };
        if let (Some(new), Some((place, slot, _))) = (newcomer, shard.find(hash, key, tables))
            && shard.id(place) == new.id
            && let Some(replaced) = shard.with_slot(place, new.profile, new.own)
        {
            let gone = tables.held_by(slot.profile(), shard.own(slot));
            let came = tables.held_by(new.profile, new.own);
            let grants = self.grants.saturating_sub(gone).saturating_add(came);
            return Self { rows: self.rows_with(number, replaced), grants, ..self.clone() };
        }
        let stays = shard.iter().filter_map(|(place, slot)| {
            let tenant = tables.profile(slot.profile())?.tenant;
            let key = PrincipalKey { tenant, object: slot.object() };
            Some(Newcomer { key, profile: slot.profile(), own: shard.own(slot), id: shard.id(place) })
        });
        let (mut gone, mut kept) = (0, Vec::new());
        for principal in stays {
            if principal.key == key {
                gone = tables.held_by(principal.profile, principal.own);
            } else {
                kept.push(principal);
            }
        }
        let before = kept.len();
        kept.extend(newcomer);
        let came = newcomer.map_or(0, |new| tables.held_by(new.profile, new.own));
        let replaced = Shard::new(&kept, &self.seed, |_, _| ());
        let left = shard.iter().count() - before;
        Self {
            rows: self.rows_with(number, replaced),
            len: self.len - left + usize::from(newcomer.is_some()),
            grants: self.grants.saturating_sub(gone).saturating_add(came),
            ..self.clone()
        }
    }

    /// The rows with one shard in another's place.
    fn rows_with(&self, number: u32, shard: Shard) -> Arc<[Arc<[Shard]>]> {
        let row = usize::try_from(number >> self.width).unwrap_or(usize::MAX);
        let column = usize::try_from(number & ((1 << self.width) - 1)).unwrap_or(usize::MAX);
        let replaced = |shards: &Arc<[Shard]>| -> Arc<[Shard]> {
            let other = |(position, old): (usize, &Shard)| if position == column { shard.clone() } else { old.clone() };
            shards.iter().enumerate().map(other).collect()
        };
        let rows = self.rows.iter().enumerate();
        rows.map(|(position, shards)| if position == row { replaced(shards) } else { Arc::clone(shards) }).collect()
    }

    /// All principals, dealt out anew over as many shards as they need.
    fn dealt(&self, key: PrincipalKey, newcomer: Option<Newcomer<'_>>, tables: &Tables) -> Self {
        let mut chunk = Chunk::default();
        for principal in self.iter(tables).filter(|principal| principal.key() != key) {
            chunk.add(principal.key().object, principal.profile(), principal.own(), principal.id());
        }
        if let Some(new) = newcomer {
            chunk.add(new.key.object, new.profile, new.own, new.id);
        }
        Self::build(&[chunk], tables, 1).0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Guid, Status};
    use crate::policy::hierarchy::Interval;
    use crate::policy::people::tables::{Bundle, Profile};

    const TENANT: Guid = Guid(7);

    fn tables() -> (Tables, ProfileId, Vec<BundleId>) {
        let mut tables = Tables::default();
        let (groups, of_groups) = (Arc::new([]), Box::default());
        let profile = Profile { tenant: TENANT, status: Status::Active, flags: 0, groups, of_groups };
        let profile = tables.intern_profile(profile);
        let gift = tables.intern_gift(&[(crate::policy::domain::RightId(0), crate::model::Effect::Deny)]);
        let bundle = |first| Bundle { scope: Interval { first, end: first + 1 }, gift };
        let bundles = (0..6).map(|first| tables.intern_bundle(bundle(first))).collect();
        (tables, profile, bundles)
    }

    const fn key(object: u128) -> PrincipalKey {
        PrincipalKey { tenant: TENANT, object: Guid(object) }
    }

    proptest! {
        /// A store after any changes has what a map has after the same, and what it was made of is as it was.
        #[test]
        fn changes_are_those_of_a_map(
            changes in prop::collection::vec((0_u128..40, prop::option::of((0_usize..6, "[a-z]{0,3}"))), 1..120),
        ) {
            let (tables, profile, bundles) = tables();
            let mut people = People::default();
            let mut expected: BTreeMap<u128, (Vec<BundleId>, String)> = BTreeMap::new();
            for (object, new) in &changes {
                let before = people.clone();
                let was: Vec<u128> = expected.keys().copied().collect();
                match new {
                    Some((count, id)) => {
                        people = people.with(key(*object), Some((profile, &bundles[..*count], id)), &tables);
                        expected.insert(*object, (bundles[..*count].to_vec(), id.clone()));
                    }
                    None => {
                        people = people.with(key(*object), None, &tables);
                        expected.remove(object);
                    }
                }
                prop_assert_eq!(before.len(), was.len());
                prop_assert!(was.iter().all(|object| before.find(key(*object), &tables).is_some()));
            }
            prop_assert_eq!((people.len(), people.iter(&tables).count()), (expected.len(), expected.len()));
            prop_assert_eq!(people.grants(), expected.values().map(|(own, _)| own.len()).sum::<usize>());
            for object in 0..40 {
                let found = people.find(key(object), &tables).map(|found| (found.own().to_vec(), found.id().to_owned()));
                prop_assert_eq!(found, expected.get(&object).cloned());
            }
        }
    }

    #[test]
    fn a_store_that_grows_one_by_one_keeps_its_shards_small_and_loses_nobody() {
        let (tables, profile, bundles) = tables();
        let mut people = People::default();
        let count = 5_000;
        for object in 0..count {
            people = people.with(key(object), Some((profile, &bundles[..1], "p")), &tables);
        }
        assert!((0..count).all(|object| people.find(key(object), &tables).is_some()));
        let largest = people.rows.iter().flat_map(|row| row.iter()).map(|shard| shard.iter().count()).max();
        assert!(largest < Some(2 * CROWDED * SHARD), "{largest:?}");
    }

    #[test]
    fn a_change_shares_all_shards_but_one() {
        let (tables, profile, bundles) = tables();
        let mut chunk = Chunk::default();
        (0..20_000).for_each(|object| chunk.add(Guid(object), profile, &bundles[..2], "p"));
        let (people, _) = People::build(&[chunk], &tables, 1);
        let changed = people.with(key(77), Some((profile, &bundles[..3], "q")), &tables);
        let both = people.rows.iter().flat_map(|row| row.iter()).zip(changed.rows.iter().flat_map(|row| row.iter()));
        assert_eq!(both.filter(|(old, new)| !old.is(new)).count(), 1);
        let rows = people.rows.iter().zip(changed.rows.iter());
        assert_eq!(rows.filter(|(old, new)| !Arc::ptr_eq(old, new)).count(), 1);
    }
}
