//! A pod of the watch or of a list, and the facts about it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kube::api::ObjectMeta;
use kube_devops_core::lines::Lines;
use kube_devops_core::object::{
    Context, Extraction, Header, Metadata, Object, OwnerReference, PodFacts, PodStatus, Spec,
};
use kube_devops_core::workload::Lifetime;
use kube_devops_core::{Needs, Stage, Subject, Unreadable};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::complete_pod;
use crate::key::ObjectKey;
use crate::lenient::{Lenient, LenientObject};

/// A pod of the watch, with the fields that are evaluated.
#[derive(Debug)]
pub struct WatchedPod {
    /// The metadata.
    pub metadata: ObjectMeta,
    spec: Lenient<Spec>,
    status: Option<Lenient<PodStatus>>,
    /// The complete object, if the watch has it.
    pub object: Option<Arc<Value>>,
}

impl WatchedPod {
    /// A pod of which only the evaluated fields were read.
    pub fn of(pod: LenientObject<Spec, PodStatus>) -> Self {
        Self { metadata: pod.metadata, spec: pod.spec, status: pod.status, object: None }
    }

    /// A pod that was read as a whole.
    pub fn complete(pod: LenientObject<Box<RawValue>, Box<RawValue>>) -> Self {
        let LenientObject { metadata, spec, status } = pod;
        let status = status.and_then(|status| status.0.ok());
        let values = || -> Result<Value, String> {
            let spec: Value = Lenient::of(spec.0.as_deref().map_err(String::clone)?).0?;
            let status: Option<Value> = status.as_deref().map(|status| Lenient::of(status).0).transpose()?;
            Ok(json!({ "metadata": metadata, "spec": spec, "status": status }))
        };
        // Checks that read complete objects report that there is none.
        let object = values().ok().map(complete_pod);
        let spec = Lenient(spec.0.and_then(|spec| Lenient::of(&spec).0));
        Self { metadata, spec, status: status.as_deref().map(Lenient::of), object }
    }

    /// The time of its creation.
    pub fn created(&self) -> Option<DateTime<Utc>> {
        self.metadata.creation_timestamp.as_ref().and_then(created)
    }

    /// The subject of the pod, unless it has finished or is being deleted. A pod of which a part cannot be read is a subject that
    /// is not evaluated by the checks that need this part.
    pub fn extract(self, needs: Needs, now: DateTime<Utc>) -> Extraction {
        if self.metadata.deletion_timestamp.is_some() {
            return Extraction::Finished;
        }
        let context = Context { now, default_namespace: "default".to_owned(), source: None, needs };
        let key = ObjectKey::of(&self.metadata);
        let (api_version, kind, metadata) = (String::new(), "Pod".to_owned(), fields(self.metadata));
        let unreadable = |stage, part: &str, error: String| {
            let cause = format!("failed to read the {part}: {error}");
            tracing::warn!(pod = %key, "{cause}");
            Some(Unreadable { stage, cause: cause.into() })
        };
        let (status, unread) = match self.status.map_or_else(|| Ok(PodStatus::default()), |status| status.0) {
            Ok(status) => (status, None),
            Err(error) => (PodStatus::default(), unreadable(Stage::Runtime, "status", error)),
        };
        let extracted = match self.spec.0 {
            Ok(spec) => Object { api_version, kind, metadata, spec, status }.extract(&context),
            Err(error) => {
                let header = Header { api_version, kind, metadata };
                if header.is_finished(&status) {
                    return Extraction::Finished;
                }
                let (facts, lifetime) = (PodFacts::default(), Lifetime::ByRestartPolicy);
                let subject = header.subject(facts, lifetime, &status, "/spec".into(), Lines::default(), &context);
                let unreadable = unreadable(Stage::Spec, "spec", error);
                return Extraction::Subject(Box::new(Subject { unreadable: unreadable.map(Box::new), ..subject }));
            }
        };
        match extracted {
            Ok(Extraction::Subject(subject)) => Extraction::Subject(Box::new(Subject {
                unreadable: unread.map(Box::new),
                object: self.object,
                ..*subject
            })),
            Ok(extraction) => extraction,
            Err(error) => {
                // The API server has no pods without containers.
                tracing::warn!(pod = %key, "failed to read a pod, which is not evaluated: {error}");
                Extraction::NoPods
            }
        }
    }
}

/// The metadata that facts are extracted from.
fn fields(metadata: ObjectMeta) -> Metadata {
    let owner = |owner: k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| OwnerReference {
        api_version: owner.api_version,
        kind: owner.kind,
        name: owner.name,
        controller: owner.controller,
    };
    Metadata {
        name: metadata.name.unwrap_or_default(),
        namespace: metadata.namespace.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default().into(),
        annotations: metadata.annotations.unwrap_or_default().into(),
        owner_references: metadata.owner_references.unwrap_or_default().into_iter().map(owner).collect(),
        creation_timestamp: metadata.creation_timestamp.as_ref().and_then(created),
        ..Metadata::default()
    }
}

/// A time of Kubernetes, which has a precision of seconds.
fn created(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.0.as_second(), 0)
}
