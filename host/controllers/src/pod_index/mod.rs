//! All pods of a cluster as facts, indexed by namespace and kept up to date by a watch.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::owner::controller;
use kube_devops_cluster::pods::WatchedPod;
use kube_devops_core::{Needs, Phase, Status, Subject};
use kube_devops_runtime::store::{Store, Watched};
use tokio::time::Instant;

use objects::KeptObjects;

/// The pods to evaluate: those that have not finished and are not being deleted.
#[derive(Debug, Default)]
pub struct PodIndex {
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry>>,
    count: usize,
    pending: BTreeSet<ObjectKey>,
    watched: Watched,
    /// Whether annotations are facts.
    annotations: bool,
    objects: KeptObjects,
}

#[derive(Debug)]
struct Entry {
    subject: Arc<Subject>,
    created: Option<DateTime<Utc>>,
    workload: Arc<ObjectReference>,
}

/// What a user calls the workload of a pod: for a pod of a Deployment, the Deployment and not its ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadRoot {
    /// The kind.
    pub kind: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl WorkloadRoot {
    /// The root of a pod with these labels and this controller. The Deployment is known by the label that it gives its pods:
    /// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label>
    fn of(labels: &[(String, String)], controller: &ObjectReference) -> Self {
        let kind = controller.kind.as_deref().unwrap_or_default();
        let name = controller.name.as_deref().unwrap_or_default();
        let hash = labels.iter().find(|(key, _)| key == "pod-template-hash");
        let deployment = hash.and_then(|(_, hash)| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match deployment.filter(|_| kind == "ReplicaSet") {
            Some(deployment) => Self { kind: "Deployment".into(), name: deployment.into() },
            None => Self { kind: kind.into(), name: name.into() },
        }
    }
}

impl PodIndex {
    /// An empty index. With `needs.objects`, the complete objects of all namespaces are kept.
    pub fn new(needs: Needs) -> Self {
        let objects = if needs.objects { KeptObjects::of_all_namespaces() } else { KeptObjects::default() };
        Self { annotations: needs.annotations, objects, ..Self::default() }
    }

    /// What has to be watched.
    pub fn needs(&self) -> Needs {
        Needs { annotations: self.annotations, objects: self.objects.are_needed() }
    }

    /// Whether annotations are facts from now on. Returns whether the watch has to start over, because they were none before.
    pub fn need_annotations(&mut self, needed: bool) -> bool {
        let is_new = needed && !self.annotations;
        self.annotations |= needed;
        is_new
    }

    /// Keeps the complete objects of these namespaces, and of no others. Returns whether the watch has to start over with
    /// [`PodIndex::needs`], because it does not have the objects of a namespace.
    pub fn keep_objects_of(&mut self, namespaces: BTreeSet<Arc<str>>, now: Instant) -> bool {
        for namespace in self.objects.unneeded(&namespaces) {
            for entry in self.namespaces.get_mut(&namespace).into_iter().flat_map(BTreeMap::values_mut) {
                if let Some(object) = Arc::make_mut(&mut entry.subject).object.take() {
                    self.objects.release(&object);
                }
            }
        }
        self.objects.keep(namespaces, now)
    }

    /// Whether the complete objects of a namespace have been listed.
    pub fn has_objects_of(&self, namespace: &str) -> bool {
        self.objects.are_listed(namespace)
    }

    /// Applies an event of the watch. Returns the pods whose facts changed, and the removed pods.
    pub fn apply(&mut self, event: Event<WatchedPod>, now: DateTime<Utc>) -> Vec<ObjectKey> {
        let mut watched = std::mem::take(&mut self.watched);
        match event {
            Event::Init => self.objects.list_started(),
            Event::InitDone => self.objects.list_ended(),
            _ => {}
        }
        let changed = watched.apply(&mut IndexAt { index: self, now }, event);
        self.watched = watched;
        changed
    }

    /// Updates the ages of the pending pods, and returns their keys.
    pub fn update_ages(&mut self, now: DateTime<Utc>) -> Vec<ObjectKey> {
        let pending: Vec<ObjectKey> = self.pending.iter().cloned().collect();
        for key in &pending {
            let Some(entry) = self.namespaces.get_mut(&key.namespace).and_then(|pods| pods.get_mut(&key.name)) else {
                continue;
            };
            if let Some(created) = entry.created {
                let seconds = (now - created).num_seconds().try_into().unwrap_or(0);
                let status = Some(Status { phase: Phase::Pending, pending_seconds: Some(seconds) });
                Arc::make_mut(&mut entry.subject).status = status;
            }
        }
        pending
    }

    /// Whether all pods have been listed once.
    pub fn is_synced(&self) -> bool {
        self.watched.is_synced()
    }

    /// The number of pods.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The keys of all pods.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        self.namespaces.keys().flat_map(|namespace| self.keys_in(namespace))
    }

    /// The keys of the pods of a namespace.
    pub fn keys_in<'a>(&'a self, namespace: &'a Arc<str>) -> impl Iterator<Item = ObjectKey> + 'a {
        let names = self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::keys);
        names.map(|name| ObjectKey { namespace: namespace.clone(), name: name.clone() })
    }

    /// The pods of a namespace, by name.
    pub fn pods(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<Subject>)> {
        self.namespaces.get(namespace).into_iter().flatten().map(|(name, entry)| (name, &entry.subject))
    }

    /// One pod.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Subject>> {
        self.namespaces.get(&key.namespace)?.get(&key.name).map(|entry| &entry.subject)
    }

    /// The workload of a pod: its controller, or the pod itself if it has none.
    pub fn workload(&self, key: &ObjectKey) -> Option<&Arc<ObjectReference>> {
        self.namespaces.get(&key.namespace)?.get(&key.name).map(|entry| &entry.workload)
    }

    /// The uids of the controllers of the pods of a namespace, one per pod.
    pub fn workload_uids(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let entries = self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values);
        entries.filter_map(|entry| entry.workload.uid.as_deref())
    }

    /// The workload of a pod, as users call it.
    pub fn root(&self, key: &ObjectKey) -> Option<WorkloadRoot> {
        let entry = self.namespaces.get(&key.namespace)?.get(&key.name)?;
        Some(WorkloadRoot::of(&entry.subject.labels, &entry.workload))
    }

    /// Adds or replaces a pod. Returns whether its facts changed.
    fn set(&mut self, key: &ObjectKey, mut pod: WatchedPod, now: DateTime<Utc>) -> bool {
        let created = pod.created();
        let workload = workload(&pod.metadata);
        let object = pod.object.take();
        let needs = Needs { annotations: self.annotations, objects: false };
        let Some(mut subject) = pod.extract(needs, now).into_subject() else { return self.remove(key) };
        if let Some(known) = self.get(key).and_then(|known| known.object.clone()) {
            self.objects.release(&known);
        }
        subject.object = object.filter(|object| self.objects.admits(&key.namespace, object));
        if subject.status.as_ref().is_some_and(|status| status.phase == Phase::Pending) {
            self.pending.insert(key.clone());
        } else {
            self.pending.remove(key);
        }
        let pods = self.namespaces.entry(key.namespace.clone()).or_default();
        let known = pods.get_mut(&key.name);
        if known.as_ref().is_some_and(|entry| *entry.subject == subject && *entry.workload == workload) {
            return false;
        }
        let is_new = known.is_none();
        pods.insert(key.name.clone(), Entry { subject: Arc::new(subject), created, workload: Arc::new(workload) });
        self.count += usize::from(is_new);
        true
    }

    /// Removes a pod. Returns whether it was known.
    fn remove(&mut self, key: &ObjectKey) -> bool {
        let Some(pods) = self.namespaces.get_mut(&key.namespace) else { return false };
        let Some(removed) = pods.remove(&key.name) else { return false };
        if let Some(object) = &removed.subject.object {
            self.objects.release(object);
        }
        if pods.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        self.count -= 1;
        self.pending.remove(key);
        true
    }
}

/// The workload of a pod: its controller, or the pod itself if it has none.
fn workload(metadata: &ObjectMeta) -> ObjectReference {
    controller(metadata).unwrap_or_else(|| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        ..ObjectReference::default()
    })
}

/// The index at a point in time, from which the ages of pending pods are computed.
struct IndexAt<'a> {
    index: &'a mut PodIndex,
    now: DateTime<Utc>,
}

impl Store for IndexAt<'_> {
    type Object = WatchedPod;

    fn set(&mut self, pod: WatchedPod) -> (ObjectKey, bool) {
        let key = Self::key(&pod);
        let is_changed = self.index.set(&key, pod, self.now);
        (key, is_changed)
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        self.index.remove(key)
    }

    fn key(pod: &WatchedPod) -> ObjectKey {
        ObjectKey::of(&pod.metadata)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.index.keys().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
