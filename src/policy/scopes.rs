//! Which nodes a request acts in: every named scope of its route, resolved before anything is asked.

use super::denial::{Denial, Subject};
use super::domain::{Domain, KindId, Object, ScopeId};
use super::facts::{Facts, HeaderValue};
use super::rules::{MAX_SCOPES, Missing, Origin, Rules, ScopeRule, Spot, Variable};
use crate::model::Reason;

/// The most values that all scopes of one request may name together.
const MAX_NODES: usize = 16;

/// The nodes of every scope of a route, without a heap.
#[derive(Debug)]
pub(super) struct Resolved {
    nodes: [ScopeId; MAX_NODES],
    used: u8,
    /// By scope: where its nodes begin and end. Small numbers, since all of this is made anew for every decision.
    spans: [(u8, u8); MAX_SCOPES],
}

impl Resolved {
    /// Before anything is resolved.
    #[inline]
    pub(super) const fn new() -> Self {
        Self { nodes: [ScopeId::ROOT; MAX_NODES], used: 0, spans: [(0, 0); MAX_SCOPES] }
    }

    /// The nodes of the scope with this number; none if it was skipped.
    #[inline]
    pub(super) fn nodes(&self, scope: u8) -> &[ScopeId] {
        let (start, end) = self.spans.get(usize::from(scope)).copied().unwrap_or_default();
        self.nodes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }

    /// Resolves all scopes of a route, in the order of the file; the first that cannot be resolved is the denial.
    #[inline]
    pub(super) fn resolve(
        &mut self,
        domain: &Domain,
        rules: &Rules,
        object: Option<&Object>,
        facts: &impl Facts,
    ) -> Result<(), Denial> {
        let mut takes_over = false;
        for (number, rule) in (0_u8..).zip(&rules.scopes) {
            let start = self.used;
            one(domain, rule, object, facts, self).map_err(|reason| Denial::new(reason, Subject::Scope(number)))?;
            if let Some(span) = self.spans.get_mut(usize::from(number)) {
                *span = (start, self.used);
            }
            takes_over |= matches!(rule.missing, Missing::SameAs(_));
        }
        if takes_over {
            self.take_over(rules);
        }
        Ok(())
    }

    /// Gives every scope without a value that of the scope which it is to be the same as.
    fn take_over(&mut self, rules: &Rules) {
        for (index, rule) in rules.scopes.iter().enumerate() {
            if !matches!(rule.missing, Missing::SameAs(_)) {
                continue;
            }
            let from = source(rules, self, index);
            let span = self.spans.get(from).copied();
            if let (Some(slot), Some(span)) = (self.spans.get_mut(index), span) {
                *slot = span;
            }
        }
    }

    #[inline]
    fn push(&mut self, node: ScopeId) -> Result<(), Reason> {
        let slot = self.nodes.get_mut(usize::from(self.used)).ok_or(Reason::ScopeAmbiguous)?;
        *slot = node;
        self.used += 1;
        Ok(())
    }
}

/// The scope that a scope has its value from: itself, or the first along `same_as` that has one.
fn source(rules: &Rules, resolved: &Resolved, index: usize) -> usize {
    let mut at = index;
    for _ in 0..MAX_SCOPES {
        let empty = resolved.spans.get(at).is_some_and(|(start, end)| start == end);
        match rules.scopes.get(at).map(|rule| rule.missing) {
            Some(Missing::SameAs(other)) if empty => at = usize::from(other),
            _ => break,
        }
    }
    at
}

#[inline]
fn one(
    domain: &Domain,
    rule: &ScopeRule,
    object: Option<&Object>,
    facts: &impl Facts,
    resolved: &mut Resolved,
) -> Result<(), Reason> {
    let (places, kind) = match &rule.origin {
        Origin::Node(node) => return resolved.push(*node),
        Origin::Request { places, kind } => (places, *kind),
    };
    // Most scopes have one place, the path, and there one value at most.
    if let [Spot::Path(variable)] = places.as_slice() {
        return match path(*variable, facts) {
            Some(value) => resolved.push(node(domain, kind, value)?),
            None => absent(rule.missing, resolved),
        };
    }
    several(domain, kind, (places, rule.missing), (object, facts), resolved)
}

/// A scope with any number of places.
#[inline(never)]
fn several(
    domain: &Domain,
    kind: KindId,
    (places, missing): (&[Spot], Missing),
    (object, facts): (Option<&Object>, &impl Facts),
    resolved: &mut Resolved,
) -> Result<(), Reason> {
    let mut said: Option<Values<'_>> = None;
    for place in places {
        let values = read(place, object, facts)?;
        if values.is_empty() {
            continue;
        }
        match &said {
            None => said = Some(values),
            Some(first) if first.same(&values) => {}
            Some(_) => return Err(Reason::ScopeConflict),
        }
    }
    match said {
        Some(values) => values.each(|value| resolved.push(node(domain, kind, value)?)),
        None => absent(missing, resolved),
    }
}

/// What holds of a scope that no place has a value for.
fn absent(missing: Missing, resolved: &mut Resolved) -> Result<(), Reason> {
    match missing {
        Missing::Deny => Err(Reason::ScopeMissing),
        Missing::Skip | Missing::SameAs(_) => Ok(()),
        Missing::Node(node) => resolved.push(node),
    }
}

#[inline]
fn node(domain: &Domain, kind: KindId, value: &str) -> Result<ScopeId, Reason> {
    domain.scope(kind, value).ok_or(Reason::ScopeUnknown)
}

/// The values that one place of a request holds.
pub(super) struct Values<'r> {
    list: [Option<&'r str>; MAX_NODES],
    len: usize,
}

impl<'r> Values<'r> {
    fn none() -> Self {
        Self { list: [None; MAX_NODES], len: 0 }
    }

    fn one(value: &'r str) -> Self {
        let mut values = Self::none();
        // The first of many places is always free.
        let _ = values.push(value);
        values
    }

    fn push(&mut self, value: &'r str) -> Result<(), Reason> {
        if self.contains(value) {
            return Ok(());
        }
        let slot = self.list.get_mut(self.len).ok_or(Reason::ScopeAmbiguous)?;
        *slot = Some(value);
        self.len += 1;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().copied().map_while(|value| value)
    }

    fn contains(&self, value: &str) -> bool {
        self.iter().any(|known| known == value)
    }

    fn same(&self, other: &Values<'_>) -> bool {
        self.len == other.len && self.iter().all(|value| other.contains(value))
    }

    fn each(&self, mut act: impl FnMut(&str) -> Result<(), Reason>) -> Result<(), Reason> {
        self.iter().try_for_each(&mut act)
    }
}

pub(super) fn read<'r>(
    place: &'r Spot,
    object: Option<&'r Object>,
    facts: &'r impl Facts,
) -> Result<Values<'r>, Reason> {
    match place {
        Spot::Path(variable) => Ok(path(*variable, facts).map_or_else(Values::none, Values::one)),
        Spot::Query(name) => each_of(|each| facts.query(name, each)),
        Spot::Form(name) => each_of(|each| facts.form(name, each)),
        Spot::Header(name) => match facts.header(name) {
            HeaderValue::Absent => Ok(Values::none()),
            HeaderValue::One(value) if !value.contains(',') => Ok(Values::one(value)),
            HeaderValue::One(_) | HeaderValue::Unclear => Err(Reason::ScopeAmbiguous),
        },
        Spot::Object(attribute) => {
            let mut values = Values::none();
            if let Some(attribute) = object.and_then(|object| object.attribute(*attribute)) {
                for text in &attribute.texts {
                    values.push(text)?;
                }
            }
            Ok(values)
        }
    }
}

/// The value of a path variable.
#[inline]
pub(super) fn path(variable: Variable, facts: &impl Facts) -> Option<&str> {
    match variable {
        Variable::Segment(index) => facts.segment(index),
        Variable::Rest(index) => facts.rest(index),
    }
}

/// Values of a query parameter or a form's field count each, repeated or separated by commas.
fn each_of<'r>(found: impl FnOnce(&mut dyn FnMut(&'r str))) -> Result<Values<'r>, Reason> {
    let mut values = Values::none();
    let mut outcome = Ok(());
    found(&mut |value| {
        if outcome.is_ok() {
            outcome = value.split(',').try_for_each(|part| values.push(part));
        }
    });
    outcome.map(|()| values)
}
