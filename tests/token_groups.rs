//! Groups and roles of tokens in the policy: what a mapped group gives and takes, what follows where a token cannot name
//! its groups, what a load refuses, and what operators are told. Whole requests with real tokens; the laws of it are in
//! `naive`.

#[path = "support/process.rs"]
mod process;
mod support;

use std::fs;
use std::sync::Arc;

use http::Request;
use http::request::Parts;
use portcullis::diag::{Report, Severity};
use portcullis::document;
use portcullis::model::{Guid, Reason, Tenant};
use portcullis::pep::{self, Verdict};
use portcullis::review::diff::diff;
use portcullis::review::lint::lint;
use portcullis::review::{Asker, Claims, Policy, Request as Asked, run};
use portcullis::token::Groups;
use process::portcullis;
use support::world::{ENVIRONMENT, World, token_of};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const ANNA: &str = "00000000-0000-4000-8000-000000000001";
const OPERATORS: &str = "0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e10";
const BARRED: &str = "0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e11";
const OFF: &str = "0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e12";

const GATEWAY: &str = "version: 1
listeners: [{address: 127.0.0.1:8080}]
routes: [routes.yaml]
grants: [grants.yaml]
tenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]
";

const ROUTES: &str = r#"version: 1
upstreams: {u: {servers: ["http://127.0.0.1:1"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: u
    gate: {tenants: [t], audiences: [a]}
    identity_headers: [groups, scopes]
    routes:
      - {id: orders, match: {methods: [GET, PUT], path: "/orders/{town}"}, scopes: {main: {from: path.town, kind: town}}, require: "orders:by_method"}
      - {id: staff, match: {methods: [GET], path: /staff}, require: {flag: staff}}
      - {id: guests, match: {methods: [GET], path: /guests}, require: FORBIDS}
      - {id: free, match: {methods: [GET], path: /free}, require: []}
      - {id: gate, match: {methods: [GET], path: /gate}, gate_only: true}
      - {id: public, match: {methods: [GET], path: /public}, public: true}
"#;

/// `anna` is in no group by herself, unless told otherwise.
const GRANTS: &str = r#"version: 1
domain: d
strategy: {STRATEGY}
scopes: {forest: {"town:X": root, "town:Y": root}}
groups:
  Everybody: {flags: [staff]}
  Operators: {parents: [Everybody], grants: ["orders:write @town:X"]}
  Barred: {grants: ["orders:deny @town:X"]}
  Off: {status: inactive}
  Quiet: {flags: [quiet]}
principals:
  - {id: anna, tenant: t, oid: 00000000-0000-4000-8000-000000000001ANNA}
MAPPED
"#;

fn texts(strategy: &str, anna: &str, mapped: &str, forbids: &str) -> [String; 2] {
    let grants = GRANTS.replace("STRATEGY", strategy).replace("ANNA", anna).replace("MAPPED", mapped);
    [ROUTES.replace("FORBIDS", forbids), grants]
}

fn world(strategy: &str, anna: &str, mapped: &str) -> World {
    let [routes, grants] = texts(strategy, anna, mapped, "[]");
    World::from_texts(GATEWAY, &routes, &grants)
}

/// The groups of a token: their values, or `unknown`.
fn claimed(groups: &[&str]) -> Groups {
    match groups {
        ["unknown"] => Groups::Unknown,
        listed => Groups::listed(&listed.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

/// A request of `anna` with these groups and roles in her token.
fn head(request: &str, groups: &[&str], roles: &[&str]) -> Parts {
    let (method, path) = request.split_once(' ').unwrap();
    let token = token_of(TENANT.parse().unwrap(), ANNA.parse().unwrap(), "a", roles, &claimed(groups));
    let head = Request::builder().method(method).uri(path).header("host", "app.example.org");
    head.header("authorization", format!("Bearer {token}")).body(()).unwrap().into_parts().0
}

fn ask(world: &World, request: &str, groups: &[&str], roles: &[&str]) -> String {
    world.judge(head(request, groups, roles)).err().unwrap_or_else(|| "allow".to_owned())
}

const MAPPED: &str = "token_groups: {0F6F1C2E-5d3a-4c1b-9b57-3f1f3a7f9e10: Operators, 0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e11: Barred, \
                      0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e12: Off, staff group: Everybody}\n\
                      token_roles: {IPS Access: Operators, No Access: Off}";

#[test]
fn a_mapped_group_gives_and_takes_as_if_the_entry_listed_it() {
    type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);
    let none: &[&str] = &[];
    let cases: [Case; 24] = [
        // nothing without it
        ("GET /orders/X", none, none, "right_missing:orders@town:X"),
        ("GET /staff", none, none, "flag_missing:staff"),
        // grants, and flags of the group above
        ("GET /orders/X", &[OPERATORS], none, "allow"),
        ("PUT /orders/X", &[OPERATORS], none, "allow"),
        ("GET /orders/Y", &[OPERATORS], none, "right_missing:orders@town:Y"),
        ("GET /staff", &[OPERATORS], none, "allow"),
        ("GET /staff", &["staff group"], none, "allow"),
        // among others that say nothing
        ("GET /staff", &["other", "staff group", "another"], none, "allow"),
        ("GET /orders/X", &["0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e99", OPERATORS], none, "allow"),
        // GUIDs in any letter case, all else exactly
        ("GET /orders/X", &["0F6F1C2E-5D3A-4C1B-9B57-3F1F3A7F9E10"], none, "allow"),
        ("GET /staff", &["Staff Group"], none, "flag_missing:staff"),
        ("GET /staff", &["staff group "], none, "flag_missing:staff"),
        // denials and inactive groups
        ("GET /orders/X", &[OPERATORS, BARRED], none, "right_denied:orders@town:X"),
        ("GET /orders/X", &[BARRED, OPERATORS], none, "right_denied:orders@town:X"),
        ("GET /orders/X", &[OPERATORS, OFF], none, "principal_inactive"),
        ("GET /free", &[OFF], none, "principal_inactive"),
        // roles likewise, and each claim for itself
        ("PUT /orders/X", none, &["IPS Access"], "allow"),
        ("PUT /orders/X", none, &["ips access"], "right_missing:orders@town:X"),
        ("PUT /orders/X", &["IPS Access"], none, "right_missing:orders@town:X"),
        ("GET /orders/X", none, &[OPERATORS], "right_missing:orders@town:X"),
        ("PUT /orders/X", &[OPERATORS], &["IPS Access"], "allow"),
        ("GET /orders/X", &[OPERATORS], &["No Access"], "principal_inactive"),
        // what asks for no principal asks for no group
        ("GET /gate", &[OFF], none, "allow"),
        ("GET /public", &[OFF], none, "allow"),
    ];
    let world = world("", "", MAPPED);
    for (request, groups, roles, expected) in cases {
        assert_eq!(ask(&world, request, groups, roles), expected, "{request} with {groups:?} and {roles:?}");
    }
}

#[test]
fn without_a_mapping_groups_and_roles_of_tokens_say_nothing() {
    let world = world("", ", grants: [\"orders:read @town:X\"]", "");
    for groups in [&[][..], &[OPERATORS, OFF], &["Operators", "Off", "Barred"], &["unknown"]] {
        assert_eq!(ask(&world, "GET /orders/X", groups, &["IPS Access", "Off"]), "allow", "{groups:?}");
        assert_eq!(ask(&world, "GET /staff", groups, &["Everybody"]), "flag_missing:staff", "{groups:?}");
    }
}

#[test]
fn a_group_that_is_listed_and_mapped_counts_once() {
    for across in ["deny_overrides", "deny_individual_first", "individual_first", "most_restrictive", "most_permissive"]
    {
        let world = world(&format!("across: {across}"), ", groups: [Operators]", MAPPED);
        for groups in [&[][..], &[OPERATORS], &[OPERATORS, "staff group"]] {
            assert_eq!(ask(&world, "PUT /orders/X", groups, &["IPS Access"]), "allow", "{across}: {groups:?}");
        }
    }
}

/// Anna may read the orders of X by herself; the value `g` stands for the group given. What comes of unknown groups.
fn with_unknown(strategy: &str, group: &str, forbids: &str) -> String {
    let mapped = format!("token_groups: {{g: {group}}}\ntoken_roles: {{r: Barred, s: Operators}}");
    let [routes, grants] = texts(strategy, ", grants: [\"orders:read @town:X\"]", &mapped, forbids);
    ask(&World::from_texts(GATEWAY, &routes, &grants), "GET /orders/X", &["unknown"], &[])
}

#[test]
fn groups_that_a_token_cannot_name_are_never_taken_for_none_where_one_could_take_away() {
    let cases = [
        // only additions are possible
        ("", "Operators", "[]", "allow"),
        ("", "Everybody", "[]", "allow"),
        ("across: individual_first", "Operators", "[]", "allow"),
        ("across: deny_individual_first", "Operators", "[]", "allow"),
        ("across: most_permissive", "Operators", "[]", "allow"),
        ("within: nearest", "Operators", "[]", "allow"),
        // a denial, here or wherever else
        ("", "Barred", "[]", "groups_unknown"),
        ("across: individual_first", "Barred", "[]", "groups_unknown"),
        ("across: most_permissive", "Barred", "[]", "groups_unknown"),
        // a group that switches off
        ("", "Off", "[]", "groups_unknown"),
        // flags that a cap names or a route forbids, one's own or those of a group above
        ("", "Quiet", "[]", "allow"),
        ("caps: {quiet: read}", "Quiet", "[]", "groups_unknown"),
        ("", "Quiet", "{not_flag: quiet}", "groups_unknown"),
        ("", "Operators", "{any: [orders, {not_flag: staff}]}", "groups_unknown"),
        ("", "Operators", "{not_flag: quiet}", "allow"),
        // where the lowest of all sources wins, one more may lower
        ("across: most_restrictive", "Operators", "[]", "groups_unknown"),
        ("across: most_restrictive", "Everybody", "[]", "allow"),
    ];
    for (strategy, group, forbids, expected) in cases {
        assert_eq!(with_unknown(strategy, group, forbids), expected, "{strategy} {group} {forbids}");
    }
}

#[test]
fn unknown_groups_open_nothing_and_leave_roles_and_the_account_their_say() {
    let mapped = "token_groups: {g: Operators}\ntoken_roles: {r: Barred, s: Operators, off: Off}";
    type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);
    let adding: [Case; 6] = [
        ("GET /orders/X", &["g"], &[], "allow"),
        ("GET /orders/X", &["unknown"], &[], "right_missing:orders@town:X"),
        ("GET /orders/X", &["unknown"], &["s"], "allow"),
        ("GET /orders/X", &["unknown"], &["s", "r"], "right_denied:orders@town:X"),
        ("GET /orders/X", &["unknown"], &["s", "off"], "principal_inactive"),
        ("GET /free", &["unknown"], &[], "allow"),
    ];
    let world = world("", "", mapped);
    for (request, groups, roles, expected) in adding {
        assert_eq!(ask(&world, request, groups, roles), expected, "{request} with {groups:?} and {roles:?}");
    }
    // The account comes first; what asks for no principal asks for no group; a right of one's own does not help.
    for (anna, request, expected) in [
        ("", "GET /orders/X", "groups_unknown"),
        (", grants: [orders]", "GET /orders/X", "groups_unknown"),
        ("", "GET /free", "groups_unknown"),
        ("", "GET /orders/Nowhere", "groups_unknown"),
        (", status: inactive", "GET /orders/X", "principal_inactive"),
        (", status: deleted", "GET /orders/X", "principal_deleted"),
        (", status: reserved", "GET /orders/X", "principal_reserved"),
        ("", "GET /gate", "allow"),
        ("", "GET /public", "allow"),
    ] {
        let world = self::world("", anna, "token_groups: {g: Barred}");
        assert_eq!(ask(&world, request, &["unknown"], &[]), expected, "{anna}: {request}");
    }
    assert_eq!(Reason::GroupsUnknown.status(), 403);
}

#[test]
fn roles_of_tokens_are_never_unknown() {
    let world = world("", ", grants: [orders]", "token_roles: {r: Barred, off: Off}");
    assert_eq!(ask(&world, "GET /orders/X", &["unknown"], &[]), "allow");
    assert_eq!(ask(&world, "GET /orders/X", &["unknown"], &["r"]), "right_denied:orders@town:X");
}

#[test]
fn the_backend_is_told_of_joined_groups_and_where_their_rights_are_held() {
    let mapped = "token_groups: {g: Operators, h: Quiet}";
    type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 4] = [
        ("", &["g"], &["Everybody", "Operators"], &["town:X"]),
        (", groups: [Quiet, Everybody]", &["g", "h"], &["Everybody", "Operators", "Quiet"], &["town:X"]),
        (", groups: [Quiet], grants: [orders]", &["x"], &["Quiet"], &["root"]),
        (", groups: [Quiet], grants: [orders]", &["unknown"], &["Quiet"], &["root"]),
    ];
    for (anna, groups, names, scopes) in cases {
        let world = world("", anna, mapped);
        let verdict = pep::authorize(&world.snapshot, &world.verifier, head("GET /orders/X", groups, &[]), ENVIRONMENT);
        let Verdict::Permitted(permitted) = verdict else { panic!("{anna}: {groups:?} is refused") };
        let grounds = permitted.into_parts().2;
        let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&grounds.groups.unwrap()), names, "{anna}: {groups:?}");
        assert_eq!(texts(&grounds.scopes.unwrap()), scopes, "{anna}: {groups:?}");
    }
}

/// Compiles two texts: the faults and warnings, each with its code and the text that it stands at.
fn faults(strategy: &str, mapped: &str) -> Vec<(Severity, &'static str, String)> {
    let [routes, grants] = texts(strategy, "", mapped, "[]");
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", &routes);
    let routes = document::read_routes(source, &mut report);
    let source = report.add_source("grants.yaml", &grants);
    let read = document::read_grants(source, &mut report);
    let tenants = vec![Tenant::of_objects("t", Guid(7))];
    let nothing = &|_: &_| Err("no files here".to_owned());
    let (routes, read) = (routes.into_iter().collect(), read.into_iter().collect());
    let policy = Policy::compile(routes, read, tenants, nothing, portcullis::reload::sha256, &mut report);
    assert_eq!(policy.is_none(), report.has_errors());
    let found = report.diagnostics().iter().map(|found| {
        assert!(found.help.is_some(), "no help for {}", found.message);
        let place = found.place.unwrap();
        let text = &grants[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()];
        (found.severity, found.code, text.trim_matches('"').to_owned())
    });
    found.collect()
}

#[test]
fn a_load_refuses_mappings_that_cannot_be_meant() {
    let many = |count: usize| {
        let groups: Vec<String> = (0..count).map(|number| format!("  n{number}: {{}}")).collect();
        let mapped: Vec<String> = (0..count).map(|number| format!("v{number}: n{number}")).collect();
        (format!("\n{}", groups.join("\n")), format!("token_groups: {{{}}}", mapped.join(", ")))
    };
    let cases = [
        ("", "token_groups: {g: Operator}".to_owned(), vec![("unknown_name", "Operator")]),
        ("", "token_roles: {g: operators, h: Off}".to_owned(), vec![("unknown_name", "operators")]),
        (
            "",
            format!("token_groups: {{{OPERATORS}: Off, {}: Off}}", OPERATORS.to_uppercase()),
            vec![("duplicate_key", "0F6F1C2E-5D3A-4C1B-9B57-3F1F3A7F9E10")],
        ),
        ("", format!("token_groups: {{{OPERATORS}: Off}}\ntoken_roles: {{{OPERATORS}: Off}}"), vec![]),
        ("", "token_groups: {g: Off, G: Off}".to_owned(), vec![]),
        ("", "token_groups: {g: [Off]}".to_owned(), vec![("wrong_type", "[Off]")]),
        ("", "token_groups: [Off]".to_owned(), vec![("wrong_type", "[Off]")]),
        ("boundary: true", "token_groups: {g: Off}".to_owned(), vec![("boundary_with_token_groups", "g")]),
        ("boundary: true", "token_roles: {g: Off}".to_owned(), vec![("boundary_with_token_groups", "g")]),
        ("boundary: true", "token_groups: {}".to_owned(), vec![]),
    ];
    for (strategy, mapped, expected) in cases {
        let found = faults(strategy, &mapped);
        let found: Vec<(&str, &str)> = found.iter().map(|(_, code, text)| (*code, text.as_str())).collect();
        assert_eq!(found, expected, "{strategy} {mapped}");
    }
    for (count, refused) in [(64, false), (65, true), (200, true)] {
        let (groups, mapped) = many(count);
        let mapped = format!("{mapped}\ntoken_roles: {{again: n0}}");
        let [routes, grants] = texts("", "", &mapped, "[]");
        let grants = grants.replace("\nprincipals:", &format!("{groups}\nprincipals:"));
        let mut report = Report::new();
        let source = report.add_source("routes.yaml", &routes);
        let routes = document::read_routes(source, &mut report).unwrap();
        let source = report.add_source("grants.yaml", &grants);
        let grants = document::read_grants(source, &mut report).unwrap();
        let nothing = &|_: &_| Err("no files here".to_owned());
        let tenants = vec![Tenant::of_objects("t", TENANT.parse().unwrap())];
        let sha256 = portcullis::reload::sha256;
        let policy = Policy::compile(vec![routes], vec![grants], tenants, nothing, sha256, &mut report);
        let codes: Vec<&str> = report.diagnostics().iter().map(|found| found.code).collect();
        assert_eq!(
            (policy.is_none(), codes),
            (refused, vec!["too_many_token_groups"; usize::from(refused)]),
            "{count}"
        );
    }
}

#[test]
fn a_flag_of_a_mapped_group_is_one_that_somebody_may_have() {
    let [routes, grants] = texts("", "", "token_groups: {g: Quiet}", "{not_flag: quiet}");
    assert_eq!(policy(&routes, &grants).1.render(), "");
}

fn policy(routes: &str, grants: &str) -> (Policy, Report) {
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", routes);
    let routes = document::read_routes(source, &mut report).unwrap();
    let source = report.add_source("grants.yaml", grants);
    let grants = document::read_grants(source, &mut report).unwrap();
    let nothing = &|_: &_| Err("no files here".to_owned());
    let tenants = vec![Tenant::of_objects("t", TENANT.parse().unwrap())];
    let sha256 = portcullis::reload::sha256;
    let policy = Policy::compile(vec![routes], vec![grants], tenants, nothing, sha256, &mut report);
    (policy.unwrap_or_else(|| panic!("{}", report.render())), report)
}

#[test]
fn an_explanation_shows_joined_groups_as_sources_like_any_other() {
    let [routes, grants] = texts("", ", groups: [Quiet], grants: [\"orders:read @town:X\"]", MAPPED, "[]");
    let (policy, _) = policy(&routes, &grants);
    let groups = Some(claimed(&[OPERATORS, BARRED]));
    let asker = Asker::Bearer("anna".into(), Claims { groups, ..Claims::default() });
    let request = Asked::parse("PUT https://app.example.org/orders/X", Vec::new(), asker).unwrap();
    let explained = policy.explain(&request).unwrap();
    assert_eq!(explained.tried.code(), Some("right_denied:orders@town:X"));
    let names = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let caller = explained.caller.as_ref().unwrap();
    assert_eq!(names(&caller.groups), ["Everybody", "Operators", "Barred", "Quiet"]);
    assert_eq!(names(&caller.groups_by_token), ["Everybody", "Operators", "Barred"]);
    assert_eq!(caller.flags, ["staff", "quiet"]);
    let term = explained.apart.as_ref().unwrap().requirement.as_ref().unwrap();
    let sources: Vec<(Option<&str>, bool)> =
        term.rights[0].sources.iter().map(|source| (source.group.as_deref(), source.decides)).collect();
    assert_eq!(sources, [(None, false), (Some("Operators"), false), (Some("Barred"), true)]);
    // Nobody is told to leave a group that the entry does not list.
    let remedies: Vec<String> = explained.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
    assert_eq!(remedies, ["remove the whole entry of the group `Barred` that denies `orders`, for all its members"]);
}

#[test]
fn tests_of_a_policy_say_what_their_tokens_say() {
    let tests = format!(
        "tests:\n  - {{id: listed, as: anna, request: \"GET https://app.example.org/orders/X\", token: {{groups: [{OPERATORS}]}}, expect: allow}}\n  \
         - {{id: one, as: anna, request: \"GET https://app.example.org/staff\", token: {{groups: staff group}}, expect: allow}}\n  \
         - {{id: none, as: anna, request: \"GET https://app.example.org/orders/X\", token: {{groups: []}}, expect: deny, reason: right_missing}}\n  \
         - {{id: usual, as: anna, request: \"GET https://app.example.org/orders/X\", expect: deny, reason: right_missing}}\n  \
         - {{id: unknown, as: anna, request: \"GET https://app.example.org/orders/X\", token: {{groups: unknown}}, expect: deny, reason: groups_unknown}}\n  \
         - {{id: called-unknown, as: anna, request: \"GET https://app.example.org/orders/X\", token: {{groups: [unknown]}}, expect: deny, reason: right_missing}}\n  \
         - {{id: role, as: anna, request: \"GET https://app.example.org/orders/X\", token: {{roles: [IPS Access]}}, expect: allow}}\n"
    );
    let [routes, grants] = texts("", "", MAPPED, "[]");
    let (policy, _) = policy(&format!("{routes}{tests}"), &grants);
    let mut seen = 0;
    run(&policy, &policy.routes[0].tests, |outcome, _| {
        assert!(outcome.passed, "{}: {:?}", outcome.test.id.value, outcome.found);
        seen += 1;
    });
    assert_eq!(seen, 7);
}

#[test]
fn lint_says_nothing_of_members_that_no_document_knows() {
    let lines = |anna: &str, mapped: &str| -> Vec<String> {
        let [routes, grants] = texts("across: individual_first", anna, mapped, "{not_flag: quiet}");
        let (policy, _) = policy(&routes, &grants);
        let found = lint(&policy).into_iter().map(|finding| format!("{}: {}", finding.code.name(), finding.message));
        found.filter(|line| !line.starts_with("public_route")).collect()
    };
    let without = [
        "nobody_may: nobody holds `orders:read`, which `orders` asks for",
        "empty_group: nobody is in the group `Everybody`",
        "empty_group: nobody is in the group `Operators`",
        "empty_group: nobody is in the group `Barred`",
        "empty_group: nobody is in the group `Off`",
        "inactive_group: the group `Off` switches off 0 principals",
        "empty_group: nobody is in the group `Quiet`",
        "no_access: 1 principal has no access at all: `anna`",
    ];
    let with = [
        "inactive_group: the group `Off` switches off 0 principals, and whomever tokens put into it",
        "no_access: 1 principal has no access but what their tokens bring: `anna`",
    ];
    let mapped = format!("{MAPPED}\n").replace("staff group: Everybody", "q: Quiet");
    let sorted = |mut lines: Vec<String>| {
        lines.sort_unstable();
        lines
    };
    let texts = |lines: &[&str]| sorted(lines.iter().map(ToString::to_string).collect());
    assert_eq!(sorted(lines("", "")), texts(&without));
    assert_eq!(sorted(lines("", &mapped)), texts(&with));
    // A grant that repeats a group's decides where a token brings more.
    let repeated = ", groups: [Operators], grants: [\"orders:write @town:X\"]";
    let idle = |mapped: &str| lines(repeated, mapped).iter().filter(|line| line.starts_with("shadowed_grant")).count();
    assert_eq!((idle(""), idle(&mapped)), (1, 0));
}

#[test]
fn diff_takes_new_and_changed_mappings_for_possible_gains() {
    let of = |strategy: &str, anna: &str, mapped: &str| {
        let [routes, grants] = texts(strategy, anna, mapped, "[]");
        policy(&routes, &grants).0
    };
    let plain = ("", "", "token_groups: {g: Operators}");
    let cases = [
        (plain, ("", "", "token_groups: {g: Operators}"), vec![]),
        (plain, ("", "", "token_groups: {g: Operators, h: Quiet}"), vec!["token_groups h None Some(\"Quiet\")"]),
        (plain, ("", "", "token_groups: {g: Barred}"), vec!["token_groups g Some(\"Operators\") Some(\"Barred\")"]),
        (plain, ("", "", ""), vec!["token_groups g Some(\"Operators\") None"]),
        (
            plain,
            ("", "", "token_groups: {g: Operators}\ntoken_roles: {r: Off}"),
            vec!["token_roles r None Some(\"Off\")"],
        ),
        (
            ("", "", "token_groups: {0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e10: Off}"),
            ("", "", "token_groups: {0F6F1C2E-5d3a-4c1b-9b57-3f1f3a7f9e10: Off}"),
            vec![],
        ),
        // A change that tells nobody in the document anything may still tell members by token.
        (plain, ("caps: {staff: read}", "", plain.2), vec!["members by token None None"]),
        (plain, ("", ", grants: [\"orders:deny @town:Y\"]", plain.2), vec!["members by token None None"]),
    ];
    for ((strategy, anna, mapped), (new_strategy, new_anna, new_mapped), expected) in cases {
        let found = diff(&of(strategy, anna, mapped), &of(new_strategy, new_anna, new_mapped));
        let changes: Vec<String> = found
            .domains
            .iter()
            .flat_map(|domain| &domain.world)
            .filter(|change| change.direction.may_gain())
            .map(|change| format!("{} {} {:?} {:?}", change.kind, change.subject, change.from, change.to))
            .collect();
        assert_eq!(changes, expected, "{new_strategy} {new_anna} {new_mapped}");
        assert_eq!(found.gains(), !expected.is_empty());
    }
}

#[test]
fn the_verbs_show_what_tokens_bring() {
    let folder = std::env::temp_dir().join(format!("portcullis-token-groups-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let [routes, grants] = texts("", "", MAPPED, "[]");
    fs::write(folder.join("gateway.yaml"), GATEWAY).unwrap();
    fs::write(folder.join("routes.yaml"), routes).unwrap();
    fs::write(folder.join("grants.yaml"), grants).unwrap();
    let said = |arguments: &[&str]| {
        let done = portcullis(&folder, &[arguments, &["--config", "gateway.yaml"]].concat());
        done.out + &done.err
    };
    let request = "GET https://app.example.org/orders/X";
    for (more, expected) in [
        (&[][..], "denied: right_missing:orders@town:X"),
        (&["--token-group", OPERATORS], "  by token   Everybody, Operators"),
        (&["--token-group", OPERATORS], "group Operators: write  <- decides"),
        (&["--token-group", OPERATORS, "--token-group", BARRED], "denied: right_denied:orders@town:X"),
        (&["--token-group", "unknown"], "denied: groups_unknown (403)"),
        (&["--token-role", "IPS Access"], "allowed"),
        (&["--app-role", "IPS Access"], "allowed"),
        (&["--token-group", OPERATORS, "--output", "json"], "\"groups_by_token\": ["),
    ] {
        let text = said(&[&["explain", request, "--as", "anna"], more].concat());
        assert!(text.contains(expected), "{more:?}: no `{expected}` in\n{text}");
    }
    let text = said(&["report", "principal", "anna"]);
    assert!(text.contains("further rights may come with the token"), "{text}");
    assert!(text.contains("tokens are mapped to groups here"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}
