//! Routes that everybody may use, and routes that ask for what nobody holds.

use std::collections::BTreeMap;

use super::holders::Holders;
use super::{Code, Finding, add};
use crate::diag::Place;
use crate::document::routes::AccessDocument;
use crate::model::Level;
use crate::policy::RightId;
use crate::review::{Policy, World};
use crate::route::Access;

pub(super) fn look(policy: &Policy, found: &mut Vec<Finding>) {
    for application in policy.routes.iter().flat_map(|file| &file.applications) {
        for route in application.routes.iter().filter(|route| matches!(route.access, AccessDocument::Public)) {
            let message = format!("anybody may use `{}` of `{}`", route.id.value, application.name.value);
            add(found, Code::PublicRoute, route.id.place, message);
        }
    }
}

/// Every right that routes of a domain ask for, with the place of the first that does, at the lowest level asked for.
pub(super) fn asked(policy: &Policy, world: World<'_>) -> BTreeMap<RightId, (Place, Level)> {
    let mut asked: BTreeMap<RightId, (Place, Level)> = BTreeMap::new();
    for application in policy.snapshot.routes.applications() {
        let own = policy.snapshot.domains.get(application.domain).map(|domain| domain.name());
        let Some((_, document)) = policy.application(application).filter(|_| own == Some(world.domain.name())) else {
            continue;
        };
        for (route, written) in application.routes().iter().zip(&document.routes) {
            let Access::Rules(rules) = &route.access else { continue };
            let found = rules.demands();
            let methods = written.methods.iter().filter_map(|method| method.value.parse().ok());
            let lowest = methods.map(|method| route.level(&method)).min().unwrap_or(Level::Read);
            let undenied = found.undenied.iter().map(|right| (*right, Some(Level::Read)));
            for (right, level) in found.rights.iter().copied().chain(undenied) {
                let level = level.unwrap_or(lowest);
                let known = asked.entry(right).or_insert((written.id.place, level));
                known.1 = known.1.min(level);
            }
        }
    }
    asked
}

/// Rights that routes must find held, and that nobody holds high enough.
pub(super) fn nobody_may(policy: &Policy, world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    for application in policy.snapshot.routes.applications() {
        let own = policy.snapshot.domains.get(application.domain).map(|domain| domain.name());
        let Some((_, document)) = policy.application(application).filter(|_| own == Some(world.domain.name())) else {
            continue;
        };
        for (route, written) in application.routes().iter().zip(&document.routes) {
            let Access::Rules(rules) = &route.access else { continue };
            let methods = written.methods.iter().filter_map(|method| method.value.parse().ok());
            let lowest = methods.map(|method| route.level(&method)).min().unwrap_or(Level::Read);
            let mut told = Vec::new();
            for (right, level) in rules.demands().rights {
                let level = level.unwrap_or(lowest);
                let held = holders.best.get(&right).is_some_and(|best| *best >= level);
                if !held && !told.contains(&(right, level)) {
                    told.push((right, level));
                    let (name, level) = (world.domain.right_name(right), level.name());
                    let message = format!("nobody holds `{name}:{level}`, which `{}` asks for", written.id.value);
                    add(found, Code::NobodyMay, written.id.place, message);
                }
            }
        }
    }
}
