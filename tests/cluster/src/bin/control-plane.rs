//! Starts a control plane for manual use and stops it on Ctrl+C.

use anyhow::Result;
use test_cluster::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let plane = ControlPlane::start().await?;
    plane.nodes(2).await?;
    // Before the line below: a user who presses Ctrl+C right after reading it would otherwise kill this process without a
    // clean shutdown.
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("export KUBECONFIG={}", plane.kubeconfig().path().display());
    eprintln!("The API server is {}, the logs are in {}.", plane.server(), plane.folder().join("logs").display());
    eprintln!("tests/cluster/src/pods.rs lists the labels that make pods crash, stay pending or finish.");
    eprintln!("Press Ctrl+C to stop the control plane.");
    interrupt.recv().await;
    Ok(())
}
