//! The embedded checks and bundles.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_engine::{Engine, LoadError, LoadedBundle, LoadedCheck};

use crate::precompiled::{self, Embedded};

/// An embedded module that cannot be used, because the program was built incorrectly or for another processor.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The native code is incompatible.
    #[error("the embedded module {name} is not compatible with this program or this processor: {reason}")]
    Native {
        /// The module.
        name: &'static str,
        /// The error of wasmtime.
        reason: String,
    },
    /// The module cannot be loaded.
    #[error("failed to load the embedded module {name}: {cause}")]
    Load {
        /// The module.
        name: &'static str,
        /// The cause.
        cause: LoadError,
    },
}

/// Loads all embedded checks. Returns them by id.
pub fn checks(engine: &Engine) -> Result<BTreeMap<String, Arc<LoadedCheck>>, EmbedError> {
    let mut checks = BTreeMap::new();
    for module in precompiled::checks() {
        let component = module.load(engine).map_err(|reason| EmbedError::Native { name: module.name, reason })?;
        let loaded = LoadedCheck::load(engine, &component, module.digest)
            .map_err(|cause| EmbedError::Load { name: module.name, cause })?;
        checks.extend(loaded.into_iter().map(|check| (check.info().id.clone(), Arc::new(check))));
    }
    Ok(checks)
}

/// Loads all embedded bundles. Returns them sorted by name.
pub fn bundles(engine: &Engine) -> Result<Vec<LoadedBundle>, EmbedError> {
    let load = |module: &Embedded| {
        let component = module.load(engine).map_err(|reason| EmbedError::Native { name: module.name, reason })?;
        LoadedBundle::load(engine, &component, module.digest)
            .map_err(|cause| EmbedError::Load { name: module.name, cause })
    };
    precompiled::bundles().iter().map(load).collect()
}
