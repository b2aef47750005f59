//! A denial as values; its text is made only for whoever reads it.

use std::fmt::Write as _;

use super::domain::{Domain, FlagId, RightId, ScopeId};
use super::rules::Rules;
use crate::model::{Level, Reason};

/// Why the policy says no. Small and copied: making one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The reason.
    pub reason: Reason,
    /// What it is about.
    pub subject: Subject,
}

/// What a denial is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The principal as such.
    Principal,
    /// A scope of the route, by its number.
    Scope(u8),
    /// A flag.
    Flag(FlagId),
    /// A right at a scope: what is held and what was asked.
    Right {
        /// The right.
        right: RightId,
        /// Where.
        at: ScopeId,
        /// The level held, if any.
        held: Option<Level>,
        /// The level asked for.
        asked: Level,
    },
    /// An object that was looked up, by a word for what became of that.
    Object(&'static str),
    /// A code of the route's own, by its number.
    Code(u16),
}

impl Denial {
    #[inline]
    pub(super) const fn new(reason: Reason, subject: Subject) -> Self {
        Self { reason, subject }
    }

    /// The stable code without its subject.
    pub fn code<'r>(&self, rules: &'r Rules) -> &'r str {
        match self.subject {
            Subject::Code(code) => rules.code(code),
            Subject::Principal | Subject::Scope(_) | Subject::Flag(_) | Subject::Right { .. } | Subject::Object(_) => {
                self.reason.code()
            }
        }
    }

    /// The right that was asked for, if it is about one.
    pub fn right<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        match self.subject {
            Subject::Right { right, .. } => Some(domain.right_name(right)),
            Subject::Principal | Subject::Scope(_) | Subject::Flag(_) | Subject::Object(_) | Subject::Code(_) => None,
        }
    }

    /// The node that it was asked at, if it is about a right.
    pub fn scope<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        match self.subject {
            Subject::Right { at, .. } => Some(domain.scope_name(at)),
            Subject::Principal | Subject::Scope(_) | Subject::Flag(_) | Subject::Object(_) | Subject::Code(_) => None,
        }
    }

    /// The code with its subject, such as `right_level:oms.officer=read<write@territory:USS`.
    pub fn text(&self, domain: &Domain, rules: &Rules) -> String {
        let mut text = self.code(rules).to_owned();
        // Writing to a String cannot fail.
        let _ = match self.subject {
            Subject::Principal | Subject::Code(_) => Ok(()),
            Subject::Scope(scope) => write!(text, ":{}", rules.scope_name(scope)),
            Subject::Flag(flag) => write!(text, ":{}", domain.flag_name(flag)),
            Subject::Object(word) => write!(text, ":{word}"),
            Subject::Right { right, at, held: Some(held), asked } => {
                let (right, at) = (domain.right_name(right), domain.scope_name(at));
                write!(text, ":{right}={}<{}@{at}", held.name(), asked.name())
            }
            Subject::Right { right, at, held: None, .. } => {
                write!(text, ":{}@{}", domain.right_name(right), domain.scope_name(at))
            }
        };
        text
    }
}
