//! A file of decision lines: rotated here by its size, or moved away by others, which is noticed by itself.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Rotation, Sink, line_start, put};

/// Who may read the file: its owner and group, because it tells what people do.
const MODE: u32 = 0o640;

/// The open file.
pub(super) struct LogFile {
    path: PathBuf,
    rotate: Option<Rotation>,
    open: Open,
    /// Whether it is to be opened anew in any case.
    reopen: bool,
    /// Whether the last try to put a file aside failed, so that it is said once.
    is_stuck: bool,
}

struct Open {
    file: File,
    /// Which file it is: device and inode.
    identity: (u64, u64),
    /// Its length.
    size: u64,
    is_mid_line: bool,
}

impl LogFile {
    /// Opens the file, or creates it.
    pub(super) fn open(path: PathBuf, rotate: Option<Rotation>) -> io::Result<Self> {
        let open = Open::at(&path)?;
        Ok(Self { path, rotate, open, reopen: false, is_stuck: false })
    }

    /// Opens the file anew if its name does not lead to it any more; whether it did. Asked before each batch, because
    /// lines in a file that nobody finds are lost.
    fn follow(&mut self) -> io::Result<bool> {
        let there = match fs::metadata(&self.path) {
            Ok(found) => identity(&found) == self.open.identity,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => false,
            Err(fault) => return Err(fault),
        };
        if there && !self.reopen {
            return Ok(false);
        }
        self.open = Open::at(&self.path)?;
        self.reopen = false;
        Ok(true)
    }

    /// Puts the file aside if so many more bytes do not fit; whether it did.
    fn make_room(&mut self, bytes: usize) -> io::Result<bool> {
        let Some(Rotation { size, keep }) = self.rotate else { return Ok(false) };
        if self.open.size == 0 || self.open.size.saturating_add(bytes as u64) <= size {
            return Ok(false);
        }
        match put_aside(&self.path, keep) {
            Ok(()) => {
                self.is_stuck = false;
                self.open = Open::at(&self.path)?;
                Ok(true)
            }
            // Better a file that is too long than lines that are lost.
            Err(fault) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    tracing::error!("the decision log `{}` cannot be rotated: {fault}", self.path.display());
                }
                Ok(false)
            }
        }
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        let begun = line_start(lines, *done);
        if self.follow()? || self.make_room(lines.len().saturating_sub(begun))? {
            // The other file has the beginning of a line whose end it will never see.
            *done = begun;
        }
        let (before, open) = (*done, &mut self.open);
        let written = put(&mut open.file, &mut open.is_mid_line, lines, done);
        open.size = open.size.saturating_add((*done - before) as u64);
        written
    }

    fn reopen(&mut self) {
        self.reopen = true;
    }

    fn probe(&mut self) -> io::Result<()> {
        self.follow().map(drop)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            // Opening one waits for a reader.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, not a file"));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let found = file.metadata()?;
        let is_mid_line = found.is_file() && found.len() > 0 && {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        Ok(Self { file, identity: identity(&found), size: found.len(), is_mid_line })
    }
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

/// Renames `log` to `log.1`, `log.1` to `log.2` and so on; the last one goes.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("log")
        }

        fn open(&self, rotate: Option<Rotation>) -> LogFile {
            LogFile::open(self.path(), rotate).unwrap()
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn write(log: &mut LogFile, text: &str) {
        let mut done = 0;
        log.write(text.as_bytes(), &mut done).unwrap();
        assert_eq!(done, text.len());
    }

    #[test]
    fn lines_are_added_to_what_is_there_and_others_may_not_read_it() {
        let folder = Folder::new();
        write(&mut folder.open(None), "a\n");
        write(&mut folder.open(None), "b\n");
        assert_eq!(folder.text("log"), "a\nb\n");
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn half_a_line_of_a_process_that_died_does_not_spoil_the_next_one() {
        let folder = Folder::new();
        fs::write(folder.path(), "a\nhal").unwrap();
        write(&mut folder.open(None), "b\n");
        assert_eq!(folder.text("log"), "a\nhal\nb\n");
    }

    #[test]
    fn a_file_that_was_moved_away_or_removed_is_followed_by_a_new_one() {
        let folder = Folder::new();
        let mut log = folder.open(None);
        write(&mut log, "a\n");
        fs::rename(folder.path(), folder.0.path().join("moved")).unwrap();
        write(&mut log, "b\n");
        fs::remove_file(folder.path()).unwrap();
        write(&mut log, "c\n");
        // Somebody else may have made the new one.
        fs::rename(folder.path(), folder.0.path().join("again")).unwrap();
        fs::write(folder.path(), "made\n").unwrap();
        write(&mut log, "d\n");
        let texts = ["moved", "again", "log"].map(|name| folder.text(name));
        assert_eq!(texts, ["a\n", "c\n", "made\nd\n"]);
    }

    #[test]
    fn a_line_that_was_begun_in_the_file_before_is_whole_in_the_new_one() {
        let folder = Folder::new();
        let mut log = folder.open(None);
        log.open.file.set_len(0).unwrap();
        // As if a full disk had taken six bytes only.
        let lines = b"one\ntwo\n";
        let mut done = 6;
        fs::write(folder.path(), "one\ntw").unwrap();
        fs::rename(folder.path(), folder.0.path().join("old")).unwrap();
        log.write(lines, &mut done).unwrap();
        assert_eq!((folder.text("old").as_str(), folder.text("log").as_str()), ("one\ntw", "two\n"));
    }

    #[test]
    fn a_directory_that_is_gone_is_a_fault_until_it_is_back() {
        let folder = Folder::new();
        let directory = folder.0.path().join("logs");
        fs::create_dir(&directory).unwrap();
        let mut log = LogFile::open(directory.join("log"), None).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let mut done = 0;
        assert!(log.probe().is_err());
        assert!(log.write(b"a\n", &mut done).is_err());
        assert_eq!(done, 0);
        fs::create_dir(&directory).unwrap();
        log.probe().unwrap();
        log.write(b"a\n", &mut done).unwrap();
        assert_eq!(folder.text("logs/log"), "a\n");
    }

    #[test]
    fn files_are_put_aside_by_their_size_and_the_oldest_goes() {
        let folder = Folder::new();
        let mut log = folder.open(Some(Rotation { size: 10, keep: 2 }));
        for number in 0..10 {
            write(&mut log, &format!("{number:03}\n"));
        }
        assert_eq!(folder.names(), ["log", "log.1", "log.2"]);
        let texts = ["log.2", "log.1", "log"].map(|name| folder.text(name));
        assert_eq!(texts, ["004\n005\n", "006\n007\n", "008\n009\n"]);
        // What is there at the start counts, too.
        write(&mut folder.open(Some(Rotation { size: 10, keep: 2 })), "010\n");
        assert_eq!((folder.text("log.1").as_str(), folder.text("log").as_str()), ("008\n009\n", "010\n"));
    }

    #[test]
    fn without_old_files_there_is_one_only() {
        let folder = Folder::new();
        let mut log = folder.open(Some(Rotation { size: 4, keep: 0 }));
        write(&mut log, "one\n");
        write(&mut log, "two\n");
        assert_eq!((folder.names(), folder.text("log").as_str()), (vec!["log".to_owned()], "two\n"));
    }

    #[test]
    fn what_cannot_be_put_aside_grows_on() {
        let folder = Folder::new();
        let mut log = folder.open(Some(Rotation { size: 4, keep: 1 }));
        write(&mut log, "one\n");
        fs::create_dir(folder.0.path().join("log.1")).unwrap();
        write(&mut log, "two\n");
        assert_eq!(folder.text("log"), "one\ntwo\n");
        fs::remove_dir(folder.0.path().join("log.1")).unwrap();
        write(&mut log, "three\n");
        assert_eq!((folder.text("log.1").as_str(), folder.text("log").as_str()), ("one\ntwo\n", "three\n"));
    }

    #[test]
    fn a_full_device_is_a_fault_and_nothing_of_the_line_counts_as_written() {
        let mut log = LogFile::open("/dev/full".into(), None).unwrap();
        let mut done = 0;
        let fault = log.write(b"a\n", &mut done).unwrap_err();
        assert_eq!((fault.kind(), done), (io::ErrorKind::StorageFull, 0));
    }
}
