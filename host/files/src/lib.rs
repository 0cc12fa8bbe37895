//! Digests, and files that are replaced atomically: what the caches of compiled code and of pulled modules share.
//!
//! This crate must not know what files contain.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod digest;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use digest::{Digest, InvalidDigest, hexadecimal};

/// Creates a folder in which only this user can write, also with a permissive umask.
///
/// # Errors
///
/// If it does not exist and cannot be created.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file that only this user can read, as [`Replacement`] does. Its folder must exist.
///
/// # Errors
///
/// If it cannot be written.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let replacement = Replacement::of(file)?;
    replacement.file().write_all(content)?;
    replacement.finish()
}

/// A file that only this user can read. It is written under another name, which starts with a dot, and then renamed, so that a crash leaves
/// none half-written. Without [`Self::finish`], it is removed.
#[derive(Debug)]
pub struct Replacement {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl Replacement {
    /// Creates the content of a file, whose folder must exist.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn of(file: &Path) -> io::Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { temporary: NamedTempFile::new_in(folder)?, target: file.to_owned() })
    }

    /// The file to write to and to read from.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Renames the file.
    ///
    /// # Errors
    ///
    /// If it cannot be written or renamed.
    pub fn finish(self) -> io::Result<()> {
        self.file().sync_all()?;
        self.temporary.persist(self.target)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_remains() {
        let folder = tempfile::tempdir().unwrap();
        let (private, file) = (folder.path().join("a/b"), folder.path().join("a/b/file"));
        assert!(replace(&file, b"first").is_err());
        create_private_folder(&private).unwrap();
        for content in [b"first".as_slice(), b"second"] {
            replace(&file, content).unwrap();
            assert_eq!(fs::read(&file).unwrap(), content);
        }
        assert_eq!(fs::read_dir(&private).unwrap().count(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&private), mode(&file)), (0o700, 0o600));
    }
}
