//! The connection to the selected cluster, and the runtime for requests.

use std::future::Future;

use anyhow::Result;
use kube_devops_cluster::connection::{Connection, ConnectionOptions};
use tokio::runtime::Runtime;

use crate::arguments::ClusterArguments;

/// Returns a runtime for the requests of a command.
pub fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Connects to the selected cluster and runs an action with the connection.
pub fn with_cluster<T, F: Future<Output = Result<T>>>(
    arguments: &ClusterArguments,
    action: impl FnOnce(Connection) -> F,
) -> Result<T> {
    let runtime = runtime()?;
    let options = ConnectionOptions { kubeconfig: arguments.kubeconfig.clone(), context: arguments.context.clone() };
    runtime.block_on(async { action(Connection::open(&options).await?).await })
}
