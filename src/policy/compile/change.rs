//! One principal of a domain changed while all else stays: a domain that shares the rest with the one before.

use std::sync::Arc;

use super::entries::{Lists, Names, Resolved, Resolver};
use super::unknown;
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::grants::PrincipalDocument;
use crate::model::PrincipalKey;
use crate::policy::domain::{Domain, DomainId, Domains, FlagId, Frame, RightId, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::people::{BundleId, Chunk, Doubles, People, ProfileId};

/// The names that a compiled domain knows. New ones need a reload.
struct Known<'d>(&'d Frame);

impl Names for Known<'_> {
    fn node(&self, name: &Located<String>, report: &mut Report) -> Option<ScopeId> {
        let nodes = &self.0.vocabulary.nodes;
        let found = nodes.get(name.value.as_str()).copied();
        if found.is_none() {
            let names = nodes.keys().map(|name| &**name);
            unknown(report, name.place, format!("there is no scope node `{}`", name.value), &name.value, names);
        }
        found
    }

    fn interval(&self, node: ScopeId) -> Option<Interval> {
        self.0.scope_entry(node).map(|(_, interval)| *interval)
    }

    fn right<T>(&mut self, written: &Located<T>, name: &str, report: &mut Report) -> Option<RightId> {
        self.find("right", self.0.rights.find(name), self.0.rights.all(), (name, written.place), report).map(RightId)
    }

    fn flag(&mut self, name: &Located<String>, report: &mut Report) -> Option<FlagId> {
        let (flags, named) = (&self.0.flags, (name.value.as_str(), name.place));
        let number = self.find("flag", flags.find(&name.value), flags.all(), named, report)?;
        u8::try_from(number).ok().map(FlagId)
    }
}

impl Known<'_> {
    fn find(
        &self,
        what: &str,
        found: Option<u32>,
        known: &[Arc<str>],
        (name, place): (&str, Place),
        report: &mut Report,
    ) -> Option<u32> {
        if found.is_none() {
            let message = format!("the domain `{}` has no {what} `{name}`", self.0.name);
            unknown(report, place, message, name, known.iter().map(|known| &**known));
        }
        found
    }
}

impl Domain {
    /// The same domain with this principal added, or in place of the one with its key. The entry may name what the domain
    /// knows: its nodes, roles, groups, rights and flags. Principals are no longer numbered in the outcome.
    ///
    /// To give somebody another id, all ids have to be looked at; to change what somebody holds, none.
    ///
    /// # Errors
    /// `None` if the entry has a fault; all of them are in the report then.
    pub fn with_principal(&self, written: &PrincipalDocument, report: &mut Report) -> Option<Self> {
        let before = report.errors();
        let mut tables = self.tables.clone();
        let mut resolver = Resolver {
            names: &mut Known(self),
            tables: &mut tables,
            lists: &mut Lists::default(),
            vocabulary: &self.vocabulary,
        };
        let Resolved { stored, own, .. } = resolver.principal(written, report);
        let (key, profile) = stored?;
        let id = written.id.value.as_str();
        if self.id_is_taken(id, key) {
            report
                .error("duplicate_principal", written.id.place, format!("another principal has the id `{id}`"))
                .help("give each principal its own id");
        }
        if report.errors() > before {
            return None;
        }
        tables.seal(&self.right_intervals);
        let people = self.people.with(key, Some((profile, &own, id)), &tables);
        Some(self.around(tables, people))
    }

    /// The same of a principal whose profile and bundles are known by their numbers in this domain. `None` if the domain
    /// has no such profile or bundle, the profile is of another tenant, or another principal has the id.
    pub fn with_numbers(&self, key: PrincipalKey, profile: ProfileId, own: &[BundleId], id: &str) -> Option<Self> {
        let tenant = self.tables.profile(profile)?.tenant;
        let known = own.iter().all(|bundle| self.tables.bundle(*bundle).is_some());
        if tenant != key.tenant || !known || self.id_is_taken(id, key) {
            return None;
        }
        let people = self.people.with(key, Some((profile, own, id)), &self.tables);
        Some(self.around(self.tables.clone(), people))
    }

    /// The same domain without the principal with this key; `None` if there is none.
    pub fn without_principal(&self, key: PrincipalKey) -> Option<Self> {
        self.principal(key)?;
        Some(self.around(self.tables.clone(), self.people.with(key, None, &self.tables)))
    }

    /// The same domain with these principals in place of all that it has, stored on up to so many threads. Profiles and
    /// bundles are those of this domain.
    pub fn with_people(&self, chunks: &[Chunk], threads: usize) -> (Self, Doubles) {
        let (people, doubles) = People::build(chunks, &self.tables, threads);
        (self.around(self.tables.clone(), people), doubles)
    }

    /// The store of its principals.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Whether anybody but the principal with this key has an id.
    fn id_is_taken(&self, id: &str, key: PrincipalKey) -> bool {
        if self.principal(key).is_some_and(|principal| principal.id() == id) {
            return false;
        }
        self.people.iter(&self.tables).any(|principal| principal.id() == id && principal.key() != key)
    }
}

impl Domains {
    /// The same domains with another one in the place of this; the next generation of them.
    pub fn with(&self, id: DomainId, domain: Domain) -> Self {
        let mut domains = self.0.clone();
        domains.get_mut(id.0).into_iter().for_each(|place| *place = domain.clone());
        Self(domains, self.1.saturating_add(1))
    }

    /// The domain of this name.
    pub fn find(&self, name: &str) -> Option<(DomainId, &Domain)> {
        let mut all = self.0.iter().enumerate();
        all.find(|(_, domain)| *domain.name == *name).map(|(number, domain)| (DomainId(number), domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, grants::GrantsDocument};
    use crate::model::{Guid, Level, Status, Tenant};
    use crate::policy::{Builder, Held, Keep, Principal};

    const HEAD: &str = "version: 1\ndomain: d\nrights: [view, edit]\nimplies: {edit: [view]}\n\
                        scopes: {forest: {\"n:a\": root, \"n:a1\": \"n:a\", \"n:b\": root}}\n\
                        roles: {clerk: {rights: [\"view:read\"]}}\n\
                        groups: {g: {flags: [f], grants: [\"view:deny @n:b\"]}}\nprincipals:\n";

    fn document(people: &str) -> GrantsDocument {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", format!("{HEAD}{people}"));
        let document = document::read_grants(source, &mut report);
        assert_eq!(report.render(), "");
        document.unwrap()
    }

    fn compiled(people: &str) -> Domain {
        let mut report = Report::new();
        let tenants = [Tenant::of_objects("t", Guid(7))];
        let domain = Builder::new(&document(people), &tenants, Keep::Decisions, &mut report).finish(&mut report).0;
        assert_eq!(report.render(), "");
        domain
    }

    fn entry(number: u8, rest: &str) -> String {
        format!("  - {{id: p{number}, tenant: t, oid: 00000000-0000-0000-0000-{number:012x}{rest}}}\n")
    }

    const fn key(number: u128) -> PrincipalKey {
        PrincipalKey { tenant: Guid(7), object: Guid(number) }
    }

    /// Everything that is held by the first three, with their ids, states and groups.
    fn everything(domain: &Domain) -> Vec<String> {
        let people = (1..=3).filter_map(|number| domain.principal(key(number)));
        people.map(|principal| all_of(domain, principal)).collect()
    }

    fn all_of(domain: &Domain, principal: Principal<'_>) -> String {
        let (id, status, groups) = (principal.id(), principal.status(), principal.groups());
        let pairs = domain.rights().flat_map(|(right, _)| domain.scopes().map(move |(scope, _)| (right, scope)));
        let held: Vec<Held> = pairs.map(|(right, scope)| domain.held(principal, right, scope)).collect();
        let flags: Vec<bool> = domain.flags().map(|(flag, _)| domain.bears(principal, flag)).collect();
        format!("{id} {status:?} {groups:?} {flags:?} {held:?}")
    }

    #[test]
    fn a_changed_domain_is_what_a_domain_with_the_changed_entry_is() {
        let one = entry(1, ", grants: [{role: clerk, at: \"n:a\"}]");
        let other = entry(2, ", groups: [g], grants: [view, \"edit @n:b\"]");
        let changes = [
            // added
            entry(
                3,
                ", flags: [f], grants: [\"edit:write @n:a1\", \"view @n:b\", {role: clerk, at: [\"n:a\", \"n:b\"]}]",
            ),
            // other grants, none, another group, another state
            entry(1, ", grants: [\"edit @n:a1\"]"),
            entry(1, ""),
            entry(2, ", grants: [view, \"edit @n:b\"]"),
            entry(1, ", groups: [g], status: inactive"),
        ];
        for change in changes {
            let domain = compiled(&format!("{one}{other}"));
            let before = everything(&domain);
            let written = document(&change).principals.remove(0);
            let mut report = Report::new();
            let changed = domain.with_principal(&written, &mut report).unwrap();
            let kept = [&one, &other].into_iter().filter(|entry| entry[..11] != change[..11]).map(String::as_str);
            let whole = compiled(&format!("{}{change}", kept.collect::<String>()));
            assert_eq!(everything(&changed), everything(&whole), "{change}");
            assert_eq!(changed.counts(), whole.counts(), "{change}");
            assert_eq!(everything(&domain), before, "the domain before is as it was");
        }
    }

    #[test]
    fn a_principal_that_is_removed_is_nobody() {
        let domain = compiled(&entry(1, ", grants: [view]"));
        let without = domain.without_principal(key(1)).unwrap();
        assert!(without.principal(key(1)).is_none());
        assert_eq!(without.counts(), (0, 0));
        assert!(without.without_principal(key(1)).is_none());
        assert!(domain.principal(key(1)).is_some());
    }

    #[test]
    fn what_the_domain_does_not_know_is_an_error_and_changes_nothing() {
        let domain = compiled(&format!("{}{}", entry(1, ""), entry(2, "")));
        for (change, message) in [
            (entry(1, ", grants: [veiw]"), "the domain `d` has no right `veiw`"),
            (entry(1, ", grants: [\"view @n:c\"]"), "there is no scope node `n:c`"),
            (entry(1, ", grants: [{role: clark}]"), "there is no role `clark`"),
            (entry(1, ", groups: [h]"), "there is no group `h`"),
            (entry(1, ", flags: [x]"), "the domain `d` has no flag `x`"),
            (entry(1, ", boundary: [\"n:a\"]"), "`p1` has a boundary, but this domain has none"),
            (entry(1, "").replace("tenant: t", "tenant: s"), "gateway.yaml has no tenant `s`"),
            (entry(1, "").replace("id: p1", "id: p2"), "another principal has the id `p2`"),
        ] {
            let written = document(&change).principals.remove(0);
            let mut report = Report::new();
            assert!(domain.with_principal(&written, &mut report).is_none(), "{change}");
            assert!(report.render().contains(message), "{change}: {}", report.render());
        }
    }

    #[test]
    fn numbers_of_a_domain_make_a_principal_of_it() {
        let domain = compiled(&entry(1, ", grants: [\"view:write @n:a\"]"));
        let like = domain.principal(key(1)).unwrap();
        let (profile, own) = (like.profile(), like.own());
        let changed = domain.with_numbers(key(2), profile, own, "p2").unwrap();
        let view = changed.find_right("view").unwrap();
        let node = changed.find_scope("n:a1").unwrap();
        let found = changed.principal(key(2)).unwrap();
        assert_eq!((found.id(), found.status()), ("p2", Status::Active));
        assert_eq!(changed.held(found, view, node), Held::Up(Level::Write));
        let elsewhere = PrincipalKey { tenant: Guid(8), object: Guid(2) };
        assert!(domain.with_numbers(elsewhere, profile, own, "p2").is_none(), "a profile of another tenant");
        assert!(domain.with_numbers(key(2), profile, own, "p1").is_none(), "the id of another");
        let more = compiled(&entry(1, ", grants: [\"view @n:a\", \"view @n:a1\"]"));
        let foreign = more.principal(key(1)).unwrap().own();
        assert!(domain.with_numbers(key(2), profile, foreign, "p2").is_none(), "bundles of another domain");
    }
}
