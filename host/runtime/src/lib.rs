//! The runtime of the controllers and the webhook: HTTP endpoints, leader election, watches and the order of the shutdown.
//!
//! ```text
//!   Runtime::start --> /healthz, /readyz, /metrics
//!                  '-> leader election --> leadership --> controller (Ticker, Watched) --> end of Runtime::run
//! ```
//!
//! In come tasks and the stop of the process; out come their endpoints, the Lease and the error of a task that ended. This crate must
//! not know what a controller does. Start reading at [`Runtime`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod backoff;
pub mod clock;
pub mod election;
pub mod metrics;
pub mod server;
pub mod store;
pub mod supervise;
pub mod ticker;
pub mod watch_log;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use kube_devops_cluster::ClusterError;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use election::{ElectionOptions, Handover, Leadership, run_election};
use server::{Readiness, serve};
use supervise::supervise;

/// The background tasks of a controller.
#[derive(Debug)]
pub struct Runtime {
    /// The answer of `/readyz`.
    pub readiness: Readiness,
    /// Whether this replica is the leader.
    pub leadership: Leadership,
    /// Makes this replica step down, so that another one can become the leader.
    pub handover: Arc<Handover>,
    /// Ends the tasks, also if the controller does not start.
    finished: DropGuard,
    server: JoinHandle<()>,
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
        let server = serve(address, readiness.clone(), registry, finished.clone()).await?;
        let (sender, terms) = watch::channel(None);
        let handover = Arc::new(Handover::default());
        let leadership = Leadership::new(terms, handover.clone());
        let election = run_election(client.clone(), election, sender, handover.clone(), finished.clone());
        let election = tokio::spawn(election);
        let finished = finished.drop_guard();
        Ok(Self { readiness, leadership, handover, finished, server, election })
    }

    /// Runs a controller until `stop`, and then releases the lease and stops the endpoints. `other` returns the name of another background
    /// task that has ended.
    ///
    /// # Errors
    ///
    /// If a background task ends before `stop`, which only a panic causes. `stop` is cancelled then, because the controller would continue
    /// with what it has, and look healthy.
    pub async fn run(
        mut self,
        controller: impl Future<Output = ()>,
        other: impl Future<Output = &'static str>,
        stop: &CancellationToken,
    ) -> Result<(), ClusterError> {
        let ended = async {
            tokio::select! {
                _ = &mut self.server => "the HTTP server",
                _ = &mut self.election => "the leader election",
                other = other => other,
            }
        };
        let result = supervise(controller, ended, stop).await;
        // Only now: another replica starts at once.
        drop(self.finished);
        if !self.election.is_finished() {
            let _ = self.election.await;
        }
        result
    }
}
