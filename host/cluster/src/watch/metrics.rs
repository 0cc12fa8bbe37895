//! What the watch controller tells Prometheus. The names are those of docs/metrics.md.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use kube_devops_core::Totals;

use crate::ClusterError;
use crate::metrics::register;

/// The metrics of the watch controller. Scores are there while this replica leads, so that no replica shows old ones.
pub struct Metrics {
    registry: Registry,
    /// The health score of the cluster.
    pub cluster: IntGauge,
    namespaces: IntGaugeVec,
    /// Pods that were created, changed or deleted.
    pub events: IntCounter,
    /// How many pods are known.
    pub tracked: IntGauge,
}

impl Metrics {
    /// Registers those that are always there.
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

    /// Shows scores or takes them away.
    pub fn set_leading(&self, is_leader: bool) {
        self.namespaces.reset();
        // Neither fails but where nothing would change.
        let _ = if is_leader {
            self.registry.register(Box::new(self.cluster.clone()))
        } else {
            self.registry.unregister(Box::new(self.cluster.clone()))
        };
    }

    /// Sets the score of a namespace; none: it has no pods any more.
    pub fn set_namespace(&self, namespace: &str, total: Option<&Totals>) {
        match total {
            Some(total) => self.namespaces.with_label_values(&[namespace]).set(total.score().into()),
            None => {
                let _ = self.namespaces.remove_label_values(&[namespace]);
            }
        }
    }
}
