//! `reconcile`: the status, the audit results and the metrics of policies are updated with the pods.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_pod, documents, good_container, good_pod, labelled, restarted, selecting_workload};
use end_to_end::operator::{Setting, apply, expect_module, expect_status, get, list, policy};
use end_to_end::{Controller, Folder, kube_devops, run, run_with_input, service_account, unreachable_kubeconfig};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually, pods};

fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.map_or(("", ""), |found| (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()))
}

#[tokio::test]
async fn the_policy_status_is_updated_when_pods_change() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("shop").await?;
    let spec =
        json!({ "forbidLatestTag": true, "maxRestartCount": 3, "severityOverrides": { "highRestarts": "critical" } });
    apply(&namespace, &policy("watched", &spec)).await?;
    let empty =
        expect_status(&operator, &namespace, "watched", "no pods", |status| status["healthScore"] == 100).await?;
    assert_eq!((&empty["message"], &empty["violationCount"]), (&json!("Healthy"), &json!(0)));
    assert_eq!(condition(&empty, "Ready"), ("True", "Valid"));
    assert_eq!(condition(&empty, "Evaluated"), ("True", "Evaluated"));
    assert_eq!(condition(&empty, "Enforced"), ("False", "Audit"));

    // Its crashes exceed the restart threshold.
    let crashing = labelled(good_pod("crashing"), json!({ pods::LABEL: pods::CRASH_LOOPING }));
    apply(&namespace, &documents(&[crashing, good_pod("good")])).await?;
    let is_found = |status: &Value| status["violationsByCheck"]["high-restarts"] == 1;
    let status = expect_status(&operator, &namespace, "watched", "a crash loop", is_found).await?;
    assert_eq!(status["violationsBySeverity"], json!({ "critical": 1 }));
    assert!(
        status["violations"][0].as_str().unwrap().starts_with("pod/crashing: container app: restarted "),
        "{status}"
    );
    let series = format!("devopspolicy_violations_total{{namespace=\"{}\",policy=\"watched\"}}", namespace.name());
    operator.expect_metric(&series, Some(1.0)).await?;
    // At most five restarts count, for two pods: 100 - 6 * 5 / 2.
    let score = expect_status(&operator, &namespace, "watched", "five restarts", |status| status["healthScore"] == 85);
    score.await?;

    namespace.kubectl(["delete", "pod", "crashing", "--wait=false"]).await?;
    let restored = |status: &Value| status["violationCount"] == 0 && status["healthScore"] == 100;
    let status = expect_status(&operator, &namespace, "watched", "no violations", restored).await?;
    assert!(status.get("violations").is_none(), "{status}");
    operator.expect_metric(&series, Some(0.0)).await?;
    Ok(())
}

#[tokio::test]
async fn the_other_checks_of_a_policy_with_rejected_settings_or_an_unknown_bundle_are_evaluated() -> Result<()> {
    let setting = Setting::start().await?;
    let (operator, namespace) = (setting.operator().await?, setting.plane.namespace("invalid").await?);
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    let rejected = json!([{ "check": "high-restarts", "settings": { "threshold": "many" } }]);
    let rejected = json!({ "forbidLatestTag": true, "checks": rejected });
    for (name, spec, reason) in [
        ("rejected", rejected, "rejects the settings {\"threshold\":\"many\"}"),
        ("unknown", json!({ "forbidLatestTag": true, "bundle": "gone" }), "there is no bundle gone"),
    ] {
        apply(&namespace, &policy(name, &spec)).await?;
        let is_found = |status: &Value| status["violationsByCheck"] == json!({ "latest-tag": 1 });
        let status = expect_status(&operator, &namespace, name, "the other check", is_found).await?;
        assert_eq!((condition(&status, "Ready"), &status["healthy"]), (("False", "Invalid"), &json!(false)));
        assert_eq!(condition(&status, "Evaluated"), ("False", "ChecksFailed"));
        assert!(status["message"].as_str().unwrap().contains(reason), "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_enables_no_check_is_never_healthy() -> Result<()> {
    let setting = Setting::start().await?;
    let (operator, namespace) = (setting.operator().await?, setting.plane.namespace("off").await?);
    apply(&namespace, &policy("switched", &json!({ "forbidLatestTag": true }))).await?;
    apply(&namespace, &good_pod("good").to_string()).await?;
    expect_status(&operator, &namespace, "switched", "a score", |status| status["healthScore"] == 100).await?;
    apply(&namespace, &policy("switched", &json!({ "forbidLatestTag": false }))).await?;
    let is_off = |status: &Value| condition(status, "Ready") == ("False", "NoChecks");
    let status = expect_status(&operator, &namespace, "switched", "no check", is_off).await?;
    assert_eq!((&status["message"], &status["healthy"]), (&json!("Not evaluated"), &json!(false)));
    assert_eq!(condition(&status, "Evaluated"), ("False", "NoChecks"));
    for result in ["healthScore", "compliance", "violationCount"] {
        assert_eq!(status.get(result), None, "{status}");
    }
    let series = |name: &str| format!("{name}{{namespace=\"{}\",policy=\"switched\"}}", namespace.name());
    operator.expect_metric(&series("devopspolicy_evaluation_complete"), Some(0.0)).await?;
    operator.expect_metric(&series("devopspolicy_health_score"), None).await?;
    Ok(())
}

/// Replaces the schema of statuses by one that allows any.
async fn allow_any_status(plane: &ControlPlane) -> Result<()> {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    let patch = json!([{ "op": "replace", "path": path, "value": any }]).to_string();
    for plural in ["devopspolicies", "policymodules"] {
        let definition = format!("{plural}.devops.stochastic.io");
        plane.kubectl(["patch", "crd", &definition, "--type=json", "-p", &patch]).await?;
    }
    Ok(())
}

/// Stores a status as the operator of an earlier version did. The definition of the kind must allow it, which takes effect with a delay.
async fn store_status(namespace: &Namespace, kind: &str, name: &str, status: &Value) -> Result<()> {
    let patch = json!({ "status": status }).to_string();
    eventually(DEADLINE, format!("the status of {name}"), async || {
        let manager = "--field-manager=kube-devops-operator";
        namespace.kubectl(["patch", kind, name, "--subresource=status", "--type=merge", manager, "-p", &patch]).await?;
        let stored = get(namespace, kind, name).await?["status"].take();
        ensure!(stored == *status, "it is {stored:#}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn statuses_of_an_earlier_version_are_replaced_whatever_their_types_and_owners_are() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("upgraded").await?;
    allow_any_status(&setting.plane).await?;
    let (valid, invalid) = (json!({ "forbidLatestTag": true }), json!({ "bundle": "gone" }));
    let policies = [
        ("number", &valid, json!(3)),
        ("list", &valid, json!(["pod/old: it is old"])),
        ("invalid-number", &invalid, json!(3)),
        ("invalid-list", &invalid, json!(["pod/old: it is old"])),
    ];
    for (name, spec, violations) in &policies {
        apply(&namespace, &policy(name, spec)).await?;
        let old = json!({ "healthScore": 95, "healthy": true, "message": "Healthy (95)", "violations": violations });
        store_status(&namespace, "devopspolicy", name, &old).await?;
    }
    let module = json!({
        "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": "old" },
        "spec": { "source": { "configMap": { "name": "gone" } } },
    });
    apply(&namespace, &module.to_string()).await?;
    store_status(&namespace, "policymodule", "old", &json!({ "checks": 3, "bundle": "old" })).await?;
    run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(setting.plane.kubeconfig().path())).exits(0);
    let import = || {
        let mut command = kube_devops();
        command.args(["policy", "import", "-", "--force-conflicts", "--kubeconfig"]);
        run_with_input(command.arg(namespace.kubeconfig().path()), policy("number", &valid))
    };
    eventually(DEADLINE, "the API server to use the definitions", async || {
        let ran = import();
        ensure!(ran.stderr.contains("the operator of this version replaces it"), "{}", ran.stderr);
        Ok(())
    })
    .await?;

    let operator = setting.operator().await?;
    for (name, ..) in policies {
        let is_written =
            |status: &Value| !condition(status, "Ready").0.is_empty() && status.get("violations").is_none();
        let status = expect_status(&operator, &namespace, name, "the fields of this version", is_written).await?;
        if name.starts_with("invalid") {
            assert_eq!((condition(&status, "Ready"), &status["healthy"]), (("False", "Invalid"), &json!(false)));
            assert_eq!(status.get("healthScore"), None, "{status}");
        } else {
            assert_eq!(condition(&status, "Ready"), ("True", "Valid"));
            assert_eq!((&status["healthScore"], &status["message"]), (&json!(100), &json!("Healthy")));
        }
    }
    let status = expect_module(&operator, &namespace, "old", "SourceInvalid", "there is no ConfigMap gone").await?;
    assert_eq!((status.get("checks"), status.get("bundle")), (None, None), "{status}");
    import().exits(0);

    // From now on, the status follows the pods.
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    let is_found = |status: &Value| status["violationsByCheck"]["latest-tag"] == 1;
    expect_status(&operator, &namespace, "number", "the pod", is_found).await?;
    namespace.kubectl(["delete", "pod", "bad", "--wait=false"]).await?;
    let is_gone = |status: &Value| status["violationCount"] == 0 && status.get("violations").is_none();
    expect_status(&operator, &namespace, "number", "no pod", is_gone).await?;
    for text in ["failed to write", "stepping down", "another client changes the status"] {
        assert!(!operator.log().contains(text), "{}", operator.log());
    }
    Ok(())
}

/// Managed fields of a depth, as any client can send them.
fn nested_fields(depth: usize) -> Value {
    let mut fields = json!({});
    for _ in 0..depth {
        fields = json!({ "f:a": fields });
    }
    json!([{
        "manager": "deep", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:metadata": { "f:labels": fields } },
    }])
}

#[tokio::test]
async fn managed_fields_that_are_nested_deeply_hide_no_pod_and_stop_no_watch() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("deep").await?;
    apply(&namespace, &policy("strict", &json!({ "forbidLatestTag": true }))).await?;
    let mut deep = bad_pod("deep");
    deep["metadata"]["managedFields"] = nested_fields(150);
    let path = format!("/api/v1/namespaces/{}/pods", namespace.name());
    namespace.kubectl_with_input(["create", "--raw", &path, "-f", "-"], &deep.to_string()).await?;
    let object = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "spec": { "forbidLatestTag": true },
        "metadata": { "name": "deep", "namespace": namespace.name(), "managedFields": nested_fields(150) },
    });
    let path = format!("/apis/devops.stochastic.io/v1/namespaces/{}/devopspolicies", namespace.name());
    namespace.kubectl_with_input(["create", "--raw", &path, "-f", "-"], &object.to_string()).await?;
    // An operator that starts lists all of them.
    let operator = setting.operator().await?;
    for name in ["strict", "deep"] {
        let is_found = |status: &Value| status["violationsByCheck"]["latest-tag"] == 1;
        expect_status(&operator, &namespace, name, "the pod", is_found).await?;
    }
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-n", namespace.name(), "--kubeconfig"]);
    let report = run(command.arg(namespace.kubeconfig().path())).json();
    assert_eq!(report["errors"], json!([]), "{report}");
    assert!(report["violations"].as_array().unwrap().iter().any(|found| found["name"] == "deep"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_can_no_longer_be_read_keeps_no_results() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("unreadable").await?;
    apply(&namespace, &policy("strict", &json!({ "forbidLatestTag": true }))).await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    let is_found = |status: &Value| status["violationsByCheck"]["latest-tag"] == 1;
    expect_status(&operator, &namespace, "strict", "the pod", is_found).await?;
    // The API server accepts what a later version defines.
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/enforcementMode/enum/-";
    let later = json!([{ "op": "add", "path": path, "value": "later" }]).to_string();
    let definition = "devopspolicies.devops.stochastic.io";
    namespace.kubectl(["patch", "customresourcedefinition", definition, "--type=json", "-p", &later]).await?;
    eventually(DEADLINE, "the API server to accept the later value", async || {
        let patch = r#"{"spec":{"enforcementMode":"later"}}"#;
        namespace.kubectl(["patch", "devopspolicy", "strict", "--type=merge", "-p", patch]).await
    })
    .await?;
    let status = eventually(DEADLINE, "the status says that the spec cannot be read", async || {
        let status = get(&namespace, "devopspolicy", "strict").await?["status"].take();
        ensure!(condition(&status, "Ready") == ("False", "Unreadable"), "it is {status:#}");
        Ok(status)
    })
    .await
    .with_context(|| operator.log())?;
    assert_eq!(condition(&status, "Evaluated"), ("False", "Unreadable"));
    for result in ["healthScore", "compliance", "violations", "violationCount", "violationsByCheck"] {
        assert_eq!(status.get(result), None, "{status}");
    }
    let series = |name: &str| format!("{name}{{namespace=\"{}\",policy=\"strict\"}}", namespace.name());
    operator.expect_metric(&series("devopspolicy_evaluation_complete"), Some(0.0)).await?;
    operator.expect_metric(&series("devopspolicy_health_score"), None).await?;
    apply(&namespace, &policy("strict", &json!({ "forbidLatestTag": true, "enforcementMode": "audit" }))).await?;
    expect_status(&operator, &namespace, "strict", "the pod again", is_found).await?;
    Ok(())
}

#[tokio::test]
async fn settings_that_are_nested_too_deeply_fail_their_check_alone() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("nested").await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    // The API server accepts settings of any depth.
    let settings = format!("{}{{}}{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let checks = format!(r#""forbidLatestTag":true,"checks":[{{"check":"missing-liveness","settings":{settings}}}]"#);
    let deep = policy("deep", &json!({})).replacen("\"spec\":{", &format!("\"spec\":{{{checks}"), 1);
    let path = format!("/apis/devops.stochastic.io/v1/namespaces/{}/devopspolicies", namespace.name());
    namespace.kubectl_with_input(["create", "--raw", &path, "-f", "-"], &deep).await?;
    eventually(DEADLINE, "the status of the other check", async || {
        // The object as a whole is nested too deeply for this program.
        let status = namespace.kubectl(["get", "devopspolicy", "deep", "-o", "jsonpath={.status}"]).await?;
        let status: Value = serde_json::from_str(&status)?;
        let expected = "the settings of check missing-liveness are nested more than 100 levels deep";
        ensure!(condition(&status, "Ready") == ("False", "Invalid"), "it is {status:#}");
        ensure!(status.to_string().contains(expected), "it is {status:#}");
        ensure!(status["violationsByCheck"] == json!({ "latest-tag": 1 }), "it is {status:#}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

/// The Deployment of an operator, with the labels of the chart.
fn operator_deployment(name: &str, replicas: u8) -> String {
    let mut deployment = selecting_workload("Deployment", name, [good_container("app")]);
    deployment["metadata"]["labels"] = json!({
        "app.kubernetes.io/part-of": "kube-devops", "app.kubernetes.io/component": "reconcile",
    });
    deployment["spec"]["replicas"] = replicas.into();
    deployment.to_string()
}

#[tokio::test]
async fn cleanup_keeps_the_finalizers_while_an_operator_runs_in_another_namespace() -> Result<()> {
    let setting = Setting::start().await?;
    let (platform, namespace) = (setting.plane.namespace("platform").await?, setting.plane.namespace("shop").await?);
    apply(&platform, &operator_deployment("governance-reconcile", 1)).await?;
    apply(&namespace, &policy("rolling-out", &json!({ "forbidLatestTag": true }))).await?;
    let finalizer = r#"{"metadata":{"finalizers":["devops.stochastic.io/cleanup"]}}"#;
    namespace.kubectl(["patch", "devopspolicy", "rolling-out", "--type=merge", "-p", finalizer]).await?;
    let cleanup = |more: &[&str]| {
        run(kube_devops().args(["cleanup", "--kubeconfig"]).arg(setting.plane.kubeconfig().path()).args(more))
    };
    let finalizers = async || -> Result<Value> {
        Ok(get(&namespace, "devopspolicy", "rolling-out").await?["metadata"]["finalizers"].take())
    };
    let operator = format!("deployment/governance-reconcile in {}", platform.name());
    let refused = cleanup(&[]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(refused.stderr.contains(&format!("an operator is running elsewhere: {operator}")), "{refused:#?}");

    // The objects of an installation are removed although another one remains, also those of a component whose clock was wrong.
    let killed =
        json!({ "holderIdentity": "watch-1", "leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z" });
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "kube-devops-watch" }, "spec": killed,
    });
    apply(&namespace, &lease.to_string()).await?;
    let partly = cleanup(&["--namespace", namespace.name()]).exits(0).stdout;
    let expected = format!(
        "lease/kube-devops-watch in {} removed\nthe finalizers of policies were kept for the running operator: {operator}\n",
        namespace.name()
    );
    assert_eq!(partly, expected);
    assert_eq!(finalizers().await?, json!(["devops.stochastic.io/cleanup"]));

    apply(&platform, &operator_deployment("governance-reconcile", 0)).await?;
    eventually(DEADLINE, "the operator to be scaled to zero", async || {
        let deployment = get(&platform, "deployment", "governance-reconcile").await?;
        ensure!(deployment["status"]["replicas"].as_i64().unwrap_or(0) == 0, "{deployment:#}");
        Ok(())
    })
    .await?;
    cleanup(&[]).exits(0);
    assert_eq!(finalizers().await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn cleanup_fails_until_a_component_no_longer_renews_its_lease() -> Result<()> {
    let setting = Setting::start().await?;
    let mut operator = setting.operator().await?;
    let cleanup = || {
        let kubeconfig = setting.plane.kubeconfig();
        let arguments = ["cleanup", "--namespace", setting.namespace().name(), "--kubeconfig"];
        run(kube_devops().args(arguments).arg(kubeconfig.path()))
    };
    let lease = ["get", "lease", "kube-devops-reconcile", "-n", setting.namespace().name()];
    eventually(DEADLINE, "a leader", async || setting.plane.kubectl(lease).await.map(drop)).await?;
    let refused = cleanup();
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(refused.stderr.contains("still running: lease/kube-devops-reconcile is held by"), "{refused:#?}");
    operator.kill()?;
    let removed = format!("lease/kube-devops-reconcile in {} removed\n", setting.namespace().name());
    assert_eq!(cleanup().exits(0).stdout, removed);
    Ok(())
}

#[tokio::test]
async fn an_operator_without_custom_resources_says_so_once_and_continues_after_their_installation() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let system = plane.namespace("operator").await?;
    let account = service_account(&plane, &system, &[Component::Reconcile]).await?;
    let operator =
        Controller::start(&plane, account.path(), &["reconcile", "--lease-namespace", system.name()]).await?;
    let count = |resource: &str, text: &str| {
        let message = format!("the watch of {resource} ");
        operator.log().lines().filter(|line| line.contains(&message) && line.contains(text)).count()
    };
    let missing = "install them with `kube-devops crd install`";
    eventually(DEADLINE, "the missing custom resources to be logged", async || {
        ensure!(["devopspolicies", "policymodules"].iter().all(|resource| count(resource, missing) == 1));
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    let cleanup = run(kube_devops().args(["cleanup", "--kubeconfig"]).arg(plane.kubeconfig().path()));
    assert_eq!(cleanup.exits(0).stdout, "nothing to remove\n");
    run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(plane.kubeconfig().path())).exits(0);
    operator.ready().await.with_context(|| operator.log())?;
    assert_eq!((count("devopspolicies", missing), count("devopspolicies", "continues")), (1, 1), "{}", operator.log());
    Ok(())
}

#[tokio::test]
async fn a_pending_pod_becomes_a_violation_and_is_written_once() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("waiting").await?;
    apply(&namespace, &policy("resilient", &json!({ "forbidPendingDuration": 2 }))).await?;
    apply(&namespace, &labelled(good_pod("stuck"), json!({ pods::LABEL: pods::STUCK })).to_string()).await?;
    let is_found = |status: &Value| status["violationsByCheck"]["pending"] == 1;
    expect_status(&operator, &namespace, "resilient", "a stuck pod", is_found).await?;
    // The pod stays pending, which does not change the status.
    let version = get(&namespace, "devopspolicy", "resilient").await?["metadata"]["resourceVersion"].take();
    let reconciles = operator.metric("devopspolicy_reconcile_total")?.unwrap();
    eventually(DEADLINE, "more evaluations", async || {
        let now = operator.metric("devopspolicy_reconcile_total")?.unwrap();
        ensure!(now >= reconciles + 3.0, "there were {now}");
        Ok(())
    })
    .await?;
    assert_eq!(get(&namespace, "devopspolicy", "resilient").await?["metadata"]["resourceVersion"], version);
    Ok(())
}

#[tokio::test]
async fn operator_and_analyze_report_the_same_violations() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("same").await?;
    let objects = [
        bad_pod("bad"),
        good_pod("good"),
        labelled(bad_pod("finished"), json!({ pods::LABEL: pods::COMPLETING })),
        labelled(restarted(good_pod("restarted"), 0), json!({ pods::LABEL: pods::RESTARTED })),
    ];
    apply(&namespace, &documents(&objects)).await?;
    for bundle in ["baseline", "restricted", "permissive"] {
        let text = run(kube_devops().args(["policy", "bundle-apply", bundle, "--policy-name", bundle])).exits(0).stdout;
        apply(&namespace, &text.replace("namespace: default", &format!("namespace: {}", namespace.name()))).await?;
    }
    namespace.kubectl(["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/finished", "--timeout=90s"]).await?;
    namespace
        .kubectl(["wait", "--for=condition=Ready", "pod/bad", "pod/good", "pod/restarted", "--timeout=90s"])
        .await?;
    for bundle in ["baseline", "restricted", "permissive"] {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "--bundle", bundle, "-n", namespace.name(), "--kubeconfig"]);
        let report = run(command.arg(namespace.kubeconfig().path())).exits(0).json();
        let mut lines: Vec<String> = report["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|violation| {
                let text = |field: &str| violation[field].as_str().unwrap();
                format!("pod/{}: container {}: {}", text("name"), text("container"), text("message"))
            })
            .collect();
        lines.sort();
        let same = |status: &Value| {
            let mut found: Vec<&str> =
                status["violations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            found.sort_unstable();
            found == lines && status["healthScore"] == report["score"] && status["compliance"] == report["compliance"]
        };
        expect_status(&operator, &namespace, bundle, "the result of analyze", same).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_policy_is_evaluated_without_affecting_other_policies() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let (one, two) = (setting.plane.namespace("edit").await?, setting.plane.namespace("edit").await?);
    for namespace in [&one, &two] {
        apply(namespace, &bad_pod("bad").to_string()).await?;
        apply(namespace, &policy("images", &json!({ "forbidLatestTag": true }))).await?;
        apply(namespace, &policy("probes", &json!({ "requireLivenessProbe": true }))).await?;
    }
    for namespace in [&one, &two] {
        for (name, check) in [("images", "latest-tag"), ("probes", "missing-liveness")] {
            let found = |status: &Value| status["violationsByCheck"] == json!({ check: 1 });
            expect_status(&operator, namespace, name, check, found).await?;
        }
    }
    apply(&one, &policy("images", &json!({ "requireReadinessProbe": true }))).await?;
    let edited = |status: &Value| {
        status["observedGeneration"] == 2 && status["violationsByCheck"] == json!({ "missing-readiness": 1 })
    };
    expect_status(&operator, &one, "images", "the other check", edited).await?;
    let series = |namespace: &Namespace, check: &str| {
        format!("violations_by_check{{check=\"{check}\",namespace=\"{}\",policy=\"images\"}}", namespace.name())
    };
    operator.expect_metric(&series(&one, "missing-readiness"), Some(1.0)).await?;
    operator.expect_metric(&series(&one, "latest-tag"), None).await?;
    operator.expect_metric(&series(&two, "latest-tag"), Some(1.0)).await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_in_a_system_namespace_is_reported_as_excluded() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let system = setting.plane.kubeconfig().with_namespace("kube-system")?;
    system.kubectl_with_input(["apply", "-f", "-"], &policy("idle", &json!({ "forbidLatestTag": true }))).await?;
    let object = eventually(DEADLINE, "the status", async || {
        let object: Value =
            serde_json::from_str(&system.kubectl(["get", "devopspolicy", "idle", "-o", "json"]).await?)?;
        ensure!(condition(&object["status"], "Ready") == ("False", "SystemNamespace"), "{object:#}");
        Ok(object)
    })
    .await
    .with_context(|| operator.log())?;
    assert!(object["status"]["message"].as_str().unwrap().contains("system namespaces are excluded"), "{object:#}");
    assert!(
        object["status"].get("healthScore").is_none() && object["metadata"].get("finalizers").is_none(),
        "{object:#}"
    );
    Ok(())
}

#[tokio::test]
async fn policies_and_namespaces_are_deleted_without_a_running_operator() -> Result<()> {
    let setting = Setting::start().await?;
    let mut operator = setting.operator().await?;
    let namespace = setting.plane.namespace("uninstalled").await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    for name in ["first", "second"] {
        apply(&namespace, &policy(name, &json!({ "forbidLatestTag": true }))).await?;
        expect_status(&operator, &namespace, name, "a violation", |status| status["violationCount"] == 1).await?;
    }
    operator.kill()?;
    namespace.kubectl(["delete", "devopspolicy", "first", "--timeout=30s"]).await?;
    setting.plane.kubectl(["delete", "namespace", namespace.name(), "--timeout=90s"]).await?;
    Ok(())
}

#[tokio::test]
async fn audit_results_are_owned_by_their_policy_and_limited_in_number() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator_with(&["--audit-retention", "2"]).await?;
    let namespace = setting.plane.namespace("audit").await?;
    apply(&namespace, &policy("audited", &json!({ "forbidLatestTag": true }))).await?;
    let mut seen: Vec<String> = Vec::new();
    for count in 1..=4 {
        apply(&namespace, &bad_pod(&format!("bad-{count}")).to_string()).await?;
        let audits = eventually(DEADLINE, format!("an audit result with {count} violations"), async || {
            let audits = list(&namespace, "policyauditresults").await?;
            let last = audits.last().context("there is none")?;
            ensure!(last["spec"]["violationCount"] == count, "the last one is {last:#}");
            ensure!(audits.len() <= 2, "there are {}", audits.len());
            Ok(audits)
        })
        .await
        .with_context(|| operator.log())?;
        let last = audits.last().unwrap();
        let uid = &get(&namespace, "devopspolicy", "audited").await?["metadata"]["uid"];
        let owner = &last["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("DevOpsPolicy"), uid));
        assert_eq!(last["spec"]["violations"].as_array().unwrap().len(), count);
        seen.push(last["metadata"]["name"].as_str().unwrap().to_owned());
    }
    assert!(seen.is_sorted(), "names sort by time: {seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_policy_is_cleaned_up_without_blocking_its_namespace() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("gone").await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    for name in ["first", "second"] {
        apply(&namespace, &policy(name, &json!({ "forbidLatestTag": true }))).await?;
        expect_status(&operator, &namespace, name, "a violation", |status| status["violationCount"] == 1).await?;
    }
    eventually(DEADLINE, "an audit result of each policy", async || {
        ensure!(list(&namespace, "policyauditresults").await?.len() == 2);
        Ok(())
    })
    .await?;
    let metadata = &get(&namespace, "devopspolicy", "first").await?["metadata"];
    assert!(metadata.get("finalizers").is_none(), "{metadata:#}");
    namespace.kubectl(["delete", "devopspolicy", "first", "--timeout=90s"]).await?;
    eventually(DEADLINE, "the garbage collection of the audit results", async || {
        let audits = list(&namespace, "policyauditresults").await?;
        ensure!(audits.iter().all(|audit| audit["spec"]["policy"] == "second"), "{audits:#?}");
        Ok(())
    })
    .await?;
    let series =
        |policy: &str| format!("devopspolicy_health_score{{namespace=\"{}\",policy=\"{policy}\"}}", namespace.name());
    operator.expect_metric(&series("first"), None).await?;
    operator.expect_metric(&series("second"), Some(95.0)).await?;
    setting.plane.kubectl(["delete", "namespace", namespace.name(), "--timeout=90s"]).await?;
    operator.expect_metric(&series("second"), None).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_not_evaluated_is_not_shown_as_healthy() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("partial").await?;
    apply(&namespace, &good_pod("good").to_string()).await?;
    apply(&namespace, &policy("partial", &json!({ "forbidLatestTag": true, "checks": [{ "check": "absent" }] })))
        .await?;
    apply(&namespace, &policy("nothing", &json!({ "checks": [{ "check": "absent" }] }))).await?;
    let series = |metric: &str, policy: &str| {
        format!("devopspolicy_{metric}{{namespace=\"{}\",policy=\"{policy}\"}}", namespace.name())
    };
    for (policy, message, score) in [("partial", "Incomplete", Some(100.0)), ("nothing", "Not evaluated", None)] {
        let is_expected = |status: &Value| status["message"] == message && status["healthy"] == false;
        let status = expect_status(&operator, &namespace, policy, message, is_expected).await?;
        assert_eq!(condition(&status, "Ready"), ("False", "CheckNotFound"), "{status:#}");
        operator.expect_metric(&series("evaluation_complete", policy), Some(0.0)).await?;
        operator.expect_metric(&series("health_score", policy), score).await?;
        operator.expect_metric(&series("violations_total", policy), score.map(|_| 0.0)).await?;
    }
    let audits = eventually(DEADLINE, "the audit results", async || {
        let audits = list(&namespace, "policyauditresults").await?;
        let of =
            |policy: &str| audits.iter().map(|audit| &audit["spec"]).find(|spec| spec["policy"] == policy).cloned();
        Ok([of("partial").context("partial")?, of("nothing").context("nothing")?])
    })
    .await?;
    for (audit, classification, score) in [(&audits[0], "Incomplete", Some(100.0)), (&audits[1], "Not evaluated", None)]
    {
        assert_eq!(
            (&audit["classification"], &audit["complete"]),
            (&json!(classification), &json!(false)),
            "{audit:#}"
        );
        assert_eq!((audit["healthScore"].as_f64(), audit["compliance"].as_f64()), (score, score), "{audit:#}");
        let errors = audit["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{audit:#}");
        assert!(errors[0].as_str().unwrap().contains("check absent failed: there is no such check"), "{audit:#}");
    }

    apply(&namespace, &policy("partial", &json!({ "forbidLatestTag": true }))).await?;
    expect_status(&operator, &namespace, "partial", "Healthy", |status| status["healthy"] == true).await?;
    operator.expect_metric(&series("evaluation_complete", "partial"), Some(1.0)).await?;
    Ok(())
}

#[tokio::test]
async fn new_violations_emit_events_for_policy_and_workload() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("events").await?;
    apply(&namespace, &policy("reported", &json!({ "forbidLatestTag": true }))).await?;
    expect_status(&operator, &namespace, "reported", "a score", |status| status["healthScore"] == 100).await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    eventually(DEADLINE, "events", async || {
        let events = list(&namespace, "events.v1.events.k8s.io").await?;
        for kind in ["DevOpsPolicy", "Pod"] {
            let note =
                "1 new violation: pod/bad: container app: image nginx has no tag, which means latest (latest-tag)";
            let is_reported = |event: &Value| {
                event["regarding"]["kind"] == kind && event["reason"] == "Violation" && event["note"] == note
            };
            ensure!(events.iter().any(is_reported), "none for the {kind}: {events:#?}");
        }
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    Ok(())
}

/// Returns the spec of the Lease of the operator.
async fn lease(setting: &Setting) -> Result<Value> {
    Ok(get(setting.namespace(), "lease", "kube-devops-reconcile").await?["spec"].take())
}

#[tokio::test]
async fn only_the_lease_is_written_while_nothing_changes() -> Result<()> {
    let folder = Folder::with([(
        "policy.yaml",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, verbs: [create, update, patch, delete, deletecollection]}]\n",
    )]);
    let log = folder.path().join("audit.log");
    let plane = ControlPlane::builder()
        .controller_manager()
        .argument(
            test_cluster::Component::ApiServer,
            format!("--audit-policy-file={}", folder.path().join("policy.yaml").display()),
        )
        .argument(test_cluster::Component::ApiServer, format!("--audit-log-path={}", log.display()))
        .start()
        .await?;
    let setting = Setting::new(plane).await?;
    let namespace = setting.plane.namespace("idle").await?;
    let pods: Vec<Value> = (0..100).map(|index| bad_pod(&format!("pod-{index}"))).collect();
    apply(&namespace, &documents(&pods)).await?;
    apply(&namespace, &policy("quiet", &json!({ "forbidLatestTag": true, "maxRestartCount": 3 }))).await?;
    let mut operator = setting.operator().await?;
    expect_status(&operator, &namespace, "quiet", "all pods", |status| status["violationCount"] == 100).await?;
    operator.expect_metric("audit_results_total", Some(1.0)).await?;

    // Returns the resources written by the operator, starting at a line of the audit log.
    let writes = |from: usize| -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&log)?;
        let lines = text.lines().skip(from).filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let own =
            lines.filter(|line| line["user"]["username"].as_str().is_some_and(|user| user.ends_with("-reconcile")));
        Ok(own.map(|line| line["objectRef"]["resource"].as_str().unwrap_or_default().to_owned()).collect())
    };
    for restart in [false, true] {
        if restart {
            // A new leader finds nothing to update.
            operator.stop().await?;
            operator = setting.operator().await?;
            operator.expect_metric("devopspolicy_reconcile_total", Some(1.0)).await?;
        }
        let from = std::fs::read_to_string(&log)?.lines().count();
        let renewals = eventually(DEADLINE, "renewals of the lease", async || {
            let writes = writes(from)?;
            ensure!(writes.iter().filter(|resource| *resource == "leases").count() >= 5, "{writes:?}");
            Ok(writes)
        })
        .await?;
        assert!(
            renewals.iter().all(|resource| resource == "leases"),
            "restart: {restart}, {renewals:?}\n{}",
            operator.log()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_follower_acquires_the_lease_of_a_killed_leader() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("leaders").await?;
    apply(&namespace, &policy("failover", &json!({ "forbidLatestTag": true }))).await?;
    let mut first = setting.operator().await?;
    expect_status(&first, &namespace, "failover", "a score", |status| status["healthScore"] == 100).await?;
    let second = setting.operator().await?;
    eventually(DEADLINE, "the follower to be ready", async || {
        ensure!(second.get("/readyz")?.0 == 200);
        Ok(())
    })
    .await?;
    assert_eq!(second.get("/healthz")?.0, 200);
    assert_eq!(second.metric("devopspolicy_reconcile_total")?, Some(0.0), "a follower evaluates nothing");
    for (replica, leader) in [(&first, 1.0), (&second, 0.0)] {
        assert_eq!(replica.metric("devopspolicy_leader")?, Some(leader));
    }
    first.kill()?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    expect_status(&second, &namespace, "failover", "a violation", |status| status["violationCount"] == 1).await?;
    assert_eq!(second.lines("became the leader").len(), 1);
    assert_eq!(second.metric("devopspolicy_leader")?, Some(1.0));
    assert_eq!(lease(&setting).await?["leaseTransitions"], 2);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_paused_writes_nothing_after_another_one_has_acquired_the_lease() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("paused").await?;
    for index in 0..20 {
        apply(&namespace, &policy(&format!("policy-{index}"), &json!({ "forbidLatestTag": true }))).await?;
    }
    let first = setting.operator().await?;
    for index in 0..20 {
        let name = format!("policy-{index}");
        expect_status(&first, &namespace, &name, "a score", |status| status["healthScore"] == 100).await?;
    }
    let second = setting.operator().await?;
    second.ready().await?;
    let statuses = |operator: &Controller| {
        let log = operator.log();
        log.lines().filter(|line| line.contains("\"policy\"") && line.contains("\"violations\"")).count()
    };
    first.pause()?;
    let before = statuses(&first);
    // There is something to write for every policy when the first one continues.
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    expect_status(&second, &namespace, "policy-0", "a violation", |status| status["violationCount"] == 1).await?;
    first.resume()?;
    eventually(DEADLINE, "the former leader to step down", async || {
        ensure!(first.lines("stepped down as the leader").len() == 1, "it is still the leader");
        Ok(())
    })
    .await
    .with_context(|| first.log())?;
    assert_eq!(statuses(&first), before, "it has written: {}", first.log());
    assert_eq!(lease(&setting).await?["leaseTransitions"], 2);
    Ok(())
}

#[tokio::test]
async fn a_terminated_leader_releases_the_lease() -> Result<()> {
    let setting = Setting::start().await?;
    let mut operator = setting.operator().await?;
    eventually(DEADLINE, "a leader", async || {
        ensure!(lease(&setting).await?["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()));
        Ok(())
    })
    .await?;
    operator.stop().await?;
    assert_eq!(lease(&setting).await?.get("holderIdentity").and_then(Value::as_str).unwrap_or_default(), "");
    Ok(())
}

#[tokio::test]
async fn the_operator_recovers_after_an_outage_of_the_api_server() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("outage").await?;
    apply(&namespace, &policy("robust", &json!({ "forbidLatestTag": true }))).await?;
    apply(&namespace, &bad_pod("before").to_string()).await?;
    expect_status(&operator, &namespace, "robust", "one violation", |status| status["violationCount"] == 1).await?;

    setting.plane.kill(test_cluster::Component::ApiServer).await?;
    eventually(DEADLINE, "the operator to step down", async || {
        ensure!(!operator.lines("stepped down as the leader").is_empty(), "it is still leader");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    assert_eq!(operator.get("/healthz")?.0, 200, "an outage must not cause a restart");
    setting.plane.restart(test_cluster::Component::ApiServer).await?;
    apply(&namespace, &documents(&[bad_pod("after"), good_pod("good")])).await?;
    namespace.kubectl(["delete", "pod", "before", "--wait=false"]).await?;
    let recovered = |status: &Value| {
        let lines: Vec<_> = status["violations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        lines.len() == 1 && lines[0].starts_with("pod/after") && status["healthScore"] == 98
    };
    expect_status(&operator, &namespace, "robust", "the other violation", recovered).await?;

    Ok(())
}

#[tokio::test]
async fn the_operator_recovers_after_etcd_was_unresponsive() -> Result<()> {
    let setting = Setting::start().await?;
    // A leader steps down after two thirds of the lease duration, so stepping down proves an outage of 20 s.
    let operator = setting.default_operator(&["--lease-duration", "30"]).await?;
    let namespace = setting.plane.namespace("frozen").await?;
    apply(&namespace, &policy("resilient", &json!({ "forbidLatestTag": true }))).await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    expect_status(&operator, &namespace, "resilient", "one violation", |status| status["violationCount"] == 1).await?;
    setting.plane.pause(test_cluster::Component::Etcd)?;
    eventually(DEADLINE, "the operator to step down", async || {
        ensure!(!operator.lines("stepped down as the leader").is_empty(), "it is still leader");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    assert_eq!(operator.get("/healthz")?.0, 200, "an unresponsive etcd must not cause a restart");
    setting.plane.resume(test_cluster::Component::Etcd)?;
    eventually(DEADLINE, "the deletion of the pod", || {
        namespace.kubectl(["delete", "pod", "bad", "--wait=false", "--ignore-not-found"])
    })
    .await?;
    expect_status(&operator, &namespace, "resilient", "no violation", |status| status["violationCount"] == 0).await?;
    let series = format!("devopspolicy_violations_total{{namespace=\"{}\",policy=\"resilient\"}}", namespace.name());
    operator.expect_metric(&series, Some(0.0)).await?;
    Ok(())
}

#[tokio::test]
async fn throttled_writes_are_retried() -> Result<()> {
    // One write at a time for all clients; further writes are answered with 429.
    let arguments = ["--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=1"];
    let builder = ControlPlane::builder().controller_manager();
    let builder = arguments
        .iter()
        .fold(builder, |builder, argument| builder.argument(test_cluster::Component::ApiServer, *argument));
    let setting = Setting::new(builder.start().await?).await?;
    let operator = setting.default_operator(&["--lease-duration", "60", "--audit-period", "1"]).await?;
    let namespace = setting.plane.namespace("crowded").await?;
    apply(&namespace, &policy("resilient", &json!({ "forbidLatestTag": true }))).await?;
    expect_status(&operator, &namespace, "resilient", "a score", |status| status["healthScore"] == 100).await?;
    // An exempt client occupies the only slot: its writes wait for a webhook that never responds.
    let unresponsive = std::net::TcpListener::bind("127.0.0.1:0")?;
    let storm = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "storm" },
        "webhooks": [{
            "name": "storm.test.kube-devops", "clientConfig": { "url": format!("https://{}/", unresponsive.local_addr()?) },
            "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
        }],
    });
    setting.plane.kubectl_with_input(["apply", "-f", "-"], &storm.to_string()).await?;
    let occupy = async |number: u32| namespace.kubectl(["create", "configmap", &format!("occupier-{number}")]).await;
    // Returns the number of throttled writes. All are of the operator: no other client that can be throttled writes here.
    let throttled = async || {
        let metrics = setting.plane.kubectl(["get", "--raw", "/metrics"]).await?;
        let is_throttled = |line: &&str| line.starts_with("apiserver_request_total{") && line.contains("code=\"429\"");
        let lines = metrics.lines().filter(is_throttled);
        anyhow::Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>())
    };
    let numbers = AtomicU32::new(0);
    eventually(DEADLINE, "throttled writes", async || {
        let number = numbers.fetch_add(2, Ordering::Relaxed);
        apply(&namespace, &bad_pod(&format!("bad-{number}")).to_string()).await?;
        let (one, other) = tokio::join!(occupy(number), occupy(number + 1));
        one.and(other)?;
        let count = throttled().await?;
        ensure!(count >= 5, "{count} were throttled");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    setting.plane.kubectl(["delete", "validatingwebhookconfiguration", "storm"]).await?;
    let all = list(&namespace, "pods").await?.len();
    expect_status(&operator, &namespace, "resilient", "all violations", |status| status["violationCount"] == all)
        .await?;
    let series = format!("devopspolicy_violations_total{{namespace=\"{}\",policy=\"resilient\"}}", namespace.name());
    operator.expect_metric(&series, Some(all as f64)).await?;
    eventually(DEADLINE, "the audit result", async || {
        let audits = list(&namespace, "policyauditresults").await?;
        ensure!(audits.last().is_some_and(|last| last["spec"]["violationCount"] == all), "{audits:#?}");
        Ok(())
    })
    .await
    .with_context(|| operator.log())?;
    Ok(())
}

#[tokio::test]
async fn failed_writes_are_retried_until_they_succeed() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let namespace = setting.plane.namespace("storm").await?;
    apply(&namespace, &policy("resilient", &json!({ "forbidLatestTag": true }))).await?;
    expect_status(&operator, &namespace, "resilient", "a score", |status| status["healthScore"] == 100).await?;
    // An unreachable webhook makes the API server fail all writes of statuses and audit results with 500.
    let storm = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "storm" },
        "webhooks": [{
            "name": "storm.test.kube-devops", "clientConfig": { "url": "https://127.0.0.1:1/" }, "failurePolicy": "Fail",
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "rules": [{
                "apiGroups": ["devops.stochastic.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["devopspolicies/status", "policyauditresults"],
            }],
        }],
    });
    setting.plane.kubectl_with_input(["apply", "-f", "-"], &storm.to_string()).await?;
    eventually(DEADLINE, "writes to fail", async || {
        // The API server observes the webhook with a delay.
        namespace.kubectl(["run", "trigger", "--image=trigger"]).await?;
        namespace.kubectl(["delete", "pod", "trigger", "--wait=true"]).await?;
        let failed = operator.metric("devopspolicy_reconcile_errors_total")?;
        ensure!(failed.is_some_and(|failed| failed >= 3.0), "{failed:?} failed: {}", operator.log());
        Ok(())
    })
    .await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    setting.plane.kubectl(["delete", "validatingwebhookconfiguration", "storm"]).await?;
    expect_status(&operator, &namespace, "resilient", "the violation", |status| status["violationCount"] == 1).await?;
    Ok(())
}

#[test]
fn an_address_in_use_and_invalid_options_are_rejected() {
    let in_use = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = in_use.local_addr().unwrap().to_string();
    let folder = Folder::with([("kubeconfig", unreachable_kubeconfig())]);
    for command in ["reconcile", "watch"] {
        let mut command_line = kube_devops();
        command_line.args([command, "--addr", &address, "--kubeconfig"]).arg(folder.path().join("kubeconfig"));
        run(&mut command_line).exits(2).complains(&["error: cannot listen on ", &address, "--addr"]);
        run(kube_devops().args([command, "--addr", "nowhere"])).exits(2).complains(&["nowhere"]);
        run(kube_devops().args([command, "--lease-duration", "1"])).exits(2).complains(&["--lease-duration"]);
    }
}
