//! What a principal's own grants give at one node, looked up once for all rights that a route asks for there.

use super::domain::{Domain, RightId, ScopeId};
use super::member::Member;
use super::people::Gathered;
use super::precedence::Held;
use crate::document::grants::Within;

/// The node that was asked about last, and what the member's own grants give there.
#[derive(Debug)]
pub(super) struct Near<'d> {
    node: Option<ScopeId>,
    /// None where these grants have to be looked at one by one.
    own: Option<Gathered<'d>>,
}

impl<'d> Near<'d> {
    /// Before anything is asked.
    #[inline]
    pub(super) const fn nothing() -> Self {
        Self { node: None, own: None }
    }

    /// What a member holds of a right at a node, as [`Domain::held`] has it. The member must be the same every time.
    #[inline(always)]
    pub(super) fn held(&mut self, domain: &'d Domain, member: &Member<'d>, right: RightId, node: ScopeId) -> Held {
        if self.node != Some(node) {
            self.own = match (domain.strategy.within, domain.scope_entry(node)) {
                (Within::Union, Some((_, at))) => domain.tables.gather(member.principal.own(), *at),
                (Within::Nearest, _) | (_, None) => None,
            };
            self.node = Some(node);
        }
        match &self.own {
            Some(own) if domain.implied_by(right).is_empty() => {
                let own = match domain.right_interval(right) {
                    Some(right) => own.greatest(right).into(),
                    None => Held::Nothing,
                };
                let together = if member.has_groups() { domain.with_groups(own, member, right, node) } else { own };
                domain.lowered(member, together)
            }
            _ => domain.held(*member, right, node),
        }
    }
}
