//! The checks and bundles of the program and of further modules, loaded in one place.

pub mod compiler;
pub mod registry;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube_devops_cluster::connection::Connection;
use kube_devops_core::Bundle;
use kube_devops_engine::{Catalog, Engine, Grants, Limits, LoadedModule, PrivateFolder};
use kube_devops_oci::Reference;
use kube_devops_policy_modules::config_map;
use kube_devops_policy_modules::content::{Content, ContentError, component, content};

use crate::arguments::{ClusterArguments, CompileArguments, ModuleArguments, ModuleReference, ModuleSourceArguments};
use crate::connection::{runtime, with_cluster};
use crate::terminal::print_message;

/// Loads the modules of the program and further ones.
///
/// # Errors
///
/// If a module cannot be loaded, or has a check or a bundle with a known name.
pub fn catalog(further: &ModuleArguments, cluster: &ClusterArguments) -> Result<Catalog> {
    if further.modules.is_empty() && !further.source.verification.module_keys.is_empty() {
        bail!("--module-key has no effect without --module; the checks of the program need no signature");
    }
    // Without further modules, nothing is read from a cache.
    let engine = if further.modules.is_empty() {
        Engine::new(Limits::default())?
    } else {
        engine(&further.source, &further.compile)?
    };
    let mut catalog = embedded(engine)?;
    for reference in &further.modules {
        let loaded = load(catalog.engine(), reference, &further.source, cluster)?;
        catalog.add(&loaded).with_context(|| format!("failed to add the module {reference}"))?;
    }
    Ok(catalog)
}

/// Loads the modules of the program.
///
/// # Errors
///
/// If one cannot be loaded.
pub fn embedded(engine: Engine) -> Result<Catalog> {
    let checks = kube_devops_modules::checks(&engine)?;
    let bundles = kube_devops_modules::bundles(&engine)?;
    Ok(Catalog::new(engine, checks, bundles.iter().map(|module| module.bundle().clone())))
}

/// Creates an engine that keeps the compiled code of modules, if there is a folder for it.
///
/// # Errors
///
/// If the selected folder cannot be used.
pub fn engine(source: &ModuleSourceArguments, compile: &CompileArguments) -> Result<Engine> {
    engine_in(cache(source)?.as_ref(), compile)
}

/// Creates an engine that keeps the compiled code of modules in this folder, if there is one. All modules that are not part of the program
/// are compiled by such an engine.
///
/// # Errors
///
/// If it cannot be created.
pub fn engine_in(folder: Option<&PrivateFolder>, compile: &CompileArguments) -> Result<Engine> {
    Ok(Engine::with(Limits::default(), folder, compile.compiler())?)
}

/// Returns the folder for modules: `None` if none is selected, and the default one cannot be used.
fn cache(source: &ModuleSourceArguments) -> Result<Option<PrivateFolder>> {
    /// The folder is opened for each module.
    static WARNING: Once = Once::new();
    let Ok(path) = source.cache.path() else { return Ok(None) };
    match PrivateFolder::open(&path) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if source.cache.selected().is_some() => Err(error.into()),
        Err(error) => {
            WARNING.call_once(|| print_message("warning", &format!("modules are not cached: {error}")));
            Ok(None)
        }
    }
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
pub fn load(
    engine: &Engine,
    reference: &ModuleReference,
    source: &ModuleSourceArguments,
    cluster: &ClusterArguments,
) -> Result<LoadedModule> {
    let content = fetch(reference, source, cluster, engine.limits().module)
        .with_context(|| format!("failed to read the module {reference}"))?;
    LoadedModule::compile(engine, &content.bytes, &content.digest, Grants::all())
        .with_context(|| format!("failed to load the module {reference}"))
}

/// Loads the module in a file.
///
/// # Errors
///
/// If it cannot be read or loaded.
pub fn load_file(engine: &Engine, path: &Path) -> Result<LoadedModule> {
    let content = file(path, engine.limits().module);
    let content = content.with_context(|| format!("failed to read the module {}", path.display()))?;
    LoadedModule::compile(engine, &content.bytes, &content.digest, Grants::all())
        .with_context(|| format!("failed to load the module {}", path.display()))
}

/// Returns the component in a file, of at most `most` bytes.
///
/// # Errors
///
/// If it cannot be read.
pub fn file(path: &Path, most: usize) -> Result<Content> {
    Ok(component(&read(path, most)?, most)?)
}

/// Returns the component of a reference, of at most `most` bytes.
fn fetch(
    reference: &ModuleReference,
    source: &ModuleSourceArguments,
    cluster: &ClusterArguments,
    most: usize,
) -> Result<Content> {
    if !matches!(reference, ModuleReference::Oci(_)) && !source.verification.module_keys.is_empty() {
        bail!("only modules of registries have signatures; remove --module-key");
    }
    match reference {
        ModuleReference::File(path) => match path.to_str().and_then(|text| text.parse::<Reference>().ok()) {
            Some(reference) if path.try_exists().is_ok_and(|exists| !exists) => {
                bail!("there is no such file; a module of a registry is {reference}")
            }
            _ => file(path, most),
        },
        ModuleReference::Oci(reference) => {
            let store = cache(source)?.map(|folder| registry::store(&folder));
            let pull = registry::pull(store.as_ref(), reference, &source.registry, &source.verification, most as u64);
            let (fetched, entered) = runtime()?.block_on(pull)?;
            if let Err(error) = entered {
                print_message("warning", &format!("the module {reference} was not stored: {error}"));
            }
            Ok(Content { digest: fetched.record.component.to_string(), bytes: fetched.component })
        }
        ModuleReference::ConfigMap { namespace, name, key } => {
            let map = with_cluster(cluster, async |connection: Connection| {
                Ok(config_map(&connection, namespace, name).await?)
            })?;
            ensure!(map.is_some(), "there is no ConfigMap {name} in the namespace {namespace}");
            content(name, map.as_ref(), key.as_deref(), most).map_err(|error| match error {
                ContentError::SeveralKeys(keys) => {
                    anyhow!("the ConfigMap has several keys: {keys}; select one as in configmap:{namespace}/{name}/KEY")
                }
                error => error.into(),
            })
        }
    }
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
