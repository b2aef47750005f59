//! Where a principal may use a route at all, without a request at hand: which nodes its scopes would have to name.
//!
//! Rights, flags and the account are judged as a decision judges them. What only a request can tell is taken as met:
//! comparisons, conditions on values of the request, and that scopes which come from one object fit together. So
//! `never` is certain, and everywhere else the route is open at most there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::domain::{Domain, RightId, ScopeId};
use super::people::Principal;
use super::precedence::Held;
use super::rules::{Asked, At, Check, Missing, Origin, RightRef, Rules, Spot, Step};
use crate::diag::Place;
use crate::model::{Level, Status};

/// More ways than this are merged, which may show a route as open in more places than it is.
const MAX_WAYS: usize = 64;

/// Where a principal may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever its scopes lead; or it has none.
    Anywhere,
    /// In one of these ways.
    At(Vec<Way>),
    /// Nowhere.
    Never(Obstacle),
}

/// For each scope of the route that matters its name and the nodes that it may name: each stands for all below it that
/// the route can be about.
pub type Way = Vec<(Arc<str>, Vec<ScopeId>)>;

/// Why a route is never open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The account is not active.
    Account(Status),
    /// The term that fails, and where it stands.
    Term(String, Option<Place>),
    /// No node can be the value of this scope.
    Scope(Arc<str>),
}

/// Sorted nodes that a scope may still name, by the number of the scope; `None`: all that it can name.
type State = Vec<Option<Vec<ScopeId>>>;

/// Where a principal may use a route. `by_method` is the level that the method means there.
pub fn reach(domain: &Domain, rules: &Rules, principal: Principal<'_>, by_method: Level) -> Reach {
    if principal.status() != Status::Active {
        return Reach::Never(Obstacle::Account(principal.status()));
    }
    let mut candidates = Vec::new();
    for (number, scope) in rules.scopes.iter().enumerate() {
        let nodes = candidates_of(domain, rules, number, 0);
        if nodes.is_empty() && !may_be_skipped(rules, number) {
            return Reach::Never(Obstacle::Scope(Arc::clone(&scope.name)));
        }
        candidates.push(nodes);
    }
    let mut walk = Walk { domain, rules, principal, by_method, candidates, held: HashMap::new() };
    match walk.run() {
        Ok(states) => walk.told(states),
        Err(step) => {
            let term = rules.term_of(step);
            let text = term.map_or_else(|| "nothing is permitted".to_owned(), |term| term.text.clone());
            Reach::Never(Obstacle::Term(text, term.map(|term| term.place)))
        }
    }
}

/// Whether a scope may stay empty: it is skipped, or takes its value from one that may be.
fn may_be_skipped(rules: &Rules, number: usize) -> bool {
    let mut at = number;
    for _ in 0..=rules.scopes.len() {
        match rules.scopes.get(at).map(|scope| scope.missing) {
            Some(Missing::Skip) => return true,
            Some(Missing::SameAs(other)) => at = usize::from(other),
            Some(Missing::Deny | Missing::Node(_)) | None => return false,
        }
    }
    false
}

/// The nodes that a scope can name, sorted. `hops` bounds `same_as`.
fn candidates_of(domain: &Domain, rules: &Rules, number: usize, hops: usize) -> Vec<ScopeId> {
    let Some(scope) = rules.scopes.get(number) else { return Vec::new() };
    let mut nodes = match &scope.origin {
        Origin::Node(node) => return vec![*node],
        Origin::Request { places, .. }
            if places.iter().all(|place| matches!(place, Spot::Object(_))) && !domain.looks_up_object_of(rules) =>
        {
            domain.nodes_by_attribute(rules, scope)
        }
        Origin::Request { kind, .. } => domain.values(*kind).map(|(_, node)| node).collect(),
    };
    match scope.missing {
        Missing::Deny | Missing::Skip => {}
        Missing::Node(node) => nodes.push(node),
        Missing::SameAs(_) if hops > rules.scopes.len() => {}
        Missing::SameAs(other) => nodes.extend(candidates_of(domain, rules, usize::from(other), hops + 1)),
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

struct Walk<'w> {
    domain: &'w Domain,
    rules: &'w Rules,
    principal: Principal<'w>,
    by_method: Level,
    candidates: Vec<Vec<ScopeId>>,
    /// By right and by whether what lies below counts: what is held at a node.
    held: HashMap<(RightId, bool, ScopeId), Held>,
}

impl Walk<'_> {
    /// What is left of the scopes where the rules permit; or the step that let nothing pass.
    fn run(&mut self) -> Result<Vec<State>, usize> {
        let mut last_closed = 0;
        let mut pending: BTreeMap<usize, Vec<State>> = BTreeMap::from([(0, vec![vec![None; self.rules.scopes.len()]])]);
        // Jumps only lead forward, so each step is come to once, with all states that lead there.
        while let Some((at, states)) = pending.pop_first() {
            match self.rules.steps.get(at) {
                Some(Step::Permit) => return Ok(states),
                Some(Step::Jump(to)) => merge(pending.entry(usize::from(*to)).or_default(), states),
                Some(Step::Check { check, otherwise }) => {
                    let passed: Vec<State> = states.iter().flat_map(|state| self.check(check, state)).collect();
                    if passed.is_empty() && otherwise.is_none() {
                        last_closed = at;
                    }
                    if let Some(to) = otherwise {
                        merge(pending.entry(usize::from(*to)).or_default(), states);
                    }
                    if !passed.is_empty() {
                        merge(pending.entry(at + 1).or_default(), passed);
                    }
                }
                None => {}
            }
        }
        Err(last_closed)
    }

    /// The states in which a check can hold.
    fn check(&mut self, check: &Check, state: &State) -> Vec<State> {
        let as_it_is = |holds: bool| if holds { vec![state.clone()] } else { Vec::new() };
        match check {
            Check::Flag(flag) => as_it_is(Domain::has_flag(self.principal, *flag)),
            Check::NotFlag(flag) => as_it_is(!Domain::has_flag(self.principal, *flag)),
            Check::Compare { .. } | Check::Bit { .. } => as_it_is(true),
            Check::Never { .. } => Vec::new(),
            Check::Right { right, level, at, below } => {
                let asked = match level {
                    Asked::Level(level) => *level,
                    Asked::ByMethod => self.by_method,
                };
                self.narrow(right, *at, *below, state, |held| held.level().is_some_and(|level| level >= asked))
            }
            Check::UnlessDenied { right, at } => self.narrow(right, *at, false, state, |held| held != Held::Denied),
        }
    }

    /// One state for each right that may be meant, with the nodes where it is held as asked.
    fn narrow(
        &mut self,
        right: &RightRef,
        at: At,
        below: bool,
        state: &State,
        passes: impl Fn(Held) -> bool,
    ) -> Vec<State> {
        let rights: Vec<RightId> = match right {
            RightRef::Fixed(right) => vec![*right],
            RightRef::Named { rights, .. } => rights.iter().map(|(_, right)| *right).collect(),
        };
        let mut narrowed = Vec::new();
        for right in rights {
            let At::Scope(scope) = at else {
                if passes(self.held(right, below, ScopeId::ROOT)) {
                    narrowed.push(state.clone());
                }
                continue;
            };
            let number = usize::from(scope);
            let all = self.candidates.get(number).cloned().unwrap_or_default();
            let open = state.get(number).cloned().flatten().unwrap_or_else(|| all.clone());
            let mut left = open;
            left.retain(|node| passes(self.held(right, below, *node)));
            let mut next = state.clone();
            if let (false, Some(slot)) = (left.is_empty(), next.get_mut(number)) {
                *slot = if left == all { None } else { Some(left) };
                merge(&mut narrowed, vec![next]);
            }
        }
        narrowed
    }

    fn held(&mut self, right: RightId, below: bool, node: ScopeId) -> Held {
        let (domain, principal) = (self.domain, self.principal);
        *self.held.entry((right, below, node)).or_insert_with(|| {
            if below { domain.held_below(principal, right, node) } else { domain.held(principal, right, node) }
        })
    }

    fn told(&self, states: Vec<State>) -> Reach {
        if states.iter().any(|state| state.iter().all(Option::is_none)) {
            return Reach::Anywhere;
        }
        let way = |state: State| {
            let scopes = self.rules.scopes.iter().zip(&self.candidates).zip(state);
            let told = scopes.filter_map(|((scope, all), left)| Some((Arc::clone(&scope.name), self.top(&left?, all))));
            told.collect()
        };
        Reach::At(states.into_iter().map(way).collect())
    }

    /// Nodes without those that a listed one stands for: all that can be named below it are there.
    fn top(&self, left: &[ScopeId], all: &[ScopeId]) -> Vec<ScopeId> {
        let within = |node: ScopeId, upper: ScopeId| self.domain.is_at_or_below(node, upper);
        let mut listed: Vec<ScopeId> = Vec::new();
        // In pre-order, all that lies below a node comes right after it.
        let mut whole: Option<ScopeId> = None;
        for node in left {
            if whole.is_some_and(|upper| within(*node, upper)) {
                continue;
            }
            listed.push(*node);
            let mut below = all.iter().filter(|other| within(**other, *node));
            whole = below.all(|other| left.binary_search(other).is_ok()).then_some(*node);
        }
        listed
    }
}

/// Adds states to a list; one that another contains says nothing new.
fn merge(list: &mut Vec<State>, states: Vec<State>) {
    for state in states {
        if list.iter().any(|known| is_within(&state, known)) {
            continue;
        }
        list.retain(|known| !is_within(known, &state));
        if list.len() < MAX_WAYS {
            list.push(state);
        } else if let Some(last) = list.last_mut() {
            widen(last, state);
        }
    }
}

fn is_within(inner: &State, outer: &State) -> bool {
    inner.iter().zip(outer).all(|(inner, outer)| match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => inner.iter().all(|node| outer.binary_search(node).is_ok()),
    })
}

/// Makes a state contain another as well.
fn widen(state: &mut State, other: State) {
    for (nodes, more) in state.iter_mut().zip(other) {
        match (&mut *nodes, more) {
            (Some(nodes), Some(more)) => {
                nodes.extend(more);
                nodes.sort_unstable();
                nodes.dedup();
            }
            (nodes, _) => *nodes = None,
        }
    }
}
