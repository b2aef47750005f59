//! The decision: may this principal do this, here? One pass over the rules of a route, without a heap, a clock or a
//! lock. The first check that fails is the answer.

use std::borrow::Cow;

use super::denial::{Denial, Subject};
use super::domain::{Domain, Object, Principal, RightId, ScopeId};
use super::facts::{Facts, HeaderValue};
use super::precedence::Held;
use super::rules::{Asked, At, Check, Operand, RightRef, Rules, Step};
use super::scopes::{self, Resolved};
use crate::document::Literal;
use crate::document::routes::Comparison;
use crate::model::{Level, Reason, Status};

/// Everything that one decision looks at.
pub(super) struct Case<'r, F> {
    pub(super) domain: &'r Domain,
    pub(super) rules: &'r Rules,
    pub(super) principal: &'r Principal,
    facts: &'r F,
    object: Option<&'r Object>,
    pub(super) resolved: Resolved,
    by_method: Level,
}

/// Decides a request. `by_method` is the level that the request's method means on this route.
pub fn decide(
    domain: &Domain,
    rules: &Rules,
    principal: &Principal,
    facts: &impl Facts,
    by_method: Level,
) -> Result<(), Denial> {
    Case::open(domain, rules, principal, facts, by_method)?.run(|_| ())
}

impl<'c, F: Facts> Case<'c, F> {
    /// Looks at the account, then resolves all scopes of the route. The arguments are those of [`decide`].
    pub(super) fn open(
        domain: &'c Domain,
        rules: &'c Rules,
        principal: &'c Principal,
        facts: &'c F,
        by_method: Level,
    ) -> Result<Self, Denial> {
        let of_account = |reason| Err(Denial::new(reason, Subject::Principal));
        match principal.status {
            Status::Active => {}
            Status::Inactive => return of_account(Reason::PrincipalInactive),
            Status::Deleted => return of_account(Reason::PrincipalDeleted),
            Status::Reserved => return of_account(Reason::PrincipalReserved),
        }
        let object = rules.object.as_ref().and_then(|rule| domain.object(rule.kind, scopes::path(rule.key, facts)?));
        let resolved = scopes::resolve(domain, rules, object, facts)?;
        Ok(Self { domain, rules, principal, facts, object, resolved, by_method })
    }

    /// Checks one step after the other; `holds` is told of every check that holds.
    pub(super) fn run(&self, mut holds: impl FnMut(&'c Check)) -> Result<(), Denial> {
        let mut next = 0_usize;
        // Jumps only lead forward, so this ends after at most one visit of each step.
        while let Some(step) = self.rules.steps.get(next) {
            next = match step {
                Step::Permit => return Ok(()),
                Step::Jump(to) => usize::from(*to),
                Step::Check { check, otherwise } => match (self.check(check), otherwise) {
                    (Ok(()), _) => {
                        holds(check);
                        next + 1
                    }
                    (Err(_), Some(to)) => usize::from(*to),
                    (Err(denial), None) => return Err(denial),
                },
            };
        }
        // The compiler ends every list with `Permit`; steps that lead elsewhere permit nothing.
        Err(Denial::new(Reason::Internal, Subject::Principal))
    }

    pub(super) fn check(&self, check: &Check) -> Result<(), Denial> {
        match check {
            Check::Flag(flag) if Domain::has_flag(self.principal, *flag) => Ok(()),
            Check::Flag(flag) => Err(Denial::new(Reason::FlagMissing, Subject::Flag(*flag))),
            Check::NotFlag(flag) if Domain::has_flag(self.principal, *flag) => {
                Err(Denial::new(Reason::FlagForbids, Subject::Flag(*flag)))
            }
            Check::NotFlag(_) => Ok(()),
            Check::Right { right, level, at, below } => {
                let (asked, right) = (self.level(*level), self.right(right)?);
                self.at_each(*at, |node| self.holds(right, asked, node, *below))
            }
            Check::UnlessDenied { right, at } => {
                let right = self.right(right)?;
                self.at_each(*at, |node| match self.domain.held(self.principal, right, node) {
                    Held::Denied => Err(right_denial(Reason::RightDenied, right, node, None, Level::Read)),
                    Held::Nothing | Held::Up(_) => Ok(()),
                })
            }
            Check::Compare { comparison, left, right, code } => self.compare(*comparison, left, right, *code),
            Check::Bit { of, bits, mask, code } => {
                let bit = self.value(of).and_then(|value| bits.iter().find(|(name, _)| value.equals(name)));
                if bit.is_some_and(|(_, bit)| mask & bit != 0) { Ok(()) } else { Err(unmet(*code)) }
            }
            Check::Never { code } => Err(unmet(*code)),
        }
    }

    fn holds(&self, right: RightId, asked: Level, node: ScopeId, below: bool) -> Result<(), Denial> {
        let held = if below {
            self.domain.held_below(self.principal, right, node)
        } else {
            self.domain.held(self.principal, right, node)
        };
        match held {
            Held::Up(level) if level >= asked => Ok(()),
            Held::Up(level) => Err(right_denial(Reason::RightLevel, right, node, Some(level), asked)),
            Held::Denied => Err(right_denial(Reason::RightDenied, right, node, None, asked)),
            Held::Nothing => Err(right_denial(Reason::RightMissing, right, node, None, asked)),
        }
    }

    /// Every node of the scope must pass; a scope that was skipped has none, and then nothing is permitted there.
    fn at_each(&self, at: At, pass: impl Fn(ScopeId) -> Result<(), Denial>) -> Result<(), Denial> {
        match at {
            At::Root => pass(ScopeId::ROOT),
            At::Scope(scope) => {
                let nodes = self.resolved.nodes(scope);
                if nodes.is_empty() {
                    return Err(Denial::new(Reason::ScopeMissing, Subject::Scope(scope)));
                }
                nodes.iter().try_for_each(|node| pass(*node))
            }
        }
    }

    pub(super) const fn level(&self, asked: Asked) -> Level {
        match asked {
            Asked::Level(level) => level,
            Asked::ByMethod => self.by_method,
        }
    }

    pub(super) fn right(&self, right: &RightRef) -> Result<RightId, Denial> {
        match right {
            RightRef::Fixed(right) => Ok(*right),
            RightRef::Named { variable, rights, code } => scopes::path(*variable, self.facts)
                .and_then(|value| rights.iter().find(|(name, _)| **name == *value))
                .map(|(_, right)| *right)
                .ok_or_else(|| unmet(*code)),
        }
    }

    /// An operand without a value fails every comparison, the negated one too.
    fn compare(&self, comparison: Comparison, left: &Operand, right: &Operand, code: u16) -> Result<(), Denial> {
        let held = match (self.value(left), self.value(right)) {
            (Some(left), Some(right)) => match comparison {
                Comparison::Eq => left.same(&right),
                Comparison::In => right.elements().is_some_and(|list| list.iter().any(|item| left.equals(item))),
                Comparison::NotIn => right
                    .elements()
                    .is_some_and(|list| left.elements().is_none() && !list.iter().any(|item| left.may_equal(item))),
                Comparison::Lt => matches!((left.number(), right.number()), (Some(a), Some(b)) if a < b),
            },
            _ => false,
        };
        if held { Ok(()) } else { Err(unmet(code)) }
    }

    fn value<'r>(&'r self, operand: &'r Operand) -> Option<Value<'r>> {
        match operand {
            Operand::Constant(literal) => Some(Value::Known(literal)),
            Operand::Path(variable) => scopes::path(*variable, self.facts).map(Value::text),
            Operand::Query(name) => self.single_query(name),
            Operand::Header(name) => match self.facts.header(name) {
                HeaderValue::One(value) if is_single(value) => Some(Value::text(value)),
                HeaderValue::One(_) | HeaderValue::Absent | HeaderValue::Unclear => None,
            },
            Operand::Object(attribute) => {
                self.object?.attribute(*attribute).map(|attribute| Value::Known(&attribute.value))
            }
            Operand::Count(attribute) => match &self.object?.attribute(*attribute)?.value {
                Literal::List(list) => i64::try_from(list.len()).ok().map(Value::Count),
                Literal::Bool(_) | Literal::Int(_) | Literal::Text(_) => None,
            },
            Operand::PrincipalId => Some(Value::text(&self.principal.id)),
        }
    }

    /// A parameter that is repeated, empty, a list, or padded with blanks has no single value.
    fn single_query<'r>(&'r self, name: &str) -> Option<Value<'r>> {
        let mut found = None;
        let mut times = 0_u32;
        self.facts.query(name, &mut |value| {
            times = times.saturating_add(1);
            found = Some(value);
        });
        if times == 1 { found.filter(|value| is_single(value)).map(Value::Text) } else { None }
    }
}

/// Whether a value of the query or of a header is one value: some backends take a list apart at its commas.
fn is_single(value: &str) -> bool {
    !value.is_empty() && !value.contains(',') && value.trim() == value
}

const fn right_denial(reason: Reason, right: RightId, at: ScopeId, held: Option<Level>, asked: Level) -> Denial {
    Denial::new(reason, Subject::Right { right, at, held, asked })
}

const fn unmet(code: u16) -> Denial {
    Denial::new(Reason::Requirement, Subject::Code(code))
}

/// A value in a comparison.
enum Value<'r> {
    /// Out of the configuration, with its type.
    Known(&'r Literal),
    /// Out of the request: text, whatever it looks like.
    Text(Cow<'r, str>),
    /// A number of elements.
    Count(i64),
}

impl<'r> Value<'r> {
    const fn text(text: &'r str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Whether both are the same thing, however each was typed: `5` equals `"5"`. Lists equal nothing.
    fn equals(&self, literal: &Literal) -> bool {
        match (self, literal) {
            (Self::Text(text), _) => written_as(text, literal),
            (Self::Known(Literal::Text(text)), _) => written_as(text, literal),
            (Self::Known(known), Literal::Text(text)) => written_as(text, known),
            (Self::Known(Literal::List(_)), _) => false,
            (Self::Known(known), _) => *known == literal,
            (Self::Count(count), Literal::Int(other)) => count == other,
            (Self::Count(_), _) => false,
        }
    }

    /// Whether some reader could take both for the same: `007` and `+7` may be 7. For what must not be equal.
    fn may_equal(&self, literal: &Literal) -> bool {
        let number = match self {
            Self::Text(text) => text.trim().parse::<i64>().ok(),
            Self::Known(Literal::Text(text)) => text.trim().parse().ok(),
            Self::Known(Literal::Int(number)) | Self::Count(number) => Some(*number),
            Self::Known(Literal::Bool(_) | Literal::List(_)) => None,
        };
        let other = match literal {
            Literal::Int(other) => Some(*other),
            Literal::Text(other) => other.trim().parse().ok(),
            Literal::Bool(_) | Literal::List(_) => None,
        };
        self.equals(literal) || (number.is_some() && number == other)
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Known(literal)) => self.equals(literal),
            (Self::Known(literal), _) => other.equals(literal),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Count(a), Self::Count(b)) => a == b,
            (Self::Text(_), Self::Count(_)) | (Self::Count(_), Self::Text(_)) => false,
        }
    }

    fn elements(&self) -> Option<&[Literal]> {
        match self {
            Self::Known(Literal::List(list)) => Some(list),
            Self::Known(Literal::Bool(_) | Literal::Int(_) | Literal::Text(_)) | Self::Text(_) | Self::Count(_) => None,
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Known(Literal::Int(number)) => Some(*number),
            Self::Count(count) => Some(*count),
            Self::Text(text) if canonical(text) => text.parse().ok(),
            Self::Text(_) | Self::Known(Literal::Bool(_) | Literal::Text(_) | Literal::List(_)) => None,
        }
    }
}

/// Whether a text is the one way to write a constant.
fn written_as(text: &str, literal: &Literal) -> bool {
    match literal {
        Literal::Text(other) => text == other,
        Literal::Int(other) => text.parse() == Ok(*other) && canonical(text),
        Literal::Bool(other) => text.parse() == Ok(*other),
        Literal::List(_) => false,
    }
}

/// Whether a number is written in the one way that has no second reading: no plus sign, no leading zeros, no `-0`.
fn canonical(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9'))
}
