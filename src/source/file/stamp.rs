//! What the file system tells of a file without its content being read: whether it is still the one that was read.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change so shortly before a file was read may have been followed by one with the same time: times can be as coarse as
/// this.
const COARSE: Duration = Duration::from_secs(2);

/// Which file it is, how long, and when it changed. Whatever writes to a file, or puts another in its place, changes its
/// stamp; that a time is set back by hand shows in the time of the change of its inode, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of what lies at a path, links followed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|told| Self::from(&told))
    }

    /// Whether the last change lies so far back that any later one has another stamp. A time that is yet to come tells
    /// nothing.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = |(seconds, nanos): (i64, i64)| {
            let at = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
            at.is_some_and(|(seconds, nanos)| now.checked_sub(Duration::new(seconds, nanos)) >= Some(COARSE))
        };
        before(self.modified) && before(self.changed)
    }
}

impl From<&Metadata> for Stamp {
    fn from(told: &Metadata) -> Self {
        Self {
            device: told.dev(),
            inode: told.ino(),
            length: told.len(),
            modified: (told.mtime(), told.mtime_nsec()),
            changed: (told.ctime(), told.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn whatever_changes_a_file_changes_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "12345").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), first);
        let old = File::options().write(true).open(&path).unwrap();
        let modified = old.metadata().unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "54321").unwrap();
        old.set_modified(modified).unwrap();
        let second = Stamp::of(&path).unwrap();
        assert_eq!((second.length, second.modified), (first.length, first.modified), "set back by hand");
        assert_ne!(second, first);
        fs::write(dir.path().join("b"), "54321").unwrap();
        fs::rename(dir.path().join("b"), &path).unwrap();
        assert_ne!(Stamp::of(&path).unwrap().inode, second.inode);
    }

    #[test]
    fn a_stamp_tells_nothing_while_the_next_change_could_have_the_same() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let stamp = |modified, changed| Stamp {
            device: 1,
            inode: 1,
            length: 1,
            modified: (modified, 0),
            changed: (changed, 0),
        };
        for (stamp, now, settled) in [
            (stamp(10, 10), 12, true),
            (stamp(10, 10), 11, false),
            (stamp(1, 10), 11, false),
            (stamp(10, 1), 11, false),
            (stamp(20, 20), 12, false),
            (stamp(-1, 1), 12, false),
        ] {
            assert_eq!(stamp.is_settled(at(now)), settled, "{stamp:?} at {now}");
        }
    }
}
