//! Who may pass a route at all, whatever requests say.

use crate::model::{Effect, Guid, Level};
use crate::policy::domain::{Domain, RightId};
use crate::policy::people::Principal;
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
    /// Whether a principal may pass: certainly not, or perhaps. Nodes are not looked at, comparisons are taken as met.
    pub(super) fn admits(&self, domain: &Domain, principal: Principal<'_>) -> bool {
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
                    if may_hold(check, domain, principal) {
                        enter(&mut open, at + 1);
                    }
                    otherwise.iter().for_each(|to| enter(&mut open, usize::from(*to)));
                }
            }
        }
        false
    }
}

fn may_hold(check: &Check, domain: &Domain, principal: Principal<'_>) -> bool {
    match check {
        Check::Flag(flag) => Domain::has_flag(principal, *flag),
        Check::NotFlag(flag) => !Domain::has_flag(principal, *flag),
        Check::Never { .. } => false,
        Check::Compare { .. } | Check::Bit { .. } | Check::UnlessDenied { .. } => true,
        Check::Right { right, level, .. } => {
            let asked = match level {
                Asked::Level(level) => *level,
                Asked::ByMethod => Level::Read,
            };
            match right {
                RightRef::Fixed(right) => is_given(*right, asked, domain, principal),
                RightRef::Named { rights, .. } => {
                    rights.iter().any(|(_, right)| is_given(*right, asked, domain, principal))
                }
            }
        }
    }
}

/// Whether any grant of a principal or its groups gives a right, or one that brings it.
fn is_given(right: RightId, level: Level, domain: &Domain, principal: Principal<'_>) -> bool {
    let ways = || std::iter::once(right).chain(domain.implied_by(right).iter().copied());
    domain.bundles_of(principal.into()).filter_map(|bundle| domain.tables.gift(bundle.gift)).any(|gift| {
        gift.rights().iter().any(|(given, effect)| {
            let covers = |asked| match (domain.right_interval(*given), domain.right_interval(asked)) {
                (Some(given), Some(asked)) => given.contains(asked),
                _ => false,
            };
            matches!(effect, Effect::Allow(up_to) if *up_to >= level) && ways().any(covers)
        })
    })
}
