//! Small worlds for tests: of any bytes, routes and grants in which much of what a policy can say comes up.

use super::Policy;
use crate::diag::Report;
use crate::document::{read_grants, read_routes};
use crate::model::{Guid, Tenant};

/// The principals of a world that may differ.
pub(super) const PEOPLE: usize = 7;

/// A small world: every byte chooses something.
pub(super) fn world(choices: &[u8]) -> (String, String) {
    let mut next = choices.iter().copied().cycle();
    let mut pick = |list: &[&str]| {
        let choice = usize::from(next.next().unwrap());
        list[choice % list.len()].to_owned()
    };
    let across = pick(&["deny_overrides", "most_permissive", "individual_first", "most_restrictive"]);
    let within = pick(&["union", "union", "nearest"]);
    let shape = pick(&["flat", "tree"]);
    let b = pick(&["root", "\"n:a\"", "\"n:a\""]);
    let alias = pick(&["{}", "{}", "{m: {x: \"n:b\"}}", "{m: {x: \"n:c\"}}"]);
    let rights = ["[r]", "[r:read, s]", "[r.x, t:read]", "[s, r:deny]"];
    let role = pick(&rights);
    let grants = [
        "[]",
        "[r]",
        "[\"r:read @n:a\"]",
        "[\"r @n:b\"]",
        "[\"r:deny @n:b\", r]",
        "[{role: R, at: \"n:a\"}]",
        "[{role: R, at: \"n:c\"}]",
        "[s, \"t:read @n:c\"]",
    ];
    let group = pick(&grants);
    let group_flags = pick(&["[]", "[f]", "[ro]"]);
    let people: Vec<String> = (1..=PEOPLE)
        .map(|number| {
            let own = pick(&grants);
            let groups = pick(&["[]", "[G]"]);
            let flags = pick(&["[]", "[]", "[f]", "[ro]"]);
            let status = pick(&["active", "active", "active", "inactive"]);
            let gone = pick(&["", "", "", "", "", "# "]);
            format!(
                "{gone}- {{id: p{number}, tenant: t, oid: 00000000-0000-0000-0000-00000000000{number}, grants: {own}, \
                 groups: {groups}, flags: {flags}, status: {status}}}\n"
            )
        })
        .collect();
    let grants = format!(
        "version: 1\ndomain: d\nstrategy: {{rights: {shape}, within: {within}, across: {across}, caps: {{ro: read}}}}\n\
         scopes:\n  forest: {{\"n:a\": root, \"n:b\": {b}, \"n:c\": root}}\n  aliases: {alias}\n\
         roles: {{R: {{rights: {role}}}}}\ngroups: {{G: {{grants: {group}, flags: {group_flags}}}}}\n\
         principals:\n{}- {{id: last, tenant: t, oid: 00000000-0000-0000-0000-0000000000ff}}\n",
        people.concat()
    );
    let paths = ["/", "/a", "/a/b", "/a/{v}", "/{v}", "/{v}/b", "/a/{v...}", "/{v...}"];
    let asks = [
        "require: r",
        "require: \"r:read\"",
        "require: [\"r:by_method\", s]",
        "require: {any: [\"t:read\", {flag: f}]}",
        "require: {all: [{not_flag: f}, \"r.x:read\"]}",
        "scopes: {m: {from: [query.n], kind: n}}, require: \"r:read @m\"",
        "scopes: {m: {from: [query.m], kind: m}}, require: \"r:read @m\"",
        "public: true",
        "gate_only: true",
    ];
    let mut routes = String::new();
    for (number, path) in paths.iter().enumerate() {
        let asked = pick(&asks);
        let methods = pick(&["[GET]", "[GET, POST]"]);
        let gone = pick(&["", "# "]);
        routes.push_str(&format!(
            "  {gone}- {{id: r{number}, match: {{methods: {methods}, path: \"{path}\"}}, {asked}}}\n"
        ));
    }
    let audience = pick(&["a", "a", "a", "b"]);
    let routes = format!(
        "version: 1\nupstreams: {{u: {{servers: [\"http://127.0.0.1:9\"]}}}}\napplications:\n\
         - name: app\n  hosts: [app.test]\n  domain: d\n  upstream: u\n  gate: {{tenants: [t], audiences: [{audience}]}}\n\
         \x20 routes:\n{routes}  - {{id: last, match: {{methods: [PUT], path: /last}}, require: \"r:read\"}}\n"
    );
    (routes, grants)
}

/// The policy of these texts; nothing if they do not compile.
pub(super) fn compiled((routes, grants): &(String, String)) -> Option<Policy> {
    let mut report = Report::new();
    let routes = report.add_source("routes.yaml", routes.as_str());
    let grants = report.add_source("grants.yaml", grants.as_str());
    let (routes, grants) = (read_routes(routes, &mut report), read_grants(grants, &mut report));
    let tenants = vec![Tenant::of_objects("t", Guid(1))];
    let nothing = |_: &_| Err("no files".to_owned());
    Policy::compile(vec![routes?], vec![grants?], tenants, &nothing, |_| [0; 32], &mut report)
}
