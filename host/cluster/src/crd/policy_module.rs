//! PolicyModule: a module with custom checks or a bundle, for all policies of the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a module comes from, and what it may import. Its checks can be enabled by the policies of all namespaces.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1alpha1",
    kind = "PolicyModule",
    plural = "policymodules",
    singular = "policymodule",
    shortname = "pm",
    category = "governance",
    status = "PolicyModuleStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A WebAssembly module with custom checks or a bundle.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the current version of the module is active"
    ),
    printcolumn(
        name = "Checks",
        type_ = "string",
        json_path = ".status.checks",
        description = "The checks of the active version"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "The reason for the condition Ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PolicyModuleSpec {
    /// Where the module comes from.
    pub source: ModuleSource,
    /// What the module may import in addition to the log.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 8))]
    pub grants: Vec<Grant>,
}

/// The source of a module.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSource {
    /// A ConfigMap in the namespace of the platform.
    pub config_map: ConfigMapSource,
}

/// A key of a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of `binaryData` with the component, which may be compressed with gzip. Default: the only key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A permission of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Read access to the complete objects that are evaluated.
    Object,
}

/// The state of a module, as the leader of the operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyModuleStatus {
    /// The generation of the object that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The digest of the active version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The checks of the active version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The bundle of the active version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Whether the module was found, loaded and is active.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
