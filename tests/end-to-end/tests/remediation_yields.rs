//! Remediated workloads deploy as before: added fields step back when another client sets its own.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_container_with_port, selecting_workload};
use end_to_end::operator::{Setting, apply, get, policy};
use end_to_end::webhook::Webhook;
use end_to_end::{Controller, Folder};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};

/// A Deployment of the containers `app` and `side` without probes and resources.
fn deployment(name: &str) -> Value {
    let containers = [bad_container_with_port("app", 8080), bad_container_with_port("side", 9090)];
    let mut object = selecting_workload("Deployment", name, containers);
    object["spec"]["replicas"] = 2.into();
    object
}

/// The same Deployment with the team's own probe, which asks another way than the added one, and with a request above the added
/// limit.
fn with_probe_and_request(name: &str) -> Value {
    let mut object = deployment(name);
    let app = &mut object["spec"]["template"]["spec"]["containers"][0];
    app["livenessProbe"] = json!({ "httpGet": { "path": "/healthz", "port": 8080 }, "failureThreshold": 5 });
    app["resources"] = json!({ "requests": { "cpu": "2" } });
    object
}

fn without_side(name: &str) -> Value {
    let mut object = deployment(name);
    object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().pop();
    object
}

fn containers(workload: &Value) -> &Vec<Value> {
    workload["spec"]["template"]["spec"]["containers"].as_array().unwrap()
}

/// Waits until the operator has added fields to both containers and has given up their ownership.
async fn expect_patched(operator: &Controller, namespace: &Namespace, name: &str) -> Result<()> {
    eventually(DEADLINE, format!("{name} to be patched"), async || {
        let arguments = ["get", "deployment", name, "-o", "json", "--show-managed-fields"];
        let workload: Value = serde_json::from_str(&namespace.kubectl(arguments).await?)?;
        let entries = workload["metadata"]["managedFields"].as_array().context("a list")?;
        let own = entries.iter().filter(|entry| entry["manager"] == "kube-devops").collect::<Vec<_>>();
        let [own] = own.as_slice() else { anyhow::bail!("{entries:#?}") };
        ensure!(own["fieldsV1"].get("f:spec").is_none(), "it is {own:#}");
        for container in containers(&workload) {
            ensure!(container["livenessProbe"]["tcpSocket"].is_object(), "it is {workload:#}");
            ensure!(container["resources"]["limits"]["cpu"] == "500m", "it is {workload:#}");
        }
        Ok(())
    })
    .await
    .with_context(|| operator.log())
}

/// Requires the probe of the team without any added field, and the added fields elsewhere.
fn assert_has_own_probe(workload: &Value) {
    let [app, side] = containers(workload).as_slice() else { panic!("{workload:#}") };
    let probe = &app["livenessProbe"];
    assert_eq!(probe["httpGet"]["path"], "/healthz");
    assert!(probe.get("tcpSocket").is_none(), "{probe}");
    assert_eq!(probe["failureThreshold"], 5);
    // The default of Kubernetes instead of the added value.
    assert_eq!((probe.get("initialDelaySeconds"), &probe["periodSeconds"]), (None, &json!(10)), "{probe}");
    assert!(app["readinessProbe"]["tcpSocket"].is_object(), "other added fields remain: {app}");
    assert!(side["livenessProbe"]["tcpSocket"].is_object(), "{side}");
}

fn assert_has_own_request(workload: &Value) {
    let resources = &containers(workload)[0]["resources"];
    assert_eq!(resources["requests"]["cpu"], "2");
    assert_eq!(resources["limits"], json!({ "memory": "256Mi" }), "the added limit was below the request");
}

async fn server_side(namespace: &Namespace, object: &Value, more: &[&str]) -> Result<()> {
    let arguments = [&["apply", "--server-side", "-f", "-"], more].concat();
    namespace.kubectl_with_input(&arguments, &object.to_string()).await?;
    Ok(())
}

/// Runs `kubectl apply` and returns everything that it prints.
async fn apply_with_warnings(namespace: &Namespace, object: &Value) -> Result<String> {
    let folder = Folder::with([("web.json", object.to_string())]);
    let mut command = namespace.kubeconfig().kubectl_command();
    let output = command.args(["apply", "-f"]).arg(folder.path()).output().await?;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

/// Runs `kubectl edit` with an editor that sets the probe and the resources of the first container.
async fn edit(namespace: &Namespace, name: &str) -> Result<()> {
    let script = "#!/bin/sh\nset -e\nsed -i -e '0,/livenessProbe:/s//livenessProbe:\\n          httpGet: {path: \\/healthz, port: 8080}/' \
                  -e '0,/failureThreshold: 3/s//failureThreshold: 5/' \
                  -e '0,/cpu: 100m/s//cpu: \"2\"/' \"$1\"\n";
    let folder = Folder::with([("editor", script)]);
    let editor = folder.path().join("editor");
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let mut command = namespace.kubeconfig().kubectl_command();
    let output = command.args(["edit", "deployment", name]).env("KUBE_EDITOR", editor).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A chart with one template.
struct Helm {
    chart: Folder,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(namespace: &Namespace) -> Result<Self> {
        let chart = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
        let chart = Folder::with([("Chart.yaml", chart)]);
        std::fs::create_dir(chart.path().join("templates"))?;
        Ok(Self { chart, kubeconfig: namespace.kubeconfig().path().to_owned() })
    }

    /// Installs or upgrades the release with this object.
    async fn deploy(&self, object: &Value) -> Result<()> {
        self.chart.write("templates/web.yaml", object.to_string());
        let mut command = tokio::process::Command::new(test_cluster::helm()?);
        command.args(["upgrade", "--install", "web"]).arg(self.chart.path());
        let home = self.chart.path().join("home");
        let output = command.env("KUBECONFIG", &self.kubeconfig).env("HELM_CACHE_HOME", home).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// A patch that sets another handler.
fn probe_patch() -> String {
    json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "app", "livenessProbe": { "httpGet": { "port": 8080 } } },
    ] } } } })
    .to_string()
}

#[tokio::test]
async fn updates_of_remediated_workloads_succeed_with_every_client() -> Result<()> {
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let webhook = Webhook::start_for_operator(&setting, &["--deny-severity", "critical"]).await?;
    let namespace = setting.plane.namespace("shop").await?;
    let spec = json!({
        "requireLivenessProbe": true, "requireReadinessProbe": true, "enforcementMode": "enforce",
        "defaultProbe": { "initialDelaySeconds": 3, "periodSeconds": 7 },
        "defaultResources": {
            "cpuRequest": "100m", "cpuLimit": "500m", "memoryRequest": "128Mi", "memoryLimit": "256Mi",
        },
    });
    apply(&namespace, &policy("probes", &spec)).await?;

    let helm = Helm::new(&namespace)?;
    for name in ["applied", "edited", "shrunk"] {
        apply(&namespace, &deployment(name).to_string()).await?;
    }
    for name in ["server-side", "forced", "server-side-shrunk"] {
        server_side(&namespace, &deployment(name), &[]).await?;
    }
    helm.deploy(&deployment("released")).await?;
    let names = ["applied", "edited", "shrunk", "server-side", "forced", "server-side-shrunk", "released"];
    for name in names {
        expect_patched(&operator, &namespace, name).await?;
    }

    let applied = apply_with_warnings(&namespace, &with_probe_and_request("applied")).await?;
    let warning = "Warning: container app: removed livenessProbe.initialDelaySeconds, livenessProbe.periodSeconds, \
                   livenessProbe.tcpSocket, resources.limits.cpu, which kube-devops had added";
    assert!(applied.contains(warning), "{applied}");
    edit(&namespace, "edited").await?;
    server_side(&namespace, &with_probe_and_request("server-side"), &[]).await?;
    server_side(&namespace, &with_probe_and_request("forced"), &["--force-conflicts"]).await?;
    helm.deploy(&with_probe_and_request("released")).await?;
    for name in ["applied", "edited", "server-side", "forced", "released"] {
        let workload = get(&namespace, "Deployment", name).await?;
        assert_has_own_probe(&workload);
        assert_has_own_request(&workload);
    }

    apply(&namespace, &without_side("shrunk").to_string()).await?;
    server_side(&namespace, &without_side("server-side-shrunk"), &[]).await?;
    for name in ["shrunk", "server-side-shrunk"] {
        let workload = get(&namespace, "Deployment", name).await?;
        let [app] = containers(&workload).as_slice() else { panic!("{workload:#}") };
        assert!(app["livenessProbe"]["tcpSocket"].is_object(), "{app}");
    }
    // The removal of a container needs no help, because the added fields have no owner.
    webhook.process.expect_metric("webhook_remediation_yields_total", Some(5.0)).await?;
    assert_eq!(webhook.process.metric("webhook_remediation_yield_failures_total")?, Some(0.0));

    // The next update is not affected, and the operator leaves the team's probe alone.
    for name in names {
        namespace.kubectl(["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]).await?;
    }
    let again = apply_with_warnings(&namespace, &with_probe_and_request("applied")).await?;
    assert!(again.contains("unchanged") && !again.contains("Warning"), "{again}");
    assert_has_own_probe(&get(&namespace, "Deployment", "applied").await?);

    // Without the configuration there is only the error of the API server.
    setting.plane.kubectl(["delete", "mutatingwebhookconfiguration", "kube-devops-webhook"]).await?;
    eventually(DEADLINE, "the API server to stop calling the webhook", async || {
        let patch = probe_patch();
        let arguments = ["patch", "deployment", "shrunk", "--dry-run=server", "--patch", &patch];
        let both = namespace.kubectl(arguments).await;
        ensure!(
            both.as_ref().is_err_and(|error| format!("{error:#}").contains("may not specify more than 1 handler")),
            "{both:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}
