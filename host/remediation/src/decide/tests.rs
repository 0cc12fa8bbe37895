//! Tests of the decision about one workload.
#![allow(clippy::unwrap_used)]

mod following;

use std::sync::Arc;

use kube_devops_cluster::crd::{DefaultProbe, DefaultResources, DevOpsPolicySpec};
use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_cluster::managed_fields::set_of;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Edit, Evaluation, EvaluationError, Needs};
use serde_json::json;

use super::super::added::{ADDED_FIELDS, record};
use super::super::progress::Best;
use super::*;
use crate::WorkloadKey;

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
        recorded: Some(WorkloadKey { kind: "Deployment".to_owned(), name: "web".to_owned() }),
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

/// The workload with the fields and the annotations of a patch of its only container.
fn applied(patch: &Value) -> Value {
    let mut workload = with("/metadata/annotations", patch["metadata"]["annotations"].clone());
    let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
    for (field, value) in patch.pointer("/spec/template/spec/containers/0").unwrap().as_object().unwrap() {
        container[field] = value.clone();
    }
    workload
}

#[test]
fn a_missing_probe_is_patched_and_watched_until_it_could_have_failed() {
    let (patch, patched) = patched_by(&job());
    let container = patch.pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 80);
    assert_eq!(patch["metadata"]["annotations"][ROLLING_OUT], patched.template);
    assert_eq!(patched.what, "container app: livenessProbe");
    assert_eq!(fields(&patched), [("app", "/livenessProbe")]);
    assert_eq!(settle(&applied(&patch)), Duration::from_secs(5 + 4 * 10 + 30 + 5));
}

#[test]
fn a_dry_run_reports_the_patch() {
    let job = RemediationJob { dry_run: true, ..job() };
    assert_eq!(result(&workload(), &job), JobResult::WouldPatch("container app: livenessProbe".to_owned()));
}

#[test]
fn a_policy_without_its_finalizer_patches_nothing() {
    let unprotected = RemediationJob { is_protected: false, ..job() };
    let what = JobResult::Unprotected("container app: livenessProbe".to_owned());
    assert_eq!(result(&workload(), &unprotected), what);
    for recorded in [None, Some(WorkloadKey { kind: "StatefulSet".to_owned(), name: "web".to_owned() })] {
        let unrecorded = RemediationJob { recorded, ..job() };
        assert_eq!(result(&workload(), &unrecorded), what, "the next leader would not know the patch");
    }
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
    assert_eq!(patched.what, "");
}

#[test]
fn a_reverted_template_is_not_patched_again_until_it_changes() {
    let fingerprint = plan::own_template(&workload());
    let annotations = json!({ REVERTED: fingerprint, REVERTED_BECAUSE: "it restarted" });
    let mut reverted = with("/metadata/annotations", annotations);
    assert_eq!(result(&reverted, &job()), JobResult::Reverted("it restarted".to_owned()));
    let mut exported = reverted.clone();
    let fields = set_of(&json!({ "metadata": { "annotations": { REVERTED: null } } }));
    exported["metadata"]["managedFields"] = json!([{ "manager": "helm", "operation": "Update", "fieldsV1": fields }]);
    let JobResult::Reverted(reason) = result(&exported, &job()) else { panic!("not reverted") };
    let hint = "it restarted; if this was in another cluster, remove devops.stochastic.io/reverted, ";
    assert!(reason.starts_with(hint), "{reason}");
    reverted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
    assert!(matches!(decide(&reverted, &job()), Decision::Patch { .. }));
}

#[test]
fn the_settle_time_depends_on_the_added_fields() {
    let probe = DefaultProbe { tcp_port: None, initial_delay_seconds: Some(30), period_seconds: Some(20) };
    let spec = Box::new(DevOpsPolicySpec { default_probe: Some(probe), ..DevOpsPolicySpec::default() });
    let (patch, _) = patched_by(&RemediationJob { spec, ..job() });
    assert_eq!(settle(&applied(&patch)), Duration::from_secs(30 + 4 * 20 + 30 + 5));
    let resources = DefaultResources { memory_limit: Some("1Gi".to_owned()), ..DefaultResources::default() };
    let probe = DefaultProbe { tcp_port: None, initial_delay_seconds: Some(0), period_seconds: Some(1) };
    let spec = DevOpsPolicySpec {
        default_probe: Some(probe),
        default_resources: Some(resources),
        ..DevOpsPolicySpec::default()
    };
    let (patch, patched) = patched_by(&RemediationJob { spec: Box::new(spec), ..job() });
    assert_eq!(settle(&applied(&patch)), Duration::from_secs(60));
    assert_eq!(patched.what, "container app: livenessProbe, resources/limits/memory");
    assert_eq!(fields(&patched), [("app", "/livenessProbe")], "an autoscaler changes the limits of pods");
}

#[test]
fn the_settle_time_contains_the_grace_period_after_which_a_restart_is_counted() {
    let settle = |grace: Value, probe: Value| {
        let mut workload = with("/spec/template/spec/terminationGracePeriodSeconds", grace);
        workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe;
        let addition = Addition { container: "app".to_owned(), field: "/livenessProbe".to_owned(), value: Value::Null };
        settle_of(&workload, &addition).map(|settle| settle.as_secs())
    };
    let added = || json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 10 });
    assert_eq!(settle(Value::Null, added()), Some(4 * 10 + 30 + 5));
    assert_eq!(settle(json!(90), added()), Some(4 * 10 + 90 + 5));
    assert_eq!(settle(json!(0), added()), Some(4 * 10 + 5));
    let edited =
        json!({ "periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 1, "terminationGracePeriodSeconds": 7 });
    assert_eq!(settle(json!(90), edited), Some(2 * 3 + 7 + 5));
    assert_eq!(settle(json!(u64::MAX), json!({ "failureThreshold": u64::MAX })), Some(u64::MAX));
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
fn the_annotation_of_a_rollout_that_kubectl_has_restored_is_removed_before_a_patch() {
    let fields = set_of(&json!({ "metadata": { "annotations": { ROLLING_OUT: null } } }));
    let mut workload = with("/metadata/annotations", json!({ ROLLING_OUT: "another template" }));
    workload["metadata"]["managedFields"] =
        json!([{ "manager": "kubectl", "operation": "Update", "fieldsV1": fields }]);
    let what = JobResult::Unprotected("container app: livenessProbe".to_owned());
    let Decision::GiveUp { patch, result: found } = decide(&workload, &job()) else { panic!("not removed") };
    assert_eq!((&patch["metadata"]["annotations"], found), (&json!({ ROLLING_OUT: null }), what));
    let dry_run = RemediationJob { dry_run: true, ..job() };
    assert!(matches!(result(&workload, &dry_run), JobResult::WouldPatch(_)), "nothing is changed");
    workload["metadata"]["managedFields"][0]["manager"] = "helm".into();
    assert!(matches!(decide(&workload, &job()), Decision::Patch { .. }), "it reports the conflict");
}
