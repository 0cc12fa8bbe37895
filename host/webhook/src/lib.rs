//! The admission webhook: denies objects that violate the policies of their namespace.
//!
//! ```text
//!   watch of policies --> PolicyIndex --.
//!                                       |--> Admission --> verdict --> denial, warnings, metrics
//!   HTTPS --> review --> subject -------'
//!         '-> update of a remediated workload --> mutation --> without the added fields that would make it fail
//!   files or Secret --> certificate
//! ```
//!
//! In come reviews and policies; out come responses, and the Secret and CA bundle of a self-managed certificate. The webhook
//! fails open by default: a request that cannot be evaluated is admitted, with a warning and a metric. A request never waits for
//! the API server. This crate must not know where checks come from. Start reading at [`admission`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admission;
mod body;
pub mod certificate;
pub mod configuration;
mod connection;
mod index;
mod metrics;
mod mutation;
pub mod response;
pub mod review;
pub mod server;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use kube::Client;
use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::lenient::watch_policies;
use kube_devops_engine::Catalog;
use kube_devops_policy_modules::{LiveChecks, ModuleOptions};
use kube_devops_runtime::election::{ElectionOptions, Leadership, run_election};
use kube_devops_runtime::server::{Readiness, endpoints};
use kube_devops_runtime::supervise::supervise;
use kube_devops_runtime::watch_log::WatchLog;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use admission::{Admission, AdmissionOptions};
use certificate::{
    CertificateError, CertificateFiles, CertificateNames, ManagedCertificate, ServerCertificate, Validity,
    follow_files, follow_secret, issue,
};
pub use index::{Indexer, PolicyIndex};

/// The time for the rotation of the certificate to end at the shutdown.
const GRACE: Duration = Duration::from_secs(10);
/// The period of the readiness check.
const READINESS_PERIOD: Duration = Duration::from_millis(100);

/// The options of the webhook.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The address of the server.
    pub address: SocketAddr,
    /// The evaluation of requests.
    pub admission: AdmissionOptions,
    /// The size limit of a review, in bytes.
    pub largest_body: usize,
    /// How long requests are served after the server has become not ready.
    pub drain: Duration,
    /// The source of the serving certificate.
    pub certificate: CertificateSource,
}

/// The source of the serving certificate.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// Files, which another program rotates.
    Files(CertificateFiles),
    /// A self-managed certificate, which the leader issues and rotates.
    Managed {
        /// Its objects and properties.
        managed: ManagedCertificate,
        /// The leader election.
        election: ElectionOptions,
    },
}

impl CertificateSource {
    /// The certificate to start with: that of the files, or a bootstrap certificate that no client trusts, so that probes are
    /// served before there is another one.
    fn initial(&self) -> Result<ServerCertificate, CertificateError> {
        match self {
            Self::Files(files) => files.load(),
            Self::Managed { managed, .. } => bootstrap_certificate(&managed.names),
        }
    }

    /// Calls `changed` with each new certificate until `stop`.
    async fn follow(
        self,
        client: Client,
        initial: ServerCertificate,
        changed: impl Fn(ServerCertificate),
        stop: CancellationToken,
    ) {
        match self {
            Self::Files(files) => {
                match initial.validity(Utc::now()) {
                    Validity::Expired => {
                        tracing::warn!(expiry = %initial.expiry, "the certificate has expired: no API server accepts it");
                    }
                    Validity::Early => {
                        tracing::warn!(start = %initial.start, "the certificate is not valid yet: no API server accepts it");
                    }
                    Validity::Current => {}
                }
                changed(initial);
                follow_files(files, changed, stop).await;
            }
            Self::Managed { managed, election } => {
                let (sender, terms) = watch::channel(None);
                let leadership = Leadership::new(terms, Arc::default());
                let election = run_election(client.clone(), election, sender, Arc::default(), stop.clone());
                tokio::join!(election, follow_secret(client, managed, leadership, changed, stop));
            }
        }
    }
}

/// The reason why the webhook does not run.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The cluster, or the address.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Runs the webhook until `stop`, and then drains it.
///
/// # Errors
///
/// If the address is in use, the certificate files are invalid, or a background task ends before `stop`.
pub async fn run(
    connection: &Connection,
    catalog: Catalog,
    namespace: String,
    options: WebhookOptions,
    stop: CancellationToken,
) -> Result<(), WebhookError> {
    let stop = stop.child_token();
    let registry = Registry::new();
    let finished = CancellationToken::new();
    // The background tasks end after every return.
    let _finish = finished.clone().drop_guard();
    let module_options = ModuleOptions { namespace, leadership: None };
    let client = connection.client.clone();
    let mut live = kube_devops_policy_modules::start(client, catalog, module_options, &registry, finished.clone())?;
    let modules_ended = live.ended();
    let checks = live.checks.borrow_and_update().clone();
    let index = Arc::new(PolicyIndex::default());
    let admission = Arc::new(Admission::new(checks.clone(), index.clone(), options.admission, &registry)?);
    let readiness = Readiness::default();
    let initial = options.certificate.initial()?;
    let (tls, current_tls) = watch::channel(initial.config.clone());
    let is_certified = Arc::new(AtomicBool::new(false));
    let take_up = {
        let (admission, is_certified) = (admission.clone(), is_certified.clone());
        move |certificate: ServerCertificate| {
            tls.send_replace(certificate.config);
            admission.metrics().certificate_expiry.set(certificate.expiry.timestamp());
            is_certified.store(true, Ordering::Release);
        }
    };
    let stop_serving = CancellationToken::new();
    let router = endpoints(readiness.clone(), registry).merge(server::router(admission.clone(), options.largest_body));
    let (_, mut served) =
        server::serve(options.address, current_tls, router, readiness.clone(), stop_serving.clone()).await?;
    let client = connection.client.clone();
    let mut certificates = tokio::spawn(options.certificate.follow(client, initial, take_up, finished.clone()));

    let indexer = Indexer::new(checks, index.clone());
    let follower = PolicyFollower { index, indexer, admission, is_certified, live };
    let follower = follower.run(&connection.client, &readiness, options.drain, stop.clone());
    let ended = async {
        tokio::select! {
            _ = &mut served => "the HTTPS server",
            _ = &mut certificates => "the rotation of the certificate",
            () = modules_ended => "the loading of modules",
        }
    };
    let result = supervise(follower, ended, &stop).await;
    stop_serving.cancel();
    if !served.is_finished() {
        let _ = served.await;
    }
    finished.cancel();
    if !certificates.is_finished() {
        let _ = timeout(GRACE, certificates).await;
    }
    Ok(result?)
}

/// Keeps the policies up to date, and becomes ready when they are listed and there is a certificate.
struct PolicyFollower {
    index: Arc<PolicyIndex>,
    indexer: Indexer,
    admission: Arc<Admission>,
    is_certified: Arc<AtomicBool>,
    live: LiveChecks,
}

impl PolicyFollower {
    /// Runs until `stop`, and then for the time of the drain.
    async fn run(mut self, client: &Client, readiness: &Readiness, drain: Duration, stop: CancellationToken) {
        let mut events = pin!(watch_policies(client));
        let mut log = WatchLog::of::<DevOpsPolicy>();
        let mut drained = pin!(async {
            stop.cancelled().await;
            // API servers have to notice first that this replica is not ready.
            readiness.unset();
            sleep(drain).await;
        });
        let mut ticks = interval(READINESS_PERIOD);
        loop {
            tokio::select! {
                // Events come before the creation of rules, which runs checks.
                biased;
                () = &mut drained => return,
                Ok(()) = self.live.checks.changed() => {
                    let checks = self.live.checks.borrow_and_update().clone();
                    self.admission.set_checks(checks.clone());
                    self.indexer.set_checks(checks);
                }
                Some(event) = events.next() => {
                    if let Some(event) = log.event(event) {
                        // Other tasks continue on another thread.
                        tokio::task::block_in_place(|| self.indexer.apply(event));
                        let count = i64::try_from(self.indexer.count()).unwrap_or(i64::MAX);
                        self.admission.metrics().policies.set(count);
                    }
                }
                // The loop has to look for events in between.
                () = std::future::ready(()), if self.indexer.is_catching_up() => {
                    tokio::task::block_in_place(|| self.indexer.proceed(Instant::now()));
                }
                _ = ticks.tick() => {
                    let is_complete = self.index.is_synced()
                        && self.is_certified.load(Ordering::Acquire)
                        && *self.live.is_started.borrow();
                    if is_complete && !stop.is_cancelled() {
                        readiness.set();
                    }
                    if self.indexer.is_due(Instant::now()) {
                        tokio::task::block_in_place(|| self.indexer.proceed(Instant::now()));
                    }
                }
            }
        }
    }
}

fn bootstrap_certificate(names: &CertificateNames) -> Result<ServerCertificate, CertificateError> {
    let issued = issue(names, Utc::now(), chrono::Duration::days(1))?;
    ServerCertificate::new(issued.certificate.as_bytes(), issued.key.as_bytes())
}
