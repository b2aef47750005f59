//! What comes of an entry about a principal: its profile and its bundles.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::roles::{self, Given};
use super::{text, unknown};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::grants::{GrantDocument, PrincipalDocument, PrincipalName, RightsShape};
use crate::model::tenant::is_subject;
use crate::model::{Effect, Guid, Naming, PrincipalKey, Status, Tenant};
use crate::policy::domain::{FlagId, RightId, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::people::{Bundle, BundleId, Profile, ProfileId, Tables};
use crate::policy::precedence::Grant;

/// Where names become numbers.
pub(super) trait Names {
    /// Finds a node by its full name, or reports that there is none.
    fn node(&self, name: &Located<String>, report: &mut Report) -> Option<ScopeId>;

    /// A node and everything below it.
    fn interval(&self, node: ScopeId) -> Option<Interval>;

    /// The right that an entry names, or a report of what is wrong with it.
    fn right<T>(&mut self, written: &Located<T>, name: &str, report: &mut Report) -> Option<RightId>;

    /// The flag of this name, or a report that there is none.
    fn flag(&mut self, name: &Located<String>, report: &mut Report) -> Option<FlagId>;
}

/// What entries about principals may name, beside nodes, rights and flags.
#[derive(Debug, Default)]
pub struct Vocabulary {
    pub(super) nodes: Arc<HashMap<Arc<str>, ScopeId>>,
    pub(super) roles: HashMap<String, Vec<Given>>,
    pub(super) groups: HashMap<String, Group>,
    /// By number: the names of groups.
    pub(super) group_names: Vec<Arc<str>>,
    /// By number: what groups grant themselves.
    pub(super) group_grants: Vec<Vec<BundleId>>,
    pub(super) tenants: HashMap<String, Tenant>,
    /// Whether principals exist in subtrees only.
    pub(super) boundary: bool,
    /// The shape of rights' names.
    pub(super) shape: RightsShape,
    /// Whether a right must be known to be named.
    pub(super) catalogued: bool,
}

/// A group with all that it inherits.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) flags: u128,
    pub(super) inactive: bool,
    /// Itself and every group above it, by number.
    pub(super) sources: Vec<usize>,
}

/// Lists that are stored already.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Names of groups, by the numbers of the groups.
    names: HashMap<Vec<usize>, Arc<[Arc<str>]>>,
    grants: HashSet<Arc<[BundleId]>>,
}

impl Lists {
    /// The names of these groups, sorted.
    pub(super) fn names(&mut self, groups: &[usize], vocabulary: &Vocabulary) -> Arc<[Arc<str>]> {
        if let Some(names) = self.names.get(groups) {
            return Arc::clone(names);
        }
        let names = groups.iter().filter_map(|group| vocabulary.group_names.get(*group));
        let mut names: Vec<Arc<str>> = names.cloned().collect();
        names.sort_unstable();
        let names: Arc<[Arc<str>]> = names.into();
        self.names.insert(groups.to_vec(), Arc::clone(&names));
        names
    }

    /// Bundles in any order and any number of times, as a source stores them.
    pub(super) fn grants(&mut self, mut bundles: Vec<BundleId>) -> Arc<[BundleId]> {
        bundles.sort_unstable();
        bundles.dedup();
        if let Some(known) = self.grants.get(bundles.as_slice()) {
            return Arc::clone(known);
        }
        let bundles: Arc<[BundleId]> = bundles.into();
        self.grants.insert(Arc::clone(&bundles));
        bundles
    }
}

/// What one entry of grants gives: the same at each of some nodes.
#[derive(Debug)]
pub(super) struct Gives<'g> {
    /// Where the entry stands.
    pub(super) place: Place,
    /// The role that it names, if it names one.
    pub(super) role: Option<&'g str>,
    pub(super) rights: Cow<'g, [Given]>,
    pub(super) at: Vec<Interval>,
}

/// What an entry about a principal comes to.
#[derive(Debug)]
pub(super) struct Resolved<'g> {
    /// The key and the profile; `None` if the entry names nobody who could be stored.
    pub(super) stored: Option<(PrincipalKey, ProfileId)>,
    /// What counts of its own grants.
    pub(super) own: Vec<BundleId>,
    /// Its own grants as they are written.
    pub(super) gives: Vec<Gives<'g>>,
    /// Its own flags.
    pub(super) flags: u128,
    /// Its groups and all groups above those, by number.
    pub(super) groups: Vec<usize>,
    /// The subtrees in which it exists; `None` where the domain has no boundaries.
    pub(super) boundary: Option<Vec<Interval>>,
}

/// Resolves entries against a vocabulary.
#[derive(Debug)]
pub(super) struct Resolver<'r, N> {
    pub(super) names: &'r mut N,
    pub(super) tables: &'r mut Tables,
    pub(super) lists: &'r mut Lists,
    pub(super) vocabulary: &'r Vocabulary,
}

impl<'r, N: Names> Resolver<'r, N> {
    /// All that an entry says. Its faults are reported.
    pub(super) fn principal<'g>(&mut self, written: &'g PrincipalDocument, report: &mut Report) -> Resolved<'g>
    where
        'r: 'g,
    {
        let vocabulary = self.vocabulary;
        let tenant = vocabulary.tenants.get(&written.tenant.value);
        if tenant.is_none() {
            let message = format!("gateway.yaml has no tenant `{}`", written.tenant.value);
            let known = vocabulary.tenants.keys().map(String::as_str);
            unknown(report, written.tenant.place, message, &written.tenant.value, known);
        }
        let key = key(written, tenant, report);
        let boundary = self.boundary(&written.id, written.boundary.as_deref(), report);
        let flags = self.flags(&written.flags, report);
        let groups = self.groups(&written.groups, report);
        let gives: Vec<Gives<'g>> = written.grants.iter().filter_map(|grant| self.gives(grant, report)).collect();
        let own = gives.iter().flat_map(|gives| self.bundles(gives, boundary.as_deref())).collect();
        let stored = key.map(|key| {
            let profile = self.profile(key.tenant, written.status, flags, &groups, boundary.as_deref());
            (key, profile)
        });
        Resolved { stored, own, gives, flags, groups: groups.sources, boundary }
    }

    /// The profile of a principal of a tenant that has this state and these flags itself.
    pub(super) fn profile(
        &mut self,
        tenant: Guid,
        status: Status,
        flags: u128,
        groups: &Group,
        boundary: Option<&[Interval]>,
    ) -> ProfileId {
        let mut of_groups = Vec::new();
        for group in &groups.sources {
            let grants = self.vocabulary.group_grants.get(*group).map_or(&[][..], |grants| grants);
            let grants: Vec<BundleId> = grants.iter().filter_map(|bundle| self.bounded(*bundle, boundary)).collect();
            if !grants.is_empty() {
                of_groups.push(self.lists.grants(grants));
            }
        }
        let barred = groups.inactive && status == Status::Active;
        self.tables.intern_profile(Profile {
            tenant,
            status: if barred { Status::Inactive } else { status },
            flags: flags | groups.flags,
            groups: self.lists.names(&groups.sources, self.vocabulary),
            of_groups: of_groups.into(),
        })
    }

    /// These groups, with all above them, as if they were one.
    pub(super) fn groups(&self, names: &[Located<String>], report: &mut Report) -> Group {
        let mut all = Group::default();
        let known = &self.vocabulary.groups;
        for name in names {
            let Some(group) = known.get(&name.value) else {
                let message = format!("there is no group `{}`", name.value);
                unknown(report, name.place, message, &name.value, known.keys().map(String::as_str));
                continue;
            };
            all.flags |= group.flags;
            all.inactive |= group.inactive;
            all.sources.extend(&group.sources);
        }
        all.sources.sort_unstable();
        all.sources.dedup();
        all
    }

    pub(super) fn flags(&mut self, names: &[Located<String>], report: &mut Report) -> u128 {
        let flags = names.iter().filter_map(|name| self.names.flag(name, report));
        flags.map(FlagId::mask).fold(0, |all, flag| all | flag)
    }

    /// What one entry of grants gives; nothing if it has a fault that leaves nothing of it.
    pub(super) fn gives<'g>(&mut self, grant: &'g GrantDocument, report: &mut Report) -> Option<Gives<'g>>
    where
        'r: 'g,
    {
        match grant {
            GrantDocument::Right(written) => {
                let parts = text::split(&written.value);
                let node = match parts.at {
                    None => self.at(&[], report),
                    Some(at) => self.at(&[Located::new(written.place, at.to_owned())], report),
                };
                let given = roles::given(self.names, written, report)?;
                Some(Gives { place: written.place, role: None, rights: vec![given].into(), at: node })
            }
            GrantDocument::Role { role, at, place } => {
                let known = &self.vocabulary.roles;
                let Some(given) = known.get(&role.value) else {
                    let message = format!("there is no role `{}`", role.value);
                    unknown(report, role.place, message, &role.value, known.keys().map(String::as_str));
                    return None;
                };
                let at = self.at(at, report);
                Some(Gives { place: *place, role: Some(&role.value), rights: given.as_slice().into(), at })
            }
            GrantDocument::Rights { rights, at, place } => {
                let mut given = Vec::new();
                for written in rights {
                    if text::split(&written.value).at.is_some() {
                        let message = "a right in `rights:` has its nodes in `at:`";
                        report.error("bad_grant", written.place, message).help("move the node to `at:`");
                    }
                    given.extend(roles::given(self.names, written, report));
                }
                let at = self.at(at, report);
                Some(Gives { place: *place, role: None, rights: given.into(), at })
            }
        }
    }

    /// These nodes; none named means the root.
    fn at(&self, names: &[Located<String>], report: &mut Report) -> Vec<Interval> {
        if names.is_empty() {
            return self.names.interval(ScopeId::ROOT).into_iter().collect();
        }
        self.nodes(names, report)
    }

    fn nodes(&self, names: &[Located<String>], report: &mut Report) -> Vec<Interval> {
        let nodes = names.iter().filter_map(|name| self.names.node(name, report));
        nodes.filter_map(|node| self.names.interval(node)).collect()
    }

    /// What counts of an entry within a boundary: one bundle for each node.
    pub(super) fn bundles(&mut self, gives: &Gives<'_>, boundary: Option<&[Interval]>) -> Vec<BundleId> {
        gives.at.iter().filter_map(|scope| self.bundle(&gives.rights, *scope, boundary)).collect()
    }

    fn bundle(&mut self, rights: &[Given], scope: Interval, boundary: Option<&[Interval]>) -> Option<BundleId> {
        let grant = |(right, effect): &Given| {
            let right = Interval { first: right.0, end: right.0 };
            Grant { scope, right, effect: *effect }
        };
        let rights: Vec<Given> = rights.iter().copied().filter(|given| counts(boundary, &grant(given))).collect();
        if rights.is_empty() {
            return None;
        }
        let gift = self.tables.intern_gift(&rights);
        Some(self.tables.intern_bundle(Bundle { scope, gift }))
    }

    /// What counts of a bundle within a boundary.
    fn bounded(&mut self, id: BundleId, boundary: Option<&[Interval]>) -> Option<BundleId> {
        if boundary.is_none() {
            return Some(id);
        }
        let Some(bundle) = self.tables.bundle(id).copied() else { return Some(id) };
        let rights = self.tables.gift(bundle.gift).map_or_else(Vec::new, |gift| gift.rights().to_vec());
        self.bundle(&rights, bundle.scope, boundary)
    }

    /// The subtrees in which the principal of this id exists; `None` where the domain has no boundaries.
    pub(super) fn boundary(
        &self,
        id: &Located<String>,
        written: Option<&[Located<String>]>,
        report: &mut Report,
    ) -> Option<Vec<Interval>> {
        match (written, self.vocabulary.boundary) {
            (None, false) => None,
            (None, true) => Some(Vec::new()),
            (Some(_), false) => {
                let message = format!("`{}` has a boundary, but this domain has none", id.value);
                let help = "set `strategy: {boundary: true}`, or remove it";
                report.error("boundary_unused", id.place, message).help(help);
                None
            }
            (Some(nodes), true) => Some(self.nodes(nodes, report)),
        }
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
