//! The loading of a version. Another process compiles it; this one links it, and calls its `describe`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_devops_engine::{Engine, LoadedModule};

use super::store::{Load, LoadFailure};

/// Compiles and loads a version.
pub fn compile(engine: &Engine, load: &Load) -> Result<Arc<LoadedModule>, LoadFailure> {
    let compile = || LoadedModule::compile(engine, &load.content.bytes, &load.content.digest, load.grants);
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(loaded) => loaded.map(Arc::new).map_err(|error| LoadFailure::from(&error)),
        Err(_) => {
            let message = "loading the module crashed".to_owned();
            Err(LoadFailure { reason: "LoadFailed", message, is_temporary: false })
        }
    }
}
