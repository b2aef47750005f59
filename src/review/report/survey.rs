//! Many questions about many principals: who stands on the same footing is looked at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::access::{Access, Ground, Lower, Source, Tally, Written};
use crate::policy::{Footing, GrantSeen, Held, RightId, ScopeId};
use crate::review::policy::World;

/// What is asked about each principal.
#[derive(Clone, Debug)]
pub(super) enum Questions {
    /// These, each with one answer.
    Each(Vec<Question>),
    /// Where does what it holds of these rights change? A line counts for all that is below its right and its scope, but
    /// where a line of a nearer scope, or of the same scope and a nearer right, says otherwise.
    Changes(Vec<RightId>),
}

/// One question about a principal.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// How much of this right, here?
    One(RightId, ScopeId),
    /// Most of which of these rights, here?
    Best(Arc<[RightId]>, ScopeId),
}

/// More cells than this are not kept for others on the same footing.
const MAX_KEPT: usize = 400_000;

/// Answers the same questions about many principals; who stands on the same footing gets the same answers.
#[derive(Debug)]
pub(super) struct Surveyor<'p> {
    world: World<'p>,
    questions: Questions,
    /// All rights in order.
    rights: Vec<OrderedRight>,
    positions: HashMap<RightId, usize>,
    known: RefCell<HashMap<Footing, Arc<[Access]>>>,
    nodes: RefCell<HashMap<(ScopeId, Footing), Rc<Node>>>,
}

#[derive(Debug)]
struct OrderedRight {
    right: RightId,
    /// The position after the last right below it.
    end: usize,
    /// Whether an answer can depend on it.
    matters: bool,
}

impl<'p> Surveyor<'p> {
    pub(super) fn new(world: World<'p>, questions: Questions) -> Self {
        let order = world.domain.rights_in_order();
        let ends = order.iter().enumerate().map(|(position, (_, depth))| {
            let after = order.iter().skip(position + 1);
            position + 1 + after.take_while(|(_, other)| other > depth).count()
        });
        let rights =
            order.iter().zip(ends).map(|((right, _), end)| OrderedRight { right: *right, end, matters: false });
        let positions = order.iter().enumerate().map(|(position, (right, _))| (*right, position)).collect();
        let rights = rights.collect();
        let (known, nodes) = (RefCell::default(), RefCell::default());
        let mut surveyor = Self { world, questions, rights, positions, known, nodes };
        let mut spans: Vec<Range<usize>> = Vec::new();
        let one = |right: &RightId| surveyor.positions.get(right).map(|at| *at..*at + 1);
        match &surveyor.questions {
            Questions::Changes(rights) => spans.extend(rights.iter().filter_map(one)),
            Questions::Each(questions) => questions.iter().for_each(|question| match question {
                Question::One(right, _) => spans.push(surveyor.span(*right)),
                Question::Best(rights, _) => spans.extend(rights.iter().filter_map(one)),
            }),
        }
        spans.sort_unstable_by_key(|span| (span.start, span.end));
        spans.dedup();
        for right in spans.into_iter().flatten() {
            surveyor.rights.get_mut(right).into_iter().for_each(|right| right.matters = true);
        }
        surveyor
    }

    /// The answers about a principal, in the order of the questions.
    pub(super) fn ask(&self, number: usize) -> Arc<[Access]> {
        let Some(footing) = self.world.domain.footing(self.world.origins, number, None) else { return Arc::new([]) };
        if let Some(known) = self.known.borrow().get(&footing) {
            return Arc::clone(known);
        }
        let answers: Arc<[Access]> = Looking::at(self, number).map_or_else(Vec::new, |looking| looking.all()).into();
        let mut known = self.known.borrow_mut();
        // The answers of one are about as many as those of another.
        if (known.len() + 1).saturating_mul(answers.len()) > MAX_KEPT {
            known.clear();
        }
        known.insert(footing, Arc::clone(&answers));
        answers
    }

    /// What a principal holds at a node that has grants.
    fn node(&self, number: usize, scope: ScopeId) -> Option<Rc<Node>> {
        let domain = self.world.domain;
        let principal = domain.principals().get(number)?;
        let key = (scope, domain.footing(self.world.origins, number, Some(scope))?);
        if let Some(known) = self.nodes.borrow().get(&key) {
            return Some(Rc::clone(known));
        }
        let held = |right: &OrderedRight| {
            if right.matters { domain.held(principal, right.right, scope) } else { Held::Nothing }
        };
        let held = self.rights.iter().map(held).collect();
        let node = Rc::new(Node { scope, held, grounds: RefCell::default() });
        let mut nodes = self.nodes.borrow_mut();
        if (nodes.len() + 1).saturating_mul(self.rights.len()) > MAX_KEPT {
            nodes.clear();
        }
        nodes.insert(key, Rc::clone(&node));
        Some(node)
    }

    /// A right and those below it, by position.
    fn span(&self, right: RightId) -> Range<usize> {
        let position = self.positions.get(&right).copied();
        let end = position.and_then(|position| self.rights.get(position)).map(|right| right.end);
        position.zip(end).map_or(0..0, |(position, end)| position..end)
    }
}

/// One principal, looked at.
struct Looking<'s, 'p> {
    surveyor: &'s Surveyor<'p>,
    number: usize,
    /// Where it has grants, in pre-order, and the root: elsewhere it holds what it holds at the nearest of these above.
    nodes: Vec<Rc<Node>>,
}

/// What is held at a node.
#[derive(Debug)]
struct Node {
    scope: ScopeId,
    /// By position of the right; nothing where no answer depends on it.
    held: Vec<Held>,
    /// Looked for when they are asked for.
    grounds: RefCell<HashMap<RightId, Grounds>>,
}

/// Who decided, and the flag that lowered it.
type Grounds = (Arc<[Source]>, Option<Arc<str>>);

impl<'s, 'p> Looking<'s, 'p> {
    fn at(surveyor: &'s Surveyor<'p>, number: usize) -> Option<Self> {
        let domain = surveyor.world.domain;
        let nodes = domain.nodes_of_grants(domain.principals().get(number)?);
        let nodes = nodes.into_iter().filter_map(|scope| surveyor.node(number, scope)).collect();
        Some(Self { surveyor, number, nodes })
    }

    fn all(&self) -> Vec<Access> {
        let surveyor = self.surveyor;
        match &surveyor.questions {
            Questions::Each(questions) => questions.iter().filter_map(|question| self.one(question)).collect(),
            Questions::Changes(rights) => self.changes(rights),
        }
    }

    fn changes(&self, rights: &[RightId]) -> Vec<Access> {
        let domain = self.surveyor.world.domain;
        let mut lines: Vec<Access> = Vec::new();
        for node in &self.nodes {
            let scope = node.scope;
            for right in rights {
                let position = self.surveyor.positions.get(right);
                let Some(held) = position.and_then(|position| node.held.get(*position).copied()) else { continue };
                let (sources, capped_by) = self.grounds(*right, node, held);
                let here = Access { right: *right, scope, held, capped_by, sources, lower: None, tally: None };
                let covers = |line: &&Access| {
                    domain.is_at_or_below(scope, line.scope) && domain.is_right_at_or_below(*right, line.right)
                };
                // Lines come in the order of scopes, then rights, so the last that covers something is the nearest.
                let said = lines.iter().rev().find(covers);
                if said.map_or(!here.is_empty(), |said| !here.agrees_with(said)) {
                    lines.push(here);
                }
            }
        }
        lines
    }

    fn one(&self, question: &Question) -> Option<Access> {
        match question {
            Question::One(right, scope) => {
                let span = self.surveyor.span(*right);
                let base = self.nearest(*scope)?;
                let held = base.held.get(span.start).copied()?;
                let here = (span.start + 1..span.end).map(|position| (base, position, *scope));
                let below = self.nodes_below(*scope).flat_map(|node| span.clone().map(move |p| (node, p, node.scope)));
                let lower = self.highest_above(held, here.chain(below));
                let (sources, capped_by) = self.grounds(*right, base, held);
                Some(Access { right: *right, scope: *scope, held, capped_by, sources, lower, tally: None })
            }
            Question::Best(rights, scope) => {
                let surveyor = self.surveyor;
                let positions = || rights.iter().filter_map(|right| surveyor.positions.get(right).copied());
                let base = self.nearest(*scope)?;
                let levels = positions().filter_map(|p| Some((p, base.held.get(p)?.level()?)));
                let tally = Tally { held: levels.clone().count(), of: rights.len() };
                // Of equals the first: in a tree, the one that covers most.
                let best = levels.reduce(|a, b| if b.1 > a.1 { b } else { a });
                let held = best.map_or(Held::Nothing, |(_, level)| Held::Up(level));
                let first = positions().next()?;
                let right = surveyor.rights.get(best.map_or(first, |(position, _)| position))?.right;
                let below = self.nodes_below(*scope).flat_map(|node| positions().map(move |p| (node, p, node.scope)));
                let lower = self.highest_above(held, below);
                let (sources, capped_by) = self.grounds(right, base, held);
                Some(Access { right, scope: *scope, held, capped_by, sources, lower, tally: Some(tally) })
            }
        }
    }

    fn nearest(&self, scope: ScopeId) -> Option<&Node> {
        let domain = self.surveyor.world.domain;
        // Of the nodes above a node, the last in pre-order is the nearest.
        let mut above = self.nodes.iter().rev().filter(|node| domain.is_at_or_below(scope, node.scope));
        above.next().map(|node| &**node)
    }

    fn nodes_below(&self, scope: ScopeId) -> impl Iterator<Item = &Node> {
        let domain = self.surveyor.world.domain;
        let below = move |node: &&Node| node.scope != scope && domain.is_at_or_below(node.scope, scope);
        self.nodes.iter().map(|node| &**node).filter(below)
    }

    /// The most that is held at places further down, if it is more than what is held above.
    fn highest_above<'n>(
        &self,
        above: Held,
        places: impl Iterator<Item = (&'n Node, usize, ScopeId)>,
    ) -> Option<Lower> {
        let mut best: Option<Lower> = None;
        for (node, position, scope) in places {
            let level = node.held.get(position).and_then(|held| held.level());
            if let (Some(level), Some(right)) = (level, self.surveyor.rights.get(position))
                && Some(level) > above.level().max(best.map(|lower| lower.level))
            {
                best = Some(Lower { right: right.right, scope, level });
            }
        }
        best
    }

    /// Who decided at a node.
    fn grounds(&self, right: RightId, node: &Node, held: Held) -> Grounds {
        if held == Held::Nothing {
            return Grounds::default();
        }
        let look = || grounds(self.surveyor.world, self.number, right, node.scope);
        node.grounds.borrow_mut().entry(right).or_insert_with(look).clone()
    }
}

fn grounds(world: World<'_>, number: usize, right: RightId, scope: ScopeId) -> Grounds {
    let own = world.origins.principal(number);
    let considered = world.domain.consider(world.origins, number, right, scope);
    let (Some(own), Some(considered)) = (own, considered) else { return Grounds::default() };
    let cap = considered.cap.map(|(flag, _)| world.domain.flag_name(flag).into());
    let deciding = considered.sources.into_iter().filter(|source| source.decides);
    let sources = deciding.map(|source| {
        let of_group = source.group.is_some();
        let ground = |seen: GrantSeen| Ground {
            right: seen.origin.right,
            at: seen.at,
            role: seen.origin.role.clone(),
            via: seen.via,
            written: match own.position(&seen) {
                Some(position) if !of_group => Written::Own(position),
                _ => Written::At(seen.origin.place),
            },
        };
        let grounds = source.grants.into_iter().filter(|grant| grant.decides).map(ground).collect();
        Source { group: source.group, grounds }
    });
    (sources.collect(), cap)
}
