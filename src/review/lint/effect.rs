//! Grants, roles, groups and principals without effect.

use std::collections::{BTreeMap, BTreeSet};

use super::holders::Holders;
use super::{Code, Finding, add, principals, some};
use crate::diag::Place;
use crate::document::grants::GrantDocument;
use crate::model::Status;
use crate::policy::Principal;
use crate::review::World;

pub(super) fn look(world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    grants(world, found);
    roles(world, found);
    groups(world, found);
    idle(world, holders, found);
}

fn grants(world: World<'_>, found: &mut Vec<Finding>) {
    for (number, principal) in world.domain.principals().iter().enumerate() {
        let Some(written) = world.origins.principal(number) else { continue };
        // An entry at several nodes is outside only if all of it is.
        let mut entries: BTreeMap<Place, bool> = BTreeMap::new();
        for origin in written.grants() {
            *entries.entry(origin.place).or_default() |= written.counts(origin);
        }
        for (place, _) in entries.into_iter().filter(|(_, counts)| !counts) {
            let message = format!("a grant of `{}` lies outside its boundary", principal.id());
            add(found, Code::OutsideBoundary, place, message);
        }
        // What tokens add may bring out a grant that changes nothing beside the groups of the document.
        let beside_groups = !world.domain.maps_tokens();
        for place in world.domain.idle_entries(world.origins, number, beside_groups) {
            let message = format!("a grant of `{}` changes nothing", principal.id());
            add(found, Code::ShadowedGrant, place, message);
        }
    }
    // Where there are boundaries, a member may have lost the wider grant that would say the same.
    let groups = if world.document.strategy.boundary { &[][..] } else { world.origins.groups() };
    for group in groups {
        for place in world.domain.idle_entries_of_group(group) {
            let message = format!("a grant of the group `{}` changes nothing", group.name);
            add(found, Code::ShadowedGrant, place, message);
        }
    }
}

fn roles(world: World<'_>, found: &mut Vec<Finding>) {
    let document = world.document;
    let of_groups = document.groups.iter().flat_map(|group| &group.grants);
    let of_principals = document.principals.iter().flat_map(|principal| &principal.grants);
    let mut next: Vec<&str> = of_groups
        .chain(of_principals)
        .filter_map(|grant| match grant {
            GrantDocument::Role { role, .. } => Some(role.value.as_str()),
            GrantDocument::Right(_) | GrantDocument::Rights { .. } => None,
        })
        .collect();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    while let Some(role) = next.pop() {
        if used.insert(role) {
            let included = document.roles.iter().filter(|known| known.name.value == role);
            next.extend(included.flat_map(|role| &role.includes).map(|name| name.value.as_str()));
        }
    }
    for role in document.roles.iter().filter(|role| !used.contains(role.name.value.as_str())) {
        add(found, Code::UnusedRole, role.name.place, format!("nobody has the role `{}`", role.name.value));
    }
}

fn groups(world: World<'_>, found: &mut Vec<Finding>) {
    let everybody = world.domain.principals().iter();
    let inhabited: BTreeSet<&str> =
        everybody.flat_map(|principal| principal.groups().iter()).map(|name| &**name).collect();
    // Whom tokens make a member, no document says.
    let by_token: BTreeSet<&str> = world.origins.mapped_groups().map(|group| &*group.name).collect();
    for group in &world.document.groups {
        let by_token = by_token.contains(group.name.value.as_str());
        if !by_token && !inhabited.contains(group.name.value.as_str()) {
            add(found, Code::EmptyGroup, group.name.place, format!("nobody is in the group `{}`", group.name.value));
        }
        if group.status != Status::Active {
            let members = world.domain.principals().iter();
            let members = members.filter(|principal| principal.groups().iter().any(|name| **name == *group.name.value));
            let further = if by_token { ", and whomever tokens put into it" } else { "" };
            let members = principals(members.count());
            let message = format!("the group `{}` switches off {members}{further}", group.name.value);
            add(found, Code::InactiveGroup, group.name.place, message);
        }
    }
}

fn idle(world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    let none = holders.alike.iter().filter(|alike| !alike.holds).flat_map(|alike| &alike.numbers);
    let bears = |number: &&usize| {
        let principal = world.domain.principals().get(**number);
        principal.is_some_and(|principal| world.domain.flags().any(|(flag, _)| world.domain.bears(principal, flag)))
    };
    let mut idle: Vec<usize> = none.filter(|number| !bears(number)).copied().collect();
    idle.sort_unstable();
    let place = idle.first().and_then(|number| world.origins.principal(*number)).map(|principal| principal.place);
    if let Some(place) = place {
        let names = idle.iter().filter_map(|number| world.domain.principals().get(*number)).map(Principal::id);
        let verb = if idle.len() == 1 { "has" } else { "have" };
        let but = if world.domain.maps_tokens() { "no access but what their tokens bring" } else { "no access at all" };
        let message = format!("{} {verb} {but}: {}", principals(idle.len()), some(names));
        add(found, Code::NoAccess, place, message);
    }
}
