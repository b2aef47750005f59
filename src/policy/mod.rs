//! The decision, pure: may this principal do this, here? Knows neither HTTP nor files.
//!
//! `compile` turns documents into a [`Domain`] (who holds what) and [`Rules`] (what a route asks); [`decide`] runs one
//! against the other. Conflicts are settled in `precedence`, hierarchies are intervals (`hierarchy`).

mod asked;
mod compile;
mod consider;
mod decide;
mod denial;
mod domain;
mod explain;
mod facts;
mod footing;
mod held;
mod hierarchy;
mod impact;
mod member;
mod names;
mod near;
mod nodes;
mod normal;
mod origins;
mod outline;
mod people;
mod precedence;
mod reach;
mod resemble;
mod rules;
mod scopes;
mod shadow;
mod supplied;
mod survey;
mod trees;
mod value;
mod words;

pub use asked::{AskedRight, Demands, ObjectNode, Wants};
pub use compile::{Applied, Asking, Builder, Builders, Finished, Keep, Sha256, Taken, check_reserved};
pub use consider::{Considered, GrantSeen, Source};
pub use decide::decide;
pub use denial::{Denial, Subject};
pub use domain::{Domain, DomainId, Domains, FlagId, Frame, KindId, RightId, ScopeId};
pub use explain::{Explanation, ObjectSeen, ScopeSeen, TermSeen, explain};
pub use facts::{Facts, HeaderValue};
pub use footing::Footing;
pub use held::held_scopes;
pub use impact::{Asked as AskedByName, Differing, Impact, Pass, State, changed_objects};
pub use member::{Claimed, Member};
pub use names::Map;
pub use normal::{Normal, NormalTerm, Program, constant, object_in_words, requirement, scopes_in_words};
pub use origins::{Conflict, Declared, GrantOrigin, GroupOrigin, Origins, PrincipalOrigin};
pub use outline::{Outline, OutlineKind};
pub use people::{BundleId, Chunk, Doubles, People, Principal, ProfileId};
pub use precedence::Held;
pub use reach::{Obstacle, Reach, Way, reach};
pub use rules::{Rules, Variable};
pub use supplied::{Missed, Supplied, needed_object};
pub use survey::{GrantSet, Holding, Principals};
pub use words::Words;
