//! The status of a policy.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_devops_cluster::crd::condition::{Conditions, ENFORCED, EVALUATED, MAX_MESSAGE_LENGTH, READY};
use kube_devops_cluster::crd::{DevOpsPolicy, DevOpsPolicyStatus, EnforcementMode, WorkloadStatus};
use kube_devops_cluster::lenient::unreadable_spec;
use kube_devops_cluster::policies::RulesError;
use kube_devops_core::score::Classification;
use kube_devops_core::text::{cut, escape_controls, number};
use kube_devops_core::{Severity, Totals, Violation};

use super::found::Found;

/// The most violations that a status lists.
const MAX_VIOLATIONS: usize = 100;
/// The longest line of them, in bytes.
const MAX_LINE_LENGTH: usize = 512;

/// The reason of the conditions of a policy that enables no check.
const NO_CHECKS: &str = "NoChecks";
/// The reason of the condition `Enforced` of a policy that does not enforce.
pub const AUDIT: &str = "Audit";
/// Its reason while there is no audit result.
pub const AUDIT_PENDING: &str = "AuditPending";

/// What is known about the remediation of workloads.
#[derive(Debug, Default)]
pub struct RemediationState {
    /// The states of the workloads to list.
    pub workloads: Vec<WorkloadStatus>,
    /// The number of workloads that cannot be remediated, listed or not.
    pub incomplete: usize,
    /// The number of controllers of pods whose workloads could not be read, because a request was denied, and the first reason.
    pub denials: Option<(usize, String)>,
    /// The reason why no workload is changed.
    pub obstacle: Option<Obstacle>,
}

/// The reason why no workload is changed under a policy that enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The policy is in the namespace of the operator.
    OwnNamespace,
    /// Patches are reported instead of applied.
    DryRun,
    /// There is no audit result yet.
    AuditPending,
}

impl Obstacle {
    /// The reason and the message of the condition.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::OwnNamespace => ("OwnNamespace", "workloads in the namespace of the operator are not changed"),
            Self::DryRun => ("DryRun", "patches are reported in status.workloads and not applied"),
            Self::AuditPending => (
                AUDIT_PENDING,
                "workloads are changed as soon as the first audit result was created; if this takes long, the log of the operator states the reason",
            ),
        }
    }
}

/// The state of a policy.
pub enum PolicyState<'a> {
    /// The pods were evaluated.
    Evaluated(Found<'a>),
    /// The spec cannot be read.
    Unreadable(&'a str),
    /// The namespace is a system namespace, which is excluded.
    SystemNamespace,
}

/// The status of a policy. Conditions that did not change keep the time of their last transition.
pub fn status(
    policy: &DevOpsPolicy,
    state: &PolicyState,
    remediation: RemediationState,
    now: DateTime<Utc>,
) -> DevOpsPolicyStatus {
    let conditions = PolicyConditions::new(policy, now);
    let enforced = conditions.enforced(policy.spec.enforcement_mode, state, &remediation);
    let status = DevOpsPolicyStatus {
        last_evaluated: Some(now),
        observed_generation: policy.metadata.generation,
        workloads: remediation.workloads,
        ..DevOpsPolicyStatus::default()
    };
    match state {
        PolicyState::Evaluated(found) => {
            let conditions = vec![conditions.ready(found), conditions.evaluated(found), enforced];
            DevOpsPolicyStatus { conditions, ..with_results(found, status) }
        }
        PolicyState::Unreadable(reason) => {
            let message = cut(&escape_controls(&unreadable_spec(reason)), MAX_MESSAGE_LENGTH);
            let conditions = conditions.none("Unreadable", &message);
            DevOpsPolicyStatus { healthy: Some(false), message: Some(message), conditions, ..status }
        }
        PolicyState::SystemNamespace => {
            let message = "system namespaces are excluded from evaluation";
            let conditions = conditions.none("SystemNamespace", message);
            DevOpsPolicyStatus { message: Some(message.to_owned()), conditions, ..status }
        }
    }
}

/// The conditions of a policy.
struct PolicyConditions<'a>(Conditions<'a>);

impl<'a> PolicyConditions<'a> {
    fn new(policy: &'a DevOpsPolicy, now: DateTime<Utc>) -> Self {
        let before = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
        Self(Conditions { before, generation: policy.metadata.generation, now })
    }

    fn of(&self, kind: &str, holds: bool, reason: &str, message: &str) -> Condition {
        self.0.of(kind, holds, reason, message)
    }

    /// The conditions of a policy of which none holds, all for the same reason.
    fn none(&self, reason: &str, message: &str) -> Vec<Condition> {
        [READY, EVALUATED, ENFORCED].map(|kind| self.of(kind, false, reason, message)).into()
    }

    fn ready(&self, found: &Found<'_>) -> Condition {
        if let Some(error) = found.errors.first() {
            return self.of(READY, false, reason(error), &and_more(error, found.errors.len() - 1));
        }
        if found.missing.is_empty() {
            return self.of(READY, true, "Valid", "the settings of every check are valid");
        }
        let message =
            format!("no such check: {}; it is misspelt, or its module is not loaded", found.missing.join(", "));
        self.of(READY, false, "CheckNotFound", &message)
    }

    fn evaluated(&self, found: &Found<'_>) -> Condition {
        let errors = found.not_evaluated();
        let Some(first) = errors.first() else {
            return self.of(EVALUATED, true, "Evaluated", "every check evaluated every pod that it applies to");
        };
        let reason = if found.errors.contains(&RulesError::NoChecks) { NO_CHECKS } else { "ChecksFailed" };
        self.of(EVALUATED, false, reason, &and_more(first, errors.len() - 1))
    }

    fn enforced(&self, mode: EnforcementMode, state: &PolicyState, remediation: &RemediationState) -> Condition {
        if mode == EnforcementMode::Audit {
            return self.of(ENFORCED, false, AUDIT, "enforcementMode is audit: workloads are not changed");
        }
        if let PolicyState::Evaluated(Found { errors: [error, ..], .. }) = state {
            return self.of(ENFORCED, false, reason(error), "the policy is invalid: workloads are not changed");
        }
        if let Some((reason, message)) = remediation.obstacle.map(Obstacle::texts) {
            return self.of(ENFORCED, false, reason, message);
        }
        if let Some((count, reason)) = &remediation.denials {
            let message = format!("the workloads of {} could not be read: {reason}", number(*count, "ReplicaSet"));
            return self.of(ENFORCED, false, "Denied", &message);
        }
        if remediation.incomplete > 0 {
            let workloads = number(remediation.incomplete, "workload");
            let message = format!("{workloads} could not be remediated: see status.workloads");
            return self.of(ENFORCED, false, "Incomplete", &message);
        }
        match state {
            PolicyState::Evaluated(found) if !found.missing.is_empty() => {
                let message = format!("no such check: {}; what it requires is not added", found.missing.join(", "));
                self.of(ENFORCED, false, "CheckNotFound", &message)
            }
            _ => self.of(ENFORCED, true, "Enforced", "missing probes and resources are added to workloads"),
        }
    }
}

/// The reason of the conditions of a policy whose rules have this error.
fn reason(error: &RulesError) -> &'static str {
    match error {
        RulesError::NoChecks => NO_CHECKS,
        RulesError::Spec(_) | RulesError::Rule(_) => "Invalid",
    }
}

/// Adds the numbers and violations to a status.
fn with_results(found: &Found<'_>, status: DevOpsPolicyStatus) -> DevOpsPolicyStatus {
    let total = found.total();
    let line = |violation: &Violation| cut(&escape_controls(&violation.line()), MAX_LINE_LENGTH);
    // The classification of a policy without checks is all there is to say.
    let invalid = found.errors.first().filter(|error| **error != RulesError::NoChecks);
    let invalid = invalid.map(|error| cut(&escape_controls(&error.to_string()), MAX_MESSAGE_LENGTH));
    let message = invalid.or_else(|| Some(found.classification()));
    if !found.has_score() {
        return DevOpsPolicyStatus { healthy: Some(false), message, ..status };
    }
    let is_healthy = total.classification() == Classification::Healthy;
    DevOpsPolicyStatus {
        health_score: Some(total.score().into()),
        healthy: Some(is_healthy && found.is_complete()),
        message,
        compliance: Some(total.compliance.percent()),
        violations: found.ledger.worst(MAX_VIOLATIONS).iter().map(line).collect(),
        violation_count: Some(count(total.violations)),
        violations_by_severity: by_severity(total),
        violations_by_check: by_check(total),
        ..status
    }
}

/// The first of several errors, and the number of the others.
fn and_more(first: impl Display, more: usize) -> String {
    if more == 0 { first.to_string() } else { format!("{first}; and {more} more") }
}

/// A count as an integer of the API.
pub fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The number of violations by severity, without zeros.
pub fn by_severity(total: &Totals) -> BTreeMap<String, i64> {
    let severities = Severity::ALL.iter().zip(total.by_severity).filter(|(_, violations)| *violations > 0);
    severities.map(|(severity, violations)| (severity.to_string(), count(violations))).collect()
}

/// The number of violations by check.
pub fn by_check(total: &Totals) -> BTreeMap<String, i64> {
    total.by_check.iter().map(|(check, &violations)| (check.to_string(), count(violations))).collect()
}

/// Whether the statuses differ in more than the time of the evaluation.
pub fn differs(before: Option<&DevOpsPolicyStatus>, after: &DevOpsPolicyStatus) -> bool {
    let timeless = |status: &DevOpsPolicyStatus| DevOpsPolicyStatus { last_evaluated: None, ..status.clone() };
    before.is_none_or(|before| timeless(before) != timeless(after))
}

#[cfg(test)]
mod tests;
