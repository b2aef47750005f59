//! The trees of a domain in the order in which people read them, for tables.

use super::domain::{Domain, RightId};
use crate::model::{Effect, Level};

impl Domain {
    /// All rights, each before those below it, with the number of rights above it. In a tree siblings come by name; names
    /// without a tree keep the order in which the document mentions them.
    pub fn rights_in_order(&self) -> Vec<(RightId, usize)> {
        let mut rights: Vec<(RightId, &str)> = self.rights().collect();
        let is_tree = self.right_intervals.iter().any(|interval| interval.end > interval.first.saturating_add(1));
        if is_tree {
            rights.sort_by(|(_, a), (_, b)| a.split('.').cmp(b.split('.')));
        }
        let depth = |name: &str| if is_tree { name.matches('.').count() } else { 0 };
        rights.into_iter().map(|(right, name)| (right, depth(name))).collect()
    }

    /// Whether `lower` is `upper` or, in a tree, lies below it.
    pub fn is_right_at_or_below(&self, lower: RightId, upper: RightId) -> bool {
        match (self.right_interval(upper), self.right_interval(lower)) {
            (Some(upper), Some(lower)) => upper.contains(lower),
            _ => false,
        }
    }

    /// Whether anything in the domain gives less than the top level. Where nothing does, a right is held or it is not.
    pub fn has_levels(&self) -> bool {
        let less = |level: Level| level < Level::TOP;
        let mut given = self.tables.gifts().flat_map(|gift| gift.rights());
        let by_grant = given.any(|(_, effect)| matches!(effect, Effect::Allow(level) if less(*level)));
        by_grant || self.strategy.caps.iter().any(|(_, level)| less(*level))
    }

    /// The rights that bring a right, in any number of steps.
    pub fn bringers(&self, right: RightId) -> &[RightId] {
        self.implied_by(right)
    }
}
