//! A namespace for one test.

use std::{ffi::OsStr, thread, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace as Object, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    core::DynamicObject,
};
use serde_json::json;

use crate::{DEADLINE, Kubeconfig, eventually, process::Process};

/// A namespace for one test; see [`ControlPlane::namespace`](crate::ControlPlane::namespace).
///
/// Keep it for as long as the test needs its objects: dropping it deletes the namespace in the background, so that leftover
/// objects do not slow down other tests.
#[derive(Debug)]
#[must_use = "dropping it deletes the namespace"]
pub struct Namespace {
    name: String,
    kubeconfig: Kubeconfig,
}

impl Namespace {
    pub(crate) async fn create(
        administrator: &Kubeconfig,
        name: &str,
        controller_manager: Option<&Process>,
    ) -> Result<Self> {
        let client = administrator.client().await?;
        let object: Object = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let namespaces: Api<Object> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("failed to create the namespace {name}"))?;
        let namespace = Self { name: name.to_string(), kubeconfig: administrator.with_namespace(name)? };
        if let Some(controller_manager) = controller_manager {
            // The API server rejects pods until the controller manager has created it.
            let accounts: Api<ServiceAccount> = Api::namespaced(client, name);
            let what = format!("the ServiceAccount default of the namespace {name}");
            eventually(DEADLINE, what, || async { Ok(accounts.get("default").await?) }).await.with_context(|| {
                format!("{} did not create it{}", controller_manager.name, controller_manager.log_for_error())
            })?;
        }
        Ok(namespace)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a kubeconfig of the administrator with this default namespace.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.kubeconfig
    }

    /// Creates a client with this default namespace; see [`Kubeconfig::client`].
    pub async fn client(&self) -> Result<Client> {
        self.kubeconfig.client().await
    }

    /// Runs kubectl in this namespace; see [`Kubeconfig::kubectl`].
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.kubeconfig.kubectl(arguments).await
    }

    /// Runs kubectl in this namespace with `input` on its standard input; see [`Kubeconfig::kubectl_with_input`].
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        self.kubeconfig.kubectl_with_input(arguments, input).await
    }

    /// Applies YAML text in this namespace; see [`Kubeconfig::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.kubeconfig.apply(yaml).await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kubeconfig = self.kubeconfig.clone();
        let name = self.name.clone();
        // The runtime of the test is about to end, so this needs its own. No caller waits for the cleanup; if it fails, the
        // namespace is removed together with the control plane.
        thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let deletion = async {
                let namespaces: Api<Object> = Api::all(kubeconfig.client().await?);
                namespaces.delete(&name, &DeleteParams::default()).await?;
                anyhow::Ok(())
            };
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), deletion).await });
        });
    }
}
