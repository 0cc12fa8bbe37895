//! Arguments of `analyze`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kube_devops_core::Severity;

use super::names::namespace;
use super::severity::severity;
use super::{ModuleArguments, Selection};
use crate::output::Format;

#[derive(Debug, Args)]
pub struct AnalyzeArguments {
    /// Manifests to evaluate: files, folders (recursively), or - for standard input
    #[arg(short, long = "filename", num_args = 1.., value_name = "PATH")]
    pub filenames: Vec<PathBuf>,
    /// Folder of a kustomization to render with kubectl or kustomize and evaluate
    #[arg(short, long, value_name = "FOLDER")]
    pub kustomize: Vec<PathBuf>,
    /// Helm chart to render with helm and evaluate: the folder of a chart, or a packaged chart
    #[arg(long, value_name = "CHART")]
    pub helm_chart: Vec<PathBuf>,
    /// Values file for --helm-chart; can be specified multiple times
    #[arg(long, value_name = "FILE", requires = "helm_chart")]
    pub values: Vec<PathBuf>,
    /// Value for --helm-chart; can be specified multiple times
    #[arg(long, value_name = "KEY=VALUE", requires = "helm_chart")]
    pub set: Vec<String>,
    /// Paths without -f, which are rejected with a hint
    #[arg(hide = true, value_name = "PATH")]
    pub misplaced: Vec<PathBuf>,
    /// Pattern of files to exclude from folders, in .gitignore syntax; can be specified multiple times. A
    /// .kube-devopsignore file in a folder has the same effect
    #[arg(long, value_name = "PATTERN", value_parser = exclude_pattern)]
    pub exclude: Vec<String>,
    /// File name to report for standard input; "# Source:" comments of Helm take precedence
    #[arg(long, value_name = "PATH")]
    pub stdin_name: Option<String>,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub evaluation: EvaluationArguments,
    /// Fail the run with exit code 2 if containers are not evaluated: in an object of an unknown kind, or in a
    /// kustomization with charts or remote resources
    #[arg(long, help_heading = "Gates")]
    pub fail_on_unknown: bool,
}

/// What to evaluate with, the output formats of the report and the gates.
#[derive(Debug, Args)]
pub struct EvaluationArguments {
    #[command(flatten)]
    pub modules: ModuleArguments,
    /// Bundle to evaluate against; see `policy bundle-list`
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    pub bundle: Option<String>,
    /// File with the DevOpsPolicy to evaluate against
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Evaluate system namespaces as well
    #[arg(long)]
    pub include_system: bool,
    /// Additional system namespace to exclude; can be specified multiple times
    #[arg(long = "system-namespace", value_name = "NAME", value_parser = namespace)]
    pub system_namespaces: Vec<String>,
    /// Output format: text, json, yaml, sarif, junit or github; FORMAT=FILE writes the report to a file. Can be
    /// specified multiple times, at most once without a file
    #[arg(short, long = "output", default_value = "text", value_name = "FORMAT[=FILE]", value_parser = output_target)]
    pub outputs: Vec<OutputTarget>,
    /// Minimum severity of a violation that fails the run with exit code 1
    #[arg(long, value_name = "SEVERITY", help_heading = "Gates", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Minimum health score; a lower score fails the run with exit code 1
    #[arg(long, value_name = "SCORE", help_heading = "Gates", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_score: Option<u8>,
    /// Minimum compliance in percent; a lower compliance fails the run with exit code 1
    #[arg(long, value_name = "PERCENT", help_heading = "Gates", value_parser = percent)]
    pub min_compliance: Option<f64>,
    /// Fail the run with exit code 1 if nothing was evaluated; implied by --fail-on, --min-score and --min-compliance
    #[arg(long, help_heading = "Gates")]
    pub fail_on_empty: bool,
}

/// An output format of the report and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTarget {
    /// The output format.
    pub format: Format,
    /// The file; `None` for standard output.
    pub file: Option<PathBuf>,
}

fn output_target(text: &str) -> Result<OutputTarget, String> {
    let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
    let format = Format::from_str(format, false).map_err(|_| {
        let known: Vec<_> = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let known: Vec<_> = known.iter().map(|value| value.get_name()).collect();
        format!("unknown format {format:?}; supported formats: {}", known.join(", "))
    })?;
    match file {
        Some("") => Err("missing file name after =".to_owned()),
        Some("-") => Ok(OutputTarget { format, file: None }),
        file => Ok(OutputTarget { format, file: file.map(PathBuf::from) }),
    }
}

fn exclude_pattern(pattern: &str) -> Result<String, String> {
    kube_devops_manifests::check_pattern(pattern)?;
    Ok(pattern.to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("the percentage must be between 0 and 100".to_owned())
    }
}
