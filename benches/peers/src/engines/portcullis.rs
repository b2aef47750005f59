//! Portcullis itself: the decision as the gateway makes it, and the same with the route found first.

use std::fmt::Write;

use http::{HeaderMap, Method};
use portcullis::model::{Level as Asked, PrincipalKey};
use portcullis::pep::RequestFacts;
use portcullis::policy::{Claimed, Domain, Rules, decide};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::host::Host;
use portcullis::route::{Access, Application, Route};

use super::Engine;
use crate::policy_world::World as Compiled;
use crate::world::{Case, LANDS, Level, RIGHTS, TERRITORIES, World, land};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const HOST: &str = "app.example.org";
/// What most tokens say of groups and roles.
const NO_CLAIMS: Claimed<'_> = Claimed { groups: Some(&[]), roles: &[] };

/// Everything lives as long as the process, so that questions may borrow from the world.
struct Shared {
    domain: &'static Domain,
    application: &'static Application,
}

/// The decision alone: who asks and what the request says are at hand, as the others have them.
pub struct Decision {
    domain: &'static Domain,
    cases: Vec<Prepared>,
}

struct Prepared {
    principal: PrincipalKey,
    rules: &'static Rules,
    facts: RequestFacts<'static>,
    level: Asked,
}

/// From a path and a method to the answer: canonical path, route, facts, decision.
pub struct FromPath {
    shared: Shared,
    cases: Vec<(PrincipalKey, String, Method)>,
}

/// Both, over one world.
pub fn both(world: &World, cases: &[Case]) -> (Decision, FromPath) {
    let (gateway, routes, grants) = texts(world);
    let compiled: &'static Compiled = Box::leak(Box::new(Compiled::from_texts(&gateway, &routes, &grants)));
    let application = compiled.snapshot.routes.application(&Host::parse(HOST).unwrap()).unwrap();
    let domain = compiled.snapshot.domains.get(application.domain).unwrap();
    let headers: &'static HeaderMap = Box::leak(Box::default());
    let questions: Vec<_> = cases.iter().map(question).collect();
    let prepared = questions.iter().map(|(principal, path, method)| {
        let path: &'static str = Box::leak(path.clone().into_boxed_str());
        let path: &'static CanonicalPath<'static> = Box::leak(Box::new(CanonicalPath::new(path).unwrap()));
        let route = application.route(path, method).unwrap();
        let rules = rules(route);
        let facts = RequestFacts::new(path, "", headers, rules, application.backend).unwrap();
        Prepared { principal: *principal, rules, facts, level: route.level(method) }
    });
    let decision = Decision { domain, cases: prepared.collect() };
    (decision, FromPath { shared: Shared { domain, application }, cases: questions })
}

impl Engine for Decision {
    fn name(&self) -> &'static str {
        "Portcullis"
    }

    fn allows(&mut self, case: usize) -> bool {
        let case = &self.cases[case];
        let principal = self.domain.principal(case.principal).unwrap();
        let member = self.domain.member(principal, NO_CLAIMS);
        decide(self.domain, case.rules, member, &case.facts, case.level).is_ok()
    }
}

impl Engine for FromPath {
    fn name(&self) -> &'static str {
        "Portcullis, from the path on"
    }

    fn allows(&mut self, case: usize) -> bool {
        let Shared { domain, application } = self.shared;
        let (principal, path, method) = &self.cases[case];
        let path = CanonicalPath::new(path).unwrap();
        let route = application.route(&path, method).unwrap();
        let (rules, headers) = (rules(route), HeaderMap::new());
        let facts = RequestFacts::new(&path, "", &headers, rules, application.backend).unwrap();
        let member = domain.member(domain.principal(*principal).unwrap(), NO_CLAIMS);
        decide(domain, rules, member, &facts, route.level(method)).is_ok()
    }
}

fn rules(route: &Route) -> &Rules {
    match &route.access {
        Access::Rules(rules) => rules,
        _ => panic!("`{}` asks nothing", route.id),
    }
}

fn question(case: &Case) -> (PrincipalKey, String, Method) {
    let principal =
        PrincipalKey { tenant: TENANT.parse().unwrap(), object: object_id(case.principal).parse().unwrap() };
    let method = match case.level {
        Level::Read => Method::GET,
        Level::Write => Method::PUT,
    };
    (principal, format!("/right{}/territories/T{}", case.right, case.territory), method)
}

fn object_id(principal: usize) -> String {
    format!("{principal:08x}-0000-4000-8000-000000000000")
}

/// `gateway.yaml`, the route map and the grants.
fn texts(world: &World) -> (String, String, String) {
    let gateway = format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [r]\ngrants: [g]\ntenants: [{{name: t, id: {TENANT}}}]\n"
    );
    let mut routes = format!(
        "version: 1\nupstreams: {{app: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  - name: app\n    hosts: [{HOST}]\n    domain: d\n    upstream: app\n    gate: {{tenants: [t], audiences: [api://app]}}\n    routes:\n"
    );
    for right in 0..RIGHTS {
        writeln!(
            routes,
            "      - {{id: r{right}, match: {{methods: [GET, PUT], path: \"/right{right}/territories/{{territory}}\"}}, scopes: {{main: {{from: path.territory, kind: territory}}}}, require: \"app.right{right}:by_method\"}}"
        )
        .unwrap();
    }
    let mut grants =
        "version: 1\ndomain: d\nstrategy: {within: union, across: deny_overrides}\nscopes:\n  forest:\n".to_owned();
    for number in 0..LANDS {
        writeln!(grants, "    \"land:L{number}\": root").unwrap();
    }
    for territory in 0..TERRITORIES {
        writeln!(grants, "    \"territory:T{territory}\": \"land:L{}\"", land(territory)).unwrap();
    }
    grants += "groups:\n";
    for (number, group) in world.groups.iter().enumerate() {
        let level = group.level.map_or("deny", Level::word);
        writeln!(grants, "  G{number}: {{grants: [\"app.right{}:{level} @land:L{}\"]}}", group.right, group.land)
            .unwrap();
    }
    grants += "principals:\n";
    for (number, principal) in world.principals.iter().enumerate() {
        let groups: Vec<String> = principal.groups.iter().map(|group| format!("G{group}")).collect();
        let own = principal.grants.iter().map(|grant| {
            format!("\"app.right{}:{} @territory:T{}\"", grant.right, grant.level.word(), grant.territory)
        });
        writeln!(
            grants,
            "  - {{id: p{number}, tenant: t, oid: {}, groups: [{}], grants: [{}]}}",
            object_id(number),
            groups.join(", "),
            own.collect::<Vec<_>>().join(", ")
        )
        .unwrap();
    }
    (gateway, routes, grants)
}
