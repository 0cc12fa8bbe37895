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
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kube_devops_files::{Digest, Replacement, create_private_folder, replace};
use wasmtime::component::Component;

use crate::PrivateFolder;
use crate::folder::check;

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
        // Others may have created them while they could write in the folder of the cache.
        [&self.root, &self.folder, &file, &sum].into_iter().try_for_each(|path| check(path).map(drop)).ok()?;
        let expected = fs::read_to_string(sum).ok()?;
        if Digest::of_reader(File::open(&file).ok()?).ok()?.hexadecimal() != expected {
            return None;
        }
        // SAFETY: wasmtime requires that the file contains what its compiler has written, and is not modified while it is mapped.
        // The folder of the cache, the folders in it and the file belong to the user of this program, and other users cannot write in
        // them, which `PrivateFolder` guarantees and `check` above. So no other user has created the file; and only `finish` creates files with this name, with the content that an engine with the same hash has
        // written, in this process or in a child with the same executable. It never changes a file, but replaces it by renaming. The
        // checksum excludes damage by the disk. Wasmtime checks that the code matches the configuration of the engine and the
        // processor.
        unsafe { Component::deserialize_file(engine, &file) }.ok()
    }

    /// Creates the file for the native code of a component.
    pub(crate) fn create(&self, component: &[u8]) -> io::Result<Replacement> {
        create_private_folder(&self.folder)?;
        [&self.root, &self.folder].into_iter().try_for_each(|path| check(path).map(drop)).map_err(io::Error::other)?;
        Replacement::of(&self.files(component).0)
    }

    /// Adds the native code of a component to the cache, after it was written completely.
    pub(crate) fn finish(&self, component: &[u8], native: Replacement) -> io::Result<()> {
        let mut file = native.file();
        file.seek(SeekFrom::Start(0))?;
        let digest = Digest::of_reader(file)?;
        native.finish()?;
        replace(&self.files(component).1, digest.hexadecimal().as_bytes())
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

/// Native code that [`crate::ChildCompiler`] has received from its child.
pub(crate) struct NativeCode(pub(crate) Vec<u8>);

impl NativeCode {
    /// Loads the component.
    pub(crate) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: wasmtime requires bytes of its compiler. Only `ChildCompiler` creates values of this type, from what a child with the
        // executable of this process has written to a pipe that no other process has. Wasmtime checks that they are complete and match the
        // configuration of the engine and the processor.
        unsafe { Component::deserialize(engine, &self.0) }
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
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::{Limits, configuration};

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn cache() -> (tempfile::TempDir, wasmtime::Engine, CompiledCache) {
        let folder = tempfile::tempdir().unwrap();
        let engine = wasmtime::Engine::new(&configuration(&Limits::default())).unwrap();
        let cache = CompiledCache::new(&PrivateFolder::open(&folder.path().join("cache")).unwrap(), &engine);
        (folder, engine, cache)
    }

    fn store(cache: &CompiledCache, engine: &wasmtime::Engine) {
        let native = cache.create(COMPONENT).unwrap();
        native.file().write_all(&engine.precompile_component(COMPONENT).unwrap()).unwrap();
        cache.finish(COMPONENT, native).unwrap();
    }

    #[test]
    fn damaged_truncated_and_missing_files_are_misses() {
        let (_folder, engine, cache) = cache();
        assert!(cache.load(&engine, COMPONENT).is_none());
        store(&cache, &engine);
        assert!(cache.load(&engine, COMPONENT).is_some());
        let (file, sum) = cache.files(COMPONENT);
        let native = fs::read(&file).unwrap();
        for damaged in [&native[..native.len() / 2], b"", &[&native[..], b"x"].concat()] {
            fs::write(&file, damaged).unwrap();
            assert!(cache.load(&engine, COMPONENT).is_none());
        }
        store(&cache, &engine);
        assert!(cache.load(&engine, COMPONENT).is_some());
        fs::remove_file(sum).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_none());
    }

    #[test]
    fn files_and_folders_that_others_can_write_or_that_are_links_are_misses() {
        let (_folder, engine, cache) = cache();
        store(&cache, &engine);
        let (file, sum) = cache.files(COMPONENT);
        let permit = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (path, private) in [(&cache.root, 0o700), (&cache.folder, 0o700), (&file, 0o600), (&sum, 0o600)] {
            permit(path, private | 0o020);
            assert!(cache.load(&engine, COMPONENT).is_none(), "{path:?}");
            assert_eq!(cache.create(COMPONENT).is_ok(), private == 0o600, "{path:?}");
            permit(path, private);
        }
        assert!(cache.load(&engine, COMPONENT).is_some());
        let other = cache.folder.join("other");
        fs::rename(&file, &other).unwrap();
        symlink(&other, &file).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_none());
    }

    #[test]
    fn code_that_nothing_refers_to_is_removed() {
        let (_folder, engine, cache) = cache();
        store(&cache, &engine);
        let other = cache.root.join("0123");
        fs::create_dir_all(&other).unwrap();
        cache.retain(&BTreeSet::from([Digest::of(COMPONENT).to_string()])).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_some() && !other.exists());
        cache.retain(&BTreeSet::new()).unwrap();
        assert!(cache.load(&engine, COMPONENT).is_none());
    }
}
