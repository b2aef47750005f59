//! What a route asks, in one form: definitions put in, settings decided, order and spelling without meaning. Two
//! requirements of equal form ask the same. For tools that compare policies.

use super::domain::Domain;
use super::outline::{Outline, OutlineKind};
use super::rules::{Asked, At, Check, Missing, Operand, Origin, RightRef, Rules, Spot, Step, Variable};
use crate::document::Literal;
use crate::document::routes::Comparison;
use crate::model::Level;

/// A requirement, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Normal {
    /// All must hold; sorted, each once. Empty: nothing is asked.
    All(Vec<Normal>),
    /// One must hold; sorted, each once.
    Any(Vec<Normal>),
    /// One thing to check.
    Term(NormalTerm),
    /// The first if the condition holds for the request's object, the second if not.
    Either(String, Box<Normal>, Box<Normal>),
}

/// One thing to check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NormalTerm {
    /// In words, without level, place and reason.
    pub what: String,
    /// Where, for a right; else empty.
    pub at: String,
    /// The level that is asked for; `None` where there is none, or where it comes from the method.
    pub level: Option<Level>,
    /// The code of the denial, where the requirement names it.
    pub reason: Option<String>,
}

/// How path variables are called.
pub type VariableName<'n> = &'n dyn Fn(Variable) -> String;

/// What rules ask. Needs a domain that was compiled to keep outlines; without one, nothing is known: `None`.
pub fn requirement(domain: &Domain, rules: &Rules, name: VariableName<'_>) -> Option<Normal> {
    let writer = Writer { domain, rules, name };
    rules.outline().map(|outline| writer.part(outline))
}

/// The scopes of a route, one line each, sorted.
pub fn scopes_in_words(domain: &Domain, rules: &Rules, name: VariableName<'_>) -> Vec<String> {
    let writer = Writer { domain, rules, name };
    let node = |node| domain.scope_name(node).to_owned();
    let mut lines: Vec<String> = Vec::new();
    for scope in &rules.scopes {
        let origin = match &scope.origin {
            Origin::Node(fixed) => node(*fixed),
            Origin::Request { places, kind } => {
                let mut places: Vec<String> = places.iter().map(|place| writer.spot(place)).collect();
                places.sort_unstable();
                format!("{} from {}", domain.kind_name(*kind), places.join(", "))
            }
        };
        let missing = match scope.missing {
            Missing::Deny => String::new(),
            Missing::Skip => "; may be missing".to_owned(),
            Missing::SameAs(other) => format!("; if missing, the same as {}", rules.scope_name(other)),
            Missing::Node(fixed) => format!("; if missing, {}", node(fixed)),
        };
        lines.push(format!("{} = {origin}{missing}", scope.name));
    }
    lines.sort_unstable();
    lines
}

/// What compiled rules ask, for those who keep no outlines: in words, so that it can be compared with another domain's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// All of it: rules of equal texts decide alike whoever holds alike.
    text: String,
    /// What must all hold, where it is as simple as that.
    all: Option<Normal>,
}

impl Program {
    /// What rules ask; path variables are called by where they stand.
    pub fn of(domain: &Domain, rules: &Rules) -> Self {
        let name = |variable| {
            let (Variable::Segment(index) | Variable::Rest(index)) = variable;
            format!("{{{index}}}")
        };
        let writer = Writer { domain, rules, name: &name };
        let mut text = scopes_in_words(domain, rules, &name).join("; ");
        text.extend(object_in_words(domain, rules, &name).map(|object| format!("; object = {object}")));
        let mut terms = Some(Vec::new());
        for step in &rules.steps {
            match step {
                Step::Check { check, otherwise } => {
                    let term = Normal::Term(writer.term(check));
                    text.push_str(&format!("\n{} else {otherwise:?}", term.text()));
                    terms = terms.filter(|_| otherwise.is_none());
                    terms.iter_mut().for_each(|terms| terms.push(term.clone()));
                }
                Step::Jump(to) => {
                    text.push_str(&format!("\ngo to {to}"));
                    terms = None;
                }
                Step::Permit => text.push_str("\npermit"),
            }
        }
        Self { text, all: terms.map(|terms| all(terms.into_iter())) }
    }

    /// All of it in words; see the fields.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether whoever meets this also meets `other`, if scopes and levels of both are the same. Only what is plain to
    /// see is found.
    pub fn implies(&self, other: &Self) -> bool {
        let scopes = |program: &Self| program.text.lines().next().map(str::to_owned);
        match (&self.all, &other.all) {
            (Some(own), Some(asked)) => scopes(self) == scopes(other) && own.implies(asked),
            _ => false,
        }
    }
}

/// The object of a route.
pub fn object_in_words(domain: &Domain, rules: &Rules, name: VariableName<'_>) -> Option<String> {
    let rule = rules.object.as_ref()?;
    let where_from = if domain.looks_up_object_of(rules) { ", looked up" } else { "" };
    Some(format!("{} by path.{}{where_from}", domain.kind_name(rule.kind), name(rule.key)))
}

struct Writer<'w> {
    domain: &'w Domain,
    rules: &'w Rules,
    name: VariableName<'w>,
}

impl Writer<'_> {
    fn part(&self, outline: &Outline) -> Normal {
        let children = || outline.children.iter().map(|child| self.part(child));
        match outline.kind {
            OutlineKind::All | OutlineKind::Definition | OutlineKind::Settled(_) => all(children()),
            OutlineKind::Any => any(children()),
            OutlineKind::Check => {
                let check = outline.step.and_then(|step| self.check_at(step));
                check.map_or(Normal::All(Vec::new()), |check| Normal::Term(self.term(check)))
            }
            OutlineKind::Open => {
                let mut branches = children();
                let mut branch = || Box::new(branches.next().unwrap_or(Normal::All(Vec::new())));
                let (then, otherwise) = (branch(), branch());
                // The first step asks whether the value names any bit, the second whether the setting has that one.
                let what = |step| self.check_at(step).map(|check| self.term(check).what).unwrap_or_default();
                let condition = outline.step.map(|step| format!("{} (known: {})", what(step + 1), what(step)));
                Normal::Either(condition.unwrap_or_default(), then, otherwise)
            }
        }
    }

    fn check_at(&self, step: u16) -> Option<&Check> {
        match self.rules.steps.get(usize::from(step)) {
            Some(Step::Check { check, .. }) => Some(check),
            Some(Step::Jump(_) | Step::Permit) | None => None,
        }
    }

    fn term(&self, check: &Check) -> NormalTerm {
        let plain = |what: String| NormalTerm { what, at: String::new(), level: None, reason: None };
        let coded =
            |what: String, code: u16| NormalTerm { reason: Some(self.rules.code(code).to_owned()), ..plain(what) };
        match check {
            Check::Flag(flag) => plain(format!("flag {}", self.domain.flag_name(*flag))),
            Check::NotFlag(flag) => plain(format!("not flag {}", self.domain.flag_name(*flag))),
            Check::Right { right, level, at, below } => {
                let (level, suffix) = match level {
                    Asked::Level(level) => (Some(*level), ""),
                    Asked::ByMethod => (None, ":by_method"),
                };
                let below = if *below { "/*" } else { "" };
                let (what, at) = (format!("{}{suffix}", self.right(right)), format!(" {}{below}", self.at(*at)));
                NormalTerm { what, at, level, reason: None }
            }
            Check::UnlessDenied { right, at } => plain(format!("unless denied {} {}", self.right(right), self.at(*at))),
            Check::Compare { comparison, left, right, code } => {
                let word = match comparison {
                    Comparison::Eq => "is",
                    Comparison::In => "in",
                    Comparison::NotIn => "not in",
                    Comparison::Lt => "less than",
                };
                coded(format!("{} {word} {}", self.operand(left), self.operand(right)), *code)
            }
            Check::Bit { of, bits, mask, code } => {
                let mut set: Vec<String> =
                    bits.iter().filter(|(_, bit)| mask & bit != 0).map(|(name, _)| name.to_string()).collect();
                set.sort_unstable();
                coded(format!("{} in [{}]", self.operand(of), set.join(", ")), *code)
            }
            Check::Never { code } => coded("never".to_owned(), *code),
        }
    }

    fn right(&self, right: &RightRef) -> String {
        match right {
            RightRef::Fixed(right) => self.domain.right_name(*right).to_owned(),
            RightRef::Named { variable, rights, .. } => {
                let mut pairs: Vec<String> = rights
                    .iter()
                    .map(|(value, right)| format!("{value}: {}", self.domain.right_name(*right)))
                    .collect();
                pairs.sort_unstable();
                format!("the right of path.{} ({})", (self.name)(*variable), pairs.join(", "))
            }
        }
    }

    fn at(&self, at: At) -> String {
        match at {
            At::Root => "@root".to_owned(),
            At::Scope(scope) => format!("@{}", self.rules.scope_name(scope)),
        }
    }

    fn spot(&self, spot: &Spot) -> String {
        match spot {
            Spot::Path(variable) => format!("path.{}", (self.name)(*variable)),
            Spot::Query(name) => format!("query.{name}"),
            Spot::Form(name) => format!("form.{name}"),
            Spot::Header(name) => format!("header.{name}"),
            Spot::Object(attribute) => format!("object.{}", self.domain.attribute_name(*attribute)),
        }
    }

    fn operand(&self, operand: &Operand) -> String {
        match operand {
            Operand::Constant(literal) => constant(literal),
            Operand::Path(variable) => format!("path.{}", (self.name)(*variable)),
            Operand::Query(name) => format!("query.{name}"),
            Operand::Form(name) => format!("form.{name}"),
            Operand::Header(name) => format!("header.{name}"),
            Operand::Object(attribute) => format!("object.{}", self.domain.attribute_name(*attribute)),
            Operand::Count(attribute) => format!("count(object.{})", self.domain.attribute_name(*attribute)),
            Operand::PrincipalId => "principal.id".to_owned(),
        }
    }
}

/// A constant, a text that looks like something else in quotes; the order of a list means nothing.
pub fn constant(literal: &Literal) -> String {
    match literal {
        Literal::List(list) => {
            let mut items: Vec<String> = list.iter().map(constant).collect();
            items.sort_unstable();
            format!("[{}]", items.join(", "))
        }
        Literal::Text(text) if text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok() => format!("\"{text}\""),
        // What could be taken for something else in a list of constants is quoted.
        Literal::Text(text) if text.contains([',', '[', ']', '"', ':']) || text.trim() != text => format!("{text:?}"),
        Literal::Bool(_) | Literal::Int(_) | Literal::Text(_) => literal.to_string(),
    }
}

fn all(parts: impl Iterator<Item = Normal>) -> Normal {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Normal::All(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    one_or(flat, Normal::All)
}

fn any(parts: impl Iterator<Item = Normal>) -> Normal {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            // An alternative that asks nothing always holds.
            Normal::All(inner) if inner.is_empty() => return Normal::All(inner),
            Normal::Any(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    one_or(flat, Normal::Any)
}

fn one_or(mut parts: Vec<Normal>, several: fn(Vec<Normal>) -> Normal) -> Normal {
    parts.sort_unstable();
    parts.dedup();
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            several(parts)
        }
    }
}

impl Normal {
    /// What must all hold.
    pub fn conjuncts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            Self::Any(_) | Self::Term(_) | Self::Either(..) => std::slice::from_ref(self),
        }
    }

    /// Whether whoever meets this also meets `other`. Only what is plain to see is found.
    pub fn implies(&self, other: &Self) -> bool {
        let asked = |part: &Self| self.conjuncts().iter().any(|own| own.covers(part));
        other.conjuncts().iter().all(asked)
    }

    /// Whether this part, met, means that another is met.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Term(own), Self::Term(other)) => {
                let same = own.what == other.what && own.at == other.at;
                same && own.level.is_some() == other.level.is_some() && own.level >= other.level
            }
            (_, Self::Any(alternatives)) => {
                let own = match self {
                    Self::Any(own) => own.as_slice(),
                    one => std::slice::from_ref(one),
                };
                own.iter().all(|own| alternatives.iter().any(|other| own.implies(other)))
            }
            (Self::Either(condition, then, instead), Self::Either(other, other_then, other_instead)) => {
                condition == other && then.implies(other_then) && instead.implies(other_instead)
            }
            _ => false,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        self.write(false)
    }

    fn write(&self, inside: bool) -> String {
        let join = |parts: &[Self], word: &str| {
            let texts: Vec<String> = parts.iter().map(|part| part.write(true)).collect();
            let text = texts.join(word);
            if inside { format!("({text})") } else { text }
        };
        match self {
            Self::All(parts) if parts.is_empty() => "nothing".to_owned(),
            Self::All(parts) => join(parts, " and "),
            Self::Any(parts) => join(parts, " or "),
            Self::Term(NormalTerm { what, at, level, reason }) => {
                let level = level.map(|level| format!(":{}", level.name())).unwrap_or_default();
                let reason = reason.as_ref().map(|reason| format!(" (else {reason})")).unwrap_or_default();
                format!("{what}{level}{at}{reason}")
            }
            Self::Either(condition, then, instead) => {
                format!("(if {condition} then {} else {})", then.write(true), instead.write(true))
            }
        }
    }
}
