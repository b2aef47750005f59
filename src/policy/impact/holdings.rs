//! What principals hold as numbers that two states of a domain share: equal numbers, equal holdings.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use super::frames::{Frames, SharedFlags};
use crate::model::{Effect, Guid};
use crate::policy::domain::Domain;
use crate::policy::names::Map;
use crate::policy::people::{BundleId, GiftId, Principal, Profile, ProfileId};

/// A bundle: its node, and the number of its gift.
pub(super) type SharedBundle = (u32, u32);

/// A profile without what does not decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SharedProfile {
    tenant: Guid,
    pub(super) flags: SharedFlags,
    pub(super) of_groups: Vec<Vec<u32>>,
}

/// Whether a grant may say something of nodes that are restless, or named in another way than before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Near {
    pub(super) restless: bool,
    pub(super) touched: bool,
}

impl Near {
    const fn or(self, other: Self) -> Self {
        Self { restless: self.restless || other.restless, touched: self.touched || other.touched }
    }
}

/// Values of one kind, each with a number.
#[derive(Debug)]
struct Numbered<T> {
    numbers: Map<T, u32>,
    all: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: Map::default(), all: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(value.clone()).or_insert(next);
        if number == next {
            self.all.push(value);
        }
        number
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.all.get(usize::try_from(number).ok()?)
    }
}

/// One side: what is known of its tables, and what the principal at hand holds there.
#[derive(Debug, Default)]
struct Side {
    gifts: Map<GiftId, u32>,
    bundles: Map<BundleId, (u32, Near)>,
    profiles: Map<ProfileId, (u32, Near)>,
    profile: u32,
    own: Vec<u32>,
    near: Near,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    gifts: Numbered<Vec<(u32, Effect)>>,
    bundles: Numbered<SharedBundle>,
    profiles: Numbered<SharedProfile>,
    old: Side,
    new: Side,
    key: Vec<u32>,
}

impl Holdings {
    fn side(&self, side: usize) -> &Side {
        if side == 0 { &self.old } else { &self.new }
    }

    fn side_mut(&mut self, side: usize) -> &mut Side {
        if side == 0 { &mut self.old } else { &mut self.new }
    }

    /// Looks at what a principal holds on one side; the rest is about the one that was looked at last.
    pub(super) fn read(&mut self, frames: &Frames, side: usize, domain: &Domain, principal: Principal<'_>) {
        let (profile, mut near) = self.profile(frames, side, domain, principal.profile());
        let mut own = std::mem::take(&mut self.side_mut(side).own);
        own.clear();
        for bundle in principal.own() {
            let (number, of_bundle) = self.bundle(frames, side, domain, *bundle);
            near = near.or(of_bundle);
            own.push(number);
        }
        own.sort_unstable();
        own.dedup();
        let read = self.side_mut(side);
        (read.profile, read.own, read.near) = (profile, own, near);
    }

    /// Whether it holds the same on both sides, word for word.
    pub(super) fn are_alike(&self) -> bool {
        self.old.profile == self.new.profile && self.old.own == self.new.own
    }

    /// What nodes its grants are near to.
    pub(super) const fn near(&self) -> Near {
        self.old.near.or(self.new.near)
    }

    /// What it holds before and after: equal keys, equal holdings.
    pub(super) fn key(&mut self) -> &[u32] {
        self.key.clear();
        let bundles = u32::try_from(self.old.own.len()).unwrap_or(u32::MAX);
        self.key.extend([self.old.profile, self.new.profile, bundles]);
        self.key.extend(self.old.own.iter().chain(&self.new.own));
        &self.key
    }

    /// What it holds on one side, whatever the nodes.
    pub(super) fn key_without_nodes(&mut self, side: usize) -> &[u32] {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let read = self.side(side);
        key.extend(read.own.iter().filter_map(|bundle| self.bundles.get(*bundle)).map(|(_, gift)| *gift));
        key.sort_unstable();
        key.dedup();
        key.push(read.profile);
        self.key = key;
        &self.key
    }

    /// Its profile on one side.
    pub(super) fn shared_profile(&self, side: usize) -> Option<(u32, &SharedProfile)> {
        let number = self.side(side).profile;
        Some((number, self.profiles.get(number)?))
    }

    /// Its own bundles on one side.
    pub(super) fn own(&self, side: usize) -> impl Iterator<Item = SharedBundle> {
        self.side(side).own.iter().filter_map(|bundle| self.shared_bundle(*bundle))
    }

    pub(super) fn shared_bundle(&self, number: u32) -> Option<SharedBundle> {
        self.bundles.get(number).copied()
    }

    /// What the tokens of one side bring, by claim and value: flags, whether they bar the account, grants.
    pub(super) fn mapping(&mut self, frames: &Frames, side: usize, domain: &Domain) -> Mapped {
        let mut mapped = Mapped::new();
        for (claim, value, group) in domain.mapped_values() {
            let mut sources = BTreeSet::new();
            for source in &group.sources {
                sources.insert(self.source(frames, side, domain, source).0);
            }
            mapped.insert((claim, value), (frames.flags(side, group.flags), group.inactive, sources));
        }
        mapped
    }

    fn profile(&mut self, frames: &Frames, side: usize, domain: &Domain, id: ProfileId) -> (u32, Near) {
        if let Some(known) = self.side(side).profiles.get(&id) {
            return *known;
        }
        let mut near = Near::default();
        let number = match domain.tables.profile(id) {
            Some(Profile { tenant, flags, of_groups, status: _, groups: _ }) => {
                let mut sources = Vec::with_capacity(of_groups.len());
                for source in of_groups {
                    let (bundles, of_source) = self.source(frames, side, domain, source);
                    near = near.or(of_source);
                    sources.push(bundles);
                }
                sources.sort_unstable();
                sources.dedup();
                let flags = frames.flags(side, *flags);
                self.profiles.number(SharedProfile { tenant: *tenant, flags, of_groups: sources })
            }
            None => u32::MAX,
        };
        self.side_mut(side).profiles.insert(id, (number, near));
        (number, near)
    }

    fn source(&mut self, frames: &Frames, side: usize, domain: &Domain, source: &[BundleId]) -> (Vec<u32>, Near) {
        let mut near = Near::default();
        let mut bundles = Vec::with_capacity(source.len());
        for bundle in source {
            let (number, of_bundle) = self.bundle(frames, side, domain, *bundle);
            near = near.or(of_bundle);
            bundles.push(number);
        }
        bundles.sort_unstable();
        bundles.dedup();
        (bundles, near)
    }

    fn bundle(&mut self, frames: &Frames, side: usize, domain: &Domain, id: BundleId) -> (u32, Near) {
        if let Some(known) = self.side(side).bundles.get(&id) {
            return *known;
        }
        let known = match domain.tables.bundle(id) {
            Some(bundle) => {
                let gift = self.gift(frames, side, domain, bundle.gift);
                let number = self.bundles.number((frames.node(side, bundle.scope.first), gift));
                (number, frames.near(side, bundle.scope))
            }
            None => (u32::MAX, Near { restless: true, touched: true }),
        };
        self.side_mut(side).bundles.insert(id, known);
        known
    }

    fn gift(&mut self, frames: &Frames, side: usize, domain: &Domain, id: GiftId) -> u32 {
        if let Some(known) = self.side(side).gifts.get(&id) {
            return *known;
        }
        let rights = domain.tables.gift(id).map(|gift| gift.rights()).unwrap_or_default();
        let mut rights: Vec<(u32, Effect)> =
            rights.iter().map(|(right, effect)| (frames.right(side, *right), *effect)).collect();
        rights.sort_unstable();
        let number = self.gifts.number(rights);
        self.side_mut(side).gifts.insert(id, number);
        number
    }
}

/// See [`Holdings::mapping`].
pub(super) type Mapped = BTreeMap<(&'static str, String), (SharedFlags, bool, BTreeSet<Vec<u32>>)>;
