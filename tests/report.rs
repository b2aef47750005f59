//! What `portcullis report` says: every cell agrees with the decision, every format says the same, and names that do not
//! exist are refused. The laws ask the library, the rest the real binary.

#[path = "support/process.rs"]
mod process;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::diag::Report;
use portcullis::document::routes::RoutesDocument;
use portcullis::model::{Level, Reason, Status, Tenant};
use portcullis::policy::{Domain, Facts, HeaderValue, Principal, Reach, RightId, ScopeId, decide};
use portcullis::review::report::{Access as Cell, Asker, Filter, State, Value};
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

    fn form<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}

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
        let tenant = &original.tenants[0].name;
        let text = format!(
            "version: 1\nupstreams: {{law: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  - name: law\n    \
             hosts: [law.invalid]\n    domain: {domain}\n    upstream: law\n    gate: {{tenants: [{tenant}], audiences: \
             [law]}}\n    routes:\n{routes}"
        );
        // A world without rights has no routes.
        let text = if text.trim_end().ends_with("routes:") { format!("{} []\n", text.trim_end()) } else { text };
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
    fn decided(&self, principal: Principal<'_>, right: &str, scope: &str) -> State {
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
        let principal = domain.principals().get(principal).unwrap();
        asking.decided(principal, domain.right_name(right), domain.scope_name(scope))
    };
    let mut compared = 0;
    let lower_agrees = |principal: usize, cell: &Cell, rights: &[RightId]| {
        let scopes = domain.scopes().map(|(scope, _)| scope).filter(|scope| domain.is_at_or_below(*scope, cell.scope));
        let pairs = scopes.flat_map(|scope| rights.iter().map(move |right| (*right, scope)));
        let best = pairs.filter_map(|(right, scope)| level_of(decided(principal, right, scope))).max();
        let here = level_of(cell.state(domain.principals().get(principal).unwrap().status()));
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
        let report = asker.principal(principal.id()).unwrap();
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
                let said = covering.max_by_key(depth).map_or(State::Nothing, |line| line.state(principal.status()));
                let state = decided(number, *right, scope);
                if principal.status() == Status::Active {
                    assert_eq!(said, state, "{} {}", principal.id(), domain.right_name(*right));
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
        // The edge has two people and three rights.
        let least = if example.ends_with("edge/gateway.yaml") { 50 } else { 1000 };
        assert!(compared > least, "{}: only {compared} cells", example.display());
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
        let tenants = vec![Tenant::of_objects("t", "11111111-1111-4111-8111-111111111111".parse().unwrap())];
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
        if let [Value::Text(app), Value::Text(id), Value::List(methods), _, Value::Reach(reach), _] =
            row.values.as_slice()
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

    /// The lines below the facts.
    fn table(&self, arguments: &[&str]) -> String {
        let out = self.report(arguments);
        out.split_once("\n\n").unwrap().1.to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.report(&[arguments, &["--output", "json"]].concat())).unwrap()
    }
}

#[test]
fn a_matrix_that_fits_is_printed_as_such() {
    let expected = "  principal   status                 orders                     orders.list                prices
  ann         active                 write (North, role Clerk)  write (North, role Clerk)  -
  bob         active                 denied (Closed)            denied (Closed)            -
  cat         inactive (group Left)  off                        off                        -
  =1+1        active                 lower: read                read (own via prices)      read (own)
  <b>eve</b>  active                 -                          -                          -
";
    assert_eq!(Shops::new().table(&["modules", "--at", "shop:N2"]), expected);
}

#[test]
fn a_matrix_that_does_not_fit_is_turned_or_else_folded() {
    let shops = Shops::new();
    let turned = "  principal    ann                          bob
  status       active                       active
  root         lower: delete                lower: read
    town:N     write (North, role Clerk)    read (North, role Clerk; capped by trainee)
      shop:N1  write (North, role Clerk)    read (North, role Clerk; capped by trainee)
      shop:N2  write (North, role Clerk)    denied (Closed)
    town:S     lower: delete                -
      shop:S1  delete (own)                 -
";
    let table = shops.table(&["scopes", "--right", "orders", "--group", "North", "--only-held"]);
    let squeezed = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(squeezed(&table), squeezed(turned));
    let folded = "  What is not listed is as the nearest line above it in the hierarchy, or nothing.

ann  active
  root     lower: delete at shop:S1
  town:N   write (North, role Clerk)
  shop:S1  delete (own)

bob  active
  root     lower: read at town:N
  town:N   read (North, role Clerk; capped by trainee)
  shop:N2  denied (Closed)

cat  inactive (group Left)
  nothing counts: the account is not active

=1+1  active
  root  read (own via prices)

<b>eve</b>  active
  nothing
";
    assert_eq!(shops.table(&["scopes", "--right", "orders.list"]), folded);
}

#[test]
fn filters_leave_rows_out() {
    let shops = Shops::new();
    let all = ["ann", "bob", "cat", "=1+1", "<b>eve</b>"];
    for (arguments, expected) in [
        (&[][..], &all[..]),
        (&["--principal", "*"], &all),
        (&["--principal", "b*"], &["bob"]),
        (&["--group", "North"], &["ann", "bob", "cat"]),
        (&["--group", "Staff"], &["ann", "bob", "cat"]),
        (&["--only-held"], &["ann", "bob", "=1+1"]),
        (&["--level", "write"], &["ann"]),
        (&["--level", "write", "--at", "shop:N2"], &["ann"]),
        (&["--level", "read", "--at", "shop:S1", "--group", "North"], &["ann"]),
        (&["--only-held", "--right", "prices"], &["=1+1"]),
    ] {
        let report = shops.json(&[&["modules"], arguments].concat());
        let rows = report["tables"]["access"]["rows"].as_array().unwrap();
        let found: Vec<&str> = rows.iter().map(|row| row["principal"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{arguments:?}");
    }
}

#[test]
fn objects_lead_to_nodes_and_to_all_above_them() {
    let report = Shops::new().json(&["objects"]);
    assert_eq!(report["facts"]["right"], "orders.list", "the only right that routes ask for there");
    let columns = &report["tables"]["access"]["columns"];
    let expected = serde_json::json!([
        {"name": "town:N", "below": null, "objects": []},
        {"name": "shop:N1", "below": "town:N", "objects": ["order:1", "order:3"]},
        {"name": "shop:N2", "below": "town:N", "objects": ["order:2"]},
    ]);
    assert_eq!(*columns, expected);
    let one = Shops::new().json(&["objects", "--object", "order:2", "--kind", "order"]);
    let names: Vec<&Json> =
        one["tables"]["access"]["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["town:N", "shop:N2"]);
}

#[test]
fn json_has_the_level_its_grounds_and_their_places() {
    let report = Shops::new().json(&["scopes", "--right", "orders", "--principal", "bob"]);
    let cells = &report["tables"]["access"]["rows"][0]["cells"];
    let expected = serde_json::json!({
        "root": {"state": "nothing", "level": null, "sources": [], "lower": {"level": "read", "right": "orders", "scope": "town:N"}},
        "town:N": cells["shop:N1"],
        "shop:N1": {"state": "held", "level": "read", "capped_by": "trainee", "sources": [{"group": "North", "grants": [
            {"right": "orders", "scope": "town:N", "role": "Clerk", "written_at": "grants.yaml:9:38"}]}]},
        "shop:N2": {"state": "denied", "level": null, "sources": [{"group": "Closed", "grants": [
            {"right": "orders", "scope": "shop:N2", "written_at": "grants.yaml:10:21"}]}]},
    });
    assert_eq!(*cells, expected);
    let cat = Shops::new().json(&["scopes", "--right", "orders", "--principal", "cat"]);
    let row = &cat["tables"]["access"]["rows"][0];
    assert_eq!(row["status"], serde_json::json!({"is": "inactive", "because_of": ["Left"]}));
    assert_eq!((&row["cells"]["shop:N1"]["state"], &row["cells"]["shop:N1"]["level"]), (&"off".into(), &Json::Null));
    assert_eq!(row["cells"]["shop:N1"]["would_hold"], "write");
}

#[test]
fn csv_is_one_line_a_principal_and_runs_nothing() {
    let expected = "\"principal\",\"status\",\"orders\",\"orders.list\",\"prices\"\r
\"ann\",\"active\",\"write (North, role Clerk)\",\"write (North, role Clerk)\",\"\"\r
\"bob\",\"active\",\"read (North, role Clerk; capped by trainee)\",\"read (North, role Clerk; capped by trainee)\",\"\"\r
\"cat\",\"inactive (group Left)\",\"off\",\"off\",\"\"\r
\"'=1+1\",\"active\",\"lower: read\",\"read (own via prices)\",\"read (own)\"\r
\"<b>eve</b>\",\"active\",\"\",\"\",\"\"\r
";
    assert_eq!(Shops::new().report(&["modules", "--at", "town:N", "--output", "csv"]), expected);
}

#[test]
fn a_right_has_its_holders_and_the_routes_that_ask_for_it() {
    let expected = "Who holds it
  A line counts for all that lies below its scope, until another line says otherwise.
  principal  status                 scope    access                                       written at
  ann        active                 town:N   write (North, role Clerk)                    grants.yaml:9:38
  ann        active                 shop:S1  delete (own)                                 grants.yaml:13:95
  bob        active                 town:N   read (North, role Clerk; capped by trainee)  grants.yaml:9:38
  bob        active                 shop:N2  denied (Closed)                              grants.yaml:10:21
  cat        inactive (group Left)  town:N   off (else write (North, role Clerk))         grants.yaml:9:38
  =1+1       active                 root     read (own via prices)                        grants.yaml:16:81

Routes that ask for it
  application  route       methods      mode     right        level      scope  written at
  shop         order       GET, DELETE  enforce  orders.list  by method  main   routes.yaml:15:19
  shop         order.edit  PUT          enforce  orders.list  write      main   routes.yaml:22:63
";
    assert_eq!(Shops::new().table(&["right", "orders.list"]), expected);
}

#[test]
fn a_principal_has_its_account_its_rights_and_its_routes() {
    let shops = Shops::new();
    let ann = shops.table(&["principal", "ann"]);
    for line in [
        "  Staff  North                   grants.yaml:8:3",
        "  North  itself                  grants.yaml:9:3",
        "  staff  Staff",
        "  orders  town:N   write (North, role Clerk)  grants.yaml:9:38",
        "  orders  shop:S1  delete (own)               grants.yaml:13:95",
        "  shop         home        GET      enforce  anywhere                                          routes.yaml:10:14",
        "  shop         order       GET      enforce  anywhere                                          routes.yaml:11:13",
        "  shop         order       DELETE   enforce  never: orders.list:by_method (routes.yaml:15:19)  routes.yaml:11:13",
        "  shop         order.edit  PUT      enforce  town = town:N                                     routes.yaml:16:13",
    ] {
        assert!(ann.lines().any(|found| found == line), "{line}\n{ann}");
    }
    for (principal, route, method, expected) in [
        ("bob", "order", "GET", "main = shop:N1"),
        ("bob", "order.edit", "PUT", "never: orders:write @town (routes.yaml:22:34)"),
        ("cat", "order", "GET", "never: the account is inactive"),
        ("cat", "home", "GET", "anywhere"),
        ("=1+1", "order", "GET", "anywhere"),
        ("=1+1", "order.edit", "PUT", "never: flag staff (routes.yaml:22:19)"),
        ("<b>eve</b>", "home", "GET", "never: tenant of the gate (routes.yaml:8:11)"),
    ] {
        let report = shops.table(&["principal", principal]);
        let fits = |line: &&str| line.split_whitespace().nth(1) == Some(route) && line.contains(method);
        let line = report.lines().find(fits).unwrap();
        assert!(line.contains(expected), "{principal} {route}: {line}");
    }
}

#[test]
fn html_is_one_page_that_needs_nothing_and_runs_nothing() {
    let shops = Shops::new();
    for report in [&["modules"][..], &["scopes"], &["objects"], &["principal", "<b>eve</b>"], &["right", "orders"]] {
        let page = shops.report(&[report, &["--output", "html"]].concat());
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") && page.ends_with("</html>\n"));
        for part in ["<title>", "@media print", "position: sticky", "generated at", "Legend", "class=\"summary\""] {
            assert!(page.contains(part), "{report:?}: {part}");
        }
        for part in ["<script", "src=", "href=", "url(", "@import", "http:", "https:", "<b>eve"] {
            assert!(!page.contains(part), "{report:?}: {part}");
        }
    }
    let page = shops.report(&["modules", "--at", "town:N", "--output", "html"]);
    let line = "<tr><th scope=\"row\">=1+1</th><td>active</td><td class=\"lower\" title=\"lower: read of orders.list at town:N\">\
                <b>lower: read</b> <small>of orders.list</small></td><td class=\"read\" title=\"own: prices, grants.yaml:16:81\">\
                <b>read</b> <small>own via prices</small></td><td class=\"read\" title=\"own: prices, grants.yaml:16:81\"><b>read</b> \
                <small>own</small></td></tr>";
    assert!(page.lines().any(|found| found == line), "{page}");
    assert!(page.contains("&lt;b&gt;eve&lt;/b&gt;"));
}

#[test]
fn a_name_that_nothing_has_is_exit_code_2_with_the_nearest_one() {
    let shops = Shops::new();
    for (arguments, expected) in [
        (&["principal", "anne"][..], "error: there is no principal `anne`\nhelp: did you mean `ann`?\n"),
        (&["right", "order"], "error: there is no right `order`\nhelp: did you mean `orders`?\n"),
        (&["scopes", "--right", "price"], "error: there is no right `price`\nhelp: did you mean `prices`?\n"),
        (&["modules", "--at", "town:n"], "error: there is no scope node `town:n`\nhelp: did you mean `town:N`?\n"),
        (&["modules", "--right", "x*"], "error: no right fits `x*`\n"),
        (&["modules", "--principal", "an"], "error: there is no principal `an`\nhelp: did you mean `ann`?\n"),
        (&["modules", "--group", "Nort"], "error: there is no group `Nort`\nhelp: did you mean `North`?\n"),
        (&["scopes", "--scope", "city:*"], "error: no scope node fits `city:*`\n"),
        (&["objects", "--kind", "orders"], "error: there is no object of kind `orders`\nhelp: did you mean `order`?\n"),
        (&["modules", "--domain", "shop"], "error: there is no domain `shop`\nhelp: did you mean `shops`?\n"),
    ] {
        let done = portcullis(shops.0.path(), &[&["report"], arguments].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (2, "", expected), "{arguments:?}");
    }
    for arguments in [&[][..], &["modules", "--level", "top"], &["modules", "--output", "pdf"], &["principal"]] {
        assert_eq!(portcullis(shops.0.path(), &[&["report"], arguments].concat()).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_configuration_with_faults_is_exit_code_3() {
    let shops = Shops::new();
    process::edit(&shops.0.path().join("grants.yaml"), "parents: [Staff]", "parents: [Stuff]");
    let done = portcullis(shops.0.path(), &["report", "modules"]);
    assert_eq!((done.code, done.out.as_str()), (3, ""));
    assert!(done.err.contains("did you mean `Staff`?"), "{}", done.err);
}

#[test]
fn of_several_domains_one_must_be_named() {
    let shops = Shops::new();
    let folder = shops.0.path();
    let other = "version: 1\ndomain: other\nprincipals:\n  - {id: zoe, tenant: t, oid: 00000000-0000-4000-8000-000000000009, grants: [x]}\n";
    fs::write(folder.join("other.yaml"), other).unwrap();
    process::edit(&folder.join("gateway.yaml"), "[grants.yaml]", "[grants.yaml, other.yaml]");
    let done = portcullis(folder, &["report", "modules"]);
    let expected = "error: there are 2 domains, not one\nhelp: add `--domain shops` or `--domain other`\n";
    assert_eq!((done.code, done.err.as_str()), (2, expected));
    let expected = "  principal  status  x\n  zoe        active  held (own)\n";
    assert_eq!(shops.table(&["modules", "--domain", "other"]), expected);
}
