//! What a load refuses or tells though every name in it resolves: routes that no request can take, requirements that
//! nobody can meet, values that name nothing, names that clash, and reserved roles that were edited.

mod support;

use http::Request;
use portcullis::diag::{Report, Severity};
use portcullis::document;
use portcullis::model::Tenant;
use portcullis::route;
use proptest::prelude::*;
use support::world::World;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const OBJECT: &str = "00000000-0000-4000-8000-000000000001";

const FOREST: &str = "scopes: {forest: {\"land:N\": root, \"town:X\": \"land:N\", \"town:Y\": \"land:N\"}}";

/// A route map of one application; `head` are lines at the top, `routes` a list in flow style.
fn routes(head: &str, hosts: &str, routes: &str) -> String {
    format!(
        "version: 1\n{head}\nupstreams: {{app: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  - name: app\n    \
         hosts: {hosts}\n    domain: d\n    upstream: app\n    gate: {{tenants: [t], audiences: [api://app]}}\n    \
         routes: {routes}\n"
    )
}

/// A grants document whose one principal has the fields given.
fn grants(head: &str, principal: &str) -> String {
    let separator = if principal.is_empty() { "" } else { ", " };
    format!(
        "version: 1\ndomain: d\n{head}\nprincipals:\n  - {{id: a, tenant: t, oid: {OBJECT}{separator}{principal}}}\n"
    )
}

/// Compiles two texts.
fn load(routes: &str, grants: &str) -> Report {
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", routes);
    let routes = document::read_routes(source, &mut report);
    let source = report.add_source("grants.yaml", grants);
    let grants = document::read_grants(source, &mut report);
    assert!(!report.has_errors(), "{}", report.render());
    let inputs = route::Inputs {
        routes: &[routes.unwrap()],
        grants: &[grants.unwrap()],
        tenants: &[Tenant::of_objects("t", TENANT.parse().unwrap())],
        files: &|_| Err("no files here".into()),
        taken: &[],
        sha256: portcullis::reload::sha256,
    };
    let made = route::compile(inputs, &mut report).is_some();
    assert_eq!(made, !report.has_errors());
    report
}

/// What was found: severity, code, and the text at the place and at the places beside it.
fn found<'t>(report: &Report, texts: [&'t str; 2]) -> Vec<(Severity, &'static str, &'t str, Vec<&'t str>)> {
    let at = |place: portcullis::diag::Place| {
        let text = texts[usize::from(report.locate(place).file.starts_with("grants"))];
        &text[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()]
    };
    let diagnostics = report.diagnostics().iter();
    diagnostics
        .map(|found| {
            assert!(found.help.is_some(), "no help for {}", found.message);
            let beside = found.related.iter().map(|(place, _)| at(*place)).collect();
            (found.severity, found.code, at(found.place.unwrap()), beside)
        })
        .collect()
}

/// Errors of a list of routes without a requirement, each with its place and those beside it.
fn faults_of_routes(list: &[(&str, &str, &str)]) -> Vec<(&'static str, String, Vec<String>)> {
    let one = |(id, methods, path): &(&str, &str, &str)| {
        format!("{{id: {id}, match: {{methods: [{methods}], path: \"{path}\"}}, public: true}}")
    };
    let list: Vec<String> = list.iter().map(one).collect();
    let text = routes("", "[app.example.org]", &format!("[{}]", list.join(", ")));
    let grants = grants("", "");
    let report = load(&text, &grants);
    let owned = |(_, code, at, beside): (Severity, &'static str, &str, Vec<&str>)| {
        (code, at.trim_matches('"').to_owned(), beside.iter().map(|text| text.trim_matches('"').to_owned()).collect())
    };
    found(&report, [&text, &grants]).into_iter().map(owned).collect()
}

/// Id, methods and path of each route; then code, place and the places beside it of each fault.
type Routes = (
    &'static [(&'static str, &'static str, &'static str)],
    &'static [(&'static str, &'static str, &'static [&'static str])],
);

fn check_routes(cases: &[Routes]) {
    for (list, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|(code, at, beside)| (*code, (*at).to_owned(), beside.iter().map(ToString::to_string).collect()))
            .collect::<Vec<(&str, String, Vec<String>)>>();
        assert_eq!(faults_of_routes(list), expected, "{list:?}");
    }
}

#[test]
fn two_routes_of_equal_rank_for_the_same_requests_are_a_fault_with_both_places() {
    check_routes(&[
        (&[("r", "GET", "/a/{x}"), ("q", "GET", "/a/{y}")], &[("ambiguous_route", "/a/{y}", &["/a/{x}"])]),
        (&[("r", "GET", "/a/{x...}"), ("q", "GET", "/a/{y...}")], &[("ambiguous_route", "/a/{y...}", &["/a/{x...}"])]),
        (&[("r", "GET", "/a/{x}/b"), ("q", "GET", "/a/{y}/b")], &[("ambiguous_route", "/a/{y}/b", &["/a/{x}/b"])]),
        (&[("r", "GET", "/a%20b"), ("q", "GET", "/a%20b")], &[("ambiguous_route", "/a%20b", &["/a%20b"])]),
        // one way to write a literal as good as the other
        (&[("r", "GET", "/a!"), ("q", "GET", "/a%21")], &[("ambiguous_route", "/a%21", &["/a!"])]),
        (&[("r", "GET", "/{x}/"), ("q", "GET", "/{y}/")], &[("ambiguous_route", "/{y}/", &["/{x}/"])]),
        (
            &[("r", "GET, PUT", "/{x}"), ("q", "PUT, GET", "/{y}")],
            &[("ambiguous_route", "/{y}", &["/{x}"]), ("ambiguous_route", "/{y}", &["/{x}"])],
        ),
    ]);
}

#[test]
fn routes_of_different_rank_or_method_are_no_fault() {
    check_routes(&[
        (&[("r", "GET", "/a/{x}"), ("q", "PUT", "/a/{y}")], &[]),
        (&[("r", "GET", "/a/{x}"), ("q", "GET", "/a/b")], &[]),
        (&[("r", "GET", "/a/{x}"), ("q", "GET", "/{y}/b")], &[]),
        (&[("r", "GET", "/a/{x}"), ("q", "GET", "/a/{y...}")], &[]),
        (&[("r", "GET", "/a/{x...}"), ("q", "GET", "/a/{x}/{y...}")], &[]),
        (&[("r", "GET", "/a/{x}"), ("q", "GET", "/a/{x}/")], &[]),
        (&[("r", "GET", "/a/B"), ("q", "GET", "/a/b"), ("s", "GET", "/a/{x}")], &[]),
        (&[("r", "GET", "/{x}"), ("q", "GET", "/{x...}")], &[]),
    ]);
}

#[test]
fn a_rest_of_which_other_routes_take_every_request_is_a_fault() {
    const TAKEN: (&str, &str, &[&str]) = ("unreachable_route", "/f/{x...}", &["/f/{a}", "/f/{a}/", "/f/{a}/{b...}"]);
    check_routes(&[
        (
            &[
                ("r", "GET", "/f/{x...}"),
                ("s", "GET", "/f/{a}"),
                ("t", "GET", "/f/{a}/"),
                ("u", "GET", "/f/{a}/{b...}"),
            ],
            &[TAKEN],
        ),
        // each of them leaves something
        (&[("r", "GET", "/f/{x...}"), ("s", "GET", "/f/{a}"), ("t", "GET", "/f/{a}/")], &[]),
        (&[("r", "GET", "/f/{x...}"), ("u", "GET", "/f/{a}/{b...}")], &[]),
        // what differs from one of them in its final slash only is not the rest's either
        (
            &[("r", "GET", "/f/{x...}"), ("s", "GET", "/f/{a}"), ("u", "GET", "/f/{a}/{b...}")],
            &[("unreachable_route", "/f/{x...}", &["/f/{a}", "/f/{a}/{b...}"])],
        ),
        (
            &[("r", "GET", "/f/{x...}"), ("t", "GET", "/f/{a}/"), ("u", "GET", "/f/{a}/{b...}")],
            &[("unreachable_route", "/f/{x...}", &["/f/{a}/", "/f/{a}/{b...}"])],
        ),
        (&[("r", "GET", "/f/{x...}"), ("s", "GET", "/f/b"), ("t", "GET", "/f/b/"), ("u", "GET", "/f/b/{y...}")], &[]),
        // for one of its methods only
        (
            &[
                ("r", "GET, PUT", "/f/{x...}"),
                ("s", "GET", "/f/{a}"),
                ("t", "GET", "/f/{a}/"),
                ("u", "GET", "/f/{a}/{b...}"),
            ],
            &[("unreachable_route", "GET", &["/f/{a}", "/f/{a}/", "/f/{a}/{b...}"])],
        ),
        // and a rest that is itself taken
        (
            &[
                ("r", "GET", "/f/{x...}"),
                ("s", "GET", "/f/{a}"),
                ("t", "GET", "/f/{a}/"),
                ("u", "GET", "/f/{a}/{b}"),
                ("v", "GET", "/f/{a}/{b}/"),
                ("w", "GET", "/f/{a}/{b}/{c...}"),
            ],
            &[("unreachable_route", "/f/{x...}", &["/f/{a}", "/f/{a}/", "/f/{a}/{b}"])],
        ),
    ]);
}

#[test]
fn a_rest_that_is_told_to_be_unreachable_takes_nothing_and_one_that_is_not_takes_something() {
    // All sets of routes over a few shapes, against the route that requests really take.
    let shapes = ["/{a}", "/{a}/", "/{a}/{b...}", "/{a}/{b}", "/{a}/{b}/", "/{a}/{b}/{c...}", "/k", "/k/{d...}"];
    let requests = ["/n", "/n/", "/n/m", "/n/m/", "/n/m/o", "/n/m/o/", "/n/m/o/p", "/k", "/k/", "/k/m", "/k/m/o/p"];
    let written = |(id, path): &(usize, &str)| {
        let access = if *id == 0 { "public: true" } else { "gate_only: true" };
        format!("{{id: r{id}, match: {{methods: [GET], path: \"{path}\"}}, {access}}}")
    };
    let text = |list: &[(usize, &str)]| {
        let list: Vec<String> = list.iter().map(written).collect();
        routes("", "[app.example.org]", &format!("[{}]", list.join(", ")))
    };
    let mut told_of_some = false;
    for set in 0_u32..1 << shapes.len() {
        let chosen = shapes.iter().enumerate().filter(|(number, _)| set & 1 << number != 0);
        let mut list = vec![(0, "/{x...}")];
        list.extend(chosen.map(|(number, shape)| (number + 1, *shape)));
        let report = load(&text(&list), &grants("", ""));
        let is_told = |id: usize| report.diagnostics().iter().any(|found| found.message.contains(&format!("`r{id}`")));
        let told = is_told(0);
        told_of_some |= told;
        // What takes nothing can be left out.
        list.retain(|(id, _)| !is_told(*id));
        let world = World::from_texts(&gateway(), &text(&list), &grants("", ""));
        if told {
            let token = world.token("a", "app.example.org", &[]);
            let take = |target: &str| ask(&world, target, Some(&token)) == "allow";
            // With a final slash more or less, it is nobody's.
            let twin = |target: &str| target.strip_suffix('/').map_or_else(|| format!("{target}/"), str::to_owned);
            let others = |target: &&str| take(target) || take(&twin(target));
            assert!(requests.iter().all(others), "others do not take all: {list:?}");
        } else {
            assert!(requests.iter().any(|target| ask(&world, target, None) == "allow"), "takes nothing: {list:?}");
        }
    }
    assert!(told_of_some);
}

#[test]
fn a_path_longer_than_any_request_is_a_fault() {
    let twice = |segment: &str, times: usize| format!("/x{0}x/x{0}x", segment.repeat(times));
    let cases = [
        ("/a".repeat(64), false),
        ("/a".repeat(65), true),
        (twice("a", 30_000), false),
        (twice("a", 31_000), true),
        // characters that may stand for themselves count once, however they are written here
        (twice("%21", 20_000), false),
        (twice("%20", 20_000), true),
    ];
    for (path, fault) in cases {
        let list = format!("[{{id: r, match: {{methods: [GET], path: \"{path}\"}}, public: true}}]");
        let text = routes("", "[app.example.org]", &list);
        let codes: Vec<&str> = load(&text, &grants("", "")).diagnostics().iter().map(|found| found.code).collect();
        let expected: &[&str] = if fault { &["unreachable_route"] } else { &[] };
        assert_eq!(codes, expected, "{} ... of {} bytes", &path[..9], path.len());
    }
}

#[test]
fn a_host_that_no_request_can_name_is_a_fault() {
    let long =
        format!("*.{}.org", ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".") + ".eeeee");
    let fits = format!("*.{}", ["a".repeat(62), "b".repeat(62), "c".repeat(62), "d".repeat(62)].join("."));
    let cases = [
        ("\"[::1]\"", true),
        ("\"*.[::1]\"", false),
        ("\"*.example.org\"", true),
        ("\"*.127.0.0.1\"", true),
        (long.as_str(), false),
        (fits.as_str(), true),
    ];
    for (host, reachable) in cases {
        let text = routes(
            "",
            &format!("[\"{}\"]", host.trim_matches('"')),
            "[{id: r, match: {methods: [GET], path: /}, public: true}]",
        );
        let codes: Vec<&str> = load(&text, &grants("", "")).diagnostics().iter().map(|found| found.code).collect();
        let expected: &[&str] = if reachable { &[] } else { &["unreachable_route"] };
        assert_eq!(codes, expected, "{host}");
    }
}

#[test]
fn a_query_parameter_that_no_request_can_have_is_a_fault() {
    let scope = |name: &str| {
        format!(
            "[{{id: r, match: {{methods: [GET], path: /}}, scopes: {{main: {{from: \"query.{name}\", kind: town}}}}, require: {{eq: [query.town, x], reason: no}}}}]"
        )
    };
    for (name, faults) in [("town", 0), ("land", 0), ("Town", 2), ("größe", 1), ("a b", 1)] {
        let text = routes("", "[app.example.org]", &scope(name));
        let grants = grants(FOREST, "");
        let report = load(&text, &grants);
        let codes: Vec<&str> = report.diagnostics().iter().map(|found| found.code).collect();
        assert_eq!(codes, vec!["unreachable_query"; faults], "{name}");
    }
}

fn gateway() -> String {
    format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [r]\ngrants: [g]\ntenants: [{{name: t, id: {TENANT}}}]\n"
    )
}

/// Judges a GET, with a token if there is one.
fn ask(world: &World, target: &str, token: Option<&str>) -> String {
    let mut head = Request::builder().method("GET").uri(target).header("host", "app.example.org");
    if let Some(token) = token {
        head = head.header("authorization", format!("Bearer {token}"));
    }
    world.judge(head.body(()).unwrap().into_parts().0).err().unwrap_or_else(|| "allow".to_owned())
}

const SETTINGS: &str = "settings: {on: true, off: false, zero: 0, one: 1, mask: 1, none: [], list: [u, v]}";
const DOCS: &str = "objects: {\"doc:1\": {kind: a, n: 1, list: [x, y]}}\nstrategy: {caps: {ro: read}}";

/// What a load says of a requirement on `/{k}` with an object.
fn verdict(require: &str) -> Option<(Severity, &'static str)> {
    let route = format!(
        "[{{id: r, match: {{methods: [GET, PUT], path: \"/{{k}}/{{id}}\"}}, object: {{kind: doc, key: path.id}}, require: {require}}}]"
    );
    let text = routes(SETTINGS, "[app.example.org]", &route);
    let grants = grants(&format!("{FOREST}\n{DOCS}"), "flags: [f, g, ro], grants: [x, y, area]");
    let report = load(&text, &grants);
    let never: Vec<_> =
        found(&report, [&text, &grants]).into_iter().filter(|(_, code, _, _)| code.starts_with("never")).collect();
    assert!(never.len() <= 1);
    never.first().map(|(severity, code, at, _)| {
        assert!(!at.is_empty(), "{require}");
        (*severity, *code)
    })
}

#[test]
fn a_requirement_that_can_never_hold_is_a_fault() {
    let cases = [
        "[{flag: f}, {not_flag: f}]",
        "[{not_flag: f}, x, {flag: f}]",
        // on every way
        "[{any: [{flag: f}, {flag: g}]}, {not_flag: f}, {not_flag: g}]",
        "{any: [[{flag: f}, {not_flag: f}], {lt: [count(object.list), 0], reason: no}]}",
        "[{in: [path.k, []], reason: no}]",
        "[{eq: [path.k, []], reason: no}]",
        "{lt: [count(object.list), 0], reason: no}",
        "{lt: [count(object.list), -3], reason: no}",
        "{lt: [path.k, word], reason: no}",
        "{lt: [path.k, path.k], reason: no}",
        "[{lt: [path.k, 5], reason: no}, {lt: [4, path.k], reason: no}]",
        "[{lt: [path.k, 5], reason: no}, {in: [path.k, [5, 6, word]], reason: no}]",
        "[{in: [path.k, [u, v]], reason: no}, {in: [path.k, [w]], reason: no}]",
        "[{in: [path.k, [u, v]], reason: no}, {not_in: [path.k, [v, u]], reason: no}]",
        "[{not_in: [path.k, [v, u]], reason: no}, {eq: [path.k, u], reason: no}]",
        "[{eq: [path.k, u], reason: no}, {eq: [path.k, v], reason: no}]",
        "[{eq: [object.kind, u], reason: no}, {eq: [v, object.kind], reason: no}]",
        "[{eq: [principal.id, a], reason: no}, {eq: [principal.id, b], reason: no}]",
        "[{eq: [query.q, a], reason: no}, x, {in: [query.q, [b, 1]], reason: no}]",
        "[{eq: [header.X-Q, a], reason: no}, {eq: [header.x-q, b], reason: no}]",
        // values that the place never has
        "{eq: [path.k, \"\"], reason: no}",
        "{eq: [path.k, a/b], reason: no}",
        "{in: [query.q, [\"\", \"a,b\", \" a\"]], reason: no}",
        "{eq: [count(object.list), two], reason: no}",
        "{eq: [count(object.list), path.k], reason: no}",
        "{eq: [path.k, count(object.list)], reason: no}",
        // a cap takes the level away
        "[{flag: ro}, x:write]",
        "[{flag: ro}, {any: [x:write, y:delete]}]",
        // a right that the values which get so far do not name
        "[{in: [path.k, [a, b]], reason: no}, {in: [path.k, [b, c]], reason: no}, {not_in: [path.k, [b]], reason: no}, \"area.{k}\"]",
    ];
    for require in cases {
        assert_eq!(verdict(require), Some((Severity::Error, "never")), "{require}");
    }
}

#[test]
fn a_requirement_that_only_settings_make_impossible_is_told() {
    let cases = [
        "{setting: off, reason: no}",
        "[{flag: f}, {setting: off, reason: no}]",
        "{setting: one, bit: 2, reason: no}",
        "{lt: [count(object.list), setting.zero], reason: no}",
        "{in: [path.k, setting.none], reason: no}",
        "[{in: [path.k, setting.none], reason: no}, \"area.{k}\"]",
        "[{in: [path.k, setting.list], reason: no}, {in: [path.k, [w]], reason: no}]",
        "[{in: [path.k, setting.list], reason: no}, {in: [path.k, [w]], reason: no}, \"area.{k}\"]",
        "{eq: [setting.one, 2], reason: no}",
        "{lt: [setting.one, setting.zero], reason: no}",
        "[{when: {setting: on}, then: {flag: f}}, {not_flag: f}]",
        "[{when: {setting: off}, then: {flag: g}, else: {flag: f}}, {not_flag: f}]",
        "{setting: zero, bit: {of: object.kind, map: {a: 1}}, reason: no}",
    ];
    for require in cases {
        assert_eq!(verdict(require), Some((Severity::Warning, "never_with_settings")), "{require}");
    }
}

#[test]
fn a_requirement_that_somebody_could_meet_is_left_alone() {
    let cases = [
        "[]",
        "[{flag: f}, {not_flag: g}]",
        "[{flag: nobody}, nothing.that.is.held]",
        "{any: [{flag: f}, {not_flag: f}]}",
        "{any: [[{flag: f}, {not_flag: f}], x]}",
        "[{any: [{flag: f}, {flag: g}]}, {not_flag: f}]",
        "{any: [{setting: off, reason: no}, x]}",
        "{when: {setting: off}, then: [{flag: f}, {not_flag: f}]}",
        "{lt: [count(object.list), 1], reason: no}",
        "[{lt: [path.k, 5], reason: no}, {lt: [3, path.k], reason: no}]",
        "[{lt: [path.k, 5], reason: no}, {in: [path.k, [4, 6]], reason: no}]",
        "[{lt: [object.n, 5], reason: no}, {in: [object.n, [\"4\"]], reason: no}]",
        "[{in: [path.k, [u, v]], reason: no}, {in: [path.k, [v, w]], reason: no}]",
        "[{eq: [path.k, 5], reason: no}, {eq: [path.k, \"5\"], reason: no}]",
        "[{eq: [path.k, u], reason: no}, {eq: [path.id, v], reason: no}]",
        "[{eq: [object.n, 7], reason: no}, {not_in: [object.n, [\"07\"]], reason: no}]",
        "{in: [principal.id, object.list], reason: no}",
        "{not_in: [principal.id, object.list], reason: no}",
        "{in: [admin, object.list], reason: no}",
        "{eq: [object.n, count(object.list)], reason: no}",
        "[{flag: ro}, x:by_method]",
        "[{flag: ro}, x]",
        "[{in: [path.k, [a, b]], reason: no}, \"area.{k}\"]",
        "{when: {setting: mask, bit: {of: object.kind, map: {a: 1, b: 2}}}, then: x, else: y}",
    ];
    for require in cases {
        assert_eq!(verdict(require), None, "{require}");
    }
}

/// Requirements as they are written.
fn requirements() -> impl Strategy<Value = String> {
    let values = || prop::collection::vec(prop_oneof!["[uvw]", "[0-3]", Just("\"07\"".to_owned())], 1..4);
    let looked = || {
        prop_oneof![
            Just("path.k"),
            Just("path.id"),
            Just("query.q"),
            Just("object.kind"),
            Just("object.n"),
            Just("count(object.list)"),
            Just("principal.id")
        ]
    };
    let leaf = prop_oneof![
        "[fg]".prop_map(|flag| format!("{{flag: {flag}}}")),
        "[fg]".prop_map(|flag| format!("{{not_flag: {flag}}}")),
        Just("{flag: ro}".to_owned()),
        Just("x:write".to_owned()),
        Just("x:by_method".to_owned()),
        (looked(), values()).prop_map(|(of, list)| format!("{{in: [{of}, [{}]], reason: no}}", list.join(", "))),
        (looked(), values()).prop_map(|(of, list)| format!("{{not_in: [{of}, [{}]], reason: no}}", list.join(", "))),
        (looked(), values()).prop_map(|(of, list)| format!("{{eq: [{of}, {}], reason: no}}", list[0])),
        (looked(), 0..4).prop_map(|(of, number)| format!("{{lt: [{of}, {number}], reason: no}}")),
        (looked(), 0..4).prop_map(|(of, number)| format!("{{lt: [{number}, {of}], reason: no}}")),
        (looked(), looked()).prop_map(|(a, b)| format!("{{eq: [{a}, {b}], reason: no}}")),
        Just("{setting: mask, bit: {of: object.kind, map: {a: 1, u: 2}}, reason: no}".to_owned()),
        Just("{when: {setting: mask, bit: {of: object.kind, map: {a: 1, u: 2}}}, then: x, else: {flag: f}}".to_owned()),
        Just("{setting: off, reason: no}".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::vec(inner, 1..4).prop_map(|list| format!("{{any: [{}]}}", list.join(", "))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever somebody is allowed is never said to be impossible.
    #[test]
    fn no_requirement_that_was_met_is_said_to_be_impossible(require in requirements()) {
        let route = format!(
            "[{{id: r, match: {{methods: [GET], path: \"/{{k}}/{{id}}\"}}, object: {{kind: doc, key: path.id}}, require: {require}}}]"
        );
        let text = routes(SETTINGS, "[app.example.org]", &route);
        let objects = "objects: {\"doc:0\": {kind: a, n: 1, list: []}, \"doc:1\": {kind: u, n: \"07\", list: [x]}, \
                       \"doc:2\": {kind: v, n: w, list: [a, b]}, \"doc:u\": {kind: 3, n: 2, list: [u, v, w]}}\n\
                       strategy: {caps: {ro: read}}";
        let people: Vec<String> = [("a", "f"), ("u", "g"), ("v", "f, g"), ("w", ""), ("2", "ro, f")]
            .iter()
            .enumerate()
            .map(|(number, (id, flags))| format!(
                "  - {{id: {id}, tenant: t, oid: 00000000-0000-4000-8000-00000000000{number}, flags: [{flags}], grants: [x]}}\n"
            ))
            .collect();
        let grants = format!("version: 1\ndomain: d\n{objects}\nprincipals:\n{}", people.concat());
        let report = load(&text, &grants);
        let errors: Vec<&str> =
            report.diagnostics().iter().filter(|found| found.severity == Severity::Error).map(|found| found.code).collect();
        prop_assert!(errors.iter().all(|code| *code == "never"), "{require}: {errors:?}");
        let told = report.diagnostics().iter().any(|found| found.code.starts_with("never"));
        if told {
            // The same requirement beside one that can be met loads, and only the other one is ever met.
            let marked = text.replace(&format!("require: {require}"), &format!("require: {{any: [[{require}, {{not_flag: ro}}], [{require}, {{flag: ro}}], {{eq: [path.k, marked], reason: no}}]}}"));
            let world = World::from_texts(&gateway(), &marked, &grants);
            for who in ["a", "u", "v", "w", "2"] {
                let token = world.token(who, "app.example.org", &[]);
                for k in ["u", "v", "w", "0", "1", "2", "3", "07", "x"] {
                    for id in ["0", "1", "2", "u", "w"] {
                        for query in ["", "?q=u", "?q=w", "?q=2", "?q=07"] {
                            let target = format!("/{k}/{id}{query}");
                            prop_assert!(ask(&world, &target, Some(&token)) != "allow", "{require}: {who} {target}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn an_object_whose_scope_names_no_node_on_any_route_is_a_fault() {
    let route = |id: &str, scopes: &str| {
        format!(
            "{{id: {id}, match: {{methods: [GET], path: \"/{id}/{{id}}\"}}, object: {{kind: doc, key: path.id}}, scopes: {scopes}, require: []}}"
        )
    };
    let town = route("a", "{main: {from: [query.town, object.town], kind: town}}");
    let land = route("b", "{main: {from: object.town, kind: land, missing: skip}}");
    let plain = route("c", "{}");
    let error = Some((Severity::Error, "town", "main"));
    let cases = [
        ("{town: X}", vec![&town], None),
        ("{town: Z}", vec![&town], error),
        ("{town: [X, Y]}", vec![&town], None),
        ("{town: [X, Z]}", vec![&town], error),
        ("{town: \"\"}", vec![&town], error),
        ("{town: []}", vec![&town], None),
        ("{other: Z, town: X}", vec![&town], None),
        // a node of one kind, and none of the other
        ("{town: X}", vec![&town, &land], None),
        ("{town: Z}", vec![&town, &land], error),
        // some route takes it all the same
        ("{town: Z}", vec![&town, &plain], None),
        ("{town: Z}", vec![&plain], None),
    ];
    for (object, list, expected) in cases {
        let list: Vec<&str> = list.into_iter().map(String::as_str).collect();
        let text = routes("", "[app.example.org]", &format!("[{}]", list.join(", ")));
        let grants = grants(&format!("{FOREST}\nobjects: {{\"doc:1\": {object}, \"doc:2\": {{town: X}}}}"), "");
        let report = load(&text, &grants);
        let found = found(&report, [&text, &grants]);
        assert!(found.len() <= 1, "{object}: {}", report.render());
        let found = found.first().map(|(severity, code, at, beside)| {
            assert_eq!(*code, "unknown_scope_value");
            (*severity, *at, beside[0])
        });
        assert_eq!(found, expected, "{object} {list:?}");
    }
}

#[test]
fn a_kind_of_scope_that_only_objects_have_is_a_fault() {
    let route = "[{id: r, match: {methods: [GET], path: \"/{id}\"}, object: {kind: doc, key: path.id}, scopes: {main: {from: path.id, kind: doc}}, require: []}]";
    let report = load(
        &routes("", "[app.example.org]", route),
        &grants(&format!("{FOREST}\nobjects: {{\"doc:1\": {{kind: a}}}}"), ""),
    );
    assert_eq!(report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>(), ["unknown_name"]);
}

#[test]
fn names_of_nodes_that_clash_or_look_alike_are_told() {
    let public = routes("", "[app.example.org]", "[{id: r, match: {methods: [GET], path: /}, public: true}]");
    const FOREST: &str = "\"org:1\": root, \"org:2\": root";
    type Case = (&'static str, &'static str, Option<(Severity, &'static str, &'static str)>);
    let cases: [Case; 11] = [
        ("", "shop: {1000: \"org:1\", 1001: \"org:2\"}", None),
        // a node and an alias
        ("", "org: {2: \"org:1\"}", Some((Severity::Error, "alias_clash", "org:2"))),
        ("", "org: {2: \"org:2\"}", None),
        ("", "shop: {2: \"org:1\"}", None),
        // letters, blanks and zeros
        ("", "shop: {1000: \"org:1\", 01000: \"org:2\"}", Some((Severity::Warning, "look_alike", "1000"))),
        ("", "shop: {1000: \"org:1\", 01000: \"org:1\"}", None),
        ("", "shop: {Main: \"org:1\", main: \"org:2\"}", Some((Severity::Warning, "look_alike", "Main"))),
        ("", "shop: {Main: \"org:1\", \"main \": \"org:2\"}", Some((Severity::Warning, "look_alike", "Main"))),
        ("", "shop: {Main: \"org:1\"}, other: {main: \"org:2\"}", None),
        (", \"Org:1\": root", "", None),
        (", \"org:01\": root", "", Some((Severity::Warning, "look_alike", "org:1"))),
    ];
    for (nodes, aliases, expected) in cases {
        let text = grants(&format!("scopes: {{forest: {{{FOREST}{nodes}}}, aliases: {{{aliases}}}}}"), "");
        let report = load(&public, &text);
        let found = found(&report, [&public, &text]);
        assert!(found.len() <= 1, "{}", report.render());
        let found = found.first().map(|(severity, code, _, beside)| (*severity, *code, beside[0].trim_matches('"')));
        assert_eq!(found, expected, "{nodes} {aliases}");
    }
    // As keys are text, the quoted and the plain number are one key.
    let twice = grants(
        &format!("scopes: {{forest: {{{FOREST}}}, aliases: {{shop: {{1000: \"org:1\", \"1000\": \"org:2\"}}}}}}"),
        "",
    );
    let mut report = Report::new();
    let source = report.add_source("grants.yaml", &twice);
    document::read_grants(source, &mut report);
    assert_eq!(report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>(), ["duplicate_key"]);
}

/// The digest of no right at all, of `x`, and of `x:deny`, `x:read` and `y`, each on its line.
const OF_NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OF_X: &str = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
const OF_THREE: &str = "sha256:d2adda6b15b8a5620da9a9f5d410439f7fe5f80c607d48c0305d86e0ef95c698";

#[test]
fn a_reserved_role_is_what_it_is_pinned_to_and_depends_on_no_other() {
    let public = routes("", "[app.example.org]", "[{id: r, match: {methods: [GET], path: /}, public: true}]");
    let cases = [
        ("S: {reserved: true, rights: [x]}".to_owned(), None),
        (format!("S: {{reserved: true, digest: \"{OF_X}\", rights: [x]}}"), None),
        (format!("S: {{reserved: true, digest: \"{OF_NOTHING}\"}}"), None),
        // the order, repetition and the spelling of the top level change nothing
        (format!("S: {{reserved: true, digest: \"{OF_X}\", rights: [\"x:delete\", x]}}"), None),
        (format!("S: {{reserved: true, digest: \"{OF_THREE}\", rights: [y, \"x:deny\", \"x:read\"]}}"), None),
        // edited
        (format!("S: {{reserved: true, digest: \"{OF_X}\", rights: [x, y]}}"), Some(("reserved_role", OF_X))),
        (format!("S: {{reserved: true, digest: \"{OF_X}\", rights: [\"x:read\"]}}"), Some(("reserved_role", OF_X))),
        (format!("S: {{reserved: true, digest: \"{OF_X}\"}}"), Some(("reserved_role", OF_X))),
        // others may copy it, it may copy no other
        ("S: {reserved: true, rights: [x, y]}, T: {includes: [S], without: [x], rights: [z]}".to_owned(), None),
        ("T: {rights: [x]}, S: {reserved: true, includes: [T]}".to_owned(), Some(("reserved_role", "T"))),
        (
            "T: {reserved: true, rights: [x]}, S: {reserved: true, includes: [T]}".to_owned(),
            Some(("reserved_role", "T")),
        ),
        // a digest of what may be edited, and what is none
        (format!("S: {{digest: \"{OF_X}\", rights: [x]}}"), Some(("reserved_role", OF_X))),
        ("S: {reserved: true, digest: abc, rights: [x]}".to_owned(), Some(("bad_digest", "abc"))),
        (
            format!("S: {{reserved: true, digest: \"{}\", rights: [x]}}", OF_X.to_uppercase()),
            Some(("bad_digest", "SHA256:2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881")),
        ),
    ];
    for (roles, expected) in cases {
        let text = grants(&format!("roles: {{{roles}}}"), "");
        let report = load(&public, &text);
        let found = found(&report, [&public, &text]);
        assert!(found.len() <= 1, "{}", report.render());
        let found = found.first().map(|(_, code, at, _)| (*code, at.trim_matches('"')));
        assert_eq!(found, expected, "{roles}");
    }
}

#[test]
fn the_fault_of_an_edited_reserved_role_names_both_digests() {
    let public = routes("", "[app.example.org]", "[{id: r, match: {methods: [GET], path: /}, public: true}]");
    let text = grants(&format!("roles: {{S: {{reserved: true, digest: \"{OF_NOTHING}\", rights: [x]}}}}"), "");
    let report = load(&public, &text);
    let message = &report.diagnostics()[0].message;
    assert!(message.contains(OF_NOTHING) && message.contains(OF_X), "{message}");
}

/// Errors of an application with these further lines and one route that reads a header.
fn faults_of_application(lines: &str) -> Vec<(&'static str, String)> {
    let list = "[{id: r, match: {methods: [GET], path: /}, scopes: {main: {from: header.X-Town, kind: town}}, require: x, \
                trailers: [x-sum]}]";
    let text = routes("", "[app.example.org]", &format!("{list}\n{lines}"));
    let grants = grants(FOREST, "grants: [x]");
    let report = load(&text, &grants);
    found(&report, [&text, &grants])
        .into_iter()
        .map(|(_, code, at, _)| (code, at.trim_matches('"').to_owned()))
        .collect()
}

#[test]
fn a_place_of_tokens_is_a_name_without_another_meaning() {
    for (token, expected) in [
        ("bearer", None),
        ("[bearer, {cookie: erp_token}, {header: X-Forwarded-Access-Token}]", None),
        ("[{cookie: __Host-token}, {cookie: token}]", None),
        ("[{cookie: token}, {header: token}]", None),
        ("{header: X-Auth-Request-Access-Token}", None),
        ("{cookie: \"a b\"}", Some(("bad_value", "a b"))),
        ("{cookie: \"a=b\"}", Some(("bad_value", "a=b"))),
        ("{cookie: \"a;b\"}", Some(("bad_value", "a;b"))),
        ("{cookie: \"\"}", Some(("bad_value", ""))),
        ("{header: X_Token}", Some(("bad_value", "X_Token"))),
        ("{header: \"X Token\"}", Some(("bad_value", "X Token"))),
        ("{header: Authorization}", Some(("header_clash", "Authorization"))),
        ("{header: COOKIE}", Some(("header_clash", "COOKIE"))),
        ("{header: Host}", Some(("header_clash", "Host"))),
        ("{header: Content-Length}", Some(("header_clash", "Content-Length"))),
        ("{header: X-Forwarded-For}", Some(("header_clash", "X-Forwarded-For"))),
        ("{header: Sec-Fetch-Site}", Some(("header_clash", "Sec-Fetch-Site"))),
        ("{header: x-town}", Some(("header_clash", "x-town"))),
        ("[bearer, bearer]", Some(("duplicate_value", "bearer"))),
        ("[{cookie: erp_token}, {cookie: ERP-Token}]", Some(("duplicate_value", "ERP-Token"))),
        ("[{header: X-A}, {header: x-a}]", Some(("duplicate_value", "x-a"))),
    ] {
        let found = faults_of_application(&format!("    token: {token}"));
        let expected: Vec<_> = expected.into_iter().map(|(code, at)| (code, at.to_owned())).collect();
        assert_eq!(found, expected, "{token}");
    }
    let unused = "    token: {cookie: a}\n    forward_authorization: true";
    assert_eq!(faults_of_application(unused), [("conflict", "a".to_owned())]);
    for (token, faults) in [("", 1), ("    token: bearer\n", 1), ("    token: [bearer, {cookie: a}]\n", 0)] {
        let found = faults_of_application(&format!("{token}    connection_auth: true"));
        assert_eq!(found, vec![("conflict", "true".to_owned()); faults], "{token}");
    }
    let folded = "    token: {header: X-Token}\n    allow_headers: [x_token, x_other]";
    assert_eq!(faults_of_application(folded), [("header_clash", "x_token".to_owned())]);
}

#[test]
fn a_header_that_is_taken_out_is_one_that_nobody_needs() {
    for (lines, expected) in [
        ("remove_headers: [X-Employee-No, accept-language, cookie]", None),
        ("remove_headers: [X_Town]", Some(("header_clash", "X_Town"))),
        ("remove_headers: [X.Sum]", Some(("header_clash", "X.Sum"))),
        ("remove_headers: [HOST]", Some(("header_clash", "HOST"))),
        ("remove_headers: [Content_Length]", Some(("header_clash", "Content_Length"))),
        ("remove_headers: [authorization]", Some(("header_clash", "authorization"))),
        ("remove_headers: [x-a]\n    allow_headers: [x_a]", Some(("header_clash", "x-a"))),
        ("remove_headers: [\"x a\"]", Some(("bad_value", "x a"))),
        ("remove_headers: [\"\"]", Some(("bad_value", ""))),
        ("allow_headers: [\"x:a\"]", Some(("bad_value", "x:a"))),
    ] {
        let found = faults_of_application(&format!("    {lines}"));
        let expected: Vec<_> = expected.into_iter().map(|(code, at)| (code, at.to_owned())).collect();
        assert_eq!(found, expected, "{lines}");
    }
}

#[test]
fn nobody_authenticates_a_connection_of_http_2() {
    let list = "[{id: r, match: {methods: [GET], path: /}, gate_only: true}]";
    let lines = format!("{list}\n    token: {{cookie: a}}\n    connection_auth: true");
    for (protocol, faults) in [("http1", 0), ("http2", 1)] {
        let servers = format!("{{app: {{protocol: {protocol}, servers");
        let text = routes("", "[app.example.org]", &lines).replace("{app: {servers", &servers);
        let grants = grants("", "");
        let report = load(&text, &grants);
        let codes: Vec<_> = found(&report, [&text, &grants]).into_iter().map(|(_, code, ..)| code).collect();
        assert_eq!(codes, vec!["conflict"; faults], "{protocol}");
    }
}

#[test]
fn a_trailer_is_a_field_that_decides_frames_and_says_nothing() {
    for (trailers, expected) in [
        ("[x-checksum, grpc-status]", None),
        ("x-checksum", None),
        ("[]", None),
        ("[X-Checksum]", Some(("bad_value", "X-Checksum"))),
        ("[x_checksum]", Some(("bad_value", "x_checksum"))),
        ("[\"a b\"]", Some(("bad_value", "a b"))),
        ("[\"\"]", Some(("bad_value", ""))),
        ("[x-a, x-b, x-a]", Some(("duplicate_value", "x-a"))),
        ("[transfer-encoding]", Some(("header_clash", "transfer-encoding"))),
        ("[content-length]", Some(("header_clash", "content-length"))),
        ("[te]", Some(("header_clash", "te"))),
        ("[host]", Some(("header_clash", "host"))),
        ("[authorization]", Some(("header_clash", "authorization"))),
        ("[cookie]", Some(("header_clash", "cookie"))),
        ("[x-auth-request-user]", Some(("header_clash", "x-auth-request-user"))),
        ("[x-forwarded-for]", Some(("header_clash", "x-forwarded-for"))),
        ("[x-http-method-override]", Some(("header_clash", "x-http-method-override"))),
        ("[x-original-url]", Some(("header_clash", "x-original-url"))),
        ("[x-portcullis-assertion]", Some(("header_clash", "x-portcullis-assertion"))),
        ("[x-town]", Some(("header_clash", "x-town"))),
        ("[x-token]", Some(("header_clash", "x-token"))),
    ] {
        let route = format!(
            "[{{id: r, match: {{methods: [GET], path: /}}, scopes: {{main: {{from: header.X-Town, kind: town}}}}, \
             require: x, trailers: {trailers}}}]\n    token: {{header: X-Token}}"
        );
        let text = routes("", "[app.example.org]", &route);
        let grants = grants(FOREST, "grants: [x]");
        let report = load(&text, &grants);
        let found: Vec<_> =
            found(&report, [&text, &grants]).into_iter().map(|(_, code, at, _)| (code, at.trim_matches('"'))).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{trailers}");
    }
}

#[test]
fn origins_of_pages_are_written_as_browsers_send_them() {
    for (cors, expected) in [
        ("origins: [\"https://app.example.org\", \"http://localhost:3000\"]", None),
        ("origins: \"*\"", None),
        ("origins: \"https://a.example.org\", credentials: true", None),
        ("origins: \"*\", credentials: true", Some(("conflict", "true"))),
        ("origins: [\"*\", \"https://a.example.org\"]", Some(("conflict", "*"))),
        ("origins: \"null\"", Some(("bad_origin", "null"))),
        ("origins: \"https://A.example.org\"", Some(("bad_origin", "https://A.example.org"))),
        ("origins: \"https://a.example.org/\"", Some(("bad_origin", "https://a.example.org/"))),
        ("origins: \"https://a.example.org:443\"", Some(("bad_origin", "https://a.example.org:443"))),
        ("origins: \"https://*.example.org\"", Some(("bad_origin", "https://*.example.org"))),
        ("origins: app.example.org", Some(("bad_origin", "app.example.org"))),
        ("origins: [\"https://a.test\", \"https://a.test\"]", Some(("duplicate_value", "https://a.test"))),
        ("origins: \"https://a.test\", methods: [\"*\"]", Some(("bad_value", "*"))),
        ("origins: \"https://a.test\", headers: [\"*\"]", Some(("bad_value", "*"))),
        ("origins: \"https://a.test\", expose: [\"*\"]", Some(("bad_value", "*"))),
    ] {
        let found = faults_of_application(&format!("    cors: {{{cors}}}"));
        let expected: Vec<_> = expected.into_iter().map(|(code, at)| (code, at.to_owned())).collect();
        assert_eq!(found, expected, "{cors}");
    }
}

#[test]
fn the_path_of_the_metadata_is_the_gateways_own() {
    let path = "/.well-known/oauth-protected-resource";
    for (path, metadata, expected) in [
        (path, "true", vec![("ambiguous_route", path.to_owned())]),
        (path, "{scopes: [read]}", vec![("ambiguous_route", path.to_owned())]),
        (path, "false", vec![]),
        ("/.well-known/{name}", "true", vec![]),
    ] {
        let list = format!("[{{id: r, match: {{methods: [GET], path: \"{path}\"}}, public: true}}]");
        let text = routes("", "[app.example.org]", &format!("{list}\n    resource_metadata: {metadata}"));
        let grants = grants("", "");
        let report = load(&text, &grants);
        let found: Vec<_> = found(&report, [&text, &grants])
            .into_iter()
            .map(|(_, code, at, _)| (code, at.trim_matches('"').to_owned()))
            .collect();
        assert_eq!(found, expected, "{path} {metadata}");
    }
}
