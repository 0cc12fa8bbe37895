//! Tests of the decision about one workload.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kube_devops_cluster::crd::{DefaultProbe, DefaultResources, DevOpsPolicySpec};
use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Edit, Evaluation, EvaluationError, Needs};
use serde_json::json;

use super::super::added::{ADDED_FIELDS, record};
use super::super::rollout::Progress;
use super::*;

/// A check that asks for this liveness probe in each container without one, or fails.
struct Liveness {
    check: &'static str,
    probe: Option<&'static str>,
}

const LIVENESS: Liveness = Liveness {
    check: "missing-liveness",
    probe: Some(r#"{"tcpSocket":{"port":80},"initialDelaySeconds":5,"periodSeconds":10}"#),
};

impl PolicyRules for Liveness {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation> {
        vec![Evaluation::default(); subjects.len()]
    }

    fn remediating(&self) -> Vec<&str> {
        vec![self.check]
    }

    fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        let Some(probe) = self.probe else {
            return Err(EvaluationError {
                check: self.check.to_owned(),
                module: "abc".to_owned(),
                cause: "it crashed".to_owned(),
                timed_out: false,
                subjects: Vec::new(),
            });
        };
        let edits = subject.containers.iter().filter(|container| !container.has_liveness_probe);
        let edits = edits.map(|container| Edit {
            check: self.check.to_owned(),
            container: Some(container.name.to_string()),
            field: "/livenessProbe".to_owned(),
            value: probe.to_owned(),
        });
        Ok(edits.collect())
    }
}

fn job() -> RemediationJob {
    RemediationJob {
        namespace: "shop".to_owned(),
        owner: Arc::default(),
        policy: "strict".to_owned(),
        spec: Box::default(),
        rules: Arc::new(LIVENESS),
        dry_run: false,
        is_protected: true,
        patches: Arc::default(),
    }
}

/// A Deployment of one replica that is available, whose container has no probe.
fn workload() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "generation": 1, "resourceVersion": "7" },
        "spec": {
            "progressDeadlineSeconds": 60,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "x:1", "ports": [{ "containerPort": 80 }] }] },
            },
        },
        "status": { "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 },
    })
}

/// The workload with a value at a JSON Pointer whose parent exists.
fn with(pointer: &str, value: Value) -> Value {
    let mut workload = workload();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    workload.pointer_mut(parent).unwrap()[key] = value;
    workload
}

/// The workload during the rollout of a patch.
fn rolling_out() -> Value {
    with("/metadata/annotations", json!({ ROLLING_OUT: plan::own_template(&workload()) }))
}

fn follow_up(workload: &Value, failure: Option<RolloutFailure>, step: Step) -> Decision {
    super::follow_up(workload, "strict", failure, step)
}

fn decide(workload: &Value, job: &RemediationJob) -> Decision {
    remediation(workload, job, None, DateTime::UNIX_EPOCH)
}

fn result(workload: &Value, job: &RemediationJob) -> JobResult {
    match decide(workload, job) {
        Decision::Done(result) => result,
        decision => panic!("{decision:?}"),
    }
}

/// The containers and the added fields.
fn fields(patched: &Patched) -> Vec<(&str, &str)> {
    patched.fields.iter().map(|added| (added.container.as_str(), added.field.as_str())).collect()
}

fn patched_by(job: &RemediationJob) -> (Value, Patched) {
    match decide(&workload(), job) {
        Decision::Patch { patch, result: JobResult::Patched(patched) } => (patch, patched),
        decision => panic!("{decision:?}"),
    }
}

#[test]
fn a_missing_probe_is_patched_and_watched_until_it_could_have_failed() {
    let (patch, patched) = patched_by(&job());
    let container = patch.pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 80);
    assert_eq!(patch["metadata"]["annotations"][ROLLING_OUT], patched.template);
    assert_eq!(patched.what, "container app: livenessProbe");
    assert_eq!(fields(&patched), [("app", "/livenessProbe")]);
    assert_eq!(patched.settle, Duration::from_secs(5 + 4 * 10 + 30 + 5));
}

#[test]
fn a_dry_run_reports_the_patch() {
    let job = RemediationJob { dry_run: true, ..job() };
    assert_eq!(result(&workload(), &job), JobResult::WouldPatch("container app: livenessProbe".to_owned()));
}

#[test]
fn a_policy_without_its_finalizer_patches_nothing() {
    let unprotected = RemediationJob { is_protected: false, ..job() };
    assert_eq!(result(&workload(), &unprotected), JobResult::Unprotected);
}

#[test]
fn ignored_deleted_paused_and_recreated_workloads_are_not_patched() {
    let annotated = with("/metadata/annotations", json!({ IGNORE: "true" }));
    assert_eq!(result(&annotated, &job()), JobResult::Ignored);
    let deleted = with("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    assert_eq!(result(&deleted, &job()), JobResult::Gone);
    assert!(matches!(result(&with("/spec/paused", json!(true)), &job()), JobResult::Skipped(_)));
    let recreated = with("/spec/strategy", json!({ "type": "Recreate" }));
    assert!(matches!(result(&recreated, &job()), JobResult::Skipped(_)));
    let unreadable = with("/spec/template/spec/containers", json!("none"));
    assert!(matches!(result(&unreadable, &job()), JobResult::Skipped(_)));
}

#[test]
fn a_container_without_a_port_is_skipped_with_the_fix() {
    let worker = with("/spec/template/spec/containers", json!([{ "name": "app", "image": "x:1" }]));
    let JobResult::Skipped(reason) = result(&worker, &job()) else { panic!("not skipped") };
    assert!(reason.starts_with("container app: no port to probe: declare a containerPort, or set"), "{reason}");
    let udp = json!([{ "containerPort": 53, "protocol": "UDP" }]);
    let dns = with("/spec/template/spec/containers", json!([{ "name": "dns", "ports": udp }, { "name": "app" }]));
    let JobResult::Skipped(reason) = result(&dns, &job()) else { panic!("not skipped") };
    assert!(reason.starts_with("container app: no port to probe"), "{reason}");
    assert!(reason.contains("; container dns: no TCP containerPort to probe: "), "{reason}");
}

#[test]
fn fields_that_another_client_removes_twice_are_not_added_again() {
    let count = |count, template: String| {
        let patches = PatchCount { template, count };
        remediation(&workload(), &job(), Some(&patches), DateTime::UNIX_EPOCH)
    };
    let template = plan::own_template(&workload());
    assert!(matches!(count(1, template.clone()), Decision::Patch { .. }));
    assert!(matches!(count(2, template), Decision::Done(JobResult::Conflict(_))));
    assert!(matches!(count(2, "another".to_owned()), Decision::Patch { .. }));
}

#[test]
fn a_workload_with_unavailable_pods_waits() {
    assert!(matches!(result(&with("/status/availableReplicas", json!(0)), &job()), JobResult::Waiting(_)));
    let mut scaled_down = with("/spec/replicas", json!(0));
    scaled_down["status"] = json!({ "observedGeneration": 1 });
    assert_eq!(result(&scaled_down, &job()), JobResult::Waiting("it has no pods".to_owned()));
    let job = RemediationJob { rules: Arc::new(Liveness { probe: None, ..LIVENESS }), ..job() };
    let JobResult::Waiting(reason) = result(&workload(), &job) else { panic!("not waiting") };
    assert!(reason.contains("it crashed"), "{reason}");
}

#[test]
fn a_template_without_violations_is_up_to_date_unless_its_patch_is_rolling_out() {
    let probe = json!([{ "name": "app", "livenessProbe": { "exec": {} } }]);
    let mut probed = with("/spec/template/spec/containers", probe);
    probed["status"]["updatedReplicas"] = json!(0);
    assert_eq!(result(&probed, &job()), JobResult::UpToDate);
    probed["metadata"]["annotations"] = json!({ "devops.stochastic.io/patched-by": "kube-devops/strict" });
    assert_eq!(result(&probed, &job()), JobResult::UpToDate, "the rollout of the user is not that of the patch");
    probed["metadata"]["annotations"][ROLLING_OUT] = json!(plan::own_template(&probed));
    let JobResult::Patched(patched) = result(&probed, &job()) else { panic!("not patched") };
    assert_eq!((patched.what.as_str(), patched.settle), ("", Duration::ZERO));
}

#[test]
fn a_reverted_template_is_not_patched_again_until_it_changes() {
    let fingerprint = plan::own_template(&workload());
    let annotations = json!({ REVERTED: fingerprint, REVERTED_BECAUSE: "it restarted" });
    let mut reverted = with("/metadata/annotations", annotations);
    assert_eq!(result(&reverted, &job()), JobResult::Reverted("it restarted".to_owned()));
    reverted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
    assert!(matches!(decide(&reverted, &job()), Decision::Patch { .. }));
}

#[test]
fn the_settle_time_depends_on_the_added_fields() {
    let probe = DefaultProbe { tcp_port: None, initial_delay_seconds: Some(30), period_seconds: Some(20) };
    let spec = Box::new(DevOpsPolicySpec { default_probe: Some(probe), ..DevOpsPolicySpec::default() });
    let (_, patched) = patched_by(&RemediationJob { spec, ..job() });
    assert_eq!(patched.settle, Duration::from_secs(30 + 4 * 20 + 30 + 5));
    let resources = DefaultResources { memory_limit: Some("1Gi".to_owned()), ..DefaultResources::default() };
    let probe = DefaultProbe { tcp_port: None, initial_delay_seconds: Some(0), period_seconds: Some(1) };
    let spec = DevOpsPolicySpec {
        default_probe: Some(probe),
        default_resources: Some(resources),
        ..DevOpsPolicySpec::default()
    };
    let (_, patched) = patched_by(&RemediationJob { spec: Box::new(spec), ..job() });
    assert_eq!(patched.settle, Duration::from_secs(60));
}

#[test]
fn the_settle_time_contains_the_grace_period_after_which_a_restart_is_counted() {
    let settle = |grace: Value, probe: Value| {
        let mut workload = with("/spec/template/spec/terminationGracePeriodSeconds", grace);
        workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe;
        let value = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 10 });
        let addition = Addition { container: "app".to_owned(), field: "/livenessProbe".to_owned(), value };
        super::settle(&workload, &addition).map(|settle| settle.as_secs())
    };
    assert_eq!(settle(Value::Null, Value::Null), Some(4 * 10 + 30 + 5));
    assert_eq!(settle(json!(90), Value::Null), Some(4 * 10 + 90 + 5));
    assert_eq!(settle(json!(0), Value::Null), Some(4 * 10 + 5));
    let edited =
        json!({ "periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 1, "terminationGracePeriodSeconds": 7 });
    assert_eq!(settle(json!(90), edited), Some(2 * 3 + 7 + 5));
    assert_eq!(settle(json!(u64::MAX), json!({ "failureThreshold": u64::MAX })), Some(u64::MAX));
}

fn restarted() -> Option<RolloutFailure> {
    Some(RolloutFailure::Restarted("it restarted".to_owned()))
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
    let decision = follow_up(&workload, None, Step::Complete);
    assert!(matches!(decision, Decision::GiveUp { result: JobResult::RolledOut, .. }), "{decision:?}");
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
    assert_given_up(follow_up(&foreign(rolling_out()), None, Step::Complete));
    let dry_run = RemediationJob { dry_run: true, ..job() };
    assert!(matches!(result(&foreign(workload()), &dry_run), JobResult::WouldPatch(_)), "nothing is applied");
}

#[test]
fn the_added_fields_are_given_up_when_another_client_changed_the_template() {
    let mut workload = owned();
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
    let stalled = RolloutFailure::Stalled { progress: Progress::default(), limit: Duration::from_secs(90) };
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
    let complete = |workload: &Value| {
        !matches!(follow_up(workload, None, Step::Complete), Decision::Done(JobResult::InProgress(_)))
    };
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
    let Decision::Done(JobResult::InProgress(progress)) = follow_up(&workload, None, Step::Check) else {
        panic!("not in progress")
    };
    let stalled = || Some(RolloutFailure::Stalled { progress, limit: Duration::from_secs(90) });
    let reverted = Decision::Revert("no progress for 90 seconds".to_owned());
    assert_eq!(follow_up(&workload, stalled(), Step::Check), reverted);
    workload["status"]["replicas"] = json!(2);
    let progressed = follow_up(&workload, stalled(), Step::Check);
    assert!(matches!(progressed, Decision::Done(JobResult::InProgress(_))), "{progressed:?}");
    let complete = follow_up(&rolling_out(), stalled(), Step::Check);
    assert_eq!(complete, Decision::Done(JobResult::RolledOut), "no check was possible in between");
}

#[test]
fn a_rollout_is_awaited_completed_and_reverted_when_it_fails() {
    let mut workload = rolling_out();
    assert_eq!(follow_up(&workload, None, Step::Check), Decision::Done(JobResult::RolledOut));
    let completed = follow_up(&workload, None, Step::Complete);
    let Decision::Patch { patch, result: JobResult::Completed } = completed else { panic!("{completed:?}") };
    assert!(patch["metadata"]["annotations"].get(ROLLING_OUT).is_none());
    let revert = |reason: &str| Decision::Revert(reason.to_owned());
    assert_eq!(follow_up(&workload, restarted(), Step::Complete), revert("it restarted"));
    workload["status"]["availableReplicas"] = json!(0);
    let in_progress = follow_up(&workload, None, Step::Complete);
    assert!(matches!(in_progress, Decision::Done(JobResult::InProgress(_))), "{in_progress:?}");
    workload["status"]["conditions"] =
        json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "no progress" }]);
    assert_eq!(follow_up(&workload, None, Step::Check), revert("no progress"));
}

#[test]
fn only_the_policy_that_patched_a_workload_last_completes_its_rollout() {
    let complete = |by: &str| {
        let mut workload = rolling_out();
        workload["metadata"]["annotations"][PATCHED_BY] = by.into();
        follow_up(&workload, None, Step::Complete)
    };
    assert!(matches!(complete("kube-devops/strict"), Decision::Patch { result: JobResult::Completed, .. }));
    assert_eq!(complete("kube-devops/other"), Decision::Done(JobResult::Completed));
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
    assert_eq!((adopted.what.as_str(), adopted.settle), ("", Duration::from_secs(4 * 7 + 30 + 5)));
    assert_eq!(fields(&adopted), [("app", "/livenessProbe")]);
    // The response to the patch was lost.
    assert_eq!(result(&workload, &job()), JobResult::Patched(adopted.clone()));
    workload["status"]["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded" }]);
    assert!(matches!(follow_up(&workload, None, Step::Adopt), Decision::Revert(_)));
}

#[test]
fn a_value_that_is_never_added_is_reported() {
    let executes = Liveness { check: "own", probe: Some(r#"{"exec":{"command":["id"]}}"#) };
    let JobResult::Skipped(reason) = result(&workload(), &RemediationJob { rules: Arc::new(executes), ..job() }) else {
        panic!("not skipped")
    };
    assert!(reason.starts_with("check own requests a value of /livenessProbe"), "{reason}");
}

#[test]
fn the_rollout_of_another_client_is_never_reverted() {
    let mut workload = rolling_out();
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("broken:2");
    workload["status"]["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded" }]);
    let Decision::GiveUp { patch, result: JobResult::Superseded } = follow_up(&workload, restarted(), Step::Complete)
    else {
        panic!("not superseded")
    };
    let over = |annotations| json!({ "metadata": { "resourceVersion": "7", "annotations": annotations } });
    assert_eq!(patch, over(json!({ ROLLING_OUT: null })));
    let mut completed = with("/metadata/annotations", json!({}));
    completed["status"]["availableReplicas"] = json!(0);
    assert_eq!(follow_up(&completed, restarted(), Step::Complete), Decision::Done(JobResult::Superseded));

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
    workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!(null);
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
    assert_eq!(follow_up(&reverted, None, Step::Complete), Decision::Done(done));
    let mut patched_again = reverted.clone();
    patched_again["metadata"]["annotations"][ROLLING_OUT] = reverted["metadata"]["annotations"][REVERTED].clone();
    assert_eq!(follow_up(&patched_again, None, Step::Check), Decision::Done(JobResult::RolledOut));
    reverted["kind"] = json!("StatefulSet");
    assert_eq!(follow_up(&reverted, None, Step::Complete), Decision::DeleteStuckPods("it restarted".to_owned()));
    reverted["metadata"]["generation"] = json!(2);
    assert_eq!(follow_up(&reverted, None, Step::Complete), Decision::Done(JobResult::Reverting));
}
