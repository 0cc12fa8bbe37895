//! The available modules: their checks by id and their bundles by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube_devops_core::{Bundle, CheckInfo};

use crate::{Checks, Engine, LoadedCheck, LoadedModule};

/// Checks and bundles, to which modules can be added.
#[derive(Clone)]
pub struct Catalog {
    engine: Engine,
    checks: BTreeMap<String, Arc<LoadedCheck>>,
    bundles: BTreeMap<String, Bundle>,
    /// The ids of the checks of added modules.
    added: BTreeSet<String>,
}

/// The reason why a module cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is already a {kind} {name}; rename that of the module")]
pub struct NameConflict {
    /// `check` or `bundle`.
    pub kind: &'static str,
    /// Its id or name.
    pub name: String,
}

impl Catalog {
    /// Creates a catalog of checks, by id, and bundles.
    pub fn new(
        engine: Engine,
        checks: BTreeMap<String, Arc<LoadedCheck>>,
        bundles: impl IntoIterator<Item = Bundle>,
    ) -> Self {
        let bundles = bundles.into_iter().map(|bundle| (bundle.name.clone(), bundle)).collect();
        Self { engine, checks, bundles, added: BTreeSet::new() }
    }

    /// Adds the checks and the bundle of a module.
    ///
    /// # Errors
    ///
    /// If there is a check or a bundle with the same name. Nothing is added then.
    pub fn add(&mut self, module: &LoadedModule) -> Result<(), NameConflict> {
        let ids = module.checks.iter().map(|check| &check.info().id);
        if let Some(id) = ids.into_iter().find(|id| self.checks.contains_key(*id)) {
            return Err(NameConflict { kind: "check", name: id.clone() });
        }
        if let Some(bundle) = module.bundle.as_ref().map(|module| module.bundle()) {
            if self.bundles.contains_key(&bundle.name) {
                return Err(NameConflict { kind: "bundle", name: bundle.name.clone() });
            }
            self.bundles.insert(bundle.name.clone(), bundle.clone());
        }
        let checks = module.checks.iter().map(|check| (check.info().id.clone(), Arc::new(check.clone())));
        self.checks.extend(checks);
        self.added.extend(module.checks.iter().map(|check| check.info().id.clone()));
        Ok(())
    }

    /// Returns the ids of the checks that modules added.
    pub fn added(&self) -> &BTreeSet<String> {
        &self.added
    }

    /// Returns the engine that runs the modules.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the checks and bundles, to create rules from.
    pub fn checks(&self) -> Checks {
        Checks::new(self.checks.clone(), self.engine.limits().clone()).with_bundles(self.bundles.values().cloned())
    }

    /// Returns the metadata of the checks, by id.
    pub fn infos(&self) -> BTreeMap<String, CheckInfo> {
        self.checks.iter().map(|(id, check)| (id.clone(), check.info().clone())).collect()
    }

    /// Returns the bundles, by name.
    pub fn bundles(&self) -> &BTreeMap<String, Bundle> {
        &self.bundles
    }
}
