//! Attempts of a user who may create and change pods to run a pod that violates the policy: none is admitted.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use anyhow::{Result, ensure};
use end_to_end::objects::{bad_container, bad_pod, good_container, good_pod};
use end_to_end::operator::{Setting, apply, list};
use end_to_end::webhook::{Webhook, namespace_with_bundle};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};

/// Returns a pod with good containers in which the value at a JSON Pointer is replaced.
fn pod(name: &str, pointer: &str, value: Value) -> Value {
    let mut pod = good_pod(name);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

/// Returns a bad pod with a large field that the API server escapes in the review.
fn escaped(name: &str, character: &str, bytes: usize) -> Value {
    let mut pod = bad_pod(name);
    let command = json!(["true", character.repeat(bytes / character.len())]);
    pod["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": { "exec": { "command": command } } });
    pod
}

/// Returns the attempts to create a pod, by name.
fn creations() -> Vec<(String, Value)> {
    let mut attempts: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, object: Value| attempts.push((name.to_owned(), object));
    for (character, bytes) in [("<", 1_400_000), (">", 1_400_000), ("&", 1_000_000), ("\u{2028}", 1_400_000)] {
        add("a review of many megabytes", escaped("escaped", character, bytes));
    }
    for bytes in [100_000, 300_000, 700_000, 1_200_000] {
        add("a large review", escaped("large", "x", bytes));
    }
    let many = |count: usize| {
        let init = |index: usize| json!({ "name": format!("i{index}"), "image": "a:1" });
        pod("many", "/spec/initContainers", (0..count).map(init).chain([bad_container("bad")]).collect())
    };
    for count in [100, 1_000, 10_000] {
        add("many init containers", many(count));
    }
    let digest = "nginx:latest@sha256:".to_owned() + &"0".repeat(63);
    for image in ["nginx", "nginx:latest", "docker.io/library/nginx", "localhost:5000/nginx", "a.b/c:latest", &digest] {
        for (key, extra) in [
            ("containers", json!({})),
            ("initContainers", json!({})),
            ("initContainers", json!({ "restartPolicy": "Always" })),
        ] {
            let mut container = good_container("extra");
            container["image"] = json!(image);
            if key == "initContainers" && extra == json!({}) {
                container = json!({ "name": "extra", "image": image });
            }
            container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let mut object = good_pod("image");
            let containers = object["spec"][key].as_array().cloned().unwrap_or_default();
            object["spec"][key] = containers.into_iter().chain([container]).collect();
            add("an image without a version", object);
        }
    }
    let metadata = |more: Value| {
        let mut object = bad_pod("metadata");
        object["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let owner = |kind: &str, version: &str| {
        json!({ "ownerReferences": [
            { "apiVersion": version, "kind": kind, "name": "web", "uid": "d9607e19-f88f-11e6-a518-42010a800195", "controller": true },
        ] })
    };
    add("a forged ReplicaSet as owner", metadata(owner("ReplicaSet", "apps/v1")));
    add("a forged Job as owner", metadata(owner("Job", "batch/v1")));
    add("a forged Node as owner", metadata(owner("Node", "v1")));
    for (key, value) in [
        ("annotations", json!({ "devops.stochastic.io/ignore": "true" })),
        ("annotations", json!({ "devops.stochastic.io/patched-by": "kube-devops/restricted" })),
        ("annotations", json!({ "kubernetes.io/config.mirror": "x" })),
        ("labels", json!({ "devops.stochastic.io/ignore": "true", "app.kubernetes.io/managed-by": "kube-devops" })),
        ("deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ("finalizers", json!(["example.com/keep"])),
        ("generation", json!(7)),
        ("managedFields", json!([])),
    ] {
        if value != json!({ "kubernetes.io/config.mirror": "x" }) {
            add("metadata that claims an exception", metadata(json!({ key: value })));
        }
    }
    for phase in ["Succeeded", "Failed", "Running"] {
        let mut object = bad_pod("finished");
        object["status"] = json!({ "phase": phase });
        add("a status that claims that it has ended", object);
    }
    let mut unnamed = bad_pod("x");
    unnamed["metadata"] = json!({ "generateName": "bad-" });
    add("a generated name", unnamed);
    for policy in ["Never", "OnFailure"] {
        let mut object = bad_pod("completes");
        object["spec"]["restartPolicy"] = json!(policy);
        add("a restart policy of a Job", object);
    }
    let mut gated = bad_pod("gated");
    gated["spec"]["schedulingGates"] = json!([{ "name": "example.com/gate" }]);
    add("a scheduling gate", gated);
    attempts
}

async fn is_denied(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<()> {
    match namespace.kubectl_with_input(arguments, input).await {
        Ok(output) => anyhow::bail!("{arguments:?} was admitted: {output}"),
        Err(error) => {
            let text = format!("{error:#}");
            let start: String = text.chars().take(2000).collect();
            ensure!(text.contains("denied the request"), "{arguments:?}: {start}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn no_attempt_to_create_a_bad_pod_is_admitted() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &["--deadline", "9000"]).await?;
    webhook.install(&setting, &["--timeout-seconds", "10"]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let attempts = creations();
    assert!(attempts.len() >= 45, "{}", attempts.len());
    for (index, (what, object)) in attempts.iter().enumerate() {
        let path = format!("/api/v1/namespaces/{}/pods", namespace.name());
        let arguments: &[&str] = match index % 3 {
            0 if object["metadata"].get("generateName").is_none() => &["apply", "-f", "-"],
            1 => &["create", "--dry-run=server", "-f", "-"],
            _ => &["create", "--validate=false", "-f", "-"],
        };
        // kubectl escapes the characters itself, so that the API server would reject the request: it is sent as it is.
        let raw = ["create", "--raw", &path, "-f", "-"];
        let arguments = if object.to_string().len() > 100_000 { &raw } else { arguments };
        is_denied(&namespace, arguments, &object.to_string()).await.map_err(|error| error.context(what.clone()))?;
    }
    assert_eq!(list(&namespace, "pods").await?, Vec::<Value>::new());
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0, "{}", webhook.process.log());
    Ok(())
}

#[tokio::test]
async fn no_change_of_a_good_pod_to_a_bad_one_is_admitted() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    apply(&namespace, &good_pod("web").to_string()).await?;
    // The API server rejects some of them itself.
    let bad_image = r#"{"spec":{"containers":[{"name":"app","image":"nginx:latest"}]}}"#;
    let ephemeral = r#"{"spec":{"ephemeralContainers":[{"name":"debug","image":"busybox"}]}}"#;
    for arguments in [
        &["set", "image", "pod/web", "app=nginx"][..],
        &["patch", "pod", "web", "-p", bad_image],
        &["patch", "pod", "web", "--type=merge", "-p", r#"{"spec":{"containers":[{"name":"app","image":"nginx"}]}}"#],
        &["patch", "pod", "web", "--subresource=ephemeralcontainers", "-p", ephemeral],
        &["debug", "web", "--image=busybox", "--profile=general"],
    ] {
        let result = namespace.kubectl(arguments).await;
        assert!(result.is_err(), "{arguments:?}: {result:?}");
    }
    let mut bad = good_pod("web");
    bad["spec"]["containers"][0]["image"] = json!("nginx:latest");
    for arguments in [&["apply", "-f", "-"][..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]] {
        is_denied(&namespace, arguments, &bad.to_string()).await?;
    }
    let images = namespace.kubectl(["get", "pods", "-o", "jsonpath={..image}"]).await?;
    assert!(!images.contains("latest") && !images.contains("busybox"), "{images}");
    is_denied(&namespace, &["replace", "--force", "-f", "-"], &bad.to_string()).await?;
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_status_that_claims_that_a_pod_has_ended_admits_no_change_of_it() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let mut gated = good_pod("gated");
    gated["spec"]["schedulingGates"] = json!([{ "name": "example.com/gate" }]);
    apply(&namespace, &gated.to_string()).await?;
    for status in [
        json!({ "phase": "Succeeded" }),
        json!({ "phase": "Pending", "containerStatuses": [{ "name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": -1 }] }),
    ] {
        let patch = json!({ "status": status }).to_string();
        namespace.kubectl(["patch", "pod", "gated", "--subresource=status", "--type=merge", "-p", &patch]).await?;
        is_denied(&namespace, &["set", "image", "pod/gated", "app=nginx:latest"], "").await?;
    }
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0, "{}", webhook.process.log());
    Ok(())
}

#[tokio::test]
async fn a_revision_from_which_a_controller_would_create_bad_pods_is_denied() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let revision = |spec: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": { "name": "web-1" }, "revision": 1,
            "data": { "spec": { "template": { "$patch": "replace", "spec": spec } } },
        })
    };
    for key in ["containers", "initContainers"] {
        let bad = revision(json!({ key: [bad_container("app")] }));
        is_denied(&namespace, &["create", "-f", "-"], &bad.to_string()).await?;
    }
    let good = revision(json!({ "containers": [good_container("app")] }));
    namespace.kubectl_with_input(["create", "-f", "-"], &good.to_string()).await?;
    let other = json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": { "name": "other" }, "revision": 1, "data": { "spec": { "cpu": 1 } } });
    namespace.kubectl_with_input(["create", "-f", "-"], &other.to_string()).await?;
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0, "{}", webhook.process.log());
    Ok(())
}

#[tokio::test]
async fn pods_of_a_controller_are_replaced_after_a_policy_was_tightened() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let mut deployment =
        end_to_end::objects::workload("apps/v1", "Deployment", "web", json!({ "containers": [bad_container("app")] }));
    deployment["spec"]["selector"] = json!({ "matchLabels": { "app": "web" } });
    deployment["spec"]["template"]["metadata"] = json!({ "labels": { "app": "web" } });
    let namespace = setting.plane.namespace("tightened").await?;
    apply(&namespace, &deployment.to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let spec = json!({ "forbidLatestTag": true, "severityOverrides": { "latestTag": "critical" } });
    let strict = end_to_end::operator::policy("strict", &spec);
    end_to_end::webhook::apply_policy(&webhook.process, &namespace, &strict).await?;
    is_denied(&namespace, &["create", "-f", "-"], &bad_pod("user").to_string()).await?;
    let warned = webhook.process.metric("webhook_requests_total{verdict=\"warned\"}")?.unwrap_or_default();
    namespace.kubectl(["delete", "pod", "-l", "app=web", "--wait=true"]).await?;
    namespace.kubectl(["wait", "--for=condition=Available", "deployment/web", "--timeout=90s"]).await?;
    let now = webhook.process.metric("webhook_requests_total{verdict=\"warned\"}")?.unwrap_or_default();
    assert!(now > warned, "the violations of the new pod are warnings: {now}");
    // The new ReplicaSet has the same violations.
    namespace.kubectl(["rollout", "restart", "deployment/web"]).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    namespace.kubectl(["scale", "deployment/web", "--replicas=2"]).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;

    // A strict cluster denies them.
    drop(webhook);
    let webhook = Webhook::start(&setting, &["--deny-controller-pods"]).await?;
    eventually(DEADLINE, "the policy to be observed", async || {
        is_denied(&namespace, &["create", "--dry-run=server", "-f", "-"], &bad_pod("user").to_string()).await
    })
    .await?;
    namespace.kubectl(["delete", "pod", "-l", "app=web", "--wait=true"]).await?;
    eventually(DEADLINE, "a denied pod of the ReplicaSet", async || {
        let events = namespace.kubectl(["get", "events", "-o", "json"]).await?;
        ensure!(events.contains("FailedCreate") && events.contains("denied the request"), "{events}");
        Ok(())
    })
    .await?;
    assert!(webhook.process.metric("webhook_denials_total")?.unwrap_or_default() >= 1.0);
    Ok(())
}
