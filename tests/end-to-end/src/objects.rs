//! Manifests. They are JSON, which is YAML as well.

use serde_json::{Value, json};

/// A container that no check objects to.
pub fn good_container(name: &str) -> Value {
    json!({
        "name": name,
        "image": "nginx:1.29.3",
        "livenessProbe": { "tcpSocket": { "port": 80 } },
        "readinessProbe": { "tcpSocket": { "port": 80 } },
    })
}

/// A container that breaks all three checks of what was asked for.
pub fn bad_container(name: &str) -> Value {
    json!({ "name": name, "image": "nginx" })
}

/// A pod with these containers.
pub fn pod(name: &str, containers: impl Into<Vec<Value>>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": containers.into() },
    })
}

/// A pod that no check objects to.
pub fn good_pod(name: &str) -> Value {
    pod(name, [good_container("app")])
}

/// A pod that breaks all three checks of what was asked for.
pub fn bad_pod(name: &str) -> Value {
    pod(name, [bad_container("app")])
}

/// The object in a namespace.
pub fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// The object with labels.
pub fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

/// The pod with a status.
pub fn with_status(mut pod: Value, status: Value) -> Value {
    pod["status"] = status;
    pod
}

/// The pod, running, with its containers restarted that often.
pub fn restarted(pod: Value, restarts: u64) -> Value {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let status = |container: &Value| json!({ "name": container["name"], "restartCount": restarts });
    let statuses: Vec<_> = containers.iter().map(status).collect();
    with_status(pod, json!({ "phase": "Running", "containerStatuses": statuses }))
}

/// A workload with a pod template at `spec.template`.
pub fn workload(api_version: &str, kind: &str, name: &str, pod_spec: Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": name },
        "spec": { "template": { "spec": pod_spec } },
    })
}

/// A CronJob.
pub fn cron_job(name: &str, pod_spec: Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": name },
        "spec": {
            "schedule": "0 3 * * *",
            "jobTemplate": { "spec": { "template": { "spec": pod_spec } } },
        },
    })
}

/// Objects as the documents of one file.
pub fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
