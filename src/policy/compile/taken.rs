//! Grants documents that were taken in for one policy, for another one that has the same and other routes: a million
//! principals are neither read nor resolved again because a route has changed.
//!
//! Rights, flags and kinds of objects that only routes name are not part of it, so what comes of it is what would come of
//! the document itself, whatever routes there were before.

use std::collections::HashMap;
use std::sync::Arc;

use super::Builder;
use crate::diag::{Diagnostic, Mark, Place, Report};
use crate::document::grants::GrantsDocument;
use crate::policy::domain::{Domain, Frame};
use crate::policy::hierarchy::Interval;
use crate::policy::origins::Origins;
use crate::policy::people::{People, Tables};

/// A grants document that was taken in, with all that it names; and what it came to with the routes of then.
#[derive(Debug)]
pub struct Taken {
    ground: Arc<Ground>,
    /// Where those rights are among all that the document knows: by these the tables are sealed.
    sealed: Box<[Interval]>,
    domain: Domain,
}

/// What a document says before any route asks anything, without its principals.
#[derive(Debug)]
pub(super) struct Ground {
    builder: Builder,
    /// What was found in it, and in nothing else.
    found: Vec<Diagnostic>,
}

/// How a builder came by its document.
#[derive(Debug, Default)]
pub(super) enum Begun {
    /// It was read, and is of no use to another policy.
    #[default]
    Once,
    /// It was read.
    Anew(Arc<Ground>),
    /// It was taken in before.
    Again(Arc<Taken>),
}

/// A domain that is complete.
pub(super) struct Closed {
    pub(super) domain: Domain,
    pub(super) origins: Option<Origins>,
    pub(super) taken: Option<Arc<Taken>>,
}

impl Taken {
    /// Whether it is of a document about the same domain.
    pub fn is_of(&self, document: &GrantsDocument) -> bool {
        **self.domain.name() == *document.domain.value
    }
}

impl Builder {
    /// Goes on from what was taken in before of the same document, which may stand elsewhere among all texts.
    pub(super) fn again(taken: &Arc<Taken>, document: &GrantsDocument, report: &mut Report) -> Self {
        let source = document.domain.place.source;
        for found in &taken.ground.found {
            report.repeat(&found.clone().moved(|place| Place { source, ..place }));
        }
        Self {
            source,
            tables: taken.domain.tables.clone(),
            people: taken.domain.people.clone(),
            begun: Begun::Again(Arc::clone(taken)),
            ..taken.ground.builder.without_principals()
        }
    }

    /// Keeps what a document said, of which everything was found since `mark`. A document with faults is not kept, nor is one
    /// of whose principals something is told: their places are in texts that are not read again.
    pub(super) fn keep(&mut self, mark: Mark, report: &Report) {
        let source = self.source;
        let is_within = |found: &Diagnostic| {
            let related = found.related.iter().map(|(place, _)| *place);
            found.place.is_some() && found.place.into_iter().chain(related).all(|place| place.source == source)
        };
        if let Some(found) = report.warnings_since(mark).filter(|found| found.iter().all(is_within)) {
            let found = found.to_vec();
            self.begun = Begun::Anew(Arc::new(Ground { builder: self.without_principals(), found }));
        }
    }

    fn without_principals(&self) -> Self {
        Self {
            source: self.source,
            domain: self.domain.clone(),
            tables: Tables::default(),
            people: People::default(),
            shape: self.shape,
            nodes: Arc::clone(&self.nodes),
            carried: Arc::clone(&self.carried),
            known: self.known.clone(),
            catalogued: self.catalogued,
            said: Arc::clone(&self.said),
            routes_about: HashMap::new(),
            forbidden: 0,
            origins: None,
            order: None,
            begun: Begun::Once,
        }
    }

    /// Seals the tables by where all rights are, unless they are sealed so.
    pub(super) fn seal(&mut self) {
        let intervals = &self.domain.right_intervals;
        if let Begun::Again(taken) = &self.begun {
            if intervals.starts_with(&taken.sealed) {
                return;
            }
            // Requests are judged by the others.
            self.tables = self.tables.apart();
        }
        self.tables.seal(intervals);
    }

    /// The domain, of a frame that is complete and of tables that are sealed. Where routes name what they named before, it is
    /// the very same as before.
    pub(super) fn closed(self) -> Closed {
        let Self { domain: frame, tables, people, order, origins, begun, .. } = self;
        let ground = match begun {
            Begun::Once => None,
            Begun::Anew(ground) => Some(ground),
            Begun::Again(taken) if is_like(&taken.domain, &frame) => {
                return Closed { domain: taken.domain.clone(), origins, taken: Some(taken) };
            }
            Begun::Again(taken) => Some(Arc::clone(&taken.ground)),
        };
        let known = ground.as_ref().map_or(0, |ground| ground.builder.domain.rights.len());
        let sealed = frame.right_intervals.iter().take(known).copied().collect();
        let domain = Domain::new(frame, tables, people, order);
        let taken = ground.map(|ground| Arc::new(Taken { ground, sealed, domain: domain.clone() }));
        Closed { domain, origins, taken }
    }
}

/// Whether two frames of one document are equal: routes add names to it, and settle whether groups may take something away.
fn is_like(one: &Frame, other: &Frame) -> bool {
    let names = [
        (&one.rights, &other.rights),
        (&one.flags, &other.flags),
        (&one.kinds, &other.kinds),
        (&one.attributes, &other.attributes),
    ];
    names.into_iter().all(|(one, other)| one.are(other)) && one.mapping.may_take_away == other.mapping.may_take_away
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Located};
    use crate::model::{Guid, PrincipalKey, Tenant};
    use crate::policy::compile::{Builders, Keep};
    use crate::policy::precedence::Held;

    /// A document of rights in a tree, with somebody who holds `a` and somebody who holds `b`.
    const TREE: &str = "version: 1\ndomain: d\nstrategy: {rights: tree}\nprincipals:\n  \
                        - {id: one, tenant: t, oid: 00000000-0000-0000-0000-000000000001, grants: [a]}\n  \
                        - {id: other, tenant: t, oid: 00000000-0000-0000-0000-000000000002, grants: [b]}\n";

    /// The domain, where routes ask for these rights beside.
    fn domain(asked: &[&str], taken: Option<Arc<Taken>>) -> (Domain, Option<Arc<Taken>>) {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", TREE);
        let documents = [document::read_grants(source, &mut report).unwrap()];
        let tenants = [Tenant::of_objects("t", Guid(7))];
        let mut builders = Builders::new((&documents, &[taken]), &tenants, Keep::Decisions, &mut report);
        let name = Located::new(documents[0].domain.place, "d".to_owned());
        let (_, builder) = builders.find(&name, &mut report).unwrap();
        for right in asked {
            builder.domain.rights.intern(right);
        }
        let mut finished = builders.finish(&mut report);
        assert_eq!(report.render(), "");
        (finished.domains.0.remove(0), finished.taken.remove(0))
    }

    /// What the two hold of each right, by name.
    fn held(domain: &Domain) -> Vec<(String, [Held; 2])> {
        let people = [1, 2].map(|object| PrincipalKey { tenant: Guid(7), object: Guid(object) });
        let rights = domain.rights().map(|(right, name)| {
            let held = people.map(|key| {
                let principal = domain.principal(key).unwrap();
                domain.held(principal, right, crate::policy::domain::ScopeId::ROOT)
            });
            (name.to_owned(), held)
        });
        rights.collect()
    }

    #[test]
    fn a_right_that_only_new_routes_name_moves_nobodys_grants_to_another() {
        let (_, mut taken) = domain(&[], None);
        for asked in [&["a.x", "a.y.z"][..], &["b.x"], &[], &["a.y", "b.x", "c"], &["a.x"]] {
            let (again, next) = domain(asked, taken);
            assert_eq!(held(&again), held(&domain(asked, None).0), "{asked:?}");
            taken = next;
        }
    }

    #[test]
    fn what_routes_name_no_more_is_forgotten_and_the_same_names_make_the_same_domain() {
        let (first, taken) = domain(&["a.x"], None);
        let (same, taken) = domain(&["a.x"], taken);
        assert!(same.is_same(&first));
        let (other, taken) = domain(&["a.y"], taken);
        let names: Vec<String> = held(&other).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "a.y"]);
        assert!(!other.is_same(&same));
        assert!(domain(&["a.y"], taken).0.is_same(&other));
    }
}
