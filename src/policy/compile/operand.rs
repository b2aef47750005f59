//! Comparisons and bit tests: what their two sides refer to. A slip of the pen that would turn a reference into a
//! constant, and so a comparison into a foregone one, is a fault.

use super::condition;
use super::requirement::{Closed, Label, Writer};
use super::rules::{form_name, header_name, query_name};
use crate::diag::{Place, suggest};
use crate::document::routes::Comparison;
use crate::document::{Literal, Located};
use crate::policy::rules::{Check, Operand};

/// The words that references begin with.
const REFERENCES: [&str; 7] = ["path", "query", "form", "header", "object", "setting", "principal"];

/// Whether a constant is a reference to something in the request or the settings.
fn is_reference(literal: &Literal) -> bool {
    let Literal::Text(text) = literal else { return false };
    let known = |text: &str| text.split_once('.').is_some_and(|(word, _)| REFERENCES.contains(&word));
    known(text) || text.strip_prefix("count(").is_some_and(known)
}

/// Whether a constant is a reference to a setting.
fn is_setting(literal: &Literal) -> bool {
    matches!(literal, Literal::Text(text) if text.starts_with("setting."))
}

/// Whether a word is one of the references but for case or a slip of the pen.
fn nearly(word: &str, known: &str) -> bool {
    suggest(&word.to_ascii_lowercase(), std::iter::once(known)).is_some()
}

impl Writer<'_, '_> {
    pub(super) fn compare(
        &mut self,
        comparison: Comparison,
        (left, right): (&Located<Literal>, &Located<Literal>),
        reason: &Located<String>,
        place: Place,
        otherwise: Option<Label>,
    ) {
        let code = self.code(reason);
        if !is_reference(&left.value) && !is_reference(&right.value) {
            let message = "this compares two constants";
            self.report.error("constant", place, message).help("one side is `path.NAME`, `query.NAME` or the like");
            return;
        }
        let (Some(left_side), Some(right_side)) = (self.operand(left), self.operand(right)) else { return };
        if matches!(comparison, Comparison::In | Comparison::NotIn) {
            match &right_side {
                Operand::Constant(Literal::List(list)) => {
                    if let (Comparison::In, Operand::Path(variable)) = (comparison, &left_side) {
                        let values = list.iter().flat_map(super::scalars).map(String::into_boxed_str).collect();
                        let by_settings = is_setting(&right.value);
                        self.closed.push(Closed { variable: *variable, values, code, by_settings });
                    }
                }
                Operand::Object(_) => {}
                _ => {
                    let help = "the second operand is a list, a setting with a list, or an object's attribute";
                    self.report.error("wrong_type", right.place, "this is no list").help(help);
                    return;
                }
            }
        }
        let check = Check::Compare { comparison, left: left_side, right: right_side, code };
        if is_setting(&left.value) || is_setting(&right.value) {
            self.decided(|writer| writer.check(check, otherwise));
        } else {
            self.check(check, otherwise);
        }
    }

    fn operand(&mut self, written: &Located<Literal>) -> Option<Operand> {
        let Literal::Text(text) = &written.value else { return Some(Operand::Constant(written.value.clone())) };
        let report = &mut *self.report;
        if let Some(inner) = text.strip_prefix("count(").and_then(|inner| inner.strip_suffix(')')) {
            let Some(name) = inner.strip_prefix("object.") else {
                let message = format!("`{inner}` cannot be counted");
                report.error("bad_reference", written.place, message).help("write `count(object.NAME)`");
                return None;
            };
            return self.builder.attribute(name, written, &self.asking, report).map(Operand::Count);
        }
        match text.split_once('.') {
            Some(("path", name)) => self.asking.variable(name, written, report).map(Operand::Path),
            Some(("query", name)) => Some(Operand::Query(query_name(name, self.rules))),
            Some(("form", name)) => Some(Operand::Form(form_name(name, self.rules))),
            Some(("header", name)) => header_name(name, written, self.rules, report).map(Operand::Header),
            Some(("object", name)) => self.builder.attribute(name, written, &self.asking, report).map(Operand::Object),
            Some(("setting", name)) => {
                let value = condition::find(name, written.place, self.asking.settings, report)?;
                Some(Operand::Constant(value.clone()))
            }
            Some(("principal", "id")) => Some(Operand::PrincipalId),
            Some((word, _)) => match REFERENCES.iter().find(|known| nearly(word, known)) {
                Some(meant) => {
                    let message = format!("`{text}` refers to nothing");
                    report.error("bad_reference", written.place, message).help(format!("did you mean `{meant}.`?"));
                    None
                }
                None => Some(Operand::Constant(written.value.clone())),
            },
            None => Some(Operand::Constant(written.value.clone())),
        }
    }

    pub(super) fn bit(
        &mut self,
        of: &Located<String>,
        map: &[(Located<String>, Located<i64>)],
        mask: i64,
        code: u16,
        otherwise: Option<Label>,
    ) {
        let Some(operand) = self.operand(&Located::new(of.place, Literal::Text(of.value.clone()))) else { return };
        let bits = map.iter().map(|(name, bit)| (Literal::Text(name.value.clone()), bit.value)).collect();
        self.check(Check::Bit { of: operand, bits, mask, code }, otherwise);
    }
}
