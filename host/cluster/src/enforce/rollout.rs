//! The rollout of the pod template of a workload.

use std::time::Duration;

use serde_json::Value;

/// The state of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is up to date and available.
    Complete,
    /// Pods are being replaced or are not available.
    InProgress,
    /// The progress deadline was exceeded, with the message of Kubernetes.
    Failed(String),
}

/// Returns the state of the rollout of a Deployment, StatefulSet or DaemonSet, by the criteria of `kubectl rollout status`.
pub fn rollout(workload: &Value) -> Rollout {
    let number = |pointer: &str, otherwise: i64| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(otherwise);
    let status = |field: &str| number(&format!("/status/{field}"), 0);
    let conditions = workload.pointer("/status/conditions").and_then(Value::as_array);
    let is_stuck =
        |condition: &&Value| condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded";
    if status("observedGeneration") < number("/metadata/generation", 0) {
        return Rollout::InProgress;
    }
    if let Some(stuck) = conditions.into_iter().flatten().find(is_stuck) {
        return Rollout::Failed(stuck["message"].as_str().unwrap_or("the progress deadline was exceeded").to_owned());
    }
    let desired = number("/spec/replicas", 1);
    let complete = match workload["kind"].as_str() {
        Some("DaemonSet") => {
            let desired = status("desiredNumberScheduled");
            let updated = is_on_delete(workload) || status("updatedNumberScheduled") >= desired;
            updated && status("numberAvailable") >= desired
        }
        Some("StatefulSet") => {
            let updated = is_on_delete(workload) || status("updatedReplicas") >= desired;
            updated && status("readyReplicas") >= desired && status("replicas") <= desired
        }
        _ => {
            status("updatedReplicas") >= desired
                && status("availableReplicas") >= desired
                && status("replicas") <= desired
        }
    };
    if complete { Rollout::Complete } else { Rollout::InProgress }
}

/// Whether pods are replaced only after they are deleted by a user.
fn is_on_delete(workload: &Value) -> bool {
    workload.pointer("/spec/updateStrategy/type").is_some_and(|kind| kind == "OnDelete")
}

/// Returns the progress deadline of the workload, if it has one.
pub fn deadline(workload: &Value) -> Option<Duration> {
    workload.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_u64).map(Duration::from_secs)
}

/// Returns the reason why only the owner may roll out the workload; `None` if a patch is allowed.
pub fn objection(workload: &Value) -> Option<&'static str> {
    if workload.pointer("/spec/strategy/type").is_some_and(|kind| kind == "Recreate") {
        return Some("its strategy Recreate would terminate all pods at once");
    }
    if workload.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("it is paused");
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_is_complete_when_all_pods_are_up_to_date_and_available() {
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
            assert_eq!(rollout(&deployment(status)), Rollout::InProgress, "{field}");
        }
        let mut stuck = done;
        stuck["conditions"] = json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "m" }]);
        assert_eq!(rollout(&deployment(stuck)), Rollout::Failed("m".to_owned()));
        assert_eq!(rollout(&json!({ "kind": "Deployment", "spec": { "replicas": 0 } })), Rollout::Complete);

        let set = |strategy: &str, updated: i64| {
            json!({
                "kind": "StatefulSet", "spec": { "replicas": 2, "updateStrategy": { "type": strategy } },
                "status": { "replicas": 2, "readyReplicas": 2, "updatedReplicas": updated },
            })
        };
        assert_eq!(rollout(&set("RollingUpdate", 1)), Rollout::InProgress);
        assert_eq!(rollout(&set("RollingUpdate", 2)), Rollout::Complete);
        assert_eq!(rollout(&set("OnDelete", 0)), Rollout::Complete);
        let daemons = |available: i64| {
            json!({
                "kind": "DaemonSet",
                "status": { "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": available },
            })
        };
        assert_eq!(rollout(&daemons(2)), Rollout::InProgress);
        assert_eq!(rollout(&daemons(3)), Rollout::Complete);
    }
}
