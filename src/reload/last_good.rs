//! The last good documents on disk: everything that the files said when they were published last, for the next start,
//! should they be broken by then.
//!
//! The directory holds one copy, `kept-DIGEST`, and `current`, a symbolic link that names it. The copy holds the files,
//! named by numbers, and `manifest.json`, which says where each was and what its SHA-256 is; the digest is that of the
//! manifest. A copy is written whole under another name and put in place by renaming, so that a process that is killed
//! between any two steps leaves a whole one.

mod keep;
mod read;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::load::{self, Loaded, PolicyFiles};
use crate::diag::Report;
use crate::document::Limits;
use crate::document::people::Bounds;
use crate::source::file;

pub(super) use write::{Copy, write};

/// The link to the copy.
const CURRENT: &str = "current";
/// The link before it is put in place.
const CURRENT_NEXT: &str = "current.next";
/// A copy before it is put in place.
const NEXT: &str = "next";
/// What the name of a copy begins with; the SHA-256 of its manifest follows.
const KEPT: &str = "kept-";
/// Says what a copy holds.
const MANIFEST: &str = "manifest.json";
/// The version of what is written.
const VERSION: u64 = 1;

/// How the documents on disk are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastGood {
    /// The copy that is there.
    pub written: Option<Written>,
    /// Why the last attempt to write one failed.
    pub failed: Option<String>,
}

/// A copy of what was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The serial that it was published under, in the process that wrote it.
    pub serial: u64,
    /// When it was published, in seconds since the Unix epoch.
    pub at: u64,
}

/// What a file is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A route map.
    Routes,
    /// A grants document.
    Grants,
    /// A certificate, a credential or the like, which a document names.
    Named,
    /// A file of principals, which a document names.
    People,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Routes, Self::Grants, Self::Named, Self::People];

    const fn word(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Grants => "grants",
            Self::Named => "named",
            Self::People => "people",
        }
    }

    /// The largest file that is read, in bytes.
    pub(super) fn most(self) -> u64 {
        let most = match self {
            Self::Routes => Limits::default().bytes,
            Self::Grants => Limits::grants().bytes,
            Self::Named => return file::MAX_SECRET,
            Self::People => Bounds::FILE,
        };
        u64::try_from(most).unwrap_or(u64::MAX)
    }
}

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Manifest {
    written: Written,
    /// The digest of the whole.
    digest: String,
    /// In the order of their numbers.
    files: Vec<Listed>,
}

/// One file of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    kind: Kind,
    /// Where it was.
    path: PathBuf,
    sha256: String,
}

impl Manifest {
    fn render(&self) -> Result<String, String> {
        let file = |listed: &Listed| {
            let path = listed.path.to_str();
            let path = path.ok_or_else(|| format!("the path `{}` is not UTF-8", listed.path.display()))?;
            Ok(json!({ "kind": listed.kind.word(), "path": path, "sha256": listed.sha256 }))
        };
        let files = self.files.iter().map(file).collect::<Result<Vec<Value>, String>>()?;
        let Written { serial, at } = self.written;
        let all = json!({ "version": VERSION, "serial": serial, "at": at, "digest": self.digest, "files": files });
        Ok(format!("{all:#}\n"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let all: Value = serde_json::from_slice(bytes).ok()?;
        let number = |name: &str| all.get(name)?.as_u64();
        if number("version") != Some(VERSION) {
            return None;
        }
        let file = |entry: &Value| {
            let text = |name: &str| entry.get(name)?.as_str();
            let kind = text("kind")?;
            Some(Listed {
                kind: Kind::ALL.into_iter().find(|known| known.word() == kind)?,
                path: text("path")?.into(),
                sha256: text("sha256")?.to_owned(),
            })
        };
        Some(Self {
            written: Written { serial: number("serial")?, at: number("at")? },
            digest: all.get("digest")?.as_str()?.to_owned(),
            files: all.get("files")?.as_array()?.iter().map(file).collect::<Option<_>>()?,
        })
    }
}

/// Loads the copy in a directory in place of files that cannot be used. What is odd about it goes to `report`, and then
/// nothing is loaded.
pub fn load(directory: &Path, files: &PolicyFiles, report: &mut Report) -> Option<Loaded> {
    let refuse = |why: String, report: &mut Report| {
        report
            .error("bad_last_good", None, format!("the last good documents in `{}`: {why}", directory.display()))
            .help("mend the documents that gateway.yaml names: nothing else is there to start with");
    };
    let (manifest, kept) = match read::read(directory) {
        Ok(read) => read,
        Err(why) => {
            refuse(why, report);
            return None;
        }
    };
    if let Err(why) = is_of(&manifest, files) {
        refuse(why, report);
        return None;
    }
    let mut loaded = load::load_kept(files, kept, report);
    if loaded.compiled.is_some() && loaded.content.digest() != manifest.digest {
        refuse("they are not what was published".to_owned(), report);
        return None;
    }
    loaded.stale = Some(manifest.written);
    (loaded.compiled.is_some() && !report.has_errors()).then_some(loaded)
}

/// The files of the copy in a directory, by the paths where they were; none if it is not as it was written.
pub(super) fn read_copy(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok((_, kept)) = read::read(directory) else { return BTreeMap::new() };
    let documents = kept.routes.into_iter().chain(kept.grants);
    documents.chain(kept.named).chain(kept.people).collect()
}

/// Whether a copy was made of what gateway.yaml names: each of its paths, and nothing else.
fn is_of(manifest: &Manifest, files: &PolicyFiles) -> Result<(), String> {
    for (kind, configured) in [(Kind::Routes, &files.routes), (Kind::Grants, &files.grants)] {
        let holds = |path: &Path, document: &Path| document == path || document.parent() == Some(path);
        let documents: Vec<&Path> =
            manifest.files.iter().filter(|listed| listed.kind == kind).map(|listed| &*listed.path).collect();
        let strange = documents.iter().find(|document| !configured.iter().any(|path| holds(path, document)));
        if let Some(strange) = strange {
            return Err(format!("gateway.yaml does not name `{}`, which is among them", strange.display()));
        }
        let missing = configured.iter().find(|path| !documents.iter().any(|document| holds(path, document)));
        if let Some(missing) = missing {
            return Err(format!("gateway.yaml names `{}`, which is not among them", missing.display()));
        }
    }
    Ok(())
}
