//! Jobs: what remediation does to one workload, and the results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::crd::DevOpsPolicySpec;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::workload::Workload;

use super::plan::Addition;
use super::progress::{Best, Furthest, Progress};

/// The key of a workload within a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// A kind of the group `apps` that can be remediated.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// The next job of a policy.
#[derive(Debug, Clone, PartialEq)]
pub enum NextJob {
    /// Remediate the workload of a pod that has violations.
    Remediate {
        /// The controller of the pod.
        owner: Arc<ObjectReference>,
    },
    /// Check the rollout of a remediated workload.
    Follow {
        /// The workload.
        key: WorkloadKey,
        /// A reason to revert; `None` if there is none so far.
        failure: Option<RolloutFailure>,
        /// The next step if there is no reason to revert.
        step: Step,
    },
    /// Check whether a workload still exists.
    Check {
        /// The workload.
        key: WorkloadKey,
        /// Whether its last rollout was completed or reverted.
        is_over: bool,
    },
}

/// A reason to revert a patch that the workload alone does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutFailure {
    /// A container of a new pod was restarted, with a message about it.
    Restarted(String),
    /// For as long as `limit`, the rollout was not seen further than this.
    Stalled {
        /// How far the rollout was.
        best: Best,
        /// How long Kubernetes waits for progress. With another value, the time starts again.
        deadline: Option<Duration>,
        /// The longest time without progress.
        limit: Duration,
    },
    /// The policy is being deleted, and for as long as `limit`, the rollout has not advanced. It ends if all pods are available now.
    Overdue {
        /// How far the rollout was.
        furthest: Furthest,
        /// The longest time without an advance.
        limit: Duration,
        /// Whether the rollout also ends if pods are unavailable. If all were available before, they may become so again.
        is_final: bool,
    },
}

/// The next step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Find out what was added: the rollout was started by a previous leader.
    Adopt,
    /// Check whether all pods have been replaced, and give up the added fields.
    Check,
    /// Check whether all pods have been replaced. To give up the added fields was denied, and is tried again later.
    Watch,
    /// Complete the rollout if all pods have been replaced: they were watched for this settle time.
    Complete(Duration),
}

/// A job that adds missing fields to a workload.
#[derive(Clone)]
pub struct RemediationJob {
    /// The namespace.
    pub namespace: String,
    /// The controller of a pod that has violations.
    pub owner: Arc<ObjectReference>,
    /// The name of the policy.
    pub policy: String,
    /// The spec of the policy.
    pub spec: Box<DevOpsPolicySpec>,
    /// The rules of the policy.
    pub rules: Arc<dyn PolicyRules>,
    /// Whether to report the patch instead of applying it.
    pub dry_run: bool,
    /// Whether the policy has its finalizer, so that its deletion waits for the rollout.
    pub is_protected: bool,
    /// The workload that the status lists as rolling out before it is patched.
    pub recorded: Option<WorkloadKey>,
    /// The patches so far, to notice that another client removes the fields.
    pub patches: Arc<BTreeMap<WorkloadKey, PatchCount>>,
}

/// The patches of one pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchCount {
    /// The fingerprint of the pod template without the added fields.
    pub template: String,
    /// The number of patches.
    pub count: u32,
}

/// The result of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobResult {
    /// Nothing is missing in the pod template.
    UpToDate,
    /// The workload is annotated to be ignored.
    Ignored,
    /// The workload must not be changed, with the reason.
    Skipped(String),
    /// The fields that would have been added, in a dry run.
    WouldPatch(String),
    /// The workload cannot be changed now, with the reason.
    Waiting(String),
    /// Before the patch, the policy needs its finalizer, and its status the workload, with these added fields.
    Unprotected(String),
    /// Another field manager owns a field that would have to be set, or another client removes the fields.
    Conflict(String),
    /// The API server, an admission webhook or a quota denies the patch, with the reason.
    Denied(String),
    /// Fields were added, and the pods are being replaced.
    Patched(Patched),
    /// All pods have been replaced and are available. They are watched for restarts for this settle time.
    RolledOut(Duration),
    /// All pods have been replaced and were watched for long enough.
    Completed,
    /// The pods are still being replaced.
    InProgress(Progress),
    /// The pods are still being replaced, and to give up the added fields was denied.
    NotGivenUp(Progress),
    /// The pod template was changed by another client: the rollout is no longer that of the patch.
    Superseded,
    /// The added fields were removed, and pods of the failed revision may have to be deleted.
    Reverting,
    /// The added fields were removed, with the reason.
    Reverted(String),
    /// The workload does not exist any more.
    Gone,
}

/// Whether a workload exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It exists.
    Exists,
    /// It does not exist any more.
    Gone,
}

/// The reason why the API server did not apply a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Another field manager owns a field that would have to be set, with the message.
    Conflict(String),
    /// The workload was changed at the same time.
    Changed,
    /// The patched workload would be invalid, with the message.
    Invalid(String),
    /// The workload does not exist any more.
    Gone,
    /// Another admission webhook, a quota or missing permissions, with the message.
    Denied(String),
}

impl From<Rejection> for JobResult {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Conflict(reason) => Self::Conflict(reason),
            Rejection::Changed => Self::Waiting("it was changed at the same time".to_owned()),
            Rejection::Invalid(reason) => Self::Skipped(reason),
            Rejection::Gone => Self::Gone,
            Rejection::Denied(reason) => Self::Denied(reason),
        }
    }
}

/// A patched workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The added fields, for people; empty if they were added before a restart of the operator.
    pub what: String,
    /// The added fields, by which pods of the new template are recognized.
    pub fields: Vec<Addition>,
    /// The fingerprint of the pod template without the added fields.
    pub template: String,
}

/// Whether the workload is a ReplicaSet, which a Deployment may control.
pub fn is_replica_set(workload: &Workload) -> bool {
    (workload.group, workload.kind) == ("apps", "ReplicaSet")
}
