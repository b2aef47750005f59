//! A decision taken apart: what every scope was found to be, what every term came to, and for each right who granted
//! it. Asks the same functions as the decision, term by term, and gives the decision itself beside them.

use std::collections::BTreeSet;

use super::consider::Considered;
use super::decide::{Case, decide};
use super::denial::Denial;
use super::domain::{Domain, ScopeId};
use super::facts::Facts;
use super::member::Member;
use super::near::Near;
use super::origins::Origins;
use super::outline::{Outline, OutlineKind};
use super::rules::{At, Check, Origin, Rules, Step};
use super::scopes;
use super::supplied;
use crate::diag::Place;
use crate::model::{Level, Reason};

/// A decision taken apart.
#[derive(Debug)]
pub struct Explanation {
    /// The decision.
    pub decision: Result<(), Denial>,
    /// The object that the request names, if the route is about one.
    pub object: Option<ObjectSeen>,
    /// The scopes of the route, in the order of the file.
    pub scopes: Vec<ScopeSeen>,
    /// The requirement; `None` where the request never came so far.
    pub requirement: Option<TermSeen>,
}

/// The object of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSeen {
    /// Kind and key: `KIND:KEY`.
    pub name: String,
    /// Whether it is known.
    pub known: bool,
    /// Whether objects of its kind are looked up in a database.
    pub looked_up: bool,
    /// Where the decision depends on what nobody has said of it: the attributes that the route reads, by name.
    pub needs: Option<Vec<String>>,
}

/// One named scope.
#[derive(Debug)]
pub struct ScopeSeen {
    /// The name.
    pub name: String,
    /// What each of its places said, in the order of the file; or why what it said cannot count. Empty for a fixed node.
    pub places: Vec<Result<Vec<String>, Reason>>,
    /// The nodes, if all scopes of the route were found; none for one that was skipped.
    pub nodes: Option<Vec<ScopeId>>,
}

/// One term.
#[derive(Debug)]
pub struct TermSeen {
    /// Where it stands.
    pub place: Place,
    /// The term, in short.
    pub text: String,
    /// How it is made up.
    pub kind: OutlineKind,
    /// Whether it holds.
    pub holds: bool,
    /// Whether the decision came as far as this term.
    pub reached: bool,
    /// What it denies with, if it is one check that does not hold.
    pub denial: Option<Denial>,
    /// For a right, what was considered at each node that it was asked at.
    pub rights: Vec<Considered>,
    /// The terms in it.
    pub children: Vec<TermSeen>,
}

/// Takes a decision apart. `number` is that of the member's principal; the other arguments are those of [`decide()`].
pub fn explain(
    domain: &Domain,
    origins: &Origins,
    rules: &Rules,
    (number, member): (usize, Member<'_>),
    facts: &impl Facts,
    by_method: Level,
) -> Explanation {
    let decision = decide(domain, rules, member, facts, by_method);
    let key = rules.object.as_ref().and_then(|rule| Some((rule.kind, scopes::path(rule.key, facts)?)));
    let object = key.and_then(|(kind, key)| match domain.is_looked_up(kind) {
        true => supplied::object(facts, kind, Some(key)).ok(),
        false => domain.object(kind, key),
    });
    let case = Case::open(domain, rules, member, facts, by_method).ok();
    let places = |origin: &Origin| match origin {
        Origin::Node(_) => Vec::new(),
        Origin::Request { places, .. } => {
            let read = |place| Ok(scopes::read(place, object, facts)?.iter().map(str::to_owned).collect());
            places.iter().map(read).collect()
        }
    };
    let seen = rules.scopes.iter().zip(0_u8..).map(|(rule, number)| ScopeSeen {
        name: rule.name.to_string(),
        places: places(&rule.origin),
        nodes: case.as_ref().map(|case| case.resolved.nodes(number).to_vec()),
    });
    let scopes = if member.barred().is_none() { seen.collect() } else { Vec::new() };
    let requirement = case.as_ref().and_then(|case| {
        let mut requirement = Explainer { case, origins, number }.term(rules.outline()?)?;
        mark_reached(&mut requirement);
        Some(requirement)
    });
    let object = key.map(|(kind, key)| {
        let looked_up = domain.is_looked_up(kind);
        let unavailable = decision.err().is_some_and(|denial| denial.reason == Reason::ObjectUnavailable);
        let needs = (looked_up && unavailable && supplied::is_unsaid(facts, kind, key)).then(|| {
            let names: BTreeSet<_> =
                rules.attributes_read().map(|attribute| domain.attribute_name(attribute)).collect();
            names.into_iter().map(str::to_owned).collect()
        });
        ObjectSeen { name: format!("{}:{key}", domain.kind_name(kind)), known: object.is_some(), looked_up, needs }
    });
    Explanation { decision, object, scopes, requirement }
}

struct Explainer<'e, F> {
    case: &'e Case<'e, F>,
    origins: &'e Origins,
    number: usize,
}

impl<F: Facts> Explainer<'_, F> {
    fn term(&self, outline: &Outline) -> Option<TermSeen> {
        let children = outline.children.iter().map(|child| self.term(child)).collect::<Option<Vec<_>>>()?;
        let all = children.iter().all(|child| child.holds);
        let mut seen = TermSeen {
            place: outline.place,
            text: outline.text.clone(),
            kind: outline.kind,
            holds: false,
            reached: false,
            denial: None,
            rights: Vec::new(),
            children,
        };
        match outline.kind {
            OutlineKind::All | OutlineKind::Definition | OutlineKind::Settled(_) => seen.holds = all,
            OutlineKind::Any => seen.holds = seen.children.iter().any(|child| child.holds),
            OutlineKind::Check => match outline.step {
                None => seen.holds = true,
                Some(step) => {
                    let check = self.check_at(step)?;
                    seen.denial = self.case.check(check, &mut Near::nothing()).err();
                    seen.holds = seen.denial.is_none();
                    seen.rights = self.rights(check);
                }
            },
            OutlineKind::Open => {
                // The first step asks whether the value names any bit, the second whether the setting has that bit.
                let named = outline.step.and_then(|step| Some((self.check_at(step)?, self.check_at(step + 1)?)));
                let (names_a_bit, has_it) = named?;
                seen.denial = self.case.check(names_a_bit, &mut Near::nothing()).err();
                let mut branches = std::mem::take(&mut seen.children).into_iter();
                let (then, otherwise) = (branches.next(), branches.next());
                let branch = if self.case.check(has_it, &mut Near::nothing()).is_ok() { then } else { otherwise };
                seen.holds = seen.denial.is_none() && branch.as_ref().is_none_or(|branch| branch.holds);
                seen.children.extend(branch);
            }
        }
        Some(seen)
    }

    fn check_at(&self, step: u16) -> Option<&Check> {
        match self.case.rules.steps.get(usize::from(step)) {
            Some(Step::Check { check, .. }) => Some(check),
            Some(Step::Jump(_) | Step::Permit) | None => None,
        }
    }

    fn rights(&self, check: &Check) -> Vec<Considered> {
        let (right, at, below) = match check {
            Check::Right { right, at, below, .. } => (right, *at, *below),
            Check::UnlessDenied { right, at } => (right, *at, false),
            Check::Flag(_) | Check::NotFlag(_) | Check::Compare { .. } | Check::Bit { .. } | Check::Never { .. } => {
                return Vec::new();
            }
        };
        let Ok(right) = self.case.right(right) else { return Vec::new() };
        let (domain, member) = (self.case.domain, self.case.member);
        let nodes = match at {
            At::Root => &[ScopeId::ROOT],
            At::Scope(scope) => self.case.resolved.nodes(scope),
        };
        let at = |node: &ScopeId| if below { domain.best_below(member, right, *node).0 } else { *node };
        let consider = |node| domain.consider_member(self.origins, self.number, member, right, at(node));
        nodes.iter().filter_map(consider).collect()
    }
}

/// Marks the terms that the decision came to: in a list those up to the first that fails, of alternatives those up to
/// the first that holds, and below a condition that cannot be settled none.
fn mark_reached(term: &mut TermSeen) {
    term.reached = true;
    if term.denial.is_some() {
        return;
    }
    let stop_at = term.kind == OutlineKind::Any;
    for child in &mut term.children {
        mark_reached(child);
        if child.holds == stop_at {
            break;
        }
    }
}

impl TermSeen {
    /// The check whose failure became the denial: of a list the first that fails, of alternatives the last. `None` if
    /// the term holds.
    pub fn decider(&self) -> Option<&Self> {
        if self.holds {
            return None;
        }
        if self.denial.is_some() {
            return Some(self);
        }
        let child = match self.kind {
            OutlineKind::Any => self.children.last(),
            _ => self.children.iter().find(|child| !child.holds),
        };
        child.and_then(Self::decider)
    }
}
