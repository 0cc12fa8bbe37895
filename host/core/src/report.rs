//! The report on the outcomes of the checks.

mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::outcome::CheckOutcome;
use crate::policy_fields::POLICY_FIELDS;
pub use crate::report_error::ReportError;
use crate::score::{Classification, Grade};
use crate::subject::{Source, Subject};
use crate::totals::Totals;
use crate::violation::Violation;

use summary::Summary;

/// The results of the evaluation of a set of subjects. New versions only add fields to the JSON form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The health score, 0 to 100; null if nothing was evaluated: there are no subjects, or no check applies to one of them.
    pub score: Option<u8>,
    /// The classification of the score; null if nothing was evaluated.
    pub classification: Option<Classification>,
    /// The weighted share of (subject, check) pairs that passed, in percent; null if nothing was evaluated.
    pub compliance: Option<f64>,
    /// The grade of the compliance; null if nothing was evaluated.
    pub grade: Option<Grade>,
    /// The number of evaluated pods and pod templates. The pods of an evaluated workload are not counted again.
    pub subjects: usize,
    /// What was not evaluated.
    #[serde(flatten)]
    pub extent: Extent,
    /// One entry per check.
    pub checks: Vec<CheckReport>,
    /// One entry per cluster, the lowest score first; absent in the report on manifests or on one cluster.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub clusters: Vec<ClusterReport>,
    /// One entry per namespace in which something was evaluated, sorted by cluster and name.
    pub namespaces: Vec<NamespaceReport>,
    /// All violations, sorted by cluster, namespace, kind, name, check and field.
    pub violations: Vec<Violation>,
    /// The errors of input that could not be read or evaluated. A report with errors is not a pass.
    pub errors: Vec<ReportError>,
}

/// The results of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// The id of the check.
    pub id: String,
    /// The title of its violations.
    pub title: String,
    /// The severity of its violations.
    pub severity: Severity,
    /// The number of subjects that passed.
    pub passed: usize,
    /// The number of subjects with at least one violation.
    pub failed: usize,
    /// The number of subjects that could not be evaluated.
    pub not_evaluated: usize,
    /// The number of violations; a subject can have several.
    pub violations: usize,
    /// The sum of the magnitudes of the violations.
    pub magnitudes: u64,
}

/// The results of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The name: the context of the kubeconfig.
    pub name: String,
    /// Whether the pods of the cluster could be listed. If not, the report has an error of this cluster.
    pub evaluated: bool,
    /// The health score of its subjects; null if nothing was evaluated.
    pub score: Option<u8>,
    /// The classification of the score; null if nothing was evaluated.
    pub classification: Option<Classification>,
    /// The compliance of its subjects, in percent; null if nothing was evaluated.
    pub compliance: Option<f64>,
    /// The grade of the compliance; null if nothing was evaluated.
    pub grade: Option<Grade>,
    /// The number of evaluated pods.
    pub subjects: usize,
    /// The number of violations.
    pub violations: usize,
}

/// The results of a namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    /// The cluster; absent in the report on manifests or on one cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<Arc<str>>,
    /// The name.
    pub name: String,
    /// The health score of its subjects.
    pub score: u8,
    /// The classification of the score.
    pub classification: Classification,
    /// The compliance of its subjects, in percent.
    pub compliance: f64,
    /// The grade of the compliance.
    pub grade: Grade,
    /// The number of evaluated pods and pod templates.
    pub subjects: usize,
    /// The number of violations.
    pub violations: usize,
}

/// An object whose containers were not evaluated: of an unknown kind, or from a kustomization that has to be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotEvaluated {
    /// The `apiVersion` of the object.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// The rest of a sentence about the object: why it was not evaluated, and how to evaluate it if there is a way.
    #[serde(default)]
    pub reason: String,
    /// The file that the object was read from.
    pub source: Option<Source>,
}

/// What the input contains besides the evaluated subjects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extent {
    /// The number of pods that were not evaluated because they have finished or are being deleted.
    pub finished: usize,
    /// The number of objects without pods to evaluate, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Objects of unknown kinds and kustomizations with containers that were not evaluated; also counted in `ignored` if none were evaluated.
    #[serde(default)]
    pub not_evaluated: Vec<NotEvaluated>,
    /// The number of subjects that were not evaluated because they are in excluded namespaces.
    pub excluded: usize,
    /// The number of subjects that do not match the selected namespaces or labels.
    #[serde(default)]
    pub filtered: usize,
    /// The number of pod templates that were not evaluated because another object of the input created them.
    #[serde(default)]
    pub owned: usize,
    /// The number of ReplicaSets with 0 replicas, which are not evaluated.
    #[serde(default)]
    pub scaled_to_zero: usize,
    /// The number of files that were skipped because a kustomization uses them as patches.
    #[serde(default)]
    pub patches: usize,
    /// The number of files that were excluded by `--exclude` or a `.kube-devopsignore` file.
    #[serde(default)]
    pub excluded_files: usize,
    /// The number of files that were skipped because their names have a leading dot, although kubectl reads them.
    #[serde(default)]
    pub hidden_files: usize,
}

impl Extent {
    /// Adds that of another input.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.finished += other.finished;
        for (kind, count) in other.ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
        self.not_evaluated.append(&mut other.not_evaluated);
        self.excluded += other.excluded;
        self.filtered += other.filtered;
        self.owned += other.owned;
        self.scaled_to_zero += other.scaled_to_zero;
        self.patches += other.patches;
        self.excluded_files += other.excluded_files;
        self.hidden_files += other.hidden_files;
    }
}

impl Report {
    /// Creates the report on the outcomes of the checks for `subjects`. `errors` are those of input that could not be read.
    pub fn new(subjects: &[Subject], outcomes: Vec<CheckOutcome>, extent: Extent, errors: Vec<ReportError>) -> Self {
        Self::with_totals(subjects, outcomes, extent, errors).0
    }

    /// Creates the report, and the totals of its scores.
    pub(crate) fn with_totals(
        subjects: &[Subject],
        outcomes: Vec<CheckOutcome>,
        extent: Extent,
        mut errors: Vec<ReportError>,
    ) -> (Self, Totals) {
        errors.extend(
            outcomes.iter().flat_map(|outcome| &outcome.errors).map(|error| ReportError::of_check(error, subjects)),
        );
        let Summary { cluster, namespaces, checks, violations } = Summary::of(subjects, &outcomes);
        let mut report = Self {
            score: None,
            classification: None,
            compliance: None,
            grade: None,
            subjects: 0,
            extent,
            checks,
            clusters: Vec::new(),
            namespaces,
            violations,
            errors,
        };
        report.set_totals(&cluster);
        (report, cluster)
    }

    /// Sets the scores and the number of subjects.
    pub(crate) fn set_totals(&mut self, totals: &Totals) {
        let evaluated = totals.is_evaluated();
        self.score = evaluated.then(|| totals.score());
        self.classification = evaluated.then(|| totals.classification());
        self.compliance = evaluated.then(|| totals.compliance.percent());
        self.grade = evaluated.then(|| totals.grade());
        self.subjects = totals.subjects;
    }

    /// Returns the highest severity of all violations.
    pub fn highest_severity(&self) -> Option<Severity> {
        self.violations.iter().map(|violation| violation.severity).max()
    }

    /// Returns the lines of the summary for checks, in order: label and number.
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
    /// Creates the report on a namespace from the totals of its subjects.
    pub fn new(name: &str, totals: &Totals) -> Self {
        Self {
            cluster: None,
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
