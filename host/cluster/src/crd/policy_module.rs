//! PolicyModule: a module with custom checks or a bundle, for all policies of the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
#[x_kube(
    validation = Rule::new("!has(self.verify) || has(self.source.oci)")
        .message("only modules of registries have signatures: verify needs source.oci")
)]
pub struct PolicyModuleSpec {
    /// Where the module comes from.
    pub source: ModuleSource,
    /// Who must have signed the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// What the module may import in addition to the log.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 8))]
    pub grants: Vec<Grant>,
}

/// The source of a module: exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMap) != has(self.oci)")
        .message("specify exactly one of configMap and oci")
)]
pub struct ModuleSource {
    /// A ConfigMap in the namespace of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// A repository in a registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

/// A repository in a registry, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// The repository with a tag or a digest, such as `registry.example.com/checks/labels:1.0`. The leader of the operator resolves a
    /// tag when it changes, and all replicas load that version.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// The name of a Secret with the type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg` in the namespace of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
    /// Certificates in PEM format that are trusted for the registry, in addition to those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// Whether to connect without TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not", default, rename = "plainHTTP")]
    pub plain_http: bool,
    /// The number of seconds after which a tag is resolved again. Default: it is not, until the reference or the annotation
    /// `devops.stochastic.io/resolve` changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31536000))]
    pub interval_seconds: Option<i32>,
}

/// The required signature of a module.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The public keys in PEM format, of which one must have signed the module, with cosign or `kube-devops module sign`.
    #[schemars(length(min = 1, max = 8))]
    pub public_keys: Vec<String>,
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
    /// The place of the active version in its registry, from which all replicas load it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ResolvedSource>,
    /// When the source is requested again after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Time>,
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

/// A version in a registry.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedSource {
    /// The reference that was resolved.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: String,
    /// When it was resolved.
    pub time: Time,
    /// The value of the annotation `devops.stochastic.io/resolve` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}
