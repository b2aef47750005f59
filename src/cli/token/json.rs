//! An explanation of a token for programs.

use serde_json::{Map, Value, json};

use super::advice::Advice;
use super::explain::{Admitted, Explanation, Verdict};
use super::revoked::Looked;
use super::text::hint;
use crate::token::{Claim, Fault, Groups, Outcome, Shown};

/// The whole explanation.
pub(super) fn explanation(of: &Explanation<'_>) -> Value {
    let inspection = &of.inspection;
    let (believed, fault) = match of.verdict() {
        Verdict::Believed => (json!(true), None),
        Verdict::NotBelieved(fault) => (json!(false), Some(fault)),
        Verdict::Undecided => (Value::Null, None),
    };
    let caller = inspection.said.as_ref().zip(of.named.as_ref()).map(|(said, named)| {
        json!({
            "tenant": &*said.tenant,
            (named.key): named.name,
            "class": said.class.word(),
            "groups": match &said.groups { Groups::Listed(groups) => json!(groups.len()), Groups::Unknown => Value::Null },
        })
    });
    let steps =
        of.steps.iter().map(|(step, what)| check((step.check.word(), step.check.asks()), step.outcome, what.as_ref()));
    let revoked = check((Looked::WORD, Looked::ASKS), of.revoked.outcome, of.revoked.advice.as_ref());
    json!({
        "good": of.good(),
        "believed": believed,
        "fault": fault.map(Fault::word),
        "hint": hint(of).map(|fault| json!({"fault": fault.word(), "meaning": fault.meaning()})),
        "at": of.at,
        "notes": of.notes,
        "header": members(&inspection.header),
        "claims": members(&inspection.claims),
        "checks": steps.chain([revoked]).collect::<Vec<_>>(),
        "caller": caller,
        "applications": of.admissions.iter().map(application).collect::<Vec<_>>(),
    })
}

fn members(members: &[Claim]) -> Value {
    let value = |shown: &Shown| match shown {
        Shown::Text(text) => json!(text),
        Shown::Texts(texts, all) if texts.len() == *all => json!(texts),
        Shown::Number(number) => json!(number),
        Shown::Truth(truth) => json!(truth),
        Shown::Time(seconds) => json!({"seconds": seconds, "date": shown.to_string()}),
        masked => json!({"masked": masked.to_string()}),
    };
    Value::Object(members.iter().map(|claim| (claim.name.clone(), value(&claim.shown))).collect::<Map<_, _>>())
}

fn check((word, asks): (&str, &str), outcome: Outcome, what: Option<&Advice>) -> Value {
    let (result, fault) = match outcome {
        Outcome::Passed => ("ok", None),
        Outcome::Failed(fault) => ("failed", Some(fault)),
        Outcome::NoKeys => ("not_checked", None),
        Outcome::NotReached => ("not_reached", None),
    };
    json!({
        "check": word,
        "asks": asks,
        "result": result,
        "fault": fault.map(Fault::word),
        "meaning": fault.map(Fault::meaning),
        "advice": what.map(advice),
    })
}

fn advice(what: &Advice) -> Value {
    json!({"text": what.text, "place": what.place})
}

fn application(one: &Admitted<'_>) -> Value {
    let admission = &one.admission;
    let gate: Vec<Value> = admission
        .gate
        .iter()
        .zip(&one.advice)
        .map(|(step, what)| {
            json!({
                "what": step.what.word(), "offered": step.offered, "admitted": step.admitted, "passes": step.passes,
                "advice": what.as_ref().map(advice),
            })
        })
        .collect();
    json!({
        "name": admission.application.name.value,
        "place": one.place,
        "reason": admission.refusal.as_ref().map(|refusal| refusal.code()),
        "gate": gate,
        "principal": admission.caller.as_ref().map(|caller| json!({"id": &*caller.id, "status": caller.status.name()})),
        "advice": one.stranger.as_ref().map(advice),
    })
}
