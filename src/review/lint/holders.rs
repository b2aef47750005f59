//! Active principals by what they hold: those that hold the same are looked at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Effect, Level, Status};
use crate::policy::{Domain, GrantSet, Holding, Principal, RightId, ScopeId};
use crate::review::World;

/// The active principals of one domain.
pub(super) struct Holders<'h> {
    /// Each with the same holdings: the first, and the numbers of all.
    pub(super) alike: Vec<Alike<'h>>,
    /// The highest level at which anybody holds a right anywhere, or may by a token.
    pub(super) best: BTreeMap<RightId, Level>,
}

/// Principals that hold the same.
pub(super) struct Alike<'h> {
    pub(super) first: Principal<'h>,
    pub(super) numbers: Vec<usize>,
    /// The rights of which their grants say anything.
    pub(super) rights: BTreeSet<RightId>,
    /// The nodes at which what they hold may change.
    pub(super) nodes: BTreeSet<ScopeId>,
    /// Whether they hold anything at all.
    pub(super) holds: bool,
}

impl<'h> Holders<'h> {
    pub(super) fn of(world: World<'h>) -> Self {
        let domain = world.domain;
        let mut numbers: HashMap<Holding, usize> = HashMap::new();
        let mut alike: Vec<Alike<'h>> = Vec::new();
        let reader = Reader::new(domain);
        for (number, principal) in domain.principals().iter().enumerate() {
            if principal.status() != Status::Active {
                continue;
            }
            let next = alike.len();
            let at = *numbers.entry(domain.holding(principal)).or_insert(next);
            if at == next {
                let (rights, nodes) = (reader.rights(principal), domain.nodes_of_grants(principal));
                alike.push(Alike { first: principal, numbers: Vec::new(), rights, nodes, holds: false });
            }
            if let Some(same) = alike.get_mut(at) {
                same.numbers.push(number);
            }
        }
        let mut best: BTreeMap<RightId, Level> = BTreeMap::new();
        for same in &mut alike {
            for right in &same.rights {
                let held = same.nodes.iter().filter_map(|node| domain.held(same.first, *right, *node).level()).max();
                if let Some(level) = held {
                    same.holds = true;
                    let known = best.entry(*right).or_insert(level);
                    *known = level.max(*known);
                }
            }
        }
        // Members by token hold at most what their groups grant.
        let sources: Vec<GrantSet> = domain.sources_by_token().collect();
        for (_, right, effect) in sources.iter().flat_map(|source| domain.grants_of(source, &reader.positions)) {
            if let Effect::Allow(level) = effect {
                for right in reader.covered.get(&right).into_iter().flatten() {
                    let known = best.entry(*right).or_insert(level);
                    *known = level.max(*known);
                }
            }
        }
        Self { alike, best }
    }
}

/// What rights a grant says anything of.
struct Reader<'r> {
    domain: &'r Domain,
    positions: Vec<RightId>,
    covered: BTreeMap<RightId, Vec<RightId>>,
}

impl<'r> Reader<'r> {
    fn new(domain: &'r Domain) -> Self {
        let mut covered: BTreeMap<RightId, Vec<RightId>> = BTreeMap::new();
        for (right, _) in domain.rights() {
            let bringers = domain.bringers(right).iter().chain([&right]);
            for over in bringers.flat_map(|named| domain.rights_over(*named)) {
                covered.entry(over).or_default().push(right);
            }
        }
        Self { domain, positions: domain.rights_by_position(), covered }
    }

    fn rights(&self, principal: Principal<'_>) -> BTreeSet<RightId> {
        let (own, groups) = self.domain.sources_of(principal);
        let sources: Vec<GrantSet> = groups.chain([own]).collect();
        let granted = sources.iter().flat_map(|source| self.domain.grants_of(source, &self.positions));
        granted.filter_map(|(_, right, _)| self.covered.get(&right)).flatten().copied().collect()
    }
}
