//! The registration of metrics.

use kube_devops_cluster::ClusterError;
use prometheus::Registry;
use prometheus::core::Collector;

/// Registers a metric.
///
/// # Errors
///
/// If another metric has the same name.
pub fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> Result<C, ClusterError> {
    let error = |error: prometheus::Error| ClusterError::Metrics(error.to_string());
    let metric = metric.map_err(error)?;
    registry.register(Box::new(metric.clone())).map_err(error)?;
    Ok(metric)
}
