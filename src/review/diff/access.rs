//! Who holds what now that it did not hold before, or the other way round. Principals that hold the same before and the
//! same after share the work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::union::{Named, Person, Union};
use super::world::mapped;
use super::{Side, Standing};
use crate::document::grants::RightsShape;
use crate::model::{Effect, Level};
use crate::policy::{Claimed, GrantSet, Held, Principal, RightId, ScopeId};
use crate::review::World;

/// One change; numbers are those of the [`Union`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fact {
    pub(super) right: usize,
    /// Rights below it that do not change.
    pub(super) but: Vec<usize>,
    pub(super) at: usize,
    /// Nodes below it at which it does not change.
    pub(super) except: Vec<usize>,
    pub(super) from: Standing,
    pub(super) to: Standing,
}

/// All that changes of what is held.
pub(super) struct Facts {
    /// Principal by principal; those without any change are left out.
    pub(super) of_people: Vec<(Person, Rc<Vec<Fact>>)>,
    /// Whether more may change for members by token: what they hold is made up of all sources together, so that a change
    /// of one may tell even where the principal itself holds the same.
    pub(super) of_members: bool,
}

pub(super) fn facts(union: &Union<'_>) -> Facts {
    let mut compared = Comparison::new(union);
    let people = union.people.iter();
    let of_people = people.map(|person| (*person, compared.person(*person)));
    let of_people = of_people.filter(|(_, facts)| !facts.is_empty()).collect();
    Facts { of_people, of_members: compared.members() }
}

/// What a principal holds, by numbers that both sides share: its own grants, those of its groups, its cap.
type Holding = (u32, Vec<u32>, Option<Level>);

/// What a principal holds before and after; nothing while it is not active.
type Holdings = (Option<Holding>, Option<Holding>);

/// A grant, by numbers that both sides share: node, right, effect.
type SharedGrant = (usize, usize, Effect);

struct Comparison<'c, 'u> {
    union: &'c Union<'u>,
    old: Reader,
    new: Reader,
    /// Sets of grants, each with the number that both sides share.
    numbers: HashMap<Rc<[SharedGrant]>, u32>,
    sets: Vec<Rc<[SharedGrant]>>,
    known: HashMap<Holdings, Rc<Vec<Fact>>>,
    /// Whether equal holdings mean the same on both sides.
    stable: bool,
    restless: Vec<usize>,
    /// Whether anybody who is active on both sides has other sources or another cap than before.
    unlike: bool,
}

/// What a token brings by one value: sources, flags, whether it bars the account.
type Brought<'u> = (Vec<u32>, BTreeSet<&'u str>, bool);

/// One side's numbers.
struct Reader {
    side: Side,
    positions: Vec<RightId>,
    nodes: HashMap<ScopeId, usize>,
    rights: HashMap<RightId, usize>,
    /// By right: the rights that it brings.
    brings: BTreeMap<usize, Vec<usize>>,
    sources: HashMap<GrantSet, u32>,
    /// By right: all rights that a grant of it may say something of.
    covered: HashMap<usize, Rc<[usize]>>,
}

impl Reader {
    fn new(union: &Union<'_>, side: Side) -> Self {
        let positions = union.world(side).map(|world| world.domain.rights_by_position()).unwrap_or_default();
        let nodes = union.nodes.iter().enumerate().filter_map(|(number, node)| Some((node.scope(side)?, number)));
        let rights = union.rights.iter().enumerate().filter_map(|(number, right)| match right.named(side) {
            Named::Right(right) => Some((right, number)),
            Named::Below(_) | Named::Unknown => None,
        });
        let (nodes, rights): (_, HashMap<RightId, usize>) = (nodes.collect(), rights.collect());
        let mut brings: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (right, number) in &rights {
            let bringers = union.world(side).map_or(&[][..], |world| world.domain.bringers(*right));
            for bringer in bringers.iter().filter_map(|bringer| rights.get(bringer)) {
                brings.entry(*bringer).or_default().push(*number);
            }
        }
        brings.values_mut().for_each(|brought| brought.sort_unstable());
        let (sources, covered) = (HashMap::new(), HashMap::new());
        Self { side, positions, nodes, rights, brings, sources, covered }
    }

    /// The rights that a grant of a right covers or brings, and all below these.
    fn covered(&mut self, union: &Union<'_>, right: usize) -> Rc<[usize]> {
        if let Some(known) = self.covered.get(&right) {
            return Rc::clone(known);
        }
        let tree = union.world(self.side).is_some_and(|world| world.document.strategy.rights == RightsShape::Tree);
        let below = |right: usize, found: &mut BTreeSet<usize>| {
            found.insert(right);
            let name = union.rights.get(right).map_or("", |right| right.name);
            let is_below = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            let all = union.rights.iter().enumerate().filter(|(_, other)| tree && is_below(other.name));
            found.extend(all.map(|(number, _)| number));
        };
        let mut found = BTreeSet::new();
        below(right, &mut found);
        let brought: Vec<usize> = found.iter().filter_map(|right| self.brings.get(right)).flatten().copied().collect();
        brought.into_iter().for_each(|right| below(right, &mut found));
        let found: Rc<[usize]> = found.into_iter().collect();
        self.covered.insert(right, Rc::clone(&found));
        found
    }
}

impl<'c, 'u> Comparison<'c, 'u> {
    fn new(union: &'c Union<'u>) -> Self {
        let (old, new) = (Reader::new(union, Side::Old), Reader::new(union, Side::New));
        let restless: Vec<usize> =
            union.nodes.iter().enumerate().filter(|(_, node)| node.restless).map(|(number, _)| number).collect();
        let strategy = |side| {
            union
                .world(side)
                .map(|world| (world.document.strategy.rights, world.domain.within(), world.domain.across()))
        };
        let stable = restless.is_empty() && strategy(Side::Old) == strategy(Side::New) && old.brings == new.brings;
        let (numbers, sets, known) = (HashMap::new(), Vec::new(), HashMap::new());
        Self { union, old, new, numbers, sets, known, stable, restless, unlike: false }
    }

    fn person(&mut self, person: Person) -> Rc<Vec<Fact>> {
        let (old, new) = (self.holding(person, Side::Old), self.holding(person, Side::New));
        if self.stable && old == new {
            return Rc::default();
        }
        self.unlike |= old.is_some() && new.is_some() && old != new;
        let key = (old, new);
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(known);
        }
        let found = Rc::new(self.compare(person, &key));
        self.known.insert(key, Rc::clone(&found));
        found
    }

    /// Whether more may change for members by token than for principals alone. Mapped values that come, go or stand for
    /// another group are told for themselves.
    fn members(&mut self) -> bool {
        let (Some(old), Some(new)) = (self.union.world(Side::Old), self.union.world(Side::New)) else { return false };
        if !old.domain.maps_tokens() || !new.domain.maps_tokens() {
            return false;
        }
        let caps = |world: World<'_>| -> BTreeSet<(String, Level)> {
            world.document.strategy.caps.iter().map(|(flag, level)| (flag.value.clone(), level.value)).collect()
        };
        self.unlike
            || !self.stable
            || caps(old) != caps(new)
            || (old.domain.needs_groups() && !new.domain.needs_groups())
            || values(old)
                .intersection(&values(new))
                .any(|value| self.brought(Side::Old, old, value) != self.brought(Side::New, new, value))
    }

    fn brought<'w>(&mut self, side: Side, world: World<'w>, (claim, value, _): &Mapped) -> Brought<'w> {
        let value = std::slice::from_ref(value);
        let claimed = match claim {
            Claim::Groups => Claimed { groups: Some(value), roles: &[] },
            Claim::Roles => Claimed { groups: None, roles: value },
        };
        let (sources, flags, barred) = world.domain.brought(claimed);
        let mut sources: Vec<u32> = sources.into_iter().map(|source| self.source(side, source)).collect();
        sources.sort_unstable();
        (sources, flags.into_iter().map(|flag| world.domain.flag_name(flag)).collect(), barred)
    }

    fn holding(&mut self, person: Person, side: Side) -> Option<Holding> {
        let world = self.union.world(side)?;
        let principal = self.union.active(person, side)?;
        let (own, groups) = world.domain.sources_of(principal);
        let own = self.source(side, own);
        let mut groups: Vec<u32> = groups.map(|group| self.source(side, group)).collect();
        groups.sort_unstable();
        groups.dedup();
        Some((own, groups, world.domain.cap(principal)))
    }

    /// The number that both sides share for the grants of a source.
    fn source(&mut self, side: Side, source: GrantSet) -> u32 {
        let reader = match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        };
        if let Some(known) = reader.sources.get(&source) {
            return *known;
        }
        let mut grants: Vec<SharedGrant> = Vec::new();
        if let Some(world) = self.union.world(side) {
            let written = world.domain.grants_of(&source, &reader.positions);
            grants.extend(written.filter_map(|(scope, right, effect)| {
                Some((*reader.nodes.get(&scope)?, *reader.rights.get(&right)?, effect))
            }));
        }
        grants.sort_unstable();
        let grants: Rc<[SharedGrant]> = grants.into();
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(Rc::clone(&grants)).or_insert(next);
        if number == next {
            self.sets.push(grants);
        }
        reader.sources.insert(source, number);
        number
    }

    fn compare(&mut self, person: Person, (old, new): &Holdings) -> Vec<Fact> {
        let mut nodes: BTreeSet<usize> = self.restless.iter().copied().chain([0]).collect();
        let mut rights: BTreeSet<usize> = BTreeSet::new();
        for (holding, reader) in [(old, &mut self.old), (new, &mut self.new)] {
            let sources = holding.iter().flat_map(|(own, groups, _)| groups.iter().chain([own]));
            for grants in sources.filter_map(|number| self.sets.get(usize::try_from(*number).ok()?)) {
                for (node, right, _) in grants.iter() {
                    nodes.insert(*node);
                    rights.extend(reader.covered(self.union, *right).iter());
                }
            }
        }
        let nodes: Vec<usize> = nodes.into_iter().collect();
        let mut grid = Grid { union: self.union, nearest: Vec::new(), nodes: &nodes, rows: BTreeMap::new() };
        grid.nearest = nodes.iter().map(|node| grid.nearest_above(*node)).collect();
        let sides = [self.union.active(person, Side::Old), self.union.active(person, Side::New)];
        for right in rights {
            grid.rows.insert(right, grid.row(right, sides));
        }
        grid.facts()
    }
}

/// A claim of tokens that may be mapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Groups,
    Roles,
}

/// A claim, a value of it, and the group that it stands for.
type Mapped = (Claim, Box<str>, String);

/// All values that a domain maps.
fn values(world: World<'_>) -> BTreeSet<Mapped> {
    let document = world.document;
    let of = |claim, entries| mapped(entries).into_iter().map(move |(value, group)| (claim, value.into(), group));
    of(Claim::Groups, &document.token_groups).chain(of(Claim::Roles, &document.token_roles)).collect()
}

/// What changes of each right at each node at which anything may.
struct Grid<'g, 'u> {
    union: &'g Union<'u>,
    nodes: &'g [usize],
    /// For each node the position of the nearest above it.
    nearest: Vec<Option<usize>>,
    rows: BTreeMap<usize, Row>,
}

type Row = Vec<Option<(Standing, Standing)>>;

impl Grid<'_, '_> {
    fn nearest_above(&self, node: usize) -> Option<usize> {
        let above = |node: usize| self.union.nodes.get(node).and_then(|node| node.above);
        let mut at = above(node);
        while let Some(node) = at {
            if let Ok(position) = self.nodes.binary_search(&node) {
                return Some(position);
            }
            at = above(node);
        }
        None
    }

    fn row(&self, right: usize, [old, new]: [Option<Principal<'_>>; 2]) -> Row {
        let change = |node: &usize| {
            let from = self.standing(Side::Old, old, right, *node);
            let to = self.standing(Side::New, new, right, *node);
            (from != to).then_some((from, to))
        };
        self.nodes.iter().map(change).collect()
    }

    fn standing(&self, side: Side, principal: Option<Principal<'_>>, right: usize, node: usize) -> Standing {
        let found = principal.and_then(|principal| {
            let domain = self.union.world(side)?.domain;
            let node = self.union.nodes.get(node)?.scope(side)?;
            Some(match self.union.rights.get(right)?.named(side) {
                Named::Right(right) => domain.held(principal, right, node),
                Named::Below(prefix) => domain.held(principal, prefix, node),
                Named::Unknown => Held::Nothing,
            })
        });
        match found {
            Some(Held::Up(level)) => Standing::Up(level),
            Some(Held::Denied) if self.union.rights.get(right).is_some_and(|right| right.denial_matters) => {
                Standing::Denied
            }
            Some(Held::Denied | Held::Nothing) | None => Standing::Nothing,
        }
    }

    /// The rows as few changes: what repeats the right or the node above is left out, what differs from it is named.
    fn facts(&self) -> Vec<Fact> {
        let mut listed: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (right, row) in &self.rows {
            let above = self.union.rights.get(*right).and_then(|right| right.above);
            let above = above.filter(|above| self.rows.contains_key(above));
            let same = match above.and_then(|above| self.rows.get(&above)) {
                Some(other) => other == row,
                None => row.iter().all(Option::is_none),
            };
            if same {
                continue;
            }
            if row.iter().any(Option::is_some) {
                listed.insert(*right, Vec::new());
            } else if let Some(but) = self.listed_above(*right).and_then(|above| listed.get_mut(&above)) {
                but.push(*right);
            }
        }
        let mut facts = Vec::new();
        for (right, but) in listed {
            self.facts_of(right, &but, &mut facts);
        }
        facts
    }

    /// The nearest right above this one whose row does not repeat the one above it.
    fn listed_above(&self, right: usize) -> Option<usize> {
        let above = |right: usize| self.union.rights.get(right)?.above.filter(|above| self.rows.contains_key(above));
        let mut at = above(right)?;
        while let Some(higher) = above(at).filter(|higher| self.rows.get(higher) == self.rows.get(&at)) {
            at = higher;
        }
        Some(at)
    }

    fn facts_of(&self, right: usize, but: &[usize], facts: &mut Vec<Fact>) {
        let Some(row) = self.rows.get(&right) else { return };
        let change = |position: usize| row.get(position).copied().flatten();
        // By position: the fact that speaks for the node.
        let mut speaking: Vec<Option<usize>> = Vec::new();
        for (position, node) in self.nodes.iter().enumerate() {
            let above = self.nearest.get(position).copied().flatten();
            let inherited = above.and_then(|above| speaking.get(above).copied().flatten());
            let same = change(position) == above.and_then(change);
            speaking.push(match change(position) {
                _ if same => inherited,
                Some((from, to)) => {
                    facts.push(Fact { right, but: but.to_vec(), at: *node, except: Vec::new(), from, to });
                    Some(facts.len() - 1)
                }
                None => {
                    if let Some(fact) = inherited.and_then(|fact| facts.get_mut(fact)) {
                        fact.except.push(*node);
                    }
                    None
                }
            });
        }
    }
}
