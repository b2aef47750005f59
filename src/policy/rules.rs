//! What a route asks, compiled: scopes to resolve, then a short list of checks. Made by `compile`, run by `decide`.

use std::sync::Arc;

use super::domain::{AttributeId, FlagId, KindId, RightId, ScopeId};
use super::outline::Outline;
use crate::document::Literal;
use crate::document::routes::Comparison;
use crate::model::Level;

/// The most named scopes of one route.
pub const MAX_SCOPES: usize = 8;

/// The rules of one route.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) object: Option<ObjectRule>,
    pub(super) scopes: Vec<ScopeRule>,
    pub(super) steps: Vec<Step>,
    pub(super) codes: Vec<Arc<str>>,
    pub(super) query_names: Vec<Box<str>>,
    pub(super) form_names: Vec<Box<str>>,
    pub(super) header_names: Vec<Box<str>>,
    /// The requirement as it is written, if that is to be kept.
    pub(super) outline: Option<Box<Outline>>,
}

impl Rules {
    /// Query parameters that the decision reads: look-alikes of these in a request are not to be tolerated.
    pub fn query_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.query_names.iter().map(|name| &**name)
    }

    /// Fields of a form that the decision reads. Without any, it can be made without the body.
    pub fn form_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.form_names.iter().map(|name| &**name)
    }

    /// Headers that the decision reads, in lower case.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header_names.iter().map(|name| &**name)
    }

    /// The requirement as it is written, if the domain was compiled to keep it.
    pub fn outline(&self) -> Option<&Outline> {
        self.outline.as_deref()
    }

    pub(super) fn code(&self, code: u16) -> &str {
        self.codes.get(usize::from(code)).map_or("", |code| code)
    }

    pub(super) fn scope_name(&self, scope: u8) -> &str {
        self.scopes.get(usize::from(scope)).map_or("", |scope| &scope.name)
    }
}

/// The object that a request is about.
#[derive(Debug)]
pub(super) struct ObjectRule {
    pub(super) kind: KindId,
    pub(super) key: Variable,
}

/// A path variable, by where its value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// One segment.
    Segment(usize),
    /// All segments from this one on.
    Rest(usize),
}

/// One named scope.
#[derive(Debug)]
pub(super) struct ScopeRule {
    pub(super) name: Arc<str>,
    pub(super) origin: Origin,
    pub(super) missing: Missing,
}

/// Where a scope comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// From the request: all places that have a value must say the same.
    Request { places: Vec<Spot>, kind: KindId },
    /// Always this node.
    Node(ScopeId),
}

/// A place in a request that may hold a value.
#[derive(Debug)]
pub(super) enum Spot {
    Path(Variable),
    Query(Box<str>),
    Form(Box<str>),
    Header(Box<str>),
    Object(AttributeId),
}

/// What holds when no place has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Deny,
    Skip,
    /// The value of the scope with this number, which may take its own from a third; never in a circle.
    SameAs(u8),
    Node(ScopeId),
}

/// One instruction. Steps run in order; only [`Step::Permit`] permits.
#[derive(Debug)]
pub(super) enum Step {
    /// Goes on if the check holds; otherwise jumps, or denies with the check's denial if there is nowhere to go.
    Check { check: Check, otherwise: Option<u16> },
    /// Goes on elsewhere: past the remaining alternatives of an `any`.
    Jump(u16),
    /// The end: nothing is left to ask.
    Permit,
}

/// One thing that must hold.
#[derive(Debug)]
pub(super) enum Check {
    Flag(FlagId),
    NotFlag(FlagId),
    Right {
        right: RightRef,
        level: Asked,
        at: At,
        below: bool,
    },
    UnlessDenied {
        right: RightRef,
        at: At,
    },
    Compare {
        comparison: Comparison,
        left: Operand,
        right: Operand,
        code: u16,
    },
    /// The mask has the bit that the operand's value names.
    Bit {
        of: Operand,
        bits: Vec<(Literal, i64)>,
        mask: i64,
        code: u16,
    },
    /// Decided at load: never holds.
    Never {
        code: u16,
    },
}

/// A right that is asked for.
#[derive(Debug)]
pub(super) enum RightRef {
    Fixed(RightId),
    /// Named by a path variable, out of a closed list.
    Named {
        variable: Variable,
        rights: Vec<(Box<str>, RightId)>,
        code: u16,
    },
}

/// The level that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Level(Level),
    /// What the request's method means on this route.
    ByMethod,
}

/// Where a right is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Root,
    /// The scope of the route with this number.
    Scope(u8),
}

/// One side of a comparison.
#[derive(Debug)]
pub(super) enum Operand {
    Constant(Literal),
    Path(Variable),
    Query(Box<str>),
    Form(Box<str>),
    Header(Box<str>),
    Object(AttributeId),
    /// How many elements a list attribute has.
    Count(AttributeId),
    PrincipalId,
}
