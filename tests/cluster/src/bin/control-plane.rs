//! Starts a control plane to play with, and takes it down at Ctrl+C.

use anyhow::Result;
use test_cluster::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let plane = ControlPlane::start().await?;
    plane.nodes(2).await?;
    // Before the line below, or whoever reads it and presses Ctrl+C at once would kill this instead of ending it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("export KUBECONFIG={}", plane.kubeconfig().path().display());
    eprintln!("The API server is {}, the logs are in {}.", plane.server(), plane.folder().join("logs").display());
    eprintln!("Labels that make pods crash, stay pending or finish are in tests/cluster/src/pods.rs.");
    eprintln!("Ctrl+C takes it all down.");
    interrupt.recv().await;
    Ok(())
}
