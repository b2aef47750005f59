//! Enforcement, pure: turns a request head into a permission or a refusal. One synchronous function of the snapshot,
//! the head and the time; it reads no clock, opens no socket and waits for no lock.

mod credentials;
mod explain;
mod facts;
mod permit;
mod refusal;
mod target;

use std::sync::Arc;

use http::request::Parts;

use crate::model::Reason;
use crate::policy::{Claimed, Domain, Member, Principal, decide, held_scopes};
use crate::route::canonical::{self, CanonicalPath};
use crate::route::{Access, Application, Gate, Route};
use crate::snapshot::Snapshot;
use crate::token::{Groups, Verified, Verifier};

pub use explain::explain;
pub use facts::RequestFacts;
pub use permit::{Grounds, Permitted};
pub use refusal::Refusal;

/// What a 405 of the gateway itself names in `Allow`.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What came of judging a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass.
    Permitted(Permitted),
    /// It may not.
    Refused {
        /// The head as it came, for the answer's sake.
        head: Parts,
        /// Why not.
        refusal: Refusal,
        /// What is known of it so far.
        grounds: Grounds,
    },
}

/// Judges one request head at `now` (seconds since the Unix epoch). `verifier` only remembers: what it answers depends
/// on nothing but the token, the snapshot's keys and `now`.
pub fn authorize(snapshot: &Arc<Snapshot>, verifier: &Verifier, mut head: Parts, now: u64) -> Verdict {
    let mut grounds = Grounds::none(snapshot);
    let identify = |head: &Parts| {
        let token = credentials::bearer(&head.headers).map_err(Refusal::of)?;
        credentials::only_one(head).map_err(Refusal::of)?;
        Ok(verifier.verify(token, &snapshot.keys, now)?)
    };
    let judged = judge(snapshot, identify, &head, &mut grounds).and_then(|()| target::settle(&mut head));
    match judged {
        Ok(()) => Verdict::Permitted(Permitted::new(head, grounds)),
        Err(refusal) => Verdict::Refused { head, refusal, grounds },
    }
}

/// Judges a request head as if a verified token said who asks, or as if there was no token. For operators' tools and
/// tests of policies: it takes the steps of [`authorize`], but its answer lets nothing through.
pub fn simulate(
    snapshot: &Arc<Snapshot>,
    caller: Option<&Arc<Verified>>,
    mut head: Parts,
) -> (Grounds, Result<(), Refusal>) {
    let mut grounds = Grounds::none(snapshot);
    let identify = |head: &Parts| {
        let caller = caller.ok_or_else(|| Refusal::of(Reason::NoToken))?;
        credentials::only_one(head).map_err(Refusal::of)?;
        Ok(Arc::clone(caller))
    };
    let judged = judge(snapshot, identify, &head, &mut grounds).and_then(|()| target::settle(&mut head));
    (grounds, judged)
}

/// The nine steps, in their order. The first that fails is the answer, so strangers learn nothing that later ones know.
fn judge(
    snapshot: &Snapshot,
    identify: impl FnOnce(&Parts) -> Result<Arc<Verified>, Refusal>,
    head: &Parts,
    grounds: &mut Grounds,
) -> Result<(), Refusal> {
    // 1. one canonical form
    if canonical::is_forbidden(&head.method) {
        return Err(Refusal::of(Reason::MethodForbidden).allowing(FORWARDED_METHODS));
    }
    let bad_target = |bad: canonical::BadTarget| Refusal::about(Reason::BadTarget, bad.0);
    canonical::check_target(&head.uri).map_err(bad_target)?;
    let path = CanonicalPath::new(head.uri.path()).map_err(bad_target)?;
    let host = target::host(head)?;
    target::check_framing(head)?;

    // 2. application and route
    let application = snapshot.routes.application(&host).ok_or_else(|| Refusal::of(Reason::NoApplication))?;
    grounds.application = Some(Arc::clone(application));
    let route = application.route(&path, &head.method);
    grounds.route = route.map(|route| Arc::clone(&route.id));

    // 3. public routes ask for nothing
    if let Some(Route { access: Access::Public, .. }) = route {
        return Ok(());
    }

    // 4. a token, and only then whether there is a route at all
    let verified = identify(head)?;
    let verified: &Verified = grounds.token.insert(verified);
    let route = route.ok_or_else(|| no_route(application, &path))?;

    // 5. the gate
    gate(&application.gate, verified)?;
    let rules = match &route.access {
        Access::Public | Access::GateOnly => return Ok(()),
        Access::Rules(rules) => rules,
    };

    // 6. the principal
    let domain = snapshot.domains.get(application.domain).ok_or_else(|| Refusal::of(Reason::Internal))?;
    let stranger = || Refusal::about(Reason::PrincipalUnknown, &verified.principal.object.to_string());
    let principal = domain.principal(verified.principal).ok_or_else(stranger)?;
    grounds.principal = Some(Arc::clone(&principal.id));
    let member = member(domain, principal, verified);

    // 7. and 8. scopes and requirement
    let query = head.uri.query().unwrap_or_default();
    let facts = RequestFacts::new(&path, query, &head.headers, rules).map_err(bad_target)?;
    let level = route.level(&head.method);
    decide(domain, rules, member, &facts, level).map_err(|denial| Refusal::denied(&denial, domain, rules))?;

    // what the backend is told beside the permission
    let told = application.identity_headers;
    if told.groups {
        grounds.groups = Some(domain.group_names(member));
    }
    if told.scopes {
        grounds.scopes = held_scopes(domain, rules, member, &facts, level);
    }
    Ok(())
    // 9. the caller wraps the head into a `Permitted`
}

/// A principal of a domain, with the groups that its token brings where the domain says so.
pub fn member<'d>(domain: &'d Domain, principal: &'d Principal, token: &Verified) -> Member<'d> {
    let groups = match &token.groups {
        Groups::Listed(groups) => Some(&**groups),
        Groups::Unknown => None,
    };
    domain.member(principal, Claimed { groups, roles: &token.roles })
}

fn no_route(application: &Application, path: &CanonicalPath<'_>) -> Refusal {
    let methods = application.methods(path);
    if methods.is_empty() {
        Refusal::of(Reason::NoRoute)
    } else {
        Refusal::about(Reason::NoRouteMethod, "method").allowing(&methods.join(", "))
    }
}

fn gate(gate: &Gate, token: &Verified) -> Result<(), Refusal> {
    let any = |asked: &[Box<str>], held: &[Box<str>]| asked.iter().any(|name| held.contains(name));
    if !gate.tenants.contains(&token.principal.tenant) {
        return Err(Refusal::about(Reason::GateTenant, &token.tenant));
    }
    if !any(&gate.audiences, &token.audiences) {
        return Err(Refusal::about(Reason::GateAudience, &offered(&token.audiences)));
    }
    if !gate.app_roles.is_empty() && !any(&gate.app_roles, &token.roles) {
        return Err(Refusal::about(Reason::GateAppRole, &offered(&token.roles)));
    }
    Ok(())
}

/// What a token offered instead, for whoever has to mend it: no more than fits on a log line.
fn offered(names: &[Box<str>]) -> String {
    names.join(",").chars().take(200).collect()
}
