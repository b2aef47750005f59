//! A policy loaded from a directory of an example, and requests judged by it without sockets: real documents, real
//! tokens signed with a development key, the real enforcement function.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use http::Request;
use http::request::Parts;
use portcullis::diag::Report;
use portcullis::document::grants::GrantsDocument;
use portcullis::document::routes::{RoutesDocument, TestDocument};
use portcullis::document::{self, Literal, Located};
use portcullis::model::Guid;
use portcullis::pep::{self, Verdict};
use portcullis::route::{self, host::Host};
use portcullis::snapshot::Snapshot;
use portcullis::token::mint::{DevelopmentKey, UserToken};
use portcullis::token::{Algorithms, Issuer, IssuerId, IssuerKind, Issuers, KeyRing, KeySet, Rules, Verifier};

/// The moment at which all requests are judged, in Unix seconds.
pub const NOW: u64 = 1_800_000_000;

/// One key for all worlds: making one takes a while.
static KEY: LazyLock<DevelopmentKey> = LazyLock::new(|| DevelopmentKey::generate().unwrap());

/// A policy with everything that it takes to judge requests by it.
pub struct World {
    pub snapshot: Arc<Snapshot>,
    pub verifier: Verifier,
    pub tenants: Vec<(Arc<str>, Guid)>,
    pub routes: RoutesDocument,
    pub grants: GrantsDocument,
}

impl World {
    /// Loads `gateway.yaml` (for its tenants), `routes.yaml` and `grants.yaml` of a directory.
    pub fn load(directory: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        Self::from_texts(&read("gateway.yaml"), &read("routes.yaml"), &read("grants.yaml"))
    }

    /// Compiles three texts, which must be without faults.
    pub fn from_texts(gateway: &str, routes: &str, grants: &str) -> Self {
        let mut report = Report::new();
        let gateway = report.add_source("gateway.yaml", gateway);
        let gateway = document::read_gateway(gateway, &mut report);
        let routes = report.add_source("routes.yaml", routes);
        let routes = document::read_routes(routes, &mut report);
        let grants = report.add_source("grants.yaml", grants);
        let grants = document::read_grants(grants, &mut report);
        assert!(!report.has_errors(), "{}", report.render());
        let tenants = gateway.unwrap().tenants;
        let tenants =
            tenants.iter().map(|tenant| (tenant.name.value.as_str().into(), tenant.id.value.parse().unwrap()));
        Self::compile(tenants.collect(), routes.unwrap(), grants.unwrap())
    }

    fn compile(tenants: Vec<(Arc<str>, Guid)>, routes: RoutesDocument, grants: GrantsDocument) -> Self {
        let mut report = Report::new();
        let inputs = route::Inputs {
            routes: std::slice::from_ref(&routes),
            grants: std::slice::from_ref(&grants),
            tenants: &tenants,
            files: &|_| Err("no files here".into()),
            sha256: portcullis::reload::sha256,
        };
        let compiled = route::compile(inputs, &mut report);
        let compiled = compiled.unwrap_or_else(|| panic!("{}", report.render()));
        let issuers = tenants.iter().map(|(name, id)| Issuer {
            tenant: Arc::clone(name),
            tenant_id: *id,
            url: issuer(*id),
            kind: IssuerKind::EntraV2,
        });
        let issuers: Vec<Issuer> = issuers.collect();
        let keys = Arc::new(KeySet::parse(KEY.jwks().as_bytes()).unwrap());
        let ring = (0..issuers.len()).fold(KeyRing::empty(issuers.len()), |ring, number| {
            ring.with(IssuerId(u16::try_from(number).unwrap()), Arc::clone(&keys), NOW)
        });
        let rules = Rules { leeway: 60, max_lifetime: 100_800, algorithms: Algorithms { rs256: true, es256: true } };
        let snapshot = Snapshot {
            serial: 1,
            loaded_at: NOW,
            routes: Arc::new(compiled.routes),
            domains: Arc::new(compiled.domains),
            keys: Arc::new(ring),
        };
        let verifier = Verifier::new(Issuers::new(issuers), rules, 10_000);
        Self { snapshot: Arc::new(snapshot), verifier, tenants, routes, grants }
    }

    /// The same world with other values of some settings.
    pub fn with_settings(&self, settings: &[(Located<String>, Literal)]) -> Self {
        let mut routes = self.routes.clone();
        for (name, value) in settings {
            let known = routes.settings.iter_mut().find(|(known, _)| known.value == name.value);
            known.unwrap_or_else(|| panic!("no setting {}", name.value)).1 = value.clone();
        }
        Self::compile(self.tenants.clone(), routes, self.grants.clone())
    }

    /// Judges a request without a body at [`NOW`]: the code of the refusal with its subject, or nothing if it may pass.
    pub fn judge(&self, head: Parts) -> Result<(), String> {
        match pep::authorize(&self.snapshot, &self.verifier, head, NOW) {
            Verdict::Permitted(_) => Ok(()),
            Verdict::Refused { refusal, .. } => Err(refusal.full_code().to_owned()),
        }
    }

    /// Runs one entry of `tests:` and says what went wrong.
    pub fn run(&self, test: &TestDocument) -> Result<(), String> {
        let world = (!test.settings.is_empty()).then(|| self.with_settings(&test.settings));
        let found = world.as_ref().unwrap_or(self).judge(self.request(test));
        let as_expected = match (&found, &test.reason) {
            (Ok(()), _) => test.allow,
            (Err(_), None) => !test.allow,
            (Err(code), Some(reason)) => !test.allow && code.starts_with(&reason.value),
        };
        let expected = if test.allow { "allow" } else { "deny" };
        let reason = test.reason.as_ref().map_or("", |reason| reason.value.as_str());
        as_expected
            .then_some(())
            .ok_or_else(|| format!("{}: expected {expected} {reason}, found {found:?}", test.id.value))
    }

    /// The request of an entry of `tests:`, with the token of its principal.
    pub fn request(&self, test: &TestDocument) -> Parts {
        let (method, url) = test.request.value.split_once(' ').unwrap();
        let (host, target) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/{target}")).header("host", host);
        for (name, value) in &test.headers {
            request = request.header(name.value.as_str(), value.value.as_str());
        }
        if let Some(principal) = &test.principal {
            let token = self.token(&principal.value, host, &test.token);
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(()).unwrap().into_parts().0
    }

    /// A token of a principal for the application of a host, with some of `tenant`, `aud` and `roles` replaced.
    pub fn token(&self, principal: &str, host: &str, replaced: &[(Located<String>, Located<Literal>)]) -> String {
        let application = self.snapshot.routes.application(&Host::parse(host).unwrap()).unwrap();
        let principal = self.grants.principals.iter().find(|known| known.id.value == principal).unwrap();
        let get = |name: &str| replaced.iter().find(|(known, _)| known.value == name).map(|(_, value)| &value.value);
        let text = |literal: &Literal| match literal {
            Literal::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        };
        let tenant = get("tenant").map_or_else(|| principal.tenant.value.clone(), text);
        let (_, tenant) = self.tenants.iter().find(|(name, _)| **name == *tenant).unwrap();
        let audience = get("aud").map_or_else(|| application.gate.audiences[0].to_string(), text);
        let roles: Vec<String> = match get("roles") {
            None => application.gate.app_roles.iter().map(ToString::to_string).collect(),
            Some(Literal::List(list)) => list.iter().map(text).collect(),
            Some(other) => vec![text(other)],
        };
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let token = UserToken {
            tenant_id: *tenant,
            object_id: principal.oid.value.parse().unwrap(),
            issuer: &issuer(*tenant),
            kind: IssuerKind::EntraV2,
            audience: &audience,
            roles: &roles,
            username: &principal.id.value,
            now: NOW,
            lifetime: 3_600,
        };
        KEY.mint(&token.claims()).unwrap()
    }
}

fn issuer(tenant: Guid) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}
