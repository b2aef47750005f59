//! What `lint` finds: for each finding a small policy that has it, and the change that takes it away.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;

use portcullis::diag::Report;
use portcullis::document;
use portcullis::model::{Guid, Tenant};
use portcullis::review::Policy;
use portcullis::review::lint::{Code, lint};

const GRANTS: &str = "
version: 1
domain: d
strategy: {STRATEGY}
implies: {orders.close: [orders.view]}
scopes: {forest: {\"n:1\": root, \"n:2\": \"n:1\", \"n:3\": root}}
roles: {Clerk: {rights: [\"orders:write\"]}}
groups: {Team: {grants: [GROUP]}}
principals:
  - {id: anna, tenant: t, oid: 00000000-0000-0000-0000-000000000001, groups: [Team], grants: [ANNA]}
  - {id: ben, tenant: t, oid: 00000000-0000-0000-0000-000000000002, grants: [{role: Clerk}]BEN}
";
const ROUTES: &str = "
version: 1
upstreams: {u: {servers: [\"http://127.0.0.1:1\"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: u
    gate: {tenants: [t], audiences: [a]}
    routes:
      - {id: r, match: {methods: [GET], path: /}, require: [orders.view, orders.pay]}
";

/// A policy that is without findings, but for what the edits bring; each edit names what it replaces.
fn policy(edits: &[(&str, &str)]) -> (Policy, Report) {
    let edited = |text: &str| edits.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    for (from, _) in edits {
        assert!(GRANTS.contains(from) || ROUTES.contains(from), "{from}");
    }
    let defaults = [("STRATEGY", "rights: tree"), ("GROUP", "orders.view"), ("ANNA", "\"orders.pay\""), ("]BEN", "]")];
    let grants = defaults.iter().fold(edited(GRANTS), |text, (from, to)| text.replace(from, to));
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", edited(ROUTES));
    let routes = document::read_routes(source, &mut report);
    let source = report.add_source("grants.yaml", &grants);
    let grants = document::read_grants(source, &mut report);
    let tenants = vec![Tenant::of_objects("t", Guid(7))];
    let nothing = &|_: &_| Err("no files here".to_owned());
    assert!(!report.has_errors(), "{}", report.render());
    let policy = Policy::compile(
        vec![routes.unwrap()],
        vec![grants.unwrap()],
        tenants,
        nothing,
        portcullis::reload::sha256,
        &mut report,
    );
    (policy.unwrap_or_else(|| panic!("{}", report.render())), report)
}

fn found(edits: &[(&str, &str)]) -> Vec<String> {
    let (policy, _) = policy(edits);
    let mut lines: Vec<String> =
        lint(&policy).iter().map(|finding| format!("{}: {}", finding.code.name(), finding.message)).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_finding_has_its_cause_and_no_other() {
    /// Edits, and what is found.
    type Row<'r> = (&'r [(&'r str, &'r str)], &'r [&'r str]);
    let rows: &[Row<'_>] = &[
        (&[], &[]),
        // one source denies, another allows: the strategy settles it
        (
            &[("GROUP", "orders.view, \"orders.pay:deny\""), ("ANNA", "orders.pay")],
            &[
                // outweighed by the denial
                "shadowed_grant: a grant of `anna` changes nothing",
                "strategy_dependent: 1 principal holds nothing of `orders.pay` only by the strategy: `individual_first` would give delete, `most_permissive` would give delete (`anna at root`)",
            ],
        ),
        // within one source, the nearer says less
        (
            &[("ANNA", "\"orders.pay:write\", \"orders.pay:read @n:1\"")],
            &[
                "shadowed_grant: a grant of `anna` changes nothing",
                "strategy_dependent: 1 principal holds write of `orders.pay` only by the strategy: `nearest` would give read (`anna at n:1`)",
            ],
        ),
        (
            &[("STRATEGY", "within: nearest"), ("ANNA", "\"orders.pay:write\", \"orders.pay:read @n:1\"")],
            &[
                "strategy_dependent: 1 principal holds read of `orders.pay` only by the strategy: `union` would give write (`anna at n:1`)",
            ],
        ),
        // both in one scope, or each in its own
        (
            &[
                (
                    "principals:",
                    "conflicts: [{rights: [orders.view, \"orders.pay:write\"], reason: four eyes}]\nprincipals:",
                ),
                ("ANNA", "orders.pay @n:1"),
                ("{role: Clerk}", "orders.close @n:3, orders.pay @n:1"),
            ],
            &[
                "separation_of_duties: 1 principal holds both `orders.view:read` and `orders.pay:write` in one scope (`anna at n:1`); four eyes",
                "unused_role: nobody has the role `Clerk`",
            ],
        ),
        (&[("principals:", "conflicts: [[orders.close, \"orders.pay:delete\"]]\nprincipals:")], &[]),
        (
            &[(
                "principals:",
                "lint: {vendor_accounts: [ben, zoe], must_be_held: [\"orders.pay:delete\", \"orders.close:delete\"]}\nprincipals:",
            )],
            &[
                "nobody_holds: nobody holds `orders.close:delete`",
                "vendor_account: the vendor's account `ben` is active",
            ],
        ),
        (&[("principals:", "lint: {vendor_accounts: [ben]}\nprincipals:"), ("]BEN", "], status: inactive")], &[]),
        (
            &[("require: [orders.view, orders.pay]", "public: true")],
            &[
                "public_route: anybody may use `r` of `app`",
                "unused_right: no route asks for `orders.pay`",
                "unused_right: no route asks for `orders.view`",
                "unused_right: no route asks for `orders`",
            ],
        ),
        // a wider right and one that brings an asked one are used; one below an asked one is not
        (
            &[("ANNA", "orders.pay, orders.close @n:1, orders.pay.more @n:1, stock")],
            &[
                "shadowed_grant: a grant of `anna` changes nothing",
                "unused_right: no route asks for `orders.pay.more`",
                "unused_right: no route asks for `stock`",
            ],
        ),
        (
            &[("orders.pay]}", "orders.pay, \"orders.close:delete\"]}")],
            &["nobody_may: nobody holds `orders.close:delete`, which `r` asks for"],
        ),
        // boundaries
        (
            &[
                ("STRATEGY", "boundary: true"),
                ("grants: [ANNA]", "grants: [\"orders.pay @n:1\", \"orders.pay @n:3\"], boundary: [\"n:1\"]"),
                ("]BEN", "], boundary: [root]"),
            ],
            &["outside_boundary: a grant of `anna` lies outside its boundary"],
        ),
        // shadowed by the group, by a wider node, by itself written twice; not by a smaller level
        (&[("ANNA", "orders.pay, orders.view @n:2")], &["shadowed_grant: a grant of `anna` changes nothing"]),
        (
            &[("ANNA", "orders.pay, \"orders.pay:read @n:2\"")],
            &[
                "shadowed_grant: a grant of `anna` changes nothing",
                "strategy_dependent: 1 principal holds delete of `orders.pay` only by the strategy: `nearest` would give read (`anna at n:2`)",
            ],
        ),
        (&[("ANNA", "orders.pay, orders.pay")], &["shadowed_grant: a grant of `anna` changes nothing"]),
        (
            &[("GROUP", "orders.view, orders.view @n:2")],
            &["shadowed_grant: a grant of the group `Team` changes nothing"],
        ),
        // under `nearest`, what a nearer grant hides still tells elsewhere
        (
            &[("STRATEGY", "within: nearest"), ("ANNA", "orders.pay, \"orders.pay:deny @n:1\", orders.pay @n:2")],
            &[
                "strategy_dependent: 1 principal holds delete of `orders.pay` only by the strategy: `union` would give nothing (`anna at n:2`)",
            ],
        ),
        // roles, groups, principals
        (&[("roles: {", "roles: {Idle: {includes: [Clerk]}, ")], &["unused_role: nobody has the role `Idle`"]),
        (&[("groups: {", "groups: {Nobody: {}, ")], &["empty_group: nobody is in the group `Nobody`"]),
        (&[("groups: {", "groups: {Nobody: {}, "), ("groups: [Team]", "groups: [Team, Nobody]")], &[]),
        (&[("Team: {", "Team: {status: inactive, ")], &["inactive_group: the group `Team` switches off 1 principal"]),
        (
            &[("grants: [{role: Clerk}]BEN", "groups: [Team]"), ("GROUP", "")],
            &[
                "no_access: 1 principal has no access at all: `ben`",
                "nobody_may: nobody holds `orders.view:read`, which `r` asks for",
                "unused_role: nobody has the role `Clerk`",
            ],
        ),
        (&[("]BEN", "], flags: [idle]")], &["unused_flag: nothing asks for the flag `idle`"]),
        (&[("]BEN", "], flags: [idle]"), ("orders.pay]}", "orders.pay, {not_flag: idle}]}")], &[]),
        // the route map
        (
            &[(
                "upstreams: {",
                "settings: {on: true, list: [a]}\ndefine: {seen: orders.view, other: seen}\nupstreams: {v: {servers: [\"http://127.0.0.1:2\"]}, ",
            )],
            &[
                "unused_definition: no requirement names the definition `other`",
                "unused_setting: nothing asks for the setting `list`",
                "unused_setting: nothing asks for the setting `on`",
                "unused_upstream: no application names the upstream `v`",
            ],
        ),
        (
            &[
                ("upstreams: {", "settings: {on: true}\ndefine: {seen: orders.view}\nupstreams: {"),
                ("[orders.view,", "[seen, {setting: on, reason: off},"),
            ],
            &[],
        ),
    ];
    let other: Vec<_> = rows.iter().map(|(edits, expected)| (edits, found(edits), expected)).collect();
    let other: Vec<_> = other.iter().filter(|(_, found, expected)| found != *expected).collect();
    assert!(other.is_empty(), "edits, found, expected: {other:#?}");
}

#[test]
fn a_right_that_nobody_knows_is_an_error_with_a_catalogue_and_a_warning_without() {
    for declared in ["conflicts: [[orders.view, zzz]]", "lint: {must_be_held: [zzz]}"] {
        let (_, report) = policy(&[("principals:", &format!("{declared}\nprincipals:"))]);
        assert_eq!((report.errors(), report.warnings()), (0, 1), "{}", report.render());
    }
}

/// The page of findings, made from the code.
fn page() -> String {
    let mut page = "\
# Findings of lint
`portcullis lint --config gateway.yaml` looks for what is odd in a configuration that loads. None of it blocks a reload: the
last bearer of a right may well have lost it for a reason. Exit code 0: nothing; 1: findings; 3: the configuration cannot be
used. `--allow CODE` leaves a finding out, `--output json` prints all of them with code, message, file, line, column and
help; the text shows the first thousand and counts the rest. The warnings of `check` are among them, with their own codes
(such as `unknown_right`).

Three of the findings are about what grants.yaml declares for them; decisions never look at it:

```yaml
conflicts:                                     # rights that nobody should hold together in one scope
  - [orders.create, \"orders.approve:write\"]
  - {rights: [users, audit], reason: whoever administers must not be the auditor}
lint:
  vendor_accounts: [Vendor Admin]              # ids that should not be active
  must_be_held: [\"users:write\", roles]         # somebody active must hold each, anywhere
```

Made from `src/review/lint/code.rs`; a test keeps it so (`PORTCULLIS_WRITE_DOCS=1 cargo test --test lint` writes
it anew).

| code | cause | remedy |
|---|---|---|
"
    .to_owned();
    for code in Code::ALL {
        page.push_str(&format!("| `{}` | {} | {} |\n", code.name(), code.cause(), code.remedy()));
    }
    page
}

#[test]
fn the_page_of_findings_is_made_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    if std::env::var_os("PORTCULLIS_WRITE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), page());
}

#[test]
fn the_verb_has_an_exit_code_for_findings_and_lets_codes_be_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "gateway.yaml",
        "version: 1\nlisteners: [{address: '127.0.0.1:8080'}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\ntenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]\n",
    );
    write("routes.yaml", &ROUTES.replace("require: [orders.view, orders.pay]", "public: true"));
    write("grants.yaml", "version: 1\ndomain: d\n");
    let run = |arguments: &[&str]| process::portcullis(folder.path(), &[&["lint"], arguments].concat());
    let done = run(&[]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("warning[public_route]: anybody may use `r` of `app`"), "{}", done.out);
    assert!(done.out.contains("routes.yaml:11:"), "{}", done.out);
    let json: serde_json::Value = serde_json::from_str(&run(&["--output", "json"]).out).unwrap();
    assert_eq!((&json["findings"][0]["code"], &json["findings"][0]["line"]), (&"public_route".into(), &11.into()));
    let allowed = run(&["--allow", "public_route"]);
    assert_eq!((allowed.code, allowed.out.as_str()), (0, "nothing looks odd\n"));
    assert_eq!(run(&["--allow", "public_rout"]).code, 2);
    write("grants.yaml", "version: 1\ndomain: e\n");
    assert_eq!(run(&[]).code, 3);
}
