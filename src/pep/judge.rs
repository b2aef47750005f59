//! The nine steps in which a request is judged, in their order, and what each of them asks.

use std::sync::Arc;

use http::request::Parts;

use super::facts::{Body, RequestFacts};
use super::objects::{self, Given, Ready, Wanted};
use super::permit::Grounds;
use super::sought::Seen;
use super::{Answer, Carrier, Environment, FORWARDED_METHODS, Refusal, origin, own, target, websocket};
use crate::model::Reason;
use crate::policy::{Claimed, Domain, Member, Principal, decide, held_scopes};
use crate::route::canonical::{self, CanonicalPath};
use crate::route::host::Host;
use crate::route::upstream::Protocol;
use crate::route::{Access, Application, Gate, Mode, Readings, Route, query};
use crate::snapshot::Snapshot;
use crate::token::{Groups, Verified};

/// What judging came to, where it is no refusal.
pub(super) enum Outcome {
    /// It may pass.
    Permitted,
    /// The gateway itself answers.
    Answered(Answer),
    /// The form in its body has to be read first.
    FormNeeded,
    /// The object that it is about has to be looked up first.
    ObjectNeeded(Wanted),
    /// Its token has to be verified first.
    Unverified,
}

/// When to ask again where grants are too old, in seconds: the gateway tries to read them every few seconds.
const STALE: u64 = 10;

/// The nine steps, in their order. The first that fails is the answer, so strangers learn nothing that later ones know.
/// A path that the backend may read in several ways is routed and decided on once for each, and every answer must be
/// yes. `identify` says who asks, if that is known already, `current` whether that still holds, `connection` what the request came on,
/// `given` what was looked up of objects.
pub(super) fn judge(
    snapshot: &Snapshot,
    (identify, current): (
        impl FnOnce(&Parts, &Application, &Host<'_>) -> Result<Option<(Arc<Verified>, Carrier)>, Refusal>,
        impl FnOnce(&Verified) -> Result<(), Refusal>,
    ),
    connection: Option<Environment<'_>>,
    (head, body, given): (&Parts, Body<'_>, &[Given]),
    grounds: &mut Grounds,
) -> Result<Outcome, Refusal> {
    // 1. one canonical form
    if canonical::is_forbidden(&head.method) {
        return Err(Refusal::of(Reason::MethodForbidden).allowing(FORWARDED_METHODS));
    }
    let bad_target = |bad: canonical::BadTarget| Refusal::about(Reason::BadTarget, bad.0);
    canonical::check_target(&head.uri).map_err(bad_target)?;
    query::check_method(head.uri.query().unwrap_or_default()).map_err(bad_target)?;
    let (host, is_settled) = target::host(head)?;
    grounds.settled = is_settled;
    let seen = Seen::of(&head.headers);
    target::check_framing(head, seen)?;
    target::check_blanks(head)?;
    target::check_expectation(head, seen)?;
    target::check_loop(seen)?;
    target::forwards_left(head)?;
    grounds.asks_for_websocket = websocket::asks(head, seen);
    let handshake = websocket::handshake(head, grounds.asks_for_websocket)?;

    // 2. application and route, and what the gateway answers itself
    let application = snapshot.routes.application(&host).ok_or_else(|| Refusal::of(Reason::NoApplication))?;
    let readings = Readings::new(head.uri.path(), application.backend).map_err(bad_target)?;
    grounds.application = Some(Arc::clone(application));
    let made_for = connection.and_then(|connection| connection.server_name);
    if let Some(name) = made_for.filter(|name| !snapshot.routes.may_share(name, &host, application)) {
        return Err(Refusal::about(Reason::Misdirected, &shown(name)));
    }
    grounds.origin = origin::admitted(application, &head.headers);
    if let Some(answer) = own::answer(application, &host, head)? {
        return Ok(Outcome::Answered(answer));
    }
    let path = &readings.first;
    let route = application.route(path, &head.method);
    grounds.route = route.map(|route| Arc::clone(&route.id));
    // Whatever else the backend may read in the path is judged too; an application without exceptions has none of that.
    let others = readings.others.iter().map(|path| (path, application.route(path, &head.method)));
    let others: Vec<(&CanonicalPath<'_>, Option<&Route>)> = others.collect();
    // A path that may be read in several ways is only watched if each of them is.
    let watches = |route: Option<&Route>| route.map_or(application.mode, |route| route.mode) == Mode::Shadow;
    if watches(route) && others.iter().all(|(_, route)| watches(*route)) {
        grounds.mode = Mode::Shadow;
    }
    if others.is_empty() {
        grounds.trailers = route.map(|route| route.trailers.clone()).unwrap_or_default();
    }
    // Towards a backend that speaks HTTP/2 the gateway speaks no other protocol.
    let upgrades = handshake && application.upstream.transport.protocol == Protocol::Http1;
    let takes = |route: Option<&Route>| route.is_some_and(|route| route.websocket);
    grounds.websocket = upgrades && takes(route) && others.iter().all(|(_, route)| takes(*route));

    // 3. public routes ask for nothing
    let is_public = |route: Option<&Route>| matches!(route, Some(Route { access: Access::Public, .. }));
    if is_public(route) && others.iter().all(|(_, route)| is_public(*route)) {
        return Ok(Outcome::Permitted);
    }

    // 4. a token that was not revoked, and only then whether there is a route at all
    let describe = |refusal: Refusal| refusal.describing(own::metadata_url(application, &host));
    let identified = identify(head, application, &host).map_err(describe)?;
    let Some((verified, carrier)) = identified else { return Ok(Outcome::Unverified) };
    grounds.carrier = Some(carrier);
    let verified: &Verified = grounds.token.insert(verified);
    current(verified).map_err(describe)?;
    let routes = std::iter::once((path, route)).chain(others.iter().copied());
    if let Some((path, _)) = routes.clone().find(|(_, route)| route.is_none()) {
        grounds.route = None;
        return Err(no_route(application, path));
    }

    // 5. the gate
    admits(&application.gate, verified)?;
    connection.map_or(Ok(()), |connection| certified(&application.gate, connection))?;
    let has_rules = |route: Option<&Route>| matches!(route, Some(Route { access: Access::Rules(_), .. }));
    if !routes.clone().any(|(_, route)| has_rules(route)) {
        return Ok(Outcome::Permitted);
    }

    // 6. the principal
    let domain = snapshot.domains.get(application.domain).ok_or_else(|| Refusal::of(Reason::Internal))?;
    let stranger = || match domain.is_withheld() {
        true => Refusal::about(Reason::GrantsStale, domain.name()).retrying_after(STALE),
        false => Refusal::about(Reason::PrincipalUnknown, &shown(&verified.subject)),
    };
    let principal = domain.principal(verified.principal).ok_or_else(stranger)?;
    grounds.principal = Some(principal.id().into());
    let member = member(domain, principal, verified);

    // 7. and 8. scopes and requirement by what the rules read of the request, and what the backend is told beside
    let told = application.identity_headers;
    if told.groups && grounds.mode == Mode::Shadow {
        grounds.groups = Some(domain.group_names(member));
    }
    for (path, route) in routes {
        let Some(route @ Route { access: Access::Rules(rules), .. }) = route else { continue };
        let mut denied = |refusal| {
            grounds.route = Some(Arc::clone(&route.id));
            refusal
        };
        let read = RequestFacts::take(path, head, body, (rules, application.backend), member);
        let Some(facts) = read.map_err(&mut denied)? else { return Ok(Outcome::FormNeeded) };
        let facts = match objects::supply((domain, rules, member), facts, given) {
            Ready::Yes(facts) => facts,
            Ready::Wants(wanted) => return Ok(Outcome::ObjectNeeded(wanted)),
        };
        let level = route.level(&head.method);
        let decided = decide(domain, rules, member, &facts, level);
        decided.map_err(|denial| denied(Refusal::denied(&denial, domain, rules)))?;
        // Of several readings the backend's own is not known, and so no list would be exact.
        if told.scopes && others.is_empty() {
            grounds.scopes = held_scopes(domain, rules, member, &facts, level);
        }
    }
    if told.groups {
        grounds.groups = Some(domain.group_names(member));
    }
    Ok(Outcome::Permitted)
    // 9. the caller wraps the request into a `Permitted`
}

/// A principal of a domain, with the groups that its token brings where the domain says so.
pub fn member<'d>(domain: &'d Domain, principal: Principal<'d>, token: &Verified) -> Member<'d> {
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

/// Whether an application's gate lets a verified token come in.
///
/// # Errors
/// What the gate asks for and the token does not offer; the first of it.
pub fn admits(gate: &Gate, token: &Verified) -> Result<(), Refusal> {
    let any = |asked: &[Box<str>], held: &[Box<str>]| asked.iter().any(|name| held.contains(name));
    if !gate.tenants.contains(&token.principal.tenant) {
        return Err(Refusal::about(Reason::GateTenant, &token.tenant));
    }
    if !any(&gate.audiences, &token.audiences) {
        return Err(Refusal::about(Reason::GateAudience, &offered(&token.audiences)));
    }
    if !gate.admits_client(token.client.as_deref()) {
        return Err(Refusal::about(Reason::GateClient, token.client.as_deref().unwrap_or("none")));
    }
    if gate.callers.is_some_and(|callers| callers != token.class) {
        return Err(Refusal::about(Reason::GateCaller, token.class.word()));
    }
    if !gate.app_roles.is_empty() && !any(&gate.app_roles, &token.roles) {
        return Err(Refusal::about(Reason::GateAppRole, &offered(&token.roles)));
    }
    Ok(())
}

/// Whether an application's gate lets the certificate of the connection come in, which may have ended since the
/// handshake.
fn certified(gate: &Gate, environment: Environment<'_>) -> Result<(), Refusal> {
    if gate.client_certificates.is_empty() {
        return Ok(());
    }
    let refuse = |subject: &str| Err(Refusal::about(Reason::GateCertificate, subject));
    match environment.certificate {
        None => refuse("none"),
        Some(shown) if !shown.is_valid_at(environment.now) => refuse("expired"),
        Some(shown) if !gate.client_certificates.iter().any(|asked| shown.names.contains(asked)) => {
            refuse(&self::shown(shown.name()))
        }
        Some(_) => Ok(()),
    }
}

/// A subject as a log line may show it: bounded, and letters that do not print as they are escaped.
fn shown(subject: &str) -> String {
    let mut shown = String::new();
    for letter in subject.chars().take(200) {
        match letter {
            '\'' | '"' | '\\' => shown.push(letter),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

/// What a token offered instead, for whoever has to mend it: no more than fits on a log line.
fn offered(names: &[Box<str>]) -> String {
    names.join(",").chars().take(200).collect()
}
