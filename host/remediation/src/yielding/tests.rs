#![allow(clippy::unwrap_used)]

use kube_devops_cluster::gitops::LAST_APPLIED;
use serde_json::json;

use super::*;
use crate::added::{ADDED_FIELDS, record};

/// A Deployment to whose containers `app` and `side` probes and resources were added.
fn remediated() -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 }, "initialDelaySeconds": 5, "periodSeconds": 10 });
    let added = |name: &str| {
        json!({
            "name": name, "livenessProbe": probe, "readinessProbe": probe,
            "resources": {
                "limits": { "cpu": "500m", "memory": "256Mi" }, "requests": { "cpu": "100m", "memory": "128Mi" },
            },
        })
    };
    let added = ["app", "side"].map(added);
    let mut containers = added.clone();
    for container in &mut containers {
        container["image"] = "web:1".into();
        container["livenessProbe"]["failureThreshold"] = 3.into();
    }
    json!({
        "metadata": { "annotations": { PATCHED_BY: "kube-devops/policy", ADDED_FIELDS: record(&added) } },
        "spec": { "template": { "spec": { "containers": containers } } },
    })
}

/// Lets a manager own fields of a container, as the API server does.
fn owns(workload: &mut Value, container: &str, fields: &Value) {
    let container = format!("k:{{\"name\":\"{container}\"}}");
    let entry = json!({
        "manager": "helm", "operation": "Apply",
        "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": { container: fields } } } } },
    });
    workload["metadata"]["managedFields"] = json!([entry]);
}

/// The removed fields after an update by a client.
fn after(update: impl FnOnce(&mut Value)) -> Vec<String> {
    let old = remediated();
    let mut new = old.clone();
    update(&mut new);
    yielded(&old, &new).into_iter().map(|yielded| yielded.path.replace(CONTAINERS, "")).collect()
}

fn container(workload: &mut Value, index: usize) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][index]
}

#[test]
fn another_handler_removes_the_added_probe_and_no_other() {
    let paths = after(|new| container(new, 0)["livenessProbe"]["httpGet"] = json!({ "port": 80 }));
    let expected = ["initialDelaySeconds", "periodSeconds", "tcpSocket"].map(|key| format!("/0/livenessProbe/{key}"));
    assert_eq!(paths, expected);
}

#[test]
fn values_that_the_client_has_set_remain() {
    let changed = after(|new| {
        container(new, 0)["livenessProbe"]["exec"] = json!({ "command": ["true"] });
        container(new, 0)["livenessProbe"]["periodSeconds"] = 30.into();
        owns(new, "app", &json!({ "f:livenessProbe": { "f:exec": {}, "f:periodSeconds": {} } }));
    });
    assert_eq!(changed, ["/0/livenessProbe/initialDelaySeconds", "/0/livenessProbe/tcpSocket"]);
    // The same value as the added one, by kubectl apply.
    let manifest = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "app", "livenessProbe": { "grpc": { "port": 1 }, "periodSeconds": 10 } },
    ] } } } });
    let applied = after(|new| {
        container(new, 0)["livenessProbe"]["grpc"] = json!({ "port": 1 });
        new["metadata"]["annotations"][LAST_APPLIED] = manifest.to_string().into();
    });
    assert_eq!(applied, ["/0/livenessProbe/initialDelaySeconds", "/0/livenessProbe/tcpSocket"]);
    // The same value, by a server-side apply.
    let owned = after(|new| {
        container(new, 1)["readinessProbe"]["httpGet"] = json!({ "port": 80 });
        owns(
            new,
            "side",
            &json!({
                // It owns the map itself, but no field of it.
                "f:resources": {},
                "f:readinessProbe": { "f:httpGet": { "f:port": {} }, "f:initialDelaySeconds": {} },
            }),
        );
        container(new, 1)["resources"]["requests"]["cpu"] = "2".into();
    });
    let expected = ["readinessProbe/periodSeconds", "readinessProbe/tcpSocket", "resources/limits/cpu"];
    assert_eq!(owned, expected.map(|field| format!("/1/{field}")));
}

#[test]
fn a_container_without_an_image_is_removed() {
    let removed = after(|new| drop(container(new, 1).as_object_mut().unwrap().remove("image")));
    assert_eq!(removed, ["/1"]);
    let both = after(|new| {
        container(new, 0)["image"] = "".into();
        container(new, 0)["livenessProbe"]["httpGet"] = json!({ "port": 80 });
        container(new, 1)["image"] = "".into();
    });
    assert_eq!(both, ["/1", "/0"], "the last one first, so that the paths remain correct");
}

#[test]
fn a_request_or_limit_of_the_client_removes_its_added_counterpart() {
    let set = |new: &mut Value, list: &str, resource: &str, value: &str| {
        container(new, 0)["resources"][list][resource] = value.into();
        owns(new, "app", &json!({ "f:resources": { format!("f:{list}"): { format!("f:{resource}"): {} } } }));
    };
    let request = after(|new| set(new, "requests", "cpu", "2"));
    assert_eq!(request, ["/0/resources/limits/cpu"]);
    let limit = after(|new| set(new, "limits", "memory", "64Mi"));
    assert_eq!(limit, ["/0/resources/requests/memory"]);
    let fitting = after(|new| set(new, "limits", "cpu", "1"));
    assert_eq!(fitting, Vec::<String>::new(), "without the added request, it would be the limit");
    assert_eq!(after(|new| set(new, "requests", "cpu", "0.5")), Vec::<String>::new());
    let both = after(|new| {
        container(new, 0)["resources"] =
            json!({ "limits": { "cpu": "4", "memory": "256Mi" }, "requests": { "cpu": "2", "memory": "128Mi" } });
        let cpu = json!({ "f:cpu": {} });
        owns(new, "app", &json!({ "f:resources": { "f:limits": cpu, "f:requests": cpu } }));
    });
    assert_eq!(both, Vec::<String>::new());
    let of_pod = after(|new| new["spec"]["template"]["spec"]["resources"] = json!({ "limits": { "cpu": "200m" } }));
    let expected = ["requests", "limits"];
    assert_eq!(of_pod, [1, 0].map(|index| expected.map(|list| format!("/{index}/resources/{list}/cpu"))).concat());
}

#[test]
fn other_updates_remove_nothing() {
    assert_eq!(after(|_| {}), Vec::<String>::new());
    let image = after(|new| container(new, 0)["image"] = "web:2".into());
    assert_eq!(image, Vec::<String>::new());
    let threshold = after(|new| container(new, 0)["livenessProbe"]["failureThreshold"] = 5.into());
    assert_eq!(threshold, Vec::<String>::new());
    let port = after(|new| container(new, 0)["livenessProbe"]["tcpSocket"]["port"] = 81.into());
    assert_eq!(port, Vec::<String>::new());
    let gone = after(|new| new["spec"]["template"]["spec"]["containers"] = json!([]));
    assert_eq!(gone, Vec::<String>::new());
    assert_eq!(yielded(&Value::Null, &json!([1])), Vec::new());
}

#[test]
fn workloads_without_added_fields_remain_as_they_are() {
    let mut old = remediated();
    let mut new = old.clone();
    container(&mut new, 0)["livenessProbe"]["httpGet"] = json!({ "port": 80 });
    assert!(!yielded(&old, &new).is_empty());
    new["metadata"]["annotations"].as_object_mut().unwrap().remove(ADDED_FIELDS);
    assert_eq!(yielded(&old, &new), Vec::new(), "the fields are of another manager");
    old["metadata"]["annotations"] = json!({});
    assert_eq!(yielded(&old, &remediated()), Vec::new(), "it was not remediated");
}
