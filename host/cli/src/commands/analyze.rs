//! `analyze`: evaluates manifests or a live cluster.

use std::fs::{self, Permissions};
use std::io::stdout;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use kube_devops_cluster::pods::{self, PodQuery};
use kube_devops_cluster::selector::LabelSelector;
use kube_devops_cluster::{policies, policy_file};
use kube_devops_core::report::Extent;
use kube_devops_core::{CheckInfo, Needs, Policy, Report, Severity, Subject, SystemNamespaces};
use kube_devops_engine::Checks;
use kube_devops_manifests::{self as manifests, ReadOptions, STANDARD_INPUT};

use super::render::{self, ChartValues};
use super::{Outcome, with_cluster};
use crate::arguments::{AnalyzeArguments, ClusterArguments, Selection};
use crate::modules;
use crate::output::{self, Format, Shown};
use crate::progress::Progress;
use crate::terminal;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &AnalyzeArguments, program: &str) -> Result<Outcome> {
    if let Some(path) = arguments.misplaced.first() {
        bail!(
            "unexpected argument {path:?}; specify files and folders with -f, as in `{program} analyze -f {}`",
            path.display()
        );
    }
    if arguments.outputs.iter().filter(|target| target.file.is_none()).count() > 1 {
        bail!("multiple output formats for standard output; write all but one to a file, as in -o sarif=result.sarif");
    }
    let catalog = modules::catalog(&arguments.modules.modules)?;
    let checks = catalog.checks();
    let policy = match (&arguments.bundle, &arguments.policy) {
        (Some(bundle), _) => modules::bundle(&catalog, bundle)?.policy(),
        (None, Some(file)) => read_policy(file, &checks)?,
        (None, None) => checks.policy_of_all(),
    };
    let rules = checks.rule_set(&policy)?;
    let infos: Vec<CheckInfo> = checks.infos().cloned().collect();

    let has_manifests =
        [&arguments.filenames, &arguments.kustomize, &arguments.helm_chart].iter().any(|paths| !paths.is_empty());
    let needs = rules.needs();
    let mut selected = if has_manifests {
        read_manifests(arguments, needs)?
    } else {
        read_cluster(cluster, &arguments.selection, needs)?
    };
    selected.exclude_system_namespaces(arguments);
    let outcomes = {
        let _progress = Progress::new("evaluating");
        rules.evaluate(&selected.subjects)
    };
    if selected.subjects.is_empty() && selected.extent.errors.is_empty() {
        eprintln!("warning: nothing was evaluated: {}", selected.empty_reason());
    }
    let report = Report::new(&selected.subjects, outcomes, selected.extent);
    let module_arguments: String =
        arguments.modules.modules.iter().map(|reference| format!(" --module {reference}")).collect();
    let shown = Shown {
        report: &report,
        checks: &infos,
        target: &selected.target,
        program,
        module_arguments: &module_arguments,
        colours: terminal::colours(),
        width: terminal::width(),
    };
    for target in &arguments.outputs {
        match &target.file {
            None => output::write(target.format, &shown, &mut stdout().lock()).context("failed to write the report")?,
            Some(file) => write_to_file(target.format, &shown, file)
                .with_context(|| format!("failed to write the report to {}", file.display()))?,
        }
    }
    let outcome = outcome(&report, arguments);
    // The process exits next; freeing a hundred thousand strings one by one would only take time.
    std::mem::forget((report, selected.subjects));
    Ok(outcome)
}

/// Writes a report to a file atomically, without colours.
fn write_to_file(format: Format, shown: &Shown<'_>, file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut written = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
    output::write(format, &Shown { colours: false, ..*shown }, &mut written)?;
    written.persist(file)?;
    Ok(())
}

/// The objects to evaluate.
struct Selected {
    subjects: Vec<Subject>,
    extent: Extent,
    /// The description of their origin.
    target: String,
}

impl Selected {
    fn exclude_system_namespaces(&mut self, arguments: &AnalyzeArguments) {
        if arguments.include_system {
            return;
        }
        let system = SystemNamespaces::default().and(arguments.system_namespaces.iter().cloned());
        let before = self.subjects.len();
        self.subjects.retain(|subject| !system.contains(&subject.namespace));
        self.extent.excluded = before - self.subjects.len();
    }

    /// Returns the reason why there are no objects to evaluate, and how to fix it.
    fn empty_reason(&self) -> String {
        let Extent { excluded, filtered, .. } = self.extent;
        let target = &self.target;
        match (excluded, filtered) {
            (0, 0) if self.extent.scaled_to_zero > 0 => {
                format!("{target} contains only ReplicaSets with 0 replicas")
            }
            (0, 0) => format!("no pods or workloads found in {target}"),
            (0, _) => {
                format!(
                    "none of the {filtered} pods and workloads in {target} match the namespaces and the label selector"
                )
            }
            _ => {
                format!(
                    "all {excluded} pods and workloads in {target} are in system namespaces; \
                     evaluate them with --include-system"
                )
            }
        }
    }
}

fn read_cluster(cluster: &ClusterArguments, selection: &Selection, needs: Needs) -> Result<Selected> {
    let query = PodQuery { namespaces: selection.namespaces.clone(), selector: selection.selector.clone(), needs };
    with_cluster(cluster, async |connection| {
        let progress = Progress::new("listing pods");
        let extracted = pods::subjects(&connection, &query, |count| progress.set(count)).await?;
        let target = match &connection.context {
            Some(context) => format!("{} (context {context})", connection.server),
            None => connection.server.clone(),
        };
        Ok(Selected {
            subjects: extracted.subjects,
            extent: Extent { finished: extracted.finished, ..Extent::default() },
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
        stdin_name: arguments.stdin_name.clone(),
        needs,
        limits: manifests::Limits::default(),
    };
    let mut read = {
        let _progress = Progress::new("reading manifests");
        let values = ChartValues { files: &arguments.values, set: &arguments.set, namespace };
        let kustomizations = arguments.kustomize.iter().map(|folder| render::kustomization(folder));
        let charts = arguments.helm_chart.iter().map(|chart| render::chart(chart, values));
        let rendered: Vec<_> = kustomizations.chain(charts).collect::<Result<_>>()?;
        manifests::read(&arguments.filenames, &rendered, &options)
    };
    let mut subjects = std::mem::take(&mut read.subjects);
    let before = subjects.len();
    subjects.retain(|subject| {
        let mut namespaces = selection.namespaces.iter();
        let in_namespace = selection.namespaces.is_empty() || namespaces.any(|name| **name == *subject.namespace);
        in_namespace && selector.as_ref().is_none_or(|selector| selector.matches(&subject.labels))
    });
    read.extent.filtered = before - subjects.len();
    let name =
        |path: &PathBuf| if path.as_os_str() == "-" { STANDARD_INPUT.to_owned() } else { path.display().to_string() };
    let paths: Vec<_> =
        arguments.filenames.iter().chain(&arguments.kustomize).chain(&arguments.helm_chart).map(name).collect();
    Ok(Selected { subjects, extent: std::mem::take(&mut read.extent), target: paths.join(", ") })
}

fn read_policy(file: &Path, checks: &Checks) -> Result<Policy> {
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let object = policy_file::parse(&text).with_context(|| file.display().to_string())?;
    let name = object.metadata.name.unwrap_or_default();
    let policy =
        policies::policy(&name, &object.spec, checks).with_context(|| format!("invalid policy {}", file.display()))?;
    if policy.rules.is_empty() {
        bail!("{}: the policy enables no check", file.display());
    }
    Ok(policy)
}

/// Compares the report with the gates, and prints those that are not met.
fn outcome(report: &Report, arguments: &AnalyzeArguments) -> Outcome {
    let mut outcome = Outcome::Success;
    let mut not_met = |reason: String| {
        eprintln!("gate not met: {reason}");
        outcome = Outcome::GateNotMet;
    };
    let bar: Option<Severity> = arguments.fail_on.as_deref().and_then(|severity| severity.parse().ok());
    if let (Some(bar), Some(highest)) = (bar, report.highest_severity().filter(|highest| Some(*highest) >= bar)) {
        let count = report.violations.iter().filter(|violation| violation.severity >= bar).count();
        let violations = output::number(count, "violation");
        not_met(format!("{violations} with severity {bar} or higher, the highest is {highest}"));
    }
    if let (Some(bar), Some(score)) = (arguments.min_score, report.score)
        && score < bar
    {
        not_met(format!("the health score {score} is below {bar}"));
    }
    if let (Some(bar), Some(compliance)) = (arguments.min_compliance, report.compliance)
        && compliance < bar
    {
        not_met(format!("the compliance of {compliance} % is below {bar} %"));
    }
    let has_gate = bar.is_some() || arguments.min_score.is_some() || arguments.min_compliance.is_some();
    if report.subjects == 0 && (has_gate || arguments.fail_on_empty) {
        not_met("nothing was evaluated".to_owned());
    }
    let unknown = report.not_evaluated.len();
    if unknown > 0 && arguments.fail_on_unknown {
        eprintln!(
            "{} of unknown kinds with containers, and --fail-on-unknown is set",
            output::number(unknown, "object")
        );
        return Outcome::Failure;
    }
    if !report.errors.is_empty() {
        eprintln!("{}: not everything was evaluated", output::number(report.errors.len(), "error"));
        return Outcome::Failure;
    }
    outcome
}
