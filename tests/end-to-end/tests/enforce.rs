//! Enforcement: missing fields are added to workloads once, and patches that break a workload are reverted.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_container_with_port, bad_pod, documents, selecting_workload};
use end_to_end::operator::{Setting, apply, expect_status, get, list, policy};
use end_to_end::{Controller, kube_devops, run};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually, pods};

/// Returns a workload with two pods of one container with a port, without probes and resources.
fn bare_workload(kind: &str, name: &str, more: &Value) -> Value {
    let mut object = selecting_workload(kind, name, [bad_container_with_port("app", 8080)]);
    // A patch is monitored for as long as a container may take to stop.
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1.into();
    if kind != "DaemonSet" {
        object["spec"]["replicas"] = 2.into();
    }
    merge(&mut object, more);
    object
}

fn merge(target: &mut Value, more: &Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            more.iter().for_each(|(key, value)| merge(target.entry(key.clone()).or_insert(Value::Null), value));
        }
        (target, more) => *target = more.clone(),
    }
}

/// Returns the spec of a policy that adds probes with short periods.
fn enforcing() -> Value {
    json!({
        "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
        "defaultProbe": { "tcpPort": 8080, "initialDelaySeconds": 0, "periodSeconds": 1 },
    })
}

/// Returns the state and the message of a workload in the status of a policy.
fn state(status: &Value, name: &str) -> (String, String) {
    let workloads = status["workloads"].as_array().map_or(&[][..], Vec::as_slice);
    let found = workloads.iter().find(|workload| workload["name"] == name);
    let text = |field: &str| found.map(|found| found[field].as_str().unwrap().to_owned()).unwrap_or_default();
    (text("state"), text("message"))
}

async fn expect_state(
    operator: &Controller,
    namespace: &Namespace,
    policy: &str,
    name: &str,
    expected: &str,
) -> Result<Value> {
    expect_status(operator, namespace, policy, &format!("{name} {expected}"), |status| {
        state(status, name).0 == expected
    })
    .await
}

fn container(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]
}

fn is_unchanged(workload: &Value) -> bool {
    let container = container(workload);
    let annotations = &workload["metadata"]["annotations"];
    container.get("livenessProbe").is_none()
        && container.get("readinessProbe").is_none()
        && container["resources"] == json!({})
        && annotations.get("devops.stochastic.io/patched-by").is_none()
}

/// Waits for further evaluations of the operator.
async fn more_evaluations(operator: &Controller, namespace: &Namespace) -> Result<()> {
    let before = operator.metric("devopspolicy_reconcile_total")?.unwrap_or_default();
    eventually(DEADLINE, "more evaluations", async || {
        // The creation and the deletion of a pod trigger evaluations.
        namespace.kubectl(["run", "trigger", "--image=trigger:1", "--restart=Never"]).await?;
        namespace.kubectl(["delete", "pod", "trigger", "--wait=true"]).await?;
        let now = operator.metric("devopspolicy_reconcile_total")?.unwrap_or_default();
        ensure!(now >= before + 4.0, "there were {now}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_restricted_bundle_adds_probes_and_resources_to_workloads_once() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("restricted").await?;
    let kinds = [("Deployment", "web"), ("StatefulSet", "store"), ("DaemonSet", "agent")];
    let objects = kinds.map(|(kind, name)| bare_workload(kind, name, &json!({})));
    apply(&namespace, &documents(&objects)).await?;
    let bundle = run(kube_devops().args(["policy", "bundle-apply", "restricted", "--namespace", namespace.name()]))
        .exits(0)
        .stdout;
    let enforce = "enforcementMode: enforce";
    let bundle = bundle.replace(enforce, &format!("{enforce}\n  remediateDaemonSets: true"));
    apply(&namespace, &bundle).await?;
    for (kind, name) in kinds {
        let patched = eventually(DEADLINE, format!("{kind} {name} to be patched"), async || {
            let workload = get(&namespace, kind, name).await?;
            ensure!(container(&workload).get("livenessProbe").is_some(), "it is {workload:#}");
            Ok(workload)
        })
        .await
        .with_context(|| operator.log())?;
        let container = container(&patched);
        for probe in ["livenessProbe", "readinessProbe"] {
            let probe = &container[probe];
            assert_eq!(
                (&probe["tcpSocket"]["port"], &probe["initialDelaySeconds"], &probe["periodSeconds"]),
                (&json!(8080), &json!(5), &json!(10))
            );
        }
        let resources = json!({
            "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": "500m", "memory": "256Mi" },
        });
        assert_eq!(container["resources"], resources);
        assert_eq!(container["image"], "nginx", "a violation without a remediation is only reported");
        assert_eq!(patched["metadata"]["annotations"]["devops.stochastic.io/patched-by"], "kube-devops/devops-policy");
        namespace.kubectl(["rollout", "status", &format!("{kind}/{name}"), "--timeout=90s"]).await?;
    }
    let is_remediated = |status: &Value| {
        let checks = &status["violationsByCheck"];
        checks.get("missing-liveness").is_none()
            && checks.get("missing-readiness").is_none()
            && checks["latest-tag"] == 6
    };
    expect_status(&operator, &namespace, "devops-policy", "new pods", is_remediated).await?;
    operator.expect_metric("enforcement_remediations_applied_total", Some(3.0)).await?;
    let versions = async || {
        let mut versions = Vec::new();
        for (kind, name) in kinds {
            versions.push(get(&namespace, kind, name).await?["spec"].take());
        }
        anyhow::Ok(versions)
    };
    let before = versions().await?;
    more_evaluations(&operator, &namespace).await?;
    assert_eq!(versions().await?, before, "{}", operator.log());
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(3.0));
    assert_eq!(operator.metric("enforcement_remediations_failed_total")?, Some(0.0));
    let events = list(&namespace, "events.v1.events.k8s.io").await?;
    let is_patch = |event: &Value| event["reason"] == "Patched" && event["regarding"]["kind"] == "Deployment";
    assert!(events.iter().any(is_patch), "{events:#?}");

    // The patches remain when the enforcement mode is removed and when the policy is deleted.
    apply(&namespace, &bundle.replace("enforcementMode: enforce", "enforcementMode: audit")).await?;
    expect_status(&operator, &namespace, "devops-policy", "audit", |status| status["observedGeneration"] == 2).await?;
    namespace.kubectl(["delete", "devopspolicy", "devops-policy", "--timeout=90s"]).await?;
    assert_eq!(versions().await?, before);
    Ok(())
}

#[tokio::test]
async fn a_successful_rollout_of_a_patch_is_reported() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("settled").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    assert_eq!(state(&status, "web").1, "container app: livenessProbe, readinessProbe");
    let enforced =
        status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Enforced").unwrap();
    assert_eq!((&enforced["status"], &enforced["reason"]), (&json!("True"), &json!("Enforced")));
    assert_eq!(status["violationCount"], 0);
    // A container added later gets its own probes, and the first one keeps its probes.
    let two = json!([{ "op": "add", "path": "/spec/template/spec/containers/-", "value": { "name": "late", "image": "late:1" } }]);
    namespace.kubectl(["patch", "deployment", "web", "--type=json", "-p", &two.to_string()]).await?;
    eventually(DEADLINE, "both containers to have probes", async || {
        let web = get(&namespace, "deployment", "web").await?;
        let containers = web["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let are_probed = containers
            .iter()
            .all(|container| container.get("livenessProbe").is_some() && container.get("readinessProbe").is_some());
        ensure!(containers.len() == 2 && are_probed, "{containers:#?}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    Ok(())
}

#[tokio::test]
async fn a_released_workload_has_no_added_fields_and_accepts_other_probes() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("released").await?;
    let release = |workload: &str| {
        let mut command = kube_devops();
        command.args(["release", workload, "--kubeconfig"]).arg(namespace.kubeconfig().path());
        run(command.args(["-n", namespace.name()]))
    };
    let manifest = bare_workload("Deployment", "web", &json!({}));
    apply(&namespace, &manifest.to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    // Probes of the team have another handler.
    let mut probed = manifest.clone();
    for probe in ["livenessProbe", "readinessProbe"] {
        probed["spec"]["template"]["spec"]["containers"][0][probe] =
            json!({ "httpGet": { "path": "/", "port": 8080 } });
    }
    let rejected = apply(&namespace, &probed.to_string()).await.err().map(|error| format!("{error:#}"));
    assert!(rejected.is_some_and(|error| error.contains("may not specify more than 1 handler type")));

    let released = release("deploy/web").exits(0).is_quiet();
    let expected = "deployment/web released; removed fields:\n  container app: livenessProbe, readinessProbe\n";
    assert_eq!(released.stdout, expected);
    let web = get(&namespace, "deployment", "web").await?;
    assert!(is_unchanged(&web), "{web:#}");
    more_evaluations(&operator, &namespace).await?;
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?), "the operator added the fields again");
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Reverted").await?;
    assert_eq!(state(&status, "web").1, "released by `kube-devops release`");
    assert_eq!(release("deployments.apps/web").exits(0).stdout, "deployment/web has no added fields\n");

    apply(&namespace, &probed.to_string()).await?;
    more_evaluations(&operator, &namespace).await?;
    let web = get(&namespace, "deployment", "web").await?;
    let probe = &container(&web)["livenessProbe"];
    assert!(probe.get("httpGet").is_some() && probe.get("tcpSocket").is_none(), "{web:#}");

    let missing = release("sts/web").exits(2).stderr;
    assert!(missing.contains("statefulset/web does not exist in the namespace"), "{missing}");
    let other = release("pod/web").exits(2).stderr;
    assert!(other.contains("the kinds are deployment"), "{other}");
    Ok(())
}

fn release_web(namespace: &Namespace) -> String {
    let mut command = kube_devops();
    command.args(["release", "deployment/web", "--kubeconfig"]).arg(namespace.kubeconfig().path());
    run(command.args(["-n", namespace.name()])).exits(0).stdout
}

#[tokio::test]
async fn added_probes_that_a_user_has_edited_are_released_and_reverted() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("edited").await?;
    let more = failing_probes(json!({ "progressDeadlineSeconds": 10 }));
    apply(
        &namespace,
        &documents(&[bare_workload("Deployment", "web", &json!({})), bare_workload("Deployment", "failing", &more)]),
    )
    .await?;
    for name in ["web", "failing"] {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    let edit = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "app", "readinessProbe": { "periodSeconds": 3, "timeoutSeconds": 2 } },
    ] } } } });
    expect_patch(&operator, &namespace, "deployment", "failing").await?;
    namespace.kubectl(["patch", "deployment", "failing", "-p", &edit.to_string()]).await?;
    expect_state(&operator, &namespace, "enforcing", "failing", "Reverted").await?;
    assert!(is_unchanged(&get(&namespace, "deployment", "failing").await?));
    namespace.kubectl(["rollout", "status", "deployment/failing", "--timeout=90s"]).await?;

    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    namespace.kubectl(["patch", "deployment", "web", "-p", &edit.to_string()]).await?;
    let released = "deployment/web released; removed fields:\n  container app: readinessProbe\n";
    assert_eq!(release_web(&namespace), released);
    let web = get(&namespace, "deployment", "web").await?;
    assert!(is_unchanged(&web), "{web:#}");
    Ok(())
}

#[tokio::test]
async fn added_probes_that_a_team_has_copied_into_its_manifest_are_not_released() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("copied").await?;
    let mut manifest = bare_workload("Deployment", "web", &json!({}));
    apply(&namespace, &manifest.to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
        json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    apply(&namespace, &manifest.to_string()).await?;
    let released = "deployment/web released; removed fields:\n  container app: readinessProbe\n";
    assert_eq!(release_web(&namespace), released);
    let web = get(&namespace, "deployment", "web").await?;
    let container = container(&web);
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 8080);
    assert!(container.get("readinessProbe").is_none(), "{web:#}");
    Ok(())
}

#[tokio::test]
async fn a_release_without_added_fields_removes_the_annotations_without_a_rollout() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("taken-over").await?;
    let mut manifest = bare_workload("Deployment", "web", &json!({}));
    apply(&namespace, &manifest.to_string()).await?;
    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    apply(&namespace, &manifest.to_string()).await?;
    let before = get(&namespace, "deployment", "web").await?;
    let released = "deployment/web has no added fields: other clients have set them since; removed the annotations of the operator\n";
    assert_eq!(release_web(&namespace), released);
    let after = get(&namespace, "deployment", "web").await?;
    let annotations = after["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.keys().any(|key| key.starts_with("devops.stochastic.io/")), "{after:#}");
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(release_web(&namespace), "deployment/web has no added fields\n");
    Ok(())
}

#[tokio::test]
async fn added_resources_that_a_team_has_copied_in_another_notation_are_not_released() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("quantities").await?;
    let mut manifest = bare_workload("Deployment", "web", &json!({}));
    apply(&namespace, &manifest.to_string()).await?;
    let resources = json!({
        "enforcementMode": "enforce", "forbidLatestTag": true,
        "defaultResources": { "cpuRequest": "0.1", "cpuLimit": "1000m", "memoryLimit": "1024Mi" },
    });
    apply(&namespace, &policy("enforcing", &resources)).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({ "limits": { "cpu": "1000m", "memory": "1024Mi" } });
    apply(&namespace, &manifest.to_string()).await?;
    release_web(&namespace);
    let web = get(&namespace, "deployment", "web").await?;
    assert_eq!(container(&web)["resources"]["limits"], json!({ "cpu": "1", "memory": "1Gi" }), "{web:#}");
    assert_ne!(container(&web)["resources"]["requests"]["cpu"], "100m", "the added request is removed: {web:#}");
    Ok(())
}

#[tokio::test]
async fn fields_that_a_tenant_applies_as_the_operator_remain() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("impersonated").await?;
    let server_side = async |manager: &str, object: &Value| {
        let manager = format!("--field-manager={manager}");
        namespace.kubectl_with_input(["apply", "--server-side", &manager, "-f", "-"], &object.to_string()).await
    };
    let secured = json!({
        "automountServiceAccountToken": false,
        "containers": [{ "name": "app", "securityContext": { "allowPrivilegeEscalation": false, "runAsNonRoot": true } }],
    });
    let with_security = |name: &str| {
        let mut object = bare_workload("Deployment", name, &json!({}));
        let spec = &mut object["spec"]["template"]["spec"];
        spec["containers"][0]["securityContext"] = secured["containers"][0]["securityContext"].clone();
        spec["automountServiceAccountToken"] = false.into();
        object
    };
    // The tenant lets the field manager of the operator be the only owner of the fields.
    server_side("tenant", &with_security("web")).await?;
    let fields = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "template": { "spec": secured } },
    });
    server_side("kube-devops", &fields).await?;
    server_side("tenant", &bare_workload("Deployment", "web", &json!({}))).await?;
    // Another one uses no other field manager.
    server_side("kube-devops", &with_security("own")).await?;

    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    for name in ["web", "own"] {
        let status = expect_state(&operator, &namespace, "enforcing", name, "Conflict").await?;
        let message = state(&status, name).1;
        assert!(message.starts_with("another client uses the field manager kube-devops"), "{message}");
    }
    for name in ["web", "own"] {
        expect_probe(&operator, &namespace, name).await?;
        expect_state(&operator, &namespace, "enforcing", name, "Patched").await?;
        let workload = get(&namespace, "deployment", name).await?;
        assert_eq!(workload["spec"]["template"]["spec"]["automountServiceAccountToken"], false, "{workload:#}");
        let security = &container(&workload)["securityContext"];
        assert_eq!(security, &secured["containers"][0]["securityContext"], "{workload:#}");
    }
    // A revert removes nothing else either.
    let annotations = get(&namespace, "deployment", "web").await?["metadata"]["annotations"].take();
    let mut fields = fields;
    for name in ["devops.stochastic.io/patched-by", "devops.stochastic.io/added-fields"] {
        fields["metadata"]["annotations"][name] = annotations[name].clone();
    }
    server_side("kube-devops", &fields).await?;
    release_web(&namespace);
    let web = get(&namespace, "deployment", "web").await?;
    assert!(is_unchanged(&web), "{web:#}");
    assert_eq!(container(&web)["securityContext"]["runAsNonRoot"], true, "{web:#}");
    namespace.kubectl(["delete", "devopspolicy", "enforcing", "--timeout=30s"]).await?;
    Ok(())
}

/// Waits until a Deployment has an added probe.
async fn expect_probe(operator: &Controller, namespace: &Namespace, name: &str) -> Result<()> {
    eventually(DEADLINE, "the probe", async || {
        let workload = get(namespace, "deployment", name).await?;
        ensure!(container(&workload).get("livenessProbe").is_some(), "it is {workload:#}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

#[tokio::test]
async fn workloads_that_must_not_be_patched_are_skipped_with_a_reason() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("skipped").await?;
    let ignored = json!({ "metadata": { "annotations": { "devops.stochastic.io/ignore": "true" } } });
    let partition = json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": 2 } } } });
    let objects = [
        bare_workload("Deployment", "ignored", &ignored),
        bare_workload("Deployment", "recreated", &json!({ "spec": { "strategy": { "type": "Recreate" } } })),
        bare_workload("Deployment", "paused", &json!({})),
        bare_workload("ReplicaSet", "alone", &json!({})),
        bare_workload("StatefulSet", "partitioned", &partition),
    ];
    apply(&namespace, &documents(&objects)).await?;
    namespace.kubectl(["rollout", "status", "deployment/paused", "--timeout=90s"]).await?;
    namespace.kubectl(["rollout", "pause", "deployment/paused"]).await?;
    // Another field manager owns the annotation of this one.
    let owned = json!({ "metadata": { "annotations": { "devops.stochastic.io/patched-by": "other" } } });
    let owned = bare_workload("Deployment", "owned", &owned).to_string();
    namespace.kubectl_with_input(["apply", "--server-side", "--field-manager=argocd", "-f", "-"], &owned).await?;

    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    for (name, expected, reason) in [
        ("ignored", "Ignored", "annotated"),
        ("recreated", "Skipped", "Recreate"),
        ("paused", "Skipped", "paused"),
        ("partitioned", "Skipped", "partition"),
        ("owned", "Conflict", "argocd"),
    ] {
        let status = expect_state(&operator, &namespace, "enforcing", name, expected).await?;
        assert!(state(&status, name).1.contains(reason), "{status:#}");
    }
    let status = expect_status(&operator, &namespace, "enforcing", "trouble", |status| {
        status["conditions"].as_array().unwrap().iter().any(|condition| condition["reason"] == "Incomplete")
    });
    status.await?;
    more_evaluations(&operator, &namespace).await?;
    for (kind, name) in [
        ("deployment", "ignored"),
        ("deployment", "recreated"),
        ("deployment", "paused"),
        ("replicaset", "alone"),
        ("statefulset", "partitioned"),
    ] {
        let workload = get(&namespace, kind, name).await?;
        assert!(is_unchanged(&workload), "{workload:#}");
    }
    let owned = get(&namespace, "deployment", "owned").await?;
    assert!(container(&owned).get("livenessProbe").is_none(), "{owned:#}");
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(0.0));
    assert!(operator.metric("enforcement_remediations_failed_total")?.unwrap() >= 1.0);
    Ok(())
}

#[tokio::test]
async fn resources_of_the_whole_pod_are_not_cut_by_those_of_its_containers() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("pod-resources").await?;
    let workload = |name: &str, memory: &str| {
        let mut workload = bare_workload("Deployment", name, &json!({}));
        workload["spec"]["template"]["spec"]["resources"] = json!({ "limits": { "memory": memory } });
        workload
    };
    apply(&namespace, &documents(&[workload("large", "1Gi"), workload("small", "64Mi")])).await?;
    let mut spec = enforcing();
    spec["defaultResources"] = json!({ "cpuRequest": "100m", "memoryRequest": "128Mi", "memoryLimit": "256Mi" });
    apply(&namespace, &policy("enforcing", &spec)).await?;
    for (name, memory) in [("large", "1Gi"), ("small", "64Mi")] {
        expect_state(&operator, &namespace, "enforcing", name, "Patched").await?;
        let workload = get(&namespace, "deployment", name).await?;
        assert_eq!(workload["spec"]["template"]["spec"]["resources"]["limits"]["memory"], memory, "{workload:#}");
        let container = container(&workload);
        assert_eq!(container["resources"], json!({ "requests": { "cpu": "100m" } }), "{workload:#}");
        assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 8080, "{workload:#}");
    }
    Ok(())
}

#[tokio::test]
async fn fields_of_another_field_manager_are_preserved() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("shared").await?;
    let theirs = json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "app", "image": "nginx:1", "readinessProbe": { "httpGet": { "path": "/ready", "port": 80 } },
        "resources": { "limits": { "cpu": "50m" } },
    }] } } } });
    let text = bare_workload("Deployment", "web", &theirs).to_string();
    let argocd = ["apply", "--server-side", "--field-manager=argocd", "-f", "-"];
    namespace.kubectl_with_input(argocd, &text).await?;
    let mut spec = enforcing();
    spec["defaultResources"] = json!({ "cpuRequest": "100m", "memoryLimit": "64Mi" });
    apply(&namespace, &policy("enforcing", &spec)).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    let web = get(&namespace, "deployment", "web").await?;
    let container = container(&web);
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/ready");
    // A request of 100m would exceed the existing limit.
    assert_eq!(container["resources"], json!({ "limits": { "cpu": "50m", "memory": "64Mi" } }));
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 8080);
    // The next sync of the other field manager removes nothing and has no conflict.
    namespace.kubectl_with_input(argocd, &text).await?;
    assert_eq!(get(&namespace, "deployment", "web").await?["spec"], web["spec"]);
    Ok(())
}

#[tokio::test]
async fn a_client_that_names_another_policy_does_not_end_the_monitoring_of_a_rollout() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("renamed").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_patch(&operator, &namespace, "deployment", "web").await?;
    let other = "devops.stochastic.io/patched-by=kube-devops/other";
    namespace.kubectl(["annotate", "--overwrite", "deployment/web", other]).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    let web = get(&namespace, "deployment", "web").await?;
    assert!(web["metadata"]["annotations"].get("devops.stochastic.io/rolling-out").is_none(), "{web:#}");
    Ok(())
}

#[tokio::test]
async fn annotations_of_the_operator_in_a_manifest_are_a_conflict_that_names_them() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("exported").await?;
    let annotations = json!({ "metadata": { "annotations": { "devops.stochastic.io/rolling-out": "exported" } } });
    apply(&namespace, &bare_workload("Deployment", "web", &annotations).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Conflict").await?;
    let hint = "remove devops.stochastic.io/rolling-out from the annotations of the workload and of its manifest";
    assert!(state(&status, "web").1.starts_with(hint), "{status:#}");
    Ok(())
}

#[tokio::test]
async fn a_workload_is_patched_again_after_a_rollback_to_the_revision_of_a_patch() -> Result<()> {
    const ROLLING_OUT: &str = "devops.stochastic.io/rolling-out";
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("rollback").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Patched").await?;
    for arguments in [&["set", "image", "deployment/web", "app=nginx:2"][..], &["rollout", "undo", "deployment/web"]] {
        namespace.kubectl(arguments).await?;
        namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    }
    let web = get(&namespace, "deployment", "web").await?;
    assert_eq!(container(&web)["image"], "nginx", "{web:#}");
    assert!(web["metadata"]["annotations"].get(ROLLING_OUT).is_some(), "kubectl restores it: {web:#}");
    let sidecar = json!({ "name": "sidecar", "image": "nginx", "ports": [{ "containerPort": 9090 }] });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [sidecar] } } } }).to_string();
    namespace.kubectl(["patch", "deployment", "web", "-p", &patch]).await?;
    eventually(DEADLINE, "the patch of the sidecar", async || {
        let web = get(&namespace, "deployment", "web").await?;
        let containers = web["spec"]["template"]["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(containers.iter().all(|container| container.get("livenessProbe").is_some()), "it is {web:#}");
        // Its rollout is monitored to its end.
        ensure!(web["metadata"]["annotations"].get(ROLLING_OUT).is_none(), "it is {web:#}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

#[tokio::test]
async fn a_patch_that_breaks_pods_is_reverted_and_not_retried() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_with(&["--rollout-deadline", "5"]).await?;
    let namespace = setting.plane.namespace("failing-probes").await?;
    let failing_probes =
        json!({ "spec": { "template": { "metadata": { "labels": { pods::LABEL: pods::FAILING_PROBES } } } } });
    let mut deployment = bare_workload("Deployment", "web", &failing_probes);
    deployment["spec"]["progressDeadlineSeconds"] = 5.into();
    let set = bare_workload("StatefulSet", "store", &failing_probes);
    apply(&namespace, &documents(&[deployment, set])).await?;
    for name in ["deployment/web", "statefulset/store"] {
        namespace.kubectl(["rollout", "status", name, "--timeout=90s"]).await?;
    }
    let old: Vec<String> =
        list(&namespace, "pods").await?.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    for (kind, name) in [("deployment", "web"), ("statefulset", "store")] {
        let status = expect_state(&operator, &namespace, "enforcing", name, "Reverted").await?;
        assert!(!state(&status, name).1.is_empty(), "{status:#}");
        let workload = get(&namespace, kind, name).await?;
        assert!(is_unchanged(&workload), "{workload:#}");
        namespace.kubectl(["rollout", "status", &format!("{kind}/{name}"), "--timeout=90s"]).await?;
    }
    // The old pods were never all replaced: one of each workload remains.
    let now = list(&namespace, "pods").await?;
    for name in ["web", "store"] {
        let remaining = now.iter().filter(|pod| {
            pod["metadata"]["labels"]["app"] == name && old.contains(&pod["metadata"]["uid"].to_string())
        });
        assert!(remaining.count() >= 1, "{now:#?}");
    }
    operator.expect_metric("enforcement_remediations_failed_total", Some(2.0)).await?;
    let applied = operator.metric("enforcement_remediations_applied_total")?;
    let generation = get(&namespace, "deployment", "web").await?["metadata"]["generation"].take();
    more_evaluations(&operator, &namespace).await?;
    assert_eq!(get(&namespace, "deployment", "web").await?["metadata"]["generation"], generation, "{}", operator.log());
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, applied);

    // A changed pod template is patched again.
    namespace.kubectl(["set", "image", "deployment/web", "app=nginx:2"]).await?;
    namespace.kubectl(["label", "deployment/web", "changed=true"]).await?;
    eventually(DEADLINE, "another patch", async || {
        let now = operator.metric("enforcement_remediations_applied_total")?;
        ensure!(now > applied, "there were {now:?}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    Ok(())
}

#[tokio::test]
async fn a_failing_patch_whose_template_admission_changes_is_reverted() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("mutated").await?;
    let more = failing_probes(json!({ "progressDeadlineSeconds": 10 }));
    apply(&namespace, &bare_workload("Deployment", "web", &more).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let of = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": "inject" }, "spec": spec,
        })
    };
    let expression = r#"Object{spec: Object.spec{template: Object.spec.template{metadata: Object.spec.template.metadata{labels: {"injected": "true"}}}}}"#;
    let injecting = json!({
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": { "resourceRules": [
            { "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"] },
        ] },
        "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } }],
    });
    let objects = [
        of("MutatingAdmissionPolicy", injecting),
        of("MutatingAdmissionPolicyBinding", json!({ "policyName": "inject" })),
    ];
    apply(&namespace, &documents(&objects)).await?;
    let label = |workload: &Value| workload["spec"]["template"]["metadata"]["labels"]["injected"].clone();
    eventually(DEADLINE, "the injection to be active", async || {
        let labels = r#"{"metadata":{"labels":{"x":"y"}}}"#;
        let dry_run = ["patch", "deployment", "web", "--type=merge", "-p", labels, "--dry-run=server", "-o", "json"];
        let web: Value = serde_json::from_str(&namespace.kubectl(dry_run).await?)?;
        ensure!(label(&web) == "true", "it is {web:#}");
        Ok(())
    })
    .await?;
    assert_eq!(label(&get(&namespace, "deployment", "web").await?), Value::Null);

    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Reverted").await?;
    let web = get(&namespace, "deployment", "web").await?;
    assert!(is_unchanged(&web) && label(&web) == "true", "{web:#}");
    Ok(())
}

/// The part of the pod template that a field manager of the operator owns.
async fn owned_by_operator(namespace: &Namespace, name: &str) -> Result<Value> {
    let arguments = ["get", "deployment", name, "-o", "json", "--show-managed-fields"];
    let workload: Value = serde_json::from_str(&namespace.kubectl(arguments).await?)?;
    let entries = workload["metadata"]["managedFields"].as_array().context("a list")?;
    let own = entries.iter().filter(|entry| entry["manager"] == "kube-devops");
    Ok(own.filter_map(|entry| entry["fieldsV1"].get("f:spec").cloned()).collect())
}

#[tokio::test]
async fn a_container_of_a_patch_that_was_reverted_at_once_can_be_renamed() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("renamed").await?;
    let server_side = async |manager: &str, object: &Value| {
        let manager = format!("--field-manager={manager}");
        namespace.kubectl_with_input(["apply", "--server-side", &manager, "-f", "-"], &object.to_string()).await
    };
    let manifest = |container: &str| {
        let mut object = bare_workload("Deployment", "web", &json!({}));
        object["spec"]["template"]["spec"]["containers"][0]["name"] = container.into();
        object
    };
    server_side("team", &manifest("app")).await?;
    // The operator was ended before it gave up the added fields.
    let added = json!({ "k:{\"name\":\"app\"}": { "f:livenessProbe": { "f:tcpSocket": { "f:port": {} } } } });
    let with_probe = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "annotations": {
            "devops.stochastic.io/patched-by": "kube-devops/enforcing",
            "devops.stochastic.io/added-fields": added.to_string(), "devops.stochastic.io/rolling-out": "x",
        } },
        "spec": { "template": { "spec": {
            "containers": [{ "name": "app", "livenessProbe": { "tcpSocket": { "port": 8080 } } }],
        } } },
    });
    server_side("kube-devops", &with_probe).await?;
    assert_ne!(owned_by_operator(&namespace, "web").await?, json!([]));
    assert!(release_web(&namespace).contains("container app: livenessProbe"));
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?));
    assert_eq!(owned_by_operator(&namespace, "web").await?, json!([]));
    server_side("team", &manifest("renamed")).await?;
    server_side("team", &manifest("app")).await?;

    // What an earlier version left behind is given up by a release, and by the operator.
    let left = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "template": { "spec": { "containers": [{ "name": "app" }] } } },
    });
    server_side("kube-devops", &left).await?;
    assert_eq!(release_web(&namespace), "deployment/web has no added fields\n");
    assert_eq!(owned_by_operator(&namespace, "web").await?, json!([]));
    server_side("kube-devops", &left).await?;
    let operator = setting.operator().await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Reverted").await?;
    eventually(DEADLINE, "the operator to own nothing", async || {
        let owned = owned_by_operator(&namespace, "web").await?;
        ensure!(owned == json!([]), "it owns {owned:#}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

/// Changes of a workload with this spec, by which new pods with a probe are never ready.
fn failing_probes(mut spec: Value) -> Value {
    spec["template"] = json!({ "metadata": { "labels": { pods::LABEL: pods::FAILING_PROBES } } });
    json!({ "spec": spec })
}

/// A policy that enforces and adds no liveness probe, so that no restart is a reason to revert.
fn without_restarts() -> Value {
    let mut spec = enforcing();
    spec.as_object_mut().unwrap().remove("requireLivenessProbe");
    spec
}

/// Waits until a workload is patched.
async fn expect_patch(operator: &Controller, namespace: &Namespace, kind: &str, name: &str) -> Result<()> {
    let patched = async || {
        ensure!(!is_unchanged(&get(namespace, kind, name).await?));
        Ok(())
    };
    eventually(DEADLINE, "the patch", patched).await.with_context(|| operator.log())
}

#[tokio::test]
async fn every_failed_rollout_of_a_deployment_is_reverted_when_kubernetes_reports_it() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("deadlines").await?;
    let more = failing_probes(json!({ "progressDeadlineSeconds": 10 }));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    apply(&namespace, &documents(&names.map(|name| bare_workload("Deployment", name, &more)))).await?;
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    for name in names {
        let status = expect_state(&operator, &namespace, "enforcing", name, "Reverted").await?;
        // The operator did not disturb the controller, which would have lost the deadline.
        let message = state(&status, name).1;
        assert!(message.contains("has timed out progressing"), "{message}");
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    namespace.kubectl(["delete", "devopspolicy", "enforcing", "--timeout=30s"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_kubernetes_does_not_report_is_reverted() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("unreported").await?;
    let more = failing_probes(json!({ "progressDeadlineSeconds": 20 }));
    apply(&namespace, &bare_workload("Deployment", "web", &more).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    expect_patch(&operator, &namespace, "deployment", "web").await?;
    // A paused rollout has no progress deadline.
    namespace.kubectl(["rollout", "pause", "deployment/web"]).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Reverted").await?;
    assert_eq!(state(&status, "web").1, "no progress for 50 seconds");
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?));
    namespace.kubectl(["rollout", "resume", "deployment/web"]).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_a_partition_stops_is_reverted() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_with(&["--rollout-deadline", "15"]).await?;
    let namespace = setting.plane.namespace("stopped").await?;
    apply(&namespace, &bare_workload("StatefulSet", "store", &failing_probes(json!({}))).to_string()).await?;
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    apply(&namespace, &policy("enforcing", &without_restarts())).await?;
    expect_patch(&operator, &namespace, "statefulset", "store").await?;
    let partition = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#;
    namespace.kubectl(["patch", "statefulset", "store", "-p", partition]).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "store", "Reverted").await?;
    assert_eq!(state(&status, "store").1, "no progress for 15 seconds");
    assert!(is_unchanged(&get(&namespace, "statefulset", "store").await?));
    // Without the partition, all pods are replaced by those of the reverted template.
    let partition = partition.replace('2', "0");
    namespace.kubectl(["patch", "statefulset", "store", "-p", &partition]).await?;
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_liveness_probe_that_restarts_containers_is_reverted() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("killed").await?;
    let failing_probes =
        json!({ "spec": { "template": { "metadata": { "labels": { pods::LABEL: pods::FAILING_PROBES } } } } });
    apply(&namespace, &bare_workload("Deployment", "web", &failing_probes).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    // Without a readiness probe all pods are replaced before the first one is restarted.
    let mut spec = enforcing();
    spec.as_object_mut().unwrap().remove("requireReadinessProbe");
    apply(&namespace, &policy("enforcing", &spec)).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Reverted").await?;
    assert!(state(&status, "web").1.contains("was restarted after the patch"), "{status:#}");
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?));
    Ok(())
}

#[tokio::test]
async fn a_new_leader_continues_to_monitor_a_rollout() -> Result<()> {
    let setting = Setting::start().await?;
    let arguments = ["--rollout-deadline", "10"];
    let mut first = setting.operator_with(&arguments).await?;
    let namespace = setting.plane.namespace("handover").await?;
    apply(&namespace, &bare_workload("StatefulSet", "store", &failing_probes(json!({}))).to_string()).await?;
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_patch(&first, &namespace, "statefulset", "store").await?;
    first.kill()?;
    let mut second = setting.operator_with(&arguments).await?;
    expect_state(&second, &namespace, "enforcing", "store", "Reverted").await?;
    assert!(is_unchanged(&get(&namespace, "statefulset", "store").await?));
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    assert_eq!(second.metric("enforcement_remediations_applied_total")?, Some(0.0), "no patch is repeated");

    // The revert is one event for all leaders.
    let reverts = async || {
        let events = list(&namespace, "events").await?;
        let reverts = events.into_iter().filter(|event| event["reason"] == "Reverted");
        anyhow::Ok(reverts.map(|event| event["series"].clone()).collect::<Vec<Value>>())
    };
    eventually(DEADLINE, "the event", async || {
        ensure!(reverts().await? == [Value::Null]);
        Ok(())
    })
    .await?;
    second.stop().await?;
    let third = setting.operator_with(&arguments).await?;
    more_evaluations(&third, &namespace).await?;
    assert_eq!(reverts().await?, [Value::Null], "{}", third.log());
    Ok(())
}

#[tokio::test]
async fn a_new_leader_knows_every_patch_of_a_killed_operator() -> Result<()> {
    const ROLLING_OUT: &str = "devops.stochastic.io/rolling-out";
    let setting = Setting::start().await?;
    let mut first = setting.operator().await?;
    let namespace = setting.plane.namespace("killed-series").await?;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    apply(&namespace, &documents(&names.map(|name| bare_workload("Deployment", name, &json!({}))))).await?;
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    eventually(DEADLINE, "some patches", async || {
        let workloads = list(&namespace, "deployments").await?;
        ensure!(workloads.iter().filter(|workload| !is_unchanged(workload)).count() >= 3);
        Ok(())
    })
    .await
    .with_context(|| first.log())?;
    first.kill()?;
    // A rollout that is complete before the next leader starts leaves no pods with violations.
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    let second = setting.operator().await?;
    for name in names {
        expect_state(&second, &namespace, "enforcing", name, "Patched").await?;
        let workload = get(&namespace, "deployment", name).await?;
        assert_eq!(workload["metadata"]["annotations"].get(ROLLING_OUT), None, "{workload:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_new_leader_completes_the_patches_of_a_stopped_operator() -> Result<()> {
    let setting = Setting::start().await?;
    let mut first = setting.operator().await?;
    let namespace = setting.plane.namespace("series").await?;
    let names = ["a", "b", "c", "d", "e", "f"];
    apply(&namespace, &documents(&names.map(|name| bare_workload("Deployment", name, &json!({}))))).await?;
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    eventually(DEADLINE, "the first patch", async || {
        ensure!(list(&namespace, "deployments").await?.iter().any(|workload| !is_unchanged(workload)));
        Ok(())
    })
    .await
    .with_context(|| first.log())?;
    first.stop().await?;
    let second = setting.operator().await?;
    eventually(DEADLINE, "all patches", async || {
        let workloads = list(&namespace, "deployments").await?;
        ensure!(!workloads.iter().any(is_unchanged), "{workloads:#?}");
        Ok(())
    })
    .await
    .with_context(|| second.log())?;
    // The new leader has recorded every patch, even one that was in flight when the first operator was stopped.
    for name in names {
        expect_state(&second, &namespace, "enforcing", name, "Patched").await?;
    }
    more_evaluations(&second, &namespace).await?;
    // The revision counts the templates of a Deployment: that of its creation and one patch.
    for workload in list(&namespace, "deployments").await? {
        let revision = &workload["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        assert_eq!(revision, "2", "{workload:#}");
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_without_the_permissions_of_remediation_reports_it_and_changes_nothing() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_as(&[Component::Reconcile], &["--lease-duration", "3"]).await?;
    let namespace = setting.plane.namespace("unprivileged").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Denied").await?;
    let (_, message) = state(&status, "web");
    assert!(message.contains("cannot patch resource \"deployments\""), "{message}");
    let is_enforced = |condition: &Value| condition["type"] == "Enforced" && condition["status"] == "False";
    assert!(status["conditions"].as_array().unwrap().iter().any(is_enforced), "{status:#}");
    assert_eq!(status["violationsByCheck"]["missing-liveness"], 2, "the policy is evaluated");
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?));
    // The policy is not held back by a finalizer.
    namespace.kubectl(["delete", "devopspolicy", "enforcing", "--timeout=30s"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_dry_run_reports_patches_without_applying_them() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("dry").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    let mut dry: Value = serde_json::from_str(&policy("dry", &enforcing()))?;
    dry["metadata"]["annotations"] = json!({ "devops.stochastic.io/dry-run": "true" });
    apply(&namespace, &dry.to_string()).await?;
    let status = expect_state(&operator, &namespace, "dry", "web", "DryRun").await?;
    assert_eq!(state(&status, "web").1, "container app: livenessProbe, readinessProbe");
    assert!(is_unchanged(&get(&namespace, "deployment", "web").await?));
    Ok(())
}

#[tokio::test]
async fn patches_per_minute_are_limited_also_when_the_leader_changes() -> Result<()> {
    let setting = Setting::start().await?;
    let mut operator = setting.operator_with(&["--patches-per-minute", "1"]).await?;
    let namespace = setting.plane.namespace("paced").await?;
    let objects = ["a", "b", "c"].map(|name| bare_workload("Deployment", name, &json!({})));
    apply(&namespace, &documents(&objects)).await?;
    for name in ["a", "b", "c"] {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    operator.expect_metric("enforcement_remediations_applied_total", Some(1.0)).await?;
    more_evaluations(&operator, &namespace).await?;
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(1.0));
    let unpatched = async || {
        let workloads = list(&namespace, "deployments").await?;
        anyhow::Ok(workloads.iter().filter(|workload| is_unchanged(workload)).count())
    };
    assert_eq!(unpatched().await?, 2);
    operator.kill()?;
    let second = setting.operator_with(&["--patches-per-minute", "1"]).await?;
    more_evaluations(&second, &namespace).await?;
    assert_eq!(unpatched().await?, 2, "{}", second.log());
    Ok(())
}

fn enforced(status: &Value) -> (&str, &str) {
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let found = conditions.iter().find(|condition| condition["type"] == "Enforced");
    found.map_or(("", ""), |found| (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()))
}

/// Pods whose ownerReferences claim an owner.
fn forged(names: &[&str], uid: &str) -> Vec<Value> {
    let forge = |(index, name): (usize, &&str)| {
        let mut pod = bad_pod(&format!("forged-{index}"));
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "controller": true,
        }]);
        pod
    };
    names.iter().enumerate().map(forge).collect()
}

#[tokio::test]
async fn forged_owners_of_pods_reach_neither_a_request_nor_the_status() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("forged").await?;
    let ignored = json!({ "metadata": { "annotations": { "devops.stochastic.io/ignore": "true" } } });
    apply(&namespace, &bare_workload("Deployment", "web", &ignored).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    expect_state(&operator, &namespace, "enforcing", "web", "Ignored").await?;

    // The garbage collector removes pods whose owner does not exist, so that they need to exist only for a moment.
    let long = format!("web?x=%20<i>{}", "A".repeat(20_000));
    for pod in forged(&[&long, "a b%", "a%zz<i>", "../../../api", "web"], "705ab4f5-6393-11e8-b7cc-42010a800002") {
        namespace.kubectl_with_input(["create", "-f", "-"], &pod.to_string()).await?;
    }
    apply(&namespace, &bare_workload("Deployment", "late", &json!({})).to_string()).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "late", "Patched").await?;
    let names: Vec<&str> =
        status["workloads"].as_array().unwrap().iter().map(|workload| workload["name"].as_str().unwrap()).collect();
    assert!(names.len() == 2 && names.contains(&"late") && names.contains(&"web"), "{names:?}");
    let log = operator.log();
    for text in ["failed to remediate", "stepping down"] {
        assert!(!log.contains(text), "{text}: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn the_condition_enforced_is_true_only_if_workloads_are_changed() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("conditions").await?;
    let reason = async |namespace: &Namespace, name: &str, expected: (&str, &str)| {
        let what = format!("the reason {}", expected.1);
        expect_status(&operator, namespace, name, &what, |status| enforced(status) == expected).await
    };
    let quota = json!({ "hard": { "count/policyauditresults.devops.stochastic.io": "0" } });
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": quota });
    apply(&namespace, &quota.to_string()).await?;
    eventually(DEADLINE, "the quota to be in effect", async || {
        let quota = get(&namespace, "resourcequota", "none").await?;
        ensure!(quota["status"]["hard"].is_object(), "{quota:#}");
        Ok(())
    })
    .await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    reason(&namespace, "enforcing", ("False", "AuditPending")).await?;
    namespace.kubectl(["delete", "resourcequota", "none"]).await?;
    reason(&namespace, "enforcing", ("True", "Enforced")).await?;

    namespace.kubectl(["annotate", "devopspolicy", "enforcing", "devops.stochastic.io/dry-run=true"]).await?;
    reason(&namespace, "enforcing", ("False", "DryRun")).await?;
    apply(setting.namespace(), &policy("own", &enforcing())).await?;
    reason(setting.namespace(), "own", ("False", "OwnNamespace")).await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_that_may_not_read_workloads_reports_them_as_denied() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let role = setting.operator_account();
    let mut object: Value =
        serde_json::from_str(&setting.plane.kubectl(["get", "clusterrole", &role, "-o", "json"]).await?)?;
    let is_other = |rule: &Value| rule["resources"] != json!(["deployments"]) || rule["verbs"] != json!(["get"]);
    object["rules"].as_array_mut().unwrap().retain(is_other);
    setting.plane.kubectl_with_input(["replace", "-f", "-"], &object.to_string()).await?;

    let namespace = setting.plane.namespace("unreadable").await?;
    apply(&namespace, &bare_workload("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("enforcing", &enforcing())).await?;
    let status = expect_state(&operator, &namespace, "enforcing", "web", "Denied").await?;
    assert!(state(&status, "web").1.contains("cannot get resource \"deployments\""), "{status:#}");
    assert_eq!(enforced(&status), ("False", "Incomplete"));
    Ok(())
}
