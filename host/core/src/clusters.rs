//! The report on several clusters, from the outcomes of each.

use std::sync::Arc;

use crate::outcome::CheckOutcome;
use crate::report::{CheckReport, ClusterReport, Extent, Report, ReportError};
use crate::subject::Subject;
use crate::totals::Totals;

/// The outcome of the evaluation of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOutcome {
    name: Arc<str>,
    evaluated: bool,
    report: Report,
    totals: Totals,
}

impl ClusterOutcome {
    /// Creates the outcome of a cluster whose subjects were evaluated.
    pub fn new(
        name: &str,
        subjects: &[Subject],
        outcomes: Vec<CheckOutcome>,
        extent: Extent,
        errors: Vec<ReportError>,
    ) -> Self {
        let (mut report, totals) = Report::with_totals(subjects, outcomes, extent, errors);
        let name: Arc<str> = name.into();
        report.violations.iter_mut().for_each(|violation| violation.cluster = Some(name.clone()));
        report.namespaces.iter_mut().for_each(|namespace| namespace.cluster = Some(name.clone()));
        for error in &mut report.errors {
            error.message = format!("cluster {name}: {}", error.message);
            error.cluster = Some(name.clone());
        }
        Self { name, evaluated: true, report, totals }
    }

    /// Creates the outcome of a cluster whose subjects could not be read. `outcomes` are those of no subjects.
    pub fn failed(name: &str, reason: String, outcomes: Vec<CheckOutcome>) -> Self {
        let errors = vec![ReportError::new(reason)];
        Self { evaluated: false, ..Self::new(name, &[], outcomes, Extent::default(), errors) }
    }

    fn report(&self) -> ClusterReport {
        let Report { score, classification, compliance, grade, subjects, .. } = self.report;
        let (name, violations) = (self.name.to_string(), self.totals.violations);
        ClusterReport {
            name,
            evaluated: self.evaluated,
            score,
            classification,
            compliance,
            grade,
            subjects,
            violations,
        }
    }
}

impl Report {
    /// Creates the report on several clusters. Its scores are those of all subjects, regardless of their cluster.
    pub fn of_clusters(mut clusters: Vec<ClusterOutcome>) -> Self {
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        let (mut sum, mut totals) = Report::with_totals(&[], Vec::new(), Extent::default(), Vec::new());
        sum.clusters = clusters.iter().map(ClusterOutcome::report).collect();
        sum.clusters.sort_by(worst_first);
        for cluster in clusters {
            totals.add(&cluster.totals);
            sum.add(cluster.report);
        }
        sum.set_totals(&totals);
        sum
    }

    /// Adds the report on one cluster, without its scores.
    fn add(&mut self, mut other: Self) {
        self.extent.add(other.extent);
        for check in other.checks {
            match self.checks.iter_mut().find(|known| known.id == check.id) {
                Some(known) => known.add(&check),
                None => self.checks.push(check),
            }
        }
        self.namespaces.append(&mut other.namespaces);
        self.violations.append(&mut other.violations);
        self.errors.append(&mut other.errors);
    }
}

impl CheckReport {
    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_evaluated += other.not_evaluated;
        self.violations += other.violations;
        self.magnitudes += other.magnitudes;
    }
}

/// Orders clusters by their score, then by their compliance. Clusters without a score are last.
fn worst_first(one: &ClusterReport, other: &ClusterReport) -> std::cmp::Ordering {
    let key = |cluster: &ClusterReport| (cluster.score.is_none(), cluster.score, !cluster.evaluated);
    let compliance = |cluster: &ClusterReport| cluster.compliance.unwrap_or_default();
    key(one)
        .cmp(&key(other))
        .then(compliance(one).total_cmp(&compliance(other)))
        .then(other.violations.cmp(&one.violations))
        .then(one.name.cmp(&other.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;
    use crate::outcome::{CheckResult, EvaluationError, Finding};
    use crate::score::Grade;

    /// Returns an outcome of pods of which the first `failed` have a violation with the weight 10.
    fn cluster(name: &str, pods: usize, failed: usize) -> ClusterOutcome {
        let subject = |index: usize| Subject {
            namespace: "shop".into(),
            kind: "Pod".into(),
            name: format!("pod-{index}").as_str().into(),
            ..Subject::default()
        };
        let subjects: Vec<Subject> = (0..pods).map(subject).collect();
        let extent = Extent { excluded: 1, ..Extent::default() };
        ClusterOutcome::new(name, &subjects, vec![outcome(pods, failed)], extent, Vec::new())
    }

    fn outcome(pods: usize, failed: usize) -> CheckOutcome {
        let finding = |subject| Finding { subject, container: None, field: None, message: "bad".into(), magnitude: 1 };
        let result = |index| if index < failed { CheckResult::Failed } else { CheckResult::Passed };
        CheckOutcome {
            check: "a-check".to_owned(),
            title: "Bad".to_owned(),
            severity: Severity::Medium,
            weight: 10,
            results: (0..pods).map(result).collect(),
            findings: (0..failed).map(finding).collect(),
            errors: Vec::new(),
        }
    }

    #[test]
    fn the_scores_of_all_clusters_are_weighted_by_pods() {
        // Every pod of the small cluster has a violation, and one in nine of the other.
        let report = Report::of_clusters(vec![cluster("large", 9, 1), cluster("small", 1, 1)]);
        assert_eq!((report.score, report.compliance, report.subjects), (Some(98), Some(80.0), 10));
        assert_eq!(report.extent.excluded, 2);
        let [check] = report.checks.as_slice() else { panic!("{:?}", report.checks) };
        assert_eq!((check.passed, check.failed, check.violations), (8, 2, 2));
        let scores: Vec<_> = report.clusters.iter().map(|cluster| (&*cluster.name, cluster.score)).collect();
        assert_eq!(scores, [("small", Some(90)), ("large", Some(99))]);
        assert_eq!(
            report.violations.iter().map(|found| found.cluster.as_deref()).collect::<Vec<_>>(),
            [Some("large"), Some("small")]
        );
        let namespaces: Vec<_> = report.namespaces.iter().map(|one| (one.cluster.as_deref(), &*one.name)).collect();
        assert_eq!(namespaces, [(Some("large"), "shop"), (Some("small"), "shop")]);
    }

    #[test]
    fn there_is_no_score_if_no_check_applies() {
        let mut inapplicable = outcome(1, 0);
        inapplicable.results = vec![CheckResult::NotApplicable];
        let subjects = [Subject { kind: "Pod".into(), name: "web".into(), ..Subject::default() }];
        let report = Report::new(&subjects, vec![inapplicable.clone()], Extent::default(), Vec::new());
        assert_eq!((report.score, report.compliance, report.grade, report.classification), (None, None, None, None));
        assert_eq!((report.subjects, report.namespaces.as_slice()), (1, [].as_slice()));
        let new = ClusterOutcome::new("new", &subjects, vec![inapplicable], Extent::default(), Vec::new());
        let report = Report::of_clusters(vec![new, cluster("one", 1, 0)]);
        let clusters: Vec<_> = report.clusters.iter().map(|one| (&*one.name, one.score, one.grade)).collect();
        assert_eq!(clusters, [("one", Some(100), Some(Grade::A)), ("new", None, None)]);
        assert_eq!((report.score, report.subjects), (Some(100), 2));
    }

    #[test]
    fn a_cluster_that_could_not_be_read_is_an_error_and_has_no_score() {
        let failed = |name: &str| ClusterOutcome::failed(name, "cannot be reached".to_owned(), vec![outcome(0, 0)]);
        let report = Report::of_clusters(vec![failed("dead"), cluster("empty", 0, 0), cluster("one", 2, 0)]);
        let clusters: Vec<_> = report.clusters.iter().map(|one| (&*one.name, one.evaluated, one.score)).collect();
        assert_eq!(clusters, [("one", true, Some(100)), ("empty", true, None), ("dead", false, None)]);
        assert_eq!(report.errors[0].message, "cluster dead: cannot be reached");
        assert_eq!(report.errors[0].cluster.as_deref(), Some("dead"));
        let none = Report::of_clusters(vec![failed("dead")]);
        assert_eq!((none.score, none.subjects, none.checks.len()), (None, 0, 1));
    }

    #[test]
    fn errors_of_checks_name_the_cluster() {
        let mut failing = outcome(1, 0);
        failing.results = vec![CheckResult::NotEvaluated];
        failing.errors = vec![EvaluationError {
            check: "a-check".to_owned(),
            module: "sha256:0".to_owned(),
            cause: "trap".to_owned(),
            timed_out: false,
            subjects: vec![0],
        }];
        let subjects = [Subject { kind: "Pod".into(), name: "web".into(), ..Subject::default() }];
        let outcome = ClusterOutcome::new("prod", &subjects, vec![failing], Extent::default(), Vec::new());
        let report = Report::of_clusters(vec![outcome]);
        assert!(report.errors[0].message.starts_with("cluster prod: check a-check"), "{:?}", report.errors);
        assert_eq!(report.checks[0].not_evaluated, 1);
    }
}
