//! The report: what the outcomes of the checks amount to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::outcome::{CheckOutcome, Finding, Judgement};
use crate::policy_fields::POLICY_FIELDS;
use crate::score::{Classification, Grade, HIGHEST_MAGNITUDE};
use crate::subject::{Container, Controller, Source, Subject};
use crate::tally::Tally;

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
    pub not_judged: usize,
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

/// A finding with the policy's severity and the check's weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The id of the check.
    pub check: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What it costs.
    pub weight: u32,
    /// How many times it costs that.
    pub magnitude: u32,
    /// The namespace of the object.
    pub namespace: Arc<str>,
    /// The kind of the object.
    pub kind: Arc<str>,
    /// The name of the object.
    pub name: Arc<str>,
    /// The object that controls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub controller: Option<Arc<Controller>>,
    /// The container to blame.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<Arc<str>>,
    /// JSON Pointer into the object to the one place to blame. The place need not exist.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<Arc<str>>,
    /// What is wrong.
    pub message: Arc<str>,
    /// Where the object was read, when it came from a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
}

impl Violation {
    /// What the violation takes off the score, before the average: weight x magnitude.
    pub fn penalty(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.magnitude)
    }

    /// The violation in one line, as the status of a policy lists it.
    pub fn line(&self) -> String {
        let kind = self.kind.to_lowercase();
        match &self.container {
            Some(container) => format!("{kind}/{}: container {container}: {}", self.name, self.message),
            None => format!("{kind}/{}: {}", self.name, self.message),
        }
    }
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
        let mut cluster = Tally::default();
        let mut namespaces: BTreeMap<&str, Tally> = BTreeMap::new();
        for subject in subjects {
            let counted = usize::from(!subject.is_owned);
            cluster.subjects += counted;
            namespaces.entry(&subject.namespace).or_default().subjects += counted;
        }
        // Reports can have hundreds of thousands of violations: growing step by step would need twice the room at the end.
        let mut violations = Vec::with_capacity(outcomes.iter().map(|outcome| outcome.findings.len()).sum());
        let mut errors = extent.errors;
        let mut checks = Vec::with_capacity(outcomes.len());
        let mut fields = Fields::default();
        for outcome in outcomes {
            let mut check = CheckReport {
                id: outcome.check.clone(),
                title: outcome.title.clone(),
                severity: outcome.severity,
                passed: 0,
                failed: 0,
                not_judged: 0,
                violations: outcome.findings.len(),
                magnitudes: 0,
            };
            for (subject, judgement) in subjects.iter().zip(&outcome.judgements) {
                let failed = match judgement {
                    Judgement::NotApplicable => continue,
                    Judgement::NotJudged => {
                        check.not_judged += 1;
                        continue;
                    }
                    Judgement::Passed => false,
                    Judgement::Failed => true,
                };
                *(if failed { &mut check.failed } else { &mut check.passed }) += 1;
                cluster.compliance.add(outcome.weight, failed);
                if let Some(tally) = namespaces.get_mut(&*subject.namespace) {
                    tally.compliance.add(outcome.weight, failed);
                }
            }
            let id: Arc<str> = outcome.check.as_str().into();
            for finding in &outcome.findings {
                let Some(subject) = subjects.get(finding.subject) else { continue };
                let violation = outcome.violation(&id, finding, subject, &mut fields);
                check.magnitudes += u64::from(violation.magnitude);
                cluster.count(&violation);
                if let Some(tally) = namespaces.get_mut(&*violation.namespace) {
                    tally.count(&violation);
                }
                violations.push(violation);
            }
            errors.extend(outcome.errors.iter().map(|error| not_judged(error, subjects)));
            checks.push(check);
        }
        violations.sort_unstable_by(|one, other| sort_key(one).cmp(&sort_key(other)));
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
            namespaces: namespaces.iter().map(|(name, tally)| NamespaceReport::new(name, tally)).collect(),
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
    pub fn new(name: &str, tally: &Tally) -> Self {
        Self {
            name: name.to_owned(),
            score: tally.score(),
            classification: tally.classification(),
            compliance: tally.compliance.percent(),
            grade: tally.grade(),
            subjects: tally.subjects,
            violations: tally.violations,
        }
    }
}

impl CheckOutcome {
    /// A finding of this check about `subject` as a violation. `check` is the id of the check.
    pub(crate) fn violation(
        &self,
        check: &Arc<str>,
        finding: &Finding,
        subject: &Subject,
        fields: &mut Fields,
    ) -> Violation {
        let container = finding.container.and_then(|index| subject.containers.get(index));
        let field = match (container, &finding.field) {
            (Some(container), field) => {
                let field = field.as_deref().unwrap_or_default();
                Some(fields.shared(format_args!("{}{}{field}", subject.spec_pointer, container.pointer())))
            }
            (None, Some(field)) => Some(fields.shared(format_args!("{}{field}", subject.spec_pointer))),
            (None, None) => None,
        };
        Violation {
            check: check.clone(),
            severity: self.severity,
            weight: self.weight,
            magnitude: finding.magnitude.clamp(1, HIGHEST_MAGNITUDE),
            namespace: subject.namespace.clone(),
            kind: subject.kind.clone(),
            name: subject.name.clone(),
            controller: subject.controller.clone(),
            container: container.map(Container::shared_title),
            message: finding.message.clone(),
            source: subject.source.clone().map(|source| {
                let line = field.as_deref().and_then(|field| subject.line_of(field));
                Source { line: line.unwrap_or(source.line), ..source }
            }),
            field,
        }
    }
}

/// The fields of violations. Most violations of a report are about the same few, and share their texts.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    known: HashSet<Arc<str>>,
    text: String,
}

impl Fields {
    fn shared(&mut self, field: fmt::Arguments<'_>) -> Arc<str> {
        self.text.clear();
        // Writing to a text cannot fail.
        let _ = self.text.write_fmt(field);
        if let Some(known) = self.known.get(self.text.as_str()) {
            return known.clone();
        }
        let new: Arc<str> = self.text.as_str().into();
        self.known.insert(new.clone());
        new
    }
}

fn sort_key(violation: &Violation) -> impl Ord + '_ {
    (
        (&violation.namespace, &violation.kind, &violation.name, violation.source.as_ref().map(Source::object)),
        (&violation.container, &violation.check, &violation.field, &violation.message),
    )
}

fn not_judged(error: &crate::EvaluationError, subjects: &[Subject]) -> ReportError {
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
