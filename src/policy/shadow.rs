//! What would be if: grants that could go without anything changing, and what other strategies would make of the rest.

use std::collections::BTreeSet;

use super::compile::counts;
use super::domain::{Domain, RightId, ScopeId};
use super::hierarchy::Interval;
use super::origins::{GrantOrigin, GroupOrigin, Origins};
use super::people::Principal;
use super::precedence::{self, Grant, Held};
use crate::diag::Place;
use crate::document::grants::{Across, Within};

impl Domain {
    /// What a principal would hold under another strategy.
    pub fn held_under(
        &self,
        (within, across): (Within, Across),
        principal: Principal<'_>,
        right: RightId,
        scope: ScopeId,
    ) -> Held {
        let Some((_, at)) = self.scope_entry(scope) else { return Held::Nothing };
        let of_source = |source| self.held_of(within, source, right, *at);
        let groups = principal.of_groups().iter().map(|group| of_source(&**group));
        self.lowered(&principal.into(), precedence::across(across, of_source(principal.own()), groups))
    }

    /// Whether the grants that bear on a right at a node say different things, so that a strategy has to settle it.
    pub fn is_contested(&self, principal: Principal<'_>, right: RightId, scope: ScopeId) -> bool {
        let Some((_, at)) = self.scope_entry(scope) else { return false };
        let groups = principal.of_groups().iter().flat_map(|group| self.grants_in(group));
        let all = groups.chain(self.grants_in(principal.own()));
        let mut effects = all.filter(|grant| grant.scope.contains(*at) && self.covers(grant, right));
        let first = effects.next().map(|grant| grant.effect);
        effects.any(|grant| Some(grant.effect) != first)
    }

    /// The entries of a principal's own grants that change nothing: without any of them, and with all of them gone, it
    /// holds and is denied the same. `beside_groups` says whether to look at its own grants together with those of its
    /// groups, or at these alone: what changes nothing alone changes nothing in whatever groups it is.
    pub fn idle_entries(&self, origins: &Origins, number: usize, beside_groups: bool) -> Vec<Place> {
        let (Some(principal), Some(written)) = (self.principals().get(number), origins.principal(number)) else {
            return Vec::new();
        };
        let boundary = written.boundary.as_deref();
        let counting: Vec<&GrantOrigin> =
            written.grants.iter().filter(|origin| counts(boundary, &origin.grant)).collect();
        if !beside_groups {
            return self.idle(&counting, &[], &|own, right, at| self.held_within(own, right, at));
        }
        let others: Vec<Vec<Grant>> =
            principal.of_groups().iter().map(|group| self.grants_in(group).collect()).collect();
        let held = |own: &[Grant], right, at| {
            let groups = others.iter().map(|group| self.held_within(group, right, at));
            precedence::across(self.across(), self.held_within(own, right, at), groups)
        };
        self.idle(&counting, &others, &held)
    }

    /// The same for the grants of a group, within the group.
    pub fn idle_entries_of_group(&self, group: &GroupOrigin) -> Vec<Place> {
        let grants: Vec<&GrantOrigin> = group.grants.iter().collect();
        self.idle(&grants, &[], &|own, right, at| self.held_within(own, right, at))
    }

    fn idle(
        &self,
        written: &[&GrantOrigin],
        others: &[Vec<Grant>],
        held: &dyn Fn(&[Grant], RightId, Interval) -> Held,
    ) -> Vec<Place> {
        let entries: BTreeSet<Place> = written.iter().map(|origin| origin.place).collect();
        let mut idle = BTreeSet::new();
        // What implications bring may come from any right.
        let brings = self.rights().any(|(right, _)| !self.implied_by(right).is_empty());
        // An entry may count only beside one that does not: when some went, the rest is looked at once more.
        loop {
            let before = idle.len();
            for entry in entries.iter().rev() {
                if !idle.contains(entry) && !self.matters(*entry, (written, &idle), others, held, brings) {
                    idle.insert(*entry);
                }
            }
            if idle.len() == before {
                break;
            }
        }
        idle.into_iter().collect()
    }

    /// Whether an entry makes a difference, those that are idle being gone.
    fn matters(
        &self,
        entry: Place,
        (written, idle): (&[&GrantOrigin], &BTreeSet<Place>),
        others: &[Vec<Grant>],
        held: &dyn Fn(&[Grant], RightId, Interval) -> Held,
        brings: bool,
    ) -> bool {
        let left = |gone: bool| {
            let stays = move |origin: &&&GrantOrigin| !gone || origin.place != entry;
            let left = written.iter().filter(|origin| !idle.contains(&origin.place)).filter(stays);
            left.map(|origin| origin.grant).collect::<Vec<Grant>>()
        };
        let (with, without) = (left(false), left(true));
        let mut own = written.iter().filter(|origin| origin.place == entry).map(|origin| origin.grant);
        // Where nothing else is said of the right, the entry says it all.
        let alone = |grant: &Grant| {
            let mut all = without.iter().chain(others.iter().flat_map(|group| group.iter()));
            !all.any(|other| other.scope.contains(grant.scope) && (brings || other.right.contains(grant.right)))
        };
        own.any(|grant| alone(&grant) || self.tells(grant, &with, &without, others, held))
    }

    /// Whether a grant makes a difference anywhere.
    fn tells(
        &self,
        grant: Grant,
        with: &[Grant],
        without: &[Grant],
        others: &[Vec<Grant>],
        held: &dyn Fn(&[Grant], RightId, Interval) -> Held,
    ) -> bool {
        let all = with.iter().chain(others.iter().flat_map(|group| group.iter()));
        // What is held changes only at nodes of grants.
        let nodes: BTreeSet<Interval> =
            all.map(|other| other.scope).filter(|node| grant.scope.contains(*node)).collect();
        let names = |right: RightId| self.right_interval(right).is_some_and(|asked| grant.right.contains(asked));
        let concerns = |right: RightId| names(right) || self.implied_by(right).iter().any(|bringer| names(*bringer));
        let mut rights = self.rights().map(|(right, _)| right).filter(|right| concerns(*right));
        rights.any(|right| nodes.iter().any(|node| held(with, right, *node) != held(without, right, *node)))
    }
}
