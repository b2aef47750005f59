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
        let mut asked = AskedByName::default();
        note_asked(old, &mut asked);
        note_asked(new, &mut asked);
        let names: BTreeSet<&Arc<str>> = old.1.iter().chain(new.1.iter()).map(|domain| domain.name()).collect();
        let sides =
            |name: &Arc<str>| [old, new].map(|(_, domains)| domains.iter().find(|domain| domain.name() == name));
        let size = |sides: &[Option<&Domain>; 2]| sides.iter().flatten().map(|side| side.counts().0).max();
        let mut domains: Vec<_> = names.into_iter().map(|name| (name, sides(name))).collect();
        domains.sort_by_key(|(_, sides)| size(sides));
        let (mut room, mut left) = (most, most);
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
