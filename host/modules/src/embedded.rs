//! The checks and bundles that are part of the program.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_engine::{BundleModule, CheckModule, Engine, LoadError};

use crate::precompiled::{self, Embedded};

/// An embedded module that cannot be used: the program was built wrongly, or for another processor.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The native code does not fit.
    #[error("the embedded module {name} does not fit this program or this processor: {reason}")]
    Native {
        /// The module.
        name: &'static str,
        /// What wasmtime said.
        reason: String,
    },
    /// The module does not work.
    #[error("the embedded module {name} cannot be loaded: {cause}")]
    Load {
        /// The module.
        name: &'static str,
        /// Why.
        cause: LoadError,
    },
}

/// The names of the embedded checks, sorted; nothing is loaded for it.
pub fn check_names() -> impl Iterator<Item = &'static str> {
    precompiled::checks().iter().map(|module| module.name)
}

/// The names of the embedded bundles, sorted; nothing is loaded for it.
pub fn bundle_names() -> impl Iterator<Item = &'static str> {
    precompiled::bundles().iter().map(|module| module.name)
}

/// All embedded checks, by id.
pub fn checks(engine: &Engine) -> Result<BTreeMap<String, Arc<CheckModule>>, EmbedError> {
    let load = |module: &Embedded| {
        let component = module.load(engine).map_err(|reason| EmbedError::Native { name: module.name, reason })?;
        let check = CheckModule::load(engine, &component, module.digest)
            .map_err(|cause| EmbedError::Load { name: module.name, cause })?;
        Ok((check.info().id.clone(), Arc::new(check)))
    };
    precompiled::checks().iter().map(load).collect()
}

/// All embedded bundles, sorted by name.
pub fn bundles(engine: &Engine) -> Result<Vec<BundleModule>, EmbedError> {
    let load = |module: &Embedded| {
        let component = module.load(engine).map_err(|reason| EmbedError::Native { name: module.name, reason })?;
        BundleModule::load(engine, &component, module.digest)
            .map_err(|cause| EmbedError::Load { name: module.name, cause })
    };
    precompiled::bundles().iter().map(load).collect()
}
