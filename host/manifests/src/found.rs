//! What was found in documents.

use std::collections::BTreeMap;

use kube_devops_core::Subject;
use kube_devops_core::report::{NotEvaluated, ReportError};

/// What was found in one document, or in several.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What is to be evaluated.
    pub subjects: Vec<Subject>,
    /// Pods that have finished, and what is being deleted.
    pub finished: usize,
    /// ReplicaSets of 0 replicas.
    pub scaled_to_zero: usize,
    /// How many objects of each kind run no pods.
    pub ignored: BTreeMap<String, usize>,
    /// Objects of unknown kinds that seem to run containers.
    pub not_evaluated: Vec<NotEvaluated>,
    /// What is wrong.
    pub errors: Vec<ReportError>,
    /// Whether something is not well-formed.
    pub is_broken: bool,
}

impl Found {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, mut other: Self) {
        if self.subjects.is_empty() {
            self.subjects = other.subjects;
        } else {
            self.subjects.append(&mut other.subjects);
        }
        self.finished += other.finished;
        self.scaled_to_zero += other.scaled_to_zero;
        for (kind, count) in other.ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
        self.not_evaluated.append(&mut other.not_evaluated);
        self.errors.append(&mut other.errors);
        self.is_broken |= other.is_broken;
    }
}
