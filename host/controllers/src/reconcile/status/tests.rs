//! Tests of the statuses of policies.

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
