//! The scores of a cluster and of its namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::{Ledger, Totals};

use crate::evaluator::EvaluatedPods;

/// The scores of a cluster and of its namespaces.
#[derive(Debug, Default)]
pub struct Scores {
    cluster: Totals,
    namespaces: BTreeMap<Arc<str>, Ledger>,
}

impl Scores {
    /// The totals of all namespaces.
    pub fn cluster(&self) -> &Totals {
        &self.cluster
    }

    /// The totals of a namespace; `None` if it has no pods.
    pub fn namespace(&self, namespace: &str) -> Option<&Totals> {
        self.namespaces.get(namespace).map(Ledger::total)
    }

    /// The totals of every namespace, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Totals)> {
        self.namespaces.iter().map(|(namespace, ledger)| (&**namespace, ledger.total()))
    }

    /// Enters evaluations. Returns the namespaces whose totals changed.
    pub(super) fn enter(&mut self, evaluated: EvaluatedPods<'_>) -> Vec<Arc<str>> {
        let mut before: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
        for key in evaluated.removed.iter().chain(evaluated.pods.iter().map(|pod| &pod.key)) {
            let total = || self.namespace(&key.namespace).cloned().unwrap_or_default();
            before.entry(key.namespace.clone()).or_insert_with(total);
        }
        for key in &evaluated.removed {
            if let Some(ledger) = self.namespaces.get_mut(&key.namespace) {
                ledger.remove(&key.name);
            }
        }
        for pod in evaluated.pods {
            if let Some(error) = pod.evaluation.errors.first() {
                tracing::warn!(pod = %pod.key, "failed to evaluate the pod: {error}");
            }
            let ledger = self.namespaces.entry(pod.key.namespace.clone()).or_default();
            if !pod.is_known(ledger.get(&pod.key.name).as_ref()) {
                ledger.set(&pod.key.name, pod.evaluation);
            }
        }
        self.namespaces.retain(|_, ledger| !ledger.is_empty());
        let mut changed = Vec::new();
        for (namespace, before) in before {
            let now = self.namespace(&namespace).cloned().unwrap_or_default();
            if now != before {
                self.cluster.subtract(&before);
                self.cluster.add(&now);
                changed.push(namespace);
            }
        }
        changed
    }
}
