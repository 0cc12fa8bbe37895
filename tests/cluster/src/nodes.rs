//! The nodes simulated by kwok.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{DEADLINE, eventually, process::Process};

/// Creates `node-1` to `node-<count>` if missing. Several tests may call it at the same time.
pub(crate) async fn create(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for name in names(count) {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" },
            },
        });
        nodes
            .patch(&name, &PatchParams::apply("test-cluster").force(), &Patch::Apply(&node))
            .await
            .with_context(|| format!("failed to create the node {name}"))?;
    }
    Ok(())
}

/// Creates the nodes and waits until they are ready and schedulable.
pub(crate) async fn ensure(client: &Client, count: usize, kwok: &Process) -> Result<()> {
    create(client, count).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    for name in names(count) {
        eventually(DEADLINE, format!("the node {name} to be ready"), || async {
            let node = nodes.get(&name).await?;
            ensure_ready(&node)?;
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            ensure!(taints.is_empty(), "it is tainted: {taints:?}");
            Ok(())
        })
        .await
        .with_context(|| format!("{} does not simulate the node{}", kwok.name, kwok.log_for_error()))?;
    }
    Ok(())
}

/// Returns an error with the conditions of a node that is not ready.
pub(crate) fn ensure_ready(node: &Node) -> Result<()> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ensure!(ready, "its conditions are {conditions:?}");
    Ok(())
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("node-{number}"))
}
