//! A request explained: every step that it took, the decision taken apart, and what would have to change.

use std::sync::Arc;

use super::policy::{Policy, World};
use super::remedy::{self, Remedy};
use super::request::{Asker, BadRequest, Request, Tried};
use crate::diag::Place;
use crate::document::Literal;
use crate::document::routes::{ApplicationDocument, RouteDocument};
use crate::model::Status;
use crate::pep::{self, Wanted};
use crate::policy::{Domain, Explanation, GroupOrigin, Member};
use crate::route::Gate;
use crate::token::Verified;

/// A request explained.
#[derive(Debug)]
pub struct Explained<'p> {
    /// What came of it.
    pub tried: Tried,
    /// The application, as it is written.
    pub application: Option<&'p ApplicationDocument>,
    /// The route, as it is written.
    pub route: Option<&'p RouteDocument>,
    /// What the gate looks at, in order; empty where the request never came to the gate, or passes without it.
    pub gate: Vec<GateStep>,
    /// Who asks, if the domain knows.
    pub caller: Option<Caller>,
    /// The same as decisions see it.
    pub member: Option<Member<'p>>,
    /// The domain that decides.
    pub domain: Option<&'p Domain>,
    /// The decision taken apart, if there was one.
    pub apart: Option<Explanation>,
    /// For a denial: single changes that would help, nearest first, each tried on a copy.
    pub remedies: Vec<Remedy>,
}

/// One thing that a gate looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateStep {
    /// What.
    pub what: GateCheck,
    /// What the token says.
    pub offered: Vec<String>,
    /// What the application admits.
    pub admitted: Vec<String>,
    /// Whether it passes.
    pub passes: bool,
}

/// What a gate can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateCheck {
    /// The tenant or issuer: `gate.tenants`.
    Tenant,
    /// The audiences: `gate.audiences`.
    Audience,
    /// The client: `gate.clients`.
    Client,
    /// Whether a person or an application asks: `gate.callers`.
    Caller,
    /// The app roles: `gate.app_roles`.
    AppRole,
    /// The client's TLS certificate: `gate.client_certificates`. No token says it, so it is taken to be one of them.
    Certificate,
}

impl GateCheck {
    /// The word for people and programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Audience => "audience",
            Self::Client => "client",
            Self::Caller => "caller",
            Self::AppRole => "app role",
            Self::Certificate => "client certificate",
        }
    }
}

/// A principal that asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its number in the domain.
    pub number: usize,
    /// Its id.
    pub id: Arc<str>,
    /// Where it is written.
    pub place: Place,
    /// The state of the account, with what its groups make of it.
    pub status: Status,
    /// The groups that make it inactive.
    pub inactive_through: Vec<Arc<str>>,
    /// All its groups, those above them included.
    pub groups: Vec<Arc<str>>,
    /// Those among them that it is in by its token alone.
    pub groups_by_token: Vec<Arc<str>>,
    /// All its flags.
    pub flags: Vec<String>,
}

impl Explained<'_> {
    /// The object that would have to be looked up for the decision, if nobody has said anything of it.
    pub fn wanted(&self) -> Option<Wanted> {
        let object = self.apart.as_ref()?.object.as_ref().filter(|object| object.needs.is_some())?;
        let (kind, key) = object.name.split_once(':')?;
        Some(Wanted { domain: Arc::clone(self.domain?.name()), kind: kind.into(), key: key.into() })
    }
}

impl Policy {
    /// Explains a request.
    ///
    /// # Errors
    /// When the request cannot be tried; see [`Request::try_on`].
    pub fn explain(&self, request: &Request) -> Result<Explained<'_>, BadRequest> {
        let mut explained = self.take_apart(request)?;
        explained.remedies = remedy::find(self, request, &explained);
        Ok(explained)
    }

    /// The same without remedies, which take many times as long.
    ///
    /// # Errors
    /// When the request cannot be tried; see [`Request::try_on`].
    pub fn take_apart(&self, request: &Request) -> Result<Explained<'_>, BadRequest> {
        let tried = request.try_on(self)?;
        let compiled = tried.grounds.application.as_deref();
        let application = compiled.and_then(|application| self.application(application)).map(|(_, written)| written);
        let id = tried.grounds.route.as_deref();
        let route = compiled.zip(id).and_then(|(application, id)| self.route(application, id));
        let world = compiled.and_then(|application| self.world(application.domain));
        let token = tried.grounds.token.as_deref();
        let (member, caller) = world.zip(token).and_then(|(world, token)| caller(world, token)).unzip();
        let (head, body) = (request.head()?, request.body());
        let given = request.given(self)?;
        let asked = (&head, body.as_deref(), &*given);
        let apart = token.and_then(|token| pep::explain(&self.snapshot, &self.origins, token, asked));
        // A request that was refused before or beside the policy says nothing of what the policy would have said.
        let reason = tried.refusal.as_ref().map(|refusal| refusal.reason);
        let apart = apart.filter(|apart| apart.decision.err().map(|denial| denial.reason) == reason);
        Ok(Explained {
            application,
            route,
            gate: application
                .zip(compiled)
                .zip(token)
                .map_or_else(Vec::new, |((application, compiled), token)| gate(application, &compiled.gate, token)),
            caller,
            member,
            domain: world.map(|world| world.domain),
            apart,
            remedies: Vec::new(),
            tried,
        })
    }
}

pub(super) fn caller<'p>(world: World<'p>, token: &Verified) -> Option<(Member<'p>, Caller)> {
    let number = world.domain.number(token.principal)?;
    let principal = world.domain.principals().get(number)?;
    let member = pep::member(world.domain, principal, token);
    let written = world.origins.principal(number)?;
    let groups = world.origins.groups_of_member(written, member);
    let names = |found: &mut dyn Iterator<Item = &&GroupOrigin>| found.map(|group| Arc::clone(&group.name)).collect();
    let by_token = |group: &&&GroupOrigin| !principal.groups().contains(&group.name);
    let flags = world.domain.flags().filter(|(flag, _)| world.domain.bears(member, *flag));
    let caller = Caller {
        number,
        id: principal.id().into(),
        place: written.place,
        status: member.status,
        inactive_through: names(&mut groups.iter().filter(|group| group.inactive)),
        groups: names(&mut groups.iter()),
        groups_by_token: names(&mut groups.iter().filter(by_token)),
        flags: flags.map(|(_, name)| name.to_owned()).collect(),
    };
    Some((member, caller))
}

pub(super) fn gate(application: &ApplicationDocument, compiled: &Gate, token: &Verified) -> Vec<GateStep> {
    let gate = &application.gate;
    let admitted = |list: &[crate::document::Located<String>]| -> Vec<String> {
        list.iter().map(|item| item.value.clone()).collect()
    };
    let step = |what, offered: Vec<String>, admitted: Vec<String>| {
        let passes = admitted.iter().any(|name| offered.contains(name));
        GateStep { what, offered, admitted, passes }
    };
    let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
    let mut steps = vec![
        step(GateCheck::Tenant, vec![token.tenant.to_string()], admitted(&gate.tenants)),
        step(GateCheck::Audience, texts(&token.audiences), admitted(&gate.audiences)),
    ];
    if !gate.clients.is_empty() {
        let client: Vec<String> = token.client.iter().map(ToString::to_string).collect();
        let passes = compiled.admits_client(token.client.as_deref());
        steps.push(GateStep { passes, ..step(GateCheck::Client, client, admitted(&gate.clients)) });
    }
    if let Some(callers) = compiled.callers {
        steps.push(step(GateCheck::Caller, vec![token.class.word().to_owned()], vec![callers.word().to_owned()]));
    }
    if !gate.app_roles.is_empty() {
        steps.push(step(GateCheck::AppRole, texts(&token.roles), admitted(&gate.app_roles)));
    }
    if !gate.client_certificates.is_empty() {
        let (what, admitted) = (GateCheck::Certificate, admitted(&gate.client_certificates));
        steps.push(GateStep { what, offered: vec!["taken to be one of them".to_owned()], admitted, passes: true });
    }
    steps
}

impl Request {
    /// The request in one line, as it would be written.
    pub fn line(&self) -> String {
        format!("{} https://{}{}", self.method, self.host, self.target)
    }

    /// Who makes it, in a word.
    pub fn by(&self) -> &str {
        match &self.asker {
            Asker::Nobody => "nobody",
            Asker::Bearer(id, _) => id,
        }
    }
}

/// A setting as the command line writes it: `true`, `false`, a whole number, or text.
pub fn literal(text: &str) -> Literal {
    match (text.parse(), text.parse()) {
        (Ok(value), _) => Literal::Bool(value),
        (_, Ok(value)) => Literal::Int(value),
        _ => Literal::Text(text.to_owned()),
    }
}
