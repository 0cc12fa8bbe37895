//! The event loop of the operator.

mod policy_store;
mod results;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube_devops_cluster::crd::DevOpsPolicy;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::lenient::{self, WatchedPolicy};
use kube_devops_cluster::pods;
use kube_devops_core::Needs;
use kube_devops_engine::Checks;
use kube_devops_policy_modules::LiveChecks;
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::election::{Handover, Leadership};
use kube_devops_runtime::server::Readiness;
use kube_devops_runtime::store::Watched;
use kube_devops_runtime::ticker::Ticker;
use kube_devops_runtime::watch_log::WatchLog;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ReconcileOptions;
use super::availability::Availability;
use super::executor::Executor;
use super::gate::WriteGate;
use super::metrics::{Metrics, Shown};
use super::policy::Policy;
use super::request_result::RequestResult;
use super::rules::Rules;
use super::turns::Turns;
use crate::pod_index::PodIndex;

/// The most requests of policies that run at a time.
const MAX_WRITES: usize = 16;
/// The most policies whose rules are created again at once: each may take a second.
const RETRIES_AT_ONCE: usize = 4;
/// The time for requests to end when the operator stops.
const GRACE: Duration = Duration::from_secs(5);

/// A running request.
type Request = BoxFuture<'static, RequestResult>;

/// Whether the existing audit results are known.
#[derive(PartialEq, Eq)]
enum AuditList {
    Unknown,
    Requested,
    Known,
}

/// The state of the operator. One task owns it, and there are no locks.
pub struct Operator {
    executor: Executor,
    live: LiveChecks,
    checks: Arc<Checks>,
    options: ReconcileOptions,
    metrics: Metrics,
    readiness: Readiness,
    pods: PodIndex,
    policies: BTreeMap<ObjectKey, Policy>,
    watched_policies: Watched,
    is_leader: bool,
    handover: Arc<Handover>,
    availability: Availability,
    audits: AuditList,
    audit_gate: WriteGate,
    requests: FuturesUnordered<Request>,
    turns: Turns<ObjectKey>,
}

impl Operator {
    /// An operator that knows no objects.
    pub fn new(
        executor: Executor,
        mut live: LiveChecks,
        options: ReconcileOptions,
        metrics: Metrics,
        readiness: Readiness,
        handover: Arc<Handover>,
    ) -> Self {
        let checks = live.checks.borrow_and_update().clone();
        Self {
            executor,
            live,
            pods: PodIndex::new(annotations_of(&checks)),
            checks,
            options,
            metrics,
            readiness,
            policies: BTreeMap::new(),
            watched_policies: Watched::default(),
            is_leader: false,
            handover,
            availability: Availability::default(),
            audits: AuditList::Unknown,
            audit_gate: WriteGate::new(&"audit results"),
            requests: FuturesUnordered::new(),
            turns: Turns::default(),
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut leadership: Leadership, stop: CancellationToken) {
        let mut pod_events = pods::watch(&self.executor.client, self.pods.needs());
        let mut policy_events = pin!(lenient::watch_policies(&self.executor.client));
        let (mut policy_log, mut pod_log) = (WatchLog::of::<DevOpsPolicy>(), WatchLog::of::<Pod>());
        let mut ticker = Ticker::default();
        loop {
            tokio::select! {
                // The end of the leadership comes before everything else, also of requests in progress: they go on only after it.
                biased;
                () = stop.cancelled() => break,
                is_leader = leadership.changed() => self.set_leading(is_leader),
                Some(answer) = self.requests.next() => self.request_ended(answer),
                ages_are_due = ticker.tick() => {
                    if ages_are_due {
                        self.update_ages();
                    }
                    if self.adopt_checks() | self.needs_other_objects() {
                        pod_events = pods::watch(&self.executor.client, self.pods.needs());
                    }
                    self.reconcile();
                }
                Some(event) = policy_events.next() => if let Some(event) = policy_log.event(event) {
                    self.policy_event(event);
                },
                Some(event) = pod_events.next() => if let Some(event) = pod_log.event(event) {
                    let changed = self.pods.apply(event, Now::read().utc);
                    self.for_each_policy_of(changed, Policy::pod_changed);
                },
            }
        }
        tokio::select! {
            biased;
            _ = leadership.changed(), if self.is_leader => {}
            _ = timeout(GRACE, self.finish()) => {}
        }
    }

    /// Waits for the running requests, and enters their results into the statuses, so that the next leader knows which rollouts
    /// to follow.
    async fn finish(&mut self) {
        while let Some(answer) = self.requests.next().await {
            self.enter(answer);
        }
        if !self.is_leader {
            return;
        }
        let now = Now::read();
        let options = &self.options;
        let statuses: Vec<_> =
            self.policies.values_mut().filter_map(|policy| policy.last_status(options, now)).collect();
        let executor = &self.executor;
        let writes = stream::iter(statuses).map(|write| executor.write(write));
        writes.buffer_unordered(MAX_WRITES).for_each(|_| std::future::ready(())).await;
    }

    fn set_leading(&mut self, is_leader: bool) {
        self.is_leader = is_leader;
        self.metrics.leader.set(is_leader.into());
        self.availability = Availability::default();
        self.audits = AuditList::Unknown;
        self.audit_gate = WriteGate::new(&"audit results");
        // Dropping the futures cancels the requests; only the leader writes.
        self.requests = FuturesUnordered::new();
        let now = Now::read();
        for (key, policy) in &mut self.policies {
            policy.start_over(&self.options.enforce, now);
            if !is_leader {
                self.metrics.remove(key, policy.shown());
            }
        }
    }

    fn update_ages(&mut self) {
        let aged = self.pods.update_ages(Now::read().utc);
        self.for_each_policy_of(aged, Policy::pod_aged);
    }

    fn for_each_policy_of(&mut self, pods: Vec<ObjectKey>, notify: fn(&mut Policy, ObjectKey)) {
        for pod in pods {
            let first = ObjectKey { namespace: pod.namespace.clone(), name: "".into() };
            let policies = self.policies.range_mut(first..);
            for (_, policy) in policies.take_while(|(key, _)| key.namespace == pod.namespace) {
                notify(policy, pod.clone());
            }
        }
    }

    fn policy_event(&mut self, event: Event<WatchedPolicy>) {
        let mut watched = std::mem::take(&mut self.watched_policies);
        watched.apply(self, event);
        self.watched_policies = watched;
    }

    /// Takes up changed checks. Returns whether the watch of pods has to start over, because annotations are needed from now on.
    fn adopt_checks(&mut self) -> bool {
        if !self.live.checks.has_changed().unwrap_or(false) {
            return false;
        }
        self.checks = self.live.checks.borrow_and_update().clone();
        for policy in self.policies.values_mut() {
            if let Some(object) = policy.readable() {
                policy.set_rules(Rules::of(object, &self.checks, &self.options.system));
            }
        }
        self.pods.need_annotations(annotations_of(&self.checks).annotations)
    }

    /// Keeps the complete objects of those namespaces whose rules read them. Returns whether the watch has to start over.
    fn needs_other_objects(&mut self) -> bool {
        if !self.watched_policies.is_synced() {
            return false;
        }
        let needing = self.policies.iter().filter(|(_, policy)| policy.needs_objects());
        let namespaces = needing.map(|(key, _)| key.namespace.clone()).collect();
        self.pods.keep_objects_of(namespaces, Now::read().instant)
    }

    /// Evaluates the pods that are due, and starts the writes that follow from it.
    fn reconcile(&mut self) {
        if !self.pods.is_synced() || !self.watched_policies.is_synced() || !*self.live.is_started.borrow() {
            return;
        }
        // A replica on standby is ready as well.
        self.readiness.set();
        if !self.is_leader {
            return;
        }
        if self.audits == AuditList::Unknown && self.audit_gate.is_open(Now::read().instant) {
            self.audits = AuditList::Requested;
            self.audit_gate.started();
            let executor = self.executor.clone();
            self.requests.push(Box::pin(async move { RequestResult::Audits(executor.audits().await) }));
        }
        self.retry_rules();
        // The evaluation occupies its thread, while the endpoints have to be served.
        tokio::task::block_in_place(|| self.evaluate());
        self.start_writes();
    }

    fn retry_rules(&mut self) {
        let now = Now::read();
        let retried = self.policies.values_mut().filter_map(|policy| {
            let rules = Rules::of(policy.rules_to_retry(now)?, &self.checks, &self.options.system);
            policy.set_rules(rules);
            Some(())
        });
        retried.take(RETRIES_AT_ONCE).for_each(drop);
    }

    #[tracing::instrument(level = "debug", skip_all)]
    fn evaluate(&mut self) {
        let pods = &self.pods;
        let is_due = |(key, policy): &(&ObjectKey, &mut Policy)| {
            policy.is_due() && (!policy.needs_objects() || pods.has_objects_of(&key.namespace))
        };
        for (key, policy) in self.policies.iter_mut().filter(is_due) {
            let timer = self.metrics.duration.start_timer();
            let run = policy.evaluate(key, pods, Now::read());
            timer.observe_duration();
            self.metrics.reconciles.inc();
            self.metrics.scanned.inc_by(run.scanned as u64);
            if run.failed {
                self.metrics.errors.inc();
                let first = policy.ledger().errors().next().unwrap_or_default();
                tracing::warn!(policy = %key, "failed to evaluate all pods: {first}");
            }
            let (score, is_complete, enforces) = (policy.score(), policy.is_complete(), policy.enforces());
            let (before, totals) = policy.show();
            self.metrics.set(key, &before, &Shown { totals, score, is_complete, enforces });
        }
    }

    fn start_writes(&mut self) {
        let now = Now::read();
        let (executor, options, pods) = (&self.executor, &self.options, &self.pods);
        let write = |key: &ObjectKey, policy: &mut Policy| -> Option<Request> {
            let write = policy.next_write(options, now)?;
            write.log(key);
            let (key, executor) = (key.clone(), executor.clone());
            Some(Box::pin(async move { RequestResult::Write(key, executor.write(write).await) }))
        };
        let job = |key: &ObjectKey, policy: &mut Policy| -> Option<Request> {
            let job = policy.next_job(key, pods, options, now)?;
            let (key, executor, owner) = (key.clone(), executor.clone(), job.owner().cloned());
            Some(Box::pin(async move { RequestResult::Job(key, owner, executor.enforce(job).await) }))
        };
        let most = MAX_WRITES.saturating_sub(self.requests.len());
        self.requests.extend(self.turns.take(&mut self.policies, most, &[&write, &job]));
    }
}

/// What all pods need: annotations, if any check reads them. Complete objects are kept by namespace.
fn annotations_of(checks: &Checks) -> Needs {
    Needs { annotations: checks.needs().annotations, objects: false }
}
