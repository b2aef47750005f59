//! One policy world, compiled: who holds what, where. Everything is a number; nothing here can fail to resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::ops::Deref;
use std::sync::Arc;

use super::compile::Vocabulary;
use super::hierarchy::Interval;
use super::member::{Mapping, Member};
use super::names::{Map, Names};
use super::nodes::NodeNames;
use super::people::{Bundle, BundleId, People, Principal, Tables};
use super::precedence::{self, Grant, Held, Said};
use super::resemble::Folded;
use super::survey::Order;
use crate::document::Literal;
use crate::document::grants::{Across, Within};
use crate::model::{Level, PrincipalKey};

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
    #[inline]
    pub(super) const fn mask(self) -> u128 {
        1_u128 << (self.0 & 127)
    }
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

/// What of a domain does not change with its principals. What may be long in it is shared with copies.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub(super) name: Arc<str>,
    pub(super) strategy: Strategy,
    pub(super) scopes: Arc<[(Arc<str>, Interval)]>,
    /// By kind and value: the node that a request means. Holds nodes and aliases alike.
    pub(super) values: Vec<Arc<NodeNames>>,
    pub(super) kinds: Names,
    pub(super) rights: Names,
    /// Whether rights with dots lie below those that their names begin with.
    pub(super) tree_of_rights: bool,
    pub(super) right_intervals: Vec<Interval>,
    /// By right: the rights that bring it, in any number of steps.
    pub(super) implied_by: Vec<Box<[RightId]>>,
    pub(super) flags: Names,
    pub(super) attributes: Names,
    pub(super) mapping: Mapping,
    pub(super) objects: Arc<Map<u32, Map<Box<str>, Object>>>,
    /// By kind: what the keys of its objects could be taken for.
    pub(super) folded_objects: Arc<Map<u32, Folded>>,
    /// Kinds of objects that somebody outside looks up, with their attributes: none of these is in `objects`, and none may
    /// be taken for absent.
    pub(super) looked_up: BTreeMap<u32, BTreeSet<u32>>,
    /// What entries about principals may name.
    pub(super) vocabulary: Arc<Vocabulary>,
}

/// A domain: its frame, and its principals with what they hold. See the module's head. Another value of it with other
/// principals shares the frame.
#[derive(Clone, Debug)]
pub struct Domain {
    frame: Arc<Frame>,
    pub(super) tables: Tables,
    pub(super) people: People,
    /// Kept for operators' tools only.
    pub(super) order: Option<Arc<Order>>,
    /// Whether nobody is known because what is known is too old.
    pub(super) withheld: bool,
}

impl Deref for Domain {
    type Target = Frame;

    #[inline]
    fn deref(&self) -> &Frame {
        &self.frame
    }
}

impl Frame {
    /// The domain's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The object of this kind and key.
    pub fn object(&self, kind: KindId, key: &str) -> Option<&Object> {
        self.objects.get(&kind.0)?.get(key)
    }

    /// The node that a value of this kind names.
    #[inline(always)]
    pub fn scope(&self, kind: KindId, value: &str) -> Option<ScopeId> {
        self.values.get(usize::try_from(kind.0).ok()?)?.get(value)
    }

    /// A node's name, such as `territory:USS`.
    pub fn scope_name(&self, scope: ScopeId) -> &str {
        self.scope_entry(scope).map_or("", |(name, _)| name)
    }

    /// A right's name.
    pub fn right_name(&self, right: RightId) -> &str {
        self.rights.name(right.0)
    }

    /// Whether rights with dots lie below those that their names begin with.
    pub(super) fn has_tree_of_rights(&self) -> bool {
        self.tree_of_rights
    }

    /// A flag's name.
    pub fn flag_name(&self, flag: FlagId) -> &str {
        self.flags.name(u32::from(flag.0))
    }

    /// The caps that a member's flags put on it.
    #[inline]
    pub(super) fn caps_of(&self, member: Member<'_>) -> impl Iterator<Item = &(FlagId, Level)> {
        self.strategy.caps.iter().filter(move |(flag, _)| Domain::has_flag(member, *flag))
    }

    /// A node's name and everything below it.
    #[inline]
    pub(super) fn scope_entry(&self, scope: ScopeId) -> Option<&(Arc<str>, Interval)> {
        self.scopes.get(usize::try_from(scope.0).ok()?)
    }

    #[inline]
    pub(super) fn right_interval(&self, right: RightId) -> Option<Interval> {
        self.right_intervals.get(usize::try_from(right.0).ok()?).copied()
    }

    #[inline]
    pub(super) fn implied_by(&self, right: RightId) -> &[RightId] {
        usize::try_from(right.0).ok().and_then(|index| self.implied_by.get(index)).map_or(&[], |bringers| bringers)
    }
}

impl Domain {
    pub(super) fn new(frame: Frame, tables: Tables, people: People, order: Option<Order>) -> Self {
        Self { frame: Arc::new(frame), tables, people, order: order.map(Arc::new), withheld: false }
    }

    /// The same frame around other principals, which are not numbered.
    pub(super) fn around(&self, tables: Tables, people: People) -> Self {
        Self { frame: Arc::clone(&self.frame), tables, people, order: None, withheld: false }
    }

    /// The same domain, in which nobody is known until what is known of them is fresh again.
    pub fn withhold(&self) -> Self {
        Self { withheld: true, ..self.around(Tables::default(), People::default()) }
    }

    /// Whether that was done to it.
    pub const fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Whether both are one domain with the same principals, and not only equal to each other.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = self.tables.is_same(&other.tables) && self.people.is_same(&other.people);
        same && self.shares_frame(other) && self.withheld == other.withheld
    }

    /// Whether both are made of the same documents, whatever their principals are.
    pub fn shares_frame(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.frame, &other.frame)
    }

    /// The principal with this tenant and object id.
    #[inline]
    pub fn principal(&self, key: PrincipalKey) -> Option<Principal<'_>> {
        self.people.find(key, &self.tables)
    }

    /// Principals, and the grants that they hold, their groups' included, for status pages.
    pub fn counts(&self) -> (usize, usize) {
        (self.people.len(), self.people.grants())
    }

    #[inline]
    pub(super) fn has_flag<'m>(member: impl Into<Member<'m>>, flag: FlagId) -> bool {
        member.into().flags & flag.mask() != 0
    }

    /// What a member holds of a right at a node: within each source, across sources, then implications and caps.
    pub fn held<'m>(&'m self, member: impl Into<Member<'m>>, right: RightId, scope: ScopeId) -> Held {
        let member = &member.into();
        let Some(&(_, at)) = self.scope_entry(scope) else { return Held::Nothing };
        let own = self.held_of(self.strategy.within, member.principal.own(), right, at);
        // Where there is one source, what it says is what all say together, by every strategy.
        let together = if member.has_groups() { self.with_groups(own, member, right, scope) } else { own };
        self.lowered(member, together)
    }

    /// What a principal's own result and its groups say together of a right at a node.
    pub(super) fn with_groups(&self, own: Held, member: &Member<'_>, right: RightId, scope: ScopeId) -> Held {
        let Some(&(_, at)) = self.scope_entry(scope) else { return Held::Nothing };
        let groups = self.group_sources(*member).map(|source| self.held_of(self.strategy.within, source, right, at));
        precedence::across(self.strategy.across, own, groups)
    }

    /// What the caps of a member's flags leave of what its sources say.
    #[inline]
    pub(super) fn lowered(&self, member: &Member<'_>, held: Held) -> Held {
        match held {
            Held::Up(level) if !self.strategy.caps.is_empty() => {
                Held::Up(self.caps_of(*member).fold(level, |level, (_, cap)| level.min(*cap)))
            }
            Held::Up(_) | Held::Nothing | Held::Denied => held,
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
        for granted in self.nodes_about(member, right) {
            if at.contains(granted) && granted.first != at.first {
                let node = ScopeId(granted.first);
                let there = self.held(member, right, node);
                if there.level() > best.1.level() {
                    best = (node, there);
                }
            }
        }
        best
    }

    /// The nodes at which a member or one of its groups is told something of a right, denials and implications included;
    /// in no order, and some of them several times.
    pub(super) fn nodes_about<'m>(&'m self, member: Member<'m>, right: RightId) -> impl Iterator<Item = Interval> + 'm {
        self.bundles_of(member).filter_map(move |bundle| {
            let gift = self.tables.gift(bundle.gift)?;
            let mut ways = iter::once(right).chain(self.implied_by(right).iter().copied());
            let says = |way| self.right_interval(way).is_some_and(|way| gift.greatest(way) != Said::Nothing);
            ways.any(says).then_some(bundle.scope)
        })
    }

    /// The bundles of a member and its groups.
    pub(super) fn bundles_of<'m>(&'m self, member: Member<'m>) -> impl Iterator<Item = &'m Bundle> {
        let sources = self.group_sources(member).chain([member.principal.own()]);
        sources.flatten().filter_map(|id| self.tables.bundle(*id))
    }

    /// The grants of a source, one for each right and node.
    pub(super) fn grants_in(&self, source: &[BundleId]) -> impl Iterator<Item = Grant> {
        source.iter().flat_map(|id| self.tables.grants(*id, &self.right_intervals))
    }

    /// Whether a grant says something of a right, be it by an implication.
    pub(super) fn covers(&self, grant: &Grant, right: RightId) -> bool {
        let names = |right: RightId| self.right_interval(right).is_some_and(|asked| grant.right.contains(asked));
        names(right) || self.implied_by(right).iter().any(|bringer| names(*bringer))
    }

    /// What a source says of a right at a node by a rule.
    #[inline]
    pub(super) fn held_of(&self, within: Within, source: &[BundleId], right: RightId, at: Interval) -> Held {
        if !self.implied_by(right).is_empty() {
            return self.held_or_brought(within, source, right, at);
        }
        let Some(asked) = self.right_interval(right) else { return Held::Nothing };
        self.tables.held(within, source, asked, at)
    }

    /// The same of a right that others bring.
    fn held_or_brought(&self, within: Within, source: &[BundleId], right: RightId, at: Interval) -> Held {
        self.combined(right, |asked| self.tables.held(within, source, asked, at))
    }

    /// The same of grants that were read off their origins, whether or not anybody holds just these.
    pub(super) fn held_within(&self, grants: &[Grant], right: RightId, at: Interval) -> Held {
        self.combined(right, |asked| precedence::within(self.strategy.within, grants, asked, at))
    }

    /// A denial of the right itself counts; a denial of a right that would bring it only withholds what it brings.
    fn combined(&self, right: RightId, says: impl Fn(Interval) -> Held) -> Held {
        let of_right = |right| self.right_interval(right).map_or(Held::Nothing, &says);
        let direct = of_right(right);
        if direct == Held::Denied {
            return direct;
        }
        let brought = self.implied_by(right).iter().filter_map(|bringer| of_right(*bringer).level());
        brought.chain(direct.level()).max().map_or(direct, Held::Up)
    }
}

/// All domains of a snapshot, and how often their principals have changed since they were compiled.
#[derive(Clone, Debug, Default)]
pub struct Domains(pub(super) Vec<Domain>, pub(super) u64);

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

    /// How often principals have changed since all was compiled.
    pub const fn generation(&self) -> u64 {
        self.1
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
}
