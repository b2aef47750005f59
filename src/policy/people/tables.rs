//! What principals hold, each thing once: profiles, bundles, gifts.

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::interned::Interned;
use crate::document::grants::Within;
use crate::model::{Effect, Guid, Status};
use crate::policy::domain::RightId;
use crate::policy::hierarchy::Interval;
use crate::policy::precedence::{Grant, Held, Said, Settled};

/// What a principal shares with its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileId(pub(super) u32);

/// What one entry of grants gives at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId(pub(super) u32);

/// Rights with their effects; see [`Gift`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GiftId(u32);

impl BundleId {
    /// Its place among all bundles.
    #[inline]
    pub(in crate::policy) fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl ProfileId {
    /// Its place among all profiles.
    pub(in crate::policy) fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl GiftId {
    /// Its place among all gifts.
    pub(in crate::policy) fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// All that a principal shares with its like. What it inherits from its groups is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The tenant of its key.
    pub(in crate::policy) tenant: Guid,
    /// The state of the account, with what its groups make of it.
    pub(in crate::policy) status: Status,
    pub(in crate::policy) flags: u128,
    /// The names of its groups and of all groups above those, sorted. Equal lists are stored once.
    pub(in crate::policy) groups: Arc<[Arc<str>]>,
    /// The grants of each of these groups that has any. Equal lists are stored once.
    pub(in crate::policy) of_groups: Box<[Arc<[BundleId]>]>,
}

/// What one entry of grants gives at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bundle {
    /// The node, and everything below it.
    pub(in crate::policy) scope: Interval,
    /// What is given there.
    pub(in crate::policy) gift: GiftId,
}

/// A set of rights with their effects, and what it says of any right, ready to be looked up.
#[derive(Clone, Debug)]
pub struct Gift {
    /// Of what lies outside it says nothing.
    hull: Interval,
    /// What it says of all that lies inside, where that is the same everywhere.
    throughout: Option<Says>,
    /// By position: what is said from there up to the next one. Known once the gift is sealed.
    says: Box<[Says]>,
    /// Each with its effect, in order.
    rights: Box<[(RightId, Effect)]>,
}

/// What a gift says of some neighbouring rights.
#[derive(Clone, Copy, Debug)]
struct Says {
    from: u32,
    /// The nearest of the gift's rights that cover these, and the greatest effect of that one.
    nearest: (u32, Option<Effect>),
    /// The greatest effect of all that cover these.
    greatest: Said,
}

impl PartialEq for Gift {
    fn eq(&self, other: &Self) -> bool {
        self.rights == other.rights
    }
}

impl Eq for Gift {}

impl Hash for Gift {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rights.hash(state);
    }
}

impl Gift {
    /// Rights in order, each once. What is not sealed says nothing that could be relied on, so it denies everything.
    fn new(rights: Box<[(RightId, Effect)]>) -> Self {
        let deny = Some(Effect::Deny);
        let throughout = Says { from: 0, nearest: (u32::MAX, deny), greatest: Said::Denied };
        let end = if rights.is_empty() { 0 } else { u32::MAX };
        Self { hull: Interval { first: 0, end }, throughout: Some(throughout), says: Box::default(), rights }
    }

    /// The rights, each with its effect, in order.
    pub(in crate::policy) fn rights(&self) -> &[(RightId, Effect)] {
        &self.rights
    }

    /// The greatest that it says of a right.
    #[inline]
    pub(in crate::policy) fn greatest(&self, right: Interval) -> Said {
        self.says(right).map_or(Said::Nothing, |says| says.greatest)
    }

    /// What the nearest of its rights says of a right, and how near that one is.
    fn nearest(&self, right: Interval) -> Option<(u32, Effect)> {
        let (near, effect) = self.says(right)?.nearest;
        Some((near, effect?))
    }

    #[inline]
    fn says(&self, right: Interval) -> Option<&Says> {
        if !self.hull.contains(right) {
            return None;
        }
        match &self.throughout {
            Some(says) => Some(says),
            None => self.says_in_parts(right),
        }
    }

    #[inline(never)]
    fn says_in_parts(&self, right: Interval) -> Option<&Says> {
        let after = self.says.partition_point(|says| says.from <= right.first);
        self.says.get(after.checked_sub(1)?)
    }

    /// Looks up where its rights are in the tree. The intervals are those of all rights by number; they lie apart or one
    /// within the other.
    fn seal(&mut self, intervals: &[Interval]) {
        let interval = |right: &RightId| usize::try_from(right.0).ok().and_then(|index| intervals.get(index)).copied();
        let placed = self.rights.iter().filter_map(|(right, effect)| Some((interval(right)?, *effect)));
        let mut placed: Vec<(Interval, Effect)> = placed.filter(|(right, _)| right.first < right.end).collect();
        placed.sort_unstable_by_key(|(right, effect)| (right.first, Reverse(right.end), *effect));
        let mut turns: Vec<u32> = placed.iter().flat_map(|(right, _)| [right.first, right.end]).collect();
        turns.sort_unstable();
        turns.dedup();
        let mut next = placed.into_iter().peekable();
        // The rights that cover where the walk is, the nearest last, each with what is said up to it.
        let mut open: Vec<(Interval, Says)> = Vec::new();
        let nothing = |from| Says { from, nearest: (0, None), greatest: Said::Nothing };
        self.says = turns
            .into_iter()
            .map(|turn| {
                while open.pop_if(|(right, _)| right.end <= turn).is_some() {}
                while let Some((right, effect)) = next.next_if(|(right, _)| right.first <= turn) {
                    let above = open.last().map_or(nothing(turn), |(_, says)| *says);
                    let same = above.nearest.1.filter(|_| above.nearest.0 == right.first);
                    let nearest = (right.first, same.max(Some(effect)));
                    open.push((right, Says { from: turn, nearest, greatest: above.greatest.max(effect.into()) }));
                }
                Says { from: turn, ..open.last().map_or(nothing(turn), |(_, says)| *says) }
            })
            .collect();
        let (Some(first), Some(last)) = (self.says.first(), self.says.last()) else { return };
        self.hull = Interval { first: first.from, end: last.from };
        self.throughout = if self.says.len() == 2 { Some(*first) } else { None };
    }
}

/// The most gifts that are gathered.
const MOST_GATHERED: usize = 4;

/// The gifts that some bundles give at a node, the first few places of the list.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'t>([Option<&'t Gift>; MOST_GATHERED]);

impl Gathered<'_> {
    /// The greatest that they say of a right.
    #[inline]
    pub(in crate::policy) fn greatest(&self, right: Interval) -> Said {
        let gifts = self.0.iter().map_while(|gift| *gift);
        gifts.fold(Said::Nothing, |greatest, gift| greatest.max(gift.greatest(right)))
    }
}

/// All profiles, bundles and gifts of a domain. A clone shares them; what is interned into a clone is kept beside them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    profiles: Interned<Profile>,
    bundles: Interned<Bundle>,
    gifts: Interned<Gift>,
}

impl Tables {
    /// A copy that shares nothing, for whoever is going to add many.
    pub(in crate::policy) fn apart(&self) -> Self {
        Self { profiles: self.profiles.apart(), bundles: self.bundles.apart(), gifts: self.gifts.apart() }
    }

    /// Whether both share all that is in them.
    pub(in crate::policy) fn is_same(&self, other: &Self) -> bool {
        let same = self.profiles.is_same(&other.profiles) && self.bundles.is_same(&other.bundles);
        same && self.gifts.is_same(&other.gifts)
    }

    pub(in crate::policy) fn intern_profile(&mut self, profile: Profile) -> ProfileId {
        ProfileId(self.profiles.intern(profile))
    }

    /// Rights in any order and any number of times. A gift says nothing before it is sealed; see [`Self::seal`].
    pub(in crate::policy) fn intern_gift(&mut self, rights: &[(RightId, Effect)]) -> GiftId {
        let mut rights = rights.to_vec();
        rights.sort_unstable();
        rights.dedup();
        GiftId(self.gifts.intern(Gift::new(rights.into())))
    }

    pub(in crate::policy) fn intern_bundle(&mut self, bundle: Bundle) -> BundleId {
        BundleId(self.bundles.intern(bundle))
    }

    /// Completes all gifts. The intervals are those of all rights by number, which are known once the routes are.
    pub(in crate::policy) fn seal(&mut self, intervals: &[Interval]) {
        self.gifts.values_mut().for_each(|gift| gift.seal(intervals));
    }

    #[inline]
    pub(in crate::policy) fn profile(&self, id: ProfileId) -> Option<&Profile> {
        self.profiles.get(id.0)
    }

    #[inline]
    pub(in crate::policy) fn bundle(&self, id: BundleId) -> Option<&Bundle> {
        self.bundles.get(id.0)
    }

    #[inline]
    pub(in crate::policy) fn gift(&self, id: GiftId) -> Option<&Gift> {
        self.gifts.get(id.0)
    }

    pub(in crate::policy) fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// All bundles, by number.
    pub(in crate::policy) fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.iter()
    }

    pub(in crate::policy) fn gifts(&self) -> impl Iterator<Item = &Gift> {
        self.gifts.iter()
    }

    /// The grants of a bundle, one for each right.
    pub(in crate::policy) fn grants(&self, id: BundleId, intervals: &[Interval]) -> impl Iterator<Item = Grant> {
        let bundle = self.bundle(id).copied();
        let gift = bundle.and_then(|bundle| self.gift(bundle.gift));
        let scope = bundle.map(|bundle| bundle.scope);
        gift.into_iter().flat_map(|gift| gift.rights.iter()).filter_map(move |(right, effect)| {
            let right = intervals.get(usize::try_from(right.0).ok()?).copied()?;
            Some(Grant { scope: scope?, right, effect: *effect })
        })
    }

    /// What bundles say together of a right at a node by a rule. A number that stands for no bundle counts as a denial.
    #[inline]
    pub(in crate::policy) fn held(&self, rule: Within, bundles: &[BundleId], right: Interval, at: Interval) -> Held {
        match rule {
            Within::Union => self.greatest(bundles, right, at).into(),
            Within::Nearest => self.nearest(bundles, right, at),
        }
    }

    /// The gifts of bundles at a node. `None` if there are more than a few, or a number stands for no bundle.
    #[inline]
    pub(in crate::policy) fn gather(&self, bundles: &[BundleId], at: Interval) -> Option<Gathered<'_>> {
        let mut gathered = [None; MOST_GATHERED];
        let mut places = gathered.iter_mut();
        for id in bundles {
            let bundle = self.bundle(*id)?;
            if bundle.scope.contains(at) {
                *places.next()? = Some(self.gift(bundle.gift)?);
            }
        }
        Some(Gathered(gathered))
    }

    #[inline]
    fn greatest(&self, bundles: &[BundleId], right: Interval, at: Interval) -> Said {
        bundles.iter().fold(Said::Nothing, |greatest, id| {
            let said = match self.bundle(*id) {
                Some(bundle) if !bundle.scope.contains(at) => return greatest,
                Some(bundle) => self.gift(bundle.gift).map_or(Said::Denied, |gift| gift.greatest(right)),
                None => Said::Denied,
            };
            greatest.max(said)
        })
    }

    #[inline(never)]
    fn nearest(&self, bundles: &[BundleId], right: Interval, at: Interval) -> Held {
        let mut settled = Settled::nothing(Within::Nearest);
        for id in bundles {
            let bundle = self.bundle(*id);
            if bundle.is_some_and(|bundle| !bundle.scope.contains(at)) {
                continue;
            }
            match bundle.and_then(|bundle| Some((bundle.scope.first, self.gift(bundle.gift)?))) {
                Some((place, gift)) => {
                    if let Some((near, effect)) = gift.nearest(right) {
                        settled.add((place, near), effect);
                    }
                }
                None => settled.add((u32::MAX, u32::MAX), Effect::Deny),
            }
        }
        settled.held()
    }

    /// Whether a bundle denies anything.
    pub(in crate::policy) fn denies(&self, id: BundleId) -> bool {
        let gift = self.bundle(id).and_then(|bundle| self.gift(bundle.gift));
        gift.is_none_or(|gift| gift.rights.iter().any(|(_, effect)| *effect == Effect::Deny))
    }

    /// How many rights at how many nodes a profile and bundles give together.
    pub(super) fn held_by(&self, profile: ProfileId, own: &[BundleId]) -> usize {
        let of_groups = self.profile(profile).map_or(&[][..], |profile| &profile.of_groups);
        let bundles = own.iter().chain(of_groups.iter().flat_map(|group| group.iter()));
        let gifts = bundles.filter_map(|id| self.gift(self.bundle(*id)?.gift));
        gifts.map(|gift| gift.rights.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Level;
    use crate::policy::hierarchy::number;
    use crate::policy::precedence::within;

    /// How many scopes and how many rights there are.
    const NODES: usize = 12;

    /// The intervals of a random forest.
    fn forest() -> impl Strategy<Value = Vec<Interval>> {
        let parents =
            (0..NODES).map(|node| prop::option::of(0..node.max(1)).prop_map(move |up| up.filter(|_| node > 0)));
        parents.collect::<Vec<_>>().prop_map(|parents| number(&parents).into_iter().map(Option::unwrap).collect())
    }

    fn effect() -> impl Strategy<Value = Effect> {
        prop::sample::select(vec![
            Effect::Deny,
            Effect::Allow(Level::Read),
            Effect::Allow(Level::Write),
            Effect::Allow(Level::Delete),
        ])
    }

    /// Entries of a source: a node each, and rights with effects.
    fn entries() -> impl Strategy<Value = Vec<(usize, Vec<(u32, Effect)>)>> {
        let right = 0..u32::try_from(NODES).unwrap();
        prop::collection::vec((0..NODES, prop::collection::vec((right, effect()), 0..8)), 0..6)
    }

    proptest! {
        /// Bundles are a way to store grants and no more: at every node they say of every right what the grants say
        /// that were put into them.
        #[test]
        fn bundles_say_what_their_grants_say(scopes in forest(), rights in forest(), entries in entries()) {
            let mut tables = Tables::default();
            let mut bundles = Vec::new();
            let mut grants = Vec::new();
            for (scope, gives) in &entries {
                let scope = scopes[*scope];
                let given: Vec<_> = gives.iter().map(|(right, effect)| (RightId(*right), *effect)).collect();
                let gift = tables.intern_gift(&given);
                bundles.push(tables.intern_bundle(Bundle { scope, gift }));
                grants.extend(gives.iter().map(|(right, effect)| {
                    Grant { scope, right: rights[usize::try_from(*right).unwrap()], effect: *effect }
                }));
            }
            tables.seal(&rights);
            for rule in [Within::Union, Within::Nearest] {
                for at in &scopes {
                    for right in &rights {
                        let said = tables.held(rule, &bundles, *right, *at);
                        prop_assert_eq!(said, within(rule, &grants, *right, *at), "{:?} {:?} {:?}", rule, right, at);
                        let gathered = tables.gather(&bundles, *at).map(|gifts| Held::from(gifts.greatest(*right)));
                        let few = entries.iter().filter(|(scope, _)| scopes[*scope].contains(*at)).count() <= MOST_GATHERED;
                        prop_assert_eq!(gathered.is_some(), few);
                        prop_assert!(rule != Within::Union || gathered.is_none_or(|gathered| gathered == said));
                    }
                }
            }
            let mut stored: Vec<Grant> = bundles.iter().flat_map(|bundle| tables.grants(*bundle, &rights)).collect();
            let sorted = |grants: &mut Vec<Grant>| {
                grants.sort_unstable();
                grants.dedup();
            };
            sorted(&mut stored);
            sorted(&mut grants);
            prop_assert_eq!(stored, grants);
        }
    }

    #[test]
    fn what_is_not_sealed_denies_everything_by_any_rule() {
        let mut tables = Tables::default();
        let gift = tables.intern_gift(&[(RightId(0), Effect::Allow(Level::Read))]);
        let scope = Interval { first: 0, end: 1 };
        let bundle = tables.intern_bundle(Bundle { scope, gift });
        let rights = [0, 1].map(|first| Interval { first, end: first + 1 });
        let said = |tables: &Tables, rule| rights.map(|right| tables.held(rule, &[bundle], right, scope));
        for rule in [Within::Union, Within::Nearest] {
            assert_eq!(said(&tables, rule), [Held::Denied; 2], "{rule:?}");
        }
        tables.seal(&rights);
        for rule in [Within::Union, Within::Nearest] {
            assert_eq!(said(&tables, rule), [Held::Up(Level::Read), Held::Nothing], "{rule:?}");
        }
    }

    #[test]
    fn what_no_table_has_denies() {
        let anywhere = Interval { first: 0, end: 1 };
        assert_eq!(Tables::default().held(Within::Union, &[BundleId(0)], anywhere, anywhere), Held::Denied);
        assert!(Tables::default().gather(&[BundleId(0)], anywhere).is_none());
        assert!(Tables::default().denies(BundleId(0)));
    }
}
