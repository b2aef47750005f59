//! Conditions on settings. Settings do not change while a snapshot lives, so most conditions are decided at load.

use crate::diag::{Place, Report, suggest};
use crate::document::routes::{Condition, SettingTest};
use crate::document::{Literal, Located};

/// What became of a condition at load.
#[derive(Debug)]
pub(super) enum Folded<'d> {
    /// It is decided.
    Known(bool),
    /// It depends on the request: a bit of this mask, named by the value of an operand.
    Bit { of: &'d Located<String>, map: &'d [(Located<String>, Located<i64>)], mask: i64 },
    /// It could not be resolved; a fault was reported.
    Faulty,
}

/// The settings of one file.
pub(super) type Settings<'d> = &'d [(Located<String>, Literal)];

/// Decides a condition as far as settings can.
pub(super) fn fold<'d>(condition: &'d Located<Condition>, settings: Settings<'_>, report: &mut Report) -> Folded<'d> {
    match &condition.value {
        Condition::All(list) => several(list, settings, false, report),
        Condition::Any(list) => several(list, settings, true, report),
        Condition::Setting { name, test } => {
            let Some(value) = find(&name.value, name.place, settings, report) else { return Folded::Faulty };
            one(test, name, value, report)
        }
    }
}

/// The value of a setting, or a report that there is none.
pub(super) fn find<'s>(name: &str, place: Place, settings: Settings<'s>, report: &mut Report) -> Option<&'s Literal> {
    let found = settings.iter().find(|(known, _)| known.value == name).map(|(_, value)| value);
    if found.is_none() {
        let near = suggest(name, settings.iter().map(|(known, _)| known.value.as_str()));
        let help = near.map_or_else(
            || "declare it under `settings:` at the top of this file".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        report.error("unknown_setting", place, format!("there is no setting `{name}`")).help(help);
    }
    found
}

/// A list of conditions: `decisive` is the value that settles it (true for `any`, false for a list of all).
fn several<'d>(
    list: &'d [Located<Condition>],
    settings: Settings<'_>,
    decisive: bool,
    report: &mut Report,
) -> Folded<'d> {
    let mut open = None;
    let mut settled = false;
    let mut faulty = false;
    for condition in list {
        match fold(condition, settings, report) {
            Folded::Known(value) => settled |= value == decisive,
            Folded::Faulty => faulty = true,
            bit @ Folded::Bit { .. } => {
                if open.is_some() {
                    let message = "at most one condition of a list may depend on the request";
                    report.error("unsupported", condition.place, message).help("write two terms");
                    faulty = true;
                }
                open = Some(bit);
            }
        }
    }
    match (faulty, settled, open) {
        (true, _, _) => Folded::Faulty,
        (false, true, _) => Folded::Known(decisive),
        (false, false, Some(open)) => open,
        (false, false, None) => Folded::Known(!decisive),
    }
}

fn one<'d>(test: &'d SettingTest, name: &Located<String>, value: &Literal, report: &mut Report) -> Folded<'d> {
    let mut not = |what: &str| {
        let message = format!("the setting `{}` is no {what}", name.value);
        report.error("wrong_type", name.place, message).help("add `is:` or `bit:`, or change the setting");
        Folded::Faulty
    };
    match (test, value) {
        (SettingTest::True, Literal::Bool(value)) => Folded::Known(*value),
        (SettingTest::True, _) => not("boolean"),
        (SettingTest::Is(wanted), value) => Folded::Known(wanted.value == *value),
        (SettingTest::Bit(bit), Literal::Int(value)) => Folded::Known(value & bit.value != 0),
        (SettingTest::BitOf { of, map }, Literal::Int(mask)) => Folded::Bit { of, map, mask: *mask },
        (SettingTest::Bit(_) | SettingTest::BitOf { .. }, _) => not("whole number"),
    }
}
