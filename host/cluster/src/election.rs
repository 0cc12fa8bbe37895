//! Leader election by a Lease, so that of several replicas one acts.
//!
//! The algorithm is that of client-go. A candidate takes the lease when it has not seen it renewed for as long as the lease
//! lasts, by its own clock: clocks of other machines do not matter. A leader that has not been able to renew for two thirds
//! of that time stops acting, and so has stopped before anybody else can start. Every write names the version that it
//! replaces, so that two candidates cannot both succeed.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Which lease, who asks for it, and for how long.
#[derive(Debug, Clone)]
pub struct ElectionOptions {
    /// The namespace of the lease.
    pub namespace: String,
    /// The name of the lease.
    pub name: String,
    /// The name of this replica, unlike that of any other.
    pub identity: String,
    /// How long a leader is taken for alive after it was heard of last.
    pub duration: Duration,
}

impl ElectionOptions {
    /// How long a leader acts without having been able to renew.
    fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// How often the lease is looked at and renewed.
    fn period(&self) -> Duration {
        self.duration / 6
    }
}

/// What is known of the lease.
#[derive(Debug, Default)]
struct Observed {
    lease: Option<Lease>,
    /// Who holds it, and when they renewed it last, by their own clock.
    holder: Option<(String, Option<MicroTime>)>,
    /// When this was first seen, by our clock.
    since: Option<Instant>,
}

impl Observed {
    fn see(&mut self, lease: Lease) {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| {
            let identity = spec.holder_identity.clone().filter(|identity| !identity.is_empty())?;
            Some((identity, spec.renew_time.clone()))
        });
        if holder != self.holder || self.since.is_none() {
            self.holder = holder;
            self.since = Some(Instant::now());
        }
        self.lease = Some(lease);
    }

    /// Whether somebody else may be acting.
    fn is_held_by_other(&self, options: &ElectionOptions) -> bool {
        let Some((holder, _)) = &self.holder else { return false };
        let duration = self.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let duration =
            duration.map_or(options.duration, |seconds| Duration::from_secs(seconds.max(1).unsigned_abs().into()));
        *holder != options.identity && self.since.is_some_and(|since| since.elapsed() < duration)
    }
}

/// Takes part in the election until `stop`, and tells by `leads` whether this replica is the one that acts. At the end the
/// lease is given back, so that another replica need not wait for it to run out; whoever acts must have stopped before.
pub async fn run_election(
    client: Client,
    options: ElectionOptions,
    is_leader: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, &options.namespace);
    let mut observed = Observed::default();
    let mut renewed: Option<Instant> = None;
    let mut ticks = interval(options.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let started = Instant::now();
        // A request that hangs must not keep a leader from noticing that its time is up.
        let timeout_left = match renewed {
            Some(renewed) => (renewed + options.renew_deadline()).saturating_duration_since(started),
            None => options.renew_deadline(),
        };
        let attempt = tokio::select! {
            () = stop.cancelled() => break,
            attempt = timeout(timeout_left, step(&api, &options, &mut observed, renewed.is_some())) => attempt,
        };
        match attempt {
            Ok(Ok(true)) => {
                renewed = Some(started);
                complained = false;
            }
            Ok(Ok(false)) => {
                renewed = None;
                complained = false;
            }
            Ok(Err(error)) => {
                if !complained {
                    tracing::warn!(lease = %options.name, namespace = %options.namespace, "the lease cannot be renewed: {error}");
                    complained = true;
                }
            }
            Err(_) => tracing::warn!(lease = %options.name, "the API server does not answer in time about the lease"),
        }
        if renewed.is_some_and(|renewed| renewed.elapsed() >= options.renew_deadline()) {
            renewed = None;
        }
        let lead = renewed.is_some();
        is_leader.send_if_modified(|before| {
            if *before != lead {
                tracing::info!(lease = %options.name, identity = %options.identity, "{}", if lead { "leading" } else { "no longer leading" });
            }
            std::mem::replace(before, lead) != lead
        });
    }
    is_leader.send_replace(false);
    if renewed.is_some()
        && let Some(mut lease) = observed.lease
    {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        // It would run out by itself, too.
        let _ = timeout(options.period(), api.replace(&options.name, &PostParams::default(), &lease)).await;
    }
}

/// Looks at the lease, and takes or renews it where that is due. Answers whether this replica holds it.
async fn step(
    api: &Api<Lease>,
    options: &ElectionOptions,
    observed: &mut Observed,
    is_leader: bool,
) -> Result<bool, kube::Error> {
    if !is_leader || observed.lease.is_none() {
        match api.get_opt(&options.name).await? {
            Some(lease) => observed.see(lease),
            None => *observed = Observed::default(),
        }
    }
    if observed.is_held_by_other(options) {
        return Ok(false);
    }
    let now = MicroTime(Timestamp::now());
    let before = observed.lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let is_ours = before.holder_identity.as_deref() == Some(&options.identity);
    let spec = LeaseSpec {
        holder_identity: Some(options.identity.clone()),
        lease_duration_seconds: Some(options.duration.as_secs().try_into().unwrap_or(i32::MAX)),
        acquire_time: if is_ours { before.acquire_time } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!is_ours)),
        ..before
    };
    let written = match &observed.lease {
        Some(lease) => {
            let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
            api.replace(&options.name, &PostParams::default(), &lease).await
        }
        None => {
            let metadata = ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
        }
    };
    match written {
        Ok(lease) => {
            observed.see(lease);
            Ok(true)
        }
        // Somebody else was faster: the next look tells who.
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 && observed.lease.is_some() => {
            observed.lease = None;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
