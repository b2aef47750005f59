//! From a directory to a candidate that is judged beside what is live: read and checked as a reload would, off the threads
//! that serve requests, and published nowhere.

mod check;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::ask::Shelf;
use super::behind::{apart, behind};
use super::feed::{self, Fed};
use super::last_good::Kind;
use super::load::{Change, PolicyFiles, Why, load_within};
use super::named::Within;
use super::{Handle, Loaded, now};
use crate::candidate::{About, Policy, Report, Stand};
use crate::policy::Domains;

pub use check::{Checked, check};

/// Where candidates may lie, and how long one is judged by.
#[derive(Clone, Debug)]
pub struct Below {
    /// The directory below which they lie.
    pub directory: PathBuf,
    /// Where relative paths of `gateway.yaml` start: a candidate has its files at the same places below its own directory.
    pub base: PathBuf,
    /// For how long requests are judged by one that nobody takes down.
    pub longest: Duration,
}

/// Loads candidates, tells what came of them, and takes them down.
pub struct Candidates {
    below: Option<Below>,
    shelf: Arc<Shelf>,
    stand: Arc<Stand>,
    turn: Arc<Semaphore>,
}

/// Why no candidate was loaded; one that was loaded before stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLoaded {
    /// `shadow.candidates` is not set.
    NotConfigured,
    /// The name leads elsewhere; why.
    BadName(String),
    /// There is no such directory.
    Missing(String),
    /// Two entries of `gateway.yaml` would have the same file below a candidate's directory.
    Ambiguous(PathBuf),
    /// Another one is being loaded.
    Busy,
    /// Its files have faults, or their tests fail.
    Rejected {
        /// Which of the two.
        why: Why,
        /// How many.
        errors: usize,
        /// All of them, as text.
        report: String,
    },
    /// A fault of the gateway, or the system has no thread for it.
    Broken,
}

impl fmt::Debug for Candidates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Candidates").field("below", &self.below).finish_non_exhaustive()
    }
}

impl Candidates {
    /// Candidates below a directory, of the same shape as what `reload` makes live, to be put up on `stand`.
    pub fn new(below: Option<Below>, reload: &Handle, stand: &Arc<Stand>) -> Self {
        let (shelf, stand) = (Arc::clone(&reload.shelf), Arc::clone(stand));
        Self { below, shelf, stand, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Reads a candidate, and has requests judged by it from now on, in place of the one before.
    ///
    /// # Errors
    /// Why it is not; the one before stays.
    pub async fn load(&self, name: &str, by: Option<String>) -> Result<About, NotLoaded> {
        let below = self.below.clone().ok_or(NotLoaded::NotConfigured)?;
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_taken| NotLoaded::Busy)?;
        let (shelf, asked) = (Arc::clone(&self.shelf), name.to_owned());
        let work = behind(move || {
            // Whoever asked may have gone away long ago: the turn ends with the work, or once the candidate stands.
            let read = read(&shelf, &below, &asked);
            read.map(|(digest, warnings, policy)| (turn, digest, warnings, policy, below.longest))
        });
        let found = work.await.unwrap_or(Err(NotLoaded::Broken));
        let (turn, digest, warnings, policy, longest) =
            found.inspect_err(|why| say_not_loaded(name, by.as_deref(), why))?;
        let about = About { name: name.to_owned(), digest, at: now(), by, longest, warnings };
        let (judge, trial) = self.stand.prepare(about.clone(), policy);
        apart("candidate", || judge.run()).map_err(|error| {
            tracing::error!("no thread for the candidate: {error}");
            NotLoaded::Broken
        })?;
        self.stand.begin(trial);
        drop(turn);
        let (by, digest) = (about.by.as_deref().unwrap_or("-"), &about.digest);
        tracing::info!(candidate = name, by, digest, "a candidate is judged beside the live policy");
        Ok(about)
    }

    /// What is known by now; `None` without a candidate.
    pub fn report(&self) -> Option<(About, Report)> {
        self.stand.report(now())
    }

    /// The same without the changes: the sums only.
    pub fn summary(&self) -> Option<(About, Report)> {
        self.stand.summary(now())
    }

    /// Takes the candidate down, if there is one, and says which it was.
    pub fn clear(&self, by: Option<&str>) -> Option<About> {
        let about = self.stand.clear()?;
        tracing::info!(candidate = about.name, by = by.unwrap_or("-"), "the candidate is no longer judged");
        Some(about)
    }
}

fn say_not_loaded(name: &str, by: Option<&str>, why: &NotLoaded) {
    let by = by.unwrap_or("-");
    match why {
        NotLoaded::Rejected { why, errors, .. } => {
            tracing::warn!(candidate = name, by, why = why.word(), errors, "a candidate was rejected");
        }
        NotLoaded::Broken => tracing::error!(candidate = name, by, "loading a candidate broke"),
        _ => tracing::warn!(candidate = name, by, "no candidate was loaded"),
    }
}

/// The digest, the warnings and the policy of a candidate.
fn read(shelf: &Shelf, below: &Below, name: &str) -> Result<(String, String, Policy), NotLoaded> {
    read_beside(shelf.files(), below, name)
}

/// The same, beside a live policy of these files, which name others.
fn read_beside(
    (live, named): (&PolicyFiles, Vec<(Kind, PathBuf)>),
    below: &Below,
    name: &str,
) -> Result<(String, String, Policy), NotLoaded> {
    let (root, directory) = below.find(name)?;
    let files = PolicyFiles {
        routes: below.alike(&live.routes, &directory)?,
        grants: below.alike(&live.grants, &directory)?,
        tenants: live.tenants.clone(),
        feeds: live.feeds.clone(),
    };
    let both = files.routes.iter().find(|path| files.grants.contains(path));
    both.map_or(Ok(()), |path| Err(NotLoaded::Ambiguous(path.clone())))?;
    match load_within(&files, Within::new(root, named)) {
        Change::Good { loaded, routes, domains, report } => {
            let Loaded { content, fed, .. } = *loaded;
            Ok((content.digest(), report, Policy { routes, rows: rows(fed, domains) }))
        }
        Change::Faulty { why, errors, report } => Err(NotLoaded::Rejected { why, errors, report }),
        // Nothing was known that it could be like.
        Change::None | Change::Passed => Err(NotLoaded::Broken),
    }
}

/// The candidate's domains, with the rows of whenever it is asked.
fn rows(mut fed: Vec<Fed>, domains: Arc<Domains>) -> Box<dyn FnMut() -> Option<Arc<Domains>> + Send> {
    Box::new(move || match fed.as_mut_slice() {
        [] => Some(Arc::clone(&domains)),
        fed => feed::with_rows(fed, &domains).map(Arc::new),
    })
}

impl Below {
    /// The directory below which candidates lie, and that of one of them; without symbolic links in their paths.
    fn find(&self, name: &str) -> Result<(PathBuf, PathBuf), NotLoaded> {
        let missing = |path: &Path| NotLoaded::Missing(format!("there is no directory `{}`", path.display()));
        let root = self.directory.canonicalize().map_err(|_error| missing(&self.directory))?;
        // As shells complete the name of a directory.
        let asked = Path::new(name.strip_suffix('/').unwrap_or(name));
        let inside = asked.strip_prefix(&self.directory).or_else(|_| asked.strip_prefix(&root)).unwrap_or(asked);
        if !is_plain(inside) {
            let text = "a candidate is named by its path below `shadow.candidates`, without `.` and `..`";
            return Err(NotLoaded::BadName(text.to_owned()));
        }
        let directory = root.join(inside);
        let real = directory.canonicalize().map_err(|_error| missing(&directory))?;
        if real == root || !real.starts_with(&root) {
            let text = format!("`{name}` leads out of `shadow.candidates`");
            return Err(NotLoaded::BadName(text));
        }
        if real.is_dir() { Ok((root, real)) } else { Err(missing(&directory)) }
    }

    /// Where a candidate has the files that the live policy has there: at the same place below its own directory as they
    /// are below that of `gateway.yaml`; those that lie elsewhere, by their names.
    fn alike(&self, live: &[PathBuf], directory: &Path) -> Result<Vec<PathBuf>, NotLoaded> {
        let mut files: Vec<PathBuf> = Vec::with_capacity(live.len());
        for path in live {
            let inside = path.strip_prefix(&self.base).ok().filter(|inside| is_plain(inside));
            let own = directory.join(inside.or(path.file_name().map(Path::new)).unwrap_or(path));
            if files.contains(&own) {
                return Err(NotLoaded::Ambiguous(own));
            }
            files.push(own);
        }
        Ok(files)
    }
}

/// Whether a path is a name, or names below each other, and leads nowhere else.
fn is_plain(path: &Path) -> bool {
    let written = path.as_os_str().as_encoded_bytes();
    // `a/./b` and `a//b` have the components of `a/b`.
    let odd = written.split(|byte| *byte == b'/').any(|part| part.is_empty() || part == b".");
    !odd && path.components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn below() -> (tempfile::TempDir, Below) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("candidates/team/next")).unwrap();
        fs::create_dir(path.join("elsewhere")).unwrap();
        fs::write(path.join("candidates/file"), "").unwrap();
        symlink(path.join("elsewhere"), path.join("candidates/out")).unwrap();
        symlink("team/next", path.join("candidates/latest")).unwrap();
        symlink(".", path.join("candidates/self")).unwrap();
        let directory = path.join("candidates");
        let below = Below { directory, base: path.to_owned(), longest: Duration::from_secs(1) };
        (folder, below)
    }

    #[test]
    fn a_candidate_is_found_below_the_one_directory_and_nowhere_else() {
        let (folder, below) = below();
        let root = folder.path().canonicalize().unwrap().join("candidates");
        let absolute = folder.path().join("candidates/team/next").display().to_string();
        for name in ["team/next", "team/next/", "latest", &absolute] {
            assert_eq!(below.find(name).unwrap(), (root.clone(), root.join("team/next")), "{name}");
        }
        let elsewhere = folder.path().join("elsewhere").display().to_string();
        let around = folder.path().join("candidates/../elsewhere").display().to_string();
        for name in [
            "",
            ".",
            "..",
            "../elsewhere",
            "team/../../elsewhere",
            "team/./next",
            "team//next",
            "/",
            "/etc",
            "out",
            "self",
            "out/..",
            &elsewhere,
            &around,
        ] {
            assert!(matches!(below.find(name), Err(NotLoaded::BadName(_))), "{name}: {:?}", below.find(name));
        }
        for name in ["nothing", "file", "team/nothing"] {
            assert!(matches!(below.find(name), Err(NotLoaded::Missing(_))), "{name}");
        }
        fs::remove_dir_all(root).unwrap();
        assert!(matches!(below.find("team/next"), Err(NotLoaded::Missing(_))));
    }

    #[test]
    fn a_candidate_has_its_files_where_the_live_policy_has_them() {
        let directory = Path::new("/c/next");
        let alike = |base: &str, live: &[&str]| {
            let below = Below { directory: "/c".into(), base: base.into(), longest: Duration::ZERO };
            let live: Vec<PathBuf> = live.iter().map(PathBuf::from).collect();
            below.alike(&live, directory).map(|files| {
                files.iter().map(|file| file.strip_prefix(directory).unwrap().display().to_string()).collect::<Vec<_>>()
            })
        };
        for (base, live) in [("", "a/routes.yaml"), ("/etc/p", "/etc/p/a/routes.yaml"), ("etc", "etc/a/routes.yaml")] {
            assert_eq!(alike(base, &[live]).unwrap(), ["a/routes.yaml"], "{base}");
        }
        for (base, live) in [("", "/srv/routes.yaml"), ("/etc/p", "/etc/p/../routes.yaml"), ("", "../routes.yaml")] {
            assert_eq!(alike(base, &[live]).unwrap(), ["routes.yaml"], "{base}");
        }
        let both = alike("/etc", &["/etc/routes.yaml", "/srv/routes.yaml"]);
        assert_eq!(both, Err(NotLoaded::Ambiguous("/c/next/routes.yaml".into())));
    }
}
