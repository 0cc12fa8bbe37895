//! The admission webhook: what breaks the policies of a namespace is refused before it runs.
//!
//! ```text
//!   watch of policies --> PolicyIndex --.
//!                                       |--> Admission --> verdict --> refusal, warnings, metrics
//!   HTTPS --> review --> subject -------'
//!   files or Secret --> certificate
//! ```
//!
//! Nothing that goes wrong here stops a cluster: what cannot be judged is let in, said and counted, unless it is wanted
//! otherwise. A request never waits for the API server.

pub mod admission;
pub mod certificate;
pub mod configuration;
mod index;
mod metrics;
pub mod review;
pub mod server;
pub mod verdict;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use chrono::Utc;
use futures::StreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube_devops_engine::Checks;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ClusterError;
use crate::connection::Connection;
use crate::crd::DevOpsPolicy;
use crate::election::{ElectionOptions, run_election};
use crate::serve::{Readiness, endpoints};

use admission::{Admission, AdmissionOptions};
use certificate::{
    CertificateError, CertificateFiles, CertificateNames, ManagedCertificate, ServerCertificate, follow_files,
    follow_secret, make,
};
pub use index::{Indexer, PolicyIndex};

/// How long open requests may take to be answered when the server ends.
const GRACE: Duration = Duration::from_secs(10);

/// How the webhook is run.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// How requests are judged.
    pub admission: AdmissionOptions,
    /// The largest review, in bytes.
    pub largest_body: usize,
    /// How long it goes on answering after it has said that it is no longer ready.
    pub drain: Duration,
    /// Which certificate is served.
    pub certificate: CertificateSource,
}

/// Which certificate is served.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// One in files, which somebody else replaces.
    Files(CertificateFiles),
    /// One of our own, which whoever leads makes and renews.
    Managed {
        /// Where it is kept.
        managed: ManagedCertificate,
        /// The lease of the leader.
        election: ElectionOptions,
    },
}

/// Why the webhook does not run.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The cluster, or the address.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Runs the webhook until `stop`, and then for as long as open requests and API servers need to let go of it.
pub async fn run(
    connection: &Connection,
    checks: Arc<Checks>,
    options: WebhookOptions,
    stop: CancellationToken,
) -> Result<(), WebhookError> {
    let registry = Registry::new();
    let index = Arc::new(PolicyIndex::default());
    let admission = Arc::new(Admission::new(checks.clone(), index.clone(), options.admission, &registry)?);
    let readiness = Readiness::default();
    let first = match &options.certificate {
        CertificateSource::Files(files) => files.load()?,
        CertificateSource::Managed { managed, .. } => bootstrap_certificate(&managed.names)?,
    };
    let tls = RustlsConfig::from_config(first.config.clone());
    let is_certified = Arc::new(AtomicBool::new(false));
    let take_up = {
        let (tls, admission, is_certified) = (tls.clone(), admission.clone(), is_certified.clone());
        move |certificate: ServerCertificate| {
            tls.reload_from_config(certificate.config);
            admission.metrics().certificate_expiry.set(certificate.expiry.timestamp());
            is_certified.store(true, Ordering::Release);
        }
    };
    let handle = Handle::new();
    let router = endpoints(readiness.clone(), registry).merge(server::router(admission.clone(), options.largest_body));
    let (_, served) = server::serve(options.address, tls, router, handle.clone()).await?;

    let finished = CancellationToken::new();
    let manager = tokio::spawn({
        let (client, finished) = (connection.client.clone(), finished.clone());
        async move {
            match options.certificate {
                CertificateSource::Files(files) => {
                    if first.expiry <= Utc::now() {
                        tracing::warn!(expiry = %first.expiry, "the certificate has ended: no API server will take it");
                    }
                    take_up(first);
                    follow_files(files, take_up, finished).await;
                }
                CertificateSource::Managed { managed, election } => {
                    let (is_leader, leadership) = watch::channel(false);
                    let election = run_election(client.clone(), election, is_leader, finished.clone());
                    tokio::join!(election, follow_secret(client, managed, leadership, take_up, finished));
                }
            }
        }
    });

    let mut indexer = Indexer::new(checks, index.clone());
    let policies: Api<DevOpsPolicy> = Api::all(connection.client.clone());
    let mut events = pin!(watcher(policies, watcher::Config::default()).default_backoff());
    let mut ending = pin!(async {
        stop.cancelled().await;
        // Whoever sends requests here has to learn first that it should not.
        readiness.unset();
        sleep(options.drain).await;
    });
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = &mut ending => break,
            _ = looks.tick(), if !readiness.is_set() && !stop.is_cancelled() => {
                if index.is_synced() && is_certified.load(Ordering::Acquire) {
                    readiness.set();
                }
            }
            Some(event) = events.next() => match event {
                Ok(event) => {
                    // Making rules runs their checks, and requests go on meanwhile.
                    tokio::task::block_in_place(|| indexer.apply(event));
                    admission.metrics().policies.set(i64::try_from(indexer.count()).unwrap_or(i64::MAX));
                }
                Err(error) => tracing::warn!("the watch of policies was interrupted: {error}"),
            },
        }
    }
    handle.graceful_shutdown(Some(GRACE));
    let _ = served.await;
    finished.cancel();
    let _ = timeout(GRACE, manager).await;
    Ok(())
}

/// A certificate that nobody trusts, so that probes are answered before there is another.
fn bootstrap_certificate(names: &CertificateNames) -> Result<ServerCertificate, CertificateError> {
    let made = make(names, Utc::now(), chrono::Duration::days(1))?;
    ServerCertificate::new(made.certificate.as_bytes(), made.key.as_bytes())
}
