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
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ClusterError;

use election::{ElectionOptions, Handover, Leadership, run_election};
use server::{Readiness, serve};

/// The background tasks of a controller.
#[derive(Debug)]
pub struct Runtime {
    /// The answer of `/readyz`.
    pub readiness: Readiness,
    /// Whether this replica is the leader.
    pub leadership: watch::Receiver<bool>,
    /// Makes this replica step down, so that another one can become the leader.
    pub handover: Arc<Handover>,
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
        let handover = Arc::new(Handover::default());
        let election = run_election(client.clone(), election, leads, handover.clone(), finished.clone());
        let election = tokio::spawn(election);
        Ok(Self { readiness, leadership, handover, finished, election })
    }

    /// The leadership, for tasks that act beside the controller.
    pub fn leadership(&self) -> Leadership {
        Leadership::new(self.leadership.clone(), self.handover.clone())
    }

    /// Releases the lease and stops the endpoints. The controller must have stopped before: another replica starts at once.
    pub async fn shut_down(self) {
        self.finished.cancel();
        // The task ends by itself; a panic in it has been reported.
        let _ = self.election.await;
    }
}
