//! PolicyAuditResult: the record of one evaluation of a policy.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use kube_devops_core::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of one evaluation of a policy. It is immutable.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1",
    kind = "PolicyAuditResult",
    plural = "policyauditresults",
    singular = "policyauditresult",
    shortname = "par",
    category = "governance",
    namespaced,
    doc = "The result of one evaluation of a DevOpsPolicy.",
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policy",
        description = "The policy that was evaluated"
    ),
    printcolumn(
        name = "Score",
        type_ = "integer",
        json_path = ".spec.healthScore",
        description = "Health score, 0 to 100"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".spec.classification",
        description = "Classification of the score"
    ),
    printcolumn(
        name = "Violations",
        type_ = "integer",
        json_path = ".spec.violationCount",
        description = "Number of violations"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an audit result is immutable"))]
pub struct PolicyAuditResultSpec {
    /// The name of the policy, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The generation of the policy that was evaluated.
    #[schemars(range(min = 0))]
    pub policy_generation: i64,
    /// The time of the evaluation.
    pub evaluated_at: DateTime<Utc>,
    /// The health score of what was evaluated; absent if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub health_score: Option<i32>,
    /// The classification of the score: Healthy, Stable, Degraded or Critical; Incomplete instead of Healthy if not every
    /// check evaluated every pod, and `Not evaluated` if nothing was evaluated.
    pub classification: String,
    /// The weighted share of (pod, check) pairs that passed, in percent; absent if nothing was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub compliance: Option<f64>,
    /// The number of evaluated pods.
    #[schemars(range(min = 0))]
    pub subjects: i64,
    /// The number of violations, including those that are not listed.
    #[schemars(range(min = 0))]
    pub violation_count: i64,
    /// The number of violations by severity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_severity: BTreeMap<String, i64>,
    /// The number of violations by check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_check: BTreeMap<String, i64>,
    /// Whether every check evaluated every pod that it applies to; absent in results of versions before 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What was not evaluated, and why: at most 20 errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 1024)))]
    pub errors: Vec<String>,
    /// Whether the list of violations is incomplete. The counts are complete.
    #[serde(default)]
    pub truncated: bool,
    /// The violations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub violations: Vec<AuditedViolation>,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditedViolation {
    /// The id of the check.
    pub check: String,
    /// The severity.
    pub severity: Severity,
    /// The penalty of one occurrence.
    pub weight: i32,
    /// The number of occurrences.
    pub magnitude: i32,
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The container that the violation is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// JSON Pointer to the field of the object that the violation is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The description of the violation.
    #[schemars(length(max = 1024))]
    pub message: String,
}
