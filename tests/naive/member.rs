//! What the groups and roles of a token add to its principal, written from the rules' text: it is judged as if its entry
//! listed the groups that they are mapped to.

use std::collections::BTreeSet;

use crate::held::groups;
use crate::world::{Access, Across, Caller, Claimed, Condition, Effect, Given, Principal, Term, Test, Value, World};

/// Whether a value of a claim is the one that a document names: GUIDs in either letter case, all else exactly.
fn is_value(written: &str, claimed: &str) -> bool {
    let shape = |text: &str| -> String { text.chars().map(|c| if c.is_ascii_hexdigit() { '0' } else { c }).collect() };
    let guid = "00000000-0000-0000-0000-000000000000";
    if shape(written) == guid && shape(claimed) == guid {
        written.to_lowercase() == claimed.to_lowercase()
    } else {
        written == claimed
    }
}

fn mapped(entries: &[(String, String)], claimed: &[String]) -> Vec<String> {
    let named = entries.iter().filter(|(value, _)| claimed.iter().any(|claimed| is_value(value, claimed)));
    named.map(|(_, group)| group.clone()).collect()
}

/// The groups that a token makes its principal a member of, as far as it says.
pub fn joined(world: &World, caller: &Caller) -> Vec<String> {
    let mut names = mapped(&world.token_roles, &caller.roles);
    if let Claimed::Listed(listed) = &caller.groups {
        names.extend(mapped(&world.token_groups, listed));
    }
    names
}

/// The principal with these groups in its entry as well.
pub fn with_groups(principal: &Principal, more: &[String]) -> Principal {
    let mut principal = principal.clone();
    let more: Vec<_> = more.iter().filter(|name| !principal.groups.contains(name)).cloned().collect();
    principal.groups.extend(more);
    principal
}

/// Whether being in a group of `token_groups` could take something away: it, or one above it, is inactive, denies
/// something, has a flag that a cap names or a route forbids, or grants anything where the most restrictive source wins.
pub fn may_take_away(world: &World) -> bool {
    let mut nobody = world.principals[0].clone();
    nobody.groups = world.token_groups.iter().map(|(_, group)| group.clone()).collect();
    let names = groups(world, &nobody);
    let forbidden: BTreeSet<String> = world.strategy.caps.iter().map(|(flag, _)| flag.clone()).collect();
    let forbidden: BTreeSet<String> = forbidden.into_iter().chain(forbidden_flags(world)).collect();
    let denies = |given: &Given| {
        let rights = match given {
            Given::Role(role) => crate::held::rights_of_role(world, role),
            Given::Rights(rights) => rights.clone(),
        };
        rights.iter().any(|(_, effect)| *effect == Effect::Deny)
    };
    let gives = |given: &Given| match given {
        Given::Role(role) => !crate::held::rights_of_role(world, role).is_empty(),
        Given::Rights(rights) => !rights.is_empty(),
    };
    world.groups.iter().filter(|group| names.contains(&group.name)).any(|group| {
        group.inactive
            || group.flags.iter().any(|flag| forbidden.contains(flag))
            || group.grants.iter().any(|grant| denies(&grant.given))
            || (world.strategy.across == Across::MostRestrictive
                && group.grants.iter().any(|grant| gives(&grant.given)))
    })
}

/// The flags that any route forbids, as the settings are.
fn forbidden_flags(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for route in &world.routes {
        if let Access::Require(term) = &route.access {
            forbidden_by(world, term, &mut found);
        }
    }
    found
}

fn forbidden_by(world: &World, term: &Term, found: &mut BTreeSet<String>) {
    match term {
        Term::NotFlag(flag) => {
            found.insert(flag.clone());
        }
        Term::All(terms) | Term::Any(terms) => terms.iter().for_each(|term| forbidden_by(world, term, found)),
        Term::Defined(name) => {
            let definition = world.definitions.iter().find(|known| known.name == *name);
            forbidden_by(world, &definition.expect("a definition of the world").term, found);
        }
        Term::When(condition, then, otherwise) => {
            let settled = settled(world, condition);
            if settled != Some(false) {
                forbidden_by(world, then, found);
            }
            if let (Some(otherwise), true) = (otherwise, settled != Some(true)) {
                forbidden_by(world, otherwise, found);
            }
        }
        Term::Right { .. } | Term::UnlessDenied { .. } | Term::Flag(_) | Term::Holds(..) | Term::Compare(..) => {}
    }
}

/// What a condition comes to whatever the request says; `None` if that depends on the request.
fn settled(world: &World, condition: &Condition) -> Option<bool> {
    let several = |list: &[Condition], decisive: bool| {
        let all: Vec<Option<bool>> = list.iter().map(|condition| settled(world, condition)).collect();
        if all.contains(&Some(decisive)) {
            Some(decisive)
        } else if all.contains(&None) {
            None
        } else {
            Some(!decisive)
        }
    };
    match condition {
        Condition::All(list) => several(list, false),
        Condition::Any(list) => several(list, true),
        Condition::Setting(name, test) => {
            let (_, value) = world.settings.iter().find(|(known, _)| known == name).expect("a setting of the world");
            match (test, value) {
                (Test::True, value) => Some(*value == Value::Bool(true)),
                (Test::Is(wanted), value) => Some(wanted == value),
                (Test::Bit(bit), Value::Int(mask)) => Some(mask & bit != 0),
                (Test::Bit(_) | Test::BitOf(..), _) => None,
            }
        }
    }
}
