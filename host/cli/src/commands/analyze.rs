//! `analyze`: judges manifests or a live cluster.

use std::fs;
use std::io::stdout;
use std::path::Path;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use kube_devops_cluster::pods::{self, PodQuery};
use kube_devops_cluster::selector::LabelSelector;
use kube_devops_cluster::{policies, policy_file};
use kube_devops_core::report::Extent;
use kube_devops_core::{CheckInfo, Policy, Report, Severity, Source, Subject, SystemNamespaces};
use kube_devops_engine::{Checks, Engine, Limits};

use super::{Outcome, with_cluster};
use crate::arguments::{AnalyzeArguments, ClusterArguments, Selection};
use crate::manifests::{self, Manifests, ReadOptions};
use crate::output::{self, Shown};
use crate::progress::Progress;
use crate::terminal;

/// Carries out the command.
pub fn run(cluster: &ClusterArguments, arguments: &AnalyzeArguments, program: &str) -> Result<Outcome> {
    let engine = Engine::new(Limits::default())?;
    let checks = Checks::new(kube_devops_modules::checks(&engine)?, engine.limits().clone());
    let policy = match (&arguments.bundle, &arguments.policy) {
        (Some(bundle), _) => super::policy::find_bundle(&engine, bundle)?.policy(),
        (None, Some(file)) => read_policy(file)?,
        (None, None) => checks.policy_of_all(),
    };
    let rules = checks.rule_set(&policy)?;
    let infos: Vec<CheckInfo> = checks.infos().cloned().collect();

    let mut judged = if arguments.filenames.is_empty() {
        read_cluster(cluster, &arguments.selection)?
    } else {
        read_manifests(arguments)?
    };
    judged.leave_out_system(arguments);
    let outcomes = {
        let _progress = Progress::new("judging");
        rules.evaluate(&judged.subjects, None)
    };
    let report = Report::new(&judged.subjects, &outcomes, judged.extent);
    if report.subjects == 0 && report.errors.is_empty() {
        eprintln!("warning: nothing was judged: no pod and no workload was found in {}", judged.target);
    }
    let shown = Shown {
        report: &report,
        checks: &infos,
        target: &judged.target,
        program,
        colours: terminal::colours(),
        width: terminal::width(),
        line_of: &|source: &Source, field: Option<&str>| judged.manifests.line_of(source, field),
    };
    output::write(arguments.output, &shown, &mut stdout().lock()).context("the report cannot be written")?;
    Ok(outcome(&report, arguments))
}

/// What is to be judged.
struct Judged {
    subjects: Vec<Subject>,
    extent: Extent,
    /// In words.
    target: String,
    /// The texts that subjects came from; empty for a cluster.
    manifests: Manifests,
}

impl Judged {
    fn leave_out_system(&mut self, arguments: &AnalyzeArguments) {
        if arguments.include_system {
            return;
        }
        let system = SystemNamespaces::default().and(arguments.system_namespaces.iter().cloned());
        let before = self.subjects.len();
        self.subjects.retain(|subject| !system.contains(&subject.namespace));
        self.extent.excluded = before - self.subjects.len();
    }
}

fn read_cluster(cluster: &ClusterArguments, selection: &Selection) -> Result<Judged> {
    let query = PodQuery { namespaces: selection.namespaces.clone(), selector: selection.selector.clone() };
    with_cluster(cluster, async |connection| {
        let progress = Progress::new("listing pods");
        let extracted = pods::subjects(&connection, &query, |count| progress.set(count)).await?;
        let target = match &connection.context {
            Some(context) => format!("{} (context {context})", connection.server),
            None => connection.server.clone(),
        };
        Ok(Judged {
            subjects: extracted.subjects,
            extent: Extent { finished: extracted.finished, ..Extent::default() },
            target,
            manifests: Manifests::default(),
        })
    })
}

fn read_manifests(arguments: &AnalyzeArguments) -> Result<Judged> {
    let selection = &arguments.selection;
    let selector = selection.selector.as_deref().map(LabelSelector::parse).transpose()?;
    let options =
        ReadOptions { now: Utc::now(), default_namespace: "default".to_owned(), limits: manifests::Limits::default() };
    let mut read = {
        let _progress = Progress::new("reading manifests");
        manifests::read(&arguments.filenames, &options)
    };
    let mut subjects = std::mem::take(&mut read.subjects);
    subjects.retain(|subject| {
        let in_namespace = selection.namespaces.is_empty() || selection.namespaces.contains(&subject.namespace);
        in_namespace && selector.as_ref().is_none_or(|selector| selector.matches(&subject.labels))
    });
    let paths: Vec<_> = arguments.filenames.iter().map(|path| path.display().to_string()).collect();
    Ok(Judged { subjects, extent: std::mem::take(&mut read.extent), target: paths.join(", "), manifests: read })
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
    if let Some(bar) = arguments.min_score.filter(|bar| report.score < *bar) {
        not_met(format!("the health score {} is below {bar}", report.score));
    }
    if let Some(bar) = arguments.min_compliance.filter(|bar| report.compliance < *bar) {
        not_met(format!("the compliance of {} % is below {bar} %", report.compliance));
    }
    if !report.errors.is_empty() {
        eprintln!("{}: not everything could be judged", output::number(report.errors.len(), "error"));
        return Outcome::NotDone;
    }
    outcome
}
