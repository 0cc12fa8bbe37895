//! The behaviour of pods on nodes simulated by kwok.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ContainerStatus, Node, Pod, PodStatus},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use test_cluster::{ControlPlane, DEADLINE, Namespace, eventually, pods};

/// Creates a pod with two containers, an init container and a sidecar.
async fn run_pod(
    namespace: &Namespace,
    name: &str,
    behaviour: Option<&str>,
    annotations: &[(&str, &str)],
) -> Result<Api<Pod>> {
    let map = |entries: &[(&str, &str)]| -> String {
        entries.iter().map(|(key, value)| format!("    {key}: {value:?}\n")).collect()
    };
    let labels = map(behaviour.map(|value| (pods::LABEL, value)).as_slice());
    let annotations = map(annotations);
    let yaml = format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels:
    app: {name}
{labels}  annotations:
    test: pods
{annotations}spec:
  initContainers:
  - {{ name: first, image: 'registry.example/first:1' }}
  - {{ name: sidecar, image: 'registry.example/sidecar:1', restartPolicy: Always }}
  containers:
  - {{ name: one, image: 'registry.example/one:1' }}
  - {{ name: two, image: 'registry.example/two:1' }}
"
    );
    namespace.apply(&yaml).await?;
    Ok(Api::default_namespaced(namespace.client().await?))
}

async fn wait_for_status(api: &Api<Pod>, name: &str, holds: impl Fn(&PodStatus) -> bool) -> Result<PodStatus> {
    eventually(DEADLINE, format!("the status of the pod {name}"), || async {
        let status = api.get(name).await?.status.context("it has no status")?;
        ensure!(holds(&status), "the status is {status:?}");
        Ok(status)
    })
    .await
}

fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap_or_default()
}

fn containers(status: &PodStatus) -> &[ContainerStatus] {
    status.container_statuses.as_deref().unwrap_or_default()
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn waiting_reason(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[tokio::test]
async fn nodes_become_ready_and_more_can_be_added() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    plane.nodes(3).await?;
    plane.nodes(2).await?;
    let nodes: Api<Node> = Api::all(plane.client().await?);
    assert!(nodes.list(&ListParams::default()).await?.items.len() >= 3);
    Ok(())
}

#[tokio::test]
async fn a_pod_becomes_ready() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("ready").await?;
    let api = run_pod(&namespace, "pod", None, &[]).await?;
    let status = wait_for_status(&api, "pod", is_ready).await?;
    assert_eq!(phase(&status), "Running");
    assert!(status.pod_ip.is_some(), "{status:?}");
    assert_eq!(containers(&status).len(), 2);
    assert!(containers(&status).iter().all(|container| container.ready && container.restart_count == 0));
    let init = status.init_container_statuses.context("there are init containers")?;
    assert_eq!(init.len(), 2);
    Ok(())
}

#[tokio::test]
async fn the_restart_count_can_be_set() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("restarts").await?;
    for (name, annotations, expected) in [("once", &[][..], 1), ("often", &[(pods::RESTARTS, "7")][..], 7)] {
        let api = run_pod(&namespace, name, Some(pods::RESTARTED), annotations).await?;
        let status = wait_for_status(&api, name, is_ready).await?;
        assert_eq!(phase(&status), "Running");
        assert_eq!(containers(&status).len(), 2);
        assert!(containers(&status).iter().all(|container| container.restart_count == expected), "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_restart_count_of_a_crash_loop_keeps_growing() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("crash-loop").await?;
    let api = run_pod(&namespace, "pod", Some(pods::CRASH_LOOPING), &[]).await?;
    for more_than in [3, 4] {
        let status = wait_for_status(&api, "pod", |status| {
            let crashed = |container: &ContainerStatus| {
                container.restart_count > more_than && waiting_reason(container) == Some("CrashLoopBackOff")
            };
            !containers(status).is_empty() && containers(status).iter().all(crashed)
        })
        .await?;
        assert_eq!(phase(&status), "Running");
        assert!(!is_ready(&status), "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stuck_pod_stays_pending_with_its_reason() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("pending").await?;
    let given = &[(pods::REASON, "ContainerCreating")][..];
    for (name, annotations, reason) in [("usual", &[][..], "ImagePullBackOff"), ("given", given, "ContainerCreating")] {
        let api = run_pod(&namespace, name, Some(pods::STUCK), annotations).await?;
        let status = wait_for_status(&api, name, |status| !containers(status).is_empty()).await?;
        assert_eq!(phase(&status), "Pending");
        assert!(containers(&status).iter().all(|container| waiting_reason(container) == Some(reason)), "{status:?}");
        assert!(api.get(name).await?.spec.context("it has a spec")?.node_name.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_without_a_matching_node_is_unschedulable() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("unschedulable").await?;
    let overrides = r#"--overrides={"spec":{"nodeSelector":{"no":"where"}}}"#;
    namespace.kubectl(["run", "pod", "--image=registry.example/pod:1", overrides]).await?;
    let api = Api::default_namespaced(namespace.client().await?);
    let status = wait_for_status(&api, "pod", |status| {
        status.conditions.iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    })
    .await?;
    assert_eq!(phase(&status), "Pending");
    Ok(())
}

#[tokio::test]
async fn pods_can_succeed_and_fail() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("finished").await?;
    for (name, expected) in [(pods::COMPLETING, "Succeeded"), (pods::FAILING, "Failed")] {
        let api = run_pod(&namespace, name, Some(name), &[]).await?;
        wait_for_status(&api, name, |status| phase(status) == expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn pods_of_every_behaviour_can_be_deleted() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("deleted").await?;
    for behaviour in [pods::CRASH_LOOPING, pods::RESTARTED, pods::STUCK, pods::COMPLETING, pods::FAILING] {
        let api = run_pod(&namespace, behaviour, Some(behaviour), &[]).await?;
        wait_for_status(&api, behaviour, |status| !containers(status).is_empty()).await?;
        api.delete(behaviour, &DeleteParams::default()).await?;
        eventually(DEADLINE, format!("the deletion of the pod {behaviour}"), || async {
            ensure!(api.get_opt(behaviour).await?.is_none(), "it still exists");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn jobs_complete() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("job").await?;
    namespace.kubectl(["create", "job", "job", "--image=registry.example/job:1"]).await?;
    let jobs: Api<Job> = Api::default_namespaced(namespace.client().await?);
    eventually(DEADLINE, "the Job to succeed", || async {
        let status = jobs.get("job").await?.status.context("it has no status")?;
        ensure!(status.succeeded == Some(1), "the status is {status:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deployment_is_rolled_out_and_deleted() -> Result<()> {
    let namespace = ControlPlane::shared().await?.namespace("deployment").await?;
    namespace.apply(include_str!("manifests/deployment.yaml")).await?;
    let client = namespace.client().await?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    eventually(DEADLINE, "both replicas", || async {
        let status = deployments.get("web").await?.status.context("it has no status")?;
        ensure!(status.available_replicas == Some(2), "the status is {status:?}");
        Ok(())
    })
    .await?;

    deployments.delete("web", &DeleteParams::background()).await?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    eventually(DEADLINE, "the deletion of the pods", || async {
        let left = pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} pods are left");
        Ok(())
    })
    .await
}
