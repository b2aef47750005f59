//! One request, as tests and operators write it, tried on a policy.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::policy::Policy;
use crate::document::routes::TestDocument;
use crate::document::{Entries, Literal, Located};
use crate::model::{InShadow, Mode};
use crate::pep::{self, Answer, Attributes, Given, Grounds, Refusal, Wanted};
use crate::policy::Missed;
use crate::route::Application;
use crate::route::host::Host;
use crate::route::query;
use crate::token::{Class, Groups, Verified};

/// Headers that the gateway reads before the policy does; here nobody would.
const UNTOLD: [&str; 5] = ["authorization", "connection", "content-length", "host", "transfer-encoding"];

/// What stands in a test in place of the groups of a token that has too many to list.
pub const UNKNOWN: &str = "unknown";

/// What is said of an object: its attributes, or why there are none.
pub type Said = Result<Attributes, Missed>;

/// A request, and who makes it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, as it is sent.
    pub method: String,
    /// The value of `Host`.
    pub host: String,
    /// Path and query, as they are sent.
    pub target: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Fields of the form in its body; without any it has no body.
    pub form: Vec<(String, String)>,
    /// What a database would say of objects that are looked up: `KIND:KEY`, and attributes. Of others it says nothing.
    pub objects: Vec<(String, Said)>,
    /// Who makes it.
    pub asker: Asker,
}

/// Who makes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// Somebody without a token.
    #[default]
    Nobody,
    /// A principal by its id, or anybody by `TENANT/OBJECT-ID` or `TENANT/SUBJECT`, with a token whose claims are the usual ones but for these.
    Bearer(String, Claims),
}

/// What a token says in place of what it usually would: the tenant and the object id of the principal, the first
/// audience and client that the application's gate admits, the class that it admits, all app roles that it asks for, and
/// no groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The name of the tenant.
    pub tenant: Option<String>,
    /// `aud`.
    pub audiences: Option<Vec<String>>,
    /// `roles`.
    pub roles: Option<Vec<String>>,
    /// `azp` or `appid`.
    pub client: Option<String>,
    /// Whether it speaks for a person or for an application.
    pub class: Option<Class>,
    /// `groups`, or that they are too many to be listed.
    pub groups: Option<Groups>,
}

/// Why a request cannot be tried: a sentence for whoever wrote it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// What is wrong.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
}

impl BadRequest {
    pub(super) fn new(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(out, "; {help}"))
    }
}

impl std::error::Error for BadRequest {}

/// What came of a request.
#[derive(Debug)]
pub struct Tried {
    /// What was found on the way.
    pub grounds: Grounds,
    /// The refusal, if it was refused.
    pub refusal: Option<Refusal>,
    /// What the gateway would answer itself, if it would.
    pub answer: Option<Answer>,
}

impl Tried {
    /// The code of the refusal with its subject; `None` for a request that may pass.
    pub fn code(&self) -> Option<&str> {
        self.refusal.as_ref().map(Refusal::full_code)
    }

    /// What becomes of a refused request where the gateway only watches; `None` where it does not, or nothing is refused.
    pub fn watched(&self) -> Option<InShadow> {
        self.refusal.as_ref().filter(|_| self.grounds.mode == Mode::Shadow)?;
        Some(match &self.grounds.watched {
            None => InShadow::Refused,
            Some(watched) if watched.named => InShadow::Named,
            Some(_) => InShadow::Unnamed,
        })
    }
}

impl Request {
    /// Reads `METHOD URL`, such as `GET https://app.example.org/orders/7`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, headers: Vec<(String, String)>, asker: Asker) -> Result<Self, BadRequest> {
        let form = || BadRequest::new(format!("`{text}` is no request"), "write `GET https://host/path`".to_owned());
        let (method, url) = text.trim().split_once(' ').ok_or_else(form)?;
        let rest =
            ["https://", "http://"].iter().find_map(|scheme| url.trim().strip_prefix(scheme)).ok_or_else(form)?;
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at_checked(split).ok_or_else(form)?;
        if target.contains('#') {
            let help = "clients never send what stands behind a `#`".to_owned();
            return Err(BadRequest::new(format!("`{text}` has a fragment"), help));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (method, host) = (method.to_owned(), host.to_owned());
        let request = Self { method, host, target, headers, form: Vec::new(), objects: Vec::new(), asker };
        request.head()?;
        Ok(request)
    }

    /// The same request with a form in its body.
    pub fn with_form(self, form: Vec<(String, String)>) -> Self {
        Self { form, ..self }
    }

    /// The body as a browser would send it.
    pub fn body(&self) -> Option<Vec<u8>> {
        let pair = |(name, value): &(String, String)| format!("{}={}", query::encoded(name), query::encoded(value));
        let pairs: Vec<String> = self.form.iter().map(pair).collect();
        (!pairs.is_empty()).then(|| pairs.join("&").into_bytes())
    }

    /// The request of an entry of `tests:`.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn of_test(test: &TestDocument) -> Result<Self, BadRequest> {
        let texts = |entries: &Entries<Located<String>>| {
            entries.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect()
        };
        let asker = match &test.principal {
            None => Asker::Nobody,
            Some(id) => Asker::Bearer(id.value.clone(), Claims::of_test(&test.token)?),
        };
        let attribute = |(name, value): &(Located<String>, Literal)| (name.value.as_str().into(), value.clone());
        let object = |(name, attributes): &(Located<String>, Entries<Literal>)| {
            (name.value.clone(), Ok(attributes.iter().map(attribute).collect()))
        };
        let objects = test.objects.iter().map(object).collect();
        let request = Self::parse(&test.request.value, texts(&test.headers), asker)?.with_form(texts(&test.form));
        Ok(Self { objects, ..request })
    }

    /// What a database would say, as the gateway takes it.
    ///
    /// # Errors
    /// When it would never be asked that.
    pub(super) fn given(&self, policy: &Policy) -> Result<Vec<Given>, BadRequest> {
        let application = self.application(policy);
        let domain = application.and_then(|application| policy.snapshot.domains.get(application.domain));
        let given = |(name, said): &(String, Said)| {
            let (kind, key) = name.split_once(':').unwrap_or((name, ""));
            let looks_up = |attribute| domain.filter(|domain| domain.looks_up(kind, attribute));
            let Some(domain) = looks_up(None) else {
                let help =
                    "name the kind in `objects` of `postgres` in gateway.yaml, or leave the object out".to_owned();
                return Err(BadRequest::new(format!("`{name}` is no object that is looked up"), help));
            };
            let mut attributes = said.iter().flat_map(|attributes| attributes.iter());
            if let Some((attribute, _)) = attributes.find(|(attribute, _)| looks_up(Some(attribute)).is_none()) {
                let message = format!("objects of kind `{kind}` have no attribute `{attribute}`");
                return Err(BadRequest::new(message, "see `objects` of `postgres` in gateway.yaml".to_owned()));
            }
            let wanted = Wanted { domain: Arc::clone(domain.name()), kind: kind.into(), key: key.into() };
            Ok(Given { wanted, found: said.clone(), until: None })
        };
        self.objects.iter().map(given).collect()
    }

    /// The head as the gateway would read it; the token is not in it.
    ///
    /// # Errors
    /// When no client could send it.
    pub fn head(&self) -> Result<Parts, BadRequest> {
        let untold = |name: &str| UNTOLD.iter().any(|untold| untold.eq_ignore_ascii_case(name));
        if let Some((name, _)) = self.headers.iter().find(|(name, _)| untold(name)) {
            let help = "who asks is named, and framing is judged on live requests only".to_owned();
            return Err(BadRequest::new(format!("`{name}` cannot be tried here"), help));
        }
        let mut request =
            http::Request::builder().method(self.method.as_str()).uri(&self.target).header("host", &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request =
            request.body(()).map_err(|fault| BadRequest::new(format!("no client could send this: {fault}"), None))?;
        let mut head = request.into_parts().0;
        if !self.form.is_empty() && !head.headers.contains_key(CONTENT_TYPE) {
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        Ok(head)
    }

    /// Judges the request by a policy.
    ///
    /// # Errors
    /// When the policy does not know who asks.
    pub fn try_on(&self, policy: &Policy) -> Result<Tried, BadRequest> {
        let application = self.application(policy);
        let caller = match &self.asker {
            Asker::Nobody => None,
            Asker::Bearer(id, claims) => Some(policy.bearer(application, id, claims)?),
        };
        self.try_as(policy, caller.as_ref())
    }

    /// Judges the request by a policy, made by whoever has this token.
    ///
    /// # Errors
    /// When no client could send it.
    pub(super) fn try_as(&self, policy: &Policy, caller: Option<&Arc<Verified>>) -> Result<Tried, BadRequest> {
        let (body, given) = (self.body(), self.given(policy)?);
        let (grounds, judged) = pep::simulate(&policy.snapshot, caller, self.head()?, body.as_deref(), &given);
        let (answer, refusal) = match judged {
            Ok(answer) => (answer, None),
            Err(refusal) => (None, Some(refusal)),
        };
        Ok(Tried { grounds, refusal, answer })
    }

    /// The application that the request is for.
    pub fn application<'p>(&self, policy: &'p Policy) -> Option<&'p Arc<Application>> {
        policy.snapshot.routes.application(&Host::parse(&self.host).ok()?)
    }
}

impl Claims {
    /// Claims of a question. Lists without anything say the usual; an empty role means none, and `unknown` alone that the
    /// groups are too many to be listed.
    pub fn asked(
        (tenant, client, class): (Option<String>, Option<String>, Option<Class>),
        (audiences, roles, groups): (&[String], &[String], &[String]),
    ) -> Self {
        let said = roles.iter().filter(|role| !role.is_empty()).cloned().collect();
        Self {
            tenant,
            audiences: (!audiences.is_empty()).then(|| audiences.to_vec()),
            roles: (!roles.is_empty()).then_some(said),
            client,
            class,
            groups: match groups {
                [] => None,
                [word] if word == UNKNOWN => Some(Groups::Unknown),
                groups => Some(Groups::listed(groups)),
            },
        }
    }

    fn of_test(token: &Entries<Located<Literal>>) -> Result<Self, BadRequest> {
        let mut claims = Self::default();
        for (name, value) in token {
            let texts = texts(&value.value);
            match name.value.as_str() {
                "tenant" => claims.tenant = texts.into_iter().next(),
                "aud" => claims.audiences = Some(texts),
                "roles" => claims.roles = Some(texts),
                "groups" => {
                    // A group of this name would stand in a list.
                    let unknown = matches!(&value.value, Literal::Text(word) if word == UNKNOWN);
                    claims.groups = Some(if unknown { Groups::Unknown } else { Groups::listed(&texts) });
                }
                "client" => claims.client = texts.into_iter().next(),
                "class" => {
                    let class = [Class::User, Class::App].into_iter().find(|class| texts == [class.word()]);
                    let help = || Some("write `user` or `app`".to_owned());
                    let bad = || BadRequest::new(format!("`{}` is no class of a token", value.value), help());
                    claims.class = Some(class.ok_or_else(bad)?);
                }
                other => return Err(BadRequest::new(format!("`{other}` cannot be said for a token"), None)),
            }
        }
        Ok(claims)
    }
}

fn texts(literal: &Literal) -> Vec<String> {
    match literal {
        Literal::List(list) => list.iter().map(ToString::to_string).collect(),
        one => vec![one.to_string()],
    }
}
