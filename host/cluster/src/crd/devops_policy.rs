//! DevOpsPolicy: the checks of a namespace, and the response to violations.

use std::collections::{BTreeMap, BTreeSet};

use kube_devops_core::Severity;
use kube_devops_core::policy_fields::POLICY_FIELDS;
use kube_devops_core::quantity::Quantity;

use super::check_rule::{CheckRule, NAME};
use super::policy_rules::{has_a_check, no_check, nothing_to_remediate, remediates_if_it_enforces, remediating_fields};
use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Kubernetes quantity that is not negative, such as `100m` or `1.5Gi`.
const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

// Messages for invalid policies: of the API server, for rules of the schema, and of the program, for policies in files.
const CPU_OVER_LIMIT: &str = "cpuRequest is greater than cpuLimit";
const MEMORY_OVER_LIMIT: &str = "memoryRequest is greater than memoryLimit";
const NO_RESOURCES: &str = "defaultResources is empty: set cpuRequest, cpuLimit, memoryRequest or memoryLimit";

/// The checks for the pods of this namespace, their severities, and whether workloads are remediated. A check is disabled if
/// its field is omitted.
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
    doc = "The checks for the pods of a namespace, and the response to violations.",
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
        description = "Classification of the score"
    ),
    printcolumn(
        name = "Compliance",
        type_ = "number",
        json_path = ".status.compliance",
        description = "Weighted share of the checks that passed, in percent"
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
        description = "Whether workloads are remediated (enforce) or not (audit)"
    ),
    printcolumn(
        name = "Evaluated",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Evaluated\")].status",
        description = "Whether every check evaluated every pod"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(has_a_check()).message(no_check().as_str()),
    validation = Rule::new(remediates_if_it_enforces()).message(nothing_to_remediate().as_str())
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
    /// Whether the operator remediates workloads: `audit` changes none, `enforce` adds missing probes and resources to Deployments,
    /// StatefulSets and DaemonSets. The admission webhook denies by severity in both modes.
    #[serde(default)]
    pub enforcement_mode: EnforcementMode,
    /// The TCP probe that enforcement adds where one is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_probe: Option<DefaultProbe>,
    /// The requests and limits that enforcement adds where they are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_resources: Option<DefaultResources>,
    /// Whether DaemonSets are remediated, too. Their rollout replaces the only pod on each node, one node after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediate_daemon_sets: Option<bool>,
    /// Severities that replace those of the checks, which are all medium. Critical and high violations block admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity_overrides: Option<SeverityOverrides>,
    /// The bundle whose checks, settings and severities apply, unless another field of this policy replaces them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME), length(max = 63))]
    pub bundle: Option<String>,
    /// Further checks, such as those of a PolicyModule. They replace the rules of the bundle and of the other fields for
    /// the same check.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"]))]
    pub checks: Vec<CheckRule>,
}

impl DevOpsPolicySpec {
    /// The messages of the rules over several fields, which the API server evaluates in CEL, that the policy violates.
    pub fn broken_rules(&self) -> Vec<String> {
        let fields = serde_json::to_value(self).unwrap_or_default();
        let has_other_checks = self.bundle.is_some() || !self.checks.is_empty();
        let has_check = has_other_checks || POLICY_FIELDS.iter().any(|field| !fields[field.field].is_null());
        let remediates = remediating_fields().any(|field| fields[field] == true)
            || self.default_resources.is_some()
            || has_other_checks;
        let mut broken = Vec::new();
        if !has_check {
            broken.push(no_check());
        }
        if self.enforcement_mode == EnforcementMode::Enforce && !remediates {
            broken.push(nothing_to_remediate());
        }
        let ids: BTreeSet<&str> = self.checks.iter().map(|rule| rule.check.as_str()).collect();
        if ids.len() < self.checks.len() {
            broken.push("checks contains a check twice".to_owned());
        }
        if let Some(resources) = &self.default_resources {
            broken.extend(resources.broken_rules().into_iter().map(str::to_owned));
        }
        broken
    }
}

/// Whether the operator remediates workloads. It has no effect on the admission webhook, which denies by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    /// Report violations, and change no workload.
    #[default]
    Audit,
    /// Report violations, and add missing fields to workloads.
    Enforce,
}

/// The TCP probe that enforcement adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultProbe {
    /// The port, if the container declares it or declares no port. Default: the first TCP port that the container declares.
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
// A rule that fails on a stored value, instead of being false, would also reject changes of the status.
#[x_kube(
    validation = Rule::new(
        "!has(self.cpuRequest) || !has(self.cpuLimit) || !isQuantity(self.cpuRequest) || \
         !isQuantity(self.cpuLimit) || quantity(self.cpuRequest).compareTo(quantity(self.cpuLimit)) <= 0"
    ).message(CPU_OVER_LIMIT),
    validation = Rule::new(
        "!has(self.memoryRequest) || !has(self.memoryLimit) || !isQuantity(self.memoryRequest) || \
         !isQuantity(self.memoryLimit) || quantity(self.memoryRequest).compareTo(quantity(self.memoryLimit)) <= 0"
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
            let value = |text: &Option<String>| text.as_deref().and_then(Quantity::parse).map(Quantity::value);
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

/// Severities that replace those of the checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeverityOverrides {
    /// For images with the tag latest, or without a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_tag: Option<Severity>,
    /// For containers without a liveness probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_liveness: Option<Severity>,
    /// For containers without a readiness probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_readiness: Option<Severity>,
    /// For containers that restart too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_restarts: Option<Severity>,
    /// For pods that are pending for too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Severity>,
}

/// The result of the last evaluation of the policy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevOpsPolicyStatus {
    /// The health score of the namespace under this policy.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_score: Option<i32>,
    /// Whether the score is at least 80, and every check evaluated every pod that it applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// The classification of the score (Healthy, Stable, Degraded or Critical), Incomplete instead of Healthy if not everything was
    /// evaluated, or the reason for a missing score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The weighted share of (pod, check) pairs that passed, in percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compliance: Option<f64>,
    /// The violations, one line each, at most 100.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
    /// The number of violations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation_count: Option<i64>,
    /// The number of violations by severity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_severity: BTreeMap<String, i64>,
    /// The number of violations by check.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_check: BTreeMap<String, i64>,
    /// The time of the last evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<DateTime<Utc>>,
    /// The generation of the policy that was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The workloads with remediations, at most 100: those whose rollouts are monitored, then the most recent changes.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadStatus>,
    /// Whether the policy is valid, evaluated and enforced.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The remediation of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The state.
    pub state: WorkloadState,
    /// The added fields, or the reason for the state.
    pub message: String,
    /// The time of the last change of the state.
    pub time: DateTime<Utc>,
}

/// The state of the remediation of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WorkloadState {
    /// Fields were added, and all pods run with them.
    Patched,
    /// Fields were added, and the pods are being replaced.
    RollingOut,
    /// The added fields were removed, because the new pods did not become available. They are not added again to the same
    /// template.
    Reverted,
    /// Another field manager owns a field that would have to be set.
    Conflict,
    /// It must not be changed.
    Skipped,
    /// The API server, an admission webhook or a quota denies the patch.
    Denied,
    /// It is annotated to be ignored.
    Ignored,
    /// Fields would be added, but this is a dry run.
    DryRun,
    /// It is patched as soon as all of its pods are available.
    Waiting,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;

    #[test]
    fn every_check_of_the_table_has_its_fields_in_the_schema() {
        let definition = serde_json::to_value(DevOpsPolicy::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let properties = &schema["properties"];
        for field in POLICY_FIELDS {
            assert!(properties[field.field].is_object(), "{} is missing in DevOpsPolicySpec", field.field);
            let severity = &properties["severityOverrides"]["properties"][field.severity_override];
            assert!(severity.is_object(), "{} is missing in SeverityOverrides", field.severity_override);
        }
        let rules = schema["x-kubernetes-validations"].to_string();
        assert!(rules.contains("has(self.forbidLatestTag) || has(self.requireLivenessProbe) || "), "{rules}");
    }

    #[test]
    fn a_policy_without_a_check_is_broken() {
        let spec = DevOpsPolicySpec { enforcement_mode: EnforcementMode::Enforce, ..DevOpsPolicySpec::default() };
        let broken = spec.broken_rules();
        assert!(broken[0].ends_with("maxRestartCount, forbidPendingDuration, checks or bundle"), "{broken:?}");
        assert_eq!(broken[1], nothing_to_remediate());
        let valid = DevOpsPolicySpec { max_restart_count: Some(0), ..DevOpsPolicySpec::default() };
        assert_eq!(valid.broken_rules(), Vec::<String>::new());
    }
}
