//! The store of pulled modules, in a folder that only its owner can write.
//!
//! ```text
//!   records/<digest of repository and manifest>.json    what was pulled, and who signed it
//!   components/<digest>.wasm                            the bytes of a component
//! ```
//!
//! Files are written under another name and renamed, so that a crash leaves none half-written, and their digests are compared
//! when they are read: a damaged file is one that is missing. Processes that change the store wait for each other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kube_devops_files::{create_private_folder, replace};
use serde::{Deserialize, Serialize};

use crate::{Digest, OciError, Reference};

/// A module in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredRecord")]
pub struct Record {
    /// The host and the repository.
    pub repository: String,
    /// The tags that were this version when they were pulled last.
    pub tags: BTreeSet<String>,
    /// Whether this version was pulled by its digest.
    pub by_digest: bool,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the component.
    pub component: Digest,
    /// The size of the component, in bytes.
    pub size: u64,
    /// The identities of the keys whose signatures were verified.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub signers: BTreeSet<Digest>,
    /// The time of the last pull, in seconds since 1970.
    pub pulled: i64,
}

/// A record as it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRecord {
    repository: String,
    /// The only tag, in records of earlier versions.
    tag: Option<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
    by_digest: Option<bool>,
    manifest: Digest,
    component: Digest,
    size: u64,
    #[serde(default)]
    signers: BTreeSet<Digest>,
    pulled: i64,
}

impl From<StoredRecord> for Record {
    fn from(stored: StoredRecord) -> Self {
        let StoredRecord { repository, tag, mut tags, by_digest, manifest, component, size, signers, pulled } = stored;
        tags.extend(tag);
        let by_digest = by_digest.unwrap_or(tags.is_empty());
        Self { repository, tags, by_digest, manifest, component, size, signers, pulled }
    }
}

/// What was removed from the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The modules.
    pub records: Vec<Record>,
    /// The size of the components that no other module has, and of unfinished files.
    pub bytes: u64,
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
        let record = self.find(reference, manifest)?;
        let component = self.content(&record)?;
        Some((record, component))
    }

    /// Returns the record of a module, without its component.
    pub(crate) fn find(&self, reference: &Reference, manifest: &Digest) -> Option<Record> {
        let repository = repository(reference);
        let record: Record = serde_json::from_slice(&fs::read(self.record(&repository, manifest)).ok()?).ok()?;
        (record.repository == repository && record.manifest == *manifest).then_some(record)
    }

    /// Returns the component of a record, if it is complete.
    pub(crate) fn content(&self, record: &Record) -> Option<Vec<u8>> {
        let component = fs::read(self.component(&record.component)).ok()?;
        (Digest::of(&component) == record.component).then_some(component)
    }

    /// Stores a module, and updates its record.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn put(&self, record: &Record, component: &[u8]) -> Result<(), OciError> {
        let _lock = self.lock()?;
        self.write(&self.component(&record.component), component)?;
        self.merge(record)
    }

    /// Enters another pull of a module whose component is stored.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn update(&self, record: &Record) -> Result<(), OciError> {
        let _lock = self.lock()?;
        self.merge(record)
    }

    /// Adds what is known about a module to its record, and moves its tags from the other versions in the repository.
    fn merge(&self, record: &Record) -> Result<(), OciError> {
        let (same, others): (Vec<Record>, Vec<Record>) = self
            .list()?
            .into_iter()
            .filter(|known| known.repository == record.repository)
            .partition(|known| known.manifest == record.manifest);
        let mut merged = record.clone();
        for known in same {
            merged.tags.extend(known.tags);
            merged.signers.extend(known.signers);
            merged.by_digest |= known.by_digest;
        }
        self.write_record(&merged)?;
        for mut other in others {
            let before = other.tags.len();
            other.tags.retain(|tag| !record.tags.contains(tag));
            if other.tags.len() < before {
                self.write_record(&other)?;
            }
        }
        Ok(())
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

    /// Removes all modules but those that are kept, and what processes left that were killed.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub fn retain(&self, keep: impl Fn(&Record) -> bool) -> Result<Removed, OciError> {
        if !self.folder.exists() {
            return Ok(Removed::default());
        }
        let _lock = self.lock()?;
        let (kept, records): (Vec<_>, Vec<_>) = self.list()?.into_iter().partition(keep);
        for record in &records {
            remove(&self.record(&record.repository, &record.manifest))?;
        }
        let used: BTreeSet<PathBuf> = kept.iter().map(|record| self.component(&record.component)).collect();
        let mut bytes = 0;
        for file in entries(&self.folder.join("components"))? {
            if !used.contains(&file) {
                bytes += remove(&file)?;
            }
        }
        for file in entries(&self.folder.join("records"))? {
            if is_unfinished(&file) {
                bytes += remove(&file)?;
            }
        }
        Ok(Removed { records, bytes })
    }

    /// Waits until no other process changes the store.
    fn lock(&self) -> Result<File, OciError> {
        let path = self.folder.join(".lock");
        let lock = || -> io::Result<File> {
            create_private_folder(&self.folder)?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.lock() {
                // Without locks, a record that another process writes at the same time may lack one of the pulls.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
                locked => locked.map(|()| file),
            }
        };
        lock().map_err(|error| store_error("lock", &path, &error))
    }

    fn record(&self, repository: &str, manifest: &Digest) -> PathBuf {
        let name = Digest::of(format!("{repository}@{manifest}").as_bytes());
        self.folder.join("records").join(format!("{}.json", name.hexadecimal()))
    }

    fn component(&self, digest: &Digest) -> PathBuf {
        self.folder.join("components").join(format!("{}.wasm", digest.hexadecimal()))
    }

    fn write_record(&self, record: &Record) -> Result<(), OciError> {
        let text = serde_json::to_vec(record).map_err(|error| store_error("write", &self.folder, &error.into()))?;
        self.write(&self.record(&record.repository, &record.manifest), &text)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), OciError> {
        let folder = file.parent().unwrap_or(&self.folder);
        let written = create_private_folder(folder).and_then(|()| replace(file, bytes));
        written.map_err(|error| store_error("write", file, &error))
    }
}

/// The host and the repository of a reference, which a record belongs to.
pub fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.host(), reference.repository())
}

/// Returns the complete files in a folder; none if it does not exist.
fn files(folder: &Path) -> Result<Vec<PathBuf>, OciError> {
    Ok(entries(folder)?.into_iter().filter(|file| !is_unfinished(file)).collect())
}

/// Returns all files in a folder; none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, OciError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(store_error("read", folder, &error)),
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// Reports whether a file is a temporary one, whose name starts with a dot: a process is writing it, or was killed.
fn is_unfinished(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Removes a file, and returns its size.
fn remove(file: &Path) -> Result<u64, OciError> {
    let size = fs::symlink_metadata(file).map(|metadata| metadata.len()).unwrap_or_default();
    match fs::remove_file(file) {
        Ok(()) => Ok(size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(store_error("remove", file, &error)),
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
            tags: BTreeSet::new(),
            by_digest: true,
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
        let store = Store::new(folder.path().join("modules"));
        assert_eq!(store.retain(|_| true).unwrap(), Removed::default());
        store.put(&record("a", b"shared", 2), b"shared").unwrap();
        store.put(&record("b", b"shared", 1), b"shared").unwrap();
        store.put(&record("c", b"other", 3), b"other").unwrap();
        let removed = store.retain(|record| record.repository.ends_with('b')).unwrap();
        // The component that is still used does not count.
        assert_eq!(removed, Removed { records: vec![record("a", b"shared", 2), record("c", b"other", 3)], bytes: 5 });
        assert_eq!(store.list().unwrap(), [record("b", b"shared", 1)]);
        assert_eq!(files(&folder.path().join("modules/components")).unwrap().len(), 1);
        assert_eq!(store.retain(|_| false).unwrap().bytes, 6);
        assert_eq!(files(&folder.path().join("modules/components")).unwrap().len(), 0);
    }

    #[test]
    fn unfinished_files_are_removed_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        store.put(&record("a", b"abc", 1), b"abc").unwrap();
        for file in ["components/.tmpA", "records/.tmpB"] {
            fs::write(folder.path().join(file), "half").unwrap();
        }
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(store.retain(|_| true).unwrap(), Removed { records: Vec::new(), bytes: 8 });
        assert_eq!(entries(&folder.path().join("components")).unwrap().len(), 1);
        assert_eq!(entries(&folder.path().join("records")).unwrap().len(), 1);
    }

    /// A version of the repository `host.example/a`, pulled by tags, or by its digest without tags.
    fn version(content: &str, tags: &[&str], pulled: i64) -> Record {
        let tags: BTreeSet<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let (manifest, by_digest) = (Digest::of(content.as_bytes()), tags.is_empty());
        Record { manifest, by_digest, tags, ..record("a", b"abc", pulled) }
    }

    #[test]
    fn a_record_has_all_pulls_of_a_version_and_a_tag_belongs_to_one_version() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        let known = |content: &str| {
            let manifest = Digest::of(content.as_bytes());
            let record = store.list().unwrap().into_iter().find(|record| record.manifest == manifest).unwrap();
            (record.tags.into_iter().collect::<Vec<_>>().join(" "), record.by_digest)
        };
        let other = Record { repository: "host.example/b".to_owned(), ..version("old", &["1"], 1) };
        store.put(&other, b"abc").unwrap();
        store.put(&version("old", &["1"], 1), b"abc").unwrap();
        store.put(&version("old", &["2"], 1), b"abc").unwrap();
        store.update(&version("old", &[], 1)).unwrap();
        assert_eq!(store.list().unwrap()[0], Record { by_digest: true, ..version("old", &["1", "2"], 1) });
        // In the same second, and with the same component.
        store.put(&version("new", &["1"], 1), b"abc").unwrap();
        assert_eq!((known("old"), known("new")), (("2".to_owned(), true), ("1".to_owned(), false)));
        store.update(&version("new", &["2"], 1)).unwrap();
        assert_eq!((known("old"), known("new")), ((String::new(), true), ("1 2".to_owned(), false)));
        assert!(store.list().unwrap().contains(&other), "a tag of another repository stays");
    }

    #[test]
    fn records_of_earlier_versions_have_one_tag_or_were_pulled_by_digest() {
        let digest = Digest::of(b"abc");
        let text = |tag: &str| {
            let rest = format!(r#""manifest": "{digest}", "component": "{digest}", "size": 3, "pulled": 1"#);
            format!(r#"{{"repository": "host.example/a", {tag} {rest}}}"#)
        };
        let read = |tag: &str| serde_json::from_str::<Record>(&text(tag)).unwrap();
        assert_eq!(read(r#""tag": "1","#), version("abc", &["1"], 1));
        assert_eq!(read(""), version("abc", &[], 1));
        let unused = Record { tags: BTreeSet::new(), ..version("abc", &["1"], 1) };
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&unused).unwrap()).unwrap(), unused);
    }
}
