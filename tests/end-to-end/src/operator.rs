//! The operator on a control plane, with the permissions that it is to have, and how its work is looked at.

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
    /// With everything.
    pub async fn start() -> Result<Self> {
        Self::new(ControlPlane::start().await?).await
    }

    /// With a control plane of one's own.
    pub async fn new(plane: ControlPlane) -> Result<Self> {
        run(kube_devops().args(["crd", "install", "--kubeconfig"]).arg(plane.kubeconfig().path())).exits(0);
        let system = Some(plane.namespace("operator").await?);
        Ok(Self { plane, system })
    }

    /// The namespace of the operator.
    ///
    /// # Panics
    /// Never: it is there for as long as this is.
    pub fn namespace(&self) -> &Namespace {
        self.system.as_ref().expect("it is there until this is dropped")
    }

    /// Starts an operator, which is quicker than usual with its lease and its audit results.
    pub async fn operator(&self) -> Result<Controller> {
        self.operator_with(&[]).await
    }

    /// The same with more arguments.
    pub async fn operator_with(&self, arguments: &[&str]) -> Result<Controller> {
        self.usual_operator(&[&["--lease-duration", "3", "--audit-period", "1"], arguments].concat()).await
    }

    /// Starts an operator with these arguments, and otherwise as a person would.
    pub async fn usual_operator(&self, arguments: &[&str]) -> Result<Controller> {
        let account = service_account(&self.plane, self.namespace(), Component::Reconcile).await?;
        let all = [&["reconcile", "--lease-namespace", self.namespace().name()], arguments].concat();
        Controller::start(&self.plane, account.path(), &all).await
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // The control plane goes as a whole.
        std::mem::forget(self.system.take());
    }
}

/// A DevOpsPolicy.
pub fn policy(name: &str, spec: &Value) -> String {
    let object = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "metadata": { "name": name }, "spec": spec,
    });
    object.to_string()
}

/// Applies objects in a namespace.
pub async fn apply(namespace: &Namespace, text: &str) -> Result<()> {
    namespace.kubectl_with_input(["apply", "-f", "-"], text).await?;
    Ok(())
}

/// An object.
pub async fn get(namespace: &Namespace, kind: &str, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&namespace.kubectl(["get", kind, name, "-o", "json"]).await?)?)
}

/// All objects of a kind.
pub async fn list(namespace: &Namespace, kind: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&namespace.kubectl(["get", kind, "-o", "json"]).await?)?;
    list["items"].as_array().cloned().context("a list has items")
}

/// Waits until the status of a policy is as it should be.
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
