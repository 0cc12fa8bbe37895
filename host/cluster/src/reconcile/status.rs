//! The status of a policy: what its last evaluation found.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube_devops_core::score::Classification;
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{Ledger, Severity, Totals, Violation};

use crate::crd::{DevOpsPolicy, DevOpsPolicyStatus, EnforcementMode, WorkloadState, WorkloadStatus};

/// The most violations that a status lists.
const MOST_VIOLATIONS: usize = 100;
/// The longest line of them, in bytes.
const LONGEST_LINE: usize = 512;
/// The longest message of a condition, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// What became of a policy.
pub enum Verdict<'a> {
    /// The pods were judged.
    Evaluated(&'a Ledger),
    /// A check does not accept its settings, or does not exist.
    Invalid(&'a str),
    /// The namespace belongs to the system, where nothing is judged.
    SystemNamespace,
}

/// The status that says so. Of the one before, times are kept where nothing has changed.
pub fn status(
    policy: &DevOpsPolicy,
    verdict: &Verdict,
    workloads: Vec<WorkloadStatus>,
    now: DateTime<Utc>,
) -> DevOpsPolicyStatus {
    let before = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = policy.metadata.generation;
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: cut(&escape_controls(message), LONGEST_MESSAGE),
            observed_generation: generation,
            last_transition_time: same.map_or_else(|| time(now), |condition| condition.last_transition_time.clone()),
        }
    };
    let enforced = match policy.spec.enforcement_mode {
        EnforcementMode::Audit => {
            condition("Enforced", false, "Audit", "enforcementMode is audit: workloads are not changed")
        }
        EnforcementMode::Enforce => {
            let is_trouble = |workload: &&WorkloadStatus| {
                use WorkloadState::{Conflict, Refused, Reverted};
                matches!(workload.state, Conflict | Refused | Reverted)
            };
            match workloads.iter().filter(is_trouble).count() {
                0 => condition("Enforced", true, "Enforced", "workloads that lack something get it"),
                count => {
                    let message = format!("{count} of the workloads could not be changed: see status.workloads");
                    condition("Enforced", false, "Incomplete", &message)
                }
            }
        }
    };
    let status = DevOpsPolicyStatus {
        last_evaluated: Some(now),
        observed_generation: generation,
        workloads,
        ..DevOpsPolicyStatus::default()
    };
    match verdict {
        Verdict::Evaluated(ledger) => {
            let mut failures = ledger.errors();
            let evaluated = match failures.next() {
                None => {
                    condition("Evaluated", true, "Evaluated", "every check could judge every pod that it applies to")
                }
                Some(first) => {
                    let message = match failures.count() {
                        0 => first.to_owned(),
                        more => format!("{first}; and {more} more"),
                    };
                    condition("Evaluated", false, "ChecksFailed", &message)
                }
            };
            let conditions =
                vec![condition("Ready", true, "Valid", "every check accepts its settings"), evaluated, enforced];
            DevOpsPolicyStatus { conditions, ..found(ledger, status) }
        }
        Verdict::Invalid(reason) => DevOpsPolicyStatus {
            healthy: Some(false),
            message: Some(cut(&escape_controls(reason), LONGEST_MESSAGE)),
            conditions: vec![
                condition("Ready", false, "Invalid", reason),
                condition("Evaluated", false, "Invalid", "the policy is not valid"),
                enforced,
            ],
            ..status
        },
        Verdict::SystemNamespace => {
            let message = "the namespace belongs to the system: nothing is judged here";
            DevOpsPolicyStatus {
                message: Some(message.to_owned()),
                conditions: vec![
                    condition("Ready", false, "SystemNamespace", message),
                    condition("Evaluated", false, "SystemNamespace", message),
                    condition("Enforced", false, "SystemNamespace", message),
                ],
                ..status
            }
        }
    }
}

/// The part of the status that is numbers and violations.
fn found(ledger: &Ledger, status: DevOpsPolicyStatus) -> DevOpsPolicyStatus {
    let total = ledger.total();
    let line = |violation: &Violation| cut(&escape_controls(&violation.line()), LONGEST_LINE);
    DevOpsPolicyStatus {
        health_score: Some(total.score().into()),
        healthy: Some(total.classification() == Classification::Healthy),
        message: Some(total.classification().to_string()),
        compliance: Some(total.compliance.percent()),
        violations: worst(ledger, MOST_VIOLATIONS).into_iter().map(line).collect(),
        violation_count: Some(count(total.violations)),
        violations_by_severity: by_severity(total),
        violations_by_check: by_check(total),
        ..status
    }
}

/// A number as objects of the API have it.
pub fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How many violations there are of each severity; severities without any are left out.
pub fn by_severity(total: &Totals) -> BTreeMap<String, i64> {
    let severities = Severity::ALL.iter().zip(total.by_severity).filter(|(_, violations)| *violations > 0);
    severities.map(|(severity, violations)| (severity.to_string(), count(violations))).collect()
}

/// How many violations there are of each check.
pub fn by_check(total: &Totals) -> BTreeMap<String, i64> {
    total.by_check.iter().map(|(check, &violations)| (check.to_string(), count(violations))).collect()
}

/// At most so many violations, the most severe first.
pub fn worst(ledger: &Ledger, most: usize) -> Vec<&Violation> {
    let mut violations: Vec<&Violation> = ledger.violations().collect();
    violations.sort_by_key(|violation| Reverse(violation.severity));
    violations.truncate(most);
    violations
}

/// Whether the two say something different, apart from the time.
pub fn differs(before: Option<&DevOpsPolicyStatus>, after: &DevOpsPolicyStatus) -> bool {
    let timeless = |status: &DevOpsPolicyStatus| DevOpsPolicyStatus { last_evaluated: None, ..status.clone() };
    before.is_none_or(|before| timeless(before) != timeless(after))
}

fn time(now: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(now.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use kube_devops_core::Evaluation;

    use super::*;
    use crate::crd::DevOpsPolicySpec;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()
    }

    fn violation(name: &str, severity: Severity) -> Violation {
        Violation {
            check: "latest-tag".into(),
            severity,
            weight: 5,
            magnitude: 1,
            namespace: "shop".into(),
            kind: "Pod".into(),
            name: name.into(),
            controller: None,
            container: Some("app".into()),
            field: None,
            message: "image nginx has no tag\u{1b}[2J".into(),
            source: None,
        }
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

    fn policy() -> DevOpsPolicy {
        DevOpsPolicy::new("test", DevOpsPolicySpec { forbid_latest_tag: Some(true), ..DevOpsPolicySpec::default() })
    }

    #[test]
    fn the_list_is_cut_and_the_counts_are_exact() {
        let status = status(&policy(), &Verdict::Evaluated(&ledger(250)), Vec::new(), now());
        assert_eq!((status.violations.len(), status.violation_count), (100, Some(250)));
        assert_eq!(status.violations_by_severity, [("critical".to_owned(), 1), ("medium".to_owned(), 249)].into());
        assert_eq!(status.violations_by_check, [("latest-tag".to_owned(), 250)].into());
        assert_eq!(status.violations[0], "pod/pod-249: container app: image nginx has no tag\\u{1b}[2J");
        assert_eq!((status.health_score, status.compliance), (Some(95), Some(0.0)));
    }

    #[test]
    fn time_alone_is_no_difference_and_transitions_keep_their_time() {
        let mut policy = policy();
        let ledger = ledger(2);
        let first = status(&policy, &Verdict::Evaluated(&ledger), Vec::new(), now());
        policy.status = Some(first.clone());
        let later = now() + chrono::TimeDelta::seconds(60);
        let second = status(&policy, &Verdict::Evaluated(&ledger), Vec::new(), later);
        assert!(!differs(Some(&first), &second));
        assert!(differs(None, &second));
        let third = status(&policy, &Verdict::Invalid("no such check"), Vec::new(), later);
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
        let status = status(&policy(), &Verdict::Evaluated(&ledger), Vec::new(), now());
        let evaluated = status.conditions.iter().find(|condition| condition.type_ == "Evaluated");
        let evaluated = evaluated.map(|condition| (condition.status.as_str(), condition.reason.as_str()));
        assert_eq!(evaluated, Some(("False", "ChecksFailed")));
    }
}
