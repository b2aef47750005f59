//! A requirement as it is written, beside the steps that it was compiled to. Kept for operators' tools; decisions
//! never look at it.

use crate::diag::Place;

/// A term of a requirement, with the terms in it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Where it stands.
    pub place: Place,
    /// The term, in short.
    pub text: String,
    /// How it is made up.
    pub kind: OutlineKind,
    /// The terms in it, in the order of the file.
    pub children: Vec<Outline>,
    /// The first step of the compiled requirement that is its own, if it has one.
    pub(super) step: Option<u16>,
}

/// How a term is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineKind {
    /// All terms in it must hold.
    All,
    /// One of the terms in it must hold.
    Any,
    /// A name that stands for the term in it.
    Definition,
    /// A condition that settings have settled; what it asks in that case, if anything, is in it.
    Settled(bool),
    /// A condition that each request settles: the first term in it is asked if it holds, otherwise the second, if any.
    Open,
    /// One thing to check. Without a step, it always holds.
    Check,
}
