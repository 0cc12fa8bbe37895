//! The evaluations of the subjects of one scope, updated subject by subject.
//!
//! A report is created once, from all subjects; a controller keeps its ledger and evaluates again only what changed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compact::{CompactEvaluation, Parts};
use crate::evaluation::Evaluation;
use crate::totals::Totals;
use crate::violation::Violation;

/// The evaluations of the pods of one scope, such as a namespace under a policy, and their totals. The pods are those of one cluster:
/// neither the cluster nor a file is kept with a violation.
#[derive(Debug, Default)]
pub struct Ledger {
    evaluations: BTreeMap<Arc<str>, CompactEvaluation>,
    total: Totals,
    parts: Parts,
}

impl Ledger {
    /// Sets or replaces the evaluation of a subject. Returns whether it is different from the previous one.
    pub fn set(&mut self, name: &Arc<str>, evaluation: Evaluation) -> bool {
        let before = self.get(name);
        if before.as_ref() == Some(&evaluation) {
            return false;
        }
        if let Some(before) = before {
            self.total.subtract(&before.totals());
        }
        self.total.add(&evaluation.totals());
        self.evaluations.insert(name.clone(), CompactEvaluation::of(evaluation, &mut self.parts));
        true
    }

    /// Removes a subject. Returns whether the ledger contained it.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(kept) = self.evaluations.remove(name) else { return false };
        self.total.subtract(&kept.evaluation().totals());
        true
    }

    /// Returns the evaluation of a subject.
    pub fn get(&self, name: &str) -> Option<Evaluation> {
        self.evaluations.get(name).map(CompactEvaluation::evaluation)
    }

    /// Returns the totals of all subjects.
    pub fn total(&self) -> &Totals {
        &self.total
    }

    /// Reports whether the ledger contains no subjects.
    pub fn is_empty(&self) -> bool {
        self.evaluations.is_empty()
    }

    /// Returns all violations, ordered by the name of the subject.
    pub fn violations(&self) -> impl Iterator<Item = Violation> {
        self.evaluations.values().flat_map(|kept| kept.evaluation().violations)
    }

    /// Returns at most `most` violations, the most severe first.
    pub fn worst(&self, most: usize) -> Vec<Violation> {
        let places =
            |kept| CompactEvaluation::severities(kept).enumerate().map(move |(index, found)| (kept, index, found));
        let mut places: Vec<_> = self.evaluations.values().flat_map(places).collect();
        places.sort_by_key(|(_, _, severity)| Reverse(*severity));
        places.into_iter().take(most).filter_map(|(kept, index, _)| kept.violation(index)).collect()
    }

    /// Returns all errors, ordered by the name of the subject.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.evaluations.values().flat_map(CompactEvaluation::errors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Extent, Report};
    use crate::{CheckOutcome, CheckResult, Finding, Severity, Subject, evaluations};

    fn subject(name: &str) -> Subject {
        Subject {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: name.into(),
            spec_pointer: "/spec".into(),
            ..Subject::default()
        }
    }

    /// Returns the outcomes of two checks, given the numbers of findings of each subject.
    fn outcomes(findings: &[(usize, usize)]) -> Vec<CheckOutcome> {
        let outcome = |check: &str, severity, weight, counts: Vec<usize>| {
            let of_subject = |(subject, &count): (usize, &usize)| {
                (1..=count).map(move |number| Finding {
                    subject,
                    container: None,
                    field: None,
                    message: format!("finding {number}").into(),
                    magnitude: number as u32,
                })
            };
            CheckOutcome {
                check: check.to_owned(),
                title: check.to_owned(),
                severity,
                weight,
                results: counts
                    .iter()
                    .map(|&count| if count > 0 { CheckResult::Failed } else { CheckResult::Passed })
                    .collect(),
                findings: counts.iter().enumerate().flat_map(of_subject).collect(),
                errors: Vec::new(),
            }
        };
        vec![
            outcome("one", Severity::High, 5, findings.iter().map(|counts| counts.0).collect()),
            outcome("two", Severity::Low, 2, findings.iter().map(|counts| counts.1).collect()),
        ]
    }

    proptest! {
        /// A ledger has the totals of a report on the same subjects, regardless of its history.
        #[test]
        fn a_ledger_has_the_totals_of_a_report_on_the_same_subjects(
            findings in prop::collection::vec((0..4_usize, 0..4_usize), 0..12),
            before in prop::collection::vec((0..4_usize, 0..4_usize), 0..12),
            removed in prop::collection::vec(any::<bool>(), 12),
        ) {
            let subjects = |count: usize| (0..count).map(|index| subject(&format!("pod-{index:02}"))).collect::<Vec<_>>();
            let mut ledger = Ledger::default();
            for counts in [&before, &findings] {
                let subjects = subjects(counts.len());
                for (subject, evaluation) in subjects.iter().zip(evaluations(&subjects, &outcomes(counts))) {
                    let name = subject.name.clone();
                    ledger.set(&name, evaluation.clone());
                    prop_assert!(!ledger.set(&name, evaluation), "an equal evaluation is not a change");
                }
            }
            for index in findings.len()..before.len() {
                ledger.remove(&format!("pod-{index:02}"));
            }
            let kept: Vec<usize> = (0..findings.len()).filter(|&index| !removed[index]).collect();
            for index in (0..findings.len()).filter(|&index| removed[index]) {
                ledger.remove(&format!("pod-{index:02}"));
            }
            let subjects: Vec<_> = kept.iter().map(|index| subject(&format!("pod-{index:02}"))).collect();
            let counts: Vec<_> = kept.iter().map(|&index| findings[index]).collect();
            let report = Report::new(&subjects, outcomes(&counts), Extent::default(), Vec::new());
            let total = ledger.total();
            prop_assert_eq!(total.subjects, report.subjects);
            let evaluated = total.subjects > 0;
            prop_assert_eq!(evaluated.then(|| total.score()), report.score);
            prop_assert_eq!(evaluated.then(|| total.compliance.percent()), report.compliance);
            prop_assert_eq!(total.violations, report.violations.len());
            prop_assert_eq!(total.by_check.values().sum::<usize>(), total.violations);
            prop_assert_eq!(total.by_severity.iter().sum::<usize>(), total.violations);
            prop_assert_eq!(ledger.violations().count(), total.violations);
            if kept.is_empty() {
                prop_assert_eq!(total, &Totals::default());
            }
        }
    }
}
