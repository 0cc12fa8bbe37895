//! Manifests in JSON, which is also YAML.

use serde_json::{Value, json};

/// Returns a container without findings.
pub fn good_container(name: &str) -> Value {
    json!({
        "name": name,
        "image": "nginx:1.29.3",
        "livenessProbe": { "tcpSocket": { "port": 80 } },
        "readinessProbe": { "tcpSocket": { "port": 80 } },
    })
}

/// Returns a container with a finding of each of the three spec checks.
pub fn bad_container(name: &str) -> Value {
    json!({ "name": name, "image": "nginx" })
}

/// Returns a pod with these containers.
pub fn pod(name: &str, containers: impl Into<Vec<Value>>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": containers.into() },
    })
}

/// Returns a pod without findings.
pub fn good_pod(name: &str) -> Value {
    pod(name, [good_container("app")])
}

/// Returns a pod with a finding of each of the three spec checks.
pub fn bad_pod(name: &str) -> Value {
    pod(name, [bad_container("app")])
}

/// Sets the namespace of the object.
pub fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// Sets the labels of the object.
pub fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

/// Sets the status of the pod.
pub fn with_status(mut pod: Value, status: Value) -> Value {
    pod["status"] = status;
    pod
}

/// Sets the phase of the pod to `Running` and the restart count of its containers.
pub fn restarted(pod: Value, restarts: u64) -> Value {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let status = |container: &Value| json!({ "name": container["name"], "restartCount": restarts });
    let statuses: Vec<_> = containers.iter().map(status).collect();
    with_status(pod, json!({ "phase": "Running", "containerStatuses": statuses }))
}

/// Returns a workload with a pod template at `spec.template`.
pub fn workload(api_version: &str, kind: &str, name: &str, pod_spec: Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": name },
        "spec": { "template": { "spec": pod_spec } },
    })
}

/// Returns a workload of the group `apps` with a selector of its pods.
pub fn selecting_workload(kind: &str, name: &str, containers: impl Into<Vec<Value>>) -> Value {
    let mut object = workload("apps/v1", kind, name, json!({ "containers": containers.into() }));
    object["spec"]["selector"] = json!({ "matchLabels": { "app": name } });
    object["spec"]["template"]["metadata"] = json!({ "labels": { "app": name } });
    object
}

/// Returns a container with a finding of each of the three spec checks and a declared port.
pub fn bad_container_with_port(name: &str, port: u16) -> Value {
    let mut container = bad_container(name);
    container["ports"] = json!([{ "containerPort": port }]);
    container
}

/// Returns a CronJob.
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

/// Joins the objects as the documents of one file.
pub fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
