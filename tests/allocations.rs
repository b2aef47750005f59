//! Neither finding a route nor a decision needs memory: a counting allocator sees none asked for on the way from a target
//! to its route, nor in `policy::decide`, whether it allows or denies, whatever kind of denial it is and wherever the values
//! come from. What a request brings is decoded before.

mod support;

use std::collections::BTreeSet;
use std::hint::black_box;

use allocation_counter::measure;
use http::Request;
use http::request::Parts;
use portcullis::model::{Guid, PrincipalKey};
use portcullis::pep::{RequestFacts, authorize};
use portcullis::policy::{Claimed, decide};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::host::Host;
use portcullis::route::{Access, Readings};
use support::world::{ENVIRONMENT, World};

const GATEWAY: &str = "
version: 1
listeners: [{address: 127.0.0.1:8080}]
routes: [r]
grants: [g]
tenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]
";

const ROUTES: &str = r#"
version: 1
settings: {list: [one, two], mask: 3, limit: 2}
upstreams: {app: {servers: ["http://127.0.0.1:1"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [api://app]}
    routes:
      - {id: any, match: {methods: [GET], path: /any}, require: []}
      - id: path
        match: {methods: [GET, PUT, DELETE], path: "/path/{town}"}
        scopes: {main: {from: path.town, kind: town}}
        require: "m.area.item:by_method"
      - id: query
        match: {methods: [GET], path: /query}
        scopes: {main: {from: query.town, kind: town}}
        require: m.area
      - id: header
        match: {methods: [GET], path: /header}
        scopes: {main: {from: header.X-Town, kind: town}}
        require: m.area
      - id: agree
        match: {methods: [GET], path: "/agree/{town}"}
        scopes: {main: {from: [path.town, query.town, header.X-Town], kind: town}}
        require: m.area
      - id: object
        match: {methods: [GET], path: "/object/{doc}"}
        object: {kind: doc, key: path.doc}
        scopes:
          main: {from: object.town, kind: town}
          other: {from: query.town, kind: town, missing: {same_as: main}}
        require: [m.area @other, {in: [principal.id, object.people], reason: no_reader}]
      - id: alias
        match: {methods: [GET], path: "/alias/{code}"}
        scopes: {main: {from: path.code, kind: code}, fixed: {node: "land:N"}, skipped: {from: query.z, kind: town, missing: skip}}
        require: [m.area, {any: [m.nothing @skipped, m.area @fixed/*]}]
      - id: skipped
        match: {methods: [GET], path: /skipped}
        scopes: {skipped: {from: query.z, kind: town, missing: skip}}
        require: m.area @skipped
      - id: below
        match: {methods: [GET], path: "/below/{land}"}
        scopes: {main: {from: path.land, kind: land}}
        require: deep.right @main/*
      - id: named
        match: {methods: [GET], path: "/named/{k}/{rest...}"}
        require: [{in: [path.k, setting.list], reason: outside}, "area.{k}"]
      - id: flags
        match: {methods: [GET], path: /flags}
        require: [{flag: f}, {not_flag: g}]
      - id: unless
        match: {methods: [GET], path: "/unless/{town}"}
        scopes: {main: {from: path.town, kind: town}}
        require: {unless_denied: m.area.item}
      - id: compare
        match: {methods: [GET], path: "/compare/{k}"}
        require:
          - {eq: [path.k, query.k], reason: differs}
          - {not_in: [query.k, [admin, 7]], reason: taken}
          - {lt: [query.n, setting.limit], reason: too_many}
          - {eq: [header.X-K, "true"], reason: untrue}
      - id: count
        match: {methods: [GET], path: "/count/{doc}"}
        object: {kind: doc, key: path.doc}
        require:
          - {lt: [count(object.people), setting.limit], reason: complete}
          - {not_in: [principal.id, object.people], reason: twice}
      - id: bits
        match: {methods: [GET], path: "/bits/{doc}"}
        object: {kind: doc, key: path.doc}
        require:
          - {setting: mask, bit: {of: object.kind, map: {a: 1, b: 2, c: 4}}, reason: switched_off}
          - {when: {setting: mask, bit: {of: object.kind, map: {a: 1, b: 4}}}, then: m.area, else: m.other}
"#;

const GRANTS: &str = r#"
version: 1
domain: d
strategy: {within: nearest, across: deny_individual_first, caps: {ro: read}}
implies: {deep.other: [deep.right]}
scopes:
  forest: {"land:N": root, "town:X": "land:N", "town:Y": "land:N", "town:Z Ä": "land:N", "land:S": root}
  aliases: {code: {77: "town:X", "x y": "town:Y"}}
roles: {clerk: {rights: [m.area, area.one]}}
groups:
  Top: {grants: ["m.area.item:deny @town:Y", "deep.other @town:Y"]}
  Team: {parents: [Top], grants: [{role: clerk, at: "land:N"}]}
principals:
  - {id: a, tenant: t, oid: 00000000-0000-4000-8000-000000000001, flags: [f], groups: [Team], grants: ["m.area:write @town:X", m.other]}
  - {id: ro, tenant: t, oid: 00000000-0000-4000-8000-000000000002, flags: [f, g, ro], grants: [m]}
  - {id: nobody, tenant: t, oid: 00000000-0000-4000-8000-000000000003}
  - {id: inactive, tenant: t, oid: 00000000-0000-4000-8000-000000000004, status: inactive}
  - {id: deleted, tenant: t, oid: 00000000-0000-4000-8000-000000000005, status: deleted}
  - {id: reserved, tenant: t, oid: 00000000-0000-4000-8000-000000000006, status: reserved}
  - {id: clerk, tenant: t, oid: 00000000-0000-4000-8000-000000000007, grants: [{role: clerk}]}
objects:
  doc:1: {kind: a, town: X, people: [a]}
  doc:2: {kind: b, town: [X, Y], people: [b, c]}
  doc:3: {kind: c, people: []}
"#;

fn head(request: &str, headers: &[(&str, &str)]) -> Parts {
    let (method, target) = request.split_once(' ').unwrap();
    let mut head = Request::builder().method(method).uri(target).header("host", "app.example.org");
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    head.body(()).unwrap().into_parts().0
}

/// What most tokens say of groups and roles.
const NO_CLAIMS: Claimed<'_> = Claimed { groups: Some(&[]), roles: &[] };

/// The decision on a request, a token saying this, and how often it asked for memory.
fn decision(world: &World, principal: &str, claimed: Claimed<'_>, head: &Parts) -> (String, u64) {
    let snapshot = &world.snapshot;
    let application = snapshot.routes.application(&Host::parse("app.example.org").unwrap()).unwrap();
    let domain = snapshot.domains.get(application.domain).unwrap();
    let path = CanonicalPath::new(head.uri.path()).unwrap();
    let route = application.route(&path, &head.method).unwrap();
    let Access::Rules(rules) = &route.access else { panic!("`{}` asks nothing", route.id) };
    let principal =
        world.grants.iter().flat_map(|grants| &grants.principals).find(|known| known.id.value == principal).unwrap();
    let object: Guid = principal.known_by.text().value.parse().unwrap();
    let key = PrincipalKey { tenant: world.tenants[0].id, object };
    let facts =
        RequestFacts::new(&path, head.uri.query().unwrap_or_default(), &head.headers, rules, application.backend)
            .unwrap();
    let level = route.level(&head.method);
    let mut decided = None;
    let counted = measure(|| {
        let principal = black_box(domain).principal(black_box(key)).unwrap();
        let member = domain.member(principal, black_box(claimed));
        decided = Some(decide(domain, rules, member, black_box(&facts), level));
    });
    let text = match decided.unwrap() {
        Ok(()) => "allow".to_owned(),
        Err(denial) => denial.text(domain, rules),
    };
    (text, counted.count_total)
}

#[test]
fn the_counter_sees_an_allocation() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
    assert_eq!(measure(|| ()).count_total, 0);
}

#[test]
fn no_route_is_looked_for_with_memory() {
    let routes = r#"
version: 1
upstreams: {app: {servers: ["http://127.0.0.1:1"]}}
applications:
  - name: app
    hosts: [app.example.org, "app.example.org:8443", "*.app.example.org"]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [api://app]}
    routes:
      - {id: item, match: {methods: [GET], path: "/orders/{order}/items/{item}"}, public: true}
      - {id: new, match: {methods: [GET], path: /orders/new}, public: true}
      - {id: old, match: {methods: [GET], path: /orders/old/}, public: true}
      - {id: all, match: {methods: [GET, DELETE], path: "/orders/{all...}"}, public: true}
      - {id: a, match: {methods: [GET], path: /orders/a}, public: true}
      - {id: b, match: {methods: [GET], path: /orders/b}, public: true}
      - {id: deep, match: {methods: [GET], path: "/{x}/{y}"}, public: true}
"#;
    let world = World::from_texts(GATEWAY, routes, GRANTS);
    let deep = format!("/orders{}", "/a".repeat(63));
    for (host, path, expected) in [
        ("app.example.org", "/orders/1/items/2", Some("item")),
        ("app.example.org:8443", "/orders/new", Some("new")),
        ("x.app.example.org:81", "/orders/a", Some("a")),
        ("app.example.org.", "/orders/old/", Some("old")),
        ("app.example.org", "/orders/old", None),
        ("app.example.org", "/Orders/new", None),
        ("app.example.org", "/orders/New", None),
        ("app.example.org", "/orders/x.y/v1.2/index.php", Some("all")),
        ("app.example.org", "/x:y/~z(*)", Some("deep")),
        ("app.example.org", "/", None),
        ("app.example.org", "/nowhere/to/be/found", None),
        ("app.example.org", deep.as_str(), Some("all")),
    ] {
        let mut found = None;
        let counted = measure(|| {
            let host = Host::parse(black_box(host)).unwrap();
            let application = world.snapshot.routes.application(&host).unwrap();
            let path = Readings::new(black_box(path), application.backend).unwrap();
            found = application.route(&path.first, &http::Method::GET).map(|route| &*route.id);
        });
        assert_eq!((found, counted.count_total), (expected, 0), "{host}{path}");
    }
}

#[test]
fn a_public_route_is_permitted_without_memory() {
    let routes = ROUTES.replace(
        "      - {id: any, match",
        "      - {id: open, match: {methods: [GET], path: \"/open/{x}\"}, public: true}\n      - {id: any, match",
    );
    let world = World::from_texts(GATEWAY, &routes, GRANTS);
    for target in ["GET /open/1", "GET /open/1?page=2&sort=name", "HEAD /open/1?x=%20"] {
        let head = head(target, &[("accept", "*/*"), ("cookie", "a=b"), ("via", "1.1 x")]);
        let counted = measure(|| {
            let verdict = authorize(&world.snapshot, &world.verifier, head, ENVIRONMENT);
            assert!(matches!(black_box(&verdict), portcullis::pep::Verdict::Permitted(_)));
        });
        assert_eq!(counted.count_total, 0, "{target}");
    }
}

#[test]
fn no_decision_asks_for_memory() {
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: &[Case] = &[
        // the account
        ("a", "GET /any", &[], "allow"),
        ("inactive", "GET /any", &[], "principal_inactive"),
        ("deleted", "GET /any", &[], "principal_deleted"),
        ("reserved", "GET /any", &[], "principal_reserved"),
        // a right at a node of the path
        ("a", "GET /path/X", &[], "allow"),
        ("a", "GET /path/Z%20%C3%84", &[], "allow"),
        ("a", "DELETE /path/X", &[], "right_level:m.area.item=write<delete@town:X"),
        ("ro", "PUT /path/X", &[], "right_level:m.area.item=read<write@town:X"),
        ("nobody", "GET /path/X", &[], "right_missing:m.area.item@town:X"),
        ("a", "GET /path/Y", &[], "right_denied:m.area.item@town:Y"),
        ("a", "GET /path/W", &[], "scope_unknown:main"),
        // of the query, encoded and not, one and many
        ("a", "GET /query?town=X", &[], "allow"),
        ("a", "GET /query?town=%58", &[], "allow"),
        ("a", "GET /query?town=X,Y&town=Z+%C3%84", &[], "allow"),
        ("a", "GET /query?town=Z+%C3%84%2CX%2CY", &[], "allow"),
        ("nobody", "GET /query?town=Z+%C3%84%2CX", &[], "right_missing:m.area@town:Z Ä"),
        ("a", "GET /query?town=%57", &[], "scope_unknown:main"),
        ("a", "GET /query?x=%41", &[], "scope_missing:main"),
        ("a", "GET /query?town=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17%20", &[], "scope_ambiguous:main"),
        // of a header
        ("a", "GET /header", &[("x-town", "X")], "allow"),
        ("a", "GET /header", &[("x-town", "X,Y")], "scope_ambiguous:main"),
        ("a", "GET /header", &[("x-town", "X"), ("x-town", "X")], "scope_ambiguous:main"),
        // of several places
        ("a", "GET /agree/X?town=%58", &[("x-town", "X")], "allow"),
        ("a", "GET /agree/X?town=%59", &[("x-town", "X")], "scope_conflict:main"),
        // of an object
        ("a", "GET /object/1", &[], "allow"),
        ("a", "GET /object/1?town=%59", &[], "allow"),
        ("a", "GET /object/2", &[], "no_reader"),
        ("a", "GET /object/3", &[], "scope_missing:main"),
        ("a", "GET /object/4", &[], "scope_missing:main"),
        // by another name, always the same, none
        ("a", "GET /alias/77", &[], "allow"),
        ("a", "GET /alias/x%20y", &[], "allow"),
        ("a", "GET /skipped", &[], "scope_missing:skipped"),
        // somewhere below, brought by another right, from a group's group
        ("a", "GET /below/N", &[], "allow"),
        ("a", "GET /below/S", &[], "right_missing:deep.right@land:S"),
        ("nobody", "GET /below/N", &[], "right_missing:deep.right@land:N"),
        // named by the request
        ("clerk", "GET /named/one/a/b", &[], "allow"),
        ("a", "GET /named/two/a/%C3%A9", &[], "right_missing:area.two@root"),
        ("a", "GET /named/three/a", &[], "outside"),
        // flags
        ("a", "GET /flags", &[], "allow"),
        ("nobody", "GET /flags", &[], "flag_missing:f"),
        ("ro", "GET /flags", &[], "flag_forbids:g"),
        ("a", "GET /unless/X", &[], "allow"),
        ("a", "GET /unless/Y", &[], "right_denied:m.area.item@town:Y"),
        // comparisons
        ("a", "GET /compare/b?k=b&n=1", &[("x-k", "true")], "allow"),
        ("a", "GET /compare/%C3%A9?k=%C3%A9&n=%31", &[("x-k", "true")], "allow"),
        ("a", "GET /compare/b?k=%63", &[], "differs"),
        ("a", "GET /compare/b?k=b&k=b", &[], "differs"),
        ("a", "GET /compare/07?k=%307", &[], "taken"),
        ("a", "GET /compare/b?k=b&n=2", &[], "too_many"),
        ("a", "GET /compare/b?k=b&n=1", &[("x-k", "false")], "untrue"),
        ("clerk", "GET /count/1", &[], "allow"),
        ("a", "GET /count/1", &[], "twice"),
        ("a", "GET /count/2", &[], "complete"),
        // bits
        ("ro", "GET /bits/1", &[], "allow"),
        ("a", "GET /bits/2", &[], "allow"),
        ("a", "GET /bits/3", &[], "switched_off"),
        ("nobody", "GET /bits/2", &[], "right_missing:m.other@root"),
    ];
    let world = World::from_texts(GATEWAY, ROUTES, GRANTS);
    let mut seen = BTreeSet::new();
    for (principal, request, headers, expected) in cases {
        let (found, allocations) = decision(&world, principal, NO_CLAIMS, &head(request, headers));
        assert_eq!((found.as_str(), allocations), (*expected, 0), "{principal}: {request} {headers:?}");
        seen.insert(expected.split(':').next().unwrap());
    }
    // Every reason that a decision can have, but for the one that tells of a fault in the program.
    let reasons = [
        "principal_inactive",
        "principal_deleted",
        "principal_reserved",
        "scope_missing",
        "scope_unknown",
        "scope_ambiguous",
        "scope_conflict",
        "flag_missing",
        "flag_forbids",
        "right_missing",
        "right_level",
        "right_denied",
    ];
    assert!(reasons.iter().all(|reason| seen.contains(reason)), "{seen:?}");
}

#[test]
fn no_decision_about_groups_of_a_token_asks_for_memory() {
    let mapped = "groups: {Joined: {parents: [Above], flags: [f], grants: [m.area]}, Above: {grants: [deep.other]}, \
                  Off: {status: inactive}, Denies: {grants: [\"m.area:deny\"]}}\ntoken_groups: \
                  {0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e10: Joined, staff: Above, off: Off}\n\
                  token_roles: {Reader: Joined, Denied: Denies}\n";
    let (before, rest) = GRANTS.split_once("groups:\n").unwrap();
    let (_, after) = rest.split_once("principals:\n").unwrap();
    let grants = format!("{before}{mapped}principals:\n{}", after.replace("groups: [Team], ", ""));
    let world = World::from_texts(GATEWAY, ROUTES, &grants);
    let boxed = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect::<Vec<Box<str>>>();
    // As many as fit into a token, and one of them mapped, in other letters than the document's.
    let mut many: Vec<Box<str>> =
        (0..199).map(|number| format!("0f6f1c2e-5d3a-4c1b-9b57-{number:012x}").into()).collect();
    many.push("0F6F1C2E-5D3A-4C1B-9B57-3F1F3A7F9E10".into());
    let (off, roles, denied) = (boxed(&["other", "off"]), boxed(&["Other", "Reader"]), boxed(&["Reader", "Denied"]));
    let cases: [(Claimed<'_>, &str, &str); 8] = [
        (NO_CLAIMS, "GET /path/X", "right_missing:m.area.item@town:X"),
        (Claimed { groups: Some(&many), roles: &[] }, "GET /path/X", "allow"),
        (Claimed { groups: Some(&many), roles: &[] }, "GET /below/N", "allow"),
        (Claimed { groups: Some(&many), roles: &roles }, "GET /flags", "allow"),
        (Claimed { groups: Some(&[]), roles: &roles }, "DELETE /path/X", "allow"),
        (Claimed { groups: Some(&many), roles: &denied }, "GET /path/X", "right_denied:m.area.item@town:X"),
        (Claimed { groups: Some(&off), roles: &roles }, "GET /any", "principal_inactive"),
        (Claimed { groups: None, roles: &roles }, "GET /any", "groups_unknown"),
    ];
    for (claimed, request, expected) in cases {
        let (found, allocations) = decision(&world, "nobody", claimed, &head(request, &[]));
        assert_eq!((found.as_str(), allocations), (expected, 0), "{request}");
    }
}

#[test]
fn no_decision_of_an_example_asks_for_memory() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let directories = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    for directory in directories.filter(|path| path.join("routes.yaml").is_file()) {
        let world = World::load(&directory);
        for test in world.routes.iter().flat_map(|routes| &routes.tests).filter(|test| test.settings.is_empty()) {
            let (Some(principal), head) = (&test.principal, world.request(test)) else { continue };
            let key = |id: &str| {
                let principal =
                    world.grants.iter().flat_map(|grants| &grants.principals).find(|known| known.id.value == id)?;
                let tenant = world.tenants.iter().find(|known| *known.name == *principal.tenant.value)?;
                tenant.principal(&principal.known_by.text().value)
            };
            let host = head.headers["host"].to_str().unwrap();
            let Some(application) = world.snapshot.routes.application(&Host::parse(host).unwrap()) else { continue };
            let Ok(path) = CanonicalPath::new(head.uri.path()) else { continue };
            let Some(route) = application.route(&path, &head.method) else { continue };
            let (Access::Rules(rules), Some(key)) = (&route.access, key(&principal.value)) else { continue };
            let domain = world.snapshot.domains.get(application.domain).unwrap();
            let Some(principal) = domain.principal(key) else { continue };
            let query = head.uri.query().unwrap_or_default();
            let Ok(facts) = RequestFacts::new(&path, query, &head.headers, rules, application.backend) else {
                continue;
            };
            let level = route.level(&head.method);
            let counted = measure(|| {
                let _ = black_box(decide(domain, rules, principal, black_box(&facts), level));
            });
            assert_eq!(counted.count_total, 0, "{}", test.id.value);
        }
    }
}

/// What the whole judgement may ask for once its token is remembered; it hands over values that outlive it.
const MOST: u64 = 4;

#[test]
fn a_request_whose_token_is_remembered_asks_for_little_memory() {
    let world = World::from_texts(GATEWAY, ROUTES, GRANTS);
    let token = format!("Bearer {}", world.token("a", "app.example.org", &[]));
    for (request, most) in [("GET /path/X", MOST), ("GET /query?town=X", MOST), ("GET /query?town=%58", 2 * MOST)] {
        let warm = head(request, &[("authorization", &token)]);
        drop(black_box(authorize(&world.snapshot, &world.verifier, warm, ENVIRONMENT)));
        let head = head(request, &[("authorization", &token)]);
        let counted = measure(|| {
            let verdict = authorize(&world.snapshot, &world.verifier, head, ENVIRONMENT);
            assert!(matches!(verdict, portcullis::pep::Verdict::Permitted(_)));
        });
        println!("{request}: {} allocations, {} bytes", counted.count_total, counted.bytes_total);
        assert!(counted.count_total <= most, "{request}: {counted:?}");
    }
}
