//! What `analyze` and `multi-cluster analyze` share: the rules, the report and the gates.

use std::borrow::Borrow;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::text::number;
use kube_devops_core::{CheckInfo, CheckOutcome, Needs, Policy, Report, Stage, Subject, SystemNamespaces};
use kube_devops_engine::{Checks, RuleSet};

use super::policy::{FilePolicy, read_one};
use super::{Outcome, report_file};
use crate::arguments::{ClusterArguments, EvaluationArguments};
use crate::modules;
use crate::output::{self, Shown};
use crate::terminal::{self, print_message, print_note};

/// The rules to evaluate with, and the output of the report.
pub struct Evaluator<'a> {
    rules: RuleSet,
    checks: Vec<CheckInfo>,
    arguments: &'a EvaluationArguments,
    program: &'a str,
}

impl<'a> Evaluator<'a> {
    /// Loads the rules of the selected bundle or policy, or of all checks. `inputs` are the files that are read for the objects.
    pub fn new(
        cluster: &ClusterArguments,
        arguments: &'a EvaluationArguments,
        inputs: &[&[PathBuf]],
        program: &'a str,
    ) -> Result<Self> {
        let kubeconfigs = kubeconfigs(cluster);
        let inputs = inputs.iter().copied().flatten().chain(&kubeconfigs).chain(&arguments.policy);
        report_file::check(&arguments.outputs, inputs.map(PathBuf::as_path).chain(arguments.modules.files()))?;
        let catalog = modules::catalog(&arguments.modules, cluster)?;
        let checks = catalog.checks();
        let policy = match (&arguments.bundle, &arguments.policy) {
            (Some(bundle), _) => modules::bundle(&catalog, bundle)?.policy(),
            (None, Some(file)) => read_policy(file, &checks)?,
            (None, None) => checks.policy_of_all(),
        };
        let is_disabled = |id: &&String| policy.rules.iter().all(|rule| rule.check != **id);
        let unused: Vec<&str> = catalog.added().iter().filter(is_disabled).map(String::as_str).collect();
        if !unused.is_empty() {
            let message = format!(
                "the policy does not enable these checks of modules, which are not evaluated: {}; enable them in `checks` of a policy",
                unused.join(", ")
            );
            print_message("warning", &message);
        }
        let rules = checks.rule_set(&policy)?;
        Ok(Self { rules, checks: checks.infos().cloned().collect(), arguments, program })
    }

    /// Returns what the rules need in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        self.rules.needs()
    }

    /// Evaluates subjects.
    pub fn evaluate(&self, subjects: &[Subject]) -> Vec<CheckOutcome> {
        self.rules.evaluate(subjects)
    }

    /// Prints a warning if there are subjects, but no check applies to one of them.
    pub fn warn_if_inapplicable(&self, report: &Report, target: &str) {
        if let Some(reason) = inapplicable(report, &self.checks, target) {
            print_message("warning", &format!("nothing was evaluated: {reason}"));
        }
    }

    /// Writes the report in all formats. `target` describes the origin of the subjects.
    pub fn write(&self, report: &Report, target: &str, per_cluster: bool) -> Result<()> {
        let modules = self.arguments.modules.modules.iter();
        let module_arguments: String = modules.map(|reference| format!(" --module {reference}")).collect();
        let shown = Shown {
            report,
            checks: &self.checks,
            target,
            program: self.program,
            module_arguments: &module_arguments,
            per_cluster,
            colours: terminal::colours(),
            width: terminal::width(),
        };
        for target in &self.arguments.outputs {
            match &target.file {
                None => terminal::write_out(|out| output::write(target.format, &shown, out))
                    .context("failed to write the report")?,
                Some(file) => {
                    let shown = Shown { colours: false, ..shown };
                    // The reader of a pipe may need no more, too.
                    let write = |out: &mut dyn Write| output::write(target.format, &shown, out);
                    report_file::write(file, |out| Ok(terminal::write_unless_closed(out, write)?))
                        .with_context(|| format!("failed to write the report to {}", file.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// The files that the access to a cluster is read from.
fn kubeconfigs(cluster: &ClusterArguments) -> Vec<PathBuf> {
    match (&cluster.kubeconfig, std::env::var_os("KUBECONFIG")) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(files)) => std::env::split_paths(&files).collect(),
        (None, None) => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

fn read_policy(file: &Path, checks: &Checks) -> Result<Policy> {
    let FilePolicy { policy: object, place } = read_one(file)?;
    let name = object.metadata.name.unwrap_or_default();
    let policy = policies::policy(&name, &object.spec, checks).with_context(|| format!("{place}: invalid policy"))?;
    if policy.rules.is_empty() {
        bail!("{place}: {}", RulesError::NoChecks);
    }
    Ok(policy)
}

/// Returns the reason why no check evaluated any of the subjects; `None` if one did, if there are none, or if errors say why.
fn inapplicable(report: &Report, checks: &[CheckInfo], target: &str) -> Option<String> {
    if report.subjects == 0 || report.score.is_some() || !report.errors.is_empty() {
        return None;
    }
    let is_enabled = |info: &&CheckInfo| report.checks.iter().any(|check| check.id == info.id);
    let runtime = checks.iter().filter(is_enabled).filter(|info| info.stage == Stage::Runtime);
    let runtime: Vec<&str> = runtime.map(|info| info.id.as_str()).collect();
    let reason = match runtime.as_slice() {
        [] => String::new(),
        ids => format!("; {}", need_status(ids)),
    };
    Some(format!("none of the checks applies to the pods and workloads in {target}{reason}"))
}

/// The reason why checks do not apply to manifests.
pub fn need_status<S: Borrow<str>>(checks: &[S]) -> String {
    format!("these evaluate the status of pods, which none of them has: {}", checks.join(", "))
}

/// Removes the subjects in system namespaces and returns their number.
pub fn exclude_system_namespaces(subjects: &mut Vec<Subject>, arguments: &EvaluationArguments) -> usize {
    if arguments.include_system {
        return 0;
    }
    let system = SystemNamespaces::default().and(arguments.system_namespaces.iter().cloned());
    let before = subjects.len();
    subjects.retain(|subject| !system.contains(&subject.namespace));
    before - subjects.len()
}

/// Warns that there are no objects to evaluate, as [`empty_reason`] explains.
pub fn warn_that_nothing_was_evaluated(extent: &Extent, target: &str, kinds: [&str; 2]) {
    print_message("warning", &format!("nothing was evaluated: {}", empty_reason(extent, target, kinds)));
}

/// Returns the reason why there are no objects to evaluate, and how to fix it. `kinds` names them, first after "no", then after "all".
fn empty_reason(extent: &Extent, target: &str, kinds: [&str; 2]) -> String {
    let [any, all] = kinds;
    match (extent.excluded, extent.filtered) {
        (0, 0) if extent.scaled_to_zero > 0 => format!("{target} contains only ReplicaSets with 0 replicas"),
        (0, 0) => format!("no {any} found in {target}"),
        (0, filtered) => format!(
            "none of the {all} in {target} match the namespaces and the label selector ({filtered} filtered out)"
        ),
        (excluded, _) => format!(
            "all {all} in {target} are in system namespaces ({excluded} excluded); evaluate them with --include-system"
        ),
    }
}

/// Returns the errors about selected namespaces without pods that may not exist. They are only warnings without a gate: an empty
/// namespace is no fault, but a misspelt one must not meet a gate.
/// `cluster` is one of several.
pub fn report_unverified(
    namespaces: &[String],
    cluster: Option<&str>,
    arguments: &EvaluationArguments,
) -> Vec<ReportError> {
    if has_gate(arguments) || arguments.fail_on_empty {
        return namespaces.iter().map(|namespace| ReportError::new(no_pods(namespace))).collect();
    }
    let cluster = cluster.map(|cluster| format!("cluster {cluster}: ")).unwrap_or_default();
    namespaces.iter().for_each(|namespace| print_message("warning", &format!("{cluster}{}", no_pods(namespace))));
    Vec::new()
}

/// The message about a namespace without pods that may not exist.
pub fn no_pods(namespace: &str) -> String {
    format!(
        "there are no pods in namespace {namespace:?}, and without the permission to get namespaces it is not known whether it exists"
    )
}

fn has_gate(arguments: &EvaluationArguments) -> bool {
    arguments.fail_on.is_some() || arguments.min_score.is_some() || arguments.min_compliance.is_some()
}

/// Compares the report with the gates, and prints those that are not met.
pub fn outcome(report: &Report, arguments: &EvaluationArguments) -> Outcome {
    let mut outcome = Outcome::Success;
    let mut not_met = |reason: String| {
        print_note(&format!("gate not met: {reason}"));
        outcome = Outcome::GateNotMet;
    };
    let bar = arguments.fail_on;
    if let (Some(bar), Some(highest)) = (bar, report.highest_severity().filter(|highest| Some(*highest) >= bar)) {
        let count = report.violations.iter().filter(|violation| violation.severity >= bar).count();
        let violations = number(count, "violation");
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
        not_met(format!("the compliance of {compliance:.1} % is below {bar} %"));
    }
    if report.score.is_none() && (has_gate(arguments) || arguments.fail_on_empty) {
        not_met("nothing was evaluated".to_owned());
    }
    if !report.errors.is_empty() {
        print_note(&format!("{}: not everything was evaluated", number(report.errors.len(), "error")));
        return Outcome::Failure;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use kube_devops_core::report::ReportError;
    use kube_devops_core::{CheckResult, Severity};

    use super::*;

    #[test]
    fn the_reason_for_an_empty_report_names_what_was_left_out() {
        let reason = |extent: Extent| empty_reason(&extent, "one, two", ["pods", "pods"]);
        assert_eq!(reason(Extent::default()), "no pods found in one, two");
        let excluded = reason(Extent { excluded: 3, ..Extent::default() });
        assert_eq!(
            excluded,
            "all pods in one, two are in system namespaces (3 excluded); evaluate them with --include-system"
        );
        let filtered = reason(Extent { filtered: 2, ..Extent::default() });
        assert!(filtered.ends_with("match the namespaces and the label selector (2 filtered out)"), "{filtered}");
    }

    fn report(result: CheckResult, subjects: usize, errors: Vec<ReportError>) -> Report {
        let subjects = vec![Subject { kind: "Pod".into(), name: "web".into(), ..Subject::default() }; subjects];
        let outcome = CheckOutcome {
            check: "pending".to_owned(),
            title: "Pending".to_owned(),
            severity: Severity::Medium,
            weight: 1,
            results: vec![result; subjects.len()],
            findings: Vec::new(),
            errors: Vec::new(),
        };
        Report::new(&subjects, vec![outcome], Default::default(), errors)
    }

    #[test]
    fn checks_that_apply_to_nothing_are_named() {
        let info = |id: &str, stage| CheckInfo {
            id: id.to_owned(),
            title: String::new(),
            description: String::new(),
            rationale: String::new(),
            remedy: String::new(),
            stage,
            severity: Severity::Medium,
            weight: 1,
            settings_schema: serde_json::Value::Null,
            default_settings: serde_json::Value::Null,
            needs_annotations: false,
            remediates: false,
            url: None,
        };
        let checks = [info("pending", Stage::Runtime), info("disabled", Stage::Runtime)];
        let reason = |report: &Report| inapplicable(report, &checks, "a.yaml");
        let found = reason(&report(CheckResult::NotApplicable, 2, Vec::new())).unwrap_or_default();
        assert!(found.starts_with("none of the checks applies to the pods and workloads in a.yaml;"), "{found}");
        assert!(found.ends_with("which none of them has: pending"), "{found}");
        assert_eq!(reason(&report(CheckResult::Passed, 1, Vec::new())), None);
        assert_eq!(reason(&report(CheckResult::NotApplicable, 0, Vec::new())), None);
        let errors = vec![ReportError::new("damaged".to_owned())];
        assert_eq!(reason(&report(CheckResult::NotApplicable, 1, errors)), None);
    }
}
