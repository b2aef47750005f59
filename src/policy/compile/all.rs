//! All domains of a load, side by side: each is compiled from its grants document, or goes on from what was taken in before.

use std::iter;
use std::sync::Arc;

use super::taken::Closed;
use super::{Builder, Keep, Taken, unknown};
use crate::diag::Report;
use crate::document::Located;
use crate::document::grants::GrantsDocument;
use crate::model::Tenant;
use crate::policy::domain::{DomainId, Domains};
use crate::policy::origins::Origins;

/// All domains of a load.
#[derive(Debug, Default)]
pub struct Finished {
    /// The domains, each with the number of its document.
    pub domains: Domains,
    /// The origins of each domain in turn; none unless they were to be kept.
    pub origins: Vec<Origins>,
    /// By document: what another policy can go on from, if it has the same one.
    pub taken: Vec<Option<Arc<Taken>>>,
}

/// All domains of a load, while they are compiled.
#[derive(Debug, Default)]
pub struct Builders(Vec<Builder>);

impl Builders {
    /// Takes all grants documents in; two for one domain are an error.
    /// Each of `taken` that is there stands for the document with its number, which must say, and name, what it said then;
    /// there may be fewer.
    pub fn new(
        (documents, taken): (&[GrantsDocument], &[Option<Arc<Taken>>]),
        tenants: &[Tenant],
        keep: Keep,
        report: &mut Report,
    ) -> Self {
        for (index, document) in documents.iter().enumerate() {
            let name = &document.domain;
            if let Some(first) = documents.iter().take(index).find(|other| other.domain.value == name.value) {
                let message = format!("domain `{}` has two grants documents", name.value);
                report
                    .error("duplicate_domain", name.place, message)
                    .help("merge the two into one")
                    .also(first.domain.place, "the other one");
            }
        }
        let taken = taken.iter().map(Option::as_ref).chain(iter::repeat(None));
        let builders = documents.iter().zip(taken).map(|(document, taken)| match (keep, taken) {
            (Keep::Decisions, Some(taken)) => Builder::again(taken, document, report),
            (Keep::Decisions, None) => {
                let mark = report.mark();
                let mut builder = Builder::new(document, tenants, keep, report);
                builder.keep(mark, report);
                builder
            }
            (Keep::Origins, _) => Builder::new(document, tenants, keep, report),
        });
        Self(builders.collect())
    }

    /// The domain of this name, or a report that there is none.
    pub fn find(&mut self, name: &Located<String>, report: &mut Report) -> Option<(DomainId, &mut Builder)> {
        let index = self.0.iter().position(|builder| *builder.domain.name == *name.value);
        if index.is_none() {
            let known = self.0.iter().map(|builder| &*builder.domain.name);
            let message = format!("no grants document has the domain `{}`", name.value);
            unknown(report, name.place, message, &name.value, known);
        }
        index.and_then(|index| Some((DomainId(index), self.0.get_mut(index)?)))
    }

    /// Closes the tables of all.
    pub fn finish(self, report: &mut Report) -> Finished {
        let mut finished = Finished::default();
        for builder in self.0 {
            let Closed { domain, origins, taken } = builder.close(report);
            finished.domains.0.push(domain);
            finished.origins.extend(origins);
            finished.taken.push(taken);
        }
        finished
    }
}
