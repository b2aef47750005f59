//! Filling a store: principals are gathered in chunks, sorted into shards, and the shards filled on several threads.

use std::hash::BuildHasher;
use std::iter;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use foldhash::quality::RandomState;

use super::shard::{Newcomer, Shard, Slot, distinct};
use super::tables::{BundleId, ProfileId, Tables};
use super::{People, SHARD, hash, scaled, split};
use crate::courtesy::in_turns;
use crate::model::{Guid, PrincipalKey};

/// Fewer principals than this are stored by one thread: a second would take longer to start.
const WORTH_A_THREAD: usize = 20_000;
/// Shards that are filled in one turn of a thread, and numbers that are looked at in one.
const SHARDS_A_TURN: u32 = 32;
const NUMBERS_A_TURN: u32 = 16_384;
/// Ids that are alike are looked for in so many heaps, each of which is sorted in one turn.
const HEAPS: u32 = 64;

/// Principals that were gathered, in the order in which they came.
#[derive(Debug, Default)]
pub struct Chunk {
    slots: Vec<Slot>,
    more: Vec<BundleId>,
    ids: String,
    ends: Vec<usize>,
}

impl Chunk {
    /// Adds a principal: its object id (the tenant is that of the profile), its profile, its own grants in any order,
    /// and its id.
    pub fn add(&mut self, object: Guid, profile: ProfileId, own: &[BundleId], id: &str) {
        let slot = if own.is_sorted_by(|a, b| a < b) {
            Slot::new(object, profile, own, &mut self.more)
        } else {
            Slot::new(object, profile, &distinct(own), &mut self.more)
        };
        self.slots.push(slot);
        self.ids.push_str(id);
        self.ends.push(self.ids.len());
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Those of them whose position is not told of.
    pub(in crate::policy) fn without(&self, left_out: impl Fn(usize) -> bool, tables: &Tables) -> Self {
        let mut rest = Self::default();
        for kept in (0..self.len()).filter(|position| !left_out(*position)) {
            if let Some(new) = self.newcomer(kept, tables) {
                rest.add(new.key.object, new.profile, new.own, new.id);
            }
        }
        rest
    }

    fn newcomer(&self, position: usize, tables: &Tables) -> Option<Newcomer<'_>> {
        let slot = self.slots.get(position)?;
        let start = position.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        let id = self.ids.get(start..*self.ends.get(position)?)?;
        let tenant = tables.profile(slot.profile())?.tenant;
        let key = PrincipalKey { tenant, object: slot.object() };
        Some(Newcomer { key, profile: slot.profile(), own: slot.own(|| &self.more), id })
    }
}

/// Principals that have something in common which is to be one's own. Each pair has the number of an earlier one and of
/// a later one, numbered as they came, chunk by chunk; pairs are sorted by the later one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Doubles {
    /// Those with the same key.
    pub keys: Vec<(usize, usize)>,
    /// Those with the same id.
    pub ids: Vec<(usize, usize)>,
}

/// Where a principal is among all chunks.
#[derive(Clone, Copy, Default)]
struct At {
    chunk: u32,
    position: u32,
}

/// All chunks, as one list.
struct Gathered<'c> {
    chunks: &'c [Chunk],
    /// By chunk: the number of its first principal.
    starts: Vec<usize>,
    len: usize,
    tables: &'c Tables,
}

impl<'c> Gathered<'c> {
    fn new(chunks: &'c [Chunk], tables: &'c Tables) -> Self {
        let mut len = 0;
        let mut starts = Vec::new();
        for chunk in chunks {
            starts.push(len);
            len += chunk.len();
        }
        Self { chunks, starts, len, tables }
    }

    /// Where those with these numbers are, in turn.
    fn places(&self, numbers: Range<usize>) -> impl Iterator<Item = At> {
        let chunks = self.chunks.iter().zip(&self.starts).zip(0..);
        chunks.flat_map(move |((chunk, start), number)| {
            let within = |end: usize| end.saturating_sub(*start).min(chunk.len());
            let position = |position| u32::try_from(position).unwrap_or(u32::MAX);
            let positions = position(within(numbers.start))..position(within(numbers.end));
            positions.map(move |position| At { chunk: number, position })
        })
    }

    fn get(&self, at: At) -> Option<Newcomer<'c>> {
        self.chunks.get(usize::try_from(at.chunk).ok()?)?.newcomer(usize::try_from(at.position).ok()?, self.tables)
    }

    fn number(&self, at: At) -> Option<usize> {
        Some(self.starts.get(usize::try_from(at.chunk).ok()?)? + usize::try_from(at.position).ok()?)
    }

    fn id(&self, number: usize) -> Option<&'c str> {
        self.get(self.places(number..number + 1).next()?).map(|newcomer| newcomer.id)
    }
}

pub(super) fn build(chunks: &[Chunk], tables: &Tables, threads: usize) -> (People, Doubles) {
    let all = Gathered::new(chunks, tables);
    let seed = RandomState::default();
    let shards = u32::try_from(all.len.div_ceil(SHARD)).unwrap_or(u32::MAX);
    let threads = threads.min(all.len / WORTH_A_THREAD).max(1);

    let hashes: Vec<(u64, u64)> = each_part(all.len, threads, |part| {
        let both = |at| all.get(at).map_or((0, 0), |new| (hash(&seed, new.key), seed.hash_one(new.id)));
        in_turns(NUMBERS_A_TURN, all.places(part)).map(both).collect::<Vec<_>>()
    })
    .concat();
    let filled = each_part(usize::try_from(shards).unwrap_or(usize::MAX), threads, |part| {
        fill(part, shards, &all, &hashes, &seed)
    });
    let ids = each_part(threads, threads, |part| same_ids(part.start, threads, &all, &hashes));

    let mut doubles = Doubles::default();
    doubles.ids.extend(ids.into_iter().flatten());
    let mut people = People { seed, shards, width: width_of(shards), ..People::default() };
    let mut list: Vec<Shard> = Vec::with_capacity(usize::try_from(shards).unwrap_or(0));
    for part in filled {
        list.extend(part.shards);
        doubles.keys.extend(part.doubles);
        people.grants += part.grants;
    }
    people.len = all.len - doubles.keys.len();
    people.rows = list.chunks(1 << people.width).map(Arc::from).collect();
    doubles.keys.sort_unstable_by_key(|(_, later)| *later);
    doubles.ids.sort_unstable_by_key(|(_, later)| *later);
    (people, doubles)
}

/// The number of shards in a row, as a power of two, so that rows are about as many as the shards of one.
const fn width_of(shards: u32) -> u32 {
    (u32::BITS - shards.leading_zeros()).div_ceil(2)
}

/// What becomes of each part of `0..len`, one part a thread.
fn each_part<T: Send>(len: usize, threads: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let part = |number: usize| len * number / threads..len * (number + 1) / threads;
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || work(part(number)))).collect();
        let first = work(part(0));
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        iter::once(first).chain(others).collect()
    })
}

/// Some shards in a row, filled.
struct Filled {
    shards: Vec<Shard>,
    doubles: Vec<(usize, usize)>,
    grants: usize,
}

fn fill(part: Range<usize>, shards: u32, all: &Gathered<'_>, hashes: &[(u64, u64)], seed: &RandomState) -> Filled {
    // Principals by shard: first how many each shard has, then each at its place.
    let shard_of = |key: u64| {
        let shard = usize::try_from(scaled(key >> 32, shards)).unwrap_or(usize::MAX);
        shard.checked_sub(part.start).filter(|_| shard < part.end)
    };
    let mut ends = vec![0_usize; part.len()];
    for (key, _) in in_turns(NUMBERS_A_TURN, hashes) {
        shard_of(*key).and_then(|shard| ends.get_mut(shard)).into_iter().for_each(|count| *count += 1);
    }
    let mut total = 0;
    let mut next = Vec::with_capacity(ends.len());
    for end in &mut ends {
        next.push(total);
        total += *end;
        *end = total;
    }
    let mut sorted = vec![At::default(); total];
    for (at, (key, _)) in in_turns(NUMBERS_A_TURN, all.places(0..all.len).zip(hashes)) {
        let Some(next) = shard_of(*key).and_then(|shard| next.get_mut(shard)) else { continue };
        sorted.get_mut(*next).into_iter().for_each(|slot| *slot = at);
        *next += 1;
    }
    let mut filled = Filled { shards: Vec::with_capacity(part.len()), doubles: Vec::new(), grants: 0 };
    let mut start = 0;
    let mut newcomers = Vec::new();
    for end in in_turns(SHARDS_A_TURN, ends) {
        let members = sorted.get(start..end).unwrap_or_default();
        start = end;
        newcomers.clear();
        newcomers.extend(members.iter().filter_map(|at| all.get(*at)));
        let number = |position: usize| members.get(position).and_then(|at| all.number(*at));
        let shard = Shard::new(&newcomers, seed, |first, later| {
            filled.doubles.extend(number(first).zip(number(later)));
        });
        filled.grants +=
            shard.iter().map(|(_, slot)| all.tables.held_by(slot.profile(), shard.own(slot))).sum::<usize>();
        filled.shards.push(shard);
    }
    filled
}

/// The principals whose id another has, out of those whose id lies in one of `parts` parts of all ids.
fn same_ids(part: usize, parts: usize, all: &Gathered<'_>, hashes: &[(u64, u64)]) -> Vec<(usize, usize)> {
    let parts = u32::try_from(parts).unwrap_or(1);
    let mut heaps = vec![Vec::new(); usize::try_from(HEAPS).unwrap_or(1)];
    for (number, (_, id)) in in_turns(NUMBERS_A_TURN, hashes.iter().enumerate()) {
        let (of_part, rest) = split(id >> 32, parts);
        let heap = usize::try_from(scaled(rest, HEAPS)).ok().filter(|_| usize::try_from(of_part) == Ok(part));
        heap.and_then(|heap| heaps.get_mut(heap)).into_iter().for_each(|heap| heap.push((*id, number)));
    }
    let mut same = Vec::new();
    for mut ids in in_turns(1, heaps) {
        ids.sort_unstable();
        for alike in ids.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
            for (position, (_, later)) in alike.iter().enumerate().skip(1) {
                let mut before = alike.iter().take(position).map(|(_, number)| *number);
                same.extend(before.find(|first| all.id(*first) == all.id(*later)).map(|first| (first, *later)));
            }
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;
    use crate::policy::hierarchy::Interval;
    use crate::policy::people::tables::{Bundle, Profile};

    const TENANTS: [Guid; 2] = [Guid(70), Guid(71)];

    /// A profile for each of two tenants, and five bundles.
    fn tables() -> (Tables, [ProfileId; 2], Vec<BundleId>) {
        let mut tables = Tables::default();
        let profiles = TENANTS.map(|tenant| {
            let (groups, of_groups) = (Arc::new([]), Box::default());
            tables.intern_profile(Profile { tenant, status: Status::Active, flags: 0, groups, of_groups })
        });
        let gift = tables.intern_gift(&[]);
        let bundle = |first| Bundle { scope: Interval { first, end: first + 1 }, gift };
        let bundles = (0..5).map(|first| tables.intern_bundle(bundle(first))).collect();
        (tables, profiles, bundles)
    }

    #[test]
    fn who_was_gathered_is_found_with_all_that_it_has_however_many_threads_work() {
        let (tables, profiles, bundles) = tables();
        let count = 3 * WORTH_A_THREAD;
        let own = |number: usize| (0..number % 5).map(|step| bundles[(number + step) % 5]).collect::<Vec<_>>();
        let mut chunks = [Chunk::default(), Chunk::default(), Chunk::default()];
        for number in 0..count {
            let object = Guid(u128::try_from(number / 2).unwrap() << 64);
            chunks[3 * number / count].add(object, profiles[number % 2], &own(number), &format!("p{number}"));
        }
        for threads in [1, 3] {
            let (people, doubles) = People::build(&chunks, &tables, threads);
            assert_eq!(doubles, Doubles::default());
            assert_eq!((people.len(), people.iter(&tables).count()), (count, count));
            for number in 0..count {
                let key = PrincipalKey {
                    tenant: TENANTS[number % 2],
                    object: Guid(u128::try_from(number / 2).unwrap() << 64),
                };
                let found = people.find(key, &tables).unwrap();
                assert_eq!((found.id(), found.profile()), (format!("p{number}").as_str(), profiles[number % 2]));
                assert_eq!(found.own(), distinct(&own(number)));
            }
            for stranger in [
                PrincipalKey { tenant: Guid(72), object: Guid(0) },
                PrincipalKey { tenant: TENANTS[0], object: Guid(1) },
            ] {
                assert!(people.find(stranger, &tables).is_none(), "{stranger:?}");
            }
        }
    }

    #[test]
    fn of_those_with_one_key_the_first_is_stored_and_all_doubles_are_told() {
        let (tables, profiles, _) = tables();
        let mut chunks = [Chunk::default(), Chunk::default()];
        // object, id
        let written = [(1, "a"), (2, "b"), (1, "c"), (3, "b"), (1, "a")];
        for (number, (object, id)) in written.iter().enumerate() {
            chunks[number / 3].add(Guid(*object), profiles[0], &[], id);
        }
        chunks[1].add(Guid(1), profiles[1], &[], "in another tenant");
        let (people, doubles) = People::build(&chunks, &tables, 1);
        assert_eq!(doubles, Doubles { keys: vec![(0, 2), (0, 4)], ids: vec![(1, 3), (0, 4)] });
        assert_eq!(people.len(), 4);
        let found = |object| people.find(PrincipalKey { tenant: TENANTS[0], object: Guid(object) }, &tables).unwrap();
        assert_eq!([1, 2, 3].map(|object| found(object).id()), ["a", "b", "b"]);
    }

    #[test]
    fn nobody_is_found_where_nobody_is() {
        let (tables, ..) = tables();
        let key = PrincipalKey { tenant: TENANTS[0], object: Guid(0) };
        assert!(People::default().find(key, &tables).is_none());
        assert!(People::build(&[], &tables, 2).0.find(key, &tables).is_none());
    }

    /// At 100,000 of three grants each; a million take as much each, and the test less time.
    #[test]
    fn a_principal_takes_60_bytes_at_most_beside_its_name() {
        let (tables, profiles, bundles) = tables();
        let mut chunk = Chunk::default();
        let count: u32 = 100_000;
        for number in 0..count {
            let own: Vec<BundleId> = (0..3).map(|step| bundles[(number as usize + step) % 5]).collect();
            chunk.add(Guid(u128::from(number)), profiles[0], &own, "somebody");
        }
        let (people, _) = People::build(&[chunk], &tables, 1);
        let (all, names) = people.heap_bytes();
        let each = (all - names) / count as usize;
        assert_eq!(names, count as usize * "somebody".len());
        assert!((32..=60).contains(&each), "{each} bytes");
    }
}
