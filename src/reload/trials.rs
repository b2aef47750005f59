//! The `tests:` of a candidate, run on the very tables that are to be published.

use std::collections::HashSet;
use std::sync::Arc;

use super::feed::Fed;
use super::load::sha256;
use crate::diag::Report;
use crate::document::grants::GrantsDocument;
use crate::document::people::read_some;
use crate::document::routes::{RoutesDocument, TestDocument};
use crate::model::Tenant;
use crate::policy::Domains;
use crate::review::{self, Policy};
use crate::route::RouteMap;

/// Runs all tests of the route maps. Those that fail are reported as errors; returns how many these are.
pub(super) fn run(
    (routes, mut grants): (Vec<RoutesDocument>, Vec<GrantsDocument>),
    (tenants, fed): (&[Tenant], &[Fed]),
    tables: (Arc<RouteMap>, Arc<Domains>),
    report: &mut Report,
) -> usize {
    let tests: Vec<TestDocument> = routes.iter().flat_map(|file| file.tests.iter().cloned()).collect();
    if tests.is_empty() {
        return 0;
    }
    let named: HashSet<String> =
        tests.iter().filter_map(|test| test.principal.as_ref()).map(|id| spelled(&id.value)).collect();
    keep(&mut grants, fed, |_, id, tenant, known_by| is_named(&named, id, tenant, known_by), report);
    let policy = Policy::for_trials((routes, grants), tenants.to_vec(), tables, sha256);
    let mut failed = 0;
    review::run(&policy, &tests, |outcome, _| {
        if !outcome.passed {
            failed += 1;
            let (id, expected, found) = (&outcome.test.id.value, outcome.expected(), outcome.in_words());
            let message = format!("the test `{id}` expects its request to be {expected}; it is {found}");
            let help = "mend the policy or the test; `portcullis test` tells which terms and grants decide";
            report.error("test_failed", outcome.test.place, message).help(help);
        }
    });
    failed
}

/// Leaves those principals that are wanted, by domain, id, tenant, and object id or subject: for requests of these, nobody
/// else tells on a decision. Principals of files are read for it line by line, so that a million take no room, and so are
/// rows of databases.
pub(super) fn keep(
    grants: &mut [GrantsDocument],
    fed: &[Fed],
    is_wanted: impl Fn(&str, &str, &str, &str) -> bool,
    report: &mut Report,
) {
    for document in grants {
        let domain = document.domain.value.clone();
        let is_wanted = |id: &str, tenant: &str, known_by: &str| is_wanted(&domain, id, tenant, known_by);
        document
            .principals
            .retain(|known| is_wanted(&known.id.value, &known.tenant.value, &known.known_by.text().value));
        for people in std::mem::take(&mut document.principals_from) {
            let read = people.source.map(|source| read_some(source, people.format, is_wanted, report));
            document.principals.extend(read.into_iter().flatten());
        }
        for one in fed.iter().filter(|one| one.domain() == domain) {
            document.principals.extend(one.some(is_wanted, report));
        }
    }
}

/// Whether a principal is one of those that are named, by id or as `TENANT/OBJECT-ID` or `TENANT/SUBJECT`.
pub(super) fn is_named(named: &HashSet<String>, id: &str, tenant: &str, known_by: &str) -> bool {
    named.contains(&spelled(id)) || named.contains(&spelled(&format!("{tenant}/{known_by}")))
}

/// The letter case of a GUID says nothing; one principal more than is named does no harm.
pub(super) fn spelled(id: &str) -> String {
    id.to_ascii_lowercase()
}
