//! Whom a difference of two policies is about: to compare all of a million principals one by one takes gigabytes. Where
//! there are many, those are picked that the compiled tables show to differ.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::diff::{LeftOut, Side};
use super::impact::{Tables, note_asked};
use crate::policy::{AskedByName, Differing, Domain};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Concerned {
    /// By domain, of those that are not compared whole: the ids of each side.
    picked: BTreeMap<Arc<str>, [HashSet<String>; 2]>,
    left_out: Vec<LeftOut>,
}

impl Concerned {
    /// Picks principals: domains that have at most so many together are compared whole, the smallest first; of the others, at
    /// most as many once more are picked.
    pub fn of(old: Tables<'_>, new: Tables<'_>, most: usize) -> Self {
        Self::within(old, new, (most, most))
    }

    /// The same, with room for so many in domains that are compared whole, and for so many that are picked.
    fn within(old: Tables<'_>, new: Tables<'_>, (mut room, mut left): (usize, usize)) -> Self {
        let mut asked = AskedByName::default();
        note_asked(old, &mut asked);
        note_asked(new, &mut asked);
        let names: BTreeSet<&Arc<str>> = old.1.iter().chain(new.1.iter()).map(|domain| domain.name()).collect();
        let sides =
            |name: &Arc<str>| [old, new].map(|(_, domains)| domains.iter().find(|domain| domain.name() == name));
        let size = |sides: &[Option<&Domain>; 2]| sides.iter().flatten().map(|side| side.counts().0).max();
        let mut domains: Vec<_> = names.into_iter().map(|name| (name, sides(name))).collect();
        domains.sort_by_key(|(_, sides)| size(sides));
        let mut concerned = Self::default();
        for (name, sides) in domains {
            if let Some(more) = room.checked_sub(size(&sides).unwrap_or_default()) {
                room = more;
                continue;
            }
            room = 0;
            let found = match sides {
                [Some(old), Some(new)] => Differing::of(old, new, &asked, left),
                [Some(old), None] => Differing::whole(old, false, left),
                [None, Some(new)] => Differing::whole(new, true, left),
                [None, None] => Differing::default(),
            };
            left = left.saturating_sub(found.some.len());
            if found.more > 0 {
                let (principals, may_gain) = (found.more, found.more_gain);
                concerned.left_out.push(LeftOut { domain: Arc::clone(name), principals, may_gain });
            }
            let mut picked = [HashSet::new(), HashSet::new()];
            for ids in found.some {
                picked.iter_mut().zip(ids).for_each(|(side, id)| side.extend(id));
            }
            concerned.picked.insert(Arc::clone(name), picked);
        }
        concerned.left_out.sort_by(|a, b| a.domain.cmp(&b.domain));
        concerned
    }

    /// Whether everybody is.
    pub fn is_everybody(&self) -> bool {
        self.picked.is_empty()
    }

    /// Whether the principal with this id is, on one side of a domain.
    pub fn has(&self, side: Side, domain: &str, id: &str) -> bool {
        let picked = self.picked.get(domain).map(|[old, new]| match side {
            Side::Old => old,
            Side::New => new,
        });
        picked.is_none_or(|picked| picked.contains(id))
    }

    /// Who differs, or may, and was not picked.
    pub fn left_out(self) -> Vec<LeftOut> {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diag::Report;
    use crate::model::{Guid, Tenant};
    use crate::review::diff::{Difference, diff};
    use crate::review::small::{compiled, world};
    use crate::review::{Everybody, Policy};

    fn tables(policy: &Policy) -> Tables<'_> {
        (&policy.snapshot.routes, &policy.snapshot.domains)
    }

    /// The same policy with those principals only that were picked.
    fn reduced(policy: &Policy, side: Side, concerned: &Concerned) -> Policy {
        let mut grants = policy.grants.clone();
        for document in &mut grants {
            let domain = document.domain.value.clone();
            document.principals.retain(|known| concerned.has(side, &domain, &known.id.value));
        }
        let tenants = vec![Tenant::of_objects("t", Guid(1))];
        let nothing = |_: &_| Err("no files".to_owned());
        let mut report = Report::new();
        let reduced = Policy::compile(policy.routes.clone(), grants, tenants, &nothing, |_| [0; 32], &mut report);
        let (routes, domains) = (Arc::clone(&policy.snapshot.routes), Arc::clone(&policy.snapshot.domains));
        reduced.unwrap_or_else(|| panic!("{report:?}")).among(Everybody::new(routes, domains))
    }

    fn compared((old, new): (&Policy, &Policy), concerned: Concerned) -> Difference {
        let mut found = diff(&reduced(old, Side::Old, &concerned), &reduced(new, Side::New, &concerned));
        found.left_out = concerned.left_out();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn those_who_are_picked_make_the_whole_difference_and_those_who_are_left_out_are_never_forgotten(
            choices in prop::collection::vec(any::<u8>(), 90),
            edits in prop::collection::vec((0_usize..90, any::<u8>()), 0..5),
        ) {
            let mut edited = choices.clone();
            for (at, choice) in edits {
                edited[at] = choice;
            }
            let (Some(old), Some(new)) = (compiled(&world(&choices)), compiled(&world(&edited))) else { return Ok(()) };
            let whole = diff(&old, &new);
            let picked = Concerned::within(tables(&old), tables(&new), (0, 100));
            prop_assert!(picked.left_out.is_empty());
            let found = compared((&old, &new), picked);
            prop_assert_eq!(format!("{found:#?}"), format!("{whole:#?}"));

            for most in [0, 1] {
                let few = Concerned::within(tables(&old), tables(&new), (0, most));
                prop_assert!(few.picked.values().all(|[old, new]| old.len() <= most && new.len() <= most));
                let found = compared((&old, &new), few);
                prop_assert!(!found.is_empty() || whole.is_empty(), "{whole:#?}");
                prop_assert!(found.gains() || !whole.gains(), "{whole:#?}\n{found:#?}");
            }
        }
    }

    #[test]
    fn domains_are_compared_whole_as_long_as_there_is_room_the_smallest_first() {
        let (routes, grants) = world(&[0; 90]);
        let more = |text: &str| text.replace("id: p7", "id: p8").replace("000000007", "000000008");
        let (old, new) =
            (compiled(&(routes.clone(), grants.clone())).unwrap(), compiled(&(routes, more(&grants))).unwrap());
        let principals = old.snapshot.domains.counts().1;
        for (room, everybody) in [(principals, true), (principals - 1, false)] {
            let concerned = Concerned::of(tables(&old), tables(&new), room);
            assert_eq!(concerned.is_everybody(), everybody);
            let has = |side, id: &str| concerned.has(side, "d", id);
            assert_eq!((has(Side::Old, "p1"), has(Side::Old, "p7"), has(Side::New, "p8")), (everybody, true, true));
        }
    }
}
