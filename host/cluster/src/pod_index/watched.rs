//! A pod of the watch, and the facts about it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;
use kube_devops_core::object::{Context, Metadata, Object, OwnerReference, PodStatus, Spec};
use kube_devops_core::{Needs, Subject};
use serde_json::{Value, json};

use crate::key::ObjectKey;
use crate::lenient::Lenient;
use crate::owner::controller;
use crate::pods::complete_pod;

/// A pod of the watch, with the fields that are evaluated.
#[derive(Debug)]
pub struct WatchedPod {
    /// The metadata.
    pub metadata: ObjectMeta,
    spec: Lenient<Spec>,
    status: Option<Lenient<PodStatus>>,
    /// The complete object, if the watch has it.
    pub(super) object: Option<Arc<Value>>,
}

impl WatchedPod {
    /// A pod of which only the evaluated fields were read.
    pub fn of(pod: kube::core::Object<Lenient<Spec>, Lenient<PodStatus>>) -> Self {
        Self { metadata: pod.metadata, spec: pod.spec, status: pod.status, object: None }
    }

    /// A pod that was read as a whole.
    pub fn complete(pod: kube::core::Object<Value, Value>) -> Self {
        let kube::core::Object { metadata, spec, status, .. } = pod;
        let read = (Lenient::of(&spec), status.as_ref().map(Lenient::of));
        let object = complete_pod(json!({ "metadata": metadata, "spec": spec, "status": status }));
        Self { metadata, spec: read.0, status: read.1, object: Some(object) }
    }
}

/// The workload of a pod: its controller, or the pod itself if it has none.
pub(super) fn workload(metadata: &ObjectMeta) -> ObjectReference {
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
pub(super) fn subject(
    pod: WatchedPod,
    created: Option<DateTime<Utc>>,
    needs: Needs,
    now: DateTime<Utc>,
) -> Option<Subject> {
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
            annotations: metadata.annotations.filter(|_| needs.annotations).unwrap_or_default().into(),
            owner_references: metadata.owner_references.unwrap_or_default().into_iter().map(owner).collect(),
            creation_timestamp: created,
            ..Metadata::default()
        },
        spec,
        status: status.unwrap_or_default(),
        api_version: String::new(),
    };
    let context = Context { now, default_namespace: "default".to_owned(), source: None, needs };
    let extracted =
        object.extract(&context).map_err(|error| failed("a pod, which is not evaluated", error.to_string()));
    extracted.ok()?.into_subject()
}
