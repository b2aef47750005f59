//! A cell of a report: how much is held, and on what grounds.

use std::sync::Arc;

use crate::diag::Place;
use crate::model::{Level, Status};
use crate::policy::{Held, RightId, ScopeId};

/// A cell: how much is held of a right at a node, why, and whether more is held further down. Of an account that is not
/// active it says what would be held, and nothing of it counts: [`Access::state`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The right; where many were asked for at once, the one that most is held of.
    pub right: RightId,
    /// The node.
    pub scope: ScopeId,
    /// What the grants come to.
    pub held: Held,
    /// The flag that lowers it.
    pub capped_by: Option<Arc<str>>,
    /// Who decided.
    pub sources: Arc<[Source]>,
    /// The most that is held of a right below this one or at a node below this one, if it is more than what is held here.
    pub lower: Option<Lower>,
    /// Of how many rights something is held, where many were asked for at once.
    pub tally: Option<Tally>,
}

/// Someone whose grants decided: the principal itself or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The group; `None` for the principal itself.
    pub group: Option<Arc<str>>,
    /// The grants that decided.
    pub grounds: Vec<Ground>,
}

/// A grant that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The right that it names.
    pub right: RightId,
    /// The node that it names.
    pub at: ScopeId,
    /// The role that it names, if it does.
    pub role: Option<Arc<str>>,
    /// The right that brings the one asked for, if the grant covers that one only.
    pub via: Option<RightId>,
    /// Where it is written.
    pub written: Written,
}

/// Where a grant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Here.
    At(Place),
    /// Among the principal's own grants, at this position.
    Own(usize),
}

/// More, further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lower {
    /// The right.
    pub right: RightId,
    /// The node.
    pub scope: ScopeId,
    /// The level held there.
    pub level: Level,
}

/// Of how many rights something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Of so many.
    pub held: usize,
    /// Out of so many.
    pub of: usize,
}

/// What a cell comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The account is not active: every request is refused, whatever the grants say.
    Off,
    /// Nothing is held.
    Nothing,
    /// It is denied.
    Denied,
    /// It is held up to this level.
    Up(Level),
}

impl Access {
    /// What it comes to for somebody whose account is in this state. This is what decisions go by.
    pub const fn state(&self, status: Status) -> State {
        match (status, self.held) {
            (Status::Inactive | Status::Deleted | Status::Reserved, _) => State::Off,
            (Status::Active, Held::Nothing) => State::Nothing,
            (Status::Active, Held::Denied) => State::Denied,
            (Status::Active, Held::Up(level)) => State::Up(level),
        }
    }

    /// Whether the grants say nothing at all, here or further down.
    pub fn is_empty(&self) -> bool {
        self.held == Held::Nothing && self.lower.is_none()
    }

    /// Whether both say the same on the same grounds, be it of another right or node.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.held == other.held
            && self.capped_by == other.capped_by
            && self.sources == other.sources
            && self.tally == other.tally
            && (self.lower == other.lower || self.lower.map(|l| l.level) == other.lower.map(|l| l.level))
    }
}
