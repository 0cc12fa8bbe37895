//! What the controllers have in common: logs, signals, and who they are.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use kube_devops_cluster::connection::{Connection, ConnectionOptions};
use kube_devops_cluster::election::ElectionOptions;
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::{Checks, Engine, Limits};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::arguments::{ClusterArguments, ControllerArguments};

/// The cores that a controller needs: one for its work, and one for its endpoints.
pub const THREADS: usize = 2;

/// Connects to the cluster and runs a controller there, until it is asked to stop.
///
/// Only what is wrong is logged where `is_watched`, since a person looks at something better. `threads` are the cores that
/// it may use.
pub fn run<F: Future<Output = Result<()>>>(
    cluster: &ClusterArguments,
    is_watched: bool,
    threads: usize,
    controller: impl FnOnce(Connection, CancellationToken) -> F,
) -> Result<Outcome> {
    // Standard output is for people; RUST_LOG chooses what is logged. Every request that fails is told with what it was for.
    let level = if is_watched { "warn" } else { "info" };
    let usual = || EnvFilter::new(format!("{level},kube_client::client::builder=off"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let options = ConnectionOptions { kubeconfig: cluster.kubeconfig.clone(), context: cluster.context.clone() };
    runtime.block_on(async {
        let connection = Connection::open(&options).await?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone())?);
        controller(connection, stop).await
    })?;
    Ok(Outcome::Fine)
}

/// The signals by which Kubernetes and people end a program.
fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    })
}

/// The checks that controllers judge by.
pub fn checks() -> Result<Checks> {
    let engine = Engine::new(Limits::default())?;
    Ok(Checks::new(kube_devops_modules::checks(&engine)?, engine.limits().clone()))
}

impl ControllerArguments {
    /// The lease of this name.
    pub fn election(&self, name: &str) -> ElectionOptions {
        // Two processes of one machine are two replicas.
        let of_process = || format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id());
        ElectionOptions {
            namespace: self.lease_namespace.clone(),
            name: name.to_owned(),
            identity: self.identity.clone().unwrap_or_else(of_process),
            duration: Duration::from_secs(self.lease_duration),
        }
    }

    /// The namespaces that are left alone.
    pub fn system(&self) -> SystemNamespaces {
        SystemNamespaces::default().and(self.system_namespaces.iter().cloned())
    }
}
