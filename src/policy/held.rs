//! Where a permitted caller holds the right that let it in: what the backend needs for pages that list things.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::Case;
use super::domain::{Domain, Principal, ScopeId};
use super::facts::Facts;
use super::hierarchy::Interval;
use super::rules::{At, Check, Rules};
use crate::model::Level;

/// The most nodes that are looked at, which bounds the work: each costs as much as a small decision.
const MAX_NODES: usize = 256;

/// The names of the nodes in which the principal holds the right of the last right term that held when the request was
/// decided, at the level that the term asks for. The arguments are those of [`super::decide`], which must have permitted
/// the request.
///
/// A node stands for everything below it, so those below another are left out; nodes that lie neither above nor below
/// the term's scope are none of this route's business. `None` where no list would be exact or short: no right was asked
/// for, the right is not held everywhere below a node of the list, or too many nodes would have to be looked at.
pub fn held_scopes(
    domain: &Domain,
    rules: &Rules,
    principal: &Principal,
    facts: &impl Facts,
    by_method: Level,
) -> Option<Box<[Arc<str>]>> {
    let case = Case::open(domain, rules, principal, facts, by_method).ok()?;
    let mut term = None;
    case.run(|check| {
        if let Check::Right { right, level, at, .. } = check {
            term = Some((right, *level, *at));
        }
    })
    .ok()?;
    let (right, level, at) = term?;
    let (right, asked) = (case.right(right).ok()?, case.level(level));
    let root = [ScopeId::ROOT];
    let here = match at {
        At::Root => &root[..],
        At::Scope(scope) => case.resolved.nodes(scope),
    };
    let concerns_route = |node: Interval| {
        let here = here.iter().filter_map(|scope| domain.scope_entry(*scope));
        here.into_iter().any(|(_, scope)| node.contains(*scope) || scope.contains(node))
    };

    // What is held changes only at nodes of grants, so the others need no look. In pre-order, all that lies below a
    // node comes right after it.
    let mut nodes = BTreeSet::new();
    for grant in domain.covering(principal, right) {
        nodes.insert(grant.scope);
        if nodes.len() > MAX_NODES {
            return None;
        }
    }
    let mut listed: Vec<Interval> = Vec::new();
    for node in nodes {
        let listed_already = listed.last().is_some_and(|above| above.contains(node));
        if !listed_already && !concerns_route(node) {
            continue;
        }
        let held = domain.held(principal, right, ScopeId(node.first)).level().is_some_and(|level| level >= asked);
        match (listed_already, held) {
            // The node above would say too much.
            (true, false) => return None,
            (false, true) => listed.push(node),
            (true, true) | (false, false) => {}
        }
    }
    let names = listed.iter().filter_map(|node| domain.scope_entry(ScopeId(node.first)));
    Some(names.map(|(name, _)| Arc::clone(name)).collect())
}
