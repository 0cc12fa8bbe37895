//! The parts that all controllers share: logs, signals and the identity for leader election.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use kube_devops_cluster::connection::{Connection, ConnectionOptions};
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::{Catalog, PrivateFolder};
use kube_devops_runtime::election::ElectionOptions;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::arguments::{ClusterArguments, ControllerArguments, ModuleCacheArguments};
use crate::modules;

/// The minimum number of worker threads of a controller: one for its work, and one for its endpoints.
pub const THREADS: usize = 2;

/// Connects to the cluster and runs a controller until it receives a termination signal.
///
/// If `is_watched`, only warnings and errors are logged, because the user watches a table. `threads` is the number of
/// worker threads.
pub fn run<F: Future<Output = Result<()>>>(
    cluster: &ClusterArguments,
    is_watched: bool,
    threads: usize,
    controller: impl FnOnce(Connection, CancellationToken) -> F,
) -> Result<Outcome> {
    // Standard output is for the user; RUST_LOG sets the log filter. The kube client does not log failed requests, because
    // controllers log them together with their purpose, nor responses that it cannot parse, because they may be secret. The same
    // applies to interrupted watches, which it would log a second time.
    let level = if is_watched { "warn" } else { "info" };
    let default_filter = || EnvFilter::new(format!("{level},kube_client::client=off,kube_runtime::watcher=error"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default_filter());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be printed to standard error, with a panic if that cannot be written.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let options = ConnectionOptions { kubeconfig: cluster.kubeconfig.clone(), context: cluster.context.clone() };
    block_on(runtime, async {
        let connection = Connection::open(&options).await?;
        // Errors of requests do not contain the address.
        tracing::info!(server = connection.server, "starting");
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone())?);
        controller(connection, stop).await
    })?;
    Ok(Outcome::Success)
}

/// Runs a future, and waits for nothing else afterwards: a compilation may take minutes, and its process ends with this one.
fn block_on<T>(runtime: Runtime, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Cancels the token on SIGTERM, which Kubernetes sends, and on SIGINT, which a user sends with Ctrl+C.
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

/// Returns the modules of the program, to which controllers add those of the cluster.
///
/// # Errors
///
/// If the selected folder for modules cannot be used.
pub fn catalog(arguments: &ModuleCacheArguments) -> Result<Catalog> {
    let folder = arguments.module_cache_dir.as_deref().map(PrivateFolder::open).transpose()?;
    modules::embedded(modules::engine_in(folder.as_ref(), &arguments.compile)?)
}

impl ControllerArguments {
    /// Returns the options for leader election with the Lease of this name.
    pub fn election(&self, name: &str) -> ElectionOptions {
        // Two processes on one machine are two replicas.
        let process_identity =
            || format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id());
        ElectionOptions {
            namespace: self.lease_namespace.clone(),
            name: name.to_owned(),
            identity: self.identity.clone().unwrap_or_else(process_identity),
            duration: Duration::from_secs(self.lease_duration),
        }
    }

    /// Returns the system namespaces, which are excluded.
    pub fn system(&self) -> SystemNamespaces {
        SystemNamespaces::default().and(self.system_namespaces.iter().cloned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_end_of_a_controller_does_not_wait_for_blocking_work() {
        let (sender, receiver) = mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (started, has_started) = mpsc::channel();
        let work = block_on(runtime, async move {
            let work = tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                receiver.recv_timeout(Duration::from_secs(30))
            });
            work.abort_handle()
        });
        has_started.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(!work.is_finished());
        drop(sender);
    }
}
