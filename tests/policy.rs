//! What the policy decides, as a specification: small worlds, one table for each rule of the model (laws that hold in
//! every world are in `naive`). Whole requests through the real enforcement function; nothing is mocked.

mod support;

use http::Request;
use portcullis::diag::Report;
use portcullis::document;
use portcullis::model::Tenant;
use portcullis::route;
use support::world::World;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const OBJECTS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
];

fn gateway() -> String {
    format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [r]\ngrants: [g]\ntenants: [{{name: t, id: {TENANT}}}]\n"
    )
}

/// A route map of one application; `settings` and `routes` are lists in flow style.
fn routes(settings: &str, routes: &str) -> String {
    format!(
        "version: 1\nsettings: {settings}\nupstreams: {{app: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  - name: app\n    hosts: [app.example.org]\n    domain: d\n    upstream: app\n    gate: {{tenants: [t], audiences: [api://app]}}\n    routes: {routes}\n"
    )
}

/// A grants document: `head` is everything but the principals, of which `a` has the fields given.
fn grants(head: &str, a: &str) -> String {
    let separator = if a.is_empty() { "" } else { ", " };
    format!("version: 1\ndomain: d\n{head}\nprincipals:\n  - {{id: a, tenant: t, oid: {}{separator}{a}}}\n", OBJECTS[0])
}

const FOREST: &str = "scopes: {forest: {\"land:N\": root, \"town:X\": \"land:N\", \"town:Y\": \"land:N\", \"land:S\": root}, aliases: {code: {77: \"town:X\"}}}";

/// Judges a request of principal `a`; the code of the refusal or "allow".
fn ask(world: &World, request: &str, headers: &[(&str, &str)]) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let token = world.token("a", "app.example.org", &[]);
    let mut head = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "app.example.org")
        .header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    world.judge(head.body(()).unwrap().into_parts().0).err().unwrap_or_else(|| "allow".to_owned())
}

fn world(settings: &str, route: &str, head: &str, a: &str) -> World {
    World::from_texts(&gateway(), &routes(settings, route), &grants(head, a))
}

#[test]
fn a_right_is_held_where_it_is_granted_and_below_in_a_tree_of_names() {
    let route = r#"[{id: r, match: {methods: [GET, PUT, DELETE], path: "/{town}"}, scopes: {main: {from: path.town, kind: town}}, require: "m.area.item:by_method"}]"#;
    let cases = [
        ("grants: [\"m.area.item:read @town:X\"]", "GET /X", "allow"),
        ("grants: [\"m.area.item:read @town:X\"]", "GET /Y", "right_missing:m.area.item@town:Y"),
        ("grants: [\"m.area.item:read @town:X\"]", "PUT /X", "right_level:m.area.item=read<write@town:X"),
        ("grants: [\"m.area.item:write @town:X\"]", "DELETE /X", "right_level:m.area.item=write<delete@town:X"),
        ("grants: [\"m.area.item @town:X\"]", "DELETE /X", "allow"),
        ("grants: [\"m.area:write @land:N\"]", "PUT /Y", "allow"),
        ("grants: [m]", "DELETE /Y", "allow"),
        // whole segments only
        ("grants: [m.are]", "GET /X", "right_missing:m.area.item@town:X"),
        ("grants: [\"m.area.item.part\"]", "GET /X", "right_missing:m.area.item@town:X"),
        ("grants: [\"m @land:S\"]", "GET /X", "right_missing:m.area.item@town:X"),
        ("grants: [m, \"m.area:deny @town:X\"]", "GET /X", "right_denied:m.area.item@town:X"),
        ("grants: [m, \"m.area:deny @town:X\"]", "GET /Y", "allow"),
        ("", "GET /X", "right_missing:m.area.item@town:X"),
        ("grants: [m]", "GET /Nowhere", "scope_unknown:main"),
        ("status: inactive, grants: [m]", "GET /X", "principal_inactive"),
        ("status: deleted, grants: [m]", "GET /X", "principal_deleted"),
        ("status: reserved, grants: [m]", "GET /X", "principal_reserved"),
    ];
    for (a, request, expected) in cases {
        assert_eq!(ask(&world("{}", route, FOREST, a), request, &[]), expected, "{a}: {request}");
    }
}

#[test]
fn flat_rights_look_dotted_and_are_not() {
    let route = r#"[{id: r, match: {methods: [GET], path: /}, require: m.area}]"#;
    let head = "strategy: {rights: flat}";
    assert_eq!(ask(&world("{}", route, head, "grants: [m]"), "GET /", &[]), "right_missing:m.area@root");
    assert_eq!(ask(&world("{}", route, head, "grants: [m.area]"), "GET /", &[]), "allow");
}

#[test]
fn alternatives_flags_and_conditions_are_asked_from_left_to_right() {
    let route = |require: &str| format!("[{{id: r, match: {{methods: [GET], path: \"/{{k}}\"}}, require: {require}}}]");
    let cases = [
        ("[{flag: f}, x]", "flags: [f], grants: [x]", "allow"),
        ("[{flag: f}, x]", "grants: [x]", "flag_missing:f"),
        ("[{not_flag: f}, x]", "flags: [f], grants: [x]", "flag_forbids:f"),
        ("{any: [x, y]}", "grants: [y]", "allow"),
        // a failed `any` reports its last alternative
        ("{any: [x, y]}", "", "right_missing:y@root"),
        ("{any: [[{flag: f}, x], y]}", "flags: [f]", "right_missing:y@root"),
        ("[{any: [x, y]}, z]", "grants: [x]", "right_missing:z@root"),
        ("{when: {setting: s}, then: x}", "", "right_missing:x@root"),
        ("{when: {setting: s, is: false}, then: x}", "", "allow"),
        ("{when: {setting: s, is: false}, then: x, else: y}", "", "right_missing:y@root"),
        ("{when: [{setting: s}, {setting: n, bit: 2}], then: x}", "", "right_missing:x@root"),
        ("{when: {setting: n, bit: 4}, then: x}", "", "allow"),
        ("{setting: n, bit: 4, reason: bit_unset}", "", "bit_unset"),
        ("{eq: [path.k, one], reason: other}", "", "allow"),
        ("{eq: [path.k, two], reason: other}", "", "other"),
        ("{in: [path.k, setting.list], reason: outside}", "", "allow"),
        ("{not_in: [path.k, setting.list], reason: inside}", "", "inside"),
        ("{not_in: [query.k, setting.list], reason: absent}", "", "absent"),
        ("{lt: [setting.n, 4], reason: too_many}", "", "allow"),
        ("{lt: [setting.n, 3], reason: too_many}", "", "too_many"),
        ("{unless_denied: x}", "", "allow"),
        ("{unless_denied: x}", "grants: [\"x:deny\"]", "right_denied:x@root"),
        ("[{in: [path.k, setting.list], reason: outside}, \"area.{k}\"]", "grants: [area.one]", "allow"),
        (
            "[{in: [path.k, setting.list], reason: outside}, \"area.{k}\"]",
            "grants: [area.two]",
            "right_missing:area.one@root",
        ),
        ("[]", "", "allow"),
        // what is not one plain value is neither in a list nor outside it
        ("{not_in: [query.v, [admin]], reason: no}", "", "no"),
    ];
    for (require, a, expected) in cases {
        let world = world("{s: true, n: 3, list: [one, two]}", &route(require), "", a);
        assert_eq!(ask(&world, "GET /one", &[]), expected, "{require} with {a}");
    }
}

#[test]
fn scopes_come_from_every_place_and_must_agree() {
    let route = r#"[
      {id: many, match: {methods: [GET], path: "/p/{town}"}, scopes: {main: {from: [path.town, query.town, header.X-Town], kind: town}}, require: x},
      {id: query, match: {methods: [GET], path: /q}, scopes: {main: {from: query.town, kind: town}}, require: x},
      {id: header, match: {methods: [GET], path: /h}, scopes: {main: {from: header.X-Town, kind: town}}, require: x},
      {id: alias, match: {methods: [GET], path: "/c/{code}"}, scopes: {main: {from: path.code, kind: code}}, require: x},
      {id: below, match: {methods: [GET], path: "/l/{land}"}, scopes: {main: {from: path.land, kind: land}}, require: "x @main/*"},
      {id: same, match: {methods: [GET], path: "/s/{land}"}, scopes: {main: {from: path.land, kind: land}, t: {from: query.town, kind: town, missing: {same_as: main}}}, require: "x @t"},
      {id: skip, match: {methods: [GET], path: /k}, scopes: {t: {from: query.town, kind: town, missing: skip}}, require: "x @t"},
      {id: node, match: {methods: [GET], path: /n}, scopes: {t: {from: query.town, kind: town, missing: {node: "land:S"}}}, require: "x @t"},
      {id: fixed, match: {methods: [GET], path: /f}, scopes: {t: {node: "town:X"}}, require: "x @t"}]"#;
    let world = world("{}", route, FOREST, "grants: [\"x @town:X\"]");
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 31] = [
        ("GET /p/X", &[], "allow"),
        ("GET /p/X?town=X", &[("x-town", "X")], "allow"),
        ("GET /p/X?town=Y", &[], "scope_conflict:main"),
        ("GET /p/X", &[("x-town", "Y")], "scope_conflict:main"),
        ("GET /p/X?town=X,Y", &[], "scope_conflict:main"),
        ("GET /q?town=X", &[], "allow"),
        ("GET /q?town=X&town=X", &[], "allow"),
        ("GET /q?town=%58", &[], "allow"),
        ("GET /q?town=X,Y", &[], "right_missing:x@town:Y"),
        ("GET /q?town=X&town=Y", &[], "right_missing:x@town:Y"),
        ("GET /q?town=", &[], "scope_unknown:main"),
        ("GET /q?town=X,", &[], "scope_unknown:main"),
        ("GET /q", &[], "scope_missing:main"),
        ("GET /q?Town=X", &[], "bad_target:query_name"),
        ("GET /q?town[]=X", &[], "bad_target:query_name"),
        ("GET /q?%74own=X", &[], "bad_target:query_name"),
        ("GET /q?town=X;town=Y", &[], "bad_target:query_semicolon"),
        ("GET /h", &[("x-town", "X")], "allow"),
        ("GET /h", &[("x-town", "x")], "scope_unknown:main"),
        ("GET /h", &[("x-town", "X,Y")], "scope_ambiguous:main"),
        ("GET /h", &[("x-town", "X"), ("x-town", "X")], "scope_ambiguous:main"),
        ("GET /h", &[], "scope_missing:main"),
        ("GET /c/77", &[], "allow"),
        ("GET /c/077", &[], "scope_unknown:main"),
        ("GET /l/N", &[], "allow"),
        ("GET /l/S", &[], "right_missing:x@land:S"),
        ("GET /s/N", &[], "right_missing:x@land:N"),
        ("GET /s/N?town=X", &[], "allow"),
        ("GET /k", &[], "scope_missing:t"),
        ("GET /n", &[], "right_missing:x@land:S"),
        ("GET /f", &[], "allow"),
    ];
    for (request, headers, expected) in cases {
        assert_eq!(ask(&world, request, headers), expected, "{request} {headers:?}");
    }
    let many = (0..17).map(|_| "X").collect::<Vec<_>>().join(",");
    assert_eq!(ask(&world, &format!("GET /q?town={many}"), &[]), "allow", "the same value counts once");
    let distinct = (0..17).map(|number| format!("t{number}")).collect::<Vec<_>>().join(",");
    assert_eq!(ask(&world, &format!("GET /q?town={distinct}"), &[]), "scope_ambiguous:main");
}

#[test]
fn a_value_taken_from_another_scope_is_the_nearest_one_that_is_there() {
    let route = r#"[{id: r, match: {methods: [GET], path: "/{land}"}, scopes: {
        a: {from: header.X-A, kind: town, missing: {same_as: b}}, b: {from: query.b, kind: town, missing: {same_as: c}},
        c: {from: path.land, kind: land}}, require: "x @a"}]"#;
    let world = world("{}", route, FOREST, "grants: [\"x @land:S\", \"x @town:X\"]");
    for (request, headers, expected) in [
        ("GET /S", &[][..], "allow"),
        ("GET /S?b=X", &[], "allow"),
        ("GET /S?b=Y", &[], "right_missing:x@town:Y"),
        ("GET /S?b=Y", &[("x-a", "X")], "allow"),
        ("GET /N", &[], "right_missing:x@land:N"),
    ] {
        assert_eq!(ask(&world, request, headers), expected, "{request} {headers:?}");
    }
}

#[test]
fn a_condition_on_an_object_that_is_not_known_denies() {
    let route = r#"[{id: r, match: {methods: [GET], path: "/{id}"}, object: {kind: doc, key: path.id},
        require: {when: {setting: n, bit: {of: object.kind, map: {a: 1, b: 2}}}, then: x}}]"#;
    let head = "objects: {\"doc:1\": {kind: a}, \"doc:2\": {kind: b}, \"doc:3\": {kind: c}}";
    let world = world("{n: 1}", route, head, "");
    for (request, expected) in
        [("GET /1", "right_missing:x@root"), ("GET /2", "allow"), ("GET /3", "condition"), ("GET /4", "condition")]
    {
        assert_eq!(ask(&world, request, &[]), expected, "{request}");
    }
}

#[test]
fn roles_groups_boundaries_implications_and_caps_count() {
    let route = r#"[{id: r, match: {methods: [GET, PUT], path: "/{town}"}, scopes: {main: {from: path.town, kind: town}}, require: "x:by_method"}]"#;
    let cases = [
        (
            "roles: {base: {rights: [x:write, y]}, less: {includes: [base], without: [x], rights: [z]}}",
            "grants: [{role: base, at: \"land:N\"}]",
            "PUT /X",
            "allow",
        ),
        (
            "roles: {base: {rights: [x:write, y]}, less: {includes: [base], without: [x], rights: [z]}}",
            "grants: [{role: less}]",
            "GET /X",
            "right_missing:x@town:X",
        ),
        (
            "groups: {G: {grants: [\"x:read @land:N\"]}, H: {parents: [G], flags: [f]}}",
            "groups: [H]",
            "GET /Y",
            "allow",
        ),
        (
            "groups: {G: {status: inactive}, H: {parents: [G]}}",
            "groups: [H], grants: [x]",
            "GET /Y",
            "principal_inactive",
        ),
        ("groups: {G: {grants: [\"x:deny\"]}}", "groups: [G], grants: [x]", "GET /Y", "right_denied:x@town:Y"),
        (
            "strategy: {across: individual_first}\ngroups: {G: {grants: [\"x:deny\"]}}",
            "groups: [G], grants: [x]",
            "GET /Y",
            "allow",
        ),
        ("strategy: {within: nearest}", "grants: [\"x:deny\", \"x:read @land:N\"]", "GET /Y", "allow"),
        ("strategy: {boundary: true}", "boundary: [\"land:N\"], grants: [\"x @town:X\"]", "GET /X", "allow"),
        (
            "strategy: {boundary: true}",
            "boundary: [\"town:Y\"], grants: [\"x @land:N\"]",
            "GET /Y",
            "right_missing:x@town:Y",
        ),
        ("strategy: {boundary: true}", "grants: [x]", "GET /X", "right_missing:x@town:X"),
        // a denial from outside the boundary holds inside
        (
            "strategy: {boundary: true}",
            "boundary: [\"town:X\"], grants: [\"x @town:X\", \"x:deny\"]",
            "GET /X",
            "right_denied:x@town:X",
        ),
        // a denial cannot be taken away
        (
            "roles: {base: {rights: [x:write, x.a, x.a:deny, y]}, less: {includes: [base], without: [y]}}",
            "grants: [{role: less}]",
            "GET /X",
            "allow",
        ),
        ("implies: {top: [mid], mid: [x]}", "grants: [top]", "PUT /X", "allow"),
        ("implies: {top: [mid], mid: [x]}", "grants: [top, \"x:deny\"]", "GET /X", "right_denied:x@town:X"),
        ("implies: {top: [mid], mid: [x]}", "grants: [\"top:deny\", x]", "GET /X", "allow"),
        ("strategy: {caps: {ro: read}}", "flags: [ro], grants: [x]", "PUT /X", "right_level:x=read<write@town:X"),
        ("strategy: {caps: {ro: read}}", "flags: [ro], grants: [x]", "GET /X", "allow"),
    ];
    for (head, a, request, expected) in cases {
        let world = world("{}", route, &format!("{FOREST}\n{head}"), a);
        assert_eq!(ask(&world, request, &[]), expected, "{head} {a}: {request}");
    }
}

/// The limits of the laws in `naive`.
#[test]
fn where_a_grant_hides_another_or_a_boundary_drops_it_less_can_be_more() {
    let route = r#"[{id: r, match: {methods: [PUT], path: "/{town}"}, scopes: {main: {from: path.town, kind: town}}, require: "x:by_method"}]"#;
    let group = "groups: {G: {grants: [\"x:write\"]}}";
    let bringing = "implies: {top: [x]}\ngroups: {G: {grants: [\"x:write\"]}}";
    let low = "groups: [G], grants: [\"x:read\"]";
    let cases = [
        // without the nearer grant, without the individual's own, without the lowest
        ("within: nearest", "", "grants: [\"x:write\", \"x:read @town:X\"]", "grants: [\"x:write\"]"),
        ("across: individual_first", group, low, "groups: [G]"),
        ("across: deny_individual_first", group, low, "groups: [G]"),
        ("across: most_restrictive", group, low, "groups: [G]"),
        // a denial withholds what the denied right brings, and then a group's word counts
        (
            "across: individual_first",
            bringing,
            "groups: [G], grants: [\"top:read\"]",
            "groups: [G], grants: [\"top:read\", \"top:deny\"]",
        ),
        (
            "across: deny_individual_first",
            bringing,
            "groups: [G], grants: [\"top:read\"]",
            "groups: [G], grants: [\"top:read\", \"top:deny\"]",
        ),
        (
            "across: most_restrictive",
            bringing,
            "groups: [G], grants: [\"top:read\"]",
            "groups: [G], grants: [\"top:read\", \"top:deny\"]",
        ),
        // narrowed into the boundary
        (
            "boundary: true",
            "",
            "boundary: [\"town:X\"], grants: [\"x @land:N\"]",
            "boundary: [\"town:X\"], grants: [\"x @town:X\"]",
        ),
    ];
    for (strategy, head, before, after) in cases {
        let head = format!("{FOREST}\nstrategy: {{{strategy}}}\n{head}");
        assert_ne!(ask(&world("{}", route, &head, before), "PUT /X", &[]), "allow", "{strategy}: {before}");
        assert_eq!(ask(&world("{}", route, &head, after), "PUT /X", &[]), "allow", "{strategy}: {after}");
    }
}

#[test]
fn what_brings_a_right_brings_all_that_it_covers() {
    let route = r#"[{id: r, match: {methods: [GET], path: /}, require: m.area.item}]"#;
    let missing = "right_missing:m.area.item@root";
    let cases = [
        ("implies: {top: [m.area]}", "grants: [\"top:read\"]", "allow"),
        ("implies: {top: [m.area.item.part]}", "grants: [top]", missing),
        ("implies: {top: [m.are]}", "grants: [top]", missing),
        ("implies: {top: [m.area]}", "grants: [top, \"m.area.item:deny\"]", "right_denied:m.area.item@root"),
        ("implies: {top: [m.area]}", "grants: [\"top:deny\"]", missing),
        // what a brought right covers brings more
        ("implies: {top: [mid], mid.low: [m]}", "grants: [top]", "allow"),
        ("implies: {top: [mid.low], mid: [m]}", "grants: [top]", missing),
        ("implies: {m.area: [m]}", "grants: [m.area.other]", missing),
        ("implies: {m.area.other: [m.area]}", "grants: [m.area.other]", "allow"),
        ("strategy: {rights: flat}\nimplies: {top: [m.area]}", "grants: [top]", missing),
        ("strategy: {rights: flat}\nimplies: {top: [m.area.item]}", "grants: [top]", "allow"),
    ];
    for (head, a, expected) in cases {
        assert_eq!(ask(&world("{}", route, head, a), "GET /", &[]), expected, "{head} {a}");
    }
}

#[test]
fn a_value_that_could_be_read_in_two_ways_passes_no_comparison() {
    let head = "objects: {\"doc:1\": {l: [p, q], n: 7}}";
    let cases = [
        ("{eq: [query.n, 0], reason: no}", "GET /1?n=0", "allow"),
        ("{eq: [query.n, 0], reason: no}", "GET /1?n=-0", "no"),
        ("{eq: [query.n, 0], reason: no}", "GET /1?n=00", "no"),
        ("{lt: [query.n, 1], reason: no}", "GET /1?n=-0", "no"),
        ("{not_in: [query.n, [0]], reason: no}", "GET /1?n=-0", "no"),
        // a count is a number and no text, but is not taken for another number for that
        ("{eq: [count(object.l), 2], reason: no}", "GET /1", "allow"),
        ("{in: [count(object.l), [2, \"3\"]], reason: no}", "GET /1", "allow"),
        ("{not_in: [count(object.l), [\"2\"]], reason: no}", "GET /1", "no"),
        ("{not_in: [count(object.l), [\"02\"]], reason: no}", "GET /1", "no"),
        ("{not_in: [count(object.l), [3]], reason: no}", "GET /1", "allow"),
        ("{not_in: [object.n, [\"007\"]], reason: no}", "GET /1", "no"),
        ("{not_in: [object.n, [\"008\"]], reason: no}", "GET /1", "allow"),
        // lists, in the query and in a header alike
        ("{not_in: [query.v, [admin]], reason: no}", "GET /1?v=user,admin", "no"),
        ("{not_in: [query.v, [admin]], reason: no}", "GET /1?v=user&v=admin", "no"),
        ("{not_in: [header.X-One, [admin]], reason: no}", "GET /1", "allow"),
        ("{not_in: [header.X-Two, [admin]], reason: no}", "GET /1", "no"),
        ("{not_in: [header.X-Lines, [admin]], reason: no}", "GET /1", "no"),
        ("{not_in: [header.X-Empty, [admin]], reason: no}", "GET /1", "no"),
    ];
    let headers =
        [("x-one", "user"), ("x-two", "user,admin"), ("x-lines", "user"), ("x-lines", "admin"), ("x-empty", "")];
    for (require, request, expected) in cases {
        let route = format!(
            "[{{id: r, match: {{methods: [GET], path: \"/{{id}}\"}}, object: {{kind: doc, key: path.id}}, require: {require}}}]"
        );
        assert_eq!(ask(&world("{}", &route, head, ""), request, &headers), expected, "{require}: {request}");
    }
}

/// Compiles texts that have faults and returns their codes, in the order of their places.
fn faults(routes: &str, grants: &str) -> Vec<&'static str> {
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", routes);
    let routes = document::read_routes(source, &mut report).unwrap();
    let source = report.add_source("grants.yaml", grants);
    let grants = document::read_grants(source, &mut report).unwrap();
    assert!(!report.has_errors(), "{}", report.render());
    let inputs = route::Inputs {
        routes: &[routes],
        grants: &[grants],
        tenants: &[Tenant::of_objects("t", TENANT.parse().unwrap())],
        files: &|_| Err("no files here".into()),
        taken: &[],
        sha256: portcullis::reload::sha256,
    };
    assert!(route::compile(inputs, &mut report).is_none());
    let mut found: Vec<_> = report.diagnostics().iter().map(|fault| (fault.place, fault.code)).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, code)| code).collect()
}

#[test]
fn what_does_not_resolve_is_refused_at_load() {
    let plain = grants(&format!("{FOREST}\nobjects: {{\"thing:1\": {{town: X}}}}"), "");
    let cases = [
        (r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: "y @nowhere"}]"#, vec!["unknown_name"]),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, scopes: {main: {from: path.z, kind: town}}, require: []}]"#,
            vec!["unknown_name"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, scopes: {main: {from: path.x, kind: twon}}, require: []}]"#,
            vec!["unknown_name"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, scopes: {main: {from: object.x, kind: town}}, require: []}]"#,
            vec!["bad_reference"],
        ),
        (r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: "area.{x}"}]"#, vec!["open_right"]),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: {when: {setting: s}, then: y}}]"#,
            vec!["unknown_setting"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: {not_in: [Path.x, [admin]], reason: no}}]"#,
            vec!["constant"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: {eq: [path.x, querry.x], reason: no}}]"#,
            vec!["bad_reference"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, object: {kind: ting, key: path.x}, require: []}]"#,
            vec!["unknown_name"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, object: {kind: thing, key: path.x}, scopes: {main: {from: object.twon, kind: town}}, require: []}]"#,
            vec!["unknown_name"],
        ),
        (r#"[{id: r, match: {methods: [GET], path: "/{x}"}, require: "y:upsert"}]"#, vec!["bad_level"]),
        (
            r#"[{id: r, match: {methods: [GET], path: "/{x}"}, public: true}, {id: q, match: {methods: [GET], path: "/{y}"}, public: true}]"#,
            vec!["ambiguous_route"],
        ),
        (
            r#"[{id: r, match: {methods: [GET], path: /a}, public: true}, {id: r, match: {methods: [GET], path: /b}, public: true}]"#,
            vec!["duplicate_name"],
        ),
        (r#"[{id: r, match: {methods: [HEAD, TRACE], path: /a}, public: true}]"#, vec!["bad_method", "bad_method"]),
        (r#"[{id: r, match: {methods: [GET], path: /a//b}, public: true}]"#, vec!["bad_path"]),
        (
            r#"[{id: r, match: {methods: [GET], path: /a}, scopes: {a: {from: query.x, kind: town, missing: {same_as: b}}, b: {from: query.x, kind: town, missing: {same_as: a}}}, require: []}]"#,
            vec!["cycle", "cycle"],
        ),
    ];
    for (route, expected) in cases {
        assert_eq!(faults(&routes("{}", route), &plain), expected, "{route}");
    }
    let fine = routes("{}", "[{id: r, match: {methods: [GET], path: /}, public: true}]");
    let cases = [
        ("scopes: {forest: {\"a:1\": \"a:2\", \"a:2\": \"a:1\"}}", "", vec!["cycle", "cycle"]),
        ("scopes: {forest: {\"a:1\": nowhere}}", "", vec!["unknown_name"]),
        ("scopes: {forest: {\"a:1\": root, \"a:2\": root}, aliases: {a: {2: \"a:1\"}}}", "", vec!["alias_clash"]),
        ("roles: {a: {includes: [b]}, b: {includes: [a]}}", "", vec!["cycle"]),
        ("roles: {a: {rights: [x]}, b: {includes: [a], without: [y]}}", "", vec!["bad_role"]),
        ("roles: {a: {rights: [x, x.y:read]}, b: {includes: [a], without: [x.y]}}", "", vec!["bad_role"]),
        ("groups: {a: {parents: [b]}, b: {parents: [a]}}", "", vec!["cycle", "cycle"]),
        ("", "groups: [a]", vec!["unknown_name"]),
        ("", "grants: [{role: a}]", vec!["unknown_name"]),
        ("", "grants: [\"x @a:1\"]", vec!["unknown_name"]),
        ("", "grants: [\"x:sometimes\"]", vec!["bad_level"]),
        ("", "grants: [\"x..y\"]", vec!["bad_name"]),
        ("", "boundary: []", vec!["boundary_unused"]),
        ("rights: [x]", "grants: [y]", vec!["unknown_name"]),
    ];
    for (head, a, expected) in cases {
        assert_eq!(faults(&fine, &grants(head, a)), expected, "{head} {a}");
    }
}

#[test]
fn definitions_that_multiply_are_a_fault_and_no_flood() {
    let definitions: Vec<String> = (0..28).map(|number| format!("d{number}: [d{0}, d{0}]", number + 1)).collect();
    let text = routes("{}", "[{id: r, match: {methods: [GET], path: /}, require: d0}]");
    let text = text.replace("applications:", &format!("define: {{{}, d28: x}}\napplications:", definitions.join(", ")));
    assert_eq!(faults(&text, &grants("", "grants: [x]")), ["too_long"]);
}

#[test]
fn a_header_that_backends_fold_into_a_judged_one_cannot_be_allowed() {
    let route =
        "[{id: r, match: {methods: [GET], path: /}, scopes: {main: {from: header.X-Town, kind: town}}, require: []}]";
    let text = routes("{}", route).replace("    gate:", "    allow_headers: [X_Town]\n    gate:");
    assert_eq!(faults(&text, &grants(FOREST, "")), ["header_clash"]);
}

#[test]
fn a_grant_at_an_empty_list_of_places_is_no_grant_at_the_root() {
    let mut report = Report::new();
    let source = report.add_source("grants.yaml", grants(FOREST, "grants: [{rights: [x], at: []}]"));
    document::read_grants(source, &mut report);
    assert_eq!(report.diagnostics().iter().map(|fault| fault.code).collect::<Vec<_>>(), ["empty_list"]);
}

#[test]
fn a_key_that_could_be_taken_for_a_known_objects_is_refused() {
    let route = r#"[{id: r, match: {methods: [PUT], path: "/{town}/docs/{id}"}, object: {kind: doc, key: path.id},
        scopes: {main: {from: [path.town, object.town], kind: town}}, require: x}]"#;
    let world =
        world("{}", route, &format!("{FOREST}\nobjects: {{\"doc:3001\": {{town: Y}}}}"), "grants: [\"x @town:X\"]");
    for (key, expected) in [
        ("3001", "scope_conflict:main"),
        ("3002", "allow"),
        ("03001", "scope_ambiguous"),
        ("+3001", "scope_ambiguous"),
        ("%2B3001", "scope_ambiguous"),
        ("%EF%BC%93001", "scope_ambiguous"),
        ("%D9%A3001", "scope_ambiguous"),
    ] {
        assert_eq!(ask(&world, &format!("PUT /X/docs/{key}"), &[]), expected, "{key}");
    }
}

#[test]
fn a_parameter_with_brackets_has_look_alikes_too() {
    let route = r#"[{id: r, match: {methods: [GET], path: /q}, scopes: {main: {from: "query.filter[town]", kind: town}}, require: x}]"#;
    let world = world("{}", route, FOREST, "grants: [\"x @town:X\"]");
    for (query, expected) in [
        ("filter[town]=X", "allow"),
        ("filter[town]=Y", "right_missing:x@town:Y"),
        ("filter[town]=X&filter[other]=Y", "allow"),
        ("filter[town]=X&filter%5Btown%5D=Y", "bad_target:query_name"),
        ("filter[town]=X&Filter[town]=Y", "bad_target:query_name"),
        ("filter[town]=X&filter[Town]=Y", "bad_target:query_name"),
        ("filter[town]=X&filter=Y", "bad_target:query_name"),
    ] {
        assert_eq!(ask(&world, &format!("GET /q?{query}"), &[]), expected, "{query}");
    }
}

#[test]
fn what_differs_from_a_literal_in_letter_case_is_taken_by_no_other_route() {
    let route = r#"[{id: strict, match: {methods: [GET], path: /admin/users}, require: x},
        {id: key, match: {methods: [GET], path: /admin/keys}, require: x},
        {id: weak, match: {methods: [GET], path: "/{page}/{sub}"}, require: []},
        {id: rest, match: {methods: [GET], path: "/admin/{rest...}"}, require: []}]"#;
    let world = world("{}", route, FOREST, "");
    for (path, expected) in [
        ("/admin/users", "right_missing:x@root"),
        ("/admin/Users", "no_route"),
        ("/Admin/users", "no_route"),
        ("/admin/user%C5%BF", "no_route"),
        ("/admin/%E2%84%AAeys", "no_route"),
        ("/other/Users", "allow"),
        ("/admin/more", "allow"),
    ] {
        assert_eq!(ask(&world, &format!("GET {path}"), &[]), expected, "{path}");
    }
}

#[test]
fn a_second_token_in_the_query_is_refused() {
    let world = world("{}", "[{id: r, match: {methods: [GET], path: /}, require: []}]", "", "");
    assert_eq!(ask(&world, "GET /?a=b", &[]), "allow");
    assert_eq!(ask(&world, "GET /?a=b&access_token=x", &[]), "malformed_credentials");
}
