//! The metrics of the webhook.

use std::time::Duration;

use kube_devops_cluster::ClusterError;
use kube_devops_runtime::metrics::register;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::response::{Reason, Verdict};

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 15] =
    [0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The metrics of the webhook.
pub struct Metrics {
    requests: [IntCounter; Verdict::NAMES.len()],
    denials: IntCounter,
    failures: [IntCounter; Reason::ALL.len()],
    failed_open: [IntCounter; Reason::ALL.len()],
    fail_closed: bool,
    duration: Histogram,
    /// The updates of remediated workloads from which added fields were removed.
    pub yields: IntCounter,
    /// The updates of remediated workloads that could not be processed.
    pub yield_failures: IntCounter,
    /// The number of policies.
    pub policies: IntGauge,
    /// The expiry of the serving certificate, in seconds since 1970; 0 for the bootstrap certificate.
    pub certificate_expiry: IntGauge,
}

impl Metrics {
    /// Registers them. `fail_closed`: whether requests that cannot be evaluated are denied.
    pub fn new(registry: &Registry, fail_closed: bool) -> Result<Self, ClusterError> {
        let requests =
            IntCounterVec::new(Opts::new("webhook_requests_total", "Admission requests by verdict"), &["verdict"]);
        let requests = register(registry, requests)?;
        let by_reason = |name: &str, help: &str| {
            let counters = register(registry, IntCounterVec::new(Opts::new(name, help), &["reason"]))?;
            Ok::<_, ClusterError>(Reason::ALL.map(|reason| counters.with_label_values(&[reason.as_str()])))
        };
        let duration = HistogramOpts::new(
            "webhook_request_duration_seconds",
            "Time from the arrival of an admission request to its response",
        );
        Ok(Self {
            requests: Verdict::NAMES.map(|name| requests.with_label_values(&[name])),
            denials: register(
                registry,
                IntCounter::new("webhook_denials_total", "Admission requests that were denied"),
            )?,
            failures: by_reason(
                "webhook_evaluation_failures_total",
                "Admission requests that could not be evaluated, or not by every check, by reason",
            )?,
            failed_open: by_reason(
                "webhook_fail_open_total",
                "Admission requests that were admitted although they could not be evaluated, by reason",
            )?,
            fail_closed,
            duration: register(registry, Histogram::with_opts(duration.buckets(BUCKETS.to_vec())))?,
            yields: register(
                registry,
                IntCounter::new(
                    "webhook_remediation_yields_total",
                    "Updates of remediated workloads from which added fields were removed",
                ),
            )?,
            yield_failures: register(
                registry,
                IntCounter::new(
                    "webhook_remediation_yield_failures_total",
                    "Updates of remediated workloads that could not be processed, and continued unchanged",
                ),
            )?,
            policies: register(registry, IntGauge::new("webhook_policies", "Policies of the webhook"))?,
            certificate_expiry: register(
                registry,
                IntGauge::new(
                    "webhook_certificate_expiry_timestamp_seconds",
                    "Expiry of the serving certificate, in seconds since 1970",
                ),
            )?,
        })
    }

    /// Counts a response with a review.
    pub fn answered(&self, verdict: &Verdict, allowed: bool, duration: Duration) {
        self.requests[verdict.position(allowed)].inc();
        if !allowed {
            self.denials.inc();
        }
        if let Some(reason) = verdict.reason() {
            self.failed(reason, allowed);
        }
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts a response with an HTTP error, after which the failure policy of the API server decides.
    pub fn rejected(&self, reason: Reason, duration: Duration) {
        self.requests[Verdict::FAILED].inc();
        self.failed(reason, !self.fail_closed);
        self.duration.observe(duration.as_secs_f64());
    }

    /// A request was denied without being read.
    pub fn denied_unread(&self, reason: Reason, duration: Duration) {
        self.requests[Verdict::FAILED].inc();
        self.denials.inc();
        self.failed(reason, false);
        self.duration.observe(duration.as_secs_f64());
    }

    fn failed(&self, reason: Reason, is_admitted: bool) {
        self.failures[reason as usize].inc();
        if is_admitted {
            self.failed_open[reason as usize].inc();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    /// Prometheus does not count the first events of a series that starts with them.
    #[test]
    fn every_series_exists_before_the_first_request() {
        let registry = Registry::new();
        let _metrics = Metrics::new(&registry, false).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let exists =
            |series: String| assert!(text.lines().any(|line| line == format!("{series} 0")), "{series}: {text}");
        for name in Verdict::NAMES {
            exists(format!("webhook_requests_total{{verdict=\"{name}\"}}"));
        }
        for reason in Reason::ALL.map(Reason::as_str) {
            exists(format!("webhook_evaluation_failures_total{{reason=\"{reason}\"}}"));
            exists(format!("webhook_fail_open_total{{reason=\"{reason}\"}}"));
        }
        for name in ["denials", "remediation_yields", "remediation_yield_failures"] {
            exists(format!("webhook_{name}_total"));
        }
        exists("webhook_request_duration_seconds_count".to_owned());
    }
}
