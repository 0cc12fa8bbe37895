//! Running totals of what was found in a set of subjects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Severity;
use crate::score::{Classification, Compliance, Grade, health};
use crate::violation::Violation;

/// What was found in a set of subjects, as numbers. Totals of parts can be added to those of the whole and taken away again,
/// so that a change of one pod costs nothing but that pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many pods and pod templates were judged.
    pub subjects: usize,
    /// How many violations there are.
    pub violations: usize,
    /// The sum of the penalties of the violations.
    pub penalty: u64,
    /// The pairs of subject and check.
    pub compliance: Compliance,
    /// How many violations there are of each severity, from low to critical.
    pub by_severity: [usize; Severity::ALL.len()],
    /// How many violations there are of each check; checks without violations are left out.
    pub by_check: BTreeMap<Arc<str>, usize>,
}

impl Totals {
    /// Counts a violation.
    pub fn count(&mut self, violation: &Violation) {
        self.violations += 1;
        self.penalty += violation.penalty();
        self.by_severity[violation.severity as usize] += 1;
        *self.by_check.entry(violation.check.clone()).or_default() += 1;
    }

    /// Adds the totals of a part.
    pub fn add(&mut self, part: &Self) {
        self.subjects += part.subjects;
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

    /// Takes away the totals of a part that was added before.
    pub fn subtract(&mut self, part: &Self) {
        self.subjects -= part.subjects;
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

    /// The health score.
    pub fn score(&self) -> u8 {
        health(self.penalty, self.subjects)
    }

    /// What the health score means.
    pub fn classification(&self) -> Classification {
        Classification::of(self.score())
    }

    /// What the compliance means.
    pub fn grade(&self) -> Grade {
        Grade::of(self.compliance.percent())
    }
}
