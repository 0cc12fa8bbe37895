//! Arguments of the commands for checks and policies.

use clap::{Args, Subcommand};

use super::ModuleArguments;

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// ID of the check; without it, all checks are listed
    pub check: Option<String>,
    #[command(flatten)]
    pub modules: ModuleArguments,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the variants are named after the commands")]
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
        #[arg(short, long, default_value = "default", value_name = "NAME")]
        namespace: String,
        /// Name of the policy
        #[arg(long, default_value = "devops-policy", value_name = "NAME")]
        policy_name: String,
        #[command(flatten)]
        modules: ModuleArguments,
    },
}
