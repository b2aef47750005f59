//! What depends on how conflicts are settled: where the sources of a principal disagree, one word of the strategy decides
//! what it holds, so that word had better be right.

use std::collections::{BTreeMap, HashSet};

use super::holders::Holders;
use super::{Code, Finding, add, principals, some};
use crate::diag::Place;
use crate::document::grants::{Across, Within};
use crate::model::Level;
use crate::policy::{Principal, RightId, ScopeId};
use crate::review::World;

/// What is held now, and by each other strategy that would give something else.
type Outcome = (Option<Level>, Vec<(&'static str, Option<Level>)>);

/// Whom one outcome concerns.
struct Concerned {
    principals: Vec<usize>,
    examples: Vec<String>,
    place: Option<Place>,
}

pub(super) fn look(world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    let mut outcomes: BTreeMap<(RightId, Outcome), Concerned> = BTreeMap::new();
    for alike in &holders.alike {
        let mut told: HashSet<(ScopeId, Outcome)> = HashSet::new();
        // What is held of a right is told once, not again for all below it that follow from it.
        let mut rights: Vec<RightId> = alike.rights.iter().copied().collect();
        rights.sort_by_key(|right| world.domain.right_name(*right));
        for right in rights {
            for node in &alike.nodes {
                if !world.domain.is_contested(alike.first, right, *node) {
                    continue;
                }
                let outcome = outcome(world, alike.first, right, *node);
                if outcome.1.is_empty() || !told.insert((*node, outcome.clone())) {
                    continue;
                }
                let concerned = outcomes.entry((right, outcome)).or_insert_with(|| Concerned {
                    principals: Vec::new(),
                    examples: Vec::new(),
                    place: place(world, alike.numbers.first().copied(), right, *node),
                });
                concerned.principals.extend(&alike.numbers);
                concerned.examples.push(format!("{} at {}", alike.first.id(), world.domain.scope_name(*node)));
            }
        }
    }
    for ((right, (now, others)), mut concerned) in outcomes {
        concerned.principals.sort_unstable();
        concerned.principals.dedup();
        let level = |level: Option<Level>| level.map_or("nothing", Level::name);
        let others: Vec<String> =
            others.iter().map(|(name, held)| format!("`{name}` would give {}", level(*held))).collect();
        let count = concerned.principals.len();
        let message = format!(
            "{} {} {} of `{}` only by the strategy: {} ({})",
            principals(count),
            if count == 1 { "holds" } else { "hold" },
            level(now),
            world.domain.right_name(right),
            others.join(", "),
            some(&concerned.examples),
        );
        let place = concerned.place.unwrap_or(world.document.domain.place);
        add(found, Code::StrategyDependent, place, message);
    }
}

fn outcome(world: World<'_>, principal: Principal<'_>, right: RightId, node: ScopeId) -> Outcome {
    let domain = world.domain;
    let held = |within, across| domain.held_under((within, across), principal, right, node).level();
    let (within, across) = (domain.within(), domain.across());
    let now = held(within, across);
    let others = Across::ALL.iter().map(|other| (other.name(), held(within, *other)));
    let others = others.chain(Within::ALL.iter().map(|other| (other.name(), held(*other, across))));
    (now, others.filter(|(_, held)| *held != now).collect())
}

/// Where one of the grants that decide is written.
fn place(world: World<'_>, number: Option<usize>, right: RightId, node: ScopeId) -> Option<Place> {
    let seen = world.domain.consider(world.origins, number?, right, node)?;
    let grants = seen.sources.iter().flat_map(|source| &source.grants);
    grants.filter(|grant| grant.counts).map(|grant| grant.origin.place).min()
}
