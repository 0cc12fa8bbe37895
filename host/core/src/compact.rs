//! Evaluations as a ledger keeps them: without what the violations of a pod have in common. The pods of a workload have the same
//! violations, which are kept once, and so are texts.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::Severity;
use crate::evaluation::Evaluation;
use crate::score::Compliance;
use crate::subject::Controller;
use crate::violation::Violation;

/// An evaluation of a pod of a cluster.
#[derive(Debug)]
pub struct CompactEvaluation {
    pod: Option<Box<Pod>>,
    violations: Arc<[CompactViolation]>,
    compliance: Compliance,
    errors: Box<[Arc<str>]>,
}

/// What all violations of a pod have in common.
#[derive(Debug)]
struct Pod {
    namespace: Arc<str>,
    kind: Arc<str>,
    name: Arc<str>,
    controller: Option<Arc<Controller>>,
}

/// A violation without its pod.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CompactViolation {
    check: Arc<str>,
    container: Option<Arc<str>>,
    field: Option<Arc<str>>,
    message: Arc<str>,
    weight: u32,
    magnitude: u32,
    severity: Severity,
}

impl CompactEvaluation {
    /// Keeps an evaluation, with parts that are shared with other evaluations.
    pub fn of(evaluation: Evaluation, parts: &mut Parts) -> Self {
        let Parts { violations, texts } = parts;
        let pod = evaluation.violations.first().map(|Violation { namespace, kind, name, controller, .. }| {
            let controller = controller.clone();
            Box::new(Pod { namespace: namespace.clone(), kind: kind.clone(), name: name.clone(), controller })
        });
        let mut compact = |violation: Violation| CompactViolation {
            check: texts.shared(violation.check),
            container: violation.container.map(|container| texts.shared(container)),
            field: violation.field.map(|field| texts.shared(field)),
            message: texts.shared(violation.message),
            weight: violation.weight,
            magnitude: violation.magnitude,
            severity: violation.severity,
        };
        let violations = violations.shared(evaluation.violations.into_iter().map(&mut compact).collect());
        let errors = evaluation.errors.into_iter().map(|error| texts.shared(error.into())).collect();
        Self { pod, violations, compliance: evaluation.compliance, errors }
    }

    /// Returns the evaluation.
    pub fn evaluation(&self) -> Evaluation {
        let violations = (0..self.violations.len()).filter_map(|index| self.violation(index)).collect();
        let errors = self.errors.iter().map(|error| error.as_ref().to_owned()).collect();
        Evaluation { violations, compliance: self.compliance, errors }
    }

    /// Returns the severities of the violations.
    pub fn severities(&self) -> impl ExactSizeIterator<Item = Severity> + '_ {
        self.violations.iter().map(|violation| violation.severity)
    }

    /// Returns the violation at an index.
    pub fn violation(&self, index: usize) -> Option<Violation> {
        let (pod, violation) = (self.pod.as_ref()?, self.violations.get(index)?);
        Some(Violation {
            check: violation.check.clone(),
            severity: violation.severity,
            weight: violation.weight,
            magnitude: violation.magnitude,
            cluster: None,
            namespace: pod.namespace.clone(),
            kind: pod.kind.clone(),
            name: pod.name.clone(),
            controller: pod.controller.clone(),
            container: violation.container.clone(),
            field: violation.field.clone(),
            message: violation.message.clone(),
            source: None,
        })
    }

    /// Returns the errors.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().map(AsRef::as_ref)
    }
}

/// The parts of evaluations that are shared.
#[derive(Debug, Default)]
pub struct Parts {
    violations: Shared<[CompactViolation]>,
    texts: Shared<str>,
}

/// Values that are kept once.
#[derive(Debug)]
struct Shared<T: ?Sized> {
    known: HashSet<Arc<T>>,
    /// The number of values at which those that nothing else uses are removed.
    limit: usize,
}

/// The limit of a few values.
const MIN_LIMIT: usize = 256;

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), limit: MIN_LIMIT }
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn shared(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.limit = MIN_LIMIT.max(2 * self.known.len());
        }
        self.known.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn evaluation(message: &str) -> Evaluation {
        let controller = Controller { kind: "ReplicaSet".to_owned(), name: "web".to_owned(), ..Controller::default() };
        let violation = |container: Option<Arc<str>>, severity| Violation {
            controller: Some(Arc::new(controller.clone())),
            container,
            field: Some("/spec/containers/0/image".into()),
            message: message.into(),
            ..testing::violation("latest-tag", severity, "web-0")
        };
        let violations = vec![violation(None, Severity::Low), violation(Some("app".into()), Severity::High)];
        let mut evaluation = Evaluation { violations, errors: vec!["failed".to_owned()], ..Evaluation::default() };
        evaluation.compliance.add(5, true);
        evaluation
    }

    #[test]
    fn an_evaluation_is_the_same_after_it_was_kept() {
        let mut parts = Parts::default();
        for evaluation in [evaluation("no tag"), Evaluation::default()] {
            let kept = CompactEvaluation::of(evaluation.clone(), &mut parts);
            assert_eq!(kept.evaluation(), evaluation);
            assert_eq!(kept.errors().collect::<Vec<_>>(), evaluation.errors);
        }
    }

    #[test]
    fn equal_parts_are_kept_once_and_only_while_they_are_used() {
        let mut parts = Parts::default();
        let mut keep = |message: &str| CompactEvaluation::of(evaluation(message), &mut parts);
        let (one, other, third) = (keep("no tag"), keep("no tag"), keep("no probe"));
        assert!(Arc::ptr_eq(&one.violations, &other.violations) && Arc::ptr_eq(&one.errors[0], &other.errors[0]));
        assert!(Arc::ptr_eq(&one.violations[0].check, &third.violations[1].check));
        for index in 0..10 * MIN_LIMIT {
            keep(&format!("pending for {index} s"));
        }
        let Parts { violations, texts } = &parts;
        // A text is used until the violations that contain it are removed.
        assert!(violations.known.len() <= MIN_LIMIT && texts.known.len() <= 2 * MIN_LIMIT);
        assert!(violations.known.contains(&one.violations) && texts.known.contains("no tag"));
    }
}
