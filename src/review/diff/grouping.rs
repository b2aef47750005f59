//! Changes of many principals as few lines: what changes alike is one entry.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::access::Fact;
use super::union::{Named, Person, Union, asked_of};
use super::{Direction, Side, SidedPlace, Standing};
use crate::document::grants::RightsShape;
use crate::model::Level;
use crate::policy::{Considered, Held};
use crate::review::Policy;

/// One change of rights that some principals have in common.
#[derive(Clone, Debug)]
pub struct AccessChange {
    /// The rights.
    pub rights: Vec<Spot>,
    /// What was held.
    pub from: Standing,
    /// What is held.
    pub to: Standing,
    /// Through what it is held, or was.
    pub through: Through,
    /// A place where that is written; of many, one.
    pub place: Option<SidedPlace>,
    /// Where, and by whom.
    pub at: Vec<(Spot, Vec<Arc<str>>)>,
    /// How many principals there are in all.
    pub principals: usize,
    /// The routes that ask for it, as `APPLICATION/ROUTE`.
    pub routes: Vec<String>,
}

/// A right or a node with what is below it, but for some that stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spot {
    /// Its name.
    pub name: Arc<str>,
    /// What does not change.
    pub except: Vec<Arc<str>>,
}

/// Through what a right is held, or was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Through {
    /// The grants that decide on the side where more is held.
    pub held: Vec<Via>,
    /// The denials that decide on the other side.
    pub denied: Vec<Via>,
    /// The flag that keeps it down on the other side.
    pub cap: Option<Arc<str>>,
}

/// A grant, by what gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Via {
    /// The group; `None` for the principal itself.
    pub group: Option<Arc<str>>,
    /// The role.
    pub role: Option<Arc<str>>,
    /// The right, where no role gives it.
    pub right: Option<Arc<str>>,
}

impl AccessChange {
    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        Direction::of(self.from, self.to)
    }
}

/// Small numbers for values that come up often.
struct Numbers<T> {
    known: HashMap<Rc<T>, usize>,
    values: Vec<Rc<T>>,
}

impl<T: Eq + std::hash::Hash> Numbers<T> {
    fn new() -> Self {
        Self { known: HashMap::new(), values: Vec::new() }
    }

    fn of(&mut self, value: T) -> usize {
        if let Some(number) = self.known.get(&value) {
            return *number;
        }
        let value = Rc::new(value);
        self.known.insert(Rc::clone(&value), self.values.len());
        self.values.push(value);
        self.values.len() - 1
    }

    fn get(&self, number: usize) -> Option<&T> {
        self.values.get(number).map(|value| &**value)
    }
}

/// A number of the union, and those below it that are left out.
type SpotNumber = (usize, Vec<usize>);

/// Makes entries of the changes of all principals.
pub(super) fn group(union: &Union<'_>, facts: Vec<(Person, Rc<Vec<Fact>>)>) -> Vec<AccessChange> {
    let (mut rights, mut places, mut vias) =
        (Numbers::<SpotNumber>::new(), Numbers::<SpotNumber>::new(), Numbers::new());
    let mut written: HashMap<(usize, bool), Option<SidedPlace>> = HashMap::new();
    type Same = (usize, Standing, Standing, usize);
    let mut alike: BTreeMap<Same, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    let mut people: Vec<Person> = Vec::new();
    for (person, facts) in facts {
        for fact in facts.iter() {
            let (through, place) = through(union, person, fact);
            let (right, at) = (rights.of((fact.right, fact.but.clone())), places.of((fact.at, fact.except.clone())));
            let via = vias.of(through);
            written.entry((via, fact.to > fact.from)).or_insert(place);
            let same = alike.entry((at, fact.from, fact.to, via)).or_default();
            same.entry(right).or_default().push(people.len());
        }
        people.push(person);
    }
    // Rights that the same principals gain or lose in the same place, in the same way, are one entry; so are places.
    type Entry = (Vec<usize>, Standing, Standing, usize);
    let mut entries: BTreeMap<Entry, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
    for ((at, from, to, via), by_right) in alike {
        let mut by_people: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (right, people) in by_right {
            by_people.entry(people).or_default().push(right);
        }
        for (people, rights) in by_people {
            entries.entry((rights, from, to, via)).or_default().push((at, people));
        }
    }
    let right_name = |number: usize| union.rights.get(number).map_or("", |right| right.name);
    let node_name = |number: usize| union.nodes.get(number).map_or("", |node| node.name);
    let changes = entries.into_iter().map(|((right_numbers, from, to, via), at)| {
        let all = at.iter().flat_map(|(_, people)| people).copied().collect::<std::collections::BTreeSet<usize>>();
        let ids = |numbers: &[usize]| {
            let people = numbers.iter().filter_map(|number| people.get(*number));
            let mut ids: Vec<Arc<str>> = people.map(|person| union.id(*person).into()).collect();
            ids.sort_unstable();
            ids
        };
        let mut at: Vec<(Spot, Vec<Arc<str>>)> = at
            .iter()
            .filter_map(|(place, people)| Some((spot(places.get(*place)?, &node_name), ids(people))))
            .collect();
        at.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.cmp(b)));
        let mut named: Vec<Spot> =
            right_numbers.iter().filter_map(|right| Some(spot(rights.get(*right)?, &right_name))).collect();
        named.sort_unstable();
        AccessChange {
            rights: named,
            from,
            to,
            through: vias.get(via).cloned().unwrap_or_default(),
            place: written.get(&(via, to > from)).copied().flatten(),
            at,
            principals: all.len(),
            routes: Vec::new(),
        }
    });
    let mut changes: Vec<AccessChange> = changes.collect();
    changes.sort_by(|a, b| {
        let width = |change: &AccessChange| (change.direction(), std::cmp::Reverse(change.principals));
        width(a).cmp(&width(b)).then_with(|| {
            (&a.rights, a.from, a.to, &a.at, &a.through).cmp(&(&b.rights, b.from, b.to, &b.at, &b.through))
        })
    });
    changes
}

fn spot<'n>((number, except): &SpotNumber, name: &impl Fn(usize) -> &'n str) -> Spot {
    let mut except: Vec<Arc<str>> = except.iter().map(|number| name(*number).into()).collect();
    except.sort_unstable();
    Spot { name: name(*number).into(), except }
}

/// What decides of a change: on the side where more is held the grants, on the other what keeps it down.
fn through(union: &Union<'_>, person: Person, fact: &Fact) -> (Through, Option<SidedPlace>) {
    let (more, less) = if fact.to > fact.from { (Side::New, Side::Old) } else { (Side::Old, Side::New) };
    let mut through = Through::default();
    let mut place = None;
    if let Some(seen) = consider(union, person, fact, more) {
        through.held = vias(union, more, &seen, &mut place);
    }
    if let Some(seen) = consider(union, person, fact, less) {
        let mut against = None;
        if seen.held == Held::Denied {
            through.denied = vias(union, less, &seen, &mut against);
        }
        place = place.or(against);
        let name = |flag| union.world(less).map(|world| world.domain.flag_name(flag).into());
        through.cap = seen.cap.and_then(|(flag, _)| name(flag));
    }
    (through, place)
}

fn consider(union: &Union<'_>, person: Person, fact: &Fact, side: Side) -> Option<Considered> {
    let world = union.world(side)?;
    union.active(person, side)?;
    let node = union.nodes.get(fact.at)?.scope(side)?;
    let right = match union.rights.get(fact.right)?.named(side) {
        Named::Right(right) | Named::Below(right) => right,
        Named::Unknown => return None,
    };
    world.domain.consider(world.origins, person.number(side)?, right, node)
}

fn vias(union: &Union<'_>, side: Side, seen: &Considered, place: &mut Option<SidedPlace>) -> Vec<Via> {
    let mut vias = Vec::new();
    for source in seen.sources.iter().filter(|source| source.decides) {
        for grant in source.grants.iter().filter(|grant| grant.decides) {
            let name = || union.world(side).map(|world| world.domain.right_name(grant.origin.right).into());
            let role = grant.origin.role.clone();
            let right = if role.is_none() { name() } else { None };
            vias.push(Via { group: source.group.clone(), role, right });
            place.get_or_insert((side, grant.origin.place));
        }
    }
    vias.sort_unstable();
    vias.dedup();
    vias
}

/// Notes for each change the routes that ask for the right: of the side where more is held.
pub(super) fn concern(changes: &mut [AccessChange], domain: &str, old: &Policy, new: &Policy) {
    let asked = |policy| Askers::of(policy, domain);
    let (old, new) = (asked(old), asked(new));
    for change in changes {
        let (askers, low, high) =
            if change.to > change.from { (&new, change.from, change.to) } else { (&old, change.to, change.from) };
        change.routes = askers.routes(&change.rights, low, high);
    }
}

/// The rights that the routes of one domain ask for.
struct Askers {
    tree: bool,
    routes: Vec<Asker>,
}

/// A route, the rights that it asks for, and those that must not be denied.
type Asker = (String, Vec<(String, Option<Level>)>, Vec<String>);

impl Askers {
    fn of(policy: &Policy, domain: &str) -> Self {
        let Some(world) = policy.worlds().find(|world| &**world.domain.name() == domain) else {
            return Self { tree: true, routes: Vec::new() };
        };
        let name = |right| world.domain.right_name(right).to_owned();
        let routes = asked_of(policy, world.domain).map(|(route, asked)| {
            let rights = asked.rights.iter().map(|(right, level)| (name(*right), *level)).collect();
            (route, rights, asked.undenied.iter().map(|right| name(*right)).collect())
        });
        Self { tree: world.document.strategy.rights == RightsShape::Tree, routes: routes.collect() }
    }

    fn routes(&self, rights: &[Spot], low: Standing, high: Standing) -> Vec<String> {
        let below = |name: &str, above: &str| {
            name == above || (self.tree && name.strip_prefix(above).is_some_and(|rest| rest.starts_with('.')))
        };
        let changes = |name: &str| {
            rights.iter().any(|right| below(name, &right.name) && !right.except.iter().any(|kept| below(name, kept)))
        };
        let settles =
            |level: Option<Level>| level.is_none_or(|level| low < Standing::Up(level) && Standing::Up(level) <= high);
        let concerned = self.routes.iter().filter(|(_, asked, undenied)| {
            asked.iter().any(|(name, level)| settles(*level) && changes(name))
                || (low == Standing::Denied && undenied.iter().any(|name| changes(name)))
        });
        concerned.map(|(route, ..)| route.clone()).collect()
    }
}
