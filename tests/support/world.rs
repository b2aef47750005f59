//! A policy loaded from a directory of an example, and requests judged by it without sockets: real documents, real
//! tokens signed with a development key, the real enforcement function.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use http::Request;
use http::request::Parts;
use portcullis::diag::Report;
use portcullis::document::gateway::GatewayDocument;
use portcullis::document::grants::GrantsDocument;
use portcullis::document::routes::{RoutesDocument, TestDocument};
use portcullis::document::{self, Literal, Located};
use portcullis::model::{Guid, Tenant};
use portcullis::pep::{self, Environment, Verdict};
use portcullis::reload::{PolicyFiles, read_documents};
use portcullis::route::{self, host::Host, query::encoded};
use portcullis::snapshot::Snapshot;
use portcullis::token::mint::{DevelopmentKey, UserToken};
use portcullis::token::{
    Algorithms, Groups, Issuer, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Rules, Verifier,
};
use serde_json::{Value, json};

/// The moment at which all requests are judged, in Unix seconds.
pub const NOW: u64 = 1_800_000_000;
/// How all requests come: at that moment, from anybody, over TLS.
pub const ENVIRONMENT: Environment<'static> =
    Environment { now: NOW, trusted_peer: false, secure: true, has_body: false, server_name: None, certificate: None };

/// One key for all worlds: making one takes a while.
static KEY: LazyLock<DevelopmentKey> = LazyLock::new(|| DevelopmentKey::generate().unwrap());

/// A policy with everything that it takes to judge requests by it.
pub struct World {
    pub snapshot: Arc<Snapshot>,
    pub verifier: Arc<Verifier>,
    pub tenants: Vec<Tenant>,
    pub routes: Vec<RoutesDocument>,
    pub grants: Vec<GrantsDocument>,
}

impl World {
    /// Loads `gateway.yaml` of a directory (for its tenants) and the route maps and grants that it names.
    pub fn load(directory: &Path) -> Self {
        let gateway = fs::read_to_string(directory.join("gateway.yaml")).unwrap();
        let named = gateway_of(&gateway);
        let paths = |names: &[Located<String>]| names.iter().map(|name| directory.join(&name.value)).collect();
        let tenants = tenants_of(&gateway);
        let files =
            PolicyFiles { routes: paths(&named.routes), grants: paths(&named.grants), tenants, feeds: Vec::new() };
        let mut report = Report::new();
        let (routes, grants) = read_documents(&files, &mut report);
        assert!(!report.has_errors(), "{}", report.render());
        Self::compile(files.tenants, routes, grants)
    }

    /// Compiles three texts, which must be without faults.
    pub fn from_texts(gateway: &str, routes: &str, grants: &str) -> Self {
        Self::from_many(gateway, &[routes.to_owned()], &[grants.to_owned()])
    }

    /// Compiles several route maps and several grants under one gateway.
    pub fn from_many(gateway: &str, routes: &[String], grants: &[String]) -> Self {
        let mut report = Report::new();
        let mut number = 0;
        let mut read = |kind: &str, text: &String, report: &mut Report| {
            number += 1;
            report.add_source(&format!("{kind}-{number}.yaml"), text)
        };
        let routes = routes.iter().map(|text| document::read_routes(read("routes", text, &mut report), &mut report));
        let routes: Vec<_> = routes.collect();
        let grants = grants.iter().map(|text| document::read_grants(read("grants", text, &mut report), &mut report));
        let grants: Vec<_> = grants.collect();
        assert!(!report.has_errors(), "{}", report.render());
        let tenants = tenants_of(gateway);
        Self::compile(tenants, routes.into_iter().flatten().collect(), grants.into_iter().flatten().collect())
    }

    /// Compiles documents, which must be without faults.
    pub fn compile(tenants: Vec<Tenant>, routes: Vec<RoutesDocument>, grants: Vec<GrantsDocument>) -> Self {
        let issuers = tenants.iter().enumerate().map(|(number, tenant)| Issuer {
            tenant: Arc::clone(&tenant.name),
            tenant_id: tenant.id,
            url: issuer(tenant.id),
            kind: IssuerKind::EntraV2,
            keys: vec![KeyUse { source: KeySourceId(u16::try_from(number).unwrap()), audiences: None }],
            authorization_uri: None,
        });
        let issuers: Vec<Issuer> = issuers.collect();
        let keys = Arc::new(KeySet::parse(KEY.jwks().as_bytes()).unwrap());
        let ring = (0..issuers.len()).fold(KeyRing::empty(issuers.len()), |ring, number| {
            ring.with(KeySourceId(u16::try_from(number).unwrap()), Arc::clone(&keys), NOW)
        });
        let rules = Rules {
            leeway: 60,
            max_lifetime: 100_800,
            algorithms: Algorithms { rs256: true, ps256: false, es256: true },
        };
        let verifier = Arc::new(Verifier::new(Issuers::new(issuers), rules, 10_000));
        let made = Self::around(tenants, routes, grants, Arc::new(ring), verifier, &mut Report::new());
        made.unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn around(
        tenants: Vec<Tenant>,
        routes: Vec<RoutesDocument>,
        grants: Vec<GrantsDocument>,
        keys: Arc<KeyRing>,
        verifier: Arc<Verifier>,
        report: &mut Report,
    ) -> Result<Self, String> {
        let inputs = route::Inputs {
            routes: &routes,
            grants: &grants,
            tenants: &tenants,
            files: &|_| Err("no files here".into()),
            taken: &[],
            sha256: portcullis::reload::sha256,
        };
        let compiled = route::compile(inputs, report).ok_or_else(|| report.render())?;
        let snapshot = Snapshot {
            serial: 1,
            loaded_at: NOW,
            routes: Arc::new(compiled.routes),
            domains: Arc::new(compiled.domains),
            keys,
            revoked: Arc::default(),
        };
        Ok(Self { snapshot: Arc::new(snapshot), verifier, tenants, routes, grants })
    }

    /// The same world with other documents, or the faults of these. It knows the tokens that this one knows.
    pub fn with(&self, routes: Vec<RoutesDocument>, grants: Vec<GrantsDocument>) -> Result<Self, String> {
        self.with_sources(routes, grants, &mut Report::new())
    }

    /// As [`Self::with`], where the documents name files whose texts are in `report`.
    pub fn with_sources(
        &self,
        routes: Vec<RoutesDocument>,
        grants: Vec<GrantsDocument>,
        report: &mut Report,
    ) -> Result<Self, String> {
        let keys = Arc::clone(&self.snapshot.keys);
        Self::around(self.tenants.clone(), routes, grants, keys, Arc::clone(&self.verifier), report)
    }

    /// The same world with other route maps, or the faults of these.
    pub fn with_routes(&self, routes: Vec<RoutesDocument>) -> Result<Self, String> {
        self.with(routes, self.grants.clone())
    }

    /// The same world with other grants, or the faults of these.
    pub fn with_grants(&self, grants: Vec<GrantsDocument>) -> Result<Self, String> {
        self.with(self.routes.clone(), grants)
    }

    /// The same world with other values of some settings of one route map.
    pub fn with_settings(&self, file: usize, settings: &[(Located<String>, Literal)]) -> Result<Self, String> {
        let mut routes = self.routes.clone();
        for (name, value) in settings {
            let known = routes[file].settings.iter_mut().find(|(known, _)| known.value == name.value);
            known.unwrap_or_else(|| panic!("no setting {}", name.value)).1 = value.clone();
        }
        self.with_routes(routes)
    }

    /// Every entry of `tests:`, with the number of its route map.
    pub fn tests(&self) -> impl Iterator<Item = (usize, &TestDocument)> {
        self.routes.iter().enumerate().flat_map(|(file, routes)| routes.tests.iter().map(move |test| (file, test)))
    }

    /// Judges a request without a body at [`NOW`]: the code of the refusal with its subject, or nothing if it may pass.
    pub fn judge(&self, head: Parts) -> Result<(), String> {
        self.judge_on_route(head).1
    }

    /// Judges a request with a form as its body as the gateway does: without it, and once more with it if that is asked
    /// for.
    pub fn judge_form(&self, mut head: Parts, form: &str) -> Result<(), String> {
        let kind = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        head.headers.entry("content-type").or_insert(kind);
        let environment = Environment { has_body: true, ..ENVIRONMENT };
        let mut verdict = pep::authorize(&self.snapshot, &self.verifier, head, environment);
        if let Verdict::FormNeeded { head, .. } = verdict {
            let form = bytes::Bytes::copy_from_slice(form.as_bytes());
            verdict = pep::authorize_form(&self.snapshot, &self.verifier, head, form, environment);
        }
        match verdict {
            Verdict::Permitted(_) | Verdict::Answered { .. } => Ok(()),
            Verdict::FormNeeded { .. } => panic!("the form was read"),
            Verdict::ObjectNeeded { .. } => panic!("no world has a database"),
            Verdict::Refused { refusal, .. } => Err(refusal.full_code().to_owned()),
        }
    }

    /// The same, and the id of the route if there is one.
    pub fn judge_on_route(&self, head: Parts) -> (Option<Arc<str>>, Result<(), String>) {
        match pep::authorize(&self.snapshot, &self.verifier, head, ENVIRONMENT) {
            Verdict::Permitted(permitted) => (permitted.into_parts().2.route, Ok(())),
            Verdict::Answered { grounds, .. } => (grounds.route, Ok(())),
            Verdict::FormNeeded { .. } => panic!("a request without a body has no form"),
            Verdict::ObjectNeeded { .. } => panic!("no world has a database"),
            Verdict::Refused { refusal, grounds, .. } => (grounds.route, Err(refusal.full_code().to_owned())),
        }
    }

    /// Runs one entry of `tests:` of a route map and says what went wrong.
    pub fn run(&self, file: usize, test: &TestDocument) -> Result<(), String> {
        let world = (!test.settings.is_empty()).then(|| self.with_settings(file, &test.settings).unwrap());
        let world = world.as_ref().unwrap_or(self);
        let pair = |name: &str, value: &str| format!("{}={}", encoded(name), encoded(value));
        let form: Vec<String> = test.form.iter().map(|(name, value)| pair(&name.value, &value.value)).collect();
        let head = self.request(test);
        let judged = if form.is_empty() { world.judge(head) } else { world.judge_form(head, &form.join("&")) };
        as_expected(test, &judged)
    }

    /// The request of an entry of `tests:`, with the token of its principal.
    pub fn request(&self, test: &TestDocument) -> Parts {
        let (method, host, target) = request_of(test);
        let mut request = Request::builder().method(method).uri(target).header("host", host);
        for (name, value) in &test.headers {
            request = request.header(name.value.as_str(), value.value.as_str());
        }
        if let Some(principal) = &test.principal {
            let token = self.token(&principal.value, host, &test.token);
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(()).unwrap().into_parts().0
    }

    /// A token of a principal for the application of a host, with some of `tenant`, `aud`, `roles`, `groups` and `client`
    /// replaced.
    pub fn token(&self, principal: &str, host: &str, replaced: &[(Located<String>, Located<Literal>)]) -> String {
        KEY.mint(&self.claims(principal, host, replaced, NOW)).unwrap()
    }

    /// What such a token says if it is issued at `now`.
    pub fn claims(
        &self,
        principal: &str,
        host: &str,
        replaced: &[(Located<String>, Located<Literal>)],
        now: u64,
    ) -> Value {
        let application = self.snapshot.routes.application(&Host::parse(host).unwrap()).unwrap();
        let domain = self.domain_of(&application.name);
        let principal = domain.principals.iter().find(|known| known.id.value == principal).unwrap();
        let get = |name: &str| replaced.iter().find(|(known, _)| known.value == name).map(|(_, value)| &value.value);
        let text = |literal: &Literal| match literal {
            Literal::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        };
        let tenant = get("tenant").map_or_else(|| principal.tenant.value.clone(), text);
        let tenant = self.tenants.iter().find(|known| *known.name == *tenant).unwrap().id;
        let audience = get("aud").map_or_else(|| application.gate.audiences[0].to_string(), text);
        let roles: Vec<String> = match get("roles") {
            None => application.gate.app_roles.iter().map(ToString::to_string).collect(),
            Some(Literal::List(list)) => list.iter().map(text).collect(),
            Some(other) => vec![text(other)],
        };
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let token = UserToken {
            tenant_id: tenant,
            object_id: principal.known_by.text().value.parse().unwrap(),
            issuer: &issuer(tenant),
            kind: IssuerKind::EntraV2,
            audience: &audience,
            roles: &roles,
            username: &principal.id.value,
            now,
            lifetime: 3_600,
        };
        let groups = match get("groups") {
            None => Groups::listed(&[]),
            Some(Literal::Text(word)) if word == "unknown" => Groups::Unknown,
            Some(Literal::List(list)) => Groups::listed(&list.iter().map(text).collect::<Vec<_>>()),
            Some(one) => Groups::listed(&[text(one)]),
        };
        let mut claims = with_groups(token.claims(), &groups);
        if let Some(client) = get("client") {
            claims["azp"] = text(client).into();
        }
        claims
    }

    /// The grants that decide for an application.
    fn domain_of(&self, application: &str) -> &GrantsDocument {
        let mut applications = self.routes.iter().flat_map(|routes| &routes.applications);
        let found = applications.find(|known| known.name.value == application).unwrap();
        self.grants.iter().find(|grants| grants.domain.value == found.domain.value).unwrap()
    }
}

/// Claims that say these groups as Entra says them.
fn with_groups(mut claims: Value, groups: &Groups) -> Value {
    match groups {
        Groups::Listed(groups) if groups.is_empty() => {}
        Groups::Listed(groups) => claims["groups"] = groups.iter().map(|group| Value::from(&**group)).collect(),
        Groups::Unknown => {
            claims["_claim_names"] = json!({"groups": "src1"});
            claims["_claim_sources"] = json!({"src1": {"endpoint": "https://graph.example.org/groups"}});
        }
    }
    claims
}

/// A token of anybody, known to a world or not.
pub fn token_of(tenant: Guid, object: Guid, audience: &str, roles: &[&str], groups: &Groups) -> String {
    let token = UserToken {
        tenant_id: tenant,
        object_id: object,
        issuer: &issuer(tenant),
        kind: IssuerKind::EntraV2,
        audience,
        roles,
        username: "somebody",
        now: NOW,
        lifetime: 3_600,
    };
    KEY.mint(&with_groups(token.claims(), groups)).unwrap()
}

/// Method, host and target of a test.
pub fn request_of(test: &TestDocument) -> (&str, &str, &str) {
    let (method, url) = test.request.value.split_once(' ').unwrap();
    let url = url.strip_prefix("https://").unwrap();
    let (host, target) = url.split_at(url.find('/').unwrap());
    (method, host, target)
}

/// Compares what a test expects with what was found: nothing, or the code of a refusal with its subject.
pub fn as_expected(test: &TestDocument, found: &Result<(), String>) -> Result<(), String> {
    let good = match (found, &test.reason) {
        (Ok(()), _) => test.allow,
        (Err(_), None) => !test.allow,
        (Err(code), Some(reason)) => !test.allow && code.starts_with(&reason.value),
    };
    let expected = if test.allow { "allow" } else { "deny" };
    let reason = test.reason.as_ref().map_or("", |reason| reason.value.as_str());
    good.then_some(()).ok_or_else(|| format!("{}: expected {expected} {reason}, found {found:?}", test.id.value))
}

/// A `gateway.yaml`, which must be without faults.
pub fn gateway_of(text: &str) -> GatewayDocument {
    let mut report = Report::new();
    let source = report.add_source("gateway.yaml", text);
    let gateway = document::read_gateway(source, &mut report);
    assert!(!report.has_errors(), "{}", report.render());
    gateway.unwrap()
}

/// The tenants of a `gateway.yaml`.
pub fn tenants_of(text: &str) -> Vec<Tenant> {
    let tenants = gateway_of(text).tenants.into_iter();
    tenants.map(|tenant| Tenant::of_objects(&tenant.name.value, tenant.id.value.parse().unwrap())).collect()
}

fn issuer(tenant: Guid) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}
