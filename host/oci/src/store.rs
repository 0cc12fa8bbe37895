//! The store of pulled modules, in a folder that only its owner can write.
//!
//! ```text
//!   records/<digest of repository and manifest>.json    what was pulled, and who signed it
//!   components/<digest>.wasm                            the bytes of a component
//! ```
//!
//! Files are written under another name and renamed, so that a crash leaves none half-written, and their digests are compared
//! when they are read: a damaged file is one that is missing.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{Digest, OciError, Reference};

/// A module in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The host and the repository.
    pub repository: String,
    /// The tag that was pulled last with this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the component.
    pub component: Digest,
    /// The size of the component, in bytes.
    pub size: u64,
    /// The identities of the keys whose signatures were verified.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signers: BTreeSet<Digest>,
    /// The time of the pull, in seconds since 1970.
    pub pulled: i64,
}

/// A folder with pulled modules.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Uses a folder, in which only the user of this program must be able to write.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the module with a manifest, if it is complete.
    pub fn get(&self, reference: &Reference, manifest: &Digest) -> Option<(Record, Vec<u8>)> {
        let repository = repository(reference);
        let record: Record = serde_json::from_slice(&fs::read(self.record(&repository, manifest)).ok()?).ok()?;
        if record.repository != repository || record.manifest != *manifest {
            return None;
        }
        let component = fs::read(self.component(&record.component)).ok()?;
        (Digest::of(&component) == record.component).then_some((record, component))
    }

    /// Stores a module.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn put(&self, record: &Record, component: &[u8]) -> Result<(), OciError> {
        self.write(&self.component(&record.component), component)?;
        let text = serde_json::to_vec(record).map_err(|error| store_error("write", &self.folder, &error.into()))?;
        self.write(&self.record(&record.repository, &record.manifest), &text)
    }

    /// Returns all records, sorted by repository and time.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Record>, OciError> {
        let read = |file: PathBuf| serde_json::from_slice(&fs::read(file).ok()?).ok();
        let mut records: Vec<Record> = files(&self.folder.join("records"))?.into_iter().filter_map(read).collect();
        records.sort_by(|one, other| (&one.repository, one.pulled).cmp(&(&other.repository, other.pulled)));
        Ok(records)
    }

    /// Removes all modules but those that are kept, and returns the removed ones.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub fn retain(&self, keep: impl Fn(&Record) -> bool) -> Result<Vec<Record>, OciError> {
        let (kept, removed): (Vec<_>, Vec<_>) = self.list()?.into_iter().partition(keep);
        for record in &removed {
            remove(&self.record(&record.repository, &record.manifest))?;
        }
        let used: BTreeSet<PathBuf> = kept.iter().map(|record| self.component(&record.component)).collect();
        for file in files(&self.folder.join("components"))? {
            if !used.contains(&file) {
                remove(&file)?;
            }
        }
        Ok(removed)
    }

    fn record(&self, repository: &str, manifest: &Digest) -> PathBuf {
        let name = Digest::of(format!("{repository}@{manifest}").as_bytes());
        self.folder.join("records").join(format!("{}.json", name.hexadecimal()))
    }

    fn component(&self, digest: &Digest) -> PathBuf {
        self.folder.join("components").join(format!("{}.wasm", digest.hexadecimal()))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), OciError> {
        let folder = file.parent().unwrap_or(&self.folder);
        let write = || -> io::Result<()> {
            // Also with a permissive umask, other users cannot write.
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut temporary = NamedTempFile::new_in(folder)?;
            temporary.write_all(bytes)?;
            temporary.as_file().sync_all()?;
            temporary.persist(file)?;
            Ok(())
        };
        write().map_err(|error| store_error("write", file, &error))
    }
}

/// The host and the repository of a reference, which a record belongs to.
pub fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.host(), reference.repository())
}

/// Returns the files in a folder; none if it does not exist.
fn files(folder: &Path) -> Result<Vec<PathBuf>, OciError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(store_error("read", folder, &error)),
    };
    // Another process may be writing a temporary file, whose name starts with a dot.
    let is_complete = |file: &PathBuf| file.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_complete).collect())
}

fn remove(file: &Path) -> Result<(), OciError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(store_error("remove", file, &error)),
        _ => Ok(()),
    }
}

fn store_error(action: &'static str, path: &Path, error: &io::Error) -> OciError {
    OciError::Store { action, path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(name: &str, component: &[u8], pulled: i64) -> Record {
        Record {
            repository: format!("host.example/{name}"),
            tag: None,
            manifest: Digest::of(name.as_bytes()),
            component: Digest::of(component),
            size: component.len() as u64,
            signers: BTreeSet::new(),
            pulled,
        }
    }

    #[test]
    fn a_module_is_found_by_repository_and_manifest_until_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("modules"));
        let (reference, stored) = ("host.example/a:1".parse::<Reference>().unwrap(), record("a", b"abc", 1));
        assert!(store.get(&reference, &stored.manifest).is_none() && store.list().unwrap().is_empty());
        store.put(&stored, b"abc").unwrap();
        assert_eq!(store.get(&reference, &stored.manifest), Some((stored.clone(), b"abc".to_vec())));
        assert!(store.get(&"host.example/b:1".parse().unwrap(), &stored.manifest).is_none());
        assert!(store.get(&reference, &Digest::of(b"other")).is_none());
        fs::write(store.component(&stored.component), b"ab").unwrap();
        assert!(store.get(&reference, &stored.manifest).is_none());
        fs::write(store.record("host.example/a", &stored.manifest), b"{").unwrap();
        assert!(store.get(&reference, &stored.manifest).is_none() && store.list().unwrap().is_empty());
    }

    #[test]
    fn components_are_removed_with_their_last_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        store.put(&record("a", b"shared", 2), b"shared").unwrap();
        store.put(&record("b", b"shared", 1), b"shared").unwrap();
        store.put(&record("c", b"other", 3), b"other").unwrap();
        let removed = store.retain(|record| record.repository.ends_with('b')).unwrap();
        assert_eq!(
            removed.iter().map(|record| record.repository.as_str()).collect::<Vec<_>>(),
            ["host.example/a", "host.example/c"]
        );
        assert_eq!(store.list().unwrap(), [record("b", b"shared", 1)]);
        assert_eq!(files(&folder.path().join("components")).unwrap().len(), 1);
        store.retain(|_| false).unwrap();
        assert_eq!(files(&folder.path().join("components")).unwrap().len(), 0);
    }
}
