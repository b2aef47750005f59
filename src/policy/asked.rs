//! What the rules of a route ask for, by name: for tools that look for what nobody asks, or whom a change concerns.

use std::collections::BTreeSet;

use super::domain::{FlagId, RightId};
use super::rules::{self, Check, RightRef, Rules, Step};
use crate::model::Level;

/// All that one route may ask for, whatever the request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Rights that must be held, at the level asked for; `None` where the method says which.
    pub rights: Vec<(RightId, Option<Level>)>,
    /// Rights that must not be denied.
    pub undenied: BTreeSet<RightId>,
    /// Flags that one must have.
    pub flags: Vec<FlagId>,
    /// Flags that one must not have.
    pub not_flags: Vec<FlagId>,
}

impl Rules {
    /// See [`Asked`].
    pub fn asked(&self) -> Asked {
        let mut asked = Asked::default();
        for step in &self.steps {
            let Step::Check { check, .. } = step else { continue };
            match check {
                Check::Flag(flag) => asked.flags.push(*flag),
                Check::NotFlag(flag) => asked.not_flags.push(*flag),
                Check::Right { right, level, .. } => {
                    let level = match level {
                        rules::Asked::Level(level) => Some(*level),
                        rules::Asked::ByMethod => None,
                    };
                    asked.rights.extend(named(right).map(|right| (right, level)));
                }
                Check::UnlessDenied { right, .. } => asked.undenied.extend(named(right)),
                Check::Compare { .. } | Check::Bit { .. } | Check::Never { .. } => {}
            }
        }
        asked
    }
}

fn named(right: &RightRef) -> impl Iterator<Item = RightId> {
    let (fixed, named) = match right {
        RightRef::Fixed(right) => (Some(*right), &[][..]),
        RightRef::Named { rights, .. } => (None, &rights[..]),
    };
    fixed.into_iter().chain(named.iter().map(|(_, right)| *right))
}
