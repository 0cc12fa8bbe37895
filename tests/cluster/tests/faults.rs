//! Control planes of one's own, whose parts can be broken.

use std::time::Duration;

use anyhow::Result;
use test_cluster::{Component, ControlPlane, DEADLINE, eventually};

#[tokio::test]
async fn two_control_planes_know_nothing_of_each_other() -> Result<()> {
    let (one, other) = tokio::try_join!(ControlPlane::builder().start(), ControlPlane::builder().start())?;
    assert_ne!(one.server(), other.server());
    one.kubectl(["create", "configmap", "here"]).await?;
    other.kubectl(["get", "configmap", "here"]).await.expect_err("it is in the other one");
    drop(one);
    other.kubectl(["get", "--raw", "/readyz"]).await?;
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_was_killed_comes_back_as_it_was() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    // Made before, to see that address and certificates stay.
    let client = plane.client().await?;
    plane.kubectl(["create", "configmap", "kept"]).await?;

    plane.kill(Component::ApiServer).await?;
    assert_eq!(plane.process_id(Component::ApiServer), None);
    plane.kubectl(["get", "configmap", "kept"]).await.expect_err("nobody answers");

    plane.restart(Component::ApiServer).await?;
    plane.kubectl(["get", "configmap", "kept"]).await?;
    client.apiserver_version().await?;
    Ok(())
}

#[tokio::test]
async fn etcd_keeps_its_data_when_it_is_restarted() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    plane.kubectl(["create", "configmap", "kept"]).await?;
    plane.restart(Component::Etcd).await?;
    eventually(DEADLINE, "the data", || plane.kubectl(["get", "configmap", "kept"])).await?;
    Ok(())
}

#[tokio::test]
async fn components_can_be_stopped_and_started_again() -> Result<()> {
    let plane = ControlPlane::builder().controller_manager().start().await?;
    plane.stop(Component::ControllerManager).await?;
    assert_eq!(plane.process_id(Component::ControllerManager), None);
    plane.stop(Component::ControllerManager).await?;

    plane.restart(Component::ControllerManager).await?;
    // It gets its ServiceAccount from the controller manager.
    let _ = plane.namespace("restarted").await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_api_server_answers_when_it_is_resumed() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    let client = plane.client().await?;
    plane.pause(Component::ApiServer)?;
    // How long it is does not matter: no answer can come.
    let answer = tokio::time::timeout(Duration::from_millis(200), client.apiserver_version()).await;
    answer.expect_err("nobody is there to answer");
    plane.resume(Component::ApiServer)?;
    client.apiserver_version().await?;

    plane.pause(Component::ApiServer)?;
    plane.stop(Component::ApiServer).await?;
    assert_eq!(plane.process_id(Component::ApiServer), None);
    Ok(())
}

#[tokio::test]
async fn without_a_controller_manager_pods_can_be_created_all_the_same() -> Result<()> {
    let plane = ControlPlane::builder().start().await?;
    let namespace = plane.namespace("alone").await?;
    namespace.kubectl(["run", "pod", "--image=registry.example/pod:1"]).await?;
    let error = plane.nodes(1).await.expect_err("nobody plays them").to_string();
    assert_eq!(error, "this control plane was started without kwok; add it with ControlPlane::builder()");
    Ok(())
}

#[tokio::test]
async fn a_start_that_fails_shows_the_log() {
    let builder = ControlPlane::builder().argument(Component::ApiServer, "--no-such-argument");
    let error = format!("{:?}", builder.start().await.expect_err("there is no such argument"));
    assert!(error.contains("kube-apiserver does not run (exit status: 1)"), "{error}");
    assert!(error.contains("unknown flag: --no-such-argument"), "{error}");
    assert!(error.contains("kube-apiserver.log"), "{error}");
}
