//! A check of a loaded module.

use std::sync::Arc;

use kube_devops_core::CheckInfo;
use wasmtime::component::Component;

use crate::{Engine, LoadError, Module};

/// A check of a loaded module, with its metadata.
#[derive(Clone)]
pub struct CheckModule {
    module: Arc<Module>,
    info: CheckInfo,
}

impl CheckModule {
    /// Loads a component, and returns all its checks. `digest` identifies the module in errors and logs.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Vec<Self>, LoadError> {
        let (module, infos) = Module::load(engine, component, digest)?;
        Ok(infos.into_iter().map(|info| Self { module: module.clone(), info }).collect())
    }

    /// Returns the metadata of the check.
    pub fn info(&self) -> &CheckInfo {
        &self.info
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub fn digest(&self) -> &str {
        self.module.digest()
    }

    /// Reports whether the check reads complete objects, which the host must then keep.
    pub fn needs_objects(&self) -> bool {
        self.module.needs_objects()
    }

    /// Returns the module, which other checks may share.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }
}
