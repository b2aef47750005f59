//! What looks odd in a policy that loads: what depends on how conflicts are settled, what nobody should hold, what is
//! open to all, and what has no effect. One file a family; none of it ever blocks a reload.

mod code;
mod duties;
mod effect;
mod holders;
mod routes;
mod strategy;
mod unused;

use std::fmt::Display;

use super::policy::Policy;
use crate::diag::Place;

pub use code::Code;

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its class.
    pub code: Code,
    /// Where it is written.
    pub place: Option<Place>,
    /// What was found.
    pub message: String,
    /// Other places that belong to it.
    pub related: Vec<(Place, String)>,
}

/// How many names a message lists.
const NAMES: usize = 5;

/// Everything that looks odd, family by family.
pub fn lint(policy: &Policy) -> Vec<Finding> {
    let mut found = Vec::new();
    for world in policy.worlds() {
        let holders = holders::Holders::of(world);
        strategy::look(world, &holders, &mut found);
        duties::look(world, &holders, &mut found);
        effect::look(world, &holders, &mut found);
        unused::grants(policy, world, &holders, &mut found);
    }
    routes::look(policy, &mut found);
    unused::routes(policy, &mut found);
    found
}

/// Adds a finding.
fn add(found: &mut Vec<Finding>, code: Code, place: Place, message: String) {
    found.push(Finding { code, place: Some(place), message, related: Vec::new() });
}

/// Some names, and how many more there are.
fn some(names: impl IntoIterator<Item = impl Display>) -> String {
    let mut shown = Vec::new();
    let mut more = 0;
    for name in names {
        if shown.len() < NAMES {
            shown.push(format!("`{name}`"));
        } else {
            more += 1;
        }
    }
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn principals(count: usize) -> String {
    format!("{count} principal{}", if count == 1 { "" } else { "s" })
}
