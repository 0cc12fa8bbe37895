//! The totals of the evaluations of a set of subjects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Severity;
use crate::score::{Classification, Compliance, Grade, health};
use crate::violation::Violation;

/// The totals of the evaluations of a set of subjects. The totals of a part can be added and subtracted, so that a
/// change of a single pod does not require the evaluation of other pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of evaluated pods and pod templates.
    pub subjects: usize,
    /// The number of pairs of subject and check that were not evaluated, because of an error.
    pub not_evaluated: usize,
    /// The number of violations.
    pub violations: usize,
    /// The sum of the penalties of the violations.
    pub penalty: u64,
    /// The compliance of the pairs of subject and check.
    pub compliance: Compliance,
    /// The number of violations by severity, from low to critical.
    pub by_severity: [usize; Severity::ALL.len()],
    /// The number of violations by check, without checks that have no violations.
    pub by_check: BTreeMap<Arc<str>, usize>,
}

impl Totals {
    /// Counts a violation.
    pub fn count(&mut self, violation: &Violation) {
        self.violations += 1;
        self.penalty += violation.penalty();
        self.by_severity[violation.severity as usize] += 1;
        // The check is almost always known.
        match self.by_check.get_mut(&violation.check) {
            Some(count) => *count += 1,
            None => drop(self.by_check.insert(violation.check.clone(), 1)),
        }
    }

    /// Adds the totals of a part.
    pub fn add(&mut self, part: &Self) {
        self.subjects += part.subjects;
        self.not_evaluated += part.not_evaluated;
        self.violations += part.violations;
        self.penalty += part.penalty;
        self.compliance = self.compliance.plus(part.compliance);
        for (total, count) in self.by_severity.iter_mut().zip(part.by_severity) {
            *total += count;
        }
        for (check, count) in &part.by_check {
            *self.by_check.entry(check.clone()).or_default() += count;
        }
    }

    /// Subtracts the totals of a part that was added before.
    pub fn subtract(&mut self, part: &Self) {
        self.subjects -= part.subjects;
        self.not_evaluated -= part.not_evaluated;
        self.violations -= part.violations;
        self.penalty -= part.penalty;
        self.compliance = self.compliance.minus(part.compliance);
        for (total, count) in self.by_severity.iter_mut().zip(part.by_severity) {
            *total -= count;
        }
        for (check, count) in &part.by_check {
            if let Some(total) = self.by_check.get_mut(check) {
                *total -= count;
            }
        }
        self.by_check.retain(|_, count| *count > 0);
    }

    /// Whether a check evaluated a subject. A report has no score otherwise: it would be that of subjects without violations.
    pub fn is_evaluated(&self) -> bool {
        self.subjects > 0 && !self.compliance.is_empty()
    }

    /// Whether a policy in a cluster has a score: there are subjects, and a check evaluated one of them, or none applies to them.
    /// Which checks apply changes there over time: a new pod has no status yet.
    pub fn has_score(&self) -> bool {
        self.subjects > 0 && (self.not_evaluated == 0 || !self.compliance.is_empty())
    }

    /// Returns the health score.
    pub fn score(&self) -> u8 {
        health(self.penalty, self.subjects)
    }

    /// Returns the classification of the health score.
    pub fn classification(&self) -> Classification {
        Classification::of(self.score())
    }

    /// Returns the grade of the compliance.
    pub fn grade(&self) -> Grade {
        Grade::of(self.compliance.percent())
    }
}
