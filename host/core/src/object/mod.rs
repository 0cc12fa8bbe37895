//! The fields of API objects that checks evaluate, and their conversion to subjects.
//!
//! The same types deserialize manifests and the responses of an API server, so both result in the same facts. Other
//! fields are not deserialized: this is faster, and invalid values of irrelevant fields are not reported.

mod extract;
mod probe;
mod strict;
mod templated;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::subject::RestartPolicy;

pub use extract::{Context, ExtractError, Extraction, PodFacts};
use probe::Probe;
pub use strict::Labels;
use strict::{Fields, ResourceMap, VolumeType, null_as_default, text, text_or_nothing};
pub use templated::{Revision, Templated};

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
    /// The annotations.
    #[serde(deserialize_with = "null_as_default")]
    pub annotations: Labels,
    /// The owners.
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
    /// The time of creation, in RFC 3339.
    pub creation_timestamp: Option<DateTime<Utc>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
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

/// Defines a struct with the fields of the spec of a pod, and with more fields. Types that contain themselves would need stack for
/// each level of a nested document.
macro_rules! with_pod_fields {
    ($(#[$attribute:meta])* $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            containers: Option<Vec<Fields<ContainerSpec>>>,
            init_containers: Option<Vec<Fields<ContainerSpec>>>,
            ephemeral_containers: Option<Vec<Fields<ContainerSpec>>>,
            restart_policy: Option<RestartPolicy>,
            #[serde(deserialize_with = "text")]
            service_account_name: String,
            /// The former name of the field above.
            #[serde(deserialize_with = "text")]
            service_account: String,
            host_network: Option<bool>,
            #[serde(rename = "hostPID")]
            host_pid: Option<bool>,
            #[serde(rename = "hostIPC")]
            host_ipc: Option<bool>,
            security_context: Option<Fields<SecuritySpec>>,
            volumes: Option<Vec<VolumeType>>,
            $($field: $kind,)*
        }
    };
}

with_pod_fields! {
    /// The spec of a pod.
    PodSpec {}
}

with_pod_fields! {
    /// The spec of an object: that of a pod, or of a workload with a pod template.
    Spec {
        template: Option<Box<PodTemplate>>,
        job_template: Option<Box<JobTemplate>>,
    }
}

impl Spec {
    /// The fields of the spec of a pod.
    fn into_pod(self) -> PodSpec {
        PodSpec {
            containers: self.containers,
            init_containers: self.init_containers,
            ephemeral_containers: self.ephemeral_containers,
            restart_policy: self.restart_policy,
            service_account_name: self.service_account_name,
            service_account: self.service_account,
            host_network: self.host_network,
            host_pid: self.host_pid,
            host_ipc: self.host_ipc,
            security_context: self.security_context,
            volumes: self.volumes,
        }
    }
}

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    #[serde(deserialize_with = "null_as_default")]
    metadata: TemplateMetadata,
    #[serde(deserialize_with = "null_as_default")]
    spec: PodSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    #[serde(deserialize_with = "null_as_default")]
    labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    annotations: Labels,
}

/// The template of the jobs of a CronJob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    #[serde(deserialize_with = "null_as_default")]
    spec: JobSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    template: Option<Box<PodTemplate>>,
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
    liveness_probe: Option<Fields<Probe>>,
    readiness_probe: Option<Fields<Probe>>,
    startup_probe: Option<Fields<Probe>>,
    #[serde(deserialize_with = "null_as_default")]
    ports: Vec<ContainerPort>,
    #[serde(deserialize_with = "null_as_default")]
    resources: Resources,
    security_context: Option<Fields<SecuritySpec>>,
}

/// The security context of a pod or a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecuritySpec {
    privileged: Option<bool>,
    allow_privilege_escalation: Option<bool>,
    read_only_root_filesystem: Option<bool>,
    run_as_non_root: Option<bool>,
    run_as_user: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<ResourceMap>,
    limits: Option<ResourceMap>,
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
    /// The API server accepts negative numbers.
    restart_count: Option<i64>,
}
