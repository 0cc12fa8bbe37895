//! The sums of the outcomes of checks, by namespace and by check.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CheckReport, NamespaceReport};
use crate::outcome::{CheckOutcome, CheckResult};
use crate::subject::{Source, Subject};
use crate::totals::Totals;
use crate::violation::{Fields, Violation};

/// The sums of the outcomes.
pub struct Summary {
    /// The totals of all subjects.
    pub cluster: Totals,
    /// The namespaces in which something was evaluated.
    pub namespaces: Vec<NamespaceReport>,
    /// The results of each check.
    pub checks: Vec<CheckReport>,
    /// The violations, in the order of the report.
    pub violations: Vec<Violation>,
}

impl Summary {
    /// Adds up the outcomes subject by subject in the order of the report: sorting subjects is cheaper than sorting
    /// violations.
    pub fn of(subjects: &[Subject], outcomes: &[CheckOutcome]) -> Self {
        let object = |index: &usize| {
            let Subject { namespace, kind, name, source, .. } = &subjects[*index];
            (namespace, kind, name, source.as_ref().map(Source::object))
        };
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        order.sort_unstable_by(|one, other| object(one).cmp(&object(other)));
        let mut sums: Vec<_> = outcomes.iter().map(|outcome| CheckSum::new(outcome, subjects.len())).collect();
        // Reports can have hundreds of thousands of violations: repeated growth would need twice the memory at the end.
        let mut violations = Vec::with_capacity(outcomes.iter().map(|outcome| outcome.findings.len()).sum());
        let mut fields = Fields::default();
        let (mut cluster, mut namespaces) = (Totals::default(), Vec::new());
        for of_namespace in order.chunk_by(|one, other| subjects[*one].namespace == subjects[*other].namespace) {
            let mut totals = Totals::default();
            let mut workloads: BTreeMap<usize, OwnedPods> = BTreeMap::new();
            for of_object in of_namespace.chunk_by(|one, other| object(one) == object(other)) {
                let first = violations.len();
                for &index in of_object {
                    let subject = &subjects[index];
                    totals.subjects += usize::from(subject.workload.is_none());
                    let mut pods = subject.workload.map(|workload| workloads.entry(workload).or_default());
                    let penalty = totals.penalty;
                    for (check, sum) in sums.iter_mut().enumerate() {
                        let failed = sum.add(index, subject, &mut totals, &mut fields, &mut violations);
                        match (failed, &mut pods) {
                            (None, _) => {}
                            (Some(failed), None) => totals.compliance.add(sum.outcome.weight, failed),
                            (Some(failed), Some(pods)) => *pods.failed.entry(check).or_default() |= failed,
                        }
                    }
                    if let Some(pods) = pods {
                        pods.penalty = pods.penalty.max(totals.penalty - penalty);
                        totals.penalty = penalty;
                    }
                }
                violations[first..].sort_unstable_by(|one, other| one.place().cmp(&other.place()));
            }
            workloads.into_values().for_each(|pods| pods.count(&sums, &mut totals));
            cluster.add(&totals);
            let name = of_namespace.first().map_or("", |index| &*subjects[*index].namespace);
            if totals.subjects == 0 || totals.is_evaluated() {
                namespaces.push(NamespaceReport::new(name, &totals));
            }
        }
        Self { cluster, namespaces, checks: sums.into_iter().map(|sum| sum.report).collect(), violations }
    }
}

/// The pods of a workload that is a subject itself. Together with it, they count as one subject: their number must neither improve its
/// compliance nor multiply its penalty.
#[derive(Default)]
struct OwnedPods {
    /// The positions of the checks that evaluated a pod, and whether one failed.
    failed: BTreeMap<usize, bool>,
    /// The highest penalty of a pod.
    penalty: u64,
}

impl OwnedPods {
    fn count(self, sums: &[CheckSum<'_>], totals: &mut Totals) {
        self.failed.into_iter().for_each(|(check, failed)| totals.compliance.add(sums[check].outcome.weight, failed));
        totals.penalty += self.penalty;
    }
}

/// The sums of the outcome of a check.
struct CheckSum<'a> {
    outcome: &'a CheckOutcome,
    id: Arc<str>,
    /// The position of the first finding about each subject, and the end position.
    starts: Vec<u32>,
    report: CheckReport,
}

impl<'a> CheckSum<'a> {
    fn new(outcome: &'a CheckOutcome, subjects: usize) -> Self {
        let mut starts = Vec::with_capacity(subjects + 1);
        let mut position = 0;
        for subject in 0..=subjects {
            while outcome.findings.get(position).is_some_and(|finding| finding.subject < subject) {
                position += 1;
            }
            starts.push(position as u32);
        }
        let report = CheckReport {
            id: outcome.check.clone(),
            title: outcome.title.clone(),
            severity: outcome.severity,
            passed: 0,
            failed: 0,
            not_evaluated: 0,
            violations: outcome.findings.len(),
            magnitudes: 0,
        };
        Self { outcome, id: outcome.check.as_str().into(), starts, report }
    }

    /// Adds the results of the check for the subject at `index`, without the compliance. Returns whether the check failed; `None` if it
    /// did not evaluate the subject.
    fn add(
        &mut self,
        index: usize,
        subject: &Subject,
        totals: &mut Totals,
        fields: &mut Fields,
        violations: &mut Vec<Violation>,
    ) -> Option<bool> {
        let result = self.outcome.results.get(index);
        let failed = match result {
            Some(CheckResult::Passed) => Some(false),
            Some(CheckResult::Failed) => Some(true),
            Some(CheckResult::NotApplicable | CheckResult::NotEvaluated) | None => None,
        };
        self.report.passed += usize::from(failed == Some(false));
        self.report.failed += usize::from(failed == Some(true));
        let not_evaluated = usize::from(result == Some(&CheckResult::NotEvaluated));
        self.report.not_evaluated += not_evaluated;
        totals.not_evaluated += not_evaluated;
        for finding in &self.outcome.findings[self.starts[index] as usize..self.starts[index + 1] as usize] {
            let violation = self.outcome.violation(&self.id, finding, subject, fields);
            self.report.magnitudes += u64::from(violation.magnitude);
            totals.count(&violation);
            violations.push(violation);
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Finding;
    use crate::{Severity, testing};

    /// The totals of a Deployment that fails a check of its spec, and of its pods, of which the first ones fail a runtime check.
    fn totals(pods: usize, failed: usize) -> Totals {
        let deployment = Subject { kind: "Deployment".into(), ..testing::pod("web") };
        let pod = |index: usize| Subject { workload: Some(0), ..testing::pod(&format!("web-{index}")) };
        let subjects: Vec<Subject> = std::iter::once(deployment).chain((0..pods).map(pod)).collect();
        let finding =
            |subject| Finding { subject, container: None, field: None, message: "failed".into(), magnitude: 5 };
        let outcome = |check: &str, results, findings| CheckOutcome {
            check: check.to_owned(),
            title: check.to_owned(),
            severity: Severity::High,
            weight: 6,
            results,
            findings,
            errors: Vec::new(),
        };
        let spec = (0..=pods).map(|index| if index == 0 { CheckResult::Failed } else { CheckResult::NotApplicable });
        let runtime = (0..=pods).map(|index| match index {
            0 => CheckResult::NotApplicable,
            index if index <= failed => CheckResult::Failed,
            _ => CheckResult::Passed,
        });
        let outcomes = [
            outcome("missing-liveness", spec.collect(), vec![finding(0)]),
            outcome("high-restarts", runtime.collect(), (1..=failed).map(finding).collect()),
        ];
        Summary::of(&subjects, &outcomes).cluster
    }

    #[test]
    fn the_pods_of_a_workload_count_once() {
        let sums = |pods, failed| {
            let totals = totals(pods, failed);
            (totals.subjects, totals.violations, totals.compliance.percent(), totals.penalty)
        };
        assert_eq!(sums(0, 0), (1, 1, 0.0, 30));
        for pods in [1, 2, 20] {
            assert_eq!(sums(pods, 0), (1, 1, 50.0, 30), "{pods}");
            assert_eq!(sums(pods, 1), (1, 2, 0.0, 60), "{pods}");
        }
        assert_eq!(sums(20, 20), (1, 21, 0.0, 60));
    }
}
