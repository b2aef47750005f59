//! Writes a copy, step by step; after each of them the directory holds a whole one, if it held one before.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{CURRENT, CURRENT_NEXT, KEPT, Kind, Listed, MANIFEST, Manifest, NEXT, Written};
use crate::reload::behind::give_way_for;
use crate::reload::load::{Content, PolicyFiles, hex, sha256, visit};

/// A copy that this process wrote, for the next one: files of principals that say the same are not written again.
#[derive(Debug)]
pub(in crate::reload) struct Copy {
    content: Content,
    directory: PathBuf,
    manifest: Manifest,
}

impl Copy {
    /// The file of the copy that holds what a file of principals says in `content`, and the digest that it is listed with.
    fn holds(&self, content: &Content, path: &Path) -> Option<(PathBuf, String)> {
        let same = content.of_people(path).is_some_and(|said| self.content.of_people(path) == Some(said));
        let mut numbered = self.manifest.files.iter().enumerate();
        let (number, listed) = numbered.find(|(_, listed)| listed.kind == Kind::People && listed.path == path)?;
        same.then(|| (self.directory.join(number.to_string()), listed.sha256.clone()))
    }
}

/// Writes what `content` was made of, which is published as `written` says. The files are read again, and must say what
/// they said; files of principals that say what they said in the `older` copy are shared with it.
///
/// # Errors
/// Why it cannot be written, or that a file changed meanwhile. What was there before is withdrawn then: it may give what was
/// taken away since.
pub(in crate::reload) fn write(
    directory: &Path,
    files: &PolicyFiles,
    content: &Content,
    written: Written,
    older: Option<&Copy>,
) -> Result<Copy, String> {
    give_way_for(usize::MAX);
    write_until(directory, (files, content), (written, older), &mut || true).map_err(|why| match withdraw(directory) {
        Ok(()) => why,
        Err(error) => format!("{why}; and the older copy cannot be withdrawn: {error}"),
    })
}

/// Takes the link away, so that no start uses the copy.
fn withdraw(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    remove(&directory.join(CURRENT))?;
    sync(directory)
}

/// The same; `goes_on` is asked before each step, and nothing more is done once it says no.
fn write_until(
    directory: &Path,
    (files, content): (&PolicyFiles, &Content),
    (written, older): (Written, Option<&Copy>),
    goes_on: &mut impl FnMut() -> bool,
) -> Result<Copy, String> {
    let mut step = |what: &str, work: &mut dyn FnMut() -> io::Result<()>| {
        if !goes_on() {
            return Err("stopped".to_owned());
        }
        work().map_err(|error| format!("cannot {what}: {error}"))
    };
    let next = directory.join(NEXT);
    step("make the directory", &mut || DirBuilder::new().recursive(true).mode(0o700).create(directory))?;
    step("remove what was begun", &mut || remove(&next))?;
    step("make a directory in it", &mut || DirBuilder::new().mode(0o700).create(&next))?;
    let mut manifest = Manifest { written, digest: content.digest(), files: Vec::new() };
    for (kind, path) in content.listed() {
        // Two names of one file: neither copy is ever written to. Where it cannot be named, it is copied.
        let held = older.filter(|_| kind == Kind::People).and_then(|older| older.holds(content, path));
        let next = next.join(manifest.files.len().to_string());
        if let Some((_, sha256)) = held.filter(|(held, _)| fs::hard_link(held, &next).is_ok()) {
            manifest.files.push(Listed { kind, path: path.clone(), sha256 });
        }
    }
    let linked: HashSet<PathBuf> = manifest.files.iter().map(|listed| listed.path.clone()).collect();
    visit(files, content, &|kind, path| kind == Kind::People && linked.contains(path), &mut |kind, path, bytes| {
        let number = manifest.files.len().to_string();
        step("write a file", &mut || write_file(&next.join(&number), bytes))?;
        manifest.files.push(Listed { kind, path: path.to_owned(), sha256: hex(&sha256(bytes)) });
        Ok(())
    })?;
    let text = manifest.render()?;
    step("write the manifest", &mut || write_file(&next.join(MANIFEST), text.as_bytes()))?;
    step("write the directory", &mut || sync(&next))?;
    let name = format!("{KEPT}{}", hex(&sha256(text.as_bytes())));
    let kept = directory.join(&name);
    // The very same can only be there if it was written in the same second; then it is whole, or was never put in place.
    let copy = Copy { content: content.clone(), directory: kept.clone(), manifest };
    if fs::read_link(directory.join(CURRENT)).is_ok_and(|current| current == Path::new(&name)) {
        return step("remove what was begun", &mut || remove(&next)).map(|()| copy);
    }
    step("remove what was left", &mut || remove(&kept))?;
    step("put the copy in place", &mut || fs::rename(&next, &kept))?;
    step("write the directory", &mut || sync(directory))?;
    let link = directory.join(CURRENT_NEXT);
    step("remove what was left", &mut || remove(&link))?;
    step("name the copy", &mut || symlink(&name, &link))?;
    step("name the copy", &mut || fs::rename(&link, directory.join(CURRENT)))?;
    step("write the directory", &mut || sync(directory))?;
    step("remove older copies", &mut || remove_others(directory, &name))?;
    Ok(copy)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what may be there; a link, not what it names.
fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn remove_others(directory: &Path, name: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let other = entry.file_name();
        let is_copy = other.as_encoded_bytes().starts_with(KEPT.as_bytes());
        if is_copy && other != *name {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::diag::Report;
    use crate::model::{Guid, Tenant};
    use crate::reload::last_good::read::read;
    use crate::reload::load;

    const GRANTS: &str = "version: 1\ndomain: app\nprincipals_from: [people.tsv]\n";

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            let fixture = Self(tempfile::tempdir().unwrap());
            fixture.put("routes.yaml", "version: 1\napplications: []\n");
            fixture.put("grants.yaml", GRANTS);
            fixture.put("people.tsv", "id\ttenant\toid\n");
            fixture
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn files(&self) -> PolicyFiles {
            PolicyFiles {
                routes: vec![self.0.path().join("routes.yaml")],
                grants: vec![self.0.path().join("grants.yaml")],
                tenants: vec![Tenant::of_objects("dev", Guid(1))],
                feeds: Vec::new(),
            }
        }

        fn content(&self) -> Content {
            let mut report = Report::new();
            let loaded = load(&self.files(), &mut report);
            assert!(!report.has_errors(), "{}", report.render());
            loaded.content
        }

        /// Writes what the files say now, as far as `steps`; how many steps were taken.
        fn keep(&self, serial: u64, steps: usize) -> (Result<(), String>, usize) {
            let mut taken = 0;
            let mut goes_on = || {
                let goes_on = taken < steps;
                taken += usize::from(goes_on);
                goes_on
            };
            let (files, content, written) = (self.files(), self.content(), Written { serial, at: 7 });
            (write_until(&self.kept(), (&files, &content), (written, None), &mut goes_on).map(drop), taken)
        }

        fn kept(&self) -> std::path::PathBuf {
            self.0.path().join("kept/last")
        }

        fn serial(&self) -> Result<u64, String> {
            read(&self.kept()).map(|(manifest, _)| manifest.written.serial)
        }
    }

    #[test]
    fn whoever_stops_between_two_steps_leaves_a_whole_copy_the_older_or_the_newer() {
        let fixture = Fixture::new();
        let (result, all) = fixture.keep(1, usize::MAX);
        assert_eq!((result, fixture.serial()), (Ok(()), Ok(1)));
        assert!(all > 10, "{all}");
        let mut found = Vec::new();
        for steps in 0..=all {
            let (serial, before) = (2 + steps as u64, fixture.serial().unwrap());
            let (result, _) = fixture.keep(serial, steps);
            let after = fixture.serial().unwrap();
            assert!(after == before || after == serial, "{steps}: {after}");
            assert!(result.is_err() || after == serial, "{steps}: {after}");
            found.push(after == serial);
        }
        assert!(found.is_sorted() && found.contains(&false) && found.contains(&true), "{found:?}");
        // What was left by those who stopped is gone with the next whole one.
        assert_eq!(fixture.keep(99, usize::MAX).0, Ok(()));
        let names = fs::read_dir(fixture.kept()).unwrap().count();
        assert_eq!((names, fixture.serial()), (2, Ok(99)), "one copy, and the link");
    }

    #[test]
    fn the_first_one_is_there_only_when_it_is_whole() {
        let all = Fixture::new().keep(1, usize::MAX).1;
        for steps in 0..all {
            let fixture = Fixture::new();
            let _ = fixture.keep(1, steps);
            assert!(matches!(fixture.serial(), Err(_) | Ok(1)), "{steps}");
        }
    }

    #[test]
    fn files_that_changed_since_they_were_published_are_not_kept_and_the_older_copy_is_used_no_more() {
        for (name, text) in
            [("routes.yaml", "version: 1\napplications: [] # new\n"), ("people.tsv", "id\ttenant\tsubject\n")]
        {
            let fixture = Fixture::new();
            fixture.keep(1, usize::MAX).0.unwrap();
            let content = fixture.content();
            fixture.put(name, text);
            let written = Written { serial: 2, at: 8 };
            let fault = write(&fixture.kept(), &fixture.files(), &content, written, None).unwrap_err();
            assert!(fault.contains("changed"), "{fault}");
            assert!(fixture.serial().is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_of_principals_that_says_the_same_is_shared_with_the_older_copy_and_another_is_not() {
        let fixture = Fixture::new();
        let write = |serial, older: Option<&Copy>| {
            let (files, content, written) = (fixture.files(), fixture.content(), Written { serial, at: 7 });
            write(&fixture.kept(), &files, &content, written, older).unwrap()
        };
        let inode = |copy: &Copy| {
            let mut numbered = copy.manifest.files.iter().enumerate();
            let (number, _) = numbered.find(|(_, listed)| listed.kind == Kind::People).unwrap();
            fs::metadata(copy.directory.join(number.to_string())).unwrap().ino()
        };
        let people = || read(&fixture.kept()).unwrap().1.people.into_values().next().unwrap();
        let first = write(1, None);
        let shared = inode(&first);
        fixture.put("routes.yaml", "version: 1\napplications: [] # new\n");
        let second = write(2, Some(&first));
        assert_eq!((inode(&second), fixture.serial()), (shared, Ok(2)));
        assert_eq!(people(), b"id\ttenant\toid\n");
        // The older one is gone, and what both had stays.
        assert!(!first.directory.exists());
        fixture.put("people.tsv", "id\ttenant\tsubject\n");
        let third = write(3, Some(&second));
        assert_ne!(inode(&third), shared);
        assert_eq!((people(), fixture.serial()), (b"id\ttenant\tsubject\n".to_vec(), Ok(3)));
        // Somebody took the older one away.
        fs::remove_dir_all(&third.directory).unwrap();
        write(4, Some(&third));
        assert_eq!((people(), fixture.serial()), (b"id\ttenant\tsubject\n".to_vec(), Ok(4)));
    }

    #[test]
    fn nobody_else_can_read_it_and_it_is_written_again_within_a_second() {
        let fixture = Fixture::new();
        for _ in 0..2 {
            fixture.keep(1, usize::MAX).0.unwrap();
            assert_eq!(fixture.serial(), Ok(1));
        }
        let copy = fs::canonicalize(fixture.kept().join(CURRENT)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&fixture.kept()), mode(&copy)), (0o700, 0o700));
        let names: Vec<_> = fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|path| mode(path) == 0o600));
    }
}
