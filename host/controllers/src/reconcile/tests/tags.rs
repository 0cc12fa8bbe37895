//! Rules for the tests of the operator.

use kube_devops_cluster::policies::RulesError;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::{Edit, Evaluation, EvaluationError, Needs, Severity, Subject, testing};

/// Every container without a tag is a violation, and one named `broken` fails the check.
#[derive(Default)]
pub struct Tags {
    /// The reasons why other rules could not be created.
    pub errors: Vec<RulesError>,
}

impl PolicyRules for Tags {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn errors(&self) -> &[RulesError] {
        &self.errors
    }

    fn evaluate(&self, subjects: &[&Subject]) -> Vec<Evaluation> {
        let evaluate = |subject: &&Subject| {
            let mut evaluation = Evaluation::default();
            for container in &subject.containers {
                if &*container.name == "broken" {
                    evaluation.errors.push("check latest-tag failed: it crashed".to_owned());
                }
                let is_violation = !container.image.contains(':');
                evaluation.compliance.add(5, is_violation);
                if is_violation {
                    evaluation.violations.push(testing::violation("latest-tag", Severity::High, &subject.name));
                }
            }
            evaluation
        };
        subjects.iter().map(evaluate).collect()
    }

    fn remediating(&self) -> Vec<&str> {
        vec!["latest-tag"]
    }

    fn remediate(&self, _subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        Ok(Vec::new())
    }
}
