//! The rules of a policy, as the controllers use them.

use kube_devops_core::text::cut;
use kube_devops_core::{Edit, Evaluation, EvaluationError, Needs, Subject, evaluations};
use kube_devops_engine::RuleSet;

use crate::policies::RulesError;

/// The longest error of a rule in an evaluation, in bytes: there is an evaluation of each pod.
const MAX_ERROR_LENGTH: usize = 256;

/// The rules of a policy, as the controllers use them.
pub trait PolicyRules: Send + Sync {
    /// What the rules need in addition to the usual facts.
    fn needs(&self) -> Needs;

    /// The ids of the checks that do not exist.
    fn missing(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The reasons why rules could not be created. Their checks evaluate nothing.
    fn errors(&self) -> &[RulesError] {
        &[]
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

/// Those rules of a policy that could be created, and the reasons why the others could not.
pub struct PossibleRules {
    /// The rules.
    pub rules: RuleSet,
    /// The reasons.
    pub errors: Vec<RulesError>,
}

impl PolicyRules for PossibleRules {
    fn needs(&self) -> Needs {
        self.rules.needs()
    }

    fn missing(&self) -> Vec<&str> {
        self.rules.missing()
    }

    fn errors(&self) -> &[RulesError] {
        &self.errors
    }

    fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation> {
        let mut evaluations = PolicyRules::evaluate(&self.rules, subjects);
        for error in &self.errors {
            let error = cut(&error.to_string(), MAX_ERROR_LENGTH);
            evaluations.iter_mut().for_each(|evaluation| evaluation.errors.push(error.clone()));
        }
        evaluations
    }

    fn remediating(&self) -> Vec<&str> {
        PolicyRules::remediating(&self.rules)
    }

    fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        self.rules.remediate(subject)
    }
}
