//! What the webhook counts.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::verdict::{Reason, Verdict};
use crate::ClusterError;
use crate::metrics::register;

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
    /// How many policies there are.
    pub policies: IntGauge,
    /// When the certificate that is served ends, in seconds since 1970; 0 for the one of the first moments.
    pub certificate_expiry: IntGauge,
}

impl Metrics {
    /// Registers them. `fail_closed`: whether requests that cannot be evaluated are denied.
    pub fn new(registry: &Registry, fail_closed: bool) -> Result<Self, ClusterError> {
        let requests = IntCounterVec::new(
            Opts::new("webhook_requests_total", "Admission requests, by what became of them"),
            &["verdict"],
        );
        let requests = register(registry, requests)?;
        let by_reason = |name: &str, help: &str| {
            let counters = register(registry, IntCounterVec::new(Opts::new(name, help), &["reason"]))?;
            Ok::<_, ClusterError>(Reason::ALL.map(|reason| counters.with_label_values(&[reason.as_str()])))
        };
        let duration = HistogramOpts::new(
            "webhook_request_duration_seconds",
            "Time from the arrival of an admission request to its answer",
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
            policies: register(registry, IntGauge::new("webhook_policies", "Policies that are judged by"))?,
            certificate_expiry: register(
                registry,
                IntGauge::new(
                    "webhook_certificate_expiry_timestamp_seconds",
                    "When the served certificate ends, in seconds since 1970",
                ),
            )?,
        })
    }

    /// A request was answered.
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

    /// A request was answered with an HTTP error, so that the failure policy of the API server decides.
    pub fn rejected(&self, reason: Reason, duration: Duration) {
        self.requests[Verdict::FAILED].inc();
        self.failed(reason, !self.fail_closed);
        self.duration.observe(duration.as_secs_f64());
    }

    fn failed(&self, reason: Reason, is_admitted: bool) {
        self.failures[reason as usize].inc();
        if is_admitted {
            self.failed_open[reason as usize].inc();
        }
    }
}
