//! What all that a principal holds rests on, so that a report looks only once at those who stand on the same.

use std::sync::Arc;

use super::consider::GrantSeen;
use super::domain::{Domain, FlagId, RightId, ScopeId};
use super::hierarchy::Interval;
use super::origins::{GrantOrigin, Origins, PrincipalOrigin};
use super::precedence::Grant;
use crate::diag::Place;
use crate::model::Level;

/// A grant without its place: its position, what it says, the right and the role that it names.
type OwnGrant = (usize, Grant, RightId, Option<Arc<str>>);

/// Principals of one domain with equal footings hold the same everywhere, through the same groups and through own grants
/// in the same order; only the places of their own grants, their status and further flags may differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Footing {
    own: Box<[OwnGrant]>,
    groups: Box<[usize]>,
    boundary: Option<Box<[Interval]>>,
    cap: Option<(FlagId, Level)>,
}

impl Domain {
    /// See [`Footing`]. `number` is the principal's. With a node, the footing of what is held just there, which more
    /// principals share.
    pub fn footing(&self, origins: &Origins, number: usize, at: Option<ScopeId>) -> Option<Footing> {
        let principal = self.principals().get(number)?;
        let written = origins.principal(number)?;
        let at = match at {
            Some(scope) => Some(self.scope_entry(scope)?.1),
            None => None,
        };
        let own = written.grants.iter().enumerate();
        let own = own.filter(|(_, origin)| at.is_none_or(|at| origin.grant.scope.contains(at)));
        let own = own.map(|(position, origin)| (position, origin.grant, origin.right, origin.role.clone()));
        Some(Footing {
            own: own.collect(),
            groups: written.groups.as_slice().into(),
            boundary: written.boundary.as_deref().map(Into::into),
            cap: self.caps_of(principal.into()).min_by_key(|(_, level)| *level).copied(),
        })
    }
}

impl PrincipalOrigin {
    /// Which of the principal's own grants this is, counted as they are written.
    pub fn position(&self, seen: &GrantSeen) -> Option<usize> {
        let same = |own: &GrantOrigin| {
            own.place == seen.origin.place && own.right == seen.origin.right && own.grant == seen.origin.grant
        };
        self.grants.iter().position(same)
    }

    /// Where the own grant at a position is written.
    pub fn place_of(&self, position: usize) -> Option<Place> {
        self.grants.get(position).map(|origin| origin.place)
    }

    /// The nodes in whose subtrees the principal exists; `None` where the domain has no boundaries.
    pub fn boundary(&self) -> Option<impl Iterator<Item = ScopeId>> {
        Some(self.boundary.as_ref()?.iter().map(|interval| ScopeId(interval.first)))
    }
}
