//! The principals of a domain, stored so that a million take little room, so that one is found in three steps, and so
//! that another store which differs in one principal shares all but a few kilobytes with this one.
//!
//! A principal is a slot of 32 bytes: its object id, the number of its *profile*, the numbers of up to three *bundles*.
//! A profile is what a principal shares with its like: tenant, state, flags, groups. A bundle is what one entry of
//! `grants` gives at one node: a node and a *gift*, which is a set of rights with their effects. All three are interned
//! ([`Tables`]), so that another meaning of a role or a node rewrites no principal.
//!
//! Slots live in small open-addressed shards, and shards behind two levels of shared lists: replacing a principal
//! copies one shard and the two short lists that lead to it. Where a key lies depends on a seed drawn at random, so that
//! nobody can choose keys that lie in one place.
//!
//! To fill a store, intern what principals hold, gather the principals in one or more [`Chunk`]s, which several threads
//! may do at once, and hand all chunks to [`People::build`]:
//!
//! ```text
//! let gift = tables.intern_gift(&[(right, effect)]);
//! let bundle = tables.intern_bundle(Bundle { scope, gift });
//! let profile = tables.intern_profile(Profile { tenant, status, flags, groups, of_groups });
//! chunk.add(object, profile, &[bundle], "id");
//! let (people, doubles) = People::build(&[chunk, other_chunk], &tables, threads);
//! ```

mod build;
mod change;
mod interned;
mod shard;
mod tables;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;

pub use build::{Chunk, Doubles};
pub(super) use tables::{Bundle, Gathered, Gift, GiftId, Profile, Tables};
pub use tables::{BundleId, ProfileId};

use shard::{Shard, Slot};

use crate::model::{PrincipalKey, Status};

/// How many principals a shard has on the average: so few that copying one is cheap, so many that the lists of shards
/// stay short.
const SHARD: usize = 200;

/// All principals of a domain. A clone shares everything with the original.
#[derive(Clone, Debug)]
pub struct People {
    /// Rows of shards; all rows but the last have `1 << width` of them.
    rows: Arc<[Arc<[Shard]>]>,
    width: u32,
    shards: u32,
    seed: RandomState,
    len: usize,
    grants: usize,
}

impl Default for People {
    fn default() -> Self {
        Self { rows: Arc::new([]), width: 0, shards: 0, seed: RandomState::default(), len: 0, grants: 0 }
    }
}

/// A principal of a domain, with what it inherits from its groups.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'d> {
    slot: &'d Slot,
    profile: &'d Profile,
    shard: &'d Shard,
    /// The number of the slot in its shard.
    place: usize,
}

/// A principal as it is stored, for whoever goes through all of them and looks closer at a few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'d> {
    slot: &'d Slot,
    shard: &'d Shard,
    place: usize,
}

impl<'d> Stored<'d> {
    #[inline]
    pub(super) const fn profile(self) -> ProfileId {
        self.slot.profile()
    }

    /// Its own grants, each bundle once.
    #[inline]
    pub(super) fn own(self) -> &'d [BundleId] {
        self.shard.own(self.slot)
    }

    /// All of it.
    pub(super) fn principal(self, tables: &'d Tables) -> Option<Principal<'d>> {
        let Self { slot, shard, place } = self;
        Some(Principal { slot, profile: tables.profile(slot.profile())?, shard, place })
    }
}

impl<'d> Principal<'d> {
    /// Its id, for logs, tests and the backend.
    pub fn id(self) -> &'d str {
        self.shard.id(self.place)
    }

    /// Tenant and object id.
    pub const fn key(self) -> PrincipalKey {
        PrincipalKey { tenant: self.profile.tenant, object: self.slot.object() }
    }

    /// The state of the account, with what its groups make of it.
    #[inline]
    pub const fn status(self) -> Status {
        self.profile.status
    }

    /// The names of its groups and of all groups above those, sorted. Equal lists are stored once.
    pub const fn groups(self) -> &'d Arc<[Arc<str>]> {
        &self.profile.groups
    }

    /// What it shares with its like.
    pub const fn profile(self) -> ProfileId {
        self.slot.profile()
    }

    /// Its own grants, each bundle once.
    #[inline]
    pub fn own(self) -> &'d [BundleId] {
        self.shard.own(self.slot)
    }

    #[inline]
    pub(super) const fn flags(self) -> u128 {
        self.profile.flags
    }

    /// The grants of each of its groups that has any.
    #[inline]
    pub(super) const fn of_groups(self) -> &'d [Arc<[BundleId]>] {
        &self.profile.of_groups
    }
}

impl People {
    /// Fills a store, on up to so many threads; the outcome does not depend on how many. Principals are numbered as they
    /// come, chunk by chunk. Of those that have a key in common, the first is stored; see [`Doubles`].
    pub(super) fn build(chunks: &[Chunk], tables: &Tables, threads: usize) -> (Self, Doubles) {
        build::build(chunks, tables, threads)
    }

    /// The principal with this key.
    #[inline]
    pub(super) fn find<'d>(&'d self, key: PrincipalKey, tables: &'d Tables) -> Option<Principal<'d>> {
        let hash = hash(&self.seed, key);
        let shard = self.shard(scaled(hash >> 32, self.shards))?;
        let (place, slot, profile) = shard.find(hash, key, tables)?;
        Some(Principal { slot, profile, shard, place })
    }

    /// Whether both share all principals.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many rights at how many nodes their own entries and those of their groups give all of them together.
    pub(super) const fn grants(&self) -> usize {
        self.grants
    }

    /// All of them, in no order.
    pub(super) fn iter<'d>(&'d self, tables: &'d Tables) -> impl Iterator<Item = Principal<'d>> {
        let shards = self.rows.iter().flat_map(|row| row.iter());
        let stored = shards.flat_map(|shard| shard.iter().map(move |(place, slot)| Stored { slot, shard, place }));
        stored.filter_map(|stored| stored.principal(tables))
    }

    /// Shows all of them, in no order: faster than going through [`iter`](Self::iter).
    #[inline]
    pub(super) fn each<'d>(&'d self, mut look: impl FnMut(Stored<'d>)) {
        for row in &*self.rows {
            for shard in &**row {
                for (place, slot) in shard.iter() {
                    look(Stored { slot, shard, place });
                }
            }
        }
    }

    /// The bytes that the store takes, and how many of these are the texts of ids. The tables are not counted.
    pub fn heap_bytes(&self) -> (usize, usize) {
        let lists = self.rows.iter().map(|row| size_of_val(row) + size_of_val(&**row)).sum::<usize>();
        let shards = self.rows.iter().flat_map(|row| row.iter()).map(Shard::heap_bytes);
        shards.fold((lists, 0), |(all, names), (more, text)| (all + more, names + text))
    }

    #[inline]
    fn shard(&self, number: u32) -> Option<&Shard> {
        let row = self.rows.get(usize::try_from(number >> self.width).ok()?)?;
        row.get(usize::try_from(number & ((1 << self.width) - 1)).ok()?)
    }
}

/// Where a key lies. Its upper half says in which shard, its lower half where in the shard.
#[inline]
fn hash(seed: &RandomState, key: PrincipalKey) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u128(key.tenant.0);
    hasher.write_u128(key.object.0);
    hasher.finish()
}

/// A number of 32 bits, scaled to `0..size`.
#[inline]
fn scaled(hash: u64, size: u32) -> u32 {
    split(hash, size).0
}

/// The same, and another number of 32 bits, of those for which it is the same.
#[inline]
fn split(hash: u64, size: u32) -> (u32, u64) {
    let product = (hash & 0xffff_ffff) * u64::from(size);
    (u32::try_from(product >> 32).unwrap_or(0), product & 0xffff_ffff)
}
