//! Documents, certificates and keys on disk: bounded reading, directories of documents, and notice of changes.
//!
//! Paths appear in messages as they were given, because that is what the operator wrote and can look for.

pub mod stamp;
pub mod watch;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::courtesy::Turn;
use crate::diag::{Place, Report, SourceId};
use crate::document::Limits;
use stamp::Stamp;

/// The largest certificate, key, key set or token file that is read, in bytes.
pub const MAX_SECRET: u64 = 4 * 1024 * 1024;

/// Bytes that are read in one turn of the thread.
const READ_A_TURN: u64 = 1 << 21;

/// Reads a regular file of at most `most` bytes. Anything else is refused, pipes and devices too, because reading
/// those could block for ever.
///
/// # Errors
/// The operating system's words, or `not a regular file`, or that the file is too large; without the path.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    read_open(path, most).map(|(bytes, _)| bytes)
}

/// The same, with the stamp of what was read: as long as the file has it, its content is that. There is none of a file that
/// changed a moment before, or while it was read.
///
/// # Errors
/// As [`read`].
pub fn read_stamped(path: &Path, most: u64) -> Result<(Vec<u8>, Option<Stamp>), String> {
    let before = Stamp::of(path).ok();
    #[expect(clippy::disallowed_methods, reason = "files are stamped by the clock of the system")]
    let settled = before.filter(|stamp| stamp.is_settled(SystemTime::now()));
    let (bytes, file) = read_open(path, most)?;
    let after = file.metadata().ok().map(|told| Stamp::from(&told));
    Ok((bytes, settled.filter(|stamp| after == Some(*stamp))))
}

fn read_open(path: &Path, most: u64) -> Result<(Vec<u8>, File), String> {
    let told = fs::metadata(path).map_err(|error| error.to_string())?;
    if !told.is_file() {
        return Err("not a regular file".to_owned());
    }
    // The length may have changed since, so the bound is on what is read rather than on what was told.
    let mut file = File::open(path).map_err(|error| error.to_string())?.take(most.saturating_add(1));
    let mut bytes = Vec::with_capacity(usize::try_from(told.len().min(most)).unwrap_or(0));
    let mut turn = Turn::of(1);
    while file.by_ref().take(READ_A_TURN).read_to_end(&mut bytes).map_err(|error| error.to_string())? > 0 {
        turn.step();
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(format!("larger than {most} bytes"));
    }
    Ok((bytes, file.into_inner()))
}

/// Reads a document that people write into `report`, where excerpts are taken from. Faults become diagnostics, as in
/// [`fetch`] and [`add_document`].
pub fn read_document(path: &Path, report: &mut Report) -> Option<SourceId> {
    let bytes = fetch(path, &Limits::default(), report)?;
    add_document(path, bytes, report)
}

/// Reads the bytes of a document. A file that cannot be read (`unreadable_file`), or that has more than its reader takes
/// (`too_large`), becomes a diagnostic, and is not read at all.
pub fn fetch(path: &Path, limits: &Limits, report: &mut Report) -> Option<Vec<u8>> {
    let most = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    let told = fs::metadata(path).map_or(0, |told| if told.is_file() { told.len() } else { 0 });
    if told > most {
        let mebibytes = most >> 20;
        let message = format!("`{}` has {told} bytes, of which {mebibytes} MiB are read at most", path.display());
        report.error("too_large", None, message).help("leave out what is not needed, or split it into several files");
        return None;
    }
    match read(path, most) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            let help = "it must be a file of text that this process may read";
            report.error("unreadable_file", None, message).help(help);
            None
        }
    }
}

/// How much behind a fault is kept for the excerpt.
const EXCERPT: usize = 1_024;

/// Takes the bytes of a document into `report`; `None` and a diagnostic (`not_utf8`, with the place of the first byte that
/// is not) when they are not UTF-8.
pub fn add_document(path: &Path, bytes: Vec<u8>, report: &mut Report) -> Option<SourceId> {
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Some(report.add_source(&name, text)),
        Err(fault) => {
            // What precedes the fault is the same in the replaced text, so the place is right for the excerpt.
            let valid = fault.utf8_error().valid_up_to();
            let start = u32::try_from(valid).unwrap_or(u32::MAX);
            let bytes = fault.as_bytes();
            let shown = bytes.get(..valid.saturating_add(EXCERPT)).unwrap_or(bytes);
            let source = report.add_source(&name, String::from_utf8_lossy(shown).into_owned());
            let replaced = u32::try_from(char::REPLACEMENT_CHARACTER.len_utf8()).unwrap_or(0);
            let place = Place { source, start, end: start.saturating_add(replaced) };
            report.error("not_utf8", place, "this byte is not UTF-8").help("save the file as UTF-8");
            None
        }
    }
}

/// The documents that a path stands for: the file itself, or the `*.yaml` and `*.yml` files of a directory in the
/// order of their names, hidden ones left out (editors and Kubernetes keep their own there).
///
/// # Errors
/// The operating system's words, or that the directory holds no document; without the path.
pub fn documents(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?.path();
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && entry.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(entry);
        }
    }
    if found.is_empty() {
        return Err("the directory has no `*.yaml` or `*.yml` file".to_owned());
    }
    found.sort();
    Ok(found)
}

/// Whether a file, or a directory with documents, is there and may be opened.
///
/// # Errors
/// As [`read`] and [`documents`].
pub fn probe(path: &Path) -> Result<(), String> {
    let told = fs::metadata(path).map_err(|error| error.to_string())?;
    if told.is_dir() {
        return documents(path).map(|_| ());
    }
    if !told.is_file() {
        return Err("not a regular file".to_owned());
    }
    File::open(path).map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_up_to_the_bound_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err(), "larger than 4 bytes");
    }

    #[test]
    fn names_the_reason_when_a_file_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("none"), 10).unwrap_err().contains("os error 2"));
        assert_eq!(read(dir.path(), 10).unwrap_err(), "not a regular file");
        assert_eq!(read(Path::new("/dev/zero"), 10).unwrap_err(), "not a regular file");
    }

    #[test]
    fn a_missing_document_is_named_as_given() {
        let mut report = Report::new();
        assert!(read_document(Path::new("no/such.yaml"), &mut report).is_none());
        let message = &report.diagnostics()[0].message;
        assert!(message.starts_with("cannot read `no/such.yaml`: "), "{message}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_fault_with_their_place() {
        let mut report = Report::new();
        assert!(add_document(Path::new("a.yaml"), b"name: \xff\xfe".to_vec(), &mut report).is_none());
        let found = &report.diagnostics()[0];
        assert_eq!((found.code, found.place.unwrap().start), ("not_utf8", 6));
    }

    #[test]
    fn a_directory_stands_for_its_documents_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "notes.txt", "c.yaml~"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = documents(dir.path()).unwrap();
        assert_eq!(names, [dir.path().join("a.yaml"), dir.path().join("b.yml")]);
    }

    #[test]
    fn a_directory_without_documents_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert!(documents(dir.path()).unwrap_err().contains("no `*.yaml`"));
    }
}
