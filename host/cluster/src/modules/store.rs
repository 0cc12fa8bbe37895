//! The known modules and their versions, as decisions without requests: what to load next, which version is active, and what
//! the status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube_devops_engine::{Catalog, Checks, Grants, LoadedModule};

use super::content::{Content, ContentError, content};
use crate::crd::condition::{Conditions, LOADED, READY, RESOLVED};
use crate::crd::{Grant, PolicyModule, PolicyModuleStatus};

/// A version to load.
#[derive(Debug, Clone)]
pub struct Load {
    /// The name of the PolicyModule.
    pub module: String,
    /// The component.
    pub content: Content,
    /// What it may import.
    pub grants: Grants,
}

/// The reason why the current version is not active.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    reason: &'static str,
    message: String,
}

/// A PolicyModule and its versions.
struct Known {
    object: PolicyModule,
    /// What the source contained last; `None` if it is not known yet.
    resolved: Option<Result<String, ContentError>>,
    /// The version to load.
    next: Option<Load>,
    /// The newest version that was loaded.
    newest: Option<Arc<LoadedModule>>,
    /// The active version.
    active: Option<Arc<LoadedModule>>,
    failure: Option<Failure>,
    /// Why the newest version is not active although it was loaded.
    clash: Option<Failure>,
}

/// All modules, by name.
#[derive(Default)]
pub struct ModuleStore {
    modules: BTreeMap<String, Known>,
    maps: BTreeMap<String, Option<ConfigMap>>,
    /// The limit of the size of a module, in bytes.
    most: usize,
}

impl ModuleStore {
    /// An empty store. `most` is the limit of the size of a module, in bytes.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Adds or replaces a PolicyModule.
    pub fn set(&mut self, object: PolicyModule) {
        let name = object.name_any();
        match self.modules.get_mut(&name) {
            Some(known) => {
                let is_changed = known.object.spec != object.spec;
                known.object = object;
                if is_changed {
                    known.resolved = None;
                }
            }
            None => {
                let known = Known {
                    object,
                    resolved: None,
                    next: None,
                    newest: None,
                    active: None,
                    failure: None,
                    clash: None,
                };
                self.modules.insert(name.clone(), known);
            }
        }
        self.resolve(&name);
    }

    /// Removes a PolicyModule. Returns whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        self.modules.remove(name).is_some()
    }

    /// The names of all modules.
    pub fn names(&self) -> Vec<String> {
        self.modules.keys().cloned().collect()
    }

    /// The names of the ConfigMaps that are sources.
    pub fn config_maps(&self) -> BTreeSet<String> {
        self.modules.values().map(|known| known.object.spec.source.config_map.name.clone()).collect()
    }

    /// Sets the content of a ConfigMap; `None` if it does not exist.
    pub fn set_config_map(&mut self, name: &str, map: Option<ConfigMap>) {
        self.maps.insert(name.to_owned(), map);
        let users = self.modules.iter().filter(|(_, known)| known.object.spec.source.config_map.name == name);
        let users: Vec<String> = users.map(|(name, _)| name.clone()).collect();
        for user in users {
            self.resolve(&user);
        }
    }

    /// A ConfigMap cannot be read. Modules whose content is known keep it.
    pub fn set_unreadable(&mut self, name: &str, error: &str) {
        tracing::warn!(name, "the watch of a ConfigMap was interrupted: {error}");
        let waiting = self
            .modules
            .values_mut()
            .filter(|known| known.object.spec.source.config_map.name == name && !matches!(known.resolved, Some(Ok(_))));
        for known in waiting {
            let error = ContentError::Unreadable { name: name.to_owned(), reason: error.to_owned() };
            known.failure = Some(Failure { reason: "SourceUnreadable", message: error.to_string() });
            known.resolved = Some(Err(error));
        }
    }

    /// Forgets ConfigMaps that are no longer sources.
    pub fn forget_config_maps(&mut self) {
        let used = self.config_maps();
        self.maps.retain(|name, _| used.contains(name));
    }

    /// Compares the source of a module with its versions.
    fn resolve(&mut self, name: &str) {
        let Some(known) = self.modules.get_mut(name) else { return };
        let source = &known.object.spec.source.config_map;
        let Some(map) = self.maps.get(&source.name) else { return };
        let found = content(&source.name, map.as_ref(), source.key.as_deref(), self.most);
        let digest = found.as_ref().map(|content| content.digest.clone()).map_err(Clone::clone);
        if known.resolved.as_ref() == Some(&digest) {
            return;
        }
        known.resolved = Some(digest);
        known.next = match found {
            Ok(content) => {
                let grants = Grants { object: known.object.spec.grants.contains(&Grant::Object) };
                Some(Load { module: name.to_owned(), content, grants })
            }
            Err(error) => {
                known.failure = Some(Failure { reason: "SourceInvalid", message: error.to_string() });
                None
            }
        };
    }

    /// The next version to load, once.
    pub fn next_load(&mut self) -> Option<Load> {
        self.modules.values_mut().find_map(|known| known.next.take())
    }

    /// Whether the source of every module was read, and no version is left to load.
    pub fn is_settled(&self) -> bool {
        self.modules.values().all(|known| known.resolved.is_some() && known.next.is_none())
    }

    /// Enters the result of loading a version. It is ignored if there is a newer one.
    pub fn loaded(&mut self, module: &str, digest: &str, result: Result<Arc<LoadedModule>, String>) {
        let Some(known) = self.modules.get_mut(module) else { return };
        if !matches!(&known.resolved, Some(Ok(current)) if current == digest) {
            return;
        }
        match result {
            Ok(loaded) => {
                known.newest = Some(loaded);
                known.failure = None;
            }
            Err(message) => known.failure = Some(Failure { reason: "LoadFailed", message }),
        }
    }

    /// Activates the versions that were loaded. Returns the checks of `base` and of all modules if one was activated or
    /// removed since `active`, the digests by module of the last call.
    ///
    /// Of modules with the same names of checks, the oldest PolicyModule is active, in every replica and regardless of the order in
    /// which they were loaded. The others become active when it is removed.
    pub fn activate(&mut self, base: &Catalog, active: &mut BTreeMap<String, String>) -> Option<Checks> {
        let mut catalog = base.clone();
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        let mut modules: Vec<(&String, &mut Known)> = self.modules.iter_mut().collect();
        modules.sort_by_key(|(name, known)| (known.created(), (*name).clone()));
        for (name, known) in modules {
            known.clash = None;
            let previous = known.active.take();
            for version in [known.newest.clone(), previous].into_iter().flatten() {
                match catalog.add(&version) {
                    Ok(()) => {
                        let names = version.checks.iter().map(|check| check.info().id.clone());
                        let bundle = version.bundle.iter().map(|module| module.bundle().name.clone());
                        owners.extend(names.chain(bundle).map(|id| (id, name.clone())));
                        known.active = Some(version);
                        break;
                    }
                    Err(clash) => {
                        let owner = owners.get(&clash.name);
                        let owner = owner.map_or("the program".to_owned(), |name| format!("the PolicyModule {name}"));
                        let message = format!("the {} {} already exists in {owner}", clash.kind, clash.name);
                        known.clash.get_or_insert(Failure { reason: "NameClash", message });
                    }
                }
            }
        }
        let digest = |(name, known): (&String, &Known)| Some((name.clone(), known.active.as_ref()?.digest.clone()));
        let now: BTreeMap<String, String> = self.modules.iter().filter_map(digest).collect();
        if now == *active {
            return None;
        }
        *active = now;
        Some(catalog.checks())
    }

    /// The statuses that differ from those of the objects.
    pub fn statuses(&self, now: DateTime<Utc>) -> Vec<(PolicyModule, PolicyModuleStatus)> {
        let known = self.modules.values().filter(|known| known.resolved.is_some() && known.next.is_none());
        known
            .map(|known| (known.object.clone(), known.status(now)))
            .filter(|(object, status)| object.status.as_ref() != Some(status))
            .collect()
    }
}

impl Known {
    fn created(&self) -> i64 {
        self.object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
    }

    fn status(&self, now: DateTime<Utc>) -> PolicyModuleStatus {
        let before = self.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let conditions = Conditions { before, generation: self.object.metadata.generation, now };
        let kept = match &self.active {
            Some(active) => format!("; the last good version {} stays active", active.digest),
            None => String::new(),
        };
        let resolved = match &self.resolved {
            Some(Ok(digest)) => conditions.of(RESOLVED, true, "Found", digest),
            Some(Err(error)) => conditions.of(RESOLVED, false, "SourceInvalid", &error.to_string()),
            None => conditions.of(RESOLVED, false, "Pending", "the source has not been read yet"),
        };
        let (loaded, ready) = match self.failure.as_ref().or(self.clash.as_ref()) {
            Some(Failure { reason, message }) => {
                let message = format!("{message}{kept}");
                (conditions.of(LOADED, false, reason, &message), conditions.of(READY, false, reason, &message))
            }
            None => (
                conditions.of(LOADED, true, "Loaded", "the current version was loaded"),
                conditions.of(READY, true, "Active", "policies can use the checks of the current version"),
            ),
        };
        PolicyModuleStatus {
            observed_generation: self.object.metadata.generation,
            digest: self.active.as_ref().map(|active| active.digest.clone()),
            checks: self.active.iter().flat_map(|active| &active.checks).map(|check| check.info().id.clone()).collect(),
            bundle: self.active.as_ref().and_then(|active| Some(active.bundle.as_ref()?.bundle().name.clone())),
            conditions: vec![resolved, loaded, ready],
        }
    }
}

#[cfg(test)]
mod tests;
