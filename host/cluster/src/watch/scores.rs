//! The scores of a cluster and of its namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube_devops_core::evaluations;
use kube_devops_core::{Ledger, Subject, Totals};
use kube_devops_engine::RuleSet;

use crate::key::ObjectKey;
use crate::pod_index::PodIndex;

/// The scores of a cluster and of its namespaces.
#[derive(Debug, Default)]
pub struct Scores {
    cluster: Totals,
    namespaces: BTreeMap<Arc<str>, Ledger>,
    shown: bool,
}

impl Scores {
    /// The totals of all namespaces.
    pub fn cluster(&self) -> &Totals {
        &self.cluster
    }

    /// The totals of a namespace; none where it has no pods.
    pub fn namespace(&self, namespace: &str) -> Option<&Totals> {
        self.namespaces.get(namespace).map(Ledger::total)
    }

    /// The totals of every namespace, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Totals)> {
        self.namespaces.iter().map(|(namespace, ledger)| (&**namespace, ledger.total()))
    }

    /// Whether anybody has been shown these scores.
    pub(super) fn is_shown(&self) -> bool {
        self.shown
    }

    /// From now on somebody has.
    pub(super) fn set_shown(&mut self) {
        self.shown = true;
    }

    /// Judges pods, of which those that are not in `changed` have only grown older. Answers with the namespaces whose totals
    /// are others than before.
    pub(super) fn evaluate(
        &mut self,
        rules: &RuleSet,
        pods: &PodIndex,
        keys: &[&ObjectKey],
        changed: &BTreeSet<ObjectKey>,
    ) -> Vec<Arc<str>> {
        let (there, gone): (Vec<&ObjectKey>, Vec<&ObjectKey>) = keys.iter().partition(|key| pods.get(key).is_some());
        let subjects: Vec<&Subject> = there.iter().filter_map(|key| pods.get(key)).map(AsRef::as_ref).collect();
        let evaluations = evaluations(&subjects, &rules.evaluate(&subjects, None));
        let mut before: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
        for key in keys {
            let total = || self.namespaces.get(&key.namespace).map(|ledger| ledger.total().clone()).unwrap_or_default();
            before.entry(key.namespace.clone()).or_insert_with(total);
        }
        for key in gone {
            if let Some(ledger) = self.namespaces.get_mut(&key.namespace) {
                ledger.remove(&key.name);
            }
        }
        for (key, evaluation) in there.into_iter().zip(evaluations) {
            if let Some(error) = evaluation.errors.first() {
                tracing::warn!(pod = %key, "not everything could be judged: {error}");
            }
            let ledger = self.namespaces.entry(key.namespace.clone()).or_default();
            let goes_on = ledger.get(&key.name).is_some_and(|known| known.agrees_with(&evaluation));
            if changed.contains(key) || !goes_on {
                ledger.set(&key.name, evaluation);
            }
        }
        self.namespaces.retain(|_, ledger| !ledger.is_empty());
        let mut different = Vec::new();
        for (namespace, before) in before {
            let now = self.namespace(&namespace).cloned().unwrap_or_default();
            if now != before {
                self.cluster.subtract(&before);
                self.cluster.add(&now);
                different.push(namespace);
            }
        }
        different
    }
}
