//! The runtime of the controllers: HTTP endpoints, leader election, watches and the order of the shutdown.
//!
//! ```text
//!   Runtime::start --> /healthz, /readyz, /metrics
//!                  '-> leader election --> leadership --> controller (Ticker, Watched) --> Runtime::shut_down
//! ```

pub mod backoff;
pub mod election;
pub mod metrics;
pub mod server;
pub mod store;
pub mod ticker;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use prometheus::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ClusterError;

use election::{ElectionOptions, run_election};
use server::{Readiness, serve};

/// The background tasks of a controller.
#[derive(Debug)]
pub struct Runtime {
    /// The answer of `/readyz`.
    pub readiness: Readiness,
    /// Whether this replica is the leader.
    pub leadership: watch::Receiver<bool>,
    /// Makes this replica step down, so that another one can become the leader.
    pub step_down: Arc<Notify>,
    finished: CancellationToken,
    election: JoinHandle<()>,
}

impl Runtime {
    /// Serves the endpoints on `address` and takes part in the leader election.
    ///
    /// # Errors
    ///
    /// If the address is in use.
    pub async fn start(
        client: &Client,
        address: SocketAddr,
        election: ElectionOptions,
        registry: Registry,
    ) -> Result<Self, ClusterError> {
        let readiness = Readiness::default();
        let finished = CancellationToken::new();
        serve(address, readiness.clone(), registry, finished.clone()).await?;
        let (leads, leadership) = watch::channel(false);
        let step_down = Arc::new(Notify::new());
        let election = run_election(client.clone(), election, leads, step_down.clone(), finished.clone());
        let election = tokio::spawn(election);
        Ok(Self { readiness, leadership, step_down, finished, election })
    }

    /// Releases the lease and stops the endpoints. The controller must have stopped before: another replica starts at once.
    pub async fn shut_down(self) {
        self.finished.cancel();
        // The task ends by itself; a panic in it has been reported.
        let _ = self.election.await;
    }
}
