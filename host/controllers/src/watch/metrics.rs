//! The metrics of the watch controller, as docs/metrics.md lists them.

use kube_devops_cluster::ClusterError;
use kube_devops_core::Totals;
use kube_devops_runtime::metrics::register;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of the watch controller. Only the leader exposes scores, so that no replica exposes outdated ones.
pub struct Metrics {
    registry: Registry,
    /// The health score of the cluster.
    pub cluster: IntGauge,
    namespaces: IntGaugeVec,
    /// Pods that were created, changed or deleted.
    pub events: IntCounter,
    /// The number of known pods.
    pub tracked: IntGauge,
}

impl Metrics {
    /// Registers those that every replica exposes.
    pub fn new(registry: &Registry) -> Result<Self, ClusterError> {
        let error = |error: prometheus::Error| ClusterError::Metrics(error.to_string());
        let namespaces = Opts::new("namespace_health_score", "Health score of a namespace, 0 to 100");
        Ok(Self {
            registry: registry.clone(),
            cluster: IntGauge::new("cluster_health_score", "Health score of the cluster, 0 to 100").map_err(error)?,
            namespaces: register(registry, IntGaugeVec::new(namespaces, &["namespace"]))?,
            events: register(
                registry,
                IntCounter::new("pod_events_total", "Pods that were created, changed or deleted"),
            )?,
            tracked: register(registry, IntGauge::new("pods_tracked_total", "Pods that are known"))?,
        })
    }

    /// Exposes or removes the scores.
    pub fn set_leading(&self, is_leader: bool) {
        self.namespaces.reset();
        // Both fail only if nothing would change.
        let _ = if is_leader {
            self.registry.register(Box::new(self.cluster.clone()))
        } else {
            self.registry.unregister(Box::new(self.cluster.clone()))
        };
    }

    /// Sets the score of a namespace; `None` if it has no pods any more.
    pub fn set_namespace(&self, namespace: &str, total: Option<&Totals>) {
        match total {
            Some(total) => self.namespaces.with_label_values(&[namespace]).set(total.score().into()),
            None => {
                let _ = self.namespaces.remove_label_values(&[namespace]);
            }
        }
    }
}
