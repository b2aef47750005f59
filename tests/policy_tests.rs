//! `portcullis test` runs the tests of route maps and of further files, tells of each failure why the decision is what
//! it is, and says so in text, JSON and JUnit.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const GATEWAY: &str = "version: 1\nlisteners: [{address: 127.0.0.1:0}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\n\
                       tenants: [{name: t, id: 11111111-1111-1111-1111-111111111111}, \
                       {name: other, id: 22222222-2222-2222-2222-222222222222}]\n";
const GRANTS: &str = "version: 1\ndomain: d\nscopes: {forest: {\"town:X\": root, \"town:Y\": root}}\nprincipals:\n  \
                      - {id: ann, tenant: t, oid: 00000000-0000-0000-0000-000000000001, grants: [\"orders:read @town:X\"]}\n";
const ROUTES: &str = r#"
version: 1
settings: {closed: false}
upstreams: {u: {servers: ["http://127.0.0.1:9"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: u
    gate: {tenants: [t], audiences: [a, b], app_roles: [User]}
    routes:
      - id: order
        match: {methods: [GET, PUT], path: /orders}
        scopes: {main: {from: [query.town, header.X-Town], kind: town}}
        require: ["orders:by_method", {when: {setting: closed}, then: nobody.has}]
      - {id: find, match: {methods: [POST], path: /orders}, scopes: {main: {from: [query.town, form.town], kind: town}}, require: [orders, {not_in: [form.note, [x]], reason: bad_note}]}
  - {name: own, hosts: [own.example.org], domain: d, upstream: u, gate: {tenants: [t], audiences: [a], clients: [batch], callers: apps}, cors: {origins: ["https://page.test"]}, resource_metadata: true, routes: [{id: order, match: {methods: [GET], path: /orders}, gate_only: true}]}
"#;
const PASSING: &str = r#"
  - {id: ok-1, as: ann, request: "GET https://app.example.org/orders?town=X", expect: allow}
  - {id: ok-2, as: ann, request: "GET https://app.example.org/orders", headers: {X-Town: X}, expect: allow}
  - {id: ok-3, as: ann, request: "PUT https://app.example.org/orders?town=X", expect: deny, reason: right_level}
  - {id: ok-4, as: ann, request: "GET https://app.example.org/orders?town=Y", expect: deny}
  - {id: ok-5, request: "GET https://app.example.org/orders?town=X", expect: deny, reason: no_token}
  - {id: ok-6, as: ann, request: "GET https://app.example.org/orders?town=X", token: {tenant: other}, expect: deny, reason: gate_tenant}
  - {id: ok-7, as: ann, request: "GET https://app.example.org/orders?town=X", token: {aud: c}, expect: deny, reason: gate_audience}
  - {id: ok-8, as: ann, request: "GET https://app.example.org/orders?town=X", token: {aud: b}, expect: allow}
  - {id: ok-9, as: ann, request: "GET https://app.example.org/orders?town=X", token: {roles: []}, expect: deny, reason: gate_app_role}
  - {id: ok-10, as: ann, request: "GET https://app.example.org/orders?town=X", settings: {closed: true}, expect: deny, reason: "right_missing:nobody.has@town:X"}
  - {id: ok-11, as: t/00000000-0000-0000-0000-00000000000f, request: "GET https://app.example.org/orders", expect: deny, reason: principal_unknown}
  - {id: ok-12, as: ann, request: "DELETE https://app.example.org/orders", expect: deny, reason: "no_route:method"}
  - {id: form-1, as: ann, request: "POST https://app.example.org/orders", form: {town: X, note: a b&c}, expect: allow}
  - {id: form-2, as: ann, request: "POST https://app.example.org/orders", form: {town: Y, note: a}, expect: deny, reason: "right_missing:orders@town:Y"}
  - {id: form-3, as: ann, request: "POST https://app.example.org/orders?town=X", form: {town: Y}, expect: deny, reason: "scope_conflict:main"}
  - {id: form-4, as: ann, request: "POST https://app.example.org/orders?town=X", form: {note: x}, expect: deny, reason: bad_note}
  - {id: form-5, as: ann, request: "POST https://app.example.org/orders", form: {Town: X}, expect: deny, reason: "bad_form:name"}
  - {id: form-6, as: ann, request: "POST https://app.example.org/orders", headers: {Content-Type: text/plain}, form: {town: X}, expect: deny, reason: "form_type:content_type"}
  - {id: form-7, as: ann, request: "POST https://app.example.org/orders", expect: deny, reason: "scope_missing:main"}
  - {id: own-1, as: ann, request: "GET https://own.example.org/orders", expect: allow}
  - {id: own-2, as: ann, request: "GET https://own.example.org/orders", token: {class: user}, expect: deny, reason: "gate_caller:user"}
  - {id: own-3, as: ann, request: "GET https://own.example.org/orders", token: {client: other, class: user}, expect: deny, reason: "gate_client:other"}
  - {id: own-4, as: ann, request: "GET https://own.example.org/orders", token: {client: batch}, expect: allow}
  - {id: own-5, request: "OPTIONS https://own.example.org/orders", headers: {Origin: "https://page.test", Access-Control-Request-Method: GET}, expect: allow}
  - {id: own-6, request: "OPTIONS https://own.example.org/orders", headers: {Origin: "https://evil.test", Access-Control-Request-Method: GET}, expect: deny, reason: "cors_refused:origin"}
  - {id: own-7, request: "GET https://own.example.org/.well-known/oauth-protected-resource", expect: allow}
"#;
/// Each fails, for the reason beside it.
const FAILING: &str = r#"
  - {id: bad-1, as: ann, request: "GET https://app.example.org/orders?town=Y", expect: allow}
  - {id: bad-2, as: ann, request: "GET https://app.example.org/orders?town=X", expect: deny}
  - {id: bad-3, as: ann, request: "PUT https://app.example.org/orders?town=X", expect: deny, reason: right_missing}
  - {id: bad-4, as: nobody-known, request: "GET https://app.example.org/orders?town=X", expect: deny}
  - {id: bad-5, as: ann, request: "GET app.example.org/orders", expect: deny}
  - {id: bad-7, as: ann, request: "GET https://app.example.org/orders", headers: {X-Town: X, Connection: X-Town}, expect: allow}
  - {id: bad-6, as: ann, request: "GET https://app.example.org/orders?town=X", settings: {clsed: true}, expect: deny}
"#;

fn policy(tests: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("gateway.yaml", GATEWAY);
    write("grants.yaml", GRANTS);
    write("routes.yaml", &if tests.is_empty() { ROUTES.to_owned() } else { format!("{ROUTES}tests:{tests}") });
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(directory).arg("test").args(arguments).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn tests_that_pass_are_counted_and_the_exit_code_is_0() {
    let directory = policy(PASSING);
    let output = run(directory.path(), &[]);
    assert_eq!((out(&output), err(&output)), ("26 tests: 26 passed, 0 failed\n", ""));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn verbose_names_those_that_pass_and_only_chooses_some() {
    let directory = policy(PASSING);
    let output = run(directory.path(), &["--verbose", "--only", "ok-1"]);
    assert!(out(&output).starts_with("ok    ok-1  ann  GET https://app.example.org/orders?town=X  allowed\n"));
    assert!(out(&output).ends_with("4 tests: 4 passed, 0 failed\n"), "{}", out(&output));
    let output = run(directory.path(), &["--only", "nothing"]);
    assert_eq!((err(&output), output.status.code()), ("no test has an id with `nothing` in it\n", Some(2)));
}

#[test]
fn a_failure_says_what_was_decided_by_which_grant_and_why_and_the_exit_code_is_4() {
    let directory = policy(FAILING);
    let output = run(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(4));
    for expected in [
        "FAIL  bad-1  routes.yaml:19:5\n  expected  allowed\n  found     denied: right_missing:orders@town:Y\n",
        "  |         no grant covers it; held at town:X\n",
        "FAIL  bad-2  routes.yaml:20:5\n  expected  denied\n  found     allowed\n",
        "  |           orders:read @town:X  grants.yaml:5:78  <- decides\n",
        "FAIL  bad-3  routes.yaml:21:5\n  expected  denied: right_missing\n  found     denied: right_level:orders=read<write@town:X\n",
        "FAIL  bad-4  routes.yaml:22:5\n  expected  denied\n  found     not tried: no grants document has a principal `nobody-known`; name one",
        "FAIL  bad-5  routes.yaml:23:5\n  expected  denied\n  found     not tried: `GET app.example.org/orders` is no request; write `GET https://host/path`\n",
        "FAIL  bad-6  routes.yaml:25:5\n  expected  denied\n  found     not tried: there is no setting `clsed`; did you mean `closed`?\n",
        "FAIL  bad-7  routes.yaml:24:5\n  expected  allowed\n  found     not tried: `Connection` cannot be tried here",
        "7 tests: 0 passed, 7 failed\n",
    ] {
        assert!(out(&output).contains(expected), "no {expected:?} in\n{}", out(&output));
    }
}

#[test]
fn further_files_are_run_too_with_settings_of_any_file() {
    let directory = policy(PASSING);
    let more = directory.path().join("more");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("a.yaml"), format!("version: 1\ntests:{FAILING}")).unwrap();
    fs::write(more.join("b.yaml"), format!("version: 1\ntests:{PASSING}")).unwrap();
    let output = run(directory.path(), &["more"]);
    assert!(out(&output).contains("FAIL  bad-1  more/a.yaml:3:5\n"), "{}", out(&output));
    assert!(out(&output).ends_with("59 tests: 52 passed, 7 failed\n"), "{}", out(&output));
    let output = run(directory.path(), &["more/b.yaml"]);
    assert_eq!((out(&output), output.status.code()), ("52 tests: 52 passed, 0 failed\n", Some(0)));
}

#[test]
fn a_further_file_with_faults_is_refused_whole_with_their_places() {
    let directory = policy(PASSING);
    let faulty =
        "version: 1\ntests:\n  - {id: x, request: GET, expect: allow}\n  - {id: y, expect: maybe}\nroutes: []\n";
    fs::write(directory.path().join("more.yaml"), faulty).unwrap();
    let output = run(directory.path(), &["more.yaml", "missing.yaml"]);
    assert_eq!((out(&output), output.status.code()), ("", Some(3)));
    for place in ["more.yaml:3:22", "more.yaml:4:5", "more.yaml:4:21", "more.yaml:5:1", "cannot read `missing.yaml`"] {
        assert!(err(&output).contains(place), "no {place} in\n{}", err(&output));
    }
}

#[test]
fn a_run_without_tests_is_a_failure() {
    let directory = policy("");
    let output = run(directory.path(), &[]);
    assert_eq!((out(&output), output.status.code()), ("0 tests: 0 passed, 0 failed\n", Some(4)));
    assert!(err(&output).contains("there are no tests"));
}

#[test]
fn json_has_every_test_with_its_place_and_for_failures_why() {
    let directory = policy(&format!("{PASSING}{}", FAILING.trim_start_matches('\n')));
    let output = run(directory.path(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(4));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["passed"], &found["failed"]), (&26.into(), &7.into()));
    let tests = found["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 33);
    let first = tests.iter().find(|test| test["id"] == "bad-1").unwrap();
    assert_eq!(first["found"], "denied: right_missing:orders@town:Y");
    assert_eq!(first["expected"], "allowed");
    assert!(first["why"].as_str().unwrap().contains("grant it `orders:read @town:Y`"));
    assert!(tests.iter().all(
        |test| test["passed"] == test["why"].is_null() || test["found"].as_str().unwrap().starts_with("not tried")
    ));
}

#[test]
fn junit_is_well_formed_xml_with_a_suite_for_each_file() {
    let directory = policy(PASSING);
    let odd = "version: 1\ntests:\n  - {id: \"<&\\\">\", as: ann, request: \"GET https://app.example.org/orders?town=X&a=b\", expect: deny}\n";
    fs::write(directory.path().join("odd.yaml"), odd).unwrap();
    let output = run(directory.path(), &["--output", "junit", "odd.yaml"]);
    assert_eq!(output.status.code(), Some(4));
    let xml = out(&output);
    assert!(xml.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"portcullis\" tests=\"27\" failures=\"1\">\n"
    ));
    assert!(xml.contains("<testsuite name=\"odd.yaml\" tests=\"1\" failures=\"1\">"), "{xml}");
    assert!(xml.contains("<testsuite name=\"routes.yaml\" tests=\"26\" failures=\"0\">"), "{xml}");
    assert!(
        xml.contains("name=\"&lt;&amp;&quot;&gt; ann GET https://app.example.org/orders?town=X&amp;a=b\""),
        "{xml}"
    );
    assert!(xml.contains("<failure message=\"expected denied, found allowed\">"), "{xml}");
    assert_well_formed(xml);
}

/// Checks that elements nest and that no markup is left unescaped: enough of a parser for what is written here.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
    while let Some((before, from)) = rest.split_once('<') {
        assert!(
            !before.contains('>')
                && !before
                    .replace("&lt;", "")
                    .replace("&gt;", "")
                    .replace("&amp;", "")
                    .replace("&quot;", "")
                    .contains('&')
        );
        let (tag, after) = from.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
        rest = after;
    }
    assert_eq!(open, Vec::<&str>::new());
    assert_eq!(rest.trim(), "");
}
