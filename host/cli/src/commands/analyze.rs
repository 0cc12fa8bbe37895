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
use kube_devops_core::{CheckInfo, Policy, Report, Severity, Subject, SystemNamespaces};
use kube_devops_engine::{Checks, Engine, Limits};
use kube_devops_manifests::{self as manifests, ReadOptions, STANDARD_INPUT};

use super::render::{self, ChartValues};
use super::{Outcome, with_cluster};
use crate::arguments::{AnalyzeArguments, ClusterArguments, Selection};
use crate::output::{self, Format, Shown};
use crate::progress::Progress;
use crate::terminal;

/// Carries out the command.
pub fn run(cluster: &ClusterArguments, arguments: &AnalyzeArguments, program: &str) -> Result<Outcome> {
    if let Some(path) = arguments.misplaced.first() {
        bail!(
            "unexpected argument {path:?}; files and folders follow -f, as in `{program} analyze -f {}`",
            path.display()
        );
    }
    if arguments.outputs.iter().filter(|target| target.file.is_none()).count() > 1 {
        bail!("several forms of the report for standard output; give all but one a file, as in -o sarif=result.sarif");
    }
    let engine = Engine::new(Limits::default())?;
    let checks = Checks::new(kube_devops_modules::checks(&engine)?, engine.limits().clone());
    let policy = match (&arguments.bundle, &arguments.policy) {
        (Some(bundle), _) => super::policy::find_bundle(&engine, bundle)?.policy(),
        (None, Some(file)) => read_policy(file)?,
        (None, None) => checks.policy_of_all(),
    };
    let rules = checks.rule_set(&policy)?;
    let infos: Vec<CheckInfo> = checks.infos().cloned().collect();

    let has_manifests =
        [&arguments.filenames, &arguments.kustomize, &arguments.helm_chart].iter().any(|paths| !paths.is_empty());
    let mut selected =
        if has_manifests { read_manifests(arguments)? } else { read_cluster(cluster, &arguments.selection)? };
    selected.leave_out_system(arguments);
    let outcomes = {
        let _progress = Progress::new("evaluating");
        rules.evaluate(&selected.subjects, None)
    };
    if selected.subjects.is_empty() && selected.extent.errors.is_empty() {
        eprintln!("warning: nothing was evaluated: {}", selected.why_nothing());
    }
    let report = Report::new(&selected.subjects, outcomes, selected.extent);
    let shown = Shown {
        report: &report,
        checks: &infos,
        target: &selected.target,
        program,
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
    // The process ends here; to free a hundred thousand texts one by one first would only take time.
    std::mem::forget((report, selected.subjects));
    Ok(outcome)
}

/// Writes a report to a file, which is there as a whole or not at all. A file has no colours.
fn write_to_file(format: Format, shown: &Shown<'_>, file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut written = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder)?;
    output::write(format, &Shown { colours: false, ..*shown }, &mut written)?;
    written.persist(file)?;
    Ok(())
}

/// What is to be evaluated.
struct Selected {
    subjects: Vec<Subject>,
    extent: Extent,
    /// In words.
    target: String,
}

impl Selected {
    fn leave_out_system(&mut self, arguments: &AnalyzeArguments) {
        if arguments.include_system {
            return;
        }
        let system = SystemNamespaces::default().and(arguments.system_namespaces.iter().cloned());
        let before = self.subjects.len();
        self.subjects.retain(|subject| !system.contains(&subject.namespace));
        self.extent.excluded = before - self.subjects.len();
    }

    /// Why there is nothing to evaluate, and what to do about it.
    fn why_nothing(&self) -> String {
        let Extent { excluded, filtered, .. } = self.extent;
        let target = &self.target;
        match (excluded, filtered) {
            (0, 0) if self.extent.scaled_to_zero > 0 => {
                format!("{target} holds ReplicaSets of 0 replicas alone")
            }
            (0, 0) => format!("no pod and no workload was found in {target}"),
            (0, _) => {
                format!("none of the {filtered} pods and workloads in {target} has the namespace and labels asked for")
            }
            _ => {
                format!("all {excluded} pods and workloads of {target} are in system namespaces; add --include-system")
            }
        }
    }
}

fn read_cluster(cluster: &ClusterArguments, selection: &Selection) -> Result<Selected> {
    let query = PodQuery { namespaces: selection.namespaces.clone(), selector: selection.selector.clone() };
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

fn read_manifests(arguments: &AnalyzeArguments) -> Result<Selected> {
    let selection = &arguments.selection;
    let selector = selection.selector.as_deref().map(LabelSelector::parse).transpose()?;
    // An object without a namespace is in the one that it is applied to, as with kubectl.
    let namespace = match selection.namespaces.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    };
    let options = ReadOptions {
        now: Utc::now(),
        default_namespace: namespace.unwrap_or("default").to_owned(),
        exclude: arguments.exclude.clone(),
        stdin_name: arguments.stdin_name.clone(),
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

fn read_policy(file: &Path) -> Result<Policy> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let object = policy_file::parse(&text).with_context(|| file.display().to_string())?;
    let name = object.metadata.name.unwrap_or_default();
    let policy = policies::policy(&name, &object.spec);
    if policy.rules.is_empty() {
        bail!("{}: the policy turns no check on", file.display());
    }
    Ok(policy)
}

/// Holds the report against the gates, and says which are not met.
fn outcome(report: &Report, arguments: &AnalyzeArguments) -> Outcome {
    let mut outcome = Outcome::Fine;
    let mut not_met = |reason: String| {
        eprintln!("gate not met: {reason}");
        outcome = Outcome::GateNotMet;
    };
    let bar: Option<Severity> = arguments.fail_on.as_deref().and_then(|severity| severity.parse().ok());
    if let (Some(bar), Some(highest)) = (bar, report.highest_severity().filter(|highest| Some(*highest) >= bar)) {
        let count = report.violations.iter().filter(|violation| violation.severity >= bar).count();
        let verb = if count == 1 { "is" } else { "are" };
        not_met(format!("{} {verb} {bar} or more severe, the worst {highest}", output::number(count, "violation")));
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
        return Outcome::NotDone;
    }
    if !report.errors.is_empty() {
        eprintln!("{}: not everything was evaluated", output::number(report.errors.len(), "error"));
        return Outcome::NotDone;
    }
    outcome
}
