//! A check of a loaded module.

use std::sync::Arc;

use kube_devops_core::{CheckInfo, Needs};
use wasmtime::component::Component;

use crate::rule_cache::RuleCache;
use crate::{Engine, LoadError, Module};

/// A check of a loaded module, with its metadata.
#[derive(Clone)]
pub struct CheckModule {
    module: Arc<Module>,
    info: CheckInfo,
    rules: Arc<RuleCache>,
}

impl CheckModule {
    /// Loads a component, and returns all its checks. `digest` identifies the module in errors and logs.
    pub fn load(engine: &Engine, component: &Component, digest: &str) -> Result<Vec<Self>, LoadError> {
        let (module, infos) = Module::load(engine, component, digest)?;
        Ok(infos.into_iter().map(|info| Self { module: module.clone(), info, rules: Arc::default() }).collect())
    }

    /// Returns the metadata of the check.
    pub fn info(&self) -> &CheckInfo {
        &self.info
    }

    /// Returns the digest that identifies the module in errors and logs.
    pub fn digest(&self) -> &str {
        self.module.digest()
    }

    /// Returns what the check needs in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        Needs { annotations: self.info.needs_annotations, objects: self.module.needs_objects() }
    }

    /// Returns the rules that were created from the check, also by other [`crate::Checks`].
    pub(crate) fn rules(&self) -> &RuleCache {
        &self.rules
    }

    /// Returns the module, which other checks may share.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }
}
