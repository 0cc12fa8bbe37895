//! The decision about one workload: whether and how to patch it, as a function of the workload as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kube_devops_core::Subject;
use kube_devops_core::object::{Context, Object};
use serde_json::Value;

use super::job::{JobResult, Patched, RemediationJob};
use super::plan::{self, Addition, IGNORE, PATCHED_BY, REVERTED, REVERTED_BECAUSE};
use super::rollout::{Rollout, deadline, objection, rollout};

/// What to do with a workload.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Nothing, with this result.
    Done(JobResult),
    /// Apply a patch.
    Patch {
        /// The body of the server-side apply.
        patch: Value,
        /// The result if it succeeds.
        patched: Patched,
    },
    /// Remove the added fields.
    Revert {
        /// The body of the server-side apply.
        patch: Value,
        /// The reason.
        reason: String,
    },
}

/// Decides about the workload of a pod with violations.
pub fn remediation(workload: &Value, job: &RemediationJob, now: DateTime<Utc>) -> Decision {
    let annotation = |name: &str| workload["metadata"]["annotations"][name].as_str();
    if annotation(IGNORE) == Some("true") {
        return Decision::Done(JobResult::Ignored);
    }
    if workload["metadata"].get("deletionTimestamp").is_some() {
        return Decision::Done(JobResult::Gone);
    }
    let edits = match subject(workload, now).map(|subject| job.rules.remediate(&subject)) {
        None => return Decision::Done(JobResult::Skipped("failed to read its pod template".to_owned())),
        Some(Err(error)) => return Decision::Done(JobResult::Waiting(error.to_string())),
        Some(Ok(edits)) => edits,
    };
    let additions = plan::additions(workload, &job.spec, &edits);
    let is_complete = rollout(workload) == Rollout::Complete;
    if additions.is_empty() {
        // The pods have violations and the template has none: they are being replaced, perhaps since before a restart.
        let is_ours = annotation(PATCHED_BY).is_some_and(|by| by.starts_with("kube-devops/"));
        let is_in_progress = is_ours && !is_complete;
        let patched = || JobResult::Patched(patched(workload, &[]));
        return Decision::Done(if is_in_progress { patched() } else { JobResult::UpToDate });
    }
    if annotation(REVERTED) == Some(&plan::own_template(workload)) {
        let reason = annotation(REVERTED_BECAUSE).unwrap_or("the new pods did not become available");
        return Decision::Done(JobResult::Reverted(reason.to_owned()));
    }
    if let Some(objection) = objection(workload) {
        return Decision::Done(JobResult::Skipped(objection.to_owned()));
    }
    if !is_complete {
        // The effect of the patch could not be distinguished from problems that exist already.
        return Decision::Done(JobResult::Waiting("not all of its pods are up to date and available".to_owned()));
    }
    if job.dry_run {
        return Decision::Done(JobResult::WouldPatch(description(&additions)));
    }
    let patch = plan::patch(workload, &additions, &job.policy);
    Decision::Patch { patch, patched: patched(workload, &additions) }
}

/// Decides about a workload that was patched. `trouble` is a reason to revert that is not visible in the workload.
pub fn follow_up(workload: &Value, trouble: Option<String>) -> Decision {
    let reason = match (trouble, rollout(workload)) {
        (_, Rollout::Failed(reason)) | (Some(reason), _) => reason,
        (None, Rollout::Complete) => return Decision::Done(JobResult::RolledOut),
        (None, Rollout::InProgress) => return Decision::Done(JobResult::InProgress),
    };
    Decision::Revert { patch: plan::revert(workload, &reason), reason }
}

/// The facts of the pod template.
fn subject(workload: &Value, now: DateTime<Utc>) -> Option<Subject> {
    let object: Object = serde_json::from_value(workload.clone()).ok()?;
    let context = Context { now, default_namespace: String::new(), source: None };
    object.extract(&context).ok()?.into_subject()
}

fn patched(workload: &Value, additions: &[Addition]) -> Patched {
    // The kubelet restarts a container after three failures by default.
    const FAILURES: u64 = 3;
    const MARGIN: u64 = 5;
    let liveness = additions.iter().filter(|addition| addition.field == "/livenessProbe").map(|addition| {
        let seconds = |field: &str, default: u64| addition.value[field].as_u64().unwrap_or(default);
        seconds("initialDelaySeconds", 0) + FAILURES * seconds("periodSeconds", 10) + MARGIN
    });
    let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Patched {
        what: description(additions),
        deadline: deadline(workload),
        settle: Duration::from_secs(liveness.max().unwrap_or(0)),
        selector: labels.into_iter().flatten().filter_map(label).collect(),
    }
}

/// The added fields, for people.
fn description(additions: &[Addition]) -> String {
    let mut by_container: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for addition in additions {
        by_container.entry(&addition.container).or_default().push(addition.field.trim_start_matches('/'));
    }
    let parts =
        by_container.into_iter().map(|(container, fields)| format!("container {container}: {}", fields.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use kube_devops_core::{Edit, Evaluation, EvaluationError};
    use serde_json::json;

    use super::*;
    use crate::crd::{DefaultProbe, DevOpsPolicySpec};
    use crate::evaluator::PolicyRules;

    /// Asks for a liveness probe in each container without one, or fails.
    struct Liveness {
        fails: bool,
    }

    impl PolicyRules for Liveness {
        fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation> {
            vec![Evaluation::default(); subjects.len()]
        }

        fn remediating(&self) -> Vec<&str> {
            vec!["missing-liveness"]
        }

        fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
            if self.fails {
                return Err(EvaluationError {
                    check: "missing-liveness".to_owned(),
                    module: "abc".to_owned(),
                    cause: "it crashed".to_owned(),
                    timed_out: false,
                    subjects: Vec::new(),
                });
            }
            let edits = subject.containers.iter().filter(|container| !container.has_liveness_probe);
            let edits = edits.map(|container| Edit {
                check: "missing-liveness".to_owned(),
                container: Some(container.name.to_string()),
                field: "/livenessProbe".to_owned(),
                value: r#"{"tcpSocket":{"port":80},"initialDelaySeconds":5,"periodSeconds":10}"#.to_owned(),
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
            rules: Arc::new(Liveness { fails: false }),
            dry_run: false,
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
                    "spec": { "containers": [{ "name": "app", "image": "x:1" }] },
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

    fn result(workload: &Value, job: &RemediationJob) -> JobResult {
        match remediation(workload, job, DateTime::UNIX_EPOCH) {
            Decision::Done(result) => result,
            decision => panic!("{decision:?}"),
        }
    }

    #[test]
    fn a_missing_probe_is_patched_and_watched_until_it_could_have_failed() {
        let Decision::Patch { patch, patched } = remediation(&workload(), &job(), DateTime::UNIX_EPOCH) else {
            panic!("no patch");
        };
        let container = patch.pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 80);
        assert_eq!(patch["metadata"]["annotations"], json!({ PATCHED_BY: "kube-devops/strict" }));
        assert_eq!(patched.what, "container app: livenessProbe");
        assert_eq!((patched.deadline, patched.settle), (Some(Duration::from_secs(60)), Duration::from_secs(40)));
        assert_eq!(patched.selector, [("app".to_owned(), "web".to_owned())].into());
    }

    #[test]
    fn a_dry_run_reports_the_patch() {
        let job = RemediationJob { dry_run: true, ..job() };
        assert_eq!(result(&workload(), &job), JobResult::WouldPatch("container app: livenessProbe".to_owned()));
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
    fn a_workload_with_unavailable_pods_waits() {
        assert!(matches!(result(&with("/status/availableReplicas", json!(0)), &job()), JobResult::Waiting(_)));
        let job = RemediationJob { rules: Arc::new(Liveness { fails: true }), ..job() };
        let JobResult::Waiting(reason) = result(&workload(), &job) else { panic!("not waiting") };
        assert!(reason.contains("it crashed"), "{reason}");
    }

    #[test]
    fn a_template_without_violations_is_up_to_date_or_still_rolling_out() {
        let probe = json!([{ "name": "app", "livenessProbe": { "exec": {} } }]);
        let mut probed = with("/spec/template/spec/containers", probe);
        assert_eq!(result(&probed, &job()), JobResult::UpToDate);
        probed["status"]["updatedReplicas"] = json!(0);
        assert_eq!(result(&probed, &job()), JobResult::UpToDate);
        probed["metadata"]["annotations"] = json!({ PATCHED_BY: "kube-devops/strict" });
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
        assert!(matches!(remediation(&reverted, &job(), DateTime::UNIX_EPOCH), Decision::Patch { .. }));
    }

    #[test]
    fn the_probe_of_the_policy_decides_how_long_the_pods_are_watched() {
        let probe = DefaultProbe { tcp_port: None, initial_delay_seconds: Some(30), period_seconds: Some(20) };
        let spec = Box::new(DevOpsPolicySpec { default_probe: Some(probe), ..DevOpsPolicySpec::default() });
        let Decision::Patch { patched, .. } =
            remediation(&workload(), &RemediationJob { spec, ..job() }, DateTime::UNIX_EPOCH)
        else {
            panic!("no patch");
        };
        assert_eq!(patched.settle, Duration::from_secs(30 + 3 * 20 + 5));
    }

    #[test]
    fn a_rollout_is_awaited_and_reverted_when_it_fails_or_the_pods_restart() {
        assert_eq!(follow_up(&workload(), None), Decision::Done(JobResult::RolledOut));
        let mut workload = with("/status/availableReplicas", json!(0));
        assert_eq!(follow_up(&workload, None), Decision::Done(JobResult::InProgress));
        let is_revert = |decision: &Decision, expected: &str| match decision {
            Decision::Revert { patch, reason } => {
                patch["metadata"]["annotations"][REVERTED_BECAUSE] == *reason && reason == expected
            }
            _ => false,
        };
        assert!(is_revert(&follow_up(&workload, Some("it restarted".to_owned())), "it restarted"));
        workload["status"]["conditions"] =
            json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "no progress" }]);
        assert!(is_revert(&follow_up(&workload, None), "no progress"));
    }
}
