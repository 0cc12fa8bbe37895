//! `webhook serve`: requests with violations of the policies of a namespace are denied, and no others.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Result, bail, ensure};
use end_to_end::objects::{
    bad_container, bad_pod, cron_job, good_container, good_pod, labelled, selecting_workload, workload,
};
use end_to_end::operator::{Setting, apply, policy};
use end_to_end::webhook::{Webhook, apply_policy, namespace_with_bundle};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually, pods};

/// Requires that a request of kubectl is denied and returns the message.
async fn denial(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<String> {
    match namespace.kubectl_with_input(arguments, input).await {
        Ok(output) => bail!("{arguments:?} was not denied: {output}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// Returns the warnings for a request of kubectl.
async fn warnings(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = namespace.kubeconfig().kubectl_command().args(arguments).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stderr)?)
}

fn deployment(name: &str, container: Value) -> Value {
    selecting_workload("Deployment", name, [container])
}

#[tokio::test]
async fn a_denial_names_the_violations_and_how_to_fix_them() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let strict = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let text = denial(&strict, &["run", "web", "--image=nginx:latest"], "").await?;
    let expected = format!(
        "admission webhook \"workloads.devops.stochastic.io\" denied the request: 3 violations in Pod web in namespace {}:\n\
         - container web: image nginx:latest uses the tag latest (latest-tag, critical, policy restricted)\n  \
           Fix: use the tag of a specific version, or preferably a digest\n\
         - container web: has no liveness probe (missing-liveness, high, policy restricted)\n  \
           Fix: add a probe that fails only if a restart is necessary\n\
         - container web: has no readiness probe (missing-readiness, high, policy restricted)\n  \
           Fix: add a probe that succeeds only if the container can serve requests\n\
         Run `kube-devops explain latest-tag` for details.",
        strict.name()
    );
    assert!(text.contains(&expected), "{text}\n---\n{expected}");
    assert!(text.contains("Forbidden"), "{text}");
    strict.kubectl_with_input(["apply", "-f", "-"], &good_pod("good").to_string()).await?;

    // Violations of medium severity only warn.
    let lenient = namespace_with_bundle(&setting, &webhook.process, "baseline").await?;
    let warnings = warnings(&lenient, &["run", "web", "--image=nginx:latest"]).await?;
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
async fn workloads_with_violations_in_their_template_are_denied() -> Result<()> {
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
            let is_map = kind == "ReplicationController";
            object["spec"]["selector"] = if is_map { selector } else { json!({ "matchLabels": selector }) };
        }
        objects.push(object);
    }
    for object in objects {
        let text = denial(&namespace, &["apply", "-f", "-"], &object.to_string()).await?;
        let kind = object["kind"].as_str().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(text.contains(&format!("{kind} {name} in namespace {}", namespace.name())), "{text}");
        assert!(text.contains("container app: image nginx has no tag"), "{text}");
    }
    // Init containers are evaluated too.
    let mut with_init = good_pod("with-init");
    with_init["spec"]["initContainers"] = json!([{ "name": "first", "image": "busybox" }]);
    let text = denial(&namespace, &["apply", "-f", "-"], &with_init.to_string()).await?;
    assert!(text.contains("container first: image busybox has no tag"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_update_is_denied_if_it_changes_the_pods_or_adds_violations() -> Result<()> {
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
    namespace.kubectl(["rollout", "restart", "deployment/bad"]).await?;
    // No check reads the field, but the pods are replaced.
    let text = denial(&namespace, &["set", "env", "deployment/bad", "A=b"], "").await?;
    assert!(text.contains("no liveness probe") && text.contains("latest-tag"), "{text}");
    let text = denial(&namespace, &["set", "image", "deployment/bad", "app=nginx:1.29.3"], "").await?;
    assert!(text.contains("no liveness probe") && !text.contains("latest-tag"), "{text}");
    let text = denial(&namespace, &["set", "image", "pod/bad", "app=httpd"], "").await?;
    assert!(text.contains("image httpd has no tag"), "{text}");

    // An ephemeral container is evaluated without the existing violations of the pod.
    let debug = ["debug", "bad", "--container=probe", "--profile=general"];
    let text = denial(&namespace, &[&debug[..], &["--image=busybox"]].concat(), "").await?;
    assert!(text.contains("container probe: image busybox has no tag"), "{text}");
    assert!(!text.contains("liveness") && !text.contains("container app"), "{text}");
    namespace.kubectl([&debug[..], &["--image=busybox:1.37"]].concat()).await?;

    namespace.kubectl(["delete", "pod", "bad", "--wait=false"]).await?;
    namespace.kubectl(["delete", "deployment", "bad"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_enables_no_check_causes_a_warning_and_evaluates_no_request() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &["--fail-closed"]).await?;
    let namespace = setting.plane.namespace("off").await?;
    apply_policy(&webhook.process, &namespace, &policy("switched", &json!({ "forbidLatestTag": true }))).await?;
    let text = warnings(&namespace, &["run", "before", "--image=nginx:latest", "--dry-run=server"]).await?;
    assert!(text.contains("uses the tag latest"), "{text}");
    let off = json!({ "spec": { "forbidLatestTag": false } }).to_string();
    let patch = ["patch", "devopspolicy", "switched", "--type=merge", "-p", &off];
    assert_eq!(warnings(&namespace, &patch).await?, "Warning: the policy enables no check\n");
    let allowed = || webhook.process.metric("webhook_requests_total{verdict=\"allowed\"}");
    let before = allowed()?;
    eventually(DEADLINE, "no request to be evaluated", async || {
        let text = warnings(&namespace, &["run", "after", "--image=nginx:latest", "--dry-run=server"]).await?;
        ensure!(text.is_empty(), "{text}");
        Ok(())
    })
    .await?;
    assert_eq!(allowed()?, before, "it is skipped");
    assert_eq!(webhook.process.sum("webhook_evaluation_failures_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn objects_are_evaluated_under_all_policies_of_their_namespace_only() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start(&setting, &["--deny-severity", "medium", "--system-namespace", "excluded"]).await?;
    let namespace = setting.plane.namespace("policies").await?;
    apply_policy(&webhook.process, &namespace, &policy("images", &json!({ "forbidLatestTag": true }))).await?;
    let probes =
        json!({ "requireLivenessProbe": true, "forbidLatestTag": true, "severityOverrides": { "latestTag": "low" } });
    apply_policy(&webhook.process, &namespace, &policy("probes", &probes)).await?;
    let text = denial(&namespace, &["run", "web", "--image=nginx"], "").await?;
    assert!(text.contains("2 violations in "), "{text}");
    assert!(text.contains("(latest-tag, medium, policy images)"), "the highest severity applies: {text}");
    assert!(text.contains("(missing-liveness, medium, policy probes)"), "{text}");

    // Namespaces without a policy and system namespaces are excluded.
    let free = setting.plane.namespace("free").await?;
    free.kubectl(["run", "web", "--image=nginx"]).await?;
    setting.plane.kubectl(["create", "namespace", "platform-system"]).await?;
    let system = setting.plane.kubeconfig().with_namespace("platform-system")?;
    system.kubectl_with_input(["apply", "-f", "-"], &policy("idle", &json!({ "forbidLatestTag": true }))).await?;
    eventually(DEADLINE, "a pod in a system namespace", async || system.kubectl(["run", "web", "--image=nginx"]).await)
        .await?;

    // Deleted policies no longer apply, and changed policies apply as changed.
    namespace.kubectl(["delete", "devopspolicy", "probes"]).await?;
    apply(&namespace, &policy("images", &json!({ "requireReadinessProbe": true }))).await?;
    eventually(DEADLINE, "the webhook to observe the change", async || {
        let text = denial(&namespace, &["run", "web", "--image=nginx"], "").await?;
        ensure!(text.contains("1 violation in ") && text.contains("no readiness probe"), "{text}");
        Ok(())
    })
    .await?;
    // A dry run is evaluated although it stores no object.
    denial(&namespace, &["run", "web", "--image=nginx", "--dry-run=server"], "").await?;
    Ok(())
}

#[tokio::test]
async fn only_the_operator_is_exempt_from_evaluation() -> Result<()> {
    let setting = Setting::start().await?;
    let webhook = Webhook::start_for_operator(&setting, &[]).await?;
    let namespace = setting.plane.namespace("enforced").await?;
    apply(&namespace, &deployment("web", bad_container("app")).to_string()).await?;
    namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    // The image is not remediated, so that the patch of any other user would be a violation.
    let spec = json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
        "defaultProbe": { "tcpPort": 8080 },
        "severityOverrides": { "latestTag": "critical" },
    });
    apply_policy(&webhook.process, &namespace, &policy("enforcing", &spec)).await?;
    let text = denial(&namespace, &["set", "image", "deployment/web", "app=httpd"], "").await?;
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
async fn custom_workloads_are_evaluated_if_configured() -> Result<()> {
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
    let text = denial(&namespace, &["apply", "-f", "-"], &rollout(bad_container("app")).to_string()).await?;
    assert!(text.contains("Rollout web in namespace"), "{text}");
    apply(&namespace, &rollout(good_container("app")).to_string()).await?;
    // Fields beside the template can have the names of those of a pod, and there can be another template.
    let mut odd = rollout(bad_container("app"));
    odd["metadata"]["name"] = json!("odd");
    (odd["spec"]["volumes"], odd["spec"]["containers"], odd["status"]) =
        (json!("none"), json!({ "a": 1 }), json!("ok"));
    let text = denial(&namespace, &["apply", "-f", "-"], &odd.to_string()).await?;
    assert!(text.contains("Rollout odd in namespace"), "{text}");
    assert_eq!(webhook.process.sum("webhook_fail_open_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn runtime_checks_do_not_apply_at_admission() -> Result<()> {
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
