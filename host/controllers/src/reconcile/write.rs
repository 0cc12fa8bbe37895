//! The writes of the operator, as data.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::crd::{DevOpsPolicy, DevOpsPolicyStatus, PolicyAuditResult};
use kube_devops_cluster::key::ObjectKey;
use kube_devops_remediation::{Existence, JobResult, RemediationJob, RolloutFailure, Step, WorkloadKey};

/// A write.
pub enum Write {
    /// Adds the finalizer.
    AddFinalizer {
        /// The policy.
        policy: Box<DevOpsPolicy>,
    },
    /// Removes the finalizer.
    RemoveFinalizer {
        /// The policy.
        policy: Box<DevOpsPolicy>,
    },
    /// Applies the status.
    Status {
        /// The policy.
        policy: Box<DevOpsPolicy>,
        /// Its new status.
        status: Box<DevOpsPolicyStatus>,
    },
    /// Creates an audit result and deletes old ones.
    Audit {
        /// The audit result.
        record: Box<PolicyAuditResult>,
        /// The fingerprint of its content.
        fingerprint: String,
        /// The names of those to delete.
        surplus: Vec<String>,
    },
    /// Emits events.
    Events(Vec<PendingEvent>),
}

impl Write {
    /// Logs the start of the write, if it is of interest to users.
    pub fn log(&self, policy: &ObjectKey) {
        match self {
            Self::Status { status, .. } => tracing::info!(
                %policy,
                score = status.health_score,
                compliance = status.compliance,
                violations = status.violation_count,
                "{}",
                status.message.as_deref().unwrap_or_default()
            ),
            Self::AddFinalizer { .. } | Self::RemoveFinalizer { .. } | Self::Audit { .. } | Self::Events(_) => {}
        }
    }
}

/// A job of the remediation of a policy.
pub enum EnforcementJob {
    /// Adds missing fields to a workload.
    Remediate(Box<RemediationJob>),
    /// Checks the rollout of a patched workload.
    Follow {
        /// The namespace.
        namespace: String,
        /// The name of the policy.
        policy: String,
        /// The workload.
        key: WorkloadKey,
        /// A reason to revert the patch.
        failure: Option<RolloutFailure>,
        /// The next step if there is no reason to revert.
        step: Step,
    },
    /// Checks whether a workload still exists.
    Check {
        /// The namespace.
        namespace: String,
        /// The workload.
        key: WorkloadKey,
        /// The name of the policy, if it follows no rollout of the workload, and may change it.
        over: Option<String>,
    },
}

impl EnforcementJob {
    /// The controller of the pods, if the job remediates.
    pub fn owner(&self) -> Option<&Arc<ObjectReference>> {
        match self {
            Self::Remediate(job) => Some(&job.owner),
            Self::Follow { .. } | Self::Check { .. } => None,
        }
    }
}

/// An event about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEvent {
    /// The object.
    pub reference: ObjectReference,
    /// Whether its type is Normal and not Warning.
    pub is_normal: bool,
    /// The reason, in CamelCase.
    pub reason: &'static str,
    /// The note.
    pub note: String,
}

/// The result of a write.
#[derive(Debug)]
pub enum WriteResult {
    /// The finalizers of the policy.
    Finalizers(Vec<String>),
    /// The status that was applied.
    Status(Box<DevOpsPolicyStatus>),
    /// An audit result was created.
    Audit {
        /// Its name.
        name: String,
        /// The fingerprint of its content.
        fingerprint: String,
        /// The names of those that were deleted.
        removed: Vec<String>,
    },
    /// Events were emitted, or could not be, which changes nothing.
    Events,
}

impl WriteResult {
    /// The status that was applied, if it is one.
    pub fn status(&self) -> Option<&DevOpsPolicyStatus> {
        match self {
            Self::Status(status) => Some(status),
            Self::Finalizers(_) | Self::Audit { .. } | Self::Events => None,
        }
    }
}

/// A job that ended.
#[derive(Debug)]
pub struct Enforced {
    /// The result.
    pub result: EnforcementResult,
    /// The event about the workload, if the result is one that its owner should know.
    pub event: Option<Box<PendingEvent>>,
}

/// The result of a job.
#[derive(Debug)]
pub enum EnforcementResult {
    /// A workload was remediated.
    Remediated {
        /// The controller of the pods.
        owner: Arc<ObjectReference>,
        /// The workload, if there is one.
        key: Option<WorkloadKey>,
        /// The result.
        result: JobResult,
    },
    /// The rollout of a workload was checked.
    Followed {
        /// The workload.
        key: WorkloadKey,
        /// The result.
        result: JobResult,
    },
    /// The existence of a workload was checked.
    Checked {
        /// The workload.
        key: WorkloadKey,
        /// Whether it exists.
        existence: Existence,
    },
}

impl EnforcementResult {
    /// Whether the result is that of an attempt that changed the workload, or was to change it. It is worth an event even if the
    /// state of the workload is the same as before.
    pub fn is_attempt(&self) -> bool {
        match self {
            Self::Remediated { result, .. } => matches!(result, JobResult::Patched(_)),
            Self::Followed { .. } => true,
            Self::Checked { .. } => false,
        }
    }
}

/// An audit result that exists. They sort by time, as their names do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownAudit {
    /// The name.
    pub name: String,
    /// The fingerprint of its content.
    pub fingerprint: Option<String>,
}
