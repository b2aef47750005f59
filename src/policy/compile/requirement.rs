//! A requirement as a short list of steps: definitions are put in where they are named, settings are decided, and
//! alternatives become jumps.

use super::Builder;
use super::condition::{self, Folded};
use super::rules::Asking;
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::routes::{Definition, Term};
use crate::policy::domain::FlagId;
use crate::policy::outline::{Outline, OutlineKind};
use crate::policy::rules::{Check, RightRef, Rules, Step, Variable};

/// The deepest nesting of definitions within definitions.
const MAX_DEPTH: usize = 32;
/// The most terms of one requirement, those of its definitions included; each takes a few steps and labels at most.
const MAX_TERMS: usize = 1_000;

/// A place to jump to: a number into `Writer::labels` until all steps are written, then the step's own number.
pub(super) type Label = u16;

/// Writes the steps of one route.
pub(super) struct Writer<'w, 'd> {
    pub(super) builder: &'w mut Builder,
    pub(super) asking: Asking<'d>,
    pub(super) rules: &'w mut Rules,
    pub(super) report: &'w mut Report,
    labels: Vec<u16>,
    /// Definitions that are being put in, outermost first.
    within: Vec<&'d str>,
    /// Path variables whose values an earlier `in` of the same list has bounded.
    pub(super) closed: Vec<Closed>,
    /// How many terms were written.
    terms: usize,
    /// The terms of the list that is being written, if they are to be kept.
    outlines: Option<Vec<Outline>>,
    /// Whether what is being written stands or falls with a setting.
    by_settings: bool,
    /// The checks that stand or fall with a setting.
    pub(super) foregone: Vec<usize>,
}

/// A path variable with a closed list of values.
#[derive(Clone)]
pub(super) struct Closed {
    pub(super) variable: Variable,
    pub(super) values: Vec<Box<str>>,
    pub(super) code: u16,
    /// Whether the list is a setting.
    pub(super) by_settings: bool,
}

impl<'w, 'd> Writer<'w, 'd> {
    pub(super) fn new(
        builder: &'w mut Builder,
        asking: Asking<'d>,
        rules: &'w mut Rules,
        report: &'w mut Report,
    ) -> Self {
        let outlines = builder.keeps_origins().then(Vec::new);
        let (labels, within, closed, foregone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (terms, by_settings) = (0, false);
        Self { builder, asking, rules, report, labels, within, closed, terms, outlines, by_settings, foregone }
    }

    /// Writes the whole requirement.
    pub(super) fn whole(&mut self) {
        let requirement = self.asking.requirement;
        self.term(requirement, None);
        self.rules.steps.push(Step::Permit);
        self.rules.outline = self.outlines.take().and_then(|mut whole| whole.pop()).map(Box::new);
        let labels = &self.labels;
        let target = |label: u16| labels.get(usize::from(label)).copied().unwrap_or(u16::MAX);
        for step in &mut self.rules.steps {
            match step {
                Step::Jump(to) | Step::Check { otherwise: Some(to), .. } => *to = target(*to),
                Step::Check { otherwise: None, .. } | Step::Permit => {}
            }
        }
        self.refuse_impossible();
    }

    /// Writes what stands or falls with a setting.
    pub(super) fn decided(&mut self, write: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.by_settings, true);
        write(self);
        self.by_settings = before;
    }

    fn term(&mut self, term: &'d Located<Term>, otherwise: Option<Label>) {
        let place = term.place;
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("the requirement has more than {MAX_TERMS} terms");
            self.report
                .error("too_long", self.asking.requirement.place, message)
                .help("name a right that stands for all of this");
            return;
        }
        let before = self.outlines.as_mut().map(std::mem::take);
        let first = self.rules.steps.len();
        let kind = self.parts(term, otherwise);
        if let (Some(mut before), Some(children)) = (before, self.outlines.take()) {
            let own = matches!(kind, OutlineKind::Check | OutlineKind::Open) && self.rules.steps.len() > first;
            let step = if own { u16::try_from(first).ok() } else { None };
            before.push(Outline { place, text: term.value.to_string(), kind, children, step });
            self.outlines = Some(before);
        }
    }

    /// Writes the steps of a term and says how it is made up.
    fn parts(&mut self, term: &'d Located<Term>, otherwise: Option<Label>) -> OutlineKind {
        let place = term.place;
        match &term.value {
            Term::All(list) => {
                list.iter().for_each(|term| self.term(term, otherwise));
                return OutlineKind::All;
            }
            Term::Any(list) => {
                self.any(list, place, otherwise);
                return OutlineKind::Any;
            }
            Term::Right(written) => match self.definition(written) {
                Some(definition) => {
                    self.put_in(definition, place, otherwise);
                    return OutlineKind::Definition;
                }
                None => self.right(written, place, otherwise),
            },
            Term::Flag(name) => {
                let flag = self.flag(name, place);
                self.check(Check::Flag(flag), otherwise);
            }
            Term::NotFlag(name) => {
                let flag = self.flag(name, place);
                self.builder.warn_of_flag(flag, place, self.report);
                self.check(Check::NotFlag(flag), otherwise);
            }
            Term::UnlessDenied(written) => self.unless_denied(written, place, otherwise),
            Term::When { condition, then, otherwise: instead } => {
                return self.when(condition, then, instead.as_deref(), otherwise);
            }
            Term::Condition { condition, reason } => {
                let code = self.code(reason);
                match condition::fold(condition, self.asking.settings, self.report) {
                    Folded::Known(true) | Folded::Faulty => {}
                    Folded::Known(false) => self.decided(|writer| writer.check(Check::Never { code }, otherwise)),
                    Folded::Bit { of, map, mask } => {
                        self.decided(|writer| writer.bit(of, map, mask, code, otherwise));
                    }
                }
            }
            Term::Compare { comparison, left, right, reason } => {
                self.compare(*comparison, (left, right), reason, place, otherwise);
            }
        }
        OutlineKind::Check
    }

    fn any(&mut self, list: &'d [Located<Term>], place: Place, otherwise: Option<Label>) {
        let Some((last, first)) = list.split_last() else {
            self.report.error("never", place, "`any` of nothing never holds").help("name at least one alternative");
            return;
        };
        let end = self.label();
        let closed = self.closed.len();
        for term in first {
            let next = self.label();
            self.term(term, Some(next));
            self.rules.steps.push(Step::Jump(end));
            self.here(next);
            self.closed.truncate(closed);
        }
        self.term(last, otherwise);
        self.closed.truncate(closed);
        self.here(end);
    }

    fn when(
        &mut self,
        condition: &'d Located<crate::document::routes::Condition>,
        then: &'d Located<Term>,
        instead: Option<&'d Located<Term>>,
        otherwise: Option<Label>,
    ) -> OutlineKind {
        let closed = self.closed.len();
        let kind = match condition::fold(condition, self.asking.settings, self.report) {
            Folded::Known(true) => {
                self.decided(|writer| writer.term(then, otherwise));
                OutlineKind::Settled(true)
            }
            Folded::Known(false) => {
                self.decided(|writer| instead.into_iter().for_each(|term| writer.term(term, otherwise)));
                OutlineKind::Settled(false)
            }
            Folded::Faulty => OutlineKind::Settled(false),
            Folded::Bit { of, map, mask } => {
                let (not, end) = (self.label(), self.label());
                let code = self.number_of_code("condition");
                // With a value that names no bit the condition neither holds nor fails: neither branch would be right.
                self.decided(|writer| {
                    writer.bit(of, map, i64::MAX, code, otherwise);
                    writer.bit(of, map, mask, code, Some(not));
                });
                self.term(then, otherwise);
                self.rules.steps.push(Step::Jump(end));
                self.here(not);
                instead.into_iter().for_each(|term| self.term(term, otherwise));
                self.here(end);
                OutlineKind::Open
            }
        };
        self.closed.truncate(closed);
        kind
    }

    fn definition(&self, name: &str) -> Option<&'d Definition> {
        let of = |list: &'d [Definition]| list.iter().find(|definition| definition.name.value == name);
        self.asking.definitions.iter().find_map(|list| of(list))
    }

    fn put_in(&mut self, definition: &'d Definition, place: Place, otherwise: Option<Label>) {
        let name = definition.name.value.as_str();
        let (circle, deep) = (self.within.contains(&name), self.within.len() >= MAX_DEPTH);
        if circle || deep {
            let (code, message, help) = if circle {
                ("cycle", format!("the definition `{name}` needs itself"), "take it out of itself")
            } else {
                let message = format!("`{name}` stands within more than {MAX_DEPTH} definitions, one in the other");
                ("too_deep", message, "put some of them in where they are named")
            };
            self.report.error(code, place, message).help(help).also(definition.name.place, "defined here");
            return;
        }
        if self.builder.known.iter().any(|right| self.builder.domain.rights.name(*right) == name) {
            let message = format!("`{name}` is both a definition and a right of domain `{}`", self.builder.domain.name);
            self.report.error("ambiguous_name", definition.name.place, message).help("rename the definition");
            return;
        }
        self.within.push(name);
        self.term(&definition.requirement, otherwise);
        self.within.pop();
    }

    fn flag(&mut self, name: &str, place: Place) -> FlagId {
        self.builder.flag(&Located::new(place, name.to_owned()), self.report)
    }

    pub(super) fn code(&mut self, reason: &Located<String>) -> u16 {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if reason.value.is_empty() || reason.value.len() > 64 || !reason.value.chars().all(letters) {
            let message = format!("`{}` is no reason code", reason.value);
            let help = "use lower-case letters, digits and `_`, at most 64";
            self.report.error("bad_name", reason.place, message).help(help);
        }
        self.number_of_code(&reason.value)
    }

    fn number_of_code(&mut self, code: &str) -> u16 {
        let codes = &mut self.rules.codes;
        let number = codes.iter().position(|known| **known == *code).unwrap_or_else(|| {
            codes.push(code.into());
            codes.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    pub(super) fn check(&mut self, check: Check, otherwise: Option<Label>) {
        if self.by_settings || self.is_named_by_setting(&check) {
            self.foregone.push(self.rules.steps.len());
        }
        self.rules.steps.push(Step::Check { check, otherwise });
    }

    fn is_named_by_setting(&self, check: &Check) -> bool {
        let (Check::Right { right, .. } | Check::UnlessDenied { right, .. }) = check else { return false };
        let RightRef::Named { variable, .. } = right else { return false };
        self.closed.iter().any(|closed| closed.variable == *variable && closed.by_settings)
    }

    fn label(&mut self) -> Label {
        self.labels.push(u16::MAX);
        u16::try_from(self.labels.len() - 1).unwrap_or(u16::MAX)
    }

    /// Puts a label at the next step to be written.
    fn here(&mut self, label: Label) {
        let position = u16::try_from(self.rules.steps.len()).unwrap_or(u16::MAX);
        if let Some(slot) = self.labels.get_mut(usize::from(label)) {
            *slot = position;
        }
    }
}
