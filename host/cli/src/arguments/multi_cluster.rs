//! Arguments of the commands for several clusters.

use clap::{Args, Subcommand, ValueEnum};

use super::{EvaluationArguments, Selection};

#[derive(Debug, Subcommand)]
pub enum MultiClusterCommand {
    /// List the contexts of the kubeconfig
    #[command(after_help = "\
Examples:
  kube-devops multi-cluster list-contexts
  kube-devops multi-cluster list-contexts -o name")]
    ListContexts(ListContextsArguments),
    /// Evaluate the pods of several clusters, with one report
    #[command(after_help = "\
Examples:
  kube-devops multi-cluster analyze --per-cluster          all contexts of the kubeconfig
  kube-devops multi-cluster analyze --contexts 'prod-*' --bundle restricted --fail-on high
  kube-devops multi-cluster analyze --contexts prod-eu,prod-us --timeout 20 -o json

The scores are those of all pods, regardless of their cluster. A cluster that cannot be reached is an error of the report;
the others are evaluated.

Exit codes: 0 success; 1 a gate (--fail-on, --min-score, --min-compliance) is not met; 2 the evaluation is incomplete.")]
    Analyze(Box<MultiClusterArguments>),
}

#[derive(Debug, Args)]
pub struct ListContextsArguments {
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ContextFormat,
}

/// The output format of the list of contexts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ContextFormat {
    /// Human-readable columns
    #[default]
    Text,
    /// JSON array
    Json,
    /// One name per line
    Name,
}

#[derive(Debug, Args)]
pub struct MultiClusterArguments {
    /// Contexts to evaluate, separated by commas; * and ? match any characters; defaults to all contexts
    #[arg(long, value_name = "NAME|PATTERN,...", value_delimiter = ',')]
    pub contexts: Vec<String>,
    /// Timeout for a cluster in seconds, for connecting and listing its pods
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,
    /// Number of clusters to read at the same time
    #[arg(long, default_value_t = 4, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Show a table of the clusters in text output, the lowest score first
    #[arg(long)]
    pub per_cluster: bool,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub evaluation: EvaluationArguments,
}
