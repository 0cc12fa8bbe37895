//! Subjects: the facts about a pod, or about the pod template of a workload, that checks evaluate.

use std::borrow::Cow;
use std::ops::BitOr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check_info::Stage;
use crate::lines::Lines;

pub use kube_devops_facts::{ContainerKind, Phase, Quantities, RestartPolicy, SecurityContext, Status};

/// A pod, or the pod template of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The API group of the object; empty for the core group, and if it is not known.
    pub group: String,
    /// `Pod`, or the kind of the workload.
    pub kind: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name of the object.
    pub name: Arc<str>,
    /// The labels of the pod, sorted by key.
    pub labels: Arc<[(String, String)]>,
    /// The annotations of the pod, sorted by key; empty unless a check needs them.
    pub annotations: Vec<(String, String)>,
    /// The object that controls the pod.
    pub controller: Option<Arc<Controller>>,
    /// The restart policy of the containers.
    pub restart_policy: RestartPolicy,
    /// The other facts about the whole pod.
    pub pod: PodContext,
    /// App containers first, then init containers and sidecars, then ephemeral containers.
    pub containers: Vec<Container>,
    /// The status; `None` for a manifest without status and for an admission request.
    pub status: Option<Status>,
    /// The JSON Pointer from the object to the spec of the pod: `/spec`, `/spec/template/spec`, ...
    pub spec_pointer: Cow<'static, str>,
    /// The number of the workload whose pod template the pod was created from, if it is a subject of the same evaluation. Only the
    /// runtime status of such a pod is evaluated: violations in its spec are counted once, for the template. The pods of a workload
    /// have the same number.
    pub workload: Option<usize>,
    /// The file that the object was read from.
    pub source: Option<Source>,
    /// The line numbers of the fields of the pod spec in the file.
    pub lines: Lines,
    /// The complete object; `None` unless a check needs it.
    pub object: Option<Arc<Value>>,
    /// The part of the object that could not be read; `None` if all facts are known.
    pub unreadable: Option<Box<Unreadable>>,
}

/// A part of an object that could not be read. Checks that need it do not evaluate the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The part: with an unreadable spec, no check can evaluate the subject.
    pub stage: Stage,
    /// The part and the error.
    pub cause: Arc<str>,
}

/// What checks read in addition to the usual facts. It costs memory, and is read only if a check needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The annotations of pods.
    pub annotations: bool,
    /// Complete objects.
    pub objects: bool,
}

impl BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { annotations: self.annotations | other.annotations, objects: self.objects | other.objects }
    }
}

/// Returns an object as checks read it: without `managedFields` and `resourceVersion`, which change with every write, and do not
/// exist in manifests.
pub fn complete_object(mut object: Value) -> Arc<Value> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    Arc::new(object)
}

impl Subject {
    /// Shares the memory of the texts that are equal to those of another subject. Most consecutive objects of a list are pods of the
    /// same workload.
    pub fn share_texts(&mut self, other: &Self) {
        share(&mut self.kind, &other.kind);
        share(&mut self.namespace, &other.namespace);
        share(&mut self.labels, &other.labels);
        share(&mut self.pod.service_account, &other.pod.service_account);
        for (container, other) in self.containers.iter_mut().zip(&other.containers) {
            share(&mut container.name, &other.name);
            share(&mut container.image, &other.image);
            share(&mut container.ports, &other.ports);
        }
    }

    /// Returns the line of the field at a JSON Pointer into the object, or of the closest enclosing value if there is
    /// no such field.
    pub fn line_of(&self, pointer: &str) -> Option<usize> {
        let field = pointer.strip_prefix(&*self.spec_pointer)?;
        self.lines.line_of(field)
    }
}

/// The facts about a pod that apply to all its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodContext {
    /// The name of the ServiceAccount; empty if none is set.
    pub service_account: Arc<str>,
    /// Whether the pod uses the network of its node.
    pub host_network: bool,
    /// Whether the pod sees the processes of its node.
    pub host_pid: bool,
    /// Whether the pod uses the IPC namespace of its node.
    pub host_ipc: bool,
    /// The types of the volumes, such as `hostPath`, sorted and without duplicates.
    pub volume_types: Vec<Cow<'static, str>>,
}

/// One container of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// The name; may be empty in a manifest.
    pub name: Arc<str>,
    /// The kind of the container.
    pub kind: ContainerKind,
    /// The image reference as written; empty if there is none.
    pub image: Arc<str>,
    /// Whether there is a liveness probe.
    pub has_liveness_probe: bool,
    /// Whether there is a readiness probe.
    pub has_readiness_probe: bool,
    /// Whether there is a startup probe.
    pub has_startup_probe: bool,
    /// The declared container ports, in order.
    pub ports: Arc<[u16]>,
    /// Whether any resource request is set.
    pub has_resource_requests: bool,
    /// Whether any resource limit is set.
    pub has_resource_limits: bool,
    /// The requests of CPU and memory.
    pub requests: Quantities,
    /// The limits of CPU and memory.
    pub limits: Quantities,
    /// The security context.
    pub security_context: SecurityContext,
    /// The number of restarts; `None` if the container has not run yet.
    pub restart_count: Option<u32>,
    /// The place of the container in the spec of the pod.
    pub place: Place,
}

impl Container {
    /// Returns the JSON Pointer from the spec of the pod to the container.
    pub fn pointer(&self) -> String {
        match self.place.index {
            Some(index) => format!("/{}/{index}", self.place.key),
            None => format!("/{}", self.place.key),
        }
    }

    /// Returns the title; it shares the allocation of the name.
    pub(crate) fn shared_title(&self) -> Arc<str> {
        if self.name.is_empty() { self.title().into() } else { self.name.clone() }
    }

    /// Returns the name, or the place in the spec of the pod, such as `containers[0]`, if the container has no name.
    pub fn title(&self) -> Cow<'_, str> {
        match self.place.index {
            _ if !self.name.is_empty() => Cow::Borrowed(&self.name),
            Some(index) => Cow::Owned(format!("{}[{index}]", self.place.key)),
            None => Cow::Borrowed(self.place.key),
        }
    }
}

/// The place of a container in the spec of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The key of the list that contains it, or its own key.
    pub key: &'static str,
    /// The index in the list, or `None` for a container outside of a list.
    pub index: Option<usize>,
}

impl Place {
    /// Returns the place at an index of a list.
    pub fn in_list(key: &'static str, index: usize) -> Self {
        Self { key, index: Some(index) }
    }

    /// Returns the place of a container outside of a list.
    pub fn alone(key: &'static str) -> Self {
        Self { key, index: None }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::in_list("containers", 0)
    }
}

/// The object that controls a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controller {
    /// Its API group; empty for the core group.
    #[serde(skip)]
    pub group: String,
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The location of an object in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The path, as specified or found; `stdin` for standard input.
    pub file: Arc<str>,
    /// The number of the document in the file, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
    /// The first line of the object, which identifies an object within a document.
    #[serde(skip)]
    pub object_line: usize,
}

impl Source {
    /// Returns the part of the location that identifies the object.
    pub fn object(&self) -> (&str, usize, usize) {
        (&self.file, self.document, self.object_line)
    }
}

/// Replaces a value with an equal one.
fn share<T: PartialEq + ?Sized>(value: &mut Arc<T>, other: &Arc<T>) {
    if **value == **other {
        value.clone_from(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn equal_texts_are_shared_and_others_are_kept() {
        let pod = |name: &str, containers: &[&str]| Subject {
            containers: containers.iter().map(|name| testing::container(name)).collect(),
            ..testing::pod(name)
        };
        let (first, mut second) = (pod("web-1", &["app"]), pod("web-2", &["app", "proxy"]));
        let unshared = second.clone();
        second.share_texts(&first);
        assert_eq!(second, unshared);
        assert!(Arc::ptr_eq(&first.namespace, &second.namespace));
        assert!(Arc::ptr_eq(&first.containers[0].image, &second.containers[0].image));
        assert!(!Arc::ptr_eq(&first.containers[0].image, &second.containers[1].image));
    }
}
