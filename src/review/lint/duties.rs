//! What the document declares of its own rights: pairs that nobody should hold, rights that somebody must hold, and
//! accounts of vendors that should be gone.

use super::holders::Holders;
use super::{Code, Finding, add, principals, some};
use crate::model::Status;
use crate::policy::{Conflict, Declared};
use crate::review::World;

pub(super) fn look(world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    for conflict in &world.origins.conflicts {
        separate(world, holders, conflict, found);
    }
    for declared in &world.origins.must_be_held {
        if holders.best.get(&declared.right).is_none_or(|best| *best < declared.level) {
            let message = format!("nobody holds {}", named(world, declared));
            add(found, Code::NobodyHolds, declared.place, message);
        }
    }
    for vendor in &world.document.lint.vendor_accounts {
        let principals = world.domain.principals().iter().enumerate();
        let known = principals.filter(|(_, principal)| *principal.id() == *vendor.value);
        for (number, _) in known.filter(|(_, principal)| principal.status() == Status::Active) {
            let place = world.origins.principal(number).map_or(vendor.place, |principal| principal.place);
            add(found, Code::VendorAccount, place, format!("the vendor's account `{}` is active", vendor.value));
            if let Some(finding) = found.last_mut() {
                finding.related.push((vendor.place, "named here".to_owned()));
            }
        }
    }
}

fn separate(world: World<'_>, holders: &Holders<'_>, conflict: &Conflict, found: &mut Vec<Finding>) {
    let mut who = Vec::new();
    let mut examples = Vec::new();
    for alike in &holders.alike {
        let both = alike.nodes.iter().find(|node| {
            conflict.rights.iter().all(|declared| {
                let held = world.domain.held(alike.first, declared.right, **node).level();
                held.is_some_and(|held| held >= declared.level)
            })
        });
        if let Some(node) = both {
            let names = alike.numbers.iter().filter_map(|number| world.domain.principals().get(*number));
            examples.extend(names.map(|name| format!("{} at {}", name.id(), world.domain.scope_name(*node))));
            who.extend(&alike.numbers);
        }
    }
    if who.is_empty() {
        return;
    }
    let [first, second] = &conflict.rights;
    let reason = conflict.reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
    let message = format!(
        "{} {} both {} and {} in one scope ({}){reason}",
        principals(who.len()),
        if who.len() == 1 { "holds" } else { "hold" },
        named(world, first),
        named(world, second),
        some(examples),
    );
    add(found, Code::SeparationOfDuties, conflict.place, message);
    let places = who.iter().filter_map(|number: &usize| world.origins.principal(*number)).take(super::NAMES);
    if let Some(finding) = found.last_mut() {
        finding.related.extend(places.map(|principal| (principal.place, "holds both".to_owned())));
    }
}

fn named(world: World<'_>, declared: &Declared) -> String {
    format!("`{}:{}`", world.domain.right_name(declared.right), declared.level.name())
}
