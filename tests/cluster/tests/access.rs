//! The handles of a control plane: namespaces, kubeconfigs, clients, kubectl.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{Api, ResourceExt, api::ListParams};
use test_cluster::{Component, ControlPlane, DEADLINE, eventually};

#[tokio::test]
async fn kubectl_and_client_see_the_same_cluster() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("access").await?;
    namespace.kubectl(["create", "configmap", "colours", "--from-literal=sky=blue"]).await?;

    let maps: Api<ConfigMap> = Api::default_namespaced(namespace.client().await?);
    let data = maps.get("colours").await?.data.context("it has data")?;
    assert_eq!(data["sky"], "blue");
    Ok(())
}

#[tokio::test]
async fn a_kubectl_failure_contains_the_output_of_kubectl() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let error = plane.kubectl(["get", "configmap/missing"]).await.expect_err("it does not exist").to_string();
    assert!(error.contains("\"missing\" not found"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_reports_its_upstream_version() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let version = plane.client().await?.apiserver_version().await?;
    assert!(version.git_version.starts_with("v1."), "{version:?}");
    assert_eq!(version.git_version, format!("v{}.{}", version.major, version.minor) + patch(&version.git_version));
    Ok(())
}

fn patch(version: &str) -> &str {
    &version[version.rfind('.').unwrap_or_default()..]
}

#[tokio::test]
async fn namespaces_have_unique_names_and_are_deleted_when_dropped() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (one, other) = tokio::try_join!(plane.namespace("same"), plane.namespace("same"))?;
    assert_ne!(one.name(), other.name());

    let name = one.name().to_string();
    drop(one);
    let namespaces: Api<Namespace> = Api::all(plane.client().await?);
    eventually(DEADLINE, "the deletion of the namespace", || async {
        ensure!(namespaces.get_opt(&name).await?.is_none(), "it still exists");
        Ok(())
    })
    .await?;
    namespaces.get(other.name()).await?;
    Ok(())
}

#[tokio::test]
async fn a_service_account_has_the_permissions_of_its_roles() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("account").await?;
    namespace.kubectl(["create", "serviceaccount", "reader"]).await?;

    let kubeconfig = plane.kubeconfig_for_service_account(namespace.name(), "reader").await?;
    let client = kubeconfig.client().await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let error = pods.list(&ListParams::default()).await.expect_err("it has no permissions yet").to_string();
    let who = format!("system:serviceaccount:{}:reader", namespace.name());
    assert!(error.contains("forbidden") && error.contains(&who), "{error}");

    namespace.apply(include_str!("manifests/reader.yaml")).await?;
    // The API server observes new roles with a delay.
    eventually(DEADLINE, "the role", || async { Ok(pods.list(&ListParams::default()).await?) }).await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let error = maps.list(&ListParams::default()).await.expect_err("the role does not grant it").to_string();
    assert!(error.contains("forbidden") && error.contains(&who), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_user_has_the_permissions_of_their_group() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("user").await?;
    let jane = plane.kubeconfig_for_user("jane", &[])?.with_namespace(namespace.name())?;
    assert_eq!(jane.kubectl(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await?, "jane");
    let error = jane.kubectl(["get", "pods"]).await.expect_err("she has no permissions").to_string();
    assert!(error.contains("User \"jane\" cannot list resource \"pods\""), "{error}");

    let group = format!("{}-viewers", namespace.name());
    namespace.kubectl(["create", "rolebinding", "viewers", "--clusterrole=view", "--group", &group]).await?;
    let viewer = plane.kubeconfig_for_user("jane", &[&group])?.with_namespace(namespace.name())?;
    eventually(DEADLINE, "the role of the group", || viewer.kubectl(["get", "pods"])).await?;
    Ok(())
}

#[tokio::test]
async fn a_user_can_have_many_groups() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("groups").await?;
    let second = format!("{}-second", namespace.name());
    namespace.kubectl(["create", "rolebinding", "viewers", "--clusterrole=view", "--group", &second]).await?;
    let john = plane.kubeconfig_for_user("john", &["first", &second])?.with_namespace(namespace.name())?;
    let who = john.kubectl(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"]);
    assert_eq!(who.await?, format!("john [\"first\",\"{second}\",\"system:authenticated\"]"));
    eventually(DEADLINE, "the role of the second group", || john.kubectl(["get", "pods"])).await?;
    john.kubectl(["get", "secrets"]).await.expect_err("viewers may not read Secrets, and john is not an administrator");
    let pods: Api<Pod> = Api::default_namespaced(john.client().await?);
    pods.list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn kubectl_reads_its_standard_input() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("input").await?;
    // More than fits into a pipe at once.
    let text = "x".repeat(200_000);
    let yaml = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: long }}\ndata: {{ text: {text} }}\n");
    namespace.kubectl_with_input(["create", "-f", "-"], &yaml).await?;
    assert_eq!(namespace.kubectl(["get", "configmap/long", "-o", "jsonpath={.data.text}"]).await?, text);
    namespace.kubectl_with_input(["no-such-command"], &yaml).await.expect_err("there is no such command");
    Ok(())
}

#[tokio::test]
async fn contexts_can_be_named_and_merged() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let production = plane.kubeconfig().with_context("production")?;
    let staging = plane.kubeconfig_for_user("jane", &[])?.with_context("staging")?;
    let path = production.merged_with(&staging)?;
    let config = |arguments: &[&str]| {
        let mut command = production.kubectl_command();
        command.arg("--kubeconfig").arg(&path).args(arguments);
        async move { anyhow::Ok(String::from_utf8(command.output().await?.stdout)?) }
    };
    assert_eq!(config(&["config", "get-contexts", "-o", "name"]).await?, "production\nstaging\n");
    assert_eq!(config(&["config", "current-context"]).await?, "production\n");
    let who = ["--context=staging", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    assert_eq!(config(&who).await?, "jane");

    plane.kubeconfig().merged_with(plane.kubeconfig()).expect_err("both have the same name");
    Ok(())
}

#[tokio::test]
async fn apply_accepts_several_documents_and_new_kinds() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("apply").await?;
    let yaml = include_str!("manifests/colours.yaml");
    let objects = namespace.apply(yaml).await?;
    let names: Vec<String> = objects.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["colours.test.kube-devops", "blue"]);
    assert_eq!(objects[1].namespace().as_deref(), Some(namespace.name()));
    // Applying twice changes nothing.
    let again = namespace.apply(yaml).await?;
    assert_eq!(again[1].resource_version(), objects[1].resource_version());

    let error = namespace.apply("kind: ConfigMap\napiVersion: v1\n").await.expect_err("it has no name");
    assert_eq!(format!("{error:#}"), "document 1 of the YAML text: the object has no name");
    Ok(())
}

#[tokio::test]
async fn every_component_runs_and_writes_a_log() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    for component in Component::ALL {
        plane.process_id(component).with_context(|| format!("{component} does not run"))?;
        eventually(DEADLINE, "a log line", || async {
            ensure!(plane.log(component)?.lines().count() > 1, "{component} logs nothing");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
