//! What a policy means, for whoever has to trust it: single requests tried and taken apart, what principals hold,
//! what a change changes, what looks odd. Pure; everything is answered by the functions that decide real requests.

pub mod diff;
pub mod lint;
mod policy;
mod request;

pub use policy::{Policy, World};
pub use request::{Asker, BadRequest, Claims, Request, Tried};
