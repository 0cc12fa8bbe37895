//! What the operator tells Prometheus. The names are those of docs/metrics.md.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGaugeVec, Opts, Registry};

use kube_devops_core::{Severity, Totals};

use crate::ClusterError;
use crate::key::ObjectKey;
use crate::metrics::register;

/// The metrics of the operator. A series for each policy goes when the policy goes.
#[derive(Clone)]
pub struct Metrics {
    /// Evaluations of policies.
    pub reconciles: IntCounter,
    /// Evaluations with a check that failed, and writes that the API server refused.
    pub errors: IntCounter,
    /// Pods that were shown to a policy's checks.
    pub scanned: IntCounter,
    /// How long an evaluation took.
    pub duration: Histogram,
    /// Audit results that were written.
    pub audits: IntCounter,
    /// Workloads that were changed.
    pub applied: IntCounter,
    /// Workloads that could not be changed, or whose change had to be taken back.
    pub failed: IntCounter,
    violations: IntGaugeVec,
    score: IntGaugeVec,
    mode: IntGaugeVec,
    by_severity: IntGaugeVec,
    by_check: IntGaugeVec,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &Registry) -> Result<Self, ClusterError> {
        const POLICY: [&str; 2] = ["namespace", "policy"];
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        // Evaluating a pod takes microseconds, and a namespace of 10,000 a tenth of a second.
        let buckets = vec![0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
        let duration =
            HistogramOpts::new("devopspolicy_reconcile_duration_seconds", "How long an evaluation of a policy took")
                .buckets(buckets);
        Ok(Self {
            reconciles: counter("devopspolicy_reconcile_total", "Evaluations of policies")?,
            errors: counter("devopspolicy_reconcile_errors_total", "Evaluations and writes that failed")?,
            scanned: counter("devopspolicy_pods_scanned_total", "Pods that were evaluated")?,
            duration: register(registry, Histogram::with_opts(duration))?,
            audits: counter("audit_results_total", "PolicyAuditResults that were created")?,
            applied: counter("enforcement_remediations_applied_total", "Workloads that were patched")?,
            failed: counter(
                "enforcement_remediations_failed_total",
                "Workloads that could not be patched, or were taken back",
            )?,
            violations: gauge("devopspolicy_violations_total", "Violations of a policy", &POLICY)?,
            score: gauge("devopspolicy_health_score", "Health score of a policy's pods, 0 to 100", &POLICY)?,
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

    /// Sets the series of a policy. `before` is what they said before.
    pub fn set(&self, policy: &ObjectKey, before: &Totals, now: &Totals, enforces: bool) {
        let labels: [&str; 2] = [&policy.namespace, &policy.name];
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.violations.with_label_values(&labels).set(count(now.violations));
        self.score.with_label_values(&labels).set(now.score().into());
        self.mode.with_label_values(&labels).set(enforces.into());
        for (severity, violations) in Severity::ALL.iter().zip(now.by_severity) {
            self.by_severity.with_label_values(&[labels[0], labels[1], severity.as_str()]).set(count(violations));
        }
        for check in before.by_check.keys().filter(|check| !now.by_check.contains_key(*check)) {
            let _ = self.by_check.remove_label_values(&[labels[0], labels[1], check]);
        }
        for (check, &violations) in &now.by_check {
            self.by_check.with_label_values(&[labels[0], labels[1], check]).set(count(violations));
        }
    }

    /// Removes the series of a policy. `last` is what they said.
    pub fn remove(&self, policy: &ObjectKey, last: &Totals) {
        let labels: [&str; 2] = [&policy.namespace, &policy.name];
        for gauge in [&self.violations, &self.score, &self.mode] {
            let _ = gauge.remove_label_values(&labels);
        }
        for severity in Severity::ALL {
            let _ = self.by_severity.remove_label_values(&[labels[0], labels[1], severity.as_str()]);
        }
        for check in last.by_check.keys() {
            let _ = self.by_check.remove_label_values(&[labels[0], labels[1], check]);
        }
    }
}
