//! What a change of the policy changes: who gains and loses what, where, and which routes open or close. Looks at what
//! is decided, never at how it is written.
//!
//! Domains, applications, rights and scopes are matched by name, principals by tenant and object id, routes by id. A
//! principal's change at a node holds below it too, down to the next node that is listed for the same right, or that is
//! among the exceptions; nodes that are new, gone or moved are always listed for themselves. In a tree of rights, the
//! change of a right is that of all rights below it, but for the exceptions and those that are listed for themselves.

mod access;
mod backend;
mod grouping;
mod people;
mod places;
mod routes;
pub mod text;
mod union;
mod view;
mod world;

use std::sync::Arc;

use super::policy::{Policy, World};
use crate::diag::Place;
use crate::model::Level;

pub use grouping::{AccessChange, Spot, Through, Via};
pub use people::{FlagChange, People};
pub use places::Places;
pub use routes::{ApplicationChange, Aspect, RouteChange, RouteChangeKind, TestChange};
pub use world::WorldChange;

/// What a principal has of a right at a node, as far as it matters: a denial differs from nothing only where a route asks
/// that the right is not denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// It is denied.
    Denied,
    /// Nothing is held.
    Nothing,
    /// It is held up to this level.
    Up(Level),
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Somebody may do more.
    Gain,
    /// Somebody may do more, less, or both: which, only requests would show. To be taken for a gain.
    Unclear,
    /// Somebody may do less, and nobody more.
    Loss,
    /// Nobody may do more or less.
    Neutral,
}

/// One of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    Old,
    /// The second.
    New,
}

/// A place in the files of one side.
pub type SidedPlace = (Side, Place);

/// All that changes. Each list begins with what opens most.
#[derive(Debug, Default)]
pub struct Difference {
    /// Domain by domain, those that change.
    pub domains: Vec<DomainDifference>,
    /// Applications: new ones, gone ones, changed gates and hosts.
    pub applications: Vec<ApplicationChange>,
    /// Routes.
    pub routes: Vec<RouteChange>,
    /// Tests that come with the route maps.
    pub tests: Vec<TestChange>,
    /// Principals that were not compared, though they differ, or may; of domains with very many.
    pub left_out: Vec<LeftOut>,
}

/// Principals of a domain that nothing else is said of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The domain.
    pub domain: Arc<str>,
    /// How many.
    pub principals: usize,
    /// Whether any of them gains something, or may.
    pub may_gain: bool,
}

/// What changes in one domain.
#[derive(Debug, Default)]
pub struct DomainDifference {
    /// Its name.
    pub name: Arc<str>,
    /// `Some(New)` if it is new, `Some(Old)` if it is gone.
    pub only: Option<Side>,
    /// Principals that come, go, or change their state.
    pub people: People,
    /// Flags that principals get or lose.
    pub flags: Vec<FlagChange>,
    /// Rights that principals get or lose.
    pub access: Vec<AccessChange>,
    /// Nodes, aliases and objects.
    pub world: Vec<WorldChange>,
}

/// Compares two policies.
pub fn diff(old: &Policy, new: &Policy) -> Difference {
    let mut names: Vec<&Arc<str>> = old.worlds().chain(new.worlds()).map(|world| world.domain.name()).collect();
    names.sort_unstable();
    names.dedup();
    let mut domains = Vec::new();
    for name in names {
        let sides = (
            old.worlds().find(|world| world.domain.name() == name),
            new.worlds().find(|world| world.domain.name() == name),
        );
        domains.extend(domain(old, new, name, sides));
    }
    let mut routes = routes::compare(old, new);
    for domain in &mut domains {
        grouping::concern(&mut domain.access, &domain.name, old, new);
    }
    routes.tests.sort_by(|a, b| a.id.cmp(&b.id));
    let routes::Routes { applications, routes, tests } = routes;
    Difference { domains, applications, routes, tests, left_out: Vec::new() }
}

fn domain(
    old: &Policy,
    new: &Policy,
    name: &Arc<str>,
    (old_world, new_world): (Option<World<'_>>, Option<World<'_>>),
) -> Option<DomainDifference> {
    let union = union::Union::new((old, old_world), (new, new_world));
    let only = match (old_world, new_world) {
        (Some(_), Some(_)) => None,
        (None, _) => Some(Side::New),
        (_, None) => Some(Side::Old),
    };
    let (people, flags) = people::compare(&union);
    let facts = access::facts(&union);
    let access = grouping::group(&union, facts.of_people);
    let world = world::compare(&union, facts.of_members);
    let found = DomainDifference { name: Arc::clone(name), only, people, flags, access, world };
    (!found.is_empty()).then_some(found)
}

impl Direction {
    /// Which way it goes from one standing to another.
    pub fn of(from: Standing, to: Standing) -> Self {
        match from.cmp(&to) {
            std::cmp::Ordering::Less => Self::Gain,
            std::cmp::Ordering::Equal => Self::Neutral,
            std::cmp::Ordering::Greater => Self::Loss,
        }
    }

    /// Whether it has to be looked at as one that opens something.
    pub const fn may_gain(self) -> bool {
        matches!(self, Self::Gain | Self::Unclear)
    }
}

impl DomainDifference {
    fn is_empty(&self) -> bool {
        self.only.is_none()
            && self.people.is_empty()
            && self.flags.is_empty()
            && self.access.is_empty()
            && self.world.is_empty()
    }
}

impl Difference {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
            && self.applications.is_empty()
            && self.routes.is_empty()
            && self.tests.is_empty()
            && self.left_out.is_empty()
    }

    /// Whether somebody gains anything, or may.
    pub fn gains(&self) -> bool {
        let of_domain = |domain: &DomainDifference| {
            domain.people.may_gain
                || domain.access.iter().any(|change| change.direction().may_gain())
                || domain.flags.iter().any(|change| change.direction.may_gain())
                || domain.world.iter().any(|change| change.direction.may_gain())
        };
        self.domains.iter().any(of_domain)
            || self.applications.iter().any(|change| change.direction.may_gain())
            || self.routes.iter().any(|change| change.direction.may_gain())
            || self.left_out.iter().any(|left| left.may_gain)
    }
}
