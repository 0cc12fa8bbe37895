//! The watch controller: the scores of the cluster and of each namespace, live.
//!
//! ```text
//!   watch of pods --> PodIndex --> changed pods --> evaluator --> Scores --> metrics, log lines, a table
//! ```
//!
//! Only changed pods are evaluated again; scores are sums that are kept up to date. The only write to the cluster is the
//! lease of the leader.

mod metrics;
mod scores;

use std::net::SocketAddr;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube_devops_cluster::ClusterError;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::pods::{self, PodEvents, WatchedPod};
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::{Checks, RuleError, RuleSet};
use kube_devops_runtime::Runtime;
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::election::{ElectionOptions, Leadership};
use kube_devops_runtime::server::Readiness;
use kube_devops_runtime::ticker::Ticker;
use kube_devops_runtime::watch_log::WatchLog;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::evaluator::{Due, evaluate};
use crate::pod_index::PodIndex;

use metrics::Metrics;
pub use scores::Scores;

/// The options of the watch controller.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// The address of `/healthz`, `/readyz` and `/metrics`.
    pub address: SocketAddr,
    /// The leader election.
    pub election: ElectionOptions,
    /// The namespaces that are excluded.
    pub system: SystemNamespaces,
}

/// The reason why the watch controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The checks.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Runs the watch controller until `stop`. Calls `changed` with the scores when they change while this replica is the leader,
/// and with `None` when it steps down.
///
/// # Errors
///
/// If the address is in use, a check rejects its default settings, or a background task ends unexpectedly.
pub async fn run(
    connection: &Connection,
    checks: &Checks,
    options: WatchOptions,
    changed: impl FnMut(Option<&Scores>) + Send,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    let rules = checks.rule_set(&checks.policy_of_all())?;
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let runtime = Runtime::start(&connection.client, options.address, options.election, registry).await?;
    let needs = rules.needs();
    let controller = Controller {
        rules,
        metrics,
        readiness: runtime.readiness.clone(),
        system: options.system,
        pods: PodIndex::new(needs),
        scores: Scores::default(),
        due: Due::default(),
        is_leader: false,
        are_shown: false,
        changed,
    };
    let stop = stop.child_token();
    let events = pods::watch(&connection.client, needs);
    let controller = controller.run(events, runtime.leadership.clone(), stop.clone());
    Ok(runtime.run(controller, std::future::pending(), &stop).await?)
}

struct Controller<F> {
    rules: RuleSet,
    metrics: Metrics,
    readiness: Readiness,
    system: SystemNamespaces,
    pods: PodIndex,
    scores: Scores,
    due: Due,
    is_leader: bool,
    /// Whether the scores have been shown since this replica became the leader.
    are_shown: bool,
    changed: F,
}

impl<F: FnMut(Option<&Scores>) + Send> Controller<F> {
    async fn run(mut self, mut events: PodEvents, mut leadership: Leadership, stop: CancellationToken) {
        let mut log = WatchLog::of::<Pod>();
        let mut ticker = Ticker::default();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                is_leader = leadership.changed() => self.set_leading(is_leader),
                ages_are_due = ticker.tick() => {
                    if ages_are_due {
                        self.pods.update_ages(Now::read().utc).into_iter().for_each(|pod| self.due.aged(pod));
                    }
                    self.evaluate();
                }
                Some(event) = events.next() => if let Some(event) = log.event(event) {
                    self.event(event);
                },
            }
        }
    }

    fn event(&mut self, event: Event<WatchedPod>) {
        if matches!(event, Event::Apply(_) | Event::Delete(_)) {
            self.metrics.events.inc();
        }
        self.pods.apply(event, Now::read().utc).into_iter().for_each(|pod| self.due.changed(pod));
        self.metrics.tracked.set(i64::try_from(self.pods.len()).unwrap_or(i64::MAX));
    }

    fn set_leading(&mut self, is_leader: bool) {
        self.is_leader = is_leader;
        self.are_shown = false;
        self.metrics.set_leading(is_leader);
        self.scores = Scores::default();
        self.due = self.pods.keys().collect();
        if !is_leader {
            (self.changed)(None);
        }
    }

    fn evaluate(&mut self) {
        if !self.pods.is_synced() {
            return;
        }
        self.readiness.set();
        let due = std::mem::take(&mut self.due);
        if !self.is_leader || due.is_empty() && self.are_shown {
            return;
        }
        let due = due.filtered(|pod| !self.system.contains(&pod.namespace));
        // The evaluation occupies its thread, while the endpoints have to be served.
        let evaluated = tokio::task::block_in_place(|| evaluate(&self.rules, &self.pods, due));
        let namespaces = self.scores.enter(evaluated);
        for namespace in &namespaces {
            self.metrics.set_namespace(namespace, self.scores.namespace(namespace));
            log(namespace, &self.scores);
        }
        if !namespaces.is_empty() || !self.are_shown {
            self.are_shown = true;
            self.show();
        }
    }

    fn show(&mut self) {
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
        None => tracing::info!(namespace, "namespace has no pods"),
    }
}
