//! The outcome of the evaluation of a list of subjects by one check.

use std::sync::Arc;

use crate::Severity;

/// A finding of a check about a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The index of the subject in the evaluated list.
    pub subject: usize,
    /// The index of the container in the subject, or `None` for the whole pod.
    pub container: Option<u32>,
    /// The JSON Pointer relative to the container, or to the spec of the pod.
    pub field: Option<Arc<str>>,
    /// The message: one sentence.
    pub message: Arc<str>,
    /// The factor for the weight of the check.
    pub magnitude: u32,
}

/// A missing value that remediates a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The id of the check that requires it.
    pub check: String,
    /// The name of the container that `field` is relative to, or `None` for the spec of the pod.
    pub container: Option<String>,
    /// The JSON Pointer to the value.
    pub field: String,
    /// The value, as JSON text.
    pub value: String,
}

/// The result of a check for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The check does not apply to the subject, such as a runtime check to a subject without status.
    NotApplicable,
    /// No finding.
    Passed,
    /// At least one finding.
    Failed,
    /// The evaluation failed; never counted as a pass.
    NotEvaluated,
}

/// The outcome of a check for a list of subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The id of the check.
    pub check: String,
    /// The title of its violations.
    pub title: String,
    /// The severity of its violations, from the policy or the check.
    pub severity: Severity,
    /// The cost of a violation.
    pub weight: u32,
    /// The result for each subject.
    pub results: Vec<CheckResult>,
    /// The findings, sorted by subject.
    pub findings: Vec<Finding>,
    /// The errors of the subjects that were not evaluated.
    pub errors: Vec<EvaluationError>,
}

/// An evaluation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check {check}{} failed: {cause}", of_module(module))]
pub struct EvaluationError {
    /// The id of the check.
    pub check: String,
    /// The digest of the module that failed.
    pub module: String,
    /// The cause.
    pub cause: String,
    /// Whether the cause is a timeout.
    pub timed_out: bool,
    /// The indices of the subjects that were not evaluated.
    pub subjects: Vec<usize>,
}

/// Names the module, if there is one.
pub(crate) fn of_module(module: &str) -> String {
    if module.is_empty() { String::new() } else { format!(" (module {module})") }
}

impl CheckOutcome {
    /// Reserves memory for outcomes that are appended. Repeated growth would copy them, and need twice the memory at the end.
    pub fn reserve<'a>(&mut self, others: impl Iterator<Item = &'a Self> + Clone) {
        self.results.reserve_exact(others.clone().map(|other| other.results.len()).sum());
        self.findings.reserve_exact(others.map(|other| other.findings.len()).sum());
    }

    /// Appends the outcome of the same check for further subjects.
    pub fn append(&mut self, other: Self) {
        let first = self.results.len();
        self.results.extend(other.results);
        self.findings
            .extend(other.findings.into_iter().map(|finding| Finding { subject: finding.subject + first, ..finding }));
        for mut error in other.errors {
            error.subjects.iter_mut().for_each(|subject| *subject += first);
            match self.errors.iter_mut().find(|known| known.module == error.module && known.cause == error.cause) {
                Some(known) => known.subjects.extend(error.subjects),
                None => self.errors.push(error),
            }
        }
    }
}
