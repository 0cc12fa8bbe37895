//! Command line arguments, as parsed by clap.

mod analyze;
mod cluster;
mod controllers;
mod deploy;
mod help;
mod module;
mod module_reference;
mod multi_cluster;
mod names;
mod policy;
mod release;
mod severity;
mod webhook;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use analyze::{AnalyzeArguments, EvaluationArguments, OutputTarget};
pub use cluster::{
    CheckArguments, CleanupArguments, ClusterArguments, CrdCommand, InstalledComponent, ListCommand, ListFormat,
    ListPodsArguments, Selection,
};
pub use controllers::{ControllerArguments, ModuleCacheArguments, ReconcileArguments, WatchArguments};
pub use deploy::{DeployArguments, DeployCommand, NamespaceArguments, ObservabilityCommand};
pub use module::{
    CacheArguments, CompileArguments, InspectFormat, Language, ModuleArguments, ModuleBuildArguments, ModuleCommand,
    ModuleInspectArguments, ModuleListArguments, ModuleNewArguments, ModulePruneArguments, ModulePullArguments,
    ModulePushArguments, ModuleSignArguments, ModuleSourceArguments, ModuleTestArguments, RegistryArguments,
    TestFormat, VerificationArguments,
};
pub use module_reference::ModuleReference;
pub use multi_cluster::{ContextFormat, ListContextsArguments, MultiClusterArguments, MultiClusterCommand};
pub use policy::{
    DiffArguments, ExplainArguments, ExportArguments, ExportFormat, ImportArguments, PolicyCommand, SourceArguments,
};
pub use release::ReleaseArguments;
pub use webhook::{CertGenerateArguments, InstallConfigArguments, WebhookCommand, WebhookNames, WebhookServeArguments};

/// Kubernetes governance: score manifests and live clusters with WebAssembly checks.
#[derive(Debug, Parser)]
#[command(
    name = "kube-devops",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kube-devops analyze -f deploy/            evaluate manifests, without a cluster
  kube-devops analyze                       evaluate the pods of the current cluster
  kube-devops explain latest-tag            what a check finds, why it matters and how to fix it

Environment variables:
  KUBECONFIG                 kubeconfig files, as for kubectl
  KUBE_DEVOPS_CACHE_DIR      folder for pulled modules and compiled code
  REGISTRY_AUTH_FILE         credentials for registries; without it, those of Docker (DOCKER_CONFIG) and Podman
  HTTPS_PROXY, NO_PROXY      proxy for API servers and registries, and hosts without it
  NO_COLOR                   text without colours

Exit codes: 0 success; 1 a gate is not met, a permission is missing, a component does not work, a case failed, or
policies differ or were not imported; 2 an operation failed or the evaluation is incomplete."
)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Returns the command line of a program with this name.
pub fn command(program: &'static str) -> clap::Command {
    help::adapted(Arguments::command(), program).bin_name(program)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the version
    #[command(after_help = "Example:\n  kube-devops version")]
    Version,
    /// Check the connection to the cluster and your permissions
    #[command(after_help = "\
Examples:
  kube-devops check
  kube-devops check --context production --namespace kube-devops
  kube-devops check --analyze-namespace shop               permissions for analyze -n shop
  kube-devops check --installation                         whether the components run and API servers reach them

Exit code 1 means that a permission is missing, or that a component does not work.")]
    Check(CheckArguments),
    /// List resources of the cluster
    #[command(subcommand, after_help = "Example:\n  kube-devops list pods -n production")]
    List(ListCommand),
    /// Evaluate manifests or the pods of a cluster
    #[command(after_help = "\
Examples:
  kube-devops analyze -f deploy/ -f extra.yaml             manifests, without a cluster
  kube-devops analyze --helm-chart ./chart --values production.yaml
  kube-devops analyze -n production -l app=web             pods of the current cluster
  kube-devops analyze -f . --bundle restricted --fail-on high
  kube-devops analyze -f . -o sarif > result.sarif         for code scanning

Without --bundle and --policy, all five checks are enabled. More than 3 restarts and more than 300 seconds in the
Pending phase are violations.

Exit codes: 0 success; 1 a gate (--fail-on, --min-score, --min-compliance) is not met; 2 the evaluation is incomplete.")]
    Analyze(Box<AnalyzeArguments>),
    /// Describe a check: what it finds, why it matters and how to fix it
    #[command(after_help = "Examples:\n  kube-devops explain\n  kube-devops explain latest-tag")]
    Explain(ExplainArguments),
    /// Print or install the custom resource definitions
    #[command(subcommand, after_help = "Example:\n  kube-devops crd install")]
    Crd(CrdCommand),
    /// Show policy bundles, create policies from them, and keep policies in files and clusters the same
    #[command(
        subcommand,
        after_help = "\
Examples:
  kube-devops policy bundle-list
  kube-devops policy diff policies/"
    )]
    Policy(PolicyCommand),
    /// Write, build, test, inspect and publish modules with custom checks
    #[command(subcommand, after_help = "Example:\n  kube-devops module new required-labels")]
    Module(ModuleCommand),
    /// Evaluate several clusters at once
    #[command(
        subcommand,
        after_help = "\
Examples:
  kube-devops multi-cluster list-contexts
  kube-devops multi-cluster analyze --per-cluster"
    )]
    MultiCluster(MultiClusterCommand),
    /// Run the watch controller, which keeps the scores of the cluster and its namespaces up to date
    #[command(after_help = "\
Examples:
  kube-devops watch
  kube-devops watch --lease-namespace platform --addr 127.0.0.1:8080

Serves /healthz, /readyz and /metrics. Replicas elect a leader with a Lease.")]
    Watch(WatchArguments),
    /// Run the operator, which continuously evaluates DevOpsPolicies
    #[command(after_help = "\
Examples:
  kube-devops reconcile
  kube-devops reconcile --audit-retention 30 --system-namespace platform

Serves /healthz, /readyz and /metrics. Replicas elect a leader with a Lease.")]
    Reconcile(ReconcileArguments),
    /// Remove the fields that remediation added to workloads
    #[command(after_help = "\
Examples:
  kube-devops release deployment/web -n shop
  kube-devops release sts/db ds/agent

Pods are replaced by a rollout. The operator adds the fields again only after the pod template was changed.")]
    Release(ReleaseArguments),
    /// Run and configure the admission webhook
    #[command(subcommand, after_help = "Example:\n  kube-devops webhook serve")]
    Webhook(WebhookCommand),
    /// Print the manifests of the platform
    #[command(
        subcommand,
        after_help = "\
Example:
  kube-devops deploy generate-all | kubectl apply --server-side --force-conflicts -f -

The Helm chart has more options."
    )]
    Deploy(DeployCommand),
    /// Print ServiceMonitors, alerts and the Grafana dashboard
    #[command(
        subcommand,
        after_help = "Example:\n  kube-devops observability generate-all | kubectl apply --server-side -f -"
    )]
    Observability(ObservabilityCommand),
    /// Remove what the components created, after they were removed themselves
    #[command(after_help = "\
Examples:
  kube-devops deploy generate-deployments | kubectl delete -f -
  kube-devops cleanup

Removes the finalizers of policies, the Leases of the components and the certificate of the webhook. Custom resources and
policies remain. With Helm, this runs when the release is uninstalled. Prints the workloads that keep fields that remediation
added, with the commands that remove them.

The finalizers are kept while an operator of another installation is running, in any namespace.")]
    Cleanup(CleanupArguments),
    /// Print shell completions
    #[command(after_help = "\
Examples:
  source <(kube-devops completion bash)
  kube-devops completion fish > ~/.config/fish/completions/kube-devops.fish")]
    Completion {
        /// Shell to print completions for
        shell: Shell,
    },
    /// Compile the component on standard input to native code on standard output: the child process of this program
    #[command(hide = true, name = crate::modules::compiler::COMMAND)]
    CompileComponent {
        /// The most memory, in bytes
        memory: u64,
        /// The most CPU time, in seconds
        cpu_time: u64,
    },
}
