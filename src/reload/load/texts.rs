//! The texts that a policy was made of, once the files say something else: some are kept in memory, the others may still be
//! on disk, or in the copy of the last good documents. Each is known by its digest, so it does not matter where it comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Content, Decoded, Digest, Fetched, Kept, PolicyFiles, decode, sha256};
use crate::diag::{Report, SourceId};
use crate::document::grants::GrantsDocument;
use crate::reload::behind::give_way_for;
use crate::reload::feed::{Fed, alike};
use crate::reload::last_good::{Kind, read_copy};
use crate::reload::named::{Named, Seen};
use crate::reload::trials;
use crate::review::Policy;
use crate::snapshot::Snapshot;
use crate::source::file;

/// The most that is kept in memory, in bytes.
pub(in crate::reload) const MOST: usize = 16 << 20;

/// A text that others may have too.
#[derive(Clone)]
enum Text {
    Shared(Arc<String>),
    Bytes(Arc<[u8]>),
}

impl Text {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Texts by their digests, at most [`MOST`] together.
#[derive(Clone, Default)]
pub(in crate::reload) struct Texts(BTreeMap<Digest, Text>);

impl std::fmt::Debug for Texts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets are among them.
        out.debug_tuple("Texts").field(&self.0.len()).finish()
    }
}

impl Texts {
    /// Those of a policy that was just compiled: the documents and files of principals are in `report`, all others in `named`.
    pub(super) fn of(
        documents: &BTreeMap<PathBuf, Digest>,
        named: &Named,
        grants: &[GrantsDocument],
        report: &Report,
    ) -> Self {
        let shared = |source: SourceId| (report.name(source), Text::Shared(report.text(source)));
        let people = grants.iter().flat_map(|document| &document.principals_from).filter_map(|from| from.source);
        let texts: BTreeMap<Arc<str>, Text> = named.documents().chain(people).map(shared).collect();
        let digests = documents.iter().map(|(path, digest)| (path, *digest)).chain(named.people());
        let read = digests.filter_map(|(path, digest)| {
            let text = texts.get(path.display().to_string().as_str())?;
            Some((digest, text.clone()))
        });
        let small = named.small().into_iter().map(|bytes| (sha256(&bytes), Text::Bytes(bytes.into())));
        let mut all = Self(read.chain(small).collect());
        all.shorten(|_| true);
        all
    }

    /// The same, with those of `before` that `content` was made of, too; and of what is left, as much as there is room for.
    pub(in crate::reload) fn for_live(&self, content: &Content, before: &Self) -> Self {
        let mut all = Self(before.0.clone());
        all.0.extend(self.0.clone());
        let own: Vec<Digest> = content.all().map(|(_, _, digest)| digest).collect();
        all.shorten(|digest| own.contains(digest));
        all
    }

    /// Leaves those that `content` was made of: files that were not read again have no newer text.
    pub(in crate::reload) fn retain(&mut self, content: &Content) {
        let own: Vec<Digest> = content.all().map(|(_, _, digest)| digest).collect();
        self.0.retain(|digest, _| own.contains(digest));
    }

    /// Leaves what there is room for: first what is `wanted`, the smallest first.
    fn shorten(&mut self, wanted: impl Fn(&Digest) -> bool) {
        let mut order: Vec<(bool, usize, Digest)> =
            self.0.iter().map(|(digest, text)| (!wanted(digest), text.bytes().len(), *digest)).collect();
        order.sort_unstable();
        let mut room = MOST;
        for (_, bytes, digest) in order {
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => drop(self.0.remove(&digest)),
            }
        }
    }

    /// All that a policy was made of, from wherever it still is; `None` if some of it is nowhere. `copy` is the directory of
    /// the last good documents.
    fn find(&self, files: &PolicyFiles, content: &Content, copy: Option<&Path>) -> Option<Kept> {
        let mut found = BTreeMap::new();
        let mut copied: Option<BTreeMap<PathBuf, Vec<u8>>> = None;
        for (kind, path, digest) in content.all() {
            let is = |bytes: &Vec<u8>| content.holds(kind, path, bytes);
            let kept = self.0.get(&digest).map(|text| text.bytes().to_vec()).filter(is);
            let read = || file::read(path, kind.map_or_else(most_of_documents, Kind::most)).ok().filter(is);
            let mut from_copy = || {
                let copied = copied.get_or_insert_with(|| copy.map(read_copy).unwrap_or_default());
                copied.remove(path).filter(is)
            };
            found.insert(path, kept.or_else(read).or_else(&mut from_copy)?);
        }
        let documents = |configured: &[PathBuf]| -> Vec<PathBuf> {
            let of = |path: &&PathBuf, from: &Path| *path == from || path.parent() == Some(from);
            let each = configured.iter().flat_map(|from| content.documents.keys().filter(move |path| of(path, from)));
            each.cloned().collect()
        };
        let mut kept = Kept::default();
        let mut take = |paths: Vec<PathBuf>| -> Option<Vec<(PathBuf, Vec<u8>)>> {
            paths.into_iter().map(|path| found.remove(&path).map(|bytes| (path, bytes))).collect()
        };
        (kept.routes, kept.grants) = (take(documents(&files.routes))?, take(documents(&files.grants))?);
        if kept.routes.len() + kept.grants.len() != content.documents.len() {
            return None;
        }
        for (kind, path, _) in content.all() {
            let Some(bytes) = found.remove(path) else { continue };
            match kind {
                Some(Kind::People) => kept.people.insert(path.clone(), bytes),
                _ => kept.named.insert(path.clone(), bytes),
            };
        }
        Some(kept)
    }

    /// The policy that `content` is of, compiled anew with those principals that are `wanted`, by domain and id. `live` has
    /// the rows of now. `None` if some of the texts are nowhere.
    pub(in crate::reload) fn policy(
        &self,
        (files, copy): (&PolicyFiles, Option<&Path>),
        (content, fed): (&Content, &[Fed]),
        live: &Snapshot,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Option<Result<(Policy, Report), Report>> {
        let Kept { routes, grants, named, people } = self.find(files, content, copy)?;
        let fetched = Fetched { routes, grants, complete: true };
        give_way_for(fetched.bytes());
        let mut texts = Report::new();
        let decoded = decode(files, fetched, &mut texts);
        let Decoded { routes, mut grants, directories, complete: true, .. } = decoded else { return Some(Err(texts)) };
        let mut seen = Seen::kept(named, people);
        let mut named = Named::of(directories, &mut seen);
        named.read_people(&mut grants, seen, &mut texts);
        let mut fed = fed.to_vec();
        alike(&mut fed, [&live.domains, &live.domains]);
        trials::keep(&mut grants, &fed, |domain, id, _, _| wanted(domain, id), &mut texts);
        let read = |name: &_| named.read(name);
        let policy = Policy::compile(routes, grants, files.tenants.clone(), &read, sha256, &mut texts);
        match policy.filter(|_| !texts.has_errors()) {
            Some(policy) => Some(Ok((policy, texts))),
            None => Some(Err(texts)),
        }
    }
}

/// The bytes that a document has at most.
fn most_of_documents() -> u64 {
    Kind::Routes.most().max(Kind::Grants.most())
}

impl Content {
    /// Every file with its digest, and what a document names it as.
    fn all(&self) -> impl Iterator<Item = (Option<Kind>, &PathBuf, Digest)> {
        let documents = self.documents.iter().map(|(path, digest)| (None, path, *digest));
        documents.chain(self.named.all().map(|(kind, path, digest)| (Some(kind), path, digest)))
    }

    /// Whether a file had this content.
    fn holds(&self, kind: Option<Kind>, path: &Path, bytes: &[u8]) -> bool {
        match kind {
            Some(kind) => self.named.holds(kind, path, bytes),
            None => self.documents.get(path).is_some_and(|known| sha256(bytes) == *known),
        }
    }
}
