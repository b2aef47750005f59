//! The `tests:` of a candidate, run on the very tables that are to be published.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use super::feed::Fed;
use super::ground::{Ground, Spared, Tried};
use super::load::{Digest, Documents, sha256};
use super::named::read_people;
use crate::diag::Report;
use crate::document::grants::{GrantsDocument, PrincipalDocument};
use crate::document::people::{PeopleFile, read_some};
use crate::document::routes::TestDocument;
use crate::model::Tenant;
use crate::policy::Domains;
use crate::review::{self, Policy};
use crate::route::RouteMap;
use crate::source::file;

/// Runs all tests of the route maps. Those that fail are reported as errors, as are files that cannot be read for them;
/// returns how many these are.
pub(super) fn run(
    Documents { routes, mut grants, spared }: Documents,
    before: Option<&Ground>,
    (tenants, fed): (&[Tenant], &[Fed]),
    tables: (Arc<RouteMap>, Arc<Domains>),
    report: &mut Report,
) -> (usize, Tried) {
    let tests: Vec<TestDocument> = routes.iter().flat_map(|file| file.tests.iter().cloned()).collect();
    if tests.is_empty() {
        return Default::default();
    }
    let names: HashSet<String> =
        tests.iter().filter_map(|test| test.principal.as_ref()).map(|id| spelled(&id.value)).collect();
    let known = report.errors();
    let found = of_files(&mut grants, spared, (&names, before), report);
    // Of a file that cannot be read nobody was found, and whoever comes next would go by that.
    let unread = report.errors().saturating_sub(known);
    keep(&mut grants, fed, |_, id, tenant, known_by| is_named(&names, id, tenant, known_by), report);
    for document in &mut grants {
        document.principals.extend(found.get(&document.domain.value).into_iter().flatten().cloned());
    }
    let policy = Policy::for_trials((routes, grants), tenants.to_vec(), tables, sha256);
    let mut failed = unread;
    review::run(&policy, &tests, |outcome, _| {
        if !outcome.passed {
            failed += 1;
            let (id, expected, found) = (&outcome.test.id.value, outcome.expected(), outcome.in_words());
            let message = format!("the test `{id}` expects its request to be {expected}; it is {found}");
            let help = "mend the policy or the test; `portcullis test` tells which terms and grants decide";
            report.error("test_failed", outcome.test.place, message).help(help);
        }
    });
    (failed, Tried { names, found })
}

/// Those of files of principals whom tests name, by domain. Of files that were spared, those who were found before are, if
/// nobody is named who was not; otherwise they are read now.
fn of_files(
    grants: &mut [GrantsDocument],
    spared: Spared,
    (names, before): (&HashSet<String>, Option<&Ground>),
    report: &mut Report,
) -> BTreeMap<String, Vec<PrincipalDocument>> {
    let tried = before.and_then(|ground| ground.tried(names));
    let is_wanted = |id: &str, tenant: &str, known_by: &str| is_named(names, id, tenant, known_by);
    let mut all = BTreeMap::new();
    let mut spared = spared.people.into_iter();
    for document in grants {
        let mut files = mem::take(&mut document.principals_from);
        let unread = spared.next().unwrap_or_default();
        let mut found = Vec::new();
        match tried.filter(|_| !unread.is_empty()).map(|tried| tried.found.get(&document.domain.value)) {
            Some(known) => found.extend(known.into_iter().flatten().cloned()),
            None => files.extend(unread.into_iter().filter_map(|unread| read_now(unread, report))),
        }
        for people in files {
            let read = people.source.map(|source| read_some(source, people.format, is_wanted, report));
            found.extend(read.into_iter().flatten());
        }
        all.insert(document.domain.value.clone(), found);
    }
    all
}

/// Reads a file that was spared. It must still say what it said.
fn read_now((path, digest, file): (PathBuf, Digest, PeopleFile), report: &mut Report) -> Option<PeopleFile> {
    let fault = match read_people(&path, digest) {
        Ok(bytes) => return Some(PeopleFile { source: file::add_document(&path, bytes, report), ..file }),
        Err(fault) => fault,
    };
    let message = format!("cannot read `{}`: {fault}", path.display());
    report.error("unreadable_file", file.name.place, message).help("it is read again once it stays as it is");
    None
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
