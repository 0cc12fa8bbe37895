//! All pods of a cluster as facts, indexed by namespace and kept up to date by a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube_devops_core::object::{Context, Metadata, Object, OwnerReference, PodStatus, Spec};
use kube_devops_core::{Phase, Status, Subject};

use crate::key::ObjectKey;
use crate::lenient::Lenient;
use crate::owner::controller;
use crate::runtime::store::{Store, Watched};

/// A pod of the watch, with the fields that are evaluated.
pub type WatchedPod = kube::core::Object<Lenient<Spec>, Lenient<PodStatus>>;

/// The pods to evaluate: those that have not finished and are not being deleted.
#[derive(Debug, Default)]
pub struct PodIndex {
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry>>,
    count: usize,
    pending: BTreeSet<ObjectKey>,
    watched: Watched,
    /// Whether annotations are facts.
    annotations: bool,
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
    /// An empty index. `annotations`: whether annotations are facts, because a check needs them.
    pub fn new(annotations: bool) -> Self {
        Self { annotations, ..Self::default() }
    }

    /// Applies an event of the watch. Returns the pods whose facts changed, and the removed pods.
    pub fn apply(&mut self, event: Event<WatchedPod>, now: DateTime<Utc>) -> Vec<ObjectKey> {
        let mut watched = std::mem::take(&mut self.watched);
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

    /// Whether there are no pods.
    pub fn is_empty(&self) -> bool {
        self.count == 0
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

    /// The namespaces that have pods.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.namespaces.keys()
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

    /// The workload of a pod, as users call it.
    pub fn root(&self, key: &ObjectKey) -> Option<WorkloadRoot> {
        let entry = self.namespaces.get(&key.namespace)?.get(&key.name)?;
        Some(WorkloadRoot::of(&entry.subject.labels, &entry.workload))
    }

    /// Adds or replaces a pod. Returns whether its facts changed.
    fn set(&mut self, key: &ObjectKey, pod: WatchedPod, now: DateTime<Utc>) -> bool {
        let created = pod.metadata.creation_timestamp.as_ref();
        let created = created.and_then(|time| DateTime::from_timestamp(time.0.as_second(), 0));
        let workload = workload(&pod.metadata);
        let Some(subject) = subject(pod, created, self.annotations, now) else { return self.remove(key) };
        if subject.status.as_ref().is_some_and(|status| status.phase == Phase::Pending) {
            self.pending.insert(key.clone());
        } else {
            self.pending.remove(key);
        }
        let pods = self.namespaces.entry(key.namespace.clone()).or_default();
        let known = pods.get_mut(&key.name);
        if known.as_ref().is_some_and(|entry| *entry.subject == subject) {
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
        if pods.remove(&key.name).is_none() {
            return false;
        }
        if pods.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        self.count -= 1;
        self.pending.remove(key);
        true
    }
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

/// The facts about a pod; `None` if it is not evaluated.
fn subject(pod: WatchedPod, created: Option<DateTime<Utc>>, annotations: bool, now: DateTime<Utc>) -> Option<Subject> {
    let metadata = pod.metadata;
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    let key = ObjectKey::of(&metadata);
    let failed = |what: &str, error: String| tracing::warn!(pod = %key, "failed to read {what}: {error}");
    let spec = pod.spec.0.map_err(|error| failed("the spec of a pod, which is not evaluated", error)).ok()?;
    let status = pod.status.and_then(|status| status.0.map_err(|error| failed("the status of a pod", error)).ok());
    let owner = |owner: k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| OwnerReference {
        api_version: owner.api_version,
        kind: owner.kind,
        name: owner.name,
        controller: owner.controller,
    };
    let object = Object {
        kind: "Pod".to_owned(),
        metadata: Metadata {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default().into(),
            annotations: metadata.annotations.filter(|_| annotations).unwrap_or_default().into(),
            owner_references: metadata.owner_references.unwrap_or_default().into_iter().map(owner).collect(),
            creation_timestamp: created,
            ..Metadata::default()
        },
        spec,
        status: status.unwrap_or_default(),
        api_version: String::new(),
    };
    let context = Context { now, default_namespace: "default".to_owned(), source: None, annotations };
    let extracted =
        object.extract(&context).map_err(|error| failed("a pod, which is not evaluated", error.to_string()));
    extracted.ok()?.into_subject()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, image: &str) -> WatchedPod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "containers": [{ "name": "app", "image": image }] },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    fn names(keys: &[ObjectKey]) -> Vec<&str> {
        keys.iter().map(|key| &*key.name).collect()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::seconds(seconds)
    }

    #[test]
    fn only_a_change_of_the_facts_is_reported() {
        let mut index = PodIndex::default();
        assert_eq!(names(&index.apply(Event::Apply(pod("a", "Running", "x:1")), at(0))), ["a"]);
        assert!(index.apply(Event::Apply(pod("a", "Running", "x:1")), at(9)).is_empty());
        assert_eq!(names(&index.apply(Event::Apply(pod("a", "Running", "x:2")), at(9))), ["a"]);
        assert_eq!((index.len(), index.pods("shop").count()), (1, 1));
        assert_eq!(names(&index.apply(Event::Apply(pod("a", "Succeeded", "x:2")), at(9))), ["a"]);
        assert!(index.is_empty() && index.namespaces().next().is_none());
        assert!(index.apply(Event::Delete(pod("a", "Succeeded", "x:2")), at(9)).is_empty());
    }

    #[test]
    fn a_list_removes_pods_that_it_does_not_contain() {
        let mut index = PodIndex::default();
        for name in ["a", "b"] {
            index.apply(Event::Apply(pod(name, "Running", "x:1")), at(0));
        }
        assert!(!index.is_synced());
        index.apply(Event::Init, at(0));
        assert!(index.apply(Event::InitApply(pod("b", "Running", "x:1")), at(0)).is_empty());
        assert_eq!(names(&index.apply(Event::InitDone, at(0))), ["a"]);
        assert!(index.is_synced());
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn the_ages_of_pending_pods_are_updated() {
        let mut index = PodIndex::default();
        index.apply(Event::Apply(pod("a", "Pending", "x:1")), at(10));
        index.apply(Event::Apply(pod("b", "Running", "x:1")), at(10));
        let seconds = |index: &PodIndex| {
            index.pods("shop").next().unwrap().1.status.as_ref().and_then(|status| status.pending_seconds)
        };
        assert_eq!(seconds(&index), Some(10));
        assert_eq!(names(&index.update_ages(at(400))), ["a"]);
        assert_eq!(seconds(&index), Some(400));
        index.apply(Event::Apply(pod("a", "Running", "x:1")), at(500));
        assert!(index.update_ages(at(600)).is_empty());
    }

    #[test]
    fn a_malformed_pod_affects_only_itself() {
        let mut index = PodIndex::default();
        let mut malformed = json!({
            "metadata": { "name": "odd", "namespace": "shop" },
            "spec": { "containers": [{ "name": "app", "image": 5 }] },
        });
        let odd = serde_json::from_value(malformed.clone()).unwrap();
        assert!(index.apply(Event::Apply(odd), at(0)).is_empty());
        // A malformed status does not prevent the evaluation of the spec.
        malformed["spec"]["containers"][0]["image"] = json!("x:1");
        malformed["status"] = json!({ "phase": 7 });
        let odd = serde_json::from_value(malformed).unwrap();
        assert_eq!(names(&index.apply(Event::Apply(odd), at(0))), ["odd"]);
    }

    #[test]
    fn the_root_of_a_pod_of_a_deployment_is_the_deployment() {
        let root = |owner: Option<(&str, &str)>, hash: Option<&str>| {
            let owners = owner.map(|(kind, name)| {
                json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true }])
            });
            let metadata: ObjectMeta = serde_json::from_value(json!({
                "name": "web-5d9-x", "ownerReferences": owners, "labels": { "pod-template-hash": hash.unwrap_or("none") },
            }))
            .unwrap();
            let labels: Vec<_> = metadata.labels.clone().unwrap_or_default().into_iter().collect();
            let root = WorkloadRoot::of(&labels, &workload(&metadata));
            format!("{} {}", root.kind, root.name)
        };
        assert_eq!(root(Some(("ReplicaSet", "web-5d9")), Some("5d9")), "Deployment web");
        assert_eq!(root(Some(("ReplicaSet", "web-5d9")), None), "ReplicaSet web-5d9");
        assert_eq!(root(Some(("StatefulSet", "db-5d9")), Some("5d9")), "StatefulSet db-5d9");
        assert_eq!(root(None, None), "Pod web-5d9-x");
    }
}
