//! A request's decision taken apart, for operators: the same path, route and facts as the decision itself had.

use http::request::Parts;

use super::facts::RequestFacts;
use super::{member, own, target};
use crate::policy::{self, Explanation, Origins};
use crate::route::canonical::CanonicalPath;
use crate::route::{Access, Application, Readings};
use crate::snapshot::Snapshot;
use crate::token::Verified;

/// Takes the decision on a request with a verified token apart. `origins` are those of the snapshot's domains. `None` where
/// a request never comes to a decision of the policy: its target or query is refused, the gateway itself answers, no route
/// takes it, the route asks for nothing, or nobody knows the principal. Of a path that the backend may read in several ways
/// the first reading that is denied is taken apart.
pub fn explain(snapshot: &Snapshot, origins: &[Origins], caller: &Verified, head: &Parts) -> Option<Explanation> {
    let host = target::host(head).ok()?;
    let application = snapshot.routes.application(&host)?;
    let readings = Readings::new(head.uri.path(), application.backend).ok()?;
    if !matches!(own::answer(application, &host, head), Ok(None)) {
        return None;
    }
    let mut first = None;
    for path in readings.iter() {
        let Some(explanation) = of_reading(snapshot, origins, application, (caller, head), path) else { continue };
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
    (caller, head): (&Verified, &Parts),
    path: &CanonicalPath<'_>,
) -> Option<Explanation> {
    let route = application.route(path, &head.method)?;
    let Access::Rules(rules) = &route.access else { return None };
    let domain = snapshot.domains.get(application.domain)?;
    let origins = application.domain.of(origins)?;
    let facts = RequestFacts::new(path, head.uri.query().unwrap_or_default(), &head.headers, rules).ok()?;
    let number = domain.number(caller.principal)?;
    let member = member(domain, domain.principals().get(number)?, caller);
    Some(policy::explain(domain, origins, rules, (number, member), &facts, route.level(&head.method)))
}
