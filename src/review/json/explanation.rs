//! An explanation as one object.

use serde_json::{Value, json};

use super::{effect, held};
use crate::diag::{Place, Report};
use crate::model::shadow::InShadow;
use crate::pep::Answer;
use crate::policy::{Considered, Domain, OutlineKind, TermSeen};
use crate::review::{Change, Explained, Remedy, Request};

/// The whole explanation. `report` knows the texts that the policy was made of.
pub fn explanation(report: &Report, request: &Request, explained: &Explained<'_>) -> Value {
    let refusal = explained.tried.refusal.as_ref();
    let application = explained
        .application
        .map(|application| json!({"name": application.name.value, "place": place(report, application.name.place)}));
    let route = explained
        .route
        .map(|route| json!({"id": route.id.value, "path": route.path.value, "place": place(report, route.id.place)}));
    let gate: Vec<Value> = explained.gate.iter().map(|step| {
        json!({"what": step.what.word(), "offered": step.offered, "admitted": step.admitted, "passes": step.passes})
    }).collect();
    let principal = explained.caller.as_ref().map(|caller| {
        json!({
            "id": &*caller.id,
            "place": place(report, caller.place),
            "status": caller.status.name(),
            "inactive_through": names(&caller.inactive_through),
            "groups": names(&caller.groups),
            "groups_by_token": names(&caller.groups_by_token),
            "flags": caller.flags,
        })
    });
    let apart = explained.apart.as_ref().zip(explained.domain);
    json!({
        "request": request.line(),
        "headers": request.headers,
        "form": request.form,
        "as": request.by(),
        "decision": if refusal.is_some() { "deny" } else { "allow" },
        "mode": explained.tried.grounds.mode.word(),
        "forwarded": match explained.tried.watched() {
            None => refusal.is_none() && explained.tried.answer.is_none(),
            Some(in_shadow) => in_shadow != InShadow::Refused,
        },
        "reason": refusal.map(|refusal| refusal.full_code()),
        "status": refusal.map(|refusal| refusal.reason.status()),
        "answer": explained.tried.answer.as_ref().map(Answer::word),
        "application": application,
        "route": route,
        "gate": gate,
        "principal": principal,
        "object": apart.and_then(|(apart, _)| apart.object.as_ref()).map(|seen| {
            json!({"name": seen.name, "known": seen.known, "looked_up": seen.looked_up, "needs": seen.needs})
        }),
        "scopes": apart.map(|(apart, domain)| apart.scopes.iter().map(|scope| json!({
            "name": scope.name,
            "said": scope.places.iter().map(|said| said.as_ref().map_or_else(|reason| json!({"unclear": reason.code()}), |values| json!(values))).collect::<Vec<_>>(),
            "nodes": scope.nodes.as_ref().map(|nodes| nodes.iter().map(|node| domain.scope_name(*node)).collect::<Vec<_>>()),
        })).collect::<Vec<_>>()),
        "requirement": apart.and_then(|(apart, domain)| Some(term(report, domain, apart.requirement.as_ref()?))),
        "remedies": explained.remedies.iter().map(|found| remedy(report, found)).collect::<Vec<_>>(),
    })
}

fn place(report: &Report, place: Place) -> Value {
    let location = report.locate(place);
    json!({"file": &*location.file, "line": location.line, "column": location.column})
}

fn names(names: &[std::sync::Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn term(report: &Report, domain: &Domain, seen: &TermSeen) -> Value {
    let kind = match seen.kind {
        OutlineKind::All => "all",
        OutlineKind::Any => "any",
        OutlineKind::Definition => "definition",
        OutlineKind::Settled(_) | OutlineKind::Open => "when",
        OutlineKind::Check => "check",
    };
    json!({
        "term": seen.text,
        "kind": kind,
        "holds": seen.holds,
        "reached": seen.reached,
        "place": place(report, seen.place),
        "rights": seen.rights.iter().map(|right| considered(report, domain, right)).collect::<Vec<_>>(),
        "terms": seen.children.iter().map(|child| term(report, domain, child)).collect::<Vec<_>>(),
    })
}

fn considered(report: &Report, domain: &Domain, seen: &Considered) -> Value {
    let sources: Vec<Value> = seen.sources.iter().map(|source| {
        let grants: Vec<Value> = source.grants.iter().map(|grant| json!({
            "right": domain.right_name(grant.origin.right),
            "effect": effect(grant.effect),
            "at": domain.scope_name(grant.at),
            "role": grant.origin.role.as_deref(),
            "via": grant.via.map(|via| domain.right_name(via)),
            "counts": grant.counts,
            "decides": grant.decides && source.decides,
            "place": place(report, grant.origin.place),
        })).collect();
        json!({"group": source.group.as_deref(), "held": held(source.held), "decides": source.decides, "grants": grants})
    }).collect();
    json!({
        "right": domain.right_name(seen.right),
        "at": domain.scope_name(seen.scope),
        "within": domain.within().name(),
        "across": domain.across().name(),
        "sources": sources,
        "together": held(seen.together),
        "cap": seen.cap.map(|(flag, level)| json!({"flag": domain.flag_name(flag), "level": level.name()})),
        "held": held(seen.held),
    })
}

fn remedy(report: &Report, found: &Remedy) -> Value {
    let at = match &found.change {
        Change::Withdraw { place: at, .. } => Some(place(report, *at)),
        _ => None,
    };
    json!({"kind": found.change.kind(), "change": found.change.to_string(), "place": at, "then": found.then})
}
