//! What a policy means, for whoever has to trust it: single requests tried and taken apart, what principals hold,
//! what a change changes, what looks odd. Pure; everything is answered by the functions that decide real requests.

mod admission;
mod bearer;
mod cases;
mod change;
mod concerned;
pub mod diff;
mod explain;
mod impact;
pub mod json;
pub mod lint;
mod objects;
mod policy;
pub mod print;
mod remedy;
pub mod replay;
pub mod report;
mod request;
mod settings;
#[cfg(test)]
mod small;
mod substitute;

pub use admission::Admission;
pub use cases::{Outcome, run};
pub use change::Change;
pub use concerned::Concerned;
pub use explain::{Caller, Explained, GateCheck, GateStep, literal};
pub use impact::{Impact, Opened, Tables, impact};
pub use policy::{Everybody, Policy, World};
pub use remedy::Remedy;
pub use request::{Asker, BadRequest, Claims, Request, Said, Tried, UNKNOWN};
