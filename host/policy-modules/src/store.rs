//! The known modules and their versions, as decisions without requests: what to fetch and load next, which version is active, and
//! what the status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube_devops_cluster::crd::{PolicyModule, PolicyModuleStatus};
use kube_devops_engine::{Catalog, Checks, LoadedModule, NameConflict};
use kube_devops_oci::{Digest, Fetched};
use kube_devops_runtime::clock::Now;

use super::content::{Content, ContentError, content, digest_of};
pub use super::known::Failure;
use super::known::Known;
use super::load::Next;
pub use super::load::{Load, LoadFailure, Target};
use super::oci::{Fetch, Identity, View};

/// All modules, by name.
#[derive(Default)]
pub struct ModuleStore {
    modules: BTreeMap<String, Known>,
    maps: BTreeMap<String, Option<ConfigMap>>,
    /// The limit of the size of a module, in bytes.
    most: usize,
}

/// The versions that a cache has to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// The digests of manifests.
    pub manifests: BTreeSet<Digest>,
    /// The digests of components.
    pub components: BTreeSet<String>,
}

/// What may be started now. What may not waits for an event, the end of something else.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Whether another version may be fetched.
    pub fetch: bool,
    /// Whether a version may be loaded.
    pub load: bool,
}

impl ModuleStore {
    /// An empty store. `most` is the limit of the size of a module, in bytes.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Adds or replaces a PolicyModule.
    pub fn set(&mut self, object: PolicyModule) {
        let name = object.name_any();
        // A deleted and recreated object has nothing of the previous one, even if the deletion was not seen.
        if self.modules.get(&name).is_some_and(|known| known.object.uid() != object.uid()) {
            self.modules.remove(&name);
        }
        match self.modules.get_mut(&name) {
            Some(known) => {
                let (before, now) = (&known.object.spec, &object.spec);
                let is_changed = before != now;
                let has_other_keys = now.verify.is_some() && before.verify != now.verify;
                known.is_distrusted |= has_other_keys || before.grants.iter().any(|grant| !now.grants.contains(grant));
                known.object = object;
                if is_changed {
                    known.resolved = None;
                    known.waiting = None;
                    known.next = None;
                    known.progress.restart();
                }
            }
            None => {
                self.modules.insert(name.clone(), Known::new(object));
            }
        }
        self.resolve(&name);
    }

    /// Adds or replaces a PolicyModule whose spec cannot be read, and is empty here. No version of it is used: which keys and grants it
    /// has is not known.
    pub fn set_unreadable(&mut self, object: PolicyModule, message: &str) {
        let name = object.name_any();
        let failure = Failure::of_source("Unreadable", message);
        let mut known = Known::new(object);
        let before = self.modules.remove(&name).and_then(|known| known.failure);
        if before.as_ref() != Some(&failure) {
            tracing::warn!(module = name, "the module is not loaded: {message}");
        }
        known.fail(failure);
        self.modules.insert(name, known);
    }

    /// Removes a PolicyModule. Returns whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        self.modules.remove(name).is_some()
    }

    /// Sets the status of an object that was written, if the object is still the same. The watch reports it later.
    pub fn set_status(&mut self, object: &PolicyModule, status: PolicyModuleStatus) {
        let known = self.modules.get_mut(&object.name_any()).filter(|known| known.object.uid() == object.uid());
        if let Some(known) = known {
            known.object.status = Some(status);
        }
    }

    /// The names of all modules.
    pub fn names(&self) -> Vec<String> {
        self.modules.keys().cloned().collect()
    }

    /// The names of the ConfigMaps that are sources.
    pub fn config_maps(&self) -> BTreeSet<String> {
        self.modules.values().filter_map(|known| Some(known.config_map()?.to_owned())).collect()
    }

    /// Sets the content of a ConfigMap; `None` if it does not exist.
    pub fn set_config_map(&mut self, name: &str, map: Option<ConfigMap>) {
        self.maps.insert(name.to_owned(), map);
        let users = self.modules.iter().filter(|(_, known)| known.config_map() == Some(name));
        let users: Vec<String> = users.map(|(name, _)| name.clone()).collect();
        for user in users {
            self.resolve(&user);
        }
    }

    /// A ConfigMap cannot be read. Modules whose content is known keep it.
    pub fn set_unreadable_config_map(&mut self, name: &str, error: &str) {
        let waiting = self
            .modules
            .values_mut()
            .filter(|known| known.config_map() == Some(name) && !matches!(known.resolved, Some(Ok(_))));
        for known in waiting {
            let error = ContentError::Unreadable { name: name.to_owned(), reason: error.to_owned() };
            known.fail(Failure::of_source("SourceUnreadable", error));
        }
    }

    /// Forgets ConfigMaps that are no longer sources.
    pub fn forget_config_maps(&mut self) {
        let used = self.config_maps();
        self.maps.retain(|name, _| used.contains(name));
    }

    /// Compares the ConfigMap of a module with its versions.
    fn resolve(&mut self, name: &str) {
        let Some(known) = self.modules.get_mut(name) else { return };
        let Some(source) = &known.object.spec.source.config_map else { return };
        let Some(map) = self.maps.get(&source.name) else { return };
        let digest = digest_of(&source.name, map.as_ref(), source.key.as_deref(), self.most);
        let digest = digest.map_err(|error| Failure::from(&error));
        if known.resolved.as_ref() == Some(&digest) {
            return;
        }
        known.next = digest.is_ok().then_some(Next::InConfigMap);
        known.progress.restart();
        match digest {
            Ok(_) => known.resolved = Some(digest),
            Err(failure) => known.fail(failure),
        }
    }

    /// The next version to fetch from a registry, once. It belongs to the module that was not tried for the longest time.
    pub fn next_fetch(&mut self, is_leader: bool, now: Now) -> Option<Fetch> {
        let mut modules: Vec<(&String, &mut Known)> = self.modules.iter_mut().collect();
        // Modules whose registry does not answer are tried again after those that were not tried yet.
        modules.sort_by_key(|(_, known)| known.progress.attempted());
        for (name, known) in modules {
            let Some(source) = &known.object.spec.source.oci else { continue };
            let view = View { module: &known.object, source, is_leader, is_active: known.active.is_some(), now };
            match known.progress.next(view) {
                Ok(Some((reference, origin))) => {
                    let (source, identity) = (source.clone(), Identity::of(&known.object));
                    return Some(Fetch { module: name.clone(), identity, reference, source, origin });
                }
                Ok(None) => {}
                Err(error) => known.fail(Failure::of_source("ReferenceInvalid", error)),
            }
        }
        None
    }

    /// How long to wait for the next version to fetch or load; `None` if only an event can cause one.
    pub fn wait(&self, is_leader: bool, capacity: Capacity, now: Now) -> Option<Duration> {
        let wait = |known: &Known| match known.oci() {
            Some(_) if capacity.fetch => known.wait_for_fetch(is_leader, now),
            // What was fetched from a registry is loaded at once, or fetched again.
            None if capacity.load => known.next.as_ref().and(known.progress.load_pause(now)),
            _ => None,
        };
        let notice = |known: &Known| known.wait_for_notice(now);
        self.modules.values().flat_map(|known| [wait(known), notice(known)]).flatten().min()
    }

    /// Notes which modules wait for a registry, or for other modules, so that their status says so if it takes long.
    pub fn note_waiting(&mut self, is_leader: bool, capacity: Capacity, now: Now) {
        for known in self.modules.values_mut() {
            known.note_waiting(is_leader, capacity.fetch, now);
        }
    }

    /// Whether the result of fetching a version is still needed: its object was not deleted or changed.
    pub fn is_current(&self, fetch: &Fetch) -> bool {
        self.modules.get(&fetch.module).is_some_and(|known| fetch.identity == Identity::of(&known.object))
    }

    /// Enters the result of fetching a version. It is ignored if the source has changed.
    pub fn fetched(&mut self, fetch: &Fetch, result: Result<Fetched, Failure>, now: Now) {
        if !self.is_current(fetch) {
            return;
        }
        let Some(known) = self.modules.get_mut(&fetch.module) else { return };
        match result {
            Ok(Fetched { record, component, reserved }) => {
                known.progress.succeeded(&fetch.origin, &record.manifest);
                let content = Content { digest: record.component.to_string(), bytes: component };
                let origin = Some((fetch.origin.clone(), record.manifest.clone()));
                let load = Load { origin, reserved, ..known.load(content) };
                let resolved = Some(Ok(record.manifest.to_string()));
                if !load.is_fallback() && known.resolved == resolved && known.failure.is_none() {
                    // The version of a tag that was resolved again is the same, and loaded already.
                    known.confirm(load.origin);
                    return;
                }
                if !load.is_fallback() {
                    known.resolved = resolved;
                }
                known.next = Some(Next::Fetched(Box::new(load)));
            }
            Err(failure) => {
                known.progress.failed(&fetch.origin, now);
                if !fetch.origin.is_fallback {
                    known.fail(failure);
                }
            }
        }
    }

    /// The number of versions that were fetched and are not being loaded yet.
    pub fn waiting(&self) -> usize {
        self.modules.values().filter(|known| known.oci().is_some() && known.next.is_some()).count()
    }

    /// The next version to load, once.
    pub fn next_load(&mut self, now: Now) -> Option<Load> {
        let (maps, most) = (&self.maps, self.most);
        let may_load =
            |known: &&mut Known| known.progress.may_load(now) || known.next.as_ref().is_some_and(Next::is_fallback);
        self.modules.values_mut().filter(may_load).find_map(|known| match known.next.take()? {
            Next::Fetched(load) => Some(*load),
            Next::InConfigMap => {
                let source = known.object.spec.source.config_map.as_ref()?;
                let map = maps.get(&source.name)?.as_ref();
                match content(&source.name, map, source.key.as_deref(), most) {
                    Ok(content) => Some(known.load(content)),
                    Err(error) => {
                        known.fail(Failure::from(&error));
                        None
                    }
                }
            }
        })
    }

    /// Whether the ConfigMap of every module was read, and no version is left to fetch or load.
    pub fn is_settled(&self) -> bool {
        let is_read = |known: &Known| known.oci().is_some() || known.resolved.is_some();
        self.modules.values().all(|known| is_read(known) && known.next.is_none() && !known.progress.is_running())
    }

    /// Enters the result of loading a version. It is ignored if there is a newer one.
    pub fn loaded(&mut self, load: Load, result: Result<Arc<LoadedModule>, LoadFailure>, now: Now) {
        let known = self.modules.get_mut(&load.module).filter(|known| known.needs(&load.target()));
        if let Some(known) = known {
            known.loaded(load, result, now);
        }
    }

    /// The versions that are used or may be needed again.
    pub fn used(&self) -> Used {
        let mut used = Used::default();
        for known in self.modules.values() {
            for version in [&known.active, &known.newest].into_iter().flatten() {
                used.components.insert(version.module.digest.clone());
                used.manifests.extend(version.origin.iter().map(|(_, digest)| digest.clone()));
            }
            let approved = known.object.status.as_ref().and_then(|status| status.source.as_ref());
            used.manifests.extend(approved.and_then(|approved| approved.digest.parse().ok()));
        }
        used
    }

    /// Activates the versions that were loaded. Returns the checks of `base` and of all modules if one was activated or
    /// removed since `active`, the digests by module of the last call.
    ///
    /// A name belongs to the module that has it according to its status, and otherwise to the oldest one with it, in every replica and
    /// regardless of the order in which they were loaded: a new version of a module cannot take over a check of another one. The others
    /// become active when the owner is removed.
    pub fn activate(&mut self, base: &Catalog, active: &mut BTreeMap<String, String>) -> Option<Checks> {
        let mut catalog = base.clone();
        let mut owners: BTreeMap<(&'static str, String), String> = BTreeMap::new();
        let held = self.held_names();
        let mut modules: Vec<(&String, &mut Known)> = self.modules.iter_mut().collect();
        modules.sort_by_key(|(name, known)| (known.created(), (*name).clone()));
        for (name, known) in modules {
            known.conflict = None;
            let previous = known.active.take();
            for version in [known.newest.clone(), previous].into_iter().flatten() {
                let foreign = version.names().into_iter().find_map(|held_name| {
                    let owner = held.get(&held_name).filter(|owner| *owner != name)?;
                    let (kind, id) = held_name;
                    Some((NameConflict { kind, name: id }, owner.clone()))
                });
                if let Some((conflict, owner)) = foreign {
                    known.conflict.get_or_insert(conflict_failure(&conflict, &format!("the PolicyModule {owner}")));
                    continue;
                }
                match catalog.add(&version.module) {
                    Ok(()) => {
                        owners.extend(version.names().into_iter().map(|held_name| (held_name, name.clone())));
                        known.active = Some(version);
                        break;
                    }
                    Err(conflict) => {
                        let owner = owners.get(&(conflict.kind, conflict.name.clone()));
                        let owner = owner.map_or("the program".to_owned(), |name| format!("the PolicyModule {name}"));
                        known.conflict.get_or_insert(conflict_failure(&conflict, &owner));
                    }
                }
            }
        }
        let digest =
            |(name, known): (&String, &Known)| Some((name.clone(), known.active.as_ref()?.module.digest.clone()));
        let now: BTreeMap<String, String> = self.modules.iter().filter_map(digest).collect();
        if now == *active {
            return None;
        }
        *active = now;
        Some(catalog.checks())
    }

    /// The owners of the names of checks and bundles that are active according to the statuses, by kind and name: a check and a bundle
    /// with the same name exist beside each other.
    fn held_names(&self) -> BTreeMap<(&'static str, String), String> {
        let mut modules: Vec<(&String, &Known)> = self.modules.iter().collect();
        modules.sort_by_key(|(name, known)| (known.created(), *name));
        let mut held = BTreeMap::new();
        for (name, known) in modules {
            let Some(status) = &known.object.status else { continue };
            let checks = status.checks.iter().map(|id| ("check", id.clone()));
            for held_name in checks.chain(status.bundle.iter().map(|bundle| ("bundle", bundle.clone()))) {
                held.entry(held_name).or_insert_with(|| name.clone());
            }
        }
        held
    }

    /// Whether the current version of each module is active.
    pub fn ready(&self) -> BTreeMap<String, bool> {
        self.modules.iter().map(|(name, known)| (name.clone(), known.is_ready())).collect()
    }

    /// The statuses that differ from those of the objects, while a version is being loaded.
    pub fn statuses(&self, loading: Option<&Target>, now: Now) -> Vec<(PolicyModule, PolicyModuleStatus)> {
        let is_loading =
            |name: &String, known: &Known| loading.is_some_and(|target| target.module == *name && known.needs(target));
        // What is about to be loaded has no status yet, unless it is loaded again after a failure.
        let is_pending = |name: &String, known: &Known| {
            is_loading(name, known) || known.next.is_some() && known.progress.may_load(now)
        };
        let is_known = |name: &String, known: &Known| known.resolved.is_some() && !is_pending(name, known);
        let known = self.modules.iter().filter(|(name, known)| is_known(name, known) || known.notice(now).is_some());
        known
            .map(|(_, known)| (known.object.clone(), known.status(now)))
            .filter(|(object, status)| object.status.as_ref() != Some(status))
            .collect()
    }
}

fn conflict_failure(conflict: &NameConflict, owner: &str) -> Failure {
    Failure::of_load("NameClash", format!("the {} {} already exists in {owner}", conflict.kind, conflict.name))
}

#[cfg(test)]
mod tests;
