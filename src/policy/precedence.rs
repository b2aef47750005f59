//! How conflicts are settled: first within one source (the principal itself, or one of its groups), then across
//! sources. The one place to add a conflict rule.

use super::hierarchy::Interval;
use crate::document::grants::{Across, Within};
use crate::model::{Effect, Level};

/// One grant of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grant {
    /// Where it counts: the node and everything below.
    pub scope: Interval,
    /// What it covers: the right and, in a tree, everything below.
    pub right: Interval,
    /// What it says.
    pub effect: Effect,
}

impl Grant {
    /// How near the grant is to what it covers: of the intervals that contain a node, the nearest has the largest number.
    /// The node counts before the right.
    pub const fn nearness(&self) -> (u32, u32) {
        (self.scope.first, self.right.first)
    }
}

/// What is held of a right at a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing is said.
    Nothing,
    /// It is denied.
    Denied,
    /// It is held up to this level.
    Up(Level),
}

impl Held {
    #[inline]
    const fn of(effect: Effect) -> Self {
        match effect {
            Effect::Deny => Self::Denied,
            Effect::Allow(level) => Self::Up(level),
        }
    }

    /// The level, if one is held.
    #[inline]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::Up(level) => Some(level),
            Self::Nothing | Self::Denied => None,
        }
    }
}

/// What is said of a right, in an order in which the greater of two decides where all count alike: one comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// It is held up to [`Level::Read`].
    Read,
    /// It is held up to [`Level::Write`].
    Write,
    /// It is held up to [`Level::Delete`].
    Delete,
    /// It is denied.
    Denied,
}

impl From<Effect> for Said {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Allow(Level::Read) => Self::Read,
            Effect::Allow(Level::Write) => Self::Write,
            Effect::Allow(Level::Delete) => Self::Delete,
            Effect::Deny => Self::Denied,
        }
    }
}

impl From<Said> for Held {
    #[inline]
    fn from(said: Said) -> Self {
        match said {
            Said::Nothing => Self::Nothing,
            Said::Read => Self::Up(Level::Read),
            Said::Write => Self::Up(Level::Write),
            Said::Delete => Self::Up(Level::Delete),
            Said::Denied => Self::Denied,
        }
    }
}

/// What one source says of `right` at `scope`.
pub fn within(rule: Within, grants: &[Grant], right: Interval, scope: Interval) -> Held {
    let mut settled = Settled::nothing(rule);
    for grant in grants.iter().filter(|grant| grant.scope.contains(scope) && grant.right.contains(right)) {
        settled.add(grant.nearness(), grant.effect);
    }
    settled.held()
}

/// What one source says, from one thing that it says to the next.
pub struct Settled {
    rule: Within,
    nearness: (u32, u32),
    deciding: Option<Effect>,
}

impl Settled {
    /// Before anything is said.
    #[inline]
    pub const fn nothing(rule: Within) -> Self {
        Self { rule, nearness: (0, 0), deciding: None }
    }

    /// Takes in one thing that is said, and how near; see [`Grant::nearness`].
    #[inline]
    pub fn add(&mut self, nearness: (u32, u32), effect: Effect) {
        let decides = self.deciding.is_none_or(|known| match self.rule {
            Within::Union => effect > known,
            Within::Nearest => (nearness, effect) > (self.nearness, known),
        });
        if decides {
            (self.nearness, self.deciding) = (nearness, Some(effect));
        }
    }

    /// What all of it comes to.
    #[inline]
    pub fn held(self) -> Held {
        self.deciding.map_or(Held::Nothing, Held::of)
    }
}

/// What all sources together say; `own` is the principal's own result, `groups` those of its groups.
pub fn across(rule: Across, own: Held, groups: impl Iterator<Item = Held>) -> Held {
    match rule {
        Across::DenyOverrides => groups.fold(own, deny_then_highest),
        Across::DenyIndividualFirst => {
            let groups = groups.fold(Held::Nothing, deny_then_highest);
            match (own, groups) {
                (Held::Denied, _) | (_, Held::Denied) => Held::Denied,
                (Held::Up(_), _) => own,
                (Held::Nothing, _) => groups,
            }
        }
        Across::IndividualFirst => match own {
            Held::Nothing => groups.fold(Held::Nothing, deny_then_highest),
            Held::Denied | Held::Up(_) => own,
        },
        Across::MostRestrictive => groups.fold(own, |a, b| match (a, b) {
            (Held::Nothing, other) | (other, Held::Nothing) => other,
            (Held::Denied, _) | (_, Held::Denied) => Held::Denied,
            (Held::Up(a), Held::Up(b)) => Held::Up(a.min(b)),
        }),
        Across::MostPermissive => groups.fold(own, |a, b| match (a, b) {
            (Held::Nothing, other) | (other, Held::Nothing) => other,
            (Held::Denied, other) | (other, Held::Denied) => other,
            (Held::Up(a), Held::Up(b)) => Held::Up(a.max(b)),
        }),
    }
}

fn deny_then_highest(a: Held, b: Held) -> Held {
    match (a, b) {
        (Held::Denied, _) | (_, Held::Denied) => Held::Denied,
        (Held::Nothing, other) | (other, Held::Nothing) => other,
        (Held::Up(a), Held::Up(b)) => Held::Up(a.max(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Held::{Denied, Nothing, Up};
    use Level::{Delete, Read, Write};

    const fn grant(scope: (u32, u32), right: (u32, u32), effect: Effect) -> Grant {
        Grant {
            scope: Interval { first: scope.0, end: scope.1 },
            right: Interval { first: right.0, end: right.1 },
            effect,
        }
    }

    /// Scopes: 0 ⊃ 1 ⊃ 2; rights: 0 ⊃ 1.
    #[test]
    fn within_one_source_union_takes_all_and_nearest_the_nearest() {
        let wide_deny = grant((0, 3), (0, 2), Effect::Deny);
        let near_read = grant((1, 3), (0, 2), Effect::Allow(Read));
        let near_write_deeper_right = grant((1, 3), (1, 2), Effect::Allow(Write));
        let near_deny_deeper_right = grant((1, 3), (1, 2), Effect::Deny);
        let elsewhere = grant((2, 3), (0, 2), Effect::Allow(Delete));
        let right = Interval { first: 1, end: 2 };
        let scope = Interval { first: 1, end: 3 };
        let cases: [(&[Grant], Held, Held); 6] = [
            (&[], Nothing, Nothing),
            (&[elsewhere], Nothing, Nothing),
            (&[near_read], Up(Read), Up(Read)),
            (&[wide_deny, near_read], Denied, Up(Read)),
            (&[wide_deny, near_read, near_write_deeper_right], Denied, Up(Write)),
            (&[near_write_deeper_right, near_deny_deeper_right], Denied, Denied),
        ];
        for (grants, union, nearest) in cases {
            assert_eq!(within(Within::Union, grants, right, scope), union, "union of {grants:?}");
            assert_eq!(within(Within::Nearest, grants, right, scope), nearest, "nearest of {grants:?}");
        }
    }

    #[test]
    fn across_sources_each_strategy_settles_its_own_way() {
        let strategies = [
            Across::DenyOverrides,
            Across::DenyIndividualFirst,
            Across::IndividualFirst,
            Across::MostRestrictive,
            Across::MostPermissive,
        ];
        // own, groups, and the result of each strategy in the order above
        let cases: [(Held, &[Held], [Held; 5]); 8] = [
            (Nothing, &[], [Nothing; 5]),
            (Up(Read), &[], [Up(Read); 5]),
            (Nothing, &[Up(Read), Up(Write)], [Up(Write), Up(Write), Up(Write), Up(Read), Up(Write)]),
            (Up(Read), &[Up(Write)], [Up(Write), Up(Read), Up(Read), Up(Read), Up(Write)]),
            (Up(Write), &[Up(Read)], [Up(Write), Up(Write), Up(Write), Up(Read), Up(Write)]),
            (Up(Delete), &[Denied], [Denied, Denied, Up(Delete), Denied, Up(Delete)]),
            (Denied, &[Up(Delete)], [Denied, Denied, Denied, Denied, Up(Delete)]),
            (Nothing, &[Denied, Up(Read)], [Denied, Denied, Denied, Denied, Up(Read)]),
        ];
        for (own, groups, expected) in cases {
            for (rule, expected) in strategies.iter().zip(expected) {
                let found = across(*rule, own, groups.iter().copied());
                assert_eq!(found, expected, "{rule:?} of {own:?} and {groups:?}");
            }
        }
    }
}
