//! Why a principal holds as much of a right as it does: every source, every grant that says something, and which of
//! them decided. Settles conflicts with the functions that decisions use, on the grants as they were written.

use std::sync::Arc;

use super::compile::counts;
use super::domain::{Domain, FlagId, RightId, ScopeId};
use super::hierarchy::Interval;
use super::member::Member;
use super::origins::{GrantOrigin, Origins};
use super::precedence::{self, Grant, Held};
use crate::document::grants::{Across, Within};
use crate::model::{Effect, Level};

/// How much a principal holds of a right at a node, and why.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The right.
    pub right: RightId,
    /// The node.
    pub scope: ScopeId,
    /// Every source that says something, or would if the boundary let it: the principal first, then its groups.
    pub sources: Vec<Source>,
    /// What all of them together say.
    pub together: Held,
    /// A flag that lowers it, and how far.
    pub cap: Option<(FlagId, Level)>,
    /// What is held in the end.
    pub held: Held,
}

/// One source: the principal itself or a group.
#[derive(Clone, Debug)]
pub struct Source {
    /// The group; `None` for the principal itself.
    pub group: Option<Arc<str>>,
    /// What it says.
    pub held: Held,
    /// Whether it decided: without it, and those that say the same, the outcome would be another.
    pub decides: bool,
    /// Its grants that cover the right and the node.
    pub grants: Vec<GrantSeen>,
}

/// One grant that covers a right and a node.
#[derive(Clone, Debug)]
pub struct GrantSeen {
    /// Where it is written.
    pub origin: GrantOrigin,
    /// What it says.
    pub effect: Effect,
    /// The node that it names.
    pub at: ScopeId,
    /// The right that brings the one asked for, where the grant covers that one and not the right itself.
    pub via: Option<RightId>,
    /// Whether it counts: it lies within the principal's boundary, or is a denial.
    pub counts: bool,
    /// Whether it decided within its source.
    pub decides: bool,
}

impl Domain {
    /// Looks at everything that bears on what a principal holds of a right at a node. `number` is the principal's.
    /// `None` for numbers that the domain does not have, or origins of another.
    pub fn consider(&self, origins: &Origins, number: usize, right: RightId, scope: ScopeId) -> Option<Considered> {
        self.consider_member(origins, number, self.principals().get(number)?.into(), right, scope)
    }

    /// The same of the principal while a token speaks for it.
    pub fn consider_member(
        &self,
        origins: &Origins,
        number: usize,
        member: Member<'_>,
        right: RightId,
        scope: ScopeId,
    ) -> Option<Considered> {
        let written = origins.principal(number)?;
        let boundary = written.boundary.as_deref();
        let (_, at) = self.scope_entry(scope)?;
        let own = self.source(None, &written.grants, boundary, right, *at);
        let groups = origins.groups_of_member(written, member).into_iter();
        let groups = groups.map(|group| self.source(Some(&group.name), &group.grants, boundary, right, *at));
        let mut sources: Vec<Source> = std::iter::once(own).chain(groups).collect();

        let (own, groups) = sources.split_first()?;
        let together = precedence::across(self.strategy.across, own.held, groups.iter().map(|group| group.held));
        let own_alone = own.held == together && own.held != Held::Nothing && self.own_result_wins(together);
        for (position, source) in sources.iter_mut().enumerate() {
            let says_so = source.held == together && together != Held::Nothing;
            source.decides = says_so && (position == 0 || !own_alone);
        }
        sources.retain(|source| !source.grants.is_empty());
        let (cap, held) = self.capped(member, together);
        Some(Considered { right, scope, sources, together, cap, held })
    }

    /// Whether the strategy lets the principal's own result win over equal ones of its groups.
    fn own_result_wins(&self, together: Held) -> bool {
        match self.strategy.across {
            Across::IndividualFirst => true,
            Across::DenyIndividualFirst => matches!(together, Held::Up(_)),
            Across::DenyOverrides | Across::MostRestrictive | Across::MostPermissive => false,
        }
    }

    fn capped(&self, member: Member<'_>, together: Held) -> (Option<(FlagId, Level)>, Held) {
        let lowest = self.caps_of(member).min_by_key(|(_, level)| *level).copied();
        match (together, lowest) {
            (Held::Up(level), Some((flag, cap))) if cap < level => (Some((flag, cap)), Held::Up(cap)),
            _ => (None, together),
        }
    }

    fn source(
        &self,
        group: Option<&Arc<str>>,
        written: &[GrantOrigin],
        boundary: Option<&[Interval]>,
        right: RightId,
        at: Interval,
    ) -> Source {
        let counting: Vec<Grant> =
            written.iter().map(|origin| origin.grant).filter(|grant| counts(boundary, grant)).collect();
        let held = self.held_within(&counting, right, at);
        let seen = written.iter().filter_map(|origin| self.seen(origin, boundary, right, at));
        let mut grants: Vec<GrantSeen> = seen.collect();
        for grant in &mut grants {
            if let Some(way) = self.way_of(grant, &counting, held, right, at) {
                grant.via = (way != right).then_some(way);
                grant.decides = true;
            }
        }
        Source { group: group.cloned(), held, decides: false, grants }
    }

    /// A grant, if it covers the right, or one that brings it, at the node.
    fn seen(
        &self,
        origin: &GrantOrigin,
        boundary: Option<&[Interval]>,
        right: RightId,
        at: Interval,
    ) -> Option<GrantSeen> {
        let grant = origin.grant;
        if !grant.scope.contains(at) {
            return None;
        }
        let covers = |right: RightId| self.right_interval(right).is_some_and(|asked| grant.right.contains(asked));
        let via = if covers(right) {
            None
        } else {
            Some(self.implied_by(right).iter().copied().find(|bringer| covers(*bringer))?)
        };
        Some(GrantSeen {
            origin: origin.clone(),
            effect: grant.effect,
            at: ScopeId(grant.scope.first),
            via,
            counts: counts(boundary, &grant),
            decides: false,
        })
    }

    /// The right by which a grant is one of those that its source's answer rests on: the one asked for, or one that
    /// brings it. `None` if the answer does not rest on it.
    fn way_of(
        &self,
        grant: &GrantSeen,
        counting: &[Grant],
        held: Held,
        right: RightId,
        at: Interval,
    ) -> Option<RightId> {
        let says = match grant.effect {
            Effect::Deny => Held::Denied,
            Effect::Allow(level) => Held::Up(level),
        };
        if !grant.counts || says != held {
            return None;
        }
        let own = grant.origin.grant;
        let rests_on = |way: RightId| {
            let asked = self.right_interval(way).filter(|asked| own.right.contains(*asked))?;
            let covering = counting.iter().filter(|other| other.scope.contains(at) && other.right.contains(asked));
            // Of one source's grants only the nearest count; those as near as the nearest decide together.
            let nearest = covering.map(Grant::nearness).max();
            let near_enough = match self.strategy.within {
                Within::Union => true,
                Within::Nearest => nearest == Some(own.nearness()),
            };
            near_enough.then_some(way)
        };
        // Denials do not travel along implications.
        let bringers = if held == Held::Denied { &[] } else { self.implied_by(right) };
        rests_on(right).or_else(|| bringers.iter().find_map(|way| rests_on(*way)))
    }
}
