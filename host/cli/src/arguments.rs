//! The command line, as clap reads it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kube_devops_core::Severity;

use crate::output::Format;

/// Kubernetes governance: scores manifests and live clusters with checks that are WebAssembly components.
#[derive(Debug, Parser)]
#[command(
    name = "kube-devops",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kube-devops analyze -f deploy/            judge manifests, without a cluster
  kube-devops analyze                       judge the pods of the current cluster
  kube-devops explain latest-tag            what a check looks for, why, and how to mend it

Exit codes: 0 fine; 1 a gate is not met or a permission is missing; 2 something could not be done or judged."
)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster is meant.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// The kubeconfig file; otherwise KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; otherwise the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the version
    #[command(after_help = "Example:\n  kube-devops version")]
    Version,
    /// Check that the cluster can be reached and what you are allowed to do there
    #[command(after_help = "\
Examples:
  kube-devops check
  kube-devops check --context production --namespace kube-devops

Exit code 1 says that a permission is missing.")]
    Check(CheckArguments),
    /// List resources of the cluster
    #[command(subcommand, after_help = "Example:\n  kube-devops list pods -n production")]
    List(ListCommand),
    /// Judge manifests or the pods of a cluster
    #[command(after_help = "\
Examples:
  kube-devops analyze -f deploy/ -f extra.yaml             manifests, without a cluster
  helm template ./chart | kube-devops analyze -f -         what a chart renders
  kube-devops analyze -n production -l app=web             pods of the current cluster
  kube-devops analyze -f . --bundle restricted --fail-on high
  kube-devops analyze -f . -o sarif > result.sarif         for code scanning

Without --bundle and --policy all five checks are on, with more than 3 restarts and more than 300 seconds of
waiting as violations.

Exit codes: 0 fine; 1 a gate (--fail-on, --min-score, --min-compliance) is not met; 2 something could not be judged.")]
    Analyze(Box<AnalyzeArguments>),
    /// Say what a check looks for, why it matters and how to mend it
    #[command(after_help = "Examples:\n  kube-devops explain\n  kube-devops explain latest-tag")]
    Explain(ExplainArguments),
    /// Print or install the custom resources
    #[command(subcommand, after_help = "Example:\n  kube-devops crd install")]
    Crd(CrdCommand),
    /// Work with policies and bundles
    #[command(subcommand, after_help = "Example:\n  kube-devops policy bundle-list")]
    Policy(PolicyCommand),
    /// Keep the scores of the cluster and its namespaces up to date, live
    #[command(after_help = "\
Examples:
  kube-devops watch
  kube-devops watch --lease-namespace platform --addr 127.0.0.1:8080

Serves /healthz, /readyz and /metrics. Of several replicas one leads, by a Lease.")]
    Watch(WatchArguments),
    /// Run the operator, which evaluates DevOpsPolicies all the time
    #[command(after_help = "\
Examples:
  kube-devops reconcile
  kube-devops reconcile --audit-retention 30 --system-namespace platform

Serves /healthz, /readyz and /metrics. Of several replicas one leads, by a Lease.")]
    Reconcile(ReconcileArguments),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  source <(kube-devops completion bash)
  kube-devops completion fish > ~/.config/fish/completions/kube-devops.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The namespace that the controllers run in
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME")]
    pub namespace: String,
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
    /// The form of the list
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListFormat,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns, for people
    #[default]
    Text,
    /// A JSON array
    Json,
    /// A YAML list
    Yaml,
    /// pod/NAME in each line, for kubectl
    Name,
}

/// Which objects are meant.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Only this namespace; can be given more than once
    #[arg(short, long = "namespace", value_name = "NAME")]
    pub namespaces: Vec<String>,
    /// Only pods with these labels, such as app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnalyzeArguments {
    /// Judge manifests: files, folders with everything below them, or - for standard input
    #[arg(short, long = "filename", num_args = 1.., value_name = "PATH")]
    pub filenames: Vec<PathBuf>,
    #[command(flatten)]
    pub selection: Selection,
    /// Judge by a bundle: see `policy bundle-list`
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    pub bundle: Option<String>,
    /// Judge by a DevOpsPolicy in a file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Judge system namespaces too
    #[arg(long)]
    pub include_system: bool,
    /// A further namespace that belongs to the system; can be given more than once
    #[arg(long = "system-namespace", value_name = "NAME")]
    pub system_namespaces: Vec<String>,
    /// The form of the report
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Exit with code 1 where a violation is at least this severe
    #[arg(long, value_name = "SEVERITY", help_heading = "Gates", value_parser = clap::builder::PossibleValuesParser::new(Severity::ALL.map(Severity::as_str)))]
    pub fail_on: Option<String>,
    /// Exit with code 1 where the health score is below this
    #[arg(long, value_name = "SCORE", help_heading = "Gates", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_score: Option<u8>,
    /// Exit with code 1 where the compliance is below this many percent
    #[arg(long, value_name = "PERCENT", help_heading = "Gates", value_parser = percent)]
    pub min_compliance: Option<f64>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("a percentage is between 0 and 100".to_owned()) }
}

/// What the controllers have in common.
#[derive(Debug, Args)]
pub struct ControllerArguments {
    /// The namespace of the Lease; in a pod, that of the pod
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "kube-devops",
        value_name = "NAME",
        help_heading = "Leader election"
    )]
    pub lease_namespace: String,
    /// How many seconds a leader is taken for alive after it was heard of last
    #[arg(long, default_value_t = 15, value_name = "SECONDS", help_heading = "Leader election", value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub lease_duration: u64,
    /// The name of this replica, unlike that of any other; in a pod, that of the pod
    #[arg(long, env = "POD_NAME", value_name = "NAME", help_heading = "Leader election")]
    pub identity: Option<String>,
    /// A further namespace that belongs to the system; can be given more than once
    #[arg(long = "system-namespace", value_name = "NAME")]
    pub system_namespaces: Vec<String>,
}

#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// The name of the Lease
    #[arg(long, default_value = "kube-devops-watch", value_name = "NAME", help_heading = "Leader election")]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// How many audit results of a policy are kept; 0 writes none
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub audit_retention: u16,
    /// The least number of seconds between two audit results of a policy
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub audit_period: u32,
    /// Only say in the status of policies what would be added to workloads
    #[arg(long, help_heading = "Enforcement")]
    pub dry_run: bool,
    /// How many workloads of a policy are changed in a minute
    #[arg(long, default_value_t = 10, value_name = "NUMBER", help_heading = "Enforcement")]
    pub patches_per_minute: u16,
    /// How many seconds a rollout may take, where the workload has no progressDeadlineSeconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS", help_heading = "Enforcement")]
    pub rollout_deadline: u32,
    /// The name of the Lease
    #[arg(long, default_value = "kube-devops-reconcile", value_name = "NAME", help_heading = "Leader election")]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The id of the check; without it, all checks are listed
    pub check: Option<String>,
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

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the commands are called so")]
pub enum PolicyCommand {
    /// List the bundles
    #[command(after_help = "Example:\n  kube-devops policy bundle-list")]
    BundleList,
    /// Show what a bundle consists of
    #[command(after_help = "Example:\n  kube-devops policy bundle-show restricted")]
    BundleShow {
        /// The name of the bundle
        name: String,
    },
    /// Print a bundle as a DevOpsPolicy
    #[command(after_help = "\
Example:
  kube-devops policy bundle-apply restricted --namespace production | kubectl apply -f -")]
    BundleApply {
        /// The name of the bundle
        name: String,
        /// The namespace of the policy
        #[arg(short, long, default_value = "default", value_name = "NAME")]
        namespace: String,
        /// The name of the policy
        #[arg(long, default_value = "devops-policy", value_name = "NAME")]
        policy_name: String,
    },
}
