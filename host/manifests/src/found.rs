//! The results of reading documents.

use std::collections::BTreeMap;

use kube_devops_core::lines::Lines;
use kube_devops_core::report::{NotEvaluated, ReportError};
use kube_devops_core::{Source, Subject};
use rayon::prelude::*;
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
    fn add(&mut self, mut other: Self) {
        self.subjects.append(&mut other.subjects);
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

/// The results of consecutive parts of the manifests. They are combined when the texts of the manifests are not in memory any more.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Found>);

impl Parts {
    /// Adds the results of something small.
    pub fn add(&mut self, mut found: Found) {
        match self.0.last_mut() {
            Some(last) => {
                if let (Some(last), Some(subject)) = (last.subjects.last(), found.subjects.first_mut()) {
                    subject.share_texts(last);
                }
                last.add(found);
            }
            None => self.0.push(found),
        }
    }

    /// Adds other parts.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Whether there is a syntax error.
    pub fn are_broken(&self) -> bool {
        self.0.iter().any(|part| part.is_broken)
    }

    /// Combines all parts.
    pub fn sum(self) -> Found {
        let mut parts = self.0.into_iter();
        let mut found = parts.next().unwrap_or_default();
        found.subjects.reserve_exact(parts.as_slice().iter().map(|part| part.subjects.len()).sum());
        parts.for_each(|part| found.add(part));
        found
    }
}

impl FromIterator<Found> for Parts {
    fn from_iter<I: IntoIterator<Item = Found>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl FromParallelIterator<Self> for Parts {
    fn from_par_iter<I: IntoParallelIterator<Item = Self>>(parts: I) -> Self {
        let parts: Vec<Self> = parts.into_par_iter().collect();
        Self(parts.into_iter().flat_map(|parts| parts.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_parts_keeps_their_order_and_has_no_unused_memory() {
        let part = |names: &[&str]| {
            let subject = |name: &&str| Subject { name: (*name).into(), ..Subject::default() };
            let ignored = BTreeMap::from([("Service".to_owned(), 1)]);
            Found { subjects: names.iter().map(subject).collect(), ignored, ..Found::default() }
        };
        let mut parts = Parts::default();
        parts.add(part(&["a"]));
        parts.add(part(&["b"]));
        parts.append([part(&["c", "d"]), part(&[]), part(&["e"])].into_iter().collect());
        parts.add(part(&["f"]));
        let found = parts.sum();
        let names: String = found.subjects.iter().map(|subject| &*subject.name).collect();
        assert_eq!((names.as_str(), found.ignored["Service"]), ("abcdef", 6));
        assert_eq!(Parts::from_iter([part(&["a"; 5]), part(&["b"; 2])]).sum().subjects.capacity(), 7);
    }
}
