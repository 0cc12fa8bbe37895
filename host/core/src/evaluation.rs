//! Evaluations: the outcomes of several checks for one subject.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::outcome::{CheckOutcome, CheckResult};
use crate::score::Compliance;
use crate::subject::Subject;
use crate::totals::Totals;
use crate::violation::{Fields, Violation};

/// The results of a set of rules for one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The violations, by check.
    pub violations: Vec<Violation>,
    /// The compliance with the checks that evaluated the subject.
    pub compliance: Compliance,
    /// The errors of checks that failed to evaluate the subject. A subject with errors has not passed.
    pub errors: Vec<String>,
}

impl Evaluation {
    /// Reports whether both have the same results, apart from the messages: a message may contain a number of seconds.
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
        let not_evaluated = self.errors.len();
        let mut totals = Totals { subjects: 1, not_evaluated, compliance: self.compliance, ..Totals::default() };
        self.violations.iter().for_each(|violation| totals.count(violation));
        totals
    }
}

/// Reserves the memory for the violations: repeated growth would need up to twice as much.
fn reserve(evaluations: &mut [Evaluation], outcomes: &[CheckOutcome]) {
    let mut counts = vec![0; evaluations.len()];
    for finding in outcomes.iter().flat_map(|outcome| &outcome.findings) {
        if let Some(count) = counts.get_mut(finding.subject) {
            *count += 1;
        }
    }
    for (evaluation, count) in evaluations.iter_mut().zip(counts) {
        evaluation.violations.reserve_exact(count);
    }
}

/// Returns the evaluation of each of `subjects`, in their order.
pub fn evaluations<S: Borrow<Subject>>(subjects: &[S], outcomes: &[CheckOutcome]) -> Vec<Evaluation> {
    let mut evaluations = vec![Evaluation::default(); subjects.len()];
    reserve(&mut evaluations, outcomes);
    for outcome in outcomes {
        for (evaluation, result) in evaluations.iter_mut().zip(&outcome.results) {
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
                (evaluations.get_mut(finding.subject), subjects.get(finding.subject))
            {
                evaluation.violations.push(outcome.violation(&check, finding, subject.borrow(), &mut fields));
            }
        }
        for error in &outcome.errors {
            for &position in &error.subjects {
                if let Some(evaluation) = evaluations.get_mut(position) {
                    evaluation.errors.push(error.to_string());
                }
            }
        }
    }
    evaluations
}
