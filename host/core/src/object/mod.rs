//! API objects, as far as they are evaluated, and how they become subjects.
//!
//! The same types read manifests and the answers of an API server, so both give the same facts. What is not evaluated is
//! not read: reading stays fast, and nobody hears of mistakes in fields that do not matter here.

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
    /// The group and version; empty in the items of a typed list.
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

/// An API object without its spec, which may be of any shape.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Header {
    /// The group and version.
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
    /// The start of the name, where the API server generates the rest.
    #[serde(deserialize_with = "text")]
    pub generate_name: String,
    /// The namespace. In an item of a `List`, kubectl passes over one that is not text, such as `n`, which is a boolean in YAML
    /// 1.1; in a document of its own it fails.
    #[serde(deserialize_with = "text_or_nothing")]
    pub namespace: String,
    /// The labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    /// The owners.
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
    /// When the object was created, in RFC 3339.
    pub creation_timestamp: Option<DateTime<Utc>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
    /// The version that the API server has stored; nothing else has one.
    #[serde(deserialize_with = "text_or_nothing")]
    pub resource_version: String,
}

/// One owner of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// The group and version of the owner.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// The kind of the owner.
    pub kind: String,
    /// The name of the owner.
    pub name: String,
    /// Whether it is the managing controller.
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

/// A container in the spec of a pod.
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
