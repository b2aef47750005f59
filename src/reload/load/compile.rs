//! From the texts of documents to a policy whose tests pass.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Change, Content, Decoded, Digest, Fetched, Loaded, PolicyFiles, Texts, Why, decode, sha256};
use crate::diag::{Report, SourceId};
use crate::document::grants::GrantsDocument;
use crate::document::routes::RoutesDocument;
use crate::reload::ground::{Ground, Spared};
use crate::reload::named::{Named, Seen};
use crate::reload::{certificates, feed, trials};
use crate::route::{self, Compiled, Inputs};

/// Documents as they are written.
#[derive(Default)]
pub(in crate::reload) struct Documents {
    pub(in crate::reload) routes: Vec<RoutesDocument>,
    pub(in crate::reload) grants: Vec<GrantsDocument>,
    /// The files of principals that were not read, by number of grants document.
    pub(in crate::reload) spared: Spared,
}

/// Where documents lie.
pub(in crate::reload) type Paths = HashMap<SourceId, PathBuf>;

/// What the live policy was made of, and what of it the next one can go on from.
pub(in crate::reload) type Before<'b> = (&'b Content, &'b Ground);

/// Compiles what was fetched. Grants documents that say what they said `before` are not taken in again.
pub(super) fn compile(
    files: &PolicyFiles,
    fetched: Fetched,
    mut seen: Seen,
    before: Option<Before<'_>>,
    report: &mut Report,
) -> (Loaded, Documents) {
    let documents: BTreeMap<PathBuf, Digest> = fetched.digests();
    let decoded = decode(files, fetched, report);
    if !decoded.complete {
        // Of a copy, all that there is was read already.
        if !seen.is_all() {
            decoded.with_people(report);
        }
        return Default::default();
    }
    let Decoded { routes, mut grants, directories, paths, complete: _ } = decoded;
    let mut named = Named::of(directories, &mut seen);
    let spared = before
        .map(|(content, ground)| ground.spare(content, (&mut grants, &paths), &documents, (&mut named, &mut seen)));
    let spared = spared.unwrap_or_default();
    named.read_people(&mut grants, seen, report);
    certificates::check(&routes, &named, report);
    let files_named = |name: &_| named.read(name);
    let (routes_read, grants_read, tenants) = (routes.as_slice(), grants.as_slice(), files.tenants.as_slice());
    let taken = spared.taken.as_slice();
    let inputs = Inputs { routes: routes_read, grants: grants_read, tenants, files: &files_named, taken, sha256 };
    let mut compiled = route::compile(inputs, report).filter(|_| !report.has_errors());
    let ground = compiled.as_ref().map(|compiled| Ground::of(&grants, &paths, &compiled.taken, &named));
    let fed = match &mut compiled {
        Some(compiled) => {
            if !files.feeds.is_empty() {
                // Told before any row was looked at: one of them may have the flag, now or soon.
                report.retain(|found| found.code != "unknown_flag");
            }
            feed::fill(&files.feeds, &mut compiled.domains, report)
        }
        None => Vec::new(),
    };
    let compiled = compiled.filter(|_| !report.has_errors());
    let texts = Texts::of(&documents, &named, &grants, report);
    let content = Content { documents, named: named.digests() };
    let loaded = Loaded { compiled, content, fed, texts, stale: None, ground: ground.unwrap_or_default() };
    (loaded, Documents { routes, grants, spared })
}

/// What has no faults, if its tests pass.
pub(super) fn tried(
    files: &PolicyFiles,
    (mut loaded, documents): (Loaded, Documents),
    before: Option<&Ground>,
    mut report: Report,
) -> Change {
    let Some(Compiled { routes, domains, .. }) = loaded.compiled.take() else {
        return Change::Faulty { why: Why::Faults, errors: report.errors(), report: report.render() };
    };
    let (routes, domains) = (Arc::new(routes), Arc::new(domains));
    let tables = (Arc::clone(&routes), Arc::clone(&domains));
    let (errors, tried) = trials::run(documents, before, (&files.tenants, &loaded.fed), tables, &mut report);
    let report = report.render();
    if errors > 0 {
        return Change::Faulty { why: Why::Tests, errors, report };
    }
    loaded.ground = loaded.ground.having_tried(tried);
    Change::Good { loaded: Box::new(loaded), routes, domains, report }
}
