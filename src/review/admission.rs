//! What an application says to a token: whether its gate lets it come in, and whether its grants know the caller.

use super::explain::{self, Caller, GateStep};
use super::policy::{Policy, World};
use crate::document::routes::ApplicationDocument;
use crate::pep::{self, Refusal};
use crate::route::Application;
use crate::token::Verified;

/// See the module's head.
#[derive(Debug)]
pub struct Admission<'p> {
    /// The application, as it is written.
    pub application: &'p ApplicationDocument,
    /// What the gate looks at, in order.
    pub gate: Vec<GateStep>,
    /// What the gate says to the token as a whole.
    pub refusal: Option<Refusal>,
    /// The caller, if the grants know it.
    pub caller: Option<Caller>,
    /// The grants that decide.
    pub world: World<'p>,
}

impl Policy {
    /// What an application says to what a token says; `None` for an application of another policy.
    pub fn admission(&self, application: &Application, token: &Verified) -> Option<Admission<'_>> {
        let (_, written) = self.application(application)?;
        let world = self.world(application.domain)?;
        Some(Admission {
            application: written,
            gate: explain::gate(written, &application.gate, token),
            refusal: pep::admits(&application.gate, token).err(),
            caller: explain::caller(world, token).map(|(_, caller)| caller),
            world,
        })
    }
}
