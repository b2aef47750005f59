//! The decision: may this principal do this, here? One pass over the rules of a route, without a heap, a clock or a
//! lock. The first check that fails is the answer.

use super::denial::{Denial, Subject};
use super::domain::{Domain, Object, RightId, ScopeId};
use super::facts::{Facts, HeaderValue};
use super::member::Member;
use super::near::Near;
use super::precedence::Held;
use super::rules::{Asked, At, Check, Operand, RightRef, Rules, Step};
use super::scopes::{self, Resolved};
use super::supplied;
use super::value::Value;
use crate::document::Literal;
use crate::document::routes::Comparison;
use crate::model::{Level, Reason};

/// Everything that one decision looks at.
pub(super) struct Case<'r, F> {
    pub(super) domain: &'r Domain,
    pub(super) rules: &'r Rules,
    pub(super) member: Member<'r>,
    facts: &'r F,
    object: Option<&'r Object>,
    pub(super) resolved: Resolved,
    by_method: Level,
}

/// Decides a request of a member, or of a principal without regard to what its token says. `by_method` is the level
/// that the request's method means on this route.
pub fn decide<'c>(
    domain: &'c Domain,
    rules: &'c Rules,
    member: impl Into<Member<'c>>,
    facts: &'c impl Facts,
    by_method: Level,
) -> Result<(), Denial> {
    let mut case = Case::new(domain, rules, member.into(), facts, by_method);
    case.resolve()?;
    case.run(|_| ())
}

impl<'c, F: Facts> Case<'c, F> {
    /// Looks at the account, then resolves all scopes of the route. The arguments are those of [`decide`].
    pub(super) fn open(
        domain: &'c Domain,
        rules: &'c Rules,
        member: Member<'c>,
        facts: &'c F,
        by_method: Level,
    ) -> Result<Self, Denial> {
        let mut case = Self::new(domain, rules, member, facts, by_method);
        case.resolve()?;
        Ok(case)
    }

    #[inline]
    fn new(domain: &'c Domain, rules: &'c Rules, member: Member<'c>, facts: &'c F, by_method: Level) -> Self {
        Self { domain, rules, member, facts, object: None, resolved: Resolved::new(), by_method }
    }

    /// Looks at the account, then resolves all scopes of the route; in place, since a case is large.
    #[inline]
    fn resolve(&mut self) -> Result<(), Denial> {
        let about_nothing = |reason| Err(Denial::new(reason, Subject::Principal));
        if let Some(reason) = self.member.barred() {
            return about_nothing(reason);
        }
        let (domain, facts) = (self.domain, self.facts);
        if let Some(rule) = &self.rules.object {
            let key = scopes::path(rule.key, facts);
            if domain.is_looked_up(rule.kind) {
                self.object = Some(supplied::object(facts, rule.kind, key)?);
            } else if let Some(key) = key {
                self.object = domain.object(rule.kind, key);
                if self.object.is_none() && domain.resembles_an_object(rule.kind, key) {
                    return about_nothing(Reason::ScopeAmbiguous);
                }
            }
        }
        self.resolved.resolve(domain, self.rules, self.object, facts)
    }

    /// Checks one step after the other; `holds` is told of every check that holds.
    #[inline]
    pub(super) fn run(&self, mut holds: impl FnMut(&'c Check)) -> Result<(), Denial> {
        let (mut next, mut near) = (0_usize, Near::nothing());
        // Jumps only lead forward, so this ends after at most one visit of each step.
        while let Some(step) = self.rules.steps.get(next) {
            next = match step {
                Step::Permit => return Ok(()),
                Step::Jump(to) => usize::from(*to),
                Step::Check { check, otherwise } => match (self.check(check, &mut near), otherwise) {
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

    /// Flags and plain rights, which most requirements are made of, are looked at in place. `near` is what the checks
    /// of one case keep for one another.
    #[inline(always)]
    pub(super) fn check(&self, check: &Check, near: &mut Near<'c>) -> Result<(), Denial> {
        match check {
            Check::Flag(flag) if self.member.has_flag(*flag) => Ok(()),
            Check::Flag(flag) => Err(Denial::new(Reason::FlagMissing, Subject::Flag(*flag))),
            Check::NotFlag(flag) if self.member.has_flag(*flag) => {
                Err(Denial::new(Reason::FlagForbids, Subject::Flag(*flag)))
            }
            Check::NotFlag(_) => Ok(()),
            Check::Right { right: RightRef::Fixed(right), level, at, below: false } => {
                let (right, asked) = (*right, self.level(*level));
                for node in self.nodes(*at)? {
                    enough(near.held(self.domain, &self.member, right, *node), (right, asked), *node)?;
                }
                Ok(())
            }
            Check::Right { right, level, at, below } => self.holds(right, self.level(*level), *at, *below),
            Check::UnlessDenied { right, at } => self.is_not_denied(right, *at),
            Check::Compare { comparison, left, right, code } => self.compare(*comparison, left, right, *code),
            Check::Bit { of, bits, mask, code } => {
                if self.has_bit(of, bits, *mask) {
                    Ok(())
                } else {
                    Err(unmet(*code))
                }
            }
            Check::Never { code } => Err(unmet(*code)),
        }
    }

    /// Whether a right is held at every node of a scope, or there or below.
    #[inline(never)]
    fn holds(&self, right: &RightRef, asked: Level, at: At, below: bool) -> Result<(), Denial> {
        let right = self.right(right)?;
        self.nodes(at)?.iter().try_for_each(|node| {
            let (domain, member) = (self.domain, self.member);
            let held = if below { domain.held_below(member, right, *node) } else { domain.held(member, right, *node) };
            enough(held, (right, asked), *node)
        })
    }

    #[inline(never)]
    fn is_not_denied(&self, right: &RightRef, at: At) -> Result<(), Denial> {
        let right = self.right(right)?;
        self.nodes(at)?.iter().try_for_each(|node| match self.domain.held(self.member, right, *node) {
            Held::Denied => Err(right_denial(Reason::RightDenied, right, *node, None, Level::Read)),
            Held::Nothing | Held::Up(_) => Ok(()),
        })
    }

    /// The nodes that must all pass; a scope that was skipped has none, and then nothing is permitted there.
    #[inline]
    fn nodes(&self, at: At) -> Result<&[ScopeId], Denial> {
        match at {
            At::Root => Ok(&[ScopeId::ROOT]),
            At::Scope(scope) => match self.resolved.nodes(scope) {
                [] => Err(Denial::new(Reason::ScopeMissing, Subject::Scope(scope))),
                nodes => Ok(nodes),
            },
        }
    }

    #[inline]
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
    #[inline(never)]
    fn compare(&self, comparison: Comparison, left: &Operand, right: &Operand, code: u16) -> Result<(), Denial> {
        let held = match (self.value(left), self.value(right)) {
            (Some(left), Some(right)) => left.compare(comparison, &right),
            _ => false,
        };
        if held { Ok(()) } else { Err(unmet(code)) }
    }

    #[inline(never)]
    fn has_bit(&self, of: &Operand, bits: &[(Literal, i64)], mask: i64) -> bool {
        let bit = self.value(of).and_then(|value| bits.iter().find(|(name, _)| value.equals(name)));
        bit.is_some_and(|(_, bit)| mask & bit != 0)
    }

    fn value<'r>(&'r self, operand: &'r Operand) -> Option<Value<'r>> {
        match operand {
            Operand::Constant(literal) => Some(Value::Known(literal)),
            Operand::Path(variable) => scopes::path(*variable, self.facts).map(Value::Text),
            Operand::Query(name) => single(|each| self.facts.query(name, each)),
            Operand::Form(name) => single(|each| self.facts.form(name, each)),
            Operand::Header(name) => match self.facts.header(name) {
                HeaderValue::One(value) if is_single(value) => Some(Value::Text(value)),
                HeaderValue::One(_) | HeaderValue::Absent | HeaderValue::Unclear => None,
            },
            Operand::Object(attribute) => {
                self.object?.attribute(*attribute).map(|attribute| Value::Known(&attribute.value))
            }
            Operand::Count(attribute) => match &self.object?.attribute(*attribute)?.value {
                Literal::List(list) => i64::try_from(list.len()).ok().map(Value::Count),
                Literal::Bool(_) | Literal::Int(_) | Literal::Text(_) => None,
            },
            Operand::PrincipalId => Some(Value::Text(self.member.principal.id())),
        }
    }
}

/// A parameter or field that is repeated, empty, a list, or padded with blanks has no single value.
fn single<'r>(values: impl FnOnce(&mut dyn FnMut(&'r str))) -> Option<Value<'r>> {
    let mut found = None;
    let mut times = 0_u32;
    values(&mut |value| {
        times = times.saturating_add(1);
        found = Some(value);
    });
    if times == 1 { found.filter(|value| is_single(value)).map(Value::Text) } else { None }
}

/// Whether a value of the query, a form or a header is one value: some backends take a list apart at its commas.
fn is_single(value: &str) -> bool {
    !value.is_empty() && !value.contains(',') && value.trim() == value
}

/// Whether what is held of a right at a node is what is asked for.
#[inline]
fn enough(held: Held, (right, asked): (RightId, Level), node: ScopeId) -> Result<(), Denial> {
    match held {
        Held::Up(level) if level >= asked => Ok(()),
        Held::Up(level) => Err(right_denial(Reason::RightLevel, right, node, Some(level), asked)),
        Held::Denied => Err(right_denial(Reason::RightDenied, right, node, None, asked)),
        Held::Nothing => Err(right_denial(Reason::RightMissing, right, node, None, asked)),
    }
}

const fn right_denial(reason: Reason, right: RightId, at: ScopeId, held: Option<Level>, asked: Level) -> Denial {
    Denial::new(reason, Subject::Right { right, at, held, asked })
}

const fn unmet(code: u16) -> Denial {
    Denial::new(Reason::Requirement, Subject::Code(code))
}
