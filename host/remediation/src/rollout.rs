//! The rollout of the pod template of a workload.

use std::time::Duration;

use serde_json::Value;

use super::progress::Progress;

/// The state of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is up to date and available.
    Complete,
    /// Pods are being replaced or are not available.
    InProgress(Progress),
    /// The progress deadline was exceeded, with the message of Kubernetes.
    Failed(String),
}

/// Returns the state of the rollout of a Deployment, StatefulSet or DaemonSet, by the criteria of `kubectl rollout status`, except
/// that pods of the previous template and a workload without pods do not complete a rollout: nothing shows that the new template
/// works.
pub fn rollout(workload: &Value) -> Rollout {
    let status = |field: &str| number(workload, &format!("/status/{field}"), 0);
    let is_stuck =
        |condition: &&Value| condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded";
    let kind = workload["kind"].as_str();
    let [updated, ready, available, pods] = match kind {
        Some("DaemonSet") => ["updatedNumberScheduled", "numberReady", "numberAvailable", "currentNumberScheduled"],
        _ => ["updatedReplicas", "readyReplicas", "availableReplicas", "replicas"],
    }
    .map(status);
    let progress = Progress { updated, ready, available, pods, deadline: progress_deadline(workload) };
    if !is_observed(workload) {
        return Rollout::InProgress(Progress { updated: 0, ..progress });
    }
    if let Some(stuck) = conditions(workload).find(is_stuck) {
        return Rollout::Failed(stuck["message"].as_str().unwrap_or("the progress deadline was exceeded").to_owned());
    }
    let replicas = number(workload, "/spec/replicas", 1);
    let (usable, wanted) = match kind {
        Some("DaemonSet") => (available, status("desiredNumberScheduled")),
        Some("StatefulSet") => (ready, replicas),
        _ => (available, replicas),
    };
    let has_surplus = kind != Some("DaemonSet") && pods > replicas;
    let is_complete = wanted > 0 && updated >= wanted && usable >= wanted && !has_surplus;
    if is_complete { Rollout::Complete } else { Rollout::InProgress(progress) }
}

/// Whether the controller of the workload has seen its newest generation.
pub fn is_observed(workload: &Value) -> bool {
    number(workload, "/status/observedGeneration", 0) >= number(workload, "/metadata/generation", 0)
}

/// Whether the controller of the workload has recorded the start of the rollout of the newest template.
///
/// The Deployment controller writes the condition `NewReplicaSetCreated` once. If another write comes first, the condition is lost:
/// `NewReplicaSetAvailable` of the previous rollout stays, and the progress deadline does not apply.
/// <https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/controller/deployment/util/deployment_util.go#L750>
pub fn is_recorded(workload: &Value) -> bool {
    let is_of_previous =
        |condition: &Value| condition["type"] == "Progressing" && condition["reason"] == "NewReplicaSetAvailable";
    // With a new pod, the ReplicaSet exists, and the condition has been written or lost.
    let has_new_pods = number(workload, "/status/updatedReplicas", 0) > 0;
    let is_recorded = workload["kind"] != "Deployment" || has_new_pods || !conditions(workload).any(is_of_previous);
    is_observed(workload) && is_recorded
}

fn conditions(workload: &Value) -> impl Iterator<Item = &Value> {
    workload.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn number(workload: &Value, pointer: &str, default: i64) -> i64 {
    workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
}

/// The deadline by which Kubernetes itself notices a lack of progress, which only a Deployment can have.
fn progress_deadline(workload: &Value) -> Option<Duration> {
    const DEFAULT: i64 = 600;
    let seconds = number(workload, "/spec/progressDeadlineSeconds", DEFAULT);
    // The largest number means no deadline: <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>
    let has_deadline = workload["kind"] == "Deployment" && seconds < i64::from(i32::MAX);
    // Kubernetes measures no progress of these, so that a high number would keep the finalizer of the policy.
    let is_stopped = workload["spec"]["paused"] == true || number(workload, "/spec/replicas", 1) == 0;
    let seconds = if is_stopped { seconds.min(DEFAULT) } else { seconds };
    has_deadline.then(|| Duration::from_secs(seconds.unsigned_abs()))
}

/// Returns the reason why the workload must not be rolled out; `None` if a patch is allowed.
pub fn reason_to_skip(workload: &Value, allows_daemon_sets: bool) -> Option<String> {
    let owners = workload.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    if let Some(owner) = owners.into_iter().flatten().find(|owner| owner["controller"] == true) {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        return Some(format!("it is controlled by {} {}, which defines its template", text("kind"), text("name")));
    }
    if workload.pointer("/spec/strategy/type").is_some_and(|kind| kind == "Recreate") {
        return Some("its strategy Recreate would terminate all pods at once".to_owned());
    }
    if workload.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("it is paused".to_owned());
    }
    if workload.pointer("/spec/updateStrategy/type").is_some_and(|kind| kind == "OnDelete") {
        return Some("its update strategy OnDelete replaces pods only after they are deleted".to_owned());
    }
    let partition = number(workload, "/spec/updateStrategy/rollingUpdate/partition", 0);
    if partition > 0 {
        return Some(format!("its partition {partition} keeps pods of the previous template"));
    }
    if workload["kind"] == "DaemonSet" {
        let reason =
            "a DaemonSet has no pod to spare on a node; set remediateDaemonSets in the policy to allow a rollout";
        return if allows_daemon_sets { daemon_set_would_be_down(workload) } else { Some(reason.to_owned()) };
    }
    let replicas = number(workload, "/spec/replicas", 1);
    let is_stateful = workload["kind"] == "StatefulSet";
    let unavailable = match (is_stateful, max_unavailable(workload, replicas)) {
        // A StatefulSet deletes a pod before it creates its successor.
        (true, configured) => configured.unwrap_or(1).max(1),
        // Nor does a Deployment that may have neither fewer nor more pods than replicas:
        // <https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/controller/deployment/util/deployment_util.go#L865>
        (false, configured) => configured.unwrap_or(0).max(i64::from(max_surge(workload, replicas) == 0)),
    };
    let would_be_down = replicas > 0 && unavailable >= replicas;
    would_be_down.then(|| "a rollout would leave no pod available".to_owned())
}

/// The reason not to roll out a DaemonSet whose pods would all be replaced at once. Its only pod is replaced with the permission of
/// the policy. Percentages are rounded up:
/// <https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/controller/daemon/util/daemonset_util.go>
fn daemon_set_would_be_down(workload: &Value) -> Option<String> {
    let nodes = number(workload, "/status/desiredNumberScheduled", 0);
    let configured = workload.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable");
    let unavailable = configured.and_then(|value| scaled_up(value, nodes)).unwrap_or(1);
    let would_be_down = nodes > 1 && unavailable >= nodes;
    would_be_down.then(|| format!("its maxUnavailable would replace the pods of all {nodes} nodes at once"))
}

/// A number, or a percentage of `total` that is rounded up.
fn scaled_up(value: &Value, total: i64) -> Option<i64> {
    value.as_i64().or_else(|| Some(rounded_up(percent(value)?, total)))
}

/// A percentage of `total`, rounded up.
fn rounded_up(percent: i64, total: i64) -> i64 {
    percent.saturating_mul(total).saturating_add(99) / 100
}

/// The number of pods that may be unavailable during a rollout; `None` for the default of Kubernetes.
fn max_unavailable(workload: &Value, replicas: i64) -> Option<i64> {
    let strategy = if workload["kind"] == "StatefulSet" { "updateStrategy" } else { "strategy" };
    let value = workload.pointer(&format!("/spec/{strategy}/rollingUpdate/maxUnavailable"))?;
    value.as_i64().or_else(|| Some(percent(value)?.saturating_mul(replicas) / 100))
}

/// The number of pods beyond the replicas that a Deployment may have during a rollout; the default is 25 %, rounded up.
fn max_surge(workload: &Value, replicas: i64) -> i64 {
    let configured = workload.pointer("/spec/strategy/rollingUpdate/maxSurge");
    let configured = configured.and_then(|value| scaled_up(value, replicas));
    configured.unwrap_or_else(|| rounded_up(25, replicas))
}

fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_in_progress(workload: &Value) -> bool {
        matches!(rollout(workload), Rollout::InProgress(_))
    }

    #[test]
    fn a_deployment_is_complete_when_all_pods_are_new_and_available() {
        let deployment = |status: Value| {
            json!({
                "kind": "Deployment", "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status,
            })
        };
        let done = json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 });
        assert_eq!(rollout(&deployment(done.clone())), Rollout::Complete);
        for (field, value) in
            [("observedGeneration", 1), ("replicas", 3), ("updatedReplicas", 1), ("availableReplicas", 1)]
        {
            let mut status = done.clone();
            status[field] = value.into();
            assert!(is_in_progress(&deployment(status)), "{field}");
        }
        // The numbers are those of the previous template.
        let unseen = json!({ "observedGeneration": 1, "updatedReplicas": 2 });
        let progress = Progress { updated: 0, deadline: Some(Duration::from_secs(600)), ..Progress::default() };
        assert_eq!(rollout(&deployment(unseen)), Rollout::InProgress(progress));
        let mut stuck = done;
        stuck["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "m" }]);
        assert_eq!(rollout(&deployment(stuck)), Rollout::Failed("m".to_owned()));
    }

    #[test]
    fn a_rollout_without_pods_is_not_complete() {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            let workload =
                json!({ "kind": kind, "spec": { "replicas": 0 }, "status": { "desiredNumberScheduled": 0 } });
            assert!(is_in_progress(&workload), "{kind}");
        }
    }

    #[test]
    fn a_stateful_set_is_complete_when_all_pods_are_new() {
        let with = |strategy: Value, updated: i64| {
            json!({
                "kind": "StatefulSet", "spec": { "replicas": 3, "updateStrategy": strategy },
                "status": { "replicas": 3, "readyReplicas": 3, "updatedReplicas": updated },
            })
        };
        let set = |partition: i64, updated: i64| with(json!({ "rollingUpdate": { "partition": partition } }), updated);
        let progress = Progress { updated: 2, ready: 3, pods: 3, ..Progress::default() };
        assert_eq!(rollout(&set(0, 2)), Rollout::InProgress(progress));
        assert_eq!(rollout(&set(0, 3)), Rollout::Complete);
        assert!(is_in_progress(&set(2, 1)) && is_in_progress(&set(9, 0)));
        assert_eq!(rollout(&set(9, 3)), Rollout::Complete);
        assert!(is_in_progress(&with(json!({ "type": "OnDelete" }), 2)));
    }

    #[test]
    fn a_daemon_set_is_complete_when_every_node_has_a_new_pod() {
        let daemons = |available: i64| {
            json!({
                "kind": "DaemonSet",
                "spec": { "updateStrategy": { "type": "OnDelete" } },
                "status": { "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": available },
            })
        };
        let mut old = daemons(3);
        old["status"]["updatedNumberScheduled"] = json!(2);
        assert!(is_in_progress(&daemons(2)) && is_in_progress(&old));
        assert_eq!(rollout(&daemons(3)), Rollout::Complete);
    }

    #[test]
    fn kubernetes_decides_about_deployments_with_a_progress_deadline() {
        let deadline = |kind: &str, seconds: Value| {
            let spec = json!({ "replicas": 2, "progressDeadlineSeconds": seconds });
            match rollout(&json!({ "kind": kind, "spec": spec })) {
                Rollout::InProgress(progress) => progress.deadline.map(|deadline| deadline.as_secs()),
                rollout => panic!("{rollout:?}"),
            }
        };
        assert_eq!(deadline("Deployment", json!(60)), Some(60));
        assert_eq!(deadline("Deployment", json!(9_000)), Some(9_000));
        assert_eq!(deadline("Deployment", Value::Null), Some(600));
        assert_eq!(deadline("Deployment", json!(i32::MAX)), None);
        assert_eq!(deadline("StatefulSet", Value::Null), None);
        for (replicas, paused) in [(2, true), (0, false)] {
            let spec = json!({ "replicas": replicas, "paused": paused, "progressDeadlineSeconds": 9_000 });
            let stopped = progress_deadline(&json!({ "kind": "Deployment", "spec": spec }));
            assert_eq!(stopped, Some(Duration::from_secs(600)), "{replicas} {paused}");
        }
    }

    #[test]
    fn whatever_is_progress_for_kubernetes_is_progress() {
        let progress =
            |status: Value| rollout(&json!({ "kind": "Deployment", "spec": { "replicas": 9 }, "status": status }));
        let before = json!({ "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2 });
        for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
            let mut after = before.clone();
            after[field] = json!(5);
            assert_ne!(progress(after), progress(before.clone()), "{field}");
        }
    }

    #[test]
    fn the_start_of_a_rollout_is_recorded_by_a_new_condition_or_new_pods() {
        let deployment = |observed: i64, updated: i64, reason: &str| {
            json!({
                "kind": "Deployment", "metadata": { "generation": 2 },
                "status": {
                    "observedGeneration": observed, "updatedReplicas": updated,
                    "conditions": [{ "type": "Available" }, { "type": "Progressing", "reason": reason }],
                },
            })
        };
        assert!(!is_recorded(&deployment(1, 2, "NewReplicaSetAvailable")));
        assert!(!is_recorded(&deployment(1, 2, "NewReplicaSetCreated")));
        assert!(
            !is_recorded(&deployment(2, 0, "NewReplicaSetAvailable")),
            "a change of the replicas was observed first"
        );
        assert!(is_recorded(&deployment(2, 0, "NewReplicaSetCreated")));
        assert!(is_recorded(&deployment(2, 1, "NewReplicaSetAvailable")));
        let mut other = deployment(2, 0, "NewReplicaSetAvailable");
        other["status"]["conditions"] = Value::Null;
        assert!(is_recorded(&other), "it has no progress deadline");
        other["kind"] = json!("StatefulSet");
        assert!(is_recorded(&other));
        other["metadata"]["generation"] = json!(3);
        assert!(!is_recorded(&other));
    }

    #[test]
    fn a_workload_that_would_lose_its_last_pod_is_not_rolled_out() {
        let deployment = |replicas: i64, unavailable: Value| {
            let strategy = json!({ "rollingUpdate": { "maxUnavailable": unavailable } });
            json!({ "kind": "Deployment", "spec": { "replicas": replicas, "strategy": strategy } })
        };
        for (replicas, unavailable, is_allowed) in [
            (1, Value::Null, true),
            (1, json!(1), false),
            (1, json!("25%"), true),
            (4, json!("25%"), true),
            (4, json!("100%"), false),
            (0, json!("100%"), true),
        ] {
            let workload = deployment(replicas, unavailable);
            assert_eq!(reason_to_skip(&workload, false).is_none(), is_allowed, "{workload}");
        }
        let without_surge = |replicas: i64, surge: Value, unavailable: Value| {
            let strategy = json!({ "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } });
            reason_to_skip(&json!({ "spec": { "replicas": replicas, "strategy": strategy } }), false).is_none()
        };
        assert!(!without_surge(1, json!(0), json!("25%")), "25 % of one pod are none, and the only pod is replaced");
        assert!(!without_surge(1, json!("0%"), json!(0)));
        assert!(without_surge(1, json!("1%"), json!("25%")) && without_surge(1, Value::Null, Value::Null));
        assert!(without_surge(2, json!(0), json!("25%")));
        let set = |replicas: i64, strategy: Value| json!({ "kind": "StatefulSet", "spec": { "replicas": replicas, "updateStrategy": strategy } });
        assert!(reason_to_skip(&set(1, Value::Null), false).is_some());
        assert_eq!(reason_to_skip(&set(2, Value::Null), false), None);
        assert!(reason_to_skip(&set(3, json!({ "rollingUpdate": { "maxUnavailable": 3 } })), false).is_some());
    }

    #[test]
    fn a_daemon_set_that_would_lose_its_pods_on_all_nodes_is_not_rolled_out() {
        for (nodes, unavailable, is_allowed) in [
            (2, Value::Null, true),
            (2, json!(2), false),
            (2, json!("100%"), false),
            (2, json!("51%"), false),
            (2, json!("50%"), true),
            (3, json!(2), true),
            (1, json!(1), true),
            (1, Value::Null, true),
            (2, json!(0), true),
        ] {
            let daemons = json!({
                "kind": "DaemonSet", "status": { "desiredNumberScheduled": nodes },
                "spec": { "updateStrategy": { "rollingUpdate": { "maxUnavailable": unavailable } } },
            });
            assert_eq!(reason_to_skip(&daemons, true).is_none(), is_allowed, "{daemons}");
        }
    }

    #[test]
    fn a_workload_whose_pods_would_not_all_be_replaced_is_not_rolled_out() {
        let reason_to_skip = |kind: &str, strategy: Value| {
            let workload = json!({ "kind": kind, "spec": { "replicas": 3, "updateStrategy": strategy } });
            reason_to_skip(&workload, true).unwrap_or_default()
        };
        let partition = |partition: i64| json!({ "rollingUpdate": { "partition": partition } });
        assert_eq!(reason_to_skip("StatefulSet", partition(0)), "");
        for strategy in [partition(1), partition(3)] {
            assert!(reason_to_skip("StatefulSet", strategy).starts_with("its partition "));
        }
        for kind in ["StatefulSet", "DaemonSet"] {
            assert!(reason_to_skip(kind, json!({ "type": "OnDelete" })).contains("OnDelete"), "{kind}");
        }
    }

    #[test]
    fn daemon_sets_need_the_permission_of_the_policy_and_controlled_workloads_are_left_to_their_controller() {
        let daemons = json!({ "kind": "DaemonSet" });
        assert!(reason_to_skip(&daemons, false).is_some_and(|reason| reason.contains("remediateDaemonSets")));
        assert_eq!(reason_to_skip(&daemons, true), None);
        let owner = json!({ "kind": "Postgresql", "name": "db", "controller": true });
        let controlled =
            json!({ "kind": "Deployment", "spec": { "replicas": 3 }, "metadata": { "ownerReferences": [owner] } });
        let reason = reason_to_skip(&controlled, true).unwrap_or_default();
        assert!(reason.contains("Postgresql db"), "{reason}");
    }
}
