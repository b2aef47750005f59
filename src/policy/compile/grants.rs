//! Who holds what: roles are expanded, groups closed, boundaries applied, and equal sets of grants stored once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::roles::{self, Given};
use super::{Builder, text, unknown};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::grants::{GrantDocument, GrantsDocument, PrincipalDocument, PrincipalName};
use crate::model::tenant::is_subject;
use crate::model::{Effect, Guid, Naming, PrincipalKey, Status, Tenant};
use crate::policy::domain::{Domain, FlagId, Principal, Run, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::origins::{GrantOrigin, GroupOrigin, Origins, PrincipalOrigin};
use crate::policy::precedence::Grant;

/// The most groups that one may inherit from: each is looked at in every decision about its members.
const MAX_ABOVE: usize = 256;

/// A group with all that it inherits.
#[derive(Clone, Default)]
pub(super) struct Group {
    pub(super) flags: u128,
    pub(super) inactive: bool,
    /// Itself and every group above it, by number.
    pub(super) sources: Vec<usize>,
}

/// Compiles roles, groups and principals into the builder's domain.
pub(super) fn compile(builder: &mut Builder, document: &GrantsDocument, tenants: &[Tenant], report: &mut Report) {
    let roles = roles::expand_roles(builder, &document.roles, report);
    let group_names = document.groups.iter().map(|group| group.name.value.as_str().into()).collect();
    let (runs, name_lists) = (HashMap::new(), HashMap::new());
    let mut compiler = Compiler { builder, document, roles, runs, group_names, name_lists };
    let written: Vec<Vec<GrantOrigin>> =
        document.groups.iter().map(|group| compiler.grants(&group.grants, report)).collect();
    let own: Vec<Vec<Grant>> = written.iter().map(|grants| set(grants.iter())).collect();
    let groups = compiler.close_groups(report);
    compiler.note_groups(written, report);
    compiler.members(&groups, &own, report);
    let tenants: HashMap<&str, &Tenant> = tenants.iter().map(|tenant| (&*tenant.name, tenant)).collect();
    let mut ids: HashMap<&str, &Located<String>> = HashMap::new();
    for principal in &document.principals {
        if let Some(first) = ids.insert(&principal.id.value, &principal.id) {
            let message = format!("two principals have the id `{}`", principal.id.value);
            report
                .error("duplicate_principal", principal.id.place, message)
                .help("give each principal its own id")
                .also(first.place, "the other one");
        }
        compiler.principal(principal, &groups, &own, &tenants, report);
    }
}

/// Turns the rights of grants, which are names so far, into intervals. To be called once all names are known.
pub(super) fn seal(domain: &mut Domain, origins: &mut Option<Origins>) {
    let intervals = &domain.right_intervals;
    for grant in domain.grants.iter_mut().chain(origins.iter_mut().flat_map(Origins::grants_mut)) {
        let interval = usize::try_from(grant.right.first).ok().and_then(|index| intervals.get(index));
        grant.right = interval.copied().unwrap_or(Interval { first: u32::MAX, end: u32::MAX });
    }
}

/// Grants as they are stored: each once, in order.
fn set<'g>(written: impl Iterator<Item = &'g GrantOrigin>) -> Vec<Grant> {
    let mut grants: Vec<Grant> = written.map(|origin| origin.grant).collect();
    grants.sort_unstable();
    grants.dedup();
    grants
}

/// What compiles the groups and principals of one document.
pub(super) struct Compiler<'c> {
    pub(super) builder: &'c mut Builder,
    pub(super) document: &'c GrantsDocument,
    roles: HashMap<&'c str, Vec<Given>>,
    /// Sets of grants that are stored already.
    runs: HashMap<Vec<Grant>, Run>,
    /// By number.
    group_names: Vec<Arc<str>>,
    /// Lists of names of groups that are stored already, by the numbers of the groups.
    name_lists: HashMap<Vec<usize>, Arc<[Arc<str>]>>,
}

impl Compiler<'_> {
    /// The grants of one source. Until [`seal`], a grant's right is its number and not yet an interval.
    fn grants(&mut self, written: &[GrantDocument], report: &mut Report) -> Vec<GrantOrigin> {
        let mut grants = Vec::new();
        for grant in written {
            match grant {
                GrantDocument::Right(written) => {
                    let parts = text::split(&written.value);
                    let node = match parts.at {
                        None => Some(ScopeId::ROOT),
                        Some(at) => self.builder.node(&Located::new(written.place, at.to_owned()), report),
                    };
                    let given = self.given(written, report);
                    if let (Some(given), Some(node)) = (given, node) {
                        self.place(&[given], node, (written.place, None), &mut grants);
                    }
                }
                GrantDocument::Role { role, at, place } => {
                    let Some(given) = self.roles.get(role.value.as_str()).cloned() else {
                        let message = format!("there is no role `{}`", role.value);
                        unknown(report, role.place, message, &role.value, self.roles.keys().copied());
                        continue;
                    };
                    self.at_each(at, &given, (*place, Some(role.value.as_str().into())), &mut grants, report);
                }
                GrantDocument::Rights { rights, at, place } => {
                    let mut given = Vec::new();
                    for written in rights {
                        if text::split(&written.value).at.is_some() {
                            let message = "a right in `rights:` has its nodes in `at:`";
                            report.error("bad_grant", written.place, message).help("move the node to `at:`");
                        }
                        given.extend(self.given(written, report));
                    }
                    self.at_each(at, &given, (*place, None), &mut grants, report);
                }
            }
        }
        grants
    }

    fn given(&mut self, written: &Located<String>, report: &mut Report) -> Option<Given> {
        roles::given(self.builder, written, report)
    }

    fn at_each(
        &self,
        at: &[Located<String>],
        given: &[Given],
        from: (Place, Option<Arc<str>>),
        grants: &mut Vec<GrantOrigin>,
        report: &mut Report,
    ) {
        if at.is_empty() {
            self.place(given, ScopeId::ROOT, from.clone(), grants);
        }
        for node in at {
            if let Some(node) = self.builder.node(node, report) {
                self.place(given, node, from.clone(), grants);
            }
        }
    }

    /// `from` is the place of the entry, and the role that it names.
    fn place(
        &self,
        given: &[Given],
        node: ScopeId,
        (place, role): (Place, Option<Arc<str>>),
        grants: &mut Vec<GrantOrigin>,
    ) {
        let Some(scope) = self.interval(node) else { return };
        grants.extend(given.iter().map(|(right, effect)| GrantOrigin {
            grant: Grant { scope, right: Interval { first: right.0, end: right.0 }, effect: *effect },
            right: *right,
            place,
            role: role.clone(),
        }));
    }

    /// Keeps where the groups' grants were written, if anybody wants to know.
    fn note_groups(&mut self, written: Vec<Vec<GrantOrigin>>, report: &mut Report) {
        let mut groups = Vec::new();
        for (group, grants) in self.document.groups.iter().zip(written) {
            let name = group.name.value.as_str().into();
            let flags = self.flags(&group.flags, report);
            let inactive = group.status != Status::Active;
            groups.push(GroupOrigin { name, place: group.name.place, flags, inactive, grants });
        }
        if let Some(origins) = &mut self.builder.origins {
            origins.groups = groups;
        }
    }

    fn interval(&self, node: ScopeId) -> Option<Interval> {
        let scopes = &self.builder.domain.scopes;
        usize::try_from(node.0).ok().and_then(|index| scopes.get(index)).map(|(_, interval)| *interval)
    }

    /// Closes the groups over their parents; a group that is its own ancestor is a fault.
    fn close_groups(&mut self, report: &mut Report) -> HashMap<String, Group> {
        let written = &self.document.groups;
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
                    all.flags |= self.flags(&group.flags, report);
                }
            }
            closed.insert(group.name.value.clone(), all);
        }
        closed
    }

    fn flags(&mut self, names: &[Located<String>], report: &mut Report) -> u128 {
        names.iter().map(|name| self.builder.flag(name, report)).map(FlagId::mask).fold(0, |all, flag| all | flag)
    }

    fn principal(
        &mut self,
        written: &PrincipalDocument,
        groups: &HashMap<String, Group>,
        of_groups: &[Vec<Grant>],
        tenants: &HashMap<&str, &Tenant>,
        report: &mut Report,
    ) {
        let tenant = tenants.get(written.tenant.value.as_str()).copied();
        if tenant.is_none() {
            let message = format!("gateway.yaml has no tenant `{}`", written.tenant.value);
            unknown(report, written.tenant.place, message, &written.tenant.value, tenants.keys().copied());
        }
        let key = key(written, tenant, report);
        let boundary = self.boundary(written, report);
        let own_flags = self.flags(&written.flags, report);
        let mut flags = own_flags;
        let mut status = written.status;
        let mut sources: Vec<usize> = Vec::new();
        for name in &written.groups {
            let Some(group) = groups.get(&name.value) else {
                let message = format!("there is no group `{}`", name.value);
                unknown(report, name.place, message, &name.value, groups.keys().map(String::as_str));
                continue;
            };
            flags |= group.flags;
            if group.inactive && status == Status::Active {
                status = Status::Inactive;
            }
            sources.extend(&group.sources);
        }
        sources.sort_unstable();
        sources.dedup();
        let given = self.grants(&written.grants, report);
        let keep = |grant: &Grant| counts(boundary.as_deref(), grant);
        let mut own = set(given.iter());
        own.retain(keep);
        let own = self.store(own);
        let of_groups = sources.iter().filter_map(|group| of_groups.get(*group));
        let bounded: Vec<Vec<Grant>> =
            of_groups.map(|grants| grants.iter().copied().filter(keep).collect::<Vec<_>>()).collect();
        let of_groups =
            bounded.into_iter().filter(|grants| !grants.is_empty()).map(|grants| self.store(grants)).collect();
        let groups = self.names(sources.clone());
        let principal = Principal { id: written.id.value.as_str().into(), status, groups, flags, own, of_groups };
        let Some(key) = key else { return };
        let domain = &mut self.builder.domain;
        let number = u32::try_from(domain.principals.len()).unwrap_or(u32::MAX);
        domain.principals.push(principal);
        if let Some(origins) = &mut self.builder.origins {
            origins.principals.push(PrincipalOrigin {
                place: written.id.place,
                key,
                tenant: written.tenant.value.as_str().into(),
                status: written.status,
                flags: own_flags,
                grants: given,
                groups: sources,
                boundary,
            });
        }
        if domain.by_key.insert(key, number).is_some() {
            let (what, place) = match &written.known_by {
                PrincipalName::ObjectId(text) => ("object id", text.place),
                PrincipalName::Subject(text) => ("subject", text.place),
            };
            let message = format!("another principal has the {what} of `{}` in this tenant", written.id.value);
            let help = format!("give each principal its own {}", written.known_by.key());
            report.error("duplicate_principal", place, message).help(help);
        }
    }

    /// The subtrees in which a principal exists; `None` where the domain has no boundaries.
    fn boundary(&self, written: &PrincipalDocument, report: &mut Report) -> Option<Vec<Interval>> {
        match (&written.boundary, self.document.strategy.boundary) {
            (None, false) => None,
            (None, true) => Some(Vec::new()),
            (Some(_), false) => {
                let message = format!("`{}` has a boundary, but this domain has none", written.id.value);
                let help = "set `strategy: {boundary: true}`, or remove it";
                report.error("boundary_unused", written.id.place, message).help(help);
                None
            }
            (Some(nodes), true) => {
                let nodes = nodes.iter().filter_map(|node| self.builder.node(node, report));
                Some(nodes.collect::<Vec<_>>().into_iter().filter_map(|node| self.interval(node)).collect())
            }
        }
    }

    /// The names of these groups, sorted.
    pub(super) fn names(&mut self, groups: Vec<usize>) -> Arc<[Arc<str>]> {
        if let Some(names) = self.name_lists.get(&groups) {
            return Arc::clone(names);
        }
        let mut names: Vec<Arc<str>> =
            groups.iter().filter_map(|group| self.group_names.get(*group)).cloned().collect();
        names.sort_unstable();
        let names: Arc<[Arc<str>]> = names.into();
        self.name_lists.insert(groups, Arc::clone(&names));
        names
    }

    pub(super) fn store(&mut self, grants: Vec<Grant>) -> Run {
        if let Some(run) = self.runs.get(&grants) {
            return *run;
        }
        let all = &mut self.builder.domain.grants;
        let start = u32::try_from(all.len()).unwrap_or(u32::MAX);
        all.extend(&grants);
        let run = Run { start, end: u32::try_from(all.len()).unwrap_or(u32::MAX) };
        self.runs.insert(grants, run);
        run
    }
}

/// The key of a principal, if what it is named by is what its tenant names principals by.
fn key(written: &PrincipalDocument, tenant: Option<&Tenant>, report: &mut Report) -> Option<PrincipalKey> {
    let text = written.known_by.text();
    let mismatch = |report: &mut Report, what: &str, help: &str| {
        let key = written.known_by.key();
        let message = format!("`{}` is named by `{key}`, but `{}` is {what}", written.id.value, written.tenant.value);
        report.error("wrong_principal_name", text.place, message).help(help);
        None
    };
    match (&written.known_by, tenant.map(|tenant| tenant.naming)) {
        (PrincipalName::ObjectId(_), Some(Naming::Subject(_))) => {
            let help = "write `subject: ...`: what the claim that names the issuer's callers says, `sub` as a rule";
            mismatch(report, "not a tenant of Entra ID", help)
        }
        (PrincipalName::Subject(_), Some(Naming::ObjectId)) => {
            mismatch(report, "a tenant of Entra ID", "write `oid: ...`, the object id of the user or application")
        }
        (PrincipalName::ObjectId(_), _) if text.value.parse::<Guid>().is_err() => {
            let message = format!("`{}` is no object id", text.value);
            let help = "an object id is a GUID such as 0f6f1c2e-5d3a-4c1b-9b57-3f1f3a7f9e10";
            report.error("bad_guid", text.place, message).help(help);
            None
        }
        (PrincipalName::Subject(_), _) if !is_subject(&text.value) => {
            let message = format!("the subject of `{}` cannot be one", written.id.value);
            let help = "a subject has 1 to 256 bytes and no control characters";
            report.error("bad_subject", text.place, message).help(help);
            None
        }
        (PrincipalName::ObjectId(_) | PrincipalName::Subject(_), _) => tenant?.principal(&text.value),
    }
}

/// Whether a grant counts within a boundary. A denial from outside of it still holds inside: dropping it would give
/// more.
pub(in crate::policy) fn counts(boundary: Option<&[Interval]>, grant: &Grant) -> bool {
    grant.effect == Effect::Deny || boundary.is_none_or(|nodes| nodes.iter().any(|node| node.contains(grant.scope)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;
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
        assert_eq!(p.groups.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "m", "z"]);
        assert!(Arc::ptr_eq(&p.groups, &q.groups));
        assert!(r.groups.is_empty());
    }
}
