//! Incremental evaluation: only pods that changed, or whose age matters, are evaluated again.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Evaluation, Subject};

use crate::pod_index::PodIndex;

/// The pods to evaluate.
#[derive(Debug, Default)]
pub struct Due {
    changed: BTreeSet<ObjectKey>,
    aged: BTreeSet<ObjectKey>,
}

impl Due {
    /// Adds a pod that was created, changed or removed.
    pub fn changed(&mut self, pod: ObjectKey) {
        self.changed.insert(pod);
    }

    /// Adds a pod that is pending for longer than before, and is otherwise unchanged.
    pub fn aged(&mut self, pod: ObjectKey) {
        self.aged.insert(pod);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.aged.is_empty()
    }

    /// The same without the pods for which `keep` is false.
    pub fn filtered(mut self, keep: impl Fn(&ObjectKey) -> bool) -> Self {
        self.changed.retain(&keep);
        self.aged.retain(&keep);
        self
    }
}

impl FromIterator<ObjectKey> for Due {
    /// Changed pods.
    fn from_iter<I: IntoIterator<Item = ObjectKey>>(pods: I) -> Self {
        Self { changed: pods.into_iter().collect(), aged: BTreeSet::new() }
    }
}

/// The evaluation of one pod.
#[derive(Debug)]
pub struct EvaluatedPod<'a> {
    /// The pod.
    pub key: ObjectKey,
    /// Its facts.
    pub subject: &'a Arc<Subject>,
    /// What the rules found.
    pub evaluation: Evaluation,
    only_aged: bool,
}

impl EvaluatedPod<'_> {
    /// Whether the evaluation adds nothing to the known one. The message about a pending pod counts seconds, which alone is
    /// no change.
    pub fn is_known(&self, known: Option<&Evaluation>) -> bool {
        self.only_aged && known.is_some_and(|known| known.agrees_with(&self.evaluation))
    }
}

/// The result of one run.
#[derive(Debug, Default)]
pub struct EvaluatedPods<'a> {
    /// The pods that were evaluated.
    pub pods: Vec<EvaluatedPod<'a>>,
    /// The pods that are no longer in the index.
    pub removed: Vec<ObjectKey>,
}

/// Evaluates the pods that are due.
#[tracing::instrument(level = "debug", skip_all, fields(due = due.changed.len() + due.aged.len()))]
pub fn evaluate<'a>(rules: &dyn PolicyRules, pods: &'a PodIndex, due: Due) -> EvaluatedPods<'a> {
    let Due { changed, aged } = due;
    let (mut keys, mut subjects, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for key in changed.union(&aged) {
        match pods.get(key) {
            Some(subject) => {
                keys.push(key.clone());
                subjects.push(subject);
            }
            None => removed.push(key.clone()),
        }
    }
    let shown: Vec<&Subject> = subjects.iter().map(|subject| subject.as_ref()).collect();
    let evaluations = rules.evaluate(&shown);
    let evaluated = keys.into_iter().zip(subjects).zip(evaluations);
    let pods = evaluated.map(|((key, subject), evaluation)| {
        let only_aged = !changed.contains(&key);
        EvaluatedPod { key, subject, evaluation, only_aged }
    });
    EvaluatedPods { pods: pods.collect(), removed }
}
