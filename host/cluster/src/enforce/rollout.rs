//! How far a workload has come with its pod template.

use std::time::Duration;

use serde_json::Value;

/// How far a workload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is of the newest template, and available.
    Complete,
    /// Not yet.
    Underway,
    /// Kubernetes has given up.
    Failed(String),
}

/// How far a Deployment, StatefulSet or DaemonSet has come, in the way of `kubectl rollout status`.
pub fn rollout(workload: &Value) -> Rollout {
    let number = |pointer: &str, otherwise: i64| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(otherwise);
    let status = |field: &str| number(&format!("/status/{field}"), 0);
    let conditions = workload.pointer("/status/conditions").and_then(Value::as_array);
    let is_stuck =
        |condition: &&Value| condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded";
    if status("observedGeneration") < number("/metadata/generation", 0) {
        return Rollout::Underway;
    }
    if let Some(stuck) = conditions.into_iter().flatten().find(is_stuck) {
        return Rollout::Failed(stuck["message"].as_str().unwrap_or("the progress deadline is exceeded").to_owned());
    }
    let wanted = number("/spec/replicas", 1);
    let complete = match workload["kind"].as_str() {
        Some("DaemonSet") => {
            let wanted = status("desiredNumberScheduled");
            let updated = is_on_delete(workload) || status("updatedNumberScheduled") >= wanted;
            updated && status("numberAvailable") >= wanted
        }
        Some("StatefulSet") => {
            let updated = is_on_delete(workload) || status("updatedReplicas") >= wanted;
            updated && status("readyReplicas") >= wanted && status("replicas") <= wanted
        }
        _ => {
            status("updatedReplicas") >= wanted && status("availableReplicas") >= wanted && status("replicas") <= wanted
        }
    };
    if complete { Rollout::Complete } else { Rollout::Underway }
}

/// Whether pods get a new template only when somebody deletes them.
fn is_on_delete(workload: &Value) -> bool {
    workload.pointer("/spec/updateStrategy/type").is_some_and(|kind| kind == "OnDelete")
}

/// How long the workload itself gives a rollout.
pub fn deadline(workload: &Value) -> Option<Duration> {
    workload.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_u64).map(Duration::from_secs)
}

/// Why the workload must not be rolled out by anybody but its owner; none: it may.
pub fn objection(workload: &Value) -> Option<&'static str> {
    if workload.pointer("/spec/strategy/type").is_some_and(|kind| kind == "Recreate") {
        return Some("its strategy Recreate would take all pods down at once");
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
    fn workloads_are_complete_when_all_pods_are_new_and_available() {
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
            assert_eq!(rollout(&deployment(status)), Rollout::Underway, "{field}");
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
        assert_eq!(rollout(&set("RollingUpdate", 1)), Rollout::Underway);
        assert_eq!(rollout(&set("RollingUpdate", 2)), Rollout::Complete);
        assert_eq!(rollout(&set("OnDelete", 0)), Rollout::Complete);
        let daemons = |available: i64| {
            json!({
                "kind": "DaemonSet",
                "status": { "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": available },
            })
        };
        assert_eq!(rollout(&daemons(2)), Rollout::Underway);
        assert_eq!(rollout(&daemons(3)), Rollout::Complete);
    }
}
