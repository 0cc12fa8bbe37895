//! PolicyModule: custom checks are loaded into the operator and the webhook of a running cluster, replaced and removed.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use end_to_end::guests::{guest, with_section};
use end_to_end::objects::{good_container, good_pod, selecting_workload};
use end_to_end::operator::{Setting, apply, expect_module, expect_status, policy};
use end_to_end::webhook::{Webhook, denial};
use end_to_end::{Controller, Folder, kube_devops, run};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};

/// The guest `reader`, whose check reads complete objects and reports the image of every pod.
fn reader() -> Vec<u8> {
    guest("reader", Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

/// A ConfigMap with a module in the namespace of the platform.
struct Source<'a> {
    namespace: &'a Namespace,
    folder: Folder,
}

impl Source<'_> {
    async fn set(&self, bytes: &[u8]) -> Result<()> {
        let file: PathBuf = self.folder.write("module.wasm", bytes);
        let create = ["create", "configmap", "checks", "--dry-run=client", "-o", "json"];
        let file = format!("--from-file={}", file.display());
        let map = self.namespace.kubectl(create.into_iter().chain([file.as_str()])).await?;
        self.namespace.kubectl_with_input(["apply", "--server-side", "--force-conflicts", "-f", "-"], &map).await?;
        Ok(())
    }
}

fn module(name: &str, grants: &[&str]) -> String {
    let object = json!({
        "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": name },
        "spec": { "source": { "configMap": { "name": "checks" } }, "grants": grants },
    });
    object.to_string()
}

async fn expect_ready(operator: &Controller, namespace: &Namespace, reason: &str, text: &str) -> Result<Value> {
    expect_module(operator, namespace, "reader", reason, text).await
}

async fn expect_denial(webhook: &Webhook, namespace: &Namespace) -> Result<()> {
    eventually(DEADLINE, "the webhook to deny a pod", async || {
        let error = denial(namespace).await.context("the pod was admitted")?;
        ensure!(error.contains("nginx:1.29.3") && error.contains("(reader, high, policy custom)"), "{error}");
        Ok(())
    })
    .await
    .with_context(|| webhook.process.log())
}

#[tokio::test]
async fn a_module_is_loaded_replaced_and_removed_while_the_platform_runs() -> Result<()> {
    let bytes = tokio::task::spawn_blocking(reader).await?;
    let setting = Setting::start().await?;
    let (operator, namespace) = (setting.operator().await?, setting.plane.namespace("shop").await?);
    let webhook = Webhook::start_for_operator(&setting, &[]).await?;
    let system = setting.namespace();
    let source = Source { namespace: system, folder: Folder::new() };
    apply(&namespace, &good_pod("existing").to_string()).await?;

    apply(system, &module("reader", &[])).await?;
    expect_ready(&operator, system, "SourceInvalid", "there is no ConfigMap checks").await?;
    source.set(&bytes).await?;
    expect_ready(&operator, system, "LoadFailed", "imports object, which is not granted").await?;
    let ready = "policy_module_ready{module=\"reader\"}";
    operator.expect_metric(ready, Some(0.0)).await?;
    webhook.process.expect_metric(ready, Some(0.0)).await?;
    apply(system, &module("reader", &["object"])).await?;
    let status = expect_ready(&operator, system, "Active", "").await?;
    assert_eq!(status["checks"], json!(["reader"]));
    let digest = status["digest"].as_str().unwrap().to_owned();
    let series = format!("policy_module_loaded{{digest=\"{digest}\",module=\"reader\"}}");
    operator.expect_metric(&series, Some(1.0)).await?;
    webhook.process.expect_metric(&series, Some(1.0)).await?;
    operator.expect_metric(ready, Some(1.0)).await?;
    webhook.process.expect_metric(ready, Some(1.0)).await?;

    // All doors find the same.
    let spec = json!({ "forbidLatestTag": true, "checks": [{ "check": "reader", "severity": "high" }] });
    let custom = policy("custom", &spec);
    apply(&namespace, &custom).await?;
    let by_check = json!({ "reader": 1 });
    expect_status(&operator, &namespace, "custom", "one violation", |status| status["violationsByCheck"] == by_check)
        .await?;
    expect_denial(&webhook, &namespace).await?;
    let files = Folder::new();
    let (file, policy_file) = (files.write("reader.wasm", &bytes), files.write("policy.yaml", custom));
    let mut analyze = kube_devops();
    analyze.args(["analyze", "-n", namespace.name(), "-o", "json", "--kubeconfig"]);
    analyze.arg(namespace.kubeconfig().path()).arg("--module").arg(&file).arg("--policy").arg(&policy_file);
    let report = run(&mut analyze).exits(0).json();
    assert_eq!(
        (report["violations"].as_array().unwrap().len(), &report["violations"][0]["check"]),
        (1, &json!("reader"))
    );

    // A broken version changes nothing, and says what is wrong.
    source.set(&bytes[..bytes.len() / 2]).await?;
    let text = format!("the last good version {digest} stays active");
    let status = expect_ready(&operator, system, "LoadFailed", &text).await?;
    assert_eq!(status["digest"], json!(digest));
    expect_denial(&webhook, &namespace).await?;

    // Other versions take over without a request that is not evaluated by the check.
    for name in *b"ab" {
        let next = with_section(&bytes, name);
        let series = format!(
            "policy_module_loaded{{digest=\"{}\",module=\"reader\"}}",
            kube_devops_policy_modules::content::digest(&next)
        );
        source.set(&next).await?;
        eventually(DEADLINE, "the next version", async || {
            let error = denial(&namespace).await.context("a pod was admitted")?;
            assert!(error.contains("(reader, high, policy custom)"), "{error}");
            ensure!(webhook.process.metric(&series)? == Some(1.0));
            Ok(())
        })
        .await?;
        operator.expect_metric(&series, Some(1.0)).await?;
    }
    expect_ready(&operator, system, "Active", "").await?;

    // Another module with the same check takes over when the first one is removed, in every replica.
    apply(system, &module("another", &["object"])).await?;
    let clash = "the check reader already exists in the PolicyModule reader";
    expect_module(&operator, system, "another", "NameClash", clash).await?;
    system.kubectl(["delete", "policymodule", "reader"]).await?;
    expect_module(&operator, system, "another", "Active", "").await?;
    expect_denial(&webhook, &namespace).await?;

    // Without the module, its rule is not evaluated, and the others are.
    system.kubectl(["delete", "policymodule", "another"]).await?;
    expect_status(&operator, &namespace, "custom", "a missing check", |status| {
        // The other check found nothing, so that there is a score; the policy is not ready.
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        let conditions = status["conditions"].as_array();
        if conditions.is_none_or(|conditions| conditions.iter().any(is_ready)) {
            return false;
        }
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| {
            condition["reason"] == "ChecksFailed"
                && condition["message"].as_str().unwrap_or_default().contains("there is no such check")
        })
    })
    .await?;
    eventually(DEADLINE, "the webhook to fail open", async || {
        ensure!(denial(&namespace).await.is_none());
        Ok(())
    })
    .await?;
    ensure!(webhook.process.sum("webhook_fail_open_total")? > 0.0);
    Ok(())
}

#[tokio::test]
async fn a_removed_label_is_denied_and_a_restart_is_not() -> Result<()> {
    let bytes = tokio::task::spawn_blocking(|| guest("labels", Path::new(env!("CARGO_TARGET_TMPDIR")))).await??;
    let setting = Setting::start().await?;
    let (operator, namespace) = (setting.operator().await?, setting.plane.namespace("shop").await?);
    let webhook = Webhook::start_for_operator(&setting, &[]).await?;
    let system = setting.namespace();
    Source { namespace: system, folder: Folder::new() }.set(&bytes).await?;
    apply(system, &module("labels", &[])).await?;
    expect_module(&operator, system, "labels", "Active", "").await?;
    for (name, team) in [("bare", json!({})), ("owned", json!({ "team": "shop" }))] {
        let mut existing = selecting_workload("Deployment", name, [good_container("web")]);
        let labels = existing["spec"]["template"]["metadata"]["labels"].as_object_mut().context("labels")?;
        labels.extend(team.as_object().cloned().unwrap_or_default());
        apply(&namespace, &existing.to_string()).await?;
    }
    apply(&namespace, &policy("custom", &json!({ "checks": [{ "check": "labels", "severity": "high" }] }))).await?;
    eventually(DEADLINE, "the webhook to deny a pod", async || {
        ensure!(denial(&namespace).await.is_some());
        Ok(())
    })
    .await
    .with_context(|| webhook.process.log())?;

    // Of an existing workload with violations, the pods can be replaced, and other labels can be changed.
    namespace.kubectl(["rollout", "restart", "deployment", "bare"]).await?;
    namespace.kubectl(["rollout", "status", "deployment", "bare", "--timeout=90s"]).await?;
    let label = |value: &str| format!(r#"{{"spec":{{"template":{{"metadata":{{"labels":{value}}}}}}}}}"#);
    let patch = ["patch", "deployment", "--type=merge", "-p"];
    namespace.kubectl(patch.into_iter().chain([label(r#"{"tier":"front"}"#).as_str(), "bare"])).await?;
    namespace.kubectl(patch.into_iter().chain([label(r#"{"tier":"front"}"#).as_str(), "owned"])).await?;
    let denied = namespace.kubectl(patch.into_iter().chain([label(r#"{"team":null}"#).as_str(), "owned"])).await;
    let denied = format!("{:#}", denied.unwrap_err());
    ensure!(denied.contains("has no label team") && denied.contains("(labels, high, policy custom)"), "{denied}");
    Ok(())
}
