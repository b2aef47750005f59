//! An explanation of a token as people read it.

use std::fmt::Write as _;

use super::advice::{Advice, Named, shown};
use super::explain::{Admitted, Explanation, Verdict, mark};
use super::revoked::Looked;
use crate::token::{Claim, Class, Fault, Groups, Outcome, Shown, Verified};

/// The whole explanation. Writing to a `String` cannot fail, so results of `write!` are dropped here.
pub(super) fn explanation(of: &Explanation<'_>) -> String {
    let mut out = String::new();
    outcome(&mut out, of);
    for note in &of.notes {
        let _ = writeln!(out, "note: {note}");
    }
    members(&mut out, "header", &of.inspection.header, of.at);
    members(&mut out, "claims", &of.inspection.claims, of.at);
    let _ = writeln!(out, "\nchecks at {}", Shown::Time(of.at));
    for (step, what) in &of.steps {
        check(&mut out, step.check.asks(), step.outcome, what.as_ref());
    }
    check(&mut out, Looked::ASKS, of.revoked.outcome, of.revoked.advice.as_ref());
    if let Some((said, named)) = of.inspection.said.as_ref().zip(of.named.as_ref()) {
        let _ = writeln!(out, "\ncaller  {}", caller(said, named));
    }
    of.admissions.iter().for_each(|one| application(&mut out, one, of.verdict() == Verdict::Believed));
    out
}

fn check(out: &mut String, asks: &str, outcome: Outcome, what: Option<&Advice>) {
    let after = match outcome {
        Outcome::Passed => String::new(),
        Outcome::Failed(fault) => format!(": {}", fault.word()),
        Outcome::NoKeys => ": not checked: no keys offline".to_owned(),
        Outcome::NotReached => ": not reached".to_owned(),
    };
    let _ = writeln!(out, "  {} {asks}{after}", mark(outcome));
    if let Outcome::Failed(fault) = outcome {
        let _ = writeln!(out, "      {}", fault.meaning());
    }
    advice(out, what);
}

fn outcome(out: &mut String, of: &Explanation<'_>) {
    let stranger_to = of.admissions.iter().find(|one| of.asked && one.admission.caller.is_none());
    let _ = match (of.verdict(), stranger_to) {
        (Verdict::Believed, _) if !of.good() => writeln!(out, "believed, but the gate does not let it in"),
        (Verdict::Believed, Some(one)) => {
            writeln!(out, "believed, but unknown to the grants of {}", one.admission.application.name.value)
        }
        (Verdict::Believed, None) => writeln!(out, "believed"),
        (Verdict::NotBelieved(fault), _) => writeln!(out, "not believed: {}", fault.word()),
        (Verdict::Undecided, _) => writeln!(out, "not decided: there are no keys offline to check the signature with"),
    };
    if let Some(fault) = hint(of) {
        let _ = writeln!(out, "hint: {}", fault.meaning());
    }
}

/// What kind of token people bring in place of an access token, where another fault may come first.
pub(super) fn hint(of: &Explanation<'_>) -> Option<Fault> {
    let id_token = of.steps.iter().any(|(step, _)| step.outcome == Outcome::Failed(Fault::IdToken));
    if of.inspection.for_graph { Some(Fault::GraphToken) } else { id_token.then_some(Fault::IdToken) }
}

fn members(out: &mut String, title: &str, members: &[Claim], at: u64) {
    if members.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    let width = members.iter().map(|claim| claim.name.chars().count()).max().unwrap_or(0).min(20);
    for Claim { name, shown } in members {
        let age = match shown {
            Shown::Time(seconds) => format!(" ({})", age(*seconds, at)),
            _ => String::new(),
        };
        let _ = writeln!(out, "  {name:<width$}  {shown}{age}");
    }
}

/// How far a moment is away.
pub(super) fn age(seconds: u64, at: u64) -> String {
    let apart = seconds.abs_diff(at);
    let length = match apart {
        0..120 => format!("{apart} s"),
        120..7200 => format!("{} min", apart / 60),
        7200..172_800 => format!("{} h", apart / 3600),
        _ => format!("{} days", apart / 86_400),
    };
    if seconds > at { format!("in {length}") } else { format!("{length} ago") }
}

fn advice(out: &mut String, what: Option<&Advice>) {
    if let Some(Advice { text, place }) = what {
        let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
        let _ = writeln!(out, "      {place}{text}");
    }
}

/// Who asks, with the tenant and the name that grants know it by.
fn caller(said: &Verified, named: &Named) -> String {
    let class = match said.class {
        Class::User => "user",
        Class::App => "application",
    };
    let groups = match &said.groups {
        Groups::Listed(groups) => format!("{} groups", groups.len()),
        Groups::Unknown => "more groups than fit into a token".to_owned(),
    };
    format!("{class}, tenant {}, {} {}, {groups}", said.tenant, named.key, named.shown())
}

fn application(out: &mut String, one: &Admitted<'_>, believed: bool) {
    let admission = &one.admission;
    let says = match &admission.refusal {
        Some(refusal) => refusal.code(),
        None if believed => "the gate lets it in",
        None => "the gate would let it in",
    };
    let _ = writeln!(out, "\napplication {}: {says}  {}", admission.application.name.value, one.place);
    for (step, what) in admission.gate.iter().zip(&one.advice) {
        let mark = if step.passes { "✓" } else { "✗" };
        let _ = writeln!(out, "  {mark} {} {}", step.what.word(), shown(&step.offered));
        advice(out, what.as_ref());
    }
    match &admission.caller {
        Some(caller) => {
            let _ = writeln!(out, "  ✓ principal {}, {}", caller.id, caller.status.name());
        }
        None => {
            let _ = writeln!(out, "  ✗ principal unknown");
            advice(out, one.stranger.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_in_time_is_rounded_to_what_people_say() {
        for (seconds, expected) in [
            (1000, "0 s ago"),
            (941, "59 s ago"),
            (1060, "in 60 s"),
            (1000 + 3600, "in 60 min"),
            (1000 + 7200, "in 2 h"),
            (1000 + 172_800, "in 2 days"),
        ] {
            assert_eq!(age(seconds, 1000), expected);
        }
    }
}
