//! The watch controller: the scores of the cluster and of each namespace, live.
//!
//! ```text
//!   watch of pods --> PodIndex --> changed pods --> rules --> Scores --> metrics, log lines, a table
//! ```
//!
//! A pod that changed is judged again, and no other; scores are sums that are kept up to date. Nothing is written to the
//! cluster but the lease of the leader.

mod metrics;
mod scores;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use kube::runtime::watcher::Event;
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::{Checks, RuleError, RuleSet};
use prometheus::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ClusterError;
use crate::connection::Connection;
use crate::election::{ElectionOptions, run_election};
use crate::key::ObjectKey;
use crate::pod_index::{PodIndex, WatchedPod};
use crate::pods;
use crate::serve::{Readiness, serve};

use metrics::Metrics;
pub use scores::Scores;

/// How often changed pods are judged. Changes that come together are judged together.
const TICK: Duration = Duration::from_millis(100);
/// How often pending pods are looked at for having waited too long.
const AGING: Duration = Duration::from_secs(1);

/// How the watch controller is run.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub address: SocketAddr,
    /// The lease of the leader.
    pub election: ElectionOptions,
    /// Where nothing is judged.
    pub system: SystemNamespaces,
}

/// Why the watch controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The checks.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Runs the watch controller until `stop`. `changed` is shown the scores whenever this replica leads and they are others
/// than before; none: it does not lead.
pub async fn run(
    connection: &Connection,
    checks: &Checks,
    options: WatchOptions,
    changed: impl FnMut(Option<&Scores>) + Send,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    let registry = Registry::new();
    let controller = Controller {
        rules: checks.rule_set(&checks.policy_of_all())?,
        metrics: Metrics::new(&registry)?,
        readiness: Readiness::default(),
        system: options.system,
        pods: PodIndex::default(),
        scores: Scores::default(),
        due: BTreeSet::new(),
        older: BTreeSet::new(),
        is_leader: false,
        changed,
    };
    let finished = CancellationToken::new();
    serve(options.address, controller.readiness.clone(), registry, finished.clone()).await?;
    let (is_leader, mut leadership) = tokio::sync::watch::channel(false);
    let election = tokio::spawn(run_election(connection.client.clone(), options.election, is_leader, finished.clone()));
    controller.run(pods::watch(&connection.client), &mut leadership, stop).await;
    finished.cancel();
    let _ = election.await;
    Ok(())
}

struct Controller<F> {
    rules: RuleSet,
    metrics: Metrics,
    readiness: Readiness,
    system: SystemNamespaces,
    pods: PodIndex,
    scores: Scores,
    due: BTreeSet<ObjectKey>,
    older: BTreeSet<ObjectKey>,
    is_leader: bool,
    changed: F,
}

impl<F: FnMut(Option<&Scores>) + Send> Controller<F> {
    async fn run(
        mut self,
        events: impl futures::Stream<Item = Result<Event<WatchedPod>, kube::runtime::watcher::Error>>,
        leadership: &mut tokio::sync::watch::Receiver<bool>,
        stop: CancellationToken,
    ) {
        let mut events = pin!(events);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut aged = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => match changed {
                    Ok(()) => {
                        let is_leader = *leadership.borrow_and_update();
                        self.set_leading(is_leader);
                    }
                    Err(_) => return,
                },
                _ = ticks.tick() => {
                    if aged.elapsed() >= AGING {
                        aged = Instant::now();
                        self.older.extend(self.pods.grow_older(Utc::now()));
                    }
                    self.work();
                }
                Some(event) = events.next() => match event {
                    Ok(event) => self.event(event),
                    Err(error) => tracing::warn!("the watch of pods was interrupted: {error}"),
                },
            }
        }
    }

    fn event(&mut self, event: Event<WatchedPod>) {
        if matches!(event, Event::Apply(_) | Event::Delete(_)) {
            self.metrics.events.inc();
        }
        self.due.extend(self.pods.apply(event, Utc::now()));
        self.metrics.tracked.set(i64::try_from(self.pods.len()).unwrap_or(i64::MAX));
    }

    fn set_leading(&mut self, is_leader: bool) {
        self.is_leader = is_leader;
        self.metrics.set_leading(is_leader);
        self.scores = Scores::default();
        self.due = self.all_pods();
        if !is_leader {
            (self.changed)(None);
        }
    }

    fn all_pods(&self) -> BTreeSet<ObjectKey> {
        let of_namespace = |namespace: &Arc<str>| {
            let namespace = namespace.clone();
            self.pods
                .pods(&namespace.clone())
                .map(move |(name, _)| ObjectKey { namespace: namespace.clone(), name: name.clone() })
                .collect::<Vec<_>>()
        };
        self.pods.namespaces().flat_map(of_namespace).collect()
    }

    fn work(&mut self) {
        if !self.pods.is_synced() {
            return;
        }
        self.readiness.set();
        if !self.is_leader {
            self.due.clear();
            self.older.clear();
            return;
        }
        let (due, older) = (std::mem::take(&mut self.due), std::mem::take(&mut self.older));
        if due.is_empty() && older.is_empty() && self.scores.is_shown() {
            return;
        }
        let is_judged = |key: &&ObjectKey| !self.system.contains(&key.namespace);
        let keys: Vec<&ObjectKey> = due.union(&older).filter(is_judged).collect();
        // Judging takes a core for as long as it lasts, and the endpoints are served all the same.
        let namespaces = tokio::task::block_in_place(|| self.scores.evaluate(&self.rules, &self.pods, &keys, &due));
        for namespace in &namespaces {
            self.metrics.set_namespace(namespace, self.scores.namespace(namespace));
            log(namespace, &self.scores);
        }
        if !namespaces.is_empty() || !self.scores.is_shown() {
            self.scores.set_shown();
            let cluster = self.scores.cluster();
            self.metrics.cluster.set(cluster.score().into());
            tracing::info!(
                score = cluster.score(),
                status = %cluster.classification(),
                compliance = cluster.compliance.percent(),
                pods = cluster.subjects,
                violations = cluster.violations,
                "cluster"
            );
            (self.changed)(Some(&self.scores));
        }
    }
}

fn log(namespace: &str, scores: &Scores) {
    match scores.namespace(namespace) {
        Some(total) => tracing::info!(
            namespace,
            score = total.score(),
            status = %total.classification(),
            compliance = total.compliance.percent(),
            pods = total.subjects,
            violations = total.violations,
            "namespace"
        ),
        None => tracing::info!(namespace, "namespace without pods"),
    }
}
