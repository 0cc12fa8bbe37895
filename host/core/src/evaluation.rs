//! Evaluations: what the outcomes of several checks say of one subject.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::outcome::{CheckOutcome, CheckResult};
use crate::score::Compliance;
use crate::subject::Subject;
use crate::totals::Totals;
use crate::violation::{Fields, Violation};

/// What a set of rules said of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The violations, by check.
    pub violations: Vec<Violation>,
    /// The checks that could be asked.
    pub compliance: Compliance,
    /// Why checks could not judge it. A subject with errors has not passed.
    pub errors: Vec<String>,
}

impl Evaluation {
    /// Whether both say the same, whatever the words. The text of a violation may count seconds.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let same = |one: &Violation, other: &Violation| {
            (&one.check, one.severity, one.magnitude, &one.container, &one.field)
                == (&other.check, other.severity, other.magnitude, &other.container, &other.field)
        };
        self.compliance == other.compliance
            && self.errors == other.errors
            && self.violations.len() == other.violations.len()
            && self.violations.iter().zip(&other.violations).all(|(one, other)| same(one, other))
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { subjects: 1, compliance: self.compliance, ..Totals::default() };
        self.violations.iter().for_each(|violation| totals.count(violation));
        totals
    }
}

/// What the outcomes of the checks say of each of `subjects`, in their order.
pub fn evaluations<S: Borrow<Subject>>(subjects: &[S], outcomes: &[CheckOutcome]) -> Vec<Evaluation> {
    let mut evaluation = vec![Evaluation::default(); subjects.len()];
    for outcome in outcomes {
        for (evaluation, result) in evaluation.iter_mut().zip(&outcome.results) {
            match result {
                CheckResult::Passed => evaluation.compliance.add(outcome.weight, false),
                CheckResult::Failed => evaluation.compliance.add(outcome.weight, true),
                CheckResult::NotApplicable | CheckResult::NotEvaluated => {}
            }
        }
        let check: Arc<str> = outcome.check.as_str().into();
        let mut fields = Fields::default();
        for finding in &outcome.findings {
            if let (Some(evaluation), Some(subject)) =
                (evaluation.get_mut(finding.subject), subjects.get(finding.subject))
            {
                evaluation.violations.push(outcome.violation(&check, finding, subject.borrow(), &mut fields));
            }
        }
        for error in &outcome.errors {
            for &position in &error.subjects {
                if let Some(evaluation) = evaluation.get_mut(position) {
                    evaluation.errors.push(error.to_string());
                }
            }
        }
    }
    evaluation
}
