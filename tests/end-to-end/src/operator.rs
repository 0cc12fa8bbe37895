//! The operator on a control plane with exactly its permissions, and functions that read its results.

use anyhow::{Context, Result, ensure};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually};

use crate::{Controller, kube_devops, run, service_account};

/// A control plane with the custom resources.
#[derive(Debug)]
pub struct Setting {
    /// The control plane.
    pub plane: ControlPlane,
    system: Option<Namespace>,
}

impl Setting {
    /// Starts a control plane with all components.
    pub async fn start() -> Result<Self> {
        Self::new(ControlPlane::start().await?).await
    }

    /// Installs the custom resources on a control plane.
    pub async fn new(plane: ControlPlane) -> Result<Self> {
        run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(plane.kubeconfig().path())).exits(0);
        let system = Some(plane.namespace("operator").await?);
        Ok(Self { plane, system })
    }

    /// Returns the namespace of the operator.
    ///
    /// # Panics
    /// Never: it exists until this is dropped.
    pub fn namespace(&self) -> &Namespace {
        self.system.as_ref().expect("it exists until this is dropped")
    }

    /// Returns the name of the ServiceAccount of the operator.
    pub fn operator_account(&self) -> String {
        format!("{}-{}", self.namespace().name(), Component::Reconcile.as_str())
    }

    /// Starts an operator with a short lease duration and audit period.
    pub async fn operator(&self) -> Result<Controller> {
        self.operator_with(&[]).await
    }

    /// Like [`Setting::operator`], with more arguments.
    pub async fn operator_with(&self, arguments: &[&str]) -> Result<Controller> {
        self.default_operator(&[&["--lease-duration", "3", "--audit-period", "1"], arguments].concat()).await
    }

    /// Starts an operator with these arguments and otherwise default settings.
    pub async fn default_operator(&self, arguments: &[&str]) -> Result<Controller> {
        self.operator_as(&[Component::Reconcile, Component::Remediate], arguments).await
    }

    /// Starts an operator with the permissions of these components, these arguments and otherwise default settings.
    pub async fn operator_as(&self, components: &[Component], arguments: &[&str]) -> Result<Controller> {
        let account = service_account(&self.plane, self.namespace(), components).await?;
        let all = [&["reconcile", "--lease-namespace", self.namespace().name()], arguments].concat();
        Controller::start(&self.plane, account.path(), &all).await
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // It is removed together with the control plane.
        std::mem::forget(self.system.take());
    }
}

/// Returns a DevOpsPolicy.
pub fn policy(name: &str, spec: &Value) -> String {
    let object = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "metadata": { "name": name }, "spec": spec,
    });
    object.to_string()
}

/// Applies objects to a namespace.
pub async fn apply(namespace: &Namespace, text: &str) -> Result<()> {
    namespace.kubectl_with_input(["apply", "-f", "-"], text).await?;
    Ok(())
}

/// Returns an object.
pub async fn get(namespace: &Namespace, kind: &str, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&namespace.kubectl(["get", kind, name, "-o", "json"]).await?)?)
}

/// Lists the objects of a kind.
pub async fn list(namespace: &Namespace, kind: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&namespace.kubectl(["get", kind, "-o", "json"]).await?)?;
    list["items"].as_array().cloned().context("a list has items")
}

/// Waits until the status of a policy satisfies a condition and returns it. `what` names the condition in the error.
pub async fn expect_status(
    operator: &Controller,
    namespace: &Namespace,
    name: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    eventually(DEADLINE, format!("the status of {name} with {what}"), async || {
        let status = get(namespace, "devopspolicy", name).await?["status"].take();
        ensure!(holds(&status), "it is {status:#}");
        Ok(status)
    })
    .await
    .with_context(|| operator.log())
}

/// Waits until the condition Ready of a PolicyModule has a reason, and a message with a text. Returns the status.
pub async fn expect_module(
    operator: &Controller,
    namespace: &Namespace,
    name: &str,
    reason: &str,
    text: &str,
) -> Result<Value> {
    eventually(DEADLINE, format!("the module {name} to be {reason}"), async || {
        let object = get(namespace, "policymodule", name).await?;
        let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").context("no condition Ready")?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(ready["reason"] == reason && message.contains(text), "{:#}", object["status"]);
        ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{object:#}");
        Ok(object["status"].clone())
    })
    .await
    .with_context(|| operator.log())
}
