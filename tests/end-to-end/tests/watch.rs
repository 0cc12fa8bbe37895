//! `watch`: the scores of a cluster and its namespaces, live.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Context, Result, ensure};
use end_to_end::objects::{bad_pod, documents, good_pod, labelled, pod};
use end_to_end::{Controller, kube_devops, run, service_account};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually, pods};

async fn start(plane: &ControlPlane, system: &Namespace) -> Result<Controller> {
    let account = service_account(plane, system, Component::Watch).await?;
    let arguments = ["watch", "--lease-duration", "3", "--lease-namespace", system.name()];
    Controller::start(plane, account.path(), &arguments).await
}

fn analyze(plane: &ControlPlane) -> Value {
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--kubeconfig"]);
    run(command.arg(plane.kubeconfig().path())).exits(0).json()
}

/// Waits until the scores are those that `analyze` gives.
async fn expect_what_analyze_says(controller: &Controller, plane: &ControlPlane) -> Result<Value> {
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
async fn scores_follow_the_pods_and_are_those_of_analyze() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let system = plane.namespace("controllers").await?;
    let controller = start(&plane, &system).await?;
    let (one, two) = (plane.namespace("one").await?, plane.namespace("two").await?);
    let crashing = labelled(good_pod("crashing"), json!({ pods::LABEL: pods::CRASH_LOOPING }));
    let terrible =
        pod("terrible", (0..12).map(|index| json!({ "name": format!("c{index}"), "image": "x" })).collect::<Vec<_>>());
    one.kubectl_with_input(["apply", "-f", "-"], &documents(&[good_pod("good"), crashing])).await?;
    two.kubectl_with_input(["apply", "-f", "-"], &documents(&[bad_pod("bad"), terrible])).await?;
    eventually(DEADLINE, "five restarts, beyond which nothing changes", async || {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let restarts: u32 = one.kubectl(["get", "pod", "crashing", "-o", path]).await?.parse()?;
        ensure!(restarts >= 5, "there are {restarts}");
        Ok(())
    })
    .await?;
    let report = expect_what_analyze_says(&controller, &plane).await?;
    assert_eq!(report["subjects"], 4);
    assert_eq!(controller.metric("pods_tracked_total")?, Some(4.0));
    assert!(controller.metric("pod_events_total")?.unwrap() >= 4.0);

    two.kubectl(["delete", "pod", "terrible", "--wait=false"]).await?;
    let report = expect_what_analyze_says(&controller, &plane).await?;
    assert_eq!(report["subjects"], 3);
    two.kubectl(["delete", "pod", "bad", "--wait=false"]).await?;
    expect_what_analyze_says(&controller, &plane).await?;
    assert!(!controller.lines("namespace without pods").is_empty(), "{}", controller.log());
    Ok(())
}

#[tokio::test]
async fn one_replica_leads_and_the_other_answers_probes_and_takes_over() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let system = plane.namespace("controllers").await?;
    let namespace = plane.namespace("pods").await?;
    namespace.kubectl_with_input(["apply", "-f", "-"], &bad_pod("bad").to_string()).await?;
    let mut first = start(&plane, &system).await?;
    expect_what_analyze_says(&first, &plane).await?;
    let mut second = start(&plane, &system).await?;
    eventually(DEADLINE, "the follower to be ready", async || {
        ensure!(second.get("/readyz")?.0 == 200);
        Ok(())
    })
    .await?;
    assert_eq!((second.get("/healthz")?.0, second.get("/nothing")?.0), (200, 404));
    assert_eq!(second.metric("cluster_health_score")?, None, "a follower shows no scores");
    first.stop().await?;
    expect_what_analyze_says(&second, &plane).await?;
    // What is stopped in its tracks does not lead any more when it goes on.
    let third = start(&plane, &system).await?;
    second.pause()?;
    expect_what_analyze_says(&third, &plane).await?;
    second.resume()?;
    eventually(DEADLINE, "the former leader to notice", async || {
        ensure!(second.metric("cluster_health_score")?.is_none());
        Ok(())
    })
    .await?;
    expect_what_analyze_says(&third, &plane).await?;
    second.stop().await
}

#[tokio::test]
async fn it_is_not_ready_before_it_has_seen_the_pods() -> Result<()> {
    let plane = ControlPlane::builder().controller_manager().start().await?;
    let system = plane.namespace("controllers").await?;
    // Somebody who may do nothing never sees them.
    let nobody = plane.kubeconfig_for_user("nobody", &[])?;
    let arguments = ["watch", "--lease-namespace", system.name()];
    let controller = Controller::start(&plane, nobody.path(), &arguments).await?;
    eventually(DEADLINE, "a word about what is missing", async || {
        let log = controller.log();
        ensure!(log.contains("pods is forbidden") && log.contains("the lease cannot be renewed"), "{log}");
        Ok(())
    })
    .await?;
    assert_eq!((controller.get("/healthz")?.0, controller.get("/readyz")?.0), (200, 503));
    Ok(())
}
