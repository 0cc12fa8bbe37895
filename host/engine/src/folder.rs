//! A folder in which only its owner can write.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kube_devops_files::create_private_folder;

/// The permission of others and of the group to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder that belongs to the user of this program, and in which other users cannot write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateFolder(PathBuf);

/// The reason why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be created or read.
    #[error("failed to use the folder {path}: {error}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It belongs to another user.
    #[error("the folder {0} belongs to another user; specify one of yours, or remove it")]
    Foreign(PathBuf),
    /// Others can write in it.
    #[error("other users can write in the folder {0}; remove it, because they may have written in it already")]
    Shared(PathBuf),
}

impl PrivateFolder {
    /// Creates the folder, or checks the existing one.
    ///
    /// # Errors
    ///
    /// If it cannot be created, belongs to another user, or can be written by others.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io { path: path.to_owned(), error };
        create_private_folder(path).map_err(failed)?;
        if !check(path)?.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Checks that a file or folder belongs to the user of this program, that other users cannot write it, and that it is no link, whose
/// target others could replace.
///
/// # Errors
///
/// If it is anything else, or does not exist.
pub fn check(path: &Path) -> Result<fs::Metadata, FolderError> {
    let failed = |error| FolderError::Io { path: path.to_owned(), error };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.is_symlink() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link")));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(FolderError::Foreign(path.to_owned()));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(FolderError::Shared(path.to_owned()));
    }
    Ok(metadata)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_is_created_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        assert_eq!(PrivateFolder::open(&path).unwrap().path(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        PrivateFolder::open(&path).unwrap();
    }

    #[test]
    fn folders_that_others_can_write_links_and_files_are_errors() {
        let parent = tempfile::tempdir().unwrap();
        let shared = parent.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(PrivateFolder::open(&shared), Err(FolderError::Shared(_))));
        let (own, link) = (parent.path().join("own"), parent.path().join("link"));
        PrivateFolder::open(&own).unwrap();
        symlink(&own, &link).unwrap();
        assert!(matches!(PrivateFolder::open(&link), Err(FolderError::Io { .. })));
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(matches!(PrivateFolder::open(&parent.path().join("file")), Err(FolderError::Io { .. })));
    }
}
