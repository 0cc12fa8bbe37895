//! The rules of a policy, as the controllers use them.

use kube_devops_core::{Edit, Evaluation, EvaluationError, Needs, Subject, evaluations};
use kube_devops_engine::RuleSet;

/// The rules of a policy, as the controllers use them.
pub trait PolicyRules: Send + Sync {
    /// What the rules need in addition to the usual facts.
    fn needs(&self) -> Needs;

    /// The ids of the checks that do not exist.
    fn missing(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Evaluates subjects. Returns one evaluation per subject, in their order.
    fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation>;

    /// The ids of the checks that can remediate.
    fn remediating(&self) -> Vec<&str>;

    /// The values that are missing in a subject, by the checks that can remediate. They are untrusted.
    fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError>;
}

impl PolicyRules for RuleSet {
    fn needs(&self) -> Needs {
        RuleSet::needs(self)
    }

    fn missing(&self) -> Vec<&str> {
        RuleSet::missing(self)
    }

    fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation> {
        evaluations(subjects, &RuleSet::evaluate(self, subjects))
    }

    fn remediating(&self) -> Vec<&str> {
        RuleSet::remediating(self).collect()
    }

    fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        RuleSet::remediate(self, subject)
    }
}
