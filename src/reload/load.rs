//! Reads all live documents and compiles them; knows from their content whether they say anything new.

mod compile;
mod kept;
mod shape;
mod texts;

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::behind::give_way_for;
use super::certificates;
use super::feed::{Fed, Feed};
use super::ground::Ground;
use super::last_good::{Kind, Written};
use super::named::{Digests, Named, Seen, Within};
use super::pages::LargePages;
use crate::courtesy::in_turns;
use crate::diag::{Report, SourceId};
use crate::document;
use crate::document::Limits;
use crate::document::grants::GrantsDocument;
use crate::document::people::read_people;
use crate::document::routes::RoutesDocument;
use crate::model::Tenant;
use crate::policy::Domains;
use crate::review::Policy;
use crate::route::{Compiled, RouteMap};
use crate::source::file;

pub(super) use compile::{Before, Documents, Paths};
pub(super) use kept::{Kept, load_kept, visit};
pub use shape::{check_shape, read_documents};
pub(super) use texts::Texts;

use compile::{compile, tried};

/// Where the live documents are, and what they may refer to.
#[derive(Clone, Debug, Default)]
pub struct PolicyFiles {
    /// Route maps: files, or directories of `*.yaml` and `*.yml`.
    pub routes: Vec<PathBuf>,
    /// Grants: files, or directories of `*.yaml` and `*.yml`.
    pub grants: Vec<PathBuf>,
    /// The tenants and issuers that gates and principals may name.
    pub tenants: Vec<Tenant>,
    /// The databases that feed domains, one for a domain.
    pub feeds: Vec<Arc<Feed>>,
}

pub(super) type Digest = [u8; 32];

/// Bytes that are digested in one turn of the thread.
const TURN: usize = 1 << 20;

/// What was read for a policy, as SHA-256 of each file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    documents: BTreeMap<PathBuf, Digest>,
    /// Files that the documents name, such as certificate authorities.
    named: Digests,
}

impl Content {
    /// Whether this is what was read now: the documents, and later what they name.
    pub(super) fn is_of(&self, fetched: &Fetched) -> bool {
        fetched.complete && fetched.digests() == self.documents
    }

    /// What a document said.
    pub(super) fn of_document(&self, path: &Path) -> Option<Digest> {
        self.documents.get(path).copied()
    }

    /// What a file of principals said.
    pub(super) fn of_people(&self, path: &Path) -> Option<Digest> {
        self.named.of_people(path)
    }

    #[cfg(test)]
    pub(super) fn people_still_hold(&self, seen: &mut Seen) -> bool {
        self.named.still_hold(seen)
    }

    /// See [`is_of`](Self::is_of).
    pub(super) fn names(&self, named: Named) -> bool {
        named.digests() == self.named
    }

    /// Files that the documents name, and as what.
    pub(super) fn listed(&self) -> impl Iterator<Item = (Kind, &PathBuf)> {
        self.named.listed()
    }

    /// Files that the documents name.
    pub fn named(&self) -> impl Iterator<Item = PathBuf> {
        self.named.paths().cloned()
    }

    /// One SHA-256 of all of it, in hexadecimal digits: over those of the documents and of the files that they name, each
    /// in the order of their paths. Where the files are does not count.
    pub(super) fn digest(&self) -> String {
        let mut all = Vec::new();
        for digests in [self.documents.values().collect(), self.named.small(), self.named.people()] {
            all.extend(digests.len().to_be_bytes());
            digests.into_iter().for_each(|digest| all.extend(digest));
        }
        hex(&sha256(&all))
    }

    /// Whether all files still read so. What had to be read of files of principals goes to `seen`.
    fn still_holds(&self, documents: &BTreeMap<PathBuf, Digest>, seen: &mut Seen) -> bool {
        *documents == self.documents && self.named.still_hold(seen)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came of reading and compiling.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policy; `None` when the report has errors. Taken out by whoever publishes it.
    pub compiled: Option<Compiled>,
    /// What it was made of.
    pub content: Content,
    /// The domains that databases feed, with the rows that they had.
    pub(super) fed: Vec<Fed>,
    /// The texts that it was made of, as far as they are kept.
    pub(super) texts: Texts,
    /// The copy that it was made of, where the files could not be used.
    pub stale: Option<Written>,
    /// What the next one can go on from.
    pub(super) ground: Ground,
}

/// Reads all documents and compiles them; every fault of every file goes to `report`. If a document cannot be read
/// at all, the others are checked for shape only: the names that it would have defined would all seem unknown.
pub fn load(files: &PolicyFiles, report: &mut Report) -> Loaded {
    let _large = LargePages::begin();
    let fetched = fetch(files, report);
    compile(files, fetched, Seen::default(), None, report).0
}

/// As [`load`], for those who want the policy only.
pub fn load_policy(files: &PolicyFiles, report: &mut Report) -> Option<Compiled> {
    load(files, report).compiled
}

/// As [`load_policy`], with the documents and the places of everything in them, for operators' tools.
pub fn load_for_review(files: &PolicyFiles, report: &mut Report) -> Option<Policy> {
    let fed = if files.feeds.is_empty() { Vec::new() } else { load(files, report).fed };
    if fed.len() != files.feeds.len() || report.has_errors() {
        return None;
    }
    let fetched = fetch(files, report);
    let (decoded, named) = decode(files, fetched, report).with_people(report);
    let Decoded { routes, mut grants, complete: true, .. } = decoded else { return None };
    for one in &fed {
        let mut written = grants.iter_mut().filter(|document| document.domain.value == one.domain());
        written.by_ref().for_each(|document| document.principals.extend(one.documents(report)));
    }
    certificates::check(&routes, &named, report);
    Policy::compile(routes, grants, files.tenants.clone(), &|name| named.read(name), sha256, report)
}

/// Why files are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They have faults.
    Faults,
    /// They have none, but some of their `tests:` fail.
    Tests,
}

impl Why {
    /// The word that logs and answers use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Tests => "tests",
        }
    }
}

/// What a look at the files brought.
pub(super) enum Change {
    /// They say what they said.
    None,
    /// They say what was gone back from.
    Passed,
    /// They can be published.
    Good { loaded: Box<Loaded>, routes: Arc<RouteMap>, domains: Arc<Domains>, report: String },
    /// They cannot.
    Faulty { why: Why, errors: usize, report: String },
}

/// What the files say now; `known` is what they said last.
pub(super) fn content_now(files: &PolicyFiles, known: &Content) -> Content {
    let mut report = Report::new();
    let fetched = fetch(files, &mut report);
    let mut seen = Seen::default();
    if !report.has_errors() && known.still_holds(&fetched.digests(), &mut seen) {
        return known.clone();
    }
    // Which files they name is only known by reading them.
    let _large = LargePages::begin();
    compile(files, fetched, seen, None, &mut report).0.content
}

/// Loads, unless everything reads as it did when what is live was loaded, or as in `passed`, which was gone back from. Where
/// that is `trusting`, files of principals are not read to know that they are what they were.
pub(super) fn load_if_changed(
    files: &PolicyFiles,
    (known, ground): Before<'_>,
    passed: Option<&Content>,
    trusting: bool,
) -> Change {
    let _large = LargePages::begin();
    let mut report = Report::new();
    let fetched = fetch(files, &mut report);
    give_way_for(fetched.bytes());
    let mut seen = if trusting { Seen::stamped(ground.stamped(known)) } else { Seen::default() };
    if !report.has_errors() {
        let documents = fetched.digests();
        if known.still_holds(&documents, &mut seen) {
            return Change::None;
        }
        if passed.is_some_and(|passed| passed.still_holds(&documents, &mut seen)) {
            return Change::Passed;
        }
    }
    let compiled = compile(files, fetched, seen, Some((known, ground)), &mut report);
    match &compiled.0 {
        // A file was away or half written at the first look, and back when it was read.
        Loaded { compiled: Some(_), content, .. } if content == known => Change::None,
        Loaded { compiled: Some(_), content, .. } if passed == Some(content) => Change::Passed,
        _ => tried(files, compiled, Some(ground), report),
    }
}

/// Loads a policy that is not to be published, of which no file may be read from elsewhere.
pub(super) fn load_within(files: &PolicyFiles, within: Within) -> Change {
    let _large = LargePages::begin();
    let mut report = Report::new();
    for path in files.routes.iter().chain(&files.grants) {
        // A file that is missing is told by whoever reads it.
        let documents = file::documents(path).unwrap_or_default();
        let there = documents.iter().filter(|path| path.exists());
        for fault in there.filter_map(|path| within.check(Kind::Routes, path).err()) {
            report.error("unreadable_file", None, format!("cannot read `{}`: {fault}", path.display()));
        }
    }
    if report.has_errors() {
        return Change::Faulty { why: Why::Faults, errors: report.errors(), report: report.render() };
    }
    let fetched = fetch(files, &mut report);
    give_way_for(fetched.bytes());
    let compiled = compile(files, fetched, Seen::nothing_but(within), None, &mut report);
    tried(files, compiled, None, report)
}

/// The texts of all documents.
pub(super) struct Fetched {
    routes: Vec<(PathBuf, Vec<u8>)>,
    grants: Vec<(PathBuf, Vec<u8>)>,
    /// Whether every file could be read.
    complete: bool,
}

impl Fetched {
    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.routes.iter().chain(&self.grants).map(|(_, bytes)| bytes.len()).sum()
    }

    fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        self.routes.iter().chain(&self.grants).map(|(path, bytes)| (path.clone(), sha256(bytes))).collect()
    }
}

pub(super) fn fetch(files: &PolicyFiles, report: &mut Report) -> Fetched {
    let before = report.errors();
    let routes = fetch_all(&files.routes, &Limits::default(), report);
    let grants = fetch_all(&files.grants, &Limits::grants(), report);
    Fetched { routes, grants, complete: report.errors() == before }
}

fn fetch_all(paths: &[PathBuf], limits: &Limits, report: &mut Report) -> Vec<(PathBuf, Vec<u8>)> {
    let mut fetched = Vec::new();
    for path in paths {
        match file::documents(path) {
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", path.display());
                let help = "it must be a file, or a directory of `*.yaml` files, that this process may read";
                report.error("unreadable_file", None, message).help(help);
            }
            Ok(documents) => {
                for document in documents {
                    fetched.extend(file::fetch(&document, limits, report).map(|bytes| (document, bytes)));
                }
            }
        }
    }
    fetched
}

/// All documents as they are written.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) routes: Vec<RoutesDocument>,
    pub(super) grants: Vec<GrantsDocument>,
    /// Where relative paths of each document start.
    pub(super) directories: HashMap<SourceId, PathBuf>,
    /// Where each document lies.
    pub(super) paths: Paths,
    /// Whether a document could be made of every file.
    pub(super) complete: bool,
}

impl Decoded {
    /// Puts the principals of files among those of the documents that name the files.
    fn with_people(mut self, report: &mut Report) -> (Self, Named) {
        let mut named = Named::new(mem::take(&mut self.directories));
        named.read_people(&mut self.grants, Seen::default(), report);
        for document in &mut self.grants {
            for people in mem::take(&mut document.principals_from) {
                let read = people.source.map(|source| read_people(source, people.format, report));
                document.principals.extend(read.into_iter().flatten());
            }
        }
        (self, named)
    }
}

pub(super) fn decode(from: &PolicyFiles, fetched: Fetched, report: &mut Report) -> Decoded {
    let files = fetched.routes.len() + fetched.grants.len();
    let mut decoded = Decoded::default();
    for (path, bytes) in fetched.routes {
        if let Some(source) = file::add_document(&path, bytes, report) {
            decoded.directories.insert(source, path.parent().map(Path::to_owned).unwrap_or_default());
            decoded.routes.extend(document::read_routes(source, report));
        }
    }
    for (path, bytes) in fetched.grants {
        if let Some(source) = file::add_document(&path, bytes, report) {
            decoded.directories.insert(source, path.parent().map(Path::to_owned).unwrap_or_default());
            decoded.paths.insert(source, path);
            decoded.grants.extend(document::read_grants(source, report));
        }
    }
    for document in &mut decoded.grants {
        let feeds = from.feeds.iter().filter(|feed| feed.domain() == document.domain.value);
        document.looked_up = feeds.flat_map(|feed| feed.looked_up()).collect();
    }
    decoded.complete = fetched.complete && decoded.routes.len() + decoded.grants.len() == files;
    decoded
}

/// Computes a SHA-256.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in in_turns(1, bytes.chunks(TURN)) {
        context.update(piece);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
