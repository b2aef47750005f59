//! Reads `reload` of gateway.yaml.

use super::{Field, wrong};
use crate::diag::Report;
use crate::document::gateway::{GateDocument, ReloadDocument};
use crate::document::parse::Shape;

const OFF: &str = "off";

pub(super) fn reload(section: Field<'_>, report: &mut Report) -> ReloadDocument {
    let [gate, history, last_good] = section.section("`reload`", ["gate", "history", "last_good"], report);
    ReloadDocument {
        gate: self::gate(gate, report),
        history: usize::try_from(history.number(10, 0..=100, report)).unwrap_or(0),
        last_good: last_good.text(report),
    }
}

fn gate(section: Field<'_>, report: &mut Report) -> GateDocument {
    if is_off(section) {
        return GateDocument { gain: None, lose: None, few: 0, public_routes: false, applications_gone: false };
    }
    let keys = ["gain", "lose", "few", "public_routes", "applications_gone"];
    let [gain, lose, few, public_routes, applications_gone] = section.section("`reload.gate`", keys, report);
    GateDocument {
        gain: share(gain, report),
        lose: share(lose, report),
        few: usize::try_from(few.number(10, 0..=100_000_000, report)).unwrap_or(usize::MAX),
        public_routes: holds(public_routes, report),
        applications_gone: holds(applications_gone, report),
    }
}

fn is_off(field: Field<'_>) -> bool {
    field.node.is_some_and(|node| matches!(node.shape(), Shape::Scalar { text, .. } if **text == *OFF))
}

/// `20%`, or `off`.
fn share(field: Field<'_>, report: &mut Report) -> Option<u8> {
    let Some(node) = field.node else { return Some(20) };
    if is_off(field) {
        return None;
    }
    let percent = match node.shape() {
        Shape::Scalar { text, .. } => text.strip_suffix('%').and_then(|number| number.parse().ok()),
        Shape::List(_) | Shape::Map(_) => None,
    };
    let percent = percent.filter(|percent: &u8| *percent <= 100);
    if percent.is_none() {
        wrong(node, format_args!("`{}`", field.key), "a share such as `20%`, or `off`", report);
    }
    percent.or(Some(0))
}

/// `hold`, or `off`.
fn holds(field: Field<'_>, report: &mut Report) -> bool {
    if field.node.is_none() {
        return true;
    }
    field.choice(&[("hold", true), (OFF, false)], report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read_gateway;

    fn read(reload: &str) -> (Option<ReloadDocument>, String) {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: a}}]\nroutes: [r]\ngrants: [g]\n{reload}");
        let source = report.add_source("gateway.yaml", text);
        let document = read_gateway(source, &mut report);
        (document.map(|document| document.reload).filter(|_| !report.has_errors()), report.render())
    }

    #[test]
    fn each_part_of_the_gate_has_a_default_and_can_be_off() {
        let usual =
            GateDocument { gain: Some(20), lose: Some(20), few: 10, public_routes: true, applications_gone: true };
        let off = GateDocument { gain: None, lose: None, few: 0, public_routes: false, applications_gone: false };
        let cases = [
            ("", usual),
            ("reload: {}", usual),
            ("reload: {gate: off}", off),
            (
                "reload: {gate: {gain: 5%, lose: off, few: 0}}",
                GateDocument { gain: Some(5), lose: None, few: 0, ..usual },
            ),
            (
                "reload: {gate: {public_routes: off, applications_gone: hold}}",
                GateDocument { public_routes: false, ..usual },
            ),
            ("reload: {gate: {gain: 100%, lose: \"0%\"}}", GateDocument { gain: Some(100), lose: Some(0), ..usual }),
        ];
        for (text, expected) in cases {
            let (document, report) = read(text);
            assert_eq!(document.unwrap_or_else(|| panic!("{text}: {report}")).gate, expected, "{text}");
        }
    }

    #[test]
    fn ten_policies_are_kept_unless_another_number_is_written() {
        for (text, expected) in [("", 10), ("reload: {history: 0}", 0), ("reload: {history: 100}", 100)] {
            assert_eq!(read(text).0.unwrap().history, expected, "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, told) in [
            ("reload: {gate: on}", "gate`"),
            ("reload: {gate: {gain: 20}}", "such as `20%`"),
            ("reload: {gate: {gain: 101%}}", "such as `20%`"),
            ("reload: {gate: {lose: -1%}}", "such as `20%`"),
            ("reload: {gate: {public_routes: yes}}", "hold"),
            ("reload: {gates: off}", "gates"),
            ("reload: {history: 101}", "history"),
            ("reload: {history: -1}", "history"),
            ("reload: {history: off}", "history"),
        ] {
            let (document, report) = read(text);
            assert!(document.is_none() && report.contains(told), "{text}: {report}");
        }
    }
}
