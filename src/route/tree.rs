//! The tree of segments while routes are put into it, before it becomes a table.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::edges::{NodeId, folded, lower, number};
use super::pattern::{Pattern, Segment};
use super::table::Table;

/// The routes of one application, one after the other.
#[derive(Debug)]
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Whether letter case makes no difference to literals.
    pub(super) folds: bool,
}

/// What a path may go on with, or how it may end.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) literals: Literals,
    pub(super) variable: Option<NodeId>,
    /// Routes that end here.
    pub(super) ends: Vec<(Method, usize)>,
    /// Routes that take the rest from here.
    pub(super) rests: Vec<(Method, usize)>,
}

/// The literals of a node that are not empty, and the empty one.
#[derive(Debug, Default)]
pub(super) struct Literals {
    /// As they are written, or in lower case where case makes no difference.
    written: BTreeMap<Box<str>, NodeId>,
    /// Without letter case, where that is another text than ASCII lower case makes of what is written.
    folded: BTreeSet<Box<str>>,
    /// Where case makes no difference: what each folded form leads to.
    groups: BTreeMap<Box<str>, NodeId>,
    /// The slash at the end of a path.
    pub(super) slash: Option<NodeId>,
}

impl Literals {
    /// What a literal leads to, which is `next` if it is a new one.
    pub(super) fn enter(&mut self, text: &str, next: NodeId, folds: bool) -> NodeId {
        if text.is_empty() {
            return *self.slash.get_or_insert(next);
        }
        let (written, folded) = if folds { (lower(text), folded(text)) } else { (text.to_owned(), folded(text)) };
        if !written.is_ascii() || !folded.is_ascii() {
            self.folded.insert(folded.as_str().into());
        }
        let known = self.written.get(written.as_str()).or_else(|| self.groups.get(folded.as_str()));
        let to = known.copied().unwrap_or(next);
        self.written.insert(written.into(), to);
        if folds {
            self.groups.entry(folded.into()).or_insert(to);
        }
        to
    }

    /// Each text as a request has it, decoded, and what it leads to.
    pub(super) fn written(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.written.iter().map(|(text, to)| (&**text, *to))
    }

    /// The folded forms of those that have letters beyond ASCII.
    pub(super) fn folded_beyond_ascii(&self) -> impl Iterator<Item = &str> {
        self.folded.iter().map(|text| &**text)
    }
}

impl Tree {
    /// A tree without routes. `folds`: letter case makes no difference to literals.
    pub fn new(folds: bool) -> Self {
        Self { nodes: vec![Node::default()], folds }
    }

    /// Whether letter case makes no difference to literals.
    pub const fn folds(&self) -> bool {
        self.folds
    }

    /// Adds a route by its number.
    ///
    /// # Errors
    /// The number of the route that takes the very same requests.
    pub fn insert(&mut self, pattern: &Pattern, method: &Method, route: usize) -> Result<(), usize> {
        let mut at = 0;
        let mut rest = false;
        for segment in &pattern.segments {
            let fresh = self.nodes.len();
            let (Some(next), Some(node)) = (NodeId::new(number(fresh)), self.nodes.get_mut(at)) else { return Ok(()) };
            let to = match segment {
                Segment::Literal(text) => node.literals.enter(text, next, self.folds),
                Segment::Variable(_) => *node.variable.get_or_insert(next),
                Segment::Rest(_) => {
                    rest = true;
                    break;
                }
            };
            if to == next {
                self.nodes.push(Node::default());
                at = fresh;
            } else {
                at = usize::try_from(to.get()).unwrap_or(usize::MAX);
            }
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        let ends = if rest { &mut node.rests } else { &mut node.ends };
        match ends.iter().find(|(known, _)| known == method) {
            Some((_, other)) => Err(*other),
            None => {
                ends.push((method.clone(), route));
                Ok(())
            }
        }
    }

    /// The table of all its routes.
    pub fn table(&self) -> Table {
        Table::of(self)
    }
}
