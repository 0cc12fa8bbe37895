//! What is known of the subjects of one scope, kept up to date subject by subject.
//!
//! A report is made once, of everything; a controller lives on with what it knows, and judges again only what changed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::outcome::{CheckOutcome, Judgement};
use crate::score::Compliance;
use crate::subject::Subject;
use crate::tally::Tally;
use crate::violation::{Fields, Violation};

/// What a set of rules said of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// The violations, by check.
    pub violations: Vec<Violation>,
    /// The checks that could be asked.
    pub compliance: Compliance,
    /// Why checks could not judge it. A subject with errors has not passed.
    pub errors: Vec<String>,
}

impl Judged {
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

    fn tally(&self) -> Tally {
        let mut tally = Tally { subjects: 1, compliance: self.compliance, ..Tally::default() };
        self.violations.iter().for_each(|violation| tally.count(violation));
        tally
    }
}

/// What the outcomes of the checks say of each of `subjects`, in their order.
pub fn judge<S: Borrow<Subject>>(subjects: &[S], outcomes: &[CheckOutcome]) -> Vec<Judged> {
    let mut judged = vec![Judged::default(); subjects.len()];
    for outcome in outcomes {
        for (judged, judgement) in judged.iter_mut().zip(&outcome.judgements) {
            match judgement {
                Judgement::Passed => judged.compliance.add(outcome.weight, false),
                Judgement::Failed => judged.compliance.add(outcome.weight, true),
                Judgement::NotApplicable | Judgement::NotJudged => {}
            }
        }
        let check: Arc<str> = outcome.check.as_str().into();
        let mut fields = Fields::default();
        for finding in &outcome.findings {
            if let (Some(judged), Some(subject)) = (judged.get_mut(finding.subject), subjects.get(finding.subject)) {
                judged.violations.push(outcome.violation(&check, finding, subject.borrow(), &mut fields));
            }
        }
        for error in &outcome.errors {
            for &position in &error.subjects {
                if let Some(judged) = judged.get_mut(position) {
                    judged.errors.push(error.to_string());
                }
            }
        }
    }
    judged
}

/// What is known of the subjects of one scope, such as the pods of a namespace under a policy.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    judged: BTreeMap<Arc<str>, Judged>,
    total: Tally,
}

impl Ledger {
    /// Enters what was said of a subject, in the place of what was said before. Answers whether anything is different.
    pub fn set(&mut self, name: &Arc<str>, judged: Judged) -> bool {
        if self.judged.get(name).is_some_and(|before| *before == judged) {
            return false;
        }
        self.remove(name);
        self.total.add(&judged.tally());
        self.judged.insert(name.clone(), judged);
        true
    }

    /// Forgets a subject. Answers whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(judged) = self.judged.remove(name) else { return false };
        self.total.subtract(&judged.tally());
        true
    }

    /// What was said of a subject.
    pub fn get(&self, name: &str) -> Option<&Judged> {
        self.judged.get(name)
    }

    /// The totals of all subjects.
    pub fn total(&self) -> &Tally {
        &self.total
    }

    /// Whether nothing is known of any subject.
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty()
    }

    /// All violations, by the name of the subject.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.judged.values().flat_map(|judged| &judged.violations)
    }

    /// All errors, by the name of the subject.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.judged.values().flat_map(|judged| judged.errors.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Severity;
    use crate::outcome::Finding;
    use crate::report::{Extent, Report};

    fn subject(name: &str) -> Subject {
        Subject {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: name.into(),
            spec_pointer: "/spec".into(),
            ..Subject::default()
        }
    }

    /// The outcomes of two checks on subjects of which each has so many findings.
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
                judgements: counts
                    .iter()
                    .map(|&count| if count > 0 { Judgement::Failed } else { Judgement::Passed })
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
        /// However a ledger came to be, it says what a report of the same subjects says.
        #[test]
        fn a_ledger_says_what_a_report_says(
            findings in prop::collection::vec((0..4_usize, 0..4_usize), 0..12),
            before in prop::collection::vec((0..4_usize, 0..4_usize), 0..12),
            removed in prop::collection::vec(any::<bool>(), 12),
        ) {
            let subjects = |count: usize| (0..count).map(|index| subject(&format!("pod-{index:02}"))).collect::<Vec<_>>();
            let mut ledger = Ledger::default();
            for counts in [&before, &findings] {
                let subjects = subjects(counts.len());
                for (subject, judged) in subjects.iter().zip(judge(&subjects, &outcomes(counts))) {
                    let name = subject.name.clone();
                    ledger.set(&name, judged.clone());
                    prop_assert!(!ledger.set(&name, judged), "the same once more is no change");
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
            let report = Report::new(&subjects, outcomes(&counts), Extent::default());
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
                prop_assert_eq!(total, &Tally::default());
            }
        }
    }
}
