//! What two states of a domain have in common beside their principals: names of rights, nodes and flags as shared
//! numbers, and what of the rest differs.

use std::collections::{BTreeMap, BTreeSet};

use super::Asked;
use super::holdings::Near;
use crate::document::Literal;
use crate::model::Level;
use crate::policy::domain::{Domain, RightId, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::names::{Map, Names};

/// A right of either state.
#[derive(Debug)]
pub(super) struct SharedRight {
    /// It, or the nearest above it that the state knows of.
    pub(super) known: [Option<RightId>; 2],
    /// Whether a denial of it differs from nothing.
    pub(super) denial_matters: bool,
}

/// A set of flags: those that the old state knows of by their numbers there, then the others.
pub(super) type SharedFlags = [u128; 2];

/// See the module's head. Sides are 0, the old state, and 1.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) rights: Vec<SharedRight>,
    /// By side and number there: the shared number.
    right_numbers: [Vec<u32>; 2],
    /// By shared number: the node of each side.
    pub(super) nodes: Vec<[Option<ScopeId>; 2]>,
    node_numbers: [Vec<u32>; 2],
    /// Nodes that are new, gone or elsewhere than they were.
    pub(super) restless: Vec<u32>,
    /// The same for each side, ready to be looked up; and nodes of which other names or values changed.
    restless_at: [Marks; 2],
    touched_at: [Marks; 2],
    /// By number in the new state: the bit of a flag.
    flag_bits: Vec<SharedFlags>,
    pub(super) asked_flags: SharedFlags,
    pub(super) forbidden_flags: SharedFlags,
    /// Whether equal grants say the same of equal nodes.
    stable: bool,
}

impl Frames {
    pub(super) fn new(old: &Domain, new: &Domain, asked: &Asked<'_>) -> Self {
        let (rights, right_numbers) = rights(old, new, asked);
        let (nodes, node_numbers, restless) = nodes(old, new);
        let flag_bits = flag_bits(old, new);
        let mask = |names: &BTreeSet<&str>| {
            let bits = |name: &&str| match (old.flags.find(name), new.flags.find(name)) {
                (Some(number), _) => [bit(number), 0],
                (None, Some(number)) => [0, bit(number)],
                (None, None) => [0, 0],
            };
            names.iter().map(bits).fold([0, 0], |[a, b], [c, d]| [a | c, b | d])
        };
        let mut frames = Self {
            rights,
            right_numbers,
            nodes,
            node_numbers,
            restless,
            restless_at: Default::default(),
            touched_at: Default::default(),
            flag_bits,
            asked_flags: mask(&asked.flags),
            forbidden_flags: mask(&asked.not_flags),
            stable: is_stable(old, new),
        };
        let touched = frames.renamed(old, new);
        let marks = |some: &[u32]| [(0, old), (1, new)].map(|side| Marks::new(some, &frames.nodes, side));
        let (restless_at, touched_at) = (marks(&frames.restless), marks(&touched));
        (frames.restless_at, frames.touched_at) = (restless_at, touched_at);
        frames
    }

    /// Whether equal grants say the same of nodes that are where they were.
    pub(super) const fn is_stable(&self) -> bool {
        self.stable
    }

    /// Whether the same holds of all nodes.
    pub(super) fn is_calm(&self) -> bool {
        self.stable && self.restless.is_empty() && self.touched_at.iter().all(Marks::is_empty)
    }

    pub(super) fn right(&self, side: usize, right: RightId) -> u32 {
        numbered(&self.right_numbers, side, right.0)
    }

    pub(super) fn node(&self, side: usize, node: u32) -> u32 {
        numbered(&self.node_numbers, side, node)
    }

    pub(super) fn flags(&self, side: usize, flags: u128) -> SharedFlags {
        if side == 0 {
            return [flags, 0];
        }
        let borne = self.flag_bits.iter().zip(0_u32..).filter(|(_, number)| flags & bit(*number) != 0);
        borne.fold([0, 0], |[a, b], ([c, d], _)| [a | c, b | d])
    }

    /// What a grant at a node may say something of.
    pub(super) fn near(&self, side: usize, at: Interval) -> Near {
        let any = |marks: &[Marks; 2]| marks.get(side).is_none_or(|marks| marks.is_near(at));
        Near { restless: any(&self.restless_at), touched: any(&self.touched_at) }
    }

    /// Nodes that values of requests mean now or meant before, but not both.
    fn renamed(&self, old: &Domain, new: &Domain) -> Vec<u32> {
        let mut found: BTreeSet<u32> = BTreeSet::new();
        for (side, own, other) in [(0, old, new), (1, new, old)] {
            for (kind, name) in own.kinds() {
                let elsewhere = other.kinds.find(name).and_then(|kind| usize::try_from(kind).ok());
                let elsewhere = elsewhere.and_then(|kind| other.values.get(kind));
                for (value, scope) in own.values(kind) {
                    let meant = elsewhere.and_then(|values| values.get(value));
                    let meant = meant.map(|scope| self.node(1 - side, scope.0));
                    let means = self.node(side, scope.0);
                    if meant != Some(means) {
                        found.extend(meant);
                        found.insert(means);
                    }
                }
            }
        }
        // What is new or gone has its name from being there.
        self.restless.iter().for_each(|node| {
            found.remove(node);
        });
        found.into_iter().collect()
    }
}

/// Some nodes of one side.
#[derive(Debug, Default)]
struct Marks {
    /// Their numbers, sorted.
    firsts: Vec<u32>,
    /// By number: whether a node is one of them, or below one.
    covered: Vec<bool>,
}

impl Marks {
    fn new(some: &[u32], nodes: &[[Option<ScopeId>; 2]], (side, domain): (usize, &Domain)) -> Self {
        let scope = |number: &u32| {
            let sides = usize::try_from(*number).ok().and_then(|index| nodes.get(index))?;
            domain.scope_entry((*sides.get(side)?)?).map(|(_, scope)| *scope)
        };
        let mut marked: Vec<Interval> = some.iter().filter_map(scope).collect();
        marked.sort_unstable();
        let mut end = 0;
        let mut next = marked.iter().peekable();
        let covered = domain.scopes.iter().map(|(_, at)| {
            while let Some(marked) = next.next_if(|marked| marked.first <= at.first) {
                end = end.max(marked.end);
            }
            at.first < end
        });
        let covered = if marked.is_empty() { Vec::new() } else { covered.collect() };
        Self { firsts: marked.iter().map(|at| at.first).collect(), covered }
    }

    const fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// Whether any lies at, above or below a node.
    fn is_near(&self, at: Interval) -> bool {
        let after = self.firsts.partition_point(|first| *first < at.first);
        let below = self.firsts.get(after).is_some_and(|first| *first < at.end);
        let covered = usize::try_from(at.first).ok().and_then(|index| self.covered.get(index));
        below || covered.copied().unwrap_or_default()
    }
}

const fn bit(number: u32) -> u128 {
    1_u128 << (number & 127)
}

fn numbered(numbers: &[Vec<u32>; 2], side: usize, number: u32) -> u32 {
    let own = numbers.get(side).zip(usize::try_from(number).ok());
    own.and_then(|(numbers, index)| numbers.get(index)).copied().unwrap_or(u32::MAX)
}

/// Names of both sides as one list, and for each side the shared number of each.
fn shared(names: [Vec<&str>; 2]) -> (Vec<String>, [Vec<u32>; 2]) {
    let mut all = Names::default();
    let numbers = names.map(|names| names.into_iter().map(|name| all.intern(name)).collect());
    (all.all().iter().map(ToString::to_string).collect(), numbers)
}

fn rights(old: &Domain, new: &Domain, asked: &Asked<'_>) -> (Vec<SharedRight>, [Vec<u32>; 2]) {
    let of = |domain: &Domain| -> Vec<String> { domain.rights().map(|(_, name)| name.to_owned()).collect() };
    let (of_old, of_new) = (of(old), of(new));
    let borrowed = |names: &[String]| -> Vec<String> { names.to_vec() };
    let (first, second) = (borrowed(&of_old), borrowed(&of_new));
    let (all, numbers) =
        shared([first.iter().map(String::as_str).collect(), second.iter().map(String::as_str).collect()]);
    let known = |domain: &Domain, name: &str| {
        let mut rest = name;
        loop {
            if let Some(right) = domain.find_right(rest) {
                return Some(right);
            }
            // In a domain whose rights are no tree, none has a dot that would mean anything.
            (rest, _) = rest.rsplit_once('.').filter(|_| domain.has_tree_of_rights())?;
        }
    };
    let right = |name: &String| SharedRight {
        known: [known(old, name), known(new, name)],
        denial_matters: asked.undenied.contains(name.as_str()),
    };
    (all.iter().map(right).collect(), numbers)
}

/// Each node's name with that of the node above it, in pre-order.
fn with_parents(domain: &Domain) -> Vec<(&str, Option<&str>)> {
    let mut path: Vec<(&str, Interval)> = Vec::new();
    let mut found = Vec::new();
    for (name, at) in domain.scopes.iter() {
        while path.pop_if(|(_, above)| !above.contains(*at)).is_some() {}
        found.push((&**name, path.last().map(|(above, _)| *above)));
        path.push((name, *at));
    }
    found
}

type Nodes = (Vec<[Option<ScopeId>; 2]>, [Vec<u32>; 2], Vec<u32>);

fn nodes(old: &Domain, new: &Domain) -> Nodes {
    let (of_old, of_new) = (with_parents(old), with_parents(new));
    let names =
        |of: &[(&'_ str, Option<&str>)]| -> Vec<String> { of.iter().map(|(name, _)| (*name).to_owned()).collect() };
    let (first, second) = (names(&of_old), names(&of_new));
    let (all, numbers) =
        shared([first.iter().map(String::as_str).collect(), second.iter().map(String::as_str).collect()]);
    let mut nodes = vec![[None, None]; all.len()];
    let mut above: Vec<[Option<Option<&str>>; 2]> = vec![[None, None]; all.len()];
    for (side, of) in [(0, &of_old), (1, &of_new)] {
        let own = numbers.get(side).map(Vec::as_slice).unwrap_or_default();
        for ((number, (_, parent)), scope) in own.iter().zip(of).zip(0_u32..) {
            let Ok(index) = usize::try_from(*number) else { continue };
            if let Some(place) = nodes.get_mut(index).and_then(|sides| sides.get_mut(side)) {
                *place = Some(ScopeId(scope));
            }
            if let Some(place) = above.get_mut(index).and_then(|sides| sides.get_mut(side)) {
                *place = Some(*parent);
            }
        }
    }
    let restless = above.iter().zip(0_u32..).filter(|([old, new], _)| old != new).map(|(_, number)| number).collect();
    (nodes, numbers, restless)
}

fn flag_bits(old: &Domain, new: &Domain) -> Vec<SharedFlags> {
    let bits = |(number, name): (u32, &std::sync::Arc<str>)| match old.flags.find(name) {
        Some(known) => [bit(known), 0],
        None => [0, bit(number)],
    };
    (0_u32..).zip(new.flags.all()).map(bits).collect()
}

fn is_stable(old: &Domain, new: &Domain) -> bool {
    let caps = |domain: &Domain| -> BTreeSet<(String, Level)> {
        domain.strategy.caps.iter().map(|(flag, level)| (domain.flag_name(*flag).to_owned(), *level)).collect()
    };
    let bringers = |domain: &Domain| -> BTreeMap<String, BTreeSet<String>> {
        let name = |right: RightId| domain.right_name(right).to_owned();
        let all = domain.rights().map(|(right, _)| (right, domain.implied_by(right)));
        all.filter(|(_, by)| !by.is_empty())
            .map(|(right, by)| (name(right), by.iter().map(|by| name(*by)).collect()))
            .collect()
    };
    old.strategy.within == new.strategy.within
        && old.strategy.across == new.strategy.across
        && caps(old) == caps(new)
        && old.has_tree_of_rights() == new.has_tree_of_rights()
        && bringers(old) == bringers(new)
}

/// The kinds of objects, by name, of which any came, went, or has other attributes, or that are looked up in one of the two
/// only.
pub fn changed_objects(old: &Domain, new: &Domain) -> BTreeSet<String> {
    type Attributes = BTreeMap<String, (Literal, Vec<Box<str>>)>;
    let all = |domain: &Domain| -> BTreeMap<String, Map<Box<str>, Attributes>> {
        let kinds = domain.objects.iter().map(|(kind, objects)| {
            let objects = objects.iter().map(|(key, object)| {
                let attributes = object.attributes.iter().map(|(id, attribute)| {
                    let name = domain.attributes.name(id.0).to_owned();
                    (name, (attribute.value.clone(), attribute.texts.to_vec()))
                });
                (key.clone(), attributes.collect())
            });
            (domain.kinds.name(*kind).to_owned(), objects.collect())
        });
        kinds.collect()
    };
    let looked_up = |domain: &Domain| -> BTreeSet<String> {
        domain.looked_up.keys().map(|kind| domain.kinds.name(*kind).to_owned()).collect()
    };
    let moved = &looked_up(old) ^ &looked_up(new);
    let (old, new) = (all(old), all(new));
    let changed = old.keys().chain(new.keys()).filter(|kind| old.get(*kind) != new.get(*kind)).cloned();
    changed.chain(moved).collect()
}
