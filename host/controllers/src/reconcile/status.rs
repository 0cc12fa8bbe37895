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
mod tests {
    use kube_devops_cluster::crd::condition::time;
    use kube_devops_cluster::crd::{DevOpsPolicySpec, WorkloadState};
    use kube_devops_core::{Evaluation, Ledger, testing};

    use super::*;
    use crate::reconcile::found::rejected;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()
    }

    fn violation(name: &str, severity: Severity) -> Violation {
        let message = "image nginx has no tag\u{1b}[2J".into();
        Violation { message, ..testing::violation("latest-tag", severity, name) }
    }

    fn ledger(pods: usize) -> Ledger {
        let mut ledger = Ledger::default();
        for index in 0..pods {
            let name = format!("pod-{index:03}");
            let severity = if index == pods - 1 { Severity::Critical } else { Severity::Medium };
            let mut evaluation = Evaluation { violations: vec![violation(&name, severity)], ..Evaluation::default() };
            evaluation.compliance.add(5, true);
            ledger.set(&name.into(), evaluation);
        }
        ledger
    }

    fn evaluated<'a>(ledger: &'a Ledger, missing: &[&'a str]) -> PolicyState<'a> {
        PolicyState::Evaluated(Found { ledger, missing: missing.to_vec(), errors: &[] })
    }

    fn policy() -> DevOpsPolicy {
        DevOpsPolicy::new("test", DevOpsPolicySpec { forbid_latest_tag: Some(true), ..DevOpsPolicySpec::default() })
    }

    #[test]
    fn the_list_is_cut_and_the_counts_are_exact() {
        let status = status(&policy(), &evaluated(&ledger(250), &[]), RemediationState::default(), now());
        assert_eq!((status.violations.len(), status.violation_count), (100, Some(250)));
        assert_eq!(status.violations_by_severity, [("critical".to_owned(), 1), ("medium".to_owned(), 249)].into());
        assert_eq!(status.violations_by_check, [("latest-tag".to_owned(), 250)].into());
        assert_eq!(status.violations[0], "pod/pod-249: container app: image nginx has no tag\\u{1b}[2J");
        assert_eq!((status.health_score, status.compliance), (Some(95), Some(0.0)));
    }

    #[test]
    fn a_status_is_small_enough_to_be_written() {
        // Characters that JSON escapes need twice the bytes.
        let message = "\"".repeat(60_000);
        let mut ledger = Ledger::default();
        for index in 0..200 {
            let violation = Violation { message: message.as_str().into(), ..violation("web", Severity::High) };
            let evaluation = Evaluation { violations: vec![violation], ..Evaluation::default() };
            ledger.set(&format!("pod-{index}").into(), evaluation);
        }
        let workload = |index: usize| WorkloadStatus {
            kind: "StatefulSet".to_owned(),
            name: format!("{index:a>253}"),
            state: WorkloadState::Conflict,
            message: "\"".repeat(512),
            time: now(),
        };
        let remediation = RemediationState {
            workloads: (0..100).map(workload).collect(),
            denials: Some((1, message.clone())),
            ..RemediationState::default()
        };
        let mut enforcing = policy();
        enforcing.spec.enforcement_mode = EnforcementMode::Enforce;
        let status = status(&enforcing, &evaluated(&ledger, &[]), remediation, now());
        let bytes = serde_json::to_vec(&status).map_or(usize::MAX, |text| text.len());
        assert!(bytes < 512 * 1024, "{bytes}");
    }

    #[test]
    fn transitions_keep_their_time_until_the_condition_changes() {
        let mut policy = policy();
        let ledger = ledger(2);
        let first = status(&policy, &evaluated(&ledger, &[]), RemediationState::default(), now());
        policy.status = Some(first.clone());
        let later = now() + chrono::TimeDelta::seconds(60);
        let second = status(&policy, &evaluated(&ledger, &[]), RemediationState::default(), later);
        assert!(!differs(Some(&first), &second));
        assert!(differs(None, &second));
        let third = status(&policy, &evaluated(&ledger, &["nope"]), RemediationState::default(), later);
        assert!(differs(Some(&first), &third));
        let times = |status: &DevOpsPolicyStatus| {
            status.conditions.iter().map(|condition| condition.last_transition_time.clone()).collect::<Vec<_>>()
        };
        assert_eq!(times(&third), [time(later), time(later), time(now())]);
    }

    #[test]
    fn a_check_that_failed_is_not_evaluated() {
        let mut ledger = ledger(1);
        let failed =
            Evaluation { errors: vec!["check a (module b) failed: it crashed".to_owned()], ..Evaluation::default() };
        ledger.set(&"other".into(), failed);
        let status = status(&policy(), &evaluated(&ledger, &[]), RemediationState::default(), now());
        let evaluated = status.conditions.iter().find(|condition| condition.type_ == "Evaluated");
        let evaluated = evaluated.map(|condition| (condition.status.as_str(), condition.reason.as_str()));
        assert_eq!(evaluated, Some(("False", "ChecksFailed")));
    }

    #[test]
    fn a_policy_in_a_system_namespace_is_not_ready_and_has_no_score() {
        let status = status(&policy(), &PolicyState::SystemNamespace, RemediationState::default(), now());
        assert_eq!((status.health_score, status.healthy), (None, None));
        assert!(status.conditions.iter().all(|condition| condition.reason == "SystemNamespace"));
        assert_eq!(status.conditions.len(), 3);
    }

    #[test]
    fn a_policy_whose_checks_do_not_exist_has_no_score() {
        let mut ledger = Ledger::default();
        let errors = vec!["check nope failed: there is no such check".to_owned()];
        ledger.set(&"a".into(), Evaluation { errors, ..Evaluation::default() });
        let status = status(&policy(), &evaluated(&ledger, &["nope"]), RemediationState::default(), now());
        assert_eq!((status.health_score, status.compliance, status.healthy), (None, None, Some(false)));
        assert_eq!(status.message.as_deref(), Some("Not evaluated"));
        let reasons: Vec<&str> = status.conditions.iter().map(|condition| condition.reason.as_str()).collect();
        assert_eq!(reasons[..2], ["CheckNotFound", "ChecksFailed"]);
    }

    #[test]
    fn a_policy_with_rejected_settings_has_the_results_of_its_other_checks() {
        let rejected = rejected();
        let status = |ledger: &Ledger| {
            let state = PolicyState::Evaluated(Found { ledger, missing: Vec::new(), errors: &rejected });
            status(&policy(), &state, RemediationState::default(), now())
        };
        let partial = status(&ledger(1));
        assert_eq!((partial.health_score, partial.healthy), (Some(95), Some(false)));
        assert_eq!(partial.message, Some(rejected[0].to_string()));
        let reasons: Vec<&str> = partial.conditions.iter().map(|condition| condition.reason.as_str()).collect();
        assert_eq!(reasons[0], "Invalid");
        let without_pods = status(&Ledger::default());
        assert_eq!((without_pods.health_score, without_pods.healthy), (None, Some(false)));
        assert_eq!(without_pods.conditions[1].reason, "ChecksFailed");
    }

    #[test]
    fn a_policy_that_enables_no_check_is_not_evaluated_and_never_healthy() {
        let mut pods = Ledger::default();
        let errors = vec![RulesError::NoChecks.to_string()];
        pods.set(&"a".into(), Evaluation { errors, ..Evaluation::default() });
        let mut policy = policy();
        policy.spec.enforcement_mode = EnforcementMode::Enforce;
        for ledger in [Ledger::default(), pods] {
            let found = Found { ledger: &ledger, missing: Vec::new(), errors: &[RulesError::NoChecks] };
            let status = status(&policy, &PolicyState::Evaluated(found), RemediationState::default(), now());
            assert_eq!((status.health_score, status.compliance, status.healthy), (None, None, Some(false)));
            assert_eq!(status.message.as_deref(), Some("Not evaluated"));
            let is_none = |condition: &Condition| condition.status == "False" && condition.reason == "NoChecks";
            assert!(status.conditions.len() == 3 && status.conditions.iter().all(is_none), "{:?}", status.conditions);
        }
    }

    #[test]
    fn a_missing_check_is_not_healthy_without_pods_or_beside_another_check() {
        let empty = Ledger::default();
        let without_pods = status(&policy(), &evaluated(&empty, &["nope"]), RemediationState::default(), now());
        assert_eq!((without_pods.health_score, without_pods.healthy), (None, Some(false)));
        assert_eq!(without_pods.conditions[1].status, "False");
        let partly = status(&policy(), &evaluated(&ledger(1), &["nope"]), RemediationState::default(), now());
        assert_eq!((partly.healthy, partly.conditions[1].status.as_str()), (Some(false), "False"));
        let complete = status(&policy(), &evaluated(&empty, &[]), RemediationState::default(), now());
        assert_eq!((complete.health_score, complete.healthy), (Some(100), Some(true)));
    }
}
