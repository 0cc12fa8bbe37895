//! Enforcement: what workloads lack is added to them, once, and never leaves them worse.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_container, documents, workload};
use end_to_end::operator::{Setting, apply, expect_status, get, list, policy};
use end_to_end::{Controller, kube_devops, run};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually, pods};

/// A workload of two pods, each of one container without probes and resources.
fn lacking(kind: &str, name: &str, more: &Value) -> Value {
    let mut object = workload("apps/v1", kind, name, json!({ "containers": [bad_container("app")] }));
    object["spec"]["selector"] = json!({ "matchLabels": { "app": name } });
    object["spec"]["template"]["metadata"] = json!({ "labels": { "app": name } });
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

/// What adds probes that are soon known to do no harm.
fn mending() -> Value {
    json!({
        "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
        "defaultProbe": { "tcpPort": 8080, "initialDelaySeconds": 0, "periodSeconds": 1 },
    })
}

/// The state and the message of a workload in the status of a policy.
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

fn is_untouched(workload: &Value) -> bool {
    let container = container(workload);
    let annotations = &workload["metadata"]["annotations"];
    container.get("livenessProbe").is_none()
        && container.get("readinessProbe").is_none()
        && container["resources"] == json!({})
        && annotations.get("devops.stochastic.io/patched-by").is_none()
}

/// Waits until the operator has evaluated some more.
async fn some_evaluations(operator: &Controller, namespace: &Namespace) -> Result<()> {
    let before = operator.metric("devopspolicy_reconcile_total")?.unwrap_or_default();
    eventually(DEADLINE, "more evaluations", async || {
        // A pod that comes and goes makes it look.
        namespace.kubectl(["run", "nobody", "--image=nobody:1", "--restart=Never"]).await?;
        namespace.kubectl(["delete", "pod", "nobody", "--wait=true"]).await?;
        let now = operator.metric("devopspolicy_reconcile_total")?.unwrap_or_default();
        ensure!(now >= before + 4.0, "there were {now}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn workloads_get_what_the_bundle_restricted_asks_for_and_get_it_once() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("restricted").await?;
    let kinds = [("Deployment", "web"), ("StatefulSet", "store"), ("DaemonSet", "agent")];
    let objects = kinds.map(|(kind, name)| lacking(kind, name, &json!({})));
    apply(&namespace, &documents(&objects)).await?;
    let bundle = run(kube_devops().args(["policy", "bundle-apply", "restricted", "--namespace", namespace.name()]))
        .exits(0)
        .stdout;
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
        assert_eq!(container["image"], "nginx", "what cannot be mended is only reported");
        assert_eq!(patched["metadata"]["annotations"]["devops.stochastic.io/patched-by"], "kube-devops/devops-policy");
        namespace.kubectl(["rollout", "status", &format!("{kind}/{name}"), "--timeout=90s"]).await?;
    }
    let is_mended = |status: &Value| {
        let checks = &status["violationsByCheck"];
        checks.get("missing-liveness").is_none()
            && checks.get("missing-readiness").is_none()
            && checks["latest-tag"] == 6
    };
    expect_status(&operator, &namespace, "devops-policy", "new pods", is_mended).await?;
    operator.expect_metric("enforcement_remediations_applied_total", Some(3.0)).await?;
    let versions = async || {
        let mut versions = Vec::new();
        for (kind, name) in kinds {
            versions.push(get(&namespace, kind, name).await?["metadata"]["generation"].take());
        }
        anyhow::Ok(versions)
    };
    let before = versions().await?;
    some_evaluations(&operator, &namespace).await?;
    assert_eq!(versions().await?, before, "{}", operator.log());
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(3.0));
    assert_eq!(operator.metric("enforcement_remediations_failed_total")?, Some(0.0));
    let events = list(&namespace, "events.v1.events.k8s.io").await?;
    let is_told = |event: &Value| event["reason"] == "Patched" && event["regarding"]["kind"] == "Deployment";
    assert!(events.iter().any(is_told), "{events:#?}");

    // What is there stays when the mode is taken away, and when the policy is.
    apply(&namespace, &bundle.replace("enforcementMode: enforce", "enforcementMode: audit")).await?;
    expect_status(&operator, &namespace, "devops-policy", "audit", |status| status["observedGeneration"] == 2).await?;
    namespace.kubectl(["delete", "devopspolicy", "devops-policy", "--timeout=90s"]).await?;
    assert_eq!(versions().await?, before);
    Ok(())
}

#[tokio::test]
async fn a_change_that_is_rolled_out_is_settled_and_told() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("settled").await?;
    apply(&namespace, &lacking("Deployment", "web", &json!({})).to_string()).await?;
    apply(&namespace, &policy("mending", &mending())).await?;
    let status = expect_state(&operator, &namespace, "mending", "web", "Patched").await?;
    assert_eq!(state(&status, "web").1, "container app: livenessProbe, readinessProbe");
    let enforced =
        status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Enforced").unwrap();
    assert_eq!((&enforced["status"], &enforced["reason"]), (&json!("True"), &json!("Enforced")));
    assert_eq!(status["violationCount"], 0);
    // A container that comes later gets its own, and the first one keeps what it has.
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
async fn what_is_not_to_be_touched_is_not_touched_and_the_reason_is_told() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("spared").await?;
    let ignored = json!({ "metadata": { "annotations": { "devops.stochastic.io/ignore": "true" } } });
    let objects = [
        lacking("Deployment", "ignored", &ignored),
        lacking("Deployment", "recreated", &json!({ "spec": { "strategy": { "type": "Recreate" } } })),
        lacking("Deployment", "paused", &json!({})),
        lacking("ReplicaSet", "alone", &json!({})),
    ];
    apply(&namespace, &documents(&objects)).await?;
    namespace.kubectl(["rollout", "status", "deployment/paused", "--timeout=90s"]).await?;
    namespace.kubectl(["rollout", "pause", "deployment/paused"]).await?;
    // Somebody else has said who patches this one.
    let owned = json!({ "metadata": { "annotations": { "devops.stochastic.io/patched-by": "somebody" } } });
    let owned = lacking("Deployment", "owned", &owned).to_string();
    namespace.kubectl_with_input(["apply", "--server-side", "--field-manager=argocd", "-f", "-"], &owned).await?;

    apply(&namespace, &policy("mending", &mending())).await?;
    for (name, expected, reason) in [
        ("ignored", "Ignored", "annotated"),
        ("recreated", "Refused", "Recreate"),
        ("paused", "Refused", "paused"),
        ("owned", "Conflict", "argocd"),
    ] {
        let status = expect_state(&operator, &namespace, "mending", name, expected).await?;
        assert!(state(&status, name).1.contains(reason), "{status:#}");
    }
    let status = expect_status(&operator, &namespace, "mending", "trouble", |status| {
        status["conditions"].as_array().unwrap().iter().any(|condition| condition["reason"] == "Incomplete")
    });
    status.await?;
    some_evaluations(&operator, &namespace).await?;
    for (kind, name) in
        [("deployment", "ignored"), ("deployment", "recreated"), ("deployment", "paused"), ("replicaset", "alone")]
    {
        let workload = get(&namespace, kind, name).await?;
        assert!(is_untouched(&workload), "{workload:#}");
    }
    let owned = get(&namespace, "deployment", "owned").await?;
    assert!(container(&owned).get("livenessProbe").is_none(), "{owned:#}");
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(0.0));
    assert!(operator.metric("enforcement_remediations_failed_total")?.unwrap() >= 1.0);
    Ok(())
}

#[tokio::test]
async fn another_field_manager_keeps_its_fields() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("shared").await?;
    let theirs = json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "app", "image": "nginx:1", "readinessProbe": { "httpGet": { "path": "/ready", "port": 80 } },
        "resources": { "limits": { "cpu": "50m" } },
    }] } } } });
    let text = lacking("Deployment", "web", &theirs).to_string();
    let argocd = ["apply", "--server-side", "--field-manager=argocd", "-f", "-"];
    namespace.kubectl_with_input(argocd, &text).await?;
    let mut spec = mending();
    spec["defaultResources"] = json!({ "cpuRequest": "100m", "memoryLimit": "64Mi" });
    apply(&namespace, &policy("mending", &spec)).await?;
    expect_state(&operator, &namespace, "mending", "web", "Patched").await?;
    let web = get(&namespace, "deployment", "web").await?;
    let container = container(&web);
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/ready");
    // A request of 100m would be over their limit.
    assert_eq!(container["resources"], json!({ "limits": { "cpu": "50m", "memory": "64Mi" } }));
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"], 8080);
    // Their next sync takes nothing away, and finds nothing in its way.
    namespace.kubectl_with_input(argocd, &text).await?;
    assert_eq!(get(&namespace, "deployment", "web").await?["spec"], web["spec"]);
    Ok(())
}

#[tokio::test]
async fn a_change_that_pods_do_not_survive_is_taken_back_and_not_tried_again() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_with(&["--rollout-deadline", "5"]).await?;
    let namespace = setting.plane.namespace("refusing").await?;
    let refusing = json!({ "spec": { "template": { "metadata": { "labels": { pods::LABEL: pods::REFUSING } } } } });
    let mut deployment = lacking("Deployment", "web", &refusing);
    deployment["spec"]["progressDeadlineSeconds"] = 5.into();
    let set = lacking("StatefulSet", "store", &refusing);
    apply(&namespace, &documents(&[deployment, set])).await?;
    for name in ["deployment/web", "statefulset/store"] {
        namespace.kubectl(["rollout", "status", name, "--timeout=90s"]).await?;
    }
    let old: Vec<String> =
        list(&namespace, "pods").await?.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    apply(&namespace, &policy("mending", &mending())).await?;
    for (kind, name) in [("deployment", "web"), ("statefulset", "store")] {
        let status = expect_state(&operator, &namespace, "mending", name, "Reverted").await?;
        assert!(!state(&status, name).1.is_empty(), "{status:#}");
        let workload = get(&namespace, kind, name).await?;
        assert!(is_untouched(&workload), "{workload:#}");
        namespace.kubectl(["rollout", "status", &format!("{kind}/{name}"), "--timeout=90s"]).await?;
    }
    // The old pods were never all gone: of each workload one has been there from the start.
    let now = list(&namespace, "pods").await?;
    for name in ["web", "store"] {
        let stayed = now.iter().filter(|pod| {
            pod["metadata"]["labels"]["app"] == name && old.contains(&pod["metadata"]["uid"].to_string())
        });
        assert!(stayed.count() >= 1, "{now:#?}");
    }
    operator.expect_metric("enforcement_remediations_failed_total", Some(2.0)).await?;
    let applied = operator.metric("enforcement_remediations_applied_total")?;
    let generation = get(&namespace, "deployment", "web").await?["metadata"]["generation"].take();
    some_evaluations(&operator, &namespace).await?;
    assert_eq!(get(&namespace, "deployment", "web").await?["metadata"]["generation"], generation, "{}", operator.log());
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, applied);

    // Another template deserves another try.
    namespace.kubectl(["set", "image", "deployment/web", "app=nginx:2"]).await?;
    namespace.kubectl(["label", "deployment/web", "tried=again"]).await?;
    eventually(DEADLINE, "another try", async || {
        let now = operator.metric("enforcement_remediations_applied_total")?;
        ensure!(now > applied, "there were {now:?}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    Ok(())
}

#[tokio::test]
async fn a_liveness_probe_that_restarts_containers_is_taken_back() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("killed").await?;
    let refusing = json!({ "spec": { "template": { "metadata": { "labels": { pods::LABEL: pods::REFUSING } } } } });
    apply(&namespace, &lacking("Deployment", "web", &refusing).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    // Without a readiness probe all pods are replaced before the first one is restarted.
    let mut spec = mending();
    spec.as_object_mut().unwrap().remove("requireReadinessProbe");
    apply(&namespace, &policy("mending", &spec)).await?;
    let status = expect_state(&operator, &namespace, "mending", "web", "Reverted").await?;
    assert!(state(&status, "web").1.contains("was restarted after the probe was added"), "{status:#}");
    assert!(is_untouched(&get(&namespace, "deployment", "web").await?));
    Ok(())
}

#[tokio::test]
async fn an_operator_that_takes_over_goes_on_with_a_rollout() -> Result<()> {
    let setting = Setting::start().await?;
    let arguments = ["--rollout-deadline", "10"];
    let mut first = setting.operator_with(&arguments).await?;
    let namespace = setting.plane.namespace("handover").await?;
    let refusing = json!({ "spec": { "template": { "metadata": { "labels": { pods::LABEL: pods::REFUSING } } } } });
    apply(&namespace, &lacking("StatefulSet", "store", &refusing).to_string()).await?;
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    apply(&namespace, &policy("mending", &mending())).await?;
    eventually(DEADLINE, "the change", async || {
        ensure!(!is_untouched(&get(&namespace, "statefulset", "store").await?));
        Ok(())
    })
    .await
    .with_context(|| first.log())?;
    first.kill()?;
    let second = setting.operator_with(&arguments).await?;
    expect_state(&second, &namespace, "mending", "store", "Reverted").await?;
    assert!(is_untouched(&get(&namespace, "statefulset", "store").await?));
    namespace.kubectl(["rollout", "status", "statefulset/store", "--timeout=90s"]).await?;
    assert_eq!(second.metric("enforcement_remediations_applied_total")?, Some(0.0), "nothing is done twice");
    Ok(())
}

#[tokio::test]
async fn an_operator_that_is_stopped_amid_its_patches_leaves_the_rest_to_the_next_one() -> Result<()> {
    let setting = Setting::start().await?;
    let mut first = setting.operator().await?;
    let namespace = setting.plane.namespace("series").await?;
    let names = ["a", "b", "c", "d", "e", "f"];
    apply(&namespace, &documents(&names.map(|name| lacking("Deployment", name, &json!({}))))).await?;
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("mending", &mending())).await?;
    eventually(DEADLINE, "the first patch", async || {
        ensure!(list(&namespace, "deployments").await?.iter().any(|workload| !is_untouched(workload)));
        Ok(())
    })
    .await
    .with_context(|| first.log())?;
    first.stop().await?;
    let second = setting.operator().await?;
    eventually(DEADLINE, "all patches", async || {
        let workloads = list(&namespace, "deployments").await?;
        ensure!(!workloads.iter().any(is_untouched), "{workloads:#?}");
        Ok(())
    })
    .await
    .with_context(|| second.log())?;
    // The next one knows of every patch, even of one that was under way when the first one was stopped.
    for name in names {
        expect_state(&second, &namespace, "mending", name, "Patched").await?;
    }
    some_evaluations(&second, &namespace).await?;
    // What was written to a Deployment is counted: once by whoever made it, and once by us.
    for workload in list(&namespace, "deployments").await? {
        assert_eq!(workload["metadata"]["generation"], 2, "{workload:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_only_says_what_it_would_do() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("dry").await?;
    apply(&namespace, &lacking("Deployment", "web", &json!({})).to_string()).await?;
    let mut dry: Value = serde_json::from_str(&policy("dry", &mending()))?;
    dry["metadata"]["annotations"] = json!({ "devops.stochastic.io/dry-run": "true" });
    apply(&namespace, &dry.to_string()).await?;
    let status = expect_state(&operator, &namespace, "dry", "web", "DryRun").await?;
    assert_eq!(state(&status, "web").1, "container app: livenessProbe, readinessProbe");
    assert!(is_untouched(&get(&namespace, "deployment", "web").await?));
    Ok(())
}

#[tokio::test]
async fn so_many_workloads_are_changed_in_a_minute_and_no_more() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_with(&["--patches-per-minute", "1"]).await?;
    let namespace = setting.plane.namespace("paced").await?;
    let objects = ["a", "b", "c"].map(|name| lacking("Deployment", name, &json!({})));
    apply(&namespace, &documents(&objects)).await?;
    for name in ["a", "b", "c"] {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    apply(&namespace, &policy("mending", &mending())).await?;
    operator.expect_metric("enforcement_remediations_applied_total", Some(1.0)).await?;
    some_evaluations(&operator, &namespace).await?;
    assert_eq!(operator.metric("enforcement_remediations_applied_total")?, Some(1.0));
    let workloads = list(&namespace, "deployments").await?;
    assert_eq!(workloads.iter().filter(|workload| is_untouched(workload)).count(), 2);
    Ok(())
}
