//! The operator: policies are evaluated all the time, and say in their status what was found.
//!
//! ```text
//!   watch of pods ------> PodIndex --.
//!                                    |--> Policy::evaluate --> Ledger --> status, audit results, events, metrics
//!   watch of policies --> Policy ----'
//! ```
//!
//! A pod that changed is judged again, and no other. What is written is written by the leader alone, one write of a policy
//! at a time, and only where it says something new.

mod answers;
mod audit;
mod audit_list;
mod events;
mod metrics;
mod policy;
mod status;
mod writes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher::{Event, watcher};
use kube::runtime::{WatchStreamExt, watcher as watching};
use kube::{Api, Client};
use kube_devops_core::SystemNamespaces;
use kube_devops_engine::Checks;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::ClusterError;
use crate::connection::Connection;
use crate::crd::DevOpsPolicy;
use crate::election::{ElectionOptions, run_election};
use crate::enforce::EnforceOptions;
use crate::key::ObjectKey;
use crate::pod_index::{PodIndex, WatchedPod};
use crate::pods;
use crate::relist::Relist;
use crate::serve::{Readiness, serve};

use answers::Answer;
use metrics::Metrics;
use policy::Policy;
use writes::{Action, carry_out};

/// How often what is due is done. Changes that come together are judged together.
const TICK: Duration = Duration::from_millis(100);
/// How often pending pods are looked at for having waited too long.
const AGING: Duration = Duration::from_secs(1);
/// How many writes are under way at a time.
const MOST_WRITES: usize = 16;
/// How long writes may take to end when the operator stops.
const GRACE: Duration = Duration::from_secs(5);

/// How the operator is run.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub address: SocketAddr,
    /// The lease of the leader.
    pub election: ElectionOptions,
    /// How many audit results of a policy are kept.
    pub retention: usize,
    /// The shortest time between two audit results of a policy.
    pub audit_period: Duration,
    /// How workloads are changed.
    pub enforce: EnforceOptions,
    /// Where nothing is judged.
    pub system: SystemNamespaces,
}

/// Runs the operator until `stop`.
pub async fn run(
    connection: &Connection,
    checks: Arc<Checks>,
    options: ReconcileOptions,
    stop: CancellationToken,
) -> Result<(), ClusterError> {
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let readiness = Readiness::default();
    let finished = CancellationToken::new();
    serve(options.address, readiness.clone(), registry, finished.clone()).await?;
    let (is_leader, leadership) = watch::channel(false);
    let election =
        tokio::spawn(run_election(connection.client.clone(), options.election.clone(), is_leader, finished.clone()));
    let reporter = Reporter { controller: "kube-devops".to_owned(), instance: Some(options.election.identity.clone()) };
    let operator = Operator {
        recorder: Recorder::new(connection.client.clone(), reporter),
        client: connection.client.clone(),
        checks,
        options,
        metrics,
        readiness,
        pods: PodIndex::default(),
        policies: BTreeMap::new(),
        policies_are_synced: false,
        relist: Relist::default(),
        is_leader: false,
        audits: AuditList::Unknown,
        writes: FuturesUnordered::new(),
    };
    operator.run(leadership, stop).await;
    // Only now may another replica start.
    finished.cancel();
    let _ = election.await;
    Ok(())
}

/// Whether the audit results that exist are known.
#[derive(PartialEq, Eq)]
enum AuditList {
    Unknown,
    Asked,
    Known,
}

struct Operator {
    client: Client,
    recorder: Recorder,
    checks: Arc<Checks>,
    options: ReconcileOptions,
    metrics: Metrics,
    readiness: Readiness,
    pods: PodIndex,
    policies: BTreeMap<ObjectKey, Policy>,
    policies_are_synced: bool,
    relist: Relist,
    is_leader: bool,
    audits: AuditList,
    writes: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Operator {
    async fn run(mut self, mut leadership: watch::Receiver<bool>, stop: CancellationToken) {
        let mut pod_events = pin!(pods::watch(&self.client));
        let policies: Api<DevOpsPolicy> = Api::all(self.client.clone());
        let mut policy_events = pin!(watcher(policies, watching::Config::default()).default_backoff());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut aged = Instant::now();
        loop {
            tokio::select! {
                // Losing the lease comes before everything else.
                biased;
                () = stop.cancelled() => break,
                changed = leadership.changed() => match changed {
                    Ok(()) => {
                        let is_leader = *leadership.borrow_and_update();
                        self.set_leading(is_leader);
                    }
                    Err(_) => break,
                },
                Some(answer) = self.writes.next() => {
                    self.answered(answer);
                    self.start_writes();
                }
                _ = ticks.tick() => {
                    if aged.elapsed() >= AGING {
                        aged = Instant::now();
                        self.grow_older();
                    }
                    self.work();
                }
                Some(event) = policy_events.next() => match event {
                    Ok(event) => self.policy_event(event),
                    Err(error) => tracing::warn!("the watch of policies was interrupted: {error}"),
                },
                Some(event) = pod_events.next() => match event {
                    Ok(event) => self.pod_event(event),
                    Err(error) => tracing::warn!("the watch of pods was interrupted: {error}"),
                },
            }
        }
        tokio::select! {
            biased;
            Ok(_) = leadership.wait_for(|is_leader| !is_leader), if self.is_leader => {}
            _ = timeout(GRACE, self.finish()) => {}
        }
    }

    /// Lets the writes that are under way end, and enters what came of them into the statuses, so that the next leader knows
    /// which rollouts to follow.
    async fn finish(&mut self) {
        while let Some(answer) = self.writes.next().await {
            self.answered(answer);
        }
        if !self.is_leader {
            return;
        }
        let now = Utc::now();
        let statuses: Vec<_> = self.policies.values_mut().filter_map(|policy| policy.last_status(now)).collect();
        let (client, recorder) = (&self.client, &self.recorder);
        let writes = stream::iter(statuses).map(|action| carry_out(client.clone(), recorder.clone(), action));
        writes.buffer_unordered(MOST_WRITES).for_each(|_| std::future::ready(())).await;
    }

    fn set_leading(&mut self, is_leader: bool) {
        self.is_leader = is_leader;
        self.audits = AuditList::Unknown;
        // Dropping a write ends it: who does not lead must not write.
        self.writes = FuturesUnordered::new();
        for (key, policy) in &mut self.policies {
            policy.start_over(&self.options);
            if !is_leader {
                self.metrics.remove(key, policy.shown());
            }
        }
    }

    fn pod_event(&mut self, event: Event<WatchedPod>) {
        for pod in self.pods.apply(event, Utc::now()) {
            for policy in self.policies_in(&pod.namespace) {
                policy.pod_changed(&pod.name);
            }
        }
    }

    fn grow_older(&mut self) {
        for pod in self.pods.grow_older(Utc::now()) {
            for policy in self.policies_in(&pod.namespace) {
                policy.pod_grew_older(&pod.name);
            }
        }
    }

    fn policies_in(&mut self, namespace: &Arc<str>) -> impl Iterator<Item = &mut Policy> {
        let first = ObjectKey { namespace: namespace.clone(), name: "".into() };
        let policies = self.policies.range_mut(first..);
        policies.take_while(move |(key, _)| key.namespace == *namespace).map(|(_, policy)| policy)
    }

    fn policy_event(&mut self, event: Event<DevOpsPolicy>) {
        match event {
            Event::Init => self.relist.begin(),
            Event::InitApply(policy) => {
                let key = self.set_policy(policy);
                self.relist.listed(key);
            }
            Event::InitDone => {
                let gone = self.relist.gone(self.policies.keys().cloned());
                gone.iter().for_each(|key| self.remove_policy(key));
                self.policies_are_synced = true;
            }
            Event::Apply(policy) => {
                self.set_policy(policy);
            }
            Event::Delete(policy) => self.remove_policy(&ObjectKey::of(&policy.metadata)),
        }
    }

    fn set_policy(&mut self, mut policy: DevOpsPolicy) -> ObjectKey {
        policy.metadata.managed_fields = None;
        let key = ObjectKey::of(&policy.metadata);
        if self.policies.get(&key).is_some_and(|known| known.is_other(&policy)) {
            self.remove_policy(&key);
        }
        match self.policies.get_mut(&key) {
            Some(known) => known.update(policy, &self.checks, &self.options.system),
            None => {
                let mut policy = Policy::new(policy, &self.checks, &self.options);
                if self.audits == AuditList::Known {
                    // It was not there when the audit results were listed, so it has none.
                    policy.set_audits(Vec::new());
                }
                self.policies.insert(key.clone(), policy);
            }
        }
        key
    }

    fn remove_policy(&mut self, key: &ObjectKey) {
        if let Some(policy) = self.policies.remove(key) {
            self.metrics.remove(key, policy.shown());
        }
    }

    /// Judges what is due, and starts the writes that follow from it.
    fn work(&mut self) {
        if !self.pods.is_synced() || !self.policies_are_synced {
            return;
        }
        // A replica that waits for its turn is as ready as one can be who only waits.
        self.readiness.set();
        if !self.is_leader {
            return;
        }
        if self.audits == AuditList::Unknown {
            self.audits = AuditList::Asked;
            let client = self.client.clone();
            self.writes.push(Box::pin(async move { Answer::Audits(audit_list::known(client).await) }));
        }
        // Evaluating takes a core for as long as it lasts, and the endpoints are served all the same.
        tokio::task::block_in_place(|| self.evaluate());
        self.start_writes();
    }

    fn evaluate(&mut self) {
        for (key, policy) in self.policies.iter_mut().filter(|(_, policy)| policy.is_due()) {
            let timer = self.metrics.duration.start_timer();
            let evaluation = policy.evaluate(key, &self.pods);
            timer.observe_duration();
            self.metrics.reconciles.inc();
            self.metrics.scanned.inc_by(evaluation.scanned as u64);
            if evaluation.failed {
                self.metrics.errors.inc();
                let first = policy.ledger().errors().next().unwrap_or_default();
                tracing::warn!(policy = %key, "not everything could be judged: {first}");
            }
            let enforces = policy.enforces();
            let (before, now) = policy.show();
            self.metrics.set(key, &before, now, enforces);
        }
    }

    fn start_writes(&mut self) {
        let now = Utc::now();
        for (key, policy) in &mut self.policies {
            if self.writes.len() >= MOST_WRITES {
                break;
            }
            if let Some(action) = policy.next_action(now, &self.options) {
                log(key, &action);
                let (key, client, recorder) = (key.clone(), self.client.clone(), self.recorder.clone());
                let answer = async move { Answer::Write(key, carry_out(client, recorder, action).await) };
                self.writes.push(Box::pin(answer));
            }
            if let Some(action) = policy.next_remediation(key, &self.pods, &self.options) {
                let (key, client, recorder) = (key.clone(), self.client.clone(), self.recorder.clone());
                let owner = if let Action::Remediate(job) = &action { Some(job.owner.clone()) } else { None };
                let answer =
                    async move { Answer::RemediationJob(key, owner, carry_out(client, recorder, action).await) };
                self.writes.push(Box::pin(answer));
            }
        }
    }
}

fn log(policy: &ObjectKey, action: &Action) {
    match action {
        Action::WriteStatus { status, .. } => tracing::info!(
            %policy,
            score = status.health_score,
            compliance = status.compliance,
            violations = status.violation_count,
            "{}",
            status.message.as_deref().unwrap_or_default()
        ),
        Action::CleanUp { audits, .. } => tracing::info!(%policy, audits = audits.len(), "cleaning up"),
        Action::AddFinalizer { .. }
        | Action::Audit { .. }
        | Action::EmitEvents(_)
        | Action::Remediate(_)
        | Action::Follow { .. } => {}
    }
}
