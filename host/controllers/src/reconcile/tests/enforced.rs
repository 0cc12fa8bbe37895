//! Tests of the condition `Enforced`, which is true only if workloads are remediated.

use kube_devops_cluster::crd::condition::ENFORCED;
use kube_devops_cluster::crd::{WorkloadState, WorkloadStatus};
use kube_devops_core::Ledger;

use super::*;
use crate::reconcile::found::{Found, rejected};
use crate::reconcile::status::{Obstacle, PolicyState, RemediationState, status};
use crate::reconcile::write::KnownAudit;

/// The status and the reason of the condition.
fn condition(status: &DevOpsPolicyStatus) -> (&str, &str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == ENFORCED);
    condition.map_or(("", ""), |condition| (&condition.status, &condition.reason))
}

/// The next status, and the condition in it.
fn written(policy: &mut Policy, options: &ReconcileOptions, now: Now) -> Option<(String, String)> {
    let write = policy.next_write(options, now)?;
    let Write::Status { status, .. } = write else { panic!("no status") };
    let (holds, reason) = condition(&status);
    let result = (holds.to_owned(), reason.to_owned());
    policy.written(WriteResult::Status(status), now);
    Some(result)
}

fn text(holds: &str, reason: &str) -> Option<(String, String)> {
    Some((holds.to_owned(), reason.to_owned()))
}

#[test]
fn each_obstacle_has_a_reason_of_its_own() {
    let ledger = Ledger::default();
    let evaluated = || PolicyState::Evaluated(Found { ledger: &ledger, missing: Vec::new(), errors: &[] });
    let of = |object: &DevOpsPolicy, state: PolicyState<'_>, remediation: RemediationState| {
        let status = status(object, &state, remediation, DateTime::UNIX_EPOCH);
        let (holds, reason) = condition(&status);
        format!("{holds} {reason}")
    };
    let with = |obstacle| RemediationState { obstacle: Some(obstacle), ..RemediationState::default() };
    let none = RemediationState::default;
    assert_eq!(of(&object(), evaluated(), none()), "False Audit");
    assert_eq!(of(&enforcing(), evaluated(), none()), "True Enforced");
    let rejected = rejected();
    let invalid = PolicyState::Evaluated(Found { ledger: &ledger, missing: Vec::new(), errors: &rejected });
    assert_eq!(of(&enforcing(), invalid, none()), "False Invalid");
    assert_eq!(of(&enforcing(), PolicyState::SystemNamespace, none()), "False SystemNamespace");
    assert_eq!(of(&enforcing(), evaluated(), with(Obstacle::OwnNamespace)), "False OwnNamespace");
    assert_eq!(of(&enforcing(), evaluated(), with(Obstacle::DryRun)), "False DryRun");
    assert_eq!(of(&enforcing(), evaluated(), with(Obstacle::AuditPending)), "False AuditPending");
    let missing = PolicyState::Evaluated(Found { ledger: &ledger, missing: vec!["absent"], errors: &[] });
    assert_eq!(of(&enforcing(), missing, none()), "False CheckNotFound");
    let incomplete = RemediationState { incomplete: 1, ..none() };
    assert_eq!(of(&enforcing(), evaluated(), incomplete), "False Incomplete", "also if the list does not contain it");
    let denied = RemediationState { denials: Some((1, "forbidden".to_owned())), ..none() };
    assert_eq!(of(&enforcing(), evaluated(), denied), "False Denied");
}

#[test]
fn nothing_is_enforced_before_the_first_audit_result() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(enforcing(), &pods, now);
    assert_eq!(written(&mut policy, &options(), now), text("False", "AuditPending"));
    // A quota denies it.
    assert!(matches!(policy.next_write(&options(), now + seconds(1)), Some(Write::Audit { .. })));
    policy.write_failed(now + seconds(1));
    assert_eq!(succeed(&mut policy, now + seconds(100)), Some("audit"));
    assert_eq!(written(&mut policy, &options(), now + seconds(101)), text("True", "Enforced"));

    // The next leader has not listed the audit results yet.
    policy.start_over(&options().enforce, now);
    policy.evaluate(&key(), &pods, now);
    assert!(policy.next_write(&options(), now).is_none());
    policy.set_audits(Vec::new());
    assert_eq!(written(&mut policy, &options(), now), text("False", "AuditPending"), "they were deleted");

    let mut unlimited = options();
    unlimited.audit.retention = 0;
    let mut policy = evaluated(enforcing(), &pods, now);
    assert_eq!(written(&mut policy, &unlimited, now), text("True", "Enforced"), "there are no audit results");
}

#[test]
fn neither_a_dry_run_nor_the_namespace_of_the_operator_is_enforced() {
    let (now, pods) = (start(), pods());
    let mut annotated = enforcing();
    annotated.metadata.annotations = Some([("devops.stochastic.io/dry-run".to_owned(), "true".to_owned())].into());
    assert_eq!(written(&mut evaluated(annotated, &pods, now), &options(), now), text("False", "DryRun"));
    let mut dry_run = options();
    dry_run.enforce.dry_run = true;
    assert_eq!(written(&mut evaluated(enforcing(), &pods, now), &dry_run, now), text("False", "DryRun"));
    let mut own = options();
    own.election.namespace = "shop".to_owned();
    assert_eq!(written(&mut evaluated(enforcing(), &pods, now), &own, now), text("False", "OwnNamespace"));
}

#[test]
fn a_workload_that_may_not_be_read_is_not_enforced() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(enforcing(), &pods, now);
    assert_eq!(writes(&mut policy, now), ["status", "audit", "status"]);
    let later = now + seconds(60);
    let Some(EnforcementJob::Remediate(job)) = policy.next_job(&key(), &pods, &options(), later) else {
        panic!("no job");
    };
    let result = JobResult::Denied("replicasets.apps is forbidden".to_owned());
    let denied = EnforcementResult::Remediated { owner: job.owner, key: None, result };
    policy.job_done(denied, &options().enforce, later);
    assert_eq!(written(&mut policy, &options(), later), text("False", "Denied"));
}

#[test]
fn workloads_of_pods_that_are_gone_are_not_tried_again() {
    let (now, mut pods) = (start(), pods());
    let mut policy = evaluated(enforcing(), &pods, now);
    writes(&mut policy, now);
    let job = policy.next_job(&key(), &pods, &options(), now);
    let owner = job.as_ref().and_then(EnforcementJob::owner).cloned();
    assert!(owner.is_some());
    policy.job_failed(owner.as_deref(), now);
    let later = now + seconds(600);
    for name in ["bad", "good"] {
        pods.apply(Event::Delete(pod(name, "app", "nginx")), now.utc);
        policy.pod_changed(pod_key(name));
    }
    policy.evaluate(&key(), &pods, later);
    assert!(policy.next_job(&key(), &pods, &options(), later).is_none());
}

#[test]
fn a_check_changes_a_workload_only_if_the_policy_enforces() {
    let (now, pods) = (start(), pods());
    let checked = |mut object: DevOpsPolicy, state: WorkloadState, options: &ReconcileOptions| {
        let workload = WorkloadStatus {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            state,
            message: String::new(),
            time: now.utc,
        };
        object.status = Some(DevOpsPolicyStatus { workloads: vec![workload], ..DevOpsPolicyStatus::default() });
        let mut policy = evaluated(object, &pods, now);
        policy.set_audits(vec![KnownAudit { name: "a".to_owned(), fingerprint: None }]);
        match policy.next_job(&key(), &pods, options, now + seconds(600)) {
            Some(EnforcementJob::Check { over, .. }) => over,
            _ => panic!("no check"),
        }
    };
    let strict = || Some("strict".to_owned());
    assert_eq!(checked(enforcing(), WorkloadState::Patched, &options()), strict());
    assert_eq!(checked(enforcing(), WorkloadState::Reverted, &options()), strict());
    assert_eq!(checked(enforcing(), WorkloadState::Denied, &options()), None, "a revert may have been denied");
    assert_eq!(checked(object(), WorkloadState::Patched, &options()), None);
    let mut dry_run = options();
    dry_run.enforce.dry_run = true;
    assert_eq!(checked(enforcing(), WorkloadState::Patched, &dry_run), None);
}
