//! PolicyAuditResult: what one evaluation of a policy found, kept as a record.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use kube_devops_core::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one evaluation of a policy found. A record is never changed.
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
    doc = "What one evaluation of a DevOpsPolicy found.",
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
        description = "What the score means"
    ),
    printcolumn(
        name = "Violations",
        type_ = "integer",
        json_path = ".spec.violationCount",
        description = "Violations that were found"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an audit result is a record and cannot be changed"))]
pub struct PolicyAuditResultSpec {
    /// The name of the policy, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The generation of the policy that was evaluated.
    #[schemars(range(min = 0))]
    pub policy_generation: i64,
    /// When it was evaluated.
    pub evaluated_at: DateTime<Utc>,
    /// The health score.
    #[schemars(range(min = 0, max = 100))]
    pub health_score: i32,
    /// What the score means: Healthy, Stable, Degraded or Critical.
    pub classification: String,
    /// The weighted share of (pod, check) pairs that passed, in percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub compliance: f64,
    /// How many pods were judged.
    #[schemars(range(min = 0))]
    pub subjects: i64,
    /// How many violations were found, listed here or not.
    #[schemars(range(min = 0))]
    pub violation_count: i64,
    /// How many violations there are of each severity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_severity: BTreeMap<String, i64>,
    /// How many violations there are of each check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_check: BTreeMap<String, i64>,
    /// Whether the list of violations was cut; the counts are of all of them.
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
    /// How much it matters.
    pub severity: Severity,
    /// What it costs.
    pub weight: i32,
    /// How many times it costs that.
    pub magnitude: i32,
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The container to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// JSON Pointer into the object to the one place to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    #[schemars(length(max = 1024))]
    pub message: String,
}
