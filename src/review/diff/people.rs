//! Principals that come, go, are switched on or off or renamed, and their flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::union::Union;
use super::{Direction, Side};
use crate::model::Status;

/// Principals that come, go or change their state. What that gives or takes stands under the rights.
#[derive(Debug, Default)]
pub struct People {
    /// New ones.
    pub added: Vec<Arc<str>>,
    /// Gone ones.
    pub removed: Vec<Arc<str>>,
    /// The same principal under another id: the old and the new one.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
    /// What the state was, what it is, and whose.
    pub status: Vec<(Status, Status, Vec<Arc<str>>)>,
    /// Whether some of it may open something that no right or flag shows: an active principal that was none before passes
    /// routes that only ask who it is, and another id passes comparisons with it.
    pub may_gain: bool,
}

/// A flag that active principals get or lose, themselves or through groups.
#[derive(Debug)]
pub struct FlagChange {
    /// The flag.
    pub flag: Arc<str>,
    /// Whether they get it.
    pub gained: bool,
    /// What routes make of it.
    pub direction: Direction,
    /// Who.
    pub principals: Vec<Arc<str>>,
}

impl People {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.renamed.is_empty() && self.status.is_empty()
    }
}

pub(super) fn compare(union: &Union<'_>) -> (People, Vec<FlagChange>) {
    let mut people = People::default();
    let mut status: Vec<(Status, Status, Vec<Arc<str>>)> = Vec::new();
    let mut flags: BTreeMap<(&str, bool), Vec<Arc<str>>> = BTreeMap::new();
    for person in &union.people {
        let id: Arc<str> = union.id(*person).into();
        match (union.principal(*person, Side::Old), union.principal(*person, Side::New)) {
            (None, _) => {
                people.may_gain |= union.active(*person, Side::New).is_some();
                people.added.push(Arc::clone(&id));
            }
            (_, None) => people.removed.push(Arc::clone(&id)),
            (Some(old), Some(new)) => {
                if old.id() != new.id() {
                    people.may_gain = true;
                    people.renamed.push((old.id().into(), new.id().into()));
                }
                people.may_gain |= old.status() != new.status() && new.status() == Status::Active;
                if old.status() != new.status() {
                    let same = status.iter_mut().find(|(from, to, _)| (*from, *to) == (old.status(), new.status()));
                    match same {
                        Some((.., who)) => who.push(Arc::clone(&id)),
                        None => status.push((old.status(), new.status(), vec![Arc::clone(&id)])),
                    }
                }
            }
        }
        let borne = |side| {
            let principal = union.active(*person, side);
            let domain = union.world(side).map(|world| world.domain);
            let all = domain.into_iter().flat_map(|domain| domain.flags().map(move |flag| (domain, flag)));
            let borne = all
                .filter(move |(domain, (flag, _))| principal.is_some_and(|principal| domain.bears(principal, *flag)));
            borne.map(|(_, (_, name))| name).collect::<Vec<&str>>()
        };
        let (old, new) = (borne(Side::Old), borne(Side::New));
        for flag in new.iter().filter(|flag| !old.contains(flag)) {
            flags.entry((flag, true)).or_default().push(Arc::clone(&id));
        }
        for flag in old.iter().filter(|flag| !new.contains(flag)) {
            flags.entry((flag, false)).or_default().push(Arc::clone(&id));
        }
    }
    people.added.sort_unstable();
    people.removed.sort_unstable();
    people.renamed.sort_unstable();
    status.iter_mut().for_each(|(.., who)| who.sort_unstable());
    status.sort_by_key(|(from, to, _)| (from.name(), to.name()));
    people.status = status;
    let flags = flags.into_iter().map(|((flag, gained), mut principals)| {
        principals.sort_unstable();
        let (asked, forbidden) = (union.flags_asked.contains(flag), union.flags_forbidden.contains(flag));
        let direction = match (asked, forbidden) {
            (true, true) => Direction::Unclear,
            (false, false) => Direction::Neutral,
            (asked, _) if asked == gained => Direction::Gain,
            _ => Direction::Loss,
        };
        FlagChange { flag: flag.into(), gained, direction, principals }
    });
    let mut flags: Vec<FlagChange> = flags.collect();
    flags.sort_by_key(|change| (change.direction, std::cmp::Reverse(change.principals.len())));
    (people, flags)
}
