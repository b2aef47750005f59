//! Enforcement, pure: turns a request head into a permission, a refusal or an answer of the gateway itself. One
//! synchronous function of the snapshot, the head and its environment; it reads no clock, opens no socket and waits for no lock.

mod credentials;
mod explain;
mod facts;
mod origin;
mod own;
mod permit;
mod refusal;
mod revoked;
mod standing;
mod target;
mod websocket;

use std::sync::Arc;

use http::request::Parts;

use crate::model::Reason;
use crate::policy::{Claimed, Domain, Member, Principal, decide, held_scopes};
use crate::route::canonical::{self, CanonicalPath};
use crate::route::host::Host;
use crate::route::{Access, Application, Gate, Route};
use crate::snapshot::Snapshot;
use crate::token::{Groups, Issuers, Verified, Verifier};

pub use credentials::Carrier;
pub use explain::explain;
pub use facts::RequestFacts;
pub use own::{Answer, Metadata};
pub use permit::{Grounds, Permitted};
pub use refusal::Refusal;
pub use revoked::judge_again;
pub use standing::Standing;
pub use websocket::{ExtendedConnect, asks_for_websocket};

/// What a 405 of the gateway itself names in `Allow`.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What the judge must know of a request beside its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The moment, in seconds since the Unix epoch.
    pub now: u64,
    /// Whether the connection is that of a trusted proxy.
    pub trusted_peer: bool,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

/// What came of judging a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass.
    Permitted(Permitted),
    /// It goes no further, and the gateway itself answers.
    Answered {
        /// What.
        answer: Answer,
        /// What is known of it so far.
        grounds: Grounds,
    },
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

/// Judges one request head. `verifier` only remembers: what it answers depends on nothing but the token, the snapshot's
/// keys and the time.
pub fn authorize(snapshot: &Arc<Snapshot>, verifier: &Verifier, mut head: Parts, environment: Environment) -> Verdict {
    let mut grounds = Grounds::none(snapshot);
    let identify = |head: &Parts, application: &Application, host: &Host<'_>| {
        let found = credentials::find(head, &application.token, environment.trusted_peer);
        let (token, carrier) = found.map_err(Refusal::of)?;
        if carrier != Carrier::Authorization {
            let cors = application.cors.as_ref();
            origin::check_page(head, host, cors, environment, carrier).map_err(Refusal::of)?;
        }
        Ok((verifier.verify(token, &snapshot.keys, environment.now)?, carrier))
    };
    let current = |token: &Verified| judge_again(snapshot, verifier.issuers(), token, environment.now);
    let judged = judge(snapshot, (identify, current), &head, &mut grounds);
    let judged = judged.and_then(|answer| match answer {
        // Nobody would know how to read what follows if it were forwarded as a plain GET.
        None if grounds.websocket => Ok(answer),
        _ if websocket::is_extended_connect(&head) => {
            Err(Refusal::about(Reason::MethodForbidden, "websocket").allowing(FORWARDED_METHODS))
        }
        _ => Ok(answer),
    });
    let settled = judged.and_then(|answer| target::settle(&mut head).map(|()| answer));
    match settled {
        Ok(None) => Verdict::Permitted(Permitted::new(head, grounds)),
        Ok(Some(mut answer)) => {
            if let (Answer::Metadata(metadata), Some(application)) = (&mut answer, &grounds.application) {
                metadata.name_issuers(application, verifier.issuers());
            }
            Verdict::Answered { answer, grounds }
        }
        Err(refusal) => Verdict::Refused { head, refusal, grounds },
    }
}

/// Judges a request head as if a verified token said who asks, or as if there was no token. For operators' tools and
/// tests of policies: it takes the steps of [`authorize`], but its answer lets nothing through. `Some` is what the gateway
/// would answer itself.
pub fn simulate(
    snapshot: &Arc<Snapshot>,
    caller: Option<&Arc<Verified>>,
    mut head: Parts,
) -> (Grounds, Result<Option<Answer>, Refusal>) {
    let mut grounds = Grounds::none(snapshot);
    let identify = |head: &Parts, _: &Application, _: &Host<'_>| {
        let caller = caller.ok_or_else(|| Refusal::of(Reason::NoToken))?;
        credentials::only_one(head).map_err(Refusal::of)?;
        Ok((Arc::clone(caller), Carrier::Authorization))
    };
    // Nobody is sent anywhere, so no issuer has to be known, and no time.
    let current = |token: &Verified| judge_again(snapshot, &Issuers::default(), token, 0);
    let judged = judge(snapshot, (identify, current), &head, &mut grounds);
    (grounds, judged.and_then(|answer| target::settle(&mut head).map(|()| answer)))
}

/// The nine steps, in their order. The first that fails is the answer, so strangers learn nothing that later ones know.
/// `identify` says who asks, `current` whether that still holds.
fn judge(
    snapshot: &Snapshot,
    (identify, current): (
        impl FnOnce(&Parts, &Application, &Host<'_>) -> Result<(Arc<Verified>, Carrier), Refusal>,
        impl FnOnce(&Verified) -> Result<(), Refusal>,
    ),
    head: &Parts,
    grounds: &mut Grounds,
) -> Result<Option<Answer>, Refusal> {
    // 1. one canonical form
    if canonical::is_forbidden(&head.method) {
        return Err(Refusal::of(Reason::MethodForbidden).allowing(FORWARDED_METHODS));
    }
    let bad_target = |bad: canonical::BadTarget| Refusal::about(Reason::BadTarget, bad.0);
    canonical::check_target(&head.uri).map_err(bad_target)?;
    let path = CanonicalPath::new(head.uri.path()).map_err(bad_target)?;
    let host = target::host(head)?;
    target::check_framing(head)?;
    let handshake = websocket::handshake(head)?;

    // 2. application and route, and what the gateway answers itself
    let application = snapshot.routes.application(&host).ok_or_else(|| Refusal::of(Reason::NoApplication))?;
    grounds.application = Some(Arc::clone(application));
    grounds.origin = origin::admitted(application, &head.headers);
    if let Some(answer) = own::answer(application, &host, head)? {
        return Ok(Some(answer));
    }
    let route = application.route(&path, &head.method);
    grounds.route = route.map(|route| Arc::clone(&route.id));
    grounds.websocket = handshake && route.is_some_and(|route| route.websocket);

    // 3. public routes ask for nothing
    if let Some(Route { access: Access::Public, .. }) = route {
        return Ok(None);
    }

    // 4. a token that was not revoked, and only then whether there is a route at all
    let describe = |refusal: Refusal| refusal.describing(own::metadata_url(application, &host));
    let (verified, carrier) = identify(head, application, &host).map_err(describe)?;
    grounds.carrier = Some(carrier);
    let verified: &Verified = grounds.token.insert(verified);
    current(verified).map_err(describe)?;
    let route = route.ok_or_else(|| no_route(application, &path))?;

    // 5. the gate
    admits(&application.gate, verified)?;
    let rules = match &route.access {
        Access::Public | Access::GateOnly => return Ok(None),
        Access::Rules(rules) => rules,
    };

    // 6. the principal
    let domain = snapshot.domains.get(application.domain).ok_or_else(|| Refusal::of(Reason::Internal))?;
    let stranger = || Refusal::about(Reason::PrincipalUnknown, &shown(&verified.subject));
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
    Ok(None)
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
