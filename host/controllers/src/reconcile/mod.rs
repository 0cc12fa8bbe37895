//! The operator: evaluates policies continuously, and reports the results in their status.
//!
//! ```text
//!   watch of pods ------> PodIndex --.
//!                                    |--> Policy::evaluate --> Ledger --> next_write, next_job --> Executor
//!   watch of policies --> Policy ----'          ^                                                     |
//!                                               '------------- results of the requests <-------------'
//! ```
//!
//! Only changed pods are evaluated again. Only the leader writes, one write of a policy at a time, and only if something
//! changed. `controller` is the event loop; `policy`, `gate`, `status`, `audit` and `events` decide, as functions of
//! data and time; `write` is the requests as data; `executor` is the only file that sends them.

mod audit;
mod availability;
mod controller;
mod events;
mod executor;
mod found;
mod gate;
mod metrics;
mod policy;
mod request_result;
mod rules;
mod status;
#[cfg(test)]
mod tests;
mod turns;
mod write;

use std::net::SocketAddr;

use kube::runtime::events::{Recorder, Reporter};
use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::Catalog;
use kube_devops_policy_modules::ModuleOptions;
use kube_devops_remediation::EnforceOptions;
use kube_devops_runtime::Runtime;
use kube_devops_runtime::election::ElectionOptions;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

pub use audit::AuditOptions;
use controller::Operator;
use executor::Executor;
use metrics::Metrics;

/// The options of the operator.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// The address of `/healthz`, `/readyz` and `/metrics`.
    pub address: SocketAddr,
    /// The leader election.
    pub election: ElectionOptions,
    /// The audit results.
    pub audit: AuditOptions,
    /// The remediation.
    pub enforce: EnforceOptions,
    /// The namespaces that are excluded.
    pub system: SystemNamespaces,
}

/// Runs the operator until `stop`.
///
/// # Errors
///
/// If the address is in use, or a background task ends unexpectedly.
pub async fn run(
    connection: &Connection,
    catalog: Catalog,
    options: ReconcileOptions,
    stop: CancellationToken,
) -> Result<(), ClusterError> {
    // Whatever ends this function ends the background tasks, too.
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let client = connection.client.clone();
    let runtime = Runtime::start(&client, options.address, options.election.clone(), registry.clone()).await?;
    let module_options =
        ModuleOptions { namespace: options.election.namespace.clone(), leadership: Some(runtime.leadership.clone()) };
    let checks = kube_devops_policy_modules::start(client.clone(), catalog, module_options, &registry, stop.clone())?;
    let modules_ended = checks.ended();
    let reporter = Reporter { controller: "kube-devops".to_owned(), instance: Some(options.election.identity.clone()) };
    let executor = Executor { recorder: Recorder::new(client.clone(), reporter), client };
    let operator =
        Operator::new(executor, checks, options, metrics, runtime.readiness.clone(), runtime.handover.clone());
    let operator = operator.run(runtime.leadership.clone(), stop.clone());
    let other = async {
        modules_ended.await;
        "the loading of modules"
    };
    runtime.run(operator, other, &stop).await
}
