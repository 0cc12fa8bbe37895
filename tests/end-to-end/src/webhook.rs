//! The webhook with exactly its permissions, called by a real API server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};

use crate::http::Trust;
use crate::objects::good_pod;
use crate::operator::{Setting, apply};
use crate::{Controller, Folder, kube_devops, run, service_account};

/// A webhook with a serving certificate in files, and an API server that calls it.
#[derive(Debug)]
pub struct Webhook {
    /// The process.
    pub process: Controller,
    kubeconfig: PathBuf,
    certificates: Folder,
    arguments: Vec<String>,
}

impl Webhook {
    /// Starts the webhook and configures the API server to call it.
    pub async fn start(setting: &Setting, arguments: &[&str]) -> Result<Self> {
        let certificates = Folder::new();
        generate_certificate(&certificates);
        let account = service_account(&setting.plane, setting.namespace(), &[Component::Webhook]).await?;
        let mut all = vec!["webhook".to_owned(), "serve".to_owned(), "--drain".to_owned(), "0".to_owned()];
        for (flag, file) in [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")] {
            all.extend([flag.to_owned(), certificates.path().join(file).display().to_string()]);
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let kubeconfig = account.path().to_owned();
        let process = launch(setting, &kubeconfig, any, &all).await?;
        let webhook = Self { process, kubeconfig, certificates, arguments: all };
        webhook.install(setting, &[]).await?;
        Ok(webhook)
    }

    /// Like [`Webhook::start`], with an operator whose updates are admitted.
    pub async fn start_for_operator(setting: &Setting, arguments: &[&str]) -> Result<Self> {
        let account = setting.operator_account();
        let operator = ["--operator-service-account", &account];
        let webhook = Self::start(setting, &[&operator[..], arguments].concat()).await?;
        webhook.install(setting, &operator).await?;
        Ok(webhook)
    }

    /// Configures the API server to call the webhook, and waits until it does.
    pub async fn install(&self, setting: &Setting, arguments: &[&str]) -> Result<()> {
        let mut command = kube_devops();
        command.args(["webhook", "install-config", "--url", &self.url(), "--namespace", setting.namespace().name()]);
        command.arg("--ca-bundle-path").arg(self.certificates.path().join("ca.crt")).args(arguments);
        let configuration = run(&mut command).exits(0).stdout;
        setting.plane.kubectl_with_input(["apply", "-f", "-"], &configuration).await?;
        wait_until_called(setting, &self.process).await
    }

    /// Returns the URL that API servers call.
    pub fn url(&self) -> String {
        format!("https://{}", self.process.http().address)
    }

    /// Returns the folder of its certificate.
    pub fn certificates(&self) -> &Folder {
        &self.certificates
    }

    /// Returns the CA bundle of its certificate.
    pub fn ca_bundle(&self) -> Result<Arc<str>> {
        Ok(std::fs::read_to_string(self.certificates.path().join("ca.crt"))?.into())
    }

    /// Restarts the webhook at the same address, after it has ended.
    pub async fn restart(&mut self, setting: &Setting) -> Result<()> {
        self.process = launch(setting, &self.kubeconfig, self.process.http().address, &self.arguments).await?;
        Ok(())
    }
}

/// Generates a serving certificate for 127.0.0.1.
pub fn generate_certificate(folder: &Folder) {
    let mut command = kube_devops();
    command.args(["webhook", "cert-generate", "--ip-san", "127.0.0.1", "--output-dir"]);
    run(command.arg(folder.path())).exits(0);
}

async fn launch(
    setting: &Setting,
    kubeconfig: &std::path::Path,
    address: SocketAddr,
    arguments: &[String],
) -> Result<Controller> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = [&arguments[..], &["--lease-namespace", setting.namespace().name()]].concat();
    let process = Controller::start_at(&setting.plane, kubeconfig, address, Trust::Any, &all).await?;
    process.ready().await?;
    Ok(process)
}

/// Waits until the API server calls the webhook, which it does with a delay after it has stored the configuration.
pub async fn wait_until_called(setting: &Setting, process: &Controller) -> Result<()> {
    let probe = setting.plane.namespace("probe").await?;
    eventually(DEADLINE, "the API server to call the webhook", async || {
        let before = process.sum("webhook_requests_total")?;
        probe.kubectl(["run", "probe", "--image=probe:1", "--dry-run=server"]).await?;
        ensure!(process.sum("webhook_requests_total")? > before, "it was not called");
        Ok(())
    })
    .await
}

/// Returns the number of requests for which the API server failed open, because the webhook did not respond.
pub async fn api_server_fail_open_count(setting: &Setting) -> Result<u64> {
    let metrics = setting.plane.kubectl(["get", "--raw", "/metrics"]).await?;
    let series = "apiserver_admission_webhook_fail_open_count{name=\"workloads.devops.stochastic.io\"";
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

/// Creates a namespace with the policy of a bundle, and waits until the webhook has observed the policy.
pub async fn namespace_with_bundle(setting: &Setting, process: &Controller, bundle: &str) -> Result<Namespace> {
    let namespace = setting.plane.namespace(bundle).await?;
    let mut command = kube_devops();
    command.args(["policy", "bundle-apply", bundle, "--namespace", namespace.name(), "--policy-name", bundle]);
    apply_policy(process, &namespace, &run(&mut command).exits(0).stdout).await?;
    Ok(namespace)
}

/// Applies a new policy and waits until the webhook has observed it.
pub async fn apply_policy(process: &Controller, namespace: &Namespace, policy: &str) -> Result<()> {
    let before = process.metric("webhook_policies")?.unwrap_or_default();
    apply(namespace, policy).await?;
    process.expect_metric("webhook_policies", Some(before + 1.0)).await
}

/// Returns the review that an API server would send for the creation of an object.
pub fn review_of(object: &Value, namespace: &str) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    let (group, version) = object["apiVersion"].as_str().unwrap_or_default().rsplit_once('/').unwrap_or(("", "v1"));
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": group, "version": version, "kind": kind },
            "resource": { "group": group, "version": version, "resource": format!("{}s", kind.to_lowercase()) },
            "name": object["metadata"]["name"], "namespace": namespace, "operation": "CREATE",
            "userInfo": { "username": "jane", "groups": ["system:authenticated"] },
            "object": object, "oldObject": null, "dryRun": false,
        },
    })
}

/// Tries to create a pod without violations of the built-in checks, and returns the error.
pub async fn denial(namespace: &Namespace) -> Option<String> {
    let pod = good_pod("new").to_string();
    let created = namespace.kubectl_with_input(["create", "--dry-run=server", "-f", "-"], &pod).await;
    created.err().map(|error| format!("{error:#}"))
}
