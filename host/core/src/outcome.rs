//! What the evaluation of one check on a list of subjects gives.

use std::sync::Arc;

use crate::Severity;

/// What a check answers about a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index into the subjects that were evaluated.
    pub subject: usize,
    /// Index into that subject's containers; none: the whole pod.
    pub container: Option<usize>,
    /// JSON Pointer relative to the container, or to the pod's spec.
    pub field: Option<String>,
    /// One sentence.
    pub message: Arc<str>,
    /// How many times the check's weight it costs.
    pub magnitude: u32,
}

/// One value that would mend a subject, where it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The id of the check that asks for it.
    pub check: String,
    /// The name of the container that `field` is relative to; none: the pod's spec.
    pub container: Option<String>,
    /// JSON Pointer.
    pub field: String,
    /// JSON text.
    pub value: String,
}

/// What became of a check on one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The check has nothing to say about it: a runtime check, and the subject has no status.
    NotApplicable,
    /// No finding.
    Passed,
    /// At least one finding.
    Failed,
    /// The evaluation failed; never to be taken for a pass.
    NotEvaluated,
}

/// What a check gave on a list of subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The id of the check.
    pub check: String,
    /// The line that names its violations.
    pub title: String,
    /// The severity of its violations, by the policy or the check itself.
    pub severity: Severity,
    /// What a violation costs.
    pub weight: u32,
    /// One for each subject.
    pub results: Vec<CheckResult>,
    /// The findings, sorted by subject.
    pub findings: Vec<Finding>,
    /// Why subjects were not judged.
    pub errors: Vec<EvaluationError>,
}

/// An evaluation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("check {check} (module {module}) failed: {cause}")]
pub struct EvaluationError {
    /// The id of the check.
    pub check: String,
    /// The digest of the module that failed.
    pub module: String,
    /// The cause.
    pub cause: String,
    /// Whether it was that time had run out.
    pub timed_out: bool,
    /// Indices of the subjects that were not judged for it.
    pub subjects: Vec<usize>,
}

impl CheckOutcome {
    /// Adds the outcome of the same check on further subjects, which follow those of `self`.
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
