//! Where a permitted caller holds the right that let it in: what the backend needs for pages that list things.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::Case;
use super::domain::{Domain, ScopeId};
use super::facts::Facts;
use super::hierarchy::Interval;
use super::member::Member;
use super::rules::{At, Check, Rules};
use crate::model::Level;

/// The most nodes that are looked at, which bounds the work: each costs as much as a small decision.
const MAX_NODES: usize = 256;

/// The names of the nodes in which the member holds the right of the last right term that held when the request was
/// decided, at the level that the term asks for. The arguments are those of [`super::decide()`], which must have permitted
/// the request.
///
/// A node stands for everything below it, so those below another are left out; nodes that lie neither above nor below
/// the term's scope are none of this route's business. `None` where no list would be exact or short: no right was asked
/// for, the right is not held everywhere below a node of the list, or too many nodes would have to be looked at.
pub fn held_scopes<'c>(
    domain: &'c Domain,
    rules: &'c Rules,
    member: impl Into<Member<'c>>,
    facts: &'c impl Facts,
    by_method: Level,
) -> Option<Box<[Arc<str>]>> {
    let member = member.into();
    let case = Case::open(domain, rules, member, facts, by_method).ok()?;
    let mut term = None;
    case.run(|check| {
        if let Check::Right { right, level, at, .. } = check {
            term = Some((right, *level, *at));
        }
    })
    .ok()?;
    let (right, level, at) = term?;
    let (right, asked) = (case.right(right).ok()?, case.level(level));
    let root = [ScopeId::ROOT];
    let here = match at {
        At::Root => &root[..],
        At::Scope(scope) => case.resolved.nodes(scope),
    };
    let concerns_route = |node: Interval| {
        let here = here.iter().filter_map(|scope| domain.scope_entry(*scope));
        here.into_iter().any(|(_, scope)| node.contains(*scope) || scope.contains(node))
    };

    // What is held changes only at nodes of grants, so the others need no look. In pre-order, all that lies below a
    // node comes right after it.
    let mut nodes = BTreeSet::new();
    for granted in domain.nodes_about(member, right) {
        nodes.insert(granted);
        if nodes.len() > MAX_NODES {
            return None;
        }
    }
    let mut listed: Vec<Interval> = Vec::new();
    for node in nodes {
        let listed_already = listed.last().is_some_and(|above| above.contains(node));
        if !listed_already && !concerns_route(node) {
            continue;
        }
        let held = domain.held(member, right, ScopeId(node.first)).level().is_some_and(|level| level >= asked);
        match (listed_already, held) {
            // The node above would say too much.
            (true, false) => return None,
            (false, true) => listed.push(node),
            (true, true) | (false, false) => {}
        }
    }
    let names = listed.iter().filter_map(|node| domain.scope_entry(ScopeId(node.first)));
    Some(names.map(|(name, _)| Arc::clone(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Report;
    use crate::document;
    use crate::document::routes::AccessDocument;
    use crate::model::{Guid, PrincipalKey};
    use crate::policy::{Asking, Builder, HeaderValue, Keep, Variable};

    /// A path of one segment.
    struct Path<'p>(&'p str);

    impl Facts for Path<'_> {
        fn segment(&self, index: usize) -> Option<&str> {
            (index == 0).then_some(self.0)
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

    /// What the principal `p` of a grants document is told on a route `/{n}`, whose scope is the node `n:{n}`.
    fn told(grants: &str, require: &str, path: &str) -> Option<Vec<String>> {
        let routes = format!(
            "version: 1\nupstreams: {{u: {{servers: [s]}}}}\napplications:\n  - name: n\n    hosts: [h]\n    domain: d\n    \
             upstream: u\n    gate: {{tenants: [t], audiences: [a]}}\n    routes:\n      - id: r\n        \
             match: {{methods: [GET], path: \"/{{n}}\"}}\n        scopes: {{main: {{from: path.n, kind: n}}}}\n        \
             require: {require}\n"
        );
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", grants);
        let grants = document::read_grants(source, &mut report);
        let source = report.add_source("routes.yaml", &routes);
        let routes = document::read_routes(source, &mut report);
        assert!(!report.has_errors(), "{}", report.render());
        let tenant = Guid(7);
        let mut builder = Builder::new(
            &grants.unwrap(),
            &[crate::model::Tenant::of_objects("t", tenant)],
            Keep::Decisions,
            &mut report,
        );
        let route = &routes.unwrap().applications[0].routes[0];
        let AccessDocument::Require(requirement) = &route.access else { panic!("no requirement") };
        let variables = &[("n".into(), Variable::Segment(0))];
        let asking = Asking { route, requirement, variables, settings: &[], definitions: [&[], &[]] };
        let rules = builder.rules(asking, &mut report);
        let (domain, _) = builder.finish(&mut report);
        assert!(!report.has_errors(), "{}", report.render());
        let principal = domain.principal(PrincipalKey { tenant, object: Guid(1) }).unwrap();
        let held = held_scopes(&domain, &rules, principal, &Path(path), Level::Write)?;
        Some(held.iter().map(ToString::to_string).collect())
    }

    /// The same for a principal with these grants, whose group has those. There are the nodes `n:a` with `n:a1` and
    /// `n:a2` below it, and `n:b`; `edit` brings `view`.
    fn scopes(strategy: &str, own: &str, group: &str, require: &str, path: &str) -> Option<Vec<String>> {
        let grants = format!(
            "version: 1\ndomain: d\nstrategy: {{{strategy}}}\nimplies: {{edit: [view]}}\n\
             scopes: {{forest: {{\"n:a\": root, \"n:a1\": \"n:a\", \"n:a2\": \"n:a\", \"n:b\": root}}}}\n\
             groups: {{g: {{grants: [{group}]}}}}\nprincipals:\n  - {{id: p, tenant: t, groups: [g], flags: [f], \
             oid: 00000000-0000-0000-0000-000000000001, grants: [{own}]}}\n"
        );
        told(&grants, require, path)
    }

    #[test]
    fn the_list_has_the_topmost_nodes_where_the_right_is_held() {
        /// Own grants, grants of the group, requirement, path, list.
        type Row = (&'static str, &'static str, &'static str, &'static str, Option<&'static [&'static str]>);
        let cases: [Row; 17] = [
            ("view", "", "view", "a", Some(&["root"])),
            ("view @n:a", "", "view", "a", Some(&["n:a"])),
            ("view @n:a", "", "view", "a1", Some(&["n:a"])),
            ("view @n:a1", "view @n:a2", "view @main/*", "a", Some(&["n:a1", "n:a2"])),
            // below another one that is listed, by whatever source
            ("view @n:a1", "view @n:a", "view", "a1", Some(&["n:a"])),
            // neither above nor below the route's scope
            ("view @n:a, view @n:b", "", "view", "a", Some(&["n:a"])),
            ("view @n:a1, view @n:a2", "", "view", "a1", Some(&["n:a1"])),
            // at the root, all are
            ("view @n:a, view @n:b", "", "view @root/*", "a", Some(&["n:a", "n:b"])),
            // the level counts, and what the method means
            ("view:read @n:a, view:write @n:a1", "", "view:write @main/*", "a", Some(&["n:a1"])),
            ("view:read @n:a, view:write @n:a1", "", "view:by_method @main/*", "a", Some(&["n:a1"])),
            ("view:read @n:a, view:write @n:a1", "", "view", "a", Some(&["n:a"])),
            // other rights do not, unless they bring it
            ("view @n:a1, other @n:a", "", "view", "a1", Some(&["n:a1"])),
            ("view @n:a1, edit @n:a", "", "view", "a1", Some(&["n:a"])),
            // a term that failed on the way is not what let the caller in
            ("view @n:a1", "", "{any: [other, view]}", "a1", Some(&["n:a1"])),
            // the last one that held
            ("view @n:a, other @n:a1", "", "[view, other]", "a1", Some(&["n:a1"])),
            // refused, or no right was asked for
            ("view @n:a", "", "other", "a", None),
            ("view @n:a", "", "[{flag: f}]", "a", None),
        ];
        for (own, group, require, path, expected) in cases {
            let expected: Option<Vec<String>> = expected.map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(scopes("", own, group, require, path), expected, "{own} | {group} | {require} | {path}");
        }
    }

    #[test]
    fn there_is_no_list_that_says_too_much() {
        for (strategy, own, group, path, expected) in [
            ("", "view @n:a", "view:deny @n:a1", "a", None),
            ("", "view @n:a", "view:deny @n:a1", "a2", None),
            // the denial lies outside, above or counts for nothing
            ("", "view @n:a", "view:deny @n:b", "a", Some("n:a")),
            ("within: nearest", "\"view:deny\", view @n:a", "", "a1", Some("n:a")),
            ("across: individual_first", "view @n:a", "view:deny @n:a1", "a", Some("n:a")),
            ("", "view @n:a1", "other:deny @n:a1", "a1", Some("n:a1")),
            // less is held below without any denial
            ("within: nearest", "\"view:write @n:a\", \"view:read @n:a1\"", "", "a", None),
            ("across: most_restrictive", "\"view:write @n:a\"", "\"view:read @n:a1\"", "a", None),
        ] {
            let found = scopes(strategy, own, group, "view:write", path);
            assert_eq!(found, expected.map(|name| vec![name.to_owned()]), "{strategy} | {own} | {group} | {path}");
        }
    }

    #[test]
    fn more_nodes_than_can_be_looked_at_make_no_list() {
        for (count, known) in [(MAX_NODES, true), (MAX_NODES + 1, false)] {
            let nodes: Vec<String> = (0..count).map(|number| format!("\"n:{number}\"")).collect();
            let grants = format!(
                "version: 1\ndomain: d\nscopes: {{forest: {{{}: root}}}}\nprincipals:\n  - {{id: p, tenant: t, \
                 oid: 00000000-0000-0000-0000-000000000001, grants: [{{rights: [view], at: [{}]}}]}}\n",
                nodes.join(": root, "),
                nodes.join(", ")
            );
            let list = told(&grants, "view @root/*", "0");
            assert_eq!(list.map(|names| names.len()), known.then_some(count));
        }
    }
}
