//! Tests of the decision about a workload that was patched.

use super::*;

fn restarted() -> Option<RolloutFailure> {
    Some(RolloutFailure::Restarted("it restarted".to_owned()))
}

/// The step after the settle time of a workload without added fields.
const COMPLETE: Step = Step::Complete(Duration::ZERO);

fn rolled_out() -> JobResult {
    JobResult::RolledOut(Duration::ZERO)
}

/// A workload whose patch is rolling out, with the ownership of the added fields.
fn owned() -> Value {
    let mut workload = rolling_out();
    let fields = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"app\"}": { ".": {}, "f:name": {}, "f:livenessProbe": { "f:periodSeconds": {} } },
    } } } } });
    workload["metadata"]["managedFields"] =
        json!([{ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields }]);
    let added = json!({ "name": "app", "livenessProbe": { "periodSeconds": 7 } });
    workload["metadata"]["annotations"][ADDED_FIELDS] = record(&[added]).into();
    workload["status"]["updatedReplicas"] = json!(0);
    workload["status"]["conditions"] = json!([{ "type": "Progressing", "reason": "NewReplicaSetAvailable" }]);
    workload
}

#[test]
fn the_added_fields_are_given_up_when_the_start_of_the_rollout_is_recorded() {
    let mut workload = owned();
    assert!(matches!(follow_up(&workload, None, Step::Check), Decision::Done(JobResult::InProgress(_))));
    workload["status"]["conditions"][0]["reason"] = json!("NewReplicaSetCreated");
    let Decision::GiveUp { patch, result: JobResult::InProgress(_) } = follow_up(&workload, None, Step::Check) else {
        panic!("not given up")
    };
    assert_eq!(patch["metadata"]["managedFields"][0]["fieldsV1"], json!({}));
    assert!(matches!(follow_up(&workload, restarted(), Step::Check), Decision::Revert(_)));
    let watched = follow_up(&workload, None, Step::Watch);
    assert!(matches!(watched, Decision::Done(JobResult::InProgress(_))), "it was denied just now");

    // An apply without the added fields would remove them.
    workload["status"]["updatedReplicas"] = json!(1);
    let decision = follow_up(&workload, None, COMPLETE);
    assert!(matches!(decision, Decision::GiveUp { result: JobResult::RolledOut(_), .. }), "{decision:?}");
}

#[test]
fn fields_that_an_earlier_version_did_not_give_up_in_a_revert_are_given_up() {
    let mut reverted = owned();
    reverted["metadata"]["annotations"] = json!({ REVERTED_BECAUSE: "it restarted" });
    let template = plan::own_template(&reverted);
    reverted["metadata"]["annotations"][REVERTED] = template.into();
    reverted["status"]["updatedReplicas"] = json!(1);
    let result_of = JobResult::Reverted("it restarted".to_owned());
    let Decision::GiveUp { patch, result: found } = decide(&reverted, &job()) else { panic!("not given up") };
    assert_eq!(patch["metadata"]["managedFields"][0]["fieldsV1"], json!({}));
    assert_eq!(found, result_of);
    assert_eq!(result(&reverted, &RemediationJob { dry_run: true, ..job() }), result_of);
    reverted["metadata"]["managedFields"] = patch["metadata"]["managedFields"].clone();
    assert_eq!(result(&reverted, &job()), result_of);
}

#[test]
fn fields_that_another_client_applied_under_the_name_of_the_operator_are_given_up_before_an_apply() {
    let foreign = |mut workload: Value| {
        let fields = json!({ "f:spec": { "f:template": { "f:spec": { "f:automountServiceAccountToken": {} } } } });
        workload["metadata"]["managedFields"] =
            json!([{ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields }]);
        workload
    };
    let assert_given_up = |decision| {
        let Decision::GiveUp { patch, result: JobResult::Conflict(reason) } = decision else { panic!("{decision:?}") };
        assert_eq!(patch["metadata"]["managedFields"][0]["fieldsV1"], json!({}));
        assert!(reason.contains("for spec.template.spec.automountServiceAccountToken; "), "{reason}");
    };
    assert_given_up(decide(&foreign(workload()), &job()));
    assert_given_up(follow_up(&foreign(rolling_out()), None, COMPLETE));
    let dry_run = RemediationJob { dry_run: true, ..job() };
    assert!(matches!(result(&foreign(workload()), &dry_run), JobResult::WouldPatch(_)), "nothing is applied");
}

#[test]
fn the_added_fields_are_given_up_when_another_client_changed_the_template() {
    let mut workload = owned();
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
    let stalled = RolloutFailure::Stalled { best: Best::default(), deadline: None, limit: Duration::from_secs(90) };
    let decide = |workload: &Value, failure| follow_up(workload, failure, Step::Check);
    assert!(matches!(decide(&workload, restarted()), Decision::Done(JobResult::InProgress(_))), "it is not recorded");
    let is_given_up = |decision| matches!(decision, Decision::GiveUp { result: JobResult::Superseded, .. });
    assert!(is_given_up(decide(&workload, Some(stalled))), "it is never recorded");
    workload["status"]["updatedReplicas"] = json!(1);
    assert!(is_given_up(decide(&workload, None)));

    // The operator was restarted before.
    workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({ "exec": {}, "periodSeconds": 7 });
    let decision = remediation(&workload, &job(), None, DateTime::UNIX_EPOCH);
    assert!(matches!(decision, Decision::GiveUp { result: JobResult::UpToDate, .. }), "{decision:?}");
}

#[test]
fn a_rollout_that_another_client_stops_is_not_completed() {
    let complete =
        |workload: &Value| !matches!(follow_up(workload, None, COMPLETE), Decision::Done(JobResult::InProgress(_)));
    let mut set = rolling_out();
    set["kind"] = json!("StatefulSet");
    set["status"]["readyReplicas"] = json!(1);
    assert!(complete(&set));
    set["status"]["updatedReplicas"] = json!(0);
    for strategy in [json!({ "rollingUpdate": { "partition": 1 } }), json!({ "type": "OnDelete" })] {
        set["spec"]["updateStrategy"] = strategy;
        assert!(!complete(&set), "{set}");
    }
    let mut deployment = rolling_out();
    deployment["spec"]["paused"] = json!(true);
    deployment["status"]["updatedReplicas"] = json!(0);
    assert!(!complete(&deployment));
    let mut scaled_down = rolling_out();
    scaled_down["spec"]["replicas"] = json!(0);
    scaled_down["status"] = json!({ "observedGeneration": 1 });
    assert!(!complete(&scaled_down));
}

#[test]
fn a_rollout_without_progress_is_reverted() {
    let mut workload = rolling_out();
    workload["status"]["availableReplicas"] = json!(0);
    workload["status"]["readyReplicas"] = json!(0);
    let Decision::Done(JobResult::InProgress(progress)) = follow_up(&workload, None, Step::Check) else {
        panic!("not in progress")
    };
    let mut best = Best::default();
    best.improve(progress);
    let deadline = progress.deadline;
    let stalled = || Some(RolloutFailure::Stalled { best, deadline, limit: Duration::from_secs(90) });
    let reverted = Decision::Revert("no progress for 90 seconds".to_owned());
    assert_eq!(follow_up(&workload, stalled(), Step::Check), reverted);
    workload["status"]["replicas"] = json!(2);
    assert_eq!(follow_up(&workload, stalled(), Step::Check), reverted, "a pod that was not replaced is no progress");
    workload["status"]["replicas"] = json!(1);
    workload["status"]["readyReplicas"] = json!(1);
    let progressed = follow_up(&workload, stalled(), Step::Check);
    assert!(matches!(progressed, Decision::Done(JobResult::InProgress(_))), "{progressed:?}");
    let complete = follow_up(&rolling_out(), stalled(), Step::Check);
    assert_eq!(complete, Decision::Done(rolled_out()), "no check was possible in between");
}

#[test]
fn a_rollout_that_the_deletion_of_its_policy_awaits_no_longer_is_completed_or_reverted() {
    let overdue_at = |updated, is_final| {
        let furthest = Furthest { updated, available: 0 };
        Some(RolloutFailure::Overdue { furthest, limit: Duration::from_secs(600), is_final })
    };
    let overdue = |updated| overdue_at(updated, true);
    let available = rolling_out();
    let completed = follow_up(&available, overdue(1), Step::Check);
    assert!(matches!(completed, Decision::Patch { result: JobResult::Completed, .. }), "{completed:?}");
    let mut flapping = rolling_out();
    flapping["status"]["availableReplicas"] = json!(0);
    let reason = "the policy is being deleted, and not all pods became available within 600 seconds";
    assert_eq!(follow_up(&flapping, overdue(1), Step::Check), Decision::Revert(reason.to_owned()));
    let progressed = follow_up(&flapping, overdue(0), Step::Check);
    assert!(matches!(progressed, Decision::Done(JobResult::InProgress(_))), "no check was possible in between");
    let drained = follow_up(&flapping, overdue_at(1, false), Step::Check);
    assert!(matches!(drained, Decision::Done(JobResult::InProgress(_))), "they may become available again");
    let completed = follow_up(&available, overdue_at(1, false), Step::Check);
    assert!(matches!(completed, Decision::Patch { result: JobResult::Completed, .. }), "{completed:?}");
    // The other policy is not deleted.
    for mut workload in [available, flapping] {
        workload["metadata"]["annotations"][PATCHED_BY] = plan::by("other").into();
        assert_eq!(follow_up(&workload, overdue(1), Step::Check), Decision::Done(JobResult::Completed));
    }
    let mut superseded = owned();
    superseded["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
    let decision = follow_up(&superseded, overdue(1), Step::Check);
    assert!(matches!(decision, Decision::GiveUp { result: JobResult::Superseded, .. }), "{decision:?}");
}

#[test]
fn a_rollout_is_awaited_completed_and_reverted_when_it_fails() {
    let mut workload = rolling_out();
    assert_eq!(follow_up(&workload, None, Step::Check), Decision::Done(rolled_out()));
    let completed = follow_up(&workload, None, COMPLETE);
    let Decision::Patch { patch, result: JobResult::Completed } = completed else { panic!("{completed:?}") };
    assert!(patch["metadata"]["annotations"].get(ROLLING_OUT).is_none());
    let revert = |reason: &str| Decision::Revert(reason.to_owned());
    assert_eq!(follow_up(&workload, restarted(), COMPLETE), revert("it restarted"));
    workload["status"]["availableReplicas"] = json!(0);
    let in_progress = follow_up(&workload, None, COMPLETE);
    assert!(matches!(in_progress, Decision::Done(JobResult::InProgress(_))), "{in_progress:?}");
    workload["status"]["conditions"] =
        json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "no progress" }]);
    assert_eq!(follow_up(&workload, None, Step::Check), revert("no progress"));
}

#[test]
fn pods_are_watched_for_as_long_as_an_added_field_of_any_policy_needs_with_the_edits_of_users() {
    let mut workload = rolling_out();
    let probe = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 10 });
    let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
    container["livenessProbe"] = probe.clone();
    container["resources"] = json!({ "limits": { "cpu": "1" } });
    // The patch of this policy is the limit alone.
    let added = |added: Value| record(&[added]).into();
    let limits = json!({ "limits": { "cpu": "1" } });
    workload["metadata"]["annotations"] = json!({ PATCHED_BY: plan::by("strict") });
    workload["metadata"]["annotations"][ADDED_FIELDS] =
        added(json!({ "name": "app", "livenessProbe": probe, "resources": limits }));
    workload["metadata"]["annotations"][ROLLING_OUT] = plan::own_template(&workload).into();
    let seconds = Duration::from_secs;
    let decide = |workload: &Value, watched| follow_up(workload, None, Step::Complete(seconds(watched)));
    let is_completed = |decision| matches!(decision, Decision::Patch { result: JobResult::Completed, .. });
    assert_eq!(decide(&workload, 60), Decision::Done(JobResult::RolledOut(seconds(4 * 10 + 30 + 5))));
    assert!(is_completed(decide(&workload, 75)));

    // A user gives the containers more time, by which the rollout remains that of the patch.
    workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["initialDelaySeconds"] = json!(120);
    assert_eq!(decide(&workload, 75), Decision::Done(JobResult::RolledOut(seconds(120 + 75))));
    assert!(is_completed(decide(&workload, 195)));
}

#[test]
fn only_the_policy_that_patched_a_workload_last_completes_its_rollout() {
    let complete = |by: &str| {
        let mut workload = rolling_out();
        workload["metadata"]["annotations"][PATCHED_BY] = by.into();
        follow_up(&workload, None, COMPLETE)
    };
    assert!(matches!(complete("kube-devops/strict"), Decision::Patch { result: JobResult::Completed, .. }));
    assert_eq!(complete("kube-devops/other"), Decision::Done(JobResult::Completed));
}

#[test]
fn a_policy_that_another_client_names_neither_completes_nor_reverts_a_rollout() {
    let entry = |manager: &str, operation: &str| {
        let fields = set_of(&json!({ "metadata": { "annotations": { PATCHED_BY: null } } }));
        json!({ "manager": manager, "operation": operation, "fieldsV1": fields })
    };
    let (operator, client) = (entry(FIELD_MANAGER, "Apply"), entry("kubectl-annotate", "Update"));
    for (owners, is_client) in
        [(vec![client.clone()], true), (vec![operator.clone()], false), (vec![operator, client], false)]
    {
        let mut workload = rolling_out();
        workload["metadata"]["annotations"][PATCHED_BY] = plan::by("other").into();
        workload["metadata"]["managedFields"] = owners.into();
        let completed = follow_up(&workload, None, COMPLETE);
        assert_eq!(matches!(completed, Decision::Patch { .. }), is_client, "{workload}: {completed:?}");
        workload["status"]["availableReplicas"] = json!(0);
        let furthest = Furthest { updated: 1, available: 0 };
        let overdue = RolloutFailure::Overdue { furthest, limit: Duration::from_secs(600), is_final: true };
        let reverted = follow_up(&workload, Some(overdue), Step::Check);
        assert_eq!(matches!(reverted, Decision::Revert(_)), is_client, "{workload}: {reverted:?}");
    }
}

#[test]
fn a_rollout_of_a_previous_leader_is_watched_like_a_new_one() {
    let mut workload = rolling_out();
    let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
    container["livenessProbe"] = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 7, "timeoutSeconds": 1 });
    let added = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 7 } });
    workload["metadata"]["annotations"][ADDED_FIELDS] = record(&[added]).into();
    let adopted = follow_up(&workload, None, Step::Adopt);
    let Decision::Done(JobResult::Patched(adopted)) = &adopted else { panic!("{adopted:?}") };
    assert_eq!(adopted.what, "");
    let settle = JobResult::RolledOut(Duration::from_secs(4 * 7 + 30 + 5));
    assert_eq!(follow_up(&workload, None, Step::Check), Decision::Done(settle));
    assert_eq!(fields(adopted), [("app", "/livenessProbe")]);
    // The response to the patch was lost.
    assert_eq!(result(&workload, &job()), JobResult::Patched(adopted.clone()));
    workload["status"]["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded" }]);
    assert!(matches!(follow_up(&workload, None, Step::Adopt), Decision::Revert(_)));
}

#[test]
fn the_rollout_of_another_client_is_never_reverted() {
    let mut workload = rolling_out();
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("broken:2");
    workload["status"]["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded" }]);
    let Decision::GiveUp { patch, result: JobResult::Superseded } = follow_up(&workload, restarted(), COMPLETE) else {
        panic!("not superseded")
    };
    let over = |annotations| json!({ "metadata": { "resourceVersion": "7", "annotations": annotations } });
    assert_eq!(patch, over(json!({ ROLLING_OUT: null })));
    let mut completed = with("/metadata/annotations", json!({}));
    completed["status"]["availableReplicas"] = json!(0);
    assert_eq!(follow_up(&completed, restarted(), COMPLETE), Decision::Done(JobResult::Superseded));

    // The added fields remain, with their record.
    let added = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 } } });
    workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = added["livenessProbe"].clone();
    let record = record(&[added]);
    workload["metadata"]["annotations"] = json!({ PATCHED_BY: "x", ADDED_FIELDS: record, ROLLING_OUT: "x" });
    let Decision::GiveUp { patch, result: JobResult::Completed } = follow_up(&workload, None, Step::Check) else {
        panic!("not completed")
    };
    assert_eq!(patch, over(json!({ ROLLING_OUT: null })));
    workload["metadata"]["annotations"] = json!({ PATCHED_BY: "x", ADDED_FIELDS: record });
    assert_eq!(follow_up(&workload, None, Step::Check), Decision::Done(JobResult::Completed));
    workload["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("livenessProbe");
    let Decision::GiveUp { patch, result: JobResult::Superseded } = follow_up(&workload, None, Step::Check) else {
        panic!("not superseded")
    };
    assert_eq!(patch, over(json!({ PATCHED_BY: null, ADDED_FIELDS: null })));
}

#[test]
fn a_revert_ends_when_the_stuck_pods_of_a_stateful_set_are_deleted() {
    let annotations = json!({ REVERTED: plan::own_template(&workload()), REVERTED_BECAUSE: "it restarted" });
    let mut reverted = with("/metadata/annotations", annotations);
    let done = JobResult::Reverted("it restarted".to_owned());
    assert_eq!(follow_up(&reverted, None, COMPLETE), Decision::Done(done));
    let mut patched_again = reverted.clone();
    patched_again["metadata"]["annotations"][ROLLING_OUT] = reverted["metadata"]["annotations"][REVERTED].clone();
    assert_eq!(follow_up(&patched_again, None, Step::Check), Decision::Done(rolled_out()));
    reverted["kind"] = json!("StatefulSet");
    assert_eq!(follow_up(&reverted, None, COMPLETE), Decision::DeleteStuckPods("it restarted".to_owned()));
    reverted["metadata"]["generation"] = json!(2);
    assert_eq!(follow_up(&reverted, None, COMPLETE), Decision::Done(JobResult::Reverting));
}
