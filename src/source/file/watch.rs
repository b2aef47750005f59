//! Notice of changed files.
//!
//! The kernel's notices (by `notify`, on the directories that hold the files, so that renames and replaced symlinks
//! are seen) only make a look come sooner: what counts is a comparison of all watched files twice a second. So a
//! notice that is lost, a directory that is replaced, a network file system or the target of a symlink elsewhere
//! costs half a second at most, never a change. A change is told once two looks in a row agree, so that a file that
//! is being written is not read halfway.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher as _, event};

/// From one look to the next when nothing is going on.
const POLL: Duration = Duration::from_millis(500);
/// How long a changed file must stay the same before it is told.
const SETTLE: Duration = Duration::from_millis(100);
/// A file that keeps changing is told after so long all the same.
const UNSETTLED: Duration = Duration::from_secs(2);
/// Files up to this size are compared by content too, because time stamps can be coarse.
const CONTENT: u64 = 1024 * 1024;

/// What wakes the watching thread before its time.
enum Wake {
    /// The kernel noticed something, or the list of files changed.
    Look,
    /// The watcher is gone.
    Stop,
}

/// Watches files, and directories of documents, for as long as it lives, on a thread of its own.
#[derive(Debug)]
pub struct Watcher {
    wake: SyncSender<Wake>,
    wanted: Arc<Mutex<Vec<PathBuf>>>,
    fixed: Vec<PathBuf>,
}

impl Watcher {
    /// Starts to watch. What the files are at this moment is what changes are measured against, so it is to be
    /// called before they are read. Sets of changed paths, as given, go to `changed`; while it is full they are kept
    /// and told later.
    ///
    /// # Errors
    /// Only if no thread can be started; without the kernel's notices the looks twice a second go on alone.
    pub fn start(paths: Vec<PathBuf>, changed: tokio::sync::mpsc::Sender<Vec<PathBuf>>) -> io::Result<Self> {
        let (wake, woken) = sync_channel(16);
        let wanted = Arc::new(Mutex::new(paths.clone()));
        let mut watch = Watch {
            known: look_at(&paths),
            wanted: Arc::clone(&wanted),
            changed,
            woken,
            notices: Notices::new(wake.clone()),
        };
        thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run())?;
        Ok(Self { wake, wanted, fixed: paths })
    }

    /// Watches these as well, in place of those of an earlier call. New ones are told as changed once, because they
    /// may have changed between being read and being watched.
    pub fn also(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut all = self.fixed.clone();
        all.extend(paths);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = all;
        self.look();
    }

    fn look(&self) {
        match self.wake.try_send(Wake::Look) {
            // Full means that a look is due anyway; gone means that nobody waits for changes any more.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The thread never waits for anybody, so it makes room soon; if it has ended, there is nothing to stop.
        let _ended = self.wake.send(Wake::Stop);
    }
}

type Look = BTreeMap<PathBuf, u64>;

/// The watching thread.
struct Watch {
    known: Look,
    wanted: Arc<Mutex<Vec<PathBuf>>>,
    changed: tokio::sync::mpsc::Sender<Vec<PathBuf>>,
    woken: Receiver<Wake>,
    notices: Notices,
}

impl Watch {
    fn run(&mut self) {
        // The last look, if it differed from what is known, and when the first such look was.
        let mut unsettled: Option<(Look, Instant)> = None;
        let mut looked = Instant::now();
        self.notices.watch(self.known.keys());
        loop {
            let pause = if unsettled.is_some() { SETTLE } else { POLL };
            match self.woken.recv_timeout(pause) {
                // A storm of notices in a busy directory must not become a storm of looks.
                Ok(Wake::Look) => thread::sleep(SETTLE.saturating_sub(looked.elapsed())),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            for wake in self.woken.try_iter() {
                match wake {
                    Wake::Look => {}
                    Wake::Stop => return,
                }
            }
            looked = Instant::now();
            if self.changed.is_closed() {
                return;
            }
            let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.notices.watch(wanted.iter());
            let look = look_at(&wanted);
            unsettled = match unsettled {
                _ if look == self.known => None,
                Some((last, since)) if last == look || since.elapsed() >= UNSETTLED => self.tell(look),
                Some((_, since)) => Some((look, since)),
                None => Some((look, Instant::now())),
            };
        }
    }

    /// Tells what differs from what was known; if that cannot be taken now, it stays unknown and is told later.
    fn tell(&mut self, look: Look) -> Option<(Look, Instant)> {
        let differs = |path: &&PathBuf| self.known.get(*path) != look.get(*path);
        let paths: Vec<PathBuf> = look.keys().filter(differs).cloned().collect();
        if paths.is_empty() || self.changed.try_send(paths).is_ok() {
            self.known = look;
        }
        None
    }
}

/// The kernel's notices, if it gives any.
struct Notices {
    watcher: Option<notify::RecommendedWatcher>,
    directories: BTreeMap<PathBuf, bool>,
}

impl Notices {
    fn new(wake: SyncSender<Wake>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| matters(event.kind)) {
                // A full channel means that a look is due anyway.
                let _due = wake.try_send(Wake::Look);
            }
        };
        let watcher = notify::recommended_watcher(tell)
            .inspect_err(|error| tracing::warn!("no notices of changed files, looking twice a second: {error}"))
            .ok();
        Self { watcher, directories: BTreeMap::new() }
    }

    /// Asks for notices on each path that is a directory and on the directories that hold the paths; gives up those
    /// that hold none any more.
    fn watch<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for used in self.directories.values_mut() {
            *used = false;
        }
        for path in paths {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) | None => Path::new("."),
            };
            for directory in [parent, path] {
                if let Some(used) = self.directories.get_mut(directory) {
                    *used = true;
                } else if directory.is_dir() && watcher.watch(directory, RecursiveMode::NonRecursive).is_ok() {
                    self.directories.insert(directory.to_owned(), true);
                }
            }
        }
        self.directories.retain(|directory, used| {
            if !*used {
                // It fails only for a directory that is gone, and then there is nothing to give up.
                let _gone = watcher.unwatch(directory);
            }
            *used
        });
    }
}

/// Whether a notice can mean that a file now reads differently. Our own reading causes notices too; they must not
/// wake us again.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(event::AccessKind::Close(event::AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

fn look_at(paths: &[PathBuf]) -> Look {
    paths.iter().map(|path| (path.clone(), fingerprint(path))).collect()
}

/// A number that differs when the file, or any document of the directory, reads differently.
fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    match fs::metadata(path) {
        Err(error) => error.kind().hash(&mut hasher),
        Ok(told) if told.is_dir() => match super::documents(path) {
            Err(error) => error.hash(&mut hasher),
            Ok(entries) => {
                for entry in entries {
                    fingerprint_of_file(&entry).hash(&mut hasher);
                    entry.hash(&mut hasher);
                }
            }
        },
        Ok(_) => fingerprint_of_file(path).hash(&mut hasher),
    }
    hasher.finish()
}

fn fingerprint_of_file(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    match fs::metadata(path) {
        Err(error) => error.kind().hash(&mut hasher),
        Ok(told) => {
            (told.dev(), told.ino(), told.len()).hash(&mut hasher);
            (told.mtime(), told.mtime_nsec(), told.ctime(), told.ctime_nsec()).hash(&mut hasher);
            if told.is_file() && told.len() <= CONTENT {
                super::read(path, CONTENT).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Watched {
        dir: tempfile::TempDir,
        _watcher: Watcher,
        changed: tokio::sync::mpsc::Receiver<Vec<PathBuf>>,
    }

    impl Watched {
        /// Watches `name` in a new directory after `prepare` filled it.
        fn new(name: &str, prepare: impl FnOnce(&Path)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let (sender, changed) = tokio::sync::mpsc::channel(4);
            let watcher = Watcher::start(vec![dir.path().join(name)], sender).unwrap();
            Self { dir, _watcher: watcher, changed }
        }

        fn told(&mut self) -> Option<Vec<PathBuf>> {
            let until = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < until {
                if let Ok(paths) = self.changed.try_recv() {
                    return Some(paths);
                }
                thread::sleep(Duration::from_millis(5));
            }
            None
        }
    }

    #[test]
    fn every_way_of_changing_a_file_is_told_within_a_second() {
        type Change = fn(&Path);
        let cases: [(&str, Change); 4] = [
            ("written in place", |dir| fs::write(dir.join("a.yaml"), "two").unwrap()),
            ("renamed over", |dir| {
                fs::write(dir.join(".a.swp"), "two").unwrap();
                fs::rename(dir.join(".a.swp"), dir.join("a.yaml")).unwrap();
            }),
            ("removed", |dir| fs::remove_file(dir.join("a.yaml")).unwrap()),
            ("moved away and written anew", |dir| {
                fs::rename(dir.join("a.yaml"), dir.join("a.yaml~")).unwrap();
                fs::write(dir.join("a.yaml"), "two").unwrap();
            }),
        ];
        for (name, change) in cases {
            let mut watched = Watched::new("a.yaml", |dir| fs::write(dir.join("a.yaml"), "one").unwrap());
            let begun = Instant::now();
            change(watched.dir.path());
            assert_eq!(watched.told(), Some(vec![watched.dir.path().join("a.yaml")]), "{name}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{name}: {:?}", begun.elapsed());
        }
    }

    #[test]
    fn a_swap_of_the_data_symlink_as_kubernetes_makes_it_is_told() {
        let mut watched = Watched::new("a.yaml", |dir| {
            fs::create_dir(dir.join("..1")).unwrap();
            fs::create_dir(dir.join("..2")).unwrap();
            fs::write(dir.join("..1/a.yaml"), "one").unwrap();
            fs::write(dir.join("..2/a.yaml"), "two").unwrap();
            symlink("..1", dir.join("..data")).unwrap();
            symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
        });
        let dir = watched.dir.path().to_owned();
        symlink("..2", dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        assert_eq!(watched.told(), Some(vec![dir.join("a.yaml")]));
    }

    #[test]
    fn a_document_added_to_a_watched_directory_is_told_and_other_files_are_not() {
        let mut watched = Watched::new("routes", |dir| {
            fs::create_dir(dir.join("routes")).unwrap();
            fs::write(dir.join("routes/a.yaml"), "one").unwrap();
        });
        let routes = watched.dir.path().join("routes");
        fs::write(routes.join("b.yaml"), "two").unwrap();
        assert_eq!(watched.told(), Some(vec![routes.clone()]));
        fs::write(routes.join("notes.txt"), "three").unwrap();
        assert_eq!(watched.told(), None);
    }

    #[test]
    fn a_file_that_is_being_written_is_told_once_it_rests() {
        let mut watched = Watched::new("a.yaml", |dir| fs::write(dir.join("a.yaml"), "one").unwrap());
        let path = watched.dir.path().join("a.yaml");
        for length in 1..10 {
            fs::write(&path, "x".repeat(length)).unwrap();
            thread::sleep(Duration::from_millis(30));
        }
        assert!(watched.changed.try_recv().is_err(), "told while it was being written");
        assert!(watched.told().is_some());
        assert_eq!(watched.told(), None, "told twice");
    }

    #[test]
    fn a_file_watched_later_is_told_once() {
        let mut watched = Watched::new("a.yaml", |dir| {
            fs::write(dir.join("a.yaml"), "one").unwrap();
            fs::write(dir.join("ca.pem"), "one").unwrap();
        });
        let extra = watched.dir.path().join("ca.pem");
        watched._watcher.also([extra.clone()]);
        assert_eq!(watched.told(), Some(vec![extra.clone()]));
        fs::write(&extra, "two").unwrap();
        assert_eq!(watched.told(), Some(vec![extra]));
    }
}
