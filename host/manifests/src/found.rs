//! The results of reading documents.

use std::collections::BTreeMap;

use kube_devops_core::lines::Lines;
use kube_devops_core::report::{NotEvaluated, ReportError};
use kube_devops_core::{Source, Subject};
use serde_json::Value;

/// The kind under which documents without a kind are counted.
pub const NO_KIND: &str = "(no kind)";

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestObject {
    /// The object. `apiVersion` and kind are those of its list if it has none.
    pub value: Value,
    /// The file, the document and the line of the object.
    pub source: Source,
    /// The lines of its fields.
    pub lines: Lines,
}

/// An object of a kind that is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedObject {
    /// The `apiVersion`; empty if the document has none.
    pub api_version: String,
    /// The kind; empty if the document has none, such as the values of a chart.
    pub kind: String,
    /// The namespace; empty if the object has none.
    pub namespace: String,
    /// The name; empty if the object has none.
    pub name: String,
    /// The file, the document and the line of the object.
    pub source: Source,
}

/// The results of reading one or more documents.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The subjects to evaluate.
    pub subjects: Vec<Subject>,
    /// The number of ReplicaSets with 0 replicas.
    pub scaled_to_zero: usize,
    /// The number of objects without pods, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Objects of unknown kinds that seem to run containers that are not evaluated.
    pub not_evaluated: Vec<NotEvaluated>,
    /// The objects of the wanted kinds.
    pub objects: Vec<ManifestObject>,
    /// The objects of other kinds, if objects are wanted.
    pub skipped: Vec<SkippedObject>,
    /// The errors.
    pub errors: Vec<ReportError>,
    /// Whether there is a syntax error.
    pub is_broken: bool,
}

impl Found {
    /// Adds other results.
    pub fn add(&mut self, mut other: Self) {
        if self.subjects.is_empty() {
            self.subjects = other.subjects;
        } else {
            self.subjects.append(&mut other.subjects);
        }
        self.scaled_to_zero += other.scaled_to_zero;
        for (kind, count) in other.ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
        self.not_evaluated.append(&mut other.not_evaluated);
        self.objects.append(&mut other.objects);
        self.skipped.append(&mut other.skipped);
        self.errors.append(&mut other.errors);
        self.is_broken |= other.is_broken;
    }
}
