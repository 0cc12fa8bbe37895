//! The report: what the outcomes of the checks amount to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::outcome::{CheckOutcome, CheckResult};
use crate::policy_fields::POLICY_FIELDS;
use crate::score::{Classification, Grade};
use crate::subject::{Source, Subject};
use crate::totals::Totals;
use crate::violation::{Fields, Violation};

/// What was found in a set of subjects. Its JSON form only ever grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The health score, 0 to 100; null where nothing was evaluated.
    pub score: Option<u8>,
    /// What the score means; null where nothing was evaluated.
    pub classification: Option<Classification>,
    /// The weighted share of (subject, check) pairs that passed, in percent; null where nothing was evaluated.
    pub compliance: Option<f64>,
    /// What the compliance means; null where nothing was evaluated.
    pub grade: Option<Grade>,
    /// How many pods and pod templates were evaluated. Pods of a workload that is evaluated itself are not counted again.
    pub subjects: usize,
    /// Pods that have finished or are being deleted, and so were not evaluated.
    pub finished: usize,
    /// How many objects of each kind run no pods that could be evaluated.
    pub ignored: BTreeMap<String, usize>,
    /// Objects of unknown kinds with a list of containers in them, which were not evaluated. They are counted as ignored too.
    #[serde(default)]
    pub not_evaluated: Vec<NotEvaluated>,
    /// Subjects in system namespaces, and so not evaluated.
    pub excluded: usize,
    /// Subjects outside of the namespaces that were asked for, or without the labels.
    #[serde(default)]
    pub filtered: usize,
    /// Pod templates that another object of the same input made, and so are not evaluated again.
    #[serde(default)]
    pub owned: usize,
    /// ReplicaSets of 0 replicas, which are not evaluated.
    #[serde(default)]
    pub scaled_to_zero: usize,
    /// Files that were left out because a kustomization names them as patches.
    #[serde(default)]
    pub patches: usize,
    /// Files that were left out by `--exclude` or a `.kube-devopsignore`.
    #[serde(default)]
    pub excluded_files: usize,
    /// One entry a check.
    pub checks: Vec<CheckReport>,
    /// One entry a namespace, by name.
    pub namespaces: Vec<NamespaceReport>,
    /// All violations, by namespace, kind, name, check and place.
    pub violations: Vec<Violation>,
    /// What could not be read or judged. A report with errors is not a pass.
    pub errors: Vec<ReportError>,
}

/// What a check gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// The id of the check.
    pub id: String,
    /// The line that names its violations.
    pub title: String,
    /// The severity of its violations.
    pub severity: Severity,
    /// Subjects that passed.
    pub passed: usize,
    /// Subjects with at least one violation.
    pub failed: usize,
    /// Subjects that could not be judged.
    pub not_evaluated: usize,
    /// Violations; a subject can have several.
    pub violations: usize,
    /// The sum of the magnitudes of the violations.
    pub magnitudes: u64,
}

/// What was found in a namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    /// The name.
    pub name: String,
    /// The health score of its subjects.
    pub score: u8,
    /// What the score means.
    pub classification: Classification,
    /// The compliance of its subjects, in percent.
    pub compliance: f64,
    /// What the compliance means.
    pub grade: Grade,
    /// How many pods and pod templates were judged.
    pub subjects: usize,
    /// How many violations there are.
    pub violations: usize,
}

/// An object that seems to run containers, of a kind whose pods cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotEvaluated {
    /// The `apiVersion` of the object.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty where it names none.
    pub namespace: String,
    /// Its name; empty where it has none.
    pub name: String,
    /// Where the object was read.
    pub source: Option<Source>,
}

/// Something that could not be read or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportError {
    /// What went wrong and how to mend it.
    pub message: String,
    /// The check that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<String>,
    /// Where, when it came from a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
}

/// What a report says beside the outcomes of the checks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extent {
    /// Pods that have finished or are being deleted.
    pub finished: usize,
    /// Objects that run no pods, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Objects of unknown kinds that seem to run containers.
    pub not_evaluated: Vec<NotEvaluated>,
    /// Subjects in system namespaces.
    pub excluded: usize,
    /// Subjects that were not asked for.
    pub filtered: usize,
    /// Pod templates that another object of the same input made.
    pub owned: usize,
    /// ReplicaSets of 0 replicas.
    pub scaled_to_zero: usize,
    /// Files that a kustomization names as patches.
    pub patches: usize,
    /// Files that the user left out.
    pub excluded_files: usize,
    /// What could not be read.
    pub errors: Vec<ReportError>,
}

impl Report {
    /// Adds up what the checks found in `subjects`.
    pub fn new(subjects: &[Subject], outcomes: Vec<CheckOutcome>, extent: Extent) -> Self {
        let mut errors = extent.errors;
        errors.extend(outcomes.iter().flat_map(|outcome| &outcome.errors).map(|error| not_evaluated(error, subjects)));
        let Summary { cluster, namespaces, checks, violations } = Summary::of(subjects, &outcomes);
        let evaluated = cluster.subjects > 0;
        Self {
            score: evaluated.then(|| cluster.score()),
            classification: evaluated.then(|| cluster.classification()),
            compliance: evaluated.then(|| cluster.compliance.percent()),
            grade: evaluated.then(|| cluster.grade()),
            subjects: cluster.subjects,
            finished: extent.finished,
            ignored: extent.ignored,
            not_evaluated: extent.not_evaluated,
            excluded: extent.excluded,
            filtered: extent.filtered,
            owned: extent.owned,
            scaled_to_zero: extent.scaled_to_zero,
            patches: extent.patches,
            excluded_files: extent.excluded_files,
            checks,
            namespaces,
            violations,
            errors,
        }
    }

    /// The highest severity of any violation.
    pub fn highest_severity(&self) -> Option<Severity> {
        self.violations.iter().map(|violation| violation.severity).max()
    }

    /// The lines of the summary that stand for checks: label and number, in their order.
    pub fn summary(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        POLICY_FIELDS.iter().map(|field| {
            let check = self.checks.iter().find(|check| check.id == field.check);
            let number =
                check.map_or(
                    0,
                    |check| {
                        if field.summary_adds_magnitudes { check.magnitudes } else { check.violations as u64 }
                    },
                );
            (field.summary_label, number)
        })
    }
}

impl NamespaceReport {
    /// The totals of the subjects of a namespace.
    pub fn new(name: &str, totals: &Totals) -> Self {
        Self {
            name: name.to_owned(),
            score: totals.score(),
            classification: totals.classification(),
            compliance: totals.compliance.percent(),
            grade: totals.grade(),
            subjects: totals.subjects,
            violations: totals.violations,
        }
    }
}

/// What the outcomes come to.
struct Summary {
    cluster: Totals,
    namespaces: Vec<NamespaceReport>,
    checks: Vec<CheckReport>,
    violations: Vec<Violation>,
}

impl Summary {
    /// Adds up subject by subject in the order of the report: to sort the subjects is cheaper than to sort the violations.
    fn of(subjects: &[Subject], outcomes: &[CheckOutcome]) -> Self {
        let object = |index: &usize| {
            let Subject { namespace, kind, name, source, .. } = &subjects[*index];
            (namespace, kind, name, source.as_ref().map(Source::object))
        };
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        order.sort_unstable_by(|one, other| object(one).cmp(&object(other)));
        let mut sums: Vec<_> = outcomes.iter().map(|outcome| CheckSum::new(outcome, subjects.len())).collect();
        // Reports can have hundreds of thousands of violations: growing step by step would need twice the room at the end.
        let mut violations = Vec::with_capacity(outcomes.iter().map(|outcome| outcome.findings.len()).sum());
        let mut fields = Fields::default();
        let (mut cluster, mut namespaces) = (Totals::default(), Vec::new());
        for of_namespace in order.chunk_by(|one, other| subjects[*one].namespace == subjects[*other].namespace) {
            let mut totals = Totals::default();
            for of_object in of_namespace.chunk_by(|one, other| object(one) == object(other)) {
                let first = violations.len();
                for &index in of_object {
                    totals.subjects += usize::from(!subjects[index].is_owned);
                    for sum in &mut sums {
                        sum.add(index, &subjects[index], &mut totals, &mut fields, &mut violations);
                    }
                }
                violations[first..].sort_unstable_by(|one, other| one.place().cmp(&other.place()));
            }
            cluster.add(&totals);
            let name = of_namespace.first().map_or("", |index| &*subjects[*index].namespace);
            namespaces.push(NamespaceReport::new(name, &totals));
        }
        Self { cluster, namespaces, checks: sums.into_iter().map(|sum| sum.report).collect(), violations }
    }
}

/// The sum of what a check gave.
struct CheckSum<'a> {
    outcome: &'a CheckOutcome,
    id: Arc<str>,
    /// The position of the first finding about each subject, and behind the last.
    starts: Vec<u32>,
    report: CheckReport,
}

impl<'a> CheckSum<'a> {
    fn new(outcome: &'a CheckOutcome, subjects: usize) -> Self {
        let mut starts = Vec::with_capacity(subjects + 1);
        let mut position = 0;
        for subject in 0..=subjects {
            while outcome.findings.get(position).is_some_and(|finding| finding.subject < subject) {
                position += 1;
            }
            starts.push(position as u32);
        }
        let report = CheckReport {
            id: outcome.check.clone(),
            title: outcome.title.clone(),
            severity: outcome.severity,
            passed: 0,
            failed: 0,
            not_evaluated: 0,
            violations: outcome.findings.len(),
            magnitudes: 0,
        };
        Self { outcome, id: outcome.check.as_str().into(), starts, report }
    }

    /// Adds what the check gave about the subject at `index`.
    fn add(
        &mut self,
        index: usize,
        subject: &Subject,
        totals: &mut Totals,
        fields: &mut Fields,
        violations: &mut Vec<Violation>,
    ) {
        match self.outcome.results.get(index) {
            Some(CheckResult::Passed) => {
                self.report.passed += 1;
                totals.compliance.add(self.outcome.weight, false);
            }
            Some(CheckResult::Failed) => {
                self.report.failed += 1;
                totals.compliance.add(self.outcome.weight, true);
            }
            Some(CheckResult::NotEvaluated) => self.report.not_evaluated += 1,
            Some(CheckResult::NotApplicable) | None => {}
        }
        for finding in &self.outcome.findings[self.starts[index] as usize..self.starts[index + 1] as usize] {
            let violation = self.outcome.violation(&self.id, finding, subject, fields);
            self.report.magnitudes += u64::from(violation.magnitude);
            totals.count(&violation);
            violations.push(violation);
        }
    }
}

fn not_evaluated(error: &crate::EvaluationError, subjects: &[Subject]) -> ReportError {
    const MOST_NAMED: usize = 3;
    let names: BTreeSet<String> = error
        .subjects
        .iter()
        .filter_map(|&index| subjects.get(index))
        .map(|subject| format!("{} {}/{}", subject.kind, subject.namespace, subject.name))
        .collect();
    let mut named = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMED {
        named.push_str(&format!(" and {} more", names.len() - MOST_NAMED));
    }
    ReportError {
        message: format!("check {} (module {}) could not judge {named}: {}", error.check, error.module, error.cause),
        check: Some(error.check.clone()),
        source: match error.subjects.as_slice() {
            [only] => subjects.get(*only).and_then(|subject| subject.source.clone()),
            _ => None,
        },
    }
}
