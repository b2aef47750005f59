//! Who may pass a route at all, whatever requests say.

use crate::model::{Effect, Guid, Level};
use crate::policy::domain::{Domain, RightId};
use crate::policy::people::{Gift, Principal};
use crate::policy::rules::{Asked, Check, RightRef, Rules, Step};

/// A way through a route.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'p> {
    /// The tenants that the application's gate lets in; `None` where nobody is asked.
    pub tenants: Option<&'p [Guid]>,
    /// What the route asks; `None` where it asks for no principal.
    pub rules: Option<&'p Rules>,
}

impl Pass<'_> {
    /// What it asks of grants: rights, each up to a level.
    pub(super) fn asked(&self) -> impl Iterator<Item = (RightId, Level)> {
        let steps = self.rules.into_iter().flat_map(|rules| &rules.steps);
        let checks = steps.filter_map(|step| match step {
            Step::Check { check: Check::Right { right, level, .. }, .. } => Some((right, least(level))),
            Step::Check { .. } | Step::Jump(_) | Step::Permit => None,
        });
        checks.flat_map(|(right, level)| {
            let (fixed, named) = match right {
                RightRef::Fixed(right) => (Some(*right), &[][..]),
                RightRef::Named { rights, .. } => (None, rights.as_slice()),
            };
            fixed.into_iter().chain(named.iter().map(|(_, right)| *right)).map(move |right| (right, level))
        })
    }

    /// Whether a principal may pass: certainly not, or perhaps. Nodes are not looked at, comparisons are taken as met.
    /// `is_given` says whether any of its grants gives a right; see [`is_given`].
    pub(super) fn admits(
        &self,
        domain: &Domain,
        principal: Principal<'_>,
        is_given: &dyn Fn(RightId, Level) -> bool,
    ) -> bool {
        if self.tenants.is_some_and(|tenants| !tenants.contains(&principal.key().tenant)) {
            return false;
        }
        // Tokens may bring anybody anything.
        let Some(rules) = self.rules.filter(|_| !domain.maps_tokens()) else { return true };
        let mut open = vec![false; rules.steps.len() + 1];
        let enter = |open: &mut Vec<bool>, step: usize| {
            if let Some(step) = open.get_mut(step) {
                *step = true;
            }
        };
        enter(&mut open, 0);
        // Jumps only lead forward.
        for (at, step) in rules.steps.iter().enumerate() {
            if !open.get(at).copied().unwrap_or_default() {
                continue;
            }
            match step {
                Step::Permit => return true,
                Step::Jump(to) => enter(&mut open, usize::from(*to)),
                Step::Check { check, otherwise } => {
                    if may_hold(check, principal, is_given) {
                        enter(&mut open, at + 1);
                    }
                    otherwise.iter().for_each(|to| enter(&mut open, usize::from(*to)));
                }
            }
        }
        false
    }
}

/// The least level that a check asks for.
const fn least(level: &Asked) -> Level {
    match level {
        Asked::Level(level) => *level,
        Asked::ByMethod => Level::Read,
    }
}

fn may_hold(check: &Check, principal: Principal<'_>, is_given: &dyn Fn(RightId, Level) -> bool) -> bool {
    match check {
        Check::Flag(flag) => Domain::has_flag(principal, *flag),
        Check::NotFlag(flag) => !Domain::has_flag(principal, *flag),
        Check::Never { .. } => false,
        Check::Compare { .. } | Check::Bit { .. } | Check::UnlessDenied { .. } => true,
        Check::Right { right, level, .. } => {
            let asked = least(level);
            match right {
                RightRef::Fixed(right) => is_given(*right, asked),
                RightRef::Named { rights, .. } => rights.iter().any(|(_, right)| is_given(*right, asked)),
            }
        }
    }
}

/// Whether any grant of a principal or its groups gives a right, or one that brings it.
pub(super) fn is_given(right: RightId, level: Level, domain: &Domain, principal: Principal<'_>) -> bool {
    let mut gifts = domain.bundles_of(principal.into()).filter_map(|bundle| domain.tables.gift(bundle.gift));
    gifts.any(|gift| gives(gift, right, level, domain))
}

/// Whether a gift gives a right, or one that brings it.
pub(super) fn gives(gift: &Gift, right: RightId, level: Level, domain: &Domain) -> bool {
    let ways = || std::iter::once(right).chain(domain.implied_by(right).iter().copied());
    gift.rights().iter().any(|(given, effect)| {
        let covers = |asked| match (domain.right_interval(*given), domain.right_interval(asked)) {
            (Some(given), Some(asked)) => given.contains(asked),
            _ => false,
        };
        matches!(effect, Effect::Allow(up_to) if *up_to >= level) && ways().any(covers)
    })
}
