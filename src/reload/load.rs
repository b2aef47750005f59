//! Reads all live documents and compiles them; knows from their content whether they say anything new.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::certificates;
use crate::diag::{Report, SourceId};
use crate::document;
use crate::document::grants::GrantsDocument;
use crate::document::routes::RoutesDocument;
use crate::document::{Limits, Located};
use crate::model::Tenant;
use crate::policy::Domains;
use crate::review::Policy;
use crate::route::{self, Compiled, Inputs, RouteMap};
use crate::source::file;

/// Where the live documents are, and what they may refer to.
#[derive(Clone, Debug, Default)]
pub struct PolicyFiles {
    /// Route maps: files, or directories of `*.yaml` and `*.yml`.
    pub routes: Vec<PathBuf>,
    /// Grants: files, or directories of `*.yaml` and `*.yml`.
    pub grants: Vec<PathBuf>,
    /// The tenants and issuers that gates and principals may name.
    pub tenants: Vec<Tenant>,
}

type Digest = [u8; 32];

/// What was read for a policy, as SHA-256 of each file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    documents: BTreeMap<PathBuf, Digest>,
    /// Files that the documents name, such as certificate authorities.
    named: BTreeMap<PathBuf, Digest>,
}

impl Content {
    /// Files that the documents name.
    pub fn named(&self) -> impl Iterator<Item = PathBuf> {
        self.named.keys().cloned()
    }
}

/// What came of reading and compiling.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policy; `None` when the report has errors. Taken out by whoever publishes it.
    pub compiled: Option<Compiled>,
    /// What it was made of.
    pub content: Content,
}

/// Reads all documents and compiles them; every fault of every file goes to `report`. If a document cannot be read
/// at all, the others are checked for shape only: the names that it would have defined would all seem unknown.
pub fn load(files: &PolicyFiles, report: &mut Report) -> Loaded {
    let fetched = fetch(files, report);
    compile(files, fetched, report)
}

/// Reads all documents for their faults of shape only, where not all of them can be read.
pub fn check_shape(files: &PolicyFiles, report: &mut Report) {
    let fetched = fetch(files, report);
    decode(fetched, report);
}

/// As [`load`], for those who want the policy only.
pub fn load_policy(files: &PolicyFiles, report: &mut Report) -> Option<Compiled> {
    load(files, report).compiled
}

/// As [`load_policy`], with the documents and the places of everything in them, for operators' tools.
pub fn load_for_review(files: &PolicyFiles, report: &mut Report) -> Option<Policy> {
    let fetched = fetch(files, report);
    let Decoded { routes, grants, directories, complete: true } = decode(fetched, report) else { return None };
    let named = Named::new(directories);
    certificates::check(&routes, &named, report);
    Policy::compile(routes, grants, files.tenants.clone(), &|name| named.read(name), sha256, report)
}

/// What a look at the files brought.
pub(super) enum Change {
    /// They say what they said.
    None,
    /// They can be published.
    Good { loaded: Loaded, routes: Arc<RouteMap>, domains: Arc<Domains>, report: String },
    /// They cannot.
    Faulty { errors: usize, report: String },
}

/// Loads, unless everything reads as it did when `known` was loaded.
pub(super) fn load_if_changed(files: &PolicyFiles, known: &Content) -> Change {
    let mut report = Report::new();
    let fetched = fetch(files, &mut report);
    if !report.has_errors() && fetched.digests() == known.documents && same(&known.named) {
        return Change::None;
    }
    let mut loaded = compile(files, fetched, &mut report);
    let rendered = report.render();
    match loaded.compiled.take() {
        Some(Compiled { routes, domains, .. }) => {
            Change::Good { loaded, routes: Arc::new(routes), domains: Arc::new(domains), report: rendered }
        }
        None => Change::Faulty { errors: report.errors(), report: rendered },
    }
}

/// Whether all of these files still read so.
fn same(named: &BTreeMap<PathBuf, Digest>) -> bool {
    named.iter().all(|(path, known)| file::read(path, file::MAX_SECRET).is_ok_and(|bytes| sha256(&bytes) == *known))
}

/// The texts of all documents.
struct Fetched {
    routes: Vec<(PathBuf, Vec<u8>)>,
    grants: Vec<(PathBuf, Vec<u8>)>,
    /// Whether every file could be read.
    complete: bool,
}

impl Fetched {
    fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        self.routes.iter().chain(&self.grants).map(|(path, bytes)| (path.clone(), sha256(bytes))).collect()
    }
}

fn fetch(files: &PolicyFiles, report: &mut Report) -> Fetched {
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
struct Decoded {
    routes: Vec<RoutesDocument>,
    grants: Vec<GrantsDocument>,
    /// Where relative paths of each document start.
    directories: HashMap<SourceId, PathBuf>,
    /// Whether a document could be made of every file.
    complete: bool,
}

fn decode(fetched: Fetched, report: &mut Report) -> Decoded {
    let files = fetched.routes.len() + fetched.grants.len();
    let mut decoded = Decoded { routes: Vec::new(), grants: Vec::new(), directories: HashMap::new(), complete: false };
    for (path, bytes) in fetched.routes {
        if let Some(source) = file::add_document(&path, bytes, report) {
            decoded.directories.insert(source, path.parent().map(Path::to_owned).unwrap_or_default());
            decoded.routes.extend(document::read_routes(source, report));
        }
    }
    for (path, bytes) in fetched.grants {
        if let Some(source) = file::add_document(&path, bytes, report) {
            decoded.grants.extend(document::read_grants(source, report));
        }
    }
    decoded.complete = fetched.complete && decoded.routes.len() + decoded.grants.len() == files;
    decoded
}

fn compile(files: &PolicyFiles, fetched: Fetched, report: &mut Report) -> Loaded {
    let documents = fetched.digests();
    let decoded = decode(fetched, report);
    if !decoded.complete {
        return Loaded::default();
    }
    let Decoded { routes, grants, directories, complete: _ } = decoded;
    let named = Named::new(directories);
    certificates::check(&routes, &named, report);
    let files_named = |name: &_| named.read(name);
    let inputs = Inputs { routes: &routes, grants: &grants, tenants: &files.tenants, files: &files_named, sha256 };
    let compiled = route::compile(inputs, report).filter(|_| !report.has_errors());
    Loaded { compiled, content: Content { documents, named: named.digests() } }
}

/// Reads the files that documents name, relative to the document, each once, so that all who use one see the same.
pub(super) struct Named {
    directories: HashMap<SourceId, PathBuf>,
    read: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Named {
    fn new(directories: HashMap<SourceId, PathBuf>) -> Self {
        Self { directories, read: RefCell::default() }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// Why it cannot be read, as a message.
    pub(super) fn read(&self, name: &Located<String>) -> Result<Vec<u8>, String> {
        let directory = self.directories.get(&name.place.source).map(PathBuf::as_path).unwrap_or(Path::new(""));
        let path = directory.join(&name.value);
        if let Some(bytes) = self.read.borrow().get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = file::read(&path, file::MAX_SECRET)?;
        self.read.borrow_mut().insert(path, bytes.clone());
        Ok(bytes)
    }

    fn digests(self) -> BTreeMap<PathBuf, Digest> {
        self.read.into_inner().into_iter().map(|(path, bytes)| (path, sha256(&bytes))).collect()
    }
}

/// Computes a SHA-256.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    digest
}
