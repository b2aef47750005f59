//! `explain` says what the decision says, of every principal and request of the examples; its remedies work; and the
//! verb prints all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis::config;
use portcullis::diag::Report;
use portcullis::document;
use portcullis::document::gateway::TenantDocument;
use portcullis::model::Tenant;
use portcullis::policy::{Held, OutlineKind, TermSeen};
use portcullis::reload;
use portcullis::review::{Asker, Claims, Policy, Request};
use portcullis::token::Class;

/// The directories of the examples that have a route map of their own.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("routes.yaml").is_file()).collect();
    found.sort();
    found
}

/// A policy of one route map and one grants document, with the tenants of a `gateway.yaml`.
fn policy(gateway: &str, routes: &str, grants: &str) -> Policy {
    let mut report = Report::new();
    let gateway = report.add_source("gateway.yaml", gateway);
    let tenants = document::read_gateway(gateway, &mut report).unwrap().tenants;
    let entra = |tenant: &TenantDocument| Tenant::of_objects(&tenant.name.value, tenant.id.value.parse().unwrap());
    let tenants = tenants.iter().map(entra);
    let routes = report.add_source("routes.yaml", routes);
    let routes = document::read_routes(routes, &mut report).unwrap();
    let grants = report.add_source("grants.yaml", grants);
    let grants = document::read_grants(grants, &mut report).unwrap();
    let no_files = &|_: &_| Err("no files here".to_owned());
    let policy = Policy::compile(vec![routes], vec![grants], tenants.collect(), no_files, reload::sha256, &mut report);
    policy.unwrap_or_else(|| panic!("{}", report.render()))
}

fn of_example(directory: &Path) -> Policy {
    let mut report = Report::new();
    let config = config::load(&directory.join("gateway.yaml"), &mut report);
    let policy = config.and_then(|config| reload::load_for_review(&config.policy, &mut report));
    policy.unwrap_or_else(|| panic!("{}", report.render()))
}

/// What must be true of every explanation.
fn check(policy: &Policy, request: &Request) {
    let what = format!("{} as {}", request.line(), request.by());
    let tried = request.try_on(policy).unwrap();
    let (Some(application), Some(token)) = (&tried.grounds.application, &tried.grounds.token) else { return };
    let explained = policy.take_apart(request).unwrap();
    let Some(apart) = explained.apart else { return };
    let world = policy.world(application.domain).unwrap();
    let route = application.routes().iter().find(|route| Some(&route.id) == tried.grounds.route.as_ref()).unwrap();
    let portcullis::route::Access::Rules(rules) = &route.access else { panic!("{what}: nothing was asked") };
    let code = apart.decision.as_ref().err().map(|denial| denial.text(world.domain, rules));
    assert_eq!(code.as_deref(), tried.code(), "{what}: the decision");
    let Some(requirement) = &apart.requirement else { return };
    assert_eq!(requirement.holds, apart.decision.is_ok(), "{what}: the requirement as a whole");
    let decider = requirement.decider();
    assert_eq!(decider.and_then(|term| term.denial), apart.decision.err(), "{what}: the term that decides");
    assert!(decider.is_none_or(|term| term.reached), "{what}: what decides was reached");
    let number = world.domain.number(token.principal).unwrap();
    let principal = world.domain.principals().get(number).unwrap();
    each(requirement, &mut |term| {
        for considered in &term.rights {
            let held = world.domain.held(principal, considered.right, considered.scope);
            assert_eq!(considered.held, held, "{what}: {} in {}", world.domain.right_name(considered.right), term.text);
            let decides = considered.sources.iter().any(|source| source.decides);
            assert_eq!(decides, considered.together != Held::Nothing, "{what}: some source decides {}", term.text);
            for source in considered.sources.iter().filter(|source| source.held != Held::Nothing) {
                assert!(source.grants.iter().any(|grant| grant.decides), "{what}: some grant decides {}", term.text);
            }
        }
    });
}

fn each(term: &TermSeen, act: &mut impl FnMut(&TermSeen)) {
    act(term);
    term.children.iter().for_each(|child| each(child, act));
}

#[test]
fn an_explanation_reaches_the_decision_for_every_principal_and_request_of_every_example() {
    let mut explained = 0;
    for example in examples() {
        let policy = of_example(&example);
        let tests: Vec<_> = policy.routes.iter().flat_map(|file| &file.tests).cloned().collect();
        let ids: Vec<String> =
            policy.grants.iter().flat_map(|document| &document.principals).map(|p| p.id.value.clone()).collect();
        for test in &tests {
            let changed = policy.with_settings(&test.settings, None).unwrap();
            let request = Request::of_test(test).unwrap();
            for id in &ids {
                check(&changed, &Request { asker: Asker::Bearer(id.clone(), Claims::default()), ..request.clone() });
                explained += 1;
            }
        }
    }
    assert!(explained > 500, "only {explained} requests were explained");
}

const GATEWAY: &str = "version: 1\nlisteners: [{address: 127.0.0.1:0}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\n\
                       tenants: [{name: t, id: 11111111-1111-1111-1111-111111111111}]\n";

/// Every way to be denied, one route each.
const ROUTES: &str = r#"
version: 1
settings: {strict: true, kinds: [a, b], mask: 2}
upstreams: {u: {servers: ["http://127.0.0.1:9"]}}
define: {user: [{flag: user}, {not_flag: blocked}]}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: u
    gate: {tenants: [t], audiences: [a]}
    routes:
      - id: order
        match: {methods: [GET, PUT], path: "/towns/{town}/orders"}
        scopes: {main: {from: [path.town, header.X-Town], kind: town}}
        require: [user, "orders:by_method"]
      - id: search
        match: {methods: [GET], path: /search}
        scopes: {main: {from: query.town, kind: town}}
        require: orders
      - id: kind
        match: {methods: [GET], path: "/kinds/{kind}"}
        require: [{in: [path.kind, setting.kinds], reason: kind_unknown}, "kinds.{kind}"]
      - id: strict
        match: {methods: [GET], path: /strict}
        require: {when: {setting: strict}, then: nothing.at.all}
      - id: both
        match: {methods: [GET], path: /both}
        require: [{flag: one}, {flag: two}]
      - id: bit
        match: {methods: [GET], path: "/docs/{doc}"}
        object: {kind: doc, key: path.doc}
        require: {any: [nothing.else, {setting: mask, bit: {of: object.kind, map: {in: 1, out: 2}}, reason: kind_off}]}
"#;

fn grants(a: &str) -> String {
    format!(
        r#"
version: 1
domain: d
strategy: {{boundary: {}}}
scopes: {{forest: {{"land:N": root, "town:X": "land:N", "town:Y": "land:N", "town:Z": root}}}}
roles: {{clerk: {{rights: ["orders:write"]}}}}
groups: {{Staff: {{grants: ["orders:read @land:N"]}}, Barred: {{grants: ["orders:deny"]}}, Left: {{status: inactive}}}}
principals:
  - {{id: a, tenant: t, oid: 00000000-0000-0000-0000-000000000001, {a}}}
objects: {{"doc:1": {{kind: in}}, "doc:2": {{kind: out}}}}
"#,
        a.contains("boundary:"),
    )
}

fn remedies(a: &str, request: &str) -> (Option<String>, Vec<String>) {
    let policy = policy(GATEWAY, ROUTES, &grants(a));
    let request = Request::parse(request, Vec::new(), Asker::Bearer("a".into(), Claims::default())).unwrap();
    let explained = policy.explain(&request).unwrap();
    let told = explained.remedies.iter().map(|remedy| match &remedy.then {
        None => remedy.change.to_string(),
        Some(then) => format!("{} (then {then})", remedy.change),
    });
    (explained.tried.code().map(str::to_owned), told.collect())
}

#[test]
fn a_denial_names_the_single_changes_that_would_allow_the_request() {
    let user = "flags: [user]";
    let cases: [(&str, &str, &str, &[&str]); 14] = [
        (
            user,
            "PUT https://app.example.org/towns/X/orders",
            "right_missing:orders@town:X",
            &["grant it `orders:write @town:X`", "grant it the role `clerk` at `town:X`"],
        ),
        (
            "flags: [user], grants: [\"orders @town:Y\"]",
            "GET https://app.example.org/towns/X/orders",
            "right_missing:orders@town:X",
            &[
                "grant it `orders:read @town:X`",
                "grant it the role `clerk` at `town:X`",
                "add it to the group `Staff`",
                "ask for `GET https://app.example.org/towns/Y/orders` instead",
            ],
        ),
        (
            "grants: [orders]",
            "GET https://app.example.org/towns/X/orders",
            "flag_missing:user",
            &["give it the flag `user`"],
        ),
        (
            "flags: [user, blocked], grants: [orders]",
            "GET https://app.example.org/towns/X/orders",
            "flag_forbids:blocked",
            &["take the flag `blocked` from it"],
        ),
        (
            "flags: [user], grants: [orders], groups: [Barred]",
            "GET https://app.example.org/towns/X/orders",
            "right_denied:orders@town:X",
            &[
                "remove the whole entry of the group `Barred` that denies `orders`, for all its members",
                "take it out of the group `Barred`",
            ],
        ),
        (
            "flags: [user], grants: [orders, \"orders:deny @town:X\"]",
            "GET https://app.example.org/towns/X/orders",
            "right_denied:orders@town:X",
            &[
                "remove the whole entry that denies it `orders`",
                "ask for `GET https://app.example.org/towns/Y/orders` instead",
                "ask for `GET https://app.example.org/towns/Z/orders` instead",
            ],
        ),
        (
            "status: inactive, flags: [user], grants: [orders]",
            "GET https://app.example.org/towns/X/orders",
            "principal_inactive",
            &["set its status to `active`"],
        ),
        (
            "groups: [Left], flags: [user], grants: [orders]",
            "GET https://app.example.org/towns/X/orders",
            "principal_inactive",
            &["take it out of the group `Left`", "set the status of the group `Left` to `active`, for all its members"],
        ),
        (
            "boundary: [\"town:Y\"], flags: [user], grants: [\"orders @town:X\"]",
            "GET https://app.example.org/towns/X/orders",
            "right_missing:orders@town:X",
            &["add `town:X` to its boundary"],
        ),
        (
            "grants: [\"orders @town:Z\"]",
            "GET https://app.example.org/search",
            "scope_missing:main",
            &["ask for `GET https://app.example.org/search?town=Z` instead"],
        ),
        (
            "grants: [kinds.b]",
            "GET https://app.example.org/kinds/c",
            "kind_unknown",
            &["ask for `GET https://app.example.org/kinds/b` instead"],
        ),
        (
            "",
            "GET https://app.example.org/strict",
            "right_missing:nothing.at.all@root",
            &["grant it `nothing.at.all:read`", "set `strict` to `false`, for everybody"],
        ),
        (
            "",
            "GET https://app.example.org/both",
            "flag_missing:one",
            &["give it the flag `one` (then flag_missing:two)"],
        ),
        ("", "GET https://app.example.org/docs/1", "kind_off", &[]),
    ];
    for (a, request, code, expected) in cases {
        let (found, told) = remedies(a, request);
        assert_eq!(found.as_deref(), Some(code), "{a}: {request}");
        assert_eq!(told, expected, "{a}: {request}");
    }
}

#[test]
fn a_grant_that_is_told_allows_the_request_when_it_is_written_down() {
    for path in ["GET https://app.example.org/towns/X/orders", "PUT https://app.example.org/towns/Z/orders"] {
        let (_, told) = remedies("flags: [user], grants: [other]", path);
        let grant = told[0].trim_start_matches("grant it `").trim_end_matches('`');
        let (code, told) = remedies(&format!("flags: [user], grants: [other, \"{grant}\"]"), path);
        assert_eq!((code, told), (None, Vec::new()), "{path} with {grant}");
    }
}

#[test]
fn every_thing_that_a_gate_looks_at_is_a_step_and_what_the_gateway_answers_is_no_decision() {
    let entrance = "audiences: [a], clients: [portal], callers: users}\n    cors: {origins: [\"https://page.test\"]}";
    let policy = policy(GATEWAY, &ROUTES.replace("audiences: [a]}", entrance), &grants("flags: [user]"));
    let steps = |claims: Claims| {
        let text = "GET https://app.example.org/docs/1";
        let request = Request::parse(text, Vec::new(), Asker::Bearer("a".into(), claims)).unwrap();
        let explained = policy.explain(&request).unwrap();
        let steps: Vec<_> =
            explained.gate.into_iter().map(|step| (step.what.word(), step.offered.join(","), step.passes)).collect();
        (steps[2..].to_vec(), explained.tried.code().map(str::to_owned))
    };
    let client = |client: &str, class| Claims { client: Some(client.into()), class: Some(class), ..Claims::default() };
    let of =
        |client: &str, ok, class: &str, fits| [("client", client.to_owned(), ok), ("caller", class.to_owned(), fits)];
    assert_eq!(steps(Claims::default()).0, of("portal", true, "user", true));
    let refused = (of("else", false, "user", true).to_vec(), Some("gate_client:else".to_owned()));
    assert_eq!(steps(client("else", Class::User)), refused);
    let refused = (of("portal", true, "app", false).to_vec(), Some("gate_caller:app".to_owned()));
    assert_eq!(steps(client("portal", Class::App)), refused);

    let headers = |origin: &str| {
        [("Origin", origin), ("Access-Control-Request-Method", "GET")].map(|(name, value)| (name.into(), value.into()))
    };
    for (origin, code) in [("https://page.test", None), ("https://evil.test", Some("cors_refused:origin"))] {
        let asker = Asker::Bearer("a".into(), Claims::default());
        let request =
            Request::parse("OPTIONS https://app.example.org/docs/1", headers(origin).to_vec(), asker).unwrap();
        let explained = policy.explain(&request).unwrap();
        assert_eq!((explained.tried.code(), explained.tried.answer.is_some()), (code, code.is_none()));
        assert!(explained.apart.is_none() && explained.route.is_none());
    }
}

#[test]
fn a_condition_that_each_request_settles_shows_the_branch_that_was_asked() {
    let routes = ROUTES.replace(
        "require: {any: [nothing.else, {setting: mask, bit: {of: object.kind, map: {in: 1, out: 2}}, reason: kind_off}]}",
        "require: {when: {setting: mask, bit: {of: object.kind, map: {in: 1, out: 2}}}, then: orders, else: {flag: user}}",
    );
    let policy = policy(GATEWAY, &routes, &grants("flags: [user]"));
    for (document, term, holds) in [("1", "flag user", true), ("2", "orders", false)] {
        let text = format!("GET https://app.example.org/docs/{document}");
        let request = Request::parse(&text, Vec::new(), Asker::Bearer("a".into(), Claims::default())).unwrap();
        check(&policy, &request);
        let explained = policy.explain(&request).unwrap();
        let requirement = explained.apart.unwrap().requirement.unwrap();
        assert_eq!((requirement.kind, requirement.holds), (OutlineKind::Open, holds));
        assert_eq!(requirement.children.iter().map(|child| child.text.as_str()).collect::<Vec<_>>(), [term]);
    }
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn portcullis(directory: &Path, arguments: &[&str]) -> Output {
    let config: PathBuf = directory.join("gateway.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).arg("--config").arg(config).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_verb_prints_the_way_of_a_request_as_a_tree() {
    let grants = grants("flags: [user], grants: [\"orders:read @land:N\"], groups: [Staff]");
    let directory = directory(&[("gateway.yaml", GATEWAY), ("routes.yaml", ROUTES), ("grants.yaml", &grants)]);
    let asked = ["explain", "--as", "a", "PUT https://app.example.org/towns/X/orders"];
    let output = portcullis(directory.path(), &asked);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let folder = format!("{}/", directory.path().display());
    let expected = "\
PUT https://app.example.org/towns/X/orders  as a
denied: right_level:orders=read<write@town:X (403)

application  app  routes.yaml:7:11
route        order  routes.yaml:13:13  /towns/{town}/orders
gate         ✓ tenant t   ✓ audience a
principal    a, active  grants.yaml:9:10
  groups     Staff
  flags      user
scope        main = town:X  (path.town says X; header.X-Town says nothing)
requirement  routes.yaml:16:18
  ✓ user  routes.yaml:16:19
    ✓ flag user  routes.yaml:5:17
    ✓ not flag blocked  routes.yaml:5:31
  ✗ orders:by_method  routes.yaml:16:25  <- decides
      orders at town:X: read  (across sources: deny_overrides)
        own grants: read  <- decides
          orders:read @land:N  grants.yaml:9:91  <- decides
        group Staff: read  <- decides
          orders:read @land:N  grants.yaml:7:27  <- decides

any one of these would allow it (each was tried on a copy):
  - grant it `orders:write @town:X`
  - grant it the role `clerk` at `town:X`
";
    assert_eq!(text(&output.stdout).replace(&folder, ""), expected);
}

#[test]
fn the_verb_tells_programs_the_same() {
    let grants = grants("flags: [user]");
    let directory = directory(&[("gateway.yaml", GATEWAY), ("routes.yaml", ROUTES), ("grants.yaml", &grants)]);
    let asked =
        ["explain", "--output", "json", "--as", "a", "-H", "X-Town: Y", "GET https://app.example.org/towns/Y/orders"];
    let output = portcullis(directory.path(), &asked);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["decision"], "deny");
    assert_eq!(found["reason"], "right_missing:orders@town:Y");
    assert_eq!(found["route"]["id"], "order");
    assert_eq!(found["route"]["place"]["line"], 13);
    assert_eq!(found["scopes"][0]["said"], serde_json::json!([["Y"], ["Y"]]));
    assert_eq!(found["requirement"]["terms"][1]["rights"][0]["held"], "nothing");
    assert_eq!(found["remedies"][0]["change"], "grant it `orders:read @town:Y`");
    assert_eq!(found["remedies"][0]["then"], serde_json::Value::Null);
}

#[test]
fn what_cannot_be_asked_is_said_with_a_way_out() {
    let directory =
        directory(&[("gateway.yaml", GATEWAY), ("routes.yaml", ROUTES), ("grants.yaml", &grants("flags: [user]"))]);
    let good = "GET https://app.example.org/search";
    let cases: [(&[&str], i32, &str); 7] = [
        (&["explain", "GET /search"], 2, "`GET /search` is no request; write `GET https://host/path`"),
        (&["explain", "--as", "b", good], 2, "no grants document has a principal `b`"),
        (&["explain", "--as", "a", "--tenant", "u", good], 2, "gateway.yaml has no tenant `u`"),
        (&["explain", "--setting", "strct=false", good], 2, "there is no setting `strct`; did you mean `strict`?"),
        (&["explain", "--setting", "mask=all", good], 2, "the policy cannot be used with these settings"),
        (&["explain", "-H", "X-Town", good], 2, "`X-Town` is no header; write `NAME: VALUE`"),
        (&["explain", "--form", "town", good], 2, "`town` is no field; write `NAME=VALUE`"),
    ];
    for (arguments, code, message) in cases {
        let output = portcullis(directory.path(), arguments);
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn requests_that_never_come_to_the_policy_are_explained_too() {
    let directory =
        directory(&[("gateway.yaml", GATEWAY), ("routes.yaml", ROUTES), ("grants.yaml", &grants("flags: [user]"))]);
    let stranger = "t/00000000-0000-0000-0000-00000000000f";
    let cases: [(&[&str], &str); 6] = [
        (&["explain", "GET https://app.example.org/search"], "denied: no_token (401)"),
        (&["explain", "--as", "a", "GET https://app.example.org/nowhere"], "denied: no_route (404)"),
        (&["explain", "--as", "a", "GET https://other.example.org/"], "denied: no_application (421)"),
        (&["explain", "--as", "a", "GET https://app.example.org/a/../b"], "denied: bad_target"),
        (&["explain", "--as", stranger, "GET https://app.example.org/search"], "denied: principal_unknown"),
        (&["explain", "--as", "a", "--audience", "b", "GET https://app.example.org/search"], "denied: gate_audience:b"),
    ];
    for (arguments, outcome) in cases {
        let output = portcullis(directory.path(), arguments);
        assert!(text(&output.stdout).contains(outcome), "{arguments:?}: {}", text(&output.stdout));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_form_is_explained_like_a_query_and_what_would_mend_it_is_tried_in_it() {
    let routes = ROUTES.replace("from: [path.town, header.X-Town]", "from: [form.town, header.X-Town]");
    assert_ne!(routes, ROUTES);
    let grants = grants("flags: [user], grants: [\"orders @town:X\"]");
    let directory = directory(&[("gateway.yaml", GATEWAY), ("routes.yaml", &routes), ("grants.yaml", &grants)]);
    let explain = |form: &str| {
        let request = "PUT https://app.example.org/towns/X/orders";
        let asked = ["explain", "--output", "json", "--as", "a", "--form", form, request];
        let output = portcullis(directory.path(), &asked);
        assert_eq!(text(&output.stderr), "");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let good = explain("town=X");
    assert_eq!((&good["decision"], &good["form"]), (&"allow".into(), &serde_json::json!([["town", "X"]])));
    assert_eq!(good["scopes"][0]["said"], serde_json::json!([["X"], []]));
    let other = explain("town=Y");
    assert_eq!((&other["decision"], &other["reason"]), (&"deny".into(), &"right_missing:orders@town:Y".into()));
    let instead = "ask for `PUT https://app.example.org/towns/X/orders` instead with `town=X` in its form";
    let remedies = other["remedies"].as_array().unwrap();
    assert!(remedies.iter().any(|remedy| remedy["change"] == instead), "{remedies:#?}");
    assert_eq!(explain("Town=X")["reason"], "bad_form:name");
}
