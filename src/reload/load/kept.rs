//! The same documents from a copy that was kept of them, and what such a copy is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Content, Fetched, Loaded, PolicyFiles, compile, fetch};
use crate::diag::Report;
use crate::reload::last_good::Kind;
use crate::reload::named::Seen;
use crate::reload::pages::LargePages;
use crate::source::file;

/// What was read of a copy, by the paths where the files were.
#[derive(Debug, Default)]
pub(in crate::reload) struct Kept {
    pub(in crate::reload) routes: Vec<(PathBuf, Vec<u8>)>,
    pub(in crate::reload) grants: Vec<(PathBuf, Vec<u8>)>,
    /// Certificates and the like.
    pub(in crate::reload) named: BTreeMap<PathBuf, Vec<u8>>,
    /// Files of principals.
    pub(in crate::reload) people: BTreeMap<PathBuf, Vec<u8>>,
}

/// As [`load`](super::load()), from a copy and from nothing else.
pub(in crate::reload) fn load_kept(files: &PolicyFiles, kept: Kept, report: &mut Report) -> Loaded {
    let _large = LargePages::begin();
    let Kept { routes, grants, named, people } = kept;
    compile(files, Fetched { routes, grants, complete: true }, Seen::kept(named, people), None, report).0
}

/// What is done with each file.
type Visit<'v> = dyn FnMut(Kind, &Path, &[u8]) -> Result<(), String> + 'v;

/// Shows each file of `content`, read again; of those that documents name, not those that are `known`.
///
/// # Errors
/// That one does not say what it said, or what `show` says.
pub(in crate::reload) fn visit(
    files: &PolicyFiles,
    content: &Content,
    known: &dyn Fn(Kind, &Path) -> bool,
    show: &mut Visit<'_>,
) -> Result<(), String> {
    let changed = |path: &Path| format!("`{}` has changed since it was published", path.display());
    let mut report = Report::new();
    let fetched = fetch(files, &mut report);
    if report.has_errors() || fetched.digests() != content.documents {
        return Err("the documents have changed since they were published".to_owned());
    }
    for (kind, documents) in [(Kind::Routes, &fetched.routes), (Kind::Grants, &fetched.grants)] {
        documents.iter().try_for_each(|(path, bytes)| show(kind, path, bytes))?;
    }
    for (kind, path) in content.named.listed().filter(|(kind, path)| !known(*kind, path)) {
        let bytes = file::read(path, kind.most()).map_err(|_| changed(path))?;
        if !content.named.holds(kind, path, &bytes) {
            return Err(changed(path));
        }
        show(kind, path, &bytes)?;
    }
    Ok(())
}
