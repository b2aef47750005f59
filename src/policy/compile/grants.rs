//! Who holds what: roles are expanded, groups closed, and all principals resolved and stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::doubles::{Stored, one_id};
use super::entries::{Gives, Group, Lists, Names, Resolver, Vocabulary};
use super::stream::{self, Gathered, Pace};
use super::{Builder, roles, unknown};
use crate::courtesy::hands;
use crate::diag::Report;
use crate::document::Located;
use crate::document::grants::{GrantsDocument, PrincipalDocument};
use crate::model::{Status, Tenant};
use crate::policy::domain::{FlagId, RightId, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::origins::{GrantOrigin, GroupOrigin, Origins, PrincipalOrigin};
use crate::policy::people::{BundleId, Chunk, People, Tables};
use crate::policy::precedence::Grant;

/// The most groups that one may inherit from: each is looked at in every decision about its members.
const MAX_ABOVE: usize = 256;

impl Names for Builder {
    fn node(&self, name: &Located<String>, report: &mut Report) -> Option<ScopeId> {
        self.node(name, report)
    }

    fn interval(&self, node: ScopeId) -> Option<Interval> {
        self.domain.scope_entry(node).map(|(_, interval)| *interval)
    }

    fn right<T>(&mut self, written: &Located<T>, name: &str, report: &mut Report) -> Option<RightId> {
        self.granted_right(written, name, report)
    }

    fn flag(&mut self, name: &Located<String>, report: &mut Report) -> Option<FlagId> {
        Some(self.flag(name, report))
    }
}

/// Compiles roles, groups and principals into the builder's domain.
pub(super) fn compile(builder: &mut Builder, document: &GrantsDocument, tenants: &[Tenant], report: &mut Report) {
    let mut vocabulary = Vocabulary {
        roles: roles::expand_roles(builder, &document.roles, report),
        group_names: document.groups.iter().map(|group| group.name.value.as_str().into()).collect(),
        tenants: tenants.iter().map(|tenant| (tenant.name.to_string(), tenant.clone())).collect(),
        boundary: document.strategy.boundary,
        shape: document.strategy.rights,
        catalogued: document.rights.is_some(),
        nodes: Arc::clone(&builder.nodes),
        ..Vocabulary::default()
    };
    let (mut tables, mut lists) = (Tables::default(), Lists::default());
    let mut resolver = Resolver { names: builder, tables: &mut tables, lists: &mut lists, vocabulary: &vocabulary };
    let mut groups: Vec<(Vec<BundleId>, GroupOrigin)> = Vec::new();
    for group in &document.groups {
        let gives: Vec<Gives<'_>> = group.grants.iter().filter_map(|grant| resolver.gives(grant, report)).collect();
        let grants = gives.iter().flat_map(|gives| resolver.bundles(gives, None)).collect();
        let origin = GroupOrigin {
            name: group.name.value.as_str().into(),
            place: group.name.place,
            inactive: group.status != Status::Active,
            flags: 0,
            grants: if resolver.names.keeps_origins() { origins_of(&gives) } else { Vec::new() },
        };
        groups.push((grants, origin));
    }
    vocabulary.groups = close_groups(builder, document, report);
    for ((_, origin), group) in groups.iter_mut().zip(&document.groups) {
        origin.flags = flags(builder, &group.flags, report);
    }
    let (grants, groups) = groups.into_iter().unzip();
    vocabulary.group_grants = grants;
    if let Some(origins) = &mut builder.origins {
        origins.groups = groups;
    }
    builder.members(document, &vocabulary, &mut lists, report);

    let mut resolver =
        Resolver { names: &mut *builder, tables: &mut tables, lists: &mut lists, vocabulary: &vocabulary };
    let (files, keeps_origins) = (document.principals_from.as_slice(), resolver.names.keeps_origins());
    // Operators' tools look at each entry, so there is one for each line.
    let of_lines = if keeps_origins { super::files::entries(files, report) } else { Vec::new() };
    let (chunk, entries) = principals(&mut resolver, document.principals.iter().chain(&of_lines), report);
    let (mut chunks, mut stored) = (vec![chunk], Stored { entries, lines: Vec::new(), files });
    if !keeps_origins {
        for Gathered { chunk, places } in stream::read(&mut resolver, files, Pace::default(), report) {
            chunks.push(chunk);
            stored.lines.push(places);
        }
    }
    let (people, doubles) = People::build(&chunks, &tables, hands());
    stored.report(&doubles, report);
    builder.people = people;
    builder.tables = tables;
    builder.domain.vocabulary = Arc::new(vocabulary);
}

/// Gathers principals, and says which entries these are.
fn principals<'d>(
    resolver: &mut Resolver<'_, Builder>,
    entries: impl Iterator<Item = &'d PrincipalDocument>,
    report: &mut Report,
) -> (Chunk, Vec<&'d PrincipalDocument>) {
    let (mut chunk, mut stored) = (Chunk::default(), Vec::new());
    let mut ids: HashMap<&str, &PrincipalDocument> = HashMap::new();
    for written in entries {
        if let Some(first) = ids.insert(&written.id.value, written) {
            one_id(first, written, report);
        }
        let resolved = resolver.principal(written, report);
        let Some((key, profile)) = resolved.stored else { continue };
        chunk.add(key.object, profile, &resolved.own, &written.id.value);
        stored.push(written);
        let builder = &mut *resolver.names;
        if let (Some(origins), Some(order)) = (&mut builder.origins, &mut builder.order) {
            order.push(key);
            origins.principals.push(PrincipalOrigin {
                place: written.id.place,
                key,
                tenant: written.tenant.value.as_str().into(),
                status: written.status,
                flags: resolved.flags,
                grants: origins_of(&resolved.gives),
                groups: resolved.groups,
                boundary: resolved.boundary,
            });
        }
    }
    (chunk, stored)
}

/// Entries as they are written: one grant for each right at each node. Until [`seal`], its right is a number and not
/// yet an interval.
fn origins_of(gives: &[Gives<'_>]) -> Vec<GrantOrigin> {
    let of_one = |gives: &Gives<'_>| {
        let role: Option<Arc<str>> = gives.role.map(Into::into);
        let grants = gives.at.iter().flat_map(|scope| gives.rights.iter().map(move |given| (*scope, *given)));
        let origin = |(scope, (right, effect)): (Interval, (RightId, _))| GrantOrigin {
            grant: Grant { scope, right: Interval { first: right.0, end: right.0 }, effect },
            right,
            place: gives.place,
            role: role.clone(),
        };
        grants.map(origin).collect::<Vec<_>>()
    };
    gives.iter().flat_map(of_one).collect()
}

/// Turns the rights of origins, which are names so far, into intervals. To be called once all names are known.
pub(super) fn seal(origins: &mut Option<Origins>, intervals: &[Interval]) {
    for grant in origins.iter_mut().flat_map(Origins::grants_mut) {
        let interval = usize::try_from(grant.right.first).ok().and_then(|index| intervals.get(index));
        grant.right = interval.copied().unwrap_or(Interval { first: u32::MAX, end: u32::MAX });
    }
}

fn flags(builder: &mut Builder, names: &[Located<String>], report: &mut Report) -> u128 {
    names.iter().map(|name| builder.flag(name, report)).map(FlagId::mask).fold(0, |all, flag| all | flag)
}

/// Closes the groups over their parents; a group that is its own ancestor is a fault.
fn close_groups(builder: &mut Builder, document: &GrantsDocument, report: &mut Report) -> HashMap<String, Group> {
    let written = &document.groups;
    let numbers: HashMap<&str, usize> =
        written.iter().enumerate().map(|(number, group)| (group.name.value.as_str(), number)).collect();
    let mut parents: Vec<Vec<usize>> = Vec::new();
    for group in written {
        let found = group.parents.iter().filter_map(|parent| {
            let number = numbers.get(parent.value.as_str()).copied();
            if number.is_none() {
                let message = format!("there is no group `{}`", parent.value);
                unknown(report, parent.place, message, &parent.value, numbers.keys().copied());
            }
            number
        });
        parents.push(found.collect());
    }
    let mut closed = HashMap::new();
    for (number, group) in written.iter().enumerate() {
        let mut all = Group::default();
        let mut next = vec![number];
        let mut seen = HashSet::new();
        while let Some(current) = next.pop() {
            if !seen.insert(current) {
                continue;
            }
            if seen.len() > MAX_ABOVE {
                let message = format!("the group `{}` has more than {MAX_ABOVE} groups above it", group.name.value);
                report.error("too_many_groups", group.name.place, message).help("give it fewer `parents`");
                break;
            }
            all.sources.push(current);
            let above = parents.get(current).map_or(&[][..], |above| above);
            if above.contains(&number) {
                let message = format!("the group `{}` is its own parent", group.name.value);
                report.error("cycle", group.name.place, message).help("remove one `parents` entry of the cycle");
            }
            next.extend(above);
            if let Some(group) = written.get(current) {
                all.inactive |= group.status != Status::Active;
                all.flags |= flags(builder, &group.flags, report);
            }
        }
        closed.insert(group.name.value.clone(), all);
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;
    use crate::model::{Guid, PrincipalKey};
    use crate::policy::Keep;

    #[test]
    fn names_of_groups_are_closed_and_sorted_and_equal_lists_are_stored_once() {
        let text = "version: 1\ndomain: d\ngroups: {z: {parents: [m]}, m: {parents: [a]}, a: {}, other: {}}\n\
                    principals:\n  - {id: p, tenant: t, oid: 00000000-0000-0000-0000-000000000001, groups: [z]}\n  \
                    - {id: q, tenant: t, oid: 00000000-0000-0000-0000-000000000002, groups: [a, z, m]}\n  \
                    - {id: r, tenant: t, oid: 00000000-0000-0000-0000-000000000003}\n";
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", text);
        let document = document::read_grants(source, &mut report).unwrap();
        let domain = Builder::new(&document, &[Tenant::of_objects("t", Guid(7))], Keep::Decisions, &mut report)
            .finish(&mut report)
            .0;
        assert_eq!(report.render(), "");
        let [p, q, r] = [1, 2, 3].map(|object| {
            let key = PrincipalKey { tenant: Guid(7), object: Guid(object) };
            domain.principal(key).unwrap()
        });
        assert_eq!(p.groups().iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "m", "z"]);
        assert!(Arc::ptr_eq(p.groups(), q.groups()));
        assert!(r.groups().is_empty());
    }
}
