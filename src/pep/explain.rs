//! A request's decision taken apart, for operators: the same path, route and facts as the decision itself had.

use http::request::Parts;

use super::facts::{Body, RequestFacts};
use super::objects::{self, Given, Ready};
use super::{member, own, target};
use crate::policy::{self, Explanation, Origins};
use crate::route::canonical::CanonicalPath;
use crate::route::{Access, Application, Readings};
use crate::snapshot::Snapshot;
use crate::token::Verified;

/// Takes the decision on a request with a verified token, this body and these objects apart. `origins` are those of the snapshot's
/// domains. `None` where a request never comes to a decision of the policy: its target, query or form is refused, the
/// gateway itself answers, no route takes it, the route asks for nothing, or nobody knows the principal. Of a path that
/// the backend may read in several ways the first reading that is denied is taken apart.
pub fn explain(
    snapshot: &Snapshot,
    origins: &[Origins],
    caller: &Verified,
    (head, body, given): (&Parts, Option<&[u8]>, &[Given]),
) -> Option<Explanation> {
    let (host, _) = target::host(head).ok()?;
    let application = snapshot.routes.application(&host)?;
    let readings = Readings::new(head.uri.path(), application.backend).ok()?;
    if !matches!(own::answer(application, &host, head), Ok(None)) {
        return None;
    }
    let body = body.map_or(Body::None, Body::Read);
    let mut first = None;
    for path in readings.iter() {
        let Some(explanation) = of_reading(snapshot, origins, application, (caller, head, body, given), path) else {
            continue;
        };
        if explanation.decision.is_err() {
            return Some(explanation);
        }
        first.get_or_insert(explanation);
    }
    first
}

fn of_reading(
    snapshot: &Snapshot,
    origins: &[Origins],
    application: &Application,
    (caller, head, body, given): (&Verified, &Parts, Body<'_>, &[Given]),
    path: &CanonicalPath<'_>,
) -> Option<Explanation> {
    let route = application.route(path, &head.method)?;
    let Access::Rules(rules) = &route.access else { return None };
    let domain = snapshot.domains.get(application.domain)?;
    let origins = application.domain.of(origins)?;
    let number = domain.number(caller.principal)?;
    let member = member(domain, domain.principals().get(number)?, caller);
    let facts = RequestFacts::take(path, head, body, (rules, application.backend), member).ok()??;
    // Without what has to be looked up, the denial for that is what is taken apart.
    let facts = match objects::supply((domain, rules, member), facts.clone(), given) {
        Ready::Yes(facts) => facts,
        Ready::Wants(_) => facts,
    };
    Some(policy::explain(domain, origins, rules, (number, member), &facts, route.level(&head.method)))
}
