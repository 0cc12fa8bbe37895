//! DevOpsPolicy: which checks apply in a namespace, and what is done about violations.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use kube_devops_core::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;

/// A Kubernetes quantity that is not negative, such as `100m` or `1.5Gi`.
const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

// What the API server says where a rule of the schema is broken, and what is said of a policy in a file.
const NO_CHECK: &str = "the policy turns no check on: set forbidLatestTag, requireLivenessProbe, requireReadinessProbe, maxRestartCount or forbidPendingDuration";
const NOTHING_TO_FIX: &str = "enforcementMode enforce has nothing to mend: set requireLivenessProbe or requireReadinessProbe to true, or defaultResources";
const CPU_OVER_LIMIT: &str = "cpuRequest is over cpuLimit: a container cannot ask for more than it may use";
const MEMORY_OVER_LIMIT: &str = "memoryRequest is over memoryLimit: a container cannot ask for more than it may use";
const NO_RESOURCES: &str = "defaultResources is empty: set cpuRequest, cpuLimit, memoryRequest or memoryLimit";

/// Which checks apply to the pods of this namespace, how much each matters, and whether workloads are mended. A check whose
/// field is left out is off.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1",
    kind = "DevOpsPolicy",
    plural = "devopspolicies",
    singular = "devopspolicy",
    shortname = "dop",
    category = "governance",
    namespaced,
    status = "DevOpsPolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Which checks apply to the pods of a namespace, and what is done about violations.",
    printcolumn(
        name = "Score",
        type_ = "integer",
        json_path = ".status.healthScore",
        description = "Health score, 0 to 100"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.message",
        description = "What the score means"
    ),
    printcolumn(
        name = "Violations",
        type_ = "integer",
        json_path = ".status.violationCount",
        description = "Violations at the last evaluation"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.enforcementMode",
        description = "audit or enforce"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.forbidLatestTag) || has(self.requireLivenessProbe) || has(self.requireReadinessProbe) || has(self.maxRestartCount) || has(self.forbidPendingDuration)"
    ).message(NO_CHECK),
    validation = Rule::new(
        "!has(self.enforcementMode) || self.enforcementMode != 'enforce' || (has(self.requireLivenessProbe) && self.requireLivenessProbe) || (has(self.requireReadinessProbe) && self.requireReadinessProbe) || has(self.defaultResources)"
    ).message(NOTHING_TO_FIX)
)]
pub struct DevOpsPolicySpec {
    /// Whether images with the tag latest, or without a tag, are violations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forbid_latest_tag: Option<bool>,
    /// Whether app containers without a liveness probe are violations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_liveness_probe: Option<bool>,
    /// Whether app containers without a readiness probe are violations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_readiness_probe: Option<bool>,
    /// A container that restarted more often than this is a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_restart_count: Option<i32>,
    /// A pod that is pending for more seconds than this is a violation. At most a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub forbid_pending_duration: Option<i32>,
    /// `audit` reports violations. `enforce` also adds missing probes and resources to Deployments, StatefulSets and
    /// DaemonSets.
    #[serde(default)]
    pub enforcement_mode: EnforcementMode,
    /// The TCP probe that enforcement adds where one is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_probe: Option<DefaultProbe>,
    /// The requests and limits that enforcement adds where they are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_resources: Option<DefaultResources>,
    /// Severities other than the checks' own, which are all medium. Critical and high violations block admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity_overrides: Option<SeverityOverrides>,
}

impl DevOpsPolicySpec {
    /// The rules of the schema that the policy breaks, in the words of the API server: those that look at several fields at
    /// once, which the API server evaluates in CEL.
    pub fn broken_rules(&self) -> Vec<&'static str> {
        let checks = [self.forbid_latest_tag, self.require_liveness_probe, self.require_readiness_probe];
        let thresholds = [self.max_restart_count, self.forbid_pending_duration];
        let turns_on = checks.iter().any(Option::is_some) || thresholds.iter().any(Option::is_some);
        let mends = [self.require_liveness_probe, self.require_readiness_probe].contains(&Some(true))
            || self.default_resources.is_some();
        let mut broken = Vec::new();
        if !turns_on {
            broken.push(NO_CHECK);
        }
        if self.enforcement_mode == EnforcementMode::Enforce && !mends {
            broken.push(NOTHING_TO_FIX);
        }
        if let Some(resources) = &self.default_resources {
            broken.extend(resources.broken_rules());
        }
        broken
    }
}

/// What is done about violations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    /// Report.
    #[default]
    Audit,
    /// Report, and mend workloads.
    Enforce,
}

/// The TCP probe that enforcement adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultProbe {
    /// The port; left out: the container's first port, or 8080.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub tcp_port: Option<i32>,
    /// Seconds before the first probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub initial_delay_seconds: Option<i32>,
    /// Seconds between probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub period_seconds: Option<i32>,
}

/// The requests and limits that enforcement adds.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.cpuRequest) || !has(self.cpuLimit) || quantity(self.cpuRequest).compareTo(quantity(self.cpuLimit)) <= 0"
    ).message(CPU_OVER_LIMIT),
    validation = Rule::new(
        "!has(self.memoryRequest) || !has(self.memoryLimit) || quantity(self.memoryRequest).compareTo(quantity(self.memoryLimit)) <= 0"
    ).message(MEMORY_OVER_LIMIT),
    validation = Rule::new(
        "has(self.cpuRequest) || has(self.cpuLimit) || has(self.memoryRequest) || has(self.memoryLimit)"
    ).message(NO_RESOURCES)
)]
pub struct DefaultResources {
    /// The CPU request, such as 100m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = QUANTITY), length(max = 32))]
    pub cpu_request: Option<String>,
    /// The CPU limit, such as 500m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = QUANTITY), length(max = 32))]
    pub cpu_limit: Option<String>,
    /// The memory request, such as 128Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = QUANTITY), length(max = 32))]
    pub memory_request: Option<String>,
    /// The memory limit, such as 256Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = QUANTITY), length(max = 32))]
    pub memory_limit: Option<String>,
}

impl DefaultResources {
    fn broken_rules(&self) -> Vec<&'static str> {
        let is_over = |request: &Option<String>, limit: &Option<String>| {
            let value = |text: &Option<String>| text.as_deref().and_then(quantity::value);
            matches!((value(request), value(limit)), (Some(request), Some(limit)) if request > limit)
        };
        let mut broken = Vec::new();
        if *self == Self::default() {
            broken.push(NO_RESOURCES);
        }
        if is_over(&self.cpu_request, &self.cpu_limit) {
            broken.push(CPU_OVER_LIMIT);
        }
        if is_over(&self.memory_request, &self.memory_limit) {
            broken.push(MEMORY_OVER_LIMIT);
        }
        broken
    }
}

/// Severities other than the checks' own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeverityOverrides {
    /// Of images with the tag latest, or without a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_tag: Option<Severity>,
    /// Of containers without a liveness probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_liveness: Option<Severity>,
    /// Of containers without a readiness probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_readiness: Option<Severity>,
    /// Of containers that restart again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_restarts: Option<Severity>,
    /// Of pods that are pending for too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Severity>,
}

/// What the last evaluation of the policy found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevOpsPolicyStatus {
    /// The health score of the namespace under this policy.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_score: Option<i32>,
    /// Whether the score is at least 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// What the score means: Healthy, Stable, Degraded or Critical; or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The weighted share of (pod, check) pairs that passed, in percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compliance: Option<f64>,
    /// The violations, one line each, at most 100 of them.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
    /// How many violations there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation_count: Option<i64>,
    /// How many violations there are of each severity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_severity: BTreeMap<String, i64>,
    /// How many violations there are of each check.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_check: BTreeMap<String, i64>,
    /// When the policy was evaluated last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<DateTime<Utc>>,
    /// The generation of the policy that was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The workloads that enforcement has looked at, the newest first, at most 100 of them.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadStatus>,
    /// Whether the policy is valid, evaluated and enforced.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What enforcement did with a workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: String,
    /// The name.
    pub name: String,
    /// How it stands.
    pub state: WorkloadState,
    /// What was added, or why nothing was.
    pub message: String,
    /// Since when it stands so.
    pub time: DateTime<Utc>,
}

/// How a workload stands with enforcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadState {
    /// Something was added, and all pods run with it.
    Patched,
    /// Something was added, and the pods are being replaced.
    RollingOut,
    /// What was added was taken back, because the new pods did not run. It is not added again to the same template.
    Reverted,
    /// Another field manager owns what would have to be set.
    Conflict,
    /// It must not be changed.
    Refused,
    /// It is annotated to be left as it is.
    Ignored,
    /// This would be added.
    DryRun,
    /// It is changed when all of its pods are available.
    Waiting,
}
