//! Whether somebody who holds one thing before and another after gains or loses by it: what is decided is compared, right
//! by right and node by node. Those whose grants differ only in where they stand share the work.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Verdict;
use super::frames::Frames;
use super::holdings::Holdings;
use crate::model::Level;
use crate::policy::domain::{Domain, RightId, ScopeId};
use crate::policy::names::Map;
use crate::policy::people::{GiftId, Principal};
use crate::policy::precedence::{Held, Said};

/// How many decisions are made at most, which bounds the work to some seconds. Who is not come to counts as one that
/// gains and loses.
const DECISIONS: u64 = 20_000_000;
/// The most relations of own nodes to those of groups for which likeness is looked for.
const RELATIONS: usize = 1_024;

/// See the module's head.
pub(super) struct Scales<'s> {
    pub(super) frames: Frames,
    domains: [&'s Domain; 2],
    /// What came of holdings, by all of them that tells.
    shapes: Map<Box<[u32]>, Verdict>,
    /// By side and gift: the rights that it says anything of, by shared number.
    covered: [Map<GiftId, Rc<[u32]>>; 2],
    left: u64,
}

/// What is held, as far as it matters. In order, the less before the more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Denied,
    Nothing,
    Up(Level),
}

impl<'s> Scales<'s> {
    pub(super) fn new(frames: Frames, domains: [&'s Domain; 2]) -> Self {
        Self { frames, domains, shapes: Map::default(), covered: Default::default(), left: DECISIONS }
    }

    /// Weighs what was read last.
    pub(super) fn weigh(&mut self, holdings: &Holdings, before: Principal<'s>, after: Principal<'s>) -> Verdict {
        let flags = self.flags(holdings);
        if flags == Verdict::BOTH {
            return flags;
        }
        let shape = self.shape(holdings);
        if let Some(known) = shape.as_ref().and_then(|shape| self.shapes.get(shape.as_slice())) {
            return *known;
        }
        let verdict = flags.or(self.decide(holdings, before, after));
        if let Some(shape) = shape {
            self.shapes.insert(shape.into(), verdict);
        }
        verdict
    }

    /// A flag matters by itself where a route asks for it or forbids it; what its cap does shows in the rights.
    fn flags(&self, holdings: &Holdings) -> Verdict {
        let flags = |side| holdings.shared_profile(side).map(|(_, profile)| profile.flags).unwrap_or_default();
        let pairs = flags(0).into_iter().zip(flags(1));
        let asks = self.frames.asked_flags.into_iter().zip(self.frames.forbidden_flags);
        pairs.zip(asks).fold(Verdict::default(), |verdict, ((old, new), (asked, forbidden))| {
            let (got, lost) = (new & !old, old & !new);
            verdict.or(Verdict {
                gain: got & asked != 0 || lost & forbidden != 0,
                lose: lost & asked != 0 || got & forbidden != 0,
            })
        })
    }

    /// All of what is held that tells on decisions: which nodes these are does not, but which lie above which. `None`
    /// where nodes move, so that this is not all, and where it would take too long.
    fn shape(&self, holdings: &Holdings) -> Option<Vec<u32>> {
        if !self.frames.is_stable() || holdings.near().restless {
            return None;
        }
        let ((old_number, old), (new_number, new)) = (holdings.shared_profile(0)?, holdings.shared_profile(1)?);
        let bundles = old.of_groups.iter().chain(&new.of_groups).flatten();
        let of_groups: BTreeSet<u32> =
            bundles.filter_map(|bundle| holdings.shared_bundle(*bundle)).map(|(node, _)| node).collect();
        let mut nodes: Vec<u32> = Vec::new();
        let mut shape = vec![old_number, new_number];
        for side in [0, 1] {
            let mut own: Vec<_> = holdings.own(side).map(|(node, gift)| (gift, node)).collect();
            own.sort_unstable();
            shape.push(u32::try_from(own.len()).ok()?);
            for (gift, node) in own {
                let place = nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
                    nodes.push(node);
                    nodes.len() - 1
                });
                shape.extend([gift, u32::try_from(place).ok()?]);
            }
        }
        if nodes.len() * (nodes.len() + of_groups.len()) > RELATIONS {
            return None;
        }
        for node in &nodes {
            let at = self.interval(*node)?;
            for other in &nodes {
                shape.push(u32::from(at.contains(self.interval(*other)?)));
            }
            for group in &of_groups {
                let other = self.interval(*group)?;
                shape.push(u32::from(at.contains(other)) + 2 * u32::from(other.contains(at)));
            }
        }
        Some(shape)
    }

    /// Where a node lies, which is the same on both sides where nodes do not move.
    fn interval(&self, node: u32) -> Option<crate::policy::hierarchy::Interval> {
        let [_, domain] = self.domains;
        let [_, scope] = *self.frames.nodes.get(usize::try_from(node).ok()?)?;
        domain.scope_entry(scope?).map(|(_, at)| *at)
    }

    fn decide(&mut self, holdings: &Holdings, before: Principal<'s>, after: Principal<'s>) -> Verdict {
        let (mut nodes, mut rights) = (BTreeSet::from([self.frames.node(1, ScopeId::ROOT.0)]), BTreeSet::new());
        if !self.frames.is_stable() || holdings.near().restless {
            nodes.extend(&self.frames.restless);
        }
        let sides: Vec<_> = self.domains.into_iter().zip([before, after]).enumerate().collect();
        for (side, (domain, principal)) in &sides {
            for bundle in domain.bundles_of((*principal).into()) {
                nodes.insert(self.frames.node(*side, bundle.scope.first));
                rights.extend(self.covered(*side, domain, bundle.gift).iter().copied());
            }
        }
        let mut verdict = Verdict::default();
        for right in &rights {
            for node in &nodes {
                let Some(left) = self.left.checked_sub(2) else { return Verdict::BOTH };
                self.left = left;
                let mut standings = sides
                    .iter()
                    .map(|(side, (domain, principal))| self.standing(*side, domain, *principal, *right, *node));
                let (Some(from), Some(to)) = (standings.next(), standings.next()) else { return Verdict::BOTH };
                drop(standings);
                verdict = verdict.or(Verdict { gain: to > from, lose: to < from });
                if verdict == Verdict::BOTH {
                    return verdict;
                }
            }
        }
        verdict
    }

    fn standing(&self, side: usize, domain: &Domain, principal: Principal<'_>, right: u32, node: u32) -> Standing {
        let known = usize::try_from(right).ok().and_then(|index| self.frames.rights.get(index));
        let scope = usize::try_from(node).ok().and_then(|index| self.frames.nodes.get(index));
        let asked = known.and_then(|right| *right.known.get(side)?).zip(scope.and_then(|sides| *sides.get(side)?));
        match asked.map(|(right, scope)| domain.held(principal, right, scope)) {
            Some(Held::Up(level)) => Standing::Up(level),
            Some(Held::Denied) if known.is_some_and(|right| right.denial_matters) => Standing::Denied,
            Some(Held::Denied | Held::Nothing) | None => Standing::Nothing,
        }
    }

    /// The rights, by shared number, that a gift says anything of.
    fn covered(&mut self, side: usize, domain: &Domain, id: GiftId) -> Rc<[u32]> {
        if let Some(known) = self.covered.get(side).and_then(|covered| covered.get(&id)) {
            return Rc::clone(known);
        }
        let gift = domain.tables.gift(id);
        let says = |right: RightId| {
            let mut ways = std::iter::once(right).chain(domain.implied_by(right).iter().copied());
            ways.any(|way| {
                let at = domain.right_interval(way);
                at.zip(gift).is_some_and(|(at, gift)| gift.greatest(at) != Said::Nothing)
            })
        };
        let all = self.frames.rights.iter().zip(0_u32..);
        let said = all.filter(|(right, _)| right.known.get(side).copied().flatten().is_some_and(says));
        let found: Rc<[u32]> = said.map(|(_, number)| number).collect();
        if let Some(covered) = self.covered.get_mut(side) {
            covered.insert(id, Rc::clone(&found));
        }
        found
    }
}
