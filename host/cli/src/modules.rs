//! The checks and bundles of the program and of further modules, loaded in one place.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use kube_devops_cluster::modules::content::component;
use kube_devops_core::Bundle;
use kube_devops_engine::{Catalog, Engine, Grants, Limits, LoadedModule};

/// The location of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleReference {
    /// A file.
    File(PathBuf),
}

impl FromStr for ModuleReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the reference is empty; specify a file, as in file:checks.wasm".to_owned());
        }
        match text.strip_prefix("file:") {
            Some(path) => Ok(Self::File(path.into())),
            None if text.contains("://") => Err("unknown scheme; specify a file, as in file:checks.wasm".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl std::fmt::Display for ModuleReference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::File(path) = self;
        write!(formatter, "{}", path.display())
    }
}

/// Loads the modules of the program and further ones.
///
/// # Errors
///
/// If a module cannot be loaded, or has a check or a bundle with a known name.
pub fn catalog(further: &[ModuleReference]) -> Result<Catalog> {
    let engine = Engine::new(Limits::default())?;
    let checks = kube_devops_modules::checks(&engine)?;
    let bundles = kube_devops_modules::bundles(&engine)?;
    let mut catalog = Catalog::new(engine, checks, bundles.iter().map(|module| module.bundle().clone()));
    for reference in further {
        let loaded = load(catalog.engine(), reference)?;
        catalog.add(&loaded).with_context(|| format!("failed to add the module {reference}"))?;
    }
    Ok(catalog)
}

/// Returns the bundle with a name.
///
/// # Errors
///
/// If there is none.
pub fn bundle(catalog: &Catalog, name: &str) -> Result<Bundle> {
    match catalog.bundles().get(name) {
        Some(bundle) => Ok(bundle.clone()),
        None => {
            let known: Vec<_> = catalog.bundles().keys().map(String::as_str).collect();
            bail!("unknown bundle {name:?}; available bundles: {}", known.join(", "))
        }
    }
}

/// Loads a module. A module of the command line has access to complete objects.
///
/// # Errors
///
/// If it cannot be read or loaded.
pub fn load(engine: &Engine, reference: &ModuleReference) -> Result<LoadedModule> {
    let ModuleReference::File(path) = reference;
    let most = engine.limits().module;
    let content = read(path, most).and_then(|bytes| Ok(component(&bytes, most)?));
    let content = content.with_context(|| format!("failed to read the module {reference}"))?;
    LoadedModule::compile(engine, &content.bytes, &content.digest, Grants::all())
        .with_context(|| format!("failed to load the module {reference}"))
}

/// Reads a file of at most `most` bytes.
fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    // Opening a named pipe would wait for its other end.
    ensure!(fs::metadata(path)?.is_file(), "not a file");
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= most, "the file has more than {most} bytes");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_file_with_or_without_scheme() {
        let file = |path: &str| Ok(ModuleReference::File(path.into()));
        assert_eq!("file:a/b.wasm".parse(), file("a/b.wasm"));
        assert_eq!("./a.wasm".parse(), file("./a.wasm"));
        assert!(ModuleReference::from_str("ftp://host/a.wasm").is_err() && ModuleReference::from_str("").is_err());
    }
}
