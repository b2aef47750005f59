//! What `portcullis report` says: every cell agrees with the decision, every format says the same, and names that do not
//! exist are refused. The laws ask the library, the rest the real binary.

#[path = "support/process.rs"]
mod process;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::diag::Report;
use portcullis::document::routes::RoutesDocument;
use portcullis::model::{Level, Reason, Status};
use portcullis::policy::{Domain, Facts, HeaderValue, Held, Principal, Reach, RightId, ScopeId, decide};
use portcullis::review::report::{Access as Cell, Asker, Filter, Glob, State, Value};
use portcullis::review::{Policy, Request, World};
use portcullis::route::Access;
use portcullis::{config, document, reload};
use process::{ROOT, portcullis};
use proptest::prelude::*;
use serde_json::Value as Json;
use tempfile::TempDir;

const LEVELS: [Level; 3] = [Level::Read, Level::Write, Level::Delete];

/// A request that says nothing.
struct Silence;

impl Facts for Silence {
    fn segment(&self, _: usize) -> Option<&str> {
        None
    }

    fn rest(&self, _: usize) -> Option<&str> {
        None
    }

    fn query<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}

    fn header(&self, _: &str) -> HeaderValue<'_> {
        HeaderValue::Absent
    }
}

fn load(gateway: &Path) -> Policy {
    let mut report = Report::new();
    let config = config::load(gateway, &mut report);
    let policy = config.and_then(|config| reload::load_for_review(&config.policy, &mut report));
    policy.unwrap_or_else(|| panic!("{}", report.render()))
}

/// All examples that there are.
fn examples() -> Vec<PathBuf> {
    let folders = fs::read_dir(Path::new(ROOT).join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        folders.map(|folder| folder.join("gateway.yaml")).filter(|file| file.exists()).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// For a domain: a policy with a route for each right, node and level, which asks exactly that.
struct Asking {
    policy: Policy,
    domain: String,
    rights: Vec<String>,
    scopes: Vec<String>,
}

impl Asking {
    fn about(original: &Policy, world: World<'_>) -> Self {
        let rights: Vec<String> = world.domain.rights().map(|(_, name)| name.to_owned()).collect();
        let scopes: Vec<String> = world.domain.scopes().map(|(_, name)| name.to_owned()).collect();
        let domain = world.domain.name().to_string();
        let mut routes = String::new();
        for (number, right) in rights.iter().enumerate() {
            for (at, scope) in scopes.iter().enumerate() {
                for level in LEVELS {
                    let id = format!("{number}.{at}.{}", level.name());
                    routes.push_str(&format!(
                        "      - {{id: {id}, match: {{methods: [GET], path: \"/{id}\"}}, scopes: {{s: {{node: \"{scope}\"}}}}, \
                         require: \"{right}:{} @s\"}}\n",
                        level.name()
                    ));
                }
            }
        }
        let tenant = &original.tenants[0].0;
        let text = format!(
            "version: 1\nupstreams: {{law: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  - name: law\n    \
             hosts: [law.invalid]\n    domain: {domain}\n    upstream: law\n    gate: {{tenants: [{tenant}], audiences: \
             [law]}}\n    routes:\n{routes}"
        );
        let law = routes_document(&text);
        let mut maps = original.routes.clone();
        maps.push(law);
        let mut report = Report::new();
        let nothing = &|_: &_| Err("no files here".to_owned());
        let policy = Policy::compile(
            maps,
            original.grants.clone(),
            original.tenants.clone(),
            nothing,
            portcullis::reload::sha256,
            &mut report,
        );
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render()));
        Self { policy, domain, rights, scopes }
    }

    fn asker(&self) -> Asker<'_> {
        Asker::new(&self.policy, Some(&self.domain)).unwrap()
    }

    fn domain(&self) -> &Domain {
        self.asker().world.domain
    }

    /// What decisions say: the level up to which they permit, or why they do not.
    fn decided(&self, principal: &Principal, right: &str, scope: &str) -> State {
        let applications = self.policy.snapshot.routes.applications();
        let law = applications.iter().find(|application| &*application.name == "law").unwrap();
        let number = self.rights.iter().position(|known| known == right).unwrap();
        let at = self.scopes.iter().position(|known| known == scope).unwrap();
        let mut state = State::Nothing;
        for (offset, level) in LEVELS.iter().enumerate() {
            let route = &law.routes()[(number * self.scopes.len() + at) * LEVELS.len() + offset];
            let Access::Rules(rules) = &route.access else { panic!() };
            match decide(self.domain(), rules, principal, &Silence, Level::TOP) {
                Ok(()) => state = State::Up(*level),
                Err(denial) => match denial.reason {
                    Reason::RightLevel => assert!(matches!(state, State::Up(_))),
                    Reason::RightDenied => state = State::Denied,
                    Reason::RightMissing => assert_eq!(state, State::Nothing),
                    Reason::PrincipalInactive | Reason::PrincipalDeleted | Reason::PrincipalReserved => {
                        state = State::Off
                    }
                    other => panic!("{other:?}"),
                },
            }
        }
        state
    }
}

fn routes_document(text: &str) -> RoutesDocument {
    let mut report = Report::new();
    let source = report.add_source("law.yaml", text);
    let routes = document::read_routes(source, &mut report);
    assert!(!report.has_errors(), "{}", report.render());
    routes.unwrap()
}

fn level_of(state: State) -> Option<Level> {
    match state {
        State::Up(level) => Some(level),
        State::Off | State::Nothing | State::Denied => None,
    }
}

/// Every cell of every report on one domain says what decisions say. Returns how many cells were compared.
fn agrees(original: &Policy, world: World<'_>) -> usize {
    let asking = Asking::about(original, world);
    let (asker, domain) = (asking.asker(), asking.domain());
    let decided = |principal: usize, right: RightId, scope: ScopeId| {
        let principal = &domain.principals()[principal];
        asking.decided(principal, domain.right_name(right), domain.scope_name(scope))
    };
    let mut compared = 0;
    let lower_agrees = |principal: usize, cell: &Cell, rights: &[RightId]| {
        let scopes = domain.scopes().map(|(scope, _)| scope).filter(|scope| domain.is_at_or_below(*scope, cell.scope));
        let pairs = scopes.flat_map(|scope| rights.iter().map(move |right| (*right, scope)));
        let best = pairs.filter_map(|(right, scope)| level_of(decided(principal, right, scope))).max();
        let here = level_of(cell.state(domain.principals()[principal].status));
        assert_eq!(best.filter(|_| best > here), cell.lower.map(|lower| lower.level), "{cell:?}");
        if let Some(lower) = cell.lower {
            assert_eq!(decided(principal, lower.right, lower.scope), State::Up(lower.level));
        }
    };
    let all: Vec<RightId> = domain.rights().map(|(right, _)| right).collect();
    for scope in &asking.scopes {
        let report = asker.modules(Some(scope), None, Filter::default()).unwrap();
        let done: Result<(), Infallible> = report.tables[0].each(&mut |row| {
            let number = row.principal.unwrap();
            assert_eq!(row.cells.len(), all.len());
            for cell in row.cells {
                let state = decided(number, cell.right, cell.scope);
                assert_eq!(cell.state(row.status), state, "{:?} {cell:?}", row.values);
                if matches!(state, State::Up(_) | State::Denied) {
                    assert!(cell.sources.iter().any(|source| !source.grounds.is_empty()), "no source: {cell:?}");
                }
                if row.status == Status::Active {
                    let below = all.iter().copied().filter(|right| domain.is_right_at_or_below(*right, cell.right));
                    lower_agrees(number, cell, &below.collect::<Vec<_>>());
                }
                compared += 1;
            }
            Ok(())
        });
        done.unwrap();
    }
    for right in &asking.rights {
        let report = asker.scopes(Some(right), None, Filter::default()).unwrap();
        let done: Result<(), Infallible> = report.tables[0].each(&mut |row| {
            assert_eq!(row.cells.len(), asking.scopes.len());
            for cell in row.cells {
                let state = decided(row.principal.unwrap(), cell.right, cell.scope);
                assert_eq!(cell.state(row.status), state, "{:?} {cell:?}", row.values);
                compared += 1;
            }
            Ok(())
        });
        done.unwrap();
    }
    let report = asker.scopes(None, None, Filter::default()).unwrap();
    let done: Result<(), Infallible> = report.tables[0].each(&mut |row| {
        for cell in row.cells.iter().filter(|_| row.status == Status::Active) {
            let number = row.principal.unwrap();
            let levels: Vec<Level> =
                all.iter().filter_map(|right| level_of(decided(number, *right, cell.scope))).collect();
            assert_eq!(levels.iter().max().copied(), cell.held.level(), "{:?} {cell:?}", row.values);
            assert_eq!(cell.tally.unwrap().held, levels.len());
            lower_agrees(number, cell, &all);
            compared += 1;
        }
        Ok(())
    });
    done.unwrap();
    for (number, principal) in domain.principals().iter().enumerate() {
        let report = asker.principal(&principal.id).unwrap();
        let mut lines: Vec<Cell> = Vec::new();
        let rights = report.tables.iter().find(|table| table.key == "rights").unwrap();
        let done: Result<(), Infallible> = rights.each(&mut |row| {
            lines.extend_from_slice(row.cells);
            Ok(())
        });
        done.unwrap();
        for (scope, _) in domain.scopes() {
            for right in &all {
                // The rule that the report tells its readers: the nearest scope, then the nearest right.
                let covering = lines.iter().filter(|line| {
                    domain.is_at_or_below(scope, line.scope) && domain.is_right_at_or_below(*right, line.right)
                });
                let depth = |line: &&Cell| {
                    let above = domain.scopes().filter(|(upper, _)| domain.is_at_or_below(line.scope, *upper)).count();
                    (above, domain.right_name(line.right).matches('.').count())
                };
                let said = covering.max_by_key(depth).map_or(State::Nothing, |line| line.state(principal.status));
                let state = decided(number, *right, scope);
                if principal.status == Status::Active {
                    assert_eq!(said, state, "{} {}", principal.id, domain.right_name(*right));
                } else {
                    assert_eq!(state, State::Off);
                }
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn every_cell_agrees_with_the_decision_in_every_example() {
    for example in examples() {
        let policy = load(&example);
        let compared: usize = policy.worlds().map(|world| agrees(&policy, world)).sum();
        assert!(compared > 1000, "{}: only {compared} cells", example.display());
    }
}

/// A random world: three principals, two groups, a forest of four nodes, a tree of four rights.
fn worlds() -> impl Strategy<Value = String> {
    let rights = prop::sample::select(vec!["a", "a.b", "a.b.c", "d"]);
    let level = prop::sample::select(vec!["", ":read", ":write", ":delete", ":deny"]);
    let node = prop::sample::select(vec!["", " @n:1", " @n:2", " @n:3", " @n:4"]);
    let grant = (rights, level, node).prop_map(|(right, level, node)| format!("\"{right}{level}{node}\""));
    let grants = prop::collection::vec(grant, 0..5).prop_map(|grants| grants.join(", "));
    let across = prop::sample::select(vec![
        "deny_overrides",
        "deny_individual_first",
        "individual_first",
        "most_restrictive",
        "most_permissive",
    ]);
    let within = prop::sample::select(vec!["union", "nearest"]);
    let sets = prop::collection::vec(grants, 5);
    let status = prop::sample::select(vec!["active", "active", "active", "inactive", "deleted"]);
    (across, within, sets, any::<[bool; 4]>(), status).prop_map(|(across, within, sets, [boundary, capped, implied, nested], status)| {
        let boundary_of = |nodes: &str| if boundary { format!("boundary: [{nodes}], ") } else { String::new() };
        let id = |number: u32| format!("tenant: t, oid: 00000000-0000-4000-8000-00000000000{number}");
        format!(
            "version: 1\ndomain: d\nstrategy: {{across: {across}, within: {within}, boundary: {boundary}, caps: {}}}\n\
             scopes: {{forest: {{\"n:1\": root, \"n:2\": \"n:1\", \"n:3\": \"n:2\", \"n:4\": root}}}}\nimplies: {}\ngroups:\n  \
             G: {{grants: [{}]}}\n  H: {{flags: [low], parents: [{}], grants: [{}]}}\nprincipals:\n  - {{id: p, {}, {}groups: [G, H], \
             grants: [{}]}}\n  - {{id: q, {}, {}groups: [G], grants: [{}]}}\n  - {{id: r, {}, {}status: {status}, groups: [H], grants: \
             [{}]}}\n",
            if capped { "{low: read}" } else { "{}" },
            if implied { "{a.b: [d]}" } else { "{}" },
            sets[0],
            if nested { "G" } else { "" },
            sets[1],
            id(1),
            boundary_of("\"n:1\""),
            sets[2],
            id(2),
            boundary_of("root"),
            sets[3],
            id(3),
            boundary_of("\"n:3\", \"n:4\""),
            sets[4],
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_cell_agrees_with_the_decision_in_random_worlds(grants in worlds()) {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", &grants);
        let document = document::read_grants(source, &mut report);
        prop_assert!(!report.has_errors(), "{}", report.render());
        let tenants = vec![("t".into(), "11111111-1111-4111-8111-111111111111".parse().unwrap())];
        let nothing = &|_: &_| Err("no files here".to_owned());
        let routes = routes_document("version: 1\n");
        let policy = Policy::compile(vec![routes], vec![document.unwrap()], tenants, nothing, portcullis::reload::sha256, &mut report);
        let policy = policy.unwrap_or_else(|| panic!("{}\n{grants}", report.render()));
        for world in policy.worlds() {
            agrees(&policy, world);
        }
    }
}

/// How a report says a route is open to a principal, by method.
fn reach_of(policy: &Policy, domain: &str, principal: &str, application: &str, route: &str, method: &str) -> Reach {
    let report = Asker::new(policy, Some(domain)).unwrap().principal(principal).unwrap();
    let mut found = None;
    let routes = report.tables.iter().find(|table| table.key == "routes").unwrap();
    let done: Result<(), Infallible> = routes.each(&mut |row| {
        if let [Value::Text(app), Value::Text(id), Value::List(methods), Value::Reach(reach), _] = row.values.as_slice()
            && (app.as_str(), id.as_str()) == (application, route)
            && methods.iter().any(|known| known == method)
        {
            found = Some(reach.clone());
        }
        Ok(())
    });
    done.unwrap();
    found.unwrap_or_else(|| panic!("{principal}: no line for {method} {application} {route}"))
}

#[test]
fn no_route_that_lets_a_request_pass_is_reported_as_never_open() {
    let mut passed = 0;
    for example in examples() {
        let policy = load(&example);
        for test in policy.routes.iter().flat_map(|file| &file.tests).filter(|test| test.settings.is_empty()) {
            let request = Request::of_test(test).unwrap();
            let tried = request.try_on(&policy).unwrap();
            let grounds = &tried.grounds;
            let (None, Some(application), Some(route)) = (tried.code(), &grounds.application, &grounds.route) else {
                continue;
            };
            let Some(principal) = &grounds.principal else { continue };
            let domain = policy.snapshot.domains.get(application.domain).unwrap().name();
            let method = if request.method == "HEAD" { "GET" } else { &request.method };
            let reach = reach_of(&policy, domain, principal, &application.name, route, method);
            assert!(!matches!(reach, Reach::Never(_)), "{}: {reach:?}", test.id.value);
            passed += 1;
        }
    }
    assert!(passed >= 10, "only {passed} requests passed");
}

/// A small company: shops in two towns.
struct Shops(TempDir);

const SHOPS: [(&str, &str); 3] = [
    (
        "gateway.yaml",
        "version: 1
listeners: [{address: 127.0.0.1:8080}]
admin: {address: 127.0.0.1:9901}
routes: [routes.yaml]
grants: [grants.yaml]
tenants:
  - {name: t, id: 11111111-1111-4111-8111-111111111111, keys: dev.jwks.json}
  - {name: u, id: 22222222-2222-4222-8222-222222222222, keys: dev.jwks.json}
",
    ),
    (
        "routes.yaml",
        "version: 1
upstreams: {shop: {servers: [http://127.0.0.1:1]}}
applications:
  - name: shop
    hosts: [shop.example.org]
    domain: shops
    upstream: shop
    gate: {tenants: [t], audiences: [shop]}
    routes:
      - {id: home, match: {methods: [GET], path: /}, gate_only: true}
      - id: order
        match: {methods: [GET, DELETE], path: '/orders/{order}'}
        object: {kind: order, key: path.order}
        scopes: {main: {from: object.shop, kind: shop}}
        require: [orders.list:by_method]
      - id: order.edit
        match: {methods: [PUT], path: '/towns/{town}/orders/{order}'}
        object: {kind: order, key: path.order}
        scopes:
          town: {from: path.town, kind: town}
          main: {from: object.shop, kind: shop}
        require: [{flag: staff}, 'orders:write @town', {any: ['orders.list:write', 'prices:write @root']}, {eq: [path.town, object.town], reason: town_mismatch}]
",
    ),
    (
        "grants.yaml",
        "version: 1
domain: shops
strategy: {within: nearest, across: deny_overrides, caps: {trainee: read}}
scopes: {forest: {'town:N': root, 'shop:N1': 'town:N', 'shop:N2': 'town:N', 'town:S': root, 'shop:S1': 'town:S'}}
implies: {prices: [orders.list]}
roles: {Clerk: {rights: [orders:write]}}
groups:
  Staff: {flags: [staff]}
  North: {parents: [Staff], grants: [{role: Clerk, at: 'town:N'}]}
  Closed: {grants: ['orders:deny @shop:N2']}
  Left: {status: inactive}
principals:
  - {id: ann, tenant: t, oid: 00000000-0000-4000-8000-000000000001, groups: [North], grants: ['orders:delete @shop:S1']}
  - {id: bob, tenant: t, oid: 00000000-0000-4000-8000-000000000002, flags: [trainee], groups: [North, Closed]}
  - {id: cat, tenant: t, oid: 00000000-0000-4000-8000-000000000003, groups: [North, Left]}
  - {id: '=1+1', tenant: t, oid: 00000000-0000-4000-8000-000000000004, grants: ['prices:read']}
  - {id: '<b>eve</b>', tenant: u, oid: 00000000-0000-4000-8000-000000000005}
objects:
  order:1: {shop: N1, town: N}
  order:2: {shop: N2, town: N}
  order:3: {shop: N1, town: N}
",
    ),
];

impl Shops {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in SHOPS {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::copy(Path::new(ROOT).join("examples/dev.jwks.json"), folder.path().join("dev.jwks.json")).unwrap();
        Self(folder)
    }

    fn report(&self, arguments: &[&str]) -> String {
        let done = portcullis(self.0.path(), &[&["report"], arguments].concat());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{arguments:?}");
        done.out
    }

    /// The lines below the facts, without blanks at their ends.
    fn table(&self, arguments: &[&str]) -> String {
        let out = self.report(arguments);
        out.split_once("\n\n").unwrap().1.to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.report(&[arguments, &["--output", "json"]].concat())).unwrap()
    }
}

#[test]
fn print_for_me() {
    let shops = Shops::new();
    for arguments in [
        &["modules", "--at", "shop:N2"][..],
        &["modules", "--at", "town:N", "--output", "csv"],
        &["modules"],
        &["scopes", "--right", "orders.list"],
        &["scopes"],
        &["objects"],
        &["objects", "--right", "prices", "--output", "csv"],
        &["principal", "ann"],
        &["principal", "bob"],
        &["principal", "cat"],
        &["principal", "<b>eve</b>"],
        &["right", "orders.list"],
        &["right", "orders.list", "--output", "csv"],
        &["right", "orders.list", "--output", "json"],
        &["scopes", "--right", "orders", "--output", "json", "--principal", "b*"],
        &["principal", "ann", "--output", "json"],
        &["modules", "--output", "html"],
    ] {
        println!("=== {arguments:?}\n{}", shops.report(arguments));
    }
}
