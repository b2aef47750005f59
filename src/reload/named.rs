//! Files that documents name, relative to the document. Each is read once, so that all who use one see the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use super::behind::give_way_for;
use super::last_good::Kind;
use super::load::{Content, Digest, sha256};
use crate::courtesy::hands;
use crate::diag::{Report, SourceId};
use crate::document::Located;
use crate::document::grants::GrantsDocument;
use crate::document::people::{Bounds, PeopleFile};
use crate::source::file;
use crate::source::file::stamp::Stamp;

/// What was read of named files, as a digest of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests {
    /// Certificates and the like: SHA-256.
    small: BTreeMap<PathBuf, Digest>,
    /// Files of principals: [`digest_of_people`].
    people: BTreeMap<PathBuf, Digest>,
}

impl Digests {
    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.small.keys().chain(self.people.keys())
    }

    /// Those of certificates and the like, in the order of their paths.
    pub(super) fn small(&self) -> Vec<&Digest> {
        self.small.values().collect()
    }

    /// Those of files of principals, in the order of their paths.
    pub(super) fn people(&self) -> Vec<&Digest> {
        self.people.values().collect()
    }

    /// All files.
    pub(super) fn listed(&self) -> impl Iterator<Item = (Kind, &PathBuf)> {
        let small = self.small.keys().map(|path| (Kind::Named, path));
        small.chain(self.people.keys().map(|path| (Kind::People, path)))
    }

    /// What a file of principals said.
    pub(super) fn of_people(&self, path: &Path) -> Option<Digest> {
        self.people.get(path).copied()
    }

    /// The same, each with its digest.
    pub(super) fn all(&self) -> impl Iterator<Item = (Kind, &PathBuf, Digest)> {
        let small = self.small.iter().map(|(path, digest)| (Kind::Named, path, *digest));
        small.chain(self.people.iter().map(|(path, digest)| (Kind::People, path, *digest)))
    }

    /// Whether a file of this kind had this content.
    pub(super) fn holds(&self, kind: Kind, path: &Path, bytes: &[u8]) -> bool {
        match kind {
            Kind::People => self.people.get(path).is_some_and(|known| digest_of_people(bytes) == *known),
            Kind::Named => self.small.get(path).is_some_and(|known| sha256(bytes) == *known),
            Kind::Routes | Kind::Grants => false,
        }
    }

    /// Whether all files still read so. What had to be read of files of principals, which are large, goes to `seen`: for
    /// whoever reads on.
    pub(super) fn still_hold(&self, seen: &mut Seen) -> bool {
        let small = |(path, known): (&PathBuf, &Digest)| {
            file::read(path, file::MAX_SECRET).is_ok_and(|bytes| sha256(&bytes) == *known)
        };
        let people = |(path, known): (&PathBuf, &Digest)| {
            let digest = seen.trusted(path).map_or_else(|| seen.read(path), |(digest, _)| Ok(digest));
            digest.is_ok_and(|digest| digest == *known)
        };
        self.small.iter().all(small) && self.people.iter().all(people)
    }
}

/// The content of files that were read already: to see whether they changed, or from a copy.
#[derive(Default)]
pub(super) struct Seen {
    people: BTreeMap<PathBuf, People>,
    /// Files of principals that are what they were as long as they have their stamps.
    stamped: BTreeMap<PathBuf, (Stamp, Digest)>,
    /// All other files, where no more are to be read.
    small: Option<BTreeMap<PathBuf, Vec<u8>>>,
    /// Where files may lie that were not read yet; anywhere without it.
    within: Option<Within>,
}

/// A file of principals that was read.
struct People {
    bytes: Vec<u8>,
    digest: Digest,
    stamp: Option<Stamp>,
}

impl People {
    fn read(path: &Path) -> Result<Self, String> {
        let (bytes, stamp) = file::read_stamped(path, MOST_OF_PEOPLE)?;
        Ok(Self { digest: digest_of_people(&bytes), bytes, stamp })
    }
}

/// Reads a file of principals that must say what it said.
pub(super) fn read_people(path: &Path, said: Digest) -> Result<Vec<u8>, String> {
    let People { bytes, digest, stamp: _ } = People::read(path)?;
    if digest == said { Ok(bytes) } else { Err(CHANGED.to_owned()) }
}

/// Where files may lie: below a directory, or where these are, which were read for something else already.
#[derive(Debug)]
pub(super) struct Within {
    /// The directory, without symbolic links in its path.
    below: PathBuf,
    also: Vec<(Kind, PathBuf)>,
}

impl Within {
    /// Files below `below`, which has no symbolic links in its path, and those of `also` for what they are: what is wrong in
    /// a file of principals is shown with its text, and a private key must not be read as one.
    pub(super) const fn new(below: PathBuf, also: Vec<(Kind, PathBuf)>) -> Self {
        Self { below, also }
    }

    /// Whether a file of this kind lies there, wherever symbolic links lead.
    ///
    /// # Errors
    /// Why it may not be read, as a message.
    pub(super) fn check(&self, kind: Kind, path: &Path) -> Result<(), String> {
        if self.also.iter().any(|(known, also)| *known == kind && also == path) {
            return Ok(());
        }
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        if real.starts_with(&self.below) {
            return Ok(());
        }
        Err(format!("it lies outside of `{}`, and the live policy does not name it", self.below.display()))
    }
}

impl Seen {
    /// Those of a copy; none besides is read.
    pub(super) fn kept(small: BTreeMap<PathBuf, Vec<u8>>, people: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let digested = |(path, bytes): (PathBuf, Vec<u8>)| {
            let digest = digest_of_people(&bytes);
            (path, People { bytes, digest, stamp: None })
        };
        Self { people: people.into_iter().map(digested).collect(), small: Some(small), ..Self::default() }
    }

    /// Nothing yet; files of principals with these stamps are not read.
    pub(super) fn stamped(stamped: BTreeMap<PathBuf, (Stamp, Digest)>) -> Self {
        Self { stamped, ..Self::default() }
    }

    /// What a file says by its stamp.
    fn trusted(&self, path: &Path) -> Option<(Digest, Stamp)> {
        let (stamp, digest) = self.stamped.get(path)?;
        (Stamp::of(path).ok()? == *stamp).then_some((*digest, *stamp))
    }

    /// Reads a file for whoever reads on.
    fn read(&mut self, path: &Path) -> Result<Digest, String> {
        if let Some(known) = self.people.get(path) {
            return Ok(known.digest);
        }
        let read = People::read(path)?;
        let digest = read.digest;
        self.people.insert(path.to_owned(), read);
        Ok(digest)
    }

    #[cfg(test)]
    pub(super) fn has_read_nothing(&self) -> bool {
        self.people.is_empty()
    }

    /// Nothing yet, and no file from elsewhere is to be read.
    pub(super) fn nothing_but(within: Within) -> Self {
        Self { within: Some(within), ..Self::default() }
    }

    /// Whether no other file is to be read.
    pub(super) const fn is_all(&self) -> bool {
        self.small.is_some()
    }
}

/// Why a file is not read that the documents of a copy name.
const NOT_KEPT: &str = "it is not among the files that were kept";

/// Why a file is not read of which something else was used already.
const CHANGED: &str = "it changed while the policy was read";

const MOST_OF_PEOPLE: u64 = Bounds::FILE as u64;

/// The SHA-256 of those of the two halves of a file, since files of principals are large and two threads can share in it.
/// Files that are alike in it have the same content, as with SHA-256.
fn digest_of_people(bytes: &[u8]) -> Digest {
    give_way_for(bytes.len());
    let (first, second) = bytes.split_at(bytes.len() / 2);
    if hands() == 1 {
        return sha256([sha256(first), sha256(second)].as_flattened());
    }
    let halves = thread::scope(|scope| {
        let second = scope.spawn(|| sha256(second));
        [sha256(first), second.join().unwrap_or_else(|panic| resume_unwind(panic))]
    });
    sha256(halves.as_flattened())
}

/// Reads named files.
pub(super) struct Named {
    directories: HashMap<SourceId, PathBuf>,
    read: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    /// What is read in place of files, where nothing else is.
    kept: Option<BTreeMap<PathBuf, Vec<u8>>>,
    within: Option<Within>,
    people: BTreeMap<PathBuf, Digest>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl Named {
    /// `directories` is where relative paths of each document start.
    pub(super) fn new(directories: HashMap<SourceId, PathBuf>) -> Self {
        let (people, stamps) = Default::default();
        Self { directories, read: RefCell::default(), kept: None, within: None, people, stamps }
    }

    /// The same, where some were read already.
    pub(super) fn of(directories: HashMap<SourceId, PathBuf>, seen: &mut Seen) -> Self {
        Self { kept: seen.small.take(), within: seen.within.take(), ..Self::new(directories) }
    }

    fn path(&self, name: &Located<String>) -> PathBuf {
        let directory = self.directories.get(&name.place.source).map(PathBuf::as_path).unwrap_or(Path::new(""));
        directory.join(&name.value)
    }

    /// The content of a small file.
    ///
    /// # Errors
    /// Why it cannot be read, as a message.
    pub(super) fn read(&self, name: &Located<String>) -> Result<Vec<u8>, String> {
        let path = self.path(name);
        if let Some(bytes) = self.read.borrow().get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = match &self.kept {
            Some(kept) => kept.get(&path).cloned().ok_or(NOT_KEPT)?,
            None => {
                self.check(Kind::Named, &path)?;
                file::read(&path, file::MAX_SECRET)?
            }
        };
        self.read.borrow_mut().insert(path, bytes.clone());
        Ok(bytes)
    }

    /// Takes the texts of all files of principals into `report`, and tells the documents which they are. One that cannot
    /// be read is reported and left out.
    pub(super) fn read_people(&mut self, grants: &mut [GrantsDocument], mut seen: Seen, report: &mut Report) {
        let mut read: BTreeMap<PathBuf, Option<SourceId>> = BTreeMap::new();
        for document in grants {
            for named in &mut document.principals_from {
                let path = self.path(&named.name);
                let known = read.get(&path).copied();
                named.source =
                    known.unwrap_or_else(|| self.read_one(&path, &named.name, seen.people.remove(&path), report));
                read.insert(path, named.source);
            }
            document.principals_from.retain(|named| named.source.is_some());
        }
    }

    fn read_one(
        &mut self,
        path: &Path,
        name: &Located<String>,
        seen: Option<People>,
        report: &mut Report,
    ) -> Option<SourceId> {
        let read = || {
            if self.kept.is_some() {
                return Err(NOT_KEPT.to_owned());
            }
            self.check(Kind::People, path)?;
            People::read(path)
        };
        // What another document was spared by is what this one must read.
        let same = |read: People| match self.people.get(path) {
            Some(known) if *known != read.digest => Err(CHANGED.to_owned()),
            _ => Ok(read),
        };
        let People { bytes, digest, stamp } = match seen.map_or_else(read, Ok).and_then(same) {
            Ok(read) => read,
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", path.display());
                let help = "it must be a file that this process may read; its path starts at this document";
                report.error("unreadable_file", name.place, message).help(help);
                return None;
            }
        };
        self.people.insert(path.to_owned(), digest);
        self.stamps.extend(stamp.map(|stamp| (path.to_owned(), stamp)));
        file::add_document(path, bytes, report)
    }

    /// The path and the content of a file of principals that says what it says in `content`, and is left unread; what had to
    /// be read to know that goes to `seen`. `None` if it says something else.
    pub(super) fn still_says(
        &mut self,
        file: &PeopleFile,
        content: &Content,
        seen: &mut Seen,
    ) -> Option<(PathBuf, Digest)> {
        let path = self.path(&file.name);
        let known = content.of_people(&path)?;
        let (digest, stamp) = match seen.trusted(&path) {
            Some((digest, stamp)) => (digest, Some(stamp)),
            None => (seen.read(&path).ok()?, seen.people.get(&path).and_then(|read| read.stamp)),
        };
        if digest != known {
            return None;
        }
        self.people.insert(path.clone(), digest);
        self.stamps.extend(stamp.map(|stamp| (path.clone(), stamp)));
        Some((path, digest))
    }

    /// Files of principals with their stamps, as far as these tell anything.
    pub(super) const fn stamps(&self) -> &BTreeMap<PathBuf, Stamp> {
        &self.stamps
    }

    /// Whether a file of this kind may be read.
    fn check(&self, kind: Kind, path: &Path) -> Result<(), String> {
        self.within.as_ref().map_or(Ok(()), |within| within.check(kind, path))
    }

    /// The documents that name them.
    pub(super) fn documents(&self) -> impl Iterator<Item = SourceId> {
        self.directories.keys().copied()
    }

    /// Files of principals, each with its digest.
    pub(super) fn people(&self) -> impl Iterator<Item = (&PathBuf, Digest)> {
        self.people.iter().map(|(path, digest)| (path, *digest))
    }

    /// What was read of all other files.
    pub(super) fn small(&self) -> Vec<Vec<u8>> {
        self.read.borrow().values().cloned().collect()
    }

    /// What was read.
    pub(super) fn digests(self) -> Digests {
        let small = self.read.into_inner().into_iter().map(|(path, bytes)| (path, sha256(&bytes))).collect();
        Digests { small, people: self.people }
    }
}
