//! What a principal holds of a right at a node: written from the rules' text, slow and plain. Grants are listed anew for
//! every question, hierarchies are climbed name by name.

use std::collections::BTreeSet;

use crate::world::{Across, Effect, Given, Grant, Level, Principal, World};

/// What somebody says of a right at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    Denied,
    UpTo(Level),
}

/// One right with one effect at one node.
pub type Single = (String, Effect, String);

/// Whether a name covers another: in a tree by whole segments, otherwise only itself.
pub fn covers(world: &World, wide: &str, name: &str) -> bool {
    wide == name || (!world.strategy.flat && name.starts_with(&format!("{wide}.")))
}

/// A node and all above it, the nearest first.
pub fn at_or_above(world: &World, node: &str) -> Vec<String> {
    let mut line = vec![node.to_owned()];
    if node != "root" {
        let (_, parent) = world.forest.iter().find(|(name, _)| name == node).expect("a node of the forest");
        line.extend(at_or_above(world, parent));
    }
    line
}

/// A node and all below it.
pub fn at_or_below(world: &World, node: &str) -> Vec<String> {
    let mut all = vec![node.to_owned()];
    for (name, parent) in &world.forest {
        if parent == node {
            all.extend(at_or_below(world, name));
        }
    }
    all
}

/// The rights of a role: those of the roles that it includes, less those that it is `without`, and its own. A denial is
/// nothing that could be taken away.
pub fn rights_of_role(world: &World, name: &str) -> Vec<(String, Effect)> {
    let role = world.roles.iter().find(|role| role.name == name).expect("a role of the world");
    let mut rights: Vec<_> = role.includes.iter().flat_map(|other| rights_of_role(world, other)).collect();
    rights.retain(|(right, effect)| {
        *effect == Effect::Deny || !role.without.iter().any(|removed| covers(world, removed, right))
    });
    rights.extend(role.rights.clone());
    rights
}

/// Grants, one by one.
pub fn singles(world: &World, grants: &[Grant]) -> Vec<Single> {
    let mut all = Vec::new();
    for grant in grants {
        let rights = match &grant.given {
            Given::Role(role) => rights_of_role(world, role),
            Given::Rights(rights) => rights.clone(),
        };
        let nodes = if grant.at.is_empty() { vec!["root".to_owned()] } else { grant.at.clone() };
        for node in nodes {
            all.extend(rights.iter().map(|(right, effect)| (right.clone(), *effect, node.clone())));
        }
    }
    all
}

/// The groups of a principal and all above them, each once.
pub fn groups(world: &World, principal: &Principal) -> BTreeSet<String> {
    fn climb(world: &World, name: &str, all: &mut BTreeSet<String>) {
        all.insert(name.to_owned());
        let group = world.groups.iter().find(|group| group.name == name).expect("a group of the world");
        for parent in &group.parents {
            climb(world, parent, all);
        }
    }
    let mut all = BTreeSet::new();
    for name in &principal.groups {
        climb(world, name, &mut all);
    }
    all
}

/// Whether the principal or one of its groups has a flag.
pub fn has_flag(world: &World, principal: &Principal, flag: &str) -> bool {
    let has = |flags: &[String]| flags.iter().any(|own| own == flag);
    let groups = groups(world, principal);
    has(&principal.flags) || world.groups.iter().any(|group| groups.contains(&group.name) && has(&group.flags))
}

/// The grants of each source, the principal's own first. A boundary drops what lies outside it, denials excepted.
fn sources(world: &World, principal: &Principal) -> Vec<Vec<Single>> {
    let names = groups(world, principal);
    let of_groups = world.groups.iter().filter(|group| names.contains(&group.name)).map(|group| &group.grants);
    let mut all = Vec::new();
    for grants in std::iter::once(&principal.grants).chain(of_groups) {
        let mut singles = singles(world, grants);
        if world.strategy.boundary {
            let boundary = principal.boundary.clone().unwrap_or_default();
            singles.retain(|(_, effect, node)| {
                *effect == Effect::Deny || at_or_above(world, node).iter().any(|node| boundary.contains(node))
            });
        }
        all.push(singles);
    }
    all
}

/// Every right that brings this one, in any number of steps. What brings a right brings all that it covers.
fn bringers(world: &World, right: &str, found: &mut BTreeSet<String>) {
    for (bringer, brought) in &world.implies {
        if brought.iter().any(|brought| covers(world, brought, right)) && found.insert(bringer.clone()) {
            bringers(world, bringer, found);
        }
    }
}

/// What the grants of one source say of a right itself.
fn directly(world: &World, grants: &[Single], right: &str, node: &str) -> Said {
    let line = at_or_above(world, node);
    let depth = |name: &str| name.split('.').count();
    // How far away the node is, how far above the right, and what is said.
    let mut covering: Vec<(usize, usize, Effect)> = Vec::new();
    for (granted, effect, at) in grants {
        if let (true, Some(distance)) = (covers(world, granted, right), line.iter().position(|name| name == at)) {
            let above = if world.strategy.flat { 0 } else { depth(right) - depth(granted) };
            covering.push((distance, above, *effect));
        }
    }
    if world.strategy.nearest {
        let nearest = covering.iter().map(|(distance, above, _)| (*distance, *above)).min();
        covering.retain(|(distance, above, _)| Some((*distance, *above)) == nearest);
    }
    if covering.iter().any(|(_, _, effect)| *effect == Effect::Deny) {
        return Said::Denied;
    }
    let levels = covering.iter().filter_map(|(_, _, effect)| match effect {
        Effect::Allow(level) => Some(*level),
        Effect::Deny => None,
    });
    levels.max().map_or(Said::Nothing, Said::UpTo)
}

/// What one source says, with what other rights bring: they bring their level where the source holds them, and never
/// overcome a denial of the right itself.
fn of_source(world: &World, grants: &[Single], right: &str, node: &str) -> Said {
    let direct = directly(world, grants, right, node);
    if direct == Said::Denied {
        return Said::Denied;
    }
    let mut names = BTreeSet::new();
    bringers(world, right, &mut names);
    let mut best = direct;
    for name in names {
        if let Said::UpTo(level) = directly(world, grants, &name, node) {
            best = highest(best, Said::UpTo(level));
        }
    }
    best
}

fn highest(a: Said, b: Said) -> Said {
    match (a, b) {
        (Said::UpTo(a), Said::UpTo(b)) => Said::UpTo(a.max(b)),
        (Said::UpTo(_), _) => a,
        (_, Said::UpTo(_)) => b,
        (Said::Denied, _) | (_, Said::Denied) => Said::Denied,
        (Said::Nothing, Said::Nothing) => Said::Nothing,
    }
}

/// A denial by anybody, otherwise the highest.
fn deny_then_highest(all: &[Said]) -> Said {
    if all.contains(&Said::Denied) { Said::Denied } else { all.iter().copied().fold(Said::Nothing, highest) }
}

fn across(rule: Across, own: Said, groups: &[Said]) -> Said {
    let all: Vec<Said> = std::iter::once(own).chain(groups.iter().copied()).collect();
    match rule {
        Across::DenyOverrides => deny_then_highest(&all),
        Across::DenyIndividualFirst => {
            if all.contains(&Said::Denied) {
                Said::Denied
            } else if own != Said::Nothing {
                own
            } else {
                deny_then_highest(groups)
            }
        }
        Across::IndividualFirst => {
            if own == Said::Nothing {
                deny_then_highest(groups)
            } else {
                own
            }
        }
        Across::MostRestrictive => {
            let levels = all.iter().filter_map(|said| match said {
                Said::UpTo(level) => Some(*level),
                Said::Nothing | Said::Denied => None,
            });
            if all.contains(&Said::Denied) { Said::Denied } else { levels.min().map_or(Said::Nothing, Said::UpTo) }
        }
        Across::MostPermissive => all.iter().copied().fold(Said::Nothing, highest),
    }
}

/// What a principal holds of a right at a node.
pub fn held(world: &World, principal: &Principal, right: &str, node: &str) -> Said {
    let said: Vec<Said> =
        sources(world, principal).iter().map(|grants| of_source(world, grants, right, node)).collect();
    let held = across(world.strategy.across, said[0], &said[1..]);
    let mut caps = world.strategy.caps.iter().filter(|(flag, _)| has_flag(world, principal, flag)).map(|(_, cap)| *cap);
    match held {
        Said::UpTo(level) => Said::UpTo(caps.by_ref().fold(level, Ord::min)),
        Said::Nothing | Said::Denied => held,
    }
}

/// What a principal holds there or anywhere below; where it holds nothing, what is said there.
pub fn held_there_or_below(world: &World, principal: &Principal, right: &str, node: &str) -> Said {
    let all: Vec<Said> = at_or_below(world, node).iter().map(|node| held(world, principal, right, node)).collect();
    let levels = all.iter().filter_map(|said| match said {
        Said::UpTo(level) => Some(*level),
        Said::Nothing | Said::Denied => None,
    });
    levels.max().map_or(all[0], Said::UpTo)
}
