//! `watch`: live scores of a cluster and its namespaces.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_pod, documents, good_pod, labelled, pod};
use end_to_end::{Controller, kube_devops, run, service_account};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually, pods};

async fn start(plane: &ControlPlane, system: &Namespace) -> Result<Controller> {
    let account = service_account(plane, system, &[Component::Watch]).await?;
    let arguments = ["watch", "--lease-duration", "3", "--lease-namespace", system.name()];
    Controller::start(plane, account.path(), &arguments).await
}

fn analyze(plane: &ControlPlane) -> Value {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--kubeconfig"]);
    run(command.arg(plane.kubeconfig().path())).exits(0).json()
}

/// Waits until the scores match those of `analyze`.
async fn expect_scores_of_analyze(controller: &Controller, plane: &ControlPlane) -> Result<Value> {
    eventually(DEADLINE, "the scores of analyze", async || {
        let report = analyze(plane);
        let cluster = controller.metric("cluster_health_score")?;
        ensure!(cluster == report["score"].as_f64(), "the cluster has {cluster:?} instead of {}", report["score"]);
        for namespace in report["namespaces"].as_array().unwrap() {
            let name = namespace["name"].as_str().unwrap();
            let score = controller.metric(&format!("namespace_health_score{{namespace=\"{name}\"}}"))?;
            ensure!(score == namespace["score"].as_f64(), "{name} has {score:?} instead of {}", namespace["score"]);
        }
        let text = controller.get("/metrics")?.1;
        let series = text.lines().filter(|line| line.starts_with("namespace_health_score{")).count();
        ensure!(series == report["namespaces"].as_array().unwrap().len(), "{series} namespaces");
        Ok(report)
    })
    .await
    .with_context(|| controller.log())
}

#[tokio::test]
async fn scores_are_updated_with_the_pods_and_match_those_of_analyze() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let system = plane.namespace("controllers").await?;
    let controller = start(&plane, &system).await?;
    let (one, two) = (plane.namespace("one").await?, plane.namespace("two").await?);
    let crashing = labelled(good_pod("crashing"), json!({ pods::LABEL: pods::CRASH_LOOPING }));
    let large =
        pod("large", (0..12).map(|index| json!({ "name": format!("c{index}"), "image": "x" })).collect::<Vec<_>>());
    one.kubectl_with_input(["apply", "-f", "-"], &documents(&[good_pod("good"), crashing])).await?;
    two.kubectl_with_input(["apply", "-f", "-"], &documents(&[bad_pod("bad"), large])).await?;
    eventually(DEADLINE, "five restarts, the maximum that counts", async || {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let restarts: u32 = one.kubectl(["get", "pod", "crashing", "-o", path]).await?.parse()?;
        ensure!(restarts >= 5, "there are {restarts}");
        Ok(())
    })
    .await?;
    let report = expect_scores_of_analyze(&controller, &plane).await?;
    assert_eq!(report["subjects"], 4);
    assert_eq!(controller.metric("pods_tracked_total")?, Some(4.0));
    assert!(controller.metric("pod_events_total")?.unwrap() >= 4.0);

    two.kubectl(["delete", "pod", "large", "--wait=false"]).await?;
    let report = expect_scores_of_analyze(&controller, &plane).await?;
    assert_eq!(report["subjects"], 3);
    two.kubectl(["delete", "pod", "bad", "--wait=false"]).await?;
    expect_scores_of_analyze(&controller, &plane).await?;
    assert!(!controller.lines("namespace has no pods").is_empty(), "{}", controller.log());
    Ok(())
}

#[tokio::test]
async fn a_follower_answers_probes_and_acquires_the_lease_after_the_leader() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let system = plane.namespace("controllers").await?;
    let namespace = plane.namespace("pods").await?;
    namespace.kubectl_with_input(["apply", "-f", "-"], &bad_pod("bad").to_string()).await?;
    let mut first = start(&plane, &system).await?;
    expect_scores_of_analyze(&first, &plane).await?;
    let mut second = start(&plane, &system).await?;
    eventually(DEADLINE, "the follower to be ready", async || {
        ensure!(second.get("/readyz")?.0 == 200);
        Ok(())
    })
    .await?;
    assert_eq!((second.get("/healthz")?.0, second.get("/nothing")?.0), (200, 404));
    assert_eq!(second.metric("cluster_health_score")?, None, "a follower exports no scores");
    first.stop().await?;
    expect_scores_of_analyze(&second, &plane).await?;
    // A suspended leader steps down when it resumes.
    let third = start(&plane, &system).await?;
    second.pause()?;
    expect_scores_of_analyze(&third, &plane).await?;
    second.resume()?;
    eventually(DEADLINE, "the former leader to step down", async || {
        ensure!(second.metric("cluster_health_score")?.is_none());
        Ok(())
    })
    .await?;
    expect_scores_of_analyze(&third, &plane).await?;
    second.stop().await
}

#[tokio::test]
async fn a_controller_is_not_ready_before_it_has_listed_the_pods() -> Result<()> {
    let plane = ControlPlane::builder().controller_manager().start().await?;
    let system = plane.namespace("controllers").await?;
    // A user without permissions cannot list them.
    let unprivileged = plane.kubeconfig_for_user("unprivileged", &[])?;
    let arguments = ["watch", "--lease-namespace", system.name()];
    let controller = Controller::start(&plane, unprivileged.path(), &arguments).await?;
    eventually(DEADLINE, "log lines about the missing permissions", async || {
        let log = controller.log();
        ensure!(log.contains("pods is forbidden") && log.contains("failed to renew the lease"), "{log}");
        Ok(())
    })
    .await?;
    assert_eq!((controller.get("/healthz")?.0, controller.get("/readyz")?.0), (200, 503));
    assert!(!controller.log().contains("kube_runtime"), "it is logged twice: {}", controller.log());
    Ok(())
}
