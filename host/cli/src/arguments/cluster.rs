//! Arguments of the commands that access a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kube_devops_cluster::permissions::NAME_PREFIX;

use super::names::namespace;

/// The cluster to connect to.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// Path to the kubeconfig file; defaults to KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the kubeconfig context; defaults to the current context
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Namespace of the controllers
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME", value_parser = namespace)]
    pub namespace: String,
    /// Check only the permissions to evaluate the pods of this namespace with `analyze -n NAME`; can be specified
    /// multiple times
    #[arg(long = "analyze-namespace", value_name = "NAME", value_parser = namespace, conflicts_with = "namespace")]
    pub analyze_namespaces: Vec<String>,
    /// Check an installation instead: whether its custom resources are those of this version, its components are ready, and API
    /// servers reach the webhook
    #[arg(long, conflicts_with = "analyze_namespaces", help_heading = "Installation")]
    pub installation: bool,
    /// Prefix of the names of the installed objects; with Helm, mostly the name of the release
    #[arg(long, default_value = NAME_PREFIX, value_name = "NAME", requires = "installation", help_heading = "Installation")]
    pub name_prefix: String,
    /// Component that is not installed; can be specified multiple times
    #[arg(long, value_enum, value_name = "COMPONENT", requires = "installation", help_heading = "Installation")]
    pub without: Vec<InstalledComponent>,
}

/// A component that serves requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InstalledComponent {
    /// The watch controller
    Watch,
    /// The operator
    Reconcile,
    /// The admission webhook
    Webhook,
}

#[derive(Debug, Args)]
pub struct CleanupArguments {
    /// Number of seconds to wait for running components to stop
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait: u16,
    /// Remove the objects of components that are still running, and all finalizers of policies
    #[arg(long)]
    pub force: bool,
    /// Namespace of the removed components
    #[arg(short, long, env = "POD_NAMESPACE", default_value = "kube-devops", value_name = "NAME")]
    pub namespace: String,
    /// Prefix of the names of the removed objects; with Helm, mostly the name of the release
    #[arg(long, default_value = NAME_PREFIX, value_name = "NAME")]
    pub name_prefix: String,
}

#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// List pods with their phase and node
    #[command(after_help = "\
Examples:
  kube-devops list pods
  kube-devops list pods -n production -l app=web -o json")]
    Pods(ListPodsArguments),
}

#[derive(Debug, Args)]
pub struct ListPodsArguments {
    #[command(flatten)]
    pub selection: Selection,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListFormat,
}

/// The output format of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Human-readable columns
    #[default]
    Text,
    /// JSON array
    Json,
    /// YAML list
    Yaml,
    /// One pod/NAME per line, as arguments of kubectl; of several namespaces pod/NAME -n NAMESPACE
    Name,
}

/// The objects to select.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Namespace to select; can be specified multiple times
    #[arg(short, long = "namespace", value_name = "NAME", value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// Select all namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespaces")]
    pub all_namespaces: bool,
    /// Label selector of the pods, such as app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum CrdCommand {
    /// Print the custom resource definitions as YAML
    #[command(after_help = "Example:\n  kube-devops crd generate | kubectl apply --server-side -f -")]
    Generate,
    /// Install the custom resource definitions and wait until the API server serves them
    #[command(after_help = "Example:\n  kube-devops crd install --context staging")]
    Install,
}
