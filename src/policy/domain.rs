//! One policy world, compiled: who holds what, where. Everything is a number; nothing here can fail to resolve.

use std::sync::Arc;

use super::hierarchy::Interval;
use super::member::{Mapping, Member};
use super::names::{Map, Names};
use super::precedence::{self, Grant, Held};
use super::resemble::Folded;
use crate::document::Literal;
use crate::document::grants::{Across, Within};
use crate::model::{Level, PrincipalKey, Status};

/// A right of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RightId(pub(super) u32);

/// A scope node of a domain; the number is its place in pre-order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub(super) u32);

impl ScopeId {
    /// The node above all others.
    pub const ROOT: Self = Self(0);
}

/// A kind of scope node or object, such as `territory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KindId(pub(super) u32);

/// An attribute of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttributeId(pub(super) u32);

/// A flag; a set of flags is a bit mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagId(pub(super) u8);

/// The most flags that one domain may have.
pub const MAX_FLAGS: usize = 128;

impl FlagId {
    pub(super) const fn mask(self) -> u128 {
        1_u128 << (self.0 & 127)
    }
}

/// A principal, with what it inherits from its groups already in it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its id, for logs, tests and the backend.
    pub id: Arc<str>,
    /// The state of the account.
    pub status: Status,
    /// The names of its groups and of all groups above those, sorted. Equal lists are stored once.
    pub groups: Arc<[Arc<str>]>,
    pub(super) flags: u128,
    pub(super) own: Run,
    pub(super) of_groups: Box<[Run]>,
}

/// A stretch of [`Domain::grants`]: the grants of one source. Equal sets of grants are stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A thing of the backend, by the attributes that the gateway knows.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub(super) attributes: Vec<(AttributeId, Attribute)>,
}

/// One attribute: the value to compare with, and the texts that name scopes.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) value: Literal,
    pub(super) texts: Box<[Box<str>]>,
}

impl Object {
    pub(super) fn attribute(&self, id: AttributeId) -> Option<&Attribute> {
        self.attributes.iter().find(|(known, _)| *known == id).map(|(_, attribute)| attribute)
    }
}

/// How the domain settles conflicts.
#[derive(Clone, Debug, Default)]
pub(super) struct Strategy {
    pub(super) within: Within,
    pub(super) across: Across,
    pub(super) caps: Vec<(FlagId, Level)>,
}

/// A domain. See the module's head.
#[derive(Debug, Default)]
pub struct Domain {
    pub(super) name: Arc<str>,
    pub(super) strategy: Strategy,
    pub(super) scopes: Vec<(Arc<str>, Interval)>,
    /// By kind and value: the node that a request means. Holds nodes and aliases alike.
    pub(super) values: Vec<Map<Box<str>, ScopeId>>,
    pub(super) kinds: Names,
    pub(super) rights: Names,
    pub(super) right_intervals: Vec<Interval>,
    /// By right: the rights that bring it, in any number of steps.
    pub(super) implied_by: Vec<Box<[RightId]>>,
    pub(super) flags: Names,
    pub(super) attributes: Names,
    pub(super) principals: Vec<Principal>,
    pub(super) by_key: Map<PrincipalKey, u32>,
    pub(super) mapping: Mapping,
    pub(super) grants: Vec<Grant>,
    pub(super) objects: Map<u32, Map<Box<str>, Object>>,
    /// By kind: what the keys of its objects could be taken for.
    pub(super) folded_objects: Map<u32, Folded>,
}

impl Domain {
    /// The domain's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The principal with this tenant and object id.
    pub fn principal(&self, key: PrincipalKey) -> Option<&Principal> {
        let index = usize::try_from(*self.by_key.get(&key)?).ok()?;
        self.principals.get(index)
    }

    /// The key of the principal with this id. For operators' tools, not for requests: it looks at each in turn.
    pub fn key_of(&self, id: &str) -> Option<PrincipalKey> {
        let index = u32::try_from(self.principals.iter().position(|principal| &*principal.id == id)?).ok()?;
        self.by_key.iter().find(|(_, found)| **found == index).map(|(key, _)| *key)
    }

    /// The object of this kind and key.
    pub fn object(&self, kind: KindId, key: &str) -> Option<&Object> {
        self.objects.get(&kind.0)?.get(key)
    }

    /// The node that a value of this kind names.
    pub fn scope(&self, kind: KindId, value: &str) -> Option<ScopeId> {
        self.values.get(usize::try_from(kind.0).ok()?)?.get(value).copied()
    }

    /// A node's name, such as `territory:USS`.
    pub fn scope_name(&self, scope: ScopeId) -> &str {
        self.scope_entry(scope).map_or("", |(name, _)| name)
    }

    /// A right's name.
    pub fn right_name(&self, right: RightId) -> &str {
        self.rights.name(right.0)
    }

    /// A flag's name.
    pub fn flag_name(&self, flag: FlagId) -> &str {
        self.flags.name(u32::from(flag.0))
    }

    /// Principals, and the grants that they hold, their groups' included, for status pages.
    pub fn counts(&self) -> (usize, usize) {
        let held = |principal: &Principal| {
            let groups: usize = principal.of_groups.iter().map(|run| self.run(*run).len()).sum();
            self.run(principal.own).len() + groups
        };
        (self.principals.len(), self.principals.iter().map(held).sum())
    }

    pub(super) fn has_flag<'m>(member: impl Into<Member<'m>>, flag: FlagId) -> bool {
        member.into().flags & flag.mask() != 0
    }

    /// What a member holds of a right at a node: within each source, across sources, then implications and caps.
    pub fn held<'m>(&'m self, member: impl Into<Member<'m>>, right: RightId, scope: ScopeId) -> Held {
        let member = member.into();
        let Some((_, at)) = self.scope_entry(scope) else { return Held::Nothing };
        let of_source = |run: Run| self.held_within(self.run(run), right, *at);
        let groups = self.group_runs(member).map(of_source);
        self.lowered(member, precedence::across(self.strategy.across, of_source(member.principal.own), groups))
    }

    /// What the caps of a member's flags leave of what its sources say.
    pub(super) fn lowered(&self, member: Member<'_>, held: Held) -> Held {
        match held {
            Held::Up(level) => Held::Up(self.caps_of(member).fold(level, |level, (_, cap)| level.min(*cap))),
            Held::Nothing | Held::Denied => held,
        }
    }

    /// The best that a member holds of a right at a node or anywhere below it.
    pub fn held_below<'m>(&'m self, member: impl Into<Member<'m>>, right: RightId, scope: ScopeId) -> Held {
        self.best_below(member.into(), right, scope).1
    }

    /// The same, and the node that it is held at.
    pub(super) fn best_below(&self, member: Member<'_>, right: RightId, scope: ScopeId) -> (ScopeId, Held) {
        let mut best = (scope, self.held(member, right, scope));
        let Some((_, at)) = self.scope_entry(scope) else { return best };
        for grant in self.covering(member, right) {
            if at.contains(grant.scope) && grant.scope.first != at.first {
                let node = ScopeId(grant.scope.first);
                let there = self.held(member, right, node);
                if there.level() > best.1.level() {
                    best = (node, there);
                }
            }
        }
        best
    }

    /// The caps that a member's flags put on it.
    pub(super) fn caps_of(&self, member: Member<'_>) -> impl Iterator<Item = &(FlagId, Level)> {
        self.strategy.caps.iter().filter(move |(flag, _)| Self::has_flag(member, *flag))
    }

    /// The grants of a member and its groups that say something of a right, denials and implications included.
    pub(super) fn covering<'m>(&'m self, member: Member<'m>, right: RightId) -> impl Iterator<Item = &'m Grant> {
        let runs = self.group_runs(member).chain([member.principal.own]);
        runs.flat_map(|run| self.run(run)).filter(move |grant| self.covers(grant, right))
    }

    fn covers(&self, grant: &Grant, right: RightId) -> bool {
        let names = |right: RightId| self.right_interval(right).is_some_and(|asked| grant.right.contains(asked));
        names(right) || self.implied_by(right).iter().any(|bringer| names(*bringer))
    }

    /// A denial of the right itself counts; a denial of a right that would bring it only withholds what it brings.
    pub(super) fn held_within(&self, grants: &[Grant], right: RightId, at: Interval) -> Held {
        self.combined(self.strategy.within, grants, right, at)
    }

    pub(super) fn combined(&self, within: Within, grants: &[Grant], right: RightId, at: Interval) -> Held {
        let of_right = |right| {
            self.right_interval(right).map_or(Held::Nothing, |asked| precedence::within(within, grants, asked, at))
        };
        let direct = of_right(right);
        if direct == Held::Denied {
            return direct;
        }
        let brought = self.implied_by(right).iter().filter_map(|bringer| of_right(*bringer).level());
        brought.chain(direct.level()).max().map_or(direct, Held::Up)
    }

    pub(super) fn run(&self, run: Run) -> &[Grant] {
        let range = usize::try_from(run.start).unwrap_or(0)..usize::try_from(run.end).unwrap_or(0);
        self.grants.get(range).unwrap_or_default()
    }

    /// A node's name and everything below it.
    pub(super) fn scope_entry(&self, scope: ScopeId) -> Option<&(Arc<str>, Interval)> {
        self.scopes.get(usize::try_from(scope.0).ok()?)
    }

    pub(super) fn right_interval(&self, right: RightId) -> Option<Interval> {
        self.right_intervals.get(usize::try_from(right.0).ok()?).copied()
    }

    pub(super) fn implied_by(&self, right: RightId) -> &[RightId] {
        usize::try_from(right.0).ok().and_then(|index| self.implied_by.get(index)).map_or(&[], |bringers| bringers)
    }
}

/// All domains of a snapshot.
#[derive(Debug, Default)]
pub struct Domains(pub(super) Vec<Domain>);

/// Which domain of a snapshot an application belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainId(pub(super) usize);

impl DomainId {
    /// What a list that runs beside the domains has for this one.
    pub fn of<T>(self, beside: &[T]) -> Option<&T> {
        beside.get(self.0)
    }
}

impl Domains {
    /// The domain that an application of the same snapshot names.
    pub fn get(&self, id: DomainId) -> Option<&Domain> {
        self.0.get(id.0)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.0.iter()
    }

    /// Domains, principals and grants, for status pages.
    pub fn counts(&self) -> (usize, usize, usize) {
        let (principals, grants) = self.0.iter().map(Domain::counts).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        (self.0.len(), principals, grants)
    }

    /// The key of a principal by domain and id, for operators' tools.
    pub fn find_principal(&self, domain: &str, id: &str) -> Option<PrincipalKey> {
        self.0.iter().find(|candidate| &*candidate.name == domain)?.key_of(id)
    }
}
