//! Reads a copy. Whatever is odd about it is a reason not to use it: what it says decides who may do what.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use super::{CURRENT, KEPT, Kind, MANIFEST, Manifest};
use crate::reload::load::{Kept, hex, sha256};
use crate::source::file;

/// Permissions by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// Reads the copy in a directory; all of it is as it was written.
pub(super) fn read(directory: &Path) -> Result<(Manifest, Kept), String> {
    is_safe(directory, fs::metadata(directory))?;
    let link = directory.join(CURRENT);
    let name = fs::read_link(&link).map_err(|error| format!("cannot read the link `{CURRENT}`: {error}"))?;
    let digest = name.to_str().and_then(|name| name.strip_prefix(KEPT));
    let digest = digest.filter(|_| matches!(name.components().collect::<Vec<_>>()[..], [Component::Normal(_)]));
    let digest = digest.ok_or_else(|| format!("`{CURRENT}` does not name a copy beside it"))?;
    let copy = directory.join(&name);
    is_safe(&copy, fs::symlink_metadata(&copy))?;
    let bytes = read_file(&copy.join(MANIFEST), file::MAX_SECRET)?;
    if hex(&sha256(&bytes)) != digest {
        return Err(format!("`{MANIFEST}` is not what was written"));
    }
    let manifest = Manifest::parse(&bytes).ok_or_else(|| format!("`{MANIFEST}` cannot be understood"))?;
    let mut kept = Kept::default();
    for (number, listed) in manifest.files.iter().enumerate() {
        let bytes = read_file(&copy.join(number.to_string()), listed.kind.most())?;
        let path = listed.path.clone();
        if hex(&sha256(&bytes)) != listed.sha256 {
            return Err(format!("the copy of `{}` is not what was written", path.display()));
        }
        match listed.kind {
            Kind::Routes => kept.routes.push((path, bytes)),
            Kind::Grants => kept.grants.push((path, bytes)),
            Kind::Named => drop(kept.named.insert(path, bytes)),
            Kind::People => drop(kept.people.insert(path, bytes)),
        }
    }
    Ok((manifest, kept))
}

/// Whether it is a directory that nobody else can write to.
fn is_safe(directory: &Path, found: io::Result<Metadata>) -> Result<(), String> {
    let name = directory.display();
    let found = found.map_err(|error| format!("cannot read `{name}`: {error}"))?;
    if !found.is_dir() {
        return Err(format!("`{name}` is not a directory"));
    }
    if found.permissions().mode() & OTHERS_WRITE != 0 {
        return Err(format!("others may write to `{name}`"));
    }
    Ok(())
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let fault = |error: String| format!("cannot read `{}`: {error}", path.display());
    let found = fs::symlink_metadata(path).map_err(|error| fault(error.to_string()))?;
    if !found.is_file() {
        return Err(fault("not a regular file".to_owned()));
    }
    file::read(path, most).map_err(fault)
}
