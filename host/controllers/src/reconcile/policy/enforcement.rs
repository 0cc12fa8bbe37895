//! The remediation under a policy: the next job, its result, and what keeps workloads from being remediated.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube_devops_cluster::crd::condition::ENFORCED;
use kube_devops_cluster::crd::{DevOpsPolicy, EnforcementMode};
use kube_devops_cluster::finalizer;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_remediation::{EnforceOptions, NextJob, RemediationJob, Remediations};
use kube_devops_runtime::clock::Now;

use super::Policy;
use crate::pod_index::PodIndex;
use crate::reconcile::ReconcileOptions;
use crate::reconcile::status::{AUDIT, AUDIT_PENDING, Obstacle, RemediationState};
use crate::reconcile::write::{EnforcementJob, EnforcementResult};

/// The annotation of a policy whose patches are reported instead of applied.
const DRY_RUN: &str = "devops.stochastic.io/dry-run";

impl Policy {
    /// Whether the policy remediates workloads.
    pub fn enforces(&self) -> bool {
        self.object.spec.enforcement_mode == EnforcementMode::Enforce
    }

    /// The next job of the remediation, if one is due. The namespace of the operator itself is excluded.
    pub fn next_job(
        &mut self,
        key: &ObjectKey,
        pods: &PodIndex,
        options: &ReconcileOptions,
        now: Now,
    ) -> Option<EnforcementJob> {
        let may_enforce =
            self.enforces() && !self.is_in_own_namespace(options) && !self.is_deleted() && self.is_recorded(options);
        let rules = self.rules.valid().filter(|_| may_enforce && !self.everything_is_due).cloned();
        let subjects = pods.pods(&key.namespace).map(|(_, subject)| subject);
        self.remediations.set_policy_deleted(self.is_deleted());
        let next = self.remediations.next(&options.enforce, rules.is_some(), subjects, now)?;
        let (namespace, policy) = (key.namespace.to_string(), key.name.to_string());
        Some(match (next, rules) {
            (NextJob::Follow { key, failure, step }, _) => {
                EnforcementJob::Follow { namespace, policy, key, failure, step }
            }
            (NextJob::Check { key, is_over }, rules) => {
                let may_write = rules.is_some() && !self.is_dry_run(options);
                EnforcementJob::Check { namespace, key, over: (is_over && may_write).then_some(policy) }
            }
            (NextJob::Remediate { owner }, rules) => EnforcementJob::Remediate(Box::new(RemediationJob {
                namespace,
                owner,
                policy,
                dry_run: self.is_dry_run(options),
                spec: Box::new(self.object.spec.clone()),
                rules: rules?,
                is_protected: self.is_finalized(),
                recorded: self.remediations.recorded_workload(),
                patches: self.remediations.patches(),
            })),
        })
    }

    /// A job of the remediation ended. Returns whether the state of the workload changed.
    pub fn job_done(&mut self, result: EnforcementResult, options: &EnforceOptions, now: Now) -> bool {
        self.may_differ = true;
        match result {
            EnforcementResult::Remediated { owner, key, result } => {
                self.remediations.remediated(&owner, key, &result, options, now)
            }
            EnforcementResult::Followed { key, result } => self.remediations.followed(key, &result, options, now),
            EnforcementResult::Checked { key, existence } => {
                self.remediations.checked(&key, existence);
                false
            }
        }
    }

    /// The requests of a job failed. `owner` is the controller of the pods, if the job remediates.
    pub fn job_failed(&mut self, owner: Option<&ObjectReference>, now: Now) {
        self.remediations.failed(owner, now);
    }

    /// What the status says about the remediation.
    pub(super) fn remediation_state(&self, options: &ReconcileOptions) -> RemediationState {
        RemediationState {
            workloads: self.remediations.statuses(),
            incomplete: self.remediations.incomplete(),
            denials: self.remediations.denials().map(|(count, first)| (count, first.to_owned())),
            obstacle: self.obstacle(options),
        }
    }

    /// The reason why no workload is changed, although the policy enforces.
    fn obstacle(&self, options: &ReconcileOptions) -> Option<Obstacle> {
        if self.is_in_own_namespace(options) {
            Some(Obstacle::OwnNamespace)
        } else if self.is_dry_run(options) {
            Some(Obstacle::DryRun)
        } else if self.is_recorded(options) || !self.audits.are_listed() && self.was_recorded() {
            None
        } else {
            Some(Obstacle::AuditPending)
        }
    }

    fn is_in_own_namespace(&self, options: &ReconcileOptions) -> bool {
        self.object.metadata.namespace.as_ref() == Some(&options.election.namespace)
    }

    fn is_dry_run(&self, options: &ReconcileOptions) -> bool {
        options.enforce.dry_run || self.object.annotations().get(DRY_RUN).is_some_and(|value| value == "true")
    }

    /// Whether the state before the remediation is recorded, by the first audit result.
    fn is_recorded(&self, options: &ReconcileOptions) -> bool {
        options.audit.retention == 0 || self.audits.has_any()
    }

    /// Whether the status of a previous leader shows that there was an audit result: a new leader has not listed them yet.
    fn was_recorded(&self) -> bool {
        let conditions = self.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let enforced = conditions.iter().find(|condition| condition.type_ == ENFORCED);
        enforced.is_some_and(|condition| ![AUDIT, AUDIT_PENDING].contains(&&*condition.reason))
    }
}

/// The remediations in the status, which a previous leader wrote.
pub(super) fn restored(object: &DevOpsPolicy, options: &EnforceOptions, now: Now) -> Remediations {
    let workloads = object.status.as_ref().map_or(&[][..], |status| &status.workloads);
    Remediations::restore(workloads, finalizer::is_set(&object.metadata), options, now)
}
