//! `analyze`: evaluates manifests or a live cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail};
use chrono::Utc;
use kube_devops_cluster::pods::{self, PodQuery};
use kube_devops_cluster::selector::LabelSelector;
use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::text::number;
use kube_devops_core::{Needs, Report, Source, Subject};
use kube_devops_manifests::{self as manifests, Manifests, ReadOptions, STANDARD_INPUT};

use super::Outcome;
use super::evaluate::{
    Evaluator, exclude_system_namespaces, outcome, report_unverified, warn_that_nothing_was_evaluated,
};
use super::render::{self, ChartValues};
use crate::arguments::{AnalyzeArguments, ClusterArguments, EvaluationArguments, Selection};
use crate::connection::with_cluster;
use crate::progress::Progress;
use crate::terminal::print_note;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &AnalyzeArguments, program: &str) -> Result<Outcome> {
    if let Some(path) = arguments.misplaced.first() {
        bail!(
            "unexpected argument {path:?}; specify files and folders with -f, as in `{program} analyze -f {}`",
            path.display()
        );
    }
    let inputs: [&[PathBuf]; 4] =
        [&arguments.filenames, &arguments.values, &arguments.kustomize, &arguments.helm_chart];
    let evaluator = Evaluator::new(cluster, &arguments.evaluation, &inputs, program)?;
    let has_manifests =
        [&arguments.filenames, &arguments.kustomize, &arguments.helm_chart].iter().any(|paths| !paths.is_empty());
    let needs = evaluator.needs();
    let mut selected = if has_manifests {
        read_manifests(arguments, needs)?
    } else {
        read_cluster(cluster, &arguments.selection, &arguments.evaluation, needs)?
    };
    selected.extent.excluded = exclude_system_namespaces(&mut selected.subjects, &arguments.evaluation);
    if has_manifests {
        // An owner that is not evaluated must not hide its pods.
        selected.extent.owned = manifests::leave_out_owned(&mut selected.subjects);
    }
    let outcomes = {
        let _progress = Progress::new("evaluating");
        evaluator.evaluate(&selected.subjects)
    };
    if selected.subjects.is_empty() && selected.errors.is_empty() {
        let kinds = ["pods or workloads", "pods and workloads"];
        warn_that_nothing_was_evaluated(&selected.extent, &selected.target, kinds);
    }
    let report = Report::new(&selected.subjects, outcomes, selected.extent, selected.errors);
    evaluator.warn_if_inapplicable(&report, &selected.target);
    evaluator.write(&report, &selected.target, false)?;
    let mut outcome = outcome(&report, &arguments.evaluation);
    let unknown = report.extent.not_evaluated.len();
    if unknown > 0 && arguments.fail_on_unknown {
        let unknown = number(unknown, "object");
        print_note(&format!("{unknown} with containers that were not evaluated, and --fail-on-unknown is set"));
        outcome = Outcome::Failure;
    }
    // The process exits next; freeing a hundred thousand strings one by one would only take time.
    std::mem::forget((report, selected.subjects));
    Ok(outcome)
}

/// The objects to evaluate.
struct Selected {
    subjects: Vec<Subject>,
    extent: Extent,
    errors: Vec<ReportError>,
    /// The description of their origin.
    target: String,
}

fn read_cluster(
    cluster: &ClusterArguments,
    selection: &Selection,
    evaluation: &EvaluationArguments,
    needs: Needs,
) -> Result<Selected> {
    let query = PodQuery { namespaces: selection.namespaces.clone(), selector: selection.selector.clone(), needs };
    with_cluster(cluster, async |connection| {
        let progress = Progress::new("listing pods");
        let extracted = pods::subjects(&connection, &query, |count| progress.set(count)).await?;
        let target = match &connection.context {
            Some(context) => format!("{} (context {context})", connection.server),
            None => connection.server.clone(),
        };
        let errors = report_unverified(&extracted.unverified, None, evaluation);
        Ok(Selected {
            subjects: extracted.subjects,
            extent: Extent { finished: extracted.finished, ..Extent::default() },
            errors,
            target,
        })
    })
}

fn read_manifests(arguments: &AnalyzeArguments, needs: Needs) -> Result<Selected> {
    let selection = &arguments.selection;
    let selector = selection.selector.as_deref().map(LabelSelector::parse).transpose()?;
    // As with kubectl, the selected namespace applies to objects without one.
    let namespace = match selection.namespaces.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    };
    let options = ReadOptions {
        now: Utc::now(),
        default_namespace: namespace.unwrap_or("default").to_owned(),
        exclude: arguments.exclude.clone(),
        rendered_charts: arguments.helm_chart.clone(),
        rendered_kustomizations: arguments.kustomize.clone(),
        stdin_name: arguments.stdin_name.clone(),
        needs,
        limits: manifests::Limits::default(),
    };
    let mut read = {
        let _progress = Progress::new("reading manifests");
        let values = ChartValues { files: &arguments.values, set: &arguments.set, namespace };
        let kustomizations = distinct(&arguments.kustomize).map(|folder| (folder, render::kustomization(folder)));
        let charts = distinct(&arguments.helm_chart).map(|chart| (chart, render::chart(chart, values)));
        let (mut rendered, mut failed) = (Vec::new(), Vec::new());
        for (path, result) in kustomizations.chain(charts) {
            match result {
                Ok(manifests) => rendered.push(manifests),
                Err(error) => failed.push(not_rendered(path, &error)),
            }
        }
        let mut read = manifests::read(&arguments.filenames, &rendered, &options);
        read.errors.extend(failed);
        read
    };
    let before = read.subjects.len();
    read.subjects.retain(|subject| {
        let mut namespaces = selection.namespaces.iter();
        let in_namespace = selection.namespaces.is_empty() || namespaces.any(|name| **name == *subject.namespace);
        in_namespace && selector.as_ref().is_none_or(|selector| selector.matches(&subject.labels))
    });
    read.extent.filtered = before - read.subjects.len();
    let name =
        |path: &PathBuf| if path.as_os_str() == "-" { STANDARD_INPUT.to_owned() } else { path.display().to_string() };
    let paths: Vec<_> =
        arguments.filenames.iter().chain(&arguments.kustomize).chain(&arguments.helm_chart).map(name).collect();
    let Manifests { subjects, extent, errors, .. } = read;
    Ok(Selected { subjects, extent, errors, target: paths.join(", ") })
}

/// The paths without those that are another path to the same folder.
fn distinct(paths: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let mut seen = BTreeSet::new();
    paths.iter().filter(move |path| seen.insert(path.canonicalize().unwrap_or_else(|_| PathBuf::clone(path))))
}

/// The error of a kustomization or chart that could not be rendered. Everything else is evaluated.
fn not_rendered(path: &Path, error: &Error) -> ReportError {
    let source = Source { file: path.to_string_lossy().into(), document: 1, line: 1, object_line: 1 };
    ReportError { source: Some(source), ..ReportError::new(format!("{error:#}")) }
}
