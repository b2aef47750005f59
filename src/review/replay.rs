//! Decisions of a log, made again by another policy.
//!
//! A line of the log has no query, no headers, no body, and of the token only who asks, its client and its class. Where
//! a policy reads more than that, nobody knows what it would say: such a request is not replayed, and nothing is guessed.
//! Only that a token has an audience and an app role that the gate asks for is taken for granted.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use http::Method;

use super::Policy;
use super::request::{Asker, Claims, Request, Tried};
use crate::document::grants::{GrantsDocument, PrincipalDocument};
use crate::model::Reason;
use crate::model::shadow::InShadow;
use crate::route::{Access, Application, Readings};
use crate::token::{Class, Verified};

/// A subject that nobody has, also where subjects are object ids.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// The longest subject that a reason shows whole, in letters.
const WHOLE: usize = 200;
/// The longest path that a line certainly shows whole, in bytes.
const WHOLE_PATH: usize = 1000;

/// What a line of the log says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The host as asked for.
    pub host: String,
    /// The path as asked for.
    pub path: String,
    /// The name of the tenant of a verified token.
    pub tenant: Option<String>,
    /// The principal's id, once found.
    pub principal: Option<String>,
    /// Whether the token speaks for a person or for an application.
    pub class: Option<Class>,
    /// The client that got the token.
    pub client: Option<String>,
    /// Whether the client showed a certificate.
    pub certificate: bool,
    /// Whether it went on as another protocol.
    pub upgraded: bool,
    /// Why it was refused, or would have been where nothing is enforced: the code with its subject.
    pub denied: Option<String>,
}

/// Why a request is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was refused for its form, for a limit, or by an upstream: that is no policy's matter.
    NotPolicy,
    /// It was refused at a gate, or the gate asks for more than the log has.
    Gate,
    /// The log does not say who asked, and it matters.
    Asker,
    /// The policy reads the query.
    Query,
    /// The policy reads a form.
    Form,
    /// The policy reads a header, or the request was about one.
    Header,
    /// The policy reads an object that a database has.
    Object,
    /// The domain takes groups from tokens.
    TokenGroups,
    /// The line does not show all of it.
    Cut,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotPolicy,
        Self::Gate,
        Self::Asker,
        Self::Query,
        Self::Form,
        Self::Header,
        Self::Object,
        Self::TokenGroups,
        Self::Cut,
    ];

    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotPolicy => "not_policy",
            Self::Gate => "gate",
            Self::Asker => "asker_unknown",
            Self::Query => "reads_query",
            Self::Form => "reads_form",
            Self::Header => "reads_header",
            Self::Object => "reads_object",
            Self::TokenGroups => "token_groups",
            Self::Cut => "cut",
        }
    }
}

/// What the policy says now, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The application, once found.
    pub application: Option<Arc<str>>,
    /// The id of the route, once found.
    pub route: Option<Arc<str>>,
    /// The pattern of the route.
    pub pattern: Option<String>,
    /// Why not: the code with its subject.
    pub denied: Option<String>,
}

/// What the log says of who asked.
enum Who<'r> {
    /// The principal with this id.
    Principal(&'r str),
    /// A subject that the live policy did not know.
    Subject(&'r str),
    /// Somebody with a good token.
    Anyone,
    /// Somebody without a token, or with one that is not believed.
    Nobody,
    /// Nothing: it was not looked at.
    Unknown,
}

/// Replays lines on one policy.
#[derive(Debug)]
pub struct Replayer<'p> {
    policy: &'p Policy,
    /// By id, in the order of the documents.
    people: HashMap<&'p str, Vec<(&'p GrantsDocument, &'p PrincipalDocument)>>,
}

impl<'p> Replayer<'p> {
    /// For a policy whose documents have all its principals.
    pub fn new(policy: &'p Policy) -> Self {
        let mut people: HashMap<_, Vec<_>> = HashMap::new();
        for document in &policy.grants {
            for principal in &document.principals {
                people.entry(principal.id.value.as_str()).or_default().push((document, principal));
            }
        }
        Self { policy, people }
    }

    /// What the policy says of a recorded request.
    ///
    /// # Errors
    /// Why that cannot be known.
    pub fn replay(&self, line: &Recorded) -> Result<Replayed, Why> {
        if line.path.len() >= WHOLE_PATH || line.host.len() >= WHOLE_PATH {
            return Err(Why::Cut);
        }
        // Preflights and upgrades are told from other requests by their headers.
        if line.upgraded || line.method == Method::OPTIONS.as_str() {
            return Err(Why::Header);
        }
        let who = who(line)?;
        let request = Request {
            method: line.method.clone(),
            host: line.host.clone(),
            target: line.path.clone(),
            headers: Vec::new(),
            form: Vec::new(),
            objects: Vec::new(),
            asker: Asker::Nobody,
        };
        let application = request.application(self.policy);
        let (token, certain) = match who {
            Who::Nobody | Who::Unknown => (None, false),
            Who::Anyone => (Some(self.token(line, application, None)?), false),
            Who::Subject(subject) => (Some(self.token(line, application, Some(subject))?), true),
            // Whose id is gone is taken to be gone: the log does not have what else tokens name them by.
            Who::Principal(id) => (Some(self.token(line, application, self.subject(application, id))?), true),
        };
        let tried = request.try_as(self.policy, token.as_ref()).map_err(|_no_client_sends_this| Why::Cut)?;
        let denied = self.settle(line, (&who, certain), application, &request, &tried)?;
        let route = tried.grounds.route.clone();
        let known = application.into_iter().flat_map(|application| application.routes());
        let pattern = known.into_iter().find(|known| Some(&known.id) == route.as_ref());
        Ok(Replayed {
            application: application.map(|application| Arc::clone(&application.name)),
            pattern: pattern.map(|route| route.pattern.shape()),
            route,
            denied,
        })
    }

    /// The tenant's name for the principal with an id, of the application's domain or else of any.
    fn subject(&self, application: Option<&Arc<Application>>, id: &str) -> Option<&'p str> {
        let known = self.people.get(id)?;
        let own = application.and_then(|application| application.domain.of(&self.policy.grants));
        let of_own = known.iter().find(|(document, _)| own.is_some_and(|own| ptr::eq(own, *document)));
        let (_, principal) = of_own.or(known.first())?;
        Some(&principal.known_by.text().value)
    }

    /// A token of the line's tenant and client for a subject, or for nobody in particular.
    fn token(
        &self,
        line: &Recorded,
        application: Option<&Arc<Application>>,
        subject: Option<&str>,
    ) -> Result<Arc<Verified>, Why> {
        let tenant = line.tenant.clone().ok_or(Why::Asker)?;
        // Where the gate names clients, a token without one would be taken for that of the first.
        if line.client.is_none() && application.is_some_and(|application| !application.gate.clients.is_empty()) {
            return Err(Why::Gate);
        }
        let claims = Claims { client: line.client.clone(), class: line.class, ..Claims::default() };
        let name = line.principal.clone().unwrap_or_default();
        let subject = subject.unwrap_or(NOBODY).to_owned();
        self.policy.token(application, (tenant, subject, name), &claims).map_err(|_no_such_tenant| Why::Asker)
    }

    /// Whether what was tried is what the policy would say of the request that was made; the code of its refusal.
    fn settle(
        &self,
        line: &Recorded,
        (who, certain): (&Who<'_>, bool),
        application: Option<&Arc<Application>>,
        request: &Request,
        tried: &Tried,
    ) -> Result<Option<String>, Why> {
        if tried.answer.is_some() {
            return Err(Why::NotPolicy);
        }
        let Some(reason) = tried.refusal.as_ref().map(|refusal| refusal.reason) else {
            self.reads_no_more(line, application, request)?;
            return Ok(None);
        };
        let code = || Ok(tried.code().map(str::to_owned));
        match (reason, who) {
            (Reason::NoApplication, _) => code(),
            // A token that is refused is refused by every policy that asks for one.
            (Reason::NoToken, Who::Nobody) => Ok(line.denied.clone()),
            (Reason::NoToken, _) => Err(Why::Asker),
            (Reason::NoRoute | Reason::NoRouteMethod, Who::Nobody | Who::Unknown) => Err(Why::Asker),
            (Reason::NoRoute | Reason::NoRouteMethod, _) => code(),
            (Reason::GateTenant | Reason::GateClient | Reason::GateCaller, _) => code(),
            // Nobody in particular was asked for.
            (Reason::PrincipalUnknown, Who::Principal(_)) => Ok(Some(reason.code().to_owned())),
            (Reason::PrincipalUnknown, _) if certain => code(),
            (Reason::PrincipalUnknown, _) => Err(Why::Asker),
            (Reason::ObjectUnavailable, _) => Err(Why::Object),
            (reason, _) if reason.in_shadow() == InShadow::Refused => Err(Why::NotPolicy),
            _ => {
                self.reads_no_more(line, application, request)?;
                code()
            }
        }
    }

    /// Whether the policy decides by nothing but what the log has, on any reading of the path.
    fn reads_no_more(
        &self,
        line: &Recorded,
        application: Option<&Arc<Application>>,
        request: &Request,
    ) -> Result<(), Why> {
        let application = application.ok_or(Why::NotPolicy)?;
        let readings = Readings::new(&request.target, application.backend).map_err(|_bad_target| Why::NotPolicy)?;
        let method: Method = request.method.parse().map_err(|_bad_method| Why::NotPolicy)?;
        let mut asks = false;
        for path in std::iter::once(&readings.first).chain(&readings.others) {
            let access = application.route(path, &method).map(|route| &route.access);
            asks |= !matches!(access, Some(Access::Public));
            let Some(Access::Rules(rules)) = access else { continue };
            if rules.query_names().next().is_some() {
                return Err(Why::Query);
            }
            if rules.form_names().next().is_some() {
                return Err(Why::Form);
            }
            if rules.header_names().next().is_some() {
                return Err(Why::Header);
            }
            let domain = self.policy.snapshot.domains.get(application.domain);
            if domain.is_none_or(|domain| domain.maps_tokens()) {
                return Err(Why::TokenGroups);
            }
        }
        if asks && !application.gate.client_certificates.is_empty() && !line.certificate {
            return Err(Why::Gate);
        }
        Ok(())
    }
}

/// What a line says of who asked.
fn who(line: &Recorded) -> Result<Who<'_>, Why> {
    let principal = || line.principal.as_deref().map(Who::Principal).ok_or(Why::Asker);
    let Some(denied) = &line.denied else {
        return Ok(match (&line.principal, &line.tenant) {
            (Some(id), _) => Who::Principal(id),
            (None, Some(_)) => Who::Anyone,
            (None, None) => Who::Unknown,
        });
    };
    let (word, subject) = denied.split_once(':').unwrap_or((denied, ""));
    // What no reason is called is the code of a requirement.
    let reason = Reason::ALL.iter().copied().find(|reason| reason.code() == word).unwrap_or(Reason::Requirement);
    match reason {
        Reason::NoApplication => Ok(Who::Unknown),
        Reason::NoToken | Reason::InvalidToken | Reason::KeysUnavailable => Ok(Who::Nobody),
        Reason::NoRoute | Reason::NoRouteMethod => Ok(Who::Anyone),
        Reason::CrossSite => Err(Why::Header),
        Reason::GateTenant
        | Reason::GateAudience
        | Reason::GateClient
        | Reason::GateCaller
        | Reason::GateAppRole
        | Reason::GateCertificate => Err(Why::Gate),
        Reason::GroupsUnknown => Err(Why::TokenGroups),
        Reason::GrantsStale | Reason::ObjectUnavailable => Err(Why::NotPolicy),
        // A subject is cut, and letters in it may be escaped.
        Reason::PrincipalUnknown if subject.is_empty() || subject.contains('\\') || subject.len() >= WHOLE => {
            Err(Why::Asker)
        }
        Reason::PrincipalUnknown => Ok(Who::Subject(subject)),
        other if other.in_shadow() == InShadow::Refused => Err(Why::NotPolicy),
        _ => principal(),
    }
}
