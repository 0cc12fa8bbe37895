//! Arguments of the commands for checks and policies.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kube_devops_cluster::gitops::IMPORT_MANAGER;

use super::ModuleArguments;
use super::names::{namespace, object_name};

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// ID of the check; without it, all checks are listed
    pub check: Option<String>,
    #[command(flatten)]
    pub modules: ModuleArguments,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the bundles
    #[command(after_help = "Example:\n  kube-devops policy bundle-list")]
    BundleList {
        #[command(flatten)]
        modules: ModuleArguments,
    },
    /// Show the contents of a bundle
    #[command(after_help = "Example:\n  kube-devops policy bundle-show restricted")]
    BundleShow {
        /// Name of the bundle
        name: String,
        #[command(flatten)]
        modules: ModuleArguments,
    },
    /// Print a bundle as a DevOpsPolicy
    #[command(after_help = "\
Example:
  kube-devops policy bundle-apply restricted --namespace production | kubectl apply -f -")]
    BundleApply {
        /// Name of the bundle
        name: String,
        /// Namespace of the policy
        #[arg(short, long, default_value = "default", value_name = "NAME", value_parser = namespace)]
        namespace: String,
        /// Name of the policy
        #[arg(long, default_value = "devops-policy", value_name = "NAME", value_parser = object_name)]
        policy_name: String,
        #[command(flatten)]
        modules: ModuleArguments,
    },
    /// Print the policies of a cluster as manifests that can be applied
    #[command(after_help = "\
Examples:
  kube-devops policy export -n production > policies/production.yaml
  kube-devops policy export -A -o json
  kube-devops policy export -A --audit-results > archive.yaml

Status, managed fields, owners, finalizers and the marks of Argo CD and Flux are omitted. The output is sorted and contains
no times, so that two exports of the same policies are identical.")]
    Export(ExportArguments),
    /// Create and change policies as described in files
    #[command(after_help = "\
Examples:
  kube-devops policy import policies/
  kube-devops policy import policies/ --dry-run            the API server validates, and nothing is changed
  kube-devops policy import policies/ --prune              also deletes imported policies that the files do not contain
  helm template ./chart | kube-devops policy import -

Policies are applied with server-side apply. A policy that cannot be applied does not affect the others. Objects of other
kinds are skipped and listed.

Exit codes: 0 everything was imported; 1 a document or a policy was not imported or deleted, but the others were; 2 the
import failed.")]
    Import(ImportArguments),
    /// Show the changes that an import would make
    #[command(after_help = "\
Examples:
  kube-devops policy diff policies/
  kube-devops policy diff policies/ --cluster-only         also policies that exist only in the cluster

The result of a dry run on the API server is compared with the stored policies, so defaults are no differences.

Exit codes: 0 no differences; 1 differences; 2 an operation failed.")]
    Diff(DiffArguments),
}

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Namespace to export; can be specified multiple times; defaults to the namespace of the kubeconfig context
    #[arg(short, long = "namespace", value_name = "NAME", value_parser = namespace, conflicts_with = "all_namespaces")]
    pub namespaces: Vec<String>,
    /// Export all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Export PolicyModules as well, which belong to no namespace
    #[arg(long)]
    pub modules: bool,
    /// Export PolicyAuditResults as well, the records of past evaluations
    #[arg(long)]
    pub audit_results: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ExportFormat,
}

/// The output format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// YAML documents
    #[default]
    Yaml,
    /// A List in JSON
    Json,
    /// One KIND/NAME per line, as arguments of kubectl; of several namespaces KIND/NAME -n NAMESPACE
    Name,
}

/// The files of policies.
#[derive(Debug, Args)]
pub struct SourceArguments {
    /// Manifests with policies: files, folders (recursively), or - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Namespace of policies without a namespace; defaults to the namespace of the kubeconfig context
    #[arg(short, long, value_name = "NAME", value_parser = namespace)]
    pub namespace: Option<String>,
    /// Field manager of the policies; --prune deletes only policies of the same field manager
    #[arg(long, default_value = IMPORT_MANAGER, value_name = "NAME", value_parser = field_manager)]
    pub field_manager: String,
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(flatten)]
    pub source: SourceArguments,
    /// Let the API server validate the policies without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Delete policies in the namespaces of the files that an import has applied, that the files do not contain, and whose
    /// spec no other field manager manages. Nothing is deleted after a failure
    #[arg(long)]
    pub prune: bool,
    /// Take over fields that other field managers manage
    #[arg(long)]
    pub force_conflicts: bool,
}

#[derive(Debug, Args)]
pub struct DiffArguments {
    #[command(flatten)]
    pub source: SourceArguments,
    /// Also show policies that exist only in the cluster, in the namespaces of the files
    #[arg(long)]
    pub cluster_only: bool,
}

/// Parses the name of a field manager, with the rules of the API server:
/// <https://github.com/kubernetes/kubernetes/blob/v1.33.0/staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go>
fn field_manager(text: &str) -> Result<String, String> {
    const MAX_LENGTH: usize = 128;
    if text.is_empty() || text.len() > MAX_LENGTH || text.chars().any(char::is_control) {
        return Err(format!("a field manager has 1 to {MAX_LENGTH} printable characters"));
    }
    Ok(text.to_owned())
}
