//! Starts a control plane to play with, and takes it down at Ctrl+C.

use anyhow::Result;
use test_cluster::ControlPlane;

#[tokio::main]
async fn main() -> Result<()> {
    let plane = ControlPlane::start().await?;
    plane.nodes(2).await?;
    println!("export KUBECONFIG={}", plane.kubeconfig().path().display());
    eprintln!("The API server is {}, the logs are in {}.", plane.server(), plane.folder().join("logs").display());
    eprintln!("Labels that make pods crash, stay pending or finish are in tests/cluster/src/pods.rs.");
    eprintln!("Ctrl+C takes it all down.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
