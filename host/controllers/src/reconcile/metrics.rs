//! The metrics of the operator, as docs/metrics.md lists them.

use std::collections::HashMap;

use kube_devops_cluster::ClusterError;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_core::{Severity, Totals};
use kube_devops_runtime::metrics::register;
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of the operator. The series of a policy are removed with the policy.
#[derive(Clone)]
pub struct Metrics {
    /// Whether this replica is the leader.
    pub leader: IntGauge,
    /// Evaluations of policies.
    pub reconciles: IntCounter,
    /// Evaluations with a failed check, and failed writes.
    pub errors: IntCounter,
    /// Evaluated pods.
    pub scanned: IntCounter,
    /// The duration of evaluations.
    pub duration: Histogram,
    /// Created audit results.
    pub audits: IntCounter,
    /// Patched workloads.
    pub applied: IntCounter,
    /// Workloads that could not be patched, or were reverted.
    pub failed: IntCounter,
    violations: IntGaugeVec,
    score: IntGaugeVec,
    compliance: GaugeVec,
    complete: IntGaugeVec,
    mode: IntGaugeVec,
    by_severity: IntGaugeVec,
    by_check: IntGaugeVec,
}

/// The values of the series of a policy.
pub struct Shown<'a> {
    /// The totals of its evaluations.
    pub totals: &'a Totals,
    /// The health score; `None` if nothing was evaluated, and then there is no series.
    pub score: Option<u8>,
    /// Whether every check evaluated every pod that it applies to.
    pub is_complete: bool,
    /// Whether it remediates workloads.
    pub enforces: bool,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &Registry) -> Result<Self, ClusterError> {
        const POLICY: [&str; 2] = ["namespace", "policy"];
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        // The evaluation of a pod takes microseconds, and of a namespace of 10,000 pods a tenth of a second.
        let buckets = vec![0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
        let duration =
            HistogramOpts::new("devopspolicy_reconcile_duration_seconds", "Duration of the evaluation of a policy")
                .buckets(buckets);
        let leader = IntGauge::new("devopspolicy_leader", "Whether this replica is the leader (1) or not (0)");
        Ok(Self {
            leader: register(registry, leader)?,
            reconciles: counter("devopspolicy_reconcile_total", "Evaluations of policies")?,
            errors: counter("devopspolicy_reconcile_errors_total", "Evaluations and writes that failed")?,
            scanned: counter("devopspolicy_pods_scanned_total", "Pods that were evaluated")?,
            duration: register(registry, Histogram::with_opts(duration))?,
            audits: counter("audit_results_total", "PolicyAuditResults that were created")?,
            applied: counter("enforcement_remediations_applied_total", "Workloads that were patched")?,
            failed: counter(
                "enforcement_remediations_failed_total",
                "Workloads that could not be patched, or were reverted",
            )?,
            violations: gauge("devopspolicy_violations_total", "Violations of a policy", &POLICY)?,
            score: gauge("devopspolicy_health_score", "Health score of a policy's pods, 0 to 100", &POLICY)?,
            compliance: register(
                registry,
                GaugeVec::new(
                    Opts::new("devopspolicy_compliance", "Compliance of a policy's pods in percent"),
                    &POLICY,
                ),
            )?,
            complete: gauge(
                "devopspolicy_evaluation_complete",
                "Whether every check of a policy evaluated every pod that it applies to (1) or not (0)",
                &POLICY,
            )?,
            mode: gauge("enforcement_mode", "Whether a policy audits (0) or enforces (1)", &POLICY)?,
            by_severity: gauge(
                "violations_by_severity",
                "Violations of a policy by severity",
                &["namespace", "policy", "severity"],
            )?,
            by_check: gauge(
                "violations_by_check",
                "Violations of a policy by check",
                &["namespace", "policy", "check"],
            )?,
        })
    }

    /// Sets the series of a policy. `before` are the totals that they have.
    pub fn set(&self, policy: &ObjectKey, before: &Totals, shown: &Shown<'_>) {
        self.complete.with(&labels(policy)).set(shown.is_complete.into());
        self.mode.with(&labels(policy)).set(shown.enforces.into());
        let Some(score) = shown.score else {
            // Without results, there is no number of violations, not even 0.
            return self.remove_results(policy, before);
        };
        let now = shown.totals;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.violations.with(&labels(policy)).set(count(now.violations));
        self.score.with(&labels(policy)).set(score.into());
        self.compliance.with(&labels(policy)).set(now.compliance.percent());
        for (severity, violations) in Severity::ALL.iter().zip(now.by_severity) {
            self.by_severity.with(&labels_with(policy, "severity", severity.as_str())).set(count(violations));
        }
        for check in before.by_check.keys().filter(|check| !now.by_check.contains_key(*check)) {
            let _ = self.by_check.remove(&labels_with(policy, "check", check));
        }
        for (check, &violations) in &now.by_check {
            self.by_check.with(&labels_with(policy, "check", check)).set(count(violations));
        }
    }

    /// Removes the series of a policy. `last` are their values.
    pub fn remove(&self, policy: &ObjectKey, last: &Totals) {
        for gauge in [&self.complete, &self.mode] {
            let _ = gauge.remove(&labels(policy));
        }
        self.remove_results(policy, last);
    }

    fn remove_results(&self, policy: &ObjectKey, last: &Totals) {
        for gauge in [&self.violations, &self.score] {
            let _ = gauge.remove(&labels(policy));
        }
        let _ = self.compliance.remove(&labels(policy));
        for severity in Severity::ALL {
            let _ = self.by_severity.remove(&labels_with(policy, "severity", severity.as_str()));
        }
        for check in last.by_check.keys() {
            let _ = self.by_check.remove(&labels_with(policy, "check", check));
        }
    }
}

/// The labels of the series of a policy, by name.
type Labels<'a> = HashMap<&'a str, &'a str>;

fn labels(policy: &ObjectKey) -> Labels<'_> {
    HashMap::from([("namespace", &*policy.namespace), ("policy", &*policy.name)])
}

fn labels_with<'a>(policy: &'a ObjectKey, name: &'a str, value: &'a str) -> Labels<'a> {
    let mut labels = labels(policy);
    labels.insert(name, value);
    labels
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_core::testing;
    use prometheus::TextEncoder;

    use super::*;

    /// Prometheus does not count the first events of a series that starts with them.
    #[test]
    fn counters_exist_before_their_first_event_and_the_leadership_before_the_election() {
        let registry = Registry::new();
        let _metrics = Metrics::new(&registry).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for name in [
            "devopspolicy_leader",
            "devopspolicy_reconcile_total",
            "devopspolicy_reconcile_errors_total",
            "devopspolicy_pods_scanned_total",
            "devopspolicy_reconcile_duration_seconds_count",
            "audit_results_total",
            "enforcement_remediations_applied_total",
            "enforcement_remediations_failed_total",
        ] {
            assert!(text.lines().any(|line| line == format!("{name} 0")), "{name}: {text}");
        }
    }

    #[test]
    fn the_series_of_a_policy_follow_its_totals_and_are_removed_with_it() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let policy = ObjectKey { namespace: "shop".into(), name: "strict".into() };
        let series = || {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            text.lines().filter(|line| line.contains("strict")).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut totals = Totals { subjects: 1, ..Totals::default() };
        totals.count(&testing::violation("latest-tag", Severity::High, "web"));
        totals.compliance.add(1, true);
        totals.compliance.add(2, false);
        let shown = Shown { totals: &totals, score: Some(95), is_complete: true, enforces: true };
        metrics.set(&policy, &Totals::default(), &shown);
        for expected in [
            r#"devopspolicy_violations_total{namespace="shop",policy="strict"} 1"#,
            r#"devopspolicy_health_score{namespace="shop",policy="strict"} 95"#,
            r#"devopspolicy_compliance{namespace="shop",policy="strict"} 66.6"#,
            r#"devopspolicy_evaluation_complete{namespace="shop",policy="strict"} 1"#,
            r#"enforcement_mode{namespace="shop",policy="strict"} 1"#,
            r#"violations_by_severity{namespace="shop",policy="strict",severity="high"} 1"#,
            r#"violations_by_check{check="latest-tag",namespace="shop",policy="strict"} 1"#,
        ] {
            assert!(series().iter().any(|line| line == expected), "{expected} is not in {:#?}", series());
        }
        let nothing = Shown { totals: &Totals::default(), score: None, is_complete: false, enforces: false };
        metrics.set(&policy, &totals, &nothing);
        let expected = [
            r#"devopspolicy_evaluation_complete{namespace="shop",policy="strict"} 0"#,
            r#"enforcement_mode{namespace="shop",policy="strict"} 0"#,
        ];
        assert_eq!(series(), expected, "there are no results");
        metrics.remove(&policy, &Totals::default());
        assert_eq!(series(), Vec::<String>::new());
        assert!(Metrics::new(&registry).is_err(), "the names are registered once");
    }
}
