//! Where what principals hold is written. Kept beside a domain for operators' tools; decisions never look at it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::compile::counts;
use super::domain::{FlagId, RightId};
use super::hierarchy::Interval;
use super::member::{self, Member};
use super::precedence::Grant;
use crate::diag::Place;
use crate::model::{Level, PrincipalKey, Status};

/// The origins of one domain.
#[derive(Debug, Default)]
pub struct Origins {
    /// By number, as the domain has them.
    pub(super) principals: Vec<PrincipalOrigin>,
    /// By number, as the document has them.
    pub(super) groups: Vec<GroupOrigin>,
    /// For each group that tokens are mapped to: itself and all groups above it, by number.
    pub(super) mapped: Vec<Vec<usize>>,
    /// Rights that nobody should hold together.
    pub conflicts: Vec<Conflict>,
    /// Rights that somebody must hold.
    pub must_be_held: Vec<Declared>,
}

/// Two rights that nobody should hold together in one scope.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Where the entry stands.
    pub place: Place,
    /// The rights.
    pub rights: [Declared; 2],
    /// Why.
    pub reason: Option<Arc<str>>,
}

/// A right at a level that a grants document speaks of without granting it.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Where it stands.
    pub place: Place,
    /// The right.
    pub right: RightId,
    /// The level.
    pub level: Level,
}

/// One grant as it was written. A role at three nodes makes one of these for each of its rights at each node.
#[derive(Clone, Debug)]
pub struct GrantOrigin {
    pub(super) grant: Grant,
    /// The right that it names.
    pub right: RightId,
    /// Where the entry stands.
    pub place: Place,
    /// The role that the entry names, if it names one.
    pub role: Option<Arc<str>>,
}

/// A principal as it was written, before anything is inherited.
#[derive(Debug)]
pub struct PrincipalOrigin {
    /// Where its id stands.
    pub place: Place,
    /// Tenant and object id.
    pub key: PrincipalKey,
    /// The name of its tenant in `gateway.yaml`.
    pub tenant: Arc<str>,
    /// The state of the account, its groups aside.
    pub status: Status,
    pub(super) flags: u128,
    pub(super) grants: Vec<GrantOrigin>,
    /// Its groups and all groups above those, by number.
    pub(super) groups: Vec<usize>,
    /// The subtrees in which it exists; `None` where the domain has no boundaries.
    pub(super) boundary: Option<Vec<Interval>>,
}

/// A group as it was written.
#[derive(Debug)]
pub struct GroupOrigin {
    /// The name.
    pub name: Arc<str>,
    /// Where the name stands.
    pub place: Place,
    /// Whether it makes its members inactive.
    pub inactive: bool,
    pub(super) flags: u128,
    pub(super) grants: Vec<GrantOrigin>,
}

impl Origins {
    /// All grants, for whoever has to finish them.
    pub(super) fn grants_mut(&mut self) -> impl Iterator<Item = &mut Grant> {
        let own = self.principals.iter_mut().flat_map(|principal| &mut principal.grants);
        let of_groups = self.groups.iter_mut().flat_map(|group| &mut group.grants);
        own.chain(of_groups).map(|origin| &mut origin.grant)
    }

    /// A principal by its number.
    pub fn principal(&self, number: usize) -> Option<&PrincipalOrigin> {
        self.principals.get(number)
    }

    /// All groups, in the order of the file.
    pub fn groups(&self) -> &[GroupOrigin] {
        &self.groups
    }

    /// The groups of a principal, those above them included.
    pub fn groups_of<'o>(&'o self, principal: &'o PrincipalOrigin) -> impl Iterator<Item = &'o GroupOrigin> {
        principal.groups.iter().filter_map(|number| self.groups.get(*number))
    }

    /// The groups that tokens are mapped to, and all above those.
    pub fn mapped_groups(&self) -> impl Iterator<Item = &GroupOrigin> {
        self.mapped.iter().flatten().filter_map(|number| self.groups.get(*number))
    }

    /// The groups of a principal while a token speaks for it, in the order of the file.
    pub fn groups_of_member(&self, written: &PrincipalOrigin, member: Member<'_>) -> Vec<&GroupOrigin> {
        let joined = member::numbers(member.joined).filter_map(|number| self.mapped.get(number)).flatten();
        let all: BTreeSet<usize> = written.groups.iter().chain(joined).copied().collect();
        all.into_iter().filter_map(|number| self.groups.get(number)).collect()
    }
}

impl PrincipalOrigin {
    /// Its own grants, one for each right and node that an entry names.
    pub fn grants(&self) -> &[GrantOrigin] {
        &self.grants
    }

    /// Whether a grant of its own counts: it lies within the boundary, or is a denial.
    pub fn counts(&self, origin: &GrantOrigin) -> bool {
        counts(self.boundary.as_deref(), &origin.grant)
    }

    /// Whether the principal has a flag itself, its groups aside.
    pub fn has_flag(&self, flag: FlagId) -> bool {
        self.flags & flag.mask() != 0
    }
}

impl GroupOrigin {
    /// Its grants, one for each right and node that an entry names.
    pub fn grants(&self) -> &[GrantOrigin] {
        &self.grants
    }

    /// Whether the group gives its members a flag.
    pub fn has_flag(&self, flag: FlagId) -> bool {
        self.flags & flag.mask() != 0
    }
}
