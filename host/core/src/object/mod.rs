//! The fields of API objects that checks evaluate, and their conversion to subjects.
//!
//! The same types deserialize manifests and the responses of an API server, so both result in the same facts. Other
//! fields are not deserialized: this is faster, and invalid values of irrelevant fields are not reported.

mod extract;
mod strict;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::subject::RestartPolicy;

pub use extract::{Context, ExtractError, Extraction, PodFacts};
pub use strict::Labels;
use strict::{Entries, Fields, null_as_default, text, text_or_nothing};

/// An API object of any kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// The API version; empty in the items of a typed list.
    #[serde(deserialize_with = "text")]
    pub api_version: String,
    /// The kind; empty in the items of a typed list.
    #[serde(deserialize_with = "text")]
    pub kind: String,
    /// The metadata.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Metadata,
    /// The spec of a pod or a workload.
    #[serde(deserialize_with = "null_as_default")]
    pub spec: Spec,
    /// The status of a pod.
    #[serde(deserialize_with = "null_as_default")]
    pub status: PodStatus,
}

/// An API object without its spec, which can have any structure.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Header {
    /// The API version.
    #[serde(deserialize_with = "text")]
    pub api_version: String,
    /// The kind.
    #[serde(deserialize_with = "text")]
    pub kind: String,
    /// The metadata.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Metadata,
}

/// The metadata of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// The prefix of a name that the API server generates.
    #[serde(deserialize_with = "text")]
    pub generate_name: String,
    /// The namespace. In an item of a `List`, kubectl ignores a namespace that is not a string, such as `n`, which is a
    /// boolean in YAML 1.1; in a separate document it is an error.
    #[serde(deserialize_with = "text_or_nothing")]
    pub namespace: String,
    /// The labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    /// The owners.
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
    /// The time of creation, in RFC 3339.
    pub creation_timestamp: Option<DateTime<Utc>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
    /// The resource version, which only objects stored by an API server have.
    #[serde(deserialize_with = "text_or_nothing")]
    pub resource_version: String,
}

/// An owner of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// The API version of the owner.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// The kind of the owner.
    pub kind: String,
    /// The name of the owner.
    pub name: String,
    /// Whether the owner is the managing controller.
    pub controller: Option<bool>,
}

/// The spec of a pod, or of a workload with a pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    containers: Option<Vec<Fields<ContainerSpec>>>,
    init_containers: Option<Vec<Fields<ContainerSpec>>>,
    ephemeral_containers: Option<Vec<Fields<ContainerSpec>>>,
    restart_policy: Option<RestartPolicy>,
    /// The node that a pod is bound to.
    pub node_name: Option<String>,
    template: Option<Box<PodTemplate>>,
    job_template: Option<Box<JobTemplate>>,
}

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    #[serde(deserialize_with = "null_as_default")]
    metadata: TemplateMetadata,
    #[serde(deserialize_with = "null_as_default")]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    #[serde(deserialize_with = "null_as_default")]
    labels: Labels,
}

/// The template of the jobs of a CronJob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    #[serde(deserialize_with = "null_as_default")]
    spec: Spec,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerSpec {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "text")]
    image: String,
    restart_policy: Option<RestartPolicy>,
    liveness_probe: Option<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
    startup_probe: Option<IgnoredAny>,
    #[serde(deserialize_with = "null_as_default")]
    ports: Vec<ContainerPort>,
    #[serde(deserialize_with = "null_as_default")]
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<Entries>,
    limits: Option<Entries>,
}

/// The status of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The phase, as written.
    pub phase: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "text")]
    name: String,
    restart_count: Option<u32>,
}
