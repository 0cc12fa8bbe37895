//! `webhook serve`: what breaks the policies of a namespace is refused before it runs, and nothing else is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Result, bail, ensure};
use end_to_end::objects::{bad_container, bad_pod, cron_job, good_container, good_pod, labelled, workload};
use end_to_end::operator::{Setting, apply, policy};
use end_to_end::webhook::{Webhook, apply_policy, namespace_with_bundle};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually, pods};

/// What kubectl says when it is refused.
async fn refusal(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<String> {
    match namespace.kubectl_with_input(arguments, input).await {
        Ok(done) => bail!("{arguments:?} was not refused: {done}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// What an API server answers to a request of kubectl, with the warnings.
async fn said(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = namespace.kubeconfig().kubectl_command().args(arguments).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stderr)?)
}

fn deployment(name: &str, container: Value) -> Value {
    let mut object = workload("apps/v1", "Deployment", name, json!({ "containers": [container] }));
    object["spec"]["selector"] = json!({ "matchLabels": { "app": name } });
    object["spec"]["template"]["metadata"] = json!({ "labels": { "app": name } });
    object
}

#[tokio::test]
async fn a_developer_is_told_what_is_wrong_and_how_to_mend_it() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let strict = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let text = refusal(&strict, &["run", "web", "--image=nginx:latest"], "").await?;
    let expected = format!(
        "admission webhook \"workloads.devops.stochastic.io\" denied the request: Pod web in namespace {} is refused for 3 violations:\n\
         - container web: image nginx:latest uses the tag latest (latest-tag, critical, policy restricted)\n  \
           To mend it: name a version that does not move, or better a digest\n\
         - container web: has no liveness probe (missing-liveness, high, policy restricted)\n  \
           To mend it: give the container a probe that fails when only a restart helps\n\
         - container web: has no readiness probe (missing-readiness, high, policy restricted)\n  \
           To mend it: give the container a probe that answers whether it can serve requests now\n\
         `kube-devops explain latest-tag` says more.",
        strict.name()
    );
    assert!(text.contains(&expected), "{text}\n---\n{expected}");
    assert!(text.contains("Forbidden"), "{text}");
    strict.kubectl_with_input(["apply", "-f", "-"], &good_pod("good").to_string()).await?;

    // A medium severity only warns.
    let lenient = namespace_with_bundle(&setting, &webhook.process, "baseline").await?;
    let warnings = said(&lenient, &["run", "web", "--image=nginx:latest"]).await?;
    for line in [
        "Warning: container web: image nginx:latest uses the tag latest (latest-tag, medium, policy baseline)",
        "Warning: container web: has no readiness probe (missing-readiness, medium, policy baseline)",
    ] {
        assert!(warnings.contains(line), "{warnings}");
    }
    assert_eq!(webhook.process.metric("webhook_denials_total")?, Some(1.0));
    assert_eq!(webhook.process.metric("webhook_requests_total{verdict=\"denied\"}")?, Some(1.0));
    assert_eq!(webhook.process.metric("webhook_requests_total{verdict=\"warned\"}")?, Some(1.0));
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn workloads_are_refused_at_once_by_their_templates() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let spec = json!({ "containers": [bad_container("app")] });
    let mut objects =
        vec![cron_job("nightly", json!({ "containers": [bad_container("app")], "restartPolicy": "Never" }))];
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
    ] {
        let mut object = workload(version, kind, "bad", spec.clone());
        if kind == "Job" {
            object["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
        } else {
            let selector = json!({ "app": "bad" });
            object["spec"]["template"]["metadata"] = json!({ "labels": selector });
            let is_old = kind == "ReplicationController";
            object["spec"]["selector"] = if is_old { selector } else { json!({ "matchLabels": selector }) };
        }
        objects.push(object);
    }
    for object in objects {
        let text = refusal(&namespace, &["apply", "-f", "-"], &object.to_string()).await?;
        let kind = object["kind"].as_str().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(text.contains(&format!("{kind} {name} in namespace {}", namespace.name())), "{text}");
        assert!(text.contains("container app: image nginx has no tag"), "{text}");
    }
    // Init containers are judged, too.
    let mut sneaky = good_pod("sneaky");
    sneaky["spec"]["initContainers"] = json!([{ "name": "first", "image": "busybox" }]);
    let text = refusal(&namespace, &["apply", "-f", "-"], &sneaky.to_string()).await?;
    assert!(text.contains("container first: image busybox has no tag"), "{text}");
    Ok(())
}

#[tokio::test]
async fn only_what_is_new_is_judged_when_something_is_changed() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = setting.plane.namespace("old").await?;
    apply(&namespace, &bad_pod("bad").to_string()).await?;
    apply(&namespace, &deployment("bad", bad_container("app")).to_string()).await?;
    namespace.kubectl(["wait", "--for=condition=Ready", "pod/bad", "--timeout=90s"]).await?;
    let strict = policy(
        "strict",
        &json!({
            "forbidLatestTag": true, "requireLivenessProbe": true,
            "severityOverrides": { "latestTag": "critical", "missingLiveness": "critical" },
        }),
    );
    apply_policy(&webhook.process, &namespace, &strict).await?;

    namespace.kubectl(["label", "pod", "bad", "tier=front"]).await?;
    namespace.kubectl(["annotate", "deployment", "bad", "note=old"]).await?;
    namespace.kubectl(["scale", "deployment", "bad", "--replicas=0"]).await?;
    // The template is another one, and what is judged of it is not.
    namespace.kubectl(["set", "env", "deployment/bad", "A=b"]).await?;
    let text = refusal(&namespace, &["set", "image", "deployment/bad", "app=nginx:1.29.3"], "").await?;
    assert!(text.contains("no liveness probe") && !text.contains("latest-tag"), "{text}");
    let text = refusal(&namespace, &["set", "image", "pod/bad", "app=httpd"], "").await?;
    assert!(text.contains("image httpd has no tag"), "{text}");

    // A container for debugging is judged by itself, not for what was there before.
    let debug = ["debug", "bad", "--container=probe", "--profile=general"];
    let text = refusal(&namespace, &[&debug[..], &["--image=busybox"]].concat(), "").await?;
    assert!(text.contains("container probe: image busybox has no tag"), "{text}");
    assert!(!text.contains("liveness") && !text.contains("container app"), "{text}");
    namespace.kubectl([&debug[..], &["--image=busybox:1.37"]].concat()).await?;

    namespace.kubectl(["delete", "pod", "bad", "--wait=false"]).await?;
    namespace.kubectl(["delete", "deployment", "bad"]).await?;
    Ok(())
}

#[tokio::test]
async fn namespaces_are_judged_by_all_of_their_policies_and_by_no_others() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &["--deny-severity", "medium", "--system-namespace", "spared-2"]).await?;
    let namespace = setting.plane.namespace("judged").await?;
    apply_policy(&webhook.process, &namespace, &policy("images", &json!({ "forbidLatestTag": true }))).await?;
    let probes =
        json!({ "requireLivenessProbe": true, "forbidLatestTag": true, "severityOverrides": { "latestTag": "low" } });
    apply_policy(&webhook.process, &namespace, &policy("probes", &probes)).await?;
    let text = refusal(&namespace, &["run", "web", "--image=nginx"], "").await?;
    assert!(text.contains("refused for 2 violations"), "{text}");
    assert!(text.contains("(latest-tag, medium, policy images)"), "the most severe one counts: {text}");
    assert!(text.contains("(missing-liveness, medium, policy probes)"), "{text}");

    // Whoever has no policy, or belongs to the system, is left alone.
    let free = setting.plane.namespace("free").await?;
    free.kubectl(["run", "web", "--image=nginx"]).await?;
    setting.plane.kubectl(["create", "namespace", "platform-system"]).await?;
    let system = setting.plane.kubeconfig().with_namespace("platform-system")?;
    system.kubectl_with_input(["apply", "-f", "-"], &policy("idle", &json!({ "forbidLatestTag": true }))).await?;
    eventually(DEADLINE, "a pod in a system namespace", async || system.kubectl(["run", "web", "--image=nginx"]).await)
        .await?;

    // A policy that is gone judges nothing, and one that is edited judges anew.
    namespace.kubectl(["delete", "devopspolicy", "probes"]).await?;
    apply(&namespace, &policy("images", &json!({ "requireReadinessProbe": true }))).await?;
    eventually(DEADLINE, "the edit to be known", async || {
        let text = refusal(&namespace, &["run", "web", "--image=nginx"], "").await?;
        ensure!(text.contains("refused for 1 violation:") && text.contains("no readiness probe"), "{text}");
        Ok(())
    })
    .await?;
    // Nobody is stored by a dry run, and it is judged all the same.
    refusal(&namespace, &["run", "web", "--image=nginx", "--dry-run=server"], "").await?;
    Ok(())
}

#[tokio::test]
async fn the_operator_is_let_through_and_nobody_else() -> Result<()> {
    let setting = Setting::start().await?;
    let account = format!("{}-reconcile", setting.namespace().name());
    let webhook = Webhook::start(&setting, &["--operator-service-account", &account]).await?;
    webhook.install(&setting, &["--operator-service-account", &account]).await?;
    let namespace = setting.plane.namespace("mended").await?;
    apply(&namespace, &deployment("web", bad_container("app")).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    // The image stays as it is, so that the patch is a violation like anybody else's.
    let spec = json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
        "severityOverrides": { "latestTag": "critical" },
    });
    apply_policy(&webhook.process, &namespace, &policy("mending", &spec)).await?;
    let text = refusal(&namespace, &["set", "image", "deployment/web", "app=httpd"], "").await?;
    assert!(text.contains("image httpd has no tag"), "{text}");
    let operator = setting.operator().await?;
    eventually(DEADLINE, "the probes", async || {
        let probe = ["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].livenessProbe}"];
        ensure!(!namespace.kubectl(probe).await?.is_empty(), "{}", operator.log());
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn other_kinds_with_a_template_are_judged_where_they_are_named() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "rollouts.argoproj.io" },
        "spec": {
            "group": "argoproj.io", "scope": "Namespaced", "names": { "plural": "rollouts", "kind": "Rollout" },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    setting.plane.kubectl_with_input(["apply", "-f", "-"], &definition.to_string()).await?;
    setting.plane.kubectl(["wait", "--for=condition=Established", "crd/rollouts.argoproj.io", "--timeout=90s"]).await?;
    webhook.install(&setting, &["--resource", "argoproj.io/rollouts"]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let rollout = |container| workload("argoproj.io/v1alpha1", "Rollout", "web", json!({ "containers": [container] }));
    let text = refusal(&namespace, &["apply", "-f", "-"], &rollout(bad_container("app")).to_string()).await?;
    assert!(text.contains("Rollout web in namespace"), "{text}");
    apply(&namespace, &rollout(good_container("app")).to_string()).await?;
    Ok(())
}

#[tokio::test]
async fn what_has_run_is_not_judged_at_admission() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let namespace = setting.plane.namespace("running").await?;
    let spec = json!({
        "maxRestartCount": 0, "forbidPendingDuration": 1,
        "severityOverrides": { "highRestarts": "critical", "pending": "critical" },
    });
    apply_policy(&webhook.process, &namespace, &policy("runtime", &spec)).await?;
    let crashing = labelled(good_pod("crashing"), json!({ pods::LABEL: pods::CRASH_LOOPING }));
    apply(&namespace, &crashing.to_string()).await?;
    eventually(DEADLINE, "a restart", async || {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let count = namespace.kubectl(["get", "pod", "crashing", "-o", path]).await?;
        ensure!(count.parse::<u32>().is_ok_and(|count| count > 0), "{count:?}");
        Ok(())
    })
    .await?;
    namespace.kubectl(["set", "image", "pod/crashing", "app=nginx:1.30"]).await?;
    Ok(())
}
