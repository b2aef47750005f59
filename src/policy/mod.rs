//! The decision, pure: may this principal do this, here? Knows neither HTTP nor files.
//!
//! `compile` turns documents into a [`Domain`] (who holds what) and [`Rules`] (what a route asks); [`decide`] runs one
//! against the other. Conflicts are settled in `precedence`, hierarchies are intervals (`hierarchy`).

mod compile;
mod decide;
mod denial;
mod domain;
mod facts;
mod held;
mod hierarchy;
mod names;
mod precedence;
mod rules;
mod scopes;
mod value;

pub use compile::{Asking, Builder, Builders, Sha256, check_reserved};
pub use decide::decide;
pub use denial::{Denial, Subject};
pub use domain::{Domain, DomainId, Domains, Principal};
pub use facts::{Facts, HeaderValue};
pub use held::held_scopes;
pub use names::Map;
pub use rules::{Rules, Variable};
