//! Nodes, other names of nodes, objects, the strategy, and what tokens bring. What they do to rights stands under the rights; values that
//! requests bring may now mean something else, which only requests would show.

use std::collections::BTreeMap;

use super::union::Union;
use super::{Direction, Side};
use crate::document::grants::GrantsDocument;
use crate::document::{Entries, Located};
use crate::model::Guid;
use crate::policy::constant;
use crate::review::World;

/// One thing that is there, is not, or is something else.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorldChange {
    /// Which way it goes by itself.
    pub direction: Direction,
    /// `node`, `alias`, `object`, `strategy`, `token_groups`, `token_roles`, or `members` for what members by token hold.
    pub kind: &'static str,
    /// Its name.
    pub subject: String,
    /// What it was: of a node the one above it. Of members, neither is said.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

/// All things of one kind, by name.
type Read = fn(World<'_>) -> BTreeMap<String, String>;

/// `members` says whether what members by token hold may change beside what is listed for principals.
pub(super) fn compare(union: &Union<'_>, members: bool) -> Vec<WorldChange> {
    let kinds: [(&'static str, Read); 6] = [
        ("strategy", strategy),
        ("node", nodes),
        ("alias", aliases),
        ("object", objects),
        ("token_groups", |world| mapped(&world.document.token_groups)),
        ("token_roles", |world| mapped(&world.document.token_roles)),
    ];
    let mut changes = Vec::new();
    // A domain that is new or gone as a whole needs no list.
    let (Some(old), Some(new)) = (union.world(Side::Old), union.world(Side::New)) else { return changes };
    for (kind, read) in kinds {
        let (old, new) = (read(old), read(new));
        for subject in old.keys().chain(new.keys().filter(|subject| !old.contains_key(*subject))) {
            let (from, to) = (old.get(subject).cloned(), new.get(subject).cloned());
            if from == to {
                continue;
            }
            let direction = match (kind, &to) {
                ("alias", None) => Direction::Loss,
                // Without a known object, what a path says is all that counts.
                ("alias" | "object", _) => Direction::Unclear,
                // Routes may ask for nothing at the node but that it is one, or for what is held anywhere below another.
                ("node", Some(_)) => Direction::Unclear,
                // A group may give and take; whose tokens name it, only requests would show.
                ("token_groups" | "token_roles", _) => Direction::Unclear,
                _ => Direction::Neutral,
            };
            changes.push(WorldChange { direction, kind, subject: subject.clone(), from, to });
        }
    }
    if members {
        let subject = "by token".to_owned();
        changes.push(WorldChange { direction: Direction::Unclear, kind: "members", subject, from: None, to: None });
    }
    changes.sort_unstable();
    changes
}

fn strategy(world: World<'_>) -> BTreeMap<String, String> {
    let strategy = &world.document.strategy;
    let mut found = BTreeMap::from([
        ("rights".to_owned(), strategy.rights.name().to_owned()),
        ("within".to_owned(), strategy.within.name().to_owned()),
        ("across".to_owned(), strategy.across.name().to_owned()),
        ("boundary".to_owned(), strategy.boundary.to_string()),
    ]);
    for (flag, level) in &strategy.caps {
        found.insert(format!("caps.{}", flag.value), level.value.name().to_owned());
    }
    found
}

fn nodes(world: World<'_>) -> BTreeMap<String, String> {
    world.document.forest.iter().map(|(name, above)| (name.value.clone(), above.value.clone())).collect()
}

fn aliases(world: World<'_>) -> BTreeMap<String, String> {
    let GrantsDocument { aliases, .. } = world.document;
    let values = aliases.iter().flat_map(|(kind, values)| values.iter().map(move |value| (kind, value)));
    values.map(|(kind, (value, node))| (format!("{}:{}", kind.value, value.value), node.value.clone())).collect()
}

/// Mapped values, GUIDs in one letter case, and their groups.
pub(super) fn mapped(entries: &Entries<Located<String>>) -> BTreeMap<String, String> {
    let value = |text: &str| text.parse().map_or_else(|_| text.to_owned(), |guid: Guid| guid.to_string());
    entries.iter().map(|(name, group)| (value(&name.value), group.value.clone())).collect()
}

fn objects(world: World<'_>) -> BTreeMap<String, String> {
    let objects = world.document.objects.iter().map(|(name, attributes)| {
        let mut attributes: Vec<String> =
            attributes.iter().map(|(name, value)| format!("{}: {}", name.value, constant(value))).collect();
        attributes.sort_unstable();
        (name.value.clone(), format!("{{{}}}", attributes.join(", ")))
    });
    objects.collect()
}
