//! The checks and bundles of the program, loaded in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use kube_devops_core::{Bundle, CheckInfo};
use kube_devops_engine::{CheckModule, Checks, Engine, Limits};

/// Loads checks and bundles.
pub struct Modules {
    engine: Engine,
}

impl Modules {
    /// Starts an engine with the default limits.
    pub fn new() -> Result<Self> {
        Ok(Self { engine: Engine::new(Limits::default())? })
    }

    /// Returns the checks, to create rules from.
    pub fn checks(&self) -> Result<Checks> {
        Ok(Checks::new(self.check_modules()?, self.engine.limits().clone()))
    }

    /// Returns the metadata of the checks, by id.
    pub fn check_infos(&self) -> Result<BTreeMap<String, CheckInfo>> {
        Ok(self.check_modules()?.into_iter().map(|(id, module)| (id, module.info().clone())).collect())
    }

    /// Returns the bundles, sorted by name.
    pub fn bundles(&self) -> Result<Vec<Bundle>> {
        let modules = kube_devops_modules::bundles(&self.engine)?;
        Ok(modules.iter().map(|module| module.bundle().clone()).collect())
    }

    /// Returns the bundle with a name.
    pub fn bundle(&self, name: &str) -> Result<Bundle> {
        let bundles = self.bundles()?;
        match bundles.iter().find(|bundle| bundle.name == name) {
            Some(bundle) => Ok(bundle.clone()),
            None => {
                let known: Vec<_> = bundles.iter().map(|bundle| bundle.name.as_str()).collect();
                bail!("unknown bundle {name:?}; available bundles: {}", known.join(", "))
            }
        }
    }

    fn check_modules(&self) -> Result<BTreeMap<String, Arc<CheckModule>>> {
        Ok(kube_devops_modules::checks(&self.engine)?)
    }
}
