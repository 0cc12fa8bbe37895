//! The cache of compiled components, and the only unsafe code of the engine.
//!
//! ```text
//!   compiled/<hash of the engine>/<digest of the component>.cwasm    native code, mapped into memory when it is used
//!   compiled/<hash of the engine>/<digest of the component>.sum      its checksum, written last
//! ```
//!
//! The hash of the engine contains the version of wasmtime, its settings and the features of the processor. Anything unexpected is
//! a miss: the component is compiled again.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use kube_devops_files::{Digest, create_private_folder, replace};
use wasmtime::component::Component;

use crate::PrivateFolder;

/// A cache of compiled components.
#[derive(Debug, Clone)]
pub(crate) struct CompiledCache {
    /// The folders of all engines.
    root: PathBuf,
    /// The folder of this engine.
    folder: PathBuf,
}

impl CompiledCache {
    pub(crate) fn new(folder: &PrivateFolder, engine: &wasmtime::Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        let root = folder.path().join("compiled");
        let folder = root.join(format!("{:016x}", hasher.finish()));
        Self { root, folder }
    }

    /// The folder of the cache.
    pub(crate) fn parent(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    /// Returns the compiled component, mapped from its file; `None` if there is none.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, component: &[u8]) -> Option<Component> {
        let (file, sum) = self.files(component);
        let expected = fs::read_to_string(sum).ok()?;
        if Digest::of(&fs::read(&file).ok()?).hexadecimal() != expected {
            return None;
        }
        // SAFETY: wasmtime requires that the file was written by `Component::serialize` and is not modified while it is mapped.
        // The folder is private: it belongs to the user of this program and other users cannot write in it, which `PrivateFolder`
        // guarantees. In it, only `store` creates files with this name, from `serialize` of an engine with the same hash. It
        // never changes a file, but replaces it by renaming. The checksum excludes damage by the disk. Wasmtime checks
        // that the code matches the configuration of the engine and the processor.
        unsafe { Component::deserialize_file(engine, &file) }.ok()
    }

    /// Reports whether there is code for a component.
    pub(crate) fn has(&self, component: &[u8]) -> bool {
        self.files(component).1.is_file()
    }

    /// Stores a compiled component.
    pub(crate) fn store(&self, component: &[u8], compiled: &Component) -> io::Result<()> {
        let native = compiled.serialize().map_err(io::Error::other)?;
        create_private_folder(&self.folder)?;
        let (file, sum) = self.files(component);
        replace(&file, &native)?;
        replace(&sum, Digest::of(&native).hexadecimal().as_bytes())
    }

    /// Removes the code of other engines, and that of all components but those with the given digests.
    pub(crate) fn retain(&self, digests: &BTreeSet<String>) -> io::Result<()> {
        for folder in entries(&self.root)? {
            if folder != self.folder && folder.is_dir() {
                fs::remove_dir_all(folder)?;
            }
        }
        let digests = digests.iter().filter_map(|digest| digest.parse::<Digest>().ok());
        let used: BTreeSet<OsString> = digests.map(|digest| digest.hexadecimal().into()).collect();
        for file in entries(&self.folder)? {
            if !file.file_stem().is_some_and(|name| used.contains(name)) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn files(&self, component: &[u8]) -> (PathBuf, PathBuf) {
        let digest = Digest::of(component);
        let name = digest.hexadecimal();
        (self.folder.join(format!("{name}.cwasm")), self.folder.join(format!("{name}.sum")))
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Limits, configuration};

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn cache() -> (tempfile::TempDir, wasmtime::Engine, CompiledCache) {
        let folder = tempfile::tempdir().unwrap();
        let engine = wasmtime::Engine::new(&configuration(&Limits::default())).unwrap();
        let cache = CompiledCache::new(&PrivateFolder::open(&folder.path().join("cache")).unwrap(), &engine);
        (folder, engine, cache)
    }

    #[test]
    fn damaged_truncated_and_missing_files_are_misses() {
        let (_folder, engine, cache) = cache();
        assert!(cache.load(&engine, COMPONENT).is_none());
        let compiled = Component::from_binary(&engine, COMPONENT).unwrap();
        cache.store(COMPONENT, &compiled).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_some());
        let (file, sum) = cache.files(COMPONENT);
        let native = fs::read(&file).unwrap();
        for damaged in [&native[..native.len() / 2], b"", &[&native[..], b"x"].concat()] {
            fs::write(&file, damaged).unwrap();
            assert!(cache.load(&engine, COMPONENT).is_none());
        }
        cache.store(COMPONENT, &compiled).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_some());
        fs::remove_file(sum).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_none());
    }

    #[test]
    fn code_that_nothing_refers_to_is_removed() {
        let (_folder, engine, cache) = cache();
        let compiled = Component::from_binary(&engine, COMPONENT).unwrap();
        cache.store(COMPONENT, &compiled).unwrap();
        let other = cache.root.join("0123");
        fs::create_dir_all(&other).unwrap();
        cache.retain(&BTreeSet::from([Digest::of(COMPONENT).to_string()])).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_some() && !other.exists());
        cache.retain(&BTreeSet::new()).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_none());
    }
}
