//! `deploy` and `observability`: the manifests of the platform, as rendered from the chart with its default values.

use anyhow::Result;
use kube_devops_cluster::crd;

use super::{Outcome, print};
use crate::arguments::{DeployArguments, DeployCommand, NamespaceArguments, ObservabilityCommand};

/// The chart, rendered with [`NAMESPACE`] and [`IMAGE`]. A test keeps the files current.
const DEPLOY: &str = include_str!("../../manifests/deploy.yaml");
const OBSERVABILITY: &str = include_str!("../../manifests/observability.yaml");
/// Stands for the namespace in the files.
const NAMESPACE: &str = "NAMESPACE-PLACEHOLDER";
/// Stands for the image in the files.
const IMAGE: &str = "IMAGE-PLACEHOLDER:v0";

const RBAC_KINDS: &[&str] = &["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// Runs `deploy`.
pub fn run(command: &DeployCommand) -> Result<Outcome> {
    match command {
        DeployCommand::GenerateAll(DeployArguments { target, image }) => {
            let mut documents = vec![namespace(&target.namespace)];
            for definition in crd::definitions() {
                documents.push(serde_norway::to_string(&definition)?);
            }
            documents.extend(rendered(DEPLOY, &target.namespace, image, |_| true));
            print_documents(&documents)
        }
        DeployCommand::GenerateRbac(NamespaceArguments { namespace }) => {
            print_documents(&rendered(DEPLOY, namespace, "", |kind| RBAC_KINDS.contains(&kind)))
        }
        DeployCommand::GenerateDeployments(DeployArguments { target, image }) => {
            print_documents(&rendered(DEPLOY, &target.namespace, image, |kind| kind == "Deployment"))
        }
    }
}

/// Runs `observability`.
pub fn observability(command: &ObservabilityCommand) -> Result<Outcome> {
    let (NamespaceArguments { namespace }, kind) = match command {
        ObservabilityCommand::GenerateAll(arguments) => (arguments, None),
        ObservabilityCommand::GenerateServiceMonitors(arguments) => (arguments, Some("ServiceMonitor")),
        ObservabilityCommand::GenerateAlerts(arguments) => (arguments, Some("PrometheusRule")),
        ObservabilityCommand::GenerateDashboard(arguments) => (arguments, Some("ConfigMap")),
    };
    print_documents(&rendered(OBSERVABILITY, namespace, "", |found| kind.is_none_or(|kind| kind == found)))
}

/// The Namespace, with the restricted Pod Security Standard, which the pods meet.
fn namespace(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    )
}

/// The documents of a file whose kind is selected.
fn rendered(file: &str, namespace: &str, image: &str, is_selected: impl Fn(&str) -> bool) -> Vec<String> {
    let kind =
        |document: &str| document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default().to_owned();
    let selected = file.split("---\n").filter(|document| is_selected(&kind(document)) && !document.trim().is_empty());
    selected.map(|document| document.replace(NAMESPACE, namespace).replace(IMAGE, image)).collect()
}

fn print_documents(documents: &[String]) -> Result<Outcome> {
    print(&documents.join("---\n"))
}
