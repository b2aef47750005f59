//! A request's decision taken apart, for operators: the same path, route and facts as the decision itself had.

use http::request::Parts;

use super::facts::RequestFacts;
use super::{own, target};
use crate::model::PrincipalKey;
use crate::policy::{self, Explanation, Origins};
use crate::route::Access;
use crate::route::canonical::CanonicalPath;
use crate::snapshot::Snapshot;

/// Takes the decision on a request of a principal apart. `origins` are those of the snapshot's domains. `None` where a
/// request never comes to a decision of the policy: its target or query is refused, the gateway itself answers, no route
/// takes it, the route asks for nothing, or nobody knows the principal.
pub fn explain(snapshot: &Snapshot, origins: &[Origins], principal: PrincipalKey, head: &Parts) -> Option<Explanation> {
    let path = CanonicalPath::new(head.uri.path()).ok()?;
    let host = target::host(head).ok()?;
    let application = snapshot.routes.application(&host)?;
    if !matches!(own::answer(application, &host, head), Ok(None)) {
        return None;
    }
    let route = application.route(&path, &head.method)?;
    let Access::Rules(rules) = &route.access else { return None };
    let domain = snapshot.domains.get(application.domain)?;
    let origins = application.domain.of(origins)?;
    let facts = RequestFacts::new(&path, head.uri.query().unwrap_or_default(), &head.headers, rules).ok()?;
    policy::explain(domain, origins, rules, domain.number(principal)?, &facts, route.level(&head.method))
}
