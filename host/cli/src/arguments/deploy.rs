//! Arguments of the commands that print manifests of the platform.

use clap::{Args, Subcommand};

use super::names::namespace;

/// The image of the version of this program.
const IMAGE: &str = concat!("ghcr.io/stochasticquant/kube-devops:v", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the variants are named after the commands")]
pub enum DeployCommand {
    /// Print everything that an installation consists of: Namespace, custom resource definitions, RBAC, Services,
    /// Deployments, PodDisruptionBudgets and webhook configurations
    #[command(after_help = "\
Examples:
  kube-devops deploy generate-all | kubectl apply --server-side --force-conflicts -f -
  kube-devops deploy generate-all --namespace platform --image registry.example.com/kube-devops:v1 > install.yaml")]
    GenerateAll(DeployArguments),
    /// Print the ServiceAccounts, roles and bindings
    #[command(after_help = "Example:\n  kube-devops deploy generate-rbac | kubectl apply -f -")]
    GenerateRbac(NamespaceArguments),
    /// Print the Deployments
    #[command(after_help = "Example:\n  kube-devops deploy generate-deployments | kubectl diff -f -")]
    GenerateDeployments(DeployArguments),
}

#[derive(Debug, Args)]
pub struct DeployArguments {
    #[command(flatten)]
    pub target: NamespaceArguments,
    /// Image of the components
    #[arg(long, default_value = IMAGE, value_name = "IMAGE", value_parser = image)]
    pub image: String,
}

#[derive(Debug, Args)]
pub struct NamespaceArguments {
    /// Namespace of the components
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME", value_parser = namespace)]
    pub namespace: String,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the variants are named after the commands")]
pub enum ObservabilityCommand {
    /// Print ServiceMonitors, alerts and the Grafana dashboard
    #[command(after_help = "Example:\n  kube-devops observability generate-all | kubectl apply --server-side -f -")]
    GenerateAll(NamespaceArguments),
    /// Print the ServiceMonitors, for the Prometheus operator
    #[command(after_help = "Example:\n  kube-devops observability generate-service-monitors | kubectl apply -f -")]
    GenerateServiceMonitors(NamespaceArguments),
    /// Print the alerts, as a PrometheusRule for the Prometheus operator
    #[command(after_help = "Example:\n  kube-devops observability generate-alerts | kubectl apply -f -")]
    GenerateAlerts(NamespaceArguments),
    /// Print the Grafana dashboard, as a ConfigMap for the sidecar of Grafana
    #[command(
        after_help = "Example:\n  kube-devops observability generate-dashboard | kubectl apply --server-side -f -"
    )]
    GenerateDashboard(NamespaceArguments),
}

/// An image reference, which is inserted into manifests.
fn image(text: &str) -> Result<String, String> {
    let is_valid = |character: char| character.is_ascii_alphanumeric() || "-._/:@".contains(character);
    if text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(is_valid) {
        Ok(text.to_owned())
    } else {
        Err("an image is expected, such as registry.example.com/kube-devops:v1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_would_change_a_manifest_are_rejected() {
        assert!(image(IMAGE).is_ok());
        assert!(image("registry.example.com:5000/a@sha256:0f").is_ok());
        for text in ["", "a b", "a\nb", "a#b", "{a}", "\"a\"", ":a"] {
            assert!(image(text).is_err(), "{text}");
        }
    }
}
