//! What a domain has to list, for operators' tools: its names, its principals, and which of these hold alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::domain::{AttributeId, Domain, FlagId, KindId, RightId, ScopeId};
use super::member::Member;
use super::names::{Map, Names};
use super::people::{BundleId, Principal};
use super::precedence::Grant;

use crate::document::grants::{Across, Within};
use crate::model::{Effect, Level, PrincipalKey};

/// What decides how much a principal holds. Principals of one domain with equal keys hold the same everywhere; their
/// status and their flags may still differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    own: GrantSet,
    of_groups: Box<[GrantSet]>,
    cap: Option<Level>,
}

/// The grants of one source, each once and in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantSet(Arc<[Grant]>);

/// Principals as they are written, one after the other.
#[derive(Debug, Default)]
pub struct Order {
    keys: Vec<PrincipalKey>,
    numbers: Map<PrincipalKey, usize>,
}

impl Order {
    /// Adds the next one.
    pub(super) fn push(&mut self, key: PrincipalKey) {
        self.numbers.insert(key, self.keys.len());
        self.keys.push(key);
    }
}

/// The principals of a domain by number, in the order in which they are written. There are none where the domain was not
/// compiled for operators' tools.
#[derive(Clone, Copy, Debug)]
pub struct Principals<'d> {
    domain: &'d Domain,
    keys: &'d [PrincipalKey],
}

impl<'d> Principals<'d> {
    /// The principal with this number.
    pub fn get(self, number: usize) -> Option<Principal<'d>> {
        self.domain.principal(*self.keys.get(number)?)
    }

    /// All of them, by number.
    pub fn iter(self) -> impl Iterator<Item = Principal<'d>> + Clone {
        self.keys.iter().filter_map(move |key| self.domain.principal(*key))
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.keys.is_empty()
    }
}

impl Domain {
    /// How the grants of one source combine.
    pub fn within(&self) -> Within {
        self.strategy.within
    }

    /// How the results of several sources combine.
    pub fn across(&self) -> Across {
        self.strategy.across
    }

    /// All principals by number.
    pub fn principals(&self) -> Principals<'_> {
        Principals { domain: self, keys: self.order.as_ref().map_or(&[], |order| &order.keys) }
    }

    /// The number of the principal with this tenant and object id.
    pub fn number(&self, key: PrincipalKey) -> Option<usize> {
        self.order.as_ref()?.numbers.get(&key).copied()
    }

    /// All scope nodes in pre-order, the root first, so that what lies below a node comes right after it.
    pub fn scopes(&self) -> impl Iterator<Item = (ScopeId, &str)> {
        let numbers = (0..self.scopes.len()).filter_map(|number| u32::try_from(number).ok());
        numbers.map(ScopeId).zip(self.scopes.iter().map(|(name, _)| &**name))
    }

    /// The node with this full name.
    pub fn find_scope(&self, name: &str) -> Option<ScopeId> {
        self.scopes().find(|(_, known)| *known == name).map(|(scope, _)| scope)
    }

    /// Whether `lower` is `upper` or lies below it.
    pub fn is_at_or_below(&self, lower: ScopeId, upper: ScopeId) -> bool {
        match (self.scope_entry(upper), self.scope_entry(lower)) {
            (Some((_, upper)), Some((_, lower))) => upper.contains(*lower),
            _ => false,
        }
    }

    /// All rights that grants, roles, routes or the catalogue name, by number; in a tree, their prefixes too.
    pub fn rights(&self) -> impl Iterator<Item = (RightId, &str)> {
        numbered(&self.rights).map(|(number, name)| (RightId(number), name))
    }

    /// The right with this name.
    pub fn find_right(&self, name: &str) -> Option<RightId> {
        self.rights.find(name).map(RightId)
    }

    /// All flags, by number.
    pub fn flags(&self) -> impl Iterator<Item = (FlagId, &str)> {
        numbered(&self.flags).filter_map(|(number, name)| Some((FlagId(u8::try_from(number).ok()?), name)))
    }

    /// All kinds of scope nodes, aliases and objects.
    pub fn kinds(&self) -> impl Iterator<Item = (KindId, &str)> {
        numbered(&self.kinds).map(|(number, name)| (KindId(number), name))
    }

    /// A kind's name.
    pub fn kind_name(&self, kind: KindId) -> &str {
        self.kinds.name(kind.0)
    }

    /// An attribute's name.
    pub(super) fn attribute_name(&self, attribute: AttributeId) -> &str {
        self.attributes.name(attribute.0)
    }

    /// The values of a kind, names of nodes and aliases alike, in no order.
    pub fn values(&self, kind: KindId) -> impl Iterator<Item = (&str, ScopeId)> {
        let values = usize::try_from(kind.0).ok().and_then(|kind| self.values.get(kind));
        values.into_iter().flat_map(|names| names.iter())
    }

    /// The names of all objects of a kind, in no order.
    pub fn objects(&self, kind: KindId) -> impl Iterator<Item = &str> {
        self.objects.get(&kind.0).into_iter().flatten().map(|(key, _)| &**key)
    }

    /// Whether a member has a flag, be it from a group.
    pub fn bears<'m>(&self, member: impl Into<Member<'m>>, flag: FlagId) -> bool {
        Self::has_flag(member, flag)
    }

    /// See [`Holding`].
    pub fn holding(&self, principal: Principal<'_>) -> Holding {
        let (own, of_groups) = self.sources_of(principal);
        Holding { own, of_groups: of_groups.collect(), cap: self.cap(principal) }
    }

    /// The highest level that a principal's flags leave to it, if they take any away.
    pub fn cap(&self, principal: Principal<'_>) -> Option<Level> {
        self.caps_of(principal.into()).map(|(_, level)| *level).min()
    }

    /// The grants of a principal itself, and those of each of its groups that has any that count for it.
    pub fn sources_of<'d>(&'d self, principal: Principal<'d>) -> (GrantSet, impl Iterator<Item = GrantSet> + 'd) {
        (self.set_of(principal.own()), principal.of_groups().iter().map(|group| self.set_of(group)))
    }

    pub(super) fn set_of(&self, source: &[BundleId]) -> GrantSet {
        let mut grants: Vec<Grant> = self.grants_in(source).collect();
        grants.sort_unstable();
        grants.dedup();
        GrantSet(grants.into())
    }

    /// What the grants of a source say: the node, the right, and how much. `positions` are those of
    /// [`Self::rights_by_position`].
    pub fn grants_of<'s>(
        &self,
        source: &'s GrantSet,
        positions: &'s [RightId],
    ) -> impl Iterator<Item = (ScopeId, RightId, Effect)> + 's {
        let right = |position: u32| positions.get(usize::try_from(position).ok()?).copied();
        let grants = source.0.iter();
        grants.filter_map(move |grant| Some((ScopeId(grant.scope.first), right(grant.right.first)?, grant.effect)))
    }

    /// All rights in pre-order, so that those below one come right after it.
    pub fn rights_by_position(&self) -> Vec<RightId> {
        let mut rights: Vec<RightId> = self.rights().map(|(right, _)| right).collect();
        rights.sort_unstable_by_key(|right| self.right_interval(*right));
        rights
    }

    /// A right and all above it in the tree: whoever is granted one of these is granted it.
    pub fn rights_over(&self, right: RightId) -> impl Iterator<Item = RightId> + '_ {
        let asked = self.right_interval(right);
        let over = move |other: &RightId| match (asked, self.right_interval(*other)) {
            (Some(asked), Some(other)) => other.contains(asked),
            _ => false,
        };
        self.rights().map(|(other, _)| other).filter(over)
    }

    /// The nodes at which a member or a group of it has a grant, in pre-order, and the root. What is held of any
    /// right changes only there: at another node it is what it is at the nearest of these above.
    pub fn nodes_of_grants<'m>(&'m self, member: impl Into<Member<'m>>) -> BTreeSet<ScopeId> {
        let member = member.into();
        let nodes = self.bundles_of(member).map(|bundle| ScopeId(bundle.scope.first));
        nodes.chain([ScopeId::ROOT]).collect()
    }
}

fn numbered(names: &Names) -> impl Iterator<Item = (u32, &str)> {
    (0_u32..).zip(names.all().iter().map(|name| &**name))
}
