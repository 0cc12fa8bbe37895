//! Arguments of the controllers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::CompileArguments;
use super::names::{namespace, object_name};

/// The arguments that all controllers share.
#[derive(Debug, Args)]
pub struct ControllerArguments {
    /// Namespace of the Lease; in a pod, the namespace of the pod
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "kube-devops",
        value_name = "NAME",
        value_parser = namespace,
        help_heading = "Leader election"
    )]
    pub lease_namespace: String,
    /// Lease duration in seconds; another replica can acquire a Lease that was not renewed for this time
    #[arg(long, default_value_t = 15, value_name = "SECONDS", help_heading = "Leader election", value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub lease_duration: u64,
    /// Unique name of this replica; in a pod, the name of the pod
    #[arg(long, env = "POD_NAME", value_name = "NAME", help_heading = "Leader election")]
    pub identity: Option<String>,
    /// Additional system namespace to exclude; can be specified multiple times
    #[arg(long = "system-namespace", value_name = "NAME", value_parser = namespace)]
    pub system_namespaces: Vec<String>,
}

/// Where controllers keep modules, and how they compile them.
#[derive(Debug, Args)]
pub struct ModuleCacheArguments {
    /// Folder for the modules of registries and for compiled code; without it, both are held in memory only
    #[arg(long, value_name = "DIR", help_heading = "Modules")]
    pub module_cache_dir: Option<PathBuf>,
    #[command(flatten)]
    pub compile: CompileArguments,
}

#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Address that serves /healthz, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// Name of the Lease
    #[arg(long, default_value = "kube-devops-watch", value_name = "NAME", help_heading = "Leader election", value_parser = object_name)]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Address that serves /healthz, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// Number of audit results to keep for each policy; 0 disables audit results
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub audit_retention: u16,
    /// Minimum number of seconds between two audit results of a policy
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub audit_period: u32,
    /// Report the patches in the status of policies without applying them to workloads
    #[arg(long, help_heading = "Enforcement")]
    pub dry_run: bool,
    /// Maximum number of workloads to patch per minute for each policy
    #[arg(long, default_value_t = 10, value_name = "NUMBER", help_heading = "Enforcement")]
    pub patches_per_minute: u16,
    /// Deadline of a rollout in seconds, for workloads without progressDeadlineSeconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS", help_heading = "Enforcement")]
    pub rollout_deadline: u32,
    /// Name of the Lease
    #[arg(long, default_value = "kube-devops-reconcile", value_name = "NAME", help_heading = "Leader election", value_parser = object_name)]
    pub lease_name: String,
    #[command(flatten)]
    pub modules: ModuleCacheArguments,
    #[command(flatten)]
    pub controller: ControllerArguments,
}
