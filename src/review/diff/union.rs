//! Two domains seen as one: scopes, rights and principals of both, matched.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Side;
use crate::document::grants::RightsShape;
use crate::model::{PrincipalKey, Status};
use crate::policy::{Demands, Domain, FlagId, Principal, RightId, ScopeId};
use crate::review::{Policy, World};
use crate::route::Access;

/// A node of either domain.
#[derive(Debug)]
pub(super) struct Node<'u> {
    pub(super) name: &'u str,
    pub(super) old: Option<ScopeId>,
    pub(super) new: Option<ScopeId>,
    /// The node above it, by number: none for the root, and for a node that lies elsewhere than it did.
    pub(super) above: Option<usize>,
    /// Whether it is new, gone, or lies elsewhere than it did.
    pub(super) restless: bool,
}

/// A right of either domain.
#[derive(Debug)]
pub(super) struct Right<'u> {
    pub(super) name: &'u str,
    pub(super) old: Named,
    pub(super) new: Named,
    /// The right above it in the tree, by number.
    pub(super) above: Option<usize>,
    /// Whether a route asks that it is not denied.
    pub(super) denial_matters: bool,
}

/// What a domain knows of a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The right itself.
    Right(RightId),
    /// No file names it, but this part of its name.
    Below(RightId),
    /// Nothing.
    Unknown,
}

/// A principal of either domain: its number in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) key: PrincipalKey,
    pub(super) old: Option<usize>,
    pub(super) new: Option<usize>,
}

/// The matched domains.
#[derive(Debug)]
pub(super) struct Union<'u> {
    pub(super) old: Option<World<'u>>,
    pub(super) new: Option<World<'u>>,
    pub(super) nodes: Vec<Node<'u>>,
    pub(super) rights: Vec<Right<'u>>,
    pub(super) people: Vec<Person>,
    /// Flags that routes of either side ask for, and those that they forbid.
    pub(super) flags_asked: BTreeSet<&'u str>,
    pub(super) flags_forbidden: BTreeSet<&'u str>,
}

impl<'u> Union<'u> {
    pub(super) fn new(
        (old_policy, old): (&'u Policy, Option<World<'u>>),
        (new_policy, new): (&'u Policy, Option<World<'u>>),
    ) -> Self {
        let mut union = Self {
            old,
            new,
            nodes: nodes(old, new),
            rights: rights(old, new),
            people: people(old, new),
            flags_asked: BTreeSet::new(),
            flags_forbidden: BTreeSet::new(),
        };
        union.ask(old_policy, old);
        union.ask(new_policy, new);
        union
    }

    /// Notes what the routes of one side ask of this domain.
    fn ask(&mut self, policy: &'u Policy, world: Option<World<'u>>) {
        let Some(world) = world else { return };
        let numbers: HashMap<&str, usize> =
            self.rights.iter().enumerate().map(|(number, right)| (right.name, number)).collect();
        let mut denials: BTreeSet<usize> = BTreeSet::new();
        for (_, asked) in asked_of(policy, world.domain) {
            let names = |flags: &[FlagId]| flags.iter().map(|flag| world.domain.flag_name(*flag)).collect::<Vec<_>>();
            self.flags_asked.extend(names(&asked.flags));
            self.flags_forbidden.extend(names(&asked.not_flags));
            denials.extend(
                asked.undenied.iter().filter_map(|right| numbers.get(world.domain.right_name(*right)).copied()),
            );
        }
        for number in denials {
            if let Some(right) = self.rights.get_mut(number) {
                right.denial_matters = true;
            }
        }
    }

    pub(super) fn world(&self, side: Side) -> Option<World<'u>> {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    /// A principal of one side, if it has one and it is active.
    pub(super) fn active(&self, person: Person, side: Side) -> Option<Principal<'u>> {
        self.principal(person, side).filter(|principal| principal.status() == Status::Active)
    }

    pub(super) fn principal(&self, person: Person, side: Side) -> Option<Principal<'u>> {
        self.world(side)?.domain.principals().get(person.number(side)?)
    }

    /// Its id, the new one where it has two.
    pub(super) fn id(&self, person: Person) -> &'u str {
        let principal = self.principal(person, Side::New).or_else(|| self.principal(person, Side::Old));
        principal.map_or("", Principal::id)
    }
}

impl Person {
    pub(super) const fn number(self, side: Side) -> Option<usize> {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }
}

impl Node<'_> {
    pub(super) const fn scope(&self, side: Side) -> Option<ScopeId> {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }
}

impl Right<'_> {
    pub(super) const fn named(&self, side: Side) -> Named {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }
}

/// What the routes of a domain's applications ask, each with `APPLICATION/ROUTE`.
pub(super) fn asked_of<'p>(policy: &'p Policy, domain: &'p Domain) -> impl Iterator<Item = (String, Demands)> + 'p {
    let applications = policy.snapshot.routes.applications().iter();
    let own = applications.filter(move |application| {
        policy.snapshot.domains.get(application.domain).is_some_and(|own| own.name() == domain.name())
    });
    own.flat_map(|application| {
        application.routes().iter().filter_map(move |route| match &route.access {
            Access::Rules(rules) => Some((format!("{}/{}", application.name, route.id), rules.demands())),
            Access::Public | Access::GateOnly => None,
        })
    })
}

/// Every node of a domain with the name of the one above it, in pre-order.
fn with_parents<'u>(world: Option<World<'u>>) -> Vec<(&'u str, ScopeId, Option<&'u str>)> {
    let Some(world) = world else { return Vec::new() };
    let mut path: Vec<(&str, ScopeId)> = Vec::new();
    let mut found = Vec::new();
    for (scope, name) in world.domain.scopes() {
        while path.last().is_some_and(|(_, above)| !world.domain.is_at_or_below(scope, *above)) {
            path.pop();
        }
        found.push((name, scope, path.last().map(|(above, _)| *above)));
        path.push((name, scope));
    }
    found
}

fn nodes<'u>(old: Option<World<'u>>, new: Option<World<'u>>) -> Vec<Node<'u>> {
    let (old, new) = (with_parents(old), with_parents(new));
    let by_name: HashMap<&str, (ScopeId, Option<&str>)> =
        old.iter().map(|(name, scope, above)| (*name, (*scope, *above))).collect();
    let known: BTreeSet<&str> = new.iter().map(|(name, ..)| *name).collect();
    let mut nodes = Vec::new();
    let mut parents = Vec::new();
    for (name, scope, above) in &new {
        let before = by_name.get(name);
        let moved = before.is_some_and(|(_, before)| before != above);
        let restless = moved || before.is_none();
        nodes.push(Node { name, old: before.map(|(scope, _)| *scope), new: Some(*scope), above: None, restless });
        parents.push(above.filter(|_| !moved));
    }
    for (name, scope, above) in old.iter().filter(|(name, ..)| !known.contains(name)) {
        nodes.push(Node { name, old: Some(*scope), new: None, above: None, restless: true });
        parents.push(*above);
    }
    let numbers: HashMap<&str, usize> = nodes.iter().enumerate().map(|(number, node)| (node.name, number)).collect();
    for (node, above) in nodes.iter_mut().zip(parents) {
        node.above = above.and_then(|above| numbers.get(above).copied());
    }
    nodes
}

fn rights<'u>(old: Option<World<'u>>, new: Option<World<'u>>) -> Vec<Right<'u>> {
    let names = |world: Option<World<'u>>| world.into_iter().flat_map(|world| world.domain.rights());
    let all: BTreeSet<&str> = names(old).chain(names(new)).map(|(_, name)| name).collect();
    let all: Vec<&str> = all.into_iter().collect();
    let numbers: HashMap<&str, usize> = all.iter().enumerate().map(|(number, name)| (*name, number)).collect();
    let tree = |world: Option<World<'_>>| world.is_none_or(|world| world.document.strategy.rights == RightsShape::Tree);
    let trees = tree(old) && tree(new);
    let mut rights = Vec::new();
    for name in &all {
        // All prefixes of a name are rights too.
        let above = name.rsplit_once('.').filter(|_| trees).and_then(|(above, _)| numbers.get(above).copied());
        rights.push(Right { name, old: named(old, name), new: named(new, name), above, denial_matters: false });
    }
    rights
}

fn named(world: Option<World<'_>>, name: &str) -> Named {
    let Some(world) = world else { return Named::Unknown };
    if let Some(right) = world.domain.find_right(name) {
        return Named::Right(right);
    }
    let mut rest = name;
    while let (RightsShape::Tree, Some((prefix, _))) = (world.document.strategy.rights, rest.rsplit_once('.')) {
        if let Some(right) = world.domain.find_right(prefix) {
            return Named::Below(right);
        }
        rest = prefix;
    }
    Named::Unknown
}

fn people(old: Option<World<'_>>, new: Option<World<'_>>) -> Vec<Person> {
    let keys = |world: Option<World<'_>>| -> Vec<PrincipalKey> {
        let numbers = world.map_or(0, |world| world.domain.principals().len());
        (0..numbers).filter_map(|number| Some(world?.origins.principal(number)?.key)).collect()
    };
    let mut people: BTreeMap<PrincipalKey, Person> = BTreeMap::new();
    for (number, key) in keys(old).into_iter().enumerate() {
        people.insert(key, Person { key, old: Some(number), new: None });
    }
    for (number, key) in keys(new).into_iter().enumerate() {
        people.entry(key).or_insert(Person { key, old: None, new: None }).new = Some(number);
    }
    people.into_values().collect()
}
