//! Leader election by a Lease, so that one of several replicas acts.
//!
//! The algorithm is that of client-go. A candidate acquires the lease once it has not seen a renewal for the lease duration,
//! by its own clock: clocks of other machines do not matter. A leader that has not been able to renew for two thirds of this
//! duration steps down, before another replica can start; [`Leadership`] ends at this deadline by itself. Every write names the
//! version that it replaces, so that two candidates cannot both succeed. `candidate` decides, and this file sends the requests.

mod candidate;
mod handover;
mod leadership;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use kube_devops_cluster::request_failure;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use candidate::Candidate;
pub use handover::{Action, Handover};
pub use leadership::{Leadership, Term};

/// The lease, the identity of this replica, and the lease duration.
#[derive(Debug, Clone)]
pub struct ElectionOptions {
    /// The namespace of the lease.
    pub namespace: String,
    /// The name of the lease.
    pub name: String,
    /// The name of this replica, different from all others.
    pub identity: String,
    /// The lease duration: the time without a renewal after which another replica acquires the lease.
    pub duration: Duration,
}

impl ElectionOptions {
    /// The time without a renewal after which a leader steps down.
    fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// The period of reading and renewing the lease.
    fn period(&self) -> Duration {
        self.duration / 6
    }
}

/// Takes part in the election until `stop`, and sends to `terms` the term in which this replica is the leader. Releases the lease
/// at the end, and when it steps down because of `handover`. The controller must have stopped acting before, and other actions are
/// waited for; if they do not end in time, the lease expires instead.
pub async fn run_election(
    client: Client,
    options: ElectionOptions,
    terms: watch::Sender<Option<Term>>,
    handover: Arc<Handover>,
    stop: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, &options.namespace);
    let mut candidate = Candidate::new(options.clone());
    let mut ticks = interval(options.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_reported = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = handover.is_wanted() => {
                let lease = candidate.step_down(Instant::now());
                report(&terms, None, &options);
                release(&api, &options, &handover, lease).await;
                continue;
            }
            _ = ticks.tick() => {}
        }
        // After a pause of the process, the deadline has passed without a failed request.
        candidate.expire(Instant::now());
        report(&terms, candidate.term(), &options);
        let time_left = candidate.time_left(Instant::now());
        let attempt = tokio::select! {
            () = stop.cancelled() => break,
            attempt = timeout(time_left, acquire_or_renew(&api, &mut candidate)) => attempt,
        };
        let (name, namespace) = (&options.name, &options.namespace);
        match attempt {
            Ok(Ok(())) => is_reported = false,
            Ok(Err(error)) => {
                if !is_reported {
                    let reason = request_failure(&error);
                    tracing::warn!(lease = name, namespace, "failed to renew the lease: {reason}");
                    is_reported = true;
                }
                candidate.expire(Instant::now());
            }
            Err(_) => {
                tracing::warn!(
                    lease = name,
                    namespace,
                    "failed to renew the lease: the API server did not respond in time"
                );
                candidate.expire(Instant::now());
            }
        }
        report(&terms, candidate.term(), &options);
    }
    terms.send_replace(None);
    release(&api, &options, &handover, candidate.released()).await;
}

/// Writes a released lease when nothing acts as the leader any longer. It would expire anyway.
async fn release(api: &Api<Lease>, options: &ElectionOptions, handover: &Handover, lease: Option<Lease>) {
    if let Some(lease) = lease
        && handover.is_complete(options.period()).await
    {
        let _ = timeout(options.period(), api.replace(&options.name, &PostParams::default(), &lease)).await;
    }
}

fn report(terms: &watch::Sender<Option<Term>>, term: Option<Term>, options: &ElectionOptions) {
    let since = |term: &Option<Term>| term.map(|term| term.since);
    terms.send_if_modified(|before| {
        if since(before) != since(&term) {
            let change = if term.is_some() { "became the leader" } else { "stepped down as the leader" };
            tracing::info!(lease = %options.name, identity = %options.identity, "{change}");
        }
        std::mem::replace(before, term) != term
    });
}

/// Reads the lease if needed, and acquires or renews it unless another replica holds it. After a conflict it is read again.
async fn acquire_or_renew(api: &Api<Lease>, candidate: &mut Candidate) -> Result<(), kube::Error> {
    const ATTEMPTS: usize = 2;
    let sent = Instant::now();
    for _ in 0..ATTEMPTS {
        if candidate.needs_lease() {
            let lease = api.get_opt(candidate.lease_name()).await?;
            candidate.observe(lease, Instant::now());
        }
        let Some(lease) = candidate.claim(Instant::now(), MicroTime(Timestamp::now())) else {
            candidate.lost();
            return Ok(());
        };
        let is_known = lease.metadata.resource_version.is_some();
        let written = if is_known {
            api.replace(candidate.lease_name(), &PostParams::default(), &lease).await
        } else {
            api.create(&PostParams::default(), &lease).await
        };
        match written {
            Ok(lease) => {
                candidate.acquired(lease, sent, Instant::now());
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {}
            Err(kube::Error::Api(status)) if status.is_not_found() && is_known => {}
            Err(error) => return Err(error),
        }
        candidate.conflicted();
    }
    candidate.expire(Instant::now());
    Ok(())
}
