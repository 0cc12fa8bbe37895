//! Separate control planes with component failures.

use std::time::Duration;

use anyhow::Result;
use test_cluster::{Component, ControlPlane, DEADLINE, eventually};

#[tokio::test]
async fn two_control_planes_are_isolated() -> Result<()> {
    let (one, other) = tokio::try_join!(ControlPlane::builder().start(), ControlPlane::builder().start())?;
    assert_ne!(one.server(), other.server());
    one.kubectl(["create", "configmap", "here"]).await?;
    other.kubectl(["get", "configmap", "here"]).await.expect_err("it exists in the other one only");
    drop(one);
    other.kubectl(["get", "--raw", "/readyz"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_killed_api_server_is_restarted_with_the_same_address_and_data() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    // Created before, to verify that address and certificates stay the same.
    let client = plane.client().await?;
    plane.kubectl(["create", "configmap", "kept"]).await?;

    plane.kill(Component::ApiServer).await?;
    assert_eq!(plane.process_id(Component::ApiServer), None);
    plane.kubectl(["get", "configmap", "kept"]).await.expect_err("no server responds");

    plane.restart(Component::ApiServer).await?;
    plane.kubectl(["get", "configmap", "kept"]).await?;
    client.apiserver_version().await?;
    Ok(())
}

#[tokio::test]
async fn etcd_keeps_its_data_across_a_restart() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    plane.kubectl(["create", "configmap", "kept"]).await?;
    plane.restart(Component::Etcd).await?;
    eventually(DEADLINE, "the data", || plane.kubectl(["get", "configmap", "kept"])).await?;
    Ok(())
}

#[tokio::test]
async fn components_can_be_stopped_and_restarted() -> Result<()> {
    let plane = ControlPlane::builder().controller_manager().start().await?;
    plane.stop(Component::ControllerManager).await?;
    assert_eq!(plane.process_id(Component::ControllerManager), None);
    plane.stop(Component::ControllerManager).await?;

    plane.restart(Component::ControllerManager).await?;
    // The controller manager creates its ServiceAccount.
    let _ = plane.namespace("restarted").await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_api_server_responds_after_it_is_resumed() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    let client = plane.client().await?;
    plane.pause(Component::ApiServer)?;
    // The length of the timeout does not matter: no response can arrive.
    let answer = tokio::time::timeout(Duration::from_millis(200), client.apiserver_version()).await;
    answer.expect_err("the API server is paused");
    plane.resume(Component::ApiServer)?;
    client.apiserver_version().await?;

    plane.pause(Component::ApiServer)?;
    plane.stop(Component::ApiServer).await?;
    assert_eq!(plane.process_id(Component::ApiServer), None);
    Ok(())
}

#[tokio::test]
async fn pods_can_be_created_without_a_controller_manager() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    let namespace = plane.namespace("alone").await?;
    namespace.kubectl(["run", "pod", "--image=registry.example/pod:1"]).await?;
    let error = plane.nodes(1).await.expect_err("there is no kwok").to_string();
    assert_eq!(error, "this control plane was started without kwok; add it with ControlPlane::builder()");
    Ok(())
}

#[tokio::test]
async fn a_failed_start_includes_the_log() {
    let builder = ControlPlane::builder().argument(Component::ApiServer, "--no-such-argument");
    let error = format!("{:?}", builder.start().await.expect_err("there is no such argument"));
    assert!(error.contains("kube-apiserver does not run (exit status: 1)"), "{error}");
    assert!(error.contains("unknown flag: --no-such-argument"), "{error}");
    assert!(error.contains("kube-apiserver.log"), "{error}");
}
