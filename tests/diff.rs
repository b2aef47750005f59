//! What a change of the policy is said to change: laws that hold between any two small worlds, and tables of what is
//! said of routes and people. The laws compare with every decision of both worlds, one by one.

#[path = "support/process.rs"]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use portcullis::diag::{Place, Report};
use portcullis::document;
use portcullis::document::grants::GrantDocument;
use portcullis::model::{Guid, Status, Tenant};
use portcullis::policy::Held;
use portcullis::review::Policy;
use portcullis::review::diff::{self, AccessChange, Difference, Direction, RouteChangeKind, Standing, diff};
use portcullis::review::lint::{Code, lint};
use process::portcullis;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

const RIGHTS: [&str; 6] = ["a", "a.b", "a.b.c", "a.d", "e", "e.f"];
/// The one right of which a route asks that it is not denied.
const UNDENIED: &str = "a.b";
const NODES: [&str; 5] = ["n:0", "n:1", "n:2", "n:3", "n:4"];
const PEOPLE: usize = 4;

fn policy(routes: &str, grants: &str) -> Policy {
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", routes);
    let routes = document::read_routes(source, &mut report);
    let source = report.add_source("grants.yaml", grants);
    let grants = document::read_grants(source, &mut report);
    let tenants = vec![Tenant::of_objects("t", Guid(7)), Tenant::of_objects("u", Guid(8))];
    let files = &|_: &_| Err("no files here".to_owned());
    let policy = Policy::compile(
        vec![routes.unwrap()],
        vec![grants.unwrap()],
        tenants,
        files,
        portcullis::reload::sha256,
        &mut report,
    );
    policy.unwrap_or_else(|| panic!("{}", report.render()))
}

fn routes(settings: &str, routes: &str) -> String {
    format!(
        "version: 1\nsettings: {settings}\nupstreams: {{u: {{servers: [\"http://127.0.0.1:1\"]}}}}\napplications:\n  \
         - name: app\n    hosts: [app.example.org]\n    domain: d\n    upstream: u\n    \
         gate: {{tenants: [t], audiences: [a]}}\n    routes:\n{routes}"
    )
}

/// A small world: everything that bears on what is held.
#[derive(Clone, Debug)]
struct Small {
    flat: bool,
    nearest: bool,
    boundary: bool,
    across: usize,
    capped: bool,
    implies: bool,
    /// For each node its parent: the root or an earlier one; `None`: the node is not there.
    forest: Vec<Option<usize>>,
    role: Vec<usize>,
    group: Vec<Grant>,
    upper: Vec<Grant>,
    people: Vec<Person>,
}

/// Right (or the role), effect, node.
type Grant = (usize, usize, usize);

#[derive(Clone, Debug)]
struct Person {
    present: bool,
    active: bool,
    in_group: bool,
    in_upper: bool,
    read_only: bool,
    boundary: usize,
    grants: Vec<Grant>,
}

fn any_small() -> impl Strategy<Value = Small> {
    let grant = (0..=RIGHTS.len(), 0..4_usize, 0..=NODES.len());
    let person = (any::<[bool; 5]>(), 0..=NODES.len(), vec(grant.clone(), 0..4)).prop_map(
        |([present, active, in_group, in_upper, read_only], boundary, grants)| Person {
            present,
            // Most are active.
            active: active || in_upper,
            in_group,
            in_upper,
            read_only,
            boundary,
            grants,
        },
    );
    let forest = (vec(0..=NODES.len(), NODES.len()), any::<[bool; 5]>()).prop_map(|(parents, there)| {
        let parent = |(node, parent): (usize, usize)| Some(if parent <= node { parent } else { 0 });
        let parents: Vec<Option<usize>> = parents.into_iter().enumerate().map(parent).collect();
        // Only a node with nothing below it may be missing.
        let has_child = |node: usize| parents.contains(&Some(node + 1));
        (0..NODES.len()).map(|node| parents[node].filter(|_| there[node] || has_child(node))).collect()
    });
    let role = subsequence((0..RIGHTS.len()).collect::<Vec<_>>(), 0..4);
    let flags = (any::<[bool; 5]>(), 0..5_usize);
    (flags, forest, role, vec(grant.clone(), 0..3), vec(grant, 0..3), vec(person, PEOPLE)).prop_map(
        |(([flat, nearest, boundary, capped, implies], across), forest, role, group, upper, people)| Small {
            flat,
            nearest,
            boundary,
            across,
            capped,
            implies,
            forest,
            role,
            group,
            upper,
            people,
        },
    )
}

/// Two worlds, of which the second has much from the first.
fn two_worlds() -> impl Strategy<Value = (Small, Small)> {
    (any_small(), any_small(), any::<[bool; 7]>()).prop_map(|(one, mut two, same)| {
        let [shape, strategy, forest, role, groups, people, person] = same;
        if shape {
            (two.flat, two.boundary, two.implies) = (one.flat, one.boundary, one.implies);
        }
        if strategy {
            (two.nearest, two.across, two.capped) = (one.nearest, one.across, one.capped);
        }
        if forest {
            two.forest.clone_from(&one.forest);
        }
        if role {
            two.role.clone_from(&one.role);
        }
        if groups {
            two.group.clone_from(&one.group);
            two.upper.clone_from(&one.upper);
        }
        if people {
            two.people.clone_from(&one.people);
        }
        if person {
            two.people[0].grants.clone_from(&one.people[0].grants);
        }
        (one, two)
    })
}

impl Small {
    fn node(&self, node: usize) -> Option<String> {
        match node.checked_sub(1) {
            None => Some(String::new()),
            Some(node) => self.forest[node].map(|_| format!(" @{}", NODES[node])),
        }
    }

    fn grants(&self, grants: &[Grant]) -> String {
        let text = |(right, effect, node): &Grant| {
            let at = self.node(*node)?;
            let effect = ["read", "write", "delete", "deny"][*effect];
            Some(match RIGHTS.get(*right) {
                Some(right) => format!("\"{right}:{effect}{at}\""),
                None => match at.strip_prefix(" @") {
                    Some(node) => format!("{{role: R, at: \"{node}\"}}"),
                    None => "{role: R}".to_owned(),
                },
            })
        };
        grants.iter().filter_map(text).collect::<Vec<_>>().join(", ")
    }

    fn compile(&self) -> Policy {
        let across =
            ["deny_overrides", "deny_individual_first", "individual_first", "most_restrictive", "most_permissive"];
        let mut text = format!(
            "version: 1\ndomain: d\nstrategy: {{rights: {}, within: {}, across: {}, boundary: {}, caps: {{{}}}}}\n",
            if self.flat { "flat" } else { "tree" },
            if self.nearest { "nearest" } else { "union" },
            across[self.across],
            self.boundary,
            if self.capped { "ro: read" } else { "" },
        );
        let nodes = self.forest.iter().enumerate().filter_map(|(node, parent)| {
            let parent = parent.as_ref()?.checked_sub(1).map_or("root", |parent| NODES[parent]);
            Some(format!("\"{}\": \"{parent}\"", NODES[node]))
        });
        writeln!(text, "scopes: {{forest: {{{}}}}}", nodes.collect::<Vec<_>>().join(", ")).unwrap();
        if self.implies {
            text.push_str("implies: {e: [a.b]}\n");
        }
        let role: Vec<&str> = self.role.iter().map(|right| RIGHTS[*right]).collect();
        writeln!(text, "roles: {{R: {{rights: [{}]}}}}", role.join(", ")).unwrap();
        writeln!(
            text,
            "groups:\n  G: {{parents: [U], grants: [{}]}}\n  U: {{grants: [{}]}}\nprincipals:",
            self.grants(&self.group),
            self.grants(&self.upper)
        )
        .unwrap();
        for (number, person) in self.people.iter().enumerate().filter(|(_, person)| person.present) {
            let boundary = match (self.boundary, person.boundary.checked_sub(1)) {
                (false, _) => String::new(),
                (true, Some(node)) if self.forest[node].is_some() => format!(", boundary: [\"{}\"]", NODES[node]),
                (true, _) => ", boundary: [root]".to_owned(),
            };
            let groups = [(person.in_group, "G"), (person.in_upper, "U")];
            let groups: Vec<&str> = groups.iter().filter(|(is_in, _)| *is_in).map(|(_, name)| *name).collect();
            writeln!(
                text,
                "  - {{id: p{number}, tenant: t, oid: 00000000-0000-0000-0000-00000000000{number}, status: {}, \
                 groups: [{}], flags: [{}], grants: [{}]{boundary}}}",
                if person.active { "active" } else { "inactive" },
                groups.join(", "),
                if person.read_only { "ro" } else { "" },
                self.grants(&person.grants),
            )
            .unwrap();
        }
        if !self.people.iter().any(|person| person.present) {
            text.truncate(text.len() - "principals:\n".len());
        }
        // All rights are asked for, so that both sides know each.
        let asked = RIGHTS.map(|right| format!("{{any: [\"{right}\", other]}}")).join(", ");
        let route = format!(
            "      - {{id: r, match: {{methods: [GET], path: /}}, require: [{asked}, {{unless_denied: {UNDENIED}}}]}}\n"
        );
        policy(&routes("{}", &route), &text)
    }

    fn parent(&self, node: &str) -> Option<&'static str> {
        let node = NODES.iter().position(|known| *known == node)?;
        self.forest[node].map(|parent| parent.checked_sub(1).map_or("root", |parent| NODES[parent]))
    }
}

/// What is held of every right at every node by whoever is active: nothing is left out.
fn standings(policy: &Policy) -> BTreeMap<(String, String, String), Standing> {
    let domain = policy.worlds().next().unwrap().domain;
    let mut found = BTreeMap::new();
    for principal in domain.principals().iter().filter(|principal| principal.status() == Status::Active) {
        for (right, name) in domain.rights() {
            for (scope, node) in domain.scopes() {
                let standing = match domain.held(principal, right, scope) {
                    Held::Up(level) => Standing::Up(level),
                    Held::Denied if name == UNDENIED => Standing::Denied,
                    Held::Denied | Held::Nothing => Standing::Nothing,
                };
                found.insert((principal.id().to_owned(), name.to_owned(), node.to_owned()), standing);
            }
        }
    }
    found
}

/// The changes of one principal, taken out of their entries.
fn of_principal<'d>(found: &'d Difference, id: &str) -> Vec<(&'d diff::Spot, &'d diff::Spot, Standing, Standing)> {
    let changes = found.domains.iter().flat_map(|domain| &domain.access);
    let mut own = Vec::new();
    for change in changes {
        for (at, _) in change.at.iter().filter(|(_, who)| who.iter().any(|known| **known == *id)) {
            own.extend(change.rights.iter().map(|right| (right, at, change.from, change.to)));
        }
    }
    own
}

/// What a difference says of one principal, right and node, read as its documentation says.
fn read(
    found: &Difference,
    worlds: (&Small, &Small),
    id: &str,
    right: &str,
    node: &str,
) -> Option<(Standing, Standing)> {
    let own = of_principal(found, id);
    let tree = !worlds.0.flat && !worlds.1.flat;
    let mut name = right;
    let listed: Vec<_> = loop {
        if own.iter().any(|(right, ..)| right.except.iter().any(|kept| **kept == *name)) {
            return None;
        }
        let listed: Vec<_> = own.iter().filter(|(right, ..)| *right.name == *name).collect();
        match name.rsplit_once('.') {
            Some((above, _)) if tree && listed.is_empty() => name = above,
            _ => break listed,
        }
    };
    let mut at = node;
    loop {
        if let Some((.., from, to)) = listed.iter().find(|(_, spot, ..)| *spot.name == *at) {
            return Some((*from, *to));
        }
        if listed.iter().any(|(_, spot, ..)| spot.except.iter().any(|kept| **kept == *at)) {
            return None;
        }
        // A node that lies elsewhere than it did stands for itself.
        at = match (worlds.0.parent(at), worlds.1.parent(at)) {
            (Some(old), Some(new)) if old != new => return None,
            (old, new) => new.or(old)?,
        };
    }
}

fn swapped(change: &AccessChange) -> AccessChange {
    AccessChange { from: change.to, to: change.from, ..change.clone() }
}

/// Everything that is said of rights, in an order of its own.
fn said(found: &Difference, mirrored: bool) -> BTreeSet<String> {
    let changes = found.domains.iter().flat_map(|domain| &domain.access);
    let changes = changes.map(|change| if mirrored { swapped(change) } else { change.clone() });
    changes
        .map(|c| format!("{:?} {:?} {:?} {:?} {:?} {}", c.rights, c.from, c.to, c.through, c.at, c.principals))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn between_a_world_and_itself_nothing_changes(world in any_small()) {
        let found = diff(&world.compile(), &world.compile());
        prop_assert!(found.is_empty(), "{found:#?}");
        prop_assert!(!found.gains());
    }

    #[test]
    fn the_way_back_is_the_mirror_of_the_way_there((one, two) in two_worlds()) {
        let (one, two) = (one.compile(), two.compile());
        let (there, back) = (diff(&one, &two), diff(&two, &one));
        prop_assert_eq!(said(&there, true), said(&back, false));
        let people = |found: &Difference| found.domains.iter().map(|d| (d.people.added.clone(), d.people.removed.clone())).collect::<Vec<_>>();
        let turned: Vec<_> = people(&back).into_iter().map(|(added, removed)| (removed, added)).collect();
        prop_assert_eq!(people(&there), turned);
    }

    /// For every principal, right and node of both worlds: what is read out of the difference is what changes.
    #[test]
    fn what_is_said_to_change_changes_so_and_nothing_else_does((one, two) in two_worlds()) {
        let (old, new) = (one.compile(), two.compile());
        let found = diff(&old, &new);
        let (before, now) = (standings(&old), standings(&new));
        let all: BTreeSet<_> = before.keys().chain(now.keys()).collect();
        for key in all {
            let (id, right, node) = key;
            let from = before.get(key).copied().unwrap_or(Standing::Nothing);
            let to = now.get(key).copied().unwrap_or(Standing::Nothing);
            let expected = (from != to).then_some((from, to));
            let said = read(&found, (&one, &two), id, right, node);
            prop_assert_eq!(said, expected, "{} {} {}: {:#?}", id, right, node, found);
        }
    }

    /// Grants that `lint` calls shadowed can all go at once, and of what a principal then has itself, nothing else can.
    #[test]
    fn grants_that_change_nothing_are_those_without_which_nothing_changes(world in any_small()) {
        let policy = world.compile();
        let found = lint(&policy);
        let shadowed: Vec<Place> =
            found.iter().filter(|finding| finding.code == Code::ShadowedGrant).filter_map(|finding| finding.place).collect();
        let less = without(&policy, &|place| shadowed.contains(&place));
        prop_assert_eq!(held(&less), held(&policy));
        // What lies outside a boundary has a finding of its own, and a cap hides what grants differ in.
        if world.boundary || world.capped {
            return Ok(());
        }
        let own = less.grants[0].principals.iter().flat_map(|principal| &principal.grants);
        for place in own.filter_map(|grant| place_of(grant, &world)) {
            let even_less = without(&less, &|other| other == place);
            prop_assert_ne!(held(&even_less), held(&less), "{:?}", place);
        }
    }

    #[test]
    fn the_order_of_what_is_written_means_nothing(world in any_small()) {
        let policy = world.compile();
        let turned = policy.changed(|_, grants| {
            for document in grants {
                document.principals.reverse();
                document.groups.reverse();
                document.forest.reverse();
                for grants in document.principals.iter_mut().map(|principal| &mut principal.grants) {
                    grants.reverse();
                }
            }
        });
        let found = diff(&policy, &turned.unwrap());
        prop_assert!(found.is_empty(), "{found:#?}");
    }
}

/// Where a grant stands; `None` for a role that has no rights.
fn place_of(grant: &GrantDocument, world: &Small) -> Option<Place> {
    match grant {
        GrantDocument::Right(text) => Some(text.place),
        GrantDocument::Role { place, .. } => Some(*place).filter(|_| !world.role.is_empty()),
        GrantDocument::Rights { place, .. } => Some(*place),
    }
}

/// The policy without the grants at some places.
fn without(policy: &Policy, gone: &dyn Fn(Place) -> bool) -> Policy {
    let stays = |grant: &GrantDocument| match grant {
        GrantDocument::Right(text) => !gone(text.place),
        GrantDocument::Role { place, .. } | GrantDocument::Rights { place, .. } => !gone(*place),
    };
    let changed = policy.changed(|_, grants| {
        for document in grants {
            document.principals.iter_mut().for_each(|principal| principal.grants.retain(stays));
            document.groups.iter_mut().for_each(|group| group.grants.retain(stays));
        }
    });
    changed.unwrap_or_else(|report| panic!("{}", report.render()))
}

/// What every principal holds, denials told from nothing.
fn held(policy: &Policy) -> BTreeMap<(String, String, String), String> {
    let domain = policy.worlds().next().unwrap().domain;
    let mut found = BTreeMap::new();
    for principal in domain.principals().iter() {
        for (right, name) in domain.rights() {
            for (scope, node) in domain.scopes() {
                let held = format!("{:?}", domain.held(principal, right, scope));
                found.insert((principal.id().to_owned(), name.to_owned(), node.to_owned()), held);
            }
        }
    }
    found
}

const GRANTS: &str = "
version: 1
domain: d
scopes: {forest: {\"n:1\": root, \"n:2\": \"n:1\", \"n:3\": root}, aliases: {code: {7: \"n:1\"}}}
roles: {Clerk: {rights: [orders:write]}, Chief: {includes: [Clerk], rights: [invoices]}}
groups: {Team: {grants: [{role: Clerk, at: \"n:1\"}], flags: [staff]}}
objects: {\"order:1\": {node: 1, state: open}}
principals:
  - {id: anna, tenant: t, oid: 00000000-0000-0000-0000-000000000001, groups: [Team]}
  - {id: ben, tenant: t, oid: 00000000-0000-0000-0000-000000000002, grants: [{role: Clerk, at: \"n:2\"}]}
  - {id: cleo, tenant: t, oid: 00000000-0000-0000-0000-000000000003, grants: [{role: Chief}]}
  - {id: dan, tenant: u, oid: 00000000-0000-0000-0000-000000000004, grants: [{role: Chief}]}
";
const ROUTES: &str = "      - {id: order, match: {methods: [GET, PUT], path: \"/n/{n}/orders\"}, scopes: {main: {from: path.n, kind: n}}, require: \"orders:by_method\"}
      - {id: invoice, match: {methods: [GET], path: /invoices}, require: [invoices, {flag: staff}]}
      - {id: health, match: {methods: [GET], path: /health}, public: true}
";

fn edited(text: &str, edit: &[(&str, &str)]) -> String {
    edit.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

/// What is said about access after an edit of the grants, one line a change.
fn after(edit: &[(&str, &str)]) -> (Vec<String>, bool) {
    let old = policy(&routes("{}", ROUTES), GRANTS);
    let new = policy(&routes("{}", ROUTES), &edited(GRANTS, edit));
    let found = diff(&old, &new);
    let mut lines = Vec::new();
    for domain in &found.domains {
        let people = &domain.people;
        lines.extend(people.added.iter().map(|id| format!("new {id}")));
        lines.extend(people.removed.iter().map(|id| format!("gone {id}")));
        lines.extend(people.renamed.iter().map(|(from, to)| format!("{from} is {to}")));
        lines.extend(people.status.iter().map(|(from, to, who)| format!("{from:?} to {to:?}: {}", who.join(" "))));
        for flag in &domain.flags {
            let sign = if flag.gained { "+" } else { "-" };
            lines.push(format!("flag {sign}{} {:?}: {}", flag.flag, flag.direction, flag.principals.join(" ")));
        }
        for change in &domain.access {
            let name = |standing| match standing {
                Standing::Up(level) => level.name(),
                Standing::Nothing => "-",
                Standing::Denied => "x",
            };
            let rights: Vec<&str> = change.rights.iter().map(|right| &*right.name).collect();
            let via = |via: &diff::Via| {
                let given = via.role.as_deref().or(via.right.as_deref()).unwrap_or("");
                format!("{given}{}", via.group.as_deref().map(|group| format!("/{group}")).unwrap_or_default())
            };
            let through = &change.through;
            let held: Vec<String> = through.held.iter().map(via).collect();
            let denied: Vec<String> = through.denied.iter().map(|denied| format!(" not {}", via(denied))).collect();
            let at: Vec<String> = change.at.iter().map(|(at, who)| format!("{}({})", at.name, who.join(" "))).collect();
            lines.push(format!(
                "{} {}>{} {} via {}{}; {}",
                rights.join("+"),
                name(change.from),
                name(change.to),
                at.join(" "),
                held.join(" "),
                denied.concat(),
                change.routes.join(" "),
            ));
        }
        for change in &domain.world {
            lines.push(format!(
                "{} {} {:?}>{:?} {:?}",
                change.kind, change.subject, change.from, change.to, change.direction
            ));
        }
    }
    (lines, found.gains())
}

#[test]
fn changes_of_grants_are_told_as_who_gains_and_loses_what_through_what() {
    /// Edit of the grants, what is said, whether somebody gains.
    type Row<'r> = (&'r [(&'r str, &'r str)], &'r [&'r str], bool);
    let rows: &[Row<'_>] = &[
        (&[], &[], false),
        // one role, three ways to hold it; whoever has it through another role has that one to thank
        (
            &[("rights: [orders:write]", "rights: [orders:read]")],
            &[
                "orders write>read root(cleo dan) via Chief; app/order",
                "orders write>read n:1(anna) via Clerk/Team; app/order",
                "orders write>read n:2(ben) via Clerk; app/order",
            ],
            false,
        ),
        (
            &[("rights: [orders:write]", "rights: [orders:delete, reports]")],
            &[
                "orders write>delete root(cleo dan) via Chief; app/order",
                "reports ->delete root(cleo dan) via Chief; ",
                "orders write>delete n:1(anna) via Clerk/Team; app/order",
                "orders write>delete n:2(ben) via Clerk; app/order",
                "reports ->delete n:1(anna) via Clerk/Team; ",
                "reports ->delete n:2(ben) via Clerk; ",
            ],
            true,
        ),
        // what another grant gives anyway is no change
        (
            &[("grants: [{role: Chief}]}\n  - {id: dan", "grants: [{role: Chief}, orders:read]}\n  - {id: dan")],
            &[],
            false,
        ),
        // a denial, by what denies
        (
            &[("{role: Clerk, at: \"n:1\"}]", "{role: Clerk, at: \"n:1\"}, \"orders:deny @n:2\"]")],
            &["orders write>- n:2(anna) via Clerk/Team not orders/Team; app/order"],
            false,
        ),
        (
            &[("id: ben, tenant: t,", "id: ben, tenant: t, status: inactive,")],
            &["Active to Inactive: ben", "orders write>- n:2(ben) via Clerk; app/order"],
            false,
        ),
        (&[("id: ben", "id: bob")], &["ben is bob"], true),
        (
            &[("000000000002", "000000000009")],
            &[
                "new ben",
                "gone ben",
                "orders ->write n:2(ben) via Clerk; app/order",
                "orders write>- n:2(ben) via Clerk; app/order",
            ],
            true,
        ),
        // a flag that a route asks for
        (&[("flags: [staff]", "flags: []")], &["flag -staff Loss: anna"], false),
        (&[("id: ben, tenant: t,", "id: ben, tenant: t, flags: [staff],")], &["flag +staff Gain: ben"], true),
        (&[("id: ben, tenant: t,", "id: ben, tenant: t, flags: [idle],")], &["flag +idle Neutral: ben"], false),
        // a node elsewhere: whoever held something above it holds it no more
        (
            &[("\"n:2\": \"n:1\"", "\"n:2\": \"n:3\"")],
            &["orders write>- n:2(anna) via Clerk/Team; app/order", "node n:2 Some(\"n:1\")>Some(\"n:3\") Unclear"],
            true,
        ),
        (&[("{7: \"n:1\"}", "{7: \"n:2\"}")], &["alias code:7 Some(\"n:1\")>Some(\"n:2\") Unclear"], true),
        (&[("{7: \"n:1\"}", "{}")], &["alias code:7 Some(\"n:1\")>None Loss"], false),
        (
            &[("state: open", "state: shut")],
            &["object order:1 Some(\"{node: 1, state: open}\")>Some(\"{node: 1, state: shut}\") Unclear"],
            true,
        ),
        (&[("node: 1, state: open", "state: open, node: 1")], &[], false),
    ];
    for (edit, expected, gains) in rows {
        let (lines, found) = after(edit);
        assert_eq!(lines, *expected, "{edit:?}");
        assert_eq!(found, *gains, "{edit:?}");
    }
}

/// What is said about routes after an edit of the route map: kind, direction and the respects, and how many principals
/// could and can use it.
fn after_routes(edit: &[(&str, &str)]) -> Vec<String> {
    let before = routes("{on: false, list: [a, b]}", ROUTES);
    let found = diff(&policy(&before, GRANTS), &policy(&edited(&before, edit), GRANTS));
    let mut lines: Vec<String> = Vec::new();
    for change in &found.applications {
        let aspects: Vec<&str> = change.aspects.iter().map(|aspect| aspect.what).collect();
        lines.push(format!("{} {:?} {:?} {}", change.name, change.only, change.direction, aspects.join(" ")));
    }
    for change in &found.routes {
        let aspects: Vec<&str> = change.aspects.iter().map(|aspect| aspect.what).collect();
        let users = |users: Option<usize>| users.map_or("-".to_owned(), |users| users.to_string());
        let (before, now) = (users(change.before), users(change.now));
        let instead = change.instead.as_deref().map(|other| format!(" {other}")).unwrap_or_default();
        let (kind, direction) = (change.kind, change.direction);
        lines.push(format!("{} {kind:?} {direction:?} [{}] {before}>{now}{instead}", change.route, aspects.join(" ")));
    }
    let may = found.routes.iter().any(|change| change.direction.may_gain())
        || found.applications.iter().any(|change| change.direction.may_gain());
    assert_eq!(found.gains(), may);
    lines
}

#[test]
fn changes_of_routes_are_told_as_what_opens_and_closes() {
    let invoice = "require: [invoices, {flag: staff}]";
    /// Edit of the route map, what is said.
    type Row<'r> = (&'r [(&'r str, &'r str)], &'r [&'r str]);
    let rows: &[Row<'_>] = &[
        (&[], &[]),
        // the same in other words
        (&[(invoice, "require: [{flag: staff}, \"invoices:read @root\", invoices]")], &[]),
        (&[(invoice, "require: [invoices, {flag: staff}, {when: {setting: on}, then: other}]")], &[]),
        (&[("path: \"/n/{n}/orders\"", "path: \"/n/{node}/orders\""), ("path.n,", "path.node,")], &[]),
        // nobody holds both, cleo is the one with the right, anna the one with the flag
        (&[(invoice, "require: invoices")], &["invoice Changed Gain [requirement] 0>1"]),
        (&[(invoice, "require: [invoices, {flag: staff}, {flag: idle}]")], &["invoice Changed Loss [requirement] 0>0"]),
        (&[(invoice, "require: [\"invoices:write\", {flag: staff}]")], &["invoice Changed Loss [requirement] 0>0"]),
        (&[(invoice, "require: {any: [{flag: staff}, invoices]}")], &["invoice Changed Gain [requirement] 0>2"]),
        (&[(invoice, "require: reports")], &["invoice Changed Unclear [requirement] 0>0"]),
        (
            &[(invoice, "require: [invoices, {flag: staff}, {setting: on, reason: off}]")],
            &["invoice Changed Loss [requirement] 0>0"],
        ),
        (&[(invoice, "public: true")], &["invoice Opened Gain [requirement] 0>-"]),
        (&[(invoice, "gate_only: true")], &["invoice Opened Gain [requirement] 0>-"]),
        (&[("public: true", "gate_only: true")], &["health Closed Loss [requirement] ->-"]),
        (&[("public: true", "require: {flag: staff}")], &["health Closed Loss [requirement] ->1"]),
        // methods, paths, levels, scopes
        (&[("methods: [GET, PUT]", "methods: [GET]")], &["order Changed Loss [methods] 3>3"]),
        (&[("methods: [GET, PUT]", "methods: [GET, PUT, DELETE]")], &["order Changed Gain [methods] 3>3"]),
        (&[("path: /invoices", "path: /bills")], &["invoice Changed Unclear [path] 0>0"]),
        (
            &[(
                "scopes: {main: {from: path.n, kind: n}},",
                "scopes: {main: {from: path.n, kind: n}}, levels: {PUT: read},",
            )],
            &["order Changed Gain [levels] 3>3"],
        ),
        (&[("kind: n}}", "kind: code}}")], &["order Changed Unclear [scopes] 3>2"]),
        // ids
        (&[("id: invoice", "id: bill")], &["bill Renamed Neutral [id] ->-"]),
        // new and gone, and who takes their requests
        (
            &[(
                "public: true}\n",
                "public: true}\n      - {id: more, match: {methods: [GET], path: /more}, require: orders}\n",
            )],
            &["more Added Gain [requirement] ->1"],
        ),
        (
            &[(
                "public: true}\n",
                "public: true}\n      - {id: seven, match: {methods: [GET], path: /n/7/orders}, public: true}\n",
            )],
            &["seven Added Gain [requirement] ->- order"],
        ),
        (
            &[(
                "public: true}\n",
                "public: true}\n      - {id: never, match: {methods: [GET], path: /never}, require: {flag: nobody}}\n",
            )],
            &["never Added Neutral [requirement] ->0"],
        ),
        (
            &[("      - {id: health, match: {methods: [GET], path: /health}, public: true}\n", "")],
            &["health Removed Loss [] ->-"],
        ),
        // the gate and the hosts
        (&[("tenants: [t]", "tenants: [t, u]")], &["app None Gain tenants"]),
        (&[("tenants: [t]", "tenants: [u]")], &["app None Unclear tenants"]),
        (&[("audiences: [a]", "audiences: [a], app_roles: [x]")], &["app None Loss app_roles"]),
        (&[("audiences: [a]", "audiences: [a], clients: [x]")], &["app None Loss clients"]),
        (&[("audiences: [a]", "audiences: [a], callers: users")], &["app None Loss callers"]),
        (&[("upstream: u\n", "upstream: u\n    token: [bearer, {cookie: c}]\n")], &["app None Gain token"]),
        (&[("upstream: u\n", "upstream: u\n    token: {cookie: c}\n")], &["app None Unclear token"]),
        (&[("upstream: u\n", "upstream: u\n    cors: {origins: \"https://a.test\"}\n")], &["app None Gain cors"]),
        (&[("upstream: u\n", "upstream: u\n    backend: tomcat\n")], &["app None Gain backend"]),
        (&[("upstream: u\n", "upstream: u\n    backend: strict\n")], &[]),
        (
            &[("audiences: [a]", "audiences: [a], client_certificates: [\"CN=x\"]")],
            &["app None Loss client_certificates"],
        ),
        (&[("upstream: u\n", "upstream: u\n    on_expiry: keep\n")], &["app None Gain on_expiry"]),
        (
            &[("upstream: u\n", "upstream: u\n    connection_auth: true\n    token: {cookie: c}\n")],
            &["app None Unclear token connection_auth"],
        ),
        // WebSockets and trailers
        (&[("id: order,", "id: order, websocket: false,")], &["order Changed Loss [websocket] 3>3"]),
        (&[("upstream: u\n", "upstream: u\n    websocket: true\n")], &[]),
        (&[("id: order,", "id: order, trailers: [x-checksum],")], &["order Changed Gain [trailers] 3>3"]),
        // what is behind the application
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\", \"http://127.0.0.1:2\"]")], &["app None Neutral servers"]),
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\"], protocol: http2")], &["app None Neutral protocol"]),
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\"], host: server")], &["app None Unclear host"]),
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\"], path: {add: /x}")], &["app None Unclear path"]),
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\"], tls: {server_name: a.test}")], &["app None Neutral tls"]),
        (&[("127.0.0.1:1\"]", "127.0.0.1:1\"], balance: round_robin, retries: {attempts: 0}")], &[]),
        (&[("hosts: [app.example.org]", "hosts: [APP.example.org, other.example.org]")], &["app None Gain hosts"]),
        (&[("hosts: [app.example.org]", "hosts: [\"app.example.org:443\"]")], &[]),
    ];
    for (edit, expected) in rows {
        assert_eq!(after_routes(edit), *expected, "{edit:?}");
    }
}

#[test]
fn an_entrance_that_opens_is_a_gain_and_one_that_closes_a_loss() {
    let with = |lines: &str, gate: &str| {
        let text = routes("{}", ROUTES);
        let text = edited(&text, &[("upstream: u\n", &format!("upstream: u\n{lines}"))]);
        policy(&edited(&text, &[("audiences: [a]", &format!("audiences: [a]{gate}"))]), GRANTS)
    };
    let cors = |rest: &str| format!("    cors: {{origins: [{rest}}}\n");
    for (narrow, wide, what) in [
        (("", ", clients: [x]".to_owned()), ("", ", clients: [x, y]".to_owned()), "clients"),
        (("", ", clients: [x]".into()), ("", String::new()), "clients"),
        (("", ", callers: apps".into()), ("", String::new()), "callers"),
        (
            (&cors("\"https://a.test\"]"), String::new()),
            (&cors("\"https://a.test\", \"https://b.test\"]"), String::new()),
            "cors",
        ),
        (
            (&cors("\"https://a.test\"]"), String::new()),
            (&cors("\"https://a.test\"], credentials: true"), String::new()),
            "cors",
        ),
    ] {
        let (narrow, wide) = (with(narrow.0, &narrow.1), with(wide.0, &wide.1));
        for (old, new, direction) in [(&narrow, &wide, Direction::Gain), (&wide, &narrow, Direction::Loss)] {
            let found = diff(old, new).applications;
            let seen: Vec<_> = found.iter().flat_map(|change| &change.aspects).map(|a| (a.what, a.direction)).collect();
            assert_eq!(seen, [(what, direction)]);
        }
    }
    let swapped = diff(&with("", ", callers: apps"), &with("", ", callers: users")).applications;
    assert_eq!(swapped[0].direction, Direction::Unclear);
}

#[test]
fn a_setting_shows_in_the_routes_that_it_changes_and_in_no_other() {
    let asking = |settings: &str| {
        routes(
            settings,
            "      - {id: a, match: {methods: [GET], path: \"/a/{x}\"}, require: [{in: [path.x, setting.list], reason: no}, \"m.{x}\"]}\n      - {id: b, match: {methods: [GET], path: /b}, require: {when: {setting: on}, then: m, else: [m, n]}}\n",
        )
    };
    let changed = |old: &str, new: &str| -> Vec<(String, RouteChangeKind, Direction)> {
        let found = diff(&policy(&asking(old), GRANTS), &policy(&asking(new), GRANTS));
        found.routes.into_iter().map(|change| (change.route, change.kind, change.direction)).collect()
    };
    let base = "{on: false, list: [p, q]}";
    let change = |route: &str, direction| vec![(route.to_owned(), RouteChangeKind::Changed, direction)];
    assert_eq!(changed(base, "{list: [q, p], on: false, other: 1}"), []);
    assert_eq!(changed(base, "{on: false, list: [p, q, r]}"), change("a", Direction::Unclear));
    assert_eq!(changed(base, "{on: true, list: [p, q]}"), change("b", Direction::Gain));
}

#[test]
fn tests_are_told_apart_by_what_they_ask() {
    let with = |tests: &str| policy(&format!("{}tests: [{tests}]\n", routes("{}", ROUTES)), GRANTS);
    let old = with(
        "{id: A, as: anna, request: GET http://app.example.org/, expect: deny}, {id: B, request: GET http://app.example.org/health, expect: allow}",
    );
    let new = with(
        "{id: B, expect: allow, request: GET http://app.example.org/health}, {id: A, as: anna, request: GET http://app.example.org/, expect: allow}, {id: C, request: GET http://app.example.org/x, expect: deny}",
    );
    let found: Vec<(String, bool, bool)> =
        diff(&old, &new).tests.into_iter().map(|test| (test.id, test.from.is_some(), test.to.is_some())).collect();
    assert_eq!(found, [("A".to_owned(), true, true), ("C".to_owned(), false, true)]);
}

/// A directory with a configuration.
fn write(folder: &Path, name: &str, grants: &str) {
    let folder = folder.join(name);
    fs::create_dir(&folder).unwrap();
    let gateway = "version: 1\nlisteners: [{address: '127.0.0.1:8080'}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\n\
                   tenants:\n  - {name: t, id: 11111111-1111-4111-8111-111111111111}\n  - {name: u, id: 22222222-1111-4111-8111-111111111111}\n";
    fs::write(folder.join("gateway.yaml"), gateway).unwrap();
    fs::write(folder.join("routes.yaml"), routes("{}", ROUTES)).unwrap();
    fs::write(folder.join("grants.yaml"), grants).unwrap();
}

#[test]
fn the_verb_tells_a_reviewer_and_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "old", GRANTS);
    write(folder.path(), "less", &edited(GRANTS, &[("rights: [orders:write]", "rights: [orders:read]")]));
    write(folder.path(), "more", &edited(GRANTS, &[("rights: [orders:write]", "rights: [orders]")]));
    write(folder.path(), "bad", &edited(GRANTS, &[("{role: Chief}", "{role: Chef}")]));
    let run = |arguments: &[&str]| portcullis(folder.path(), &[&["diff"], arguments].concat());
    for (arguments, code) in [
        (&["old", "old"][..], 0),
        (&["old", "old/gateway.yaml"], 0),
        (&["old", "less"], 1),
        (&["old", "less", "--fail-on", "gain"], 0),
        (&["old", "more", "--fail-on", "gain"], 1),
        (&["old"], 2),
        (&["old", "bad"], 3),
        (&["nowhere", "old"], 3),
    ] {
        let done = run(arguments);
        assert_eq!(done.code, code, "{arguments:?} {done:?}");
    }
    assert_eq!(run(&["old", "old"]).out, "nothing changes\n");
    let text = run(&["old", "less"]).out;
    let line = "  1 principal loses orders:write (keeps read) at n:1, through role Clerk to group Team (anna)\n      old old/grants.yaml:6:";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("  2 principals lose orders:write (keep read) at root, through role Chief (cleo, dan)\n"),
        "{text}"
    );
    assert!(run(&["old", "bad"]).err.contains("the new configuration, bad/gateway.yaml, cannot be used"));
    assert!(run(&["bad", "old"]).err.contains("the old configuration, bad/gateway.yaml, cannot be used"));
    let json: serde_json::Value = serde_json::from_str(&run(&["old", "more", "--output", "json"]).out).unwrap();
    let change = &json["domains"][0]["access"][0];
    assert_eq!((&json["gains"], &change["direction"], &change["to"]), (&true.into(), &"gain".into(), &"delete".into()));
    assert_eq!(change["at"][0]["principals"], serde_json::json!(["cleo", "dan"]));
}
