//! The results of the requests of the operator.

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_remediation::JobResult;
use kube_devops_runtime::clock::Now;

use super::{AuditList, Operator};
use crate::reconcile::executor::ExecuteError;
use crate::reconcile::request_result::RequestResult;
use crate::reconcile::write::{Enforced, EnforcementResult, PendingEvent, Write, WriteResult};

impl Operator {
    /// A request ended: enters its result, and starts the next ones. A leader whose requests fail for a lease duration steps down,
    /// because another replica may have a connection.
    pub(super) fn request_ended(&mut self, result: RequestResult) {
        let now = Now::read();
        self.availability.answered(result.answer(), now.instant);
        let is_lost = self.availability.is_lost(self.options.election.duration, now.instant);
        self.enter(result);
        if is_lost {
            tracing::warn!("no request succeeded for one lease duration: stepping down");
            // All requests end before another replica may become the leader.
            self.set_leading(false);
            self.handover.step_down();
        } else {
            self.start_writes();
        }
    }

    /// Enters the result of a request.
    pub(super) fn enter(&mut self, result: RequestResult) {
        let now = Now::read();
        match result {
            RequestResult::Write(key, result) => self.written(&key, result, now),
            RequestResult::Job(key, owner, result) => self.job_ended(&key, owner.as_deref(), result, now),
            RequestResult::Emitted => {}
            RequestResult::Audits(Ok(mut known)) => {
                self.audits = AuditList::Known;
                for (key, policy) in &mut self.policies {
                    policy.set_audits(known.remove(key).unwrap_or_default());
                }
            }
            RequestResult::Audits(Err(error)) => {
                tracing::warn!("failed to list the audit results: {error}");
                self.audits = AuditList::Unknown;
                self.audit_gate.failed(now.instant);
            }
        }
    }

    fn written(&mut self, key: &ObjectKey, result: Result<Option<WriteResult>, ExecuteError>, now: Now) {
        let Some(policy) = self.policies.get_mut(key) else { return };
        match result {
            Ok(Some(result)) => {
                if matches!(result, WriteResult::Audit { .. }) {
                    self.metrics.audits.inc();
                }
                if policy.written(result, now) {
                    tracing::warn!(policy = %key, "another client changes the status again and again; stop it if it is a second operator");
                }
            }
            // The policy is gone, and the watch is about to report it.
            Ok(None) => policy.write_failed(now),
            Err(error) => {
                self.metrics.errors.inc();
                tracing::warn!(policy = %key, "failed to write, retrying: {error}");
                policy.write_failed(now);
            }
        }
    }

    fn emit(&self, event: PendingEvent) {
        let executor = self.executor.clone();
        self.requests.push(Box::pin(async move {
            // A failure is logged by the executor, and nothing depends on it.
            let _ = executor.write(Write::Events(vec![event])).await;
            RequestResult::Emitted
        }));
    }

    fn job_ended(
        &mut self,
        key: &ObjectKey,
        owner: Option<&ObjectReference>,
        result: Result<Enforced, ExecuteError>,
        now: Now,
    ) {
        let Some(policy) = self.policies.get_mut(key) else { return };
        match result {
            Ok(Enforced { result: done, event }) => {
                let (is_applied, is_failure) = match &done {
                    EnforcementResult::Remediated { result, .. } | EnforcementResult::Followed { result, .. } => {
                        use JobResult::{Conflict, Denied, Patched, Reverted};
                        (
                            matches!(result, Patched(patched) if !patched.what.is_empty()),
                            matches!(result, Conflict(_) | Denied(_) | Reverted(_)),
                        )
                    }
                    EnforcementResult::Checked { .. } => (false, false),
                };
                let is_attempt = done.is_attempt();
                // A workload that is tried again with the same result counts once.
                let is_changed = policy.job_done(done, &self.options.enforce, now);
                self.metrics.applied.inc_by(is_applied.into());
                self.metrics.failed.inc_by((is_failure && is_changed).into());
                if let Some(event) = event.filter(|_| is_changed || is_attempt) {
                    self.emit(*event);
                }
            }
            Err(error) => {
                self.metrics.failed.inc();
                tracing::warn!(policy = %key, "failed to remediate a workload, retrying: {error}");
                policy.job_failed(owner, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt;
    use kube::runtime::events::Recorder;
    use kube::{Client, Config};
    use kube_devops_engine::{Checks, Limits};
    use kube_devops_policy_modules::LiveChecks;
    use kube_devops_remediation::WorkloadKey;
    use kube_devops_runtime::election::Handover;
    use kube_devops_runtime::server::Readiness;
    use prometheus::Registry;
    use tokio::sync::watch;

    use super::*;
    use crate::reconcile::executor::Executor;
    use crate::reconcile::metrics::Metrics;
    use crate::reconcile::policy::Policy;
    use crate::reconcile::rules::Rules;
    use crate::reconcile::tests::{enforcing, key, options};

    /// A leader with a request in progress, and a lease of this duration.
    fn leader(duration: Duration) -> (Operator, Arc<Handover>) {
        let server = "http://127.0.0.1:1".parse().unwrap_or_else(|error| panic!("{error}"));
        let client = Client::try_from(Config::new(server)).unwrap_or_else(|error| panic!("{error}"));
        let executor = Executor { recorder: Recorder::new(client.clone(), "test".into()), client };
        let checks = watch::channel(Arc::new(Checks::new(BTreeMap::new(), Limits::default()))).1;
        let live = LiveChecks { checks, is_started: watch::channel(true).1 };
        let metrics = Metrics::new(&Registry::new()).unwrap_or_else(|error| panic!("{error}"));
        let mut options = options();
        options.election.duration = duration;
        let handover = Arc::new(Handover::default());
        let mut operator = Operator::new(executor, live, options, metrics, Readiness::default(), handover.clone());
        operator.set_leading(true);
        operator.requests.push(Box::pin(std::future::pending()));
        (operator, handover)
    }

    fn unavailable() -> RequestResult {
        RequestResult::Audits(Err(ExecuteError::Timeout))
    }

    #[tokio::test]
    async fn a_leader_that_steps_down_drops_its_requests_before_another_one_may_start() {
        let (mut operator, handover) = leader(Duration::ZERO);
        assert_eq!(operator.metrics.leader.get(), 1);
        operator.request_ended(unavailable());
        assert!(handover.is_wanted().now_or_never().is_some());
        assert!(!operator.is_leader && operator.requests.is_empty());
        assert_eq!(operator.metrics.leader.get(), 0);
    }

    #[tokio::test]
    async fn a_result_is_an_event_once_and_every_attempt_to_revert_is_one() {
        let (mut operator, _) = leader(Duration::from_secs(3600));
        let (object, owner) = (enforcing(), Arc::new(ObjectReference::default()));
        let policy = Policy::new(object, Rules::SystemNamespace, &operator.options.enforce, Now::read());
        operator.policies.insert(key(), policy);
        let web = || WorkloadKey { kind: "Deployment".to_owned(), name: "web".to_owned() };
        let mut events = |result: EnforcementResult| {
            let event = PendingEvent {
                reference: ObjectReference::default(),
                is_normal: false,
                reason: "Test",
                note: String::new(),
            };
            let before = operator.requests.len();
            let ended = Enforced { result, event: Some(Box::new(event)) };
            operator.enter(RequestResult::Job(key(), None, Ok(ended)));
            operator.requests.len() - before
        };
        let remediated =
            |result: JobResult| EnforcementResult::Remediated { owner: owner.clone(), key: Some(web()), result };
        let text = |text: &str| text.to_owned();
        for result in [JobResult::Reverted, JobResult::Conflict, JobResult::Denied] {
            assert_eq!(events(remediated(result(text("a")))), 1);
            assert_eq!(events(remediated(result(text("a")))), 0, "it is checked again");
            assert_eq!(events(remediated(result(text("b")))), 1, "another reason");
        }
        for _ in 0..2 {
            assert_eq!(events(EnforcementResult::Followed { key: web(), result: JobResult::Denied(text("b")) }), 1);
        }
    }

    #[tokio::test]
    async fn a_failed_request_alone_changes_nothing() {
        let (mut operator, handover) = leader(Duration::from_secs(3600));
        operator.request_ended(unavailable());
        assert!(handover.is_wanted().now_or_never().is_none());
        assert!(operator.is_leader && operator.requests.len() == 1);
    }
}
