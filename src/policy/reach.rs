//! Who may use a route at all, and where: its rules with scopes chosen instead of read from a request.

use std::collections::BTreeSet;

use super::domain::{Domain, Principal, RightId, ScopeId};
use super::precedence::Held;
use super::rules::{Asked, At, Check, MAX_SCOPES, Missing, Origin, RightRef, Rules, Step};
use crate::model::{Level, Status};

/// The most choices of nodes for all scopes of a route that are tried; beyond it, each term may choose anew.
const MOST_CHOICES: usize = 4_096;

/// Where a principal may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere, whatever the request says.
    Never,
    /// At these nodes, in pre-order, and below each down to the next node at which the principal has a grant: what the
    /// route's first scope (`main` if there is one) may be. A request with other values may still be refused.
    At(Vec<ScopeId>),
    /// Wherever it asks.
    Anywhere,
}

/// Evaluates rules for a principal with every scope chosen among the nodes that it may name; comparisons and bits of
/// objects are taken as whichever helps. So [`Reach::Never`] is certain, and the others are what may be.
pub fn reach(domain: &Domain, rules: &Rules, principal: &Principal, by_method: Level) -> Reach {
    if principal.status != Status::Active {
        return Reach::Never;
    }
    let candidates: Vec<Vec<ScopeId>> =
        (0..rules.scopes.len()).map(|scope| nodes(domain, rules, principal, scope, 0)).collect();
    let choices = candidates.iter().map(Vec::len).try_fold(1_usize, usize::checked_mul);
    let mut chooser = Chooser { domain, rules, principal, by_method, candidates: &candidates, chosen: Vec::new() };
    if choices.is_none_or(|choices| choices > MOST_CHOICES) {
        return if chooser.permits(0, &mut BTreeSet::new()) { Reach::Anywhere } else { Reach::Never };
    }
    let main = rules.scopes.iter().position(|scope| &*scope.name == "main").unwrap_or(0);
    let Some(at) = candidates.get(main) else {
        return if chooser.permits(0, &mut BTreeSet::new()) { Reach::Anywhere } else { Reach::Never };
    };
    chooser.chosen = vec![None; candidates.len()];
    let mut reached = Vec::new();
    for node in at {
        if let Some(slot) = chooser.chosen.get_mut(main) {
            *slot = Some(*node);
        }
        if chooser.any_choice(main) {
            reached.push(*node);
        }
    }
    match reached.len() {
        0 => Reach::Never,
        all if all == at.len()
            && matches!(rules.scopes.get(main).map(|rule| &rule.origin), Some(Origin::Request { .. })) =>
        {
            Reach::Anywhere
        }
        _ => Reach::At(reached),
    }
}

/// The nodes that stand for all that a scope may be: what a principal holds changes at no other. `hops` counts how
/// often `same_as` was followed.
fn nodes(domain: &Domain, rules: &Rules, principal: &Principal, scope: usize, hops: usize) -> Vec<ScopeId> {
    let Some(rule) = rules.scopes.get(scope) else { return Vec::new() };
    let kind = match rule.origin {
        Origin::Request { kind, .. } => kind,
        Origin::Node(node) => return vec![node],
    };
    let ends: Vec<ScopeId> = domain.nodes_of_grants(principal).into_iter().collect();
    // The nearest of the ends above a node is the last of those before it in pre-order that it lies below.
    let nearest = |node: ScopeId| ends.iter().rev().find(|end| domain.is_at_or_below(node, **end)).copied();
    let named = |end: &ScopeId| {
        let own = domain.scope_name(*end).split_once(':');
        let is_one = own.is_some_and(|(of_kind, value)| {
            of_kind == domain.kind_name(kind) && domain.scope(kind, value) == Some(*end)
        });
        is_one || domain.values(kind).any(|(_, node)| nearest(node) == Some(*end))
    };
    let mut nodes: Vec<ScopeId> = ends.iter().filter(|end| named(end)).copied().collect();
    // A scope without a value may take a node that is no value of its kind.
    match rule.missing {
        Missing::Node(node) => nodes.push(node),
        Missing::SameAs(other) if hops < MAX_SCOPES => {
            nodes.extend(self::nodes(domain, rules, principal, usize::from(other), hops + 1));
        }
        Missing::SameAs(_) | Missing::Deny | Missing::Skip => {}
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

struct Chooser<'c> {
    domain: &'c Domain,
    rules: &'c Rules,
    principal: &'c Principal,
    by_method: Level,
    candidates: &'c [Vec<ScopeId>],
    /// By scope; empty where each term may choose anew.
    chosen: Vec<Option<ScopeId>>,
}

impl Chooser<'_> {
    /// Whether some choice for all scopes but this one lets the rules permit.
    fn any_choice(&mut self, fixed: usize) -> bool {
        let next = (0..self.chosen.len()).find(|scope| *scope != fixed && self.chosen.get(*scope) == Some(&None));
        let Some((next, nodes)) = next.and_then(|next| Some((next, self.candidates.get(next)?))) else {
            return self.permits(0, &mut BTreeSet::new());
        };
        // A scope that can be nothing still lets rules permit that do not ask for it.
        let mut permits = nodes.is_empty() && self.permits(0, &mut BTreeSet::new());
        for node in nodes {
            if let (false, Some(slot)) = (permits, self.chosen.get_mut(next)) {
                *slot = Some(*node);
                permits = self.any_choice(fixed);
            }
        }
        if let Some(slot) = self.chosen.get_mut(next) {
            *slot = None;
        }
        permits
    }

    /// Whether the steps from this one on may come to a permission.
    fn permits(&self, step: usize, seen: &mut BTreeSet<usize>) -> bool {
        if !seen.insert(step) {
            return false;
        }
        match self.rules.steps.get(step) {
            None => false,
            Some(Step::Permit) => true,
            Some(Step::Jump(to)) => self.permits(usize::from(*to), seen),
            Some(Step::Check { check, otherwise }) => {
                let (may_hold, may_fail) = self.check(check);
                (may_hold && self.permits(step + 1, seen))
                    || (may_fail && otherwise.is_some_and(|to| self.permits(usize::from(to), seen)))
            }
        }
    }

    /// Whether a check may hold, and whether it may fail.
    fn check(&self, check: &Check) -> (bool, bool) {
        let sure = |holds: bool| (holds, !holds);
        match check {
            Check::Flag(flag) => sure(self.domain.bears(self.principal, *flag)),
            Check::NotFlag(flag) => sure(!self.domain.bears(self.principal, *flag)),
            Check::Right { right, level, at, below } => {
                let asked = match level {
                    Asked::Level(level) => *level,
                    Asked::ByMethod => self.by_method,
                };
                let held = |right, node| match *below {
                    true => self.domain.held_below(self.principal, right, node),
                    false => self.domain.held(self.principal, right, node),
                };
                (self.any(right, *at, |right, node| held(right, node).level().is_some_and(|held| held >= asked)), true)
            }
            Check::UnlessDenied { right, at } => (
                self.any(right, *at, |right, node| self.domain.held(self.principal, right, node) != Held::Denied),
                true,
            ),
            Check::Compare { .. } | Check::Bit { .. } => (true, true),
            Check::Never { .. } => (false, true),
        }
    }

    fn any(&self, right: &RightRef, at: At, holds: impl Fn(RightId, ScopeId) -> bool) -> bool {
        let nodes = match at {
            At::Root => &[ScopeId::ROOT][..],
            At::Scope(scope) => match self.chosen.get(usize::from(scope)) {
                Some(chosen) => chosen.as_slice(),
                None => self.candidates.get(usize::from(scope)).map_or(&[][..], Vec::as_slice),
            },
        };
        let rights = match right {
            RightRef::Fixed(right) => vec![*right],
            RightRef::Named { rights, .. } => rights.iter().map(|(_, right)| *right).collect(),
        };
        rights.iter().any(|right| nodes.iter().any(|node| holds(*right, *node)))
    }
}
