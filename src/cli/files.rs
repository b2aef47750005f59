//! Files that the command line writes: never over an existing one, secrets for their owner's eyes only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Whoever the umask lets.
    Anyone,
    /// Its owner (mode 0600): private keys and tokens.
    Owner,
}

/// Writes a new file.
///
/// # Errors
/// Also when something stands there already.
pub(super) fn create(path: &Path, contents: &str, readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::Anyone => 0o666,
        Readers::Owner => 0o600,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents.as_bytes())
}

/// Random bytes as lower-case hexadecimal digits, two a byte.
///
/// # Errors
/// When the system has no randomness to give.
pub(super) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A folder for temporary files that only its owner can enter; removed with all its files when dropped.
#[derive(Debug)]
pub(super) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes one among the system's temporary files; its name begins with `prefix`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(prefix: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("{prefix}{}", random_hex(4)?));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files, which is where the system cleans up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_for_their_owner_and_nothing_is_overwritten() {
        let folder = PrivateFolder::create("portcullis-test-").unwrap();
        let path = folder.path().join("secret");
        create(&path, "one", Readers::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, "two", Readers::Owner).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    }

    #[test]
    fn a_private_folder_goes_with_its_owner() {
        let folder = PrivateFolder::create("portcullis-test-").unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        create(&path.join("file"), "", Readers::Anyone).unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
